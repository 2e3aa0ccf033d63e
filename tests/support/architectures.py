"""Small networks of nine recent architectures, healthy and broken, as in `confusion.py`."""

import keras
import numpy as np
from confusion import (
    AFTER,
    BEFORE,
    CLASSES,
    DRAWS,
    IMAGES,
    STEPS,
    Tied,
    attended,
    blocks,
    classes,
    conv,
    embedded,
    made,
    small,
)
from keras import layers, ops
from keras.initializers import RandomUniform

import keras_initx

ROUTED = DRAWS.normal(size=(16, 12, 32)).astype("float32")
SIGNALS = DRAWS.normal(size=(8, 200, 1)).astype("float32")


# A decoder with RMS normalization, grouped queries and SwiGLU.


def swiglu(hidden, units, kernel=small):
    """Return a gated branch: a product of two layers, one with SiLU, and a layer back."""
    gate = layers.Dense(units, "silu", use_bias=False, kernel_initializer=kernel())(hidden)
    value = layers.Dense(units, use_bias=False, kernel_initializer=kernel())(hidden)
    back = layers.Dense(hidden.shape[-1], use_bias=False, kernel_initializer=kernel())
    return back(layers.Multiply()([gate, value]))


def decoder(kernel=small, final_norm=True, count=4):
    inputs = keras.Input((12,), dtype="int32")
    embedding = layers.Embedding(50, 32, embeddings_initializer=kernel())
    hidden = embedding(inputs)
    for _ in range(count):
        normed = layers.RMSNormalization()(hidden)
        attention = layers.GroupQueryAttention(8, 4, 2, use_bias=False, kernel_initializer=kernel())
        # One initializer would give its queries, keys and values the same values.
        outputs = attention(normed, normed, use_causal_mask=True)
        for weight in attention.weights:
            weight.assign(kernel()(weight.shape))
        hidden = layers.Add()([hidden, outputs])
        hidden = layers.Add()([hidden, swiglu(layers.RMSNormalization()(hidden), 64, kernel)])
    if final_norm:
        hidden = layers.RMSNormalization()(hidden)
    return keras.Model(inputs, Tied(embedding)(hidden)), BEFORE, AFTER, CLASSES


# A mixture of experts.


class Experts(layers.Layer):
    """Send each token to the two of eight experts that a router prefers (Shazeer and others, 2017)."""

    def __init__(self, expert):
        super().__init__()
        self.router = layers.Dense(8, "softmax", kernel_initializer=small(), name="router")
        self.inner = layers.EinsumDense(
            "btd,dek->btek", (None, 8, 32), "relu", kernel_initializer=made(expert), name="inner"
        )
        self.outer = layers.EinsumDense("btek,ekd->bted", (None, 8, 32), kernel_initializer=made(expert), name="outer")

    def build(self, shape):
        self.router.build(shape)
        self.inner.build(shape)
        self.outer.build((*shape[:-1], 8, 32))

    def call(self, inputs):
        chances = self.router(inputs)
        least = ops.top_k(chances, 2)[0][..., -1:]
        chosen = ops.where(chances >= least, chances, 0.0)
        chosen = chosen / ops.sum(chosen, axis=-1, keepdims=True)
        return ops.sum(self.outer(self.inner(inputs)) * chosen[..., None], axis=2)


def mixture(expert="he_normal", final_norm=True):
    inputs = keras.Input((12, 32))
    hidden = inputs
    for _ in range(2):
        branch = Experts(expert)(layers.LayerNormalization()(hidden))
        hidden = layers.Add()([hidden, branch])
    hidden = layers.LayerNormalization()(hidden) if final_norm else hidden
    pooled = layers.GlobalAveragePooling1D()(hidden)
    return classes(keras.Model(inputs, layers.Dense(10)(pooled)), ROUTED)


# A state-space layer.


class StateSpace(layers.Layer):
    """Filter each channel by a diagonal state space with steps of its own (Gu and others, 2022)."""

    def __init__(self, steps, out):
        super().__init__()
        self.initializers = steps, out

    def build(self, shape):
        steps, out = self.initializers
        self.step_bias = self.add_weight(shape=(shape[-1], 1), initializer=steps, name="step_bias")
        decays = np.log(np.arange(1, 17, dtype="float32"))
        self.decay = self.add_weight(shape=(shape[-1], 16), initializer="zeros", name="decay")
        self.decay.assign(np.broadcast_to(decays, (shape[-1], 16)))
        self.out = self.add_weight(shape=(shape[-1], 16), initializer=out, name="out")

    def call(self, inputs):
        rates = ops.exp(self.decay)
        times = ops.arange(inputs.shape[1], dtype="float32")
        shrunk = rates * ops.softplus(self.step_bias)
        kernel = ops.exp(-times[:, None, None] * shrunk) * (1 - ops.exp(-shrunk)) / rates
        kernel = ops.sum(kernel * self.out, axis=-1)
        later = times[:, None] - times
        matrix = ops.where(later[..., None] >= 0, ops.take(kernel, ops.cast(ops.abs(later), "int32"), axis=0), 0.0)
        return ops.einsum("tsc,bsc->btc", matrix, inputs)


