"""SigNet, a siamese convolutional net for signatures: the loss is NaN at the end of the first epoch.

Fault: where the embeddings of a pair, behind a ReLU, are equal (both 0), so is their Euclidean distance 0, and there
the derivative of the square root is infinite.
Repair (asker, agreed by the author of the code): the sum of squares is at least `epsilon`.
"""

import keras
import numpy as np
from _program import predictions, separated
from keras import layers, ops

URL = "https://github.com/sounakdey/SigNet/issues/1"
YEAR = 2017
TOPIC = "losses, layers and training loops of one's own"
CONFIRMED = "asker"
KINDS = ("loss: value or gradient not finite",)
VISIBLE = False
EVIDENCE = "at the start no pair has a distance of 0, the smallest is 0.05; loss and gradients are finite"
REPRODUCED = False

WRITERS, SIZE = 12, 16


def data():
    """Return pairs of drawn lines of a writer, both genuine (1) or one forged (0)."""
    rng = np.random.default_rng(0)
    lines = rng.random((WRITERS, SIZE, SIZE)) < 0.25
    forged = np.where(rng.random(lines.shape) < 0.25, rng.random(lines.shape) < 0.25, lines)
    writers, genuine = rng.integers(0, WRITERS, 480), rng.random(480) < 0.5
    first, second = lines[writers], np.where(genuine[:, None, None], lines[writers], forged[writers])
    first, second = (image ^ (rng.random(image.shape) < 0.04) for image in (first, second))
    x = np.stack([first, second], 1)[..., None]
    return x.astype("float32"), genuine[:, None].astype("float32")


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
            layers.Dense(8, activation="relu"),
        ]
    )
    inputs = layers.Input((2, SIZE, SIZE, 1))
    floor = keras.config.epsilon() if repaired else 0.0

    def distance(pair):
        squares = ops.sum((pair[0] - pair[1]) ** 2, 1, keepdims=True)
        return ops.sqrt(ops.maximum(squares, floor) if repaired else squares)

    outputs = layers.Lambda(distance, output_shape=(1,))([base(inputs[:, 0]), base(inputs[:, 1])])
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.RMSprop(1e-3), contrastive)
    return model, x, y


def contrastive(y_true, y_pred):
    return y_true * y_pred**2 + (1 - y_true) * ops.relu(1.0 - y_pred) ** 2


def train(model, x, y):
    model.fit(x, y, batch_size=32, epochs=12, verbose=0)


def score(model, x, y):
    return separated(-predictions(model, x), y)
