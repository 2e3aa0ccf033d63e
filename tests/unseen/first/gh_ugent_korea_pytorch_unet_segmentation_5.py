"""Thin lines are segmented by a U-Net: accuracy is 98.6 % from the start, and the output stays white.

Fault (a second user with the same symptom): the learning rate of 5e-4.
Repair (that user): a rate of 1e-4.
"""

import keras
import numpy as np
from _program import predictions

URL = "https://github.com/ugent-korea/pytorch-unet-segmentation/issues/5"
YEAR = 2019
TOPIC = "segmentation and detection"
CONFIRMED = "comments"
KINDS = ("optimizer: rate too large",)
VISIBLE = False
EVIDENCE = "SGD with a rate of 5e-4 and a momentum of 0.1 is in no way too large for a normalized network"
REPRODUCED = False


def build(repaired):
    """Return the compiled model, grey images with a dark line, and classes: 0 for the line, 1 for the rest."""
    random = np.random.default_rng(0)
    grid = np.arange(32)
    place, slope = random.uniform(8, 24, (60, 1, 1)), random.uniform(-0.4, 0.4, (60, 1, 1))
    line = np.abs(grid[None, None, :] - place - slope * (grid[None, :, None] - 16)) < 0.4
    x = (0.8 - 0.5 * line + random.normal(0, 0.08, line.shape))[..., None]
    x = (x - x.mean()) / x.std()
    inputs = keras.Input((32, 32, 1))

    def block(signal, filters):
        for _ in range(2):
            signal = keras.layers.Conv2D(filters, 3, padding="same")(signal)
            signal = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.9)(signal))
        return signal

    fine = block(inputs, 8)
    coarse = block(keras.layers.MaxPooling2D()(fine), 16)
    joined = keras.layers.Concatenate()([keras.layers.UpSampling2D()(coarse), fine])
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(block(joined, 8)))
    model.compile(
        optimizer=keras.optimizers.SGD(1e-4 if repaired else 5e-4, momentum=0.1),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model, x.astype("float32"), (~line).astype("int32")


def train(model, x, y):
    """Train for 15 epochs."""
    model.fit(x, y, batch_size=12, epochs=15, verbose=0)


def score(model, x, y):
    """Return the common part of the found and the true lines over their union."""
    found, line = predictions(model, x).argmax(-1) == 0, y == 0
    overlap = (found & line).sum() / (found | line).sum()
    return max(0.0, (overlap - line.mean()) / (1 - line.mean()))
