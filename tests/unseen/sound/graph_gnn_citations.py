"""Topics of papers from their words and citations by graph convolutions.

After keras.io examples/graph/gnn_citations.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/graph/gnn_citations/"

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
    return words, np.stack([sources, targets]).astype("int32"), topics


def dense(units=(32, 32), rate=0.5):
    parts = []
    for width in units:
        parts += [layers.BatchNormalization(), layers.Dropout(rate), layers.Dense(width, activation="gelu")]
    return keras.Sequential(parts)


class Convolution(layers.Layer):
    def __init__(self):
        super().__init__()
        self.prepare, self.update = dense(), dense()

    def call(self, x, edges, weight):
        messages = self.prepare(ops.take(x, edges[1], axis=0)) * weight
        messages = ops.segment_sum(messages, edges[0], num_segments=NODES)
        x = self.update(ops.concatenate([x, messages], axis=1))
        return x / ops.maximum(ops.norm(x, axis=-1, keepdims=True), 1e-6)


class Network(keras.Model):
    def __init__(self, words, edges):
        super().__init__()
        self.words, self.edges = words, edges
        self.share = 1 / edges.shape[1]
        self.before, self.after = dense(), dense()
        self.convolutions = [Convolution(), Convolution()]
        self.logits = layers.Dense(TOPICS)

    def call(self, nodes):
        x = self.before(self.words)
        for convolution in self.convolutions:
            x = x + convolution(x, self.edges, weight=self.share)
        return self.logits(ops.take(self.after(x), nodes, axis=0))


def build():
    words, edges, topics = papers()
    model = Network(ops.convert_to_tensor(words), edges)
    model.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="acc")],
    )
    return model, np.arange(NODES, dtype="int32"), topics
