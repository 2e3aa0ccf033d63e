"""Backbones of KerasHub, made from their arguments, are diagnosed: what is wrong with them is their initializers."""

import pathlib
import re
import runpy

import keras
import numpy as np
import pytest
from modes import to_numpy
from scripts import script

import keras_initx
from keras_initx import recipes, weights_digest
from keras_initx.inspection._architecture import read_architecture
from keras_initx.inspection._inventory import Inventory
from keras_initx.recipes._roles import find_roles
from keras_initx.tools.audit._audit import audit_at

pytestmark = pytest.mark.every_backend

keras_hub = pytest.importorskip("keras_hub")
from backbones import GENERATOR, GROUPED, PADDED, SIZES, bert, gemma, gemma3, gpt2, llama, mistral, resnet, t5, vit  # noqa: E402

built_in_models = script("built_in_models")

DOCS = pathlib.Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (gpt2, set()),
        (llama, {("twin tensors", "warning")}),
        (bert, set()),
        (vit, set()),
        (gemma, {("twin tensors", "warning")}),
        (mistral, {("twin tensors", "warning")}),
        (resnet, set()),
    ],
)
def test_backbones(build, expected):
    keras.utils.set_random_seed(0)
    model, x = build()
    before = [to_numpy(variable.value).copy() for variable in model.variables]
    # A normalized output has the same mean square whatever the weights, so targets of zero would give no gradient. And
    # others are beyond the tanh or ReLU at the end of some.
    y = keras.tree.map_structure(lambda output: GENERATOR.uniform(size=output.shape).astype("float32"), model(x))
    report = keras_initx.diagnose(model, x, y, loss=_square)
    assert {(verdict.problem, verdict.level) for verdict in report.problems} == expected, str(report)
    assert all(layer.gradient is not None for layer in report.rows if layer.weights)
    for one, other in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(one, to_numpy(other.value))


def _square(targets, outputs):
    pairs = zip(keras.tree.flatten(targets), keras.tree.flatten(outputs), strict=True)
    return sum(keras.ops.mean(keras.ops.square(keras.ops.subtract(output, target))) for target, output in pairs)


def test_kernels_that_share_an_initializer_are_named():
    keras.utils.set_random_seed(0)
    (verdict,) = keras_initx.diagnose(*llama()).problems
    assert verdict.problem == "twin tensors"
    for name in ("query/kernel", "key/kernel", "value/kernel", "attention_output/kernel"):
        assert f"transformer_layer_0/self_attention/{name}" in verdict.evidence
    assert "a separate initializer for each weight" in verdict.remedy.text


DIGESTS = {
    gpt2: "5d94d820b3d70f20b5eb2a016df03b1b",
    llama: "1c265ec02d7e342b294e54043907b874",
    bert: "f45f87a6088b3e160e63da8500761f4a",
    vit: "56bd48f773c3202535c57524693ee653",
    gemma: "600ef1a02697969a3ed9cc33693db1f7",
    mistral: "1c265ec02d7e342b294e54043907b874",
    resnet: "598c468fc5b881382570605ccd42eb0a",
}


@pytest.mark.parametrize(("build", "digest"), DIGESTS.items())
def test_a_seed_gives_the_same_model_on_every_backend(build, digest):
    model, x = build()
    model(x)  # what is drawn does not depend on what else was
    assert not keras_initx.initialize(model, seed=0).left
    assert weights_digest(model) == digest


def test_a_llama_drawn_anew_has_no_twins():
    model, x = llama()
    keras_initx.initialize(model, seed=0)
    assert keras_initx.diagnose(model, x).problems == []


def _sizes(report, kind):
    """Return the root mean square of what each block adds, in their order."""
    layers = [layer for layer in report.rows if layer.name.endswith(kind) and layer.after]
    return [float(np.hypot(layer.after.mean, layer.after.std)) for layer in layers]


def _std(plan, end):
    (std,) = {round(weight.std, 2) for weight in plan.rows if weight.path.endswith(end)}
    return std


