"""Faults between the last layer and the loss."""

import keras
import numpy as np
from keras import layers, ops

from diagnosed.networks import (
    BINARY,
    CLASSES,
    COUNTS,
    LABELS,
    LAYER,
    LOGITS,
    ONE_HOT,
    SERIES,
    SEVERAL,
    SOFT,
    SPARSE,
    ZERO_ONE,
    Case,
    X,
    ending,
    mlp,
    regression,
)


def either(faulty, repaired):
    """Return a function that makes a network with these arguments of `ending`, as a dict."""
    return lambda is_repaired: ending(**(repaired if is_repaired else faulty))


def activation(faulty, sound, units=10, **options):
    """Return a function that makes a network with one of these activations."""
    return lambda repaired: ending(units, sound if repaired else faulty, **options)


def loss(faulty, sound, units=10, **options):
    """Return a function that makes a network with one of these losses."""
    return lambda repaired: ending(units, loss=sound if repaired else faulty, **options)


def after(layer, **options):
    """Return a function that makes a network with a layer too many at its end."""
    return lambda repaired: ending(after=[] if repaired else [layer()], **options)


# Losses that have no value.


def likelihood(repaired):
    """Take the logarithm of what a ReLU gives, in a loss of one's own."""

    def of_counts(y, rate):
        return ops.mean(rate - y * ops.log(ops.maximum(rate, 1e-3) if repaired else rate))

    return ending(1, "softplus" if repaired else "relu", COUNTS, of_counts)


def logarithms(y_true, y_pred):
    """A crossentropy without a guard, in which what is there counts twice."""
    return -ops.mean(2 * y_true * ops.log(y_pred) + (1 - y_true) * ops.log(1 - y_pred), axis=-1)


def crossentropy(y_true, y_pred):
    """A crossentropy without a guard, for rows of labels."""
    return -ops.sum(y_true * ops.log(y_pred), axis=-1)


def log_likelihood(y_true, y_pred):
    """The negative logarithm of the probability of the label, without a guard."""
    return -ops.log(ops.take_along_axis(y_pred, ops.cast(y_true, "int32"), axis=-1))


def root(repaired):
    """Take the root of squared differences, of which one is 0, where it has no slope."""
    least = 1e-7 if repaired else 0.0

    def distance(y_true, y_pred):
        return ops.sqrt(ops.sum((y_true - y_pred) ** 2, axis=-1) + least)

    model, x, _, _ = ending(1, kernel_initializer="zeros")
    return model, x, np.where(np.arange(64)[:, None] == 3, 0, X[:, :1]), distance


class Penalty(layers.Layer):
    """Add minus the mean logarithm of what it gets to the loss."""

    def __init__(self, least):
        super().__init__()
        self.least = least

    def call(self, inputs):
        self.add_loss(-0.01 * ops.mean(ops.log(ops.maximum(inputs, self.least))))
        return inputs


def penalty(repaired):
    return mlp(after=[lambda: Penalty(1e-3 if repaired else 0.0)], head=layers.Dense(1)), *regression()[1:]


def ranks(y_true, y_pred):
    """Compare each right label of an example with each wrong one (Zhang and Zhou, 2006)."""
    right, wrong = y_true[:, :, None], 1 - y_true[:, None, :]
    sums = ops.sum(right * wrong * ops.exp(y_pred[:, None, :] - y_pred[:, :, None]), axis=(1, 2))
    return ops.mean(sums / (ops.sum(y_true, axis=1) * ops.sum(1 - y_true, axis=1)))


def all_labels(repaired):
    """Return a loss of pairs of labels, and an example that has all of them."""
    y = SEVERAL[:, :4].copy()
    y[:, 0], y[:, 1] = 1, 0
    if not repaired:
        y[3] = 1
    return ending(4, "sigmoid", y, ranks)


# Outputs that are not what the loss takes them for.


TAGS = SERIES[:, :, :5].argmax(axis=-1)