def state_space(stddev=1.0, normed=True, count=4):
    inputs = keras.Input((12, 8))
    hidden = layers.Dense(16)(inputs)
    for _ in range(count):
        branch = layers.LayerNormalization()(hidden) if normed else hidden
        branch = StateSpace(keras_initx.TimeStepBias(), small(stddev))(layers.Dense(32, "silu")(branch))
        branch = layers.Dense(16)(branch)
        hidden = layers.Add()([hidden, branch])
    hidden = layers.LayerNormalization()(hidden) if normed else hidden
    return classes(keras.Model(inputs, layers.Dense(10)(hidden[:, -1])), STEPS)


# A diffusion transformer.


class Modulated(layers.Layer):
    """Shift and scale a normalized input by layers of the condition (adaLN)."""

    def __init__(self, kernel="zeros"):
        super().__init__()
        self.norm = layers.LayerNormalization(center=False, scale=False)
        self.shift, self.scale = (layers.Dense(32, kernel_initializer=made(kernel)) for _ in range(2))

    def call(self, inputs, condition):
        scale, shift = self.scale(condition)[:, None], self.shift(condition)[:, None]
        return self.norm(inputs) * (1 + scale) + shift


def diffusion(gates="zeros", end="zeros", count=4):
    """Return blocks whose gates start at 0 (Peebles and Xie, 2023)."""
    inputs, time = keras.Input((8, 8, 3)), keras.Input((16,))
    condition = layers.Dense(32, "silu")(time)
    hidden = layers.Reshape((16, 32))(conv(32, inputs, 2, None, "glorot_uniform", strides=2, padding="valid"))
    for _ in range(count):
        for branch in ("attention", "feed-forward"):
            inner = Modulated()(hidden, condition)
            if branch == "attention":
                inner = attended(inner, inner)
            else:
                inner = layers.Dense(32)(layers.Dense(64, "gelu")(inner))
            gate = layers.Dense(32, kernel_initializer=made(gates))(condition)
            hidden = layers.Add()([hidden, layers.Multiply()([layers.Reshape((1, 32))(gate), inner])])
    outputs = layers.Dense(12, kernel_initializer=made(end))(Modulated()(hidden, condition))
    noise = DRAWS.normal(size=(16, 16, 12)).astype("float32")
    times = DRAWS.normal(size=(16, 16)).astype("float32")
    return keras.Model([inputs, time], outputs), [IMAGES, times], noise, "mse"


# Contrastive learning of images and texts.


class Compared(layers.Layer):
    """Return the cosines of all pairs, times the exponential of a trained number (Radford and others, 2021)."""

    def __init__(self, temperature):
        super().__init__()
        self.start = -float(np.log(temperature))

    def build(self, shapes):
        start = keras.initializers.Constant(self.start)
        self.logit_scale = self.add_weight(shape=(), initializer=start, name="logit_scale")

    def call(self, inputs):
        one, two = (ops.normalize(part, axis=-1) for part in inputs)
        return ops.exp(self.logit_scale) * ops.matmul(one, ops.transpose(two))


def contrastive(temperature=0.07):
    pixels, tokens = keras.Input((8, 8, 3)), keras.Input((12,), dtype="int32")
    image = layers.GlobalAveragePooling2D()(conv(32, conv(16, pixels), strides=2))
    text = layers.GlobalAveragePooling1D()(blocks(embedded(tokens), 2))
    logits = Compared(temperature)([layers.Dense(16)(image), layers.Dense(16)(text)])
    return keras.Model([pixels, tokens], logits), [IMAGES, BEFORE], np.arange(16), CLASSES


# A U-Net for diffusion, a ConvNeXt and a WaveNet.


def diffusion_unet(up="glorot_uniform", end="zeros"):
    def block(hidden, filters, condition):
        branch = conv(filters, layers.Activation("silu")(layers.GroupNormalization(4)(hidden)), activation=None)
        branch = layers.Add()([branch, layers.Reshape((1, 1, filters))(layers.Dense(filters)(condition))])
        branch = layers.Activation("silu")(layers.GroupNormalization(4)(branch))
        branch = conv(filters, branch, activation=None, kernel=end)
        if hidden.shape[-1] != filters:
            hidden = conv(filters, hidden, 1, None, "glorot_uniform")
        return layers.Add()([hidden, branch])

    inputs, time = keras.Input((8, 8, 3)), keras.Input((16,))
    condition = layers.Dense(32, "silu")(time)
    one = block(conv(8, inputs, activation=None, kernel="glorot_uniform"), 8, condition)
    two = block(conv(16, one, activation=None, kernel="glorot_uniform", strides=2), 16, condition)
    back = layers.Conv2DTranspose(8, 2, 2, kernel_initializer=made(up))(two)
    back = block(layers.Concatenate()([one, back]), 8, condition)
    outputs = conv(3, layers.Activation("silu")(layers.GroupNormalization(4)(back)), activation=None, kernel=end)
    times = DRAWS.normal(size=(16, 16)).astype("float32")
    return keras.Model([inputs, time], outputs), [IMAGES, times], DRAWS.normal(size=IMAGES.shape), "mse"


