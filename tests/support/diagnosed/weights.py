"""Faults of weights, and of the signals that they make."""

import keras
import numpy as np
from keras import layers, ops
from keras.initializers import Constant, RandomUniform

import keras_initx
from diagnosed.networks import (
    BEFORE,
    LSTM,
    SERIES,
    Case,
    classes,
    dense,
    drawn,
    gru,
    headed,
    in_precision,
    language_model,
    lstm,
    made,
    of,
    padded,
    recurrent,
    regression,
    residual,
    scaled,
    simple,
    small,
    without_targets,
)


class Decay(layers.Layer):
    """Multiply by what a state keeps in a step, of whose rate the weight is the logarithm."""

    def __init__(self, rates):
        super().__init__(name="decay")
        self.A_log_initializer = Constant(np.log(rates))

    def build(self, shape):
        self.rate = self.add_weight(shape=shape[-1:], initializer=self.A_log_initializer, name="A_log")

    def call(self, inputs):
        return inputs * ops.exp(-ops.exp(self.rate))


def decay(repaired):
    """Begin the rates with 0, whose logarithm is -inf."""
    with np.errstate(divide="ignore"):
        return dense(depth=1, after=[lambda: Decay(np.arange(32) + repaired)])


class Spike(layers.Layer):
    """Give ones above a threshold, and pass the gradients of a smooth step."""

    def __init__(self, threshold):
        super().__init__(name="spike")
        self.threshold = threshold

    def call(self, x):
        over = x - self.threshold
        smooth = over / (1 + ops.abs(over))
        return smooth + ops.stop_gradient(ops.cast(over > 0, x.dtype) - smooth)


def spikes(repaired):
    """Spike at numbers that no example reaches."""
    return dense(None, depth=1, after=[lambda: Spike(1.0 if repaired else 30.0)])


def unfilled(repaired):
    """Return a network with a bias in memory that nobody has filled."""
    network = dense(depth=1)
    if not repaired:
        network[0].layers[0].bias.assign(np.resize(np.array([3e33, 4e-41, 7e28, 0], "float32"), 32))
    return network


def zero_embedding(repaired):
    embedding = layers.Embedding(50, 8, embeddings_initializer="uniform" if repaired else "zeros")
    return recurrent(embedding, layers.GRU(16), x=BEFORE, dtype="int32")


def twice_the_same_units(repaired):
    network = dense()
    kernel = network[0].layers[1].kernel
    if not repaired:
        kernel.assign(ops.repeat(kernel[:, :16], 2, axis=1))
    return network


def adapters(repaired):
    """Return a regression with adapters of which both factors are 0, or one."""
    network = regression()
    for layer in network[0].layers:
        layer.enable_lora(1)
        if not repaired:
            layer.lora_kernel_a.assign(np.zeros(layer.lora_kernel_a.shape))
    return network


class Gated(layers.Layer):
    """Add a multiple of a hidden layer, by a factor that is trained."""

    def __init__(self, factor, end):
        super().__init__(name="gated")
        self.factor, self.end = factor, layers.Dense(32, kernel_initializer=end, name="end")

    def build(self, shape):
        self.gate = self.add_weight(shape=(), initializer=self.factor, name="gate")
        self.end.build(shape)

    def call(self, inputs):
        return inputs + self.gate * self.end(inputs)


def gated(repaired):
    """Return a gate of 0 before a layer that is 0 too, or one of both."""
    model, *rest = regression()
    hidden, *others = model.layers
    return keras.Sequential(
        [keras.Input((32,)), hidden, Gated("zeros", "he_normal" if repaired else "zeros"), *others]
    ), *rest


def one_initializer(repaired):
    """Give both kernels of an LSTM an initializer with a seed."""
    one = keras.initializers.Orthogonal(seed=1)
    other = keras.initializers.Orthogonal(seed=2) if repaired else one
    return recurrent(LSTM(8, kernel_initializer=one, recurrent_initializer=other))


def of_pytorch(repaired):
    """Return 16 layers with PyTorch's weights and biases, and dropout."""
    kernel = "he_normal" if repaired else scaled("initx.lecun_uniform", 3**-0.5)
    bias = "zeros" if repaired else RandomUniform(-(32**-0.5), 32**-0.5)
    return without_targets(dense(kernel=kernel, depth=16, bias_initializer=bias, after=[lambda: layers.Dropout(0.1)]))


