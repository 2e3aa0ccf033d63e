"""Gates are found in the graph of models of all names, and the kernel that reads the product ends the branch."""

import keras
import numpy as np
import pytest
from gated import HIDDEN, Experts, PlusOne, PlusOneNorm, decoder, dense, gated, stds
from keras import layers, ops
from modes import everywhere, often, to_numpy
from strangers import LENGTH, WIDTH

from keras_initx import audit, initialize, recipes
from keras_initx.inspection._inventory import Inventory


def by_layers(y):
    parts = [dense(HIDDEN, "wi_0", "gelu")(y), dense(HIDDEN, "wi_1")(y)]
    return dense(WIDTH, "wo")(layers.Dropout(0.1)(layers.Multiply()(parts)))


def by_hand(y):
    gate = dense(HIDDEN, "w1")(y)
    return dense(WIDTH, "w2")(dense(HIDDEN, "w3")(y) * gate * ops.sigmoid(gate))


def split(y):
    gate, up = ops.split(dense(2 * HIDDEN, "fc1_g")(y), 2, -1)
    return dense(WIDTH, "fc2")(ops.gelu(gate) * up)


def sliced(y):
    both = dense(2 * HIDDEN, "fc1_g")(y)
    return dense(WIDTH, "fc2")(both[..., :HIDDEN] * layers.Activation("sigmoid")(both[..., HIDDEN:]))


def experts(y):
    weights = ops.softmax(dense(2, "router")(y))
    outputs = [gated(y, [f"{name}_{n}" for name in ("w1", "w3", "w2")]) * weights[..., n : n + 1] for n in (0, 1)]
    return outputs[0] + outputs[1]


class Gated(layers.Layer):
    def __init__(self):
        super().__init__(name="ffn")
        self.gate, self.up, self.down = dense(HIDDEN, "gate_proj"), dense(HIDDEN, "up_proj"), dense(WIDTH, "down_proj")

    def build(self, shape):
        self.gate.build(shape)
        self.up.build(shape)
        self.down.build((*shape[:-1], HIDDEN))

    def call(self, x):
        return self.down(keras.activations.silu(self.gate(x)) * self.up(x))


class Attention(layers.Layer):
    """Attention with a gate, of which the kernel is that of the queries too."""

    def __init__(self):
        super().__init__(name="attention")
        self.queries, self.keys = dense(2 * WIDTH, "q_proj"), dense(WIDTH, "k_proj")
        self.values, self.out = dense(WIDTH, "v_proj"), dense(WIDTH, "o_proj")

    def build(self, shape):
        for layer in (self.queries, self.keys, self.values, self.out):
            layer.build(shape)

    def call(self, x):
        queries, gate = ops.split(self.queries(x), 2, -1)
        weights = ops.softmax(ops.matmul(queries, ops.transpose(self.keys(x), (0, 2, 1))))
        return self.out(ops.matmul(weights, self.values(x)) * ops.sigmoid(gate))


def parallel(y):
    return layers.MultiHeadAttention(2, 4, use_bias=False, name="other")(y, y) + gated(y)


# A feed-forward network, its gates and the kernels that read the products.
FORMS = {
    "operations": (gated, {"w1"}, {"w2"}),
    "relu": (lambda y: gated(y, ("a", "b", "c"), ops.relu), {"a"}, {"c"}),
    "own activation": (
        lambda y: dense(WIDTH, "b")(dense(HIDDEN, "g", lambda x: x * ops.sigmoid(x))(y) * dense(HIDDEN, "a")(y)),
        {"g"},
        {"b"},
    ),
    "layers": (by_layers, {"wi_0"}, {"wo"}),
    "by hand": (by_hand, {"w1"}, {"w2"}),
    "split": (split, {"fc1_g"}, {"fc2"}),
    "sliced": (sliced, {"fc1_g"}, {"fc2"}),
    "glu": (lambda y: dense(WIDTH, "fc2")(ops.glu(dense(2 * HIDDEN, "fc1_g")(y))), {"fc1_g"}, {"fc2"}),
    "experts": (experts, {"w1_0", "w1_1"}, {"w2_0", "w2_1"}),
    "subclassed": (lambda y: Gated()(y), {"ffn/gate_proj"}, {"ffn/down_proj"}),
    "parallel": (parallel, {"w1"}, {"other/attention_output", "w2"}),
}


