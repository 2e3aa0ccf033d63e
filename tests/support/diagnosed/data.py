"""Faults of inputs, targets and labels."""

import keras
import numpy as np
from keras import layers, ops

from diagnosed.networks import (
    BINARY,
    CLASSES,
    LABELS,
    ONE_HOT,
    ROWS,
    SERIES,
    SEVERAL,
    SPARSE,
    ZERO_ONE,
    Case,
    X,
    classes,
    cnn,
    dense,
    drawn,
    ending,
    forecast,
    mlp,
    regression,
    without_targets,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3)).astype("float32")
# A second input: numbers of words.
WORDS = np.random.default_rng(3).integers(0, 100, (64, 4)).astype("int32")


# Inputs.


def with_inputs(faulty, sound=X):
    """Return a function that makes a network with these inputs."""
    return lambda repaired: dense(x=np.asarray(sound if repaired else faulty, "float32"))


def two_inputs(other):
    """Return a network of two inputs, each with a kernel, of which `other` is the second."""
    inputs = [keras.Input((32,)), keras.Input((32,))]
    hidden = layers.Add()([layers.Dense(32, "relu")(one) for one in inputs])
    return keras.Model(inputs, layers.Dense(10)(hidden)), [X, other], LABELS, CLASSES


def words_beside(rows, words):
    """Return a network of numbers and an embedding of words."""
    inputs, indices = keras.Input((32,)), keras.Input((4,), dtype="int32")
    hidden = layers.Flatten()(layers.Embedding(rows, 8)(indices))
    hidden = layers.Dense(32, "relu")(layers.Concatenate()([inputs, hidden]))
    return keras.Model([inputs, indices], layers.Dense(10)(hidden)), [X, words], LABELS, CLASSES


def convolution(*shape):
    """Return images whose axes may stand in the wrong order, and a convolution."""
    stack = [keras.Input(shape), layers.Conv2D(8, 3, padding="same", activation="relu"), layers.Flatten()]
    return classes(keras.Sequential([*stack, layers.Dense(10)]), drawn(64, *shape))


def gaps(repaired):
    """Take pairs from a series of which a number is missing."""
    series = np.where(np.arange(65)[:, None] == 20, 0 if repaired else np.nan, drawn(65, 32))
    return mlp(head=layers.Dense(32)), series[:-1], series[1:], "mse"


# Targets.


def chosen(y_true, y_pred):
    """The squared error of the action that was taken, which stands behind its reward."""
    taken = ops.one_hot(ops.cast(y_true[:, 1], "int32"), 4)
    return (ops.sum(taken * y_pred, axis=-1) - y_true[:, 0]) ** 2


def rewarded():
    rewards = np.stack([X[:, 0], LABELS % 4], axis=1).astype("float32")
    return ending(4, y=rewards, loss=chosen)


# Labels, and the loss that takes them.


def labels(faulty, sound, units=10, activation="softmax", loss=SPARSE, repaired=()):
    """Return a function that makes a network with one of these targets, and with these arguments once repaired."""

    def build(is_repaired):
        options = {"units": units, "activation": activation, "loss": loss}
        if is_repaired:
            options.update(repaired)
        return ending(y=sound if is_repaired else faulty, **options)

    return build


def binary_labels(faulty, sound=ZERO_ONE, units=1):
    return labels(faulty, sound, units, "sigmoid", BINARY)


def own_binary(y_true, y_pred):
    y_true, y_pred = ops.cast(y_true, y_pred.dtype), ops.clip(y_pred, 1e-7, 1 - 1e-7)
    return -ops.mean(y_true * ops.log(y_pred) + (1 - y_true) * ops.log(1 - y_pred), axis=-1)


def softmax_loss(labels, logits):
    """A crossentropy that takes class numbers beyond the outputs for rows of zeros."""
    rows = ops.cast(ops.equal(ops.cast(labels, "int32"), ops.arange(logits.shape[-1])), logits.dtype)
    return ops.mean(ops.logsumexp(logits, axis=-1) - ops.sum(rows * logits, axis=-1))


def sequence(units, activation, y, loss):
    """Return a function that makes a convolution over series, whose positions the faulty network keeps."""

    def build(repaired):
        stack = [layers.Conv1D(8, 5, activation="relu", name="conv"), *[layers.Flatten()] * repaired]
        model = keras.Sequential([keras.Input((12, 8)), *stack, layers.Dense(units, activation, name="out")])
        return model, drawn(64, 12, 8), y, loss

    return build


