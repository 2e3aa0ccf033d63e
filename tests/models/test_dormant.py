"""Units that do nothing, and their reset."""

import functools
import inspect

import keras
import numpy as np
import pytest
from modes import BACKEND, to_numpy
from tied import SharedKernel

from keras_initx import initialize, reset_dormant
from keras_initx.structure import kernel_axes

layers = keras.layers
X = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
IMAGES = np.random.default_rng(0).normal(size=(8, 8, 8, 2)).astype("float32")
DEAD = [0, 3]


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def kill(layer, dead=DEAD):
    """Give some units of a layer a bias that keeps them at 0, and all others one that keeps them above."""
    size = 1e4 if layer.name == "second" else 100.0
    layer.bias.assign([-10 * size if unit in dead else size for unit in range(layer.bias.shape[0])])


def dense():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, "relu", name="first"),
            layers.Dense(7, name="second"),
            layers.ReLU(),
            layers.Dropout(0.5),
            layers.Dense(3, name="logits"),
        ]
    )


def convolutional():
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            layers.Conv2D(8, 3, use_bias=True, name="first"),
            layers.BatchNormalization(name="norm"),
            layers.Activation("relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(5, 2, activation="relu", name="second"),
            layers.Flatten(),
            layers.Dense(3, name="logits"),
        ]
    )


def drawn(build, seed=1):
    model = build()
    initialize(model, seed=seed)
    return model


def rows(units):
    return {layer.path: (layer.size, layer.changed) for layer in units.rows}


def reasons(units):
    return {layer.path: layer.how for layer in units.left}


def state(model):
    optimizer = getattr(model, "optimizer", None)
    return [to_numpy(variable) for variable in (*model.variables, *(optimizer.variables if optimizer else ()))]


def test_a_dead_unit_gets_fresh_weights_and_has_no_effect():
    model, fresh = drawn(dense), drawn(dense, seed=2)
    first, second, logits = (model.get_layer(name) for name in ("first", "second", "logits"))
    kill(first)
    kill(second, [6])
    outputs, before = to_numpy(model(X)), model.get_weights()
    units = reset_dormant(model, X, threshold=0, seed=2)
    assert rows(units) == {"first": (8, 2), "second": (7, 1), "logits": (None, None)}
    expected, new = [value.copy() for value in before], fresh.get_weights()
    for place, dead in ((0, DEAD), (2, [6])):
        expected[place][:, dead] = new[place][:, dead]
        expected[place + 1][dead] = new[place + 1][dead]
    expected[2][DEAD] = 0
    expected[4][[6]] = 0
    for value, other in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(value, other)
    np.testing.assert_allclose(to_numpy(model(X)), outputs, rtol=1e-4, atol=0.1)
    assert (to_numpy(keras.ops.relu(X @ first.kernel + first.bias))[:, DEAD] > 0).any(axis=0).all()
    assert not to_numpy(logits.kernel)[6].any()


@pytest.mark.once
def test_channels_are_units_through_pooling_and_flattening():
    model, fresh = drawn(convolutional), drawn(convolutional, seed=2)
    norm = model.get_layer("norm")
    norm.beta.assign([-1000.0 if unit in DEAD else 100.0 for unit in range(8)])
    kill(model.get_layer("second"), [4])
    outputs = to_numpy(model(IMAGES))
    units = reset_dormant(model, IMAGES, threshold=0, seed=2)
    assert rows(units) == {"first": (8, 2), "second": (5, 1), "logits": (None, None)}
    assert np.flatnonzero(to_numpy(norm.beta) == 0).tolist() == DEAD
    first, second, logits = (to_numpy(model.get_layer(name).kernel) for name in ("first", "second", "logits"))
    np.testing.assert_array_equal(first[..., DEAD], to_numpy(fresh.get_layer("first").kernel)[..., DEAD])
    assert not second[:, :, DEAD].any()
    assert second[:, :, 1].all()
    assert not logits.reshape(-1, 5, 3)[:, 4].any()
    assert logits.reshape(-1, 5, 3)[:, 3].all()
    np.testing.assert_allclose(to_numpy(model(IMAGES)), outputs, rtol=1e-4, atol=0.1)


def test_the_score_is_relative_to_the_mean_of_the_layer():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, name="hidden"), layers.Dense(2, name="logits")])
    model.layers[0].set_weights([np.zeros((3, 4), "float32"), np.array([0.0, 0.1, -1.0, 2.9], "float32")])
    model.layers[0].kernel.assign(np.full((3, 4), 1e-9))
    found = [
        rows(reset_dormant(model, X[:, :3], threshold=threshold, dry_run=True))["hidden"][1]
        for threshold in (0.05, 0.11, 1.1)
    ]
    assert found == [1, 2, 3]


