"""Ratings of movies from products of embeddings with biases.

After keras.io examples/structured_data/collaborative_filtering_movielens.py.
"""

import keras
import numpy as np
from keras import layers, ops

URL = "https://keras.io/examples/structured_data/collaborative_filtering_movielens/"


class Recommender(keras.Model):
    def __init__(self, users, movies, width=50):
        super().__init__()
        l2 = keras.regularizers.l2(1e-6)
        self.users = layers.Embedding(users, width, embeddings_initializer="he_normal", embeddings_regularizer=l2)
        self.user_bias = layers.Embedding(users, 1)
        self.movies = layers.Embedding(movies, width, embeddings_initializer="he_normal", embeddings_regularizer=l2)
        self.movie_bias = layers.Embedding(movies, 1)

    def call(self, x):
        user, movie = x[:, 0], x[:, 1]
        product = ops.sum(self.users(user) * self.movies(movie), axis=1, keepdims=True)
        return ops.sigmoid(product + self.user_bias(user) + self.movie_bias(movie))


def build(count=256, users=60, movies=80):
    rng = np.random.default_rng(0)
    x = np.stack([rng.integers(0, users, count), rng.integers(0, movies, count)], axis=1)
    rating = 3.5 + rng.normal(0, 0.8, users)[x[:, 0]] + rng.normal(0, 0.8, movies)[x[:, 1]]
    rating = np.clip(np.round(rating * 2) / 2, 0.5, 5)
    model = Recommender(users, movies)
    model.compile(loss=keras.losses.BinaryCrossentropy(), optimizer=keras.optimizers.Adam(learning_rate=0.001))
    return model, x, ((rating - 0.5) / 4.5).astype("float32")
