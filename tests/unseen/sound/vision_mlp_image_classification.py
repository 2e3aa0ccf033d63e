"""Pictures by MLP-Mixer, dense layers over patches and over channels.

After keras.io examples/vision/mlp_image_classification.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/vision/mlp_image_classification/"


def pictures(classes, size, channels=3, count=128, seed=0):
    """Return smooth pictures in 0..1, a coloured spot on a shaded ground, and their class numbers."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    angles = 2 * np.pi * labels[:, None, None] / classes
    tilt = rng.normal(0, 0.1, (2, count, 1, 1))
    centre = 0.5 * np.stack([np.sin(angles), np.cos(angles)]) + rng.normal(0, 0.08, (2, count, 1, 1))
    spot = np.exp(-((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) / 0.15)
    ground = 0.4 + tilt[0] * rows + tilt[1] * columns
    colour = 0.5 + 0.4 * np.cos(angles[..., None] + np.arange(channels) * 2)
    x = ground[..., None] * (1 - spot[..., None]) + spot[..., None] * colour
    return np.clip(x + rng.normal(0, 0.02, x.shape), 0, 1).astype("float32"), labels


class Patches(layers.Layer):
    """Cuts pictures into a row of flat patches."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def call(self, x):
        x = ops.image.extract_patches(x, self.size)
        return ops.reshape(x, (-1, x.shape[1] * x.shape[2], x.shape[3]))


class Mixer(layers.Layer):
    def __init__(self, count, width, rate=0.2):
        super().__init__()
        self.over_patches = keras.Sequential(
            [layers.Dense(count, activation="gelu"), layers.Dense(count), layers.Dropout(rate)]
        )
        self.over_channels = keras.Sequential(
            [layers.Dense(width, activation="gelu"), layers.Dense(width), layers.Dropout(rate)]
        )
        self.normalize = layers.LayerNormalization(epsilon=1e-6)

    def call(self, x):
        channels = ops.transpose(self.normalize(x), (0, 2, 1))
        x = ops.transpose(self.over_patches(channels), (0, 2, 1)) + x
        return x + self.over_channels(self.normalize(x))


def build(width=48, blocks=4):
    x, y = pictures(10, 32)
    x = x * 255
    normalization = layers.Normalization()
    normalization.adapt(x)
    inputs = keras.Input((32, 32, 3))
    h = layers.RandomFlip("horizontal")(layers.Resizing(64, 64)(normalization(inputs)))
    h = layers.RandomZoom(height_factor=0.2, width_factor=0.2)(h)
    h = layers.Dense(width)(Patches(8)(h))
    h = keras.Sequential([Mixer(64, width) for _ in range(blocks)])(h)
    h = layers.Dropout(0.2)(layers.GlobalAveragePooling1D()(h))
    model = keras.Model(inputs, layers.Dense(10)(h))
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=0.005, weight_decay=0.0001),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="acc")],
    )
    return model, x, y
