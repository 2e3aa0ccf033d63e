"""Ratings of movies from quotient-remainder and mixed-width embeddings.

After keras.io examples/keras_recipes/memory_efficient_embeddings.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/keras_recipes/memory_efficient_embeddings/"

USERS, MOVIES, WIDTH = 60, 120, 32
BLOCKS = ((0, 20, 32), (20, 60, 16), (60, 120, 8))


class QuotientRemainder(layers.Layer):
    def __init__(self, buckets):
        super().__init__()
        self.buckets = buckets
        self.quotients, self.remainders = layers.Embedding(buckets, WIDTH), layers.Embedding(buckets, WIDTH)

    def call(self, x):
        return self.quotients(x // self.buckets) * self.remainders(x % self.buckets)


class MixedWidths(layers.Layer):
    def __init__(self):
        super().__init__()
        self.tables = [layers.Embedding(end - start + 1, width) for start, end, width in BLOCKS]
        self.projections = [layers.Dense(WIDTH) if width < WIDTH else layers.Identity() for _, _, width in BLOCKS]

    def call(self, x):
        total = 0.0
        for (start, end, _), table, projection in zip(BLOCKS, self.tables, self.projections, strict=True):
            inside = ops.logical_and(x >= start, x < end)
            vectors = projection(table(ops.where(inside, x - start + 1, 0)))
            total = total + vectors * ops.cast(inside, "float32")[:, None]
        return total


def build(count=256):
    rng = np.random.default_rng(0)
    users = rng.integers(0, USERS, count)
    movies = np.minimum(rng.exponential(30, count).astype(int), MOVIES - 1)
    taste, kind = rng.normal(size=(USERS, 2)), rng.normal(size=(MOVIES, 2))
    ratings = np.clip(np.round(3.5 + 0.7 * (taste[users] * kind[movies]).sum(1) + rng.normal(0, 0.3, count)), 1, 5)
    inputs = [keras.Input((), dtype="int32", name=name) for name in ("user", "movie")]
    logits = layers.Dot(axes=1)([QuotientRemainder(8)(inputs[0]), MixedWidths()(inputs[1])])
    model = keras.Model(inputs, keras.activations.sigmoid(logits) * 5)
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=0.001),
        loss=keras.losses.MeanSquaredError(),
        metrics=[keras.metrics.MeanAbsoluteError(name="mae")],
    )
    return model, [users.astype("int32"), movies.astype("int32")], ratings.astype("float32")
