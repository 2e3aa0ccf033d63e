"""BERT4Rec learns hidden items of short sequences: with a small probability of hiding the loss becomes nan.

Fault: where no item of a batch is hidden, the cross-entropy is a mean over nothing, 0 / 0.
Repair (the asker names the cause, no repair is told): the sum is divided by at least 1.
Network, loss and Adam are those of the repository, narrower; sequences of 3 to 5 items, a batch of 16, of 5 % hidden.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops

URL = "https://github.com/jaywonchung/BERT4Rec-VAE-Pytorch/issues/22"
YEAR = 2023
TOPIC = "text and sequences"
CONFIRMED = "asker"
KINDS = ("loss: value or gradient not finite",)
VISIBLE = False
EVIDENCE = (
    "3 % of the batches of 16 have no hidden item; the first 32 examples have 6, so their loss, 2.5, is finite, "
    "and the fault comes up in other batches"
)
REPRODUCED = True
ITEMS, LENGTH, HIDDEN = 12, 6, 32


def entropy(repaired):
    def loss(y_true, y_pred):
        known = ops.cast(y_true > 0, "float32")
        each = ops.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        number = ops.sum(known)
        return ops.sum(each * known) / (ops.maximum(number, 1) if repaired else number)

    return loss


def torch_dense(units, fan, **kwargs):
    weights, biases = (keras.initializers.RandomUniform(-(fan**-0.5), fan**-0.5) for _ in range(2))
    return layers.Dense(units, kernel_initializer=weights, bias_initializer=biases, **kwargs)


def build(repaired):
    rng = np.random.default_rng(0)
    x, y = np.zeros((2, 4800, LENGTH), "int32")
    for row in range(len(x)):
        length = rng.integers(3, 6)
        items = (rng.integers(ITEMS) + np.arange(length)) % ITEMS + 1
        hidden = rng.random(length) < 0.05
        x[row, -length:] = np.where(hidden & (rng.random(length) < 0.9), ITEMS + 1, items)
        y[row, -length:] = np.where(hidden, items, 0)

    inputs = keras.Input((LENGTH,), dtype="int32")
    mask = ops.repeat(ops.expand_dims(inputs > 0, 1), LENGTH, axis=1)
    places = layers.Embedding(LENGTH, HIDDEN, embeddings_initializer=keras.initializers.RandomNormal(stddev=1))
    flow = layers.Embedding(ITEMS + 2, HIDDEN, embeddings_initializer=keras.initializers.RandomNormal(stddev=1))(inputs)
    flow = layers.Dropout(0.1)(flow + places(ops.cumsum(ops.ones_like(inputs), axis=1) - 1))
    for _ in range(2):
        normal = layers.LayerNormalization(epsilon=1e-6)(flow)
        flow = flow + layers.Dropout(0.1)(layers.MultiHeadAttention(2, 16)(normal, normal, attention_mask=mask))
        normal = layers.LayerNormalization(epsilon=1e-6)(flow)
        inner = layers.Dropout(0.1)(torch_dense(4 * HIDDEN, HIDDEN, activation="gelu")(normal))
        flow = layers.Dropout(0.1)(flow + torch_dense(HIDDEN, 4 * HIDDEN)(inner))
    model = keras.Model(inputs, torch_dense(ITEMS + 1, HIDDEN)(flow))
    model.compile(keras.optimizers.Adam(0.001), entropy(repaired))
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=16, epochs=1, verbose=0)


def score(model, x, y):
    outputs = predictions(model, x)
    return accuracy(outputs[y > 0], y[y > 0]) if np.isfinite(outputs).all() else 0.0
