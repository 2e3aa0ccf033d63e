"""Measure where the initializers of Keras and those of this package differ.

`KERAS_BACKEND=jax python docs/examples/beside_keras.py`
"""

import keras_initx

import keras
import numpy as np

UNITS = 64  # of an LSTM
CHANNELS = 256  # of a depthwise convolution with a window of 3 by 3


def values(tensor):
    """Return a tensor as a float32 array."""
    return keras.ops.convert_to_numpy(tensor).astype("float32")


def first_values(initializer):
    """Return the first three values of a kernel as text."""
    return " ".join(f"{value:.3f}" for value in values(initializer((4, 4)))[0, :3])


def spread(initializer):
    """Return the standard deviation of a large kernel."""
    return f"{values(initializer((512, 512))).std():.2f}"


def spread_of_he(initializer):
    """Return the standard deviation of a large kernel over the one that He's rule asks for."""
    return f"{values(initializer((512, 512))).std() / np.sqrt(2 / 512):.2f}"


def largest(initializer):
    """Return the largest absolute value of a large kernel in bfloat16."""
    kernel = values(initializer((512, 512), "bfloat16"))
    return f"{abs(kernel).max():.5f}"


def in_16_bits(initializer):
    """Return whether a kernel can be drawn in bfloat16."""
    try:
        initializer((8, 8), "bfloat16")
    except Exception:  # each backend has its own
        return "an error"
    return "works"


def gates(initializer):
    """Return the smallest and the largest singular value of the matrices of an LSTM's gates."""
    layer = keras.layers.LSTM(UNITS, recurrent_initializer=initializer)
    layer.build((None, None, UNITS))
    kernel = values(layer.cell.recurrent_kernel)
    singular = []
    for gate in np.split(kernel, 4, axis=1):
        singular.extend(np.linalg.svd(gate, compute_uv=False))
    return f"{min(singular):.2f} to {max(singular):.2f}"


def depthwise(initializer):
    """Return the standard deviation of a depthwise kernel over the one that He's rule asks for."""
    layer = keras.layers.DepthwiseConv2D(3, depthwise_initializer=initializer)
    layer.build((None, 8, 8, CHANNELS))
    return f"{values(layer.kernel).std() / np.sqrt(2 / 9):.2f}"


def rows():
    """Yield what is measured, the result with Keras, and the result with this package."""
    of_keras = keras.initializers
    yield (
        "HeNormal(seed=0), first values",
        first_values(of_keras.HeNormal(seed=0)),
        first_values(keras_initx.HeNormal(seed=0)),
    )
    yield (
        "TruncatedNormal(stddev=1), std",
        spread(of_keras.TruncatedNormal(stddev=1.0, seed=0)),
        spread(keras_initx.TruncatedNormal(stddev=1.0, seed=0)),
    )
    yield (
        "HeNormal, std over that of He",
        spread_of_he(of_keras.HeNormal(seed=0)),
        spread_of_he(keras_initx.HeNormal(seed=0)),
    )
    yield (
        "RandomUniform(±0.05) in bfloat16, largest",
        largest(of_keras.RandomUniform(-0.05, 0.05, seed=0)),
        largest(keras_initx.RandomUniform(-0.05, 0.05, seed=0)),
    )
    yield (
        "Orthogonal in bfloat16",
        in_16_bits(of_keras.Orthogonal(seed=0)),
        in_16_bits(keras_initx.Orthogonal(seed=0)),
    )
    yield (
        "LSTM, singular values of the gates",
        gates(of_keras.Orthogonal(seed=0)),
        gates(keras_initx.Orthogonal(blocks=4, seed=0)),
    )
    yield (
        "HeNormal in DepthwiseConv2D, the same",
        depthwise(of_keras.HeNormal(seed=0)),
        depthwise(keras_initx.VarianceScaling(2.0, input_axes=[0, 1], seed=0)),
    )


def main():
    """Print the table."""
    print(f"{'on ' + keras.backend.backend():41}  {'Keras':21}  keras_initx")
    for what, theirs, ours in rows():
        print(f"{what:41}  {theirs:21}  {ours}")


if __name__ == "__main__":
    main()
