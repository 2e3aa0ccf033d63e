"""A detector with four heads does not lower its total loss: only the score of the objects gets better.

Fault: a line left over from a test takes the loss of the score alone as the total.
Repair (maintainer): the losses of position, dimension and angle count too. The rate is chosen for means in place of the
sums over large grids of the original.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/tom-roddick/oft/issues/6"
YEAR = 2019
TOPIC = "time series"
CONFIRMED = "maintainer"
KINDS = ("loss: sign or formula", "gradient: blocked (not differentiable, stopped, frozen, not connected)")
VISIBLE = True
EVIDENCE = "the gradients of the weights of three of the four heads are exactly 0, whatever the targets"
REPRODUCED = True


def loss(repaired):
    def total(y_true, y_pred):
        mask = y_true[..., :1]
        score = keras.ops.mean(keras.ops.abs(y_true[..., :1] - y_pred[..., :1]))
        if not repaired:
            return score
        others = [keras.ops.sum(mask * keras.ops.abs((y_true - y_pred)[..., i : i + 2])) for i in (1, 3, 5)]
        return score + sum(others) / keras.ops.sum(mask)

    return total


def build(repaired):
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.05, (256, 16, 16, 1))
    y = np.zeros((256, 4, 4, 7))
    for image, target in zip(x, y, strict=True):
        (row, column), (height, width) = rng.integers(0, 11, 2), rng.integers(2, 6, 2)
        image[row : row + height, column : column + width] += 1
        slope = rng.uniform(-1, 1)
        image[row : row + height, column : column + width, 0] += 0.8 * slope * np.linspace(-1, 1, width)
        cell = (row + height // 2) // 4, (column + width // 2) // 4
        offsets = (row + height / 2) / 4 - cell[0] - 0.5, (column + width / 2) / 4 - cell[1] - 0.5
        target[cell] = [1, *offsets, height / 4, width / 4, np.sin(slope), np.cos(slope)]
    inputs = keras.layers.Input((16, 16, 1))
    hidden = keras.layers.Conv2D(16, 5, padding="same", activation="relu")(inputs)
    hidden = keras.layers.Conv2D(16, 5, 2, padding="same", activation="relu")(hidden)
    hidden = keras.layers.Conv2D(32, 5, 2, padding="same", activation="relu")(hidden)
    heads = [keras.layers.Conv2D(channels, 3, padding="same")(hidden) for channels in (1, 2, 2, 2)]
    model = keras.Model(inputs, keras.layers.Concatenate()(heads))
    model.compile(optimizer=keras.optimizers.SGD(0.02, momentum=0.9), loss=loss(repaired))
    return model, x.astype("float32"), y.astype("float32")


def train(model, x, y):
    model.fit(x, y, batch_size=16, epochs=15, verbose=0)


def score(model, x, y):
    # The mean over the heads of place and size, in the cells that have an object.
    outputs, there = predictions(model, x), y[..., 0] > 0
    return float(np.mean([explained(outputs[there][:, i], y[there][:, i]) for i in (1, 2, 3, 4)]))
