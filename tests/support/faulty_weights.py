"""Faults in the weights of four models, each of which an audit has to find.

`python tests/support/faulty_weights.py` prints what it says of each.
"""

import functools
import itertools
import math
import sys
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import layers
from modes import to_numpy

import keras_initx
from keras_initx.inspection._inventory import Inventory

RNG = np.random.default_rng(0)


class Fault(NamedTuple):
    """A change of one weight, and what the audit should say about it; any cause is right where none is given."""

    model: str
    path: str
    name: str
    change: Callable
    verdict: str
    cause: str | None = None


class Block(layers.Layer):
    """A block of a transformer with the names of KerasHub."""

    def __init__(self, name):
        super().__init__(name=name)
        self.attention = layers.MultiHeadAttention(4, 16, name="self_attention")
        self.inner = layers.Dense(256, "gelu", name="feedforward_intermediate_dense")
        self.outer = layers.Dense(64, name="feedforward_output_dense")

    def call(self, x):
        x = x + self.attention(x, x)
        return x + self.outer(self.inner(x))


def transformer():
    inputs = keras.Input((16,), dtype="int32")
    x = layers.Embedding(500, 64, name="token_embedding")(inputs)
    for number in range(4):
        x = Block(f"b{number}")(x)
    return keras.Model(inputs, layers.Dense(500, name="head")(x))


def convolutional():
    return keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(32, 3, activation="relu", name="c1"),
            layers.BatchNormalization(name="bn"),
            layers.DepthwiseConv2D(3, name="dw"),
            layers.Conv2D(64, 3, activation="relu", name="c2"),
            layers.Flatten(),
            layers.Dense(64, "relu", name="d1"),
            layers.Dense(40, name="d2"),
        ]
    )


def recurrent():
    return keras.Sequential(
        [
            keras.Input((10,)),
            layers.Embedding(300, 64, name="embedding"),
            layers.LSTM(64, name="lstm"),
            layers.Dense(100, name="out"),
        ]
    )


BUILD = {"gpt2": transformer, "he": convolutional, "sparse": convolutional, "lstm": recurrent}
RULES = {
    "gpt2": {
        "*/attention_output/kernel": keras_initx.RandomNormal(stddev=0.02 / math.sqrt(8)),
        "*/feedforward_output_dense/kernel": keras_initx.RandomNormal(stddev=0.02 / math.sqrt(8)),
        "*kernel": keras_initx.RandomNormal(stddev=0.02),
        "*embeddings": keras_initx.RandomNormal(stddev=0.01),
        "*bias": "zeros",
    },
    "he": {"*/kernel": "initx.he_normal"},
    "sparse": {
        "d1/kernel": keras_initx.Sparse(8),
        "d2/kernel": keras_initx.HeUniform(),
        "c2/kernel": keras_initx.DeltaOrthogonal(),
    },
    "lstm": {
        "*/recurrent_kernel": keras_initx.Orthogonal(blocks=4),
        "*/lstm_cell/kernel": "initx.glorot_uniform",
        "*/lstm_cell/bias": keras_initx.LSTMForgetBias(2.0),
        "embedding/*": keras_initx.RandomUniform(-0.1, 0.1),
        "out/kernel": keras_initx.LecunNormal(),
    },
}


def times(factor):
    return lambda values: values * factor


def plus(number):
    return lambda values: values + number


def normal(std):
    return lambda values: RNG.normal(0, std, values.shape)


def uniform(limit):
    return lambda values: RNG.uniform(-limit, limit, values.shape)


def truncated(bound, std):
    """Draw a normal distribution that is truncated at `bound`, with this standard deviation."""

    def drawn(values):
        candidates = RNG.normal(size=4 * values.size)
        kept = candidates[np.abs(candidates) < bound][: values.size]
        return (kept / kept.std() * std).reshape(values.shape)

    return drawn


def rounded(dtype):
    return lambda values: to_numpy(keras.ops.cast(keras.ops.cast(values, dtype), "float32"))


def tiled(axis, count):
    return lambda values: np.concatenate([np.split(values, count, axis)[0]] * count, axis)


