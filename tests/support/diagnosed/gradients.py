"""Faults that hold gradients back, and of the steps that an optimizer takes."""

import keras
from keras import layers, ops
from keras.optimizers.schedules import ExponentialDecay

from diagnosed.networks import (
    BINARY,
    CLASSES,
    ONE_HOT,
    SERIES,
    ZERO_ONE,
    Case,
    Written,
    X,
    by,
    by_sgd,
    dense,
    drawn,
    ending,
    in_precision,
)

Y = X[:, :1] * X[:, 1:2]
LAST = SERIES[:, -1, :1] + SERIES[:, -2, :1]


# Gradients that layers hold back.


def one_channel(repaired):
    """Normalize a time series of one channel, or the steps and the channel together."""
    norm = layers.LayerNormalization(axis=(1, 2) if repaired else -1)
    stack = [layers.Conv1D(1, 3), norm, layers.Flatten(), layers.Dense(1)]
    return keras.Sequential([keras.Input((12, 8)), *stack]), SERIES, LAST, "mse"


def one_pixel(repaired):
    """Normalize each channel of one pixel, or groups of several channels."""
    inputs = keras.Input((4, 4, 3))
    norm = layers.GroupNormalization(2 if repaired else -1)
    hidden = layers.ReLU()(norm(layers.Conv2D(16, 4)(inputs)))
    x = drawn(32, 4, 4, 3)
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(hidden))), x, x[:, 0, 0, :1], "mse"


def bits(repaired):
    """Round a code, or pass the gradient on as if it were not rounded."""
    inputs = keras.Input((32,))
    code = layers.Dense(4, "sigmoid", name="code")(layers.Dense(32, "relu", name="hidden")(inputs))
    code = code + ops.stop_gradient(ops.round(code) - code) if repaired else ops.round(code)
    return keras.Model(inputs, layers.Dense(1)(layers.Dense(16, "relu")(code))), X, Y, "mse"


def one_score(repaired):
    """Attend over the steps, with a softmax over the one score of a step, or over the steps."""

    def call(model, x):
        weights = ops.softmax(model.score(x), axis=1 if repaired else -1)
        return model.out(ops.sum(weights * x, axis=1))

    return Written(call, score=layers.Dense(1, name="score"), out=layers.Dense(1)), SERIES, LAST, "mse"


class Attend(layers.Layer):
    """Attention of a graph: a share for each pair of nodes, and their values."""

    def __init__(self, passes_gradients):
        super().__init__(name="attend")
        self.passes_gradients = passes_gradients

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], 8), name="kernel")
        self.score_kernel = self.add_weight((shape[-1], 1), name="score_kernel")

    def call(self, x):
        share = ops.softmax(ops.transpose(x @ self.score_kernel, (0, 2, 1)), axis=-1)
        if not self.passes_gradients:
            share = ops.stop_gradient(share)
        return share @ (x @ self.kernel)


def detached_score(repaired):
    """Attend over the steps, with shares that pass no gradient to the kernel of the scores."""
    stack = [Attend(repaired), layers.Flatten(), layers.Dense(1)]
    return keras.Sequential([keras.Input((12, 8)), *stack]), SERIES, LAST, "mse"


def without_a_loss(repaired):
    """Return two outputs, of which one has no loss."""
    inputs = keras.Input((32,))
    hidden = layers.Dense(32, "relu")(inputs)
    model = keras.Model(inputs, {name: layers.Dense(1, name=name)(hidden) for name in ("one", "other")})
    names = ["one", "other"] if repaired else ["one"]
    model.compile("adam", dict.fromkeys(names, "mse"))
    return model, X, dict.fromkeys(names, Y), None


def unused(repaired):
    """Drop what a layer gives."""

    def call(model, x):
        hidden = model.first(x)
        second = model.second(hidden)
        return model.out(second if repaired else hidden)

    parts = {"first": layers.Dense(16, "relu"), "second": layers.Dense(24, "relu", name="second")}
    return Written(call, **parts, out=layers.Dense(1)), X, Y, "mse"


def frozen(repaired):
    model, x, y, loss = ending(1, "sigmoid", ZERO_ONE, BINARY)
    model.trainable = repaired
    model.compile("adam", loss)
    return model, x, y, None


def exchanged(y_true, y_pred):
    """A crossentropy that takes the outputs for the labels, which get no gradient."""
    return -ops.sum(ops.stop_gradient(y_pred) * ops.log_softmax(y_true), axis=-1)


def exchanged_labels(repaired):
    loss = keras.losses.CategoricalCrossentropy(from_logits=True) if repaired else exchanged
    return ending(10, y=ONE_HOT, loss=loss, kernel_regularizer="l2")


