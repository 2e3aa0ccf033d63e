"""A U-Net for one class reaches 70 % accuracy, and the mean overlap reported is flat from the first epoch on.

Fault (answer): binary cross-entropy does not optimize the overlap.
Repair (answer): the loss is one less the overlap (Jaccard).
"""

import keras
import numpy as np
from _program import predictions

URL = "https://datascience.stackexchange.com/questions/106164"
YEAR = 2021
TOPIC = "segmentation and detection"
CONFIRMED = "votes"
KINDS = ("loss: wrong kind for the task",)
VISIBLE = False
EVIDENCE = "a sigmoid with binary cross-entropy and masks of 0 and 1 is a sound program, also with 25 % foreground"
REPRODUCED = False


def jaccard(labels, outputs):
    """Return one less the overlap of masks and outputs over their union."""
    common = keras.ops.sum(labels * outputs)
    return 1 - common / (keras.ops.sum(labels) + keras.ops.sum(outputs) - common + 1e-7)


def build(repaired):
    """Return the compiled model, noisy images with a bright ellipse, and the masks."""
    random = np.random.default_rng(0)
    grid = np.arange(32)
    row, column = random.uniform(10, 22, (2, 96, 1, 1))
    high, wide = random.uniform(6, 12, (2, 96, 1, 1))
    mask = (((grid[None, :, None] - row) / high) ** 2 + ((grid[None, None, :] - column) / wide) ** 2 < 1)[..., None]
    x = 0.4 + 0.2 * mask + random.normal(0, 0.2, mask.shape)
    inputs = keras.Input((32, 32, 1))

    def block(signal, filters):
        for _ in range(2):
            signal = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(signal)
        return signal

    fine = block(inputs, 8)
    coarse = block(keras.layers.MaxPooling2D()(fine), 16)
    joined = keras.layers.Concatenate()([keras.layers.UpSampling2D()(coarse), fine])
    model = keras.Model(inputs, keras.layers.Conv2D(1, 1, activation="sigmoid")(block(joined, 8)))
    model.compile(optimizer="adam", loss=jaccard if repaired else "binary_crossentropy", metrics=["accuracy"])
    return model, x.astype("float32"), mask.astype("float32")


def train(model, x, y):
    """Train for 20 epochs."""
    model.fit(x, y, batch_size=16, epochs=20, verbose=0)


def score(model, x, y):
    """Return the common part of the predicted and the true masks over their union, 0 for a full mask."""
    found, mask = predictions(model, x) > 0.5, y > 0.5
    overlap = (found & mask).sum() / (found | mask).sum()
    return max(0.0, (overlap - mask.mean()) / (1 - mask.mean()))
