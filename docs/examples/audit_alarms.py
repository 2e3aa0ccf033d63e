"""Count the alarms of audits of models that are initialized as their recipe says: by chance alone.

`KERAS_BACKEND=torch python docs/examples/audit_alarms.py`; it needs keras-hub.
"""

import argparse
import math

import keras_initx
from keras_initx import recipes

import keras
import keras_hub
from recipe_alarms import ALPHA, alarms

layers = keras.layers
TEXT = {"vocabulary_size": 100, "hidden_dim": 16, "intermediate_dim": 64, "num_layers": 2}
HEADS = {**TEXT, "num_heads": 2}
GROUPED = {**TEXT, "num_query_heads": 2, "num_key_value_heads": 1}


def text(name, sizes=HEADS, **more):
    """Return a small backbone of KerasHub for text."""
    return getattr(keras_hub.models, f"{name}Backbone")(**sizes, **more)


def vit():
    """Return a small vision transformer."""
    return keras_hub.models.ViTBackbone(
        image_shape=(16, 16, 3),
        patch_size=8,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=64,
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


def densenet():
    """Return a small network of dense blocks."""
    return images("DenseNet", stackwise_num_repeats=[2, 2], compression_ratio=0.5, growth_rate=8)


def xception():
    """Return a small network of separable convolutions."""
    return keras_hub.models.XceptionBackbone(
        stackwise_conv_filters=[[16, 32], [32, 32]],
        stackwise_pooling=[True, False],
        image_shape=(64, 64, 3),
    )


def mobilenet():
    """Return a network of `keras.applications`, a tenth as wide."""
    return keras.applications.MobileNet(
        weights=None, input_shape=(32, 32, 3), alpha=0.1, classes=10
    )


def dense(activation):
    """Return a dense network."""
    return keras.Sequential(
        [keras.Input((32,)), layers.Dense(48, activation), layers.Dense(48, activation)]
    )


def lstm():
    """Return a recurrent network."""
    return keras.Sequential([keras.Input((8, 16)), layers.LSTM(32), layers.Dense(10)])


# A recipe, and the model.
MODELS = {
    "gpt2": lambda: text("GPT2", max_sequence_length=16),
    "gemma": lambda: text("Gemma", GROUPED, head_dim=8),
    "t5": lambda: text("T5", key_value_dim=8),
    "bert": lambda: text("Bert", max_sequence_length=16),
    "llama": lambda: text("Llama", GROUPED),
    "deepnorm": lambda: text("Bert", max_sequence_length=16),
    "vit_timm": vit,
    "vit_jax": vit,
    "resnet": resnet,
    "vgg": lambda: images("VGG", stackwise_num_repeats=[1, 2], stackwise_num_filters=[16, 32]),
    "densenet": densenet,
    "xception": xception,
    "mobilenet": mobilenet,
    "selu": lambda: dense("selu"),
    "spectral": lambda: dense("relu"),
    "orthogonal_rnn": lstm,
}


def most(draws, alpha):
    """Return the number of alarms that `draws` audits exceed once in 1,000 times."""
    total = 0.0
    for count in range(draws + 1):
        total += math.comb(draws, count) * alpha**count * (1 - alpha) ** (draws - count)
        if total >= 0.999:
            return count
    return draws


def main(arguments=None):
    """Draw, audit and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=list(MODELS), help="names; default: all")
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args(arguments)
    bound = most(options.draws, ALPHA)
    print(f"{'recipe':16}{'weights':>8}{'draws':>7}{'alarms':>8}{'at most':>9}")
    for name in options.recipes:
        model = MODELS[name]()
        rules = getattr(recipes, name)(model)
        count = alarms(model, rules, options.draws)
        report = keras_initx.audit(model, rules, alpha=ALPHA)
        weights = len(report.weights) - len(report.not_compared)
        row = f"{name:16}{weights:8}{options.draws:7}{count:8}{bound:9}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