def product_of_kernels(repaired):
    """End in a layer that multiplies two kernels."""
    kernels = {
        f"{part}_initializer": "glorot_uniform" if repaired else small(1e-4) for part in ("depthwise", "pointwise")
    }
    stack = [layers.SeparableConv1D(10, 12, use_bias=False, **kernels), layers.Flatten()]
    return classes(keras.Sequential([keras.Input((12, 8)), *stack]), SERIES)


def sine(hidden):
    return ops.sin(30.0 * hidden)


def of_siren():
    """Return the initializer of Sitzmann and others (2020)."""
    return keras_initx.VarianceScaling(2 / 30**2, distribution="uniform")


def exploding_gates(repaired):
    """Return a GRU through whose recurrent kernel gradients grow from step to step."""
    kernel = "initx.orthogonal" if repaired else small(3.0)
    return recurrent(layers.GRU(16, recurrent_initializer=kernel, bias_initializer=GATES), x=LONG_SERIES[:, :60])


def frozen_below(repaired):
    """Return a layer that is trained behind six frozen ones."""
    kernel = "glorot_uniform" if repaired else of(0.01)
    hidden = [layers.Dense(32, "tanh", kernel_initializer=made(kernel)) for _ in range(6)]
    backbone = keras.Sequential([keras.Input((32,)), *hidden], name="backbone")
    backbone.trainable = False
    return classes(keras.Sequential([keras.Input((32,)), backbone, layers.Dense(10)]))


# Of gates that keep a state over the steps.
GATES = keras_initx.GRUUpdateBias(3.0)
LONG_SERIES = drawn(16, 150, 8)

