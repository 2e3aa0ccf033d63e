"""Each recipe takes the block of its authors, under names of one's own, and an audit finds what is planted there."""

import keras
import numpy as np
import pytest
from gated import PlusOneNorm, decoder, gated
from keras import layers, ops
from modes import often, to_numpy

from keras_initx import audit, initialize

WIDTH, LENGTH = 32, 4


def norm(x):
    return layers.LayerNormalization()(x)


def tokens():
    ids = keras.Input((LENGTH,), dtype="int32")
    return ids, layers.Embedding(50, WIDTH, name="words")(ids)


def attend(x, name):
    return layers.MultiHeadAttention(2, WIDTH // 2, name=f"{name}_mha")(x, x)


def feed(x, name, activation="gelu"):
    return layers.Dense(WIDTH, name=f"{name}_out")(layers.Dense(4 * WIDTH, activation, name=f"{name}_in")(x))


def model(inputs, x):
    return keras.Model(inputs, layers.Dense(10, name="head")(x))


def gpt2():
    ids, x = tokens()
    for name in ("a", "b"):
        x = x + attend(norm(x), name)
        x = x + feed(norm(x), name)
    return model(ids, norm(x))


def post():
    ids, x = tokens()
    for name in ("a", "b"):
        x = norm(x + attend(x, name))
        x = norm(x + feed(x, name))
    return model(ids, x)


def vit():
    image = keras.Input((4, 4, 3))
    x = layers.Reshape((4, WIDTH))(layers.Conv2D(WIDTH, 2, 2, name="cut")(image))
    for name in ("a", "b"):
        y = norm(x)
        q, k, v = (
            ops.transpose(ops.reshape(part, (-1, 4, 2, WIDTH // 2)), (0, 2, 1, 3))
            for part in ops.split(layers.Dense(3 * WIDTH, name=f"{name}_qkv")(y), 3, -1)
        )
        weights = ops.softmax(ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / 4)
        y = ops.reshape(ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3)), (-1, 4, WIDTH))
        x = x + layers.Dense(WIDTH, name=f"{name}_proj")(y)
        x = x + feed(norm(x), name)
    return model(image, ops.mean(norm(x), 1))


def dit():
    image, time = keras.Input((4, WIDTH)), keras.Input((WIDTH,))
    plain = {"center": False, "scale": False}
    x = image
    for name in ("a", "b"):
        both = layers.Dense(6 * WIDTH, name=f"{name}_ada")(ops.silu(time))
        parts = [ops.expand_dims(part, 1) for part in ops.split(both, 6, -1)]
        y = layers.LayerNormalization(**plain)(x) * (1 + parts[1]) + parts[0]
        x = x + parts[2] * attend(y, name)
        y = layers.LayerNormalization(**plain)(x) * (1 + parts[4]) + parts[3]
        x = x + parts[5] * feed(y, name)
    return model([image, time], x)


def convolution(x, units, window, name, activation="relu", strides=1):
    x = layers.Conv2D(units, window, strides, "same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(name=f"{name}_n")(x)
    return layers.Activation(activation)(x) if activation else x


def depthwise(x, name, activation):
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name=name)(x)
    return layers.Activation(activation)(layers.BatchNormalization()(x))


def resnet():
    image = keras.Input((8, 8, 3))
    x = convolution(image, 16, 3, "stem")
    for number, (units, strides) in enumerate([(16, 1), (32, 2)]):
        y = convolution(
            convolution(x, units, 3, f"b{number}_first", "relu", strides), units, 3, f"b{number}_last", None
        )
        if strides > 1:
            x = convolution(x, units, 1, f"b{number}_beside", None, strides)
        x = ops.relu(x + y)
    return model(image, layers.GlobalAveragePooling2D()(x))


def inverted(activation, squeezes=False):
    image = keras.Input((8, 8, 3))
    x = convolution(image, 16, 3, "stem", activation)
    for number in range(2):
        y = depthwise(convolution(x, 64, 1, f"b{number}_wide", activation), f"b{number}_deep", activation)
        if squeezes:
            z = layers.GlobalAveragePooling2D(keepdims=True)(y)
            z = layers.Conv2D(4, 1, activation="silu", name=f"b{number}_reduce")(z)
            y = y * layers.Conv2D(64, 1, activation="sigmoid", name=f"b{number}_expand")(z)
        x = x + convolution(y, 16, 1, f"b{number}_narrow", None)
    return model(image, layers.GlobalAveragePooling2D()(x))


def mobilenet():
    return inverted("relu6")


def efficientnet():
    return inverted("silu", True)


class LayerScale(layers.Layer):
    def build(self, shape):
        self.gamma = self.add_weight((shape[-1],), keras.initializers.Constant(1e-6), name="gamma")

    def call(self, x):
        return x * self.gamma


def convnext():
    image = keras.Input((8, 8, 3))
    x = norm(layers.Conv2D(WIDTH, 2, 2, name="stem")(image))
    for name in ("a", "b"):
        y = layers.Conv2D(WIDTH, 3, padding="same", groups=WIDTH, name=f"{name}_deep")(x)
        x = x + LayerScale()(feed(norm(y), name))
    return model(image, layers.GlobalAveragePooling2D()(x))


def llama():
    return decoder(gated)


def gemma():
    return decoder(gated, norm=PlusOneNorm)


def selu():
    parts = [layers.Dense(WIDTH, "selu", name=name) for name in "abc"]
    return keras.Sequential([keras.Input((WIDTH,)), *parts, layers.Dense(10, name="head")])


def recurrent():
    return keras.Sequential([keras.Input((4, 8)), layers.LSTM(16), layers.Dense(4)])


BLOCKS = {
    "gpt2": (gpt2, ("gpt2", "gpt2:transformers")),
    "bert": (post, ("bert", "bert:transformers")),
    "vit": (vit, ("vit_jax", "vit_timm", "zero_residual")),
    "dit": (dit, ("zero_residual",)),
    "resnet": (resnet, ("resnet", "resnet:keras", "zero_residual")),
    "mobilenet": (mobilenet, ("mobilenet", "zero_residual")),
    "efficientnet": (efficientnet, ("efficientnet", "zero_residual")),
    "convnext": (convnext, ("convnext",)),
    "llama": (llama, ("llama", "llama:megatron", "llama:torchtitan")),
    "gemma": (gemma, ("gemma", "gemma:transformers")),
    "selu": (selu, ("selu",)),
    "recurrent": (recurrent, ("orthogonal_rnn",)),
    "any": (gpt2, ("spectral", "torch", "flax", "keras")),
}


@pytest.mark.release_backends
@pytest.mark.parametrize("name", often(BLOCKS, ["gpt2", "dit", "efficientnet"]))
def test_a_recipe_takes_the_block_of_its_authors_and_an_audit_is_silent_then(name):
    build, named = BLOCKS[name]
    for recipe in named:
        made = build()
        initialize(made, recipe, seed=0)
        report = audit(made, recipe)
        assert report.ok, (recipe, report.problems)


def swap(made, one, other):
    one, other = made.get_layer(one).kernel, made.get_layer(other).kernel
    mine, theirs = to_numpy(one), to_numpy(other)
    one.assign(theirs.T)
    other.assign(mine.T)


def times(factor):
    return lambda made, name: made.get_layer(name).kernel.assign(made.get_layer(name).kernel * factor)


def of_law(made, name):
    kernel = made.get_layer(name).kernel
    limit = 3**0.5 * 0.02
    kernel.assign(np.random.default_rng(0).uniform(-limit, limit, kernel.shape))


def not_zero(made, name):
    kernel = made.get_layer(name).kernel
    kernel.assign(np.random.default_rng(0).normal(size=kernel.shape) * 0.02)


# What is planted after `initialize`: a function, and the layers, the model and the recipe, several times.
FAULTS = {
    "a wrong fan": (
        times((128 / 64) ** -0.5),
        [(("a_qkv",), vit, "vit_jax"), (("b1_wide",), efficientnet, "flax"), (("b1_first",), resnet, "resnet:keras")],
    ),
    "an unscaled projection": (
        times(2.0),
        [(("a_out",), gpt2, "gpt2"), (("w2",), llama, "llama:megatron"), (("a_proj",), vit, "vit_timm")],
    ),
    "a swapped pair": (
        swap,
        [(("a_in", "a_out"), gpt2, "gpt2"), (("a_in", "a_out"), post, "flax"), (("a_in", "a_out"), vit, "torch")],
    ),
    "zeros lost": (
        not_zero,
        [(("a_ada",), dit, "zero_residual"), (("b_proj",), vit, "zero_residual"), (("a_out",), gpt2, "zero_residual")],
    ),
    "a wrong law": (of_law, [(("a_in",), gpt2, "gpt2"), (("b_in",), post, "bert"), (("b_out",), convnext, "convnext")]),
}


@pytest.mark.parametrize(
    "planted", often([(fault, number) for fault in FAULTS for number in range(3)], [(fault, 0) for fault in FAULTS])
)
def test_an_audit_finds_what_is_planted_and_nothing_else(planted):
    fault, number = planted
    plant, cases = FAULTS[fault]
    names, build, recipe = cases[number]
    made = build()
    initialize(made, recipe, seed=0)
    assert audit(made, recipe).ok
    plant(made, *names)
    assert {problem.path for problem in audit(made, recipe).problems} == {f"{name}/kernel" for name in names}
