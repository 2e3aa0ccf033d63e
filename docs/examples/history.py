"""Find what released versions of libraries changed in the initial weights of their models.

`python docs/examples/history.py` draws small models with both versions of each pair, three times,
and audits the later draws by a contract of the earlier ones. It needs torch and `uv`, by which each
version is installed into a folder of its own below `--folder`, three gigabytes in all.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
from dataclasses import dataclass

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras_initx
from keras_initx.structure import matches_path

import numpy as np

TEXT = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "vocab_size": 512,
}
LLAMA = {**TEXT, "num_key_value_heads": 2, "max_position_embeddings": 64}
BART = {
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "vocab_size": 512,
    "max_position_embeddings": 64,
}
IMAGE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "image_size": 32,
    "patch_size": 8,
}
TWO = {"text_config": {**TEXT, "max_position_embeddings": 64}, "vision_config": IMAGE}
# The class of the config in transformers, that of the model, and the sizes.
MODELS = {
    "bart": ("BartConfig", "BartModel", BART),
    "bert": ("BertConfig", "BertModel", TEXT),
    "distilbert": (
        "DistilBertConfig",
        "DistilBertModel",
        {"dim": 64, "hidden_dim": 128, "n_layers": 2, "n_heads": 4, "vocab_size": 512},
    ),
    "electra": ("ElectraConfig", "ElectraModel", {**TEXT, "embedding_size": 32}),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", {**LLAMA, "head_dim": 16}),
    "gpt2": (
        "GPT2Config",
        "GPT2LMHeadModel",
        {"n_embd": 64, "n_layer": 4, "n_head": 4, "vocab_size": 512, "n_positions": 64},
    ),
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXModel", TEXT),
    "llama": ("LlamaConfig", "LlamaForCausalLM", LLAMA),
    "mamba": (
        "MambaConfig",
        "MambaForCausalLM",
        {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 512, "state_size": 8},
    ),
    "mistral": ("MistralConfig", "MistralForCausalLM", LLAMA),
    "mobilevit": (
        "MobileViTConfig",
        "MobileViTForImageClassification",
        {
            "image_size": 64,
            "hidden_sizes": [32, 48, 64],
            "neck_hidden_sizes": [8, 16, 24, 32, 48, 64, 64],
        },
    ),
    "owlvit": ("OwlViTConfig", "OwlViTForObjectDetection", {**TWO, "projection_dim": 32}),
    "patchtsmixer": (
        "PatchTSMixerConfig",
        "PatchTSMixerForPrediction",
        {
            "num_input_channels": 2,
            "context_length": 32,
            "d_model": 16,
            "num_layers": 2,
            "prediction_length": 8,
        },
    ),
    "roberta": ("RobertaConfig", "RobertaModel", TEXT),
    "rwkv": (
        "RwkvConfig",
        "RwkvForCausalLM",
        {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 512, "context_length": 64},
    ),
    "siglip": ("SiglipConfig", "SiglipModel", TWO),
    "t5": (
        "T5Config",
        "T5Model",
        {
            "d_model": 64,
            "d_kv": 16,
            "d_ff": 128,
            "num_layers": 2,
            "num_heads": 4,
            "vocab_size": 512,
        },
    ),
    "vit_mae": (
        "ViTMAEConfig",
        "ViTMAEForPreTraining",
        {
            **IMAGE,
            "decoder_hidden_size": 64,
            "decoder_num_hidden_layers": 1,
            "decoder_num_attention_heads": 4,
            "decoder_intermediate_size": 128,
        },
    ),
    "wavlm": (
        "WavLMConfig",
        "WavLMForCTC",
        {
            **TEXT,
            "vocab_size": 32,
            "conv_dim": [32, 32, 32],
            "conv_kernel": [10, 3, 3],
            "conv_stride": [5, 2, 2],
            "num_feat_extract_layers": 3,
            "num_conv_pos_embeddings": 16,
            "num_conv_pos_embedding_groups": 4,
            "num_buckets": 32,
            "max_bucket_distance": 64,
        },
    ),
}
# Models whose initial weights did not change between any of these versions.
UNCHANGED = (
    "bart",
    "bert",
    "distilbert",
    "electra",
    "gpt_neox",
    "llama",
    "mistral",
    "roberta",
    "t5",
)


@dataclass(frozen=True)
class Pair:
    """Two versions of a package, and a model of which it is known what changed between them.

    Attributes:
        package: The package.
        old: The earlier version.
        new: The later one.
        model: The name of the model.
        changed: Patterns for the weights that are drawn otherwise.
        what: What is known of them.
    """

    package: str
    old: str
    new: str
    model: str
    changed: tuple[str, ...]
    what: str


PAIRS = (
    Pair(
        "transformers",
        "4.50.3",
        "4.51.0",
        "vit_mae",
        (
            "decoder.mask_token",
            "decoder.decoder_pos_embed",
            "vit.embeddings.patch_embeddings.projection.weight",
        ),
        "the decoder's table of positions and mask token are zero",
    ),
    Pair("transformers", "4.51.3", "4.52.4", "gemma", ("*norm.weight",), "scales 1 for 0"),
    Pair(
        "transformers",
        "4.53.3",
        "4.54.1",
        "mobilevit",
        ("*normalization.weight",),
        "scales of batch normalization from N(0, 0.02)",
    ),
    Pair(
        "transformers",
        "4.53.3",
        "4.54.1",
        "mamba",
        ("*in_proj.weight", "*x_proj.weight", "*conv1d.bias"),
        "N(0, 0.1) for torch's default",
    ),
    Pair(
        "transformers",
        "4.53.3",
        "4.54.1",
        "rwkv",
        (
            "*embeddings.weight",
            "*attention.key.weight",
            "*attention.value.weight",
            "*attention.receptance.weight",
            "*attention.output.weight",
            "*feed_forward.key.weight",
            "*feed_forward.value.weight",
            "*feed_forward.receptance.weight",
            "head.weight",
        ),
        "the authors' orthogonal kernels for torch's default",
    ),
    Pair("transformers", "4.56.2", "4.57.6", "gemma", ("*norm.weight",), "scales 0 again"),
    Pair(
        "transformers",
        "4.57.6",
        "5.0.0",
        "gpt2",
        ("*c_proj.weight",),
        "the factor for the depth is lost",
    ),
    Pair("transformers", "5.14.1", "5.24.0", "gpt2", ("*c_proj.weight",), "and comes back"),
    Pair(
        "transformers",
        "4.57.6",
        "5.0.0",
        "vit_mae",
        (
            "vit.embeddings.cls_token",
            "vit.embeddings.position_embeddings",
            "vit.embeddings.patch_embeddings.projection.weight",
        ),
        "the encoder's table of positions and class token are zero",
    ),
    Pair(
        "transformers",
        "4.57.6",
        "5.0.0",
        "owlvit",
        ("class_head.*", "box_head.*"),
        "N(0, 1) for torch's default",
    ),
    Pair(
        "transformers",
        "4.57.6",
        "5.0.0",
        "siglip",
        (
            "text_model.head.weight",
            "*patch_embedding.weight",
            "vision_model.head.attention.out_proj.weight",
        ),
        "LeCun's scale corrected for a truncation that is none",
    ),
    Pair(
        "transformers",
        "5.2.0",
        "5.4.0",
        "patchtsmixer",
        ("*patcher.*", "*mlp.*", "*attn_layer.*", "head.*"),
        "N(0, 0.02) for torch's default",
    ),
    Pair(
        "transformers",
        "5.10.4",
        "5.13.1",
        "wavlm",
        ("*rel_attn_embed.weight",),
        "N(0, 0.02) for N(0, 1)",
    ),
    Pair(
        "keras",
        "3.14.1",
        "3.15.1",
        "attention",
        ("*attention/*kernel", "einsum_dense/kernel"),
        "fans by the equation for those of the shape",
    ),
)

# Run with a version on the path: the folder to write to, the first seed, and the models as JSON.
DRAW_TRANSFORMERS = """
import json, os, random, sys
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import numpy, torch, transformers

