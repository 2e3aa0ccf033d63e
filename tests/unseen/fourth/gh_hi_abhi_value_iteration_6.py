"""Value iteration networks for grids of 16 by 16: after some epochs the loss is not a number.

Fault: the loss is minus the logarithm of a softmax, which is 0 for large differences.
Repair (a change that was merged): the cross-entropy of the library from the outputs before the softmax. The repaired
form also has larger weights than 0.01, with which the first outputs differ by a millionth. Grids are drawn here, with
free places, obstacles and a goal of 10; 40 channels instead of 150, 96 grids, 40 epochs.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops

URL = "https://github.com/hi-abhi/tensorflow-value-iteration-networks/issues/6"
YEAR = 2017
TOPIC = "reinforcement learning"
CONFIRMED = "maintainer"
KINDS = ("loss: value or gradient not finite", "weights: too small")
VISIBLE = True
EVIDENCE = (
    "the first probabilities are 0.125 with a deviation of 2e-7, gradients are from 7e-8 to 1e-6; the logarithm of a"
    " softmax is not finite in later steps only, which do not come here: the loss stays at 2.079 for the small weights"
)
REPRODUCED = True
SIZE, ITERATIONS, CHANNELS, ACTIONS, PLACES = 16, 20, 40, 10, 10
STEPS = np.array([[-1, 0], [1, 0], [0, 1], [0, -1], [-1, 1], [-1, -1], [1, 1], [1, -1]])


class Values(layers.Layer):
    """Iterates values over a grid, and gives the scores of the eight moves at some places of it."""

    def __init__(self, small, **kwargs):
        super().__init__(**kwargs)
        self.small = small

    def build(self, shape):
        def weight(*sizes):
            normal = keras.initializers.RandomNormal(stddev=0.01)
            return self.add_weight(shape=sizes, initializer=normal if self.small else "glorot_uniform")

        self.bias, self.first = weight(1, 1, 1, CHANNELS), weight(3, 3, 2, CHANNELS)
        self.reward, self.own, self.back = weight(1, 1, CHANNELS, 1), weight(3, 3, 1, ACTIONS), weight(3, 3, 1, ACTIONS)
        self.last = weight(ACTIONS, 8)

    def call(self, inputs):
        grid, places = inputs
        hidden = ops.conv(grid, self.first, 1, "same") + self.bias
        reward = ops.conv(hidden, self.reward, 1, "same")
        own = ops.conv(reward, self.own, 1, "same")
        scores = own
        for _ in range(ITERATIONS):
            scores = own + ops.conv(ops.max(scores, 3, keepdims=True), self.back, 1, "same")
        scores = ops.reshape(scores, (-1, SIZE * SIZE, ACTIONS))
        return ops.matmul(ops.take_along_axis(scores, ops.cast(places, "int32")[:, :, None], 1), self.last)

    def compute_output_shape(self, shapes):
        return (shapes[0][0], PLACES, 8)


def own_entropy(y_true, y_pred):
    known = ops.one_hot(ops.cast(y_true, "int32"), 8)
    return -ops.sum(ops.where(known > 0, ops.log(y_pred), 0.0), -1)


def grids(count):
    rng = np.random.default_rng(0)
    x, places, y = np.zeros((count, SIZE, SIZE, 2)), np.zeros((count, PLACES)), np.zeros((count, PLACES))
    for grid in range(count):
        free = rng.random((SIZE, SIZE)) > 0.1
        goal = rng.integers(1, SIZE - 1, 2)
        free[tuple(goal)] = True
        far = np.full((SIZE + 2, SIZE + 2), 99.0)
        far[tuple(goal + 1)] = 0
        for _ in range(2 * SIZE):
            near = np.min([np.roll(far, -step, (0, 1)) + np.hypot(*step) for step in STEPS], 0)[1:-1, 1:-1]
            far[1:-1, 1:-1] = np.where(free, np.minimum(far[1:-1, 1:-1], near), 99)
        known = np.argwhere((far[1:-1, 1:-1] < 99) & (far[1:-1, 1:-1] > 0))
        chosen = known[rng.integers(0, len(known), PLACES)]
        x[grid, :, :, 0] = ~free
        x[grid, goal[0], goal[1], 1] = 10
        places[grid] = chosen @ [SIZE, 1]
        y[grid] = np.argmin([far[tuple((chosen + 1 + step).T)] + np.hypot(*step) for step in STEPS], 0)
    return [x.astype("float32"), places.astype("int32")], y.astype("int32")


def build(repaired):
    inputs = [keras.Input((SIZE, SIZE, 2)), keras.Input((PLACES,), dtype="int32")]
    outputs = Values(small=not repaired)(inputs)
    if not repaired:
        outputs = layers.Softmax()(outputs)
    model = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if repaired else own_entropy
    model.compile(keras.optimizers.RMSprop(0.001, epsilon=1e-6, centered=True), loss)
    return model, *grids(96)


def train(model, x, y):
    model.fit(x, y, batch_size=12, epochs=40, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
