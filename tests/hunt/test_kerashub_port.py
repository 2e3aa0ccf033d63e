"""Backbones of KerasHub beside small models of transformers with random weights: the report that a port needs."""

import keras
import numpy as np
import pytest
from small_transformers import OF_KERAS_HUB, OF_TRANSFORMERS, TOKENS, WIDTH, WORDS, names_of

import keras_initx

keras_hub = pytest.importorskip("keras_hub")
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

PADDING = np.ones_like(TOKENS)


def bert(activation="gelu_new"):
    config = transformers.BertConfig(
        **OF_TRANSFORMERS, intermediate_size=48, max_position_embeddings=16, hidden_act=activation
    )
    shape = {"num_heads": 4, "intermediate_dim": 48, "max_sequence_length": 16}
    model = keras_hub.models.BertBackbone(**OF_KERAS_HUB, **shape)
    inputs = {"token_ids": TOKENS, "padding_mask": PADDING, "segment_ids": 0 * TOKENS}
    of_module = {"input_ids": TOKENS, "attention_mask": PADDING, "token_type_ids": 0 * TOKENS}
    return transformers.BertModel(config), model, names_of("bert"), "torch", {"model": inputs, "module": of_module}


def gpt2():
    config = transformers.GPT2Config(vocab_size=WORDS, n_positions=16, n_embd=WIDTH, n_layer=2, n_head=4)
    shape = {"num_heads": 4, "intermediate_dim": 4 * WIDTH, "max_sequence_length": 16}
    model = keras_hub.models.GPT2Backbone(**OF_KERAS_HUB, **shape)
    return transformers.GPT2Model(config), model, names_of("gpt2"), "keras", of_tokens()


def llama(epsilon=1e-6):
    shape = {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 16, "rms_norm_eps": epsilon}
    config = transformers.LlamaConfig(**OF_TRANSFORMERS, **shape)
    shape = {"num_query_heads": 4, "num_key_value_heads": 2, "intermediate_dim": 48, "tie_word_embeddings": True}
    model = keras_hub.models.LlamaBackbone(**OF_KERAS_HUB, **shape)
    names = {}
    for pattern, name in names_of("llama").items():
        if "reverse" not in pattern:
            names[pattern] = name.removeprefix("model.")
    return transformers.LlamaModel(config), model, names, "torch", of_tokens()


def of_tokens():
    inputs = {"token_ids": TOKENS, "padding_mask": PADDING}
    return {"model": inputs, "module": {"input_ids": TOKENS, "attention_mask": PADDING}}


def vit(epsilon=1e-6):
    shape = {"intermediate_size": 48, "image_size": 16, "patch_size": 8, "layer_norm_eps": epsilon}
    of_images = {name: value for name, value in OF_TRANSFORMERS.items() if name != "vocab_size"}
    config = transformers.ViTConfig(**of_images, **shape)
    model = keras_hub.models.ViTBackbone((16, 16, 3), 8, num_layers=2, num_heads=4, hidden_dim=WIDTH, mlp_dim=48)
    names = {
        "*/patch_embedding": "embeddings.patch_embeddings.projection",
        "*/class_token": "embeddings.cls_token",
        "*/position_embedding/embeddings": ("embeddings.position_embeddings", np.s_[0]),
        "*/ln": "layernorm",
    }
    for place in range(2):
        block, layer = f"*/transformer_block_{place + 1}", f"layers.{place}"
        names |= {
            f"{block}/mha/query": f"{layer}.attention.q_proj",
            f"{block}/mha/key": f"{layer}.attention.k_proj",
            f"{block}/mha/value": f"{layer}.attention.v_proj",
            f"{block}/mha/attention_output": f"{layer}.attention.o_proj",
            f"{block}/ln_1": f"{layer}.layernorm_before",
            f"{block}/ln_2": f"{layer}.layernorm_after",
            f"{block}/mlp/dense": f"{layer}.mlp.fc1",
            f"{block}/mlp/dense_1": f"{layer}.mlp.fc2",
        }
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")
    inputs = {"model": images, "module": {"pixel_values": images.transpose(0, 3, 1, 2)}}
    return transformers.ViTModel(config, add_pooling_layer=False), model, names, "torch", inputs


def report_on(make, **options):
    keras.utils.set_random_seed(0)
    module, model, names, layout, inputs = make(**options)
    load(model, module, names, layout)
    return keras_initx.port_report(model, module, inputs, names=names, layout=layout)


