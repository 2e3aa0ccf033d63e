"""A U-Net is trained on masks as they are read from images: the loss becomes negative and falls without end.

The report names the network, the loss and the range of the labels only; size, filters and optimizer are usual ones.
Fault: masks of 0 and 255 with the cross-entropy of a sigmoid, whose labels have to be from 0 to 1.
Repair (writer of the page): the masks are scaled to 0 and 1.
"""

import keras
import numpy as np
from _program import predictions

URL = "https://e-com-net.com/article/1645566202275258368.htm"
YEAR = 2019
TOPIC = "segmentation and detection"
CONFIRMED = "asker"
KINDS = ("targets: beyond the last activation", "labels: form does not fit the loss or the output")
VISIBLE = True
EVIDENCE = "the loss is binary cross-entropy of logits, and the targets are 0 and 255, 19 % of them at 255"
REPRODUCED = True


def build(repaired):
    """Return the compiled model, noisy images with a bright disc, and the masks."""
    random = np.random.default_rng(0)
    grid = np.arange(32)
    row, column, radius = random.uniform(8, 24, (3, 96, 1, 1))
    disc = (grid[None, :, None] - row) ** 2 + (grid[None, None, :] - column) ** 2 < (2 + radius / 3) ** 2
    disc = disc[..., None]
    x = 0.35 + 0.3 * disc + random.normal(0, 0.15, disc.shape)
    inputs = keras.Input((32, 32, 1))

    def block(signal, filters):
        for _ in range(2):
            signal = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(signal)
        return signal

    fine = block(inputs, 8)
    coarse = block(keras.layers.MaxPooling2D()(fine), 16)
    joined = keras.layers.Concatenate()([keras.layers.UpSampling2D()(coarse), fine])
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1)(block(joined, 8)))
    model.compile(optimizer="adam", loss=keras.losses.BinaryCrossentropy(from_logits=True))
    return model, x.astype("float32"), disc.astype("float32") * (1 if repaired else 255)


def train(model, x, y):
    """Train for 20 epochs."""
    model.fit(x, y, batch_size=16, epochs=20, verbose=0)


def score(model, x, y):
    """Return the common part of the predicted and the true masks over their union, 0 for a full mask."""
    found, mask = predictions(model, x) > 0, y > 0
    overlap = (found & mask).sum() / (found | mask).sum()
    return max(0.0, (overlap - mask.mean()) / (1 - mask.mean()))
