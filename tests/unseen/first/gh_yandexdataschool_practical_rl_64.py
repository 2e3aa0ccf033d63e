"""A Q-network for the cart with a pole does not get beyond a mean reward of 15, whatever its width and depth.

Fault: the hidden layers have no activation, so that the network is linear, and it cannot see that both sides are bad.
Repair (asker, after the course's answer): ReLU in the hidden layers.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/yandexdataschool/Practical_RL/issues/64"
YEAR = 2018
TOPIC = "reinforcement learning"
CONFIRMED = "asker"
KINDS = ("activation: missing or wrong",)
VISIBLE = True
EVIDENCE = (
    "no layer of the network has an activation: three layers of 100, 100 and 2 units are one linear map of 4 numbers"
)
REPRODUCED = True


def moved(states, pushes):
    """Return the states of the cart and pole after 0.02 s, by the equations of the known environment."""
    place, speed, angle, turn = states.T
    force = np.where(pushes == 1, 10.0, -10.0)
    part = (force + 0.05 * turn**2 * np.sin(angle)) / 1.1
    bent = (9.8 * np.sin(angle) - np.cos(angle) * part) / (0.5 * (4 / 3 - 0.1 * np.cos(angle) ** 2 / 1.1))
    gain = part - 0.05 * bent * np.cos(angle) / 1.1
    return np.stack([place + 0.02 * speed, speed + 0.02 * gain, angle + 0.02 * turn, turn + 0.02 * bent], 1)


def build(repaired):
    rng = np.random.default_rng(0)
    count, rounds = 800, 12
    x = rng.uniform(-1, 1, (count, 4)) * np.array([1.0, 1.0, 0.2, 1.5])
    y = np.zeros((count, 2))
    for action in (0, 1):
        for _ in range(rounds):
            states, alive, pushes = x, np.ones(count), np.full(count, action)
            for step in range(60):
                y[:, action] += 0.99**step * alive / rounds
                states = moved(states, pushes)
                alive = alive * (np.abs(states[:, 2]) < 0.21) * (np.abs(states[:, 0]) < 2.4)
                pushes = rng.integers(0, 2, count)

    activation = "relu" if repaired else None
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(100, activation=activation),
            keras.layers.Dense(100, activation=activation),
            keras.layers.Dense(2),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    return model, x.astype("float32"), y.astype("float32")


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=25, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
