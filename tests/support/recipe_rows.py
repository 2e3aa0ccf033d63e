"""The table of recipes: a new one is one more row."""

import math
from collections.abc import Callable
from typing import NamedTuple

import keras
from modes import to_numpy
from text_models import HIDDEN, bert, llama, mixture, whisper
from text_models import WIDTH as TEXT

from keras_initx import initialize, recipes
from keras_initx.inspection._inventory import Inventory

layers = keras.layers
BLOCKS, WIDTH = 3, 32


def transformer():
    """Return a small transformer whose layers have KerasHub's names."""
    tokens = keras.Input((6,))
    x = layers.Embedding(400, WIDTH, name="token_embedding")(tokens)
    for number in range(BLOCKS):
        attention = layers.MultiHeadAttention(2, WIDTH // 2, name=f"block_{number}_attention")
        x = layers.Add()([x, attention(x, x)])
        hidden = layers.Dense(2 * WIDTH, "gelu", name="feedforward_intermediate_dense")
        out = layers.Dense(WIDTH, name="feedforward_output_dense")
        inner = keras.Sequential([keras.Input((6, WIDTH)), hidden, out], name=f"block_{number}")
        x = layers.Add()([x, inner(x)])
    return keras.Model(tokens, layers.Dense(4, name="predictions")(x))


def residual(normalized):
    """Return a small residual network whose layers have the names of `keras.applications`."""
    inputs = keras.Input((4, 4, 8))
    x = inputs
    for block in range(4):
        branch = x
        for place in (1, 2, 3):
            name = f"conv2_block{block}_{place}"
            branch = layers.Conv2D(8, 3, padding="same", name=f"{name}_conv")(branch)
            if normalized:
                branch = layers.BatchNormalization(name=f"{name}_bn")(branch)
        x = layers.Add()([x, branch])
    return keras.Model(inputs, layers.Dense(3, name="predictions")(layers.GlobalAveragePooling2D()(x)))


def with_positions():
    """Return the transformer with a position embedding."""
    tokens = keras.Input((6,))
    positions = layers.Embedding(1000, 4, name="position_embedding")(tokens)
    return keras.Model(tokens, layers.Add()([transformer()(tokens), positions]))


def vision():
    """Return a small vision transformer whose layers have KerasHub's names."""
    patches = keras.Input((8, 8, 3))
    x = layers.Conv2D(WIDTH, 2, 2, name="patch_embedding")(patches)
    x = layers.Reshape((16, WIDTH))(x)
    x = layers.MultiHeadAttention(2, 16, name="mha")(x, x)
    mlp = [keras.Input((16, WIDTH)), layers.Dense(64, name="dense"), layers.Dense(WIDTH, name="dense_1")]
    x = keras.Sequential(mlp, name="mlp")(x)
    return keras.Model(patches, layers.Dense(5, name="predictions")(x))


def separable(depthwise, norm):
    """Return a network of a depthwise and an ordinary convolution, with a head of 40 classes."""
    parts = [depthwise, norm(), layers.Conv2D(96, 3, name="conv"), layers.GlobalAveragePooling2D()]
    return keras.Sequential([keras.Input((8, 8, 64)), *parts, layers.Dense(40, name="head")])


def convnext():
    depthwise = layers.Conv2D(64, 5, groups=64, name="depthwise")
    return separable(depthwise, layers.LayerNormalization)


def mobilenet():
    return separable(layers.DepthwiseConv2D(5, name="depthwise"), layers.BatchNormalization)


def convolutions(groups=1):
    """Return a residual network of a convolution, with a head of 40 classes."""
    inputs = keras.Input((8, 8, 64))
    x = layers.BatchNormalization()(layers.Conv2D(64, 3, padding="same", groups=groups, name="conv")(inputs))
    x = layers.GlobalAveragePooling2D()(layers.Add()([inputs, x]))
    return keras.Model(inputs, layers.Dense(40, name="head")(x))


def gemma():
    """Return a part of a Gemma whose layers have KerasHub's names, before a layer of another name."""
    block = keras.Sequential([keras.Input((6, WIDTH)), layers.Dense(64, name="ffw_gating")], name="decoder_block_0")
    embedding = layers.Embedding(400, WIDTH, name="token_embedding")
    return keras.Sequential([keras.Input((6,)), embedding, block, layers.Dense(50, name="other")])


class Tokens(layers.Embedding):
    """An embedding with another table for the logits, as in KerasHub."""

    def build(self, shape):
        super().build(shape)
        self.reverse = self.add_weight((self.output_dim, self.input_dim), name="reverse_embeddings")


def t5():
    """Return a part of a T5 with 4 heads of 12 units whose layers have KerasHub's names."""
    ids, places = keras.Input((6,)), keras.Input((6, 6))
    names = {"value_projector": 48, "output_projector": WIDTH, "query_projector": 48}
    x = Tokens(400, WIDTH, name="token_embedding")(ids)
    for name, units in names.items():
        x = layers.Dense(units, name=name, use_bias=False)(x)
    return keras.Model([ids, places], [x, layers.Embedding(32, 4, name="self_attention")(places)])


def recurrent(cell=layers.SimpleRNN):
    return keras.Sequential([keras.Input((5, 4)), cell(8), layers.Dense(2, name="logits")])


def wide(width=64, initializer="glorot_uniform"):
    hidden = [layers.Dense(width, "selu", name=name, kernel_initializer=initializer) for name in ("first", "second")]
    last = layers.Dense(3, name="last", kernel_initializer=initializer)
    return keras.Sequential([keras.Input((8,)), *hidden, last])


class Mixer(keras.Layer):
    """The weights of Mamba 2 that no layer of Keras has."""

    def build(self, shape):
        self.decay = self.add_weight(shape=(shape[-1],), initializer="zeros", name="A_log")
        self.step = self.add_weight(shape=(shape[-1],), initializer="zeros", name="dt_bias")
        self.skip = self.add_weight(shape=(shape[-1],), initializer="zeros", name="D")

    def call(self, x):
        step = keras.ops.softplus(self.step)
        return x * keras.ops.exp(-keras.ops.exp(self.decay) * step) + self.skip * x


def mixer():
    parts = [layers.Embedding(50, 4000, name="tokens"), Mixer(name="mixer"), layers.Dense(4, name="logits")]
    return keras.Sequential([keras.Input((6,)), *parts])


def several():
    """Return an embedding, an LSTM and a dense layer, which each framework starts otherwise."""
    parts = [layers.Embedding(400, 32, name="tokens"), layers.LSTM(64), layers.Dense(48, name="logits")]
    return keras.Sequential([keras.Input((6,)), *parts])


class Row(NamedTuple):
    """What a recipe gives a model.

    Attributes:
        model: Function that returns the model.
        recipe: The recipe, with its arguments.
        stddevs: Standard deviations of weights, by the ends of their names.
        tolerance: How far off they may be, as a share: 3,000 values and more are off by 4 % once in a thousand draws.
    """

    model: Callable
    recipe: Callable
    stddevs: dict[str, float]
    tolerance: float


ROWS = {
    "torch": Row(
        model=several,
        recipe=recipes.torch,
        stddevs={"embeddings": 1, **dict.fromkeys(("lstm_cell/kernel", "recurrent_kernel"), (3 * 64) ** -0.5)},
        tolerance=0.05,
    ),
    "torch biases": Row(
        model=several,
        recipe=recipes.torch,
        stddevs={"lstm_cell/bias": 2 / (6 * 64) ** 0.5, "logits/bias": (3 * 64) ** -0.5},
        tolerance=0.2,
    ),
    "flax": Row(
        model=several,
        recipe=recipes.flax,
        stddevs={
            **dict.fromkeys(("embeddings", "lstm_cell/kernel"), 32**-0.5),
            **dict.fromkeys(("recurrent_kernel", "logits/kernel"), 1 / 8),
            "bias": 0,
        },
        tolerance=0.05,
    ),
    "keras": Row(
        model=several,
        recipe=recipes.keras,
        stddevs={
            "embeddings": 0.1 / 12**0.5,
            "lstm_cell/kernel": (2 / (32 + 4 * 64)) ** 0.5,
            "recurrent_kernel": 1 / 16,
            "logits/kernel": (2 / (64 + 48)) ** 0.5,
            "logits/bias": 0,
        },
        tolerance=0.05,
    ),
    # The deviations of log U(1, 16), and of the inverse softplus of exp U(log 0.001, log 0.1).
    "state_space": Row(
        model=mixer, recipe=recipes.state_space, stddevs={"A_log": 0.6735, "dt_bias": 1.342, "D": 0}, tolerance=0.03
    ),
    "gpt2": Row(
        model=transformer,
        recipe=recipes.gpt2,
        stddevs={
            **dict.fromkeys(
                ("/attention_output/kernel", "/feedforward_output_dense/kernel"), 0.02 / (2 * BLOCKS) ** 0.5
            ),
            **dict.fromkeys(("/query/kernel", "/value/kernel", "/feedforward_intermediate_dense/kernel"), 0.02),
            "embeddings": 0.02,
            "bias": 0,
        },
        tolerance=0.05,
    ),
    "llama": Row(
        model=llama, recipe=recipes.llama, stddevs={"kernel": 0.02, "embeddings": 0.02, "bias": 0}, tolerance=0.05
    ),
    "llama with experts": Row(
        model=mixture,
        recipe=recipes.llama,
        stddevs={
            **dict.fromkeys(("/query/kernel", "expert_feedforward_output_dense", "feedforward_gate_dense/kernel"), 0.02)
        },
        tolerance=0.05,
    ),
    "bert": Row(
        model=bert,
        recipe=recipes.bert,
        stddevs={"kernel": 0.02 * 0.8796, "embeddings": 0.02 * 0.8796, "bias": 0},
        tolerance=0.05,
    ),
    "bert of transformers": Row(
        model=bert,
        recipe=lambda model: recipes.bert(model, source="transformers"),
        stddevs={"kernel": 0.02, "embeddings": 0.02, "bias": 0},
        tolerance=0.05,
    ),
    "whisper": Row(
        model=whisper,
        recipe=recipes.whisper,
        stddevs={
            "conv_layer_1/kernel": 30**-0.5,
            "/query/kernel": TEXT**-0.5,
            "feedforward_output_dense/kernel": HIDDEN**-0.5,
            "token_embedding/embeddings": 0.02,
            "bias": 0,
        },
        tolerance=0.06,
    ),
    "whisper of transformers": Row(
        model=whisper,
        recipe=lambda model: recipes.whisper(model, source="transformers"),
        stddevs={"kernel": 0.02, "token_embedding/embeddings": 0.02, "bias": 0},
        tolerance=0.06,
    ),
    "gpt2 positions": Row(
        model=with_positions, recipe=recipes.gpt2, stddevs={"position_embedding/embeddings": 0.01}, tolerance=0.05
    ),
    "gpt2 positions of transformers": Row(
        model=with_positions,
        recipe=lambda model: recipes.gpt2(model, source="transformers"),
        stddevs={"position_embedding/embeddings": 0.02},
        tolerance=0.05,
    ),
    "fixup": Row(
        model=lambda: residual(normalized=False),
        recipe=recipes.fixup,
        stddevs={
            **dict.fromkeys(("_1_conv/kernel", "_2_conv/kernel"), math.sqrt(2 / 72) * 4 ** (-1 / 4)),
            **dict.fromkeys(("_3_conv/kernel", "predictions/kernel"), 0),
        },
        tolerance=0.05,
    ),
    "zero_residual": Row(
        model=lambda: residual(normalized=True), recipe=recipes.zero_residual, stddevs={"_3_bn/gamma": 0}, tolerance=0
    ),
    "vit_timm": Row(
        model=vision,
        recipe=recipes.vit_timm,
        stddevs={
            "mlp/dense/kernel": 0.02,
            **dict.fromkeys(("mlp/dense/bias", "mha/query/bias", "predictions/bias"), 0),
        },
        tolerance=0.06,
    ),
    "vit_timm patches": Row(
        model=vision, recipe=recipes.vit_timm, stddevs={"patch_embedding/kernel": math.sqrt(1 / 3 / 12)}, tolerance=0.1
    ),
    "vit_timm patch biases": Row(
        model=vision, recipe=recipes.vit_timm, stddevs={"patch_embedding/bias": math.sqrt(1 / 3 / 12)}, tolerance=0.25
    ),
    "vit_jax": Row(
        model=vision,
        recipe=recipes.vit_jax,
        stddevs={"mlp/dense/kernel": math.sqrt(2 / 96), "predictions/kernel": 0, "mha/query/bias": 0},
        tolerance=0.06,
    ),
    "vit_jax patches": Row(
        model=vision, recipe=recipes.vit_jax, stddevs={"patch_embedding/kernel": math.sqrt(1 / 12)}, tolerance=0.1
    ),
    "vit_jax biases": Row(model=vision, recipe=recipes.vit_jax, stddevs={"mlp/dense/bias": 1e-6}, tolerance=0.35),
    "gemma": Row(
        model=gemma,
        recipe=recipes.gemma,
        stddevs={**dict.fromkeys(("ffw_gating/kernel", "embeddings"), 0.01), "other/kernel": math.sqrt(2 / 114)},
        tolerance=0.05,
    ),
    "gemma of transformers": Row(
        model=gemma,
        recipe=lambda model: recipes.gemma(model, source="transformers"),
        stddevs=dict.fromkeys(("ffw_gating/kernel", "embeddings"), 0.02),
        tolerance=0.05,
    ),
    "t5": Row(
        model=t5,
        recipe=recipes.t5,
        stddevs={
            "query_projector/kernel": (WIDTH * 12) ** -0.5,
            "value_projector/kernel": WIDTH**-0.5,
            "output_projector/kernel": 48**-0.5,
            "token_embedding/embeddings": 1,
            "token_embedding/reverse_embeddings": WIDTH**-0.5,
        },
        tolerance=0.05,
    ),
    "t5 position biases": Row(
        model=t5, recipe=recipes.t5, stddevs={"self_attention/embeddings": WIDTH**-0.5}, tolerance=0.15
    ),
    "convnext": Row(
        model=convnext,
        recipe=recipes.convnext,
        stddevs={**dict.fromkeys(("depthwise/kernel", "conv/kernel", "head/kernel"), 0.02), "bias": 0},
        tolerance=0.05,
    ),
    "efficientnet": Row(
        model=mobilenet,
        recipe=recipes.efficientnet,
        stddevs={
            "depthwise/kernel": math.sqrt(2 / 25),
            "conv/kernel": math.sqrt(2 / (9 * 96)),
            "head/kernel": math.sqrt(1 / 3 / 40),
            "bias": 0,
        },
        tolerance=0.05,
    ),
    "mobilenet": Row(
        model=mobilenet,
        recipe=recipes.mobilenet,
        stddevs={**dict.fromkeys(("depthwise/kernel", "conv/kernel", "head/kernel"), 0.09 * 0.8796), "bias": 0},
        tolerance=0.05,
    ),
    "resnet": Row(
        model=convolutions,
        recipe=recipes.resnet,
        stddevs={"conv/kernel": math.sqrt(2 / (9 * 64)), "head/kernel": math.sqrt(1 / 3 / 64), "conv/bias": 0},
        tolerance=0.05,
    ),
    "resnet groups": Row(
        model=lambda: convolutions(4),
        recipe=recipes.resnet,
        stddevs={"conv/kernel": math.sqrt(2 / (9 * 64))},
        tolerance=0.05,
    ),
    "resnet biases": Row(
        model=convolutions, recipe=recipes.resnet, stddevs={"head/bias": math.sqrt(1 / 3 / 64)}, tolerance=0.3
    ),
    "selu": Row(model=wide, recipe=recipes.selu, stddevs={"second/kernel": 1 / 8, "bias": 0}, tolerance=0.05),
    "orthogonal_rnn": Row(
        model=lambda: recurrent(layers.LSTM),
        recipe=recipes.orthogonal_rnn,
        stddevs={"recurrent_kernel": 8**-0.5},
        tolerance=0.05,
    ),
    "spectral": Row(model=wide, recipe=recipes.spectral, stddevs={"second/kernel": 1 / 8, "bias": 0}, tolerance=0.05),
}


def stds(model, recipe):
    """Return the standard deviation of each weight after `initialize`, those of one kind together."""
    initialize(model, recipe, seed=0)
    return {weight.path: float(to_numpy(weight.variable.value).std()) for weight in Inventory(model).weights}


def mean(found, end):
    values = [value for path, value in found.items() if path.endswith(end)]
    assert values
    return sum(values) / len(values)
