"""Layer-sequential unit variance: what is scaled, what is left and why, and that nothing else changes."""

import keras
import numpy as np
import pytest
from fused import Fused
from keras import layers
from modes import BACKEND, float64, to_numpy
from tied import SharedKernel

import keras_initx
from keras_initx import weight_seed
from keras_initx.inspection._inventory import Inventory

X = np.random.default_rng(0).normal(size=(64, 6)).astype("float32")
IMAGES = np.random.default_rng(1).normal(size=(32, 6, 6, 3)).astype("float32")
STEPS = np.random.default_rng(2).normal(size=(32, 5, 4)).astype("float32")


def values_of(model):
    return [np.array(keras.ops.convert_to_numpy(variable), "float32") for variable in model.variables]


def same(first, second):
    return all(np.array_equal(*pair) for pair in zip(first, second, strict=True))


def dense(*hidden, **options):
    return keras.Sequential([keras.Input((6,)), *hidden, layers.Dense(3, **options)])


def status(result):
    return [row.status for row in result.rows]


def reasons(result):
    return {row.path: row.detail for row in result.left}


@pytest.mark.release_backends
def test_each_layer_of_a_deep_network_has_unit_variance_before_its_activation():
    model = dense(*(layers.Dense(20, "tanh") for _ in range(3)), activation="tanh")
    kernel = values_of(model)[0]
    result = keras_initx.lsuv(model, X, seed=0)
    signal = X
    for layer, row in zip(model.layers, result.rows, strict=True):
        before = signal @ keras.ops.convert_to_numpy(layer.kernel)
        assert before.var() == pytest.approx(1, abs=0.1)
        assert row.after == pytest.approx(before.var(), rel=1e-3)
        signal = np.tanh(before)
    assert status(result) == ["scaled"] * 4
    assert result.rows[0].before == pytest.approx((X @ kernel).var(), rel=1e-3)


def test_a_seed_gives_one_result_whatever_was_built_and_done_before():
    def run():
        keras.utils.set_random_seed(np.random.randint(1 << 30))  # noqa: NPY002, what `seed` must not depend on
        model = dense(layers.Dense(5, "relu"), layers.Dropout(0.5))
        return keras_initx.lsuv(model, X, seed=3), values_of(model)[0]

    (first, kernel), (second, again) = run(), run()
    assert np.array_equal(kernel, again)
    assert [row.after for row in first.rows] == [row.after for row in second.rows]


def test_no_seed_draws_one_that_gives_the_same_again():
    model = dense()
    result = keras_initx.lsuv(model, X)
    kernel = values_of(model)[0]
    keras_initx.lsuv(model, X, seed=result.seed)
    assert np.array_equal(values_of(model)[0], kernel)


def test_all_kinds_of_convolutions_and_residual_branches_are_scaled():
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    y = layers.DepthwiseConv2D(3, padding="same")(layers.BatchNormalization()(x))
    y = layers.SeparableConv2D(8, 3, padding="same", activation="relu")(y)
    x = layers.Conv2DTranspose(4, 3, strides=2)(layers.Dropout(0.5)(layers.Add()([x, y])))
    result = keras_initx.lsuv(keras.Model(inputs, x), IMAGES, seed=0)
    assert status(result) == ["scaled"] * 4
    assert max(abs(row.after - 1) for row in result.rows) < 0.1


def test_attention_and_recurrent_layers_are_scaled():
    inputs = keras.Input((5, 4))
    x = layers.MultiHeadAttention(2, 3, dropout=0.5)(inputs, inputs)
    x = layers.Bidirectional(layers.SimpleRNN(3, return_sequences=True))(x)
    x = layers.TimeDistributed(layers.Dense(4))(x)
    model = keras.Model(inputs, x)
    result = keras_initx.lsuv(model, STEPS, seed=0)
    assert status(result) == ["scaled"] * 7
    assert max(abs(row.after - 1) for row in result.rows) < 0.1
    biases = [weight.variable for weight in Inventory(model).weights if weight.name == "bias"]
    assert not any(keras.ops.convert_to_numpy(bias).any() for bias in biases)


def test_directions_that_a_gpu_computes_at_once_are_scaled_one_by_one():
    model = keras.Sequential([keras.Input((5, 4)), Fused(layers.LSTM(3, return_sequences=True))])
    assert status(keras_initx.lsuv(model, STEPS, seed=0)) == ["scaled"] * 2


