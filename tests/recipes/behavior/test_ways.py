"""What is not known of the ways of a model is said, and what stands in place of a tensor has a role of its own."""

import keras
import pytest
from architectures import (
    LAYERS,
    detr,
    fewer,
    heads,
    hourglass,
    mixture,
    mlp,
    model,
    norm,
    of_two_routers,
    read,
    without_kernel,
)
from keras import layers, ops
from modes import needs_keras

from keras_initx import initialize, recipes
from keras_initx.recipes._parts import Doubt

D, LENGTH = 8, 4


def made(build):
    LAYERS.clear()
    return build()


def role_in(roles, end):
    (name,) = {part.role.name for part in roles.parts if part.weight.path.endswith(end)}
    return name


def test_a_skip_with_a_condition_on_its_way_is_noted():
    plan = initialize(made(lambda: hourglass(True)), "zero_residual", seed=0, dry_run=True)
    (note,) = [note for note in plan.notes if "sums that may contain other branches" in note]
    assert "'add_" in note
    plan = initialize(made(lambda: hourglass(False)), "zero_residual", seed=0, dry_run=True)
    assert not any("sums that may" in note for note in plan.notes)


def test_a_weight_on_ways_of_several_lengths_is_named():
    with pytest.raises(ValueError, match="'b0_att/query/kernel' on paths through 6 and 8 branches"):
        recipes.gpt2(made(lambda: heads(1, 2)))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (fewer, "4 with weights of the 6 outputs of 'b0_router'"),
        (of_two_routers, "2 with weights of 2 kernels"),
        (without_kernel, "2 with weights of"),
    ],
)
def test_experts_that_may_not_be_those_of_one_router_are_not_counted(network, words):
    with pytest.raises(ValueError, match=f"a branch that ends with the kernels of .* side by side, {words}"):
        recipes.gpt2(made(mixture(network)))


def test_a_branch_that_names_alone_tell_is_on_the_way_of_all_others():
    def convolution(x, name, width=4):
        return layers.Conv2D(width, 3, padding="same", name=f"net_{name}_conv")(x)

    def build():
        inputs = keras.Input((8, 8, 4))
        x = inputs + convolution(convolution(inputs, "block1_1"), "block1_2")
        # In the graph these may be two ways to the outputs.
        y = convolution(x, "block2_0", 8) + convolution(convolution(x, "block2_1", 8), "block2_2", 8)
        return keras.Model(inputs, layers.ReLU()(y))

    assert {part.role.branches for part in read(build).parts} == {2}


@pytest.mark.release_backends
def test_learned_queries_are_latents_and_what_is_added_to_tokens_is_a_position():
    assert role_in(read(detr), "table") == "latents"

    class Positions(layers.Layer):
        def build(self, shape):
            self.table = self.add_weight((LENGTH, D), "uniform", name="table")
            self.kernel_of = layers.Dense(D, name="kernel_of")
            self.kernel_of.build(shape)

        def call(self, x):
            return self.kernel_of(x + self.table)

    def build():
        ids = keras.Input((LENGTH,), dtype="int32")
        x = Positions(name="adding")(layers.Embedding(20, D, name="tokens")(ids))
        return model(ids, x + mlp(norm(x), "b0"))

    assert role_in(read(build), "table") == "positions"


def test_a_table_given_to_a_layer_that_only_adds_it_is_a_position():
    class Adding(layers.Layer):
        def build(self, x_shape, table_shape=None):
            self.norm = layers.LayerNormalization()
            self.norm.build(x_shape)

        def call(self, x, table):
            return self.norm(x + table)

    class Outer(layers.Layer):
        def build(self, shape):
            self.table = self.add_weight((1, LENGTH, D), "uniform", name="table")
            self.adding = Adding()
            self.adding.build(shape)

        def call(self, x):
            return self.adding(x, self.table)

    def build():
        ids = keras.Input((LENGTH,), dtype="int32")
        x = Outer(name="outer")(layers.Embedding(20, D, name="tokens")(ids))
        return model(ids, x + mlp(norm(x), "b0"))

    assert role_in(read(build), "table") == "positions"