FAULTY = {
    "-inf behind an exponential": Case(decay, ["not finite"], "give decay/A_log finite values"),
    "memory that nobody has filled": Case(unfilled, ["huge weights"], "give dense/bias other values"),
    # Units that are the same.
    "kernels of zeros": Case(
        lambda repaired: dense(kernel="he_normal" if repaired else "zeros"),
        ["equal units"],
        "random weights: keras_initx.HeNormal()",
    ),
    "embedding of zeros": Case(zero_embedding, ["equal units"]),
    "constant kernels": Case(
        lambda repaired: dense(kernel="he_normal" if repaired else (lambda: Constant(0.02))), ["equal units"]
    ),
    "adapters, both factors 0": Case(adapters, ["equal units"], "lora_kernel_a: keras_initx.HeUniform()"),
    "gate of 0, then zeros": Case(gated, ["equal units"], "random weights in gated/end/kernel"),
    "each unit twice": Case(twice_the_same_units, ["equal units"]),
    "one initializer with a seed for both kernels of an LSTM": Case(
        one_initializer, ["twin tensors"], "different seeds"
    ),
    # Memory.
    "LSTM, forget bias -4": Case(lambda repaired: recurrent(lstm(1.0 if repaired else -4.0)), ["memory"]),
    "GRU, update bias -4": Case(
        lambda repaired: recurrent(gru(1.0 if repaired else -4.0)),
        ["memory"],
        "bias_initializer=keras_initx.GRUUpdateBias(1.0)",
    ),
    "LSTM, bias 2 beside `unit_forget_bias`": Case(
        lambda repaired: recurrent(LSTM(16, bias_initializer=Constant(2.0), unit_forget_bias=not repaired)),
        ["memory"],
        "unit_forget_bias=False with bias_initializer=keras_initx.LSTMForgetBias(1.0)",
    ),
    "relu RNN, recurrent kernel times 6": Case(
        lambda repaired: simple(activation="relu", gain=1.0 if repaired else 6.0), ["memory", "exploding"]
    ),
    "tanh RNN, recurrent kernel of 0.5": Case(lambda repaired: simple(gain=1.0 if repaired else 0.5), ["memory"]),
    "tanh RNN, recurrent kernel of 0.8, 150 steps": Case(
        lambda repaired: simple(LONG_SERIES, gain=1.0 if repaired else 0.8), ["memory"]
    ),
    "60 zeros behind 3 words, LSTM": Case(lambda repaired: padded(LSTM(16), mask_zero=repaired), ["memory"]),
    "60 zeros behind 3 words, GRU": Case(
        lambda repaired: padded(layers.Dropout(0.3), layers.GRU(16), mask_zero=repaired), ["memory"]
    ),
    # Activations at their limits.
    "softsign, deviation 1": Case(
        lambda repaired: dense("softsign", "glorot_uniform" if repaired else of(1.0)), ["saturated"]
    ),
    "tanh, deviation 3": Case(
        lambda repaired: dense("tanh", "glorot_uniform" if repaired else of(3.0)), ["saturated"], "GlorotUniform()"
    ),
    "softmax, deviation 8": Case(
        lambda repaired: headed(
            loss="crossentropy", activation="softmax", kernel_initializer="zeros" if repaired else small(8.0)
        ),
        ["saturated"],
    ),
    "bias -10 before ReLU": Case(
        lambda repaired: dense(bias_initializer=Constant(0.0 if repaired else -10.0)),
        ["dead units"],
        "bias_initializer=keras_initx.ReLUBias(0.01)",
    ),
    # Signals and gradients in depth.
    "tanh, deviation 0.01, 7 layers": Case(
        lambda repaired: dense("tanh", "glorot_uniform" if repaired else of(0.01), 7),
        ["vanishing", "vanishing gradient"],
        "keras_initx.GlorotUniform() in this and all earlier layers",
    ),
    "ReLU, LeCun, 30 layers": Case(
        lambda repaired: dense(kernel="he_normal" if repaired else "lecun_normal", depth=30), ["vanishing"]
    ),
    "two kernels of 1e-4 in the last layer": Case(product_of_kernels, ["vanishing"]),
    "sine, deviation 1e-5": Case(
        lambda repaired: dense(sine, of_siren if repaired else of(1e-5), 4), ["vanishing", "vanishing gradient"]
    ),
    "tanh of half the size, biases of deviation 1, 20 layers": Case(
        lambda repaired: without_targets(
            dense(
                "tanh",
                scaled("initx.glorot_normal", 1.0 if repaired else 0.5),
                20,
                bias_initializer="zeros" if repaired else small(1.0),
            )
        ),
        ["alike"],
    ),
    "ReLU, PyTorch's weights and biases, 16 layers, dropout": Case(of_pytorch, ["alike"]),
    "sigmoid, Glorot, 10 layers": Case(
        lambda repaired: dense("tanh" if repaired else "sigmoid", "glorot_uniform", 10),
        ["alike", "vanishing gradient"],
        'use activation="tanh" with keras_initx.GlorotUniform() instead of sigmoid, or add '
        "keras.layers.BatchNormalization()",
    ),
    "ReLU, kernels times 10, 7 layers": Case(
        lambda repaired: dense(kernel=scaled("initx.he_normal", 1.0 if repaired else 10.0), depth=7),
        ["exploding"],
        "keras_initx.HeNormal() in this and all earlier layers",
    ),
    "GRU, recurrent kernel of deviation 3": Case(
        exploding_gates, ["exploding"], "recurrent_initializer=keras_initx.Orthogonal(blocks=3)"
    ),
    "frozen layers of deviation 0.01": Case(
        frozen_below, ["vanishing"], "backbone/dense/kernel, backbone/dense_1/kernel and 4 more, which are frozen"
    ),
    "float16, kernels times 1e5": Case(
        lambda repaired: in_precision(
            "float16", lambda: dense(kernel="he_normal" if repaired else (lambda: RandomUniform(-1e4, 1e4)))
        ),
        ["exploding"],
    ),
    "spikes above 30": Case(spikes, ["alike"], "use a lower threshold in spike"),
    # What the last layer starts with.
    "logits, deviation 4": Case(
        lambda repaired: headed(kernel_initializer="glorot_uniform" if repaired else small(4.0)),
        ["large first loss"],
        "smaller weights in the last layer: keras_initx.GlorotUniform()",
    ),
    "10 residual blocks, He": Case(
        lambda repaired: residual("zeros" if repaired else "he_normal"),
        ["large first loss"],
        'kernel_initializer="zeros" in the last layer of each residual branch',
    ),
    "tied embedding, deviation 1.4": Case(
        lambda repaired: language_model(0.02 if repaired else 1.4),
        ["large first loss"],
        "smaller weights in embedding/embeddings, which the last layer shares: keras_initx.GlorotUniform()",
    ),
    "regression, targets of 1000": Case(
        lambda repaired: regression(0.0 if repaired else 1000.0),
        ["large first loss"],
        "standardize the targets, or set the bias of the last layer to their mean",
    ),
}
