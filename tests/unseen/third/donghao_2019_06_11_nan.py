"""A detector with default boxes (SSD) learns one set of bird pictures; with the other the loss is not a number.

Fault: the boxes of the second set are given as left, top, width and height, but read as left, top, right and bottom, so
that the logarithm of a negative width goes into the targets.
Repair (the writer): the boxes are read in the form that they have.
Neither a smaller rate, nor Adam instead of SGD, nor other weights had helped: this is the form with Adam. The trained
VGG part is three narrow layers, whose first weights fit pixels of up to 128 as trained ones would.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers, ops

URL = "https://donghao.org/2019/06/11/debugging-the-problem-of-nan-value-in-training/"
YEAR = 2019
TOPIC = "segmentation and detection"
CONFIRMED = "asker"
KINDS = ("labels: wrong or shifted", "loss: value or gradient not finite")
VISIBLE = True
EVIDENCE = "14 % of the pictures (2 of the first 16) have NaN in the targets, so that the first loss is NaN"
REPRODUCED = True
KINDS_OF_BIRDS, SIZE = 4, 48
CENTERS = np.stack(np.meshgrid(np.arange(6), np.arange(6)), -1).reshape(-1, 2) / 6 + 1 / 12
PRIORS = np.concatenate([np.repeat(CENTERS, 2, 0), np.tile([[0.45, 0.45], [0.7, 0.7]], (36, 1))], 1)


def birds():
    """Return pictures less their mean colour, boxes (left, top, width, height) and classes from 1."""
    rng = np.random.default_rng(0)
    x = rng.integers(60, 130, (300, SIZE, SIZE, 3)).astype("float32")
    boxes, kinds = np.zeros((300, 4)), rng.integers(0, KINDS_OF_BIRDS, 300)
    colours = np.array([[230, 60, 40], [40, 200, 60], [60, 60, 240], [240, 230, 60]])
    for image, box, kind in zip(x, boxes, kinds, strict=True):
        box[2:] = rng.integers(18, 36, 2)
        box[:2] = rng.integers(0, SIZE - box[2:] + 1)
        left, top, width, height = box.astype(int)
        image[top : top + height, left : left + width] = colours[kind] + rng.normal(0, 20, (height, width, 3))
    return x.clip(0, 255) - [104, 117, 123], boxes / SIZE, kinds + 1


def matched(box, kind):
    """Return the encoded offsets and the class of each default box, for one true box as corners."""
    corners = np.concatenate([PRIORS[:, :2] - PRIORS[:, 2:] / 2, PRIORS[:, :2] + PRIORS[:, 2:] / 2], 1)
    common = np.clip(np.minimum(corners[:, 2:], box[2:]) - np.maximum(corners[:, :2], box[:2]), 0, None).prod(1)
    overlaps = common / (PRIORS[:, 2:].prod(1) + (box[2:] - box[:2]).prod() - common)
    labels = np.where(overlaps >= 0.5, kind, 0)
    labels[overlaps.argmax()] = kind
    offsets = ((box[:2] + box[2:]) / 2 - PRIORS[:, :2]) / (0.1 * PRIORS[:, 2:])
    scales = np.log((box[2:] - box[:2]) / PRIORS[:, 2:]) / 0.2
    return np.where(labels[:, None] > 0, np.concatenate([offsets, scales, labels[:, None]], 1), 0)


def multibox_loss(y_true, y_pred):
    positive = ops.cast(y_true[..., 4] > 0, "float32")
    distance = ops.abs(y_pred[..., :4] - y_true[..., :4])
    smooth = ops.sum(ops.where(distance < 1, 0.5 * distance**2, distance - 0.5), -1)
    entropy = keras.losses.sparse_categorical_crossentropy(y_true[..., 4], y_pred[..., 4:], from_logits=True)
    ranks = ops.argsort(ops.argsort(-entropy * (1 - positive), axis=1), axis=1)
    hard = ops.cast(ops.cast(ranks, "float32") < 3 * ops.sum(positive, 1, keepdims=True), "float32")
    return ops.sum(smooth * positive + entropy * ops.maximum(positive, hard)) / ops.sum(positive)


def build(repaired):
    x, boxes, kinds = birds()
    corners = boxes.copy()
    if repaired:
        corners[:, 2:] += corners[:, :2]
    y = np.stack([matched(box, kind) for box, kind in zip(corners, kinds, strict=True)])
    inputs = keras.Input((SIZE, SIZE, 3))
    first = keras.initializers.VarianceScaling(2 / 128**2, "fan_in")
    features = layers.Conv2D(16, 5, 2, "same", activation="relu", kernel_initializer=first)(inputs)
    for _ in range(2):
        features = layers.Conv2D(32, 5, 2, "same", activation="relu", kernel_initializer="he_normal")(features)
    places = layers.Reshape((72, 4))(layers.Conv2D(8, 3, padding="same")(features))
    logits = layers.Conv2D(2 * (KINDS_OF_BIRDS + 1), 3, padding="same")(features)
    logits = layers.Reshape((72, KINDS_OF_BIRDS + 1))(logits)
    model = keras.Model(inputs, layers.Concatenate()([places, logits]))
    model.compile(keras.optimizers.Adam(0.001), multibox_loss)
    return model, x, y.astype("float32")


def train(model, x, y):
    model.fit(x, y, batch_size=16, epochs=12, verbose=0)


def score(model, x, y):
    # How well the best default box of each picture finds the place and the size of the bird.
    _, boxes, _ = birds()
    outputs = np.nan_to_num(predictions(model, x))
    best = (outputs[..., 5:].max(-1) - outputs[..., 4]).argmax(1)
    offsets, priors = outputs[np.arange(len(x)), best, :4], PRIORS[best]
    centres = offsets[:, :2] * 0.1 * priors[:, 2:] + priors[:, :2]
    found = np.concatenate([centres, priors[:, 2:] * np.exp(offsets[:, 2:] * 0.2)], 1)
    truth = np.concatenate([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], 1)
    return np.mean([explained(found[:, column], truth[:, column]) for column in range(4)])
