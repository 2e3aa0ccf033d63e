"""A diagnosis leaves what a model keeps as it was, whoever keeps it, and needs nothing that can be trained."""

import concurrent.futures
import contextlib
import functools
import random
import threading
import time

import keras
import numpy as np
import pytest
from keras import layers
from modes import BACKEND, everywhere, needs_keras, to_numpy

import keras_initx
import keras_initx.tools.initialize

X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
Y = np.random.default_rng(1).normal(size=(16, 3)).astype("float32")

# Keras warns of a layer that a model never calls.
pytestmark = pytest.mark.filterwarnings(r"ignore:`build\(\)` was called")

needs_torch = pytest.mark.skipif(BACKEND != "torch", reason="modules of torch need torch")
needs_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="saved models of TensorFlow need TensorFlow")


def wrapped():
    """Return a model around a module of torch that keeps moving averages, and the module."""
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5))
    model = keras.Sequential([keras.Input((6,)), layers.TorchModuleWrapper(module), layers.Dense(3)])
    return model, module


def buffers(module):
    return {name: buffer.detach().cpu().numpy().copy() for name, buffer in module.named_buffers()}


@needs_torch
def test_moving_averages_of_a_failing_model_are_left():
    model, module = wrapped()
    before = buffers(module)

    def failing(targets, outputs):
        raise ArithmeticError("no loss today")

    with pytest.raises(ArithmeticError, match="no loss today"):
        keras_initx.diagnose(model, X, Y, loss=failing)
    for name, value in buffers(module).items():
        np.testing.assert_array_equal(value, before[name])
    model(X, training=True)
    assert module[1].num_batches_tracked == 1


@needs_torch
def test_a_module_that_was_frozen_without_telling_keras_has_no_gradient():
    model, module = wrapped()
    expected = keras_initx.diagnose(model, X, Y, loss="mse").rows[1].gradient.norm
    module.requires_grad_(False)
    report = keras_initx.diagnose(model, X, Y, loss="mse")
    wrapper, out = report.rows
    assert wrapper.gradient is None
    assert out.gradient.norm == pytest.approx(expected, rel=1e-5)
    assert report.ok
    assert not module[0].weight.requires_grad
    model.layers[1].requires_grad_(False)
    assert [layer.gradient for layer in keras_initx.diagnose(model, X, Y, loss="mse").rows] == [None, None]


@pytest.mark.every_backend
@needs_tensorflow
def test_variables_of_a_saved_model_are_left(tmp_path):
    import tensorflow as tf

    class Counting(tf.Module):
        def __init__(self):
            super().__init__()
            self.count = tf.Variable(0.0, trainable=False)

        @tf.function(input_signature=[tf.TensorSpec((None, 6), "float32")])
        def serve(self, x):
            self.count.assign_add(1.0)
            return x + 0 * self.count

    tf.saved_model.save(Counting(), str(tmp_path))
    layer = layers.TFSMLayer(str(tmp_path), call_endpoint="serve")
    keras_initx.diagnose(keras.Sequential([keras.Input((6,)), layer, layers.Dense(3)]), X, Y, loss="mse")
    assert [to_numpy(variable).item() for variable in layer.variables] == [0]


@pytest.mark.every_backend
@needs_tensorflow
def test_what_a_compiled_call_assigns_is_put_back():
    import tensorflow as tf

    class Compiled(layers.Layer):
        def __init__(self):
            super().__init__()
            self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

        @tf.function
        def call(self, x):
            self.calls.assign_add(1)
            return x

    model = with_unused(Compiled())
    keras_initx.diagnose(model, X[:5])  # traced for another shape
    assert to_numpy(model.parts[0].calls.value) == 0


@pytest.mark.parametrize("frozen", ["all", "first"])
def test_frozen_models_are_diagnosed(frozen):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, "tanh"), layers.Dense(3)])
    (model if frozen == "all" else model.layers[0]).trainable = False
    report = keras_initx.diagnose(model, X, Y, loss="mse")
    assert report.ok
    assert [layer.gradient is None for layer in report.rows] == [True, frozen == "all"]


