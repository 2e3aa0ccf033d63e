"""Learning rates and optimizers that do not fit."""

import numpy as np
from keras.layers import Conv2D, Dense, Flatten, MaxPooling2D
from keras.optimizers import SGD, Adam

from programs.networks import (
    LOGITS,
    compiled,
    digits,
    draws,
    exclusive_or,
    normal,
    one_hot,
    sound_study,
    standardized,
    uniform,
    user_study,
)
from programs.program import DEEPFD, GITHUB, OVERFLOW, UMLAUT, program


@program(
    OVERFLOW,
    "48385830",
    fault="no activations, squared error for classes, SGD with a rate of 3, weights of deviation 1",
    repair="sigmoid, softmax, crossentropy",
    expected={"rate|large first loss": "SGD|rate|crossentropy|softmax"},
)
def _(repaired):
    x, labels = digits()
    x = x.reshape(len(x), 784)
    if repaired:
        stack = Dense(30, "sigmoid"), Dense(10, "softmax")
        return compiled(x, one_hot(labels), *stack, loss="categorical_crossentropy", optimizer=SGD(0.5))
    stack = [Dense(units, kernel_initializer=normal(1.0), bias_initializer=normal(1.0)) for units in (30, 10)]
    return compiled(x, one_hot(labels), *stack, loss="mse", optimizer=SGD(3.0))


@program(
    OVERFLOW,
    "31556268",
    fault="1,000 epochs of SGD are too few",
    repair="Adam, squared error, 10,000 epochs",
    expected={"rate": "Adam"},
)
def _(repaired):
    stack = Dense(4, "sigmoid"), Dense(1, "sigmoid")
    if repaired:
        return compiled(*exclusive_or(), *stack, loss="mse", optimizer="adam")
    return compiled(*exclusive_or(), *stack, loss="mae", optimizer=SGD(0.05, momentum=0.11, nesterov=True))


@program(
    OVERFLOW,
    "48934338",
    fault="SGD with a rate of 0.1 for targets up to 125",
    repair="a rate of 0.001",
    expected={"rate": "SGD|rate"},
)
def _(repaired):
    x = np.arange(0, 5, 0.1)[:, None]
    y = 5 * x**2 + draws().normal(size=x.shape) ** 3
    stack = Dense(50, "relu"), Dense(30, "relu", kernel_initializer=uniform()), Dense(1)
    if repaired:
        stack = Dense(50, "relu"), Dense(30, "relu"), Dense(1)
        return compiled(standardized(x), standardized(y), *stack, loss="mse", optimizer=SGD(0.001))
    return compiled(x, y, *stack, loss="mse", optimizer=SGD(0.1))


@program(
    GITHUB,
    "FacialKeypointsDetection",
    fault="Adam with a rate of 0.1 for 9,216 inputs",
    repair="SGD with a rate of 0.01",
    expected={"rate": "rate|SGD|Adam"},
)
def _(repaired):
    random = draws()
    x = random.uniform(0, 1, (64, 2304))
    y = np.clip(random.normal(0, 0.3, (64, 30)), -1, 1)
    stack = Dense(50), Dense(100), Dense(30)
    optimizer = SGD(0.01, momentum=0.9, nesterov=True, clipnorm=1) if repaired else Adam(0.1)
    return compiled(x, y, *stack, loss="mse", optimizer=optimizer)


@program(
    DEEPFD,
    "37624102",
    fault="SGD with a rate of 0.1 and momentum of 0.9",
    repair="a rate of 0.01",
    expected={"rate": "SGD|rate"},
)
def _(repaired):
    labels = np.arange(64) % 2
    x = np.ones((64, 32, 32, 1)) * (1 - labels[:, None, None, None])
    stack = [Conv2D(32, 3, activation="relu"), Conv2D(32, 3, activation="relu"), MaxPooling2D()]
    stack += [Flatten(), Dense(128, "relu"), Dense(2, "softmax")]
    optimizer = SGD(0.01 if repaired else 0.1, momentum=0.9, nesterov=True)
    return compiled(x, one_hot(labels), *stack, loss="binary_crossentropy", optimizer=optimizer)


@program(
    UMLAUT,
    "B",
    fault="no activations, a negative rate",
    repair="ReLU, a rate of 0.001",
    expected={"rate": "rate|Adam"},
)
def _(repaired):
    if repaired:
        return sound_study()
    return user_study(0.2, "linear", loss=LOGITS, optimizer=Adam(-1000.0))
