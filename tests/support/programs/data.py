"""Inputs and targets of the wrong size, and labels that are no class numbers."""

import numpy as np
from keras.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from keras.optimizers import SGD

from programs.networks import compiled, digits, draws, normal, one_hot, photographs, standardized, uniform
from programs.program import DEEPFD, GITHUB, OVERFLOW, RAW, program


@program(
    OVERFLOW,
    "39525358",
    fault="inputs from 65 to 70, the codes of letters",
    repair="StandardScaler",
    expected=RAW,
)
def _(repaired):
    random = draws()
    y = np.arange(78) % 2
    x = random.integers(65, 68, (78, 3)) + 3 * y[:, None] * random.integers(0, 2, (78, 3))
    stack = [
        Dense(units, activation, kernel_initializer="glorot_uniform" if repaired else uniform())
        for units, activation in ((12, "relu"), (3, "relu"), (1, "sigmoid"))
    ]
    return compiled(standardized(x) if repaired else x, y[:, None], *stack, loss="binary_crossentropy")


@program(
    OVERFLOW,
    "47724077",
    fault="raw columns of a census: counts up to 99,999 and weights of 200,000",
    repair="SGD; scaled inputs",
    expected=RAW,
)
def _(repaired):
    random = draws()
    y = (random.random(256) < 0.24).astype(int)
    columns = [
        random.integers(17, 90, 256),
        random.integers(12_000, 1_480_000, 256),
        random.integers(1, 17, 256),
        np.where(random.random(256) < 0.08, random.integers(114, 99_999, 256), 0) * (1 + y),
        np.where(random.random(256) < 0.05, random.integers(155, 4_356, 256), 0),
        random.integers(1, 99, 256),
        *random.integers(0, 2, (8, 256)),
    ]
    x = np.stack(columns, axis=1).astype(float)
    stack = Dense(21, "relu"), Dense(2, "softmax")
    x, optimizer = (standardized(x), "sgd") if repaired else (x, "adam")
    return compiled(x, one_hot(y), *stack, loss="categorical_crossentropy", optimizer=optimizer)


@program(
    OVERFLOW,
    "59325381",
    fault="labels divided by 255",
    repair="labels as they are",
    expected={"unsuitable labels": "integer|class numbers|255|labels"},
)
def _(repaired):
    x, labels = digits()
    stack = [Conv2D(16, 3, padding="same"), MaxPooling2D(), Conv2D(8, 3, padding="same"), MaxPooling2D()]
    stack += [Flatten(), Dense(128, "relu"), Dense(10, "softmax")]
    y = labels[:, None] if repaired else labels[:, None] / 255
    return compiled(x, y, *stack, loss="sparse_categorical_crossentropy")


@program(
    OVERFLOW,
    "52800582",
    fault="inputs from -100 to 100, targets up to 100 million",
    repair="both scaled",
    expected={"large first loss|unscaled targets": "standardize|targets", **RAW},
)
def _(repaired):
    x = np.arange(-100, 100, 0.5)[:, None]
    x, y = (standardized(x), standardized(x**4)) if repaired else (x, x**4)
    return compiled(x, y, Dense(50, "sigmoid"), Dense(50, "elu"), Dense(1), loss="mse")


@program(
    OVERFLOW,
    "34673164",
    fault="inputs up to 660,000",
    repair="batch normalization, sigmoid",
    expected=RAW,
)
def _(repaired):
    random = draws()
    sizes = np.array([190e3, 38, 65, 38, 14, 14, 47e3, 55e3, 2.5, 61, 18, 19, 92e3, 1, 1, 0.6])
    y = np.arange(10) % 2
    x = sizes * random.uniform(0.3, 1.7, (10, 16)) * (1 + 0.3 * y[:, None])
    stack = []
    for _ in range(2):
        kernel = "glorot_uniform" if repaired else uniform()
        stack += [Dense(64, "tanh", kernel_initializer=kernel), Dropout(0.5)]
    if repaired:
        stack += [Dense(2, "softmax")]
        return compiled(standardized(x), one_hot(y), *stack, loss="categorical_crossentropy", optimizer=SGD(0.1))
    stack += [Dense(2, "softmax", kernel_initializer=uniform())]
    return compiled(x, one_hot(y), *stack, loss="mse", optimizer=SGD(0.1, momentum=0.9, nesterov=True))


