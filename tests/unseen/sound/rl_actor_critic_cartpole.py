"""Policy and value of CartPole states by one network with two heads.

After keras.io examples/rl/actor_critic_cartpole.py.
"""

import keras
import numpy as np
from keras import layers

URL = "https://keras.io/examples/rl/actor_critic_cartpole/"


def states(count=256):
    """Return places, speeds, angles and turns of a pole on a cart, as met in play."""
    rng = np.random.default_rng(0)
    return rng.normal(0, [0.5, 0.6, 0.06, 0.7], (count, 4)).astype("float32")


def build():
    x = states()
    actions = (x[:, 2] + 0.2 * x[:, 3] > 0).astype("int32")
    returns = 1 - np.abs(x[:, 2]) * 8 - np.abs(x[:, 3])
    returns = (returns - returns.mean()) / (returns.std() + 1e-8)
    inputs = keras.Input((4,))
    common = layers.Dense(128, activation="relu")(inputs)
    model = keras.Model(inputs, [layers.Dense(2, activation="softmax")(common), layers.Dense(1)(common)])
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate=0.01),
        loss=["sparse_categorical_crossentropy", keras.losses.Huber()],
    )
    return model, x, [actions, returns[:, None].astype("float32")]
