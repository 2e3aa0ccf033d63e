"""Branches, gates, attention, streams and blocks are read from the graph: a table of models, each counted by hand."""

from collections.abc import Callable
from typing import NamedTuple

import gated
import keras
import numpy as np
import pytest
import strangers
from keras import layers, ops
from modes import often

from keras_initx.inspection._architecture import read_architecture

WIDTH, LENGTH = 8, 6


def dense(name, activation=None, units=WIDTH):
    return layers.Dense(units, activation, name=name)


def mlp(x, name):
    return dense(f"{name}_down")(dense(f"{name}_up", "gelu", 16)(x))


def shared():
    """Return an ALBERT of one block that is applied three times."""
    norm, attention = layers.LayerNormalization(), layers.MultiHeadAttention(2, 4, name="attention")
    up, down, add = dense("up", "gelu", 16), dense("down"), layers.Add()
    x = inputs = keras.Input((LENGTH, WIDTH))
    for _ in range(3):
        y = norm(x)
        x = add([x, attention(y, y)])
        x = add([x, down(up(norm(x)))])
    return keras.Model(inputs, dense("out")(x))


def diffusion():
    """Return a DiT as published: one modulation kernel in each block, of a time step and a class."""
    x = image = keras.Input((8, 8, 3))
    x = layers.Reshape((16, WIDTH))(layers.Conv2D(WIDTH, 2, 2, name="patches")(x))
    time, label = keras.Input((WIDTH,)), keras.Input((), dtype="int32")
    condition = mlp(time, "time") + layers.Embedding(5, WIDTH, name="labels")(label)
    for block in range(2):
        both = layers.Dense(6 * WIDTH, name=f"modulation_{block}")(ops.silu(condition))
        parts = [ops.expand_dims(part, 1) for part in ops.split(both, 6, -1)]
        y = layers.LayerNormalization(center=False, scale=False)(x) * (1 + parts[1]) + parts[0]
        x = x + parts[2] * layers.MultiHeadAttention(2, 4, name=f"attention_{block}")(y, y)
        y = layers.LayerNormalization(center=False, scale=False)(x) * (1 + parts[4]) + parts[3]
        x = x + parts[5] * mlp(y, f"mlp_{block}")
    return keras.Model([image, time, label], dense("out")(x))


def masked():
    """Return branches of which a mask, that is computed from the inputs, takes a part."""
    x = inputs = keras.Input((LENGTH, WIDTH))
    mask = ops.cast(ops.greater(ops.sum(inputs, -1, keepdims=True), 0), "float32")
    for block in range(2):
        x = x + mlp(x, f"b{block}") * mask
    return keras.Model(inputs, dense("out")(x))


def projected():
    """Return a branch beside a kernel on the way of the stream."""
    inputs = keras.Input((4,))
    return keras.Model(inputs, dense("out")(dense("beside")(inputs) + mlp(inputs, "b")))


def squeezed():
    """Return a sum of a tensor and its parts, which is no branch: a way without a kernel is in both terms."""
    x = keras.Input((WIDTH,))
    return keras.Model(x, dense("out")(x + x * dense("s", "sigmoid")(x)))


def two_ways():
    inputs = keras.Input((4,))
    return keras.Model(inputs, dense("short")(inputs) + mlp(inputs, "long"))


def around():
    x = inputs = keras.Input((WIDTH,))
    x = x + mlp(x, "a")
    return keras.Model(inputs, dense("out")(inputs + dense("end")(x)))


def chained():
    """Return a sum of a tensor, what is computed from it, and what is computed from that."""
    x = keras.Input((WIDTH,))
    first = mlp(x, "a")
    return keras.Model(x, dense("out")(layers.Add()([x, first, mlp(first, "b")])))


def summed(count):
    """Return a model that adds a sum of layers to what they are computed from: `count` terms with that."""
    x = inputs = keras.Input((LENGTH, WIDTH))
    total = dense("term_0")(x)
    for number in range(1, count - 1):
        total = total + dense(f"term_{number}")(x)
    return keras.Model(inputs, dense("out", units=2)(x + total))


class Found(NamedTuple):
    """What is in the graph of a model.

    Attributes:
        build: Function that returns the model.
        ends: The layers that end its branches.
        depths: The number of kernels of each branch.
        streams: The stream of each branch.
        crosses: The ends of those that attend to another stream.
        gates: The gates.
        around: The number of branches around others.
    """

    build: Callable
    ends: str
    depths: list
    streams: list
    crosses: str = ""
    gates: str = ""
    around: int = 0


