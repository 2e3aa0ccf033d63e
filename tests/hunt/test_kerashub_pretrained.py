"""KerasHub's GPT-2 takes arrays with the names and the layout of Hugging Face's, and gives what these define."""

import numpy as np
import pytest
import safetensors.numpy
from modes import to_numpy

import keras_initx

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


@pytest.mark.every_backend
def test_gpt2(tmp_path):
    state = gpt2_state()
    safetensors.numpy.save_file(state, tmp_path / "model.safetensors")
    model = keras_hub.models.GPT2Backbone(
        vocabulary_size=WORDS,
        num_layers=BLOCKS,
        num_heads=HEADS,
        hidden_dim=WIDTH,
        intermediate_dim=4 * WIDTH,
        max_sequence_length=LENGTH,
    )
    plan = keras_initx.load_pretrained(model, tmp_path / "model.safetensors", rules(), layout="keras")
    assert not plan.left
    assert not plan.unused
    tokens = np.random.default_rng(1).integers(1, WORDS, 12)
    outputs = model.predict({"token_ids": tokens[None], "padding_mask": np.ones((1, 12), "int32")}, verbose=0)
    np.testing.assert_allclose(to_numpy(outputs)[0], gpt2(state, tokens), atol=1e-4)
