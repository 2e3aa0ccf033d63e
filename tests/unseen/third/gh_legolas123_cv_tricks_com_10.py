"""A small network tells cats from dogs: for new pictures it gives nearly the same answer, with little certainty.

Fault: too few pictures of each class.
Repair (maintainer): thousands of each. Here 24 and 480 of each; both forms are scored by 200 new pictures.
Layers, start, pixels in [0, 1], Adam with 0.0001 and batches of 32 are those of the tutorial; 24 by 24 pixels
instead of 128, narrower, and 400 iterations instead of 3000.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers

URL = "https://github.com/legolas123/cv-tricks.com/issues/10"
YEAR = 2018
TOPIC = "image classification"
CONFIRMED = "maintainer"
KINDS = ("data: too little, overfitting",)
VISIBLE = False
EVIDENCE = (
    "48 pictures in all; a batch of them does not tell how many there are, and weights, signals and gradients are sound"
)
REPRODUCED = True
SIZE = 24


def pictures(rng, count):
    """Return bright heads, cats with pointed ears above it and dogs with long ears beside it, and the classes."""
    y = np.arange(count) % 2
    rows, columns = np.mgrid[:SIZE, :SIZE]
    x = np.empty((count, SIZE, SIZE, 3))
    for number, dog in enumerate(y):
        radius = rng.uniform(4, 6)
        row, column = rng.uniform(11, 14, 2)
        down, across = (rows - row) / radius, np.abs(columns - column) / radius
        ears = (across - 1) ** 2 / 0.12 + (down - 0.1) ** 2 / 0.6 < 1
        if not dog:
            ears = (np.abs(across - 0.6) < 0.35 * (down + 1.7)) & (down < -0.3)
        color = 0.6 * rng.random(3)
        x[number] = color + 0.1 * rng.normal(size=(SIZE, SIZE, 1))
        x[number][(down**2 + across**2 < 1) | ears] = color + 0.4
    return np.clip(x, 0, 1).astype("float32"), np.eye(2, dtype="float32")[y]


def build(repaired):
    x, y = pictures(np.random.default_rng(0), 960 if repaired else 48)
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3))])
    for filters in (16, 16, 32):
        model.add(layers.Conv2D(filters, 3, padding="same", **start()))
        model.add(layers.MaxPooling2D(2, padding="same"))
        model.add(layers.ReLU())
    model.add(layers.Flatten())
    model.add(layers.Dense(64, activation="relu", **start()))
    model.add(layers.Dense(2, **start()))
    model.compile(keras.optimizers.Adam(1e-4), keras.losses.CategoricalCrossentropy(from_logits=True))
    return model, x, y


def start():
    return {
        "kernel_initializer": keras.initializers.TruncatedNormal(stddev=0.05),
        "bias_initializer": keras.initializers.Constant(0.05),
    }


def train(model, x, y):
    rng = np.random.default_rng(1)
    for _ in range(400):
        chosen = rng.integers(0, len(x), 32)
        model.train_on_batch(x[chosen], y[chosen])


def score(model, x, y):
    x, y = pictures(np.random.default_rng(2), 200)
    return accuracy(predictions(model, x), y)
