"""Pictures taken in the dark made bright by MIRNet with streams of three sizes.

After keras.io examples/vision/mirnet.py.
"""

import keras
import numpy as np
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/mirnet/"


def fuse(features):
    width = features[0].shape[-1]
    gap = layers.GlobalAveragePooling2D(keepdims=True)(layers.Add()(features))
    small = layers.Conv2D(max(width // 8, 1), 1, activation="relu")(gap)
    return layers.Add()([f * layers.Conv2D(width, 1, activation="softmax")(small) for f in features])


def attention(x):
    width = x.shape[-1]
    h = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    h = layers.Conv2D(width, 3, padding="same")(h)
    gap = layers.GlobalAveragePooling2D(keepdims=True)(h)
    gate = layers.Conv2D(max(width // 8, 1), 1, activation="relu")(gap)
    channel = h * layers.Conv2D(width, 1, activation="sigmoid")(gate)
    pooled = layers.Concatenate()([ops.max(h, axis=-1, keepdims=True), ops.mean(h, axis=-1, keepdims=True)])
    spatial = h * ops.sigmoid(layers.Conv2D(1, 1)(pooled))
    return layers.Add()([x, layers.Conv2D(width, 1)(layers.Concatenate()([channel, spatial]))])


def rescale(x, kind, width):
    h = layers.Conv2D(x.shape[-1], 1, activation="relu")(x)
    h = layers.Conv2D(x.shape[-1], 3, padding="same", activation="relu")(h)
    return layers.Add()([layers.Conv2D(width, 1)(kind()(x)), layers.Conv2D(width, 1)(kind()(h))])


def down(x):
    return rescale(x, layers.MaxPooling2D, x.shape[-1] * 2)


def up(x):
    return rescale(x, layers.UpSampling2D, x.shape[-1] // 2)


def multi_scale(x):
    second = down(x)
    one, two, three = attention(x), attention(second), attention(down(second))
    first = fuse([one, up(two), up(up(three))])
    third = fuse([down(down(one)), down(two), three])
    one, three = attention(first), up(up(attention(third)))
    return layers.Add()([x, layers.Conv2D(x.shape[-1], 3, padding="same")(fuse([one, three, three]))])


def charbonnier(y_true, y_pred):
    return ops.mean(ops.sqrt(ops.square(y_true - y_pred) + 1e-6))


def build(width=8):
    y, _ = pictures(8, 16, count=64)
    rng = np.random.default_rng(1)
    x = np.clip(0.25 * y**1.5 + rng.normal(0, 0.01, y.shape), 0, 1).astype("float32")
    inputs = keras.Input((16, 16, 3))
    h = layers.Conv2D(width, 3, padding="same")(inputs)
    for _ in range(3):
        inner = layers.Conv2D(width, 3, padding="same")(h)
        for _ in range(2):
            inner = multi_scale(inner)
        h = layers.Add()([layers.Conv2D(width, 3, padding="same")(inner), h])
    model = keras.Model(inputs, layers.Add()([inputs, layers.Conv2D(3, 3, padding="same")(h)]))
    model.compile(optimizer=keras.optimizers.Adam(learning_rate=1e-4), loss=charbonnier)
    return model, x, y