@pytest.mark.parametrize("build", [gpt2, llama, mistral])
def test_gpt2s_recipe_makes_what_blocks_add_smaller(build):
    model, x = build()
    rules = recipes.gpt2(model)
    ends = ("*/attention_output/kernel", "*/feedforward_output_dense/kernel")
    plain = dict.fromkeys(ends, keras_initx.RandomNormal(stddev=0.02))
    keras_initx.initialize(model, [plain, rules], seed=0)
    before = keras_initx.diagnose(model, x)
    keras_initx.initialize(model, rules, seed=0)
    after = keras_initx.diagnose(model, x)
    assert after.ok, str(after)
    ratio = np.divide(_sizes(after, "/feedforward_output_dense"), _sizes(before, "/feedforward_output_dense"))
    # Exactly as much for the same seed, but for what the blocks before have changed.
    assert ratio.size == SIZES["num_layers"]
    assert (np.abs(ratio * 8**0.5 - 1) < 0.35).all()


def test_the_recipe_of_gpt2_finds_the_ends_of_branches_of_other_names():
    model = gemma()[0]
    if keras.backend.backend() != "torch":
        with pytest.raises(ValueError, match="whose `call` cannot be followed"):
            recipes.gpt2(model)
        return
    plan = keras_initx.initialize(model, recipes.gpt2, seed=0, dry_run=True)
    stds = {weight.path: weight.expected_std for weight in plan.rows}
    for block in range(SIZES["num_layers"]):
        for end in ("attention/attention_output", "ffw_linear"):
            assert stds[f"decoder_block_{block}/{end}/kernel"] == pytest.approx(0.02 / 8**0.5)


def text(name):
    """Return a backbone of text of this name."""
    sizes = {**SIZES, "num_heads": 4, "intermediate_dim": 64, "max_sequence_length": 16}
    grouped = {"Llama": {}, "Mixtral": {"num_experts": 4, "top_k": 2}, "QwenMoe": EXPERTS}
    if name in grouped:
        sizes = {**GROUPED, **grouped[name]}
    elif name == "Whisper":
        del sizes["max_sequence_length"]
        sizes |= {"num_mels": 8, "max_encoder_sequence_length": 16, "max_decoder_sequence_length": 16}
    return getattr(keras_hub.models, f"{name}Backbone")(**sizes)


EXPERTS = {"num_experts": 4, "top_k": 2, "moe_intermediate_dim": 16, "shared_expert_intermediate_dim": 32}
OF_TEXT = {
    "bert": ("Bert", "Roberta", "DistilBert"),
    "llama": ("Llama", "Mixtral", "QwenMoe"),
    "whisper": ("Whisper",),
}


@pytest.mark.parametrize(("recipe", "name"), [(recipe, name) for recipe in OF_TEXT for name in OF_TEXT[recipe]])
def test_one_recipe_takes_a_backbone_of_text_and_the_others_refuse_it(recipe, name):
    model = text(name)
    own = getattr(recipes, recipe)
    keras_initx.initialize(model, own(model), seed=0)
    report = keras_initx.audit(model, own)
    assert report.ok, str(report)
    assert not report.not_compared
    for other in {*OF_TEXT, "vit_timm"} - {recipe}:
        with pytest.raises(ValueError, match="otherwise write your own rules"):
            getattr(recipes, other)(model)


@pytest.mark.parametrize(
    ("recipe", "name", "lacks"),
    [
        (recipes.gpt2, "Bert", "a normalization after each sum"),
        (recipes.gpt2, "Roberta", "a normalization after each sum"),
        (recipes.zero_residual, "Bert", "a normalization after each sum"),
        (recipes.zero_residual, "Bart", "a normalization after each sum"),
    ],
)
def test_where_a_transformer_normalizes_is_known(recipe, name, lacks):
    with pytest.raises(ValueError, match=f"with .*{lacks}"):
        recipe(text(name))


