"""What Keras does not document and the package relies on: a version of Keras that changed it fails here."""

import concurrent.futures
import contextlib
import copy
import functools
import pickle
import random
import sys

import h5py
import keras
import numpy as np
import pytest
from cases import for_each
from keras import layers
from modes import to_numpy

from keras_initx import _keras


class Spy(keras.initializers.Initializer):
    """Zeros, and the results of a function for each call."""

    def __init__(self, function):
        self.function, self.found = function, []

    def __call__(self, shape, dtype=None):
        self.found.append(self.function())
        return keras.ops.zeros(shape, dtype)


class Built(layers.Layer):
    """A layer of a user that has a `build` of its own."""

    def __init__(self, initializer):
        super().__init__()
        self.kernel_initializer = initializer

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(3, 4), initializer=self.kernel_initializer, name="kernel")

    def call(self, x):
        return x @ self.kernel


class Direct(Built):
    """A layer of a user that makes its variable without a method of Keras."""

    def build(self, input_shape):
        self.kernel = keras.Variable(self.kernel_initializer, (3, 4), name="kernel")


class Block(layers.Layer):
    """A layer of a user that leaves it to Keras to build its part when it is called."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def call(self, x):
        return self.part(x)


class Model(keras.Model):
    """A model without a `build` of its own."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def call(self, x):
        return self.part(x)


# A layer, then those around it. In those that are built before they are called, Keras creates the variables at once.
AT_ONCE = {
    "layer around it": lambda part: [part, layers.TimeDistributed(part)],
    "model": lambda part: [part, keras.Sequential([keras.Input((5, 3)), part])],
}
LATE = {
    "block": lambda part: [part, Block(part)],
    "subclassed model": lambda part: [part, Model(part)],
    "block in a model": lambda part: [part, *(inner := [Block(part)]), keras.Sequential(inner)],
}
every_part = pytest.mark.parametrize("make", [Built, Direct])
X = np.ones((2, 5, 3), "float32")


@every_part
@pytest.mark.parametrize("place", AT_ONCE.values(), ids=AT_ONCE)
def test_the_layers_on_the_call_stack(place, make):
    spy = Spy(_keras.variable_and_layers)
    around = place(make(spy))
    around[-1](X)
    [(variable, found)] = spy.found
    assert variable is around[0].kernel
    assert found == around


@every_part
@pytest.mark.parametrize("place", LATE.values(), ids=LATE)
def test_late_variables_are_made_by_an_outer_layer(place, make):
    spy = Spy(_keras.variable_and_layers)
    around = place(make(spy))
    around[-1](X)
    variable, found = spy.found[-1]  # the others were for shapes only
    assert variable is around[0].kernel
    assert found == around[1:]


@every_part
@pytest.mark.parametrize("place", (AT_ONCE | LATE).values(), ids=AT_ONCE | LATE)
def test_the_layer_that_uses_an_initializer(place, make):
    spy = Spy(lambda: _keras.layer_using(spy))
    around = place(make(spy))
    around[-1](X)
    assert spy.found[-1] is around[0]


@pytest.mark.parametrize(
    "place",
    [
        LATE["block"],
        LATE["subclassed model"],
        pytest.param(LATE["block in a model"], marks=pytest.mark.every_backend),
    ],
    ids=LATE,
)
def test_the_layer_that_uses_an_initializer_if_fit_builds_the_model(place):
    spy = Spy(lambda: _keras.layer_using(spy))
    around = place(Built(spy))
    model = around[-1] if isinstance(around[-1], keras.Model) else keras.Sequential([around[-1]])
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    model.fit(X, np.ones((2, 5, 4), "float32"), verbose=0)
    assert spy.found[-1] is around[0]


@pytest.fixture
def plugged(monkeypatch):
    """Let the modules of Keras' backend be those of a package of its own, as `keras_mlx`."""
    keras.optimizers.SGD()  # Keras imports those of torch when it makes the first
    backend = f"keras.src.backend.{keras.backend.backend()}"
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{backend}."):
            monkeypatch.setitem(vars(module), "__name__", name.replace(backend, "keras_fake.src"))
    (trainer,) = (base for base in keras.Model.__mro__ if base.__module__ == f"{backend}.trainer")
    monkeypatch.setattr(trainer, "__module__", "keras_fake.src.trainer")
    return trainer


