"""Losses that do not meet the last layer or the labels."""

import keras
import numpy as np
from keras.initializers import Constant
from keras.layers import Conv1D, Conv2D, Dense, Dropout, Flatten, MaxPooling1D, MaxPooling2D
from keras.optimizers import SGD, Adam

from programs.networks import (
    blobs,
    compiled,
    digits,
    draws,
    irises,
    lenet,
    normal,
    one_hot,
    photographs,
    sound_study,
    standardized,
    user_study,
)
from programs.program import AUTOTRAINER, DEEPFD, NEURALINT, OVERFLOW, RAW, UMLAUT, program


@program(
    OVERFLOW,
    "48251943",
    fault="ReLU at the output, targets from -1 to 2.7",
    repair="tanh, or no activation",
    expected={"unreachable targets": "activation=None|linear|no activation"},
)
def _(repaired):
    random = draws()
    x = random.normal(0.65, 0.9, (16, 2))
    y = 0.9 + 0.9 * standardized(x @ [[0.6], [-0.7]])
    stack = Dense(4, "relu"), Dense(1, None if repaired else "relu")
    return compiled(x, y, *stack, loss="mse", optimizer="sgd")


@program(
    OVERFLOW,
    "38648195",
    fault="softmax and squared error for examples of several classes",
    repair="sigmoid, binary crossentropy",
    expected={"unsuitable labels|unreachable targets": "sigmoid"},
)
def _(repaired):
    random = draws()
    labels = (random.random((200, 3)) < 0.5).astype("float32")
    x = random.poisson(1 + labels @ random.uniform(0, 2, (3, 20)))
    last, loss = ("sigmoid", "binary_crossentropy") if repaired else ("softmax", "mse")
    x = standardized(x) if repaired else x
    stack = Dense(20, "relu"), Dropout(0.5), Dense(20, "relu"), Dropout(0.5), Dense(3, last)
    return compiled(x, labels, *stack, loss=loss, optimizer="sgd")


@program(
    OVERFLOW,
    "55328966",
    fault="pixels up to 255, sigmoids for classes that exclude each other",
    repair="division by 255, softmax",
    expected={"no probabilities": "softmax", **RAW},
)
def _(repaired):
    x, labels = digits()
    x = x.reshape(len(x), 784) * (1 if repaired else 255)
    stack = Dense(784), Dense(50, "relu"), Dense(10, "softmax" if repaired else "sigmoid")
    rate = 0.01 if repaired else 0.0001  # which is as small for scaled inputs as it was right for others
    return compiled(x, one_hot(labels), *stack, loss="categorical_crossentropy", optimizer=SGD(rate))


def _irises(repaired):
    x, labels = irises()
    if repaired:
        stack = Dense(16, "relu"), Dense(32, "relu"), Dense(3, "softmax")
        return compiled(standardized(x), one_hot(labels), *stack, loss="categorical_crossentropy")
    stack = Dense(4, "relu", kernel_initializer=normal()), Dense(3, "sigmoid", kernel_initializer=normal())
    return compiled(x, one_hot(labels), *stack, loss="categorical_crossentropy")


for number in ("59278771", "51930566"):
    program(
        OVERFLOW,
        number,
        fault="sigmoids for classes that exclude each other",
        repair="softmax",
        expected={"no probabilities": "softmax"},
    )(_irises)


@program(
    OVERFLOW,
    "48221692",
    fault="sigmoid at the output, targets from 3 to 103",
    repair="no activation",
    expected={"unreachable targets": "activation=None|linear|no activation"},
)
def _(repaired):
    x = np.arange(-10, 10, 0.1)[:, None]
    y = 3 + x**2
    if repaired:
        stack = Dense(5, "sigmoid"), Dense(1)
        return compiled(standardized(x), standardized(y), *stack, loss="mse", optimizer="sgd")
    return compiled(x, y, Dense(5, "sigmoid"), Dense(1, "sigmoid"), loss="mse", optimizer="sgd")


