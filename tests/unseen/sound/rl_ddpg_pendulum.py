"""Critic of a pendulum, values of states and actions, after keras.io examples/rl/ddpg_pendulum.py."""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/rl/ddpg_pendulum/"


def build(count=256):
    rng = np.random.default_rng(0)
    angle, turn, action = rng.uniform(-np.pi, np.pi, count), rng.uniform(-8, 8, count), rng.uniform(-2, 2, count)
    state = np.stack([np.cos(angle), np.sin(angle), turn], axis=1).astype("float32")
    value = -(angle**2 + 0.1 * turn**2 + 0.001 * action**2) * 3
    first, second = keras.Input((3,)), keras.Input((1,))
    h = layers.Dense(16, activation="relu")(first)
    h = layers.Dense(32, activation="relu")(h)
    h = layers.Concatenate()([h, layers.Dense(32, activation="relu")(second)])
    h = layers.Dense(128, activation="relu")(h)
    h = layers.Dense(128, activation="relu")(h)
    model = keras.Model([first, second], layers.Dense(1)(h))
    model.compile(optimizer=keras.optimizers.Adam(0.002), loss="mse")
    return model, [state, action[:, None].astype("float32")], value[:, None].astype("float32")
