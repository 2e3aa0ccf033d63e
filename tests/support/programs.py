"""Faulty deep-learning programs that people asked about, each with its accepted repair.

They are ported from public benchmarks by their facts: the network, the loss, the optimizer, and the
shape and range of the data. The data is drawn at random, and large layers are narrower, so that all
programs together take less than a minute. Where the accepted repair leaves another fault in place,
the repaired form mends that one too.

`examination.py` diagnoses them.
"""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
from keras import layers
from keras.initializers import Constant, RandomNormal, RandomUniform, VarianceScaling
from keras.layers import Activation, Conv1D, Conv2D, Dense, Dropout, Flatten, MaxPooling1D, MaxPooling2D
from keras.optimizers import SGD, Adadelta, Adam

OVERFLOW, GITHUB = "DeepLocalize, Stack Overflow", "DeepLocalize, GitHub"
DEEPFD, AUTOTRAINER, UMLAUT, NEURALINT = "DeepFD", "AUTOTRAINER", "UMLAUT", "NeuraLint"

# The verdicts of which one says that inputs are raw, with what cures them.
RAW = {"unscaled inputs": "Normalization|Rescaling"}


@dataclasses.dataclass(frozen=True)
class Program:
    """A faulty program.

    Attributes:
        source: Benchmark that it is from.
        id: Its name there: the number of the question on Stack Overflow, or of the repository.
        fault: What is wrong.
        repair: What was accepted as the repair.
        expected: Problems that `diagnose` must name, each with a pattern that its remedy must have.
            A bar separates problems of which one is enough. Empty if a batch cannot show the fault.
        build: Function that returns the compiled model, inputs and targets; its argument says
            whether they are repaired.
    """

    source: str
    id: str
    fault: str
    repair: str
    expected: dict[str, str]
    build: Callable[[bool], tuple[keras.Model, np.ndarray, np.ndarray]]


PROGRAMS: list[Program] = []


def program(source, id, fault, repair, expected=None):
    """Return a decorator that adds a program to the list."""

    def add(build):
        PROGRAMS.append(Program(source, id, fault, repair, expected or {}, build))
        return build

    return add


def compiled(x, y, *stack, loss, optimizer="adam"):
    """Return a sequential model that is compiled, with its inputs and targets."""
    x = np.asarray(x, "float32")
    model = keras.Sequential([keras.Input(x.shape[1:]), *stack])
    model.compile(optimizer, loss)
    return model, x, np.asarray(y)


# Data. Each function draws from a generator of its own.


def draws(seed=0):
    return np.random.default_rng(seed)


def one_hot(labels):
    return np.eye(int(labels.max()) + 1, dtype="float32")[labels]


def standardized(x):
    """Return columns of mean 0 and standard deviation 1."""
    deviation = x.std(axis=0)
    return (x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1)


def digits(count=128):
    """Return images like those of MNIST, in [0, 1]: four fifths of the pixels are 0."""
    random = draws()
    labels = np.arange(count) % 10
    strokes = random.random((10, 28, 28, 1)) < 0.25
    visible = random.random((count, 28, 28, 1)) < 0.8
    images = strokes[labels] * visible * random.uniform(0.3, 1, (count, 28, 28, 1))
    return images.astype("float32"), labels


