"""Weights whose axes are 1, in all layers and layouts; `lsuv` with layers frozen, quantized, adapted and stacked."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers
from modes import BACKEND, needs_keras, to_numpy

from keras_initx import load_pretrained, lsuv
from keras_initx.structure import find_weights

pytestmark = pytest.mark.every_backend


def moved(array, *groups):
    """Return `array` with its axes in the order of torch for that of Keras: the window first."""
    return array.transpose(*range(2, array.ndim), *groups)


def reordered(array):
    """Return the kernel of a `GRU`, in which the first two gates are swapped, from that of torch."""
    return np.concatenate([np.split(array, 3)[gate] for gate in (1, 0, 2)]).T


# For `c` channels, `u` units and a window `w`: the layer, its inputs, the shape in torch, and the weight in Keras.
KINDS = {
    "dense": lambda c, u, w: (layers.Dense(u), (c,), (u, c), np.transpose),
    "einsum": lambda c, u, w: (layers.EinsumDense("abc,cd->abd", (None, u)), (3, c), (u, c), np.transpose),
    "einsum to heads": lambda c, u, w: (
        layers.EinsumDense("abc,cde->abde", (None, u, 2)),
        (3, c),
        (2 * u, c),
        lambda a: a.T.reshape(c, u, 2),
    ),
    "einsum of heads": lambda c, u, w: (
        layers.EinsumDense("abcd,cde->abe", (None, u)),
        (3, c, 2),
        (u, 2 * c),
        lambda a: a.T.reshape(c, 2, u),
    ),
    "einsum in another order": lambda c, u, w: (
        layers.EinsumDense("abcd,dce->abe", (None, u)),
        (3, c, 2),
        (u, 2 * c),
        lambda a: a.T.reshape(c, 2, u).transpose(1, 0, 2),
    ),
    "conv1d": lambda c, u, w: (layers.Conv1D(u, w[0]), (5, c), (u, c, w[0]), lambda a: moved(a, 1, 0)),
    "conv2d": lambda c, u, w: (layers.Conv2D(u, w), (5, 5, c), (u, c, *w), lambda a: moved(a, 1, 0)),
    "conv3d": lambda c, u, w: (layers.Conv3D(u, (2, *w)), (5, 5, 5, c), (u, c, 2, *w), lambda a: moved(a, 1, 0)),
    "grouped": lambda c, u, w: (
        layers.Conv2D(2 * u, w, groups=2),
        (5, 5, 2 * c),
        (2 * u, c, *w),
        lambda a: moved(a, 1, 0),
    ),
    "transposed": lambda c, u, w: (layers.Conv2DTranspose(u, w), (5, 5, c), (c, u, *w), lambda a: moved(a, 1, 0)),
    "depthwise1d": lambda c, u, w: (
        layers.DepthwiseConv1D(w[0], depth_multiplier=u),
        (5, c),
        (c * u, 1, w[0]),
        lambda a: moved(a.reshape(c, u, *w[:1]), 0, 1),
    ),
    "depthwise": lambda c, u, w: (
        layers.DepthwiseConv2D(w, depth_multiplier=u),
        (5, 5, c),
        (c * u, 1, *w),
        lambda a: moved(a.reshape(c, u, *w), 0, 1),
    ),
    "separable": lambda c, u, w: (
        layers.SeparableConv2D(2, w, depth_multiplier=u),
        (5, 5, c),
        (c * u, 1, *w),
        lambda a: moved(a.reshape(c, u, *w), 0, 1),
    ),
    "embedding": lambda c, u, w: (layers.Embedding(c, u), (3,), (c, u), np.asarray),
    "simple rnn": lambda c, u, w: (layers.SimpleRNN(u), (3, c), (u, c), np.transpose),
    "lstm": lambda c, u, w: (layers.LSTM(u), (3, c), (4 * u, c), np.transpose),
    "gru": lambda c, u, w: (layers.GRU(u), (3, c), (3 * u, c), reordered),
    "normalization": lambda c, u, w: (layers.LayerNormalization(), (3, c), (c,), np.asarray),
    "prelu": lambda c, u, w: (layers.PReLU(shared_axes=[1, 2]), (5, 5, c), (c,), lambda a: a.reshape(1, 1, c)),
}
# Channels, units and window: each is 1 once with the others larger, and all are.
SIZES = [(4, 5, (3, 3)), (1, 5, (3, 1)), (4, 1, (1, 3)), (1, 1, (1, 1))]
CASES = [(kind, layout, *sizes) for kind in KINDS for layout in ("torch", "keras") for sizes in SIZES]


def other_shapes(shape):
    """Return the shapes that differ by the order of the axes, or by an axis of length 1."""
    found = set(itertools.permutations(shape))
    for place in range(len(shape) + 1):
        found.add((*shape[:place], 1, *shape[place:]))
        if shape[place : place + 1] == (1,):
            found.add((*shape[:place], *shape[place + 1 :]))
    return found - {shape}


@pytest.mark.parametrize(("kind", "layout", "c", "u", "w"), CASES)
def test_an_array_fits_in_one_shape_only(kind, layout, c, u, w):
    layer, inputs, of_torch, converted = KINDS[kind](c, u, w)
    model = keras.Sequential([keras.Input(inputs), layer])
    weight = find_weights(model)[0]
    shape, rules = of_torch if layout == "torch" else weight.shape, {weight.path: "array"}
    array = np.random.default_rng(0).normal(size=shape).astype("float32")
    load_pretrained(model, {"array": array}, rules, layout=layout)
    expected = converted(array) if layout == "torch" else array
    np.testing.assert_array_equal(to_numpy(weight.variable.value), expected)
    # Slopes may have their shared axes, and a kernel with several axes of inputs or units may come as a matrix.
    allowed = {weight.shape} if kind == "prelu" else set()
    if layout == "keras" and kind.startswith("einsum "):
        allowed = {tuple(reversed(of_torch))}
    for other in other_shapes(shape) - allowed:
        plan = load_pretrained(model, {"array": np.zeros(other)}, rules, layout=layout, dry_run=True)
        assert plan.problems, other


class Cell(layers.Layer):
    """A cell of one's own."""

    def __init__(self, name="kernel", **kwargs):
        super().__init__(**kwargs)
        self.kernel_name, self.state_size = name, 6

    def build(self, shape):
        setattr(self, self.kernel_name, self.add_weight((shape[-1], 6), name=self.kernel_name))

    def call(self, inputs, states):
        state = keras.ops.tanh(inputs @ getattr(self, self.kernel_name) + states[0])
        return state, [state]


