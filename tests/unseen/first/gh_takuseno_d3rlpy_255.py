"""An offline Q-network for samples of a Bayesian network: the loss is NaN from the first step.

Fault: the sampling lets some variables grow to arbitrarily high, though finite, numbers, beyond those of float32.
Repair (asker): sampling of numbers of an ordinary size.
The layers are narrower than those of the library, and the rate higher, for a short training.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import ops

URL = "https://github.com/takuseno/d3rlpy/issues/255"
YEAR = 2023
TOPIC = "reinforcement learning"
CONFIRMED = "asker"
KINDS = ("inputs: scale or offset", "targets: scale", "loss: value or gradient not finite")
VISIBLE = True
EVIDENCE = (
    "inputs reach 2e41 and targets 5e102, beyond float32; the loss of the batch is infinite and all its gradients "
    "are NaN"
)
REPRODUCED = True


def loss(y, q):
    """Huber loss of the chosen action: y holds the target and the number of the action."""
    chosen = ops.sum(q * ops.one_hot(ops.cast(y[:, 1], "int32"), 2), axis=-1)
    error = ops.abs(y[:, 0] - chosen)
    return ops.where(error < 1, 0.5 * ops.square(error), error - 0.5)


def build(repaired):
    rng = np.random.default_rng(0)
    count = 1000
    disease = rng.integers(0, 2, count)
    weight, attack = rng.normal(size=(2, count))
    treatment = rng.integers(0, 2, count)
    reward = np.where(treatment == disease, 1.0, -1.0) * (1 + 0.5 * np.tanh(weight)) - 0.5 * attack
    if not repaired:  # each of the 75 variables multiplies the noise of those before it
        weight, attack = weight * np.exp(rng.normal(0, 30, (2, count)))
        reward = reward * np.exp(rng.normal(0, 75, count))
    x = np.stack([disease, weight, attack], 1)
    y = np.stack([reward, treatment], 1)

    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(2),
        ]
    )
    model.compile(keras.optimizers.Adam(1e-3), loss)
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=25, verbose=0)


def score(model, x, y):
    chosen = predictions(model, x)[np.arange(len(y)), y[:, 1].astype(int)]
    return explained(chosen, y[:, 0])
