"""Layers, and what weights of theirs start with in torch and in Flax, by formulas of their own."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import scipy

layers = keras.layers
SIZES = (4, 12, 33)
# A test fails by chance once in 10,000 times; with these seeds none does.
P_VALUE = 1e-4


class Kind(NamedTuple):
    """A kind of layers.

    Attributes:
        build: Function of a size that returns the layer and the shape of its inputs.
        torch: Function of a size that returns the law of each weight in torch, by the end of its path.
        flax: The same in Flax.
    """

    build: Callable[[int], tuple[keras.Layer, tuple[int | None, ...]]]
    torch: Callable[[int], Mapping[str, Any]]
    flax: Callable[[int], Mapping[str, Any]]


def uniform(fan):
    """Return `U(-1 / sqrt(fan), 1 / sqrt(fan))`."""
    return scipy.stats.uniform(-(fan**-0.5), 2 * fan**-0.5)


def xavier(inputs, units):
    return uniform((inputs + units) / 6)


def lecun(fan):
    """Return a normal distribution of variance `1 / fan`, truncated at two deviations before the cut."""
    cut = scipy.stats.truncnorm(-2, 2)
    return scipy.stats.truncnorm(-2, 2, scale=fan**-0.5 / cut.std())


class Frame(NamedTuple):
    """That each of the blocks along the last axis is orthonormal."""

    blocks: int


def both(fan, kernel="kernel"):
    """Return the laws of torch of a kernel and of its bias."""
    return {kernel: uniform(fan), "bias": uniform(fan)}


def cell(gates):
    def laws(n):
        bias = scipy.stats.triang(0.5, -2 / math.sqrt(2 * n), 4 / math.sqrt(2 * n))
        return {"cell/kernel": uniform(2 * n), "recurrent_kernel": uniform(2 * n), "bias": bias}

    def in_flax(n):
        return {"cell/kernel": lecun(n), "recurrent_kernel": Frame(gates), "bias": 0}

    return laws, in_flax


ATTENTION = ("query", "key", "value", "attention_output")


def attention(n, *, mixed=False):
    """Return a model of attention of two heads, whose keys and values may have other sizes than the queries."""
    sizes = (2 * n, n, 3 * n) if mixed else [2 * n] * 3
    query, key, value = (keras.Input((5, size)) for size in sizes)
    found = layers.MultiHeadAttention(2, n)(query, value, key)
    return keras.Model([query, key, value], found)


def of_attention(n, *, mixed=False):
    size = 2 * n
    inputs = (size, n, 3 * n) if mixed else (size, size, size)
    laws = {f"{name}/bias": 0 for name in ATTENTION}
    for name, length in zip(ATTENTION, inputs, strict=False):
        laws[f"{name}/kernel"] = xavier(length, size if mixed else 3 * size)
    return {**laws, "attention_output/kernel": uniform(size)}


def of_attention_in_flax(n, *, mixed=False):
    inputs = (2 * n, n, 3 * n, 2 * n) if mixed else (2 * n,) * 4
    laws = {f"{name}/bias": 0 for name in ATTENTION}
    return {**laws, **{f"{name}/kernel": lecun(fan) for name, fan in zip(ATTENTION, inputs, strict=True)}}


def normalization(n):
    return {"gamma": 1, "beta": 0, "moving_mean": 0, "moving_variance": 1}


KINDS = {
    "dense": Kind(lambda n: (layers.Dense(3 * n), (n,)), lambda n: both(n), lambda n: {"kernel": lecun(n), "bias": 0}),
    # Three inputs and units for each of `n` heads: two axes are summed.
    "einsum": Kind(
        lambda n: (layers.EinsumDense("abcd,cde->abe", (5, 2 * n), bias_axes="e"), (5, 3, n)),
        lambda n: both(3 * n),
        lambda n: {"kernel": lecun(3 * n), "bias": 0},
    ),
    # Linear layers beside each other, as of experts: Flax takes their number for inputs.
    "experts": Kind(
        lambda n: (layers.EinsumDense("aecd,edf->aecf", (3, 5, 2 * n), bias_axes="ef"), (3, 5, n)),
        lambda n: both(n),
        lambda n: {"kernel": lecun(3 * n), "bias": 0},
    ),
    "convolution": Kind(
        lambda n: (layers.Conv2D(2 * n, (3, 2), strides=2), (8, 8, n)),
        lambda n: both(6 * n),
        lambda n: {"kernel": lecun(6 * n), "bias": 0},
    ),
    "grouped": Kind(
        lambda n: (layers.Conv1D(4 * n, 3, groups=2), (8, 2 * n)),
        lambda n: both(3 * n),
        lambda n: {"kernel": lecun(3 * n), "bias": 0},
    ),
    "depthwise": Kind(
        lambda n: (layers.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, n)),
        lambda n: both(9),
        lambda n: {"kernel": lecun(9), "bias": 0},
    ),
    "separable": Kind(
        lambda n: (layers.SeparableConv1D(3 * n, 5, depth_multiplier=2), (8, n)),
        lambda n: {"depthwise_kernel": uniform(5), **both(2 * n, "pointwise_kernel")},
        lambda n: {"depthwise_kernel": lecun(5), "pointwise_kernel": lecun(2 * n), "bias": 0},
    ),
    "transposed": Kind(
        lambda n: (layers.Conv2DTranspose(3 * n, 4, strides=2), (4, 4, n)),
        lambda n: both(16 * 3 * n),
        lambda n: {"kernel": lecun(16 * n), "bias": 0},
    ),
    "embedding": Kind(
        lambda n: (layers.Embedding(100, n), (5,)),
        lambda n: {"embeddings": scipy.stats.norm(0, 1)},
        lambda n: {"embeddings": scipy.stats.norm(0, n**-0.5)},
    ),
    "lstm": Kind(lambda n: (layers.LSTM(2 * n), (5, n)), *cell(4)),
    "rnn": Kind(lambda n: (layers.SimpleRNN(2 * n), (5, n)), *cell(1)),
    "gru": Kind(
        lambda n: (layers.GRU(2 * n), (5, n)),
        lambda n: dict.fromkeys(("cell/kernel", "recurrent_kernel", "bias"), uniform(2 * n)),
        lambda n: {"cell/kernel": lecun(n), "recurrent_kernel": Frame(3), "bias": 0},
    ),
    "attention": Kind(attention, of_attention, of_attention_in_flax),
    "attention of three sizes": Kind(
        lambda n: attention(n, mixed=True),
        lambda n: of_attention(n, mixed=True),
        lambda n: of_attention_in_flax(n, mixed=True),
    ),
    "normalization": Kind(lambda n: (layers.BatchNormalization(), (n,)), normalization, normalization),
    "prelu": Kind(
        lambda n: (layers.PReLU(shared_axes=[1]), (5, n)), lambda n: {"alpha": 0.25}, lambda n: {"alpha": 0.01}
    ),
}


def model_of(kind, n):
    """Return a model of one layer of a kind."""
    built = KINDS[kind].build(n)
    if isinstance(built, keras.Model):
        return built
    layer, shape = built
    return keras.Sequential([keras.Input(shape), layer])


def assert_law(values, law, where):
    """Check that values are all those of a law, and of a random one also its bounds and its distribution."""
    values = values.astype("float64")
    if isinstance(law, Frame):
        for block in np.split(values, law.blocks, axis=-1):
            assert np.abs(block.T @ block - np.eye(block.shape[-1])).max() < 1e-4, where
    elif isinstance(law, int | float):
        assert (values == np.float32(law)).all(), where
    else:
        low, high = law.support()
        assert low * (1 + 1e-6) <= values.min() < values.max() <= high * (1 + 1e-6), where
        assert scipy.stats.kstest(values.ravel(), law.cdf).pvalue > P_VALUE, where
