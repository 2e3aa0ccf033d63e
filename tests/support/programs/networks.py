"""Data and builders that several programs share."""

import keras
import numpy as np
from keras.initializers import RandomNormal, RandomUniform, VarianceScaling
from keras.layers import Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from keras.optimizers import Adam

LOGITS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


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


# Initializers.


def normal(stddev=0.05):
    return RandomNormal(stddev=stddev)


def uniform():
    return RandomUniform(-0.05, 0.05)


def fan_in():
    return VarianceScaling(2.0, "fan_in", "uniform")


# Networks.


def narrow(data, depth, activation, kernel=fan_in):
    """Return layers of five units, as for the two sets of points in the plane."""
    x, y = data()
    stack = [Dense(5, activation, kernel_initializer=kernel()) for _ in range(depth)]
    if data is circles:
        last = Dense(1, "sigmoid", kernel_initializer=fan_in())
        return compiled(x, y, *stack, last, loss="binary_crossentropy", optimizer=Adam(0.001))
    last = Dense(3, "sigmoid", kernel_initializer=fan_in())
    return compiled(x, one_hot(y), *stack, last, loss="categorical_crossentropy")


def wide(data):
    """Return three layers of 16 units of tanh, which solve both tasks."""
    x, y = data()
    stack = [Dense(16, "tanh") for _ in range(3)]
    if data is circles:
        return compiled(x, y, *stack, Dense(1, "sigmoid"), loss="binary_crossentropy")
    return compiled(standardized(x), one_hot(y), *stack, Dense(3, "softmax"), loss="categorical_crossentropy")


def lenet(*, depth=1, activation="relu", kernel="glorot_uniform", head=None, loss=None, dense=None):
    """Return two convolutions and dense layers for ten or two classes of digits, narrower than LeNet-5.

    `kernel` is the id of an initializer, or a function that makes one.
    """

    def made():
        return kernel if isinstance(kernel, str) else kernel()

    images, labels = digits(64)
    stack = []
    for filters in (6, 16):
        stack += [Conv2D(filters, 5, padding="same", activation=activation, kernel_initializer=made())]
        stack += [MaxPooling2D()]
    stack.append(Flatten())
    stack += [Dense(84, dense or activation, kernel_initializer=made()) for _ in range(depth)]
    head = head or Dense(10, "softmax")
    if head.units == 1:
        return compiled(images, labels[:, None] % 2, *stack, head, loss=loss or "binary_crossentropy")
    return compiled(images, one_hot(labels), *stack, head, loss=loss or "categorical_crossentropy")


def user_study(dropout, activation, **options):
    """Return the network that the study of UMLAUT gave to developers."""
    x, labels = photographs(32)
    stack = []
    for filters in (8, 16):
        stack += [Conv2D(filters, 3, activation=activation), Conv2D(filters, 3, activation=activation)]
        stack += [MaxPooling2D(), Dropout(dropout)]
    stack += [Flatten(), Dense(64, activation), Dense(64, activation), Dropout(dropout), Dense(10)]
    return compiled(x * options.pop("factor", 1), labels, *stack, **options)


def sound_study():
    return user_study(0.2, "relu", loss=LOGITS)
