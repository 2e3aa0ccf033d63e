"""A network of three hidden layers on MNIST learns with sigmoid, tanh and softsign, but not with relu: accuracy 0.1.

Fault: all weights and biases are normal with a standard deviation of 1, so that the outputs are in the ten thousands
and the first step of gradient descent with a rate of 0.1 throws the network away.
Repair (the answer lowers the rate to 0.001 because the gradient explodes; the weights, which make it explode, are
left): weights of He, biases of zero, the rate of 0.1 as it was. The digits of scikit-learn (8 x 8, values 0 to 1)
instead of MNIST, 450 steps instead of 10000.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers
from sklearn.datasets import load_digits

URL = "https://e-learn.cn/qa/q-910985.html"
YEAR = 2017
TOPIC = "image classification"
CONFIRMED = "votes"
KINDS = ("weights: too large", "depth: signal or gradient explodes", "optimizer: rate too large")
VISIBLE = True
EVIDENCE = (
    "the kernels of 200 inputs have a standard deviation of 1 (0.1 is that of He); the outputs have one of 3581,"
    " the first loss is 8295 (2.3 is a blind guess), and the gradients are 12 to 76 times 1 (0.006 repaired)"
)
REPRODUCED = True


def build(repaired):
    digits = load_digits()
    x, y = (digits.data / 16).astype("float32"), np.eye(10, dtype="float32")[digits.target]
    model = keras.Sequential([keras.Input((64,))])
    for units in (200, 200, 200, 10):
        model.add(
            layers.Dense(
                units,
                activation="relu" if units == 200 else None,
                kernel_initializer="he_normal" if repaired else keras.initializers.RandomNormal(stddev=1),
                bias_initializer="zeros" if repaired else keras.initializers.RandomNormal(stddev=1),
            )
        )
    model.compile(keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy(from_logits=True))
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=128, epochs=30, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
