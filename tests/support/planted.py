"""A small network with a fault of loading in one place."""

import keras
import numpy as np
from keras import layers, ops

X = np.random.default_rng(0).normal(size=(4, 12, 12, 3)).astype("float32")


class Rotary(layers.Layer):
    """Rotates pairs of features by their place in the sequence."""

    def __init__(self, base=10000.0, **kwargs):
        super().__init__(**kwargs)
        self.base = base

    def call(self, x):
        half = x.shape[-1] // 2
        rates = self.base ** (-np.arange(half) / half)
        angles = ops.convert_to_tensor(np.arange(x.shape[1])[:, None] * rates, x.dtype)
        first, second = x[..., :half], x[..., half:]
        cosine, sine = ops.cos(angles), ops.sin(angles)
        return ops.concatenate([first * cosine - second * sine, first * sine + second * cosine], axis=-1)


class RMSNorm(layers.Layer):
    """Scales to a root mean square of 1, and then by a weight to which an offset is added."""

    def __init__(self, offset=0.0, epsilon=1e-6, **kwargs):
        super().__init__(**kwargs)
        self.offset = offset
        self.epsilon = epsilon

    def build(self, shape):
        self.scale = self.add_weight(shape=shape[-1:], initializer="ones", name="scale")

    def call(self, x):
        square = ops.mean(ops.square(x), axis=-1, keepdims=True)
        return x * ops.rsqrt(square + self.epsilon) * (self.scale + self.offset)


class Noisy(layers.Layer):
    """Drops values, also in inference if it is on."""

    def __init__(self, is_on=False, **kwargs):
        super().__init__(**kwargs)
        self.is_on = is_on
        self.inner = layers.Dropout(0.1, seed=1)

    def call(self, x):
        return self.inner(x, training=True) if self.is_on else self.inner(x)


def gelu_by_tanh(x):
    return keras.activations.gelu(x, approximate=True)


def network(
    *,
    is_padded=False,
    epsilon=1e-6,
    activation="gelu",
    base=10000.0,
    is_causal=True,
    offset=0.0,
    use_bias=True,
    is_noisy=False,
    last="tanh",
    width=16,
):
    """Return a network, whose arguments are what may be wrong in it."""
    inputs = keras.Input((12, 12, 3), name="images")
    if is_padded:
        x = layers.ZeroPadding2D(1, name="pad")(inputs)
        x = layers.Conv2D(width, 3, strides=2, name="stem")(x)
    else:
        x = layers.Conv2D(width, 3, strides=2, padding="same", name="stem")(inputs)
    x = layers.BatchNormalization(name="batch_norm")(x)
    x = layers.Reshape((36, width), name="tokens")(x)
    x = layers.LayerNormalization(epsilon=epsilon, name="norm")(x)
    x = Rotary(base, name="rotary")(x)
    x = x + layers.MultiHeadAttention(4, 4, name="attention")(x, x, use_causal_mask=is_causal)
    x = RMSNorm(offset, name="rms_norm")(x)
    y = layers.Dense(width, activation, use_bias=use_bias, name="up")(x)
    x = x + layers.Dense(width, name="down")(y)
    x = Noisy(is_noisy, name="drop")(x)
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(5, last, name="logits")(x), name="net")


def drawn(model):
    """Return a model, with values in all weights that are not zero."""
    draws = np.random.default_rng(1)
    for weight in model.weights:
        if "float" in weight.dtype:
            values = draws.normal(0, 0.3, weight.shape)
            is_scale = weight.name in ("gamma", "scale", "moving_variance")
            weight.assign(1 + np.abs(values) if is_scale else values)
    return model


def with_values_of(model, source):
    """Return a model with the values of all weights that it has in common with another."""
    values = {weight.path: weight.value for weight in source.weights}
    for weight in model.weights:
        weight.assign(values[weight.path])
    return model
