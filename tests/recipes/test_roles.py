"""What a weight is for is known by names or by the graph, and models that lack something are refused."""

import gated
import keras
import numpy as np
import pytest
import recipe_rows
import strangers
from decoders import LENGTH, PARTS, WIDTH, Positions, decoder
from modes import to_numpy

import keras_initx
from keras_initx import audit, initialize, recipes
from keras_initx.inspection._inventory import Inventory

layers, ops = keras.layers, keras.ops


@pytest.mark.rare
@pytest.mark.parametrize("named", [0, 1])
def test_names_in_a_part_of_a_model_do_not_hide_the_other_branches(named):
    for recipe, expected in (("gpt2", 0.02 / 6**0.5), ("zero_residual", 0)):
        plan = initialize(decoder(named), recipe, seed=0, dry_run=True)
        ends = [
            weight.expected_std or 0
            for weight in plan.rows
            if weight.path.endswith(("mlp/down/kernel", "mlp/feedforward_output_dense/kernel", "output/kernel"))
        ]
        assert ends == pytest.approx([expected] * 6)


# What operators of variables and `ops` make of symbolic tensors.


@pytest.mark.release_backends
@pytest.mark.parametrize("row", PARTS)
def test_positions_are_found_however_they_are_added(row):
    part, path = PARTS[row]
    model = Positions(part)
    model(np.zeros((2, LENGTH), "int32"))
    plan = initialize(model, "gpt2", seed=0)
    assert {weight.path: weight.expected_std for weight in plan.rows}[path] == 0.01


def test_a_weight_of_no_known_role_is_left_and_named():
    model = Positions(PARTS["embedded"][0])
    model(np.zeros((2, LENGTH), "int32"))
    before = to_numpy(model.where)
    rules = recipes.gpt2(model)
    plan = initialize(model, rules, seed=0)
    assert rules.left == ("where",)
    assert plan.notes[-1] == "Left, since its role is not known: 'where'."
    np.testing.assert_array_equal(before, to_numpy(model.where))


def residual(kinds, names=False):
    """Return a residual network of branches of these kinds."""
    x = inputs = keras.Input((8, 8, 4))
    for block, kind in enumerate(kinds):
        h = x
        for place in range(1, 3 if kind == 3 else 2):
            name = f"s_block{block}_{place}_conv" if names else f"r{block}_{place}"
            h = layers.Conv2D(4, 3, padding="same", activation="relu", name=name)(h)
        if kind == "gate":
            h = h * layers.Dense(4, "sigmoid")(layers.Dense(2)(layers.GlobalAveragePooling2D(keepdims=True)(h)))
        if kind == "beside":
            h = layers.Concatenate()([h, layers.Conv2D(4, 1)(x)])
        name = f"s_block{block}_{3 if kind == 3 else 2}_conv" if names else f"r{block}_end"
        x = x + layers.Conv2D(4, 3, padding="same", name=name)(h)
    return keras.Model(inputs, layers.Dense(4)(layers.GlobalAveragePooling2D()(x)))


def factor_of(model, path):
    """Return the factor that a kernel gets by Fixup."""
    plan = initialize(model, "fixup", seed=0, dry_run=True)
    (row,) = [weight for weight in plan.rows if weight.path == path]
    return row.expected_std / (2 / 36) ** 0.5


@pytest.mark.parametrize("names", [False, True])
def test_each_branch_has_a_depth_of_its_own(names):
    model = residual([2, 3, 2, 3], names)
    first, second = ("s_block0_1_conv", "s_block1_1_conv") if names else ("r0_1", "r1_1")
    assert factor_of(model, f"{first}/kernel") == pytest.approx(4**-0.5)
    assert factor_of(model, f"{second}/kernel") == pytest.approx(4**-0.25)
    initialize(model, "zero_residual", seed=0)
    assert sum(not to_numpy(w).any() for w in model.weights if w.name == "kernel") == 4


def test_kernels_side_by_side_count_once_in_the_depth():
    assert factor_of(residual(["beside"] * 4), "r0_1/kernel") == pytest.approx(4**-0.5)
    with pytest.raises(ValueError, match="kernels side by side"):
        recipes.fixup(residual(["gate"] * 4))


def details(model, rules):
    return {row.path: row.detail for row in initialize(model, rules, seed=0, dry_run=True).rows}


