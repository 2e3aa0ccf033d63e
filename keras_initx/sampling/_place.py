"""Decide where values are made: on the host, in a trace, or on a device."""

import os

from keras_initx.backends import backend
from keras_initx.sampling._namespace import DEVICE, HOST, TRACED, Namespace

VARIABLE = "KERAS_INITX_SAMPLE_ON"
PLACES = ("auto", "host", "device")
# Minimum number of values for a device. The host takes 10 ms for 4 million values including the copy, a device less
# than 1 ms. But JAX compiles small programs for each shape to join blocks, which takes 0.1 s: as long as the host takes
# for ten arrays of this size, or for one of 40 million. Models that are too large for the host have many arrays of few
# shapes.
WORTH_A_DEVICE = 1 << 22


def current_namespace(size: int = 0) -> Namespace:
    """Return the namespace to compute in at this point.

    Args:
        size: Total number of values.

    Raises:
        ValueError: If the environment variable `KERAS_INITX_SAMPLE_ON` is not `auto`, `host` or
            `device`.
    """
    place = os.environ.get(VARIABLE, "auto")
    if place not in PLACES:
        raise ValueError(f"`{VARIABLE}` must be one of {PLACES}. Received: {VARIABLE}={place!r}")
    if backend.is_tracing():
        return TRACED
    if place == "auto":
        return DEVICE if size >= WORTH_A_DEVICE and backend.on_accelerator() else HOST
    return DEVICE if place == "device" else HOST
