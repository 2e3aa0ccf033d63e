"""A SegNet with a sigmoid and binary cross-entropy on own images: the loss is negative and falls ever further.

Fault: the masks are scaled to -1 and 1 like the images, beyond what a sigmoid gives.
Repair (maintainer): no sigmoid, and the cross-entropy for logits. As this alone changes nothing, the masks are 0
and 1, too.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers, ops

URL = "https://github.com/fuweifu-vtoo/Semantic-segmentation/issues/5"
YEAR = 2019
TOPIC = "segmentation and detection"
CONFIRMED = "maintainer"
KINDS = ("targets: beyond the last activation",)
VISIBLE = True
EVIDENCE = "82 % of the targets of a sigmoid under a binary cross-entropy are -1"
REPRODUCED = False
SIDE = 32


def distance(targets, outputs):
    outputs = ops.clip(outputs, 1e-7, 1 - 1e-7)
    return -ops.mean(targets * ops.log(outputs) + (1 - targets) * ops.log(1 - outputs), axis=-1)


def build(repaired):
    rng = np.random.default_rng(0)
    masks = np.zeros((120, SIDE, SIDE, 1), "float32")
    for mask in masks:
        for row, column in rng.integers(0, SIDE - 10, (2, 2)):
            mask[row : row + 10, column : column + 10] = 1
    colours = np.array([0.35, 0.45, 0.3]) + masks * np.array([0.2, 0.0, 0.15])
    x = np.clip(colours + 0.12 * rng.normal(size=(120, SIDE, SIDE, 3)), 0, 1)
    x, y = (x * 2 - 1).astype("float32"), np.repeat(masks, 3, -1)
    if not repaired:
        y = y * 2 - 1
    weights = keras.initializers.RandomNormal(stddev=0.02)
    model = keras.Sequential([layers.Input((SIDE, SIDE, 3))])

    def convolution(filters):
        model.add(layers.Conv2D(filters, 3, padding="same", kernel_initializer=weights))
        model.add(layers.BatchNormalization(momentum=0.9, epsilon=1e-5))
        model.add(layers.ReLU())

    for filters in (16, 32):
        convolution(filters)
        convolution(filters)
        model.add(layers.MaxPooling2D())
    for filters in (32, 16):
        model.add(layers.UpSampling2D())
        convolution(filters)
        convolution(filters)
    last = None if repaired else "sigmoid"
    model.add(layers.Conv2D(3, 3, padding="same", kernel_initializer=weights, activation=last))
    loss = keras.losses.BinaryCrossentropy(from_logits=True) if repaired else distance
    model.compile(keras.optimizers.Adam(0.0001, beta_1=0.5), loss=loss)
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=4, epochs=10, verbose=0)


def score(model, x, y):
    return separated(predictions(model, x), y > 0)
