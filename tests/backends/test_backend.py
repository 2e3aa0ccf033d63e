"""What a backend tells of memory, parameters and generators, as the functions of the package show it."""

import random

import keras
import numpy as np
import pytest
from chains import chain, means
from keras import layers
from modes import BACKEND, needs_keras, to_numpy

import keras_initx
from keras_initx.backends._backend import kept_on
from keras_initx.backends._current import backend

pytestmark = pytest.mark.every_backend
only_torch = pytest.mark.skipif(BACKEND != "torch", reason="arrays share the memory of weights of torch only")


@pytest.mark.parametrize("dtype", ["bool", "int8", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2", "float32"])
def test_values_of_any_dtype_and_rank_go_to_a_tensor_and_back(dtype):
    for shape in [(), (3,), (2, 0), (1, 2, 3), (300, 301)]:
        values = (np.arange(np.prod(shape, dtype=int)) % 7 - 2).reshape(shape).astype(dtype)
        found = backend.host_view(backend.to_tensor(values.copy()))
        assert (found.shape, found.dtype) == (values.shape, values.dtype)
        assert found.tobytes() == values.tobytes()


def test_kept_arrays_are_told_apart_by_all_that_a_view_has():
    array = np.arange(6, dtype="float32")
    array.flags.writeable = False
    views = [array, array.reshape(2, 3), array.reshape(3, 2), array[:2], array[::2], array[:3], array.view("int32")]
    for view in [*views, *views]:
        found = backend.host_view(kept_on("cpu", view))
        assert (found.shape, found.dtype, found.tobytes()) == (view.shape, view.dtype, view.tobytes())
    assert kept_on("cpu", array) is kept_on("cpu", array[:])


@only_torch
@pytest.mark.usefixtures("shared_memory")
@pytest.mark.parametrize("as_source", [lambda value: value, lambda value: value.numpy()], ids=["tensor", "array"])
def test_weights_of_one_number_change_places(as_source):
    model = chain(1, 2)
    source = {name: as_source(weight.value.detach()) for name, weight in zip("ab", model.weights, strict=True)}
    keras_initx.load_pretrained(model, source, {"dense/kernel": "b", "dense_1/kernel": "a"}, layout="keras")
    assert means(model) == [1, 0]


class Noise(layers.Layer):
    def call(self, x):
        return x + keras.random.normal((3,))


@pytest.mark.skipif(BACKEND == "jax", reason="Keras refuses a draw without a seed while JAX traces")
@needs_keras("3.13", "sets the seed of the generator that layers share")
def test_the_generator_of_keras_is_made_after_a_diagnosis_as_without_one():
    def drawn(*, diagnosed):
        model = keras.Sequential([keras.Input((3,)), Noise()])
        keras.utils.set_random_seed(0)
        if diagnosed:
            keras_initx.diagnose(model, np.ones((2, 3)))
        # To make it, Keras draws a seed from Python's generator.
        return to_numpy(keras.random.normal((2,))).tolist(), random.random()

    assert drawn(diagnosed=True) == drawn(diagnosed=False)
