"""Build a model on one device, then sharded over eight devices, and compare the weights."""

import hashlib

import keras_initx

import keras


def build():
    """Return a model whose layers all have seeds."""
    return keras.Sequential(
        [
            keras.Input((1024,)),
            keras.layers.Dense(8192, kernel_initializer=keras_initx.HeNormal(seed=1), name="up"),
            keras.layers.Dense(1024, kernel_initializer=keras_initx.Sparse(connections=15, seed=2), name="down"),
            keras.layers.Dense(64, kernel_initializer=keras_initx.TruncatedNormal(seed=3), name="out"),
        ]
    )


def digest(variable):
    """Return the first digits of the SHA-256 of a variable's values."""
    return hashlib.sha256(keras.ops.convert_to_numpy(variable).tobytes()).hexdigest()[:16]


plain = build()

# 2 x 4 devices: batches are split in two, kernels in four.
mesh = keras.distribution.DeviceMesh((2, 4), ("batch", "model"))
layout_map = keras.distribution.LayoutMap(mesh)
layout_map[".*up/kernel"] = (None, "model")  # each device has a quarter of the units
layout_map[".*down/kernel"] = ("model", None)  # each device has a quarter of the inputs
layout_map[".*out/kernel"] = ("batch", "model")  # split along both axes, in eight

with keras.distribution.ModelParallel(layout_map=layout_map, batch_dim_name="batch").scope():
    sharded = build()

equal = True
for alone, spread in zip(plain.weights, sharded.weights, strict=True):
    _, name = spread.path.split("/", maxsplit=1)
    shards = {shard.data.shape for shard in spread.value.addressable_shards}
    print(f"{name:12} {tuple(spread.shape)!s:12} on each device {shards}")
    print(f"{'':12} {digest(alone)} {digest(spread)}")
    equal &= digest(alone) == digest(spread)
print("The weights are equal:", equal)
