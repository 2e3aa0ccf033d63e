"""Every way to make values on a device, on a CPU: the programs of JAX and TensorFlow, and on torch both of its ways.

With `TRITON_INTERPRET=1` in the environment of the whole process, as in a run of its own of `nox -s device`, that is
the kernel in Triton's interpreter. Without it torch carries out plain operations.
"""

import importlib.util
import os

import pytest
from modes import BACKEND

from keras_initx.backends import backend

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1" and importlib.util.find_spec("triton") is not None
WAY = "program" if BACKEND != "torch" else "kernel" if INTERPRETED else "operations"


@pytest.fixture(params=[WAY])
def way(request, monkeypatch):
    """Force values to be made on the device, in blocks so small that there are several."""
    monkeypatch.setenv("KERAS_INITX_SAMPLE_ON", "device")
    monkeypatch.setattr(backend, "block", 1000)
    return request.param
