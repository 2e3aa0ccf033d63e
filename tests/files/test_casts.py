"""Values are cast to the dtype of a weight, which must hold them."""

import keras
import numpy as np
import pytest
from loaded import Counting, normal
from modes import BACKEND
from stacks import arrays, built

from keras_initx import load_pretrained
from keras_initx.files._casts import cast

layers = keras.layers


@pytest.mark.parametrize(
    ("stored", "dtype"),
    [
        ("float32", "int32"),
        ("int32", "bool"),
        ("bool", "float32"),
        ("float8_e4m3fn", "float32"),
        ("<U3", "float32"),
    ],
)
def test_only_floats_are_cast_to_floats(stored, dtype):
    model = built((2,), Counting(dtype, name="counting"), layers.Dense(2, name="dense"))
    before = arrays(model)
    source = {"counting/count": np.ones(3).astype(stored), "dense/kernel": normal(2, 2)}
    with pytest.raises(ValueError, match=rf"Received: 'counting/count' \(3,\): cannot cast .* to {dtype}$"):
        load_pretrained(model, source, layout="keras")
    assert all((value == before[path]).all() for path, value in arrays(model).items())


# The dtype of a source, that of a weight, and a number that only the first one can hold.
BEYOND = [
    ("float64", "float32", -1e39),
    ("float32", "bfloat16", 3.4e38),
]


def of_dtype(dtype):
    return built((4,), layers.Dense(4, dtype=dtype, name="first"), layers.Dense(3, dtype=dtype, name="last"))


@pytest.mark.parametrize(("stored", "dtype", "number"), BEYOND)
def test_a_finite_number_that_a_weight_cannot_hold_is_refused(stored, dtype, number):
    model = of_dtype(dtype)
    before = arrays(model)
    kernel = normal(4, 3).astype(stored)
    kernel[3, 2] = number
    source = {"first.kernel": normal(4, 4), "first.bias": normal(4), "last.kernel": kernel, "last.bias": normal(3)}
    message = rf"`source` must have .* Received: 'last.kernel' for 'last/kernel', with numbers .* range of {dtype}$"
    with pytest.raises(ValueError, match=message):
        load_pretrained(model, source, layout="keras")
    assert all((value == before[path]).all() for path, value in arrays(model).items())


def test_what_is_infinite_or_nan_in_the_source_is_loaded():
    model, kernel = of_dtype("float16"), normal(4, 3)
    kernel[3] = np.inf, -np.inf, np.nan
    load_pretrained(model, {"k": kernel}, {"last/kernel": "k"}, layout="keras")
    np.testing.assert_array_equal(arrays(model)["last/kernel"], kernel.astype("float16"))


@pytest.mark.parametrize("part", [np.s_[:4], lambda array: array[:4]], ids=["a part", "a function"])
def test_each_way_to_load_refuses_what_a_weight_cannot_hold(part):
    model = of_dtype("float16")
    before = arrays(model)
    array = np.full((5, 4), 1e5)
    with pytest.raises(ValueError, match=r"Received: 'k' for 'first/kernel', with numbers beyond the range of float16"):
        load_pretrained(model, {"k": array}, {"first/kernel": ("k", part)}, layout="keras")
    assert all((value == before[path]).all() for path, value in arrays(model).items())


@pytest.mark.every_backend
@pytest.mark.skipif(BACKEND != "jax", reason="only JAX has float32 for float64")
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
def test_a_weight_in_float64_holds_on_jax_what_float32_does():
    model = of_dtype("float64")
    with pytest.raises(ValueError, match=r"Received: 'k' for 'first/kernel', with numbers beyond the range of float32"):
        load_pretrained(model, {"k": np.full((4, 4), 1e300)}, {"first/kernel": "k"}, layout="keras")


def test_a_part_may_leave_out_what_a_weight_cannot_hold():
    model, array = of_dtype("float16"), np.ones((5, 4))
    array[4] = 1e5
    load_pretrained(model, {"k": array}, {"first/kernel": ("k", np.s_[:4])}, layout="keras")
    assert (arrays(model)["first/kernel"] == 1).all()


# Next to the middle between two numbers of 16 bits, which float32 does not tell from the middle, and what is nearest.
NEAR_THE_MIDDLE = [
    ("bfloat16", 1 + 2**-8 + 2**-40, 1 + 2**-7),
    ("bfloat16", 1 + 2**-8, 1),
    ("bfloat16", -1 - 2**-8 - 2**-40, -1 - 2**-7),
    ("bfloat16", 1 + 3 * 2**-8 - 2**-40, 1 + 2**-7),
    ("bfloat16", -1 - 3 * 2**-8 + 2**-40, -1 - 2**-7),
    ("float16", 1 + 2**-11 + 2**-40, 1 + 2**-10),
]


@pytest.mark.parametrize(("dtype", "number", "nearest"), NEAR_THE_MIDDLE)
def test_a_number_is_rounded_once(dtype, number, nearest):
    numbers = np.array([[number, 0.1]])
    model = built((2,), layers.Dense(1, use_bias=False, name="dense", dtype=dtype))
    load_pretrained(model, {"dense/kernel": numbers.T}, layout="keras")
    np.testing.assert_array_equal(arrays(model)["dense/kernel"].astype("float64"), [[nearest], [np.array(0.1, dtype)]])


@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan, 0.0, -0.0, 2.0**-133])
def test_what_is_no_usual_number_stays_what_it_is(number):
    (found,) = cast(np.array([number]), "bfloat16").astype("float64")
    np.testing.assert_array_equal(found, number)
    assert np.signbit(found) == np.signbit(number)