@pytest.mark.parametrize("scaled", [False, pytest.param(True, marks=pytest.mark.once)])
def test_moments_of_what_is_reset_start_anew(scaled):
    model = drawn(dense)
    kill(model.get_layer("first"))
    kill(model.get_layer("second"), [])
    adam = keras.optimizers.Adam(1e-4)
    model.compile(keras.optimizers.LossScaleOptimizer(adam, 8.0) if scaled else adam, "mse")
    model.fit(X, np.ones((64, 3)), verbose=0)
    moments = [variable for variable in model.optimizer.variables if len(variable.shape)]
    for moment in moments:
        moment.assign(np.ones(moment.shape))
    reset_dormant(model, X, threshold=0, seed=2)
    for moment in moments:
        expected = np.ones(moment.shape)
        if "first" in moment.path:
            expected[..., DEAD] = 0
        if "second_kernel" in moment.path:
            expected[DEAD] = 0
        np.testing.assert_array_equal(to_numpy(moment), expected, err_msg=moment.path)
    assert int(adam.iterations) == 2


@pytest.mark.once
@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has none")
def test_several_optimizers_keep_moments_of_their_weights():
    model = drawn(dense)
    kill(model.get_layer("first"))
    kill(model.get_layer("second"), [])
    only = {".*first.*": keras.optimizers.Adam(1e-4)}
    several = keras.optimizers.OptimizerMap(keras.optimizers.SGD(1e-4, momentum=0.9), only)
    model.compile(keras.optimizers.MultiOptimizer(several), "mse")
    model.fit(X, np.ones((64, 3)), verbose=0)
    reset_dormant(model, X, threshold=0, seed=2)
    moments = {variable.path: to_numpy(variable) for variable in model.optimizer.variables if len(variable.shape)}
    of_first = [moment for path, moment in moments.items() if "first" in path and "momentum" in path]
    assert of_first
    assert all((moment[..., DEAD] == 0).all() for moment in of_first)
    assert any(moment.any() for moment in moments.values())


def test_averages_of_weights_follow_them():
    model = drawn(dense)
    kill(model.get_layer("first"))
    kill(model.get_layer("second"), [])
    model.compile(keras.optimizers.SGD(1e-4, use_ema=True), "mse")
    model.optimizer.build(model.trainable_variables)
    averages = [slot for slot in model.optimizer.variables if "average" in slot.path]
    for average in averages:
        average.assign(np.ones(average.shape))
    reset_dormant(model, X, threshold=0, seed=2)
    for average, weight in zip(averages, model.trainable_variables, strict=True):
        new, expected = to_numpy(weight), np.ones(weight.shape)
        if "first" in weight.path:
            expected[..., DEAD] = new[..., DEAD]
        if "second/kernel" in weight.path:
            expected[DEAD] = 0
        np.testing.assert_array_equal(to_numpy(average), expected, err_msg=weight.path)


def test_training_goes_on_without_compiling_again():
    model = drawn(dense)
    kill(model.get_layer("first"))
    kill(model.get_layer("second"), [])
    model.compile("adam", "mse")
    model.fit(X, np.ones((64, 3)), verbose=0)
    function = model.train_function
    reset_dormant(model, X, threshold=0, seed=2)
    model.fit(X, np.ones((64, 3)), verbose=0)
    assert model.train_function is function
    assert rows(reset_dormant(model, X, threshold=0, seed=2))["first"] == (8, 0)


def residual():
    x = inputs = keras.Input((6,))
    y = layers.Dense(8, "relu", name="inside")(x)
    y = layers.Dense(6, name="branch")(y)
    x = layers.Add(name="sum")([x, y])
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def two_outputs():
    inputs = keras.Input((6,))
    x = layers.Dense(8, "relu", name="hidden")(inputs)
    return keras.Model(inputs, [x, layers.Dense(3, name="logits")(x)])


def shared():
    inputs = keras.Input((6,))
    last = layers.Dense(3, name="last")
    left, right = (layers.Dense(8, "relu", name=name)(inputs) for name in ("left", "right"))
    return keras.Model(inputs, [last(left), last(right)])


def several_users():
    inputs = keras.Input((6,))
    x = layers.Dense(8, "relu", name="hidden")(inputs)
    return keras.Model(inputs, [layers.Dense(3, name=name)(x) for name in ("one", "two")])


def memory():
    inputs = keras.Input((4, 6))
    x = layers.Dense(8, "relu", name="hidden")(inputs)
    return keras.Model(inputs, layers.Dense(3, name="logits")(layers.LSTM(5, name="memory")(x)))


def softmax():
    return keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, "softmax", name="hidden"), layers.Dense(3, name="logits")]
    )


def einsum(equation, output_shape):
    def build():
        hidden = layers.EinsumDense(equation, output_shape, bias_axes="d", activation="relu", name="hidden")
        x = inputs = keras.Input((8, 6))
        return keras.Model(inputs, layers.Dense(3, name="logits")(hidden(x)))

    return build


class Doubled(layers.Layer):
    """A layer that uses its inputs as they are, too."""

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], shape[-1]), name="kernel")

    def call(self, x):
        return x @ self.kernel + x


def after(*users):
    """Return a function that builds a network with layers that take another axis than the last for the units."""

    def build():
        return keras.Sequential(
            [keras.Input((8, 6)), layers.Dense(8, "relu", name="hidden"), *users, layers.Dense(3, name="logits")]
        )

    return build


FIRST = "channels_first"


