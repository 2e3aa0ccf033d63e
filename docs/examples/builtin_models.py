"""Audit models as Keras and KerasHub build them: by their recipe, and by what their layers declare.

`KERAS_BACKEND=jax python docs/examples/builtin_models.py`; it needs keras-hub.
"""

import argparse
import collections

import keras_initx
from keras_initx import recipes

import keras
import keras_hub

IMAGES = {"weights": None, "input_shape": (32, 32, 3), "classes": 100}
TEXT = {"vocabulary_size": 500, "hidden_dim": 64, "intermediate_dim": 256, "num_layers": 12}
HEADS = {**TEXT, "num_heads": 4}
GROUPED = {**TEXT, "num_query_heads": 4, "num_key_value_heads": 2}
GEMMA = {**GROUPED, "head_dim": 16}


def application(name, **options):
    """Return a network of `keras.applications` for small images."""
    return getattr(keras.applications, name)(**{**IMAGES, **options})


def backbone(name, **sizes):
    """Return a small backbone of KerasHub."""
    return getattr(keras_hub.models, f"{name}Backbone")(**sizes)


def clip():
    """Return a small CLIP of KerasHub."""
    blocks = {"num_layers": 12, "num_heads": 4, "hidden_dim": 64, "intermediate_dim": 256}
    images = keras_hub.models.CLIPVisionEncoder(**blocks, patch_size=8, image_shape=(64, 64, 3))
    sizes = {"vocabulary_size": 500, "embedding_dim": 64, "max_sequence_length": 32}
    texts = keras_hub.models.CLIPTextEncoder(**blocks, **sizes)
    return keras_hub.models.CLIPBackbone(images, texts, projection_dim=64)


# A model, how it is built, and the recipe of its paper or its code, if there is one.
MODELS = {
    "GPT-2": (lambda: backbone("GPT2", **HEADS, max_sequence_length=32), "gpt2"),
    "Gemma": (lambda: backbone("Gemma", **GEMMA), "gemma"),
    "Gemma 3": (lambda: backbone("Gemma3", **GEMMA, image_size=None), "gemma"),
    "T5": (lambda: backbone("T5", **HEADS, key_value_dim=16), "t5"),
    "ViT": (
        lambda: backbone(
            "ViT",
            image_shape=(64, 64, 3),
            patch_size=8,
            num_layers=12,
            num_heads=4,
            hidden_dim=64,
            mlp_dim=256,
        ),
        "vit_timm",
    ),
    "BERT": (lambda: backbone("Bert", **HEADS, max_sequence_length=32), "bert"),
    "RoBERTa": (lambda: backbone("Roberta", **HEADS, max_sequence_length=32), "bert"),
    "DistilBERT": (lambda: backbone("DistilBert", **HEADS, max_sequence_length=32), "bert"),
    "ALBERT": (
        lambda: backbone("Albert", **HEADS, embedding_dim=32, max_sequence_length=32),
        "bert",
    ),
    "ELECTRA": (
        lambda: backbone(
            "Electra",
            vocab_size=500,
            num_layers=12,
            num_heads=4,
            hidden_dim=64,
            embedding_dim=32,
            intermediate_dim=256,
            max_sequence_length=32,
        ),
        "bert",
    ),
    "DeBERTa V3": (
        lambda: backbone("DebertaV3", **HEADS, max_sequence_length=32, bucket_size=16),
        "bert",
    ),
    "BART": (lambda: backbone("Bart", **HEADS, max_sequence_length=32), None),
    "OPT": (lambda: backbone("OPT", **HEADS, max_sequence_length=32), None),
    "Llama": (lambda: backbone("Llama", **GROUPED), "llama"),
    "Mistral": (lambda: backbone("Mistral", **GROUPED, sliding_window=16), "llama"),
    "Phi 3": (lambda: backbone("Phi3", **GROUPED), "llama"),
    "Qwen": (lambda: backbone("Qwen", **GROUPED), "llama"),
    "Mixtral": (lambda: backbone("Mixtral", **GROUPED, num_experts=4, top_k=2), "llama"),
    "Whisper": (
        lambda: backbone(
            "Whisper",
            **HEADS,
            num_mels=8,
            max_encoder_sequence_length=32,
            max_decoder_sequence_length=16,
        ),
        "whisper",
    ),
    "CLIP": (clip, "clip"),
    "Falcon": (
        lambda: backbone(
            "Falcon",
            vocabulary_size=500,
            num_layers=12,
            num_attention_heads=4,
            hidden_dim=64,
            intermediate_dim=256,
        ),
        None,
    ),
    "Bloom": (lambda: backbone("Bloom", **HEADS, max_sequence_length=32), None),
    "ConvNeXtTiny": (lambda: application("ConvNeXtTiny"), "convnext"),
    "EfficientNetB0": (lambda: application("EfficientNetB0"), "efficientnet"),
    "EfficientNetV2B0": (lambda: application("EfficientNetV2B0"), "efficientnet"),
    "MobileNet": (lambda: application("MobileNet"), "mobilenet"),
    "MobileNetV2": (lambda: application("MobileNetV2"), "mobilenet"),
    "MobileNetV3Small": (lambda: application("MobileNetV3Small"), "mobilenet"),
    "ResNet50": (lambda: application("ResNet50"), "resnet"),
    "ResNet50V2": (lambda: application("ResNet50V2"), "resnet"),
    "InceptionV3": (lambda: application("InceptionV3", input_shape=(75, 75, 3)), None),
    "NASNetMobile": (lambda: application("NASNetMobile"), None),
}


def found(report):
    """Return how many weights are off, of how many, and the most frequent cause."""
    compared = len(report.weights) - len(report.not_compared)
    causes = collections.Counter(row.cause or row.verdict for row in report.problems)
    most = ""
    if causes:
        (most, _), *_ = causes.most_common(1)
    return f"{len(report.problems)} of {compared}", most


def main(arguments=None):
    """Build, audit and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(MODELS), help="names; default: all")
    options = parser.parse_args(arguments)
    print(f"Keras {keras.__version__}, KerasHub {keras_hub.__version__}")
    print(f"{'model':18}{'recipe':14}{'off it':>12}{'off its layers':>17}  most frequent cause")
    for name in options.models:
        build, recipe = MODELS[name]
        keras.utils.set_random_seed(0)
        model = build()
        by_layers, cause = found(keras_initx.audit(model))
        by_recipe = "-"
        if recipe is not None:
            by_recipe, cause = found(keras_initx.audit(model, getattr(recipes, recipe)))
        print(f"{name:18}{recipe or '-':14}{by_recipe:>12}{by_layers:>17}  {cause}", flush=True)
        keras.backend.clear_session()


if __name__ == "__main__":
    main()
