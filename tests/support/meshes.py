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


def compile_sharded(initializer, shape, layout):
    """Compile as Keras does for large variables, whatever the size."""
    import jax

    jitted = jax.jit(initializer.__call__, out_shardings=layout.backend_layout, static_argnames=["shape", "dtype"])
    return jitted.lower(shape=shape, dtype="float32").compile()


def assert_cut(value, parts):
    """Check that each of the devices has a shard of its own, and that these are of one size."""
    shards = value.addressable_shards
    assert len({shard.device for shard in shards}) == math.prod(parts)
    assert {shard.data.size for shard in shards} == {math.prod(value.shape) // math.prod(parts)}