class Tied(layers.Layer):
    """Multiplies by the transposed kernel of another layer."""

    def __init__(self, dense, **options):
        super().__init__(**options)
        self.dense = dense

    def call(self, x):
        return x @ keras.ops.transpose(self.dense.kernel)


def tied():
    hidden = layers.Dense(8, "relu", name="hidden")
    code = layers.Dense(4, name="code")
    return keras.Sequential([keras.Input((6,)), hidden, code, layers.Dense(8, name="back"), Tied(hidden, name="tied")])


class Uses(layers.Layer):
    """Adds the sum of a weight of another layer."""

    def __init__(self, weight, **options):
        super().__init__(**options)
        self.weight = weight

    def call(self, x):
        return x + keras.ops.sum(self.weight)


def uses(weight_of):
    def build():
        hidden = layers.Dense(8, "relu", name="hidden")
        code = layers.Dense(4, name="code")
        x = inputs = keras.Input((6,))
        x = code(hidden(x))
        return keras.Model(inputs, [x, Uses(weight_of(hidden, code), name="user")(inputs)])

    return build


def initial():
    inputs = keras.Input((4, 6))
    state = layers.Dense(6, "relu", name="state")(inputs[:, 0])
    x = layers.GRU(6, name="memory")(inputs, initial_state=state)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


class OwnCell(layers.SimpleRNNCell):
    """Has two kernels for its inputs."""

    def build(self, shape):
        super().build(shape)
        self.other = self.add_weight((shape[-1], self.units), name="other")


def own_cell():
    hidden = layers.Dense(8, "relu", name="hidden")
    rnn = layers.RNN(OwnCell(5), name="rnn")
    return keras.Sequential([keras.Input((4, 6)), hidden, rnn, layers.Dense(3, name="logits")])


def softmax_layer():
    hidden = layers.Dense(8, activation=layers.Softmax(), name="hidden")
    return keras.Sequential([keras.Input((6,)), hidden, layers.Dense(3, name="logits")])


def custom():
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(8, "relu", name="hidden"),
            Doubled(name="doubled"),
            layers.Dense(3, name="logits"),
        ]
    )


OUTPUT = "an output of the model"


@pytest.mark.once
@pytest.mark.parametrize(
    ("build", "left"),
    [
        (residual, {"branch": "used by sum", "logits": OUTPUT}),
        (two_outputs, {"hidden": OUTPUT, "logits": OUTPUT}),
        (shared, {"left": "used by last", "right": "used by last", "last": "last is not called once"}),
        (several_users, {"one": OUTPUT, "two": OUTPUT}),
        (memory, {"memory": "recurrent", "logits": OUTPUT}),
        (softmax, {"hidden": "its activation mixes units", "logits": OUTPUT}),
        (softmax_layer, {"hidden": "its activation mixes units", "logits": OUTPUT}),
        (tied, {"hidden": "tied uses its kernel too", "back": "used by tied"}),
        (initial, {"state": "used by memory", "memory": "recurrent", "logits": OUTPUT}),
        (own_cell, {"hidden": "used by rnn: ", "rnn": "recurrent", "logits": OUTPUT}),
        (einsum("abc,cd->adb", (8, 8)), {"hidden": "its units are not along the last axis", "logits": OUTPUT}),
        (after(layers.Flatten(FIRST, name="flat")), {"hidden": "used by flat", "logits": OUTPUT}),
        (after(layers.GlobalAveragePooling1D(FIRST, name="pool")), {"hidden": "used by pool", "logits": OUTPUT}),
        (
            after(layers.BatchNormalization(1, name="norm"), layers.Flatten()),
            {"hidden": "used by norm", "logits": OUTPUT},
        ),
        (
            lambda: keras.Sequential(
                [
                    keras.Input((8, 6)),
                    layers.Conv1D(8, 1, groups=2, name="hidden"),
                    layers.Conv1D(8, 1, name="next"),
                    layers.Conv1D(8, 1, groups=2, name="grouped"),
                ]
            ),
            {
                "hidden": "in groups or with channels first",
                "next": "used by grouped: in groups or with channels first",
                "grouped": "in groups or with channels first",
            },
        ),
        (
            after(layers.EinsumDense("abc,bd->acd", (8, 8), name="other axis"), layers.Flatten()),
            {
                "hidden": "used by other axis: its units are not along the last axis",
                "other axis": "its units are not along the last axis",
                "logits": OUTPUT,
            },
        ),
        (
            after(layers.BatchNormalization(center=False, scale=False, trainable=False, name="norm")),
            {"hidden": "norm is frozen", "logits": OUTPUT},
        ),
        (uses(lambda hidden, code: hidden.bias), {"hidden": "user uses its bias too", "code": OUTPUT}),
        (uses(lambda hidden, code: code.kernel), {"hidden": "user uses its kernel too", "code": OUTPUT, "user": ""}),
        (custom, {"hidden": "used by doubled: not a dense", "doubled": "not a dense layer", "logits": OUTPUT}),
    ],
)
def test_layers_whose_units_cannot_be_cut_out_are_left(build, left):
    model = drawn(build)
    x = np.resize(X, (8, *model.input_shape[1:]))
    found = reasons(reset_dormant(model, x, threshold=0, seed=2))
    assert found.keys() == left.keys()
    assert all(reason in found[path] for path, reason in left.items())


