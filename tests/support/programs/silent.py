"""Faults that a batch cannot show: too few epochs, a slow rate, a design that learns less."""

import keras
import numpy as np
from keras import layers
from keras.layers import Activation, Conv2D, Dense, Dropout, Flatten, MaxPooling2D
from keras.optimizers import SGD, Adadelta, Adam

from programs.networks import compiled, digits, draws, lenet, one_hot, photographs, standardized, uniform
from programs.program import DEEPFD, GITHUB, NEURALINT, OVERFLOW, program


@program(OVERFLOW, "44164749", fault="accuracy of 0.88 after five epochs", repair="sigmoid, binary crossentropy")
def _(repaired):
    x, labels = digits()
    last, loss = ("sigmoid", "binary_crossentropy") if repaired else ("softmax", "categorical_crossentropy")
    stack = Dense(300, "relu"), Dropout(0.1), Dense(60, "relu"), Dropout(0.1), Dense(10, last)
    optimizer = SGD(0.01, momentum=0.9, nesterov=True)
    return compiled(x.reshape(len(x), 784), one_hot(labels), *stack, loss=loss, optimizer=optimizer)


@program(OVERFLOW, "50306988", fault="five epochs are too few", repair="one sigmoid, binary crossentropy")
def _(repaired):
    random = draws()
    low, high = random.uniform(0.2, 0.4, (100, 2)), random.uniform(0.5, 0.7, (100, 2))
    x, labels = np.concatenate([low, high]), np.arange(200) // 100
    if repaired:
        stack = Dense(2, "sigmoid"), Dense(1, "sigmoid")
        return compiled(x, labels[:, None], *stack, loss="binary_crossentropy")
    stack = Dense(2, "sigmoid"), Dense(2, "softmax")
    return compiled(x, one_hot(labels), *stack, loss="categorical_crossentropy")


@program(OVERFLOW, "41372874", fault="all labels are 1", repair="none: nothing is wrong with the network")
def _(repaired):
    random = draws()
    x = np.stack([random.uniform(0, 0.84, 240), random.normal(0.04, 0.64, 240)], axis=1)
    y = (x[:, :1] > 0.4).astype("float32") if repaired else np.ones((240, 1))
    stack = [
        Dense(units, activation, kernel_initializer="glorot_uniform" if repaired else uniform())
        for units, activation in ((2, "relu"), (2, "relu"), (1, "sigmoid"))
    ]
    return compiled(x, y, *stack, loss="binary_crossentropy")


@program(OVERFLOW, "50481178", fault="accuracy does not rise further", repair="softmax of two units")
def _(repaired):
    random = draws()
    y = np.arange(200) % 2
    x = standardized(random.poisson(3 + 9 * y[:, None] * random.random(4), (200, 4)))
    stack = [Dense(units, "relu") for units in (10, 20, 30, 40, 50)]
    if repaired:
        return compiled(x, y, *stack, Dense(2, "softmax"), loss="sparse_categorical_crossentropy")
    return compiled(x, y[:, None], *stack, Dense(1, "sigmoid"), loss="binary_crossentropy")


@program(GITHUB, "DDOS-ML-Detection", fault="layers of 64 and 128 units", repair="layers of 10 and 30 units")
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


@program(
    GITHUB,
    "keras-super-resolution",
    fault="binary crossentropy, a rate of 0.0001",
    repair="squared error, a rate of 0.001",
)
def _(repaired):
    x, _ = photographs(16)
    stack = [Conv2D(16, 3, padding="same", activation="relu"), Conv2D(8, 5, padding="same", activation="relu")]
    stack += [Conv2D(3, 3, padding="same", activation="sigmoid")]
    loss, rate = ("mse", 0.001) if repaired else ("binary_crossentropy", 0.0001)
    return compiled(x, x, *stack, loss=loss, optimizer=Adam(rate))


@program(GITHUB, "keras_catsdogs", fault="batches of 100", repair="batches of 50")
def _(repaired):
    x, labels = photographs(32, size=64, classes=2)
    stack = []
    for filters, size in ((8, 7), (8, 5), (8, 5), (8, 3)):
        stack += [Conv2D(filters, 3 if repaired else size, activation="relu"), MaxPooling2D()]
    last = Flatten(), Dense(2, "softmax")
    # The rate that "adadelta" stood for.
    return compiled(x, one_hot(labels), *stack, *last, loss="categorical_crossentropy", optimizer=Adadelta(1.0))


@program(GITHUB, "Traffic-Sign-Classifier", fault="ReLU", repair="ELU, and sigmoid for colors")
def _(repaired):
    x, labels = photographs()
    first, second = ("sigmoid", "elu") if repaired else ("relu", "relu")
    stack = [Conv2D(3, 1, activation=first), Conv2D(16, 5, strides=2, activation=second)]
    stack += [Conv2D(32, 3, activation=second), MaxPooling2D(), Conv2D(32, 3, activation="relu")]
    stack += [Flatten(), Dropout(0.5), Dense(128, "relu"), Dropout(0.5), Dense(10, "softmax")]
    return compiled(x - 0.5, one_hot(labels), *stack, loss="categorical_crossentropy")


@program(GITHUB, "gol_nn", fault="five epochs are too few", repair="squared error, a rate of 0.01")
def _(repaired):
    random = draws()
    y = random.random((64, 12, 12, 1)) < 0.5
    x = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
    stack = [Conv2D(10, 3, activation="relu"), Conv2D(20, 1, activation="relu"), Conv2D(1, 1, activation="sigmoid")]
    loss, rate = ("mse", 0.01) if repaired else ("binary_crossentropy", 0.001)
    return compiled(x, y.astype("float32"), *stack, loss=loss, optimizer=Adam(rate))


@program(GITHUB, "MovieReviews_Keras", fault="no dropout, four epochs", repair="dropout, seven epochs")
def _(repaired):
    random = draws()
    y = np.arange(100) % 2
    x = random.random((100, 1000)) < 0.02 + 0.01 * y[:, None] * (np.arange(1000) % 2)
    stack = [Dense(16, "relu"), Dropout(0.5 * repaired), Dense(16, "relu"), Dropout(0.5 * repaired)]
    return compiled(x, y[:, None], *stack, Dense(1, "sigmoid"), loss="binary_crossentropy", optimizer="rmsprop")


@program(GITHUB, "hotdog-sandwich", fault="small images, few examples", repair="strides, more filters, ELU")
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


@program(
    GITHUB, "Averaging_Neural_Networks", fault="no hidden layer with an activation", repair="a hidden layer with ReLU"
)
def _(repaired):
    x = draws().integers(0, 101, (200, 2)) / 100
    y = x.mean(axis=1, keepdims=True)
    stack = [Dense(2), *([Dense(8, "relu")] if repaired else []), Dense(1)]
    return compiled(x, y, *stack, loss="mse", optimizer="rmsprop")


@program(DEEPFD, "51181393", fault="RMSprop with a rate of 0.001 is slow", repair="a rate of 0.1")
def _(repaired):
    x = np.linspace(1, 2, 100)[:, None]
    optimizer = keras.optimizers.RMSprop(0.1 if repaired else 0.001)
    return compiled(x, 5 * x, Dense(1), loss="mse", optimizer=optimizer)


@program(NEURALINT, "LeNet, missing ReLU", fault="convolutions without activation", repair="ReLU")
def _(repaired):
    return lenet(activation="relu" if repaired else "linear", dense="relu")