def test_a_loss_that_nothing_trained_takes_part_in_has_gradients_of_zero():
    class Stopped(layers.Layer):
        def call(self, inputs):
            return keras.ops.stop_gradient(inputs)

    model = keras.Sequential([keras.Input((6,)), layers.Dense(3), Stopped()])
    (dense,) = keras_initx.diagnose(model, X, Y, loss="mse").rows
    assert dense.gradient.norm == 0


def state(model):
    return [to_numpy(variable.value).copy() for variable in model.variables]


class Leaving(layers.Layer):
    """Leaves something wherever a call can: a loss, a count, a metric, and numbers that were drawn."""

    def __init__(self):
        super().__init__(name="leaving")
        self.calls = self.add_weight((), "zeros", trainable=False, name="calls")
        self.metric = keras.metrics.Mean(name="size")
        self.generator = keras.random.SeedGenerator(0)

    def call(self, x):
        self.calls.assign(self.calls + 1)
        self.metric.update_state(x)
        self.add_loss(keras.ops.mean(keras.random.uniform((3,), seed=self.generator)) + np.float32(random.random()))
        return x * np.float32(np.random.normal())  # noqa: NPY002


RUNS = {
    "diagnose": lambda model: keras_initx.diagnose(model, X, Y),
    "lsuv": lambda model: keras_initx.lsuv(model, X, seed=0),
}


@pytest.mark.parametrize("run", [pytest.param("diagnose", marks=pytest.mark.release_backends), "lsuv"])
def test_a_call_of_the_model_leaves_only_what_the_function_sets(run):
    kept = [
        layers.Dense(4, "relu", activity_regularizer="l2"),
        layers.BatchNormalization(),
        Leaving(),
    ]
    model = keras.Sequential([keras.Input((6,)), *kept, layers.Dense(3)])
    model.compile("adam", "mse")
    model(X, training=True)

    def left():
        values = [to_numpy(one.value).tolist() for one in model.variables if "kernel" not in one.name]
        numbers = random.getstate(), np.random.get_state()[1:]  # noqa: NPY002
        return values, [id(loss) for loss in model.losses], str(numbers)

    before = left()
    assert len(model.losses) == 2
    RUNS[run](model)
    assert left() == before


def test_a_layer_that_is_made_in_a_diagnosis_has_added_nothing_to_the_loss():
    class Block(layers.Layer):
        def build(self, shape):
            self.dense = layers.Dense(3, activity_regularizer="l2")
            self.dense.build(shape)

        def call(self, x):
            return self.dense(x)

    model = keras.Sequential([Block(), layers.Dense(3)])
    keras_initx.diagnose(model, X)
    assert not model.losses


def next_numbers():
    """Return the numbers of the next automatic names."""
    made = [layers.Dense(1), keras.Sequential(), keras.Model(), keras.Variable(0.0), keras.random.SeedGenerator(0)]
    return [int("".join(filter(str.isdigit, one.name)) or 0) for one in made]


@pytest.mark.parametrize("loss", [None, ["mse", "mae"]], ids=["compiled", "given"])
def test_names_and_metrics_of_two_outputs_are_left(loss):
    inputs = keras.Input((6,))
    model = keras.Model(inputs, [layers.Dense(3)(inputs), layers.Dense(3)(inputs)])
    model.compile("sgd", ["mse", "mse"], metrics=[["mae"], [keras.metrics.MeanSquaredError()]])
    model.fit(X, [Y, Y], verbose=0)
    metrics, numbers = model.get_metrics_result(), next_numbers()
    keras_initx.diagnose(model, X, [Y, Y], loss=loss)
    assert next_numbers() == [number + 1 for number in numbers]
    assert model.get_metrics_result() == metrics


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND == "jax", reason="Keras cannot rematerialize a layer with state there")
@needs_keras("3.13", "tells a layer of torch that is called again that it trains")
def test_the_state_of_a_layer_that_the_backward_pass_calls_again_is_left():
    def stacked(scope):
        keras.utils.set_random_seed(0)
        with scope:
            again = [layers.BatchNormalization(), layers.Dropout(0.5, seed=1)]
        return keras.Sequential([keras.Input((6,)), *again, layers.Dense(3)])

    expected = keras_initx.diagnose(stacked(contextlib.nullcontext()), X, Y, loss="mse").rows[-1].gradient.norm
    model = stacked(keras.RematScope("full"))
    before = state(model)
    found = keras_initx.diagnose(model, X, Y, loss="mse").rows[-1].gradient.norm
    assert found == pytest.approx(expected, rel=1e-5)
    for one, other in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_states_of_a_recurrent_layer_are_left():
    sequences = X[:, :, None]
    model = keras.Sequential([keras.Input(batch_shape=(16, 6, 1)), layers.LSTM(3, stateful=True)])
    model(sequences)
    before = state(model)
    assert before[-1].any()
    keras_initx.diagnose(model, sequences, Y, loss="mse")
    for one, other in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(one, other)


