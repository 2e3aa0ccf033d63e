"""Embeddings of movies from pairs met on random walks, after keras.io examples/graph/node2vec_movielens.py."""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/graph/node2vec_movielens/"


def build(movies=100, count=256):
    rng = np.random.default_rng(0)
    genre = rng.integers(0, 5, movies)
    target = rng.integers(1, movies, count)
    y = (rng.random(count) < 0.3).astype("float32")
    near = [rng.choice(np.flatnonzero(genre[1:] == genre[i]) + 1) for i in target]
    context = np.where(y, near, rng.integers(1, movies, count))
    inputs = [keras.Input((), dtype="int32", name=name) for name in ("target", "context")]
    table = layers.Embedding(
        movies, 50, embeddings_initializer="he_normal", embeddings_regularizer=keras.regularizers.l2(1e-6)
    )
    logits = layers.Dot(axes=1)([table(i) for i in inputs])
    model = keras.Model(inputs, logits)
    model.compile(optimizer=keras.optimizers.Adam(0.001), loss=keras.losses.BinaryCrossentropy(from_logits=True))
    return model, [target.astype("int32"), context.astype("int32")], y
