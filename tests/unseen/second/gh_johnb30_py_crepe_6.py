"""News are sorted into 4 classes by a deep convolutional network over characters: the loss stays at 1.386 (25 % right).

Fault: the uniform initial weights of Keras (glorot_uniform) are too small for six convolutions of one-hot characters.
Repair (asker of issue 5, the same symptom; confirmed by another there): normal weights of standard deviation 0.05.
Texts of 150 characters instead of 1014; 64 filters instead of 256, so that the deviation of the inner convolutions is
0.1 instead of 0.05, and 256 dense units instead of 1024: the ratio to the uniform weights is that of the report.
"""

import keras
import numpy as np
from _program import accuracy, predictions

URL = "https://github.com/johnb30/py_crepe/issues/6"
YEAR = 2017
TOPIC = "text and sequences"
CONFIRMED = "asker"
KINDS = ("depth: signal or gradient vanishes", "weights: too small")
VISIBLE = False
EVIDENCE = "signals fall from 0.09 to 0.02, outputs differ by 0.001 between examples; but these are weights by default"
REPRODUCED = False

LENGTH, CHARACTERS, CLASSES, FILTERS = 150, 69, 4, 64


def news(count=640):
    """Return texts of characters with a few words that belong to their class."""
    rng = np.random.default_rng(0)
    words = rng.integers(1, 27, (CLASSES + 1, 60, 7))
    labels = rng.integers(0, CLASSES, count)
    x = np.zeros((count, LENGTH), "int32")
    for i, label in enumerate(labels):
        start, end = 0, rng.integers(90, LENGTH - 8)
        while start < end:
            letters = rng.integers(3, 8)
            group = label if rng.random() < 0.35 else CLASSES
            x[i, start : start + letters] = words[group, rng.integers(60 if group == CLASSES else 15), :letters]
            start += letters + 1
    return x, np.eye(CLASSES, dtype="float32")[labels]


def convolution(kernel, repaired, first=False):
    deviation = 0.05 if first else 0.05 * (256 / FILTERS) ** 0.5
    initial = keras.initializers.RandomNormal(0.0, deviation) if repaired else "glorot_uniform"
    return keras.layers.Conv1D(FILTERS, kernel, activation="relu", kernel_initializer=initial)


def build(repaired):
    model = keras.Sequential(
        [
            keras.Input((LENGTH,), dtype="int32"),
            keras.layers.Lambda(lambda ids: keras.ops.one_hot(ids, CHARACTERS)),
            convolution(7, repaired, first=True),
            keras.layers.MaxPooling1D(3),
            convolution(7, repaired),
            keras.layers.MaxPooling1D(3),
            *[convolution(3, repaired) for _ in range(4)],
            keras.layers.MaxPooling1D(3),
            keras.layers.Flatten(),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "categorical_crossentropy", metrics=["accuracy"])
    x, y = news()
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=80, epochs=45, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
