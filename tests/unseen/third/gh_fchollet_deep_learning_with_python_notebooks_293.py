"""A classifier of digits has a training step of its own, as a book shows it: the results are terrible.

Fault: the gradients are never set to zero, so that each step takes the sum of all gradients so far.
Repair (the reporter): they are set to zero in each step.
The sum is kept by the optimizer here, so that the program runs with any backend.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers
from sklearn.datasets import load_digits

URL = "https://github.com/fchollet/deep-learning-with-python-notebooks/issues/293"
YEAR = 2026
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "asker"
KINDS = ("evaluation or other code",)
VISIBLE = False
EVIDENCE = "the first step is right; from the second on, gradients of former steps are added"
REPRODUCED = False


class Summing(keras.optimizers.Adam):
    """Adam, fed with gradients that nobody sets to zero."""

    def build(self, variables):
        super().build(variables)
        self.sums = [keras.Variable(np.zeros(variable.shape, "float32"), trainable=False) for variable in variables]

    def apply(self, grads, trainable_variables=None):
        if not self.built:
            self.build(trainable_variables)
        for total, gradient in zip(self.sums, grads, strict=True):
            total.assign_add(gradient)
        return super().apply([total.value for total in self.sums], trainable_variables)


def build(repaired):
    x, y = (values[:640] for values in load_digits(return_X_y=True))
    inputs = keras.Input((64,))
    hidden = layers.Dropout(0.5)(layers.Dense(128, activation="relu")(inputs))
    model = keras.Model(inputs, layers.Dense(10, activation="softmax")(hidden))
    model.compile(keras.optimizers.Adam() if repaired else Summing(), "sparse_categorical_crossentropy")
    return model, (x / 16).astype("float32"), y.astype("int32")


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=90, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