def load(model, module, names, layout):
    plan = keras_initx.load_pretrained(model, module.state_dict(), names, layout=layout, dry_run=True)
    assert plan.ok, plan.problems[0]
    keras_initx.load_pretrained(model, module.state_dict(), names, layout=layout)


@pytest.mark.parametrize("make", [bert, gpt2, llama, vit], ids=lambda make: make.__name__)
def test_a_port_of_kerashub_is_equal(make):
    report = report_on(make)
    assert report.ok, str(report)
    assert report["largest difference"].text.endswith("below 1e-4.")
    counts = {count.kind: (count.model, count.module) for count in report.weights.counts}
    ours, theirs = counts["trained parameters"]
    assert ours == theirs
    assert report.module.environment.versions["transformers"] == transformers.__version__
    assert report.model.environment.versions["keras_hub"] == keras_hub.__version__


def test_an_exact_gelu_in_the_module_is_named_with_its_layer():
    report = report_on(bert, activation="gelu")
    assert not report.ok
    assert "before it, transformer_layer_0/feedforward_intermediate_dense is equal" in report.summary


@pytest.mark.parametrize(
    ("make", "layer"),
    [(llama, "transformer_layer_0/self_attention_layernorm"), (vit, "vit_encoder/transformer_block_1/ln_1")],
    ids=["llama", "vit"],
)
def test_another_epsilon_is_named_with_its_layer(make, layer):
    report = report_on(make, epsilon=1e-3)
    assert not report.ok
    assert report.outputs.first.path == layer
    assert layer in report.summary


@pytest.mark.parametrize("make", [bert, gpt2, llama, vit], ids=lambda make: make.__name__)
def test_the_gradients_of_a_port_are_equal(make):
    keras.utils.set_random_seed(0)
    module, model, names, layout, inputs = make()
    load(model, module, names, layout)
    length = 5 if make is vit else TOKENS.shape[1]
    hidden = np.random.default_rng(1).normal(size=(2, length, WIDTH)).astype("float32")
    y = {"sequence_output": hidden} if make is bert else hidden

    def loss(outputs, y):
        return torch.nn.functional.mse_loss(outputs.last_hidden_state, y["sequence_output"] if make is bert else y)

    model.compile("adam", {"sequence_output": "mse"} if make is bert else "mse")
    report = keras_initx.port_report(model, module, inputs, y, names=names, layout=layout, loss=loss)
    assert report.summary.startswith("The port is equal: weights, outputs, loss and gradients"), str(report)


def gpt2_head():
    config = transformers.GPT2Config(vocab_size=WORDS, n_positions=16, n_embd=WIDTH, n_layer=2, n_head=4)
    shape = {"num_heads": 4, "intermediate_dim": 4 * WIDTH, "max_sequence_length": 16}
    backbone = keras_hub.models.GPT2Backbone(**OF_KERAS_HUB, **shape)
    names = {}
    for pattern, name in names_of("gpt2").items():
        name = f"transformer.{name}" if isinstance(name, str) else (f"transformer.{name[0]}", *name[1:])
        names[f"gpt2_backbone/{pattern}"] = name
    return transformers.GPT2LMHeadModel(config), keras_hub.models.GPT2CausalLM(backbone), names, "keras"


def llama_head():
    shape = {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 16, "rms_norm_eps": 1e-6}
    config = transformers.LlamaConfig(**OF_TRANSFORMERS, **shape, tie_word_embeddings=False)
    shape = {"num_query_heads": 4, "num_key_value_heads": 2, "intermediate_dim": 48}
    backbone = keras_hub.models.LlamaBackbone(**OF_KERAS_HUB, **shape)
    names = {f"llama_backbone/{pattern}": name for pattern, name in names_of("llama").items()}
    return transformers.LlamaForCausalLM(config), keras_hub.models.LlamaCausalLM(backbone), names, "torch"


@pytest.mark.parametrize("make", [gpt2_head, llama_head], ids=lambda make: make.__name__)
def test_so_are_those_of_a_model_with_a_head_for_words(make):
    keras.utils.set_random_seed(0)
    module, model, names, layout = make()
    load(model, module, names, layout)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    report = keras_initx.port_report(
        model,
        module,
        of_tokens(),
        np.roll(TOKENS, -1, axis=1),
        names=names,
        layout=layout,
        loss=lambda outputs, y: torch.nn.functional.cross_entropy(outputs.logits.flatten(0, 1), y.flatten()),
    )
    assert report.summary.startswith("The port is equal: weights, outputs, loss and gradients"), str(report)
