"""A call leaves nothing behind: neither its result nor the objects of its caller wait for the garbage collector."""

import gc
import pathlib
import weakref

import keras
import numpy as np
import pytest
from cases import FIRST_CASES

import keras_initx
from keras_initx.backends._current import backend

MEBIBYTE = 1 << 20


@pytest.fixture
def no_collector():
    gc.disable()
    yield
    gc.enable()


class Anything:
    """An object that a weak reference can watch."""


@pytest.mark.every_backend
@pytest.mark.parametrize("cls", [keras_initx.RandomNormal, keras_initx.Orthogonal])
def test_a_result_is_gone_when_it_is_dropped(cls, no_collector, monkeypatch):
    case = FIRST_CASES[cls]
    watched, to_tensor = [], backend.to_tensor

    def watch(array):
        watched.append(weakref.ref(array))  # of which the memory is
        return to_tensor(array)

    monkeypatch.setattr(backend, "to_tensor", watch)
    watched.append(weakref.ref(case.make()(case.shapes[0])))
    monkeypatch.undo()
    keras.ops.convert_to_tensor(0.0)  # JAX lets go of an array at the next call
    assert [reference() for reference in watched] == [None] * len(watched)


def build_a_layer(tmp_path):
    keras.layers.Dense(3, kernel_initializer="initx.he_normal").build((None, 4))


def build_a_layer_that_is_looked_for(tmp_path):
    bias = keras_initx.ChronoBias(50)
    keras.layers.LSTM(3, bias_initializer=bias, unit_forget_bias=False).build((None, 5, 4))


def build_in_a_call(tmp_path):
    keras.Sequential([keras.layers.Dense(3, kernel_initializer="initx.he_normal")])(np.ones((2, 4), "float32"))


def build_a_layer_that_is_refused(tmp_path):
    with pytest.raises(ValueError, match="`ChronoBias` cannot be used"):
        keras.layers.LSTM(3, bias_initializer=keras_initx.ChronoBias(50)).build((None, 5, 4))


def load_what_was_saved(tmp_path):
    np.save(tmp_path / "kernel.npy", np.ones((4, 3), "float32"))
    kernel = keras_initx.Pretrained(str(tmp_path / "kernel.npy"))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_initializer=kernel)])
    model.save(tmp_path / "model.keras")
    keras.models.load_model(tmp_path / "model.keras")


@pytest.mark.parametrize(
    "use",
    [
        build_a_layer,
        build_a_layer_that_is_looked_for,
        build_in_a_call,
        build_a_layer_that_is_refused,
        load_what_was_saved,
    ],
)
def test_what_a_caller_deletes_is_gone(use, tmp_path, no_collector):
    data = Anything()
    watched = weakref.ref(data)
    use(tmp_path)
    del data
    assert watched() is None


@pytest.mark.every_backend
@pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="only Linux says what is resident")
def test_ten_calls_take_the_memory_of_one(no_collector):
    # Few random numbers, after many of which a program is compiled.
    initializer, shape = keras_initx.Sparse(connections=10, seed=1), (1 << 11, 1 << 11)
    initializer(shape)  # 16 MiB
    before = _resident()
    for _ in range(10):
        initializer(shape)
    assert _resident() - before < 40 * MEBIBYTE


def _resident():
    """Return the bytes of this process that are in memory."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
