"""What is made on a device has the bits of what is made on the host; `nox -s device` compares all there is."""

import keras
import numpy as np
import pytest
from cases import FIRST_CASES, RARE_CASES
from modes import BACKEND, to_numpy
from places import assert_same, on_host

import keras_initx
from keras_initx.backends._current import backend
from keras_initx.sampling import Stream
from keras_initx.sampling._stream import Draw

pytestmark = pytest.mark.every_backend

# Conversions of words, few connections, and frames. Normal ones are in parts of draws.
KINDS = (keras_initx.RandomUniform, keras_initx.TruncatedNormal, keras_initx.Sparse, keras_initx.Orthogonal)


@pytest.mark.parametrize("cls", KINDS)
def test_values_are_those_of_the_host(way, monkeypatch, cls):
    case = FIRST_CASES[cls]
    for shape, dtype in ((case.shapes[0], "float32"), ((50, 70), "bfloat16"), ((0, 4), "float32")):
        assert_same(monkeypatch, case.make(), shape, dtype, case.exact)


@pytest.mark.rare
def test_many_connections_are_those_of_the_host(way, monkeypatch):
    (case,) = (case for case in RARE_CASES if case.kwargs.get("connections") == 69)
    assert_same(monkeypatch, case.make(), case.shapes[0])


def test_bounds_hold_as_on_the_host(way, monkeypatch):
    # A seed with uniform values that 16 bits lead over a bound.
    assert_same(monkeypatch, keras_initx.RandomUniform(seed=5), (70, 50), "bfloat16")


@pytest.mark.parametrize(
    ("kind", "start", "size"),
    [
        ("normal", 1, 5000),
        ("normal", 6, 3001),
        ("uniform", 2**31 + 1, 2000),
        ("words", 2**32 - 2003, 2003),
        ("words", 0, 1),
    ],
)
def test_a_part_of_a_draw_may_begin_anywhere(way, monkeypatch, kind, start, size):
    def part():
        made = getattr(Stream((2024, 2**32 - 1)), kind)(Draw.FRAME, (size,), start=start)
        return np.asarray(made if isinstance(made, np.ndarray) else to_numpy(made))

    expected = on_host(monkeypatch, part)
    np.testing.assert_array_equal(part().view(expected.dtype), expected)


def test_an_initializer_of_keras_within_another(way, monkeypatch):
    inner = keras.initializers.RandomNormal(seed=3)
    scaled = to_numpy(keras_initx.Scaled(inner, 0.5)((20, 30)))
    np.testing.assert_array_equal(scaled, to_numpy(inner((20, 30))) * np.float32(0.5))


def test_parts_too_small_for_a_device_join_one_that_is_not(way, monkeypatch):
    monkeypatch.setenv("KERAS_INITX_SAMPLE_ON", "auto")
    monkeypatch.setattr(backend, "on_accelerator", lambda: True)
    monkeypatch.setattr(backend, "worth_a_device", 1000)
    parts = [keras_initx.RandomNormal(seed=1), keras_initx.Sparse(2, seed=2), keras_initx.Orthogonal(seed=3)]
    assert_same(monkeypatch, keras_initx.Concatenated(parts, sizes=[10, 50, 60], axis=1), (60, 120), exact=False)


@pytest.mark.skipif(BACKEND != "torch", reason="the other backends do not tell")
@pytest.mark.parametrize("cls", [keras_initx.Orthogonal, keras_initx.Sparse])
def test_elements_lie_in_the_order_of_their_indices(way, cls):
    assert cls(seed=1)((40, 30)).is_contiguous()


def test_a_generator_seeds_a_device_too(way, monkeypatch):
    def two():
        initializer = keras_initx.RandomNormal(seed=keras.random.SeedGenerator(5))
        return np.stack([to_numpy(initializer((30, 40))) for _ in range(2)])

    np.testing.assert_array_equal(two(), on_host(monkeypatch, two))
