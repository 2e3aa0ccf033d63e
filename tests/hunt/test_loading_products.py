"""Weights whose axes are 1, in all layers and layouts."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers
from modes import to_numpy

from keras_initx import load_pretrained
from keras_initx.inspection._inventory import Inventory


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
# Channels, units and window: each is 1 once with the others larger.
SIZES = [(1, 5, (3, 1)), (4, 1, (1, 3))]
CASES = [(kind, "torch", *sizes) for kind in KINDS for sizes in SIZES]
CASES += [(kind, "keras", *SIZES[0]) for kind in KINDS]


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
    weight = Inventory(model).weights[0]
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
