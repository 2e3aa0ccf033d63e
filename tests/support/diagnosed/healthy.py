"""Networks of many kinds that are as they should be, some of them near a bound of a rule."""

import keras
import numpy as np
from keras import layers, ops

import keras_initx
from diagnosed.data import words_beside
from diagnosed.losses import tagged
from diagnosed.networks import (
    BATCH,
    BINARY,
    CLASSES,
    COUNTS,
    LABELS,
    LSTM,
    ONE_HOT,
    SERIES,
    SOFT,
    ZERO_ONE,
    X,
    by,
    classes,
    dense,
    encoder,
    ending,
    gru,
    headed,
    in_precision,
    lstm,
    padded,
    recurrent,
    residual,
    scaled,
    simple,
)

# Two of 64.
RARE = (np.arange(64)[:, None] % 32 == 0).astype("float32")
# Cumulative: class 2 of 4 is 1, 1, 0.
ORDINAL = (LABELS[:, None] % 4 > np.arange(3)).astype("float32")


# Losses of one's own.


def policy():
    """Return a policy, actions that were taken, and what each gained: nothing for a quarter of them."""

    def loss(y_true, y_pred):
        taken = ops.one_hot(ops.cast(y_true[:, 0], "int32"), 10)
        return -ops.sum(ops.log_softmax(y_pred) * taken, axis=-1) * y_true[:, 1]

    gained = np.where(np.arange(64) % 4 == 0, 0, 1 - 3 * X[:, 0])
    return ending(10, y=np.stack([LABELS, gained], axis=1).astype("float32"), loss=loss)


def guarded(y_true, y_pred):
    """A crossentropy of probabilities that are kept away from 0."""
    return -ops.sum(y_true * ops.log(ops.maximum(y_pred, 1e-7)), axis=-1)


def weighted(y, outputs):
    """A binary crossentropy of logits in which what is there counts nine times."""
    return ops.mean(9 * y * ops.softplus(-outputs) + (1 - y) * ops.softplus(outputs))


# Networks of several inputs, or with branches.


class Gain(layers.Layer):
    """Multiply by a number that is trained and starts at 0 (ReZero)."""

    def build(self, shape):
        self.gain = self.add_weight(shape=(), initializer="zeros", name="gain")

    def call(self, inputs):
        return self.gain * inputs


def rezero():
    hidden = inputs = keras.Input((32,))
    for _ in range(8):
        hidden = layers.Add()([hidden, Gain()(layers.Dense(32, "relu", kernel_initializer="he_normal")(hidden))])
    return classes(keras.Model(inputs, layers.Dense(10)(hidden)))


def pairs():
    """Return a network for pairs, of which those of label 1 are alike, and a loss that draws them together."""
    shared = keras.Sequential([keras.Input((32,)), layers.Dense(32, "relu"), layers.Dense(8)])
    left, right = keras.Input((32,)), keras.Input((32,))
    squares = ops.sum((shared(left) - shared(right)) ** 2, axis=1, keepdims=True)
    y = np.arange(64)[:, None] % 2
    other = np.where(y == 1, X + 0.3 * X[::-1], X[::-1]).astype("float32")

    def loss(y_true, y_pred):
        return y_true * y_pred**2 + (1 - y_true) * ops.relu(8 - y_pred) ** 2

    return keras.Model([left, right], ops.sqrt(squares + 1e-7)), [X, other], y.astype("float32"), loss


# Convolutions.


# Recurrent networks.


def given_states():
    """Return an LSTM whose first states, zeros, are inputs of the model."""
    inputs = [keras.Input((12, 8)), keras.Input((16,)), keras.Input((16,))]
    hidden = LSTM(16)(inputs[0], initial_state=inputs[1:])
    zeros = np.zeros((len(SERIES), 16), "float32")
    return keras.Model(inputs, layers.Dense(10)(hidden)), [SERIES, zeros, zeros], LABELS[: len(SERIES)], CLASSES


# Transformers.


def trained(network, epochs=5):
    model, x, y, loss = network
    model.compile(keras.optimizers.Adam(0.01), loss)
    model.fit(x, y, batch_size=16, epochs=epochs, verbose=0)
    return network


def warmed_up():
    """Return Adam with a rate that rises from 0 in a thousand steps."""
    schedule = keras.optimizers.schedules.CosineDecay(0.0, 10000, warmup_target=0.001, warmup_steps=1000)
    return keras.optimizers.Adam(schedule)


