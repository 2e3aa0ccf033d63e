"""An autoencoder for digits, 784-256-128-256-784, all of sigmoids: the gradients vanish.

Fault: weights and biases are drawn from a normal distribution with a standard deviation of 1, so that the sigmoids
are saturated. Repair (the asker, in a request that was not merged): weights in proportion to the number of inputs;
here those of Glorot, and zero biases. Digits of 8 by 8, enlarged to 28 by 28, in place of those of 28 by 28; 280
steps instead of 30000.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers
from sklearn.datasets import load_digits

URL = "https://github.com/aymericdamien/TensorFlow-Examples/pull/169"
YEAR = 2017
TOPIC = "autoencoders"
CONFIRMED = "person"
KINDS = ("weights: too large", "activation: saturated")
VISIBLE = True
EVIDENCE = (
    "0.75, 0.69 and 0.53 of the hidden units' and 0.67 of the outputs' numbers are within 0.01 of 0 or 1 in the"
    " first batch (none in the repaired form); the first loss is 0.38, twice that of the repaired form"
    " (0.19)"
)
REPRODUCED = True


def build(repaired):
    model = keras.Sequential([keras.Input((784,))])
    for units in (256, 128, 256, 784):
        if repaired:
            model.add(layers.Dense(units, "sigmoid"))
        else:
            weights, biases = (keras.initializers.RandomNormal(stddev=1) for _ in range(2))
            model.add(layers.Dense(units, "sigmoid", kernel_initializer=weights, bias_initializer=biases))
    model.compile(keras.optimizers.RMSprop(0.01, epsilon=1e-10), "mse")
    images = load_digits().images / 16
    rows = ((np.arange(28) + 0.5) * 8 / 28).astype(int)
    x = images[:, rows][:, :, rows].reshape(-1, 784).astype("float32")
    return model, x, x


def train(model, x, y):
    model.fit(x, y, batch_size=256, epochs=40, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x) - y.mean(0), y - y.mean(0))
