"""The toy demo of tf_unet, circles in noise, stays at an error of 17 % and predicts black images only.

Fault (asker): the momentum of 0.2, with a rate of 0.2, gets stuck.
Repair (asker): more momentum, 0.9 here.
The network is the one of the package: valid convolutions, and rectified units also before the softmax. These die in
the first epoch in both forms here, with outputs of 0.5 as in issue 119; no one in the thread names them.
"""

import keras
import numpy as np
from _program import accuracy, predictions

URL = "https://github.com/jakeret/tf_unet/issues/120"
YEAR = 2017
TOPIC = "segmentation and detection"
CONFIRMED = "asker"
KINDS = ("optimizer: settings and precision",)
VISIBLE = False
EVIDENCE = "a rate of 0.2 with a momentum of 0.2 is odd, but the same program trains on another machine"
REPRODUCED = False


def build(repaired):
    """Return the compiled model, images of circles in noise, and one-hot masks of their middle."""
    random = np.random.default_rng(0)
    grid = np.arange(40)
    mask, x = np.zeros((40, 40, 40), bool), random.normal(0, 1, size=(40, 40, 40))
    for example in range(40):
        for _ in range(5):
            row, column, radius = random.uniform(8, 32), random.uniform(8, 32), random.uniform(2, 5)
            disc = (grid[:, None] - row) ** 2 + (grid - column) ** 2 < radius**2
            mask[example] |= disc
            x[example] += disc * random.uniform(2, 8)
    x = (x - x.min((1, 2), keepdims=True)) / np.ptp(x, (1, 2), keepdims=True)
    inputs = keras.Input((40, 40, 1))

    def convolution(signal, filters, size=3):
        start = keras.initializers.TruncatedNormal(0, (2 / (size**2 * filters)) ** 0.5)
        bias = keras.initializers.Constant(0.1)
        layer = keras.layers.Conv2D(filters, size, activation="relu", kernel_initializer=start, bias_initializer=bias)
        return layer(signal)

    fine = keras.layers.Dropout(0.25)(convolution(convolution(inputs, 8), 8))
    coarse = convolution(convolution(keras.layers.MaxPooling2D()(fine), 16), 16)
    joined = keras.layers.Concatenate()([keras.layers.Cropping2D(4)(fine), keras.layers.UpSampling2D()(coarse)])
    outputs = keras.layers.Softmax()(convolution(convolution(convolution(joined, 8), 8), 2, 1))
    model = keras.Model(inputs, outputs)
    optimizer = keras.optimizers.SGD(0.2, momentum=0.9 if repaired else 0.2)
    model.compile(optimizer=optimizer, loss="categorical_crossentropy")
    inner = mask[:, 8:-8, 8:-8]
    return model, x[..., None].astype("float32"), np.stack([~inner, inner], -1).astype("float32")


def train(model, x, y):
    """Train with batches of one, as there, for 6 epochs."""
    model.fit(x, y, batch_size=1, epochs=6, verbose=0)


def score(model, x, y):
    """Return how many of the pixels were right."""
    return accuracy(predictions(model, x), y)
