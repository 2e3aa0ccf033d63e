"""The variational autoencoder of Keras for handwritten digits: the loss is a negative number without bounds.

Fault: the images were not converted to float32, so that they stay whole numbers up to 255 under a binary cross-
entropy.
Repair (the user whose run it was): conversion, by the line of the example that also divides by 255.
"""

import keras
import numpy as np
from _program import explained, predictions
from keras import layers, ops
from sklearn.datasets import load_digits

URL = "https://github.com/keras-team/keras/issues/5968"
YEAR = 2017
TOPIC = "autoencoders"
CONFIRMED = "asker"
KINDS = ("targets: beyond the last activation", "inputs: scale or offset")
VISIBLE = True
EVIDENCE = (
    "51 % of the targets of a sigmoid are above 1, up to 255 (uint8), and the binary cross-entropy is -6800; "
    "the inputs have a root mean square of 124"
)
REPRODUCED = True
PIXELS = 64


class Sampling(layers.Layer):
    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(1)

    def call(self, inputs):
        mean, variance = inputs
        self.add_loss(-0.5 * ops.mean(ops.sum(1 + variance - mean**2 - ops.exp(variance), axis=-1)))
        return mean + ops.exp(variance / 2) * keras.random.normal(ops.shape(mean), seed=self.seed)


def distance(targets, outputs):
    targets, outputs = ops.cast(targets, "float32"), ops.clip(outputs, 1e-7, 1 - 1e-7)
    terms = targets * ops.log(outputs) + (1 - targets) * ops.log(1 - outputs)
    return -PIXELS * ops.mean(terms, axis=-1)


def build(repaired):
    x = np.round(load_digits().images[:1000] * 255 / 16).astype("uint8").reshape(-1, PIXELS)
    if repaired:
        x = x.astype("float32") / 255
    inputs = layers.Input((PIXELS,))
    hidden = layers.Dense(256, activation="relu")(inputs)
    code = Sampling()([layers.Dense(2)(hidden), layers.Dense(2)(hidden)])
    hidden = layers.Dense(256, activation="relu")(code)
    model = keras.Model(inputs, layers.Dense(PIXELS, activation="sigmoid")(hidden))
    model.compile("rmsprop", loss=distance)
    return model, x, x


def train(model, x, y):
    model.fit(x, y, batch_size=100, epochs=80, verbose=0)


def score(model, x, y):
    outputs, targets = predictions(model, x), y.astype("float64") / y.max()
    return explained(outputs - targets.mean(0), targets - targets.mean(0))
