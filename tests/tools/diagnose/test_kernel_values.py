"""Which numbers of a kernel are alike."""

import keras
import numpy as np
import pytest
from asked import alone, asked
from keras import layers

import keras_initx
from keras_initx.backends import _moments
from keras_initx.tools.diagnose._kernel_values import kernel_values

RNG = np.random.default_rng(0)
# Of two chunks, the second of them shorter.
LONG = (300, 400)


def values_in(kernel, dtype="float32", bias=None):
    """Return what is known of the values of a kernel."""
    layer = layers.Dense(kernel.shape[1], dtype=dtype, use_bias=bias is not None)
    model = keras.Sequential([keras.Input((len(kernel),)), layer])
    layer.set_weights([kernel] if bias is None else [kernel, bias])
    (values,) = asked(kernel_values, model, np.ones((1, len(kernel)))).values()
    return values


def test_a_kernel_is_random_also_if_its_first_weights_are_not():
    kernel = np.sign(RNG.normal(size=LONG)).astype("float32")
    assert values_in(kernel).digest is None
    kernel[-1] = RNG.normal(size=LONG[1])
    assert values_in(kernel).digest


def test_a_kernel_is_constant_only_if_its_last_weight_is_the_same_too():
    kernel = np.ones(LONG, "float32")
    assert values_in(kernel).constant
    kernel[-1, -1] = 2
    assert not values_in(kernel).constant


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_units_of_few_bits_are_told_apart(dtype):
    kernel = np.sign(RNG.normal(size=LONG))
    kernel[:, [7, 8]] = kernel[:, [3]]
    assert values_in(kernel, dtype).identical_units == 3
    assert values_in(kernel, dtype, np.eye(LONG[1])[7]).identical_units == 2


def test_units_whose_sums_agree_by_chance_are_told_apart(monkeypatch):
    class Zeros:
        def integers(self, high, size, dtype):
            return np.zeros(size, dtype)

    kernel = RNG.normal(size=(6, 5))
    kernel[:, 3] = kernel[:, 1]
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Zeros())
    assert values_in(kernel).identical_units == 2


def values_of(kernel, bias=None):
    """Return what is known of the values of a kernel."""
    layer = layers.Dense(kernel.shape[1])
    model, x = alone(layer, (len(kernel),))
    layer.set_weights([kernel, np.zeros(kernel.shape[1]) if bias is None else bias])
    (values,) = asked(kernel_values, model, x).values()
    return values


def test_a_digest_tells_kernels_of_random_numbers_apart():
    kernel = np.random.default_rng(0).normal(size=(4, 4)).astype("float32")
    others = [kernel[::-1], kernel.T, -kernel, np.nextafter(kernel, 9)]
    assert len({values_of(one).digest for one in (kernel, *others)}) == 5
    assert values_of(kernel).digest == values_of(kernel.copy()).digest is not None


def test_a_digest_is_that_of_all_pieces(monkeypatch):
    monkeypatch.setattr(_moments, "CHUNK", 4)
    kernel = np.arange(1.0, 17.0).reshape(4, 4)
    assert values_of(kernel).digest != values_of(kernel[[1, 0, 2, 3]]).digest


def test_kernels_of_few_numbers_have_no_digest():
    numbers = np.arange(1.0, 10.0)
    assert values_of(numbers[:7, None]).digest is None
    assert values_of(numbers[:8, None]).digest is not None
    # Of 16 numbers that are not zero, half or more.
    for distinct, is_told in ((8, False), (9, True)):
        kernel = np.append(np.resize(numbers[:distinct], 16), np.zeros(4)).reshape(4, 5)
        assert (values_of(kernel).digest is not None) == is_told


def test_units_with_the_same_weights_are_counted():
    kernel = np.random.default_rng(0).normal(size=(6, 5))
    assert values_of(kernel).identical_units == 0
    kernel[:, 3] = kernel[:, 1]
    assert values_of(kernel).identical_units == 2
    kernel[:, 4] = kernel[:, 1]
    assert values_of(kernel).identical_units == 3


def test_units_of_four_weights_are_compared():
    for count, same in ((3, 0), (4, 2)):
        kernel = np.random.default_rng(0).normal(size=(count, 5))
        kernel[:, 4] = kernel[:, 1]
        assert values_of(kernel).identical_units == same


def test_heads_with_the_same_weights_are_counted():
    layer = layers.EinsumDense("ab,bcd->acd", (3, 2))
    model, x = alone(layer, (6,))
    kernel = np.random.default_rng(0).normal(size=(6, 3, 2))
    kernel[:, 2] = kernel[:, 0]
    layer.set_weights([kernel])
    (values,) = asked(kernel_values, model, x).values()
    assert values.identical_units == 4


def test_units_of_few_weights_may_be_the_same_by_chance():
    layer = layers.Dense(2000, dtype="bfloat16", kernel_initializer=keras_initx.RandomNormal(seed=0))
    (values,) = asked(kernel_values, *alone(layer, (1,))).values()
    assert values.identical_units == 0