def photographs(count=64, size=32, classes=10):
    """Return images like those of CIFAR-10, in [0, 1]: mean 0.47, standard deviation 0.25."""
    random = draws()
    labels = np.arange(count) % classes
    colors = random.uniform(0.25, 0.7, (classes, 1, 1, 3))
    coarse = random.normal(0, 0.17, (count, size // 4, size // 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    fine = random.normal(0, 0.1, (count, size, size, 3))
    return np.clip(colors[labels] + coarse + fine, 0, 1).astype("float32"), labels


def irises():
    """Return 150 flowers of three kinds, with four lengths in centimeters from 0.1 to 8."""
    random = draws()
    labels = np.arange(150) % 3
    means = np.array([[5.0, 3.4, 1.5, 0.2], [5.9, 2.8, 4.3, 1.3], [6.6, 3.0, 5.6, 2.0]])
    return means[labels] + random.normal(0, [0.5, 0.35, 0.4, 0.2], (150, 4)), labels


def exclusive_or():
    x = np.array([[1.0, 1], [0, 0], [1, 0], [0, 1]] * 4)
    return x, (x[:, :1] != x[:, 1:]).astype("float32")


def circles(count=256):
    """Return points on two circles of radius 1 and 0.8, with noise of 0.1."""
    random = draws()
    labels = np.arange(count) % 2
    angle = random.uniform(0, 2 * np.pi, count)
    radius = np.where(labels, 0.8, 1.0)
    x = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return x + random.normal(0, 0.1, x.shape), labels[:, None].astype("float32")


def blobs(count=256):
    """Return points around three centers in [-10, 10], with a standard deviation of 2."""
    random = draws()
    labels = np.arange(count) % 3
    centers = np.array([[-1.3, -9.5], [0.9, -1.5], [-6.4, 2.1]])
    return centers[labels] + random.normal(0, 2, (count, 2)), labels


def normal(stddev=0.05):
    return RandomNormal(stddev=stddev)


def uniform():
    return RandomUniform(-0.05, 0.05)


# DeepLocalize: thirty questions on Stack Overflow.


@program(
    OVERFLOW,
    "48385830",
    "no activations, squared error for classes, SGD with a rate of 3, weights of deviation 1",
    "sigmoid, softmax, crossentropy",
    {"rate|large first loss": "SGD|rate|crossentropy|softmax"},
)
def _(repaired):
    x, labels = digits()
    x = x.reshape(len(x), 784)
    if repaired:
        stack = Dense(30, "sigmoid"), Dense(10, "softmax")
        return compiled(x, one_hot(labels), *stack, loss="categorical_crossentropy", optimizer=SGD(0.5))
    stack = [Dense(units, kernel_initializer=normal(1.0), bias_initializer=normal(1.0)) for units in (30, 10)]
    return compiled(x, one_hot(labels), *stack, loss="mse", optimizer=SGD(3.0))


@program(OVERFLOW, "44164749", "accuracy of 0.88 after five epochs", "sigmoid, binary crossentropy")
def _(repaired):
    x, labels = digits()
    last, loss = ("sigmoid", "binary_crossentropy") if repaired else ("softmax", "categorical_crossentropy")
    stack = Dense(300, "relu"), Dropout(0.1), Dense(60, "relu"), Dropout(0.1), Dense(10, last)
    optimizer = SGD(0.01, momentum=0.9, nesterov=True)
    return compiled(x.reshape(len(x), 784), one_hot(labels), *stack, loss=loss, optimizer=optimizer)


@program(
    OVERFLOW,
    "31556268",
    "1,000 epochs of SGD are too few",
    "Adam, squared error, 10,000 epochs",
    {"rate": "Adam"},
)
def _(repaired):
    stack = Dense(4, "sigmoid"), Dense(1, "sigmoid")
    if repaired:
        return compiled(*exclusive_or(), *stack, loss="mse", optimizer="adam")
    return compiled(*exclusive_or(), *stack, loss="mae", optimizer=SGD(0.05, momentum=0.11, nesterov=True))


@program(OVERFLOW, "50306988", "five epochs are too few", "one sigmoid, binary crossentropy")
def _(repaired):
    random = draws()
    low, high = random.uniform(0.2, 0.4, (100, 2)), random.uniform(0.5, 0.7, (100, 2))
    x, labels = np.concatenate([low, high]), np.arange(200) // 100
    if repaired:
        stack = Dense(2, "sigmoid"), Dense(1, "sigmoid")
        return compiled(x, labels[:, None], *stack, loss="binary_crossentropy")
    stack = Dense(2, "sigmoid"), Dense(2, "softmax")
    return compiled(x, one_hot(labels), *stack, loss="categorical_crossentropy")


@program(
    OVERFLOW,
    "48251943",
    "ReLU at the output, targets from -1 to 2.7",
    "tanh, or no activation",
    {"unreachable targets": "activation=None|linear|no activation"},
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
    "softmax and squared error for examples of several classes",
    "sigmoid, binary crossentropy",
    {"unsuitable labels|unreachable targets": "sigmoid"},
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
    "33969059",
    "softmax of one unit for a number; inputs up to 10,000, targets up to 35,000",
    "no activation",
    {"single class": "no activation|activation=None|linear", **RAW},
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
    "55328966",
    "pixels up to 255, sigmoids for classes that exclude each other",
    "division by 255, softmax",
    {"no probabilities": "softmax", **RAW},
)
def _(repaired):
    x, labels = digits()
    x = x.reshape(len(x), 784) * (1 if repaired else 255)
    stack = Dense(784), Dense(50, "relu"), Dense(10, "softmax" if repaired else "sigmoid")
    rate = 0.01 if repaired else 0.0001  # which is as small for scaled inputs as it was right for others
    return compiled(x, one_hot(labels), *stack, loss="categorical_crossentropy", optimizer=SGD(rate))


@program(
    OVERFLOW,
    "34311586",
    "softmax of one unit",
    "sigmoid",
    {"single class": "sigmoid"},
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
    "softmax of one unit",
    "sigmoid",
    {"single class": "sigmoid"},
)
def _(repaired):
    y = np.arange(200)[:, None] % 2
    x = np.ones((200, 128)) * y
    stack = [Dense(50, "relu"), Activation("relu"), Dropout(0.2), Dense(50), Activation("relu"), Dropout(0.2)]
    stack += [Dense(1), Activation("sigmoid" if repaired else "softmax")]
    return compiled(x, y, *stack, loss="binary_crossentropy", optimizer="rmsprop")


@program(OVERFLOW, "39525358", "inputs from 65 to 70, the codes of letters", "StandardScaler", RAW)
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
    "39217567",
    "three layers of sigmoids with weights of deviation 0.05",
    "ReLU",
    {"alike|vanishing|vanishing gradient": "tanh|ReLU|HeNormal|Glorot|Orthogonal"},
)
def _(repaired):
    x = (np.arange(256)[:, None] >> np.arange(8)) % 2
    y = draws().permutation(x)
    if repaired:
        stack = Dense(8, "relu", kernel_initializer="he_normal"), Dense(8, "relu"), Dense(8, "sigmoid")
    else:
        stack = [Dense(8, "sigmoid", kernel_initializer=normal()) for _ in range(3)]
    return compiled(x, y, *stack, loss="mse", optimizer="sgd")


@program(
    OVERFLOW,
    "48934338",
    "SGD with a rate of 0.1 for targets up to 125",
    "a rate of 0.001",
    {"rate": "SGD|rate"},
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
    OVERFLOW,
    "47724077",
    "raw columns of a census: counts up to 99,999 and weights of 200,000",
    "SGD; scaled inputs",
    RAW,
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
    "labels divided by 255",
    "labels as they are",
    {"unsuitable labels": "integer|class numbers|255|labels"},
)
def _(repaired):
    x, labels = digits()
    stack = [Conv2D(16, 3, padding="same"), MaxPooling2D(), Conv2D(8, 3, padding="same"), MaxPooling2D()]
    stack += [Flatten(), Dense(128, "relu"), Dense(10, "softmax")]
    y = labels[:, None] if repaired else labels[:, None] / 255
    return compiled(x, y, *stack, loss="sparse_categorical_crossentropy")


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
        "sigmoids for classes that exclude each other",
        "softmax",
        {"no probabilities": "softmax"},
    )(_irises)


