"""Pairs of digits, same or not, by two equal networks and a contrastive loss.

After keras.io examples/vision/siamese_contrastive.py.
"""

import keras
import numpy as np
from _shared import digits
from keras import layers, ops

URL = "https://keras.io/examples/vision/siamese_contrastive/"


def contrastive(y_true, y_pred, margin=1):
    return ops.mean((1 - y_true) * ops.square(y_pred) + y_true * ops.square(ops.maximum(margin - y_pred, 0)))


def distance(vectors):
    total = ops.sum(ops.square(vectors[0] - vectors[1]), axis=1, keepdims=True)
    return ops.sqrt(ops.maximum(total, keras.backend.epsilon()))


def build(count=256):
    x, labels = digits(28, 512)
    rng = np.random.default_rng(0)
    first = rng.integers(0, 512, count)
    same = [rng.choice(np.flatnonzero(labels == labels[i])) for i in first]
    other = [rng.choice(np.flatnonzero(labels != labels[i])) for i in first]
    y = rng.permutation(np.arange(count) % 2).astype("float32")
    second = np.where(y == 1, other, same)
    inputs = keras.Input((28, 28, 1))
    h = layers.BatchNormalization()(inputs)
    for filters in (4, 16):
        h = layers.AveragePooling2D(pool_size=(2, 2))(layers.Conv2D(filters, (5, 5), activation="tanh")(h))
    h = layers.Dense(10, activation="tanh")(layers.BatchNormalization()(layers.Flatten()(h)))
    network = keras.Model(inputs, h)
    left, right = keras.Input((28, 28, 1)), keras.Input((28, 28, 1))
    merged = layers.Lambda(distance, output_shape=(1,))([network(left), network(right)])
    outputs = layers.Dense(1, activation="sigmoid")(layers.BatchNormalization()(merged))
    model = keras.Model([left, right], outputs)
    model.compile(loss=contrastive, optimizer="RMSprop", metrics=["accuracy"])
    return model, [x[first] * 255, x[second] * 255], y[:, None]
