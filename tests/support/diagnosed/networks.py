"""Data and builders of the small networks that `diagnose` is tried on, and the form of their rows."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops
from keras.initializers import RandomNormal

import keras_initx


class Case(NamedTuple):
    """A faulty network.

    Attributes:
        build: Function that returns a model, inputs, targets and a loss, `None` for a compiled model; its argument
            says whether they are repaired.
        problems: Errors and warnings of the faulty network, in the order of the report. The repaired one has none.
        remedy: A part of the text of the first remedy.
        steps: With how many steps it is diagnosed.
    """

    build: Callable[[bool], tuple[keras.Model, Any, Any, Any]]
    problems: list[str]
    remedy: str = ""
    steps: int = 0


def drawn(*shape, seed=0):
    """Return standard normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


CLASSES = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
LOGITS = keras.losses.BinaryCrossentropy(from_logits=True)
SPARSE, ROWS, BINARY = "sparse_categorical_crossentropy", "categorical_crossentropy", "binary_crossentropy"
LSTM, BATCH, LAYER = layers.LSTM, layers.BatchNormalization, layers.LayerNormalization

# With this seed each class occurs.
X = drawn(64, 32, seed=10)
LABELS = X[:, :10].argmax(axis=-1)
ONE_HOT = np.eye(10, dtype="float32")[LABELS]
SEVERAL = (X[:, :10] > 0).astype("float32")
ZERO_ONE = SEVERAL[:, :1]
# Probabilities of a teacher.
SOFT = np.exp(X[:, :10]) / np.exp(X[:, :10]).sum(axis=-1, keepdims=True)
COUNTS = LABELS[:, None].astype("float32")
IMAGES = drawn(16, 8, 8, 3)
SERIES = drawn(32, 12, 8)
TOKENS = np.random.default_rng(0).integers(0, 50, (16, 13))
BEFORE, AFTER = TOKENS[:, :-1], TOKENS[:, 1:]


def made(initializer):
    """Return an initializer of its own: one from a function, a string id as it is."""
    return initializer() if callable(initializer) else initializer


def scaled(name, factor):
    return lambda: keras_initx.Scaled(name, factor)


def small(stddev=0.02):
    return RandomNormal(stddev=stddev)


def of(stddev):
    """Return a function that makes initializers with this standard deviation."""
    return lambda: small(stddev)


# Dense networks: 32 inputs, 10 classes.


def mlp(activation="relu", kernel="he_normal", depth=3, head=None, after=(), **arguments):
    """Return dense layers of 32 units, each with what `after` makes behind it, and a head."""
    stack = []
    for _ in range(depth):
        stack += [layers.Dense(32, activation, kernel_initializer=made(kernel), **arguments)]
        stack += [make() for make in after]
    return keras.Sequential([keras.Input((32,)), *stack, head or layers.Dense(10)])


def classes(model, x=X, loss=CLASSES):
    """Return a model with inputs, labels and a loss."""
    return model, x, LABELS[: len(x)], loss


def dense(*arguments, x=X, **options):
    return classes(mlp(*arguments, **options), x)


def headed(units=10, loss=CLASSES, **options):
    """Return a network whose last layer has these options."""
    return classes(mlp(head=layers.Dense(units, **options)), loss=loss)


def ending(units, activation=None, y=LABELS, loss=CLASSES, after=(), **options):
    """Return a network whose last layer, `out`, has an activation, followed by layers, with targets and a loss."""
    hidden = layers.Dense(32, "relu", kernel_initializer="he_normal")
    stack = [keras.Input((32,)), hidden, layers.Dense(units, activation, name="out", **options), *after]
    return keras.Sequential(stack), X, y, loss


def regression(offset=0.0, factor=1.0, loss="mse", head=None):
    y = offset + factor * (X @ np.linspace(-0.3, 0.3, 32) + 0.3 * drawn(64, seed=1))
    return mlp(head=head or layers.Dense(1)), X, y[:, None], loss


def by(optimizer):
    """Return a network that is compiled with an optimizer."""
    model, x, y, loss = dense()
    model.compile(optimizer, loss)
    return model, x, y, None


def by_sgd(rate, loss="mse", **options):
    """Return a regression that is compiled with SGD."""
    model, x, y, _ = regression()
    model.compile(keras.optimizers.SGD(rate, **options), loss)
    return model, x, y, None


def residual(end="he_normal"):
    """Return ten residual blocks without normalization."""
    hidden = inputs = keras.Input((32,))
    for _ in range(10):
        branch = layers.Dense(32, "relu", kernel_initializer="he_normal")(layers.ReLU()(hidden))
        hidden = layers.Add()([hidden, layers.Dense(32, kernel_initializer=made(end))(branch)])
    return classes(keras.Model(inputs, layers.Dense(10)(hidden)))


