"""Names say which kernels end branches, the graph says how many branches and blocks there are."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from modes import often

from keras_initx import audit, initialize, recipes
from keras_initx.inspection._inventory import Inventory
from keras_initx.recipes._roles import find_roles

WIDTH, LENGTH = 16, 6
NAMES = ("feedforward_intermediate_dense", "feedforward_output_dense")


class FeedForward(layers.Layer):
    """A network whose kernels have the names of KerasHub, with another between them if there are three."""

    def __init__(self, names=NAMES, asks=False, **options):
        super().__init__(**options)
        self.dense = [layers.Dense(WIDTH, "gelu", name=name) for name in names[:-1]]
        self.dense.append(layers.Dense(WIDTH, name=names[-1]))
        self.asks = asks

    def build(self, shape):
        for layer in self.dense:
            layer.build(shape)

    def call(self, x):
        if self.asks and bool(x[0, 0, 0] > 0):  # which a symbolic tensor cannot tell
            return x
        for layer in self.dense:
            x = layer(x)
        return x

    def compute_output_shape(self, shape):
        return shape


def decoder(order="af", names=NAMES, times=1, blocks=2, norm=layers.LayerNormalization, asks=False, prefix="b"):
    """Return a decoder of blocks of attention ("a") and feed-forward networks ("f"), each applied so many times."""
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(30, WIDTH, name="tokens")(ids)
    for block in range(blocks):
        parts = []
        for place, kind in enumerate(order):
            name = f"{prefix}{block}_{place}"
            part = FeedForward(names, asks, name=name) if kind == "f" else layers.MultiHeadAttention(2, 8, name=name)
            parts.append((norm(), part, kind))
        for _ in range(times):
            for normalization, part, kind in parts:
                y = normalization(x)
                x = x + (part(y, y) if kind == "a" else part(y))
    return keras.Model(ids, layers.Dense(30, name="head")(norm()(x)))


def ends(plan):
    """Return the deviations of the kernels at the ends of branches."""
    found = {weight.path: weight.expected_std for weight in plan.rows}
    return {std for path, std in found.items() if path.endswith(("output/kernel", f"{NAMES[1]}/kernel"))}


@pytest.mark.parametrize("names", often([NAMES, ("up", "down")], [("up", "down")]))
@pytest.mark.parametrize(("order", "times"), [("af", 1), ("faf", 1), ("aff", 1), ("af", 3)])
def test_branches_are_counted_in_the_graph_whatever_the_names(order, times, names):
    plan = initialize(decoder(order, names, times), "gpt2", seed=0, dry_run=True)
    (found,) = ends(plan)
    assert found == pytest.approx(0.02 / (2 * times * len(order)) ** 0.5)


@pytest.mark.rare
@pytest.mark.parametrize("times", [1, 2, 12])
@pytest.mark.parametrize("names", [NAMES, ("up", "down")])
def test_depth_is_how_often_a_block_is_applied(times, names):
    model = decoder("af", names, times, blocks=1, norm=layers.Identity)
    roles = {part.weight.path: part.role for part in find_roles(Inventory(model)).parts}
    assert {role.branches for path, role in roles.items() if path.endswith("output/kernel")} == {2 * times}


def test_a_block_in_several_places_has_no_number():
    with pytest.raises(ValueError, match="no gate"):
        recipes.llama(decoder(times=2), source="torchtitan")


def test_names_are_used_with_a_note_where_the_graph_cannot_be_followed():
    plan = initialize(decoder(asks=True), "gpt2", seed=0, dry_run=True)
    assert list(ends(plan)) == pytest.approx([0.01])
    (note,) = [note for note in plan.notes if "not checked by the graph" in note]
    assert "'b0_1', whose `call` cannot be followed: " in note


def test_a_kernel_of_a_block_without_a_name_is_asked_for_where_the_graph_cannot_be_followed():
    model = decoder(names=(NAMES[0], "middle", NAMES[1]), asks=True)
    with pytest.raises(ValueError, match=r"'b0_1/middle/kernel' in a block, whose role no name shows"):
        recipes.gpt2(model)


def mixture(number, starts_at_sum):
    """Return a decoder of one block, in which a router weighs experts that are added one by one."""
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(30, WIDTH, name="tokens")(ids)
    y = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(2, 8, name="attention")(y, y)
    y = layers.LayerNormalization()(x)
    weights = layers.Dense(number, "softmax", name="router")(y)
    total = x if starts_at_sum else 0
    for n in range(number):
        gate, up = layers.Dense(WIDTH, name=f"gate_{n}")(y), layers.Dense(WIDTH, name=f"up_{n}")(y)
        total = total + weights[..., n : n + 1] * layers.Dense(WIDTH, name=f"down_{n}")(ops.silu(gate) * up)
    x = total if starts_at_sum else x + total
    return keras.Model(ids, layers.Dense(30, name="head")(layers.LayerNormalization()(x)))


@pytest.mark.rare
@pytest.mark.parametrize(("number", "starts_at_sum"), [(2, False), (3, True), (4, False), (9, False)])
def test_experts_of_one_router_are_one_branch(number, starts_at_sum):
    plan = initialize(mixture(number, starts_at_sum), "gpt2", seed=0, dry_run=True)
    small = {weight.path: weight.expected_std for weight in plan.rows if (weight.expected_std or 1) < 0.02}
    assert set(small) == {"attention/attention_output/kernel", *(f"down_{n}/kernel" for n in range(number))}
    assert list(small.values()) == pytest.approx([0.02 / 2**0.5] * (number + 1))


class Block(layers.Layer):
    """A block whose sums are not seen, because it asks for values."""

    def __init__(self, first, **options):
        super().__init__(**options)
        self.first = first
        self.attention = layers.MultiHeadAttention(2, 8, name="attention")
        self.network, self.norms = FeedForward(name="network"), [layers.LayerNormalization() for _ in range(2)]

    def build(self, shape):
        self.attention.build(shape, shape)
        for layer in (self.network, *self.norms):
            layer.build(shape)

    def call(self, x):
        if bool(x[0, 0, 0] > 1e9):
            return x
        for norm, part in zip(self.norms, (lambda y: self.attention(y, y), self.network), strict=True):
            x = x + part(norm(x)) if self.first else norm(x + part(x))
        return x

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.rare
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("recipe", ["gpt2", "bert", "zero_residual"])
def test_a_place_of_normalizations_that_was_not_seen_is_asked_for(recipe, first):
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(30, WIDTH, name="tokens")(ids)
    model = keras.Model(ids, layers.Dense(30, name="head")(Block(first, name="block")(x)))
    with pytest.raises(ValueError, match="a place of normalizations that is not seen in 'block', whose `call`"):
        initialize(model, recipe)


class Encoder(layers.Layer):
    """A block that says where it normalizes, as in KerasHub."""

    def __init__(self, normalize_first=False, **options):
        super().__init__(**options)
        self.normalize_first = normalize_first
        self.norm, self.network = layers.LayerNormalization(), FeedForward(name="network")
        self.attention = layers.MultiHeadAttention(2, 8, name="attention")

    def build(self, shape):
        self.attention.build(shape, shape)
        self.network.build(shape)
        self.norm.build(shape)

    def call(self, x):
        return self.norm(x + self.network(self.norm(x + self.attention(x, x))))

    def compute_output_shape(self, shape):
        return shape


class Other(Encoder):
    """A block that is made from it, and normalizes elsewhere."""

    def __init__(self, **options):
        super().__init__(**options)

    def call(self, x):
        y = self.norm(x)
        x = x + self.attention(y, y)
        return x + self.network(self.norm(x))


@pytest.mark.parametrize(("kind", "right", "wrong"), [(Encoder, "bert", "gpt2"), (Other, "gpt2", "bert")])
def test_where_a_block_normalizes_says_its_call_and_no_attribute(kind, right, wrong):
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(30, WIDTH, name="tokens")(ids)
    model = keras.Model(ids, layers.Dense(30, name="head")(kind(name="block")(x)))
    assert initialize(model, right, seed=0, dry_run=True)
    with pytest.raises(ValueError, match="normalization after each sum"):
        initialize(model, wrong, seed=0, dry_run=True)


class Cached(layers.MultiHeadAttention):
    """Attention with an argument that Keras' does not have, and with a fifth kernel, as in KerasHub."""

    def build(self, query_shape, value_shape):
        self.encoding = layers.Dense(WIDTH, name="encoding")
        self.encoding.build(query_shape)
        super().build(query_shape, value_shape)

    def call(self, query, value, offset=None, cache=None):
        return super().call(query + self.encoding(query) + offset, value)