class TwoLayers(keras.Model):
    """Two layers in a row. Unlike `Sequential`, it does not ask an activation for shapes."""

    def __init__(self, first, last):
        super().__init__()
        self.first, self.last = first, last

    def call(self, x):
        return self.last(self.first(x))


def mixes_units(activation):
    """Return whether an activation gives a unit another value if only another one has changed."""
    changed = X.copy()
    changed[:, 0] += 1
    before, after = to_numpy(activation(X)), to_numpy(activation(changed))
    return before.shape != X.shape or not np.array_equal(before[:, 1:], after[:, 1:])


MIXES = "its activation mixes units"
WITH_ARGUMENTS = {"threshold": functools.partial(keras.activations.threshold, threshold=0.5, default_value=0.0)}
NOT_ACTIVATIONS = ("deserialize", "get", "serialize")
ACTIVATIONS = {
    name: WITH_ARGUMENTS.get(name, function)
    for name, function in vars(keras.activations).items()
    if inspect.isfunction(function) and name not in NOT_ACTIVATIONS
}


@pytest.mark.once
def test_of_the_activations_of_keras_those_that_mix_units_are_left():
    left = {}
    for name, activation in ACTIVATIONS.items():
        model = TwoLayers(layers.Dense(6, activation, name="hidden"), layers.Dense(2, name="logits"))
        left[name] = reasons(reset_dormant(model, X, dry_run=True)).get("hidden", "")
    mixing = {name for name, activation in ACTIVATIONS.items() if mixes_units(activation)}
    assert mixing == {"glu", "log_softmax", "softmax", "sparsemax"}
    assert left == {name: MIXES if name in mixing else "" for name in ACTIVATIONS}


def relu(x):
    """Divide the positive values by their sum. It has the name of a function of Keras."""
    positive = keras.ops.relu(x)
    return positive / (1 + keras.ops.sum(positive, axis=-1, keepdims=True))


class Normalized:
    def __call__(self, x):
        return relu(x)

    def method(self, x):
        return relu(x)


class NormalizedReLU(layers.ReLU):
    def call(self, x):
        return relu(x)


class NormalizedDense(layers.Dense):
    def call(self, x):
        return relu(super().call(x))


class OfNormalized(layers.Dense):
    def call(self, x):
        return super().call(relu(x))


def with_own_call():
    layer = layers.Dense(8, name="hidden")
    call = layer.call
    layer.call = lambda x, **options: relu(call(x, **options))
    return layer


def hidden(activation):
    return lambda: [layers.Dense(8, activation, name="hidden"), layers.Dense(3, name="logits")]


def between(layer):
    return lambda: [layers.Dense(8, name="hidden"), layer(), layers.Dense(3, name="logits")]


UNKNOWN = "its activation is not known to treat each unit by itself"
OWN_CALL = "its `call` is not Keras' own"
MIXING = {
    "function": (hidden(relu), UNKNOWN),
    "method": (hidden(Normalized().method), UNKNOWN),
    "object": (hidden(Normalized()), UNKNOWN),
    "partial": (hidden(functools.partial(relu)), UNKNOWN),
    "partial of Keras": (hidden(functools.partial(keras.activations.softmax, axis=-1)), MIXES),
    "layer": (hidden(layers.LayerNormalization()), UNKNOWN),
    "layer of one's own": (hidden(NormalizedReLU()), UNKNOWN),
    "layer with an activation": (hidden(layers.Activation("softmax")), MIXES),
    "function between": (between(lambda: layers.Activation(relu, name="act")), f"used by act: {UNKNOWN}"),
    "layer between": (between(lambda: NormalizedReLU(name="act")), f"used by act: {OWN_CALL}"),
    "own call": (lambda: [NormalizedDense(8, name="hidden"), layers.Dense(3, name="logits")], OWN_CALL),
    "own call of the next": (
        lambda: [layers.Dense(8, name="hidden"), OfNormalized(3, name="logits")],
        f"used by logits: {OWN_CALL}",
    ),
    "own call of an object": (lambda: [with_own_call(), layers.Dense(3, name="logits")], OWN_CALL),
}


@pytest.mark.parametrize(
    "name", [name if name == "function" else pytest.param(name, marks=pytest.mark.once) for name in MIXING]
)
def test_what_may_mix_units_is_left_with_the_reason(name):
    make, reason = MIXING[name]
    model = keras.Sequential([keras.Input((6,)), *make()])
    initialize(model, seed=1)
    kill(model.get_layer("hidden"))
    before = to_numpy(model(X))
    assert reasons(reset_dormant(model, X, threshold=0, seed=2))["hidden"] == reason
    np.testing.assert_array_equal(to_numpy(model(X)), before)


@pytest.mark.once
@pytest.mark.parametrize(
    "activation",
    [keras.ops.relu, functools.partial(keras.activations.relu, max_value=1e6), layers.ReLU()],
    ids=["operation", "partial", "layer"],
)
def test_an_activation_of_keras_may_have_any_form(activation):
    model = keras.Sequential([keras.Input((6,)), *hidden(activation)()])
    initialize(model, seed=1)
    kill(model.get_layer("hidden"))
    assert rows(reset_dormant(model, X, threshold=0, seed=2))["hidden"] == (8, 2)