def test_a_row_says_its_role_and_which_source_gave_it():
    by_graph = details(strangers.gpt(), "gpt2")
    assert by_graph["decoder_block/dense_1/kernel"] == "role 'outer': a branch in the graph"
    assert by_graph["decoder_block/dense/kernel"] == "role 'inner', drawn as 'kernel': a branch in the graph"
    assert by_graph["embedding/embeddings"] == "role 'tokens', drawn as 'embeddings': inputs choose its rows"
    assert by_graph["embedding_1/embeddings"] == "role 'positions': an end of the graph"
    assert by_graph["dense/kernel"] == "role 'last', drawn as 'kernel': an end of the graph"
    attention = "decoder_block/multi_head_attention/query"
    assert by_graph[f"{attention}/bias"] == "role 'bias': its own name"
    by_names = details(recipe_rows.transformer(), "gpt2")
    assert by_names["block_0/feedforward_output_dense/kernel"] == "role 'outer': its path"
    fused = details(gated.decoder(lambda y: FusedGate()(y)), "llama")
    kernel = "role 'gate and up', drawn as 'kernel': a gate in the graph; 2 kernels in one"
    assert [text for path, text in fused.items() if path.endswith("gate_and_up/kernel")] == [kernel]


class FusedGate(layers.Layer):
    """A feed-forward network whose gate and up are one kernel."""

    def build(self, shape):
        self.gate_and_up, self.down = layers.Dense(32, name="gate_and_up"), layers.Dense(shape[-1], name="down")
        self.gate_and_up.build(shape)
        self.down.build((*shape[:-1], 16))

    def call(self, x):
        gate, up = ops.split(self.gate_and_up(x), 2, -1)
        return self.down(ops.silu(gate) * up)


def test_a_row_has_no_role_where_a_rule_or_its_layer_draws_it():
    model = recipe_rows.wide()
    rows = details(model, [{"last/kernel": "zeros"}, {"first/kernel": None}, "selu"])
    assert rows["last/kernel"] == ""
    assert rows["first/kernel"] == "by rule"
    assert rows["second/bias"] == "role 'bias': its own name"
    assert set(details(model, None).values()) == {""}
    assert details(model, "torch")["first/kernel"] == "by its layer in torch.nn"


@pytest.mark.release_backends
def test_an_audit_by_a_recipe_of_a_model_that_it_initialized_is_right():
    model = decoder(0, blocks=1)
    initialize(model, "gpt2", seed=0)
    assert audit(model, keras_initx.recipes.gpt2, seed=0).ok


class MyScaleNorm(layers.Layer):
    """A normalization of one's own, as in KerasHub."""

    def call(self, x):
        return x / ops.std(x)


# Wide enough for standard deviations that are measured.
WIDE = 64


