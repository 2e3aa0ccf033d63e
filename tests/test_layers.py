"""Every layer of Keras with every initializer: it builds, or an error says which argument is to blame."""

import functools
import re
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
from cases import DISTINCT_CASES, MATRICES
from modes import to_numpy

import keras_initx

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
# Where these must build, besides all kernels that a class with these shapes in its row promises to fill.
AT_HOME = {
    keras_initx.Bilinear: ["Conv2DTranspose.kernel"],
    keras_initx.ChronoBias: ["LSTM of one bias.bias", "Bidirectional.bias"],
    keras_initx.DeltaOrthogonal: [f"Conv{n}D.kernel" for n in (1, 2, 3)],
    keras_initx.Dirac: [f"Conv{n}D.kernel" for n in (1, 2, 3)],
    keras_initx.GRUUpdateBias: ["GRU.bias", "GRU of one bias.bias"],
    keras_initx.ICNR: [f"Conv{n}D.kernel" for n in (1, 2, 3)],
    keras_initx.LSTMForgetBias: ["LSTM.bias", "LSTM of one bias.bias", "Bidirectional.bias"],
    keras_initx.PriorBias: ["Dense.bias"],
}
WEIGHTS = [(name, argument) for name, row in TABLE.items() for argument in row.arguments.split()]


@keras.saving.register_keras_serializable(package="tests")
class Recorder(keras.initializers.Initializer):
    """Gives zeros, and remembers the shapes that it was asked for."""

    shapes: list[tuple] = []

    def __call__(self, shape, dtype=None):
        self.shapes.append(tuple(shape))
        return keras.ops.zeros(shape, dtype)


def build(name, argument, initializer):
    """Build a layer with `initializer` for one of its arguments and zeros for the others."""
    row = TABLE[name]
    given = {f"{other}_initializer": "zeros" for other in row.arguments.split()}
    return row.build({**given, f"{argument}_initializer": initializer})


@functools.cache
def asked(name, argument):
    """Return the shapes that an argument's initializer is asked for, and shape and dtype of each weight built."""
    Recorder.shapes.clear()
    weights = build(name, argument, Recorder()).weights
    return list(Recorder.shapes), [(weight.shape, weight.dtype) for weight in weights]


def must_build(case, name, argument):
    shapes, _ = asked(name, argument)
    return (
        set(MATRICES) | {(8,)} <= set(case.shapes)
        or (set(MATRICES) <= set(case.shapes) and all(len(shape) > 1 for shape in shapes))
        or f"{name}.{argument}" in AT_HOME.get(case.cls, ())
    )


# One that fills all kernels, and one that fills certain shapes only.
MARKS = dict.fromkeys((keras_initx.Sparse, keras_initx.LSTMForgetBias), pytest.mark.every_backend)


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=MARKS.get(case.cls, ()), id=case.cls.__name__) for case in DISTINCT_CASES]
)
def test_a_layer_builds_or_an_error_names_the_argument(case):
    for name, argument in WEIGHTS:
        assert_builds_or_names_the_argument(name, argument, case)


def assert_builds_or_names_the_argument(name, argument, case):
    shapes, expected = asked(name, argument)
    try:
        weights = build(name, argument, case.make()).weights
    except ValueError as error:
        weights, refusal = None, str(error)
    if weights is None:
        assert re.search(r"`\w+`.* (must|cannot) .*Received: ", refusal)
        assert not must_build(case, name, argument), refusal
        return
    assert [(weight.shape, weight.dtype) for weight in weights] == expected
    values = [to_numpy(weight) for weight in weights]
    assert all(np.isfinite(value).all() for value in values)
    if TABLE[name].draws_alone and len(set(shapes)) == 1 and "bias" not in argument:
        kernel = to_numpy(case.make()(shapes[0]))
        assert any(np.array_equal(kernel, value) for value in values if value.shape == shapes[0])


@pytest.mark.every_backend
@pytest.mark.parametrize(
    ("layer", "name"),
    [("Dense", "initx.sparse"), ("EinsumDense", "initx.orthogonal")],
)
def test_a_layer_runs_with_an_id_for_its_kernel(layer, name):
    row = TABLE[layer]
    made = row.make(**{f"{row.arguments.split()[0]}_initializer": name})
    assert np.isfinite(to_numpy(made(np.ones((2, *row.shape[1:]), "float32")))).all()