def silence(layer, dead=DEAD):
    """Let some units of a layer be 0 for all inputs."""
    kernel = to_numpy(layer.kernel).copy()
    units = kernel_axes(layer, layer.kernel)[1][-1]
    np.moveaxis(kernel, units, 0)[dead] = 0
    layer.kernel.assign(kernel)
    layer.bias.assign([0.0 if unit in dead else 1.0 for unit in range(8)])


def ways():
    """Return the rank of the inputs, what makes 8 units, what is between, and what uses them."""
    return {
        "ELU": (1, layers.Dense(8), [layers.ELU()], layers.Dense(3)),
        "LeakyReLU": (1, layers.Dense(8), [layers.LeakyReLU()], layers.Dense(3)),
        "axis": (1, layers.Dense(8), [layers.BatchNormalization(1, center=False)], layers.Dense(3)),
        "Average1D": (2, layers.Conv1D(8, 2), [layers.AveragePooling1D(2)], layers.Conv1D(3, 1)),
        "Average2D": (3, layers.Conv2D(8, 2), [layers.AveragePooling2D(2)], layers.Conv2D(3, 1)),
        "Average3D": (4, layers.Conv3D(8, 2), [layers.AveragePooling3D(2)], layers.Conv3D(3, 1)),
        "Max1D": (2, layers.Conv1D(8, 2), [layers.MaxPooling1D(2)], layers.Conv1DTranspose(3, 1)),
        "Max3D": (4, layers.Conv3D(8, 2), [layers.MaxPooling3D(2)], layers.Conv3DTranspose(3, 1)),
        "GlobalAverage1D": (2, layers.Dense(8), [layers.GlobalAveragePooling1D()], layers.Dense(3)),
        "GlobalAverage2D": (3, layers.Dense(8), [layers.GlobalAveragePooling2D()], layers.Dense(3)),
        "GlobalAverage3D": (4, layers.Dense(8), [layers.GlobalAveragePooling3D()], layers.Dense(3)),
        "GlobalMax1D": (2, layers.Dense(8), [layers.GlobalMaxPooling1D()], layers.Dense(3)),
        "GlobalMax2D": (3, layers.Dense(8), [layers.GlobalMaxPooling2D()], layers.Dense(3)),
        "GlobalMax3D": (4, layers.Dense(8), [layers.GlobalMaxPooling3D()], layers.Dense(3)),
        "transposed": (3, layers.Conv2DTranspose(8, 2), [], layers.Conv2DTranspose(3, 1)),
        "GRU": (2, layers.Dense(8), [], layers.GRU(3)),
        "SimpleRNN": (2, layers.Dense(8), [], layers.SimpleRNN(3)),
    }


@pytest.mark.once
def test_units_are_followed_through_all_layers_that_treat_each_by_itself():
    inputs, outputs, users, paths = {}, [], [], ways()
    for name, (rank, first, between, last) in paths.items():
        first.name = f"{name}_hidden"
        x = inputs.setdefault(rank, keras.Input((*[4] * (rank - 1), 6), name=f"of_rank_{rank}"))
        for layer in (first, *between, last):
            x = layer(x)
        users.append(last)
        outputs.append(layers.Flatten()(x))
    model = keras.Model(list(inputs.values()), layers.Concatenate()(outputs))
    initialize(model, seed=1)
    for _, first, *_ in paths.values():
        silence(first)
    x = [normal(2, *[4] * (rank - 1), 6) for rank in inputs]
    before = to_numpy(model(x))
    units = reset_dormant(model, x, threshold=0, seed=2)
    assert {path: count for path, count in rows(units).items() if count[0]} == dict.fromkeys(
        [f"{name}_hidden" for name in paths], (8, 2)
    )
    np.testing.assert_array_equal(to_numpy(model(x)), before)
    for _, first, *_ in paths.values():
        kernel = np.moveaxis(to_numpy(first.kernel), kernel_axes(first, first.kernel)[1][-1], 0)
        assert kernel.reshape(8, -1).any(axis=1).all(), first.name
    for user in users:
        kernel = getattr(user, "cell", user).kernel
        kernel = np.moveaxis(to_numpy(kernel), kernel_axes(user, kernel)[0][-1], 0)
        assert (np.flatnonzero(~kernel.reshape(8, -1).any(axis=1)) == DEAD).all(), user.name


