"""Six architectures in torch and in Keras, small: what a port of a real model looks like, and what it may get wrong.

    MobileNetV3    depthwise convolutions, batch normalization, squeeze and excite
    ModernBERT     rotary positions, local attention, GeGLU, tied words
    Wav2Vec2       convolutions of a wave, a convolution for positions, `nn.MultiheadAttention`
    U-Net          reflected edges, transposed convolution, upsampling, skips
    LSTM tagger    two layers in both directions, a GRU, padded words
    Swin           shifted windows, relative positions, merged patches

The functions that build models of Keras take the settings that a port may get wrong. Their defaults are right.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import keras
import numpy as np
import torch
from keras import layers, ops
from torch import nn

import keras_initx


def draw_weights(module, seed=0):
    """Draw all weights and statistics, so that no layer does nothing, and return the module."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if not value.is_floating_point():
                continue
            is_scale = "norm" in name and name.endswith(("weight", "running_var"))
            if is_scale and value.ndim == 1:
                value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
            else:
                size = value[0].numel() if value.ndim > 1 else 25
                value.copy_(torch.randn(value.shape, generator=generator) * (1.5 / size**0.5))
    return module


# MobileNetV3 -----------------------------------------------------------------------------------


class SqueezeExcite(nn.Module):
    def __init__(self, width, inner):
        super().__init__()
        self.pool, self.fc1, self.fc2 = nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, inner, 1), nn.Conv2d(inner, width, 1)
        self.relu, self.gate = nn.ReLU(), nn.Hardsigmoid()

    def forward(self, x):
        return x * self.gate(self.fc2(self.relu(self.fc1(self.pool(x)))))


class InvertedResidual(nn.Module):
    def __init__(self, width, expanded, out, kernel, stride, activation, has_excite):
        super().__init__()
        self.expand = nn.Conv2d(width, expanded, 1, bias=False)
        self.expand_norm = _batch_norm(expanded)
        self.depthwise = nn.Conv2d(expanded, expanded, kernel, stride, kernel // 2, groups=expanded, bias=False)
        self.depthwise_norm = _batch_norm(expanded)
        self.excite = SqueezeExcite(expanded, 8) if has_excite else nn.Identity()
        self.project = nn.Conv2d(expanded, out, 1, bias=False)
        self.project_norm = _batch_norm(out)
        self.activation = activation()
        self.has_shortcut = stride == 1 and width == out

    def forward(self, x):
        y = self.activation(self.expand_norm(self.expand(x)))
        y = self.excite(self.activation(self.depthwise_norm(self.depthwise(y))))
        y = self.project_norm(self.project(y))
        return x + y if self.has_shortcut else y


def _batch_norm(width):
    return nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)


class MobileNetV3(nn.Module):
    def __init__(self, width=8, rate=0.2):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, width, 3, 2, 1, bias=False), _batch_norm(width)
        self.blocks = nn.Sequential(
            InvertedResidual(width, 2 * width, width, 3, 1, nn.ReLU, True),
            InvertedResidual(width, 3 * width, 12, 5, 2, nn.Hardswish, False),
        )
        self.hardswish, self.pool = nn.Hardswish(), nn.AdaptiveAvgPool2d(1)
        self.fc1, self.drop, self.fc2 = nn.Linear(12, 16), nn.Dropout(rate), nn.Linear(16, 5)

    def forward(self, x):
        x = self.blocks(self.hardswish(self.stem_norm(self.stem(x))))
        return self.fc2(self.drop(self.hardswish(self.fc1(self.pool(x).flatten(1)))))


