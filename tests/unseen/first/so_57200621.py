"""Images and masks come from two generators with the same settings: the loss is negative, accuracy is 0.

Fault: the settings center and standardize the masks too, by their own mean and deviation.
Repair (asker: without these two settings it trains): masks of 0 and 1; the images stay standardized.
"""

import keras
import numpy as np
from _program import predictions

URL = "https://stackoverflow.com/questions/57200621"
YEAR = 2019
TOPIC = "segmentation and detection"
CONFIRMED = "asker"
KINDS = ("targets: beyond the last activation", "labels: form does not fit the loss or the output")
VISIBLE = True
EVIDENCE = "the last layer is a sigmoid with binary cross-entropy, and the targets are -0.38 and 2.6"
REPRODUCED = True


def crossentropy(labels, outputs):
    """Return the binary cross-entropy as it was then, which does not check its labels (as torch does today)."""
    outputs = keras.ops.clip(outputs, 1e-7, 1 - 1e-7)
    return -keras.ops.mean(labels * keras.ops.log(outputs) + (1 - labels) * keras.ops.log(1 - outputs), axis=-1)


def build(repaired):
    """Return the compiled model, standardized images with a bright disc, and the masks."""
    random = np.random.default_rng(0)
    grid = np.arange(32)
    row, column, radius = random.uniform(7, 25, (3, 96, 1, 1))
    disc = (grid[None, :, None] - row) ** 2 + (grid[None, None, :] - column) ** 2 < (3 + radius / 5) ** 2
    x = (90 + 60 * disc + random.normal(0, 40, disc.shape))[..., None]
    x = (x - x.mean()) / x.std()
    y = disc[..., None].astype("float32")
    if not repaired:
        y = (y - y.mean()) / y.std()

    def block(signal, filters):
        signal = keras.layers.Conv2D(filters, 3, padding="same")(signal)
        return keras.layers.ReLU()(keras.layers.BatchNormalization()(signal))

    inputs = keras.Input((32, 32, 1))
    fine = block(inputs, 8)
    coarse = block(keras.layers.MaxPooling2D()(fine), 16)
    joined = keras.layers.Concatenate()([keras.layers.UpSampling2D()(coarse), fine])
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid")(block(joined, 8)))
    model.compile(optimizer="adam", loss=crossentropy, metrics=["accuracy"])
    return model, x.astype("float32"), y


def train(model, x, y):
    """Train for 30 epochs."""
    model.fit(x, y, batch_size=8, epochs=30, verbose=0)


def score(model, x, y):
    """Return the common part of the predicted and the true masks over their union, 0 for a full mask."""
    found, mask = predictions(model, x) > 0.5, y > 0.5
    overlap = (found & mask).sum() / max(1, (found | mask).sum())
    return max(0.0, (overlap - mask.mean()) / (1 - mask.mean()))