MODELS = {
    "shared": Found(shared, "attention down " * 3, [4, 2] * 3, [0] * 6),
    "diffusion": Found(diffusion, "attention_0 mlp_0_down attention_1 mlp_1_down", [4, 2] * 2, [0] * 4),
    "masked": Found(masked, "b0_down b1_down", [2, 2], [0, 0]),
    "projected": Found(projected, "b_down", [2], [0]),
    "squeezed": Found(squeezed, "", [], []),
    "two ways": Found(two_ways, "", [], []),
    "chained": Found(chained, "", [], []),
    "twenty terms": Found(lambda: summed(20), " ".join(f"term_{n}" for n in range(19)), [1] * 19, [0] * 19),
    "around": Found(around, "a_down", [2], [0], around=1),
    "gated": Found(lambda: gated.decoder(gated.gated), "attention w2", [4, 2], [0, 0], gates="w1"),
    "parallel": Found(
        lambda: strangers.parallel_gpt("x + (a + m)"),
        "multi_head_attention dense_1 multi_head_attention_1 dense_3",
        [4, 2] * 2,
        [0] * 4,
    ),
    "perceptron": Found(strangers.perceptron, "b1 b2 b3", [2] * 3, [0] * 3),
    "subclassed": Found(strangers.conv_net, "conv2d_1 conv2d_1", [2, 2], [0, 0]),
    "translator": Found(
        strangers.translator,
        "multi_head_attention dense_1 multi_head_attention multi_head_attention_1 dense_1 "
        "multi_head_attention multi_head_attention_1 dense_1",
        [4, 2, 4, 4, 2, 4, 4, 2],
        [0, 0, 1, 1, 1, 1, 1, 1],
        crosses="multi_head_attention_1 multi_head_attention_1",
    ),
}


def ends_of(branches):
    return [layer.name for branch in branches for layer in branch.last]


def modulations_of(branch):
    """Return the names of the layers outside of a branch that modulate it."""
    return [side.way[0].producer.name for side in branch.sides if side.is_modulation]


def is_called(name, expected):
    """Return whether a layer has a name; the number of an automatic one counts all layers of the process."""
    return name.rstrip("0123456789_") == expected.rstrip("0123456789_")


@pytest.mark.parametrize("name", often(MODELS, [*MODELS][::2]))
def test_branches_gates_and_streams_are_those_of_the_model(name):
    expected = MODELS[name]
    found = read_architecture(expected.build())
    assert all(map(is_called, ends_of(found.branches), expected.ends.split()))
    assert [branch.depth for branch in found.branches] == expected.depths
    assert [found.streams.numbers[branch] for branch in found.branches] == expected.streams
    crossing = [branch for branch in found.branches if branch in found.crossing_branches]
    assert len(crossing) == len(expected.crosses.split())
    assert [gate.gate.name for gate in found.gates] == expected.gates.split()
    assert len(found.outer_branches) == expected.around
    assert not found.hidden


def test_what_modulates_is_outside_of_the_branches_and_where_they_begin_is_a_normalization():
    found = read_architecture(diffusion())
    assert [modulations_of(branch) for branch in found.branches] == [["modulation_0"]] * 2 + [["modulation_1"]] * 2
    assert found.normalizes_first


class Experts(layers.Layer):
    """Kernels of experts in one array, and a table of positions of which a part is added."""

    def build(self, shape):
        self.kernel = self.add_weight((16, 256, 256), "zeros", name="experts")
        self.where = self.add_weight((LENGTH + 2, 256), "zeros", name="where")
        self.beside = self.add_weight((LENGTH + 2, 256), "zeros", name="beside")

    def call(self, x):
        return ops.einsum("btd,edf->btf", x + self.where[:LENGTH], self.kernel)


@pytest.mark.every_backend
def test_no_weight_is_copied_but_a_table_of_which_a_part_may_be_added(monkeypatch):
    from keras_initx.inspection import _architecture

    inputs = keras.Input((LENGTH, 256))
    model = keras.Model(inputs, Experts()(inputs))
    made = []
    full = np.full
    monkeypatch.setattr(_architecture.np, "full", lambda *args: made.append(args[0]) or full(*args))
    found = read_architecture(model)
    assert [weight.name for weight in found.added] == ["where"]
    assert [tuple(shape) for shape in made] == [(LENGTH + 2, 256)] * 2


def test_a_product_of_weights_alone_is_what_a_branch_adds():
    x = keras.Input((WIDTH,))
    both = dense("one", "sigmoid")(x) * dense("two", "sigmoid")(x)
    (branch,) = read_architecture(keras.Model(x, dense("out")(x + both))).branches
    assert {layer.name for layer in branch.last} == {"one", "two"}


def test_a_softmax_behind_a_kernel_weighs_nothing_and_one_alone_does():
    weighs = []
    for last in (layers.Dense(WIDTH, "softmax"), layers.Softmax()):
        x = keras.Input((WIDTH,))
        (branch,) = read_architecture(keras.Model(x, dense("out")(x + last(mlp(x, "a"))))).branches
        weighs.append(branch.weighs)
    assert weighs == [False, True]


def test_what_goes_through_an_activation_is_no_modulation():
    found = []
    for activation in (None, "sigmoid"):
        x, condition = keras.Input((WIDTH,)), keras.Input((WIDTH,))
        scale = dense("scale", activation, 2 * WIDTH)(condition)[:, :WIDTH]
        (branch,) = read_architecture(keras.Model([x, condition], dense("out")(x + scale * mlp(x, "a")))).branches
        found.append(modulations_of(branch))
    assert found == [["scale"], []]
