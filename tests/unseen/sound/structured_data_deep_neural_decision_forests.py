"""Income from census columns by soft decision trees.

After keras.io examples/structured_data/deep_neural_decision_forests.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/structured_data/deep_neural_decision_forests/"

CLASSES = {"work": 9, "education": 16, "marital": 7, "job": 15, "relation": 6, "race": 5, "sex": 2}


class Tree(layers.Layer):
    """Soft decision tree over some of the columns."""

    def __init__(self, depth, columns, used, seed):
        super().__init__()
        self.depth = depth
        self.chosen = np.random.default_rng(seed).permutation(columns)[: int(columns * used)]
        self.decide = layers.Dense(2**depth, activation="sigmoid")

    def build(self, shape):
        self.leaves = self.add_weight((2**self.depth, 2), initializer="random_normal", name="leaves")
        self.decide.build((None, len(self.chosen)))

    def call(self, x):
        right = self.decide(ops.take(x, self.chosen, axis=1))[..., None]
        decisions = ops.concatenate([right, 1 - right], axis=2)
        reach = ops.ones_like(right[:, :1])
        for level in range(self.depth):
            reach = ops.reshape(reach, (-1, 2**level, 1)) * decisions[:, 2**level : 2 ** (level + 1)]
        return ops.matmul(ops.reshape(reach, (-1, 2**self.depth)), ops.softmax(self.leaves))


class Forest(keras.Model):
    def __init__(self, columns, trees=10, depth=5):
        super().__init__()
        self.trees = [Tree(depth, columns, 0.5, seed) for seed in range(trees)]

    def call(self, x):
        return sum(tree(x) for tree in self.trees) / len(self.trees)


def build(count=256):
    rng = np.random.default_rng(0)
    rich = (rng.random(count) < 0.24).astype("int32")
    x = [
        rng.integers(17, 80, count) * 0.8 + 10 * rich,
        rng.integers(4, 14, count) + 2 * rich,
        rng.integers(1000, 20000, count) * (rng.random(count) < 0.04 + 0.2 * rich),
        rng.integers(1000, 2500, count) * (rng.random(count) < 0.04),
        rng.normal(39, 11, count) + 5 * rich,
    ]
    inputs = [keras.Input((1,)) for _ in x]
    features = list(inputs)
    for size in CLASSES.values():
        x.append(np.where(rich & (rng.random(count) < 0.4), size - 1, rng.integers(0, size, count)))
        inputs.append(keras.Input((), dtype="int32"))
        features.append(layers.Embedding(size, int(size**0.5))(inputs[-1]))
    h = layers.BatchNormalization()(layers.concatenate(features))
    model = keras.Model(inputs, Forest(h.shape[1])(h))
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
    )
    x = [column.astype("float32")[:, None] if i < 5 else column.astype("int32") for i, column in enumerate(x)]
    return model, x, rich
