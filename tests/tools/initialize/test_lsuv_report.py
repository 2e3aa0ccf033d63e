"""What LSUV reports of each layer: whether it was scaled, and if it was left, the reason."""

import keras
import numpy as np
import pytest
import results
from keras import layers
from modes import to_numpy
from scaled_networks import STEPS, X, dense, same, status, values_of

import keras_initx


def reasons(result):
    return {row.path: row.detail for row in result.left}


class Cell(layers.Layer):
    """A cell of one's own, with a kernel of any name and order of axes."""

    def __init__(self, name, *, is_transposed=False):
        super().__init__()
        self.kernel_name, self.is_transposed = name, is_transposed
        self.state_size = 3

    def build(self, shape):
        sizes = (self.state_size, shape[-1])
        kernel = self.add_weight(sizes if self.is_transposed else sizes[::-1], name=self.kernel_name)
        setattr(self, self.kernel_name, kernel)

    def call(self, inputs, states):
        kernel = getattr(self, self.kernel_name)
        state = keras.ops.tanh(inputs @ (keras.ops.transpose(kernel) if self.is_transposed else kernel) + states[0])
        return state, [state]


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        (lambda: [layers.LSTMCell(3, dropout=0.5), layers.GRUCell(3)], "the kernels of its cell are not known"),
        (lambda: Cell("weight"), "the kernels of its cell are not known"),
        (lambda: Cell("kernel", is_transposed=True), "its output is not known or not floating-point"),
    ],
    ids=["stacked", "another name", "transposed"],
)
def test_cells_whose_kernel_is_not_known_stay_and_what_follows_is_scaled(cell, reason):
    recurrent = layers.RNN(cell(), name="recurrent")
    model = keras.Sequential([keras.Input((5, 4)), recurrent, layers.Dense(3)])
    before = values_of(recurrent)
    result = keras_initx.lsuv(model, STEPS, seed=0)
    assert reasons(result) == {"recurrent": reason}
    assert result.rows[0].before is None
    assert same(values_of(recurrent), before)
    assert result.rows[1].after == pytest.approx(1, abs=0.1)


def test_a_cell_of_ones_own_with_the_kernel_of_keras_is_scaled():
    model = keras.Sequential([keras.Input((5, 4)), layers.RNN(Cell("kernel"))])
    keras_initx.lsuv(model, STEPS, seed=0)
    assert (STEPS @ values_of(model)[0]).var() == pytest.approx(1, abs=0.1)


def adapted(layer):
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(np.full((2, 6), 10.0))


@pytest.mark.rare
@pytest.mark.parametrize(
    ("treat", "reason"),
    [(lambda layer: layer.quantize("int8"), "quantized"), (adapted, "frozen")],
    ids=["int8", "lora"],
)
def test_a_quantized_or_adapted_layer_stays_and_what_follows_is_scaled(treat, reason):
    first = layers.Dense(6, name="first")
    model = dense(first)
    treat(first)
    before = values_of(first)
    result = keras_initx.lsuv(model, X, seed=0)
    assert reasons(result) == {"first": reason}
    assert same(values_of(first), before)
    assert result.rows[-1].after == pytest.approx(1, abs=0.1)


def test_a_bias_that_is_too_large_is_reported_and_the_kernel_left():
    first = layers.Dense(3, bias_initializer=keras.initializers.Constant([5.0, -5.0, 0.0]), name="first")
    model = dense(first)
    before = values_of(model)
    result = keras_initx.lsuv(model, X, seed=0, tolerance=1e-4)
    assert reasons(result) == {"first": "its output does not follow its kernel"}
    assert same(values_of(first), before[:2])
    # What follows receives what the former kernel gives.
    received = X @ before[0] + before[1]
    assert (received @ keras.ops.convert_to_numpy(model.layers[-1].kernel)).var() == pytest.approx(1, abs=1e-3)