torch.set_num_threads(1)
for name, (config, model, sizes) in json.loads(sys.argv[3]).items():
    for draw in range(3):
        seed = int(sys.argv[2]) + draw
        random.seed(seed), numpy.random.seed(seed), torch.manual_seed(seed)
        state = getattr(transformers, model)(getattr(transformers, config)(**sizes)).state_dict()
        arrays = {path: value.detach().numpy() for path, value in state.items()}
        numpy.savez(f"{sys.argv[1]}/{name}-{draw}.npz", **arrays)
"""
DRAW_KERAS = """
import os, sys
os.environ["KERAS_BACKEND"] = "torch"
import keras, numpy

layers = keras.layers
for draw in range(3):
    keras.utils.set_random_seed(int(sys.argv[2]) + draw)
    x = keras.Input((16, 64))
    found = {
        "multi_head_attention": layers.MultiHeadAttention(4, 16),
        "grouped_query_attention": layers.GroupQueryAttention(16, 4, 2),
    }
    for layer in found.values():
        layer(x, x)
    found["einsum_dense"] = layers.EinsumDense("abc,cde->abde", (None, 4, 32))
    found["dense"], found["lstm"] = layers.Dense(64), layers.LSTM(32)
    for name in ("einsum_dense", "dense", "lstm"):
        found[name](x)
    arrays = {}
    for name, layer in found.items():
        for weight in layer.weights:
            path = f"{name}/{weight.path.split('/', 1)[1]}"
            arrays[path] = keras.ops.convert_to_numpy(weight)
    numpy.savez(f"{sys.argv[1]}/attention-{draw}.npz", **arrays)
