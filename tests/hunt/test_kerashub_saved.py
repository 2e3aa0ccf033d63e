"""Backbones of KerasHub are loaded from transformers, trained, and given back, by the names of the page."""

import keras
import numpy as np
import pytest
from modes import to_numpy
from small_transformers import OF_KERAS_HUB, OF_TRANSFORMERS, TOKENS, WIDTH, WORDS, names_of

import keras_initx

keras_hub = pytest.importorskip("keras_hub")
transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

IMAGES = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")


def llama():
    shape = {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 16, "rms_norm_eps": 1e-6}
    config = transformers.LlamaConfig(**OF_TRANSFORMERS, **shape, tie_word_embeddings=False)
    shape = {"num_query_heads": 4, "num_key_value_heads": 2, "intermediate_dim": 48, "tie_word_embeddings": False}
    return transformers.LlamaForCausalLM(config), keras_hub.models.LlamaBackbone(**OF_KERAS_HUB, **shape)


def gemma():
    shape = {"intermediate_size": 48, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 16}
    config = transformers.GemmaConfig(**OF_TRANSFORMERS, **shape)
    shape = {"num_query_heads": 4, "num_key_value_heads": 1, "head_dim": 8, "intermediate_dim": 96}
    return transformers.GemmaForCausalLM(config), keras_hub.models.GemmaBackbone(**OF_KERAS_HUB, **shape)


def gpt2():
    config = transformers.GPT2Config(vocab_size=WORDS, n_positions=16, n_embd=WIDTH, n_layer=2, n_head=4)
    shape = {"num_heads": 4, "intermediate_dim": 4 * WIDTH, "max_sequence_length": 16}
    return transformers.GPT2Model(config), keras_hub.models.GPT2Backbone(**OF_KERAS_HUB, **shape)


def bert():
    config = transformers.BertConfig(**OF_TRANSFORMERS, intermediate_size=48, max_position_embeddings=16)
    shape = {"num_heads": 4, "intermediate_dim": 48, "max_sequence_length": 16}
    return transformers.BertModel(config), keras_hub.models.BertBackbone(**OF_KERAS_HUB, **shape)


def vit():
    shape = {"intermediate_size": 48, "image_size": 8, "patch_size": 4}
    config = transformers.ViTConfig(**{**OF_TRANSFORMERS, **shape})
    shape = {"hidden_dim": WIDTH, "mlp_dim": 48, "image_shape": (8, 8, 3), "patch_size": 4}
    shape |= {"num_layers": 2, "num_heads": 4, "layer_norm_epsilon": config.layer_norm_eps}
    return transformers.ViTModel(config, add_pooling_layer=False), keras_hub.models.ViTBackbone(**shape)


def backbone_of(module):
    return getattr(module, "model", module).eval()


def inputs_of_torch(module):
    is_of_images = isinstance(module, transformers.ViTModel)
    return torch.tensor(IMAGES).movedim(-1, 1) if is_of_images else torch.tensor(TOKENS)


def hidden_states(module):
    """Return the last hidden states of transformers."""
    with torch.no_grad():
        return backbone_of(module)(inputs_of_torch(module)).last_hidden_state.numpy()


def inputs_of(model):
    given = {"token_ids": TOKENS, "padding_mask": np.ones_like(TOKENS), "segment_ids": np.zeros_like(TOKENS)}
    if isinstance(model, keras_hub.models.ViTBackbone):
        return IMAGES
    return {tensor.name: given[tensor.name] for tensor in model.inputs}


def outputs(model):
    result = model(inputs_of(model))
    return to_numpy(result["sequence_output"] if isinstance(result, dict) else result)


def train(model):
    """Train two steps, towards any targets."""
    x = inputs_of(model)
    random = np.random.default_rng(2)
    result = model(x)
    y = keras.tree.map_structure(lambda tensor: random.normal(size=tensor.shape).astype("float32"), result)
    model.compile(keras.optimizers.SGD(0.3), dict.fromkeys(y, "mse") if isinstance(y, dict) else "mse")
    model.fit(x, y, batch_size=1, epochs=1, verbose=0)


# No output reads the last layer of a Llama that has no tied words.
@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("make", [llama, gemma, gpt2, bert, vit], ids=lambda make: make.__name__)
def test_the_names_of_the_page_lead_there_and_back(make, tmp_path):
    torch.manual_seed(0)
    module, model = make()
    names = names_of(make.__name__)
    layout = "keras" if make is gpt2 else "torch"
    module.save_pretrained(tmp_path / "like")
    report = keras_initx.load_pretrained(model, tmp_path / "like", names, layout=layout)
    assert not report.left
    np.testing.assert_allclose(outputs(model), hidden_states(module), atol=2e-5)

    train(model)
    folder = tmp_path / "tuned"
    keras_initx.save_pretrained(model, folder, names, like=tmp_path / "like", layout=layout)
    (folder / "config.json").write_text((tmp_path / "like" / "config.json").read_text())
    again = type(module).from_pretrained(folder)
    np.testing.assert_allclose(outputs(model), hidden_states(again), atol=2e-5)
    assert np.abs(hidden_states(again) - hidden_states(module)).max() > 0.01
    recorded = keras_initx.record_outputs(backbone_of(again), inputs_of_torch(again))
    comparison = keras_initx.compare_outputs(model, inputs_of(model), like=recorded)
    assert comparison.ok, str(comparison)
