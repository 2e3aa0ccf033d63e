"""Kinds of losses, metrics and models: gradients are those of training, and nothing is changed."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers
from modes import BACKEND, needs_int4, to_numpy

import keras_initx

pytestmark = [
    pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning"),
    pytest.mark.filterwarnings("ignore:Model doesn't support `jit_compile=True`:UserWarning"),
]

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(16, 6)).astype("float32")
Y = GENERATOR.normal(size=(16, 3)).astype("float32")
STEPS = X[:, :, None]
TOKENS = np.tile([[1, 2, 3, 0, 0, 0], [4, 1, 0, 0, 0, 0]], (8, 1))
SEQUENCE = GENERATOR.normal(size=(16, 6, 3)).astype("float32")


def dense():
    return [layers.Dense(8, "tanh", name="hidden"), layers.Dense(3, name="out")]


def sequential(*stack, shape=(6,)):
    return keras.Sequential([keras.Input(shape), *stack])


def functional():
    hidden, out = dense()
    inputs = keras.Input((6,))
    return keras.Model(inputs, out(hidden(inputs)))


class Network(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = dense()

    def call(self, inputs):
        return self.out(self.hidden(inputs))


def subclassed():
    model = Network()
    model(X)
    return model


def quantized(mode):
    model = sequential(*dense())
    model.quantize(mode)
    return model


def adapted(mode=None):
    model = sequential(*dense())
    for layer in model.layers:
        layer.enable_lora(2)
    if mode:
        model.quantize(mode)
    return model


def frozen():
    model = sequential(*dense())
    model.layers[0].trainable = False
    return model


def stateful():
    return keras.Sequential([keras.Input(batch_shape=(16, 6, 1)), layers.LSTM(3, stateful=True)])


class Penalty(layers.Layer):
    def call(self, inputs):
        self.add_loss(keras.ops.mean(inputs**2, axis=-1))
        return inputs


MODELS = {
    "sequential": lambda: sequential(*dense()),
    "functional": functional,
    "subclassed": subclassed,
    "regularized": lambda: sequential(layers.Dense(3, kernel_regularizer="l2", activity_regularizer="l1")),
    "penalty": lambda: sequential(layers.Dense(3), Penalty()),
    "dropout": lambda: sequential(layers.Dense(8), layers.Dropout(0.5, seed=1), layers.Dense(3)),
    "normalized": lambda: sequential(layers.Dense(8), layers.BatchNormalization(), layers.Dense(3)),
    "int8": lambda: quantized("int8"),
    "int4": lambda: quantized("int4"),
    "lora": adapted,
    "lora int8": lambda: adapted("int8"),
    "frozen": frozen,
    "stateful": stateful,
    "cells": lambda: sequential(layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)]), shape=(6, 1)),
    "masked": lambda: sequential(layers.Embedding(5, 4, mask_zero=True), layers.GRU(3, return_sequences=True)),
}


def in_turns(others):
    """Return a row for each kind of model, with one of `others`, which take turns."""
    return [
        pytest.param(kind, other, marks=needs_int4 if kind == "int4" else ())
        for kind, other in zip(MODELS, itertools.cycle(others), strict=False)
    ]


# Those that a monitor could change, or that could change what it sees.
MONITORED = ("dropout", "normalized", "lora int8", "frozen", "stateful")


def squares(targets, outputs):
    return keras.ops.mean((targets - outputs) ** 2, axis=-1)


class Squares(keras.losses.Loss):
    def call(self, targets, outputs):
        return squares(targets, outputs)


LOSSES = {
    "name": lambda: "mse",
    "function": lambda: squares,
    "object": keras.losses.MeanSquaredError,
    "own": Squares,
    "sum": lambda: keras.losses.MeanSquaredError(reduction="sum"),
    "list": lambda: [squares],
}
# The kind of model for each, of which a loss may depend on the outputs, on the weights, or on a mask.
OF_LOSSES = ("functional", "masked", "regularized", "penalty", "normalized", "dropout")
METRICS = {
    "none": lambda: None,
    "name": lambda: ["mae"],
    "function": lambda: [squares],
    "object": lambda: [keras.metrics.MeanAbsoluteError()],
}


class Plain(keras.optimizers.SGD):
    """An optimizer whose config is not complete."""

    def __init__(self, rates):
        super().__init__(rates[0])
        self.rates = rates


def data(kind):
    if kind == "masked":
        return TOKENS, SEQUENCE
    return (STEPS if kind in ("stateful", "cells") else X), Y


def state(model):
    optimizer = model.optimizer.variables if model.compiled else []
    return [to_numpy(variable.value).copy() for variable in [*model.variables, *optimizer, *model.metrics_variables]]


def numbers():
    """Return the numbers of the next automatic names."""
    made = [layers.Dense(1), keras.Sequential(), Squares(), keras.Variable(0.0)]
    return [int("".join(filter(str.isdigit, one.name)) or 0) for one in made]


def diagnose_unnoticed(model, *arguments, **options):
    """Return the report, after comparing everything that a diagnosis could change."""
    before, named, count = state(model), numbers(), len(model.metrics)
    report = keras_initx.diagnose(model, *arguments, **options)
    assert numbers() == [number + 1 for number in named]
    assert len(model.metrics) == count
    for one, other in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(one, other)
    return report


def gradients(report):
    return [weight.gradient for layer in report.rows for weight in layer.weights if weight.gradient is not None]


@pytest.mark.every_backend
@pytest.mark.parametrize(("kind", "loss"), list(zip(OF_LOSSES, LOSSES, strict=True)))
def test_a_given_loss_is_that_of_training(kind, loss):
    keras.utils.set_random_seed(0)
    model = MODELS[kind]()
    x, y = data(kind)
    given = diagnose_unnoticed(model, x, y, loss=LOSSES[loss]())
    model.compile(Plain([0.1]), "mae")
    assert gradients(diagnose_unnoticed(model, x, y, loss=LOSSES[loss]())) == gradients(given)
    model.compile(Plain([0.1]), LOSSES[loss]())
    assert gradients(diagnose_unnoticed(model, x, y)) == gradients(given)
    assert gradients(given)


@pytest.mark.every_backend
@pytest.mark.parametrize(("kind", "metrics"), in_turns(METRICS))
def test_gradients_are_those_of_a_training_step(kind, metrics):
    if kind == "stateful" and BACKEND == "torch":
        pytest.skip("Keras cannot train it on torch")
    keras.utils.set_random_seed(0)
    model = MODELS[kind]()
    x, y = data(kind)
    model.compile(keras.optimizers.SGD(1.0), "mse", metrics=METRICS[metrics]())
    found = gradients(diagnose_unnoticed(model, x, y))
    for weight in model.trainable_variables:
        weight.regularizer = None  # the gradient of which a report leaves out
    before = [to_numpy(variable.value).copy() for variable in model.trainable_variables]
    model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    after = [to_numpy(variable.value) for variable in model.trainable_variables]
    steps = [np.linalg.norm(one - other) for one, other in zip(before, after, strict=True)]
    assert sorted(found) == pytest.approx(sorted(steps), rel=1e-3, abs=1e-5)


@pytest.mark.every_backend
@pytest.mark.parametrize("kind", MONITORED)
def test_a_monitor_is_unnoticed(kind):
    if kind == "stateful" and BACKEND == "torch":
        pytest.skip("Keras cannot train it on torch")
    x, y = data(kind)
    courses = []
    for monitored in (False, True):
        keras.utils.set_random_seed(0)
        model = MODELS[kind]()
        model.compile(Plain([0.1]), squares, metrics=[keras.metrics.MeanAbsoluteError()])
        monitor = keras_initx.SignalMonitor(x, y, every=1)
        history = model.fit(x, y, batch_size=16, epochs=3, verbose=0, callbacks=[monitor] if monitored else [])
        courses.append((history.history["loss"], history.history["mean_absolute_error"], state(model)))
        assert list(monitor.history) == ([0, 1, 2, 3] if monitored else [])
    for one, other in zip(*map(keras.tree.flatten, courses), strict=True):
        np.testing.assert_array_equal(one, other)
