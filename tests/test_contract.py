"""What every initializer promises, for every row of the table."""

import decimal
import fractions
import json
import math
import random

import keras
import numpy as np
import pytest
from cases import CASES, FIRST_CASES, RANDOM_CASES, label
from modes import float64, to_numpy

import keras_initx

DTYPES = ("float16", "bfloat16", "float32", "float64")


def of_each_class(cases):
    """Return a mark for a test of the first case of each class; in full of all."""
    firsts = {case.cls: case for case in reversed(cases)}.values()
    params = [pytest.param(case, marks=() if case in firsts else pytest.mark.full, id=str(case)) for case in cases]
    return pytest.mark.parametrize("case", params)


every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_random_case = pytest.mark.parametrize("case", RANDOM_CASES, ids=str)
every_class = of_each_class(CASES)
every_random_class = of_each_class(RANDOM_CASES)
every_bad_shape = pytest.mark.parametrize(
    ("case", "shape"),
    [(case, shape) for case in CASES for shape in case.bad_shapes],
    ids=lambda value: str(value),
)


def first_with_each(firsts, values):
    """Return the first of `firsts` with all `values`, and the others with the first value."""
    return [*((firsts[0], value) for value in values), *((one, values[0]) for one in firsts[1:])]


def every_class_and(name, values, cases):
    """Return a mark for a test of the first class with all `values`, and of the others with the first."""
    return pytest.mark.parametrize(
        ("case", name), first_with_each([*{case.cls: case for case in reversed(cases)}.values()], values), ids=str
    )


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        pytest.param(case, dtype, marks=() if is_first or dtype == "float32" else pytest.mark.full)
        for case in CASES
        for is_first in [case is FIRST_CASES[case.cls]]
        for dtype in DTYPES
    ],
    ids=str,
)
def test_gives_the_shape_and_dtype_asked_for(case, dtype):
    for shape in case.shapes:
        # What is rounded to zero is no error, whatever NumPy is told.
        with float64(), np.errstate(all="raise"):
            values = case.make()(shape, dtype)
            assert tuple(values.shape) == shape
            assert keras.backend.standardize_dtype(values.dtype) == dtype
            # TensorFlow has no array of a scalar in bfloat16.
            assert np.isfinite(to_numpy(values if shape else keras.ops.reshape(values, (1,)))).all()


@every_class
def test_dtype_defaults_to_floatx(case):
    values = case.make()(case.shapes[0])
    assert keras.backend.standardize_dtype(values.dtype) == keras.config.floatx()


@every_case
def test_float64_refines_float32(case):
    with float64():
        double = to_numpy(case.make()(case.shapes[0], "float64"))
    single = to_numpy(case.make()(case.shapes[0], "float32"))
    np.testing.assert_allclose(single, double, atol=2e-6)


@every_random_case
def test_float64_has_more_digits_than_float32(case):
    with float64():
        double = to_numpy(case.make()(case.shapes[0], "float64"))
    assert np.any(double != double.astype("float32"))


@every_class
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_are_float32_rounded_once(case, dtype):
    initializer, shape = case.make(), case.shapes[0]
    rounded = to_numpy(keras.ops.cast(initializer(shape, "float32"), dtype))
    half = to_numpy(initializer(shape, dtype))
    law = initializer.law(shape)
    low, high = law.bounds if getattr(law, "is_strict", False) else (-np.inf, np.inf)
    # Rounding may lead over a bound that is no number of 16 bits.
    inside = (low <= rounded) & (rounded <= high)
    np.testing.assert_array_equal(half[inside], rounded[inside])
    assert low <= half.min()
    assert half.max() <= high


@every_class
def test_accepts_a_list_and_numpy_integers_as_shape(case):
    shape = case.shapes[0]
    np.testing.assert_array_equal(to_numpy(case.make()(list(np.array(shape)))), to_numpy(case.make()(shape)))


@every_bad_shape
def test_refuses_a_shape_that_it_cannot_fill(case, shape):
    with pytest.raises(ValueError, match=r"`shape` must.*Received: shape="):
        case.make()(shape)