def test_a_convolution_over_time_is_scaled_by_what_its_gates_get():
    frames = IMAGES[:8].reshape(8, 2, 18, 3)
    layer = layers.ConvLSTM1D(2, 5, padding="same")
    result = keras_initx.lsuv(keras.Sequential([keras.Input((2, 18, 3)), layer]), frames, seed=0, tolerance=1e-3)
    gates = keras.ops.conv(frames.reshape(16, 18, 3), layer.cell.kernel, padding="same")
    variance = keras.ops.convert_to_numpy(gates).var()
    assert result.rows[0].after == pytest.approx(variance, rel=1e-4) == pytest.approx(1, abs=1e-3)


class Averaging(layers.Layer):
    """Subtracts a mean over all calls from what its kernel gives."""

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], 3), name="kernel")
        self.mean = self.add_weight((3,), "zeros", trainable=False, name="mean")

    def call(self, x):
        self.mean.assign_add(keras.ops.mean(x @ self.kernel, axis=0) + 1)
        return x @ self.kernel - self.mean


@pytest.mark.parametrize(
    ("first", "shape"),
    [
        pytest.param(lambda: layers.SimpleRNN(3, stateful=True), (5, 4), marks=pytest.mark.release_backends),
        (Averaging, (6,)),
    ],
    ids=["recurrent", "custom"],
)
def test_a_layer_with_state_passes_on_what_its_first_call_gives(first, shape):
    model = keras.Sequential([keras.Input(shape, batch_size=32), first(), layers.Dense(3)])
    result = keras_initx.lsuv(model, (STEPS if len(shape) == 2 else X)[:32], seed=0)
    assert result.rows[-1].after == pytest.approx(1, abs=1e-3)


def test_the_recurrent_kernel_stays():
    model = keras.Sequential([keras.Input((5, 4)), layers.LSTM(3)])
    kernel, recurrent, _ = values_of(model)[:3]
    keras_initx.lsuv(model, STEPS, seed=0)
    assert same(values_of(model)[1:2], [recurrent])
    assert not np.array_equal(values_of(model)[0], kernel)
    assert (STEPS @ values_of(model)[0]).var() == pytest.approx(1, abs=0.1)


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


class Noisy(layers.Layer):
    """A block that draws noise in training, and tells its normalization in which mode it is, or that it is frozen."""

    def __init__(self, *, is_frozen, kept):
        super().__init__()
        self.norm, self.is_frozen = layers.BatchNormalization(epsilon=0.0), is_frozen
        generator = keras.random.SeedGenerator(0)
        self.generators = {"attribute": generator, "dict": {"noise": generator}}[kept]
        self.draw = lambda shape: keras.random.normal(shape, stddev=100.0, seed=generator)

    def build(self, shape):
        self.norm.build(shape)

    def call(self, x, training=False):
        x = self.norm(x, training=False if self.is_frozen else training)
        return x + self.draw(x.shape) if training else x


@pytest.mark.parametrize(
    ("is_frozen", "kept"),
    [pytest.param(False, "attribute", marks=pytest.mark.release_backends), (True, "attribute"), (False, "dict")],
    ids=["passed on", "frozen", "dict"],
)
def test_a_block_without_its_noise_still_normalizes_by_the_batch(is_frozen, kept):
    model = dense(Noisy(is_frozen=is_frozen, kept=kept))
    result = keras_initx.lsuv(model, 100 * X, seed=0, tolerance=1e-4)
    kernel = keras.ops.convert_to_numpy(model.layers[-1].kernel)
    received = 100 * X if is_frozen else (X - X.mean(axis=0)) / X.std(axis=0)
    assert (received @ kernel).var() == pytest.approx(1, rel=1e-3)
    assert result.rows[-1].after == pytest.approx(1, rel=1e-3)


def test_what_follows_a_recurrent_layer_is_scaled_without_its_dropout():
    def scaled(seed):
        keras.utils.set_random_seed(0)
        layer = layers.RNN([layers.SimpleRNNCell(3, dropout=0.5, recurrent_dropout=0.5, seed=seed)])
        model = keras.Sequential([keras.Input((5, 4)), layer, layers.Dense(2)])
        return keras_initx.lsuv(model, STEPS, seed=0).rows[-1].after, values_of(model.layers[-1])[0]

    (first, kernel), (second, other) = scaled(1), scaled(2)
    assert first == second
    assert np.array_equal(kernel, other)


def test_a_shared_layer_is_scaled_at_its_first_call():
    shared, inputs = layers.Dense(6, "relu"), keras.Input((6,))
    result = keras_initx.lsuv(keras.Model(inputs, shared(shared(inputs))), X, seed=0)
    assert (X @ keras.ops.convert_to_numpy(shared.kernel)).var() == pytest.approx(1, abs=0.1)
    assert len(result.rows) == 1


