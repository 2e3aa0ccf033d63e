"""Newswires of 46 topics are given to a recurrent net for two classes: the loss becomes highly negative.

Fault: a single output with binary cross entropy gets class numbers from 0 to 45 as its targets.
Repair (maintainer: the model is for two classes, its output and its loss must be changed): 46 outputs with a softmax
and the sparse categorical cross entropy.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops

URL = "https://github.com/ilivans/tf-rnn-attention/issues/10"
YEAR = 2018
TOPIC = "several labels or rare classes"
CONFIRMED = "maintainer"
KINDS = ("labels: form does not fit the loss or the output",)
VISIBLE = True
EVIDENCE = "the targets of the binary cross entropy are whole numbers up to 45 (mean 11), for a single output"
REPRODUCED = True

CLASSES, WORDS, LENGTH = 46, 1000, 30


def data():
    """Return word numbers, padded with zeros, and class numbers with the two large classes of the newswires."""
    rng = np.random.default_rng(0)
    shares = np.r_[0.35, 0.22, np.full(CLASSES - 2, 0.43 / (CLASSES - 2))]
    y = rng.choice(CLASSES, 600, p=shares)
    x = rng.integers(4 + 5 * CLASSES, WORDS, (600, LENGTH))
    typical = 4 + 5 * y[:, None] + rng.integers(0, 5, x.shape)
    x = np.where(rng.random(x.shape) < 0.3, typical, x)
    x[np.arange(LENGTH) >= rng.integers(15, LENGTH, 600)[:, None]] = 0
    return x.astype("int32"), y.astype("float32")


def build(repaired):
    x, y = data()
    inputs = layers.Input((LENGTH,), dtype="int32")
    words = layers.Embedding(WORDS, 32, embeddings_initializer=keras.initializers.RandomUniform(-1, 1))(inputs)
    states = layers.Bidirectional(layers.GRU(24, return_sequences=True))(words)
    scores = layers.Dense(1, use_bias=False)(layers.Dense(16, activation="tanh")(states))
    weights = layers.Softmax(axis=1)(scores)
    summary = layers.Lambda(lambda pair: ops.sum(pair[0] * pair[1], 1), output_shape=(48,))([states, weights])
    start = keras.initializers.TruncatedNormal(stddev=0.1)
    outputs = layers.Dense(CLASSES if repaired else 1, kernel_initializer=start)(layers.Dropout(0.2)(summary))
    model = keras.Model(inputs, outputs)
    if repaired:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    else:
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss)
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=12, verbose=0)


def score(model, x, y):
    outputs = predictions(model, x)
    if outputs.shape[-1] == 1:  # one number for each example, taken for the class as it is
        outputs = -np.abs(1 / (1 + np.exp(-outputs)) - np.arange(CLASSES))
    return accuracy(outputs, y)