@pytest.mark.parametrize("attention", often([None, Attention], [Attention]))
@pytest.mark.parametrize("form", everywhere(FORMS, ["operations", "subclassed"], others=[pytest.mark.rare]))
def test_gates_and_the_ends_of_their_branches_are_found(form, attention):
    feed_forward, gates, ends = FORMS[form]
    model = decoder(feed_forward, attention and attention())
    plan = initialize(model, "llama", seed=0, dry_run=True)
    kernels = [weight for weight in plan.rows if weight.path.endswith("kernel")]
    assert {weight.expected_std for weight in kernels} == {0.02}
    (line,) = [note for note in plan.notes if note.startswith("  gates: ")]
    assert set(line.removeprefix("  gates: ").replace("'", "").split(", ")) == gates
    rules = recipes.gpt2(model)
    small = {path for path, std in stds(model, rules).items() if std < 0.02}
    assert small == {f"{end}/kernel" for end in ends} | {
        f"attention/{'o_proj' if attention else 'attention_output'}/kernel"
    }


def test_gemma_draws_the_kernels_of_blocks_of_other_names_and_leaves_the_others():
    plan = initialize(decoder(gated, norm=PlusOne), "gemma", seed=0, dry_run=True)
    stds = {weight.path: weight.expected_std for weight in plan.rows}
    assert stds["w1/kernel"] == stds["w2/kernel"] == stds["attention/query/kernel"] == 0.01
    assert stds["head/kernel"] != 0.01


@pytest.mark.release_backends
def test_llama_and_gemma_are_told_apart_by_what_a_normalization_does_with_its_scale():
    with pytest.raises(ValueError, match="with normalizations that multiply by their scales, 'rms_norm"):
        recipes.gemma(decoder(gated))
    with pytest.raises(ValueError, match="with normalizations that multiply by 1 plus their scales, 'plus_one_norm"):
        recipes.llama(decoder(gated, norm=PlusOneNorm))
    model = decoder(gated, norm=PlusOneNorm)
    initialize(model, "gemma", seed=0)
    assert audit(model, "gemma").ok
    assert recipes.gemma(model).by_path


NO_GATES = {
    "no product": lambda y: dense(WIDTH, "down")(dense(HIDDEN, "up", "silu")(y)),
    "squeezed": lambda y: dense(WIDTH, "down")(
        dense(HIDDEN, "up")(y) * dense(HIDDEN, "s", "sigmoid")(ops.mean(y, 1, keepdims=True))
    ),
    "silu by hand": lambda y: dense(WIDTH, "down")((up := dense(HIDDEN, "up")(y)) * ops.sigmoid(up)),
    "without activation": lambda y: dense(WIDTH, "down")(dense(HIDDEN, "a")(y) * dense(HIDDEN, "b")(y)),
    "highway": lambda y: dense(WIDTH, "a", "relu")(y) * dense(WIDTH, "b", "sigmoid")(y),
}


@pytest.mark.rare
@pytest.mark.parametrize("form", NO_GATES)
def test_other_products_are_no_gates(form):
    with pytest.raises(ValueError, match="with no gate"):
        recipes.llama(decoder(NO_GATES[form]))


def test_a_saved_and_a_nested_model_have_the_same_gates(tmp_path):
    model = decoder(split)
    model.save(tmp_path / "model.keras")
    outer = keras.Sequential([keras.Input((LENGTH,), dtype="int32"), keras.models.load_model(tmp_path / "model.keras")])
    plan = initialize(outer, "llama", seed=0)
    assert [note.partition("'")[2] for note in plan.notes if "gates" in note] == ["functional/fc1_g'"]


def test_gates_beside_a_layer_that_cannot_be_followed_are_found_and_its_kernels_left():
    model = decoder(lambda y: gated(y) + Experts(name="experts")(y))
    plan = initialize(model, "llama", seed=0)
    assert {weight.path for weight in plan.left} == {"experts/w1", "experts/w2", "experts/w3"}
    assert np.isclose({weight.path: weight.expected_std for weight in plan.rows}["w2/kernel"], 0.02)
    assert len(Inventory(model).weights) == len(plan.rows)


def deep(blocks=3, width=64):
    """Return a decoder wide enough for standard deviations that are measured."""
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(200, width, name="tokens")(ids)
    for n in range(blocks):
        y = layers.RMSNormalization()(x)
        x = x + layers.GroupQueryAttention(16, 4, 2, use_bias=False, name=f"attention_{n}")(y, y)
        y = layers.RMSNormalization()(x)
        hidden = ops.silu(dense(2 * width, f"w1_{n}")(y)) * dense(2 * width, f"w3_{n}")(y)
        x = x + dense(width, f"w2_{n}")(hidden)
    return keras.Model(ids, dense(200, "head")(layers.RMSNormalization()(x)))


