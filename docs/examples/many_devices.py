"""Build a model on one device, then sharded over eight, and compare the weights."""

import hashlib

import keras_initx

import keras


def build():
    """Return a model whose layers all have seeds."""
    kernels = {
        "up": (8192, keras_initx.HeNormal(seed=1)),
        "down": (1024, keras_initx.Sparse(connections=15, seed=2)),
        "out": (64, keras_initx.TruncatedNormal(seed=3)),
    }
    layers = [
        keras.layers.Dense(units, kernel_initializer=initializer, name=name)
        for name, (units, initializer) in kernels.items()
    ]
    return keras.Sequential([keras.Input((1024,)), *layers])


def digest(variable):
    """Return the first digits of the SHA-256 of a variable's values."""
    values = keras.ops.convert_to_numpy(variable)
    return hashlib.sha256(values.tobytes()).hexdigest()[:16]


plain = build()

# 2 x 4 devices: batches are split in two, kernels in four.
mesh = keras.distribution.DeviceMesh((2, 4), ("batch", "model"))
layout = keras.distribution.LayoutMap(mesh)
layout[".*up/kernel"] = (None, "model")  # each device has a quarter of the units
layout[".*down/kernel"] = ("model", None)  # each device has a quarter of the inputs
layout[".*out/kernel"] = ("batch", "model")  # split along both axes, in eight

parallel = keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")
with parallel.scope():
    sharded = build()

equal = True
for alone, spread in zip(plain.weights, sharded.weights, strict=True):
    _, name = spread.path.split("/", maxsplit=1)
    shards = {shard.data.shape for shard in spread.value.addressable_shards}
    print(f"{name:12} {tuple(spread.shape)!s:12} on each device {shards}")
    print(f"{'':12} {digest(alone)} {digest(spread)}")
    equal &= digest(alone) == digest(spread)
print("The weights are equal:", equal)
