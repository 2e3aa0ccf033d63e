"""A deep convolution over the letters of news, for four classes: after 10 epochs it answers as if at random.

Fault: the weights are uniform by default, so small that every convolution shrinks the signal.
Repair (asker): weights from a normal distribution with 0.05. (As the layers here are narrower, 0.05 times the
square root of the ratio of the inputs of a unit there and here, so that the signals are as large as there.)
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers

URL = "https://github.com/johnb30/py_crepe/issues/5"
YEAR = 2017
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "asker"
KINDS = ("weights: too small", "depth: signal or gradient vanishes")
VISIBLE = False
EVIDENCE = (
    "the signals shrink from 0.14 to 0.03 through the layers, the logits of 80 texts differ by 0.009, and the "
    "gradients are 10 to 70 times smaller than with the other weights; but so it is in many sound programs"
)
REPRODUCED = False
LENGTH, LETTERS, FILTERS = 240, 27, 32


def build(repaired):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 800)
    letters = rng.integers(0, LETTERS - 1, (60, 5))
    x = np.zeros((800, LENGTH, LETTERS), "float32")
    for text, label in zip(x, y, strict=True):
        # A quarter of the words belong to the class, ten of them to each; the others are common.
        own, common = 10 * label + rng.integers(0, 10, 40), rng.integers(40, 60, 40)
        chosen = np.where(rng.random(40) < 0.25, own, common)
        codes = np.concatenate([letters[chosen], np.full((40, 1), LETTERS - 1)], 1).ravel()
        text[np.arange(LENGTH), codes] = 1

    def weights(inputs, inputs_there):
        stddev = 0.05 * (inputs_there / inputs) ** 0.5
        return keras.initializers.RandomNormal(stddev=stddev) if repaired else "glorot_uniform"

    model = keras.Sequential([layers.Input((LENGTH, LETTERS))])
    for number, kernel in enumerate((7, 7, 3, 3, 3, 3)):
        there = weights(1, 1) if number == 0 else weights(FILTERS, 256)
        model.add(layers.Conv1D(FILTERS, kernel, activation="relu", kernel_initializer=there))
        if number in (0, 1, 5):
            model.add(layers.MaxPooling1D(3))
    model.add(layers.Flatten())
    model.add(layers.Dense(128, activation="relu", kernel_initializer=weights(model.output_shape[-1], 34 * 256)))
    model.add(layers.Dropout(0.5))
    model.add(layers.Dense(128, activation="relu", kernel_initializer=weights(128, 1024)))
    model.add(layers.Dropout(0.5))
    model.add(layers.Dense(4, activation="softmax", kernel_initializer=weights(128, 1024)))
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss="categorical_crossentropy")
    return model, x, keras.utils.to_categorical(y, 4)


def train(model, x, y):
    model.fit(x, y, batch_size=80, epochs=40, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