# Weights that the model does not know.


def made_in_call(repaired):
    """Make a layer in each call."""

    def call(model, x):
        hidden = model.hidden if repaired else layers.Dense(32, "relu", name="hidden")
        return model.out(hidden(x))

    parts = {"hidden": layers.Dense(32, "relu")} if repaired else {}
    return Written(call, **parts, out=layers.Dense(1)), X, Y, "mse"


class Box:
    """A container that Keras does not search."""

    def __init__(self):
        self.blocks = [layers.Dense(32, "relu", name=f"block_{number}") for number in range(2)]


def boxed(repaired):
    """Keep layers in a container that Keras does not search."""
    box = Box()

    def call(model, x):
        for block in box.blocks:
            x = block(x)
        return model.out(x)

    return Written(call, out=layers.Dense(1), **({"blocks": box.blocks} if repaired else {})), X, Y, "mse"


# Optimizers, of which steps are small or large.


def rate(faulty, sound=None):
    """Return a function that makes a network with the optimizer of one of these functions."""
    return lambda repaired: by((sound or keras.optimizers.Adam)() if repaired else faulty())


def sgd(faulty, sound=None, loss="mse"):
    """Return a function that makes a regression with SGD of these arguments."""
    return lambda repaired: by_sgd(**(sound or {"rate": 0.03}) if repaired else faulty, loss=loss)


def halved(steps):
    """Return Adam with a rate that halves each time that so many steps are done."""
    return keras.optimizers.Adam(ExponentialDecay(0.001, steps, 0.5))


# What a batch shows once steps are taken on it.


class ForgetsKernels(keras.optimizers.SGD):
    """Changes biases alone."""

    def apply(self, grads, trainable_variables=None):
        super().apply([grad * (len(grad.shape) < 2) for grad in grads], trainable_variables)


def summed(repaired=False):
    """Return a network with the sum over its examples for a loss, and the rate for a mean."""
    model, x, y, _ = dense()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    model.compile(keras.optimizers.SGD(1.0), CLASSES if repaired else loss)
    return model, x, y, None


FAULTY = {
    "normalization of one channel": Case(one_channel, ["no gradient"], "normalize several values"),
    "normalization of each channel of one pixel": Case(one_pixel, ["no gradient"]),
    "code that is rounded": Case(bits, ["no gradient"], "a smooth operation between code and "),
    "softmax of one score": Case(one_score, ["no gradient"], "apply the softmax to several values"),
    "score whose share is detached": Case(detached_score, ["no gradient"], "remove keras.ops.stop_gradient in attend"),
    "output without a loss": Case(without_a_loss, ["no gradient"]),
    "layer whose output is dropped": Case(unused, ["no gradient"]),
    "model that is frozen": Case(frozen, ["no gradient"]),
    "crossentropy, labels and outputs exchanged, L2": Case(
        exchanged_labels, ["no gradient"], "in a loss, put the targets first"
    ),
    "layer made in each call": Case(made_in_call, ["untracked weights"], "make each layer once, in `__init__`"),
    "layers in a container that Keras does not search": Case(boxed, ["untracked weights"]),
    "SGD, -0.1": Case(sgd({"rate": -0.1}), ["rate"]),
    "Adam, rate that halves in each step": Case(rate(lambda: halved(1), lambda: halved(10000)), ["rate"]),
    "Adadelta, 0.001": Case(
        rate(lambda: keras.optimizers.Adadelta(0.001), lambda: keras.optimizers.Adadelta(1.0)),
        ["rate"],
        "keras.optimizers.Adadelta(1.0)",
    ),
    "SGD, gradients clipped to 1e-5": Case(sgd({"rate": 0.1, "clipnorm": 1e-5}), ["rate"]),
    "SGD, 3": Case(sgd({"rate": 3.0}, {"rate": 3.0, "clipnorm": 0.1}), ["rate"]),
    "Adam, 0.5": Case(rate(lambda: keras.optimizers.Adam(0.5)), ["rate"], "the default rate: keras.optimizers.Adam()"),
    "SGD, 1, sum over the examples": Case(summed, ["diverging steps"], "keras.optimizers.SGD(", 20),
    "Adam with weights in bfloat16": Case(
        lambda repaired: in_precision(f"{'mixed_' * repaired}bfloat16", lambda: by(keras.optimizers.Adam())),
        ["diverging steps"],
        "keep weights in float32",
        5,
    ),
    "SGD without the kernels": Case(
        rate(lambda: ForgetsKernels(0.01), lambda: keras.optimizers.SGD(0.01)), ["diverging steps"], steps=10
    ),
}