class Responding(layers.Layer):
    """Applies a function to what its kernel gives."""

    def __init__(self, function):
        super().__init__(name="responding")
        self.function = function

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], 3), name="kernel")

    def call(self, x):
        return self.function(x @ self.kernel)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 3 * keras.ops.sign(x),
        lambda x: keras.ops.where(keras.ops.std(x) > 0.5, 9 * x, 0 * x),
        lambda x: keras.ops.where(keras.ops.std(x) < 2, x / 9, x * np.inf),
    ],
    ids=["constant", "vanishes", "overflows"],
)
def test_a_kernel_that_the_output_does_not_follow_is_left(function):
    model = keras.Sequential([keras.Input((6,)), Responding(function)])
    before = values_of(model)
    result = keras_initx.lsuv(model, X, seed=0)
    assert reasons(result) == {"responding": "its output does not follow its kernel"}
    assert same(values_of(model), before)


class Mapped(layers.Layer):
    """Applies its activation to one example after the other, inside a trace."""

    def __init__(self):
        super().__init__(name="mapped")
        self.activation = keras.activations.tanh

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], 3), name="kernel")

    def call(self, x):
        return keras.ops.vectorized_map(lambda one: self.activation(one @ self.kernel), x)


class Standardized(layers.Wrapper):
    """Rewrites the kernel of a layer after each call."""

    def call(self, x):
        outputs = self.layer(x)
        self.layer.kernel.assign(self.layer.kernel / keras.ops.std(self.layer.kernel))
        return outputs


@pytest.mark.release_backends
@pytest.mark.parametrize("wrapper", [layers.SpectralNormalization, Standardized])
@pytest.mark.parametrize("regularizer", [None, "l2"])
def test_a_kernel_that_an_outer_layer_rewrites_is_left_and_what_follows_is_scaled_on_its_signal(wrapper, regularizer):
    inner = layers.Dense(16, name="inner", kernel_regularizer=regularizer)
    model = keras.Sequential([keras.Input((8,)), wrapper(inner, name="outer"), layers.Dense(4, name="last")])
    before = to_numpy(inner.kernel.value).copy()
    x = np.random.default_rng(0).normal(size=(256, 8)).astype("float32")
    result = keras_initx.lsuv(model, x, seed=0)
    rows = {row.path: row for row in result.rows}
    (path,) = [path for path in rows if path.endswith("inner")]
    assert rows[path].status == "left"
    assert rows[path].detail == "its output does not follow its kernel, which another layer rewrites at each call"
    np.testing.assert_array_equal(to_numpy(inner.kernel.value), before)
    assert rows["last"].status == "scaled"
    outputs = to_numpy(model(x, training=True))
    assert outputs.var() == pytest.approx(1, abs=0.15)


def test_a_layer_is_not_scaled_by_what_its_activation_gives_where_it_gets_no_values():
    model = keras.Sequential([keras.Input((6,)), Mapped()])
    assert reasons(keras_initx.lsuv(model, X, seed=0)) == {"mapped": "its output is not known or not floating-point"}


def test_too_few_steps_are_said_to_be_too_few():
    bias = keras.initializers.Constant([0.9, -0.9, 0.0])
    result = keras_initx.lsuv(dense(bias_initializer=bias), 10 * X, seed=0, max_steps=1, tolerance=1e-3)
    assert status(result) == ["not reached"]
    assert [row.detail for row in result.rows] == ["1 step"]


def test_what_cannot_be_scaled_is_left_with_the_reason():
    frozen = layers.Dense(6, name="frozen", trainable=False)
    branch = layers.Dense(6, kernel_initializer="zeros", name="branch")
    behind = layers.Dense(6, name="behind")
    inputs = keras.Input((6,))
    x = frozen(inputs)
    x = layers.Add()([x, behind(branch(x))])
    constant = layers.Dense(2, name="constant")(layers.Lambda(lambda x: 0 * x + 1)(x))
    model = keras.Model(inputs, [layers.Dense(2, name="last")(x), constant])
    before = values_of(model)
    result = keras_initx.lsuv(model, X, seed=0)
    assert reasons(result) == {
        "frozen": "frozen",
        "branch": "its kernel is zero",
        "behind": "its output is zero",
        "constant": "its output is the same for all examples",
    }
    changed = zip(model.variables, before, values_of(model), strict=True)
    assert {variable.path.split("/")[0] for variable, *two in changed if not np.array_equal(*two)} == {"last"}


