"""Whatever the arguments and the shape: a tensor of that shape, or an error that names the argument."""

import inspect
import typing

import numpy as np
import pytest
from cases import ARRAYS, ARRAYS_SHA256, CASES
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from modes import MODES, run, to_numpy

import keras_initx
from keras_initx._typing import Activation

CLASSES = [entry.cls for entry in keras_initx.catalog().values()]

ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(-3, 40), st.floats(width=32), st.text("aé_ ", max_size=3))
COUNTS = st.integers(1, 4)
POSITIVE = st.floats(0.0625, 4, width=32)
AXES = st.one_of(st.none(), st.lists(st.integers(-3, 3), max_size=3))
INITIALIZERS = st.sampled_from(["zeros", "he_normal", "initx.sparse", "initx.orthogonal", "initx.relu_bias"])

# What an argument of this name may well be, whichever class it belongs to. What the rows of a class hold comes on
# top, so a name is needed here only where the rows have few values.
LIKELY = {
    "blocks": COUNTS,
    "connections": st.one_of(st.none(), COUNTS),
    "distribution": st.sampled_from(["truncated_normal", "untruncated_normal", "normal", "uniform"]),
    "frequencies": st.lists(POSITIVE, min_size=1, max_size=8),
    "gain": st.one_of(st.sampled_from(sorted(typing.get_args(Activation))), POSITIVE),
    "groups": COUNTS,
    "initializer": INITIALIZERS,
    "initializers": st.lists(INITIALIZERS, min_size=1, max_size=4),
    "input_axes": AXES,
    "key": st.sampled_from(["kernel", "bias", "steps"]),
    "limit": POSITIVE,
    "lower": st.floats(-4, -0.0625, width=32),
    "floor": st.floats(1e-6, 0.0625),
    "max_rate": st.floats(2, 1e6),
    "max_step": st.floats(0.125, 100),
    "max_steps": st.integers(1, 100),
    "maxval": st.floats(1, 4, width=32),
    "mean": st.floats(-4, 4, width=32),
    "method": st.sampled_from(["householder", "qr", "svd", "gaussian"]),
    "min_rate": st.one_of(st.just(0), st.floats(1e-6, 1)),
    "min_step": st.floats(1e-6, 0.0625),
    "minval": st.floats(-4, 1, width=32, exclude_max=True),
    "mode": st.sampled_from(["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]),
    "output_axes": AXES,
    "pad": st.one_of(st.none(), INITIALIZERS),
    "path": st.sampled_from([ARRAYS, "no such file.npy", "no such folder/file.npz", "no such model.keras"]),
    "factor": POSITIVE,
    "scale": st.one_of(COUNTS, POSITIVE),
    "seed": st.one_of(st.none(), st.integers(0, 2**32 - 1)),
    "sha256": st.one_of(st.none(), st.sampled_from([ARRAYS_SHA256, "0" * 64])),
    "singular_values": st.lists(POSITIVE, min_size=1, max_size=4),
    "sparsity": st.floats(0, 1, width=32, exclude_max=True),
    "stddev": POSITIVE,
    "units": st.one_of(st.none(), COUNTS),
    "upper": st.floats(-0.0625, 4, width=32),
    "value": POSITIVE,
}
UNLIKELY = {"seed": st.one_of(ANYTHING, st.integers(-2, 2**33))}
UNLIKELY_SHAPES = st.one_of(
    st.lists(st.integers(0, 40), max_size=3), st.lists(st.integers(-2, 5), max_size=5), ANYTHING
)
DTYPES = ["float16", "bfloat16", "float32", None]
UNLIKELY_DTYPES = ["int8", "complex64", "nothing"]


@st.composite
def calls(draw, cls, max_odd=2):
    """Draw arguments, a shape and a dtype: likely ones, but for up to `max_odd` of them."""
    rows = [case for case in CASES if case.cls is cls]
    parameters = inspect.signature(cls).parameters
    odd = draw(st.sets(st.sampled_from([*parameters, "shape", "dtype"]), max_size=max_odd))
    required, optional = {}, {}
    for name, parameter in parameters.items():
        unlikely = UNLIKELY.get(name, ANYTHING)
        likely = [st.just(row.kwargs[name]) for row in rows if name in row.kwargs]
        if name in LIKELY:
            likely.append(LIKELY[name])
        group = required if name in odd or parameter.default is parameter.empty else optional
        group[name] = unlikely if name in odd else st.one_of(likely or [unlikely])
    shapes = st.sampled_from([shape for row in rows for shape in row.shapes])
    return (
        draw(st.fixed_dictionaries(required, optional=optional)),
        draw(UNLIKELY_SHAPES if "shape" in odd else shapes),
        draw(st.sampled_from(UNLIKELY_DTYPES if "dtype" in odd else DTYPES)),
    )


@pytest.mark.parametrize("cls", CLASSES)
@given(st.data())
def test_a_tensor_or_a_named_error(cls, data):
    kwargs, shape, dtype = data.draw(calls(cls))
    try:
        values = cls(**kwargs)(shape, dtype)
    except (OSError, TypeError, ValueError) as error:
        message = str(error)
    else:
        assert tuple(values.shape) == tuple(shape)
        return
    assert any(f"`{name}`" in message for name in (*inspect.signature(cls).parameters, "shape", "dtype"))
    assert "Received: " in message


@pytest.mark.parametrize(
    "cls",
    [
        pytest.param(keras_initx.RandomNormal, marks=pytest.mark.every_backend),
        pytest.param(keras_initx.Concatenated, marks=pytest.mark.rare),
    ],
)
@settings(max_examples=max(1, settings.default.max_examples // 30))  # each is traced and compiled
@given(st.data())
def test_a_trace_gives_what_the_host_gives(cls, data):
    kwargs, shape, _ = data.draw(calls(cls, max_odd=0))
    try:
        initializer = cls(**kwargs)
        expected = to_numpy(initializer(shape))
    except (OSError, TypeError, ValueError):
        reject()
    values = run(data.draw(st.sampled_from(MODES[1:])), lambda: initializer(shape))
    # What is made of others is as exact as they are, and nothing is promised for Keras' own.
    inside = str(kwargs).lower()
    if "'he_normal'" in inside:
        assert values.shape == expected.shape
    elif all(case.exact for case in CASES if case.cls is cls) and "orthogonal" not in inside:
        np.testing.assert_array_equal(values, expected)
    else:
        np.testing.assert_allclose(values, expected, atol=1e-4 * max(1, np.abs(expected).max(initial=0)))