def test_an_embedding_whose_rows_stand_in_place_of_a_tensor_is_latent():
    class Queries(layers.Layer):
        def build(self, shape):
            self.rows = layers.Embedding(3, D, name="rows")
            self.rows.build(shape)

        def call(self, x):
            return ops.broadcast_to(self.rows(ops.arange(3))[None], (ops.shape(x)[0], 3, D))

    def build():
        inputs = keras.Input((LENGTH, D))
        z = Queries(name="queries")(inputs)
        z = z + layers.MultiHeadAttention(2, 4, name="cross")(norm(z), inputs)
        return model(inputs, z + mlp(norm(z), "b0"))

    assert role_in(read(build), "rows/embeddings") == "latents"


VECTORIZED = pytest.param("vectorized_map", marks=needs_keras("3.11", "has an operation for a vectorized map"))


class Looping(layers.Layer):
    """A block that is applied in a loop of Keras, with the names of KerasHub."""

    def __init__(self, kind, **options):
        super().__init__(**options)
        self.kind = kind
        self.norm, self.attention = layers.LayerNormalization(), layers.MultiHeadAttention(2, 4, name="attention")
        self.up = layers.Dense(16, "gelu", name="feedforward_intermediate_dense")
        self.down = layers.Dense(D, name="feedforward_output_dense")

    def build(self, shape):
        self.attention.build(shape, shape)
        self.norm.build(shape)
        self.up.build(shape)
        self.down.build((*shape[:-1], 16))

    def compute_output_shape(self, shape):
        return shape

    def once(self, x):
        y = self.norm(x)
        x = x + self.attention(y, y)
        return x + self.down(self.up(self.norm(x)))

    def call(self, x):
        if self.kind == "fori_loop":
            return ops.fori_loop(0, 3, lambda _, x: self.once(x), x)
        if self.kind == "scan":
            return ops.scan(lambda x, _: (self.once(x), x[:, 0]), x, length=3)[0]
        if self.kind == "vectorized_map":
            return ops.vectorized_map(lambda x: self.once(x[None])[0], x)
        hidden = self.up(self.norm(x))
        return x + self.down(ops.fori_loop(0, 3, lambda _, x: x - ops.mean(x), hidden))


def looping(kind):
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(20, D, name="tokens")(ids)
    return keras.Model(ids, layers.Dense(3, name="head")(Looping(kind, name="block")(x)))


@pytest.mark.every_backend
@pytest.mark.parametrize("kind", ["fori_loop", "scan", VECTORIZED])
def test_a_loop_with_layers_in_it_cannot_be_followed_and_is_not_counted_by_names(kind):
    with pytest.raises(ValueError, match="'block', whose `call` cannot be followed"):
        recipes.zero_residual(looping(kind))
    with pytest.raises(ValueError, match="layers called in a loop"):
        initialize(looping(kind), "gpt2", seed=0, dry_run=True)


def test_a_loop_without_layers_is_an_operation_as_others():
    plan = initialize(looping("none"), "zero_residual", seed=0, dry_run=True)
    assert not any("not checked by the graph" in note for note in plan.notes)


def test_a_loop_of_a_functional_model_is_refused_with_that_word():
    inner = layers.Dense(D)
    inner.build((None, D))
    inputs = keras.Input((D,))
    outputs = layers.Dense(3)(ops.fori_loop(0, 3, lambda _, x: x + inner(x), inputs))
    with pytest.raises(ValueError, match="cannot be followed: ForiLoop calls layers with weights"):
        recipes.zero_residual(keras.Model(inputs, outputs))


@pytest.mark.every_backend
def test_a_table_that_is_looked_up_is_no_kernel_of_so_many_inputs():
    class Table(layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight((20, D), "uniform", name="kernel")

        def call(self, ids):
            return ops.take(self.kernel, ids, axis=0)

    def build():
        ids = keras.Input((LENGTH,), dtype="int32")
        x = Table(name="table")(ids)
        return model(ids, x + mlp(norm(x), "b0"))

    found = read(build)
    assert role_in(found, "table/kernel") == "tokens"
    assert Doubt.ENDS not in found.doubts
