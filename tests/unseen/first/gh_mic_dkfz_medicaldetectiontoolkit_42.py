"""The segmentation head of a Retina U-Net does not learn when a norm is switched on: its loss does not fall.

Fault: the norm of each instance also stands after the last convolution, on the logits, and limits them.
Repair (asker, confirmed by the maintainer): no norm after the last convolution.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/MIC-DKFZ/medicaldetectiontoolkit/issues/42"
YEAR = 2019
TOPIC = "segmentation and detection"
CONFIRMED = "maintainer"
KINDS = ("normalization: misused",)
VISIBLE = True
EVIDENCE = "the layer before the softmax is a norm without scale: logits have a deviation of 1, whatever the weights"
REPRODUCED = True


def both(labels, outputs):
    """Return the cross-entropy plus the loss of the overlap (Dice) of the foreground."""
    entropy = keras.ops.mean(keras.losses.categorical_crossentropy(labels, outputs))
    common = keras.ops.sum(labels[..., 1] * outputs[..., 1])
    whole = keras.ops.sum(labels[..., 1]) + keras.ops.sum(outputs[..., 1])
    return entropy + 1 - (2 * common + 1e-6) / (whole + 1e-6)


def build(repaired):
    """Return the compiled model, images with a small lesion, and one-hot masks."""
    random = np.random.default_rng(0)
    grid = np.arange(24)
    row, column = random.uniform(5, 19, (64, 1, 1)), random.uniform(5, 19, (64, 1, 1))
    lesion = (grid[None, :, None] - row) ** 2 + (grid[None, None, :] - column) ** 2 < 12
    x = (2.5 * lesion + random.normal(0, 0.7, lesion.shape))[..., None]

    def norm(signal):
        return keras.layers.GroupNormalization(-1, center=False, scale=False)(signal)

    def block(signal, filters):
        for _ in range(2):
            signal = keras.layers.ReLU()(norm(keras.layers.Conv2D(filters, 3, padding="same")(signal)))
        return signal

    inputs = keras.Input((24, 24, 1))
    fine = block(inputs, 8)
    coarse = block(keras.layers.MaxPooling2D()(fine), 8)
    joined = keras.layers.Concatenate()([keras.layers.UpSampling2D()(coarse), fine])
    logits = keras.layers.Conv2D(2, 1)(block(joined, 8))
    model = keras.Model(inputs, keras.layers.Softmax()(logits if repaired else norm(logits)))
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss=both)
    return model, x.astype("float32"), np.stack([~lesion, lesion], -1).astype("float32")


def train(model, x, y):
    """Train for 30 epochs."""
    model.fit(x, y, batch_size=8, epochs=30, verbose=0)


def score(model, x, y):
    """Return the share of the variance of the masks that the probabilities explain."""
    return explained(predictions(model, x)[..., 1], y[..., 1])
