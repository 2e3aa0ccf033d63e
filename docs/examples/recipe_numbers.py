"""Compare the weights of recipes with their sources, in KerasHub and `keras.applications`.

`KERAS_BACKEND=jax python docs/examples/recipe_numbers.py`; it needs keras-hub.
"""

import argparse
import fnmatch
import functools
import math

import keras_initx
from keras_initx import recipes

import backbones
import keras
import keras_hub
import numpy as np


def sized(backbone, **sizes):
    """Return a backbone of text of 64 units."""
    common = {"vocabulary_size": 500, "num_heads": 4, "hidden_dim": 64, "intermediate_dim": 256}
    return backbone(**common, **sizes)


def grouped(backbone, **sizes):
    """Return a backbone of text of 64 units with fewer heads of keys and values."""
    common = {
        "vocabulary_size": 500,
        "num_layers": 2,
        "num_query_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 16,
    }
    common |= {"hidden_dim": 64, "intermediate_dim": 256, **sizes}
    if common["head_dim"] is None:
        del common["head_dim"]
    return backbone(**common)


APPLICATIONS = (
    "ConvNeXtTiny",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "ResNet50",
)


def application(name):
    """Return a network of `keras.applications`."""
    build = getattr(keras.applications, name)
    return build(weights=None, input_shape=(32, 32, 3), classes=100)


@functools.cache
def model_of(name):
    """Return the model of this name."""
    return {
        "GPT-2": lambda: sized(
            keras_hub.models.GPT2Backbone, num_layers=12, max_sequence_length=32
        ),
        "BERT": lambda: sized(keras_hub.models.BertBackbone, num_layers=12, max_sequence_length=32),
        "BART": lambda: sized(keras_hub.models.BartBackbone, num_layers=3, max_sequence_length=32),
        "ViT": lambda: backbones.vit()[0],
        "ResNet-50": lambda: backbones.resnet()[0],
        "T5": lambda: sized(keras_hub.models.T5Backbone, num_layers=4, key_value_dim=8),
        "RoBERTa": lambda: sized(
            keras_hub.models.RobertaBackbone, num_layers=2, max_sequence_length=32
        ),
        "Llama": lambda: grouped(keras_hub.models.LlamaBackbone, head_dim=None),
        "Mixtral": lambda: grouped(
            keras_hub.models.MixtralBackbone, head_dim=None, num_experts=4, top_k=2
        ),
        "Whisper": lambda: sized(
            keras_hub.models.WhisperBackbone,
            num_layers=2,
            max_encoder_sequence_length=32,
            max_decoder_sequence_length=16,
        ),
        "CLIP images": lambda: keras_hub.models.CLIPVisionEncoder(
            patch_size=8,
            hidden_dim=64,
            num_layers=2,
            num_heads=4,
            intermediate_dim=256,
            image_shape=(32, 32, 3),
        ),
        "CLIP texts": lambda: sized(
            keras_hub.models.CLIPTextEncoder,
            embedding_dim=64,
            num_layers=2,
            max_sequence_length=16,
        ),
        "Gemma": lambda: grouped(keras_hub.models.GemmaBackbone),
        "Gemma 3": lambda: grouped(keras_hub.models.Gemma3Backbone, image_size=None),
        **{name: functools.partial(application, name) for name in APPLICATIONS},
        "dense": lambda: keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, "selu")]),
        "LSTM": lambda: keras.Sequential([keras.Input((8, 32)), keras.layers.LSTM(64)]),
    }[name]()


def of_source(recipe, source):
    """Return a recipe with the numbers of a source."""
    return functools.partial(recipe, source=source)