class Caching(Encoder):
    """A block with it, which says nothing of where it normalizes."""

    def __init__(self, **options):
        super().__init__(**options)
        self.attention = Cached(2, 8, name="attention")

    def build(self, shape):
        super().build(shape)
        self.offset = self.add_weight((WIDTH,), name="offset")

    def call(self, x):
        y = self.norm(x)
        x = x + self.attention(y, y, offset=self.offset, cache=None)
        return x + self.network(self.norm(x))


@pytest.mark.release_backends
def test_attention_of_ones_own_with_other_arguments_is_followed():
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(30, WIDTH, name="tokens")(ids)
    model = keras.Model(ids, layers.Dense(30, name="head")(Caching(name="block")(x)))
    plan = initialize(model, "gpt2", seed=0, dry_run=True)
    assert not any("not checked by the graph" in note for note in plan.notes)
    small = {row.path for row in plan.rows if row.expected_std and row.expected_std < 0.02}
    assert small == {"block/attention/attention_output/kernel", f"block/network/{NAMES[1]}/kernel"}


@pytest.mark.release_backends
def test_an_encoder_with_fourier_transforms_for_attention_is_one_of_text():
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(30, WIDTH, name="tokens")(ids)
    for _ in range(2):
        mixed, _imaginary = ops.fft2((x, ops.zeros_like(x)))
        x = layers.LayerNormalization()(x + mixed)
        x = layers.LayerNormalization()(x + layers.Dense(WIDTH)(layers.Dense(WIDTH, "gelu")(x)))
    assert initialize(keras.Model(ids, x), "bert:transformers", seed=0, dry_run=True)


