"""Denoising diffusion with a residual U-Net and sinusoidal noise embeddings.

After keras.io examples/generative/ddim.py.
"""

import keras
import numpy as np
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/generative/ddim/"


SIZE, DIMS = 32, 16


def sinusoids(x):
    speeds = 2 * np.pi * np.exp(np.linspace(np.log(1.0), np.log(1000.0), DIMS // 2)).astype("float32")
    angles = ops.multiply(x, speeds)
    return ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=3)


def residual(x, width):
    shortcut = x if x.shape[3] == width else layers.Conv2D(width, 1)(x)
    x = layers.BatchNormalization(center=False, scale=False)(x)
    x = layers.Conv2D(width, 3, padding="same", activation="swish")(x)
    return layers.Add()([layers.Conv2D(width, 3, padding="same")(x), shortcut])


def network(widths=(8, 12, 16, 20), depth=2):
    images, variances = keras.Input((SIZE, SIZE, 3)), keras.Input((1, 1, 1))
    e = layers.UpSampling2D(SIZE, interpolation="nearest")(
        layers.Lambda(sinusoids, output_shape=(1, 1, DIMS))(variances)
    )
    x = layers.Concatenate()([layers.Conv2D(widths[0], 1)(images), e])
    skips = []
    for width in widths[:-1]:
        for _ in range(depth):
            x = residual(x, width)
            skips.append(x)
        x = layers.AveragePooling2D(2)(x)
    for _ in range(depth):
        x = residual(x, widths[-1])
    for width in reversed(widths[:-1]):
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        for _ in range(depth):
            x = residual(layers.Concatenate()([x, skips.pop()]), width)
    return keras.Model([images, variances], layers.Conv2D(3, 1, kernel_initializer="zeros")(x))


class Diffusion(keras.Model):
    def __init__(self, images):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(0)
        self.normalizer = layers.Normalization()
        self.normalizer.adapt(images)
        self.network = network()

    def call(self, images, training=False):
        images = self.normalizer(images)
        noises = keras.random.normal(ops.shape(images), seed=self.seeds)
        times = keras.random.uniform((ops.shape(images)[0], 1, 1, 1), seed=self.seeds)
        angles = np.arccos(0.95) + times * (np.arccos(0.02) - np.arccos(0.95))
        noisy = ops.cos(angles) * images + ops.sin(angles) * noises
        return noises, self.network([noisy, ops.sin(angles) ** 2], training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        return ops.mean(keras.losses.mean_absolute_error(*y_pred))


def build():
    x, _ = pictures(8, SIZE, count=64)
    model = Diffusion(x)
    model.compile(optimizer=keras.optimizers.AdamW(learning_rate=1e-3, weight_decay=1e-4))
    return model, x, None
