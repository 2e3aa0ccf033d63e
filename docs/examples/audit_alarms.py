"""Count the alarms of audits of models that are initialized as their recipe says: by chance alone.

`KERAS_BACKEND=torch python docs/examples/audit_alarms.py`; it needs keras-hub.
"""

import argparse
import functools
import math

import keras_initx
from keras_initx import recipes

import keras
import keras_hub

layers = keras.layers
ALPHA = 0.01
WIDTH = {"hidden_dim": 16, "num_layers": 2}
TEXT = {**WIDTH, "intermediate_dim": 64, "vocabulary_size": 100}
HEADS = {**TEXT, "num_heads": 2}
GROUPED = {**TEXT, "num_query_heads": 2, "num_key_value_heads": 1}
LENGTH = {"max_sequence_length": 16}


def text(name, sizes=HEADS, **more):
    """Return a small backbone of KerasHub for text."""
    return getattr(keras_hub.models, f"{name}Backbone")(**sizes, **more)


def whisper():
    """Return a small Whisper."""
    lengths = {"max_encoder_sequence_length": 32, "max_decoder_sequence_length": 16}
    return text("Whisper", num_mels=8, **lengths)


def clip():
    """Return a small CLIP."""
    blocks = {**WIDTH, "num_heads": 2, "intermediate_dim": 64}
    pictures = keras_hub.models.CLIPVisionEncoder(**blocks, patch_size=8, image_shape=(32, 32, 3))
    texts = keras_hub.models.CLIPTextEncoder(
        **blocks, vocabulary_size=100, embedding_dim=16, max_sequence_length=16
    )
    return keras_hub.models.CLIPBackbone(pictures, texts, projection_dim=32)


def vit():
    """Return a small vision transformer."""
    return keras_hub.models.ViTBackbone(
        image_shape=(16, 16, 3), patch_size=8, num_heads=2, mlp_dim=64, **WIDTH
    )


def images(name, **sizes):
    """Return a small backbone of KerasHub for images."""
    return getattr(keras_hub.models, f"{name}Backbone")(image_shape=(32, 32, 3), **sizes)


def resnet():
    """Return a small residual network."""
    return images(
        "ResNet",
        input_conv_filters=[64],
        input_conv_kernel_sizes=[3],
        stackwise_num_filters=[64],
        stackwise_num_blocks=[2],
        stackwise_num_strides=[1],
        block_type="basic_block",
    )


def efficientnet():
    """Return a small network of depthwise convolutions with batch normalization."""
    return keras_hub.models.EfficientNetBackbone(
        input_shape=(32, 32, 3),
        stackwise_width_coefficients=[1.0, 1.0],
        stackwise_depth_coefficients=[1.0, 1.0],
        stackwise_kernel_sizes=[3, 5],
        stackwise_num_repeats=[1, 2],
        stackwise_input_filters=[16, 16],
        stackwise_output_filters=[16, 24],
        stackwise_expansion_ratios=[1, 4],
        stackwise_squeeze_and_excite_ratios=[0.25, 0.25],
        stackwise_strides=[1, 2],
        stackwise_block_types=["v1", "v1"],
        num_features=64,
    )


def mobilenet():
    """Return a network of `keras.applications`, a tenth as wide."""
    return keras.applications.MobileNet(
        weights=None, input_shape=(32, 32, 3), alpha=0.1, classes=10
    )


def convnext():
    """Return a block of depthwise convolutions with layer normalization."""
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(16, 4, 4),
            layers.DepthwiseConv2D(7, padding="same"),
            layers.LayerNormalization(),
            layers.Dense(64, "gelu"),
            layers.Dense(16),
        ]
    )


def dense(activation):
    """Return a dense network."""
    return keras.Sequential(
        [keras.Input((32,)), layers.Dense(48, activation), layers.Dense(48, activation)]
    )


def lstm():
    """Return a recurrent network."""
    return keras.Sequential([keras.Input((8, 16)), layers.LSTM(32), layers.Dense(10)])


# A recipe, its source, and the model.
ROWS = (
    ("gpt2", "", lambda: text("GPT2", **LENGTH)),
    ("gemma", "", lambda: text("Gemma", GROUPED, head_dim=8)),
    ("t5", "", lambda: text("T5", {**HEADS, "num_layers": 1}, key_value_dim=8)),
    ("llama", "", lambda: text("Llama", GROUPED)),
    ("bert", "bert", lambda: text("Bert", **LENGTH)),
    ("bert", "transformers", lambda: text("Roberta", **LENGTH)),
    ("whisper", "paper", whisper),
    ("whisper", "transformers", whisper),
    ("clip", "openai", clip),
    ("clip", "transformers", clip),
    ("deepnorm", "", lambda: text("Bert", **LENGTH)),
    ("t_fixup", "", lambda: text("Bert", **LENGTH)),
    ("vit_timm", "", vit),
    ("vit_jax", "", vit),
    ("convnext", "", convnext),
    ("efficientnet", "", efficientnet),
    ("mobilenet", "", mobilenet),
    ("resnet", "torchvision", resnet),
    ("resnet", "keras", resnet),
    ("zero_residual", "", resnet),
    ("fixup", "", resnet),
    ("selu", "", lambda: dense("selu")),
    ("spectral", "", lambda: dense("relu")),
    ("orthogonal_rnn", "", lstm),
)
# These refuse normalizations otherwise, which they leave as they are.
NOT_STRICT = ("fixup", "t_fixup")
CONSTANTS = {"Ones()": "ones", "Zeros()": "zeros"}


def rules_of(recipe, source, model):
    """Return the rules of a recipe for a model, and rules for what it leaves to the layers.

    Without these, layers would have to be copied in each draw to see how they start.
    """
    function = getattr(recipes, recipe)
    if source:
        function = functools.partial(function, source=source)
    if recipe in NOT_STRICT:
        function = functools.partial(function, strict=False)
    rules = function(model)
    plan = keras_initx.initialize(model, rules, seed=0, dry_run=True)
    for weight in plan.weights:
        if weight.reason != "by rule" and weight.initializer in CONSTANTS:
            rules[weight.path] = CONSTANTS[weight.initializer]
    return rules


def alarms(model, rules, draws):
    """Return how many of `draws` audits raise an alarm."""
    count = 0
    for seed in range(draws):
        keras_initx.initialize(model, rules, seed=seed, atomic=False)
        count += not keras_initx.audit(model, rules, alpha=ALPHA).ok
    return count


def most(draws):
    """Return the number of alarms that `draws` audits exceed once in 1,000 times."""
    total = 0.0
    for count in range(draws + 1):
        total += math.comb(draws, count) * ALPHA**count * (1 - ALPHA) ** (draws - count)
        if total >= 0.999:
            return count
    return draws


def main(arguments=None):
    """Draw, audit and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", help="names; default: all")
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args(arguments)
    bound = most(options.draws)
    print(f"{'recipe':16}{'source':14}{'weights':>8}{'draws':>7}{'alarms':>8}{'at most':>9}")
    for recipe, source, build in ROWS:
        if options.recipes and recipe not in options.recipes:
            continue
        model = build()
        rules = rules_of(recipe, source, model)
        found = alarms(model, rules, options.draws)
        report = keras_initx.audit(model, rules, alpha=ALPHA)
        weights = len(report.weights) - len(report.not_compared)
        row = f"{recipe:16}{source:14}{weights:8}{options.draws:7}{found:8}{bound:9}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