class Keeping(layers.Layer):
    """Counts its calls, averages over them and draws from generators, whatever the mode."""

    def __init__(self):
        super().__init__()
        self.generator = keras.random.SeedGenerator(3)
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

    def build(self, shape):
        self.average = self.add_weight(shape=shape[-1:], initializer="zeros", trainable=False)
        self.late_generator = keras.random.SeedGenerator()

    def call(self, x):
        self.calls.assign_add(1)
        self.average.assign(0.9 * self.average + 0.1 * keras.ops.mean(x, axis=0))
        x = keras.random.dropout(keras.random.dropout(x, 0.3, seed=self.generator), 0.3, seed=self.generator)
        return x - self.average + keras.random.normal(x.shape[-1:], dtype=self.compute_dtype, seed=self.late_generator)


class Partly(keras.Model):
    """Has layers that it makes in its first call, and one that it never calls unless told to."""

    def __init__(self, *, uses_all=False):
        super().__init__()
        unbuilt = keras.Sequential([layers.Dense(4), Keeping()])
        self.parts = [layers.Dense(4, "tanh"), unbuilt]
        self.out, self.other, self.uses_all = layers.Dense(3), layers.Dense(3), uses_all
        self.late = None

    def call(self, x):
        if self.late is None:
            self.late = [Keeping(), layers.Dense(4)]
        for part in [*self.parts, *self.late]:
            x = part(x)
        return self.out(x) + self.other(x) if self.uses_all else self.out(x)


def partly(**options):
    keras.utils.set_random_seed(0)
    model = Partly(**options)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    return model


def fit(model):
    return model.fit(X, Y, batch_size=8, epochs=2, verbose=0).history["loss"]


def everything(model):
    """Return all that a training goes on from, but for the generator that models share."""
    kept = [to_numpy(variable.value).copy() for variable in [*model.variables, *model.optimizer.variables]]
    return [*kept, random.getstate()[1], np.random.get_state()[1]]  # noqa: NPY002, a layer may draw from it


def assert_same(ones, others):
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.release_backends
def test_a_model_trains_as_if_fit_had_built_it():
    losses, model = fit(partly()), partly()
    keras_initx.diagnose(model, X, Y)
    for layer in (model.parts[1].layers[-1], model.late[0]):
        assert not any(to_numpy(value.value).any() for value in (layer.calls, layer.average))
        assert to_numpy(layer.generator.state.value).tolist() == [3, 0]
        assert to_numpy(layer.late_generator.state.value)[1] == 0
    assert fit(model) == losses


def test_nothing_of_a_trained_model_with_a_layer_that_it_never_calls_is_changed():
    model = partly()
    fit(model)
    before = everything(model)
    keras_initx.diagnose(model, X, Y)
    assert_same(everything(model), before)
    keras_initx.lsuv(model, X, seed=0)
    names = [variable.name for variable in [*model.variables, *model.optimizer.variables]]
    pairs = zip([*names, "Python", "NumPy"], everything(model), before, strict=True)
    assert {name for name, *pair in pairs if not np.array_equal(*pair)} == {"kernel"}


def test_a_new_part_of_a_trained_model_is_built_and_nothing_else_changes():
    model = partly()
    fit(model)
    before = state(model)
    model.uses_all = True
    report = keras_initx.diagnose(model, X)
    assert "dense" in {layer.name.rstrip("_0123456789") for layer in report.rows}
    assert model.other.built
    new = [id(variable) for variable in model.other.variables]
    others = [variable for variable in model.variables if id(variable) not in new]
    assert_same([to_numpy(variable.value) for variable in others], before)