def test_a_bias_takes_more_steps():
    bias = keras.initializers.Constant([0.9, -0.9, 0.0])
    result = keras_initx.lsuv(dense(bias_initializer=bias), 10 * X, seed=0)
    assert result.rows[0].detail.endswith(" steps")
    assert result.rows[0].after == pytest.approx(1, abs=0.1)


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


class Around(layers.Layer):
    """Multiplies by a kernel between two layers with kernels."""

    def __init__(self):
        super().__init__()
        self.first, self.last = layers.Dense(6, "relu"), layers.Dense(6)

    def build(self, shape):
        self.kernel = self.add_weight((6, 6), name="kernel")
        self.first.build(shape)
        self.last.build((None, 6))

    def call(self, x):
        return x + self.last(self.first(x) @ self.kernel)


def test_layers_inside_another_are_scaled_for_what_it_passes_to_them_at_last():
    inputs = keras.Input((6,))
    layer = Around()
    model = keras.Model(inputs, layer(inputs))
    outer, first, last = keras_initx.lsuv(model, 30 * X, seed=0, tolerance=1e-3).rows
    assert (outer.status, first.status, last.status) == ("left", "scaled", "scaled")
    received = layer.first(30 * X) @ layer.kernel
    assert keras.ops.convert_to_numpy(layer.last(received)).var() == pytest.approx(1, abs=1e-3)


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


def test_a_layer_of_ones_own_with_two_kernels_shares_the_factor():
    class Gated(layers.Layer):
        def build(self, shape):
            self.first = self.add_weight(shape=(shape[-1], 8))
            self.second = self.add_weight(shape=(8, 4))

        def call(self, x):
            return keras.ops.relu(x @ self.first) @ self.second

    result = keras_initx.lsuv(keras.Sequential([keras.Input((6,)), Gated()]), X, seed=0)
    assert (status(result), result.rows[0].detail) == (["scaled"], "1 step")


def test_a_model_without_weights_gets_them_and_a_dict_of_inputs_is_taken():
    class Two(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, inputs):
            return self.dense(inputs["a"]) + inputs["b"]

    # The examples after the first 32 are not used.
    x = np.where(np.arange(64)[:, None] < 32, X, 100 * X)
    model = Two()
    result = keras_initx.lsuv(model, {"a": x, "b": x[:, :3]}, seed=0, batch_size=32, tolerance=1e-3)
    outputs = X[:32] @ keras.ops.convert_to_numpy(model.dense.kernel)
    assert result.rows[0].after == pytest.approx(outputs.var(), rel=1e-4) == pytest.approx(1, abs=1e-3)


def test_weights_and_outputs_of_16_bits_are_scaled():
    model = dense(layers.Dense(8, "tanh", dtype="bfloat16"), dtype="mixed_float16")
    assert status(keras_initx.lsuv(model, X, seed=0)) == ["scaled", "scaled"]


@pytest.mark.release_backends
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_takes_no_digit_of_a_kernel(policy):
    # In the call of such a layer, its kernel has 16 bits.
    model = dense(dtype=policy)
    keras_initx.lsuv(model, X, seed=0)
    (kernel, _) = values_of(model)
    rounded = keras.ops.cast(keras.ops.cast(kernel, policy.removeprefix("mixed_")), "float32")
    assert not np.any(kernel == keras.ops.convert_to_numpy(rounded))


def test_a_constraint_holds():
    sparse = keras_initx.Sparse(2, seed=0)
    model = dense(kernel_initializer=sparse, kernel_constraint=keras_initx.KeepSparse(sparse))
    zeros = values_of(model)[0] == 0
    assert keras_initx.lsuv(model, X, seed=0).rows[0].after == pytest.approx(1, abs=0.1)
    assert np.array_equal(values_of(model)[0] == 0, zeros)


def test_a_constraint_is_that_of_the_scaled_kernel():
    model = dense(kernel_constraint=keras.constraints.UnitNorm())
    before = values_of(model)
    result = keras_initx.lsuv(model, 10 * X, seed=0)
    assert reasons(result) == {"dense": "its output does not follow its kernel"}
    assert same(values_of(model), before)


def test_each_kernel_starts_as_an_orthonormal_matrix_of_inputs_and_units_by_the_seed_of_its_path():
    inner = keras.Sequential([layers.Dense(6, name="a"), layers.Dense(6, name="b")], name="inner")
    stack = [layers.Conv1D(6, 3, name="conv"), layers.Conv1DTranspose(3, 2, name="back"), layers.Dense(2, name="out")]
    model = keras.Sequential([keras.Input((5, 6)), inner, *stack])
    result = keras_initx.lsuv(model, np.resize(X, (12, 5, 6)), seed=4)
    assert [row.path for row in result.rows] == ["inner/a", "inner/b", "conv", "back", "out"]
    inputs = {"conv": (0, 1), "back": (0, 2)}
    for weight in Inventory(model).weights:
        if weight.name == "kernel":
            path = weight.path.removesuffix("/kernel")
            start = keras_initx.Orthogonal(seed=weight_seed(weight.path, 4), input_axes=inputs.get(path, (0,)))
            found, expected = (np.array(keras.ops.convert_to_numpy(v)) for v in (weight.variable, start(weight.shape)))
            np.testing.assert_allclose(found / found.std(), expected / expected.std(), atol=1e-4, err_msg=path)