@program(
    OVERFLOW,
    "52800582",
    "inputs from -100 to 100, targets up to 100 million",
    "both scaled",
    {"large first loss|unscaled targets": "standardize|targets", **RAW},
)
def _(repaired):
    x = np.arange(-100, 100, 0.5)[:, None]
    x, y = (standardized(x), standardized(x**4)) if repaired else (x, x**4)
    return compiled(x, y, Dense(50, "sigmoid"), Dense(50, "elu"), Dense(1), loss="mse")


@program(OVERFLOW, "41372874", "all labels are 1", "none: nothing is wrong with the network")
def _(repaired):
    random = draws()
    x = np.stack([random.uniform(0, 0.84, 240), random.normal(0.04, 0.64, 240)], axis=1)
    y = (x[:, :1] > 0.4).astype("float32") if repaired else np.ones((240, 1))
    stack = [
        Dense(units, activation, kernel_initializer="glorot_uniform" if repaired else uniform())
        for units, activation in ((2, "relu"), (2, "relu"), (1, "sigmoid"))
    ]
    return compiled(x, y, *stack, loss="binary_crossentropy")


@program(OVERFLOW, "34673164", "inputs up to 660,000", "batch normalization, sigmoid", RAW)
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
    "48221692",
    "sigmoid at the output, targets from 3 to 103",
    "no activation",
    {"unreachable targets": "activation=None|linear|no activation"},
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
    "one sigmoid and binary crossentropy for three classes",
    "softmax of three units, categorical crossentropy",
    {"unsuitable labels": "Dense.3|softmax"},
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
    "45337371",
    "softmax of one unit",
    "sigmoid",
    {"single class": "sigmoid"},
)
def _(repaired):
    x = draws().random((200, 5))
    y = x.mean(axis=1, keepdims=True)
    stack = Dense(60, "relu"), Dense(50, "relu"), Dense(1, "sigmoid" if repaired else "softmax")
    return compiled(x, y, *stack, loss="binary_crossentropy")


