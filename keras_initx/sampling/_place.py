"""Where values are made: the one place that decides it."""

import os

from keras_initx.backends import backend
from keras_initx.sampling._namespace import DEVICE, HOST, TRACED, Namespace

VARIABLE = "KERAS_INITX_SAMPLE_ON"
PLACES = ("auto", "host", "device")
# How many values are worth a device. The host takes 10 ms for 4 million and the copy, a device less than 1. But JAX
# compiles small programs for each shape, to put blocks together, which takes 0.1 s: as long as ten arrays of this size
# take on the host, or one of 40 million. A model that is too large for the host's time has many arrays of few shapes.
WORTH_A_DEVICE = 1 << 22


def current_namespace(size: int = 0) -> Namespace:
    """Return the namespace to compute in here and now.

    Args:
        size: How many values are wanted in all.

    Raises:
        ValueError: If the environment variable `KERAS_INITX_SAMPLE_ON` is none of `auto`, `host` and `device`.
    """
    place = os.environ.get(VARIABLE, "auto")
    if place not in PLACES:
        raise ValueError(f"`{VARIABLE}` must be one of {PLACES}. Received: {VARIABLE}={place!r}")
    if backend.is_tracing():
        return TRACED
    if place == "auto":
        return DEVICE if size >= WORTH_A_DEVICE and backend.on_accelerator() else HOST
    return DEVICE if place == "device" else HOST
