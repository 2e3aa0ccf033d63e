"""What every initializer promises, for every row of the table."""

import decimal
import fractions
import itertools
import json
import math
import random
import re

import keras
import numpy as np
import pytest
from cases import CASES, FIRST_CASES, for_each
from modes import BACKEND, float64, to_numpy

import keras_initx

DTYPES = ("float16", "bfloat16", "float32", "float64")
# Independent draws, chosen inputs, frames, and values of a file: the ways to a tensor of a backend.
OF_EACH_KIND = (keras_initx.RandomNormal, keras_initx.Sparse, keras_initx.Orthogonal, keras_initx.Pretrained)

# Those of each kind depend on the backend.
HERE = CASES if BACKEND == "torch" else [FIRST_CASES[cls] for cls in OF_EACH_KIND]
RANDOM = [case for case in FIRST_CASES.values() if case.random]
NORMAL = FIRST_CASES[keras_initx.RandomNormal]


@pytest.mark.every_backend
@for_each(HERE)
def test_gives_the_shape_and_dtype_asked_for(case):
    for shape, dtype in itertools.product(case.shapes, DTYPES):
        # What is rounded to zero is no error, whatever NumPy is told.
        with float64(), np.errstate(all="raise"):
            values = case.make()(shape, dtype)
            assert tuple(values.shape) == shape
            assert keras.backend.standardize_dtype(values.dtype) == dtype
            # TensorFlow has no array of a scalar in bfloat16.
            finite = np.isfinite(to_numpy(values if shape else keras.ops.reshape(values, (1,))))
            assert finite.all(), (shape, dtype)


def test_dtype_defaults_to_floatx():
    values = NORMAL.make()(NORMAL.shapes[0])
    assert keras.backend.standardize_dtype(values.dtype) == keras.config.floatx()


@for_each(CASES)
def test_float64_refines_float32(case):
    double = to_numpy(case.make()(case.shapes[0], "float64"))
    single = to_numpy(case.make()(case.shapes[0], "float32"))
    np.testing.assert_allclose(single, double, atol=2e-6)
    if case.random:
        assert np.any(double != double.astype("float32"))


@for_each(FIRST_CASES.values())
def test_16_bits_are_float32_rounded_once(case):
    initializer, shape = case.make(), case.shapes[0]
    law = initializer.law(shape)
    low, high = law.bounds if getattr(law, "is_strict", False) else (-np.inf, np.inf)
    for dtype in ("float16", "bfloat16"):
        # As float64, beside which the bounds are not rounded to 16 bits themselves.
        rounded = to_numpy(keras.ops.cast(initializer(shape, "float32"), dtype)).astype("float64")
        half = to_numpy(initializer(shape, dtype)).astype("float64")
        # Rounding may lead over a bound that is no number of 16 bits.
        inside = (low <= rounded) & (rounded <= high)
        np.testing.assert_array_equal(half[inside], rounded[inside], err_msg=dtype)
        assert low <= half.min(), dtype
        assert half.max() <= high, dtype


def test_accepts_a_list_and_numpy_integers_as_shape():
    values = NORMAL.make()([np.int64(7), 2])
    np.testing.assert_array_equal(to_numpy(values), to_numpy(NORMAL.make()((7, 2))))


@for_each([case for case in CASES if case.bad_shapes])
def test_refuses_shapes_that_it_cannot_fill(case):
    initializer = case.make()

    def error(shape):
        try:
            return initializer(shape)
        except ValueError as raised:
            return raised

    for shape in case.bad_shapes:
        assert re.search(r"`shape` must.*Received: shape=", str(error(shape))), shape


@pytest.mark.parametrize("dtype", ["int32", "float8_e4m3fn", "no such dtype", 7])
def test_refuses_other_dtypes(dtype):
    with pytest.raises(ValueError, match=r"`dtype` must be one of .* Received: dtype="):
        NORMAL.make()((2, 3), dtype)


@pytest.mark.parametrize("shape", [7, "ab", (2.0, 3)], ids=str)
def test_refuses_what_is_no_shape(shape):
    with pytest.raises(TypeError, match=r"`shape` must be a sequence of integers\. Received: shape="):
        NORMAL.make()(shape)


def test_refuses_a_negative_length():
    with pytest.raises(ValueError, match=r"`shape` must not have negative lengths\. Received: shape="):
        NORMAL.make()((-1, 4))


@for_each(CASES)
def test_its_config_and_its_repr_hold_what_was_given(case):
    def as_config(value):
        if isinstance(value, list):
            return [as_config(item) for item in value]
        return keras.initializers.serialize(keras.initializers.get(value)) if isinstance(value, dict) else value

    initializer = case.make()
    config = json.loads(json.dumps(initializer.get_config()))
    assert {name: config[name] for name in case.kwargs} == {name: as_config(case.kwargs[name]) for name in case.kwargs}
    assert case.cls.from_config(config) == initializer
    public = {name: getattr(keras_initx, name) for name in keras_initx.__all__}
    assert eval(repr(initializer), public) == initializer


