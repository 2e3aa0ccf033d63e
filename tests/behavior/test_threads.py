"""Several threads: settings of the process, and a generator that they share."""

import functools
import os
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import keras
import pytest
from modes import BACKEND, to_numpy

import keras_initx
from keras_initx.backends._current import backend

pytestmark = pytest.mark.every_backend

TIMEOUT = 60  # seconds until a thread that waits for another one fails


def precision():
    """Return the setting of all threads by which the backend rounds float32 products."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.config.experimental.tensor_float_32_execution_enabled()
    if BACKEND == "torch":
        import torch

        return torch.get_float32_matmul_precision()
    return None


@pytest.fixture
def reduced_precision():
    """Let the backend round products to fewer bits, as users do."""
    if BACKEND == "torch":
        import torch

        torch.set_float32_matmul_precision("high")
    yield precision()
    if BACKEND == "torch":
        torch.set_float32_matmul_precision("highest")


def overlapping(context, before=lambda: None, inside=lambda: None):
    """Let two threads be in `context` at once: the one that came first leaves first.

    Args:
        context: A function that returns a context.
        before: What the second thread does before it enters.
        inside: What the second thread does when the first one has left.
    """
    both_are_inside, first_has_left = threading.Event(), threading.Event()

    def second():
        before()
        with context():
            both_are_inside.set()
            assert first_has_left.wait(TIMEOUT)
            return inside()

    with ThreadPoolExecutor(1) as executor:
        with context():
            result = executor.submit(second)
            assert both_are_inside.wait(TIMEOUT)
        first_has_left.set()
        return result.result()


@pytest.mark.skipif(BACKEND == "jax", reason="JAX keeps its precision for each thread")
def test_the_precision_of_products_is_put_back_by_the_last_thread(reduced_precision):
    with backend.full_precision():
        full = precision()
    assert full != reduced_precision
    assert overlapping(backend.full_precision, inside=precision) == full
    assert precision() == reduced_precision


@pytest.mark.skipif(BACKEND != "jax", reason="JAX alone needs another filter")
def test_the_filters_of_warnings_are_put_back_by_the_last_thread():
    from keras_initx.backends import _jax

    before = list(warnings.filters)
    inside = overlapping(lambda: _jax._suppress_warning, inside=lambda: list(warnings.filters))
    assert inside != before
    assert warnings.filters == before


@pytest.mark.skipif(BACKEND != "torch", reason="other backends draw from variables of Keras")
def test_threads_that_put_torchs_generator_back_wait_for_each_other():
    import torch

    is_inside = threading.Event()

    def draw():
        with backend.generators_preserved():
            is_inside.set()
            torch.rand(5)

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with ThreadPoolExecutor(1) as executor:
        with backend.generators_preserved():
            torch.rand(5)
            result = executor.submit(draw)
            assert not is_inside.wait(0.2)
        result.result(TIMEOUT)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("before", ["jax", None])
def test_the_backend_of_worker_processes_is_put_back_by_the_last_thread(monkeypatch, before):
    from keras_initx.tools.studies import _engine

    monkeypatch.setenv("KERAS_BACKEND", before or "")
    if before is None:
        monkeypatch.delenv("KERAS_BACKEND")
    read = functools.partial(os.environ.get, "KERAS_BACKEND")
    inside = overlapping(lambda: _engine._backend_of_workers, inside=read)
    assert (inside, read()) == (BACKEND, before)


class Paused(keras.layers.Layer):
    """A layer without its initializer: `initialize` builds a copy to find it, which calls `pause`."""

    def build(self, input_shape):
        self.kernel = self.add_weight((4, 4), keras_initx.HeNormal(), name="kernel")
        self.pause()

    def pause(self):
        """Do nothing until a test replaces this."""


def paused_model():
    return keras.Sequential([keras.Input((4,)), Paused()])


@pytest.fixture
def paused(monkeypatch):
    """Return two events: the copy of a layer is being built, and may go on."""
    model, begun, go_on = paused_model(), threading.Event(), threading.Event()

    def pause(self):
        begun.set()
        assert go_on.wait(TIMEOUT)

    monkeypatch.setattr(Paused, "pause", pause)
    return model, begun, go_on


def test_what_is_replaced_while_a_layer_is_copied_is_put_back_by_the_last_thread(paused):
    model, begun, go_on = paused
    before = keras.layers.Layer.add_weight
    with ThreadPoolExecutor(2) as executor:
        results = [executor.submit(keras_initx.initialize, model, seed=0)]
        assert begun.wait(TIMEOUT)
        results.append(executor.submit(keras_initx.initialize, model, seed=0))
        time.sleep(0.1)  # the second thread waits for the first
        go_on.set()
        for result in results:
            result.result()
    assert keras.layers.Layer.add_weight == before


class SlowGenerator(keras.random.SeedGenerator):
    """A generator that lets other threads run after its state was read."""

    def next(self, ordered=True):
        words = keras.ops.copy(self.state.value)
        time.sleep(0.02)
        super().next(ordered)
        return words


def test_threads_that_share_a_generator_get_the_draws_of_one_thread():
    shape, count = (3,), 4
    shared = keras_initx.RandomNormal(seed=SlowGenerator(7))
    with ThreadPoolExecutor(count) as executor:
        drawn = {to_numpy(values).tobytes() for values in executor.map(shared, [shape] * count)}
    alone = keras_initx.RandomNormal(seed=keras.random.SeedGenerator(7))
    assert drawn == {to_numpy(alone(shape)).tobytes() for _ in range(count)}
