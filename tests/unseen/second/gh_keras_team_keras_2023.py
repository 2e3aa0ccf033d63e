"""A loss of one's own for a detector of boxes in cells, made of squares only, becomes negative during training.

Fault: predictions and truth are given to it in the wrong order, so that the squares are weighted by the predicted
presence of a box.
Repair (asker, in issue 1917): the right order.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers, ops

URL = "https://github.com/keras-team/keras/issues/2023"
YEAR = 2016
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "asker"
KINDS = ("loss: sign or formula",)
VISIBLE = True
EVIDENCE = (
    "a sum of squares is negative for 81 % of the first batch (mean -34); at the truth it is 0, at a presence "
    "of -1 and boxes far off it is -309"
)
REPRODUCED = True
SIDE, CELLS, CLASSES = 36, 3, 3
LENGTH = 4 + CLASSES + 1  # a box, the classes, and whether there is a box


def distance(truth, found):
    truth, found = (ops.reshape(values, (-1, CELLS * CELLS, LENGTH)) for values in (truth, found))
    scales = ops.convert_to_tensor([2.0] * 4 + [1.0] * CLASSES)
    squares = ops.sum(ops.square((truth - found)[..., :-1] * scales), axis=-1)
    return ops.sum(squares * truth[..., -1] + ops.square(truth[..., -1] - found[..., -1]), axis=-1)


def swapped(truth, found):
    return distance(found, truth)


def build(repaired):
    rng = np.random.default_rng(0)
    x = 0.1 * rng.normal(size=(300, SIDE, SIDE, 3))
    y = np.zeros((300, CELLS, CELLS, LENGTH))
    size = SIDE // CELLS
    for image, cells in zip(x, y, strict=True):
        for place in rng.choice(CELLS * CELLS, 2, replace=False):
            row, column = divmod(place, CELLS)
            (height, width), number = rng.integers(4, 13, 2), rng.integers(CLASSES)
            down, across = rng.random(2)
            top, left = int((row + down) * size - height / 2), int((column + across) * size - width / 2)
            image[max(top, 0) : top + height, max(left, 0) : left + width, number] += 1
            box = [across, down, (height / SIDE) ** 0.5, (width / SIDE) ** 0.5]
            cells[row, column] = [*box, *np.eye(CLASSES)[number], 1]
    model = keras.Sequential([layers.Input((SIDE, SIDE, 3))])
    for filters in (8, 16, 32):
        model.add(layers.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal"))
        model.add(layers.LeakyReLU(negative_slope=0.1))
        model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dense(32, kernel_initializer="he_normal"))
    model.add(layers.Dense(256, kernel_initializer="he_normal"))
    model.add(layers.Dropout(0.5))
    model.add(layers.LeakyReLU(negative_slope=0.1))
    model.add(layers.Dense(CELLS * CELLS * LENGTH, kernel_initializer="he_normal"))
    model.compile(keras.optimizers.Adam(0.0001), loss=distance if repaired else swapped)
    return model, x.astype("float32"), y.reshape(300, -1).astype("float32")


def train(model, x, y):
    model.fit(x, y, batch_size=16, epochs=60, verbose=0)


def score(model, x, y):
    return separated(predictions(model, x)[:, LENGTH - 1 :: LENGTH], y[:, LENGTH - 1 :: LENGTH])