def test_gpt2s_recipe_refuses_bart():
    sizes = {**SIZES, "num_heads": 4, "intermediate_dim": 64, "max_sequence_length": 16}
    with pytest.raises(ValueError, match=r"with .*cross-attention"):
        recipes.gpt2(keras_hub.models.BartBackbone(**sizes))


def test_a_densenet_is_refused():
    model = keras_hub.models.DenseNetBackbone(stackwise_num_repeats=[2, 2], growth_rate=8, image_shape=(32, 32, 3))
    with pytest.raises(ValueError, match="no residual branch"):
        recipes.zero_residual(model)


@pytest.mark.parametrize("recipe", [recipes.vit_timm, recipes.vit_jax])
def test_recipes_of_vision_transformers_suit_vit(recipe):
    model, x = vit()
    plan = keras_initx.initialize(model, recipe(model), seed=0)
    drawn = [weight.path for weight in plan.rows if not weight.detail]
    for end in ("patch_embedding/kernel", "position_embedding/embeddings", "class_token"):
        assert any(path.endswith(end) for path in drawn)
    assert _std(plan, "position_embedding/embeddings") == 0.02
    assert keras_initx.diagnose(model, x).ok


# What Keras says of the layers of KerasHub's T5.
of_t5 = pytest.mark.filterwarnings("ignore:.*(T5MultiHeadAttention|was called on layer)")


@of_t5
@pytest.mark.parametrize(
    ("build", "recipe", "factor", "above"),
    [(gemma, recipes.gemma, 1, 0), (gemma3, recipes.gemma, 1, 0), (t5, recipes.t5, 32**-0.5, 0.5)],
)
def test_recipes_of_gemma_and_t5_leave_normalizations_and_give_the_expected_first_loss(build, recipe, factor, above):
    model, x = build()
    others = [variable for variable in model.variables if not variable.path.endswith(("kernel", "embeddings"))]
    before = [to_numpy(variable.value).copy() for variable in others]
    keras_initx.initialize(model, recipe(model), seed=0)
    for old, variable in zip(before, others, strict=True):
        np.testing.assert_array_equal(old, to_numpy(variable.value))
    output = model(x)
    hidden = output["decoder_sequence_output"] if build is t5 else output
    logits = model.token_embedding(hidden * factor, reverse=True)
    targets = np.roll(PADDED["token_ids"], 1, axis=0)
    losses = keras.losses.sparse_categorical_crossentropy(targets, logits, from_logits=True)
    # Logits of variance v, independent of the targets, add v / 2 to the loss of a blind guess.
    assert to_numpy(losses).mean() == pytest.approx(np.log(50) + above, abs=0.25)
    assert keras_initx.diagnose(model, x).ok


@pytest.mark.parametrize("build", [gpt2, llama, vit, resnet])
def test_blocks_that_start_at_zero_add_nothing(build):
    model, x = build()
    keras_initx.initialize(model, recipes.zero_residual(model), seed=0)
    report = keras_initx.diagnose(model, x)
    added = _sizes(report, "_block0_2_bn" if build is resnet else "/attention_output")
    assert added == [0] * SIZES["num_layers"]


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("VGG", {"stackwise_num_repeats": [2, 2], "stackwise_num_filters": [8, 16]}),
        ("DenseNet", {"stackwise_num_repeats": [3, 3]}),
        ("Xception", {"stackwise_conv_filters": [[32, 64], [64, 64]], "stackwise_pooling": [False, True]}),
    ],
)
def test_resnets_recipe_takes_its_backbone_and_no_other_of_convolutions(name, sizes):
    model, _ = resnet()
    keras_initx.initialize(model, "resnet", seed=0)
    assert audit_at(1e-4, model, "resnet").ok
    with pytest.raises(ValueError, match="otherwise write your own rules"):
        recipes.resnet(getattr(keras_hub.models, f"{name}Backbone")(**sizes, image_shape=(32, 32, 3)))


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="Keras shards variables on JAX only")
def test_the_sharded_llama_of_the_documentation_has_the_weights_of_one_device(capsys):
    runpy.run_path(str(DOCS / "examples" / "sharded_llama.py"))
    assert capsys.readouterr().out in (DOCS / "devices.md").read_text()