@every_class_and("dtype", ["int32", "bool", "string", "complex64", "float8_e4m3fn", "no such dtype", 7], CASES)
def test_refuses_other_dtypes(case, dtype):
    with pytest.raises(ValueError, match=r"`dtype` must be one of .* Received: dtype="):
        case.make()(case.shapes[0], dtype)


@every_class_and("shape", [7, "ab", (2.0, 3), None], CASES)
def test_refuses_what_is_no_shape(case, shape):
    with pytest.raises(TypeError, match=r"`shape` must be a sequence of integers\. Received: shape="):
        case.make()(shape)


@every_class
def test_refuses_a_negative_length(case):
    with pytest.raises(ValueError, match=r"`shape` must not have negative lengths\. Received: shape="):
        case.make()((-1, 4))


@every_case
def test_config_is_json_and_rebuilds_an_equal_initializer(case):
    initializer = case.make()
    config = json.loads(json.dumps(initializer.get_config()))
    assert case.cls.from_config(config) == initializer


@every_case
def test_config_holds_what_was_given(case):
    def as_config(value):
        if isinstance(value, list):
            return [as_config(item) for item in value]
        return keras.initializers.serialize(keras.initializers.get(value)) if isinstance(value, dict) else value

    config = case.make().get_config()
    assert {name: config[name] for name in case.kwargs} == {name: as_config(case.kwargs[name]) for name in case.kwargs}


@every_case
def test_keras_serializes_it_by_its_registered_name(case):
    initializer = case.make()
    config = keras.saving.serialize_keras_object(initializer)
    assert config["registered_name"] == f"initx>{case.cls.__name__}"
    assert keras.saving.deserialize_keras_object(config) == initializer
    assert keras.initializers.get(keras.initializers.serialize(initializer)) == initializer


@every_case
def test_repr_is_the_constructor_call(case):
    initializer = case.make()
    assert eval(repr(initializer), vars(keras_initx)) == initializer


@every_class
def test_clone_gives_the_same_values(case):
    initializer, shape = case.make(), case.shapes[0]
    np.testing.assert_array_equal(to_numpy(initializer.clone()(shape)), to_numpy(initializer(shape)))


@every_case
def test_equal_initializers_have_equal_hashes(case):
    assert case.make() == case.make()
    assert hash(case.make()) == hash(case.make())


def test_equal_numbers_of_two_types_have_equal_hashes():
    first, second = keras_initx.RandomNormal(0, seed=1), keras_initx.RandomNormal(0.0, seed=1)
    assert first == second
    assert hash(first) == hash(second)


@every_class
def test_differs_from_other_objects(case):
    assert case.make() != keras.initializers.Zeros()


@every_case
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
    *((keras_initx.Sparse, name) for name in ("sparsity", "stddev")),
    *((keras_initx.TimeStepBias, name) for name in ("min_step", "max_step", "floor")),
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
    (-(10**400), ValueError),
    (np.longdouble("-inf"), ValueError),
    (fractions.Fraction(1, 2), TypeError),
    (decimal.Decimal("0.5"), TypeError),
    (True, TypeError),
    (1j, TypeError),
    (keras.ops.ones(()), TypeError),
)


@pytest.mark.parametrize(("argument", "no_number"), first_with_each(NUMBERS, NO_NUMBERS))
def test_refuses_what_is_no_finite_number(argument, no_number):
    cls, name = argument
    value, error = no_number
    with pytest.raises(error, match=rf"`{name}` must be .*Received: {name}="):
        FIRST_CASES[cls].make(**{name: value})


@pytest.mark.parametrize(
    ("argument", "kind"), first_with_each(NUMBERS, [np.float16, np.float32, np.float64, np.longdouble])
)
def test_a_number_of_numpy_is_saved_as_a_plain_one(argument, kind):
    cls, name = argument
    number = {"singular_values": 2.0, "minval": -0.5, "floor": 2.0**-10, "min_step": 2.0**-10}.get(name, 0.5)
    initializer = FIRST_CASES[cls].make(**{name: kind(number)})
    assert json.loads(json.dumps(initializer.get_config()))[name] == number
    assert initializer == FIRST_CASES[cls].make(**{name: number})


