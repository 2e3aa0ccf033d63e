"""An agent catches particles; its Q-network is compiled with categorical cross-entropy: the paddle goes to a side.

Fault: the targets are values from -25 to 20, not class probabilities, so cross-entropy makes no sense for them.
Repair (answer): mean squared error.
The stored report lacks the hidden layers; two small ones with ReLU and a linear output are assumed.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://ai.stackexchange.com/questions/13793/"
YEAR = 2019
TOPIC = "reinforcement learning"
CONFIRMED = "votes"
KINDS = ("loss: wrong kind for the task",)
VISIBLE = True
EVIDENCE = (
    "the targets lie between -19 and 5 and no row of them sums to 1, the outputs between -9 and 10, and the "
    "cross-entropy of the batch is negative, -9.8"
)
REPRODUCED = True


def build(repaired):
    rng = np.random.default_rng(0)
    count = 1000
    player, particle = rng.uniform(0, 10, (2, count))
    height = rng.uniform(0, 10, count)
    kind = rng.integers(0, 4, count)
    x = np.stack([player, particle, height, kind], 1).astype("float32")
    # Good and bad particles of 5, 1, -5 and -20 points; discounted by 0.8 for each unit of height left.
    points = np.array([5, 1, -5, -20])[kind]
    moved = player[:, None] + np.array([-1, 1, 0])
    caught = np.exp(-0.5 * (moved - particle[:, None]) ** 2)
    y = (points[:, None] * caught * 0.8 ** height[:, None]).astype("float32")

    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(24, activation="relu"),
            keras.layers.Dense(24, activation="relu"),
            keras.layers.Dense(3),
        ]
    )
    model.compile(loss="mean_squared_error" if repaired else "categorical_crossentropy", optimizer="adam")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=16, epochs=60, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