@of_t5
def test_tokens_of_kerashubs_t5_are_alike():
    keras.utils.set_random_seed(0)
    model = t5()[0]
    embeddings = to_numpy(model.token_embedding.embeddings)
    assert (embeddings.mean(), embeddings.std()) == (pytest.approx(1, abs=0.01), pytest.approx(0.05, abs=0.01))


@of_t5
def test_a_table_for_the_logits_of_t5_alone_is_smaller_than_that_of_its_tokens():
    sizes = {**SIZES, "num_heads": 2, "intermediate_dim": 64}
    model = keras_hub.models.T5Backbone(**sizes, tie_embedding_weights=False)
    keras_initx.initialize(model, recipes.t5(model), seed=0)
    stds = [
        to_numpy(table).std() for table in (model.token_embedding.embeddings, model.token_embedding.reverse_embeddings)
    ]
    assert stds == pytest.approx([1, 32**-0.5], rel=0.05)


def of_the_page(name):
    """Return a new model of the page about audits, and what it is compared with there."""
    build, expected, _ = built_in_models.MODELS[name]
    keras.utils.set_random_seed(0)
    return build(), expected


# What Keras says of the layers of KerasHub's Flux, and KerasHub of its RWKV 7.
of_the_script = pytest.mark.filterwarnings("ignore:.*(was called on layer|'rwkv_ops' package is not installed)")


@of_t5
@of_the_script
def test_the_page_of_audits_shows_what_the_script_prints(capsys):
    built_in_models.main()
    table, _, heads = capsys.readouterr().out.partition("\n\n")
    assert f"\n\n{table}\n\n" in (DOCS / "audit.md").read_text()
    assert heads == "Heads of Qwen 3.5: A_log [0.0], dt_bias [1.0]\n"


EQUAL = {
    "RWKV 7": [f"rwkv_layer_0/RWKV_TIME_MIX/{name}/kernel" for name in ("receptance", "key", "value", "output_layer")],
    "Qwen 3.5": [f"transformer_layer_0/linear_attn/in_proj_{name}/kernel" for name in "ab"],
}


@of_the_script
@pytest.mark.parametrize("name", EQUAL)
def test_kernels_that_share_an_initializer_start_equal_until_they_are_drawn_anew(name):
    model, _ = of_the_page(name)
    values = {weight.path: to_numpy(weight.value) for weight in model.weights}
    for path in EQUAL[name]:
        np.testing.assert_array_equal(values[path], values[EQUAL[name][0]])
    keras_initx.initialize(model, seed=0)
    assert keras_initx.audit(model).ok


def test_the_logits_of_siglip_start_without_the_scale_and_the_bias_of_the_paper():
    report = keras_initx.audit(*of_the_page("SigLIP"))
    assert {row.path: row.cause for row in report.problems} == {
        "siglip_head/logit_scale": "as its layer declares: Constant()",
        "siglip_head/logit_bias": "as its layer declares: Zeros()",
    }


@of_the_script
@pytest.mark.parametrize(("name", "number"), [("Stable Diffusion 3", 5), ("Flux", 7)])
def test_the_modulation_of_a_diffusion_transformer_does_not_start_at_zero(name, number):
    report = keras_initx.audit(*of_the_page(name))
    assert [row.cause for row in report.problems] == ["as its layer declares: GlorotUniform()"] * number


def test_smollm3_starts_as_layers_of_keras_do():
    report = keras_initx.audit(*of_the_page("SmolLM3"))
    causes = {row.path.rpartition("/")[2]: row.cause for row in report.problems}
    assert causes == {
        "kernel": "as its layer declares: GlorotUniform()",
        "embeddings": "as its layer declares: RandomUniform()",
    }


