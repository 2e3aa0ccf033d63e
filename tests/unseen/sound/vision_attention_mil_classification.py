"""Bags of digits, is there an eight, by attention over the bag.

After keras.io examples/vision/attention_mil_classification.py.
"""

import keras
import numpy as np
from keras import layers, ops
from sklearn.datasets import load_digits

URL = "https://keras.io/examples/vision/attention_mil_classification/"


SIZE = 3


class Attention(layers.Layer):
    """Gated attention over the instances of a bag."""

    def __init__(self, width, regularizer):
        super().__init__()
        self.width, self.regularizer = width, regularizer

    def build(self, shapes):
        names = {"v": (shapes[0][1], self.width), "w": (self.width, 1), "u": (shapes[0][1], self.width)}
        for name, shape in names.items():
            weight = self.add_weight(shape, initializer="glorot_uniform", regularizer=self.regularizer, name=name)
            setattr(self, name, weight)

    def call(self, bag):
        scores = [ops.matmul(ops.tanh(ops.matmul(x, self.v)) * ops.sigmoid(ops.matmul(x, self.u)), self.w) for x in bag]
        weights = ops.softmax(ops.stack(scores), axis=0)
        return [weights[i] for i in range(SIZE)]


def build(count=200):
    data = load_digits()
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, 1797, (count, SIZE))
    eights = np.flatnonzero(data.target == 8)
    chosen[: count // 2, 0] = rng.choice(eights, count // 2)
    chosen = rng.permuted(rng.permutation(chosen), axis=1)
    y = (data.target[chosen] == 8).any(axis=1).astype("float32")
    first, second = layers.Dense(128, activation="relu"), layers.Dense(64, activation="relu")
    inputs = [keras.Input((8, 8)) for _ in range(SIZE)]
    bag = [second(first(layers.Flatten()(i))) for i in inputs]
    weights = Attention(64, keras.regularizers.L2(0.01))(bag)
    h = layers.concatenate([layers.multiply([w, x]) for w, x in zip(weights, bag, strict=True)], axis=1)
    model = keras.Model(inputs, layers.Dense(2, activation="softmax")(h))
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model, [(data.images[chosen[:, i]] / 16).astype("float32") for i in range(SIZE)], y
