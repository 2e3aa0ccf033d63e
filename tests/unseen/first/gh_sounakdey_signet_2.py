"""SigNet, a siamese convolutional net for signatures: the accuracy falls from the first epoch on.

Fault: the contrastive loss draws the pairs of label 1 together, but here 1 stands for two different signatures.
Repair (asker; the author warns of the labels too): the two terms of the loss change places.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers, ops

URL = "https://github.com/sounakdey/SigNet/issues/2"
YEAR = 2017
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "asker"
KINDS = ("loss: sign or formula", "labels: wrong or shifted")
VISIBLE = True
EVIDENCE = "the loss draws together the pairs of label 1, whose images differ more (6.6) than those of label 0 (4.3)"
REPRODUCED = True

WRITERS, SIZE = 12, 16


def data():
    """Return pairs of drawn lines: both genuine of a writer (0), or one of them forged (1)."""
    rng = np.random.default_rng(0)
    lines = rng.random((WRITERS, SIZE, SIZE)) < 0.25
    forged = np.where(rng.random(lines.shape) < 0.25, rng.random(lines.shape) < 0.25, lines)
    writers, false = rng.integers(0, WRITERS, 480), rng.random(480) < 0.5
    first, second = lines[writers], np.where(false[:, None, None], forged[writers], lines[writers])
    first, second = (image ^ (rng.random(image.shape) < 0.04) for image in (first, second))
    x = np.stack([first, second], 1)[..., None]
    return x.astype("float32"), false[:, None].astype("float32")


def distance(pair):
    return ops.sqrt(ops.maximum(ops.sum((pair[0] - pair[1]) ** 2, 1, keepdims=True), keras.config.epsilon()))


def build(repaired):
    x, y = data()
    base = keras.Sequential(
        [
            layers.Input((SIZE, SIZE, 1)),
            layers.Conv2D(16, 5, strides=2, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(32, activation="relu"),
        ]
    )
    inputs = layers.Input((2, SIZE, SIZE, 1))
    outputs = layers.Lambda(distance, output_shape=(1,))([base(inputs[:, 0]), base(inputs[:, 1])])
    model = keras.Model(inputs, outputs)

    def contrastive(y_true, y_pred):
        near, far = y_pred**2, ops.relu(1.0 - y_pred) ** 2
        return (1 - y_true) * near + y_true * far if repaired else y_true * near + (1 - y_true) * far

    model.compile(keras.optimizers.RMSprop(1e-3), contrastive)
    return model, x, y


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=12, verbose=0)


def score(model, x, y):
    return separated(predictions(model, x), y)