@program(
    OVERFLOW,
    "50079585",
    fault="one sigmoid and binary crossentropy for three classes",
    repair="softmax of three units, categorical crossentropy",
    expected={"unsuitable labels": "Dense.3|softmax"},
)
def _(repaired):
    x, labels = photographs(48, classes=3)
    stack = [Conv2D(8, 3, activation="relu"), MaxPooling2D(), Conv2D(8, 3, activation="relu"), MaxPooling2D()]
    stack += [Conv2D(16, 3, activation="relu"), MaxPooling2D(), Flatten(), Dense(64, "relu"), Dropout(0.5)]
    if repaired:
        stack += [Dense(3, "softmax")]
        return compiled(x, one_hot(labels), *stack, loss="categorical_crossentropy", optimizer="rmsprop")
    stack += [Dense(1, "sigmoid")]
    return compiled(x, labels[:, None], *stack, loss="binary_crossentropy", optimizer="rmsprop")


@program(
    OVERFLOW,
    "44066044",
    fault="ReLU before binary crossentropy; inputs up to three billion",
    repair="scaled inputs, sigmoid",
    expected={"no probabilities": "sigmoid", **RAW},
)
def _(repaired):
    random = draws()
    y = np.arange(42) % 2
    columns = [
        3_232_235_773 + random.integers(0, 6, 42),
        np.full(42, 3_232_235_779),
        np.full(42, 6),
        np.full(42, 128),
        random.integers(8_192, 525_568, 42),
        np.where(y, 502, 56_783),
        12 * random.integers(0, 2, 42),
        random.integers(0, 65_280, 42),
        6 * random.integers(0, 2, 42),
        np.zeros(42),
        random.integers(0, 207, 42),
    ]
    x = np.stack(columns, axis=1).astype(float)
    stack = [
        Dense(units, activation, kernel_initializer="glorot_uniform" if repaired else normal())
        for units, activation in ((12, "relu"), (12, "relu"), (1, "sigmoid" if repaired else "relu"))
    ]
    return compiled(standardized(x) if repaired else x, y[:, None], *stack, loss="binary_crossentropy")


@program(
    OVERFLOW,
    "47352366",
    fault="ReLU before categorical crossentropy",
    repair="softmax",
    expected={"no probabilities": "softmax"},
)
def _(repaired):
    x, labels = digits(64)
    stack = []
    for filters in (8, 16):
        stack += [Conv2D(filters, 5, padding="same", activation="relu", bias_initializer=Constant(0.1))]
        stack += [MaxPooling2D(padding="same")]
    stack += [Flatten(), Dense(128, "relu", bias_initializer=Constant(0.1)), Dropout(0.5)]
    stack += [Dense(10, "softmax" if repaired else "relu")]
    return compiled(x, one_hot(labels), *stack, loss="categorical_crossentropy")


@program(
    DEEPFD,
    "46642627",
    fault="binary crossentropy for targets from 0 to 100",
    repair="squared error, scaled targets",
    expected={"unsuitable labels": "mse|squared"},
)
def _(repaired):
    x = np.linspace(0, 1, 256)[:, None]
    y = 100 * x + 0.01
    if repaired:
        stack = Dense(50, "relu"), Dense(50, "relu"), Dense(1)
        return compiled(standardized(x), standardized(y), *stack, loss="mse")
    stack = Dense(50, "relu"), Dense(50, "relu"), Dense(1, "sigmoid")
    return compiled(x, y, *stack, loss="binary_crossentropy", optimizer=SGD(0.01))


@program(
    DEEPFD,
    "56380303",
    fault="softmax and categorical crossentropy for 20 bits",
    repair="Adam with a rate of 0.0001",
    expected={"unsuitable labels": "sigmoid"},
)
def _(repaired):
    x = draws().integers(0, 2, (256, 20))
    remainder = (x @ 2 ** np.arange(20)) % 7
    y = (remainder[:, None] >> np.arange(20)) % 2
    stack = [Dense(20, "relu"), Dense(20, "relu")]
    if repaired:
        last = Dense(20, "sigmoid")
        return compiled(x, y, *stack, last, loss="binary_crossentropy", optimizer=Adam(0.0001))
    return compiled(x, y, *stack, Dense(20, "softmax"), loss="categorical_crossentropy", optimizer="sgd")