def test_a_kernel_of_float64_is_orthonormal_to_its_digits():
    with float64():
        model = dense(layers.Dense(5, dtype="float64", name="wide"))
        keras_initx.lsuv(model, X, seed=0)
        kernel = keras.ops.convert_to_numpy(model.layers[0].kernel)
    gram = kernel.T @ kernel
    np.testing.assert_allclose(gram / gram[0, 0], np.eye(5), atol=1e-12)


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


class AlwaysNoisy(layers.Layer):
    """Draws noise in either mode, and does not ask for it."""

    def __init__(self):
        super().__init__()
        self.generator = keras.random.SeedGenerator(0)

    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x), seed=self.generator)


def test_a_layer_may_draw_without_an_argument_for_the_mode():
    assert status(keras_initx.lsuv(dense(AlwaysNoisy()), X, seed=0)) == ["scaled"]


class Counting(layers.Layer):
    """Counts how often it is called: in a compiled function, how often that is traced."""

    calls = 0

    def call(self, x):
        self.calls += 1
        return x


@pytest.mark.release_backends
def test_nothing_but_kernels_changes_and_a_compiled_model_trains_on_from_them():
    counting = Counting()
    model = dense(layers.BatchNormalization(momentum=0.5), layers.Dropout(0.5), counting)
    model.compile(keras.optimizers.SGD(0.0, momentum=0.9), "mse")
    model.fit(X, X[:, :3], verbose=0)
    before = values_of(model)
    keras_initx.lsuv(model, X, seed=0)
    after = values_of(model)
    changed = [v.name for v, *two in zip(model.variables, before, after, strict=True) if not np.array_equal(*two)]
    assert changed == ["kernel"]
    counting.calls = 0
    model.fit(X, X[:, :3], verbose=0)
    kernel = next(index for index, variable in enumerate(model.variables) if variable.name == "kernel")
    assert np.array_equal(values_of(model)[kernel], after[kernel])
    assert keras.backend.backend() == "torch" or not counting.calls


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"model": "dense"}, TypeError, "`model` must be a Keras model. Received: model='dense'"),
        ({"seed": -1}, ValueError, "`seed` must be .* Received: seed=-1"),
        ({"tolerance": 0}, ValueError, "`tolerance` must be a positive number. Received: tolerance=0"),
        ({"max_steps": 0}, ValueError, "`max_steps` must be a positive integer. Received: max_steps=0"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be a positive integer. Received: batch_size=0"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, text):
    with pytest.raises(error, match=text):
        keras_initx.lsuv(**{"model": dense(), "x": X, **arguments})


def test_a_kernel_is_scaled_in_the_layer_that_made_it():
    first = layers.Dense(8, name="first")
    first.build((None, 6))
    model = dense(first, SharedKernel(first.kernel, name="shared"), name="last")
    result = keras_initx.lsuv(model, X, seed=0)
    assert [(row.path, row.status) for row in result.rows] == [("first", "scaled"), ("last", "scaled")]


def test_a_dry_run_measures_and_changes_nothing():
    model = dense()
    before = values_of(model)
    planned = keras_initx.lsuv(model, X, seed=0, dry_run=True)
    for value, former in zip(values_of(model), before, strict=True):
        np.testing.assert_array_equal(value, former)
    assert planned.rows == keras_initx.lsuv(model, X, seed=0).rows


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


@pytest.mark.release_backends
@pytest.mark.skipif(BACKEND != "jax", reason="JAX tells which arrays there are")
def test_a_pass_holds_each_new_kernel_once():
    import jax

    counts = []

    class Counting(layers.Layer):
        def call(self, x):
            alive = [array for array in jax.live_arrays() if array.shape == (23, 23)]
            counts.append(len({array.unsafe_buffer_pointer() for array in alive}))  # several may share memory
            return x

    model = keras.Sequential([keras.Input((23,)), *[layers.Dense(23) for _ in range(3)], Counting()])
    keras_initx.lsuv(model, np.random.default_rng(0).normal(size=(8, 23)), seed=0)
    assert max(counts) == 2 * 3  # beside the former ones