"""


def drawn(folder, package, version, names, seed):
    """Return the files of three draws of each model, by its name, by a version of a package."""
    installed = folder / f"{package}-{version}"
    if not installed.exists():
        command = ["uv", "pip", "install", "--quiet", "--python", sys.executable]
        subprocess.run([*command, "--target", str(installed), f"{package}=={version}"], check=True)
    draws = folder / "draws" / f"{package}-{version}-{seed}"
    draws.mkdir(parents=True, exist_ok=True)
    files = {name: [draws / f"{name}-{draw}.npz" for draw in range(3)] for name in names}
    missing = [name for name in names if not files[name][-1].exists()]
    if missing:
        program = DRAW_KERAS
        models = {}
        if package == "transformers":
            program = DRAW_TRANSFORMERS
            models = {name: MODELS[name] for name in missing}
        subprocess.run(
            [
                sys.executable,
                "-W",
                "ignore",
                "-c",
                program,
                str(draws),
                str(seed),
                json.dumps(models),
            ],
            env={**os.environ, "PYTHONPATH": str(installed)},
            check=True,
        )
    return files


def contract_of(files):
    """Return the contract of draws in files."""
    left = iter(files)
    return keras_initx.contract(lambda: dict(np.load(next(left))), draws=len(files))


def compared(folder, package, old, new, names):
    """Return a report for each model: how the later version draws, by the earlier one."""
    earlier = drawn(folder, package, old, names, seed=0)
    later = drawn(folder, package, new, names, seed=100)
    return {
        name: keras_initx.audit(contract_of(later[name]), contract_of(earlier[name]))
        for name in names
    }


def row_of(pair, report):
    """Return what a report found of what is known to have changed, as a line of the table."""
    common = [weight for weight in report.weights if weight.verdict not in ("new", "missing")]
    known = set()
    for weight in common:
        if any(matches_path(pattern, weight.path) for pattern in pair.changed):
            known.add(weight.path)
    found = {weight.path for weight in common if weight.verdict}
    seen = f"{len(found & known)}/{len(known)}"
    versions = f"{pair.old} to {pair.new}"
    return f"{pair.model:13}{versions:18}{len(common):8}{seen:>9}{len(found - known):8}"


def main(arguments=None):
    """Install, draw, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("history"))
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    print(f"{'model':13}{'versions':18}{'weights':>8}{'changed':>9}{'others':>8}")
    spans = {}
    for pair in PAIRS:
        report = compared(folder, pair.package, pair.old, pair.new, [pair.model])[pair.model]
        print(row_of(pair, report))
        print(f"    {pair.what}", flush=True)
        if pair.package == "transformers":
            spans[pair.old, pair.new] = None
    models = weights = alarms = 0
    for old, new in spans:
        reports = compared(folder, "transformers", old, new, UNCHANGED)
        for name, report in reports.items():
            off = [row for row in report.problems if row.verdict not in ("new", "missing")]
            models += 1
            weights += len(report.weights)
            alarms += bool(off)
            for row in off:
                print(f"    {name} {old} to {new}: {row.path}: {row.verdict}, {row.evidence}")
    print(f"{models} pairs of models that did not change, {weights} weights: {alarms} alarms")


if __name__ == "__main__":
    main()