@pytest.fixture
def names(monkeypatch):
    """The dict of Keras' own names of initializers, for this test alone."""
    module = sys.modules[keras.initializers.get.__module__]
    copied = dict(module.ALL_OBJECTS_DICT)
    monkeypatch.setattr(module, "ALL_OBJECTS_DICT", copied)
    return copied


def test_layers_find_a_registered_class_by_a_name_beside_those_of_keras(names):
    before = dict(names)
    _keras.name_initializer("tests>Loading", Loading)
    assert isinstance(layers.Dense(4, kernel_initializer="tests>Loading").kernel_initializer, Loading)
    assert names == {**before, "tests>Loading": Loading}


def test_no_name_is_given_where_keras_has_no_dict_of_its_own(monkeypatch):
    monkeypatch.delattr(sys.modules[keras.initializers.get.__module__], "ALL_OBJECTS_DICT")
    _keras.name_initializer("tests>Loading", Loading)


def packages_on_the_stack():
    return [frame.f_globals["__name__"].partition(".")[0] for frame in _keras._functions_of_keras()]


@pytest.mark.every_backend
def test_a_package_of_the_backend_is_keras_too(plugged):
    spy = Spy(packages_on_the_stack)
    model = Model(layers.Dense(4, kernel_initializer=spy))
    model.compile(keras.optimizers.SGD(0.0), "mse", jit_compile=False)
    model.fit(X, np.ones((2, 5, 4), "float32"), verbose=0)
    assert set(spy.found[-1]) == {"keras", "keras_fake"}  # `fit` is in a module of the backend
    assert _keras.is_from_keras(plugged)


@pytest.mark.parametrize("package", ["keras_hub.src", "user"])
def test_other_packages_are_not_keras(package):
    namespace = {"__name__": package}
    exec("def build(function):\n    return function()", namespace)
    assert namespace["build"](packages_on_the_stack) == []
    assert not _keras.is_from_keras(namespace["build"])


def test_nothing_is_on_the_call_stack_of_a_direct_call():
    spy = Spy(lambda: (*_keras.variable_and_layers(), _keras.layer_using(spy), _keras.is_loading_model()))
    spy((3, 4))
    assert spy.found == [(None, [], None, False)]


@keras.saving.register_keras_serializable(package="tests")
class Loading(keras.initializers.Initializer):
    """Zeros, and whether a model was being loaded at each call."""

    found: list = []

    def __call__(self, shape, dtype=None):
        self.found.append(_keras.is_loading_model())
        return keras.ops.zeros(shape, dtype)


@keras.saving.register_keras_serializable(package="tests")
class CallsByHand(layers.Layer):
    """A layer that calls an initializer for something that is not a weight, which no file overwrites."""

    def build(self, input_shape):
        Loading()((2,))


@pytest.mark.parametrize("wrap", [lambda load: load, lambda load: functools.wraps(load)(lambda path: load(path))])
def test_load_model_is_on_the_call_stack(tmp_path, monkeypatch, wrap):
    monkeypatch.setattr(keras.saving, "load_model", wrap(keras.saving.load_model))  # as tools do that log calls
    Loading.found.clear()
    dense = layers.Dense(4, kernel_initializer=Loading())
    model = keras.Sequential([keras.Input((3,)), dense, CallsByHand()])
    model.save(tmp_path / "model.keras")
    assert Loading.found == [False, False]
    keras.saving.load_model(tmp_path / "model.keras")
    assert Loading.found == [False, False, True, False]


@pytest.mark.parametrize("copied", [lambda model: pickle.loads(pickle.dumps(model)), copy.deepcopy])
def test_a_model_is_loaded_when_it_is_copied_or_unpickled(copied):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, kernel_initializer=Loading())])
    Loading.found.clear()
    copied(model)
    assert Loading.found == [True]


class Interrupted(keras.initializers.Initializer):
    """Raises, and clears what Keras would keep before it does."""

    def __call__(self, shape, dtype=None):
        _keras.forget_unmade_variables()
        raise KeyboardInterrupt


def made_in_a_scope(*initializers):
    with keras.StatelessScope():
        return [keras.Variable(initializer, (3,)) for initializer in initializers]