@program(
    OVERFLOW,
    "44066044",
    "ReLU before binary crossentropy; inputs up to three billion",
    "scaled inputs, sigmoid",
    {"no probabilities": "sigmoid", **RAW},
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
    "ReLU before categorical crossentropy",
    "softmax",
    {"no probabilities": "softmax"},
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
    OVERFLOW,
    "45442843",
    "softmax of one unit; inputs of 20,000",
    "sigmoid, binary crossentropy",
    {"single class": "sigmoid", **RAW},
)
def _(repaired):
    x = draws().uniform(15_000, 25_000, (200, 1))
    y = (x < 20_000).astype("float32")
    if repaired:
        stack = Dense(4, "sigmoid"), Dense(1, "sigmoid")
        return compiled(standardized(x), y, *stack, loss="binary_crossentropy", optimizer="rmsprop")
    stack = Dense(1, "sigmoid"), Dense(1, "softmax", kernel_initializer=normal())
    return compiled(x, y, *stack, loss="mae", optimizer="rmsprop")


@program(OVERFLOW, "48594888", "pixels up to 255", "division by 255", RAW)
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
    "names and tickets as numbers up to 1,300, fares up to 512",
    "sigmoid, binary crossentropy",
    RAW,
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


@program(OVERFLOW, "58609115", "inputs up to ten million", "sigmoids, binary crossentropy", RAW)
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


@program(OVERFLOW, "50481178", "accuracy does not rise further", "softmax of two units")
def _(repaired):
    random = draws()
    y = np.arange(200) % 2
    x = standardized(random.poisson(3 + 9 * y[:, None] * random.random(4), (200, 4)))
    stack = [Dense(units, "relu") for units in (10, 20, 30, 40, 50)]
    if repaired:
        return compiled(x, y, *stack, Dense(2, "softmax"), loss="sparse_categorical_crossentropy")
    return compiled(x, y[:, None], *stack, Dense(1, "sigmoid"), loss="binary_crossentropy")


# DeepLocalize: eleven repositories on GitHub.


@program(GITHUB, "DDOS-ML-Detection", "layers of 64 and 128 units", "layers of 10 and 30 units")
def _(repaired):
    random = draws()
    labels = np.arange(200) % 5
    x = standardized(random.normal(size=(200, 22)) + random.normal(size=(5, 22))[labels])
    widths = (30, 10, 10) if repaired else (22, 64, 128, 64)
    stack = []
    for index, units in enumerate(widths):
        kernel = uniform() if index == 0 and not repaired else "glorot_uniform"
        stack += [Dense(units, "relu", kernel_initializer=kernel), Dropout(0.4)]
    return compiled(x, one_hot(labels), *stack, Dense(5, "softmax"), loss="categorical_crossentropy")


@program(GITHUB, "keras-super-resolution", "binary crossentropy, a rate of 0.0001", "squared error, a rate of 0.001")
def _(repaired):
    x, _ = photographs(16)
    stack = [Conv2D(16, 3, padding="same", activation="relu"), Conv2D(8, 5, padding="same", activation="relu")]
    stack += [Conv2D(3, 3, padding="same", activation="sigmoid")]
    loss, rate = ("mse", 0.001) if repaired else ("binary_crossentropy", 0.0001)
    return compiled(x, x, *stack, loss=loss, optimizer=Adam(rate))


@program(
    GITHUB,
    "FacialKeypointsDetection",
    "Adam with a rate of 0.1 for 9,216 inputs",
    "SGD with a rate of 0.01",
    {"rate": "rate|SGD|Adam"},
)
def _(repaired):
    random = draws()
    x = random.uniform(0, 1, (64, 2304))
    y = np.clip(random.normal(0, 0.3, (64, 30)), -1, 1)
    stack = Dense(50), Dense(100), Dense(30)
    optimizer = SGD(0.01, momentum=0.9, nesterov=True, clipnorm=1) if repaired else Adam(0.1)
    return compiled(x, y, *stack, loss="mse", optimizer=optimizer)


