"""Box of an aeroplane by a vision Transformer on raw pixels.

After keras.io examples/vision/object_detection_using_vision_transformer.py.
"""

import keras
import numpy as np
from _shared import Patches, Places
from keras import layers

URL = "https://keras.io/examples/vision/object_detection_using_vision_transformer/"


def scenes(count=96, size=64):
    """Return pictures in 0..255 with one bright ellipse each, and its box in shares of the picture."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j]
    half, centre = rng.uniform(0.12, 0.3, (2, count, 1, 1)), rng.uniform(0.35, 0.65, (2, count, 1, 1))
    distance = ((rows - centre[0]) / half[0]) ** 2 + ((columns - centre[1]) / half[1]) ** 2
    body = 1 / (1 + np.exp(10 * (distance - 1)))
    x = (120 + 40 * rows * rng.normal(size=(count, 1, 1)))[..., None] * (1 - body[..., None]) + 220 * body[..., None]
    box = np.concatenate([centre[1] - half[1], centre[0] - half[0], centre[1] + half[1], centre[0] + half[0]], axis=1)
    return np.clip(x + rng.normal(0, 4, (count, size, size, 3)), 0, 255).astype("float32"), box[:, :, 0].astype(
        "float32"
    )


def build(patch=8, width=32, heads=4):
    x, y = scenes()
    inputs = keras.Input((64, 64, 3))
    h = Places(64, width)(Patches(patch)(inputs))
    for _ in range(4):
        x1 = layers.LayerNormalization(epsilon=1e-6)(h)
        x2 = layers.Add()([layers.MultiHeadAttention(heads, width, dropout=0.1)(x1, x1), h])
        x3 = layers.LayerNormalization(epsilon=1e-6)(x2)
        for units in (2 * width, width):
            x3 = layers.Dropout(0.1)(layers.Dense(units, activation="gelu")(x3))
        h = layers.Add()([x3, x2])
    h = layers.Dropout(0.3)(layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(h)))
    for units in (256, 128, 64, 64, 32):
        h = layers.Dropout(0.3)(layers.Dense(units, activation="gelu")(h))
    model = keras.Model(inputs, layers.Dense(4)(h))
    model.compile(
        optimizer=keras.optimizers.AdamW(learning_rate=0.001, weight_decay=0.0001),
        loss=keras.losses.MeanSquaredError(),
    )
    return model, x, y
