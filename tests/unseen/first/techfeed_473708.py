"""A network of relu layers is to return its input from -1 to 1: with one more hidden layer it learns nothing.

Fault: all weights and biases start from a normal distribution with a deviation of 0.001; gradients vanish.
Repair (answer): Glorot initialization, and biases of 0.1.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://techfeed.net/pt/473708/"
YEAR = 2017
TOPIC = "regression on tables"
CONFIRMED = "votes"
KINDS = ("weights: too small",)
VISIBLE = True
EVIDENCE = "kernels of 16 by 16 have a deviation of 0.001 (Glorot: 0.25); outputs stay below 0.0014, targets reach 1"
REPRODUCED = True


def build(repaired):
    """Return the compiled model, numbers from -1 to 1, and their halves (the estimate there is twice the output)."""
    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, size=(1000, 1)).astype("float32")
    kernel = "glorot_uniform" if repaired else keras.initializers.RandomNormal(0, 1e-3)
    bias = keras.initializers.Constant(0.1) if repaired else keras.initializers.RandomNormal(0, 1e-3)

    def dense(units, activation=None):
        return keras.layers.Dense(units, activation, kernel_initializer=kernel, bias_initializer=bias)

    inputs = keras.Input((1,))
    outputs = dense(1)(dense(16, "relu")(dense(16, "relu")(inputs)))
    model = keras.Model(inputs, keras.layers.Rescaling(2.0)(outputs))
    optimizer = keras.optimizers.SGD(1e-3, clipvalue=4.5)
    model.compile(optimizer=optimizer, loss="mse")
    return model, x, x


def train(model, x, y):
    """Train with batches of one for 2,000 steps."""
    model.fit(x, y, batch_size=1, epochs=2, verbose=0)


def score(model, x, y):
    """Return the explained share of the variance."""
    return explained(predictions(model, x), y)