@program(GITHUB, "keras_catsdogs", "batches of 100", "batches of 50")
def _(repaired):
    x, labels = photographs(32, size=64, classes=2)
    stack = []
    for filters, size in ((8, 7), (8, 5), (8, 5), (8, 3)):
        stack += [Conv2D(filters, 3 if repaired else size, activation="relu"), MaxPooling2D()]
    last = Flatten(), Dense(2, "softmax")
    # The rate that "adadelta" stood for.
    return compiled(x, one_hot(labels), *stack, *last, loss="categorical_crossentropy", optimizer=Adadelta(1.0))


@program(GITHUB, "Traffic-Sign-Classifier", "ReLU", "ELU, and sigmoid for colors")
def _(repaired):
    x, labels = photographs()
    first, second = ("sigmoid", "elu") if repaired else ("relu", "relu")
    stack = [Conv2D(3, 1, activation=first), Conv2D(16, 5, strides=2, activation=second)]
    stack += [Conv2D(32, 3, activation=second), MaxPooling2D(), Conv2D(32, 3, activation="relu")]
    stack += [Flatten(), Dropout(0.5), Dense(128, "relu"), Dropout(0.5), Dense(10, "softmax")]
    return compiled(x - 0.5, one_hot(labels), *stack, loss="categorical_crossentropy")


@program(GITHUB, "kerasma", "raw measurements up to 846", "more layers; scaled inputs", RAW)
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
    "prices of 180,000 as targets of outputs of size 1",
    "more layers; scaled targets",
    {"large first loss|unscaled targets": "standardize|targets"},
)
def _(repaired):
    random = draws()
    x = random.normal(size=(200, 30))
    y = 181_000 + 79_000 * standardized(x @ random.normal(size=(30, 1)))
    stack = [Dense(20, "tanh", kernel_initializer="glorot_normal") for _ in range(3 if repaired else 2)]
    return compiled(x, standardized(y) if repaired else y, *stack, Dense(1), loss="mae")


@program(GITHUB, "gol_nn", "five epochs are too few", "squared error, a rate of 0.01")
def _(repaired):
    random = draws()
    y = random.random((64, 12, 12, 1)) < 0.5
    x = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
    stack = [Conv2D(10, 3, activation="relu"), Conv2D(20, 1, activation="relu"), Conv2D(1, 1, activation="sigmoid")]
    loss, rate = ("mse", 0.01) if repaired else ("binary_crossentropy", 0.001)
    return compiled(x, y.astype("float32"), *stack, loss=loss, optimizer=Adam(rate))


@program(GITHUB, "MovieReviews_Keras", "no dropout, four epochs", "dropout, seven epochs")
def _(repaired):
    random = draws()
    y = np.arange(100) % 2
    x = random.random((100, 1000)) < 0.02 + 0.01 * y[:, None] * (np.arange(1000) % 2)
    stack = [Dense(16, "relu"), Dropout(0.5 * repaired), Dense(16, "relu"), Dropout(0.5 * repaired)]
    return compiled(x, y[:, None], *stack, Dense(1, "sigmoid"), loss="binary_crossentropy", optimizer="rmsprop")


@program(GITHUB, "hotdog-sandwich", "small images, few examples", "strides, more filters, ELU")
def _(repaired):
    x, labels = photographs(48, classes=2)
    if repaired:
        stack = [Conv2D(8, 8, strides=4), layers.ELU(), Conv2D(16, 5, strides=2, padding="same"), layers.ELU()]
        stack += [Flatten(), Dropout(0.2), Dense(64), layers.ELU()]
    else:
        stack = [Conv2D(8, 5), Dropout(0.5), Activation("relu"), Conv2D(16, 3), Dropout(0.5), Activation("relu")]
        stack += [Flatten(), Dense(64, "relu"), Dense(32, "relu")]
    x = x.mean(axis=-1, keepdims=True)
    return compiled(x, labels[:, None], *stack, Dense(1, "sigmoid"), loss="binary_crossentropy")


@program(GITHUB, "Averaging_Neural_Networks", "no hidden layer with an activation", "a hidden layer with ReLU")
def _(repaired):
    x = draws().integers(0, 101, (200, 2)) / 100
    y = x.mean(axis=1, keepdims=True)
    stack = [Dense(2), *([Dense(8, "relu")] if repaired else []), Dense(1)]
    return compiled(x, y, *stack, loss="mse", optimizer="rmsprop")


