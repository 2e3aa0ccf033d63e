"""Fresh models of torch in Keras: what `nn` draws, as `load_pretrained` loads it."""

import keras
from modes import to_numpy
from torch import nn

import keras_initx

layers = keras.layers
LENGTH, SIZE = 6, 16


def in_keras():
    """Return a model of an embedding, attention, recurrent layers, a convolution and a dense layer."""
    tokens = keras.Input((LENGTH,), dtype="int32")
    x = layers.Embedding(40, SIZE, name="tokens")(tokens)
    x = layers.MultiHeadAttention(2, SIZE // 2, name="attention")(x, x)
    x = layers.LayerNormalization(name="norm")(x)
    x = layers.LSTM(SIZE, return_sequences=True, name="lstm")(x)
    x = layers.GRU(SIZE, return_sequences=True, name="gru")(x)
    x = layers.Conv1D(12, 3, name="conv")(x)
    return keras.Model(tokens, layers.Dense(10, name="out")(layers.Flatten()(x)))


def in_torch():
    """Return the same layers in torch."""
    return nn.ModuleDict(
        {
            "tokens": nn.Embedding(40, SIZE),
            "attention": nn.MultiheadAttention(SIZE, 2, batch_first=True),
            "norm": nn.LayerNorm(SIZE),
            "lstm": nn.LSTM(SIZE, SIZE, batch_first=True),
            "gru": nn.GRU(SIZE, SIZE, batch_first=True),
            "conv": nn.Conv1d(SIZE, 12, 3),
            "out": nn.Linear(12 * (LENGTH - 2), 10),
        }
    )


def load(model, module):
    """Load all weights of a module of torch into a model."""
    arrays = {name: to_numpy(value) for name, value in module.state_dict().items()}
    keras_initx.load_pretrained(model, arrays, layout="torch")
