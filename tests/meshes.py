"""Arrays spread over several devices."""

import math

import keras

distribution = keras.distribution


def mesh_of(parts):
    return distribution.DeviceMesh(parts, ("inputs", "units"), distribution.list_devices("cpu")[: math.prod(parts)])


def layout_of(parts, rank=2):
    axes = (None,) * rank + ("inputs", "units")
    return distribution.TensorLayout(axes[-rank:], mesh_of(parts))


def fits(shape, parts):
    """Tell whether `shape` has elements and can be cut into shards of one size."""
    lengths = (1, *shape)[-2:]
    return shape and math.prod(shape) and all(length % part == 0 for length, part in zip(lengths, parts, strict=True))
