"""Every layer of Keras with every initializer: it builds, or an error says which argument is to blame."""

import functools
import re

import keras
import numpy as np
import pytest
from cases import DISTINCT_CASES, MATRICES
from layer_table import TABLE, WEIGHTS, build
from modes import to_numpy

import keras_initx

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


@keras.saving.register_keras_serializable(package="tests")
class Recorder(keras.initializers.Initializer):
    """Gives zeros, and remembers the shapes that it was asked for."""

    shapes: list[tuple] = []

    def __call__(self, shape, dtype=None):
        self.shapes.append(tuple(shape))
        return keras.ops.zeros(shape, dtype)


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
MARKS |= dict.fromkeys((keras_initx.Orthogonal, keras_initx.Concatenated, keras_initx.Pretrained), ())


@pytest.mark.filterwarnings("ignore:`ReLUBias` gives all units:UserWarning")  # if it is for a kernel
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=MARKS.get(case.cls, pytest.mark.rare), id=case.cls.__name__) for case in DISTINCT_CASES],
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
