"""A small network in torch and its port, each with faults that ports have."""

import keras
import numpy as np
import torch
from keras import layers
from torch import nn

import keras_initx

WORDS, WIDTH, CLASSES = 20, 8, 5
NAMES = {
    "words": "words",
    "query": "query",
    "key": "key",
    "norm": "norm",
    "inner": "inner",
    "batch_norm": "batch_norm",
    "head": "head",
}
TOKENS = np.random.default_rng(0).integers(0, WORDS, (6, 4))


class Attending(nn.Module):
    """Attention with one head, and a layer behind it."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.inner = nn.Linear(WIDTH, WIDTH)
        self.gelu = nn.GELU()
        self.dropout = nn.Dropout(0.1)
        self.batch_norm = nn.BatchNorm1d(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, tokens):
        x = self.words(tokens)
        scores = self.query(x) @ self.key(x).transpose(1, 2) / WIDTH**0.5
        x = self.norm(x + scores.softmax(-1) @ x)
        x = self.dropout(self.gelu(self.inner(x)))
        return self.head(self.batch_norm(x.mean(1)))


def module():
    """Return a module whose weights are all drawn."""
    generator = torch.Generator().manual_seed(0)
    made = Attending()
    with torch.no_grad():
        for name, value in made.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.empty_like(value).uniform_(0.5, 1.5, generator=generator))
                if "norm" not in name:
                    value.sub_(1)
    return made


class Attention(layers.Layer):
    """Attention with one head, and a scale and a residual branch that a port may forget."""

    def __init__(self, scale=WIDTH**-0.5, residual=1.0, **kwargs):
        super().__init__(**kwargs)
        self._scale, self._residual = scale, residual

    def call(self, x, query, key):
        scores = keras.ops.matmul(query, keras.ops.transpose(key, (0, 2, 1))) * self._scale
        return self._residual * x + keras.ops.matmul(keras.ops.softmax(scores), x)


def port(epsilon=1e-5, gelu_by_tanh=False, rate=0.1, momentum=0.9, **options):
    """Return the port, with settings that may be wrong."""
    tokens = keras.Input((4,), dtype="int32")
    x = layers.Embedding(WORDS, WIDTH, name="words")(tokens)
    query = layers.Dense(WIDTH, name="query")(x)
    key = layers.Dense(WIDTH, name="key")(x)
    x = Attention(**options, name="attention")(x, query, key)
    x = layers.LayerNormalization(epsilon=epsilon, name="norm")(x)
    x = layers.Dense(WIDTH, name="inner")(x)
    x = keras.ops.gelu(x, approximate=gelu_by_tanh)
    x = layers.Dropout(rate, name="dropout")(x)
    x = keras.ops.mean(x, axis=1)
    x = layers.BatchNormalization(epsilon=1e-5, momentum=momentum, name="batch_norm")(x)
    return keras.Model(tokens, layers.Dense(CLASSES, name="head")(x), name="port")


def loaded(model, source, names=None):
    """Return a model with the weights of a module."""
    keras_initx.load_pretrained(model, source.state_dict(), names or NAMES, layout="torch")
    return model
