"""An autoencoder of pairs of a human and an object, which also tells their verbs: the loss is 37, -403, -802, then NaN.

Fault: a ranking loss multiplies the probabilities by weights of the verbs, and these are trained along: no bound
below. Repair (the asker, for whom the ranking loss makes gradients explode): gradients are clipped. The repaired
form moreover keeps the weights of the verbs fixed, as they are in the cross-entropy. 24 verbs instead of 117, 64
features of an image instead of 4096, hidden layers of 64 and 24 instead of 4096 and 1024 (the spatial part 16 and 32
instead of 256 and 512), drawn data with the weights of the verbs as in the repository (mean 46, from 26 to 62), 400
steps. As in the settings, eight of nine pairs are without interaction, here as the first verb. The score is of the
best verb of a pair.
"""

import keras
import numpy as np
from _program import accuracy
from keras import layers, ops

URL = "https://github.com/DirtyHarryLYL/HAKE-Action-Torch/issues/34"
YEAR = 2021
TOPIC = "autoencoders"
CONFIRMED = "person"
KINDS = ("loss: sign or formula", "depth: signal or gradient explodes")
VISIBLE = False
EVIDENCE = (
    "loss (30.8), weights, signals and gradients of the first batch are those of the repaired form; only the"
    " weights of the verbs (46 on average) have a gradient as well (0.04, like those of the layers: 0.001 to 0.3)."
    " In the sixth epoch the loss is -32, after ten these weights are 35 to 137, later all is NaN"
)
REPRODUCED = True
VERBS, FEATURES, PAIRS = 24, 64, 900
WEIGHTS = np.random.default_rng(1).normal(46, 7.7, VERBS).clip(26, 62).astype("float32")


class Weighted(layers.Layer):
    """Multiplies by the weights of the verbs."""

    def __init__(self, trained, **kwargs):
        super().__init__(**kwargs)
        self.trained = trained

    def build(self, input_shape):
        start = keras.initializers.Constant(WEIGHTS)
        self.factors = self.add_weight(shape=(VERBS,), initializer=start, trainable=self.trained, name="factors")

    def call(self, inputs):
        return inputs * self.factors


def ranked(labels, outputs):
    """Weighted probabilities of the wrong verbs less those of the right ones, over verbs and over pairs."""
    loss = 0
    for axis in (1, 0):
        wrong = ops.sum(outputs * (1 - labels), axis) / (ops.sum(1 - labels, axis) + 1)
        right = ops.sum(outputs * labels, axis) / (ops.sum(labels, axis) + 1)
        loss = loss + ops.mean(wrong - right)
    return loss


def entropy(labels, logits):
    weights = ops.convert_to_tensor(WEIGHTS)
    return ops.mean(weights * labels * ops.softplus(-logits) + (1 - labels) * ops.softplus(logits))


def binary(labels, logits):
    return ops.mean(labels * ops.softplus(-logits) + (1 - labels) * ops.softplus(logits))


def dense(units):
    """A linear layer with the first weights of PyTorch."""
    start = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    return layers.Dense(units, kernel_initializer=start)


def build(repaired):
    rng = np.random.default_rng(0)
    verbs = np.where(rng.random(PAIRS) < 8 / 9, 0, rng.integers(1, VERBS, PAIRS))
    labels = np.eye(VERBS)[verbs]
    second = rng.integers(1, VERBS, PAIRS)
    more = (verbs > 0) & (rng.random(PAIRS) < 0.2)
    labels[more, second[more]] = 1
    features = np.maximum(labels @ rng.normal(0, 1.5, (VERBS, FEATURES)) + rng.normal(0, 0.7, (PAIRS, FEATURES)), 0)
    boxes = np.sort(rng.random((PAIRS, 4, 2)), -1).transpose(0, 2, 1).reshape(PAIRS, 8)
    image, places = keras.Input((FEATURES,)), keras.Input((8,))
    hidden = places
    for units in (16, 32):
        hidden = layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(dense(units)(hidden)))
    whole = ops.concatenate([image, hidden], -1)
    hidden = layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(dense(64)(whole)))
    code = dense(24)(hidden)
    hidden = layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(dense(64)(code)))
    rebuilt = dense(FEATURES + 32)(hidden)
    logits = dense(VERBS)(code)
    model = keras.Model(
        [image, places],
        [logits, whole - rebuilt, Weighted(not repaired)(ops.sigmoid(logits)), dense(1)(code)],
    )
    clipped = {"global_clipnorm": 1.0} if repaired else {}
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=1e-7, **clipped)
    model.compile(optimizer, [entropy, "mse", ranked, binary], loss_weights=[1, 0.4, 1, 0.2])
    y = [labels, np.zeros((PAIRS, FEATURES + 32)), labels, labels[:, :1]]
    return model, [features.astype("float32"), boxes.astype("float32")], [part.astype("float32") for part in y]


def train(model, x, y):
    model.fit(x, y, batch_size=45, epochs=20, verbose=0, callbacks=[keras.callbacks.TerminateOnNaN()])


def score(model, x, y):
    outputs = np.asarray(model.predict(x, verbose=0)[0], "float64")
    one = y[0].sum(1) == 1
    return accuracy(outputs[one], y[0][one].argmax(1))
