"""Texts get several labels by a convolutional network of words: its accuracy is 0.5 all the time, while the loss falls.

Fault: for several labels the accuracy is a constant, put there by the author of the repository; it is not measured.
Repair (maintainer): the accuracy is computed, here as the share of texts whose first label is one of theirs.
Layers, loss and optimizer are those of the repository on that day; 16 filters instead of 256, 40 labels instead of
1999, texts of 40 words instead of 100, no pretrained embedding.
"""

import keras
import numpy as np
from _program import predictions

URL = "https://github.com/brightmart/text_classification/issues/35"
YEAR = 2018
TOPIC = "text and sequences"
CONFIRMED = "maintainer"
KINDS = ("evaluation or other code",)
VISIBLE = False
EVIDENCE = "weights, signals and gradients are the same in both forms; only the reported accuracy differs"
REPRODUCED = False

WORDS, LENGTH, LABELS = 500, 40, 40


def texts(count=768):
    """Return texts in numbers of words (0 at the end) and rows of their one to three labels."""
    rng = np.random.default_rng(0)
    x, y = np.zeros((count, LENGTH), "int32"), np.zeros((count, LABELS), "float32")
    for i in range(count):
        labels = rng.choice(LABELS, rng.integers(1, 4), replace=False)
        y[i, labels] = 1
        length = rng.integers(15, LENGTH + 1)
        x[i, :length] = rng.integers(1, WORDS, length)
        own = rng.random(length) < 0.4
        x[i, :length][own] = 1 + 6 * rng.choice(labels, own.sum()) + rng.integers(0, 6, own.sum())
    return x, y


def sum_loss(labels, logits):
    """Return the sum of the sigmoid cross-entropies of all labels."""
    return keras.ops.sum(keras.ops.binary_crossentropy(labels, logits, from_logits=True), axis=-1)


def placeholder_accuracy(labels, logits):
    return 0.5 + 0 * keras.ops.sum(logits, axis=-1)


def first_accuracy(labels, logits):
    first = keras.ops.one_hot(keras.ops.argmax(logits, axis=-1), LABELS)
    return keras.ops.sum(first * labels, axis=-1)


def build(repaired):
    def options():
        return {
            "kernel_initializer": keras.initializers.RandomNormal(0.0, 0.1),
            "kernel_regularizer": keras.regularizers.L2(0.000005),
        }

    words = keras.Input((LENGTH,), dtype="int32")
    options_of_words = {"embeddings_initializer": keras.initializers.RandomNormal(0.0, 0.1)}
    options_of_words["embeddings_regularizer"] = keras.regularizers.L2(0.000005)
    vectors = keras.layers.Embedding(WORDS, 32, **options_of_words)(words)
    pooled = [
        keras.layers.GlobalMaxPooling1D()(keras.layers.Conv1D(16, size, activation="relu", **options())(vectors))
        for size in range(1, 8)
    ]
    hidden = keras.layers.Dropout(0.5)(keras.layers.Concatenate()(pooled))
    model = keras.Model(words, keras.layers.Dense(LABELS, **options())(hidden))
    rate = keras.optimizers.schedules.ExponentialDecay(0.01, 6000, 0.65, staircase=True)
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=5.0)
    model.compile(optimizer, sum_loss, metrics=[first_accuracy if repaired else placeholder_accuracy])
    x, y = texts()
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=128, epochs=10, verbose=0)


def score(model, x, y):
    """Return how often the first label is right, from that of the most frequent label (0) to always (1)."""
    right = y[np.arange(len(y)), predictions(model, x).argmax(-1)].mean()
    guess = y.mean(0).max()
    return max(0.0, (right - guess) / (1 - guess))
