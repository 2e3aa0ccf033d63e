"""A small network for two kinds of photos ends in one sigmoid unit and reads folders in batches: accuracy stays at 0.5.

Fault: the reader of folders gives two columns of labels by default (class mode "categorical"), and the cross-entropy of
then stretched the single output over both columns, so that the two gradients cancel at 0.5.
Repair (comments): class mode "binary", one column of zeros and ones.
Keras refuses such shapes today; the loss below writes the old one out. The image sizes and layers are assumed.
"""

import keras
import numpy as np
from _program import predictions, separated

URL = "https://github.com/keras-team/keras/issues/13006"
YEAR = 2019
TOPIC = "image classification"
CONFIRMED = "comments"
KINDS = ("labels: form does not fit the loss or the output",)
VISIBLE = True
EVIDENCE = "y is (300, 2) and the output (300, 1); the gradient by the output is 0.03 instead of 2.0 on average."
REPRODUCED = True


def stretched_crossentropy(y_true, y_pred):
    y_true = keras.ops.cast(y_true, y_pred.dtype)
    y_pred = keras.ops.clip(y_pred, 1e-7, 1 - 1e-7)
    losses = y_true * keras.ops.log(y_pred) + (1 - y_true) * keras.ops.log(1 - y_pred)
    return -keras.ops.mean(losses, axis=-1)


def build(repaired):
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 2
    x = rng.uniform(0, 255, (300, 16, 16, 3)) * 0.5
    for image, label in zip(x, labels, strict=True):
        row, column = rng.integers(0, 9, 2)
        image[row : row + 7, column : column + 7] += 100 * (np.indices((7, 7))[label] % 2)[..., None]
    x = (x / 255).astype("float32")
    y = labels[:, None].astype("float32") if repaired else np.eye(2, dtype="float32")[labels]

    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(loss=stretched_crossentropy, optimizer="adam")
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=20, epochs=15, verbose=0)


def score(model, x, y):
    return separated(predictions(model, x), y[:, -1])
