"""Pictures by a vision Transformer with a wide dense head.

After keras.io examples/vision/image_classification_with_vision_transformer.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/vision/image_classification_with_vision_transformer/"


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


class Places(layers.Layer):
    """Projects patches and adds an embedding of their places."""

    def __init__(self, count, width):
        super().__init__()
        self.count = count
        self.projection, self.places = layers.Dense(width), layers.Embedding(count, width)

    def call(self, x):
        return self.projection(x) + self.places(ops.arange(self.count))


def build(size=36, patch=6, width=32, heads=4, blocks=8):
    x, y = pictures(10, 32, count=96)
    x = x * 255
    normalization = layers.Normalization()
    normalization.adapt(x)
    inputs = keras.Input((32, 32, 3))
    h = layers.RandomFlip("horizontal")(layers.Resizing(size, size)(normalization(inputs)))
    h = layers.RandomZoom(height_factor=0.2, width_factor=0.2)(layers.RandomRotation(factor=0.02)(h))
    h = Places((size // patch) ** 2, width)(Patches(patch)(h))
    for _ in range(blocks):
        x1 = layers.LayerNormalization(epsilon=1e-6)(h)
        x2 = layers.Add()([layers.MultiHeadAttention(heads, width, dropout=0.1)(x1, x1), h])
        x3 = layers.LayerNormalization(epsilon=1e-6)(x2)
        for units in (2 * width, width):
            x3 = layers.Dropout(0.1)(layers.Dense(units, activation="gelu")(x3))
        h = layers.Add()([x3, x2])
    h = layers.Dropout(0.5)(layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(h)))
    for units in (256, 128):
        h = layers.Dropout(0.5)(layers.Dense(units, activation="gelu")(h))
    model = keras.Model(inputs, layers.Dense(10)(h))
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=0.001, weight_decay=0.0001),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
    )
    return model, x, y
