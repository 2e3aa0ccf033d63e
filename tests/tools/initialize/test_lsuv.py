"""Layer-sequential unit variance: which layers are scaled, and that nothing else changes."""

import keras
import numpy as np
import pytest
from fused import Fused
from keras import layers
from modes import BACKEND, float64
from scaled_networks import STEPS, X, dense, same, status, values_of
from tied import SharedKernel

import keras_initx
from keras_initx import weight_seed
from keras_initx.inspection._inventory import Inventory

IMAGES = np.random.default_rng(1).normal(size=(32, 6, 6, 3)).astype("float32")


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