@program(
    OVERFLOW,
    "48594888",
    fault="pixels up to 255",
    repair="division by 255",
    expected=RAW,
)
def _(repaired):
    x, labels = photographs()
    stack = []
    for filters in (16, 32):
        stack += [Conv2D(filters, 3, activation="relu", kernel_initializer="he_normal"), MaxPooling2D()]
    stack += [Flatten(), Dense(128, "relu"), Dropout(0.3), Dense(10, "softmax")]
    x = x if repaired else 255 * x
    return compiled(x, one_hot(labels), *stack, loss="categorical_crossentropy")


@program(
    OVERFLOW,
    "31627380",
    fault="names and tickets as numbers up to 1,300, fares up to 512",
    repair="sigmoid, binary crossentropy",
    expected=RAW,
)
def _(repaired):
    random = draws()
    y = (random.random(200) < 0.38).astype(int)
    columns = [
        random.integers(0, 3, 200),
        random.integers(0, 1_307, 200),
        y,
        random.uniform(0.4, 80, 200),
        random.integers(0, 9, 200),
        random.integers(0, 7, 200),
        random.integers(0, 929, 200),
        random.exponential(32, 200).clip(0, 512),
        random.integers(0, 187, 200),
        random.integers(0, 4, 200),
    ]
    x = np.stack(columns, axis=1).astype(float)
    stack = [Dense(512, "relu"), Dropout(0.5)]
    if repaired:
        return compiled(standardized(x), one_hot(y), *stack, Dense(2, "sigmoid"), loss="binary_crossentropy")
    return compiled(x, one_hot(y), *stack, Dense(2, "softmax"), loss="categorical_crossentropy")


@program(
    OVERFLOW,
    "58609115",
    fault="inputs up to ten million",
    repair="sigmoids, binary crossentropy",
    expected=RAW,
)
def _(repaired):
    random = draws()
    labels = np.arange(276) % 69
    x = np.where(random.random((276, 1)) < 0.7, random.integers(1, 100, (276, 1)), 10_000_000)
    stack = [
        Dense(69, activation, kernel_initializer="glorot_uniform" if repaired else normal())
        for activation in ("relu", "relu", "softmax")
    ]
    x = standardized(x) if repaired else x
    return compiled(x, one_hot(labels), *stack, loss="categorical_crossentropy")


@program(
    GITHUB,
    "kerasma",
    fault="raw measurements up to 846",
    repair="more layers; scaled inputs",
    expected=RAW,
)
def _(repaired):
    random = draws()
    y = (random.random(200) < 0.35).astype(int)
    means = np.array([3.8, 121, 69, 20.5, 80, 32, 0.47, 33])
    deviations = np.array([3.4, 32, 19, 16, 115, 8, 0.33, 12])
    x = np.abs(means + deviations * (random.normal(size=(200, 8)) + 0.5 * y[:, None]))
    widths = (12, 24, 120, 36, 12) if repaired else (12, 8)
    stack = [Dense(units, "relu") for units in widths]
    x = standardized(x) if repaired else x
    return compiled(x, y[:, None], *stack, Dense(1, "sigmoid"), loss="binary_crossentropy")


@program(
    GITHUB,
    "kaggle-melbourne_properties",
    fault="prices of 180,000 as targets of outputs of size 1",
    repair="more layers; scaled targets",
    expected={"large first loss|unscaled targets": "standardize|targets"},
)
def _(repaired):
    random = draws()
    x = random.normal(size=(200, 30))
    y = 181_000 + 79_000 * standardized(x @ random.normal(size=(30, 1)))
    stack = [Dense(20, "tanh", kernel_initializer="glorot_normal") for _ in range(3 if repaired else 2)]
    return compiled(x, standardized(y) if repaired else y, *stack, Dense(1), loss="mae")


@program(
    DEEPFD,
    "41600519",
    fault="raw energies up to 1,000, and -999 for missing values",
    repair="Adam, squared error",
    expected=RAW,
)
def _(repaired):
    random = draws()
    y = (random.random(200) < 0.66).astype(int)
    x = random.exponential(80, (200, 31)) * (1 + 0.5 * y[:, None])
    x[random.random(x.shape) < 0.2] = -999
    stack = [Dense(200, "relu"), Dropout(0.5), Dense(100, "relu"), Dropout(0.5), Dense(50, "relu"), Dropout(0.5)]
    x, optimizer = (standardized(x), "adam") if repaired else (x, "rmsprop")
    return compiled(x, y[:, None], *stack, Dense(1, "sigmoid"), loss="binary_crossentropy", optimizer=optimizer)