@for_each(FIRST_CASES.values())
def test_keras_serializes_it_by_its_registered_name(case):
    initializer = case.make()
    config = keras.saving.serialize_keras_object(initializer)
    assert config["registered_name"] == f"initx>{case.cls.__name__}"
    assert keras.saving.deserialize_keras_object(config) == initializer
    assert keras.initializers.get(keras.initializers.serialize(initializer)) == initializer


@for_each(FIRST_CASES.values())
def test_a_clone_and_an_equal_initializer_have_equal_hashes_and_values(case):
    initializer, shape = case.make(), case.shapes[0]
    for other in (initializer.clone(), case.make()):
        assert other == initializer
        assert hash(other) == hash(initializer)
        np.testing.assert_array_equal(to_numpy(other(shape)), to_numpy(initializer(shape)))
    assert initializer != keras.initializers.Zeros()


def test_equal_numbers_of_two_types_have_equal_hashes():
    first, second = keras_initx.RandomNormal(0, seed=1), keras_initx.RandomNormal(0.0, seed=1)
    assert first == second
    assert hash(first) == hash(second)


@for_each([case for case in CASES if {*case.kwargs} - {"seed"}])
def test_numpy_scalars_as_arguments_are_plain_numbers(case):
    def scalars(value):
        if isinstance(value, list):
            return [scalars(item) for item in value]
        return value if isinstance(value, str) else np.array(value)[()]

    initializer = case.make(**{name: scalars(value) for name, value in case.kwargs.items()})
    assert json.loads(json.dumps(initializer.get_config())) == case.make().get_config()
    shape = case.shapes[0]
    np.testing.assert_array_equal(to_numpy(initializer(shape)), to_numpy(case.make()(shape)))


GAINS = (keras_initx.Sparse, keras_initx.Orthogonal, keras_initx.OrthogonalQR, keras_initx.DeltaOrthogonal)
# Each number that is an argument.
NUMBERS = (
    *((cls, "gain") for cls in (*GAINS, keras_initx.Dirac)),
    *((keras_initx.RandomUniform, name) for name in ("minval", "maxval")),
    *((keras_initx.RandomNormal, name) for name in ("mean", "stddev")),
    *((keras_initx.TruncatedNormal, name) for name in ("mean", "stddev", "lower", "upper")),
    (keras_initx.Triangular, "limit"),
    *((keras_initx.Sparse, name) for name in ("sparsity", "stddev")),
    *((keras_initx.TimeStepBias, name) for name in ("min_step", "max_step", "floor")),
    (keras_initx.DecayRate, "min_rate"),
    *((cls, "value") for cls in (keras_initx.ReLUBias, keras_initx.LSTMForgetBias, keras_initx.GRUUpdateBias)),
    *((cls, "scale") for cls in (keras_initx.VarianceScaling, keras_initx.Spectral)),
    (keras_initx.Orthogonal, "singular_values"),
    (keras_initx.PriorBias, "frequencies"),
    (keras_initx.Scaled, "factor"),
)


NO_NUMBERS = (
    (math.nan, ValueError),
    (-math.inf, ValueError),
    (10**400, ValueError),
    (np.longdouble("-inf"), ValueError),
    (fractions.Fraction(1, 2), TypeError),
    (decimal.Decimal("0.5"), TypeError),
    (True, TypeError),
    (1j, TypeError),
    (keras.ops.ones(()), TypeError),
)


@for_each(itertools.product(NUMBERS, NO_NUMBERS))
def test_refuses_what_is_no_finite_number(case):
    (cls, name), (value, error) = case
    with pytest.raises(error, match=rf"`{name}` must be .*Received: {name}="):
        FIRST_CASES[cls].make(**{name: value})


@for_each(itertools.product(NUMBERS, (np.float16, np.float32, np.float64, np.longdouble)))
def test_a_number_of_numpy_is_saved_as_a_plain_one(case):
    (cls, name), kind = case
    number = {"singular_values": 2.0, "minval": -0.5, "floor": 2.0**-10, "min_step": 2.0**-10}.get(name, 0.5)
    initializer = FIRST_CASES[cls].make(**{name: kind(number)})
    assert json.loads(json.dumps(initializer.get_config()))[name] == number
    assert initializer == FIRST_CASES[cls].make(**{name: number})


