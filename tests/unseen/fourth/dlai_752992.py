"""The income of twenty people is predicted from age and experience by one linear unit: the loss, 1e9, hardly goes down.

Fault: the targets are incomes of 27840 to 63600, and steps of Adam are 0.001: weights and bias need millions of them.
Repair (answer, which gives the numbers of gradient descent): the targets are scaled, and plain gradient descent learns.
The answer names the scale of the targets first and Adam second. 100 epochs instead of 200.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers

URL = "https://community.deeplearning.ai/t/linear-regression-with-neural-network-need-help-and-advice/752992"
YEAR = 2025
TOPIC = "regression on tables"
CONFIRMED = "comments"
KINDS = ("targets: scale", "optimizer: rate too small")
VISIBLE = True
EVIDENCE = (
    "targets: mean 40000, standard deviation 8000; first outputs: between -3 and 3; first loss 1.7e9; one step of Adam "
    "changes the bias by 0.001 of the 40000 that it has to go (the targets of the repaired form have deviation 1)"
)
REPRODUCED = True


def build(repaired):
    rng = np.random.default_rng(0)
    age, experience = rng.integers(22, 60, 20), rng.integers(1, 18, 20)
    x = np.stack([age, experience], 1).astype("float32")
    z = (x - x.mean(0)) / x.std(0)
    y = (39991 + 61 * z[:, 0] + 7651 * z[:, 1] + rng.normal(0, 1500, 20)).round().astype("float32")
    if repaired:
        y = (y - y.mean()) / y.std()

    normalizer = layers.Normalization(axis=-1)
    normalizer.adapt(x)
    x = keras.ops.convert_to_numpy(normalizer(x))
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1, activation="linear")])
    optimizer = keras.optimizers.SGD(0.1) if repaired else keras.optimizers.Adam(1e-3)
    model.compile(optimizer, keras.losses.MeanSquaredError())
    return model, x, y


def train(model, x, y):
    model.fit(x, y, epochs=100, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
