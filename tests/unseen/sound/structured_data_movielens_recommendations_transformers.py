"""Rating of the next movie of a user by a Transformer.

After keras.io examples/structured_data/movielens_recommendations_transformers.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/structured_data/movielens_recommendations_transformers/"


class Positions(layers.Layer):
    def __init__(self, length, width):
        super().__init__()
        self.table = layers.Embedding(length, width)

    def call(self, x):
        return x + self.table(ops.arange(x.shape[1]))


def build(count=256, movies=144, length=4, heads=3):
    rng = np.random.default_rng(0)
    width = int(movies**0.5)
    liked = rng.normal(3.6, 0.7, movies)
    seen = rng.integers(0, movies, (count, length))
    mood = rng.normal(0, 0.7, (count, 1))
    ratings = np.clip(np.round(liked[seen] + mood + rng.normal(0, 0.4, seen.shape)), 1, 5).astype("float32")
    watched, target = keras.Input((length - 1,), dtype="int32"), keras.Input((1,), dtype="int32")
    given = keras.Input((length - 1,))
    table = layers.Embedding(movies, width)
    past = layers.Multiply()([Positions(length, width)(table(watched)), given[..., None]])
    h = layers.Concatenate(axis=1)([past, table(target)])
    attended = layers.MultiHeadAttention(heads, width, dropout=0.1)(h, h)
    x1 = layers.LayerNormalization()(layers.Add()([h, layers.Dropout(0.1)(attended)]))
    x2 = layers.Dropout(0.1)(layers.Dense(width)(layers.LeakyReLU()(x1)))
    h = layers.Flatten()(layers.LayerNormalization()(layers.Add()([x1, x2])))
    for units in (64, 32):
        h = layers.BatchNormalization()(layers.Dense(units)(h))
        h = layers.Dropout(0.1)(layers.LeakyReLU()(h))
    model = keras.Model([watched, target, given], layers.Dense(1)(h))
    model.compile(
        optimizer=keras.optimizers.Adagrad(learning_rate=0.01),
        loss=keras.losses.MeanSquaredError(),
        metrics=[keras.metrics.MeanAbsoluteError()],
    )
    seen = seen.astype("int32")
    return model, [seen[:, :-1], seen[:, -1:], ratings[:, :-1]], ratings[:, -1]