def test_the_audit_of_gpt2_prints_what_the_page_shows(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    page = DOCS.joinpath("audit.md").read_text()
    ((code, output),) = re.findall(r"```python\n([^`]*keras_hub[^`]*)```\n\n```text\n(.*?)```", page, re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out == output


@pytest.mark.parametrize("applications", [1, 2, 12])
def test_the_depth_of_albert_is_how_often_its_one_group_is_applied(applications):
    sizes = {"num_heads": 4, "embedding_dim": 16, "hidden_dim": 32, "intermediate_dim": 64, "num_groups": 1}
    model = keras_hub.models.AlbertBackbone(50, applications, max_sequence_length=16, **sizes)
    roles = {part.weight.path: part.role for part in find_roles(Inventory(model)).parts}
    branches = {role.branches for path, role in roles.items() if path.endswith("attention_output/kernel")}
    assert branches == {2 * applications}


def xlnet():
    return keras_hub.models.XLNetBackbone(50, num_layers=2, num_heads=4, hidden_dim=32, intermediate_dim=64)


def moonshine():
    heads = {"encoder_num_heads": 4, "decoder_num_heads": 4}
    blocks = {"encoder_num_layers": 2, "decoder_num_layers": 2}
    return keras_hub.models.MoonshineBackbone(50, filter_dim=32, hidden_dim=32, intermediate_dim=64, **heads, **blocks)


@pytest.mark.parametrize(
    ("build", "right", "refused"),
    [
        (xlnet, "bert", {"gpt2": "a normalization after each sum", "zero_residual": "a normalization after each sum"}),
        (
            moonshine,
            "zero_residual",
            {
                "bert": "no normalization after each sum",
                "gpt2": "cross-attention",
            },
        ),
    ],
)
def test_where_xlnet_and_moonshine_normalize_is_seen(build, right, refused):
    model = build()
    keras_initx.initialize(model, right, seed=0, dry_run=True)
    for recipe, reason in refused.items():
        with pytest.raises(ValueError, match=f"with .*{reason}"):
            keras_initx.initialize(model, recipe, seed=0)


@pytest.mark.parametrize("name", ["Mixtral", "QwenMoe"])
def test_the_experts_of_a_block_end_one_branch(name):
    model = text(name)
    ends = ("attention_output/kernel", "/feedforward_output_dense/kernel", "/expert_feedforward_output_dense")
    for recipe in ("gpt2", "llama:megatron"):
        plan = keras_initx.initialize(model, recipe, seed=0, dry_run=True)
        found = {row.expected_std for row in plan.rows if row.path.endswith(ends)}
        assert list(found) == pytest.approx([0.02 / 8**0.5])
    closed = {path for path, value in recipes.zero_residual(model).by_path.items() if value == "zeros"}
    assert closed == {row.path for row in plan.rows if row.path.endswith(ends)}


@pytest.mark.parametrize("name", ["GPT2", "Bart", "OPT", "Whisper", "XLNet", "Moonshine"])
def test_blocks_of_kerashub_with_attention_of_its_own_are_followed(name):
    builds = {"XLNet": xlnet, "Moonshine": moonshine}
    model = builds[name]() if name in builds else text(name)
    assert not read_architecture(model).hidden


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
@pytest.mark.parametrize(("build", "recipe"), [(gpt2, "gpt2"), (llama, "llama")])
def test_factors_of_lora_beside_quantized_weights_are_drawn_and_compared(build, recipe):
    model, _ = build()
    model.quantize("int8")
    model.enable_lora(2)
    rules = {"*lora_*_a": "he_uniform", "*lora_*_b": "zeros", "*": None}
    keras_initx.initialize(model, rules, seed=0)
    assert keras_initx.audit(model, rules, seed=0).ok
    for rules in (None, recipe):
        left = {row.path for row in keras_initx.audit(model, rules).not_compared}
        assert any(path.endswith("query/kernel") for path in left)
        assert not any("lora" in path for path in left)
