"""Whatever the arguments and the shape: a tensor of that shape, or an error that names the argument."""

from hypothesis import given, settings
from hypothesis import strategies as st

import keras_initx
from keras_initx.initializers._gain import _GAINS

ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(-3, 40), st.floats(width=32), st.text(max_size=3))
GAINS = st.one_of(st.sampled_from(sorted(_GAINS)), st.floats(0.0625, 8, width=32), ANYTHING)
SEEDS = st.one_of(st.none(), st.integers(0, 2**32 - 1), st.integers(-2, 2**33), ANYTHING)
SHAPES = st.one_of(st.lists(st.integers(0, 40), max_size=3), st.lists(st.integers(-2, 5), max_size=5), ANYTHING)
DTYPES = st.sampled_from([None, "float16", "bfloat16", "float32", "int8", "complex64", "nothing"])

AXES = st.one_of(st.none(), st.lists(st.integers(-4, 4), max_size=3), ANYTHING)
NUMBERS = st.one_of(st.floats(-4, 4, width=32), ANYTHING)
NAMED = {"seed": SEEDS, "input_axes": AXES, "output_axes": AXES}

INITIALIZERS = st.one_of(st.sampled_from(["initx.he_normal", "initx.sparse", "zeros", keras_initx.Dirac()]), ANYTHING)
WHOLE = st.one_of(st.integers(1, 4), ANYTHING)

ARGUMENTS = {
    keras_initx.ChronoBias: {
        "max_steps": st.one_of(st.integers(3, 2000), ANYTHING),
        "cell": st.one_of(st.sampled_from(["lstm", "gru"]), ANYTHING),
        "seed": SEEDS,
    },
    keras_initx.Bilinear: {},
    keras_initx.DeltaOrthogonal: {"gain": GAINS, "groups": WHOLE, "seed": SEEDS},
    keras_initx.Dirac: {"gain": GAINS, "groups": WHOLE},
    keras_initx.FanInNormal: NAMED,
    keras_initx.GlorotNormal: NAMED,
    keras_initx.GlorotUniform: NAMED,
    keras_initx.GRUUpdateBias: {"value": ANYTHING, "units": ANYTHING},
    keras_initx.HeNormal: NAMED,
    keras_initx.HeUniform: NAMED,
    keras_initx.ICNR: {"initializer": INITIALIZERS, "scale": WHOLE},
    keras_initx.LecunNormal: NAMED,
    keras_initx.LecunUniform: NAMED,
    keras_initx.LSTMForgetBias: {"value": ANYTHING, "units": ANYTHING},
    keras_initx.Orthogonal: {
        "gain": GAINS,
        "method": st.one_of(st.sampled_from(["auto", "householder", "qr", "svd", "gaussian"]), ANYTHING),
        "blocks": WHOLE,
        "seed": SEEDS,
    },
    keras_initx.PriorBias: {
        "frequencies": st.one_of(st.floats(0, 1), st.lists(st.floats(0), max_size=4), st.lists(ANYTHING), ANYTHING),
        "multi_label": st.one_of(st.booleans(), ANYTHING),
    },
    keras_initx.RandomNormal: {"mean": NUMBERS, "stddev": NUMBERS, "seed": SEEDS},
    keras_initx.RandomUniform: {"minval": NUMBERS, "maxval": NUMBERS, "seed": SEEDS},
    keras_initx.ReLUBias: {"value": ANYTHING},
    keras_initx.SmallNormal: {"seed": SEEDS},
    keras_initx.Sparse: {
        "connections": ANYTHING,
        "sparsity": st.one_of(st.none(), st.floats(0, 1), ANYTHING),
        "stddev": ANYTHING,
        "gain": GAINS,
        "seed": SEEDS,
    },
    keras_initx.TruncatedNormal: {
        "mean": NUMBERS,
        "stddev": NUMBERS,
        "seed": SEEDS,
        "lower": NUMBERS,
        "upper": NUMBERS,
    },
    keras_initx.VarianceScaling: {
        "scale": NUMBERS,
        "mode": st.one_of(st.sampled_from(["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]), ANYTHING),
        "distribution": st.one_of(st.sampled_from(["normal", "untruncated_normal", "uniform"]), ANYTHING),
        **NAMED,
    },
}


@st.composite
def calls(draw):
    cls = draw(st.sampled_from(sorted(ARGUMENTS, key=str)))
    kwargs = draw(st.fixed_dictionaries({}, optional=ARGUMENTS[cls]))
    return cls, kwargs, draw(SHAPES), draw(DTYPES)


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(calls())
def test_a_tensor_or_a_named_error(call):
    cls, kwargs, shape, dtype = call
    try:
        values = cls(**kwargs)(shape, dtype)
    except (TypeError, ValueError) as error:
        message = str(error)
    else:
        assert tuple(values.shape) == tuple(shape)
        return
    assert any(f"`{name}`" in message for name in (*kwargs, "shape", "dtype"))
    assert "Received: " in message
