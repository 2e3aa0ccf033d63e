"""The softmax regression of the TensorFlow tutorial on MNIST gets a hidden layer: accuracy falls from 0.92 to 0.11.

Fault: all weights of both layers are zero, so that the hidden units (relu of zero) get no gradient.
Repair (accepted answer): random weights, uniform within 0.01.
The digits of scikit-learn (8 x 8, values 0 to 1) instead of MNIST, and 300 steps instead of 1000.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers
from sklearn.datasets import load_digits

URL = (
    "https://exchangetuts.com/why-adding-one-more-layer-to-the-tensorflow-simple-neural-net-example-breaks-it"
    "-1641643924769364"
)
YEAR = 2017
TOPIC = "image classification"
CONFIRMED = "votes"
KINDS = ("weights: zero, equal or twins",)
VISIBLE = True
EVIDENCE = (
    "both kernels are all zero; their gradients, and that of the hidden biases, are exactly 0 for the first batch;"
    " only the last bias has a gradient (0.014)"
)
REPRODUCED = True


def build(repaired):
    digits = load_digits()
    x, y = (digits.data / 16).astype("float32"), np.eye(10, dtype="float32")[digits.target]

    def weights():
        return keras.initializers.RandomUniform(-0.01, 0.01) if repaired else "zeros"

    model = keras.Sequential(
        [
            keras.Input((64,)),
            layers.Dense(100, activation="relu", kernel_initializer=weights()),
            layers.Dense(10, activation="softmax", kernel_initializer=weights()),
        ]
    )
    model.compile(keras.optimizers.SGD(0.5), "categorical_crossentropy")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=100, epochs=17, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
