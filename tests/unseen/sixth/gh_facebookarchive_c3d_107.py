"""A network of convolutions in time and space (C3D) is trained on for videos of one's own: some losses are negative.

Fault (the maintainer): the labels are 1 to n, and not 0 to n - 1. The framework's loss looks for number n behind
the n outputs of an example, and finds the first one of the next example there; its gradient goes there too. Repair:
labels from 0 on. The numbers are those of the fine-tuning in the repository (rate 0.0001, momentum 0.9, decay
0.0005, batches of 30, biases of 1). Smaller: 8 to 32 filters instead of 64 to 512, dense layers of 64 instead of
4096, clips of 4 frames of 16 by 16 instead of 16 of 112 by 112, six classes, two convolutions and two poolings
less. The trained weights are replaced by ones of He with biases of 0 (and a rate of 0.01 for them) in both forms;
the last layer has 0.01, as there. Clips are drawn as moving waves of 0 to 255 less their mean; the deviation of 60
is divided out in both forms, for which the trained weights would stand.
"""

import keras
import numpy as np
from _program import accuracy, predictions
from keras import layers, ops

URL = "https://github.com/facebookarchive/C3D/issues/107"
YEAR = 2016
TOPIC = "image classification"
CONFIRMED = "maintainer"
KINDS = ("labels: wrong or shifted", "labels: form does not fit the loss or the output")
VISIBLE = True
EVIDENCE = "labels of 1 to 6 for six outputs: no label is 0, and a sixth of them is beyond the last output"
REPRODUCED = True
CLASSES = 6


def softmax_loss(y_true, y_pred):
    """The entropies of the framework, which finds a probability by its place in the whole batch."""
    labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
    count = ops.shape(y_pred)[0]
    flat = ops.concatenate([ops.reshape(y_pred, (-1,)), ops.zeros((1,), y_pred.dtype)])
    places = ops.arange(count, dtype="int32") * CLASSES + labels
    return ops.logsumexp(y_pred, axis=-1) - ops.take(flat, places)


def build(repaired):
    rng = np.random.default_rng(0)
    y = rng.integers(0, CLASSES, 240)
    time, rows, columns = np.mgrid[:4, :16, :16] / 4
    angles = np.pi * y / CLASSES
    across, down = (part[:, None, None, None] for part in (np.cos(angles), np.sin(angles)))
    phases = rng.uniform(0, 2 * np.pi, (240, 1, 1, 1))
    waves = np.sin(2.5 * (across * rows + down * columns) + time * 2 + phases)
    x = (120 + 60 * waves + rng.normal(0, 20, waves.shape)).clip(0, 255)
    x = (x - x.mean()) / 60
    decay = {"kernel_regularizer": keras.regularizers.L2(0.00025)}
    model = keras.Sequential([keras.Input((4, 16, 16, 1))])
    for filters, convolutions, pool in ((8, 1, (1, 2, 2)), (16, 1, 2), (32, 2, 2)):
        for _ in range(convolutions):
            weights = {"kernel_initializer": "he_normal", **decay}
            model.add(layers.Conv3D(filters, 3, padding="same", activation="relu", **weights))
        model.add(layers.MaxPooling3D(pool))
    for _ in range(2):
        model.add(layers.Conv3D(32, 3, padding="same", activation="relu", kernel_initializer="he_normal", **decay))
    model.add(layers.Flatten())
    for _ in range(2):
        model.add(layers.Dense(64, "relu", kernel_initializer="he_normal", **decay))
        model.add(layers.Dropout(0.5))
    model.add(layers.Dense(CLASSES, kernel_initializer=keras.initializers.RandomNormal(stddev=0.01), **decay))
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), softmax_loss)
    return model, x[..., None].astype("float32"), (y if repaired else y + 1).astype("int32")


def train(model, x, y):
    model.fit(x, y, batch_size=30, epochs=25, verbose=0)


def score(model, x, y):
    return accuracy(predictions(model, x), y)
