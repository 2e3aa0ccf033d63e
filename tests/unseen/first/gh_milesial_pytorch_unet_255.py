"""A ready-made U-Net is trained on liver tumours for 5 epochs: the loss is 0.0xx, and all predictions are black.

Fault (maintainer): the learning rate of the program, 1e-4 with RMSprop and momentum, is too high for these data.
Repair (maintainer): a smaller rate, 1e-5 here.
"""

import keras
import numpy as np
from _program import predictions

URL = "https://github.com/milesial/Pytorch-UNet/issues/255"
YEAR = 2021
TOPIC = "segmentation and detection"
CONFIRMED = "maintainer"
KINDS = ("optimizer: rate too large", "classes: rare")
VISIBLE = False
EVIDENCE = "RMSprop with a rate of 1e-4 is usual; 1 % of the pixels are foreground, as tumours are"
REPRODUCED = False


def build(repaired):
    """Return the compiled model, grey images from 0 to 1 with a small spot, and the masks."""
    random = np.random.default_rng(0)
    grid = np.arange(32)
    row, column = random.uniform(6, 26, (2, 80, 1, 1))
    spot = ((grid[None, :, None] - row) ** 2 + (grid[None, None, :] - column) ** 2 < 3.5)[..., None]
    x = np.clip(0.45 + 0.2 * spot + random.normal(0, 0.08, spot.shape), 0, 1)
    inputs = keras.Input((32, 32, 1))

    def block(signal, filters):
        for _ in range(2):
            signal = keras.layers.Conv2D(filters, 3, padding="same")(signal)
            signal = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(signal))
        return signal

    fine = block(inputs, 8)
    coarse = block(keras.layers.MaxPooling2D()(fine), 16)
    joined = keras.layers.Concatenate()([keras.layers.UpSampling2D()(coarse), fine])
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1)(block(joined, 8)))
    optimizer = keras.optimizers.RMSprop(1e-5 if repaired else 1e-4, rho=0.99, momentum=0.9, weight_decay=1e-8)
    model.compile(optimizer=optimizer, loss=keras.losses.BinaryCrossentropy(from_logits=True))
    return model, x.astype("float32"), spot.astype("float32")


def train(model, x, y):
    """Train with batches of one for 5 epochs, as there."""
    model.fit(x, y, batch_size=1, epochs=5, verbose=0)


def score(model, x, y):
    """Return the common part of the predicted and the true masks over their union."""
    found, mask = predictions(model, x) > 0, y > 0.5
    overlap = (found & mask).sum() / (found | mask).sum()
    return max(0.0, (overlap - mask.mean()) / (1 - mask.mean()))