@pytest.mark.once
def test_the_score_is_a_mean_over_the_first_examples_and_all_positions_as_they_are_without_dropout():
    hidden = layers.Dense(4, name="hidden")
    model = keras.Sequential(
        [keras.Input((2, 4)), hidden, layers.Dropout(0.9, seed=0), layers.Flatten(), layers.Dense(2, name="logits")]
    )
    hidden.set_weights([np.eye(4), np.zeros(4)])
    # Means of sizes of 1, 2, 3 and 6, whose mean is 3. A later example would change them.
    positions = [[-2, 2, -3, 6], [0, -2, 3, 6]]
    x = np.array([positions, np.full((2, 4), 100.0)], "float32")
    for threshold, count in ((0.32, 0), (0.34, 1), (0.66, 1), (0.67, 2), (0.99, 2), (1.01, 3), (1.99, 3)):
        units = reset_dormant(model, x, threshold=threshold, batch_size=1, dry_run=True)
        assert rows(units)["hidden"] == (4, count), threshold
    assert rows(reset_dormant(model, x, threshold=0.67, dry_run=True))["hidden"] == (4, 0)


@pytest.mark.once
def test_rules_and_a_seed_that_is_drawn_are_those_of_the_fresh_weights():
    fresh, model, again = drawn(dense), drawn(dense), drawn(dense)
    for one in (model, again):
        kill(one.get_layer("first"))
        kill(one.get_layer("second"), [6])
    rules = {"first/kernel": "ones", "second/kernel": None}
    units = reset_dormant(model, X, rules, threshold=0)
    assert [(row.path, row.changed, row.how) for row in units.rows] == [
        ("first", 2, ""),
        ("second", None, "by rule"),
        ("logits", None, "an output of the model"),
    ]
    assert (to_numpy(model.get_layer("first").kernel)[:, DEAD] == 1).all()
    initialize(fresh, seed=reset_dormant(again, X, threshold=0).seed)
    new, expected = (to_numpy(one.get_layer("first").kernel)[:, DEAD] for one in (again, fresh))
    np.testing.assert_array_equal(new, expected)


@pytest.mark.once
def test_layers_are_named_by_their_paths_and_a_share_of_none_is_no_number():
    inner = keras.Sequential([layers.Dense(8), layers.Dense(7)], name="inner")
    model = keras.Sequential([keras.Input((6,)), inner, layers.Dense(3)])
    units = reset_dormant(model, X, seed=0, dry_run=True)
    assert [row.path for row in units.rows] == ["inner/dense", "inner/dense_1", "dense"]
    only = keras.Sequential([keras.Input((6,)), layers.Dense(3)])
    assert np.isnan(reset_dormant(only, X, seed=0).share)


@pytest.mark.once
def test_a_unit_is_dormant_if_it_is_so_for_all_that_use_it():
    inputs = keras.Input((6,))
    x = layers.Dense(8, name="hidden")(inputs)
    rectified = layers.Dense(3, name="rectified")(layers.ReLU()(x))
    model = keras.Model(inputs, [rectified, layers.Dense(3, name="direct")(x)])
    initialize(model, seed=1)
    layer = model.get_layer("hidden")
    # Two units that are negative, which only the ReLU does not pass, and one that is 0.
    kernel = to_numpy(layer.kernel)
    kernel[:, 5] = 0
    layer.kernel.assign(kernel)
    layer.bias.assign([0.0 if unit == 5 else -100.0 if unit in DEAD else 100.0 for unit in range(8)])
    before = [to_numpy(output) for output in model(X)]
    assert rows(reset_dormant(model, X, threshold=0, seed=2))["hidden"] == (8, 1)
    for value, other in zip(map(to_numpy, model(X)), before, strict=True):
        np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-4)
    for name in "rectified", "direct":
        assert (np.flatnonzero(~to_numpy(model.get_layer(name).kernel).any(axis=1)) == 5).all()


@pytest.mark.once
@pytest.mark.skipif(BACKEND == "tensorflow", reason="TensorFlow has no such convolution on a CPU")
@pytest.mark.parametrize("which", ["first", "second"])
def test_convolutions_with_channels_first_are_left(which):
    orders = {"first": "channels_last", "second": "channels_last", which: FIRST}
    # All lengths are those of the channels, so that only the order tells which axis they are.
    model = keras.Sequential(
        [
            keras.Input((8, 8)),
            layers.Conv1D(8, 1, activation="relu", data_format=orders["first"], name="first"),
            layers.Conv1D(8, 1, activation="relu", data_format=orders["second"], name="second"),
            layers.Flatten(),
            layers.Dense(3, name="logits"),
        ]
    )
    initialize(model, seed=1)
    kill(model.get_layer("first"))
    x = np.resize(X, (8, 8, 8))
    before = to_numpy(model(x))
    left = reasons(reset_dormant(model, x, threshold=0, seed=2))
    reason = "in groups or with channels first"
    assert left["first"] == (reason if which == "first" else f"used by second: {reason}")
    np.testing.assert_array_equal(to_numpy(model(x)), before)


@pytest.mark.once
def test_a_layer_with_no_weights_but_those_of_another_is_left():
    first = layers.Dense(8, "relu", name="hidden")
    first.build((None, 6))
    code = [layers.Dense(8, name="code"), SharedKernel(first.kernel, name="shared"), layers.Dense(3, name="logits")]
    model = keras.Sequential([keras.Input((6,)), first, *code])
    left = reasons(reset_dormant(model, X, seed=2, dry_run=True))
    assert left["hidden"] == "shared uses its kernel too"
    assert left["shared"] == "not a dense layer or a convolution"