@for_each(
    [
        (keras_initx.RandomNormal(stddev=2e4), (5, 4)),
        (keras_initx.RandomNormal(mean=-7e4), (5, 4)),
        (keras_initx.RandomUniform(-7e4, 0), (5, 4)),
        (keras_initx.Triangular(7e4), (5, 4)),
        (keras_initx.TruncatedNormal(stddev=4e4), (5, 4)),
        (keras_initx.VarianceScaling(1e11), (5, 4)),
        (keras_initx.VarianceScaling(1e11, distribution="uniform"), (5, 4)),
        (keras_initx.VarianceScaling(1e11, distribution="untruncated_normal"), (5, 4)),
        (keras_initx.Spectral(1e5), (5, 4)),
        (keras_initx.Sparse(stddev=2e4), (5, 4)),
        (keras_initx.Orthogonal(1e5), (5, 4)),
        (keras_initx.Orthogonal(1e5, method="gaussian"), (5, 4)),
        (keras_initx.Orthogonal(singular_values=[1, 1e5]), (5, 2)),
        (keras_initx.DeltaOrthogonal(1e5), (3, 2, 2)),
        (keras_initx.Dirac(1e5), (3, 2, 2)),
        (keras_initx.ReLUBias(1e5), (3,)),
        (keras_initx.LSTMForgetBias(-1e5), (8,)),
        (keras_initx.GRUUpdateBias(1e5), (6,)),
        (keras_initx.Scaled(keras_initx.ReLUBias(300), -300), (3,)),
        (keras_initx.Concatenated([keras_initx.ReLUBias(1), keras_initx.ReLUBias(1e5)]), (4,)),
        (keras_initx.ICNR(keras_initx.RandomNormal(1e5)), (3, 2, 4)),
    ]
)
def test_refuses_a_dtype_in_which_values_would_be_infinite(case):
    initializer, shape = case
    with pytest.raises(ValueError, match=r"`dtype` must be able to hold the values of .* Received: dtype='float16'"):
        initializer(shape, "float16")
    assert np.isfinite(to_numpy(initializer(shape, "bfloat16")).astype("float32")).all()


def test_values_may_be_as_large_as_the_dtype_holds():
    assert to_numpy(keras_initx.ReLUBias(65504)((1,), "float16")).tolist() == [65504]
    with pytest.raises(
        ValueError, match=r"`dtype` must be able to hold .* as large as 3\.5e\+38\. Received: dtype='float32'"
    ):
        keras_initx.ReLUBias(3.5e38)((1,))


@for_each(RANDOM)
def test_the_seed_decides_the_values(case):
    initializer, shape = case.make(), case.shapes[0]
    first = to_numpy(initializer(shape))
    np.testing.assert_array_equal(first, to_numpy(initializer(shape)))
    assert not np.array_equal(first, to_numpy(case.make(seed=99)(shape)))


def test_without_a_seed_python_random_decides():
    random.seed(5)
    first, second = NORMAL.make(seed=None), NORMAL.make(seed=None)
    random.seed(5)
    again = NORMAL.make(seed=None)
    np.testing.assert_array_equal(to_numpy(first((8, 4))), to_numpy(again((8, 4))))
    np.testing.assert_array_equal(to_numpy(first((8, 4))), to_numpy(first((8, 4))))
    assert not np.array_equal(to_numpy(first((8, 4))), to_numpy(second((8, 4))))
    assert first == again
    assert first != second
    assert first.get_config()["seed"] is None


@pytest.mark.every_backend
@for_each([case for case in HERE if case.random])
def test_a_generator_starts_like_its_seed_and_advances(case):
    shape = case.shapes[0]
    initializer = case.make(seed=keras.random.SeedGenerator(11))
    first, second = to_numpy(initializer(shape)), to_numpy(initializer(shape))
    np.testing.assert_array_equal(first, to_numpy(case.make(seed=11)(shape)))
    assert not np.array_equal(first, second)


def test_the_second_draw_of_a_generator_is_not_the_first_of_the_next_seed():
    initializer = NORMAL.make(seed=keras.random.SeedGenerator(41))
    initializer((8, 4))
    assert not np.array_equal(to_numpy(initializer((8, 4))), to_numpy(NORMAL.make(seed=42)((8, 4))))


def test_a_generator_survives_the_config():
    initializer = NORMAL.make(seed=keras.random.SeedGenerator(11))
    again = NORMAL.cls.from_config(json.loads(json.dumps(initializer.get_config())))
    np.testing.assert_array_equal(to_numpy(again((8, 4))), to_numpy(initializer((8, 4))))


def test_a_refused_call_does_not_advance_the_generator():
    generator = keras.random.SeedGenerator(11)
    with pytest.raises(ValueError, match="`shape`"):
        NORMAL.make(seed=generator)((-1, 4))
    with pytest.raises(ValueError, match="`dtype`"):
        NORMAL.make(seed=generator)((8, 4), "int32")
    assert to_numpy(generator.state.value).tolist() == [11, 0]


@pytest.mark.parametrize("seed", [-1, 1 << 32, 1.0, True, "a"], ids=str)
def test_refuses_a_bad_seed(seed):
    with pytest.raises(ValueError if type(seed) is int else TypeError, match=r"`seed` must be .* Received: seed="):
        NORMAL.make(seed=seed)
