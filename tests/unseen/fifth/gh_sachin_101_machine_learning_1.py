"""Clothes of Fashion-MNIST are classified by one hidden layer of sigmoid units, written in NumPy: a low accuracy.

Fault: the pixels are raw, from 0 to 255, with weights drawn uniformly within 0.5, and the rate is 0.008 (as the sums
are large); 150 hidden units.
Repair (the reporter: normalization; the author: more units; he then did both and came from 69 % to 87 %): standardized
pixels, 350 units and a rate of 0.2. The repaired form also has weights of Glorot, as those saturate the sigmoid units
with standardized pixels too. The digits of scikit-learn, enlarged to 28 x 28, in place of the clothes; 400 steps with
all of 500 examples instead of 1400 with 60000. The decay of the weights is that of the author, 10 by the number of his
examples (60000).
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops
from sklearn.datasets import load_digits

URL = "https://github.com/sachin-101/Machine-Learning-by-Andrew-Ng-Implementation-in-Python/issues/1"
YEAR = 2019
TOPIC = "image classification"
CONFIRMED = "maintainer"
KINDS = ("inputs: scale or offset", "activation: saturated", "weights: too large", "capacity")
VISIBLE = True
EVIDENCE = (
    "inputs from 0 to 255 and weights within 0.5: the sums of the hidden units have a standard deviation of 965,"
    " 99.6 % of their outputs are within 0.01 of 0 or 1, and the first loss is 15 (0.93, 0.1 % and 8.0 in the"
    " repaired form)"
)
REPRODUCED = True


def entropies(y_true, y_pred):
    """The cross-entropies of all outputs, summed."""
    y_pred = ops.clip(y_pred, 1e-7, 1 - 1e-7)
    return -ops.sum(y_true * ops.log(y_pred) + (1 - y_true) * ops.log(1 - y_pred), -1)


def build(repaired):
    digits = load_digits()
    x = np.pad(np.kron(digits.images[:500], np.ones((1, 3, 3))), ((0, 0), (2, 2), (2, 2))) / 16 * 255
    x = x.reshape(len(x), -1)
    if repaired:
        x = (x - x.mean(0)) / np.maximum(x.std(0), 1)
    model = keras.Sequential([keras.Input((784,))])
    for units in (350 if repaired else 150, 10):
        weights = keras.initializers.RandomUniform(-0.5, 0.5)
        model.add(
            layers.Dense(
                units,
                "sigmoid",
                kernel_initializer="glorot_uniform" if repaired else weights,
                bias_initializer="zeros" if repaired else keras.initializers.RandomUniform(-0.5, 0.5),
                kernel_regularizer=keras.regularizers.L2(10 / 60000 / 2),
            )
        )
    model.compile(keras.optimizers.SGD(0.2 if repaired else 0.008), entropies)
    return model, x.astype("float32"), np.eye(10, dtype="float32")[digits.target[:500]]


def train(model, x, y):
    model.fit(x, y, batch_size=len(x), epochs=400, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