def mobilenet(
    width=8,
    epsilon=1e-3,
    momentum=0.99,
    stem="pads",
    activation="hard_silu",
    inner_activation="relu",
    squeeze="relu",
    gate="hard_sigmoid",
    pooled="mean",
    shortcut=True,
    excited="after",
    rate=0.2,
    head_activation="hard_silu",
    swaps_kernel=False,
    rescale=None,
):
    def norm(name, **options):
        return layers.BatchNormalization(epsilon=options.get("epsilon", 1e-3), momentum=momentum, name=name)

    def excite(x, name):
        y = (ops.mean if pooled == "mean" else ops.max)(x, axis=(1, 2), keepdims=True)
        y = layers.Conv2D(8, 1, activation=squeeze, name=f"{name}_excite_fc1")(y)
        y = layers.Conv2D(x.shape[-1], 1, activation=gate, name=f"{name}_excite_fc2")(y)
        return x * y

    def block(x, name, expanded, out, kernel, stride, function):
        y = layers.Conv2D(expanded, 1, use_bias=False, name=f"{name}_expand")(x)
        y = layers.Activation(function)(norm(f"{name}_expand_norm", epsilon=epsilon)(y))
        y = layers.ZeroPadding2D(kernel // 2)(y)
        y = layers.DepthwiseConv2D(kernel, stride, use_bias=False, name=f"{name}_depthwise")(y)
        y = norm(f"{name}_depthwise_norm")(y)
        if name == "blocks_0" and excited == "before":
            y = layers.Activation(function)(excite(y, name))
        else:
            y = layers.Activation(function)(y)
            y = excite(y, name) if name == "blocks_0" else y
        y = norm(f"{name}_project_norm")(layers.Conv2D(out, 1, use_bias=False, name=f"{name}_project")(y))
        return x + y if stride == 1 and shortcut else y

    inputs = keras.Input((16, 16, 3))
    x = inputs if rescale is None else layers.Rescaling(rescale)(inputs)
    if stem == "pads":
        x = layers.Conv2D(width, 3, 2, use_bias=False, name="stem")(layers.ZeroPadding2D(1)(x))
    else:
        x = layers.Conv2D(width, 3, 2, padding=stem, use_bias=False, name="stem")(x)
    x = layers.Activation(activation)(norm("stem_norm")(x))
    x = block(x, "blocks_0", 2 * width, width, 3, 1, inner_activation)
    x = block(x, "blocks_1", 3 * width, 12, 5, 2, "hard_silu")
    x = layers.Dense(16, activation=head_activation, name="fc1")(layers.GlobalAveragePooling2D()(x))
    x = layers.Dropout(rate)(x) if rate else x
    return keras.Model(inputs, layers.Dense(5, name="fc2")(x), name="mobilenet")


# ModernBERT ------------------------------------------------------------------------------------

WORDS, LENGTH, WIDTH, HEADS = 30, 10, 16, 2


def _angles(theta, length, size, shift=0):
    frequencies = theta ** (-np.arange(0, size, 2) / size)
    angles = np.outer(np.arange(length) + shift, frequencies).astype("float32")
    return np.concatenate([angles, angles], axis=-1)


class RotaryAttention(nn.Module):
    def __init__(self, theta, window, rate):
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.drop, self.theta, self.window = nn.Dropout(rate), theta, window

    def forward(self, x, mask):
        count, length, _ = x.shape
        q, k, v = self.qkv(x).view(count, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        angles = torch.as_tensor(_angles(self.theta, length, WIDTH // HEADS))
        q, k = self.rotate(q, angles), self.rotate(k, angles)
        scores = q @ k.transpose(-2, -1) / (WIDTH // HEADS) ** 0.5
        places = torch.arange(length)
        is_near = (places[:, None] - places[None]).abs() <= self.window
        scores = scores.masked_fill(~(mask[:, None, None].bool() & is_near), -1e9)
        return self.out((self.drop(scores.softmax(-1)) @ v).transpose(1, 2).flatten(2))

    @staticmethod
    def rotate(x, angles):
        first, second = x.chunk(2, -1)
        return x * angles.cos() + torch.cat([-second, first], -1) * angles.sin()


class GatedFeedForward(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.wi, self.wo = nn.Linear(WIDTH, 48, bias=False), nn.Linear(24, WIDTH, bias=False)
        self.act, self.drop = nn.GELU(), nn.Dropout(rate)

    def forward(self, x):
        inner, gate = self.wi(x).chunk(2, -1)
        return self.wo(self.drop(self.act(inner) * gate))


class EncoderLayer(nn.Module):
    def __init__(self, index, rate):
        super().__init__()
        # Every third layer sees all words, and the first has no norm before its attention.
        is_global = index % 3 == 0
        self.attn_norm = nn.LayerNorm(WIDTH, bias=False) if index else nn.Identity()
        self.attn = RotaryAttention(160000.0 if is_global else 10000.0, 100 if is_global else 2, rate)
        self.mlp_norm, self.mlp = nn.LayerNorm(WIDTH, bias=False), GatedFeedForward(rate)

    def forward(self, x, mask):
        x = x + self.attn(self.attn_norm(x), mask)
        return x + self.mlp(self.mlp_norm(x))


class ModernBert(nn.Module):
    def __init__(self, rate=0.1, tied=True):
        super().__init__()
        self.words, self.norm = nn.Embedding(WORDS, WIDTH), nn.LayerNorm(WIDTH, bias=False)
        self.drop = nn.Dropout(rate)
        self.layers = nn.ModuleList(EncoderLayer(index, rate) for index in range(2))
        self.final_norm, self.head = nn.LayerNorm(WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.act, self.head_norm = nn.GELU(), nn.LayerNorm(WIDTH, bias=False)
        self.decoder = nn.Linear(WIDTH, WORDS)
        if tied:
            self.decoder.weight = self.words.weight

    def forward(self, tokens, mask):
        x = self.drop(self.norm(self.words(tokens)))
        for layer in self.layers:
            x = layer(x, mask)
        return self.decoder(self.head_norm(self.act(self.head(self.final_norm(x)))))


class KerasRotaryAttention(layers.Layer):
    """Attention with rotary positions. All options are what a port may get wrong, but theta and window."""

    def __init__(
        self,
        theta,
        window,
        rate=0.1,
        scale=None,
        order=(0, 1, 2),
        pairs="halves",
        sign=-1,
        shift=0,
        key_shift=0,
        softmax_axis=-1,
        uses_mask=True,
        rotates_key=True,
        by_heads=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.qkv = layers.Dense(3 * WIDTH, use_bias=False, name="qkv")
        self.out = layers.Dense(WIDTH, use_bias=False, name="out")
        self.drop = layers.Dropout(rate, name="drop")
        self.theta, self.window, self.order, self.pairs, self.sign = theta, window, order, pairs, sign
        self.shift, self.key_shift, self.softmax_axis = shift, key_shift, softmax_axis
        self.uses_mask, self.rotates_key, self.by_heads = uses_mask, rotates_key, by_heads
        self.scale = (WIDTH // HEADS) ** -0.5 if scale is None else scale

    def build(self, x_shape, mask_shape=None):
        self.qkv.build(x_shape)
        self.out.build(x_shape)

    def rotate(self, x, shift):
        angles = _angles(self.theta, LENGTH, WIDTH // HEADS, shift)
        if self.pairs == "halves":
            first, second = ops.split(x, 2, axis=-1)
            turned = ops.concatenate([self.sign * second, -self.sign * first], axis=-1)
        else:
            angles = np.repeat(angles[:, : WIDTH // HEADS // 2], 2, axis=-1)
            turned = ops.reshape(ops.stack([-x[..., 1::2], x[..., ::2]], axis=-1), ops.shape(x))
        return x * ops.convert_to_tensor(np.cos(angles)) + turned * ops.convert_to_tensor(np.sin(angles))

    def call(self, x, mask):
        if self.by_heads:
            parts = ops.reshape(self.qkv(x), (-1, LENGTH, 3, HEADS, WIDTH // HEADS))
            parts = ops.transpose(parts, (2, 0, 3, 1, 4))
        else:
            parts = ops.reshape(self.qkv(x), (-1, LENGTH, HEADS, 3, WIDTH // HEADS))
            parts = ops.transpose(parts, (3, 0, 2, 1, 4))
        q, k, v = (parts[place] for place in self.order)
        q = self.rotate(q, self.shift)
        k = self.rotate(k, self.shift + self.key_shift) if self.rotates_key else k
        scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) * self.scale
        places = np.arange(LENGTH)
        seen = ops.convert_to_tensor(abs(places[:, None] - places) <= self.window)
        if self.uses_mask:
            seen = ops.logical_and(ops.cast(mask[:, None, None], "bool"), seen)
        weights = ops.softmax(ops.where(seen, scores, -1e9), axis=self.softmax_axis)
        mixed = ops.transpose(ops.matmul(self.drop(weights), v), (0, 2, 1, 3))
        return self.out(ops.reshape(mixed, (-1, LENGTH, WIDTH)))


class Bias(layers.Layer):
    def build(self, shape):
        self.bias = self.add_weight((shape[-1],), name="bias")

    def call(self, x):
        return x + self.bias


def modernbert(
    epsilon=1e-5,
    rate=0.1,
    attention_rate=0.1,
    mlp_rate=0.1,
    gelu_by_tanh=False,
    head_gelu_by_tanh=False,
    gate="second",
    norm_first=True,
    normalizes_first=False,
    final_norm=True,
    shortcut=True,
    tied=True,
    windows=(100, 2),
    thetas=(160000.0, 10000.0),
    attention=None,
):
    def norm(name):
        return layers.LayerNormalization(epsilon=epsilon, center=False, name=name)

    def feed_forward(x, name):
        inner, other = ops.split(layers.Dense(48, use_bias=False, name=f"{name}_mlp_wi")(x), 2, axis=-1)
        if gate == "first":
            inner, other = other, inner
        y = layers.Dropout(mlp_rate)(ops.gelu(inner, approximate=gelu_by_tanh) * other)
        return layers.Dense(WIDTH, use_bias=False, name=f"{name}_mlp_wo")(y)

    tokens, mask = keras.Input((LENGTH,), dtype="int32", name="tokens"), keras.Input((LENGTH,), name="mask")
    words = layers.ReversibleEmbedding(WORDS, WIDTH, name="words")
    x = layers.Dropout(rate)(norm("norm")(words(tokens)))
    for index in range(2):
        name = f"layers_{index}"
        attend = KerasRotaryAttention(
            thetas[index], windows[index], attention_rate, **(attention or {}), name=f"{name}_attn"
        )
        if norm_first:
            y = norm(f"{name}_attn_norm")(x) if index or normalizes_first else x
            x = x + attend(y, mask)
        else:
            y = x + attend(x, mask)
            x = norm(f"{name}_attn_norm")(y) if index else y
        y = feed_forward(norm(f"{name}_mlp_norm")(x), name)
        x = x + y if shortcut else y
    x = norm("final_norm")(x) if final_norm else x
    x = layers.Dense(WIDTH, use_bias=False, name="head")(x)
    x = norm("head_norm")(ops.gelu(x, approximate=head_gelu_by_tanh))
    x = Bias(name="decoder")(words(x, reverse=True)) if tied else layers.Dense(WORDS, name="decoder")(x)
    return keras.Model({"tokens": tokens, "mask": mask}, x, name="modernbert")


# Wav2Vec2 --------------------------------------------------------------------------------------

SAMPLES, FRAMES, CHANNELS = 61, 9, 8


class Wav2Vec2Layer(nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, 4, dropout=rate, batch_first=True)
        self.norm, self.final_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.inner, self.output, self.drop = nn.Linear(WIDTH, 24), nn.Linear(24, WIDTH), nn.Dropout(rate)

    def forward(self, x, mask):
        y = self.attention(x, x, x, key_padding_mask=mask == 0, need_weights=False)[0]
        x = self.norm(x + self.drop(y))
        y = self.output(self.drop(nn.functional.gelu(self.inner(x))))
        return self.final_norm(x + self.drop(y))


class Wav2Vec2(nn.Module):
    def __init__(self, rate=0.1, count=2, freezes=False):
        super().__init__()
        self.conv0, self.conv0_norm = nn.Conv1d(1, CHANNELS, 5, 3, bias=False), nn.GroupNorm(CHANNELS, CHANNELS)
        self.conv1 = nn.Conv1d(CHANNELS, CHANNELS, 3, 2, bias=False)
        self.projection_norm, self.projection = nn.LayerNorm(CHANNELS), nn.Linear(CHANNELS, WIDTH)
        self.positions = nn.utils.parametrizations.weight_norm(nn.Conv1d(WIDTH, WIDTH, 4, padding=2, groups=4), dim=2)
        self.norm, self.drop = nn.LayerNorm(WIDTH), nn.Dropout(rate)
        self.layers = nn.ModuleList(Wav2Vec2Layer(rate) for _ in range(count))
        self.head = nn.Linear(WIDTH, 6)
        if freezes:
            self.conv0.requires_grad_(False)
            self.conv1.requires_grad_(False)

    def forward(self, wave, mask):
        x = nn.functional.gelu(self.conv0_norm(self.conv0(wave[:, None])))
        x = nn.functional.gelu(self.conv1(x)).transpose(1, 2)
        x = self.drop(self.projection(self.projection_norm(x)))
        # The window is even, so there is one frame too many.
        places = nn.functional.gelu(self.positions(x.transpose(1, 2))[:, :, :-1]).transpose(1, 2)
        x = self.drop(self.norm(x + places))
        for layer in self.layers:
            x = layer(x, mask)
        return self.head(x)


def wav2vec2(
    groups=CHANNELS,
    epsilon=1e-5,
    rate=0.1,
    attention_rate=0.1,
    num_heads=4,
    gelu_by_tanh=False,
    layer_gelu="gelu",
    norm_first=False,
    uses_mask=True,
    pads=(2, 1),
    positions="added",
    freezes=False,
    projection_rate=0.1,
    normalized="after",
    constraint=None,
    count=2,
    uses_first_twice=False,
):
    def norm(name):
        return layers.LayerNormalization(epsilon=epsilon, name=name)

    def gelu(x):
        return ops.gelu(x, approximate=gelu_by_tanh)

    wave, mask = keras.Input((SAMPLES,), name="wave"), keras.Input((FRAMES,), name="mask")
    x = ops.expand_dims(wave, -1)
    x = layers.Conv1D(CHANNELS, 5, 3, use_bias=False, trainable=not freezes, name="conv0")(x)
    x = gelu(layers.GroupNormalization(groups, epsilon=1e-5, name="conv0_norm")(x))
    x = gelu(layers.Conv1D(CHANNELS, 3, 2, use_bias=False, trainable=not freezes, name="conv1")(x))
    x = layers.Dense(WIDTH, kernel_constraint=constraint, name="projection")(norm("projection_norm")(x))
    x = layers.Dropout(projection_rate)(x)
    y = layers.ZeroPadding1D(pads)(x)
    y = gelu(layers.Conv1D(WIDTH, 4, groups=4, name="positions")(y))
    y = x + y if positions == "added" else x
    x = norm("norm")(y) if normalized == "after" else norm("norm")(x) + y - x
    x = layers.Dropout(rate)(x)
    seen = mask[:, None] if uses_mask else None
    for index in range(count):
        if index == 0 or not uses_first_twice:
            name = f"layers_{index}"
            attend = layers.MultiHeadAttention(
                num_heads, WIDTH // num_heads, dropout=attention_rate, name=f"{name}_attention"
            )
            first, last = norm(f"{name}_norm"), norm(f"{name}_final_norm")
            inner = layers.Dense(24, layer_gelu, name=f"{name}_inner")
            output = layers.Dense(WIDTH, name=f"{name}_output")
        if norm_first:
            y = first(x)
            x = x + layers.Dropout(rate)(attend(y, y, attention_mask=seen))
            x = x + layers.Dropout(rate)(output(layers.Dropout(rate)(inner(last(x)))))
        else:
            x = first(x + layers.Dropout(rate)(attend(x, x, attention_mask=seen)))
            x = last(x + layers.Dropout(rate)(output(layers.Dropout(rate)(inner(x)))))
    return keras.Model({"wave": wave, "mask": mask}, layers.Dense(6, name="head")(x), name="wav2vec2")


# U-Net -----------------------------------------------------------------------------------------


class DoubleConv(nn.Module):
    def __init__(self, width, out, rate):
        super().__init__()
        self.conv1 = nn.Conv2d(width, out, 3, padding=1, padding_mode="reflect", bias=False)
        self.norm1, self.act1 = nn.BatchNorm2d(out), nn.LeakyReLU(0.1)
        self.drop = nn.Dropout2d(rate)
        self.conv2 = nn.Conv2d(out, out, 3, padding=2, dilation=2)
        self.norm2, self.act2 = nn.GroupNorm(2, out), nn.LeakyReLU(0.1)

    def forward(self, x):
        x = self.drop(self.act1(self.norm1(self.conv1(x))))
        return self.act2(self.norm2(self.conv2(x)))


class UNet(nn.Module):
    def __init__(self, rate=0.1, up="nearest", align_corners=None, ceil_mode=False, count_include_pad=False):
        super().__init__()
        self.down1, self.down2, self.bottom = DoubleConv(3, 4, rate), DoubleConv(4, 8, rate), DoubleConv(8, 8, rate)
        self.pool = nn.MaxPool2d(2, ceil_mode=ceil_mode)
        self.mean = nn.AvgPool2d(3, 2, 1, count_include_pad=count_include_pad)
        self.up1 = nn.ConvTranspose2d(8, 8, 2, 2)
        self.up2 = nn.Upsample(scale_factor=2, mode=up, align_corners=align_corners)
        self.merge1, self.merge2 = DoubleConv(16, 4, rate), DoubleConv(8, 4, rate)
        self.out = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        first = self.down1(x)
        second = self.down2(self.pool(first))
        x = self.up1(self.bottom(self.mean(second)))
        x = self.merge1(torch.cat([second, x], 1))
        return self.out(self.merge2(torch.cat([first, self.up2(x)], 1)))


def unet(
    edges="reflect",
    epsilon=1e-5,
    momentum=0.9,
    slope=0.1,
    dropped="channels",
    rate=0.1,
    dilation=2,
    groups=2,
    pooling="max",
    pool_padding="valid",
    mean_pooling="without pads",
    interpolation="nearest",
    order="skip first",
    skip="whole",
    out_activation=None,
    group_epsilon=1e-5,
    size=None,
):
    def double(x, name, out):
        y = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=edges)
        y = layers.Conv2D(out, 3, use_bias=False, name=f"{name}_conv1")(y)
        y = layers.BatchNormalization(momentum=momentum, epsilon=epsilon, name=f"{name}_norm1")(y)
        y = layers.LeakyReLU(slope)(y)
        y = (layers.SpatialDropout2D if dropped == "channels" else layers.Dropout)(rate)(y)
        y = layers.Conv2D(out, 3, padding="same", dilation_rate=dilation, name=f"{name}_conv2")(y)
        y = layers.GroupNormalization(groups, epsilon=group_epsilon, name=f"{name}_norm2")(y)
        return layers.LeakyReLU(slope)(y)

    inputs = keras.Input((size, size, 3))
    first = double(inputs, "down1", 4)
    pool = layers.MaxPooling2D if pooling == "max" else layers.AveragePooling2D
    second = double(pool(2, padding=pool_padding)(first), "down2", 8)
    if mean_pooling == "without pads":
        # Of both the sum and the count of values, so that pads do not count.
        padded = layers.ZeroPadding2D(1)(second)
        ones = layers.ZeroPadding2D(1)(ops.ones_like(second))
        x = layers.AveragePooling2D(3, 2)(padded) / layers.AveragePooling2D(3, 2)(ones)
    elif mean_pooling == "with pads":
        x = layers.AveragePooling2D(3, 2)(layers.ZeroPadding2D(1)(second))
    else:
        x = layers.AveragePooling2D(3, 2, padding="same")(second)
    x = double(x, "bottom", 8)
    x = layers.Conv2DTranspose(8, 2, 2, name="up1")(x)
    x = ops.concatenate([second, x] if order == "skip first" else [x, second], axis=-1)
    x = layers.UpSampling2D(2, interpolation=interpolation)(double(x, "merge1", 4))
    first = ops.zeros_like(first) if skip == "forgotten" else first
    x = double(ops.concatenate([first, x], axis=-1), "merge2", 4)
    return keras.Model(inputs, layers.Conv2D(3, 1, activation=out_activation, name="out")(x), name="unet")


# LSTM tagger -----------------------------------------------------------------------------------

TAGS = 5


class Tagger(nn.Module):
    def __init__(self, rate=0.3, padding_idx=None, max_norm=None, freezes=False):
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH, padding_idx=padding_idx, max_norm=max_norm)
        self.drop = nn.Dropout(rate)
        self.lstm = nn.LSTM(WIDTH, 6, 2, dropout=rate, bidirectional=True, batch_first=True)
        self.norm, self.gru = nn.LayerNorm(12), nn.GRU(12, 7, batch_first=True)
        self.head = nn.Linear(7, TAGS)
        self.words.requires_grad_(not freezes)

    def forward(self, tokens):
        x = self.lstm(self.drop(self.words(tokens)))[0]
        return self.head(torch.tanh(self.gru(self.norm(x))[0]))


def tagger(
    rate=0.3,
    between=0.3,
    recurrent_dropout=0.0,
    mask_zero=False,
    backward="second",
    activation="tanh",
    recurrent_activation="sigmoid",
    reset_after=True,
    gru_activation="tanh",
    epsilon=1e-5,
    head_activation="tanh",
    go_backwards=False,
    freezes=False,
    constraint=None,
    normalized="before",
    regularizer=None,
    reverses_back=True,
):
    def lstm(name):
        options = {"activation": activation, "recurrent_activation": recurrent_activation}
        return layers.LSTM(6, return_sequences=True, recurrent_dropout=recurrent_dropout, **options, name=name)

    def both_ways(x, name):
        if backward == "second" and reverses_back:
            return layers.Bidirectional(lstm("cell"), name=name)(x)
        forward, back = layers.Bidirectional(lstm("cell"), merge_mode=None, name=name)(x)
        back = back if reverses_back else ops.flip(back, axis=1)
        return ops.concatenate([back, forward] if backward == "first" else [forward, back], axis=-1)

    tokens = keras.Input((LENGTH,), dtype="int32")
    words = layers.Embedding(
        WORDS, WIDTH, mask_zero=mask_zero, trainable=not freezes, embeddings_constraint=constraint, name="words"
    )
    x = words(tokens)
    x = layers.Dropout(rate)(x) if rate else x
    x = both_ways(x, "lstm_0")
    x = layers.Dropout(between)(x) if between else x
    x = both_ways(x, "lstm_1")
    norm = layers.LayerNormalization(epsilon=epsilon, name="norm")
    gru = layers.GRU(
        7,
        activation=gru_activation,
        return_sequences=True,
        reset_after=reset_after,
        go_backwards=go_backwards,
        kernel_regularizer=regularizer,
        name="gru",
    )
    x = gru(norm(x) if normalized == "before" else x)
    x = keras.activations.get(head_activation)(x)
    return keras.Model(tokens, layers.Dense(TAGS, name="head")(x), name="tagger")


# Swin ------------------------------------------------------------------------------------------

SIDE, WINDOW = 8, 4


def _relative_index():
    places = np.stack(np.meshgrid(np.arange(WINDOW), np.arange(WINDOW), indexing="ij")).reshape(2, -1)
    rows, columns = places[:, :, None] - places[:, None] + WINDOW - 1
    return rows * (2 * WINDOW - 1) + columns


def _regions(side, shift):
    """Return for each window which of its places see each other after a shift."""
    regions = np.zeros((side, side), "int32")
    bounds = [slice(0, -WINDOW), slice(-WINDOW, -shift), slice(-shift, None)]
    for row, rows in enumerate(bounds):
        for column, columns in enumerate(bounds):
            regions[rows, columns] = 3 * row + column
    count = side // WINDOW
    regions = regions.reshape(count, WINDOW, count, WINDOW).swapaxes(1, 2).reshape(-1, WINDOW**2)
    return regions[:, :, None] == regions[:, None]


class WindowAttention(nn.Module):
    def __init__(self, width, rate):
        super().__init__()
        self.qkv, self.proj, self.drop = nn.Linear(width, 3 * width), nn.Linear(width, width), nn.Dropout(rate)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, HEADS))

    def forward(self, x, seen=None):
        count, length, width = x.shape
        q, k, v = self.qkv(x).view(count, length, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[torch.as_tensor(_relative_index())].permute(2, 0, 1)
        scores = q @ k.transpose(-2, -1) / (width // HEADS) ** 0.5 + bias
        if seen is not None:
            pads = torch.where(torch.as_tensor(seen), 0.0, -100.0)
            scores = scores.view(-1, len(seen), HEADS, length, length) + pads[None, :, None]
            scores = scores.view(-1, HEADS, length, length)
        mixed = self.drop(scores.softmax(-1)) @ v
        return self.proj(mixed.transpose(1, 2).reshape(count, length, width))


class SwinBlock(nn.Module):
    def __init__(self, width, side, shift, rate):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width), WindowAttention(width, rate)
        self.norm2, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.act, self.drop, self.side, self.shift = nn.GELU(), nn.Dropout(rate), side, shift

    def forward(self, x):
        count, width = len(x), x.shape[-1]
        y = self.norm1(x)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        many = self.side // WINDOW
        y = y.view(count, many, WINDOW, many, WINDOW, width).transpose(2, 3).reshape(-1, WINDOW**2, width)
        y = self.attn(y, _regions(self.side, self.shift) if self.shift else None)
        y = y.view(count, many, many, WINDOW, WINDOW, width).transpose(2, 3).reshape(x.shape)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        x = x + y
        return x + self.drop(self.fc2(self.drop(self.act(self.fc1(self.norm2(x))))))


class PatchMerging(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * width), nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x):
        parts = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self.reduction(self.norm(torch.cat(parts, -1)))


class Swin(nn.Module):
    def __init__(self, width=8, rate=0.1):
        super().__init__()
        self.patches, self.patch_norm = nn.Conv2d(3, width, 2, 2), nn.LayerNorm(width)
        self.blocks = nn.ModuleList([SwinBlock(width, SIDE, 0, rate), SwinBlock(width, SIDE, 2, rate)])
        self.merge, self.last = PatchMerging(width), SwinBlock(2 * width, SIDE // 2, 0, rate)
        self.norm, self.head = nn.LayerNorm(2 * width), nn.Linear(2 * width, 5)

    def forward(self, x):
        x = self.patch_norm(self.patches(x).permute(0, 2, 3, 1))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(self.last(self.merge(x))).mean((1, 2)))


class KerasWindowAttention(layers.Layer):
    def __init__(
        self,
        rate=0.1,
        scale=None,
        order=(0, 1, 2),
        has_bias=True,
        turns_bias=False,
        softmax_axis=-1,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.drop, self.scale, self.order = layers.Dropout(rate, name="drop"), scale, order
        self.has_bias, self.turns_bias, self.softmax_axis = has_bias, turns_bias, softmax_axis

    def build(self, shape):
        width = shape[-1]
        self.qkv, self.proj = layers.Dense(3 * width, name="qkv"), layers.Dense(width, name="proj")
        self.qkv.build(shape)
        self.proj.build(shape)
        table = ((2 * WINDOW - 1) ** 2, HEADS)
        self.table = self.add_weight(table, name="relative_position_bias_table")

    def call(self, x, seen=None):
        _, length, width = x.shape
        size = width // HEADS
        parts = ops.transpose(ops.reshape(self.qkv(x), (-1, length, 3, HEADS, size)), (2, 0, 3, 1, 4))
        q, k, v = (parts[place] for place in self.order)
        scale = size**-0.5 if self.scale is None else self.scale
        scores = ops.matmul(q * scale, ops.transpose(k, (0, 1, 3, 2)))
        if self.has_bias:
            bias = ops.take(self.table, _relative_index(), axis=0)
            scores = scores + ops.transpose(bias, (2, 1, 0) if self.turns_bias else (2, 0, 1))
        if seen is not None:
            pads = np.where(seen, 0.0, -100.0).astype("float32")[None, :, None]
            scores = ops.reshape(scores, (-1, len(seen), HEADS, length, length))
            scores = scores + ops.convert_to_tensor(pads)
            scores = ops.reshape(scores, (-1, HEADS, length, length))
        weights = self.drop(ops.softmax(scores, axis=self.softmax_axis))
        return self.proj(ops.reshape(ops.transpose(ops.matmul(weights, v), (0, 2, 1, 3)), (-1, length, width)))


class KerasSwinBlock(layers.Layer):
    def __init__(
        self,
        side,
        shift=0,
        epsilon=1e-5,
        rate=0.1,
        gelu_by_tanh=False,
        masks=True,
        shifts_back=True,
        sign=1,
        transposes_windows=True,
        norm_first=True,
        shortcut=True,
        attention=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.side, self.shift, self.gelu_by_tanh, self.masks = side, shift, gelu_by_tanh, masks
        self.shifts_back, self.sign, self.transposes_windows = shifts_back, sign, transposes_windows
        self.norm_first, self.shortcut = norm_first, shortcut
        self.norm1 = layers.LayerNormalization(epsilon=epsilon, name="norm1")
        self.norm2 = layers.LayerNormalization(epsilon=epsilon, name="norm2")
        self.attn = KerasWindowAttention(**(attention or {}), name="attn")
        self.drop = layers.Dropout(rate, name="drop")

    def build(self, shape):
        width = shape[-1]
        self.norm1.build(shape)
        self.norm2.build(shape)
        self.attn.build((None, WINDOW**2, width))
        self.fc1, self.fc2 = layers.Dense(2 * width, name="fc1"), layers.Dense(width, name="fc2")
        self.fc1.build(shape)
        self.fc2.build((*shape[:-1], 2 * width))

    def call(self, x):
        width, many = x.shape[-1], self.side // WINDOW
        axes = (0, 1, 3, 2, 4, 5) if self.transposes_windows else (0, 1, 2, 3, 4, 5)
        y = self.norm1(x) if self.norm_first else x
        if self.shift:
            y = ops.roll(y, (-self.sign * self.shift, -self.sign * self.shift), (1, 2))
        y = ops.transpose(ops.reshape(y, (-1, many, WINDOW, many, WINDOW, width)), axes)
        seen = _regions(self.side, self.shift) if self.shift and self.masks else None
        y = self.attn(ops.reshape(y, (-1, WINDOW**2, width)), seen=seen)
        y = ops.transpose(ops.reshape(y, (-1, many, many, WINDOW, WINDOW, width)), axes)
        y = ops.reshape(y, (-1, self.side, self.side, width))
        if self.shift and self.shifts_back:
            y = ops.roll(y, (self.sign * self.shift, self.sign * self.shift), (1, 2))
        x = x + (y if self.norm_first else self.norm1(y))
        y = ops.gelu(self.fc1(self.norm2(x)), approximate=self.gelu_by_tanh)
        y = self.drop(self.fc2(self.drop(y)))
        return x + y if self.shortcut else y


class KerasPatchMerging(layers.Layer):
    def __init__(self, order=(0, 1, 2, 3), epsilon=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.order, self.norm = order, layers.LayerNormalization(epsilon=epsilon, name="norm")

    def build(self, shape):
        wide = (*shape[:-1], 4 * shape[-1])
        self.norm.build(wide)
        self.reduction = layers.Dense(2 * shape[-1], use_bias=False, name="reduction")
        self.reduction.build(wide)

    def call(self, x):
        parts = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self.reduction(self.norm(ops.concatenate([parts[place] for place in self.order], axis=-1)))


def swin(
    width=8,
    shift=2,
    merge=None,
    pooled="mean",
    patch_norm=True,
    final_norm=True,
    patch_epsilon=1e-5,
    uses_first_twice=False,
    **block,
):
    shape = {"side": SIDE, **block}
    inputs = keras.Input((2 * SIDE, 2 * SIDE, 3))
    x = layers.Conv2D(width, 2, 2, name="patches")(inputs)
    x = layers.LayerNormalization(epsilon=patch_epsilon, name="patch_norm")(x) if patch_norm else x
    first = KerasSwinBlock(**shape, name="blocks_0")
    second = first if uses_first_twice else KerasSwinBlock(shift=shift, **shape, name="blocks_1")
    x = second(first(x))
    x = KerasPatchMerging(**(merge or {}), name="merge")(x)
    x = KerasSwinBlock(**{**shape, "side": SIDE // 2}, name="last")(x)
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x) if final_norm else x
    x = ops.mean(x, axis=(1, 2)) if pooled == "mean" else ops.max(x, axis=(1, 2))
    return keras.Model(inputs, layers.Dense(5, name="head")(x), name="swin")


# Ports -----------------------------------------------------------------------------------------


def _images(draws, count=8, size=16):
    images = draws.normal(size=(count, size, size, 3)).astype("float32") * 2
    return {"model": images, "module": images.transpose(0, 3, 1, 2).copy()}


def _tokens_with_ends(draws, count=6):
    tokens = draws.integers(1, WORDS, (count, LENGTH))
    mask = np.ones((count, LENGTH), "float32")
    for row, length in enumerate(draws.integers(LENGTH // 2, LENGTH + 1, count)):
        tokens[row, length:], mask[row, length:] = 0, 0
    tokens[0, -2:], mask[0, -2:] = 0, 0
    return tokens, mask


def _masked_tokens(draws):
    tokens, mask = _tokens_with_ends(draws)
    return {"tokens": tokens, "mask": mask}


def _waves(draws):
    mask = np.ones((6, FRAMES), "float32")
    mask[0, -3:], mask[1, -2:] = 0, 0
    return {"wave": draws.normal(size=(6, SAMPLES)).astype("float32"), "mask": mask}


def _of_sequences(outputs, y):
    return nn.functional.cross_entropy(outputs.flatten(0, 1), y.flatten())


@dataclass
class Architecture:
    """A module of torch and its port.

    Attributes:
        make_module: Makes the module.
        make_model: Makes the model, with settings that may be wrong.
        names: The names of its arrays, see `load_pretrained`.
        make_x: Makes a batch by a generator.
        classes: The shape of the targets, without the batch, and the number of their classes.
        loss: The loss of the module.
    """

    make_module: Callable[..., nn.Module]
    make_model: Callable[..., keras.Model]
    names: Mapping[str, Any]
    make_x: Callable[[np.random.Generator], Any]
    classes: tuple[tuple[int, ...], int]
    loss: Callable[..., Any] = nn.functional.cross_entropy


ARCHITECTURES = {
    "mobilenet": Architecture(
        MobileNetV3,
        mobilenet,
        {"blocks_*_excite_*": "blocks.{0}.excite.{1}", "blocks_*_*": "blocks.{0}.{1}"},
        _images,
        ((), 5),
    ),
    "modernbert": Architecture(
        ModernBert,
        modernbert,
        {
            "words/embeddings": "words.weight",
            "layers_*_attn/*": "layers.{0}.attn.{1}",
            "layers_*_mlp_norm": "layers.{0}.mlp_norm",
            "layers_*_mlp_*": "layers.{0}.mlp.{1}",
            "layers_*_attn_norm": "layers.{0}.attn_norm",
        },
        _masked_tokens,
        ((LENGTH,), WORDS),
        _of_sequences,
    ),
    "wav2vec2": Architecture(
        Wav2Vec2,
        wav2vec2,
        {"layers_*_*": "layers.{0}.{1}"},
        _waves,
        ((FRAMES,), 6),
        _of_sequences,
    ),
    "unet": Architecture(
        UNet,
        unet,
        {f"{name}_*": f"{name}.{{0}}" for name in ("down1", "down2", "bottom", "merge1", "merge2")},
        _images,
        ((16, 16), 3),
    ),
    "tagger": Architecture(
        Tagger,
        tagger,
        {"lstm_*": "lstm"},
        lambda draws: _tokens_with_ends(draws)[0],
        ((LENGTH,), TAGS),
        _of_sequences,
    ),
    "swin": Architecture(Swin, swin, {"blocks_*/*": "blocks.{0}.{1}"}, _images, ((), 5)),
}


def use_names(architecture, model):
    """Return the names whose patterns match a weight of the model."""
    paths = [weight.path for weight in model.weights]
    used = {}
    for pattern, name in architecture.names.items():
        if any(fnmatch(path, f"{pattern}*") for path in paths):
            used[pattern] = name
    return {**used, "*": "{0}"}


def report_on_port(name, here=None, there=None, plant=None, loss=None, loss_there=None, with_targets=False, seed=0):
    """Make a module and its port, load the weights, and report on the port.

    Args:
        name: The architecture.
        here: Settings of the model.
        there: Settings of the module.
        plant: Changes the model and the module after the weights are loaded.
        loss: The loss of the model, if it is not that of the module.
        loss_there: The loss of the module, if it is another one.
        with_targets: Whether to compare the first step.
        seed: The seed of the weights and the batch.
    """
    architecture = ARCHITECTURES[name]
    module = draw_weights(architecture.make_module(**(there or {})), seed)
    model = architecture.make_model(**(here or {}))
    loaded = keras_initx.load_pretrained(model, module, use_names(architecture, model))
    if plant is not None:
        plant(model, module)
    draws = np.random.default_rng(seed)
    x = architecture.make_x(draws)
    if not with_targets:
        return keras_initx.port_report(model, module, x, loaded=loaded)
    shape, classes = architecture.classes
    first = next(iter(x.values())) if isinstance(x, dict) else x
    y = draws.integers(0, classes, (len(first), *shape))
    y.flat[:2] = 0
    model.compile("sgd", loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return keras_initx.port_report(model, module, x, y, loaded=loaded, loss=loss_there or architecture.loss)
