"""Faults in the weights of four models, each of which an audit has to find.

`python tests/audits/faults.py` prints what it says of each.
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
from keras_initx.structure import find_weights

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
    Fault("gpt2", QUERY, "a tenth too small", times(0.9), "scale", ""),
    Fault("gpt2", OUTER, "no scaling by depth", times(math.sqrt(8)), "scale", "depth scaling 1/sqrt(8) not applied"),
    Fault("gpt2", INNER, "scaled by depth", times(8**-0.5), "scale", "as for RandomNormal(stddev=0.007071)"),
    Fault("gpt2", "head/kernel", "3 % too large", times(1.03), "scale"),
    Fault("gpt2", INNER, "zeros", times(0), "constant"),
    Fault("gpt2", INNER, "one value", lambda values: np.full_like(values, 0.02), "constant"),
    Fault("gpt2", "b1/feedforward_intermediate_dense/bias", "a bias drawn", normal(0.02), "values"),
    Fault("gpt2", "b1/feedforward_output_dense/bias", "one bias changed", set_to(1e-3, 7), "values"),
    Fault("gpt2", QUERY, "truncated", truncated(2, 0.02), "bounds", "truncated normal instead of normal"),
    Fault("gpt2", TOKENS, "truncated farther out", truncated(3, 0.01), "bounds"),
    Fault("gpt2", INNER, "rounded to bfloat16", rounded("bfloat16"), "precision"),
    Fault("gpt2", INNER, "one shard four times", tiled(1, 4), "copies", ""),
    Fault("gpt2", INNER, "every unit twice", every_unit_twice, "equal slices", ""),
    Fault("gpt2", QUERY, "two heads equal", copied(np.s_[:, 2], np.s_[:, 0]), "equal slices", ""),
    Fault("gpt2", QUERY, "two units of two heads", copied(np.s_[:, 2, 5], np.s_[:, 0, 7]), "equal slices", ""),
    Fault("gpt2", TOKENS, "two tokens equal", copied(450, 3), "equal slices", ""),
    Fault("gpt2", INNER, "shifted", plus(0.002), "mean"),
    Fault("gpt2", QUERY, "a twentieth dropped", dropped(0.05), "zeros"),
    Fault("gpt2", TOKENS, "a row for padding", set_to(0, 0), "zeros"),
    Fault("gpt2", QUERY, "not a number", set_to(np.nan, (3, 1, 2)), "not finite"),
    Fault("gpt2", OUTER, "signs only", lambda values: np.sign(values) * 0.02 / math.sqrt(8), "copies"),
    Fault("gpt2", OUTER, "Laplace's", lambda v: RNG.laplace(0, 0.02 / math.sqrt(16), v.shape), "bounds"),
    Fault("gpt2", OUTER, "uniform", uniform(0.02 * math.sqrt(3 / 8)), "bounds", "uniform instead of normal"),
    Fault("gpt2", OUTER, "one outlier", set_to(0.2, (5, 5)), "bounds"),
    Fault("he", "d1/kernel", "LeCun's", times(math.sqrt(0.5)), "scale", "LeCun's scale"),
    Fault(
        "he",
        "d1/kernel",
        "not truncated",
        normal(math.sqrt(2 / 6400)),
        "bounds",
        "normal instead of truncated normal",
    ),
    Fault("he", "d1/kernel", "fan-out", times(math.sqrt(6400 / 64)), "scale", "fan_out instead of fan_in"),
    Fault("he", "d1/kernel", "the fan of a shard", times(2), "scale", "the fan of one of 4 shards"),
    Fault("he", "c2/kernel", "truncated farther in", truncated(1.2, math.sqrt(2 / 288)), "bounds"),
    Fault("he", "c2/kernel", "not corrected", times(0.8796), "scale", "standard deviation is that before truncation"),
    Fault("he", "c2/kernel", "truncated twice", times(0.7737), "scale", "truncated twice"),
    Fault("he", "d1/kernel", "both halves equal", tiled(0, 2), "copies", ""),
    Fault("he", "d1/kernel", "opposite units", opposite_halves, "equal slices", ""),
    Fault("he", "d1/kernel", "rounded to float16", rounded("float16"), "precision"),
    Fault("he", "bn/beta", "ones", plus(1), "values"),
    Fault("he", "c1/bias", "0.01", plus(0.01), "values"),
    Fault("he", "bn/moving_variance", "zeros", times(0), "values"),
    Fault("sparse", "d1/kernel", "no zeros", lambda values: np.where(values == 0, 1e-9, values), "connections"),
    Fault("sparse", "d1/kernel", "mixed units", lambda values: RNG.permuted(values, axis=1), "connections"),
    Fault("sparse", "d1/kernel", "a lost connection", lambda v: np.where(v == v.max(), 0, v), "connections"),
    Fault("sparse", "d1/kernel", "a fifth too large", times(1.2), "scale"),
    Fault("sparse", "d1/kernel", "two units equal", copied(np.s_[:, 9], np.s_[:, 4]), "equal slices", ""),
    Fault("sparse", "c2/kernel", "a tenth too large", times(1.1), "scale"),
    Fault("sparse", "c2/kernel", "beside the center", lambda values: np.roll(values, 1, axis=0), "zeros"),
    Fault("sparse", "c2/kernel", "half of the units", set_to(0, np.s_[..., 32:]), "zeros"),
    Fault("sparse", "d2/kernel", "not uniform", normal(math.sqrt(2 / 64)), "bounds", "normal instead of uniform"),
    Fault("lstm", BIAS, "forget biases of 1", times(0.5), "values"),
    Fault("lstm", BIAS, "lost", times(0), "values"),
    Fault("lstm", BIAS, "another order of gates", lambda values: np.roll(values, 64), "values"),
    Fault("lstm", RECURRENT, "one frame for all gates", whole_frame, "orthonormality"),
    Fault("lstm", RECURRENT, "a tenth too small", times(0.9), "scale"),
    Fault("lstm", RECURRENT, "Gaussian", normal(1 / 8), "orthonormality"),
    Fault("lstm", RECURRENT, "one block for all gates", tiled(1, 4), "copies"),
    Fault("lstm", RECURRENT, "two gates equal", copied(np.s_[:, 128:192], np.s_[:, :64]), "equal slices", ""),
)


@functools.cache
def model_of(name):
    """Return a model, initialized by its rules, and its weights by path."""
    model = BUILD[name]()
    keras_initx.initialize(model, RULES[name], seed=1)
    return model, {weight.path: weight.variable for weight in find_weights(model)}


@functools.cache
def contract_of(name):
    """Return the contract of three draws of a model."""
    model = BUILD[name]()
    seeds = itertools.count(100)

    def build():
        keras_initx.initialize(model, RULES[name], seed=next(seeds))
        return {weight.path: to_numpy(weight.variable).copy() for weight in find_weights(model)}

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
        said = [f"{row.path}: {row.verdict}, {row.cause or row.evidence}" for row in off]
        sys.stdout.write(f"{fault.model}, {fault.path}, {fault.name}: {'; '.join(said) or 'nothing'}\n")