def both_directions(repaired):
    memory = layers.Bidirectional(layers.LSTM(4, return_sequences=not repaired), name="both")
    model = keras.Sequential([keras.Input((12, 8)), memory, layers.Dense(1, name="out")])
    return model, SERIES, SERIES[:, -1, :1], "mse"


FEATURE = np.arange(32)
SIGNS = 2 * ZERO_ONE - 1
SINGLE = X[:, 0].copy()

FAULTY = {
    # Inputs that are not finite, or the same.
    "an input that is NaN": Case(with_inputs(np.where(FEATURE == 3, np.nan, X)), ["not finite"], "numpy.nan_to_num(x)"),
    "inputs and targets that are NaN": Case(
        gaps, ["not finite"], "leave out the examples whose targets are not finite"
    ),
    "inputs that are all 0": Case(with_inputs(0 * X), ["equal inputs"]),
    "the same inputs for all examples": Case(with_inputs(np.repeat(X[:1], 64, axis=0)), ["equal inputs"]),
    "one of two inputs is zeros": Case(
        lambda repaired: two_inputs(X[::-1].copy() if repaired else 0 * X), ["equal inputs"]
    ),
    "words that are all 0": Case(
        lambda repaired: words_beside(100, WORDS if repaired else 0 * WORDS), ["equal inputs"]
    ),
    # Inputs of another scale or form.
    "raw pixels": Case(
        lambda repaired: without_targets(cnn(PIXELS / 127.5 - 1 if repaired else PIXELS)),
        ["unscaled inputs", "saturated"],
        "scale the pixels to [-1, 1]: keras.layers.Rescaling(1 / 127.5, offset=-1)",
    ),
    "inputs of mean 74": Case(with_inputs(74 + 0.03 * X, X), ["unscaled inputs"]),
    "one column of 32 times 30": Case(
        with_inputs(X * np.where(FEATURE == 3, 30, 1)),
        ["unscaled inputs"],
        "keras.layers.Normalization() adapted to the data",
    ),
    "inputs of deviation 0.005 about -1": Case(with_inputs(0.005 * X - 1, 0.3 * X - 1), ["unscaled inputs"]),
    "inputs of 1e-6": Case(with_inputs(1e-6 * X), ["unscaled inputs", "vanishing"]),
    "series of deviation 0.005": Case(
        lambda repaired: forecast(1.0 if repaired else 0.005), ["unscaled inputs", "vanishing"]
    ),
    "images of (1, 16, 16)": Case(
        lambda repaired: convolution(*((16, 16, 1) if repaired else (1, 16, 16))),
        ["exchanged axes"],
        "keras.ops.moveaxis(x, 1, -1)",
    ),
    # Numbers as targets.
    "a target that is NaN": Case(
        labels(np.where(np.arange(64) == 3, np.nan, SINGLE), SINGLE, 1, None, "mse"),
        ["not finite"],
        "leave out the examples with such targets",
    ),
    "regression, targets of deviation 1e4": Case(
        lambda repaired: regression(factor=1.0 if repaired else 1e4),
        ["unscaled targets"],
        "standardize the targets: y = (y - y.mean(axis=0)) / y.std(axis=0)",
    ),
    "regression, targets of deviation 0.001": Case(
        labels(0.001 * ZERO_ONE * X[:, :1], X[:, :1], 1, None, "mse"), ["unscaled targets"]
    ),
    # Class numbers.
    "class numbers from 1": Case(labels(LABELS + 1, LABELS), ["unsuitable labels"], "y = y - 1"),
    "class numbers -1 and 1": Case(
        labels(SIGNS[:, 0], ZERO_ONE[:, 0], units=2), ["unsuitable labels"], "y = (y + 1) // 2"
    ),
    "class numbers that were divided by 255": Case(
        labels(LABELS / 255, LABELS), ["unsuitable labels"], "y = (y * 255).round()"
    ),
    "class numbers 0 to 9 for five units": Case(
        labels(LABELS, LABELS, units=5, repaired={"units": 10}), ["unsuitable labels"], "Dense of 10 units"
    ),
    "class numbers 0 to 9 for five units, own loss": Case(
        labels(LABELS[:, None], LABELS[:, None], 5, None, softmax_loss, repaired={"units": 10}), ["unsuitable labels"]
    ),
    "class numbers of which -1 is left out": Case(
        labels(
            np.where(LABELS == 0, -1, LABELS),
            np.where(LABELS == 0, -1, LABELS),
            repaired={"loss": keras.losses.SparseCategoricalCrossentropy(ignore_class=-1)},
        ),
        ["unsuitable labels"],
        "ignore_class=-1",
    ),
    "numbers far from 0 as classes": Case(
        labels(abs(SINGLE) + 4, SINGLE, repaired={"units": 1, "activation": None, "loss": "mse"}),
        ["unsuitable labels"],
        'loss="mse"',
    ),
    # Rows of labels.
    "several labels, softmax": Case(
        labels(
            SEVERAL,
            SEVERAL,
            loss=ROWS,
            repaired={"activation": "sigmoid", "loss": BINARY},
        ),
        ["unsuitable labels"],
        'activation="sigmoid" in out and loss="binary_crossentropy"',
    ),
    "several labels, logits": Case(
        labels(
            SEVERAL,
            SEVERAL,
            activation=None,
            loss=keras.losses.CategoricalCrossentropy(from_logits=True),
            repaired={"loss": keras.losses.BinaryCrossentropy(from_logits=True)},
        ),
        ["unsuitable labels"],
        "BinaryCrossentropy(from_logits=True)",
    ),
    "numbers as rows of labels": Case(
        labels(X[:, :10], X[:, :10], activation=None, loss=ROWS, repaired={"loss": "mse"}),
        ["unsuitable labels"],
        'for numbers, set loss="mse"',
    ),
    "rows of labels without a class": Case(
        labels(ONE_HOT * (LABELS[:, None] < 5), ONE_HOT, loss=ROWS),
        ["unsuitable labels"],
        "labels of all classes",
    ),
    # Labels of two classes.
    "labels -1 and 1": Case(binary_labels(SIGNS), ["unsuitable labels"], "y = (y + 1) / 2"),
    "labels 1 and 2": Case(binary_labels(ZERO_ONE + 1), ["unsuitable labels"], "y = y - 1"),
    "masks of 0 and 255": Case(binary_labels(255 * SEVERAL, SEVERAL, 10), ["unsuitable labels"], "y = y / 255"),
    "labels that were standardized": Case(
        binary_labels((ZERO_ONE - ZERO_ONE.mean()) / ZERO_ONE.std()), ["unsuitable labels"], "y = (y > y.mean())"
    ),
    "numbers for a binary loss": Case(
        labels(X[:, :1], X[:, :1], 1, "sigmoid", BINARY, repaired={"activation": None, "loss": "mse"}),
        ["unsuitable labels"],
        'activation=None in out and loss="mse"',
    ),
    "class numbers for a binary loss of one's own": Case(
        labels(
            LABELS[:, None],
            LABELS,
            1,
            "sigmoid",
            own_binary,
            repaired={"units": 10, "activation": "softmax", "loss": SPARSE},
        ),
        ["unsuitable labels"],
        'for class numbers, use 10 units and activation="softmax" in out',
    ),
    # Labels of another shape.
    "one label for four sigmoids": Case(
        labels(ZERO_ONE, ZERO_ONE, 4, "sigmoid", BINARY, repaired={"units": 1}),
        ["unsuitable labels"],
        "a Dense of one unit for out",
    ),
    "no Flatten before one unit": Case(
        sequence(1, "sigmoid", ZERO_ONE[:, 0], BINARY),
        ["unsuitable labels"],
        "keras.layers.Flatten() before out, or keras.layers.GlobalAveragePooling1D()",
    ),
    "LSTM, all steps for one target": Case(
        lambda repaired: forecast(return_sequences=not repaired),
        ["unsuitable labels"],
        "set return_sequences=False in lstm, or add keras.layers.Flatten() before out",
    ),
    "LSTM in both directions, all steps for one target": Case(
        both_directions, ["unsuitable labels"], "return_sequences=False in the layer in both"
    ),
    "one unit for three targets": Case(
        labels(X[:, :3], X[:, :3], 1, None, "mse", repaired={"units": 3}),
        ["unsuitable labels"],
        "a Dense of 3 units for out",
    ),
    # Targets that a loss has no value for.
    "squared logarithmic error of negative targets": Case(
        labels(X[:, :1], abs(X[:, :1]), 1, "softplus", "mean_squared_logarithmic_error"),
        ["unsuitable labels"],
        'for such numbers, set loss="mse"',
    ),
}
