"""A detector without anchors (FCOS) is trained on pictures with one class: it finds no place that belongs to an object.

Fault: the number of the only class is 0, which stands for the background; the losses of boxes and centres are empty.
Repair (the asker): the class has the number 1.
The backbone is two narrow layers, and there is one level instead of five.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import initializers, layers, ops

URL = "https://github.com/tianzhi0549/FCOS/issues/125"
YEAR = 2019
TOPIC = "several labels or rare classes"
CONFIRMED = "asker"
KINDS = ("labels: wrong or shifted",)
VISIBLE = True
EVIDENCE = (
    "all labels are 0 (12 % of the places are in a box); the losses of boxes and centres are 0, and so "
    "are their gradients"
)
REPRODUCED = True
SIZE, GRID = 48, 12


def pictures():
    """Return pictures with one object each, and the boxes of the objects."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (160, SIZE, SIZE, 3))
    boxes = np.zeros((160, 4))
    for image, box in zip(x, boxes, strict=True):
        width, height = rng.integers(12, 24, 2)
        left, top = rng.integers(0, SIZE - width), rng.integers(0, SIZE - height)
        box[:] = left, top, left + width, top + height
        image[top : top + height, left : left + width] += [1.5, -1, 0.5]
    return x.astype("float32"), boxes


def places(boxes, number):
    """Return for each place of the grid the class and the distances to the sides of the box."""
    rows, columns = np.meshgrid(np.arange(GRID) * 4 + 2, np.arange(GRID) * 4 + 2, indexing="ij")
    left, top, right, bottom = boxes.T[:, :, None, None]
    sides = np.stack([columns - left, rows - top, right - columns, bottom - rows], -1)
    inside = sides.min(-1) > 0
    return np.concatenate([(inside * number)[..., None], np.where(inside[..., None], sides, 1)], -1).astype("float32")


def fcos_loss(y_true, y_pred):
    positive = ops.cast(y_true[..., 0] > 0, "float32")
    number = ops.maximum(ops.sum(positive), 1.0)
    sure = ops.sigmoid(y_pred[..., 0])
    focal = -0.25 * positive * (1 - sure) ** 2 * ops.log_sigmoid(y_pred[..., 0])
    focal = focal - 0.75 * (1 - positive) * sure**2 * ops.log_sigmoid(-y_pred[..., 0])
    truth, found = y_true[..., 1:], ops.exp(y_pred[..., 2:])
    least, most = ops.minimum(truth[..., :2], truth[..., 2:]), ops.maximum(truth[..., :2], truth[..., 2:])
    centre = ops.sqrt(ops.prod(least / most, -1))
    both = ops.minimum(truth, found)
    common = (both[..., 0] + both[..., 2]) * (both[..., 1] + both[..., 3])
    area = (truth[..., 0] + truth[..., 2]) * (truth[..., 1] + truth[..., 3])
    area = area + (found[..., 0] + found[..., 2]) * (found[..., 1] + found[..., 3])
    overlap = -ops.log((common + 1) / (area - common + 1))
    boxes = ops.sum(overlap * centre * positive) / ops.maximum(ops.sum(centre * positive), 1e-6)
    centres = -centre * ops.log_sigmoid(y_pred[..., 1]) - (1 - centre) * ops.log_sigmoid(-y_pred[..., 1])
    return ops.sum(focal) / number + boxes + ops.sum(centres * positive) / number


def build(repaired):
    x, boxes = pictures()
    y = places(boxes, 1 if repaired else 0)

    def tower(values):
        for _ in range(2):
            values = layers.Conv2D(32, 3, padding="same", kernel_initializer=small)(values)
            values = layers.ReLU()(layers.GroupNormalization(8)(values))
        return values

    small = initializers.RandomNormal(stddev=0.01)
    inputs = keras.Input((SIZE, SIZE, 3))
    features = layers.Conv2D(16, 3, 2, "same", activation="relu", kernel_initializer="he_normal")(inputs)
    features = layers.Conv2D(32, 3, 2, "same", activation="relu", kernel_initializer="he_normal")(features)
    classes, sides = tower(features), tower(features)
    prior = initializers.Constant(-np.log(99))
    logits = layers.Conv2D(1, 3, padding="same", kernel_initializer=small, bias_initializer=prior)(classes)
    centre = layers.Conv2D(1, 3, padding="same", kernel_initializer=small)(classes)
    boxes = layers.Conv2D(4, 3, padding="same", kernel_initializer=small)(sides)
    model = keras.Model(inputs, layers.Concatenate()([logits, centre, boxes]))
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9, weight_decay=1e-4), fcos_loss)
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=16, epochs=10, verbose=0)


def score(model, x, y):
    return separated(predictions(model, x)[..., 0], places(pictures()[1], 1)[..., 0])
