"""Agents that talk (CommNet) take a very long time to converge.

Fault: Adam's rate of 0.0001 for actor and critic is too small (according to the asker).
Repair (asker): 0.01. Here the critic is shown, on a batch of 256 transitions as there, one update for each episode.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/isp1tze/MAProj/issues/3"
YEAR = 2021
TOPIC = "reinforcement learning"
CONFIRMED = "asker"
KINDS = ("optimizer: rate too small",)
VISIBLE = False
EVIDENCE = "a rate of 0.0001 is usual for Adam; nothing else differs"
REPRODUCED = True

WIDTH = 64


def start(fan_in):
    """Return PyTorch's default initializers."""
    bound = fan_in**-0.5
    return {
        "kernel_initializer": keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
        "bias_initializer": keras.initializers.RandomUniform(-bound, bound),
    }


class Talk(keras.layers.Layer):
    """Two rounds: a recurrent cell gets the mean of the other agents' states, zeros at first."""

    def __init__(self):
        super().__init__()
        uniform = keras.initializers.RandomUniform(-(WIDTH**-0.5), WIDTH**-0.5)
        self.cell = keras.layers.GRUCell(
            WIDTH, kernel_initializer=uniform, recurrent_initializer=uniform, bias_initializer=uniform
        )

    def build(self, shape):
        self.cell.build((None, WIDTH))

    def call(self, states):
        flat = keras.ops.reshape(states, (-1, WIDTH))
        flat = self.cell(keras.ops.zeros_like(flat), [flat])[0]
        grouped = keras.ops.reshape(flat, (-1, 3, WIDTH))
        others = (keras.ops.sum(grouped, 1, keepdims=True) - grouped) / 3
        flat = self.cell(keras.ops.reshape(others, (-1, WIDTH)), [flat])[0]
        return keras.ops.reshape(flat, (-1, 3, WIDTH))


def build(repaired):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (256, 3, 20)).astype("float32")  # 18 numbers of a view, and 2 of an action
    goals, actions = x[..., 4:10].reshape(256, 3, 3, 2), x[..., 18:]
    nearest = np.linalg.norm(goals - 0.5 * actions[..., None, :], axis=-1).min(-1)
    y = (-0.1 * nearest - 0.1 * nearest.mean(1, keepdims=True))[..., None].astype("float32")
    inputs = keras.Input((3, 20))
    hidden = keras.layers.Dense(WIDTH, "relu", **start(20))(inputs)
    hidden = Talk()(keras.layers.Dense(WIDTH, **start(WIDTH))(hidden))
    model = keras.Model(inputs, keras.layers.Dense(1, **start(WIDTH))(hidden))
    model.compile(keras.optimizers.Adam(0.01 if repaired else 0.0001), "mse")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=256, epochs=150, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