LAYERS = {
    "dense": lambda **kwargs: layers.Dense(6, **kwargs),
    "einsum": lambda **kwargs: layers.EinsumDense("abc,cd->abd", (None, 6), **kwargs),
    "conv": lambda **kwargs: layers.Conv1D(6, 3, padding="same", **kwargs),
    "distributed": lambda **kwargs: layers.TimeDistributed(layers.Dense(6, **kwargs)),
    "lstm": lambda **kwargs: layers.LSTM(6, **kwargs),
    "stateful": lambda **kwargs: layers.LSTM(6, stateful=True, **kwargs),
    "both ways": lambda **kwargs: layers.Bidirectional(layers.GRU(6, **kwargs)),
    "one cell": lambda **kwargs: layers.RNN(layers.GRUCell(6, dropout=0.5, **kwargs), **kwargs),
    "two cells": lambda **kwargs: layers.RNN(
        [layers.LSTMCell(4, dropout=0.5, **kwargs), layers.SimpleRNNCell(6, **kwargs)], **kwargs
    ),
    "stack in a stack": lambda **kwargs: layers.RNN(
        [layers.StackedRNNCells([layers.LSTMCell(4, **kwargs)]), layers.GRUCell(6, **kwargs)], **kwargs
    ),
    "own cell": lambda **kwargs: layers.RNN(Cell(), **kwargs),
    "own cell, another name": lambda **kwargs: layers.RNN(Cell("w"), **kwargs),
    "two own cells": lambda **kwargs: layers.RNN([Cell(), Cell("w")], **kwargs),
}
INSIDE = {"distributed": "layer"}


def adapted(layer, size):
    layer.enable_lora(2)
    for weight in layer.weights:
        if weight.name.startswith("lora_") and size:
            weight.assign(np.full(weight.shape, size))


# What is done to the layer, and whether its kernel may still be scaled.
TREATMENTS = {
    "as it is": (lambda layer: None, True),
    "frozen": (lambda layer: setattr(layer, "trainable", False), False),
    "int8": (lambda layer: layer.quantize("int8"), False),
    "int4": (lambda layer: layer.quantize("int4"), False),
    "float8": (lambda layer: layer.quantize("float8"), True),
    "lora": (lambda layer: adapted(layer, 0), False),
    "trained lora": (lambda layer: adapted(layer, 3.0), False),
    "int8 and lora": (lambda layer: (layer.quantize("int8"), adapted(layer, 3.0)), False),
    "zero": (lambda layer: [weight.assign(0 * weight) for weight in layer.weights], False),
}
UNKNOWN = {"two cells", "stack in a stack", "own cell, another name", "two own cells"}


def refused_by_keras(name, policy):
    """Return whether Keras cannot call the layer, whose stacked cells change the kind of their states on JAX."""
    return BACKEND == "jax" and (name == "stack in a stack" or (name, policy) == ("two cells", "mixed_bfloat16"))


TREATED = [
    pytest.param(name, treatment, policy, marks=needs_keras("3.11", "has int4") if treatment == "int4" else ())
    for name in LAYERS
    for treatment in TREATMENTS
    for policy in (("float32", "mixed_bfloat16") if treatment == "as it is" else ("float32",))
    # Only these can be adapted or quantized; `TimeDistributed` calls a quantized layer as one that is not.
    if treatment in ("as it is", "frozen", "zero")
    or name in ("dense", "einsum")
    or (name in ("conv", "distributed") and treatment in ("lora", "trained lora"))
    if not refused_by_keras(name, policy)
]


@pytest.mark.parametrize(("name", "treatment", "policy"), TREATED)
def test_lsuv_scales_a_layer_or_leaves_it_and_scales_what_follows(name, treatment, policy):
    treat, is_free = TREATMENTS[treatment]
    layer, after = LAYERS[name](dtype=policy), layers.Dense(3, bias_initializer="ones")
    model = keras.Sequential([keras.Input((5, 4), batch_size=32), layer, after])
    treat(getattr(layer, INSIDE.get(name, ""), layer))
    before = [np.array(to_numpy(weight)) for weight in layer.weights]
    x = np.random.default_rng(0).normal(size=(32, 5, 4)).astype("float32")
    result = lsuv(model, x, seed=0, tolerance=0.15)
    *rows, last = result.rows
    assert rows
    expected = "scaled" if is_free and name not in UNKNOWN else "left"
    assert {row.status for row in rows} == {expected}, result
    assert all(row.how for row in rows)
    same = [np.array_equal(old, to_numpy(weight)) for old, weight in zip(before, layer.weights, strict=True)]
    assert all(same) == (expected == "left")
    changed = {weight.name for weight, kept in zip(layer.weights, same, strict=True) if not kept}
    assert changed <= {"kernel"}
    assert last.status == "scaled" or treatment == "zero", result