@pytest.mark.parametrize(
    ("initializer", "shape"),
    [
        (keras_initx.RandomNormal(stddev=2e4), (5, 4)),
        (keras_initx.RandomNormal(mean=-7e4), (5, 4)),
        (keras_initx.RandomUniform(-7e4, 0), (5, 4)),
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
    ],
    ids=label,
)
def test_refuses_a_dtype_in_which_values_would_be_infinite(initializer, shape):
    with pytest.raises(ValueError, match=r"`dtype` must hold the values of .* Received: dtype='float16'"):
        initializer(shape, "float16")
    assert np.isfinite(to_numpy(initializer(shape, "bfloat16")).astype("float32")).all()


def test_values_may_be_as_large_as_the_dtype_holds():
    assert to_numpy(keras_initx.ReLUBias(65504)((1,), "float16")).tolist() == [65504]
    with pytest.raises(ValueError, match=r"`dtype` must hold .* as large as 3\.5e\+38\. Received: dtype='float32'"):
        keras_initx.ReLUBias(3.5e38)((1,))


@every_random_class
def test_an_integer_seed_repeats(case):
    initializer, shape = case.make(), case.shapes[0]
    first = to_numpy(initializer(shape))
    np.testing.assert_array_equal(first, to_numpy(initializer(shape)))
    np.testing.assert_array_equal(first, to_numpy(case.make()(shape)))


@every_random_class
def test_another_seed_gives_other_values(case):
    shape = case.shapes[0]
    assert not np.array_equal(to_numpy(case.make()(shape)), to_numpy(case.make(seed=99)(shape)))


@every_random_class
def test_without_a_seed_python_random_decides(case):
    shape = case.shapes[0]
    random.seed(5)
    first, second = case.make(seed=None), case.make(seed=None)
    random.seed(5)
    again = case.make(seed=None)
    np.testing.assert_array_equal(to_numpy(first(shape)), to_numpy(again(shape)))
    np.testing.assert_array_equal(to_numpy(first(shape)), to_numpy(first(shape)))
    assert not np.array_equal(to_numpy(first(shape)), to_numpy(second(shape)))
    assert first == again
    assert first != second


@every_random_class
def test_an_unseeded_config_says_so(case):
    assert case.make(seed=None).get_config()["seed"] is None


@every_random_class
def test_a_generator_starts_like_its_seed_and_advances(case):
    shape = case.shapes[0]
    initializer = case.make(seed=keras.random.SeedGenerator(11))
    first, second = to_numpy(initializer(shape)), to_numpy(initializer(shape))
    np.testing.assert_array_equal(first, to_numpy(case.make(seed=11)(shape)))
    assert not np.array_equal(first, second)


@every_random_class
def test_the_second_draw_of_a_generator_is_not_the_first_of_the_next_seed(case):
    shape = case.shapes[0]
    initializer = case.make(seed=keras.random.SeedGenerator(41))
    initializer(shape)
    assert not np.array_equal(to_numpy(initializer(shape)), to_numpy(case.make(seed=42)(shape)))


@every_random_class
def test_a_generator_survives_the_config(case):
    initializer = case.make(seed=keras.random.SeedGenerator(11))
    again = case.cls.from_config(json.loads(json.dumps(initializer.get_config())))
    shape = case.shapes[0]
    np.testing.assert_array_equal(to_numpy(again(shape)), to_numpy(initializer(shape)))


@every_random_class
def test_a_refused_call_does_not_advance_the_generator(case):
    generator = keras.random.SeedGenerator(11)
    with pytest.raises(ValueError, match="`shape`"):
        case.make(seed=generator)((-1, 4))
    with pytest.raises(ValueError, match="`dtype`"):
        case.make(seed=generator)(case.shapes[0], "int32")
    assert to_numpy(generator.state.value).tolist() == [11, 0]


@every_class_and("seed", [-1, 1 << 32, 1.0, True, "a"], RANDOM_CASES)
def test_refuses_a_bad_seed(case, seed):
    with pytest.raises(ValueError if type(seed) is int else TypeError, match=r"`seed` must be .* Received: seed="):
        case.make(seed=seed)
