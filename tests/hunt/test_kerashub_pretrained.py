"""What is loaded into models of KerasHub: arrays of Hugging Face by names, and presets of a folder."""

import json
import pathlib
import re

import keras
import numpy as np
import pytest
import safetensors.numpy
from modes import to_numpy

import keras_initx
from keras_initx import weights_digest
from keras_initx.inspection._inventory import Inventory

keras_hub = pytest.importorskip("keras_hub")

BLOCKS, HEADS, WIDTH, WORDS, LENGTH = 2, 4, 32, 50, 16
BLOCK = {
    "ln_1": (WIDTH,),
    "attn.c_attn": (WIDTH, 3 * WIDTH),
    "attn.c_proj": (WIDTH, WIDTH),
    "ln_2": (WIDTH,),
    "mlp.c_fc": (WIDTH, 4 * WIDTH),
    "mlp.c_proj": (4 * WIDTH, WIDTH),
}


def gpt2_state():
    generator = np.random.default_rng(0)
    modules = {f"h.{i}.{name}": shape for i in range(BLOCKS) for name, shape in BLOCK.items()} | {"ln_f": (WIDTH,)}
    shapes = {"wte.weight": (WORDS, WIDTH), "wpe.weight": (LENGTH, WIDTH)}
    for name, shape in modules.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[-1:]}
    return {name: generator.normal(size=shape).astype("float32") / 4 for name, shape in shapes.items()}


def gpt2(state, tokens):
    """Return the last hidden states, as Radford and others (2019) define them."""

    def dense(x, name):
        return x @ state[f"{name}.weight"] + state[f"{name}.bias"]

    def norm(x, name):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * state[f"{name}.weight"] + state[f"{name}.bias"]

    def gelu(x):
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    def attention(x, name):
        query, key, value = (
            part.reshape(len(x), HEADS, -1) for part in np.split(dense(x, f"{name}.c_attn"), 3, axis=-1)
        )
        scores = np.einsum("qhd,khd->hqk", query, key) / np.sqrt(WIDTH // HEADS)
        scores = np.exp(np.where(np.tri(len(x)), scores, -np.inf))
        mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), value)
        return dense(mixed.reshape(len(x), -1), f"{name}.c_proj")

    x = state["wte.weight"][tokens] + state["wpe.weight"][: len(tokens)]
    for block in (f"h.{i}" for i in range(BLOCKS)):
        x = x + attention(norm(x, f"{block}.ln_1"), f"{block}.attn")
        x = x + dense(gelu(dense(norm(x, f"{block}.ln_2"), f"{block}.mlp.c_fc")), f"{block}.mlp.c_proj")
    return norm(x, "ln_f")


def rules():
    block, layer = "transformer_layer_*", "h.{0}"
    found = {
        "token_embedding": "wte",
        "position_embedding": "wpe",
        "layer_norm": "ln_f",
        f"{block}/self_attention_layer_norm": f"{layer}.ln_1",
        f"{block}/self_attention/attention_output": f"{layer}.attn.c_proj",
        f"{block}/feedforward_layer_norm": f"{layer}.ln_2",
        f"{block}/feedforward_intermediate_dense": f"{layer}.mlp.c_fc",
        f"{block}/feedforward_output_dense": f"{layer}.mlp.c_proj",
    }
    for i, name in enumerate(["query", "key", "value"]):
        part = np.s_[..., i * WIDTH : (i + 1) * WIDTH]
        found[f"{block}/self_attention/{name}/kernel"] = (f"{layer}.attn.c_attn.weight", part)
        found[f"{block}/self_attention/{name}/bias"] = (f"{layer}.attn.c_attn.bias", part)
    return found


def model_sizes():
    return {
        "vocabulary_size": WORDS,
        "num_layers": BLOCKS,
        "num_heads": HEADS,
        "hidden_dim": WIDTH,
        "intermediate_dim": 4 * WIDTH,
        "max_sequence_length": LENGTH,
    }


@pytest.mark.every_backend
def test_gpt2(tmp_path):
    state = gpt2_state()
    safetensors.numpy.save_file(state, tmp_path / "model.safetensors")
    model = keras_hub.models.GPT2Backbone(**model_sizes())
    plan = keras_initx.load_pretrained(model, tmp_path / "model.safetensors", rules(), layout="keras")
    assert not plan.left
    assert not plan.unused
    tokens = np.random.default_rng(1).integers(1, WORDS, 12)
    outputs = model.predict({"token_ids": tokens[None], "padding_mask": np.ones((1, 12), "int32")}, verbose=0)
    np.testing.assert_allclose(to_numpy(outputs)[0], gpt2(state, tokens), atol=1e-4)


# Presets of a folder.

HEAD = ["predictions/kernel", "predictions/bias"]


