"""A detector (YOLO 2) with a trained VGG is written anew: its outputs are all zero or infinite.

Fault: the epochs at the start that draw all boxes to the shapes of the anchors were forgotten.
Repair (the asker): such epochs come first; they add a loss with weight 0.01 for boxes that nothing belongs to.
The trained part is three narrow layers.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers, ops

URL = "https://github.com/longcw/yolo2-pytorch/issues/53"
YEAR = 2018
TOPIC = "regression on tables"
CONFIRMED = "asker"
KINDS = ("training: epochs, batches, order",)
VISIBLE = False
EVIDENCE = (
    "at the start sizes are 0.25 to 3 anchors and all losses finite; the epochs left out come before, with another loss"
)
REPRODUCED = False
ANCHORS = np.array([[1.1, 1.2], [2.2, 2.2]], "float32")
CELLS, CLASSES, SIZE = 6, 4, 48


def pictures():
    """Return pictures with one thing, and its place and size in cells and its class."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.3, (240, SIZE, SIZE, 3))
    boxes, kinds = np.zeros((240, 4)), rng.integers(0, CLASSES, 240)
    colours = np.array([[1, -1, 0], [-1, 1, 0], [0, 1, 1], [1, 0, -1]])
    for image, box, kind in zip(x, boxes, kinds, strict=True):
        width, height = rng.integers(7, 22, 2)
        left, top = rng.integers(0, SIZE - width), rng.integers(0, SIZE - height)
        image[top : top + height, left : left + width] += colours[kind]
        box[:] = left + width / 2, top + height / 2, width, height
    return x.astype("float32"), boxes * CELLS / SIZE, kinds


def targets(boxes, kinds):
    """Return for each cell and anchor: place in the cell, size in anchors, class, and whether it is the one."""
    y = np.zeros((len(boxes), CELLS, CELLS, 2, 5 + CLASSES))
    y[..., :2], y[..., 2:4] = 0.5, 1
    for row, (column, line, width, height), kind in zip(y, boxes, kinds, strict=True):
        common = np.minimum(ANCHORS, [width, height]).prod(1)
        anchor = (common / (ANCHORS.prod(1) + width * height - common)).argmax()
        place = row[int(line), int(column), anchor]
        place[:4] = column % 1, line % 1, width / ANCHORS[anchor, 0], height / ANCHORS[anchor, 1]
        place[4], place[5 + kind] = 1, 1
    return y.astype("float32")


def yolo_loss(weight):
    def loss(y_true, y_pred):
        chosen = y_true[..., 4:5]
        boxes = ops.concatenate([ops.sigmoid(y_pred[..., :2]), ops.exp(y_pred[..., 2:4])], -1)
        places = ops.sum((chosen + weight * (1 - chosen)) ** 2 * (boxes - y_true[..., :4]) ** 2)
        sure = ops.sum((5 * chosen + 1 - chosen) * (ops.sigmoid(y_pred[..., 4:5]) - chosen) ** 2)
        kinds = ops.sum(chosen * (ops.softmax(y_pred[..., 5:]) - y_true[..., 5:]) ** 2)
        return (places + sure + kinds) / ops.sum(chosen)

    return loss


def build(repaired):
    x, boxes, kinds = pictures()
    inputs = keras.Input((SIZE, SIZE, 3))
    values = inputs
    for filters in (16, 32, 64):
        values = layers.Conv2D(filters, 3, 2, "same", activation="relu", kernel_initializer="he_normal")(values)
    values = layers.Conv2D(64, 3, padding="same", activation="relu", kernel_initializer="he_normal")(values)
    outputs = layers.Reshape((CELLS, CELLS, 2, 5 + CLASSES))(layers.Conv2D(2 * (5 + CLASSES), 1)(values))
    model = keras.Model(inputs, outputs)
    model.warm = repaired
    model.compile(keras.optimizers.SGD(0.001, momentum=0.9, weight_decay=5e-4), yolo_loss(0.0))
    return model, x, targets(boxes, kinds)


def train(model, x, y):
    if model.warm:
        model.compile(keras.optimizers.SGD(0.001, momentum=0.9, weight_decay=5e-4), yolo_loss(0.01))
        model.fit(x, y, batch_size=8, epochs=3, verbose=0)
        model.compile(keras.optimizers.SGD(0.001, momentum=0.9, weight_decay=5e-4), yolo_loss(0.0))
    model.fit(x, y, batch_size=8, epochs=15, verbose=0)


def score(model, x, y):
    # How well the surest box of each picture finds place and size.
    boxes = pictures()[1]
    outputs = predictions(model, x).reshape(len(x), -1, 5 + CLASSES)
    best = outputs[..., 4].argmax(1)
    found, (cell, anchor) = outputs[np.arange(len(x)), best], np.divmod(best, 2)
    centres = 1 / (1 + np.exp(-found[:, :2])) + np.stack([cell % CELLS, cell // CELLS], 1)
    found = np.concatenate([centres, np.exp(found[:, 2:4].clip(-20, 20)) * ANCHORS[anchor]], 1)
    return np.mean([explained(found[:, column], boxes[:, column]) for column in range(4)])
