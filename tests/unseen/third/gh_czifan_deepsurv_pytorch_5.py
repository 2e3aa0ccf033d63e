"""A network for survival times is trained with a partial likelihood of its own: the loss becomes negative.

Fault: the sum over those still at risk is divided by their number, which takes a constant from the loss.
Repair (the maintainer agrees with the asker): the sum is taken as it is.
"""

import keras
import numpy as np
from _program import predictions
from keras import initializers, layers, ops

URL = "https://github.com/czifan/DeepSurv.pytorch/issues/5"
YEAR = 2020
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "maintainer"
KINDS = ("loss: sign or formula",)
VISIBLE = False
EVIDENCE = (
    "the first loss is 0.02 to 0.11 instead of 5.4 to 5.5 (log of the number at risk); the gradients are the same"
)
REPRODUCED = False


def partial_likelihood(divided):
    def loss(y_true, y_pred):
        times, events = y_true[:, :1], y_true[:, 1:]
        risky = ops.cast(times >= ops.transpose(times), "float32")
        total = ops.sum(ops.exp(y_pred) * risky, 0)
        if divided:
            total = total / ops.sum(risky, 0)
        return -ops.sum((y_pred - ops.log(total)[:, None]) * events) / ops.sum(events)

    return loss


def linear(inputs, units):
    kernel = initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    bias = initializers.RandomUniform(-(inputs**-0.5), inputs**-0.5)
    return layers.Dense(units, kernel_initializer=kernel, bias_initializer=bias)


def build(repaired):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 10)).astype("float32")
    times = rng.exponential(5 * np.exp(-x[:, 0] - 2 * x[:, 1]))
    y = np.stack([np.minimum(times, 15), times < 15], 1).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((10,)),
            linear(10, 4),
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
            layers.Activation("selu"),
            layers.Dropout(0.375),
            linear(4, 1),
            layers.BatchNormalization(momentum=0.9, epsilon=1e-5),
            layers.Activation("selu"),
        ]
    )
    model.compile(keras.optimizers.Adam(2.922e-3), partial_likelihood(not repaired))
    return model, x, y


def train(model, x, y):
    for _ in range(300):
        model.train_on_batch(x, y)


def score(model, x, y):
    # The share of comparable pairs in the right order, from 0 for a guess.
    risks, (times, events) = predictions(model, x)[:, 0], y.T
    pairs = (times[:, None] < times) & (events[:, None] > 0)
    right = (risks[:, None] > risks)[pairs].mean() + 0.5 * (risks[:, None] == risks)[pairs].mean()
    return max(0.0, 2 * right - 1)