class Scaled(layers.Dense):
    def build(self, shape):
        super().build(shape)
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")


@pytest.mark.once
def test_a_layer_with_a_single_number_is_left():
    model = keras.Sequential([keras.Input((6,)), Scaled(8, "relu", name="hidden"), layers.Dense(3)])
    assert reasons(reset_dormant(model, X, threshold=0, seed=2))["hidden"].startswith("scale has other units")


class WithOperation(TwoLayers):
    """An operation that is no layer is between the layers, and another layer is not called."""

    def __init__(self, first, last):
        super().__init__(first, last)
        self.unused = layers.Dense(4, name="unused")
        self.unused.build((None, 6))

    def call(self, x):
        return self.last(keras.ops.relu(self.first(x)))


@pytest.mark.once
def test_layers_whose_users_are_not_seen_are_left():
    model = WithOperation(layers.Dense(8, name="first"), layers.Dense(3, name="last"))
    model(X)
    before = state(model)
    left = {
        "first": "no layer uses the output of first",
        "last": "an output of the model",
        "unused": "unused is not called once",
    }
    assert reasons(reset_dormant(model, X, seed=2)) == left
    for value, other in zip(state(model), before, strict=True):
        np.testing.assert_array_equal(value, other)


@pytest.mark.once
def test_all_users_of_a_unit_are_cut():
    model = drawn(several_users)
    kill(model.get_layer("hidden"))
    assert rows(reset_dormant(model, X, threshold=0, seed=2))["hidden"] == (8, 2)
    for name in "one", "two":
        kernel = to_numpy(model.get_layer(name).kernel)
        assert not kernel[DEAD].any()
        assert np.delete(kernel, DEAD, axis=0).all()


@pytest.mark.once
def test_an_einsum_layer_is_a_dense_layer():
    model = drawn(einsum("abc,cd->abd", (8, 8)))
    kill(model.get_layer("hidden"))
    assert rows(reset_dormant(model, np.resize(X, (8, 8, 6)), threshold=0, seed=2))["hidden"] == (8, 2)
    assert not to_numpy(model.get_layer("logits").kernel)[DEAD].any()


@pytest.mark.once
def test_a_recurrent_layer_may_be_the_next():
    model = drawn(memory)
    kill(model.get_layer("hidden"))
    assert rows(reset_dormant(model, X.reshape(-1, 4, 6), threshold=0, seed=2))["hidden"] == (8, 2)
    assert not to_numpy(model.get_layer("memory").cell.kernel)[DEAD].any()


@pytest.mark.once
@pytest.mark.parametrize("frozen", ["first", "second"])
def test_frozen_layers_stay_as_they_are(frozen):
    model = drawn(dense)
    kill(model.get_layer("first"))
    kill(model.get_layer("second"), [])
    model.get_layer(frozen).trainable = False
    before = model.get_layer(frozen).get_weights()
    assert "frozen" in reasons(reset_dormant(model, X, threshold=0, seed=2))["first"]
    for value, other in zip(model.get_layer(frozen).get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, other)


@pytest.mark.once
def test_a_bias_that_is_frozen_by_itself_stays_as_it_is():
    model = drawn(dense)
    layer = model.get_layer("first")
    kill(layer)
    layer.bias.trainable = False
    before = layer.get_weights()
    assert reasons(reset_dormant(model, X, threshold=0, seed=2))["first"] == "first is frozen"
    for value, other in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, other)


@pytest.mark.once
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_head_of_another_precision_is_a_user(policy):
    inputs = keras.Input((6,))
    hidden = layers.Dense(8, "relu", dtype=policy, name="hidden")(inputs)
    aside = layers.Dense(2, dtype=policy, name="aside")(hidden)
    model = keras.Model(inputs, [aside, layers.Dense(3, dtype="float32", name="logits")(hidden)])
    initialize(model, seed=1)
    kill(model.get_layer("hidden"))
    before = [to_numpy(output) for output in model(X)]
    assert rows(reset_dormant(model, X, threshold=0, seed=2))["hidden"] == (8, 2)
    for value, other in zip(map(to_numpy, model(X)), before, strict=True):
        np.testing.assert_array_equal(value, other)


@pytest.mark.parametrize("number", [np.nan, pytest.param(np.inf, marks=pytest.mark.once)])
def test_outputs_that_are_not_finite_say_nothing(number):
    model = drawn(dense)
    bias = model.get_layer("first").bias
    bias.assign(np.full(bias.shape, number))
    assert reasons(reset_dormant(model, X, threshold=0, seed=2))["first"] == "its output is not finite"


def test_the_batch_leaves_no_trace():
    model = drawn(convolutional)
    kill(model.get_layer("second"), [])
    before = state(model)
    assert reset_dormant(model, IMAGES, threshold=0, seed=2).share == 0
    for value, other in zip(state(model), before, strict=True):
        np.testing.assert_array_equal(value, other)


