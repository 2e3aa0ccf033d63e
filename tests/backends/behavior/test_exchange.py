"""What one backend saves, every other loads and goes on with: committed files, and those of the sessions before.

`nox -s roundtrip` exchanges more between all backends in one environment.
"""

import functools
import os
import pathlib

import exchange
import keras
import numpy as np
import pytest
from modes import BACKEND

from keras_initx._startup import BACKENDS

pytestmark = pytest.mark.every_backend


@functools.cache
def states():
    """Return the state of a model that was trained here, and that after more steps."""
    model = exchange.trained()
    before = exchange.state(model)
    exchange.train(model)
    return before, exchange.state(model)


def assert_same_states(state, expected, what):
    for there, here in zip(state, expected, strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-6, err_msg=what)


def assert_goes_on_alike(path):
    """Load a model, and compare its weights and those of its optimizer with a model trained here, twice."""
    before, after = states()
    loaded = keras.models.load_model(path)
    assert_same_states(exchange.state(loaded), before, "as saved")
    exchange.train(loaded)
    assert_same_states(exchange.state(loaded), after, "trained on")


@pytest.mark.rare
@pytest.mark.parametrize("backend", [backend for backend in BACKENDS if backend != BACKEND])
def test_a_committed_file_of_each_other_backend_is_loaded(backend):
    assert_goes_on_alike(exchange.committed(backend))


@pytest.mark.skipif("KERAS_INITX_EXCHANGE" not in os.environ, reason="`nox` names the folder that sessions share")
def test_a_model_is_saved_for_the_next_backends_and_theirs_are_loaded():
    folder = pathlib.Path(os.environ["KERAS_INITX_EXCHANGE"])
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("saved_by_*.keras"):
        assert_goes_on_alike(path)
    unfinished = folder / f"{BACKEND}-unfinished.keras"
    exchange.trained().save(unfinished)
    unfinished.replace(folder / f"saved_by_{BACKEND}.keras")  # which another session may read meanwhile
