"""Decoders with gated feed-forward networks, whose layers have names of their own."""

import keras
from keras import layers, ops
from strangers import LENGTH, TOKENS, WIDTH

from keras_initx import initialize

HIDDEN = 16


def dense(units, name, activation=None):
    return layers.Dense(units, activation, use_bias=False, name=name)


def gated(y, names=("w1", "w3", "w2"), activation=ops.silu):
    gate, up, down = names
    return dense(WIDTH, down)(activation(dense(HIDDEN, gate)(y)) * dense(HIDDEN, up)(y))


def decoder(feed_forward, attention=None, norm=layers.RMSNormalization):
    """Return a decoder of one block."""
    ids = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(TOKENS, WIDTH)(ids)
    y = norm()(x)
    attend = layers.GroupQueryAttention(4, 2, 1, use_bias=False, name="attention")
    x = x + (attention(y) if attention else attend(y, y))
    x = x + feed_forward(norm()(x))
    return keras.Model(ids, dense(TOKENS, "head")(norm()(x)))


class PlusOne(layers.Layer):
    """A normalization of one's own, as that of Gemma."""

    def build(self, shape):
        self.scale = self.add_weight((shape[-1],), "zeros", name="scale")

    def call(self, x):
        return x * ops.rsqrt(ops.mean(ops.square(x), -1, keepdims=True) + 1e-6) * (1 + self.scale)


class PlusOneNorm(PlusOne):
    """The same by a name that says what it is."""


def stds(model, rules):
    """Return the standard deviations that kernels are to have."""
    plan = initialize(model, rules, seed=0, dry_run=True)
    return {weight.path: weight.expected_std for weight in plan.rows if weight.path.endswith("kernel")}


class Experts(layers.Layer):
    """Experts whose kernels are no layers'."""

    def build(self, shape):
        self.w1, self.w3 = (self.add_weight(shape=(2, WIDTH, HIDDEN), name=name) for name in ("w1", "w3"))
        self.w2 = self.add_weight(shape=(2, HIDDEN, WIDTH), name="w2")

    def call(self, x):
        hidden = ops.silu(ops.einsum("btd,edf->btef", x, self.w1)) * ops.einsum("btd,edf->btef", x, self.w3)
        return ops.einsum("btef,efd->btd", hidden, self.w2)
