"""A number is predicted from image patches by a convolutional network: the loss is NaN in the first epoch.

Fault (comments): the data hold NaN, from a standardization of places that never vary (0 / 0).
Repair (comments): a small number is added to the standard deviation.
Evident second faults, which the asker met in his next issue, are mended too: a penalty of 0.5 and a rate of 1e-5.
"""

import keras
import numpy as np
from _program import explained, predictions

URL = "https://github.com/keras-team/keras/issues/2134"
YEAR = 2016
TOPIC = "regression on tables"
CONFIRMED = "comments"
KINDS = ("inputs: not finite",)
VISIBLE = True
EVIDENCE = "2 % of the inputs of every example are NaN, and so are the outputs, the loss and all gradients"
REPRODUCED = True


def build(repaired):
    """Return the compiled model, patches standardized for each place, and a number from 0 to 1."""
    random = np.random.default_rng(0)
    angle = random.uniform(0, 1, size=(320, 1))
    grid = np.arange(16)
    waves = np.sin(0.4 + grid[None, :, None] * angle[..., None] * 0.8 + 0.2 * grid[None, None, :])
    pixels = 128 + 70 * waves + random.normal(0, 8, size=(320, 16, 16))
    pixels[:, 0, :5] = 0
    deviation = pixels.std(0) + (1e-6 if repaired else 0)
    with np.errstate(invalid="ignore"):
        x = ((pixels - pixels.mean(0)) / deviation)[..., None].astype("float32")
    penalty = keras.regularizers.L2(1e-4 if repaired else 0.5)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            keras.layers.Conv2D(8, 7, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(64, kernel_regularizer=penalty, activation="relu"),
            keras.layers.Dropout(0.7),
            keras.layers.Dense(64, kernel_regularizer=penalty, activation="relu"),
            keras.layers.Dropout(0.7),
            keras.layers.Dense(1),
        ]
    )
    rate = 1e-3 if repaired else 1e-5
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, clipnorm=100)
    model.compile(optimizer=optimizer, loss="mean_squared_error")
    return model, x, angle.astype("float32")


def train(model, x, y):
    """Train for 60 epochs."""
    model.fit(x, y, batch_size=32, epochs=60, verbose=0)


def score(model, x, y):
    """Return the explained share of the variance."""
    return explained(predictions(model, x), y)
