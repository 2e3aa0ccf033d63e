"""Audit new models of KerasHub: by a recipe or a paper, and by what their layers declare.

`KERAS_BACKEND=jax python docs/examples/built_in_models.py`; it needs keras-hub.
"""

import math

import keras_initx

import keras
import keras_hub
from keras_hub.src.models.vae.vae_backbone import VAEBackbone  # which it does not export

LAYERS = {"num_layers": 2, "hidden_dim": 64, "intermediate_dim": 256}
HEADS = {**LAYERS, "num_heads": 4}
WORDS = {"vocabulary_size": 500}
GROUPED = {**LAYERS, **WORDS, "num_query_heads": 4, "num_key_value_heads": 2}
NORMAL = keras.initializers.RandomNormal(stddev=0.02)


def backbone(name, **sizes):
    """Return a backbone of KerasHub."""
    return getattr(keras_hub.models, f"{name}Backbone")(**sizes)


def qwen_3_5():
    """Return a Qwen 3.5 of a layer with a gated delta rule and one with attention."""
    heads = {"linear_num_key_heads": 4, "linear_num_value_heads": 4}
    sizes = {"linear_key_head_dim": 16, "linear_value_head_dim": 32}
    kinds = ["linear_attention", "full_attention"]
    return backbone("Qwen3_5", **GROUPED, **heads, **sizes, head_dim=16, layer_types=kinds)


def rwkv_7():
    """Return an RWKV 7."""
    sizes = {"num_layers": 2, "hidden_size": 64, "intermediate_dim": 256, "head_size": 16}
    return backbone("RWKV7", **WORDS, **sizes)


def siglip():
    """Return a SigLIP."""
    images = keras_hub.models.SigLIPVisionEncoder(**HEADS, patch_size=8, image_shape=(32, 32, 3))
    texts = keras_hub.models.SigLIPTextEncoder(**HEADS, **WORDS, embedding_dim=64)
    return keras_hub.models.SigLIPBackbone(images, texts)


def stable_diffusion_3():
    """Return a Stable Diffusion 3."""
    text = {**HEADS, **WORDS, "embedding_dim": 64, "intermediate_output_index": 0}
    return keras_hub.models.StableDiffusion3Backbone(
        mmdit_patch_size=2,
        mmdit_hidden_dim=64,
        mmdit_num_layers=2,
        mmdit_num_heads=4,
        mmdit_position_size=16,
        mmdit_qk_norm=None,
        mmdit_dual_attention_indices=None,
        vae=VAEBackbone([32] * 4, [1] * 4, [32] * 4, [1] * 4),
        clip_l=keras_hub.models.CLIPTextEncoder(**text, name="clip_l"),
        clip_g=keras_hub.models.CLIPTextEncoder(**text, name="clip_g"),
        image_shape=(64, 64, 3),
    )


def flux():
    """Return a Flux."""
    return keras_hub.models.FluxBackbone(
        input_channels=16,
        hidden_size=64,
        mlp_ratio=4.0,
        num_heads=4,
        depth=2,
        depth_single_blocks=2,
        axes_dim=[4, 6, 6],
        theta=10000,
        use_bias=True,
        image_shape=(16, 16),
        text_shape=(8, 64),
        image_ids_shape=(16, 3),
        text_ids_shape=(8, 3),
        y_shape=(64,),
    )


def smollm3():
    """Return a SmolLM3."""
    return keras_hub.models.SmolLM3Backbone(
        **WORDS,
        **LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        attention_bias=False,
        attention_dropout=0.0,
        rope_layer_enabled_list=[True, True],
        layer_types=["attention", "attention"],
        mlp_bias=False,
        layer_norm_epsilon=1e-5,
        max_position_embeddings=64,
        rope_theta=10000.0,
        partial_rotary_factor=1.0,
    )


# How each model is built; a recipe, or the rules of a paper or its code and what to call them.
MODELS = {
    "GPT-2": (
        lambda: backbone("GPT2", **HEADS, **WORDS, max_sequence_length=64),
        "gpt2",
        "`gpt2`",
    ),
    "T5": (lambda: backbone("T5", **HEADS, **WORDS, key_value_dim=16), "t5", "`t5`"),
    "Llama": (lambda: backbone("Llama", **GROUPED), "llama", "`llama`"),
    "Mistral": (lambda: backbone("Mistral", **GROUPED), "llama", "`llama`"),
    "Phi 3": (lambda: backbone("Phi3", **GROUPED), "llama", "`llama`"),
    "Qwen": (lambda: backbone("Qwen", **GROUPED), "llama", "`llama`"),
    "Mixtral": (
        lambda: backbone("Mixtral", **GROUPED, num_experts=4, top_k=2),
        "llama",
        "`llama`",
    ),
    "Gemma": (lambda: backbone("Gemma", **GROUPED, head_dim=16), "gemma", "`gemma`"),
    "SmolLM3": (
        smollm3,
        {"*/kernel": NORMAL, "*embeddings": NORMAL},
        "normal, 0.02",
    ),
    "Qwen 3.5": (
        qwen_3_5,
        {"*/kernel": NORMAL, "*embeddings": NORMAL},
        "normal, 0.02",
    ),
    "RWKV 7": (rwkv_7, None, "-"),
    "SigLIP": (
        siglip,
        {
            "*/logit_scale": keras.initializers.Constant(math.log(10)),
            "*/logit_bias": keras.initializers.Constant(-10),
        },
        "log scale log 10, bias -10",
    ),
    "Stable Diffusion 3": (
        stable_diffusion_3,
        {
            "diffuser/*ada_layer_norm*/kernel": "zeros",
            "clip_*_projection/*/kernel": keras.initializers.Identity(),
        },
        "modulation 0",
    ),
    "Flux": (
        flux,
        {"*/modulation*/kernel": "zeros", "last_layer/sequential*/kernel": "zeros"},
        "modulation 0",
    ),
}


def found(report):
    """Return how many weights are not as they should be, of those that were compared."""
    if report.ok:
        return "none"
    return f"{len(report.problems)} of {len(report) - len(report.not_compared)}"


def values(model, name):
    """Return the values of a weight, each once."""
    (weight,) = [weight for weight in model.weights if weight.name == name]
    return sorted({*keras.ops.convert_to_numpy(weight).tolist()})


def main():
    """Build, audit and print a table in Markdown."""
    versions = f"KerasHub {keras_hub.__version__}, Keras {keras.__version__}"
    print(f"| {versions} | compared with | weights not so | not as their layers declare |")
    print("|---|---|---|---|")
    for name, (build, expected, label) in MODELS.items():
        keras.utils.set_random_seed(0)
        model = build()
        by_paper = "-" if expected is None else found(keras_initx.audit(model, expected))
        print(f"| {name} | {label} | {by_paper} | {found(keras_initx.audit(model))} |", flush=True)
    heads = [f"{name} {values(qwen_3_5(), name)}" for name in ("A_log", "dt_bias")]
    print("\nHeads of Qwen 3.5:", ", ".join(heads))


if __name__ == "__main__":
    main()
