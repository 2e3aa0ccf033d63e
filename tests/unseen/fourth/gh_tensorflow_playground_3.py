"""A plane is learned in TensorFlow's playground, by eight units of tanh and a linear one: weights become NaN.

Fault: steps of gradient descent of 1, after every single example, with inputs up to 6 and an output without bounds.
Repair (a comment and the maintainer): a smaller rate; below 0.3 it went for the commenter, 0.03 (the default) is taken.
The settings are those of the link (rate 1, batches of 1, noise of 50 %, half of 1200 examples for training); one epoch.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers, ops

URL = "https://github.com/tensorflow/playground/issues/3"
YEAR = 2016
TOPIC = "regression on tables"
CONFIRMED = "maintainer"
KINDS = ("optimizer: rate too large",)
VISIBLE = False
EVIDENCE = (
    "weights, signals, gradients and first loss are those of the repaired form; only the rate differs (1, not 0.03): "
    "a first step changes the output of its own example by about 9 times its error (0.3 times in the repaired form)"
)
REPRODUCED = True


def half_square(y_true, y_pred):
    return ops.mean(ops.square(y_pred - y_true)) / 2


def build(repaired):
    rng = np.random.default_rng(0)
    x = rng.uniform(-6, 6, (600, 2))
    y = (x + 0.5 * rng.uniform(-6, 6, x.shape)).sum(1, keepdims=True) / 10
    weights = {"bias_initializer": keras.initializers.Constant(0.1)}
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(8, "tanh", kernel_initializer=keras.initializers.RandomUniform(-0.5, 0.5), **weights),
            layers.Dense(1, kernel_initializer=keras.initializers.RandomUniform(-0.5, 0.5), **weights),
        ]
    )
    model.compile(keras.optimizers.SGD(0.03 if repaired else 1.0), half_square)
    return model, x.astype("float32"), y.astype("float32")


def train(model, x, y):
    model.fit(x, y, batch_size=1, epochs=1, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
