"""Large weights and gradients are measured without a copy of them."""

import math
import tracemalloc
import weakref

import keras
import numpy as np
import pytest
from asked import asked
from keras import layers
from modes import BACKEND

import keras_initx
from keras_initx.backends import CHUNK, Moments, backend
from keras_initx.diagnostics._kernel_values import kernel_values

RNG = np.random.default_rng(0)
# Of two chunks, the second of them shorter.
LONG = (300, 400)


def values_of(kernel, dtype="float32", bias=None):
    """Return what is known of the values of a kernel."""
    layer = layers.Dense(kernel.shape[1], dtype=dtype, use_bias=bias is not None)
    model = keras.Sequential([keras.Input((len(kernel),)), layer])
    layer.set_weights([kernel] if bias is None else [kernel, bias])
    (values,) = asked(kernel_values, model, np.ones((1, len(kernel)))).values()
    return values


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.every_backend)])
def test_a_weight_is_measured_in_blocks(dtype):
    layer = layers.Dense(2048, dtype=dtype, kernel_initializer=keras_initx.HeNormal(seed=0))
    model = keras.Sequential([keras.Input((2048,)), layer])
    tracemalloc.start()
    report = keras_initx.diagnose(model, np.ones((2, 2048)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.ok
    assert peak < 4 << 20  # of 8 MiB and more


@pytest.mark.every_backend
@pytest.mark.usefixtures("shared_memory")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_view_of_a_variable_is_no_copy(dtype):
    variable = keras.Variable(np.ones((3, 4)), dtype=dtype)
    first, second = backend.host_view(variable.value), backend.host_view(variable.value)
    assert np.shares_memory(first, second)
    assert (first.dtype.name, first.tolist()) == (dtype, [[1.0] * 4] * 3)


@pytest.mark.skipif(BACKEND != "torch", reason="hooks see gradients in torch only")
def test_a_gradient_is_dropped_before_the_next_one():
    model = keras.Sequential([keras.Input((6,)), *[layers.Dense(6, use_bias=False) for _ in range(4)]])
    gradients, alive = [], []

    def watch(gradient):
        alive.append(sum(earlier() is not None for earlier in gradients))
        gradients.append(weakref.ref(gradient))

    for weight in model.weights:
        weight.value.register_hook(watch)
    keras_initx.diagnose(model, np.ones((2, 6)), np.ones((2, 6)), loss="mse")
    assert alive == [0, 0, 0, 0]
    assert [len(weight.value._backward_hooks) for weight in model.weights] == [1] * 4


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "jax", reason="JAX compiles the gradients")
@pytest.mark.usefixtures("optimized")
def test_a_program_does_not_return_gradients(monkeypatch):
    import jax

    compiled, compile = [], jax.stages.Lowered.compile

    def watched(lowered):
        program = compile(lowered)
        compiled.append(program.memory_analysis())
        return program

    model = keras.Sequential([keras.Input((64,)), *[layers.Dense(64, use_bias=False) for _ in range(2)]])
    monkeypatch.setattr(jax.stages.Lowered, "compile", watched)
    keras_initx.diagnose(model, np.ones((2, 64)), np.ones((2, 64)), loss="mse")
    assert compiled[-1].output_size_in_bytes < 4096


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow has sparse gradients")
def test_the_gradient_of_an_embedding_has_a_row_for_each_token(monkeypatch):
    import tensorflow as tf

    read, view = [], type(backend).host_view
    monkeypatch.setattr(type(backend), "host_view", lambda self, tensor: read.append(tensor) or view(self, tensor))
    model = keras.Sequential([keras.Input((3,), dtype="int32"), layers.Embedding(5000, 4), layers.Flatten()])
    keras_initx.diagnose(model, np.array([[7, 7, 9]]), np.ones((1, 12)), loss="mse")
    shapes = {tuple(tensor.shape) for tensor in read if not isinstance(tensor, tf.Variable)}
    # Indices, outputs, targets, and the gradient.
    assert {shape for shape in shapes if len(shape) > 1} == {(1, 3), (1, 3, 4), (1, 12), (2, 4)}


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND == "jax", reason="JAX has no other gradients than of whole tables")
def test_the_gradient_of_a_row_is_the_sum_over_its_uses():
    model = keras.Sequential([keras.Input((3,), dtype="int32"), layers.Embedding(50, 4)])
    summed = keras_initx.diagnose(
        model, np.array([[7, 7, 9]]), np.zeros((1, 3, 4)), loss=lambda y, outputs: keras.ops.sum(outputs)
    )
    assert summed.layers[0].gradient.norm == pytest.approx(math.sqrt(4 * (2**2 + 1**2)))


@pytest.mark.parametrize("scale", [1e-30, pytest.param(1e30, marks=pytest.mark.every_backend)])
def test_gradients_beyond_the_squares_of_float32_have_norms(scale):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, use_bias=False)])
    report = keras_initx.diagnose(model, np.full((1, 2), scale), np.zeros((1, 3)), loss="mean_absolute_error")
    assert report.layers[0].gradient.norm == pytest.approx(math.sqrt(6) / 3 * scale, rel=1e-6)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_gradient_that_is_not_finite_has_such_a_norm(value):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, use_bias=False, kernel_initializer="ones")])
    factors = np.array([[1, value]], "float32")
    report = keras_initx.diagnose(
        model, factors, np.zeros((1, 3)), loss=lambda y, outputs: keras.ops.sum(outputs), batch_size=1
    )
    assert report.layers[0].gradient.norm == pytest.approx(value, nan_ok=True)


def test_moments_are_those_of_all_chunks_and_arrays():
    values = RNG.normal(1e6, 1e-2, 3 * CHUNK + 17)
    values[5] = 0
    moments = Moments(values[:1000], values[1000:])
    assert (moments.size, moments.zeros) == (values.size, 1)
    assert moments.mean == pytest.approx(values.mean(), rel=1e-14)
    assert Moments(values[6:]).std == pytest.approx(values[6:].std(), rel=1e-9)
    assert moments.norm == pytest.approx(np.linalg.norm(values), rel=1e-12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], (0, 0, 0)), ([1, np.inf], (np.inf, np.nan, np.inf)), ([1, np.nan], (np.nan, np.nan, np.nan))],
)
def test_moments_of_no_values_and_of_infinite_ones(values, expected):
    moments = Moments(np.array(values, "float32"))
    np.testing.assert_array_equal((moments.mean, moments.std, moments.norm), expected)


def test_a_kernel_is_random_also_if_its_first_weights_are_not():
    kernel = np.sign(RNG.normal(size=LONG)).astype("float32")
    assert values_of(kernel).digest is None
    kernel[-1] = RNG.normal(size=LONG[1])
    assert values_of(kernel).digest


def test_a_kernel_is_constant_only_if_its_last_weight_is_the_same_too():
    kernel = np.ones(LONG, "float32")
    assert values_of(kernel).constant
    kernel[-1, -1] = 2
    assert not values_of(kernel).constant


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_units_of_few_bits_are_told_apart(dtype):
    kernel = np.sign(RNG.normal(size=LONG))
    kernel[:, [7, 8]] = kernel[:, [3]]
    assert values_of(kernel, dtype).identical_units == 3
    assert values_of(kernel, dtype, np.eye(LONG[1])[7]).identical_units == 2


def test_units_whose_sums_agree_by_chance_are_told_apart(monkeypatch):
    class Zeros:
        def integers(self, high, size, dtype):
            return np.zeros(size, dtype)

    kernel = RNG.normal(size=(6, 5))
    kernel[:, 3] = kernel[:, 1]
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Zeros())
    assert values_of(kernel).identical_units == 2
