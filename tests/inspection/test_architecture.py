"""What a model consists of by its graph, whatever the names of its layers: and what is not known is said."""

import re

import keras
import pytest
from keras import layers, ops

from keras_initx.inspection._architecture import find_hidden_branch_ends, read_architecture
from keras_initx.inspection._inventory import Inventory

WIDTH, LENGTH = 8, 6


def names(operations):
    return [operation.name for operation in operations]


def feed_forward(x, name):
    return layers.Dense(WIDTH, name=f"{name}_down")(layers.Dense(16, "gelu", name=f"{name}_up")(x))


def encoder(normalizes_first):
    """Return an encoder of one block, with the normalizations before the branches or after the sums."""
    before, after = layers.LayerNormalization, layers.Identity
    if not normalizes_first:
        before, after = after, before
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(20, WIDTH, name="words")(ids)
    y = before()(x)
    x = after()(x + layers.MultiHeadAttention(2, 4, name="mixing")(y, y))
    x = after()(x + feed_forward(before()(x), "thinking"))
    return keras.Model(ids, layers.Dense(20, name="choosing")(x))


def test_branches_end_with_the_kernel_before_the_sum():
    found = read_architecture(encoder(normalizes_first=True))
    branches = found.branches
    assert [names(branch.last) for branch in branches] == [["mixing"], ["thinking_down"]]
    assert branches[1].depth == 2
    assert [found.streams.numbers[branch] for branch in branches] == [0, 0]


def test_a_network_without_sums_has_no_branches():
    model = keras.Sequential([keras.Input((4,)), *(layers.Dense(4, name=name) for name in ("one", "two", "three"))])
    found = read_architecture(model)
    assert found.branches == found.outer_branches == []
    assert (names(found.inputs), names(found.outputs)) == (["one"], ["three"])


def test_a_branch_around_others_is_told_apart():
    inputs = keras.Input((4,))
    hidden = layers.Dense(4, name="around")(inputs)
    hidden += layers.Dense(4, name="within")(hidden)
    found = read_architecture(keras.Model(inputs, inputs + hidden))
    assert [names(branch.last) for branch in found.branches] == [["within"]]
    assert len(found.outer_branches) == 1


@pytest.mark.parametrize("normalizes_first", [True, False])
def test_normalizations_stand_before_branches_or_after_sums(normalizes_first):
    assert read_architecture(encoder(normalizes_first)).normalizes_first is normalizes_first


def test_without_normalizations_it_is_not_known_where_they_stand():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, inputs + layers.Dense(4)(inputs))
    assert read_architecture(model).normalizes_first is None


def test_attention_to_another_tensor_is_told_apart():
    queries, memory = keras.Input((LENGTH, WIDTH)), keras.Input((3, WIDTH))
    x = queries + layers.MultiHeadAttention(2, 4, name="itself")(queries, queries)
    x = x + layers.MultiHeadAttention(2, 4, name="others")(x, memory)
    found = read_architecture(keras.Model([queries, memory], x))
    assert names(found.attention) == ["itself", "others"]
    assert names(found.crossing_layers) == ["others"]
    assert [branch in found.crossing_branches for branch in found.branches] == [False, True]


def test_attention_of_operations_is_attention():
    inputs = keras.Input((LENGTH, WIDTH))
    q, k, v = (layers.Dense(WIDTH, name=name)(inputs) for name in "qkv")
    weights = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))))
    x = inputs + layers.Dense(WIDTH, name="out")(ops.matmul(weights, v))
    found = read_architecture(keras.Model(inputs, x))
    assert found.attends
    assert not found.attention
    (branch,) = found.branches
    assert branch.attends
    assert not found.crossing_branches


class Places(layers.Layer):
    """Adds a table of its own for the places, and an embedding of their numbers."""

    def __init__(self):
        super().__init__(name="places")
        self.table = layers.Embedding(LENGTH, WIDTH, name="numbers")

    def build(self, shape):
        self.where = self.add_weight((LENGTH, WIDTH), name="where")
        self.table.build((LENGTH,))

    def call(self, x):
        return x + self.where + self.table(ops.arange(LENGTH))


def test_embeddings_of_tokens_and_of_positions_are_told_apart():
    ids = keras.Input((LENGTH,), dtype="int32")
    x = Places()(layers.Embedding(20, WIDTH, name="words")(ids))
    found = read_architecture(keras.Model(ids, layers.Dense(4)(x)))
    assert (names(found.tokens), names(found.positions)) == (["words"], ["numbers"])
    assert [weight.name for weight in found.added] == ["where"]


def test_embeddings_of_texts_of_any_length_are_those_of_tokens():
    inputs = keras.Input((None,), dtype="int32")
    model = keras.Model(inputs, layers.Dense(8)(layers.Embedding(8, 4, name="words")(inputs)))
    assert names(read_architecture(model).tokens) == ["words"]


class OwnKernel(layers.Layer):
    """Multiplies by a kernel that is no layer's."""

    def build(self, shape):
        self.kernel = self.add_weight((WIDTH, WIDTH), name="kernel")

    def call(self, x):
        return ops.matmul(x, self.kernel)


class OfNumbers(layers.Layer):
    """Asks for values, which symbolic tensors do not have."""

    def __init__(self):
        super().__init__(name="asking")
        self.dense = layers.Dense(WIDTH)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x) * float(ops.convert_to_numpy(x).max())

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.parametrize(
    ("layer", "reason"),
    [(OwnKernel(name="own"), "it multiplies by a kernel itself"), (OfNumbers(), r"\w+Error: .+")],
    ids=["own kernel", "values"],
)
def test_a_layer_that_cannot_be_followed_is_hidden_with_the_reason(layer, reason):
    layer.build((None, WIDTH))
    model = keras.Sequential([keras.Input((WIDTH,)), layers.Dense(WIDTH), layer, layers.Dense(4)])
    ((hidden, said),) = read_architecture(model).hidden.items()
    assert hidden is layer
    assert re.fullmatch(reason, said)


def test_the_ends_of_branches_in_the_call_of_a_users_layer_are_named():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__(name="block")
            self.up, self.down = layers.Dense(16, "relu", name="up"), layers.Dense(WIDTH, name="down")

        def build(self, shape):
            self.up.build(shape)
            self.down.build((*shape[:-1], 16))

        def call(self, x):
            return x + self.down(self.up(x))

    block = Block()
    model = keras.Sequential([keras.Input((WIDTH,)), block, layers.Dense(4)])
    assert find_hidden_branch_ends(Inventory(model)) == {block.down}
    assert find_hidden_branch_ends(Inventory(encoder(normalizes_first=True))) == set()


def test_a_stream_that_forks_is_one_stream():
    inputs = keras.Input((4,))
    x = inputs + layers.Dense(4, name="first")(inputs)
    ends = [x + layers.Dense(4, name=name)(x) for name in ("left", "middle", "right")]
    found = read_architecture(keras.Model(inputs, layers.Concatenate()(ends)))
    assert [names(branch.last) for branch in found.branches] == [["first"], ["left"], ["middle"], ["right"]]
    assert [found.streams.numbers[branch] for branch in found.branches] == [0, 0, 0, 0]
