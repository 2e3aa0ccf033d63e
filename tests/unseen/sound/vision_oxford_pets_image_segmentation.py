"""Pet, rim and ground of pictures by a U-Net like Xception.

After keras.io examples/vision/oxford_pets_image_segmentation.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/vision/oxford_pets_image_segmentation/"


def scenes(size, classes=3, count=64, seed=0):
    """Return smooth pictures in 0..1 with a bright disc each, and masks: ground, rim and disc."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    centre = rng.uniform(-0.4, 0.4, (2, count, 1, 1))
    radius = rng.uniform(0.3, 0.6, (count, 1, 1))
    distance = np.hypot(rows - centre[0], columns - centre[1]) / radius
    masks = (distance < 1.0).astype("int32") + (distance < 0.75)
    colour = rng.uniform(0.5, 0.9, (count, 1, 1, 3)) * [1.0, 0.8, 0.5]
    fade = 1 / (1 + np.exp(8 * (distance - 0.9)))[..., None]
    ground = 0.3 + 0.15 * (rows * rng.normal(size=(count, 1, 1)))[..., None] * [0.5, 0.8, 1.0]
    x = ground * (1 - fade) + colour * fade + rng.normal(0, 0.02, (count, size, size, 3))
    return np.clip(x, 0, 1).astype("float32"), np.minimum(masks, classes - 1)[..., None]


def build(size=48):
    x, y = scenes(size)
    inputs = keras.Input((size, size, 3))
    h = layers.Conv2D(12, 3, strides=2, padding="same")(inputs)
    h = before = layers.Activation("relu")(layers.BatchNormalization()(h))
    for filters in (16, 24, 32):
        for _ in range(2):
            h = layers.SeparableConv2D(filters, 3, padding="same")(layers.Activation("relu")(h))
            h = layers.BatchNormalization()(h)
        h = layers.MaxPooling2D(3, strides=2, padding="same")(h)
        h = before = layers.add([h, layers.Conv2D(filters, 1, strides=2, padding="same")(before)])
    for filters in (32, 24, 16, 12):
        for _ in range(2):
            h = layers.Conv2DTranspose(filters, 3, padding="same")(layers.Activation("relu")(h))
            h = layers.BatchNormalization()(h)
        h = layers.UpSampling2D(2)(h)
        rest = layers.Conv2D(filters, 1, padding="same")(layers.UpSampling2D(2)(before))
        h = before = layers.add([h, rest])
    h = layers.Conv2D(3, 3, activation="softmax", padding="same")(h)
    model = keras.Model(inputs, layers.Reshape((size * size, 3))(h))
    model.compile(optimizer=keras.optimizers.Adam(1e-4), loss="sparse_categorical_crossentropy")
    return model, x, y.astype("uint8").reshape(len(y), -1)