HEALTHY = {
    # Dense networks.
    "tanh, orthogonal, 10 layers": lambda: dense("tanh", keras_initx.Orthogonal, 10),
    "SELU, LeCun, 20 layers": lambda: dense("selu", "lecun_normal", 20),
    "sigmoid, Glorot, 2 layers": lambda: dense("sigmoid", "glorot_uniform", 2),
    "SiLU, He, 5 layers": lambda: dense("silu", depth=5),
    "batch normalization, 10 layers": lambda: dense(depth=10, after=[BATCH]),
    "dropout": lambda: dense(after=[lambda: layers.Dropout(0.5)]),
    "last kernel of zeros": lambda: headed(kernel_initializer="zeros"),
    # Targets and losses.
    "regression between 0 and 1, sigmoid": lambda: ending(10, "sigmoid", SOFT, "mse"),
    "counts, ReLU": lambda: ending(1, "relu", COUNTS, "mse"),
    "two classes, prior bias": lambda: ending(
        1, "sigmoid", RARE, BINARY, bias_initializer=keras_initx.PriorBias(1 / 32)
    ),
    "softmax in a lambda": lambda: ending(10, loss="crossentropy", after=[layers.Lambda(lambda x: ops.softmax(x))]),
    "logarithms of probabilities as logits": lambda: ending(10, "log_softmax"),
    # One of the steps is wanted.
    "softmax over the steps, one unit": lambda: tagged(1, np.eye(12, dtype="float32")[LABELS[:32], :, None], BINARY, 1),
    "own loss with a limit": lambda: ending(10, "softmax", ONE_HOT, guarded),
    "softplus, divided by its sum in the loss": lambda: ending(10, "softplus", loss="crossentropy"),
    "label smoothing": lambda: ending(
        10, "softmax", ONE_HOT, keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    ),
    "soft targets of a teacher": lambda: ending(10, None, SOFT, keras.losses.CategoricalCrossentropy(from_logits=True)),
    "one-hot times an advantage": lambda: ending(10, "softmax", ONE_HOT * X[:, :1], "categorical_crossentropy"),
    "classes that are left out": lambda: ending(
        10,
        y=np.where(LABELS < 2, 255, LABELS),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255),
    ),
    "ordinal": lambda: ending(3, "sigmoid", ORDINAL, BINARY),
    "hinge": lambda: ending(1, "tanh", 2 * ZERO_ONE - 1, "hinge"),
    "focal loss": lambda: ending(
        1, "sigmoid", RARE, "binary_focal_crossentropy", bias_initializer=keras_initx.PriorBias(1 / 32)
    ),
    "own loss that is no known one": lambda: ending(1, "sigmoid", ZERO_ONE, weighted),
    "policy gradient": policy,
    # Several inputs, and branches.
    "pairs, contrastive loss": pairs,
    "segments that are all 0": lambda: words_beside(2, np.zeros((64, 4), "int32")),
    "ReZero, 8 blocks": rezero,
    "10 residual blocks that end in small weights": lambda: residual(scaled("initx.he_normal", 0.25)),
    # Convolutions.
    # Recurrent networks.
    "LSTM, chrono bias": lambda: recurrent(
        LSTM(16, bias_initializer=keras_initx.ChronoBias(100), unit_forget_bias=False)
    ),
    "LSTM, forget bias -2.9": lambda: recurrent(lstm(-2.9)),
    "LSTM, initial states of zeros": given_states,
    "60 zeros behind 3 words, in both directions": lambda: padded(layers.Bidirectional(LSTM(16))),
    "60 zeros behind 3 words, a pooling": lambda: padded(LSTM(16, return_sequences=True), layers.GlobalMaxPooling1D()),
    "one word 63 times": lambda: padded(LSTM(16), words=63),
    "simple RNN, small recurrent kernel, few steps": lambda: simple(SERIES[:, :4], gain=0.02),
    # Transformers.
    "transformer, 6 blocks": lambda: encoder(6),
    "transformer, normalization behind": lambda: encoder(post=True),
    "transformer, grouped queries, RMS": lambda: encoder(grouped=True, norm=layers.RMSNormalization, activation="silu"),
    # Trained networks, 16 bits, rates.
    "trained, dense": lambda: trained(dense()),
    "bfloat16, GRU": lambda: in_precision("bfloat16", lambda: recurrent(gru(1.0))),
    "rate that rises from 0": lambda: by(warmed_up()),
}