class Experts(layers.Layer):
    """Experts whose kernels are in arrays, with the names of KerasHub."""

    def build(self, shape):
        self.gate = self.add_weight((3, WIDTH, WIDTH), name="expert_feedforward_gate_dense")
        self.out = self.add_weight((3, WIDTH, WIDTH), name="expert_feedforward_output_dense")

    def call(self, x):
        return ops.einsum("bte,eij->btj", ops.silu(ops.einsum("bti,eij->bte", x, self.gate)), self.out)


class Mixture(layers.Layer):
    """A block of attention and experts, and perhaps an expert that all share."""

    def __init__(self, has_shared, **options):
        super().__init__(**options)
        self.norms = [layers.LayerNormalization() for _ in range(2)]
        self.attention = layers.MultiHeadAttention(2, 8, name="attention")
        self.router, self.experts = layers.Dense(3, name="sparse_feedforward_gate_dense"), Experts(name="experts")
        self.parts = [*self.norms, self.router, self.experts]
        if has_shared:
            self.shared = FeedForward(name="shared")
            self.weight = layers.Dense(1, "sigmoid", name="shared_expert_gate_dense")
            self.parts += [self.shared, self.weight]
        self.has_shared = has_shared

    def build(self, shape):
        self.attention.build(shape, shape)
        for layer in self.parts:
            layer.build(shape)

    def call(self, x):
        y = self.norms[0](x)
        x = x + self.attention(y, y)
        y = self.norms[1](x)
        outputs = self.experts(y) * ops.max(self.router(y), axis=-1, keepdims=True)
        if self.has_shared:
            outputs = outputs + self.weight(y) * self.shared(y)
        return x + outputs


@pytest.mark.parametrize("has_shared", often([False, True], [True]))
def test_experts_in_arrays_with_the_names_of_kerashub_end_a_branch_together(has_shared):
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(30, WIDTH, name="tokens")(ids)
    for block in range(2):
        x = Mixture(has_shared, name=f"block_{block}")(x)
    model = keras.Model(ids, layers.Dense(30, name="head")(layers.LayerNormalization()(x)))
    ends = {"attention/attention_output/kernel", "experts/expert_feedforward_output_dense"}
    if has_shared:
        ends.add(f"shared/{NAMES[1]}/kernel")
    ends = {f"block_{block}/{end}" for block in range(2) for end in ends}
    for recipe in ("gpt2", "llama:megatron"):
        stds = {one.path: one.expected_std for one in initialize(model, recipe, seed=0, dry_run=True).rows}
        assert {path for path, std in stds.items() if std and std < 0.02} == ends
        assert [stds[end] for end in ends] == pytest.approx([0.01] * len(ends))
        assert stds["block_0/experts/expert_feedforward_gate_dense"] == 0.02
    closed = {path for path, value in recipes.zero_residual(model).by_path.items() if value == "zeros"}
    assert closed == ends


def diffusion(has_labels=True):
    """Return a DiT as published: in each block one kernel for six parts, of a time step and a class."""
    image, time, label = keras.Input((8, 8, 3)), keras.Input((WIDTH,)), keras.Input((), dtype="int32")
    inputs = [image, time]
    x = layers.Reshape((16, WIDTH))(layers.Conv2D(WIDTH, 2, 2, name="patches")(image))
    condition = layers.Dense(WIDTH, name="time_2")(layers.Dense(WIDTH, "silu", name="time_1")(time))
    if has_labels:
        inputs.append(label)
        condition = condition + layers.Embedding(5, WIDTH, name="labels")(label)
    for block in range(2):
        both = layers.Dense(6 * WIDTH, name=f"modulation_{block}")(ops.silu(condition))
        parts = [ops.expand_dims(part, 1) for part in ops.split(both, 6, -1)]
        y = layers.LayerNormalization(center=False, scale=False)(x) * (1 + parts[1]) + parts[0]
        q, k, v = (layers.Dense(WIDTH, name=f"{name}_{block}")(y) for name in "qkv")
        weights = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 2, 1))))
        x = x + parts[2] * layers.Dense(WIDTH, name=f"o_{block}")(ops.matmul(weights, v))
        y = layers.LayerNormalization(center=False, scale=False)(x) * (1 + parts[4]) + parts[3]
        hidden = layers.Dense(32, "gelu", name=f"up_{block}")(y)
        x = x + parts[5] * layers.Dense(WIDTH, name=f"down_{block}")(hidden)
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


