"""A network of six convolutions over characters sorts news into four classes: the loss stays at the logarithm of 4.

Fault: a rate of 0.0005 for Adam, with which this deep start without normalization gets stuck.
Repair (maintainer: "bad initialization, try reducing the rate"; asker: solved): a smaller rate, 0.0001.
The start is that of PyTorch; 200 characters instead of 1014, 24 features instead of 256.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers

URL = "https://github.com/srviest/char-cnn-text-classification-pytorch/issues/3"
YEAR = 2018
TOPIC = "text and sequences"
CONFIRMED = "asker"
KINDS = ("depth: signal or gradient vanishes", "optimizer: rate too large")
VISIBLE = True
EVIDENCE = (
    "the outputs for 32 examples differ by 4e-5 (standard deviation) at a root mean square of 0.08, those of the "
    "first layer by 0.06: nearly nothing of the input comes through nine layers; not reproduced: in 200 steps the "
    "smaller rate does not get off either (0, 0, 0), the larger one once (0, 0.37, 0)"
)
REPRODUCED = False
LETTERS, LENGTH, WIDTH = 30, 200, 24


def torch_start(fan):
    names = "kernel_initializer", "bias_initializer"
    return {name: keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5) for name in names}


def build(repaired):
    rng = np.random.default_rng(0)
    count = 320
    y = rng.permutation(count) % 4
    vocabularies = [[rng.integers(1, LETTERS, rng.integers(3, 9)) for _ in range(40)] for _ in range(5)]
    x = np.zeros((count, LENGTH, LETTERS), "float32")
    for row, topic in enumerate(y):
        text = []
        while len(text) < LENGTH:
            words = vocabularies[topic if rng.random() < 0.4 else 4]
            text.extend([*words[rng.integers(len(words))], 0])
        x[row, np.arange(LENGTH), text[:LENGTH]] = 1

    model = keras.Sequential([keras.Input((LENGTH, LETTERS))])
    for number, size in enumerate((7, 7, 3, 3, 3, 3)):
        fan = size * (WIDTH if number else LETTERS)
        model.add(layers.Conv1D(WIDTH, size, activation="relu", **torch_start(fan)))
        if number in (0, 1, 5):
            model.add(layers.MaxPooling1D(3))
    model.add(layers.Flatten())
    for units in (96, 96):
        model.add(layers.Dense(units, activation="relu", **torch_start(model.output_shape[-1])))
        model.add(layers.Dropout(0.5))
    model.add(layers.Dense(4, **torch_start(96)))
    rate = 0.0001 if repaired else 0.0005
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=20, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