def test_megatron_scales_the_kernel_that_reads_the_product_and_no_other():
    found = stds(deep(), "llama:megatron")
    ends = [
        f"{end}_{n}{rest}/kernel" for n in range(3) for end, rest in (("w2", ""), ("attention", "/attention_output"))
    ]
    assert {path for path in found if found[path] != 0.02} == set(ends)
    assert [found[end] for end in ends] == pytest.approx([0.02 / 6**0.5] * 6)


@pytest.mark.rare
def test_torchtitan_scales_ends_and_factors_by_the_number_of_their_block():
    model = deep()
    found = stds(model, "llama:torchtitan")
    for n in range(3):
        for path in (f"attention_{n}/attention_output", f"w2_{n}", f"w3_{n}"):
            assert found[f"{path}/kernel"] == pytest.approx(0.02 / (2 * (n + 1)) ** 0.5)
        assert found[f"w1_{n}/kernel"] == found[f"attention_{n}/query/kernel"] == 0.02
    initialize(model, "llama:torchtitan", seed=0)
    assert to_numpy(model.get_layer("tokens").embeddings).std() == pytest.approx(1, rel=0.05)
    # A normal distribution with 1 / sqrt(64), cut at three standard deviations.
    head = to_numpy(model.get_layer("head").kernel)
    assert (head.std(), abs(head).max() <= 3 / 8) == (pytest.approx(0.9866 / 8, rel=0.03), True)


def test_torchtitan_leaves_a_kernel_of_gate_and_factor_in_one():
    plan = initialize(decoder(split), "llama:torchtitan", seed=0)
    assert [weight.path for weight in plan.left] == ["fc1_g/kernel"]


@pytest.mark.parametrize("source", ["megatron", "torchtitan"])
def test_a_model_of_which_the_ends_are_not_known_is_refused_by_sources_that_scale_them(source):
    model = decoder(lambda y: gated(y) + Experts(name="experts")(y))
    with pytest.raises(
        ValueError, match=r"with 'experts', whose `call` cannot be followed: it multiplies by a kernel itself$"
    ):
        recipes.llama(model, source=source)


@pytest.mark.rare
def test_an_audit_names_both_kernels_where_the_scale_is_on_the_wrong_one():
    model = deep()
    initialize(model, "llama:megatron", seed=0)
    for n in range(3):
        for name, std in (("w3", 0.02 / 6**0.5), ("w2", 0.02)):
            kernel = model.get_layer(f"{name}_{n}").kernel
            kernel.assign(keras.random.normal(kernel.shape, stddev=std))
    causes = {weight.path: weight.cause for weight in audit(model, "llama:megatron", seed=0).problems}
    assert causes == {
        f"{one}_{n}/kernel": f"swapped with '{other}_{n}/kernel'"
        for n in range(3)
        for one, other in (("w3", "w2"), ("w2", "w3"))
    }


def diffusion(parts):
    """Return a diffusion transformer of two blocks, whose modulations are given in parts by a function."""
    x, condition = inputs = keras.Input((4, WIDTH)), keras.Input((WIDTH,))
    hidden = dense(WIDTH, "condition", "silu")(condition)
    for n in range(2):
        both = parts(layers.Dense(6 * WIDTH, name=f"modulation_{n}")(hidden))
        y = layers.LayerNormalization(center=False, scale=False)(x) * (1 + both[1]) + both[0]
        x = x + both[2] * layers.MultiHeadAttention(2, 4)(y, y)
        y = layers.LayerNormalization(center=False, scale=False)(x) * (1 + both[4]) + both[3]
        x = x + both[5] * dense(WIDTH, f"down_{n}")(dense(HIDDEN, f"up_{n}", "gelu")(y))
    return keras.Model(inputs, dense(WIDTH, "out")(x))


PARTS = {
    "split": lambda both: [ops.expand_dims(part, 1) for part in ops.split(both, 6, -1)],
    "reshaped": lambda both: [ops.reshape(both, (-1, 6, WIDTH))[:, n : n + 1] for n in range(6)],
}


MODULATIONS = {f"modulation_{block}/{name}": "zeros" for block in range(2) for name in ("kernel", "bias")}


def test_factors_of_lora_of_what_modulates_are_left_to_their_layers():
    model = diffusion(PARTS["split"])
    for number in range(2):
        model.get_layer(f"modulation_{number}").enable_lora(2)
    assert recipes.zero_residual(model).by_path == MODULATIONS


@pytest.mark.release_backends
@pytest.mark.parametrize("form", PARTS)
def test_the_kernels_that_modulate_branches_start_at_zero_and_their_ends_do_not(form):
    rules = recipes.zero_residual(diffusion(PARTS[form]))
    assert rules.by_path == MODULATIONS