def drawn(model, seed=0):
    """Give each weight of a model random values, also those that start with zeros."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(generator.normal(size=weight.shape))
    return model


def vit():
    sizes = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
    return keras_hub.models.ViTBackbone(image_shape=(32, 32, 3), patch_size=8, **sizes)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """Return the folder of a preset, and the classifier of ten classes that is saved in it."""
    classifier = drawn(keras_hub.models.ViTImageClassifier(vit(), num_classes=10))
    folder = tmp_path_factory.mktemp("presets") / "preset"
    classifier.save_to_preset(str(folder))
    return str(folder), classifier


def values(model):
    return {weight.path: to_numpy(weight.variable) for weight in Inventory(model).weights}


@pytest.mark.every_backend
def test_the_head_for_other_classes_is_missed_and_drawn_as_initialize_draws(preset):
    folder, source = preset
    with keras_initx.loading(seed=1) as loaded:
        model = keras_hub.models.ImageClassifier.from_preset(folder, num_classes=5)
    assert (loaded.models, loaded.missed, loaded.not_known) == ([model], HEAD, [])
    twin = keras_hub.models.ViTImageClassifier(vit(), num_classes=5)
    keras_initx.initialize(twin, seed=1)
    found, expected, fresh = values(model), values(source), values(twin)
    for path, array in found.items():
        np.testing.assert_array_equal(array, (fresh if path in HEAD else expected)[path], path)


@pytest.mark.every_backend
def test_a_preset_is_loaded_whole(preset):
    folder, source = preset
    with keras_initx.loading(strict=True) as loaded:
        model = keras_hub.models.ImageClassifier.from_preset(folder)
    assert loaded.models == [model]
    assert weights_digest(model) == weights_digest(source)


@pytest.mark.every_backend
def test_a_preset_in_16_bits_misses_the_head_alone(preset):
    with keras_initx.loading(seed=1) as loaded:
        model = keras_hub.models.ImageClassifier.from_preset(preset[0], num_classes=5, dtype="bfloat16")
    assert (loaded.models, loaded.missed, loaded.not_known) == ([model], HEAD, [])


def test_a_preset_without_its_weights_misses_all(preset):
    with keras_initx.loading(seed=1) as loaded:
        model = keras_hub.models.ImageClassifier.from_preset(preset[0], load_weights=False)
    assert loaded.models == [model]
    assert len(loaded.missed) == len(loaded.rows) == 40


@pytest.mark.every_backend
def test_several_models_of_a_block_are_named(preset):
    with keras_initx.loading(seed=1) as loaded:
        backbone = keras_hub.models.Backbone.from_preset(preset[0])
        whole = keras_hub.models.ImageClassifier.from_preset(preset[0], name="whole")
        other = keras_hub.models.ImageClassifier.from_preset(preset[0], num_classes=5, name="other")
    assert loaded.models == [backbone, whole, other]
    assert loaded.missed == [f"other/{path}" for path in HEAD]


@pytest.mark.every_backend
def test_a_head_on_a_backbone_of_the_block_is_missed_and_the_backbone_is_no_model_of_its_own(preset):
    with keras_initx.loading(rules={"mine/*": "zeros"}, seed=1) as loaded:
        backbone = keras_hub.models.Backbone.from_preset(preset[0])
        model = keras.Model(backbone.input, keras.layers.Dense(2, name="mine")(backbone.output))
    assert (loaded.models, loaded.missed) == ([model], ["mine/kernel", "mine/bias"])


def test_the_page_shows_what_from_preset_misses(preset, capsys, monkeypatch):
    monkeypatch.chdir(pathlib.Path(preset[0]).parent)
    page = pathlib.Path(__file__).parents[2].joinpath("docs", "loading.md").read_text()
    ((code, shown),) = re.findall(r"```python\n([^`]*from_preset[^`]*print\([^`]*\)  # (.*)\n)```", page)
    exec(code, {"keras_initx": keras_initx})
    assert capsys.readouterr().out == f"{shown}\n"


# Arrays of Hugging Face's, which KerasHub converts while it loads.


@pytest.fixture
def hugging_face(tmp_path):
    """Return a folder with a GPT-2 as Hugging Face saves it."""
    safetensors.numpy.save_file(gpt2_state(), tmp_path / "model.safetensors")
    sizes = {"vocab_size": WORDS, "n_layer": BLOCKS, "n_head": HEADS, "n_embd": WIDTH, "n_positions": LENGTH}
    config = {"model_type": "gpt2", "resid_pdrop": 0.0, **sizes}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


def forgetting(monkeypatch, forgotten):
    """Let the converters of KerasHub leave out the arrays of these names."""
    loader = pytest.importorskip("keras_hub.src.utils.transformers.safetensor_utils").SafetensorLoader
    port_weight = loader.port_weight

    def port(self, keras_variable, hf_weight_key, hook_fn=None):
        if hf_weight_key not in forgotten:
            port_weight(self, keras_variable, hf_weight_key, hook_fn)

    monkeypatch.setattr(loader, "port_weight", port)


LAST = "transformer_layer_1/feedforward"
FORGOTTEN = {
    (): [],
    ("h.1.mlp.c_fc.bias",): [f"{LAST}_intermediate_dense/bias"],
    ("h.1.ln_2.weight", "h.1.ln_2.bias"): [f"{LAST}_layer_norm/gamma", f"{LAST}_layer_norm/beta"],
    ("wpe.weight",): ["position_embedding/embeddings"],
}


@pytest.mark.every_backend
@pytest.mark.parametrize("forgotten", FORGOTTEN)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_a_converter_forgets_is_missed(forgotten, dtype, hugging_face, monkeypatch):
    forgetting(monkeypatch, forgotten)
    with keras_initx.loading(seed=2) as loaded:
        model = keras_hub.models.Backbone.from_preset(hugging_face, dtype=dtype)
    assert (loaded.models, loaded.not_known) == ([model], [])
    assert sorted(loaded.missed) == sorted(FORGOTTEN[forgotten])
    twin = keras_hub.models.GPT2Backbone(**model_sizes(), dtype=dtype)
    keras_initx.initialize(twin, seed=2)
    for path in loaded.missed:
        np.testing.assert_array_equal(values(model)[path], values(twin)[path])


def test_strict_names_what_a_converter_forgets(hugging_face, monkeypatch):
    forgetting(monkeypatch, ["ln_f.weight"])
    with pytest.raises(ValueError, match=r"missed \['layer_norm/gamma'\]"), keras_initx.loading(strict=True):
        keras_hub.models.Backbone.from_preset(hugging_face)
