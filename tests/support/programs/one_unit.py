"""Softmax of one unit, which is always 1."""

import numpy as np
from keras import layers
from keras.layers import Activation, Conv1D, Conv2D, Dense, Dropout, Flatten, MaxPooling1D, MaxPooling2D
from keras.optimizers import SGD

from programs.networks import compiled, draws, exclusive_or, lenet, normal, photographs, standardized, uniform
from programs.program import NEURALINT, OVERFLOW, RAW, program


@program(
    OVERFLOW,
    "33969059",
    fault="softmax of one unit for a number; inputs up to 10,000, targets up to 35,000",
    repair="no activation",
    expected={"single class": "no activation|activation=None|linear", **RAW},
)
def _(repaired):
    x = draws().uniform(0, 10_000, (256, 3))
    y = x @ np.array([[2.0], [1.0], [0.5]]) + 2.2
    if repaired:
        stack = Dense(3, "tanh"), Dense(2, "tanh"), Dense(1)
        return compiled(standardized(x), standardized(y), *stack, loss="mse", optimizer=SGD(0.1))
    stack = Dense(3, "tanh"), Dropout(0.5), Dense(2, "tanh"), Dropout(0.5), Dense(1, "softmax")
    for layer in stack[::2]:
        layer.kernel_initializer = uniform()
    return compiled(x, y, *stack, loss="mse", optimizer=SGD(0.1, momentum=0.9, nesterov=True))


@program(
    OVERFLOW,
    "34311586",
    fault="softmax of one unit",
    repair="sigmoid",
    expected={"single class": "sigmoid"},
)
def _(repaired):
    if repaired:
        stack = Dense(2, "sigmoid"), Dense(3, "sigmoid"), Dense(1, "sigmoid")
        return compiled(*exclusive_or(), *stack, loss="mse", optimizer=SGD(0.1, momentum=0.9, nesterov=True))
    stack = [
        Dense(units, activation, kernel_initializer=uniform())
        for units, activation in ((2, "sigmoid"), (3, "sigmoid"), (1, "softmax"))
    ]
    return compiled(*exclusive_or(), *stack, loss="mse", optimizer=SGD(0.001, momentum=0.9, nesterov=True))


@program(
    OVERFLOW,
    "31880720",
    fault="softmax of one unit",
    repair="sigmoid",
    expected={"single class": "sigmoid"},
)
def _(repaired):
    y = np.arange(200)[:, None] % 2
    x = np.ones((200, 128)) * y
    stack = [Dense(50, "relu"), Activation("relu"), Dropout(0.2), Dense(50), Activation("relu"), Dropout(0.2)]
    stack += [Dense(1), Activation("sigmoid" if repaired else "softmax")]
    return compiled(x, y, *stack, loss="binary_crossentropy", optimizer="rmsprop")


@program(
    OVERFLOW,
    "45337371",
    fault="softmax of one unit",
    repair="sigmoid",
    expected={"single class": "sigmoid"},
)
def _(repaired):
    x = draws().random((200, 5))
    y = x.mean(axis=1, keepdims=True)
    stack = Dense(60, "relu"), Dense(50, "relu"), Dense(1, "sigmoid" if repaired else "softmax")
    return compiled(x, y, *stack, loss="binary_crossentropy")


@program(
    OVERFLOW,
    "45442843",
    fault="softmax of one unit; inputs of 20,000",
    repair="sigmoid, binary crossentropy",
    expected={"single class": "sigmoid", **RAW},
)
def _(repaired):
    x = draws().uniform(15_000, 25_000, (200, 1))
    y = (x < 20_000).astype("float32")
    if repaired:
        stack = Dense(4, "sigmoid"), Dense(1, "sigmoid")
        return compiled(standardized(x), y, *stack, loss="binary_crossentropy", optimizer="rmsprop")
    stack = Dense(1, "sigmoid"), Dense(1, "softmax", kernel_initializer=normal())
    return compiled(x, y, *stack, loss="mae", optimizer="rmsprop")


@program(
    NEURALINT,
    "45378493",
    fault="softmax of one unit",
    repair="sigmoid",
    expected={"single class": "sigmoid"},
)
def _(repaired):
    random = draws()
    y = np.arange(100)[:, None] % 2
    x = random.normal(size=(100, 10, 4)) + y[:, None]
    stack = []
    for filters in (16, 8):
        stack += [Conv1D(filters, 4, padding="same"), layers.BatchNormalization(), layers.LeakyReLU(), Dropout(0.2)]
    stack += [Flatten(), Dense(64), layers.BatchNormalization(), layers.LeakyReLU()]
    stack += [Dense(1), Activation("sigmoid" if repaired else "softmax")]
    return compiled(x, y, *stack, loss="binary_crossentropy")


@program(
    NEURALINT,
    "51749207",
    fault="softmax of one unit",
    repair="sigmoid",
    expected={"single class": "sigmoid"},
)
def _(repaired):
    random = draws()
    y = np.arange(64)[:, None] % 2
    x = random.normal(size=(64, 120, 1)) + 0.5 * y[:, None]
    stack = [Conv1D(20, 4, activation="relu", padding="same"), MaxPooling1D(2), Dropout(0.3), Flatten()]
    last = Dense(50, "relu"), Dense(1, "sigmoid" if repaired else "softmax")
    return compiled(x, y, *stack, *last, loss="binary_crossentropy", optimizer="nadam")


@program(
    NEURALINT,
    "58844149",
    fault="softmax of one unit",
    repair="sigmoid",
    expected={"single class": "sigmoid"},
)
def _(repaired):
    x, labels = photographs(32, classes=2)
    stack = []
    for filters, size in ((8, 11), (16, 3), (16, 3)):
        stack += [Conv2D(filters, size, padding="same", activation="relu"), MaxPooling2D()]
    stack += [Flatten(), Dense(30, "relu"), Dropout(0.2), Dense(1), Activation("sigmoid" if repaired else "softmax")]
    return compiled(x.mean(axis=-1, keepdims=True), labels[:, None], *stack, loss="binary_crossentropy")


@program(
    NEURALINT,
    "LeNet, wrong last activation",
    fault="softmax of one unit",
    repair="sigmoid",
    expected={"single class": "sigmoid"},
)
def _(repaired):
    return lenet(head=Dense(1, "sigmoid" if repaired else "softmax"))