def test_a_layer_that_is_called_in_training_only_is_built_and_measured():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.out, self.extra = layers.Dense(3), layers.Dense(3)

        def call(self, x, training=False):
            return self.out(x) + self.extra(x) if training else self.out(x)

    report = keras_initx.diagnose(Model(), X, Y, loss="mse")
    first, second = (layer.gradient.norm for layer in report.rows)
    # Both have the same inputs, and what they give is added.
    assert first == pytest.approx(second, rel=1e-5)
    assert first > 0.1


def test_a_layer_that_is_never_called_costs_no_call_in_later_reports():
    model, calls = partly(), []
    call = model.call
    model.call = lambda x: calls.append(1) or call(x)
    keras_initx.diagnose(model, X)
    assert not model.other.built
    calls.clear()
    keras_initx.diagnose(model, X)
    assert len(calls) == 1


def test_layers_that_are_made_in_a_diagnosis_have_weights_of_their_own():
    models = [Partly(), Partly()]
    for model in models:
        keras_initx.diagnose(model, X)
    one, other = (to_numpy(model.late[1].kernel) for model in models)
    assert not np.array_equal(one, other)


class Calling(layers.Layer):
    """Does in each call what it is told to."""

    def __init__(self, told):
        super().__init__()
        self.told = told

    def call(self, x):
        return x + self.told()


def with_unused(*parts):
    """Return a model of `parts` that has been called once and has a layer that it never calls."""

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts, self.unused = list(parts), layers.Dense(2)

        def call(self, x):
            for part in self.parts:
                x = part(x)
            return x

    model = Model()
    model(X)
    assert not model.unused.built
    return model


@pytest.mark.rare
@pytest.mark.parametrize(
    "make",
    [
        lambda: random.random,
        lambda: np.random.normal,
        pytest.param(
            lambda: functools.partial(keras.random.normal, (6,)),
            marks=[
                needs_keras("3.13", "sets the seed of the generator that layers share"),
                pytest.mark.skipif(BACKEND == "jax", reason="Keras refuses a draw without a seed while JAX traces"),
            ],
        ),
        lambda: functools.partial(keras.random.normal, (6,), seed=keras.random.SeedGenerator(0)),
        lambda: lambda: layers.Dropout(0.5)(np.ones(6, "float32"), training=True),
    ],
    ids=["Python", "NumPy", "Keras", "untracked", "new layer"],
)
def test_what_a_call_draws_is_not_drawn_for_the_model(make):
    def drawn(*, diagnosed):
        keras.utils.set_random_seed(0)
        calling, draw, found = Calling(lambda: 0.0), make(), []
        model = with_unused(layers.Dense(6), calling)
        calling.told = draw
        for _ in range(2):
            if diagnosed:
                keras_initx.diagnose(model, X, X, loss="mse")
                keras_initx.lsuv(model, X, seed=0)
            found.append(to_numpy(draw()))
        return found

    assert_same(drawn(diagnosed=True), drawn(diagnosed=False))


def test_what_other_threads_assign_meanwhile_stays():
    other, values = keras.Variable(0.0), [1.0]

    def assign():
        if values:
            with concurrent.futures.ThreadPoolExecutor() as executor:
                executor.submit(other.assign, values.pop()).result()
        return 0.0

    model = with_unused(Calling(lambda: 0.0))
    model.parts[0].told = assign
    keras_initx.diagnose(model, X)
    assert to_numpy(other.value) == 1


def test_what_a_failing_call_has_assigned_is_put_back():
    keeping, failing = Keeping(), Calling(lambda: 0.0)
    model = with_unused(keeping, failing)
    before = state(model)

    def fail():
        raise ArithmeticError("no call today")

    failing.told = fail
    with pytest.raises(ArithmeticError, match="no call today"):
        keras_initx.diagnose(model, X)
    assert_same(state(model), before)