def test_the_other_variables_are_made_if_the_error_is_caught():
    class Falls(keras.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            with contextlib.suppress(KeyboardInterrupt):
                Interrupted()(shape)
            return keras.ops.ones(shape, dtype)

    assert [to_numpy(variable.value).sum() for variable in made_in_a_scope(Falls(), Falls(), "ones")] == [3, 3, 3]


def test_variables_that_another_scope_makes_are_left_alone():
    class Makes(keras.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            _keras.forget_unmade_variables()
            return keras.ops.ones(shape, dtype)

    with keras.StatelessScope():
        waiting = keras.Variable("ones", (3,))
        Makes()((3,))
    assert to_numpy(waiting.value).sum() == 3


# Each layer with the names of its weights; the arguments that set them are checked against its constructor.
NAMED = {
    "Dense": (layers.Dense(4), (None, 3), {"kernel", "bias"}),
    "DepthwiseConv1D": (layers.DepthwiseConv1D(3), (None, 5, 3), {"kernel", "bias"}),
    "SeparableConv1D": (layers.SeparableConv1D(4, 3), (None, 5, 3), {"depthwise_kernel", "pointwise_kernel", "bias"}),
    "Embedding": (layers.Embedding(7, 4), (None, 5), {"embeddings"}),
    "LSTM": (layers.LSTMCell(4), (None, 3), {"kernel", "recurrent_kernel", "bias"}),
    "BatchNormalization": (
        layers.BatchNormalization(),
        (None, 3),
        {"gamma", "beta", "moving_mean", "moving_variance"},
    ),
}


@for_each(NAMED)
def test_the_arguments_of_weights(name):
    layer, shape, names = NAMED[name]
    layer.build(shape)
    weights = [weight for weight in layer.weights if "float" in str(weight.dtype)]
    assert {weight.name for weight in weights} == names
    if isinstance(layer, layers.DepthwiseConv1D):  # the one exception, which has a `depthwise_initializer`
        weights = [weight for weight in weights if weight.name == "bias"]
    assert all(hasattr(layer, _keras.argument_name(weight.name)) for weight in weights)


def dense(count=1):
    return [layers.Dense(2) for _ in range(count)]


def functional():
    inputs = keras.Input((2,))
    first, second = dense(2)
    return keras.Model(inputs, layers.Add()([second(first(inputs)), inputs]))


@pytest.mark.parametrize("make", [functional, lambda: keras.Sequential(dense(2)), lambda: Model(dense()[0])])
def test_the_parts_of_a_model_are_its_public_layers(make):
    model = make()
    model(np.ones((1, 2), "float32"))
    direct = _keras.list_layers(model, include_self=False, recursive=False)
    assert direct[-len(model.layers) :] == model.layers  # after the input layer of a `Sequential`


@pytest.mark.parametrize("freeze", ["layer", "weight", "lora"])
def test_what_is_frozen_was_made_to_train_and_statistics_were_not(freeze):
    dense, norm = layers.Dense(2), layers.BatchNormalization()
    keras.Sequential([keras.Input((2,)), dense, norm])
    if freeze == "layer":
        dense.trainable = norm.trainable = False
    elif freeze == "weight":
        dense.kernel.trainable = False
    else:
        dense.enable_lora(1)
    assert not [weight for weight in dense.weights if not _keras.is_made_to_train(dense, weight)]
    made = [weight.name for weight in norm.weights if _keras.is_made_to_train(norm, weight)]
    assert made == ["gamma", "beta"]


def test_a_model_has_no_compiled_loss_at_first():
    model = keras.Sequential([keras.Input((2,)), *dense()])
    assert _keras.compiled_loss(model) is None
    assert _keras.compiled_loss(layers.Dense(2)) is None
    model.compile("sgd")
    assert _keras.compiled_loss(model) is None


def test_the_compiled_loss_computes_the_loss():
    model = keras.Sequential([keras.Input((2,)), *dense()])
    model.compile("sgd", "mse")
    y, outputs = np.zeros((3, 2), "float32"), np.full((3, 2), 2.0, "float32")
    loss = _keras.compiled_loss(model)
    assert loss.metrics == []
    assert float(loss(y, outputs)) == float(model.compute_loss(y=y, y_pred=outputs)) == 4


class Counting(layers.Layer):
    """Draws a weight from a generator and assigns another when it is built, and assigns a third in each call."""

    def build(self, input_shape):
        self.table = self.add_weight((2,), "zeros", name="table")
        self.table.assign(np.arange(2))
        self.count = self.add_weight((), "zeros", name="count")
        initializer = keras.initializers.GlorotUniform(keras.random.SeedGenerator(0))
        self.kernel = self.add_weight((3, 4), initializer)

    def call(self, x):
        self.count.assign_add(1)
        self.count.assign_add(1)
        return x @ self.kernel


@pytest.mark.parametrize(
    "is_around",
    [False, pytest.param(True, marks=pytest.mark.every_backend)],
    ids=["layer", "layer in a sequential model"],
)
def test_what_a_call_assigns_is_observed_and_what_building_assigns_is_not(is_around):
    found = []
    model = Counting()
    model = keras.Sequential([model]) if is_around else model
    with _keras.observe_assignments(lambda variable, value: found.append((variable.name, float(to_numpy(value))))):
        model(np.ones((2, 3), "float32"))
    assert found == [("count", 0), ("count", 1)]


@pytest.mark.every_backend
def test_a_new_global_generator_is_forgotten():
    def drawn():
        put_back, state = _keras.remember_global_generator(), random.getstate()
        found = []
        for _ in range(2):
            found.append(to_numpy(keras.random.normal((3,))))
            put_back()
            random.setstate(state)
        return found

    # Each thread has a generator of its own.
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        first, second = executor.submit(drawn).result()
    np.testing.assert_array_equal(first, second)


def test_the_global_seed_is_that_of_before():
    seed_of = sys.modules[keras.utils.set_random_seed.__module__].get_random_seed
    keras.utils.set_random_seed(1)
    put_back = _keras.remember_global_generator()
    keras.utils.set_random_seed(2)
    put_back()
    assert seed_of() == 1


def test_a_scope_that_gets_assigned_values_is_seen():
    assert not _keras.is_in_scope()
    with keras.StatelessScope():
        assert _keras.is_in_scope()
    assert not _keras.is_in_scope()


def test_what_compile_and_losses_got_is_found():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    model.compile("sgd", keras.losses.Huber(delta=3.0), loss_weights=2.0)
    assert _keras.read_loss_weights(model) == 2.0
    assert _keras.read_loss_arguments(model.loss)["delta"] == 3.0


def test_the_states_of_random_generators_are_those_of_layers_and_the_global_one():
    class Draws(layers.Layer):
        def __init__(self):
            super().__init__()
            self.generator = keras.random.SeedGenerator(0)

    dropout, draws = layers.Dropout(0.5, seed=1), Draws()
    keras.random.normal((1,))
    own, other, of_all = _keras.generator_states([dropout, layers.Dense(1), draws])
    assert own is dropout.seed_generator.state
    assert other is draws.generator.state
    before = to_numpy(of_all).copy()
    keras.random.normal((1,))
    assert (to_numpy(of_all) != before).any()


@pytest.mark.every_backend
def test_gradients_are_kept_and_no_step_is_taken():
    keeper = _keras.GradientKeeper()
    inputs = keras.Input((2,), dtype="int32")
    table, dense = layers.Embedding(3, 4), layers.Dense(1, kernel_initializer="ones", use_bias=False)
    model = keras.Model(inputs, dense(layers.Flatten()(table(inputs))))
    model.compile(keeper, lambda y_true, y_pred: keras.ops.sum(y_pred), jit_compile=False)
    before = model.get_weights()
    model.fit(np.array([[0, 0], [0, 2]]), np.zeros((2, 1)), verbose=0)
    for former, present in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(present, former)
    of_table, of_kernel = map(to_numpy, keeper.kept)
    np.testing.assert_array_equal(of_table, np.outer([3, 0, 1], np.ones(4)))  # a word that is used three times
    expected = before[0][[[0, 0], [0, 2]]].reshape(2, 8).sum(0)
    np.testing.assert_allclose(of_kernel[:, 0], expected, rtol=1e-5)


class Unregistered(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule without a config."""

    def __call__(self, step):
        return 0.1 / (1.0 + keras.ops.cast(step, "float32"))


@pytest.mark.every_backend
def test_an_optimizer_has_another_rate_for_a_while():
    optimizer = keras.optimizers.SGD(Unregistered())
    rate = keras.Variable(0.5, trainable=False)
    with _keras.replace_rate(optimizer, rate) as schedule:
        assert optimizer.get_config()["learning_rate"] == 0.5
    assert isinstance(schedule, Unregistered)
    assert float(to_numpy(optimizer.learning_rate)) == pytest.approx(0.1)
    optimizer.learning_rate = schedule


def test_an_optimizer_has_a_schedule_or_a_rate():
    schedule = Unregistered()
    assert _keras.read_schedule(keras.optimizers.SGD(schedule)) is schedule
    assert _keras.read_schedule(keras.optimizers.SGD(0.1)) is None


@pytest.mark.every_backend
def test_the_layers_in_the_attributes_of_a_layer_are_known():
    around = layers.TimeDistributed(layers.Dense(2))
    assert {**vars(around), **_keras.list_modules(around)}["layer"] is around.layer


@pytest.mark.every_backend
def test_an_optimizer_knows_the_places_of_its_weights_and_nadam_the_product_of_its_momenta():
    weights = [keras.Variable(np.zeros(2), name=name) for name in "ab"]
    nadam, adam = keras.optimizers.Nadam(), keras.optimizers.Adam()
    for optimizer in (nadam, adam):
        optimizer.build(weights)
        assert [_keras.index_in_optimizer(optimizer, weight) for weight in weights] == [0, 1]
    assert float(to_numpy(_keras.momentum_product(nadam))) == 1
    assert _keras.momentum_product(adam) is None
    further = keras.Variable(0.0)
    _keras.track(adam, further)
    assert adam.variables[-1] is further


def test_automatic_names_go_on_from_before():
    first = keras.backend.get_uid("dense")
    with _keras.preserve_names():
        layers.Dense(1)
    assert keras.backend.get_uid("dense") == first + 1

    # Each thread counts by itself, from none.
    def named():
        with _keras.preserve_names():
            layers.Dense(1)
        return layers.Dense(1).name

    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        assert executor.submit(named).result() == "dense"


@pytest.mark.every_backend
def test_symbolic_calls_are_made_by_a_function_and_noted_nowhere():
    dense, add, factor = layers.Dense(3), layers.Add(), keras.Variable(2.0)
    dense.build((None, 4))
    found = []

    def follow(operation, args, options):
        found.append((type(operation).__name__, [type(arg) is keras.KerasTensor for arg in keras.tree.flatten(args)]))
        return operation.compute_output_spec(*args, **options)

    kept = keras.Layer.__call__, keras.Operation.symbolic_call, keras.Variable.__mul__
    with _keras.follow_calls(follow, lambda *_: False):
        x = dense(keras.KerasTensor((2, 4)))
        y = add([x, keras.ops.relu(factor * x)])
        assert to_numpy(factor * dense(np.ones((2, 4)))).shape == y.shape  # of values, as ever
    assert found == [("Dense", [True]), ("Multiply", [False, True]), ("Relu", [True]), ("Add", [True, True])]
    assert not hasattr(y, "_keras_history")
    assert not dense._inbound_nodes
    assert kept == (keras.Layer.__call__, keras.Operation.symbolic_call, keras.Variable.__mul__)


def test_the_direction_of_metrics_is_known_and_no_result_of_a_subclass_is_taken_for_it():
    class ErrorRate(keras.metrics.BinaryAccuracy):
        def result(self):
            return 1 - super().result()

    assert _keras.metric_direction(keras.metrics.AUC()) == "up"
    assert _keras.metric_direction(keras.metrics.MeanSquaredError()) == "down"
    assert _keras.metric_direction(keras.metrics.Mean()) is None
    assert _keras.metric_direction(ErrorRate()) is None


def test_muon_decides_by_path_and_shape_what_it_leaves_to_adam():
    muon = keras.optimizers.Muon(exclude_layers=["last"])
    assert not _keras.is_left_to_adam(muon, "model/first/kernel", (4, 4))
    assert _keras.is_left_to_adam(muon, "model/last/kernel", (4, 4))
    assert _keras.is_left_to_adam(muon, "word_embedding/first/kernel", (4, 4))
    assert _keras.is_left_to_adam(muon, "model/first/bias", (4,))


class Held(keras.Model):
    """Holds layers in attributes, a list, a dict and a list within it, and one of them twice."""

    def __init__(self):
        super().__init__()
        self.zero = dense()[0]
        self.parts = [dense()[0], keras.Sequential(dense(2))]
        self.named = {"b": dense()[0], "a": self.zero}

    def call(self, x):
        for layer in [self.zero, *self.parts, *self.named.values()]:
            x = layer(x)
        return x


@pytest.mark.parametrize("make", [functional, lambda: keras.Sequential(dense(2)), Held])
def test_layers_are_saved_in_groups(make, tmp_path):
    model = make()
    model(np.zeros((1, 2), "float32"))
    model.save_weights(tmp_path / "a.weights.h5")
    found = {}
    with h5py.File(tmp_path / "a.weights.h5") as file:
        file.visititems(lambda name, node: found.update({name: node.attrs.get("name")}))
    saved = {name.rpartition("vars")[0].rstrip("/"): title for name, title in found.items() if title}
    assert {group: layer.name for layer, group in _keras.layers_by_group(model).items()} == saved
