"""Denoising diffusion with group normalization, attention and time steps.

After keras.io examples/generative/ddpm.py.
"""

import keras
import numpy as np
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/generative/ddpm/"


SIZE, STEPS, GROUPS = 16, 1000, 4


def start(scale):
    return keras.initializers.VarianceScaling(max(scale, 1e-10), mode="fan_avg", distribution="uniform")


def attention(x):
    width, (_, height, length, _) = x.shape[-1], x.shape
    x = layers.GroupNormalization(GROUPS)(x)
    q, k, v = (
        layers.Reshape((height * length, width))(layers.Dense(width, kernel_initializer=start(1.0))(x))
        for _ in range(3)
    )
    weights = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))) * width**-0.5)
    y = layers.Reshape((height, length, width))(ops.matmul(weights, v))
    return x + layers.Dense(width, kernel_initializer=start(0.0))(y)


def residual(x, time, width):
    shortcut = x if x.shape[3] == width else layers.Conv2D(width, 1, kernel_initializer=start(1.0))(x)
    time = layers.Dense(width, kernel_initializer=start(1.0))(ops.silu(time))[:, None, None, :]
    x = ops.silu(layers.GroupNormalization(GROUPS)(x))
    x = layers.Conv2D(width, 3, padding="same", kernel_initializer=start(1.0))(x)
    x = ops.silu(layers.GroupNormalization(GROUPS)(layers.Add()([x, time])))
    return layers.Add()([layers.Conv2D(width, 3, padding="same", kernel_initializer=start(0.0))(x), shortcut])


def network(widths=(8, 12, 16, 20), attends=(False, False, True, True), blocks=1, dims=32):
    images, times = keras.Input((SIZE, SIZE, 3)), keras.Input((), dtype="int64")
    waves = ops.cast(times, "float32")[:, None] * np.exp(
        -np.arange(dims // 2) * np.log(10000) / (dims // 2 - 1)
    ).astype("float32")
    time = ops.concatenate([ops.sin(waves), ops.cos(waves)], axis=-1)
    time = layers.Dense(dims, activation="swish", kernel_initializer=start(1.0))(time)
    time = layers.Dense(dims, kernel_initializer=start(1.0))(time)
    x = layers.Conv2D(widths[0], 3, padding="same", kernel_initializer=start(1.0))(images)
    skips = [x]
    for i, width in enumerate(widths):
        for _ in range(blocks):
            x = residual(x, time, width)
            x = attention(x) if attends[i] else x
            skips.append(x)
        if width != widths[-1]:
            x = layers.Conv2D(width, 3, strides=2, padding="same", kernel_initializer=start(1.0))(x)
            skips.append(x)
    x = residual(attention(residual(x, time, widths[-1])), time, widths[-1])
    for i in reversed(range(len(widths))):
        for _ in range(blocks + 1):
            x = residual(layers.Concatenate()([x, skips.pop()]), time, widths[i])
            x = attention(x) if attends[i] else x
        if i:
            x = layers.UpSampling2D(2, interpolation="nearest")(x)
            x = layers.Conv2D(widths[i], 3, padding="same", kernel_initializer=start(1.0))(x)
    x = ops.silu(layers.GroupNormalization(GROUPS)(x))
    x = layers.Conv2D(3, 3, padding="same", kernel_initializer=start(0.0))(x)
    return keras.Model([images, times], x)


def build(count=64):
    x, _ = pictures(8, SIZE, count=count)
    rng = np.random.default_rng(0)
    times = rng.integers(0, STEPS, count)
    kept = np.cumprod(1 - np.linspace(1e-4, 0.02, STEPS))[times][:, None, None, None]
    noise = rng.normal(size=x.shape).astype("float32")
    noisy = np.sqrt(kept) * (x * 2 - 1) + np.sqrt(1 - kept) * noise
    model = network()
    model.compile(loss=keras.losses.MeanSquaredError(), optimizer=keras.optimizers.Adam(learning_rate=2e-4))
    return model, [noisy.astype("float32"), times], noise