def test_what_a_failing_call_has_drawn_is_drawn_again():
    def draw():
        return random.random(), np.random.random()  # noqa: NPY002, a layer may draw from it

    def fail():
        draw()
        raise ArithmeticError("no call today")

    calling = Calling(lambda: 0.0)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(6), calling])
    calling.told = fail
    keras.utils.set_random_seed(0)
    expected = draw()
    keras.utils.set_random_seed(0)
    with pytest.raises(ArithmeticError, match="no call today"):
        keras_initx.diagnose(model, X)
    assert draw() == expected


def test_a_moving_average_keeps_its_digits_in_mixed_precision():
    with_digits = Keeping()
    with_digits.dtype_policy = keras.DTypePolicy("mixed_bfloat16")
    model = with_unused(with_digits)
    with_digits.average.assign(np.full(6, 1 / 3))
    keras_initx.diagnose(model, X)
    np.testing.assert_array_equal(to_numpy(with_digits.average.value), np.full(6, 1 / 3, "float32"))


class Assigning(layers.Layer):
    """Makes weights from a shared generator, and assigns one when it is built."""

    def __init__(self, generator):
        super().__init__()
        self.kernel_initializer = keras_initx.SmallNormal(seed=generator)

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], 6), self.kernel_initializer)
        self.table = self.add_weight((6,), "zeros")
        self.table.assign(np.arange(6))

    def call(self, x):
        return x @ self.kernel + self.table


@pytest.mark.every_backend
def test_what_building_draws_and_assigns_stays():
    def built(build):
        generator = keras.random.SeedGenerator(0)
        model = keras.Sequential([Assigning(generator), Assigning(generator)])
        build(model)
        return [*state(model), to_numpy(generator.next())]

    assert_same(built(lambda model: keras_initx.diagnose(model, X)), built(lambda model: model(X)))


@needs_torch
def test_a_wrapped_module_in_a_model_with_a_layer_that_it_never_calls_is_left():
    import torch

    model, module = wrapped()
    model = with_unused(*model.layers)
    module.eval()
    before, generator = buffers(module), torch.random.get_rng_state()
    keras_initx.diagnose(model, 5 + X, Y, loss="mse")
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert not module.training
    assert not module[1].training
    for name, value in buffers(module).items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("cells", ["one", "several"])
def test_a_recurrent_layer_that_gets_its_weights_begins_at_zero(cells):
    sequences = X[:, :, None]
    stack = [layers.GRUCell(4), layers.LSTMCell(3)]
    layer = layers.LSTM(3, stateful=True) if cells == "one" else layers.RNN(stack, stateful=True)
    assert keras_initx.diagnose(keras.Sequential([layer]), sequences).rows[0].shape == (16, 3)
    states = keras.tree.flatten(layer.states)
    assert len(states) == (2 if cells == "one" else 3)
    assert not any(to_numpy(state.value).any() for state in states)


def test_one_thread_waits_for_another():
    begun = threading.Event()

    class Slow(layers.Layer):
        def call(self, x):
            begun.set()
            time.sleep(0.1)
            return x

    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu"), Slow(), layers.Dense(3)])
    begun.clear()  # it was called to build the model
    with concurrent.futures.ThreadPoolExecutor() as executor:
        one = executor.submit(keras_initx.diagnose, model, X)
        assert begun.wait(10)
        other = keras_initx.diagnose(model, X)
        assert [layer.name for layer in one.result().rows] == [layer.name for layer in other.rows]
    assert model.layers[0].activation is keras.activations.relu
    assert "call" not in vars(model.layers[0])


@pytest.mark.release_backends
def test_what_one_thread_calls_for_gradients_is_not_recorded_by_another():
    first_pass_is_over, in_second_pass = threading.Event(), threading.Event()

    class Waiting(layers.Layer):
        def call(self, inputs):
            if first_pass_is_over.is_set() and not in_second_pass.is_set():
                in_second_pass.set()
                time.sleep(0.2)
            return inputs

    def loss(targets, outputs):
        first_pass_is_over.set()
        return keras.ops.mean((targets - outputs) ** 2)

    model = keras.Sequential([keras.Input((6,)), Waiting(), layers.Dense(4), layers.Dense(3)])
    with concurrent.futures.ThreadPoolExecutor() as executor:
        one = executor.submit(keras_initx.diagnose, model, X, Y, loss=loss)
        assert in_second_pass.wait(10)
        other = keras_initx.diagnose(model, X)
        one.result()
    assert [layer.after.size for layer in other.rows] == [16 * 4, 16 * 3]


