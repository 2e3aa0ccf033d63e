"""Large weights and gradients are measured without a copy of them."""

import math
import tracemalloc
import weakref

import keras
import numpy as np
import pytest
from keras import layers
from modes import BACKEND

import keras_initx
from keras_initx.backends._current import backend


@pytest.mark.parametrize(
    "dtype",
    [pytest.param("float32", marks=pytest.mark.rare), pytest.param("bfloat16", marks=pytest.mark.every_backend)],
)
def test_a_weight_is_measured_in_blocks(dtype):
    layer = layers.Dense(2048, dtype=dtype, kernel_initializer=keras_initx.HeNormal(seed=0))
    model = keras.Sequential([keras.Input((2048,)), layer])
    diagnose = keras_initx.diagnose  # which imports its room, whose code takes megabytes too
    tracemalloc.start()
    report = diagnose(model, np.ones((2, 2048)))
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


@pytest.mark.release_backends
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
    assert summed.rows[0].gradient.norm == pytest.approx(math.sqrt(4 * (2**2 + 1**2)))


@pytest.mark.parametrize("scale", [1e-30, pytest.param(1e30, marks=pytest.mark.release_backends)])
def test_gradients_beyond_the_squares_of_float32_have_norms(scale):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, use_bias=False)])
    report = keras_initx.diagnose(model, np.full((1, 2), scale), np.zeros((1, 3)), loss="mean_absolute_error")
    assert report.rows[0].gradient.norm == pytest.approx(math.sqrt(6) / 3 * scale, rel=1e-6)


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_gradient_that_is_not_finite_has_such_a_norm(value):
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, use_bias=False, kernel_initializer="ones")])
    factors = np.array([[1, value]], "float32")
    report = keras_initx.diagnose(
        model, factors, np.zeros((1, 3)), loss=lambda y, outputs: keras.ops.sum(outputs), batch_size=1
    )
    assert report.rows[0].gradient.norm == pytest.approx(value, nan_ok=True)