class Written(keras.Model):
    """A model with parts of its own, which are its attributes, and a function as its call."""

    def __init__(self, function, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = function

    def call(self, x):
        return self.function(self, x)


# Convolutions: images of 8 by 8 pixels, 3 channels.


def conv(filters, hidden, size=3, activation="relu", kernel="he_normal", **arguments):
    arguments = {"padding": "same", "activation": activation, "kernel_initializer": made(kernel), **arguments}
    return layers.Conv2D(filters, size, **arguments)(hidden)


def images(hidden, inputs):
    pooled = layers.GlobalAveragePooling2D()(hidden)
    return classes(keras.Model(inputs, layers.Dense(10)(pooled)), IMAGES)


def cnn(x=IMAGES, y=LABELS[:16]):
    inputs = keras.Input((8, 8, 3))
    hidden = conv(16, conv(16, inputs), strides=2)
    return keras.Model(inputs, layers.Dense(10, "softmax")(layers.Flatten()(hidden))), x, y, "crossentropy"


# Recurrent networks: 12 steps of 8 numbers.


def recurrent(*stack, x=SERIES, dtype="float32"):
    return classes(keras.Sequential([keras.Input(x.shape[1:], dtype=dtype), *stack, layers.Dense(10)]), x)


def simple(x=SERIES, activation="tanh", **orthogonal):
    """Return a plain recurrent network whose recurrent kernel has a gain."""
    kernel = keras_initx.Orthogonal(**orthogonal)
    return recurrent(layers.SimpleRNN(16, activation, recurrent_initializer=kernel), x=x)


def lstm(value=None, **arguments):
    if value is not None:
        bias = keras_initx.LSTMForgetBias(value)
        arguments |= {"bias_initializer": bias, "unit_forget_bias": False}
    return LSTM(16, **arguments)


def gru(value):
    # That of Keras is not made in 16 bits on torch.
    options = {"bias_initializer": keras_initx.GRUUpdateBias(value), "recurrent_initializer": "initx.orthogonal"}
    return layers.GRU(16, **options)


def padded(*stack, mask_zero=False, words=3):
    """Return a network for texts of one word, 3 times, with 60 zeros behind."""
    texts = np.zeros((32, 63), "int32")
    texts[:, :words] = 1 + LABELS[:32, None]
    return recurrent(layers.Embedding(11, 16, mask_zero=mask_zero), *stack, x=texts, dtype="int32")


def forecast(factor=1.0, **options):
    """Return a forecast of the next number of each series by an LSTM."""
    stack = [keras.Input((12, 8)), LSTM(16, name="lstm", **options), layers.Dense(1, name="out")]
    return keras.Sequential(stack), factor * SERIES, SERIES[:, -1, :1], "mse"


# Transformers: 12 of 50 tokens.


def attended(hidden, source, *, grouped=False, **options):
    """Return the outputs of an attention layer."""
    layer = layers.GroupQueryAttention(8, 4, 2) if grouped else layers.MultiHeadAttention(4, 8)
    return layer(hidden, source, **options)


def blocks(hidden, count, *, post=False, activation="gelu", norm=LAYER, **options):
    """Return a transformer's blocks with normalization before each branch, or behind it with `post`."""
    for _ in range(count):
        for branch in ("attention", "feed-forward"):
            inputs = hidden if post else norm()(hidden)
            if branch == "attention":
                outputs = attended(inputs, inputs, **options)
            else:
                outputs = layers.Dense(hidden.shape[-1])(layers.Dense(64, activation)(inputs))
            hidden = layers.Add()([hidden, outputs])
            hidden = norm()(hidden) if post else hidden
    return hidden if post else norm()(hidden)


class Positions(layers.Layer):
    """Add an embedding of positions."""

    def build(self, shape):
        self.table = self.add_weight(shape=shape[1:], initializer=small(), name="table")

    def call(self, inputs):
        return inputs + self.table


def embedded(inputs):
    """Return the embeddings of tokens, plus those of their positions."""
    return Positions()(layers.Embedding(50, 32, embeddings_initializer=small())(inputs))


def encoder(count=4, **options):
    inputs = keras.Input((12,), dtype="int32")
    hidden = blocks(embedded(inputs), count, **options)
    return classes(keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(hidden))), BEFORE)


class Tied(layers.Layer):
    """Multiply by the weights of an embedding."""

    def __init__(self, embedding):
        super().__init__()
        self.embedding = embedding

    def call(self, inputs):
        return ops.matmul(inputs, ops.transpose(self.embedding.embeddings))


def language_model(stddev=0.02):
    """Return a decoder whose outputs use the weights of its embedding."""
    inputs = keras.Input((12,), dtype="int32")
    embedding = layers.Embedding(50, 64, embeddings_initializer=small(stddev))
    hidden = blocks(embedding(inputs), 2, use_causal_mask=True)
    return keras.Model(inputs, Tied(embedding)(hidden)), BEFORE, AFTER, CLASSES


# Other forms of networks.


def without_targets(network):
    model, x, _, _ = network
    return model, x, None, None


def in_precision(policy, build):
    """Return the network that `build` makes with a policy of precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        return build()
    finally:
        keras.config.set_dtype_policy(before)
