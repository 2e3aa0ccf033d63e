"""A word is told from the three before and after it (CBOW) with the NCE loss: it is not a number from the start.

Fault: gradient descent with a rate of 0.5.
Repair (the author, who changed the book's program): 0.25.
A vocabulary of 200 instead of 2000, vectors of 50 numbers instead of 200, batches of 100 with 50 words drawn against
them instead of 500 and 250.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops

URL = "https://github.com/nfmcclure/tensorflow_cookbook/issues/129"
YEAR = 2018
TOPIC = "text and sequences"
CONFIRMED = "maintainer"
KINDS = ("optimizer: rate too large",)
VISIBLE = False
EVIDENCE = (
    "a rate that is twice too large; weights, signals and gradients are the same in both forms, and sound; not"
    " reproduced at this size, where 0.5 is better (0.95 against 0.89 after 200 steps) and nothing becomes NaN"
)
REPRODUCED = False
WORDS, SIZE, WINDOW, DRAWN = 200, 50, 6, 50


class NoiseContrast(keras.losses.Loss):
    """The NCE loss of TensorFlow for the scores of all words, with words drawn log-uniformly."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(0)
        ranks = np.arange(WORDS)
        self.logs = np.log(np.log((ranks + 2) / (ranks + 1)) / np.log(WORDS + 1)).astype("float32")

    def call(self, y_true, y_pred):
        logs = ops.convert_to_tensor(self.logs)
        drawn = keras.random.categorical(logs[None], DRAWN, dtype="int32", seed=self.seeds)[0]
        scores = y_pred - logs - np.log(DRAWN).astype("float32")
        right = ops.take_along_axis(scores, ops.cast(y_true, "int32"), axis=-1)[:, 0]
        wrong = ops.take(scores, drawn, axis=-1)
        return ops.softplus(-right) + ops.sum(ops.softplus(wrong), -1)


class Sum(layers.Layer):
    def call(self, x):
        return ops.sum(x, 1)


def build(repaired):
    rng = np.random.default_rng(0)
    count = 2000
    steps = rng.integers(1, 4, count)
    start = np.minimum(rng.geometric(0.02, count), WORDS) - 1
    text = (start[:, None] + steps[:, None] * np.arange(7)) % WORDS
    model = keras.Sequential(
        [
            keras.Input((WINDOW,), dtype="int32"),
            layers.Embedding(WORDS, SIZE, embeddings_initializer=keras.initializers.RandomUniform(-1, 1)),
            Sum(),
            layers.Dense(WORDS, kernel_initializer=keras.initializers.TruncatedNormal(stddev=SIZE**-0.5)),
        ]
    )
    model.compile(keras.optimizers.SGD(0.25 if repaired else 0.5), NoiseContrast())
    return model, np.delete(text, 3, 1).astype("int32"), text[:, 3:4].astype("int32")


def train(model, x, y):
    model.fit(x, y, batch_size=100, epochs=10, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
