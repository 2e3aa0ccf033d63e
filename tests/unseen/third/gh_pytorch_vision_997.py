"""A detector of objects and masks is trained on one's own pictures: the loss of the boxes is suddenly not a number.

Fault: two of 300 boxes have no width, whose logarithm goes into the targets.
Repair (maintainer, confirmed by the asker): boxes are cut to the picture, those without width or height are removed.
Only the last stage (cut regions, classes and boxes) is ported, without the masks and without trained weights.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops

URL = "https://github.com/pytorch/vision/issues/997"
YEAR = 2019
TOPIC = "segmentation and detection"
CONFIRMED = "asker"
KINDS = ("loss: value or gradient not finite",)
VISIBLE = False
EVIDENCE = "2 of 300 targets are -infinity (numbers 184 and 249); the first 184 examples and their losses are finite"
REPRODUCED = True
CLASSES, SIZE = 5, 24


def regions():
    """Return pictures of objects (0: nothing) on noise, and the boxes of the objects."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 300)
    x = rng.normal(0, 1, (300, SIZE, SIZE, 3))
    colours = rng.normal(0, 1.5, (CLASSES, 3))
    boxes = np.tile([4.0, 4.0, 20.0, 20.0], (300, 1))
    for image, box, label in zip(x, boxes, labels, strict=True):
        if label:
            box[:2], box[2:] = rng.integers(1, 8, 2), rng.integers(16, 23, 2)
            left, top, right, bottom = box.astype(int)
            image[top:bottom, left:right] += colours[label]
    return x.astype("float32"), boxes, labels


def detection_loss(y_true, y_pred):
    labels = y_true[:, 0]
    entropy = keras.losses.sparse_categorical_crossentropy(labels, y_pred[:, :CLASSES], from_logits=True)
    distance = ops.abs(y_pred[:, CLASSES:] - y_true[:, 1:])
    smooth = ops.sum(ops.where(distance < 1, 0.5 * distance**2, distance - 0.5), 1)
    return ops.mean(entropy + ops.cast(labels > 0, "float32") * smooth)


def build(repaired):
    x, boxes, labels = regions()
    for number in np.flatnonzero(labels)[[150, 200]]:
        boxes[number, 2] = boxes[number, 0]
    widths = boxes[:, 2:] - boxes[:, :2]
    if repaired:
        kept = (widths > 0).all(1)
        x, boxes, labels, widths = x[kept], boxes[kept], labels[kept], widths[kept]
    offsets = 10 * ((boxes[:, :2] + boxes[:, 2:]) / 2 - SIZE / 2) / SIZE
    y = np.concatenate([labels[:, None], offsets, 5 * np.log(widths / SIZE)], 1).astype("float32")
    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            layers.Conv2D(16, 3, 2, activation="relu", kernel_initializer="he_normal"),
            layers.Conv2D(32, 3, 2, activation="relu", kernel_initializer="he_normal"),
            layers.Flatten(),
            layers.Dense(64, "relu", kernel_initializer="he_normal"),
            layers.Dense(CLASSES + 4),
        ]
    )
    model.compile(keras.optimizers.SGD(0.005, momentum=0.9, weight_decay=5e-4), detection_loss)
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=3, epochs=6, verbose=0)


def score(model, x, y):
    images, _, labels = regions()
    return accuracy(predictions(model, images)[:, :CLASSES], labels)