def test_the_side_inputs_of_a_diffusion_transformer_are_no_stream():
    model = diffusion()
    roles = {part.weight.path: part.role for part in find_roles(Inventory(model)).parts}
    ends = ("o_0", "down_0", "o_1", "down_1")
    assert [roles[f"{end}/kernel"].branches for end in ends] == [4] * 4
    assert [roles[f"{end}/kernel"].name for end in ends] == ["attended", "outer"] * 2
    with pytest.raises(ValueError, match=r"with no token embedding.*; embeddings of labels: 'labels'"):
        recipes.gpt2(model)
    with pytest.raises(ValueError, match=r"with an embedding of tokens or labels, 'labels'$"):
        recipes.vit_timm(model)
    plan = initialize(model, "zero_residual", seed=0, dry_run=True)
    closed = {weight.path for weight in plan.rows if weight.initializer == "Zeros()" and "kernel" in weight.path}
    assert closed == {"modulation_0/kernel", "modulation_1/kernel"}


def test_biases_of_attention_and_of_the_network_are_told_apart_in_a_diffusion_transformer():
    model = diffusion(has_labels=False)
    stds = {weight.path: weight.expected_std for weight in initialize(model, "vit_jax", seed=0, dry_run=True).rows}
    assert {path for path, std in stds.items() if path.endswith("bias") and std} == {
        f"{name}_{block}/bias" for name in ("up", "down") for block in range(2)
    }
    stds = {weight.path: weight.expected_std for weight in initialize(model, "vit_timm", seed=0, dry_run=True).rows}
    assert stds["time_1/kernel"] == 0.02
    assert stds["patches/kernel"] == pytest.approx((3 * 12) ** -0.5)


def test_a_network_in_which_nothing_is_selu_is_refused_by_selu():
    inputs = keras.Input((4,))
    with pytest.raises(ValueError, match="with no SELU"):
        recipes.selu(keras.Model(inputs, layers.Dense(3, "tanh")(inputs)))


class ByHand(layers.Layer):
    """A layer that multiplies by a kernel itself."""

    def build(self, shape):
        self.kernel = self.add_weight((shape[-1], 8), name="kernel")

    def call(self, x):
        return ops.selu(ops.matmul(x, self.kernel))


class Asking(layers.Layer):
    """A layer of which the call cannot be followed."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense = layers.Dense(8, name="dense")

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return ops.selu(self.dense(x)) if bool(x[0, 0] < 1e9) else x

    def compute_output_shape(self, shape):
        return shape


@pytest.mark.parametrize("layer", [ops.selu, layers.Lambda(lambda x: ops.selu(x)), ByHand()])
def test_selu_is_seen_in_layers_of_all_kinds(layer):
    inputs = keras.Input((8,))
    rules = recipes.selu(keras.Model(inputs, layers.Dense(3, name="head")(layer(inputs))))
    assert rules.by_path["head/kernel"] == "initx.lecun_normal"


def test_selu_in_a_call_that_cannot_be_followed_is_not_known():
    inputs = keras.Input((8,))
    model = keras.Model(inputs, layers.Dense(3)(Asking(name="asking")(inputs)))
    with pytest.raises(ValueError, match="with activations that are not seen in 'asking', whose `call` cannot"):
        recipes.selu(model)


@pytest.mark.rare
@pytest.mark.release_backends
def test_factors_of_lora_in_a_quantized_layer_are_drawn():
    inputs = keras.Input((8,))
    model = keras.Model(inputs, layers.Dense(8, name="dense")(inputs))
    model.get_layer("dense").quantize("int8")
    model.get_layer("dense").enable_lora(2)
    rules = {"*lora_kernel_a": "he_uniform", "*lora_kernel_b": "zeros", "*": None}
    initialize(model, rules, seed=0)
    stds = {weight.name: float(np.std(ops.convert_to_numpy(weight.variable))) for weight in Inventory(model).weights}
    assert stds["lora_kernel_a"] > 0
    assert stds["lora_kernel_b"] == 0
    assert audit(model, rules, seed=0).ok
