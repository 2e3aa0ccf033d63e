"""Topics of papers from their words and citations by graph attention.

After keras.io examples/graph/gat_node_classification.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/graph/gat_node_classification/"

NODES, WORDS, TOPICS = 240, 100, 7


def papers(seed=0):
    """Return word presences, citations mostly inside a topic, and topics."""
    rng = np.random.default_rng(seed)
    topics = rng.permutation(np.arange(NODES) % TOPICS)
    chance = np.where(rng.random((TOPICS, WORDS)) < 0.1, 0.25, 0.02)
    words = (rng.random((NODES, WORDS)) < chance[topics]).astype("float32")
    sources = np.repeat(np.arange(NODES), 3)
    same = [rng.choice(np.flatnonzero(topics == topics[i])) for i in sources]
    targets = np.where(rng.random(len(sources)) < 0.8, same, rng.integers(0, NODES, len(sources)))
    return words, np.stack([targets, sources], axis=1).astype("int32"), topics


class Attention(layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.units = units

    def build(self, shape):
        l2 = keras.regularizers.L2(5e-4)
        self.kernel = self.add_weight((shape[-1], self.units), initializer="glorot_uniform", regularizer=l2)
        self.score = self.add_weight((2 * self.units, 1), initializer="glorot_uniform", regularizer=l2)

    def call(self, x, edges):
        z = ops.matmul(x, self.kernel)
        target, source = ops.take(z, edges[:, 0], axis=0), ops.take(z, edges[:, 1], axis=0)
        score = ops.leaky_relu(ops.matmul(ops.concatenate([target, source], axis=-1), self.score))[:, 0]
        score = ops.exp(ops.clip(score, -2, 2))
        total = ops.segment_sum(score, edges[:, 0], num_segments=NODES)
        score = score / (ops.take(total, edges[:, 0], axis=0) + 1e-8)
        return ops.segment_sum(source * score[:, None], edges[:, 0], num_segments=NODES)


class Network(keras.Model):
    def __init__(self, words, edges, units=16, heads=8, depth=3):
        super().__init__()
        self.words, self.edges = words, edges
        self.before = layers.Dense(units * heads, activation="relu")
        self.attentions = [[Attention(units) for _ in range(heads)] for _ in range(depth)]
        self.after = layers.Dense(TOPICS)

    def call(self, nodes):
        x = self.before(self.words)
        for heads in self.attentions:
            x = x + ops.relu(ops.concatenate([head(x, self.edges) for head in heads], axis=-1))
        return ops.take(self.after(x), nodes, axis=0)


def build():
    words, edges, topics = papers()
    model = Network(ops.convert_to_tensor(words), edges)
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.SGD(learning_rate=0.003, momentum=0.9),
        metrics=["accuracy"],
    )
    return model, np.arange(NODES, dtype="int32"), topics