class LayerScale(layers.Layer):
    """Multiply each channel by a number that starts small (Touvron and others, 2021)."""

    def __init__(self, start):
        super().__init__()
        self.start = start

    def build(self, shape):
        start = keras.initializers.Constant(self.start)
        self.gamma = self.add_weight(shape=(shape[-1],), initializer=start, name="gamma")

    def call(self, inputs):
        return self.gamma * inputs


def convnext(start=1e-6, depthwise=small, last=None, count=4):
    inputs = keras.Input((8, 8, 3))
    hidden = layers.LayerNormalization()(conv(32, inputs, 2, None, small, strides=2, padding="valid"))
    for _ in range(count):
        branch = layers.DepthwiseConv2D(7, padding="same", depthwise_initializer=made(depthwise))(hidden)
        branch = layers.LayerNormalization()(branch) if last is None else branch
        branch = layers.Dense(128, "gelu", kernel_initializer=made(last or small))(branch)
        branch = layers.Dense(32, kernel_initializer=made(last or small))(branch)
        hidden = layers.Add()([hidden, LayerScale(start)(branch)])
    pooled = layers.LayerNormalization()(layers.GlobalAveragePooling2D()(hidden))
    return classes(keras.Model(inputs, layers.Dense(10, kernel_initializer=small())(pooled)), IMAGES)


def wavenet(kernel="glorot_uniform", inputs_factor=1.0):
    inputs = keras.Input((200, 1))
    hidden = layers.Conv1D(16, 1)(inputs)
    skips = []
    for dilation in (1, 2, 4, 8, 16, 32):
        options = {"padding": "causal", "dilation_rate": dilation}
        value = layers.Conv1D(16, 2, activation="tanh", kernel_initializer=made(kernel), **options)(hidden)
        gate = layers.Conv1D(16, 2, activation="sigmoid", kernel_initializer=made(kernel), **options)(hidden)
        gated = layers.Multiply()([value, gate])
        skips.append(layers.Conv1D(16, 1)(gated))
        hidden = layers.Add()([hidden, layers.Conv1D(16, 1)(gated)])
    outputs = layers.Conv1D(16, 1, activation="relu")(layers.ReLU()(layers.Add()(skips)))
    y = DRAWS.integers(0, 32, (8, 200))
    return keras.Model(inputs, layers.Conv1D(32, 1)(outputs)), inputs_factor * SIGNALS, y, CLASSES


# A network of coordinates.


def sine(hidden):
    return ops.sin(30.0 * hidden)


def siren(kernel=None):
    """Return four layers of sines that learn a wave of two coordinates (Sitzmann and others, 2020)."""
    first, later = kernel or (lambda: RandomUniform(-1 / 2, 1 / 2)), kernel or of_siren
    stack = [layers.Dense(64, sine, kernel_initializer=first())]
    stack += [layers.Dense(64, sine, kernel_initializer=later()) for _ in range(3)]
    model = keras.Sequential([keras.Input((2,)), *stack, layers.Dense(1, kernel_initializer=of_siren())])
    # With a rate of 0.01 it learns nothing.
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    side = np.linspace(-1, 1, 16, dtype="float32")
    x = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    return model, x, np.sin(5 * x[:, :1]) * np.cos(3 * x[:, 1:]), "mse"


def of_siren():
    return keras_initx.VarianceScaling(2 / 30**2, distribution="uniform")


HEALTHY = {
    "decoder, RMS, grouped queries, SwiGLU": decoder,
    "mixture of experts": mixture,
    "state space": state_space,
    "diffusion transformer, gates of zeros": diffusion,
    "contrastive, temperature 0.07": contrastive,
    "diffusion U-Net": diffusion_unet,
    "ConvNeXt, layer scale 1e-6": convnext,
    "WaveNet": wavenet,
    "SIREN": siren,
}

BROKEN = {
    "decoder, deviation 0.5, no final normalization": (
        lambda: decoder(lambda: small(0.5), final_norm=False),
        ["large first loss"],
    ),
    "mixture of experts, deviation 2, no final normalization": (
        lambda: mixture(lambda: small(2.0), final_norm=False),
        ["large first loss"],
    ),
    "state space, deviation 100, no normalization": (lambda: state_space(100.0, normed=False), ["exploding"]),
    "diffusion transformer, gates and last kernel of deviation 3": (
        lambda: diffusion(lambda: small(3.0), lambda: small(3.0)),
        ["large first loss"],
    ),
    "contrastive, temperature 0.001": (lambda: contrastive(0.001), ["large first loss"]),
    "diffusion U-Net, last kernels of deviation 3": (
        lambda: diffusion_unet(end=lambda: small(3.0)),
        ["large first loss"],
    ),
    "ConvNeXt, layer scale 1, deviation 0.5, no normalization": (
        lambda: convnext(1.0, lambda: small(0.5), lambda: small(0.5)),
        ["exploding"],
    ),
    "WaveNet, deviation 3": (lambda: wavenet(lambda: small(3.0)), ["saturated"]),
    "SIREN, deviation 1e-5": (lambda: siren(lambda: small(1e-5)), ["vanishing"]),
}
