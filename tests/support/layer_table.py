"""The table of Keras' layers that take initializers."""

import functools
from typing import Any, NamedTuple

import keras

layers = keras.layers
VECTOR = (None, 8)
SEQUENCE = (None, 5, 8)
RECURRENT = "kernel recurrent bias"
SEPARABLE = "depthwise pointwise bias"
LORA = "a b"


class Row(NamedTuple):
    """A layer of the table: how it is made, the shape of its input, and its arguments that are initializers.

    `draws_alone` says that the layer hands the initializer that it is given on as it is. Others copy it for each of
    their parts, or tell it which axes are inputs.
    """

    make: Any
    shape: tuple
    arguments: str = "kernel bias"
    draws_alone: bool = True
    inputs: int = 1

    def build(self, initializers):
        if self.arguments == LORA:
            layer = self.make()
            layer.build(self.shape)
            layer.enable_lora(2, **initializers)
            return layer
        layer = self.make(**initializers)
        layer.build(*[self.shape] * self.inputs)
        return layer


def of(layer, *arguments, **keywords):
    return functools.partial(layer, *arguments, **keywords)


def stacked(**initializers):
    # The second cell has other shapes.
    return layers.RNN(layers.StackedRNNCells([layers.LSTMCell(4, **initializers), layers.GRUCell(3, **initializers)]))


def bidirectional(**initializers):
    return layers.Bidirectional(layers.LSTM(4, unit_forget_bias=False, **initializers))


def time_distributed(**initializers):
    return layers.TimeDistributed(layers.Dense(6, **initializers))


TABLE = {
    "Conv1D": Row(of(layers.Conv1D, 8, 3), (None, 9, 4)),
    "Conv2D": Row(of(layers.Conv2D, 8, 3), (None, 9, 9, 4)),
    "Conv2DTranspose": Row(of(layers.Conv2DTranspose, 8, 4), (None, 9, 9, 8)),
    "Conv3D": Row(of(layers.Conv3D, 8, 3), (None, 9, 9, 9, 4)),
    "ConvLSTM2D": Row(of(layers.ConvLSTM2D, 4, 3), (None, 5, 9, 9, 4), RECURRENT),
    "Dense": Row(of(layers.Dense, 6), VECTOR),
    "Dense with LoRA": Row(of(layers.Dense, 6), VECTOR, LORA),
    "DepthwiseConv2D": Row(of(layers.DepthwiseConv2D, 3, depth_multiplier=2), (None, 9, 9, 4), "depthwise bias"),
    "EinsumDense": Row(of(layers.EinsumDense, "ab,bcd->acd", (2, 3), bias_axes="cd"), VECTOR, draws_alone=False),
    "Embedding": Row(of(layers.Embedding, 9, 4), (None, 5), "embeddings"),
    "GRU": Row(of(layers.GRU, 4), SEQUENCE, RECURRENT),
    "GRU of one bias": Row(of(layers.GRU, 4, reset_after=False), SEQUENCE, RECURRENT),
    "LSTM": Row(of(layers.LSTM, 4), SEQUENCE, RECURRENT),
    "LSTM of one bias": Row(of(layers.LSTM, 4, unit_forget_bias=False), SEQUENCE, RECURRENT),
    "SeparableConv2D": Row(of(layers.SeparableConv2D, 8, 3), (None, 9, 9, 4), SEPARABLE),
    "Bidirectional": Row(bidirectional, SEQUENCE, RECURRENT, draws_alone=False),
    "GroupQueryAttention": Row(of(layers.GroupQueryAttention, 8, 4, 2), SEQUENCE, draws_alone=False, inputs=2),
    "MultiHeadAttention": Row(of(layers.MultiHeadAttention, 2, 4), SEQUENCE, draws_alone=False, inputs=2),
    "RNN of StackedRNNCells": Row(stacked, SEQUENCE, RECURRENT),
    "TimeDistributed": Row(time_distributed, SEQUENCE),
    "LayerNormalization": Row(layers.LayerNormalization, SEQUENCE, "gamma beta"),
}
WEIGHTS = [(name, argument) for name, row in TABLE.items() for argument in row.arguments.split()]


def build(name, argument, initializer):
    """Build a layer with `initializer` for one of its arguments and zeros for the others."""
    row = TABLE[name]
    given = {f"{other}_initializer": "zeros" for other in row.arguments.split()}
    return row.build({**given, f"{argument}_initializer": initializer})