# DeepFD: questions that are in no other set.


@program(
    DEEPFD,
    "37624102",
    "SGD with a rate of 0.1 and momentum of 0.9",
    "a rate of 0.01",
    {"rate": "SGD|rate"},
)
def _(repaired):
    labels = np.arange(64) % 2
    x = np.ones((64, 32, 32, 1)) * (1 - labels[:, None, None, None])
    stack = [Conv2D(32, 3, activation="relu"), Conv2D(32, 3, activation="relu"), MaxPooling2D()]
    stack += [Flatten(), Dense(128, "relu"), Dense(2, "softmax")]
    optimizer = SGD(0.01 if repaired else 0.1, momentum=0.9, nesterov=True)
    return compiled(x, one_hot(labels), *stack, loss="binary_crossentropy", optimizer=optimizer)


@program(
    DEEPFD,
    "46642627",
    "binary crossentropy for targets from 0 to 100",
    "squared error, scaled targets",
    {"unsuitable labels": "mse|squared"},
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
    "41600519",
    "raw energies up to 1,000, and -999 for missing values",
    "Adam, squared error",
    RAW,
)
def _(repaired):
    random = draws()
    y = (random.random(200) < 0.66).astype(int)
    x = random.exponential(80, (200, 31)) * (1 + 0.5 * y[:, None])
    x[random.random(x.shape) < 0.2] = -999
    stack = [Dense(200, "relu"), Dropout(0.5), Dense(100, "relu"), Dropout(0.5), Dense(50, "relu"), Dropout(0.5)]
    x, optimizer = (standardized(x), "adam") if repaired else (x, "rmsprop")
    return compiled(x, y[:, None], *stack, Dense(1, "sigmoid"), loss="binary_crossentropy", optimizer=optimizer)


