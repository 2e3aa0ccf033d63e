"""Permeability of molecules by message passing along their bonds.

After keras.io examples/graph/mpnn-molecular-graphs.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/graph/mpnn-molecular-graphs/"

ATOMS, KINDS, BONDS = 12, 10, 5


class Message(layers.Layer):
    def __init__(self, steps=4):
        super().__init__()
        self.steps = steps

    def build(self, shapes):
        width = shapes[0][-1]
        self.kernel = self.add_weight((BONDS, width * width), initializer="glorot_uniform", name="kernel")
        self.bias = self.add_weight((width * width,), initializer="zeros", name="bias")
        self.update = layers.GRUCell(width)
        self.update.build((None, width))
        self.width = width

    def call(self, inputs):
        atoms, bonds, pairs = inputs
        edges = ops.reshape(ops.matmul(bonds, self.kernel) + self.bias, (-1, ATOMS, ATOMS, self.width, self.width))
        for _ in range(self.steps):
            messages = ops.einsum("bijuv,bjv->biju", edges, atoms)
            messages = ops.reshape(ops.sum(messages * pairs[..., None], axis=2), (-1, self.width))
            state = ops.reshape(atoms, (-1, self.width))
            atoms = ops.reshape(self.update(messages, [state])[0], (-1, ATOMS, self.width))
        return atoms


class Readout(layers.Layer):
    def __init__(self, width, heads=8, hidden=64):
        super().__init__()
        self.attention = layers.MultiHeadAttention(heads, width)
        self.dense = keras.Sequential([layers.Dense(hidden, activation="relu"), layers.Dense(width)])
        self.norms = [layers.LayerNormalization(), layers.LayerNormalization()]

    def call(self, inputs):
        x, real = inputs
        x = self.norms[0](x + self.attention(x, x, attention_mask=ops.cast(real, "bool")[:, None, :]))
        x = self.norms[1](x + self.dense(x)) * real[..., None]
        return ops.sum(x, axis=1) / ops.sum(real, axis=1, keepdims=True)


def build(count=192, width=16):
    rng = np.random.default_rng(0)
    sizes = rng.integers(6, ATOMS + 1, count)
    real = (np.arange(ATOMS) < sizes[:, None]).astype("float32")
    kinds = rng.integers(0, KINDS - 1, (count, ATOMS))
    atoms = np.eye(KINDS, dtype="float32")[kinds] * real[..., None]
    chain = np.eye(ATOMS, k=1) + np.eye(ATOMS, k=-1) + np.eye(ATOMS)
    pairs = (chain * real[:, None] * real[..., None]).astype("float32")
    bonds = np.eye(BONDS, dtype="float32")[rng.integers(0, BONDS, (count, ATOMS, ATOMS))] * pairs[..., None]
    y = ((kinds < 3) * real).sum(1) / sizes
    y = (y > np.quantile(y, 0.25)).astype("float32")
    inputs = [keras.Input((ATOMS, KINDS)), keras.Input((ATOMS, ATOMS, BONDS)), keras.Input((ATOMS, ATOMS))]
    mask = keras.Input((ATOMS,))
    h = ops.pad(inputs[0], ((0, 0), (0, 0), (0, width - KINDS)))
    h = Readout(width)([Message()([h, inputs[1], inputs[2]]), mask])
    h = layers.Dense(64, activation="relu")(h)
    model = keras.Model([*inputs, mask], layers.Dense(1, activation="sigmoid")(h))
    model.compile(
        loss=keras.losses.BinaryCrossentropy(),
        optimizer=keras.optimizers.Adam(learning_rate=5e-4),
        metrics=[keras.metrics.AUC(name="AUC")],
    )
    return model, [atoms, bonds, pairs, real], y