t_fixup, fixup = (
    functools.partial(recipe, strict=False) for recipe in (recipes.t_fixup, recipes.fixup)
)
# The standard deviations of Glorot's weights between 64 and 64 units, and of He's by fan-out.
GLOROT, HE_1, HE_2 = 1 / 8, math.sqrt(2 / 512), math.sqrt(2 / (9 * 512))
# The factors of T-Fixup and of DeepNorm in an encoder and a decoder of 3 blocks.
FACTORS = {"t_fixup": (0.67 * 3**-0.25, 27**-0.25), "deepnorm": (0.87 * 3 ** (-5 / 16), 36**-0.25)}
# The recipes of other sources.
roberta = of_source(recipes.bert, "transformers")
hf_clip = of_source(recipes.clip, "transformers")
# What a normal distribution that is truncated at two standard deviations keeps.
CUT_2 = 0.8796
# The standard deviation of TF-Slim's weights, `N(0, 0.09²)` truncated at two standard deviations.
SLIM = 0.09 * CUT_2
# A recipe, its source (a section or figure of the paper, or the start of a commit), a model,
# weights, and their standard deviation in the source.
ROWS = (
    ("gpt2", recipes.gpt2, "2.3", "GPT-2", "*/attention_output/kernel", 0.02 / math.sqrt(24)),
    ("gpt2", recipes.gpt2, "c2dae27", "GPT-2", "*position_embedding/*", 0.01),
    ("llama", recipes.llama, "hf 0022", "Llama", "*kernel", 0.02),
    ("llama", recipes.llama, "hf 0022", "Llama", "token_embedding/*", 0.02),
    ("llama", recipes.llama, "hf 0022", "Mixtral", "*sparse_feedforward_gate*", 0.02),
    ("llama", recipes.llama, "hf 0022", "Mixtral", "*/expert_feedforward_*", 0.02),
    ("bert", recipes.bert, "eedf571", "BERT", "*kernel", 0.02 * CUT_2),
    ("bert", recipes.bert, "eedf571", "BERT", "*embeddings", 0.02 * CUT_2),
    ("bert", roberta, "3d262bb", "RoBERTa", "*kernel", 0.02),
    ("whisper", recipes.whisper, "tab. 17", "Whisper", "*query/kernel", 1 / 8),
    ("whisper", recipes.whisper, "tab. 17", "Whisper", "*feedforward_output*/kernel", 1 / 16),
    ("whisper", recipes.whisper, "tab. 17", "Whisper", "*conv_layer_2/kernel", (3 * 64) ** -0.5),
    ("clip", recipes.clip, "d05afc4", "CLIP texts", "*query/kernel", 1 / 8),
    ("clip", recipes.clip, "d05afc4", "CLIP texts", "*attention_output/kernel", 1 / 16),
    ("clip", recipes.clip, "d05afc4", "CLIP texts", "*position_embedding/*", 0.01),
    ("clip", recipes.clip, "d05afc4", "CLIP images", "*query/kernel", 128**-0.5),
    ("clip", recipes.clip, "d05afc4", "CLIP images", "*position_embedding/*", 1 / 8),
    ("clip", hf_clip, "hf 000f", "CLIP images", "*query/kernel", 1 / 16),
    ("clip", hf_clip, "hf 000f", "CLIP images", "*attention_out*/kernel", 1 / 8),
    ("t_fixup", t_fixup, "3.2", "BART", "*encoder*/value/kernel", FACTORS["t_fixup"][0] * GLOROT),
    ("t_fixup", t_fixup, "3.2", "BART", "*decoder*/value/kernel", FACTORS["t_fixup"][1] * GLOROT),
    ("t_fixup", t_fixup, "3.2", "BART", "*/query/kernel", GLOROT),
    ("t_fixup", t_fixup, "3.2", "BART", "token_embedding/*", FACTORS["t_fixup"][1] * GLOROT),
    ("deepnorm", recipes.deepnorm, "fig. 2", "BERT", "*/value/kernel", 96**-0.25 * GLOROT),
    (
        "deepnorm",
        recipes.deepnorm,
        "fig. 2",
        "BART",
        "*encoder*/value/kernel",
        FACTORS["deepnorm"][0] * GLOROT,
    ),
    (
        "deepnorm",
        recipes.deepnorm,
        "fig. 2",
        "BART",
        "*decoder*/value/kernel",
        FACTORS["deepnorm"][1] * GLOROT,
    ),
    ("gemma", recipes.gemma, "7691fd4", "Gemma", "decoder_block_*/kernel", 0.01),
    ("gemma", recipes.gemma, "7691fd4", "Gemma", "token_embedding/*", 0.01),
    ("gemma", recipes.gemma, "7691fd4", "Gemma 3", "decoder_block_*/kernel", 0.01),
    ("t5", recipes.t5, "60b72c4", "T5", "*/query_projector/kernel", 1 / math.sqrt(64 * 8)),
    ("t5", recipes.t5, "60b72c4", "T5", "*/value_projector/kernel", 1 / 8),
    ("t5", recipes.t5, "60b72c4", "T5", "*attention/output*/kernel", 1 / math.sqrt(4 * 8)),
    ("t5", recipes.t5, "hf 5.23", "T5", "layer_[0-9]/output*/kernel", 1 / 16),
    ("t5", recipes.t5, "hf 5.23", "T5", "*attention/embeddings", 1 / 8),
    ("t5", recipes.t5, "hf 5.23", "T5", "token_embedding/*", 1.0),
    ("vit_timm", recipes.vit_timm, "0041cb7", "ViT", "*mlp/dense*/kernel", 0.02),
    (
        "vit_timm",
        recipes.vit_timm,
        "0041cb7",
        "ViT",
        "*patch_embedding/kernel",
        1 / math.sqrt(3 * 192),
    ),
    (
        "vit_timm",
        recipes.vit_timm,
        "0041cb7",
        "ViT",
        "*patch_embedding/bias",
        1 / math.sqrt(3 * 192),
    ),
    ("vit_jax", recipes.vit_jax, "0041cb7", "ViT", "*patch_embedding/kernel", 1 / math.sqrt(192)),
    ("vit_jax", recipes.vit_jax, "0041cb7", "ViT", "*mlp/dense*/bias", 1e-6),
    ("fixup", fixup, "f3fa449", "ResNet-50", "conv5_block2_1_conv/kernel", HE_1 / 2),
    ("fixup", fixup, "f3fa449", "ResNet-50", "conv5_block2_2_conv/kernel", HE_2 / 2),
    ("fixup", fixup, "f3fa449", "ResNet-50", "conv5_block2_3_conv/kernel", 0.0),
    ("zero_residual", recipes.zero_residual, "5.1", "ResNet-50", "*_block*_3_bn/gamma", 0.0),
    ("convnext", recipes.convnext, "048efca", "ConvNeXtTiny", "*_depthwise_conv/kernel", 0.02),
    ("convnext", recipes.convnext, "048efca", "ConvNeXtTiny", "*_head_dense/kernel", 0.02),
    ("convnext", recipes.convnext, "048efca", "ConvNeXtTiny", "*_layer_scale/*", 1e-6),
    (
        "efficientnet",
        recipes.efficientnet,
        "02f1303",
        "EfficientNetB0",
        "block7a_expand_conv/kernel",
        math.sqrt(2 / 1152),
    ),
    (
        "efficientnet",
        recipes.efficientnet,
        "02f1303",
        "EfficientNetB0",
        "block7a_dwconv/kernel",
        math.sqrt(2 / 9),
    ),
    (
        "efficientnet",
        recipes.efficientnet,
        "02f1303",
        "EfficientNetB0",
        "predictions/kernel",
        math.sqrt(1 / 300),
    ),
    (
        "efficientnet",
        recipes.efficientnet,
        "02f1303",
        "EfficientNetV2B0",
        "block1a_project*/kernel",
        math.sqrt(2 / 144),
    ),
    ("mobilenet", recipes.mobilenet, "0cf9932", "MobileNet", "conv_dw_13/kernel", SLIM),
    ("mobilenet", recipes.mobilenet, "0cf9932", "MobileNet", "conv_pw_13/kernel", SLIM),
    ("mobilenet", recipes.mobilenet, "0cf9932", "MobileNet", "conv_preds/kernel", SLIM),
    ("mobilenet", recipes.mobilenet, "02c04f4", "MobileNetV2", "*_project/kernel", SLIM),
    ("mobilenet", recipes.mobilenet, "02c04f4", "MobileNetV3Small", "*_depthwise/kernel", SLIM),
    ("resnet", recipes.resnet, "054e54c", "ResNet50", "conv5_block2_2_conv/kernel", HE_2),
    (
        "resnet",
        recipes.resnet,
        "054e54c",
        "ResNet50",
        "predictions/kernel",
        math.sqrt(1 / 3 / 2048),
    ),
    (
        "resnet",
        of_source(recipes.resnet, "keras"),
        "3.15.1",
        "ResNet50",
        "conv5_block2_2_conv/kernel",
        math.sqrt(2 / (9 * 1024)),
    ),
    ("selu", recipes.selu, "3", "dense", "*kernel", 1 / 8),
    ("orthogonal_rnn", recipes.orthogonal_rnn, "4", "LSTM", "*recurrent_kernel", 1 / 8),
    ("spectral", recipes.spectral, "2", "BERT", "*intermediate_dense/kernel", 2 / 16),
)


def measured(recipe, model, pattern):
    """Return the root mean square over the weights that match a pattern."""
    keras_initx.initialize(model, recipe(model), seed=0)
    found = [
        variable.value
        for variable in model.variables
        if fnmatch.fnmatchcase(variable.path, f"*{pattern}")
    ]
    values = np.concatenate([keras.ops.convert_to_numpy(value).ravel() for value in found])
    return float(np.sqrt(np.mean(np.square(values, dtype="float64"))))


def main(arguments=None):
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args(arguments)
    print(f"{'recipe':15}{'source':9}{'model':17}{'weights':27}{'there':>8}{'measured':>10}")
    for name, recipe, source, model, pattern, there in ROWS:
        here = measured(recipe, model_of(model), pattern)
        print(f"{name:15}{source:9}{model:17}{pattern:27}{there:8.3g}{here:10.3g}", flush=True)


if __name__ == "__main__":
    main()