@program(
    DEEPFD,
    "56380303",
    "softmax and categorical crossentropy for 20 bits",
    "Adam with a rate of 0.0001",
    {"unsuitable labels": "sigmoid"},
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


@program(DEEPFD, "51181393", "RMSprop with a rate of 0.001 is slow", "a rate of 0.1")
def _(repaired):
    x = np.linspace(1, 2, 100)[:, None]
    optimizer = keras.optimizers.RMSprop(0.1 if repaired else 0.001)
    return compiled(x, 5 * x, Dense(1), loss="mse", optimizer=optimizer)


# AUTOTRAINER: its demonstrations, and models of DeepDiagnosis' copy.


def fan_in():
    return VarianceScaling(2.0, "fan_in", "uniform")


def _narrow(data, depth, activation, kernel=fan_in):
    """Return layers of five units, as for the two sets of points in the plane."""
    x, y = data()
    stack = [Dense(5, activation, kernel_initializer=kernel()) for _ in range(depth)]
    if data is circles:
        last = Dense(1, "sigmoid", kernel_initializer=fan_in())
        return compiled(x, y, *stack, last, loss="binary_crossentropy", optimizer=Adam(0.001))
    last = Dense(3, "sigmoid", kernel_initializer=fan_in())
    return compiled(x, one_hot(y), *stack, last, loss="categorical_crossentropy")


def _wide(data):
    """Return three layers of 16 units of tanh, which solve both tasks."""
    x, y = data()
    stack = [Dense(16, "tanh") for _ in range(3)]
    if data is circles:
        return compiled(x, y, *stack, Dense(1, "sigmoid"), loss="binary_crossentropy")
    return compiled(standardized(x), one_hot(y), *stack, Dense(3, "softmax"), loss="categorical_crossentropy")


@program(
    AUTOTRAINER,
    "blob, activation demo",
    "ReLU before categorical crossentropy",
    "softmax",
    {"no probabilities": "softmax"},
)
def _(repaired):
    x, labels = blobs()
    stack = [Dense(50, "relu", kernel_initializer="he_uniform") for _ in range(4)]
    x = standardized(x) if repaired else x
    last = Dense(3, "softmax" if repaired else "relu")
    return compiled(x, one_hot(labels), *stack, last, loss="categorical_crossentropy")


DEEP = "tanh|ReLU|HeNormal|Glorot|Orthogonal|fewer|residual|normalization"


@program(
    AUTOTRAINER,
    "circle, model_5ab0aeda",
    "eleven layers of sigmoids",
    "ReLU, batch normalization",
    {"vanishing gradient|vanishing": DEEP},
)
def _(repaired):
    return _wide(circles) if repaired else _narrow(circles, 11, "sigmoid")


@program(
    AUTOTRAINER,
    "blob, model_bd4e58b7",
    "twelve layers of sigmoids, sigmoids for classes that exclude each other",
    "ReLU, softmax",
    {"vanishing gradient|vanishing": DEEP, "no probabilities": "softmax"},
)
def _(repaired):
    return _wide(blobs) if repaired else _narrow(blobs, 12, "sigmoid")


@program(
    AUTOTRAINER,
    "circle, model_0eb8d545",
    "eleven layers of exponential functions",
    "another activation",
    {"exploding": "activation|Glorot|HeNormal"},
)
def _(repaired):
    return _wide(circles) if repaired else _narrow(circles, 11, "exponential")


@program(
    AUTOTRAINER,
    "circle, model_8e28bdef",
    "16 layers of five ReLUs, which die",
    "another activation, or another start",
    {"dead units|vanishing|alike|vanishing gradient": DEEP},
)
def _(repaired):
    return _wide(circles) if repaired else _narrow(circles, 16, "relu")


@program(
    AUTOTRAINER,
    "circle, model_8de47bdc",
    "eight layers of ReLU with weights of 0.05",
    "He's initializer",
    {"vanishing": "HeNormal|HeUniform"},
)
def _(repaired):
    return _wide(circles) if repaired else _narrow(circles, 8, "relu", uniform)


def lenet(repaired=True, *, x=None, depth=1, activation="relu", kernel=None, head=None, loss=None, dense=None):
    """Return two convolutions and dense layers for ten or two classes of digits, narrower than LeNet-5."""
    images, labels = digits(64)
    options = {} if kernel is None else {"kernel_initializer": kernel}
    stack = []
    for filters in (6, 16):
        made = dict(options)
        if kernel is not None and not isinstance(kernel, str):
            made = {"kernel_initializer": kernel()}
        stack += [Conv2D(filters, 5, padding="same", activation=activation, **made), MaxPooling2D()]
    stack.append(Flatten())
    for _ in range(depth):
        made = dict(options)
        if kernel is not None and not isinstance(kernel, str):
            made = {"kernel_initializer": kernel()}
        stack.append(Dense(84, dense or activation, **made))
    head = head or Dense(10, "softmax")
    if head.units == 1:
        return compiled(images, labels[:, None] % 2, *stack, head, loss=loss or "binary_crossentropy")
    return compiled(images, one_hot(labels), *stack, head, loss=loss or "categorical_crossentropy")


@program(
    AUTOTRAINER,
    "MNIST, model_2af630c4",
    "a LeNet of sigmoids with seven dense layers",
    "ReLU",
    {"vanishing gradient|vanishing": DEEP},
)
def _(repaired):
    if repaired:
        return lenet(kernel="he_normal", depth=2)
    return lenet(activation="sigmoid", kernel="he_normal", depth=7)


@program(
    AUTOTRAINER,
    "MNIST, tmp_lenet5",
    "twelve dense layers with weights of 0.05",
    "He's initializer",
    {"vanishing": "HeNormal|HeUniform"},
)
def _(repaired):
    if repaired:
        return lenet(kernel="he_normal", depth=3)
    return lenet(kernel=uniform, depth=12)


# UMLAUT: the programs that its study gave to developers.


def _user_study(dropout, activation, **options):
    x, labels = photographs(32)
    stack = []
    for filters in (8, 16):
        stack += [Conv2D(filters, 3, activation=activation), Conv2D(filters, 3, activation=activation)]
        stack += [MaxPooling2D(), Dropout(dropout)]
    stack += [Flatten(), Dense(64, activation), Dense(64, activation), Dropout(dropout), Dense(10)]
    return compiled(x * options.pop("factor", 1), labels, *stack, **options)


LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _sound_study():
    return _user_study(0.2, "relu", loss=LOGITS)


@program(
    UMLAUT,
    "A",
    "pixels up to 255, logits as probabilities, dropout of 0.8",
    "division by 255, `from_logits=True`, dropout of 0.2",
    {"no probabilities": "from_logits=True", **RAW},
)
def _(repaired):
    if repaired:
        return _sound_study()
    return _user_study(0.8, "relu", factor=255, loss="sparse_categorical_crossentropy")


@program(
    UMLAUT,
    "B",
    "no activations, a negative rate",
    "ReLU, a rate of 0.001",
    {"rate": "rate|Adam"},
)
def _(repaired):
    if repaired:
        return _sound_study()
    return _user_study(0.2, "linear", loss=LOGITS, optimizer=Adam(-1000.0))


@program(
    UMLAUT,
    "demo",
    "all faults of both",
    "all repairs of both",
    {"no probabilities": "from_logits=True", **RAW},
)
def _(repaired):
    if repaired:
        return _sound_study()
    options = {"loss": "sparse_categorical_crossentropy", "optimizer": Adam(-1000.0)}
    return _user_study(0.8, "linear", factor=255, **options)


# NeuraLint: questions on Stack Overflow that are in no set above, and variants of a LeNet.


@program(
    NEURALINT,
    "45378493",
    "softmax of one unit",
    "sigmoid",
    {"single class": "sigmoid"},
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
    "softmax of one unit",
    "sigmoid",
    {"single class": "sigmoid"},
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
    "softmax of one unit",
    "sigmoid",
    {"single class": "sigmoid"},
)
def _(repaired):
    x, labels = photographs(32, classes=2)
    stack = []
    for filters, size in ((8, 11), (16, 3), (16, 3)):
        stack += [Conv2D(filters, size, padding="same", activation="relu"), MaxPooling2D()]
    stack += [Flatten(), Dense(30, "relu"), Dropout(0.2), Dense(1), Activation("sigmoid" if repaired else "softmax")]
    return compiled(x.mean(axis=-1, keepdims=True), labels[:, None], *stack, loss="binary_crossentropy")


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
    "an output for each step, but one label for each example",
    "Flatten",
    {"unsuitable labels": "Flatten|Pooling"},
)
def _(repaired):
    return _signal_classes("softmax", 28, "categorical_crossentropy", repaired)