class Steps(layers.Layer):
    """Counts the calls of its recurrent layer, which goes on where it was after the batch before."""

    def __init__(self):
        super().__init__(name="steps")
        self.memory = layers.LSTM(5, stateful=True)
        self.dense = layers.Dense(3)
        self.calls = self.add_weight((), "zeros", trainable=False, name="calls")

    def build(self, shape):
        self.memory.build(shape)
        self.dense.build((shape[0], 5))

    def call(self, x):
        self.calls.assign(self.calls + 1)
        return self.dense(self.memory(x))


@pytest.mark.once
def test_the_batch_leaves_no_trace_in_layers_that_remember():
    model = keras.Sequential([keras.Input((4, 6), batch_size=16), layers.Dense(8, name="hidden"), Steps()])
    steps = model.layers[-1]
    model(X[:64].repeat(4, axis=0).reshape(-1, 4, 6)[:16])
    kept = [*steps.memory.states, steps.calls]
    before = [to_numpy(variable).copy() for variable in kept]
    assert all(value.any() for value in before)
    reset_dormant(model, normal(16, 4, 6), seed=2)
    for variable, value in zip(kept, before, strict=True):
        np.testing.assert_array_equal(to_numpy(variable), value)


@pytest.mark.once
def test_an_optimizer_with_other_moments_is_refused():
    model = drawn(dense)
    model.compile(keras.optimizers.Adafactor(1e-4), "mse")
    model.fit(X, np.ones((64, 3)), verbose=0)
    kill(model.get_layer("first"))
    kill(model.get_layer("second"), [])
    before = state(model)
    with pytest.raises(ValueError, match=r"`model` must have an optimizer whose moments have the shapes"):
        reset_dormant(model, X, threshold=0, seed=2)
    for value, other in zip(state(model), before, strict=True):
        np.testing.assert_array_equal(value, other)
    assert reset_dormant(model, X, threshold=0, seed=2, reset=False).share > 0


@pytest.mark.once
def test_the_result_is_a_table():
    model = drawn(dense)
    kill(model.get_layer("first"))
    kill(model.get_layer("second"), [])
    units = reset_dormant(model, X, threshold=0, seed=2, dry_run=True)
    assert repr(units) == "<Changes: 13.3% of the units of 3 layers to be reset, 1 left, seed 2>"
    assert str(units).splitlines()[2].split() == ["first", "8", "2", "reset"]


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"threshold": -0.1}, ValueError, "`threshold` must not be negative. Received: threshold=-0.1"),
        ({"x": "data"}, TypeError, "`x` must be an array"),
        ({"x": X[:0]}, ValueError, "`x` must have at least one example"),
        ({"reset": None}, TypeError, "`reset` must be True or False"),
        ({"atomic": 1}, TypeError, "`atomic` must be True or False"),
        ({"dry_run": "no"}, TypeError, "`dry_run` must be True or False"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be a positive integer. Received: batch_size=0"),
        ({"model": "dense"}, TypeError, "`model` must be a Keras model. Received: model='dense'"),
    ],
)
def test_refuses_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        reset_dormant(**{"model": drawn(dense), "x": X, **arguments})


@pytest.mark.once
def test_a_model_with_attention_keeps_it():
    inputs = keras.Input((6, 8))
    hidden = layers.MultiHeadAttention(2, 4)(inputs, inputs)
    hidden = layers.Dense(16, "relu", bias_initializer=keras.initializers.Constant(-50.0))(hidden)
    model = keras.Model(inputs, layers.Dense(2)(hidden))
    kept = [to_numpy(weight) for weight in model.layers[1].weights]
    found = reset_dormant(model, np.ones((4, 6, 8), "float32"), seed=0)
    assert sum(layer.changed or 0 for layer in found.rows) == 16
    for weight, values in zip(model.layers[1].weights, kept, strict=True):
        np.testing.assert_array_equal(to_numpy(weight), values)


class InTraining(keras.Model):
    """Two layers in a row, and in training another branch after the first."""

    def __init__(self, branch, *, after):
        super().__init__()
        self.first, self.last = layers.Dense(8, "relu", name="first"), layers.Dense(3, name="last")
        self.branch, self.after = branch, after

    def call(self, x, training=False):
        hidden = self.first(x)
        if not training:
            return self.last(hidden)
        if self.after:
            return self.last(self.branch(hidden))
        self.add_loss(keras.ops.mean(self.branch(hidden)))
        return self.last(hidden)


@pytest.mark.once
@pytest.mark.parametrize(
    ("branch", "after", "left"),
    [
        (lambda: layers.Dense(2, name="extra"), False, "used by extra in training"),
        (lambda: layers.BatchNormalization(name="norm"), True, "used by norm in training"),
        (lambda: layers.GaussianNoise(0.1), True, ""),
    ],
    ids=["loss", "normalization", "noise"],
)
def test_a_layer_whose_outputs_go_elsewhere_in_training_is_left(branch, after, left):
    model = InTraining(branch(), after=after)
    x = np.resize(X, (4, 5, 6))
    model(x, training=True)
    kill(model.first)
    before = state(model)
    found = {row.path: row for row in reset_dormant(model, x, threshold=0, seed=2, dry_run=True).rows}["first"]
    assert (found.how, found.changed) == (left, None if left else len(DEAD))
    for one, other in zip(state(model), before, strict=True):
        np.testing.assert_array_equal(one, other)