def every_unit_twice(values):
    half = values[..., : values.shape[-1] // 2]
    return np.repeat(half, 2, axis=-1)


def copied(target, source):
    def changed(values):
        values = values.copy()
        values[target] = values[source]
        return values

    return changed


def opposite_halves(values):
    half = values[..., : values.shape[-1] // 2]
    return np.concatenate([half, -half], axis=-1)


def set_to(number, where):
    def changed(values):
        values = values.copy()
        values[where] = number
        return values

    return changed


def dropped(share):
    return lambda values: np.where(RNG.random(values.shape) < share, 0, values)


def whole_frame(values):
    return np.linalg.qr(RNG.normal(size=values.T.shape))[0].T


QUERY = "b0/self_attention/query/kernel"
INNER = "b2/feedforward_intermediate_dense/kernel"
OUTER = "b3/feedforward_output_dense/kernel"
TOKENS = "token_embedding/embeddings"
RECURRENT = "lstm/lstm_cell/recurrent_kernel"
BIAS = "lstm/lstm_cell/bias"

FAULTS = (
    Fault("gpt2", QUERY, name="a tenth too small", change=times(0.9), verdict="scale", cause=""),
    Fault(
        "gpt2",
        OUTER,
        name="no scaling by depth",
        change=times(math.sqrt(8)),
        verdict="scale",
        cause="depth scaling 1/sqrt(8) not applied",
    ),
    Fault(
        "gpt2",
        INNER,
        name="scaled by depth",
        change=times(8**-0.5),
        verdict="scale",
        cause="as for RandomNormal(stddev=0.007071)",
    ),
    Fault("gpt2", "head/kernel", name="3 % too large", change=times(1.03), verdict="scale"),
    Fault("gpt2", INNER, name="zeros", change=times(0), verdict="constant"),
    Fault("gpt2", INNER, name="one value", change=lambda values: np.full_like(values, 0.02), verdict="constant"),
    Fault("gpt2", "b1/feedforward_intermediate_dense/bias", name="a bias drawn", change=normal(0.02), verdict="values"),
    Fault(
        "gpt2",
        "b1/feedforward_output_dense/bias",
        name="one bias changed",
        change=set_to(1e-3, 7),
        verdict="values",
    ),
    Fault(
        "gpt2",
        QUERY,
        name="truncated",
        change=truncated(2, 0.02),
        verdict="bounds",
        cause="truncated normal instead of normal",
    ),
    Fault("gpt2", TOKENS, name="truncated farther out", change=truncated(3, 0.01), verdict="bounds"),
    Fault("gpt2", INNER, name="rounded to bfloat16", change=rounded("bfloat16"), verdict="precision"),
    Fault("gpt2", INNER, name="one shard four times", change=tiled(1, 4), verdict="copies", cause=""),
    Fault("gpt2", INNER, name="every unit twice", change=every_unit_twice, verdict="equal slices", cause=""),
    Fault(
        "gpt2",
        QUERY,
        name="two heads equal",
        change=copied(np.s_[:, 2], np.s_[:, 0]),
        verdict="equal slices",
        cause="",
    ),
    Fault(
        "gpt2",
        QUERY,
        name="two units of two heads",
        change=copied(np.s_[:, 2, 5], np.s_[:, 0, 7]),
        verdict="equal slices",
        cause="",
    ),
    Fault("gpt2", TOKENS, name="two tokens equal", change=copied(450, 3), verdict="equal slices", cause=""),
    Fault("gpt2", INNER, name="shifted", change=plus(0.002), verdict="mean"),
    Fault("gpt2", QUERY, name="a twentieth dropped", change=dropped(0.05), verdict="zeros"),
    Fault("gpt2", TOKENS, name="a row for padding", change=set_to(0, 0), verdict="zeros"),
    Fault("gpt2", QUERY, name="not a number", change=set_to(np.nan, (3, 1, 2)), verdict="not finite"),
    Fault(
        "gpt2",
        OUTER,
        name="signs only",
        change=lambda values: np.sign(values) * 0.02 / math.sqrt(8),
        verdict="copies",
    ),
    Fault(
        "gpt2",
        OUTER,
        name="Laplace's",
        change=lambda v: RNG.laplace(0, 0.02 / math.sqrt(16), v.shape),
        verdict="bounds",
    ),
    Fault(
        "gpt2",
        OUTER,
        name="uniform",
        change=uniform(0.02 * math.sqrt(3 / 8)),
        verdict="bounds",
        cause="uniform instead of normal",
    ),
    Fault("gpt2", OUTER, name="one outlier", change=set_to(0.2, (5, 5)), verdict="bounds"),
    Fault("he", "d1/kernel", name="LeCun's", change=times(math.sqrt(0.5)), verdict="scale", cause="LeCun's scale"),
    Fault(
        "he",
        "d1/kernel",
        name="not truncated",
        change=normal(math.sqrt(2 / 6400)),
        verdict="bounds",
        cause="normal instead of truncated normal",
    ),
    Fault(
        "he",
        "d1/kernel",
        name="fan-out",
        change=times(math.sqrt(6400 / 64)),
        verdict="scale",
        cause="fan_out instead of fan_in",
    ),
    Fault(
        "he",
        "d1/kernel",
        name="twice as large",
        change=times(2),
        verdict="scale",
        cause="",
    ),
    Fault("he", "c2/kernel", name="truncated farther in", change=truncated(1.2, math.sqrt(2 / 288)), verdict="bounds"),
    Fault(
        "he",
        "c2/kernel",
        name="not corrected",
        change=times(0.8796),
        verdict="scale",
        cause="standard deviation is that before truncation",
    ),
    Fault("he", "c2/kernel", name="truncated twice", change=times(0.7737), verdict="scale", cause=""),
    Fault("he", "d1/kernel", name="both halves equal", change=tiled(0, 2), verdict="copies", cause=""),
    Fault("he", "d1/kernel", name="opposite units", change=opposite_halves, verdict="equal slices", cause=""),
    Fault("he", "d1/kernel", name="rounded to float16", change=rounded("float16"), verdict="precision"),
    Fault("he", "bn/beta", name="ones", change=plus(1), verdict="values"),
    Fault("he", "c1/bias", name="0.01", change=plus(0.01), verdict="values"),
    Fault("he", "bn/moving_variance", name="zeros", change=times(0), verdict="values"),
    Fault(
        "sparse",
        "d1/kernel",
        name="no zeros",
        change=lambda values: np.where(values == 0, 1e-9, values),
        verdict="connections",
    ),
    Fault(
        "sparse",
        "d1/kernel",
        name="mixed units",
        change=lambda values: RNG.permuted(values, axis=1),
        verdict="connections",
    ),
    Fault(
        "sparse",
        "d1/kernel",
        name="a lost connection",
        change=lambda v: np.where(v == v.max(), 0, v),
        verdict="connections",
    ),
    Fault("sparse", "d1/kernel", name="a fifth too large", change=times(1.2), verdict="scale"),
    Fault(
        "sparse",
        "d1/kernel",
        name="two units equal",
        change=copied(np.s_[:, 9], np.s_[:, 4]),
        verdict="equal slices",
        cause="",
    ),
    Fault("sparse", "c2/kernel", name="a tenth too large", change=times(1.1), verdict="scale"),
    Fault(
        "sparse",
        "c2/kernel",
        name="beside the center",
        change=lambda values: np.roll(values, 1, axis=0),
        verdict="parts",
    ),
    Fault("sparse", "c2/kernel", name="half of the units", change=set_to(0, np.s_[..., 32:]), verdict="connections"),
    Fault(
        "sparse",
        "d2/kernel",
        name="not uniform",
        change=normal(math.sqrt(2 / 64)),
        verdict="bounds",
        cause="normal instead of uniform",
    ),
    Fault("lstm", BIAS, name="forget biases of 1", change=times(0.5), verdict="values"),
    Fault("lstm", BIAS, name="lost", change=times(0), verdict="values"),
    Fault("lstm", BIAS, name="another order of gates", change=lambda values: np.roll(values, 64), verdict="values"),
    Fault("lstm", RECURRENT, name="one frame for all gates", change=whole_frame, verdict="orthonormality"),
    Fault("lstm", RECURRENT, name="a tenth too small", change=times(0.9), verdict="scale"),
    Fault("lstm", RECURRENT, name="Gaussian", change=normal(1 / 8), verdict="orthonormality"),
    Fault("lstm", RECURRENT, name="one block for all gates", change=tiled(1, 4), verdict="copies"),
    Fault(
        "lstm",
        RECURRENT,
        name="two gates equal",
        change=copied(np.s_[:, 128:192], np.s_[:, :64]),
        verdict="equal slices",
        cause="",
    ),
)


@functools.cache
def model_of(name):
    """Return a model, initialized by its rules, and its weights by path."""
    model = BUILD[name]()
    keras_initx.initialize(model, RULES[name], seed=1)
    return model, {weight.path: weight.variable for weight in Inventory(model).weights}


@functools.cache
def contract_of(name):
    """Return the contract of three draws of a model."""
    model = BUILD[name]()
    seeds = itertools.count(100)

    def build():
        keras_initx.initialize(model, RULES[name], seed=next(seeds))
        return {weight.path: to_numpy(weight.variable).copy() for weight in Inventory(model).weights}

    return keras_initx.contract(build)


def audit_with(fault):
    """Return the audit of a model with a fault, which is taken out again."""
    model, variables = model_of(fault.model)
    variable = variables[fault.path]
    values = to_numpy(variable)
    try:
        variable.assign(np.asarray(fault.change(values), "float32"))
        return keras_initx.audit(model, RULES[fault.model])
    finally:
        variable.assign(values)


if __name__ == "__main__":
    for fault in FAULTS:
        off = audit_with(fault).problems
        said = [f"{row.path}: {row.status}, {row.cause or row.detail}" for row in off]
        sys.stdout.write(f"{fault.model}, {fault.path}, {fault.name}: {'; '.join(said) or 'nothing'}\n")
