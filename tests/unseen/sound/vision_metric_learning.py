"""Embeddings of pictures whose likeness tells the class, after keras.io examples/vision/metric_learning.py."""

import keras
import numpy as np
from _shared import pictures
from keras import layers, ops

URL = "https://keras.io/examples/vision/metric_learning/"


CLASSES = 10


class EmbeddingModel(keras.Model):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def call(self, x):
        sizes = x.shape[2:]
        vectors = ops.reshape(self.network(ops.reshape(x, (-1, *sizes[1:]))), (-1, 2, CLASSES, 8))
        return ops.einsum("bae,bpe->bap", vectors[:, 0], vectors[:, 1]) / 0.2

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        labels = ops.broadcast_to(ops.arange(CLASSES), ops.shape(y_pred)[:2])
        return super().compute_loss(x, labels, y_pred)


def build(count=64):
    x, y = pictures(CLASSES, 20, count=400)
    rng = np.random.default_rng(0)
    chosen = np.stack([rng.choice(np.flatnonzero(y == c), (count, 2)) for c in range(CLASSES)], axis=2)
    inputs = keras.Input((20, 20, 3))
    h = inputs
    for filters in (8, 16, 24):
        h = layers.Conv2D(filters, kernel_size=3, strides=2, activation="relu")(h)
    h = layers.GlobalAveragePooling2D()(h)
    h = layers.UnitNormalization()(layers.Dense(8, activation=None)(h))
    model = EmbeddingModel(keras.Model(inputs, h))
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model, x[chosen], None