@program(
    AUTOTRAINER,
    "blob, activation demo",
    fault="ReLU before categorical crossentropy",
    repair="softmax",
    expected={"no probabilities": "softmax"},
)
def _(repaired):
    x, labels = blobs()
    stack = [Dense(50, "relu", kernel_initializer="he_uniform") for _ in range(4)]
    x = standardized(x) if repaired else x
    last = Dense(3, "softmax" if repaired else "relu")
    return compiled(x, one_hot(labels), *stack, last, loss="categorical_crossentropy")


@program(
    UMLAUT,
    "A",
    fault="pixels up to 255, logits as probabilities, dropout of 0.8",
    repair="division by 255, `from_logits=True`, dropout of 0.2",
    expected={"no probabilities": "from_logits=True", **RAW},
)
def _(repaired):
    if repaired:
        return sound_study()
    return user_study(0.8, "relu", factor=255, loss="sparse_categorical_crossentropy")


@program(
    UMLAUT,
    "demo",
    fault="all faults of both",
    repair="all repairs of both",
    expected={"no probabilities": "from_logits=True", **RAW},
)
def _(repaired):
    if repaired:
        return sound_study()
    options = {"loss": "sparse_categorical_crossentropy", "optimizer": Adam(-1000.0)}
    return user_study(0.8, "linear", factor=255, **options)


def _signal_classes(last, count, loss, repaired):
    random = draws()
    labels = np.arange(56) % count
    x = random.normal(size=(56, 72, 1)) + labels[:, None, None] / count
    stack = [Conv1D(16, 3, activation="relu"), MaxPooling1D(), Conv1D(16, 3, activation="relu"), MaxPooling1D()]
    stack += [*([Flatten()] if repaired else []), Dense(64, "relu"), Dense(count if count > 2 else 1, last)]
    y = one_hot(labels) if count > 2 else labels[:, None]
    return compiled(x, y, *stack, loss=loss)


@program(
    NEURALINT,
    "61030068",
    fault="an output for each step, but one label for each example",
    repair="Flatten",
    expected={"unsuitable labels": "Flatten|Pooling"},
)
def _(repaired):
    return _signal_classes("softmax", 28, "categorical_crossentropy", repaired)


@program(
    NEURALINT,
    "53119432",
    fault="an output for each step, but one label for each example",
    repair="Flatten",
    expected={"unsuitable labels": "Flatten|Pooling"},
)
def _(repaired):
    return _signal_classes("sigmoid", 2, "binary_crossentropy", repaired)


@program(
    NEURALINT,
    "LeNet, missing softmax",
    fault="logits as probabilities",
    repair="softmax",
    expected={"no probabilities": "softmax|from_logits=True"},
)
def _(repaired):
    return lenet(head=Dense(10, "softmax" if repaired else None))


@program(
    NEURALINT,
    "LeNet, missing sigmoid",
    fault="a logit as a probability",
    repair="sigmoid",
    expected={"no probabilities": "sigmoid|from_logits=True"},
)
def _(repaired):
    return lenet(head=Dense(1, "sigmoid" if repaired else None))


@program(
    NEURALINT,
    "LeNet, wrong loss, ten classes",
    fault="no probabilities",
    repair="logits",
    expected={"no probabilities": "from_logits=False|activation=None"},
)
def _(repaired):
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    return lenet(head=Dense(10, None if repaired else "softmax"), loss=loss)


@program(
    NEURALINT,
    "LeNet, wrong loss, two classes",
    fault="a probability as a logit",
    repair="a logit",
    expected={"no probabilities": "from_logits=False|activation=None"},
)
def _(repaired):
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    return lenet(head=Dense(1, None if repaired else "sigmoid"), loss=loss)
