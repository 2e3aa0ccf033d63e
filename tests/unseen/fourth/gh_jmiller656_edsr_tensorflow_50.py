"""Pictures of twice the size by a deep residual network (EDSR): after 14000 steps the loss goes from 1.2 to 16000.

Fault: a constant rate of Adam, 0.001.
Repair (the person): it is multiplied by 0.99 each 100 steps; loss and quality became better too. 8 blocks of 8
filters instead of 32 of 256, pictures of 16 x 16 instead of 100 x 100, batches of 10, 60 steps. The values are
those of the repository, 0 to 255 less 127 (EDSR is published with this range); the repaired form divides them by
127.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers, ops

URL = "https://github.com/jmiller656/EDSR-Tensorflow/issues/50"
YEAR = 2019
TOPIC = "time series"
CONFIRMED = "person"
KINDS = ("optimizer: rate too large",)
VISIBLE = False
EVIDENCE = (
    "that the rate does not fall comes up after thousands of steps; not reproduced in 60 (0.51 against 0.52)."
    " Inputs have a standard deviation of 65 and targets one of 71, which is done on purpose"
)
REPRODUCED = False
FILTERS, BLOCKS = 8, 8


class Shuffle(layers.Layer):
    """Each group of four channels becomes a square of four pixels."""

    def call(self, x):
        rows, columns = x.shape[1:3]
        x = ops.transpose(ops.reshape(x, (-1, rows, columns, 3, 2, 2)), (0, 1, 4, 2, 5, 3))
        return ops.reshape(x, (-1, 2 * rows, 2 * columns, 3))

    def compute_output_shape(self, shape):
        return (shape[0], 2 * shape[1], 2 * shape[2], 3)


def conv(filters, activation=None):
    return layers.Conv2D(filters, 3, padding="same", activation=activation)


def build(repaired):
    rng = np.random.default_rng(0)
    count, size = 60, 16
    rows, columns = np.mgrid[:size, :size]
    angles, phases = rng.uniform(0, np.pi, count), rng.uniform(0, 6, (count, 3))
    slopes = (np.cos(angles)[:, None, None] * rows + np.sin(angles)[:, None, None] * columns)[..., None]
    y = 127 + 100 * np.sin(0.8 * slopes + phases[:, None, None])
    x = y.reshape(count, size // 2, 2, size // 2, 2, 3).mean((2, 4))
    scale = 127 if repaired else 1
    x, y = ((x - 127) / scale).astype("float32"), ((y - 127) / scale).astype("float32")
    inputs = keras.Input((size // 2, size // 2, 3))
    first = now = conv(FILTERS, "relu")(inputs)
    for _ in range(BLOCKS):
        now = layers.Add()([now, layers.Rescaling(0.1)(conv(FILTERS)(conv(FILTERS, "relu")(now)))])
    now = layers.Add()([conv(FILTERS, "relu")(now), first])
    model = keras.Model(inputs, Shuffle()(conv(12)(conv(FILTERS)(now))))
    rate = keras.optimizers.schedules.ExponentialDecay(0.001, 100, 0.99, staircase=True) if repaired else 0.001
    model.compile(keras.optimizers.Adam(rate), "mean_absolute_error")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=10, epochs=10, verbose=0)


def score(model, x, y):
    return explained(predictions(model, x), y)