@needs_torch
def test_gradients_are_measured_in_inference_mode_too():
    import torch

    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu"), layers.Dense(3)])
    expected = keras_initx.diagnose(model, X, Y, loss="mse").to_json()
    with torch.inference_mode():
        assert keras_initx.diagnose(model, X, Y, loss="mse").to_json() == expected
        assert torch.is_inference_mode_enabled()


def with_lora(*stack):
    model = keras.Sequential([keras.Input((6,)), *stack, layers.Dense(3)])
    for layer in model.layers:
        if hasattr(layer, "enable_lora"):
            layer.enable_lora(2)
    return model


MAKES_COPIES = {
    "LoRA of an embedding": lambda: with_lora(layers.Embedding(50, 4), layers.Flatten()),
    "mixed precision": lambda: with_lora(layers.Dense(8, "relu", dtype="mixed_float16")),
}
LEAVES_ALL = {
    "diagnose": lambda model, x: keras_initx.diagnose(model, x, Y),
    "steps": lambda model, x: keras_initx.diagnose(model, x, Y, steps=2),
    "audit": lambda model, x: keras_initx.audit(model),
    "contract": lambda model, x: keras_initx.contract(lambda: with_lora(layers.Dense(4)), draws=1),
    "plan": lambda model, x: keras_initx.initialize(model, {"*kernel": "he_normal"}, seed=0, dry_run=True),
    "lsuv": lambda model, x: keras_initx.lsuv(model, x, seed=0),
    "initialize": lambda model, x: keras_initx.initialize(model, seed=0),
}
COUNTED = ("cond", "dense", "embedding", "loss_scale_optimizer", "seed_generator", "sgd", "variable")


@pytest.mark.rare
@needs_keras("3.13", "sets the seed of the generator that layers share")
@pytest.mark.parametrize("name", MAKES_COPIES)
def test_what_is_made_next_has_the_name_and_the_seed_that_it_would_have_had(name):
    keras.utils.set_random_seed(0)
    model, x = MAKES_COPIES[name](), np.abs(X)
    optimizer = keras.optimizers.SGD(0.01)
    model.compile(keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=4.0), "mse")
    model.fit(x, Y, verbose=0)

    def drawn():
        return [*to_numpy(keras.random.uniform((2,))), random.random(), np.random.random()]  # noqa: NPY002, as people draw

    for tool, run in LEAVES_ALL.items():
        keras.utils.set_random_seed(5)
        expected = drawn()
        keras.utils.set_random_seed(5)
        before = [keras.backend.get_uid(kind) for kind in COUNTED]
        run(model, x)
        assert [keras.backend.get_uid(kind) - 1 for kind in COUNTED] == before, tool
        assert drawn() == expected, tool


def attributes(model):
    """Return the attributes of a model and of its layers."""
    return [dict(vars(part)) for part in (model, *model.layers)]


def small_model():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(4, "tanh", name="hidden"), layers.Dense(3, name="out")])
    model.compile("sgd", "mse", run_eagerly=BACKEND != "jax")
    return model


def test_a_diagnosis_leaves_no_attribute_in_a_model():
    model = small_model()
    model(X)  # Keras notes the first call
    before = attributes(model)
    keras_initx.diagnose(model, X, Y)
    for found, expected in zip(attributes(model), before, strict=True):
        assert found.keys() == expected.keys()
        assert all(found[name] is expected[name] for name in expected)


def test_a_study_leaves_no_attribute_in_a_model():
    made = []

    def build(initializer):
        made.append(small_model())
        return made[-1]

    plain = small_model()
    plain.fit(X, Y, validation_data=(X, Y), verbose=0)
    expected = [found.keys() for found in attributes(plain)]
    splits = (X, Y), (X, Y)
    study = keras_initx.compare_initializers(build, ["zeros", "ones"], splits, repeats=1, epochs=1)
    assert {trial["status"] for trial in study.trials.values()} == {"finished"}
    assert [[found.keys() for found in attributes(model)] for model in made] == [expected] * 2