def tagged(axis, y=TAGS, loss=SPARSE, units=5):
    """Return a network that gives each of 12 steps a tag, by a softmax over an axis."""
    stack = [layers.Dense(units, name="out"), layers.Lambda(lambda x: ops.softmax(x, axis=axis))]
    return keras.Sequential([keras.Input((12, 8)), layers.Dense(16, "relu"), *stack]), SERIES, y, loss


def channels_first(repaired):
    """Return classes along axis 1, of which the loss has to know."""
    y = np.eye(5, dtype="float32")[TAGS].swapaxes(1, 2)
    loss = keras.losses.CategoricalCrossentropy(axis=1) if repaired else "categorical_crossentropy"
    stack = [layers.Dense(5, name="out"), layers.Permute((2, 1)), layers.Softmax(axis=1)]
    return keras.Sequential([keras.Input((12, 8)), layers.Dense(16, "relu"), *stack]), SERIES, y, loss


def half_square(y_true, y_pred):
    return ops.mean((y_true - y_pred) ** 2) / 2


FAULTY = {
    # Losses that have no value, or no slope.
    "Poisson's loss, no activation": Case(
        activation(None, "softplus", 1, y=COUNTS, loss="poisson"), ["undefined loss"], 'activation="softplus" in out'
    ),
    "logarithms of a ReLU": Case(likelihood, ["undefined loss"]),
    "logarithms of the outputs of no activation": Case(
        activation(None, "softmax", y=ONE_HOT, loss=crossentropy),
        ["undefined loss"],
        'use loss=keras.losses.CategoricalCrossentropy(from_logits=True), or set activation="softmax" in out',
    ),
    "logarithm of the output of a label, of a ReLU": Case(
        activation("relu", "softmax", y=LABELS[:, None], loss=log_likelihood),
        ["undefined loss"],
        'activation="softmax" in out',
    ),
    "logarithms of tanh": Case(
        activation("tanh", "sigmoid", 4, y=SEVERAL[:, :4], loss=logarithms),
        ["undefined loss"],
        "maximum",
    ),
    "root of 0": Case(root, ["undefined loss"], "maximum"),
    "penalty with the logarithm of 0": Case(penalty, ["undefined loss"]),
    "labels in pairs, one example with all": Case(all_labels, ["undefined loss"]),
    # One class.
    "softmax of one unit": Case(
        activation("softmax", "sigmoid", 1, y=ZERO_ONE, loss=BINARY),
        ["single class"],
        'for two classes, set activation="sigmoid" in out; for numbers, set activation=None and loss="mse"',
    ),
    "softmax of one unit, labels -1 and 1": Case(
        either(
            {"units": 1, "activation": "softmax", "y": 2 * ZERO_ONE - 1, "loss": BINARY},
            {"units": 1, "activation": "sigmoid", "y": ZERO_ONE, "loss": BINARY},
        ),
        ["single class"],
        "with labels 0 and 1: y = (y + 1) / 2",
    ),
    "one unit for class numbers": Case(
        either(
            {"units": 1, "activation": "sigmoid", "y": ZERO_ONE[:, 0], "loss": SPARSE},
            {"units": 1, "activation": "sigmoid", "y": ZERO_ONE[:, 0], "loss": BINARY},
        ),
        ["single class"],
    ),
    # Logits and probabilities.
    "logits of ten classes, taken for probabilities": Case(
        loss(SPARSE, CLASSES), ["no probabilities"], "SparseCategoricalCrossentropy(from_logits=True)"
    ),
    "ReLU before binary crossentropy": Case(
        activation("relu", "sigmoid", 1, y=ZERO_ONE, loss=BINARY), ["no probabilities"], 'activation="sigmoid" in out'
    ),
    "sigmoids of ten classes": Case(
        activation("sigmoid", "softmax", loss=SPARSE), ["no probabilities"], 'activation="softmax" in out'
    ),
    "divergence, no activation": Case(
        activation(None, "softmax", y=SOFT, loss="kl_divergence"), ["no probabilities"], 'activation="softmax" in out'
    ),
    "softmax, taken for logits": Case(
        loss(CLASSES, SPARSE, activation="softmax"),
        ["no probabilities"],
        "loss=keras.losses.SparseCategoricalCrossentropy()",
    ),
    "sigmoid, taken for logits": Case(
        loss(LOGITS, BINARY, 1, activation="sigmoid", y=ZERO_ONE),
        ["no probabilities"],
        "loss=keras.losses.BinaryCrossentropy()",
    ),
    "softmax over the examples": Case(
        lambda repaired: ending(10, loss=SPARSE, after=[layers.Softmax(axis=-1 if repaired else 0)]),
        ["no probabilities"],
        "apply a softmax to the classes, with axis=-1, after out",
    ),
    "softmax over the examples, as an activation": Case(
        activation(lambda x: ops.softmax(x, axis=0), "sigmoid", 1, y=ZERO_ONE, loss=BINARY),
        ["no probabilities"],
        'activation="sigmoid" in out',
    ),
    "softmax over the examples, taken for logits": Case(
        lambda repaired: ending(10, after=[] if repaired else [layers.Softmax(axis=0)]),
        ["no probabilities"],
        "remove the softmax after the weights of out",
    ),
    "softmax over the steps": Case(lambda repaired: tagged(-1 if repaired else 1), ["no probabilities"], "axis=-1"),
    "softmax over steps and classes": Case(
        lambda repaired: tagged(-1 if repaired else (1, 2)), ["no probabilities"], "axis=-1"
    ),
    "classes along another axis than the loss": Case(
        channels_first, ["no probabilities"], "loss=keras.losses.CategoricalCrossentropy(axis=1)"
    ),
    "softmax, then dropout": Case(
        after(lambda: layers.Dropout(0.2), units=10, activation="softmax", loss=SPARSE), ["dropped output"]
    ),
    # Targets that no weights reach.
    "sigmoid, targets of deviation 1": Case(
        activation("sigmoid", None, 32, y=X, loss="mse"), ["unreachable targets"], "activation=None in out"
    ),
    "ReLU, targets of deviation 1": Case(
        activation("relu", None, 32, y=X, loss="mae"), ["unreachable targets"], "activation=None in out"
    ),
    "half of the squared error, sigmoid": Case(
        activation("sigmoid", None, 1, y=2 + X[:, :1], loss=half_square), ["unreachable targets"]
    ),
    "tanh, then ReLU": Case(
        lambda repaired: ending(
            1, y=COUNTS, loss="mse", after=[*[layers.Activation("tanh", name="first")] * (not repaired), layers.ReLU()]
        ),
        ["unreachable targets"],
        "activation=None in first",
    ),
    "ReLU, then sigmoid": Case(
        lambda repaired: ending(
            1,
            y=ZERO_ONE,
            loss=BINARY,
            after=[*[layers.ReLU(name="first")] * (not repaired), layers.Activation("sigmoid")],
        ),
        ["unreachable targets"],
        "remove first, which applies relu",
    ),
    "softmax twice": Case(
        lambda repaired: ending(10, None if repaired else "softmax", loss=SPARSE, after=[layers.Softmax()]),
        ["unreachable targets"],
    ),
    "tanh before a sigmoid in the loss": Case(
        activation("tanh", None, 1, y=ZERO_ONE, loss=LOGITS), ["unreachable targets"], "activation=None in out"
    ),
    "softmax for several labels": Case(
        activation("softmax", "sigmoid", y=SEVERAL, loss=BINARY), ["unreachable targets"], 'activation="sigmoid" in out'
    ),
    "softmax for several labels, squared error": Case(
        activation("softmax", "sigmoid", y=SEVERAL, loss="mse"), ["unreachable targets"]
    ),
    "normalization without weights, then two sigmoids": Case(
        lambda repaired: ending(
            2,
            y=SEVERAL[:, :2],
            loss=BINARY,
            after=[*[LAYER(center=False, scale=False)] * (not repaired), layers.Activation("sigmoid")],
        ),
        ["unreachable targets"],
    ),
}