def named(prefix, count, tokens, memory=None, *, norm=None):
    """Return tokens after blocks whose layers have KerasHub's names."""
    for block in range(count):
        for kind, other in (("self_attention", tokens), ("cross_attention", memory)):
            if other is not None:
                attention = layers.MultiHeadAttention(2, WIDE // 2, name=f"{prefix}_{block}_{kind}")
                tokens = layers.Add()([tokens, attention(tokens, tokens if kind == "self_attention" else other)])
        hidden = layers.Dense(2 * WIDE, name="feedforward_intermediate_dense")
        inner = [keras.Input((LENGTH, WIDE)), hidden, layers.Dense(WIDE, name="feedforward_output_dense")]
        tokens = layers.Add()([tokens, keras.Sequential(inner, name=f"{prefix}_{block}")(tokens)])
        if norm is not None:
            tokens = norm(name=f"{prefix}_{block}_norm")(tokens)
    return tokens


def encoder(norm):
    tokens = keras.Input((LENGTH, WIDE))
    return keras.Model(tokens, named("block", 2, tokens, norm=norm))


def encoder_decoder():
    ids = keras.Input((LENGTH,)), keras.Input((LENGTH,))
    embedded = [
        keras.Sequential([keras.Input((LENGTH,)), layers.Embedding(400, WIDE, name="token_embedding")], name=name)(one)
        for name, one in zip(("encoder", "decoder"), ids, strict=True)
    ]
    return keras.Model(ids, named("decoder", 3, embedded[1], named("encoder", 2, embedded[0])))


@pytest.mark.rare
@pytest.mark.parametrize(
    ("recipe", "build", "reason"),
    [
        (recipes.fixup, lambda: encoder(layers.LayerNormalization), "normalization, 'block_0_norm', 'block_1_norm'"),
        (recipes.fixup, lambda: encoder(MyScaleNorm), "normalization, 'block_0_norm', 'block_1_norm'"),
        (recipes.bert, encoder_decoder, "cross-attention"),
        (recipes.gpt2, encoder_decoder, "cross-attention"),
    ],
)
def test_a_model_of_another_kind_is_refused_with_what_it_has(recipe, build, reason):
    with pytest.raises(ValueError, match=reason):
        recipe(build())


def test_preprocessing_is_no_normalization_layer():
    inputs = keras.Input((WIDTH,))
    x = layers.Normalization(mean=0.0, variance=1.0)(inputs)
    x = x + layers.Dense(WIDTH)(layers.Dense(WIDTH, "relu")(x))
    assert recipes.fixup(keras.Model(inputs, layers.Dense(2)(x)))


def test_the_end_of_a_branch_on_its_own_has_the_name_of_others_in_models():
    inputs = keras.Input((WIDTH,))
    x = inputs + layers.Dense(WIDTH, name="end")(layers.Dense(16, "relu")(inputs))
    for block in range(2):
        inner = [keras.Input((WIDTH,)), layers.Dense(16, "relu"), layers.Dense(WIDTH, name="end")]
        x = x + keras.Sequential(inner, name=f"block_{block}")(x)
    model = keras.Model(inputs, x)
    plan = initialize(model, "zero_residual", seed=0)
    ends = [weight for weight in plan.rows if weight.path.endswith("end/kernel")]
    assert len(ends) == 3
    assert not any(weight.std for weight in ends)


class GatedFeedForward(layers.Layer):
    """A branch with a gate, of which only names tell what it is."""

    def __init__(self, gate, **options):
        super().__init__(**options)
        self.gate = layers.Dense(16, "silu", name=gate)
        self.up, self.down = layers.Dense(16, name="up"), layers.Dense(WIDTH, name="down")

    def build(self, shape):
        self.gate.build(shape)
        self.up.build(shape)
        self.down.build((*shape[:-1], 16))

    def call(self, x):
        return x + self.down(self.gate(x) * self.up(x))


@pytest.mark.parametrize(
    ("recipe", "gate", "std"), [(recipes.llama, "feedforward_gate_dense", 0.02), (recipes.gemma, "ffw_gating", 0.01)]
)
def test_a_gate_is_known_by_its_name_where_the_graph_shows_all_branches(recipe, gate, std):
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(20, WIDTH, name="token_embedding")(ids)
    for block in range(2):
        x = GatedFeedForward(gate, name=f"decoder_block_{block}")(x)
    plan = initialize(keras.Model(ids, x), recipe, seed=0, dry_run=True)
    kernels = [weight for weight in plan.rows if weight.path.endswith("kernel")]
    assert [weight.expected_std for weight in kernels] == [std] * 6


def test_a_query_of_t5_on_a_shortcut_stays_one():
    ids, places = keras.Input((LENGTH,)), keras.Input((LENGTH, LENGTH))
    tokens = layers.Embedding(50, 64, name="token_embedding")(ids)
    queries = layers.Dense(64, name="query_projector")(tokens)
    x = queries + layers.Dense(64, name="down")(layers.Dense(64, name="up")(tokens))
    biases = layers.Embedding(32, 4, name="self_attention")(places)
    rules = recipes.t5(keras.Model([ids, places], [layers.Dense(8)(x), biases]))
    assert rules.by_path["query_projector/kernel"].stddev == pytest.approx(1 / 32)


@pytest.mark.skipif(not hasattr(layers, "ReversibleEmbedding"), reason="this Keras has no such layer")
def test_a_table_of_tokens_that_makes_the_logits_too_is_drawn_as_tokens():
    ids = keras.Input((LENGTH,), dtype="int32")
    table = layers.ReversibleEmbedding(50, WIDTH, name="words")
    x = table(ids)
    y = layers.RMSNormalization()(x)
    x = x + layers.MultiHeadAttention(2, 4)(y, y)
    y = layers.RMSNormalization()(x)
    x = x + layers.Dense(WIDTH)(ops.silu(layers.Dense(16)(y)) * layers.Dense(16)(y))
    rules = recipes.llama(keras.Model(ids, table(x, reverse=True)), source="torchtitan")
    assert rules.by_path["words/embeddings"].stddev == 1


def test_the_last_block_of_a_resnet_without_an_output_layer_starts_at_zero_too():
    x = inputs = keras.Input((8, 8, 4))
    for block in range(2):
        name = f"stack{block}_block0"
        y = layers.Conv2D(4, 3, padding="same", name=f"{name}_1_conv")(x)
        y = layers.Conv2D(4, 3, padding="same", name=f"{name}_2_conv")(layers.ReLU()(y))
        y = layers.BatchNormalization(name=f"{name}_2_bn")(y)
        x = layers.ReLU()(y + layers.Conv2D(4, 1, name=f"{name}_0_conv")(x))
    model = keras.Model(inputs, x)
    initialize(model, "zero_residual", seed=0)
    scales = [weight.variable for weight in Inventory(model).weights if weight.name == "gamma"]
    assert [to_numpy(scale.value).max() for scale in scales] == [0, 0]
