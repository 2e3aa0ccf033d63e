"""A U-Net sometimes predicts 0.5 for all pixels, with the same images and settings that worked before.

Fault (asker): a border of zeros around the images.
Repair (asker): images without that border.
The network is the one of the package: valid convolutions, and rectified units also before the softmax. These die in
the first epoch in both forms here, with outputs of 0.5 as in issue 119; no one in the thread names them.
"""

import keras
import numpy as np
from _program import accuracy, predictions

URL = "https://github.com/jakeret/tf_unet/issues/119"
YEAR = 2017
TOPIC = "segmentation and detection"
CONFIRMED = "asker"
KINDS = ("inputs: other (wrong axis, all alike, no information)",)
VISIBLE = False
EVIDENCE = "36 % of the pixels, all at the border, are 0 in every image, which padded images have on purpose as well"
REPRODUCED = False


def build(repaired):
    """Return the compiled model, images of bright discs, with or without a border of zeros, and one-hot masks."""
    random = np.random.default_rng(0)
    grid = np.arange(40)
    row, column, radius = random.uniform(12, 28, (3, 60, 1, 1))
    mask = (grid[None, :, None] - row) ** 2 + (grid[None, None, :] - column) ** 2 < (radius / 4) ** 2
    x = 0.35 + 0.4 * mask + random.normal(0, 0.1, mask.shape)
    if not repaired:
        edge = np.pad(np.ones((32, 32)), 4)
        x = x * edge
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
    model.compile(optimizer=keras.optimizers.SGD(0.2, momentum=0.2), loss="categorical_crossentropy")
    inner = mask[:, 8:-8, 8:-8]
    return model, x[..., None].astype("float32"), np.stack([~inner, inner], -1).astype("float32")


def train(model, x, y):
    """Train with batches of one, as there, for 4 epochs."""
    model.fit(x, y, batch_size=1, epochs=4, verbose=0)


def score(model, x, y):
    """Return how many of the pixels were right."""
    return accuracy(predictions(model, x), y)