class ActNorm(layers.Layer):
    """A layer that starts from its first data, and remembers in plain attributes that it has."""

    def __init__(self, **options):
        super().__init__(**options)
        self.ready = False
        self.seen = []

    def build(self, shape):
        self.shift = self.add_weight((shape[-1],), "zeros", name="shift")
        self.built_for = shape

    def call(self, x):
        if not self.ready and is_concrete(x):
            self.shift.assign(-keras.ops.mean(x, 0))
            self.ready = True
            self.seen.append(len(x))
            self.last = x
        return x + self.shift


def is_concrete(tensor):
    with contextlib.suppress(Exception):
        keras.ops.convert_to_numpy(keras.ops.stop_gradient(tensor))
        return not isinstance(tensor, keras.KerasTensor) and "meta" not in str(getattr(tensor, "device", ""))
    return False


class Started(keras.Model):
    def __init__(self):
        super().__init__()
        self.norm, self.out = ActNorm(), layers.Dense(3)

    def call(self, x):
        return self.out(self.norm(x))


@pytest.mark.parametrize("is_built", everywhere([True, False], [True], others=[pytest.mark.release_backends]))
def test_plain_attributes_that_call_sets_are_put_back(is_built):
    model = Started()
    if is_built:
        model.build((None, 6))
    model.compile("adam", "mse")
    report = keras_initx.diagnose(model, X + 5, Y, steps=2)
    keras_initx.record_outputs(model, X + 5)
    norm = model.norm
    assert (norm.ready, list(norm.seen), hasattr(norm, "last")) == (False, [], False)
    assert tuple(norm.built_for)[-1] == 6
    assert not to_numpy(norm.shift).any()
    assert "wrapping activation" not in [verdict.problem for verdict in report.verdicts]
    model(X + 5)
    np.testing.assert_allclose(to_numpy(norm.shift), -(X + 5).mean(0), rtol=1e-4)


def test_weights_that_call_assigns_get_the_gradient_of_training():
    if BACKEND == "jax":
        pytest.skip("in a trace the layer does not start")
    model = Started()
    model.build((None, 6))
    report = keras_initx.diagnose(model, X + 5, Y, loss="mse")
    assert report.rows[0].gradient.norm > 0


@needs_torch
def test_plain_attributes_of_modules_are_put_back():
    import torch

    class Starting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.ready = False
            self.shift = torch.nn.Parameter(torch.zeros(6))

        def forward(self, x):
            if x.device.type != "meta":
                self.ready = True
            return x + self.shift

    module = Starting()
    model = keras.Sequential([keras.Input((6,)), layers.TorchModuleWrapper(module), layers.Dense(3)])
    module.ready = False
    model.compile("adam", "mse")
    keras_initx.diagnose(model, X + 5, Y, steps=2)
    assert not module.ready


@needs_torch
@pytest.mark.parametrize("steps", [0, 2])
def test_a_module_that_sets_its_parameters_at_the_first_call_is_as_before(steps):
    """As the ActNorm of a flow: with its flag put back and its parameters not, it would set them twice."""
    import torch

    class DataDependent(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.loc = torch.nn.Parameter(torch.zeros(1, 6))
            self.register_buffer("ready", torch.tensor(False))

        def forward(self, x):
            if x.device.type != "meta" and not self.ready:
                self.loc.data.copy_(-x.mean(0, keepdim=True))
                self.ready.fill_(True)
            return x + self.loc

    module = DataDependent()
    model = keras.Sequential([keras.Input((6,)), layers.TorchModuleWrapper(module), layers.Dense(3)])
    module.loc.data.zero_()
    module.ready.fill_(False)
    model.compile("sgd", "mse")
    keras_initx.diagnose(model, X + 5, Y, steps=steps)
    assert not module.ready
    assert not module.loc.detach().any()


@needs_torch
def test_steps_train_the_parameters_of_a_module():
    import torch

    model, module = wrapped()
    model.compile(keras.optimizers.Adam(0.001), "mse")
    before = [parameter.detach().clone() for parameter in module.parameters()]
    report = keras_initx.diagnose(model, X, Y, steps=5)
    assert "diverging steps" not in [verdict.problem for verdict in report.verdicts]
    assert all(map(torch.equal, before, module.parameters()))
