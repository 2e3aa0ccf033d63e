"""Images of 64 x 64 pixels have up to five labels: a convolutional net with sigmoids answers 0 for each of them.

Fault: SGD with momentum on large inputs throws the logits far below 0 in the first steps, and there is no way back.
Repair (later comments, which thank the answer): Adam in the place of SGD.
The raw pixels, which the answers left in place, are divided by 255 in the repaired form too.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers

URL = "https://github.com/keras-team/keras/issues/741"
YEAR = 2015
TOPIC = "several labels or rare classes"
CONFIRMED = "comments"
KINDS = ("inputs: scale or offset", "optimizer: rate too large")
VISIBLE = True
EVIDENCE = "the inputs have a root mean square of 98, 97 % of the outputs are within 0.01 of 0 or 1, the loss is 8.8"
REPRODUCED = True

SIZE, LABELS = 16, 5


def data():
    """Return raw pixels, each label a bright patch of its own colour and place, and rows of zeros and ones."""
    rng = np.random.default_rng(0)
    y = rng.random((400, LABELS)) < 0.32
    x = rng.integers(0, 160, (400, SIZE, SIZE, 3))
    for label in range(LABELS):
        row, column = divmod(label, 3)
        x[y[:, label], 5 * row : 5 * row + 5, 5 * column : 5 * column + 5, label % 3] += 95
    return x.astype("float32"), y.astype("float32")


def build(repaired):
    x, y = data()
    model = keras.Sequential(
        [
            layers.Input((SIZE, SIZE, 3)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.25),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(LABELS, activation="sigmoid"),
        ]
    )
    sgd = keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True)
    model.compile(keras.optimizers.Adam() if repaired else sgd, "binary_crossentropy")
    return model, x / 255 if repaired else x, y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=20, verbose=0)


def score(model, x, y):
    outputs = predictions(model, x)
    return float(np.mean([separated(outputs[:, label], y[:, label]) for label in range(LABELS)]))