@program(
    NEURALINT,
    "53119432",
    "an output for each step, but one label for each example",
    "Flatten",
    {"unsuitable labels": "Flatten|Pooling"},
)
def _(repaired):
    return _signal_classes("sigmoid", 2, "binary_crossentropy", repaired)


@program(
    NEURALINT,
    "LeNet, missing softmax",
    "logits as probabilities",
    "softmax",
    {"no probabilities": "softmax|from_logits=True"},
)
def _(repaired):
    return lenet(head=Dense(10, "softmax" if repaired else None))


@program(
    NEURALINT,
    "LeNet, missing sigmoid",
    "a logit as a probability",
    "sigmoid",
    {"no probabilities": "sigmoid|from_logits=True"},
)
def _(repaired):
    return lenet(head=Dense(1, "sigmoid" if repaired else None))


@program(
    NEURALINT,
    "LeNet, wrong last activation",
    "softmax of one unit",
    "sigmoid",
    {"single class": "sigmoid"},
)
def _(repaired):
    return lenet(head=Dense(1, "sigmoid" if repaired else "softmax"))


@program(
    NEURALINT,
    "LeNet, wrong loss, ten classes",
    "no probabilities",
    "logits",
    {"no probabilities": "from_logits=False|activation=None"},
)
def _(repaired):
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    return lenet(head=Dense(10, None if repaired else "softmax"), loss=loss)


@program(
    NEURALINT,
    "LeNet, wrong loss, two classes",
    "a probability as a logit",
    "a logit",
    {"no probabilities": "from_logits=False|activation=None"},
)
def _(repaired):
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    return lenet(head=Dense(1, None if repaired else "sigmoid"), loss=loss)


@program(
    NEURALINT,
    "LeNet, constant kernels",
    "kernels of 0.1",
    "random kernels",
    {"equal units": "HeNormal|random"},
)
def _(repaired):
    return lenet(kernel="he_normal" if repaired else lambda: Constant(0.1))


@program(
    NEURALINT,
    "LeNet, kernels of zeros",
    "kernels of zeros",
    "random kernels",
    {"equal units": "HeNormal|random"},
)
def _(repaired):
    return lenet(kernel="he_normal" if repaired else "zeros")


@program(NEURALINT, "LeNet, missing ReLU", "convolutions without activation", "ReLU")
def _(repaired):
    return lenet(activation="relu" if repaired else "linear", dense="relu")
