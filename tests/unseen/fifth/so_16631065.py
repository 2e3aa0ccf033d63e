"""The series n + sin(n^2) is forecast from its last four values by ten units of tanh: it does not converge.

The neuralnet package of R gives up after 100000 steps.

Fault: tanh is bounded, and the series has a trend (the accepted answer): raw inputs up to 28, with weights from a
normal distribution with a deviation of 1, saturate the units, and the trend of the targets is hard to follow.
Repair: a series without its trend (the second way of the answer; the first is linear units). The repaired form also has
weights of Glorot. The steps are those of the package: resilient backpropagation with weight backtracking (first steps
of 0.1, factors of 0.5 and 1.2), on all 25 examples, for half of the sum of the squares; 1500 steps. The score is the
explained share of the part of the series without the trend, sin(n^2).
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers, ops

URL = "https://stackoverflow.com/questions/16631065/r-neuralnet-does-not-converge-within-stepmax-for-time-series"
YEAR = 2013
TOPIC = "time series"
CONFIRMED = "accepted"
KINDS = ("inputs: scale or offset", "targets: scale", "activation: saturated", "weights: too large")
VISIBLE = True
EVIDENCE = (
    "inputs from 1 to 28, and weights with a deviation of 1: the sums of the hidden units have a standard"
    " deviation of 28, 95 % of their outputs are beyond 0.99, and the first loss is 4107 for 25 examples with"
    " targets from 5 to 28 (0.57, none and 18 in the repaired form). The scores differ by 0.3 to 0.5"
)
REPRODUCED = True
STEPS = 1500


class Resilient(keras.optimizers.Optimizer):
    """Resilient backpropagation: a step of its own for each weight, by the signs of its last two gradients."""

    def __init__(self, learning_rate=0.1, name="resilient", **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.sizes = [self.add_variable_from_reference(variable, "size") for variable in variables]
        self.before = [self.add_variable_from_reference(variable, "before") for variable in variables]
        self.moves = [self.add_variable_from_reference(variable, "move") for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        at = self._get_variable_index(variable)
        size, before, move = self.sizes[at], self.before[at], self.moves[at]
        same = ops.sign(gradient) * ops.sign(before)
        old = ops.where(ops.equal(size, 0), ops.ones_like(size) * ops.cast(learning_rate, size.dtype), size)
        new = ops.where(same > 0, ops.minimum(old * 1.2, 0.1), ops.where(same < 0, ops.maximum(old * 0.5, 1e-10), old))
        step = ops.where(same < 0, -ops.convert_to_tensor(move), -ops.sign(gradient) * new)
        self.assign(size, new)
        self.assign(before, ops.where(same < 0, ops.zeros_like(gradient), gradient))
        self.assign(move, ops.where(same < 0, ops.zeros_like(step), step))
        self.assign_add(variable, step)


class HalfSquares(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return ops.sum(ops.square(y_pred - y_true), -1) / 2


def build(repaired):
    times = np.arange(1, 26)[:, None] + np.arange(5)
    values = np.sin(times**2.0) + (0 if repaired else times)
    model = keras.Sequential([keras.Input((4,))])
    for units, activation in ((10, "tanh"), (1, None)):
        normal = {
            "kernel_initializer": keras.initializers.RandomNormal(stddev=1.0),
            "bias_initializer": keras.initializers.RandomNormal(stddev=1.0),
        }
        model.add(layers.Dense(units, activation, **({} if repaired else normal)))
    model.compile(Resilient(0.1), HalfSquares(reduction="sum"))
    model.trend = 0 if repaired else times[:, 4:]
    return model, values[:, :4].astype("float32"), values[:, 4:].astype("float32")


def train(model, x, y):
    for _ in range(STEPS):
        model.train_on_batch(x, y)


def score(model, x, y):
    return explained(predictions(model, x) - model.trend, y - model.trend)