class Positions(layers.Layer):
    def build(self, shape):
        self.position_embedding = self.add_weight(shape[1:], name="position_embedding")

    def call(self, x):
        return x + self.position_embedding


def test_embeddings_stay_and_what_follows_is_scaled():
    stack = [layers.Embedding(9, 4, name="words"), Positions(name="places"), layers.Dense(3)]
    model = keras.Sequential([keras.Input((5,), dtype="int32"), *stack])
    result = keras_initx.lsuv(model, np.arange(40).reshape(8, 5) % 9, seed=0)
    assert reasons(result) == dict.fromkeys(["words", "places"], "an embedding, which does not multiply its input")
    assert status(result) == ["left", "left", "scaled"]


def test_a_constraint_is_that_of_the_scaled_kernel():
    model = dense(kernel_constraint=keras.constraints.UnitNorm())
    before = values_of(model)
    result = keras_initx.lsuv(model, 10 * X, seed=0)
    assert reasons(result) == {"dense": "its output does not follow its kernel"}
    assert same(values_of(model), before)


class Partly(keras.Model):
    """Calls a recurrent layer by keyword, and another layer not at all."""

    def __init__(self):
        super().__init__()
        self.unused = layers.Dense(3, name="unused")
        self.unused.build((None, 4))
        self.recurrent = layers.GRU(3, name="recurrent")

    def call(self, x):
        return self.recurrent(sequences=x)


def test_a_layer_that_is_not_called_comes_last_and_is_left():
    model = Partly()
    result = keras_initx.lsuv(model, STEPS, seed=0, tolerance=1e-3)
    first, last = result.rows
    assert (first.path, first.status, first.after) == ("recurrent", "scaled", pytest.approx(1, abs=1e-3))
    reason = "not called, or in a compiled function"
    assert last == keras_initx.types.ScaledLayer("unused", "left", reason)


def test_outputs_that_are_not_finite_are_said_to_be_so():
    model = dense(layers.Rescaling(np.inf))
    before = values_of(model)
    (row,) = keras_initx.lsuv(model, X, seed=0).rows
    assert (row.status, row.detail) == ("left", "its output is not finite")
    assert np.isnan(row.before)
    assert same(values_of(model), before)


def test_the_table_says_how_far_each_layer_came():
    rows = [
        keras_initx.types.ScaledLayer("a", "not reached", "2 steps", before=12.345, after=1.0467),
        keras_initx.types.ScaledLayer("b", "left", "frozen"),
        keras_initx.types.ScaledLayer("c", "scaled", "1 step", before=0.5, after=1.0),
    ]
    result = keras_initx.types.LsuvReport(rows, 7)
    header, _, *lines, _, _ = (line.split() for line in str(result).splitlines())
    assert header == ["layer", "before", "after", "status"]
    assert lines == [
        ["a", "12.3", "1.05", "not", "reached:", "2", "steps"],
        ["b", "left:", "frozen"],
        ["c", "0.5", "1", "scaled:", "1", "step"],
    ]


def test_a_model_without_kernels_has_no_rows():
    nothing = keras_initx.lsuv(keras.Sequential([keras.Input((6,)), layers.Activation("relu")]), X, seed=3)
    assert repr(nothing) == "<LsuvReport: 0 layers: none, seed 3>"


def test_modules_of_torch_are_left():
    import torch

    modules = [torch.nn.Linear(6, 8), torch.nn.ReLU()]  # the second one without weights
    model = keras.Sequential([*map(layers.TorchModuleWrapper, modules), layers.Dense(3)])
    model(X)
    before = values_of(model)
    wrapped, dense = keras_initx.lsuv(model, X).rows
    assert (wrapped.status, wrapped.detail) == ("left", "of another framework, which reads its weights without Keras")
    assert dense.after == pytest.approx(1, abs=0.1)
    assert same(before[:2], values_of(model)[:2])


def test_the_figure_shows_the_variances_before_and_after():
    found = results.lsuv()
    shown = results.points(found.plot())
    assert shown["before"] == [(place, row.before) for place, row in enumerate(found.rows, 1)]
    assert shown["after"] == [(place, row.after) for place, row in enumerate(found.rows, 1)]
