"""The compiled kernel makes the bits that NumPy makes, in as many threads as there are cores."""

import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from modes import BACKEND, by_numpy

from keras_initx._compiled_kernel import load_library
from keras_initx.sampling import Stream, _conversion, _orthonormal_frames, _subsets, _words, affine
from keras_initx.sampling._conversion import KINDS, normal_table, truncated_quantiles
from keras_initx.sampling._namespace import HOST
from keras_initx.sampling._orthonormal_frames import householder_frame
from keras_initx.sampling._stream import Draw

needs_kernel = pytest.mark.skipif(load_library() is None, reason="the kernel was not compiled, or is switched off")

LARGE = 5 * _words._KERNEL_BLOCK + 3
LAST = 2**32
words = st.integers(0, LAST - 1)


def same_bits(x, y):
    return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


def drawn(convert, dtype, key, draw, begin, size, numbers):
    """Return elements of a draw, computed in float64 if `dtype` is and in float32 otherwise."""
    real = "float64" if dtype == "float64" else "float32"
    tables = {_conversion.as_normal: normal_table(real), _conversion.as_interpolated: truncated_quantiles(-2, 3).knots}
    table = tables.get(convert)
    if convert is _conversion.as_interpolated:
        table = table.view("uint32")
    out = np.empty(size, "uint32" if convert is _conversion.as_words else dtype)
    _words.fill(out, (convert, table), real, numbers.numbers(real), key, draw, begin)
    return out


@needs_kernel
@pytest.mark.filterwarnings("ignore:overflow encountered")
@given(
    st.sampled_from(KINDS),
    st.sampled_from(["float16", "bfloat16", "float32", "float64"]),
    st.tuples(words, words),
    st.sampled_from(Draw),
    st.one_of(st.integers(0, 3000), st.integers(2**31 - 2000, 2**31), words, st.just(LAST)),
    st.integers(0, 2000),
    st.builds(
        lambda offset, factor, bounds: affine(offset, factor, bounds and (offset - factor, offset + bounds * factor)),
        st.one_of(st.just(0.0), st.floats(-1e6, 1e6)),
        st.floats(1e-12, 1e12),
        st.one_of(st.none(), st.floats(-0.5, 1.5)),
    ),
)
def test_any_part_of_any_draw_is_that_of_numpy(convert, dtype, key, draw, begin, size, then):
    begin = min(begin, LAST - size)
    arguments = convert, dtype, key, int(draw), begin, size, then
    with by_numpy():
        expected = drawn(*arguments)
    assert same_bits(drawn(*arguments), expected)


@needs_kernel
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_all_numbers_of_16_bits_are_rounded_as_by_numpy(dtype):
    # The halves between neighbours, and what is next to them, for exponents from subnormals to infinity.
    for exponent in range(-30, 18):
        then = affine(0.0, 2.0**exponent)
        arguments = _conversion.as_uniform, dtype, (exponent & 0xFFFFFFFF, 7), 0, 0, 20_000, then
        with by_numpy(), np.errstate(over="ignore"):
            expected = drawn(*arguments)
        assert same_bits(drawn(*arguments), expected), exponent


@needs_kernel
@given(st.integers(1, 80), st.integers(1, 9), st.data(), st.integers(1, 31), st.sampled_from(["f2", "f4", "f8"]))
def test_the_smallest_keys_are_those_of_numpy_also_if_some_are_equal(inputs, units, data, bits, dtype):
    count = data.draw(st.integers(1, inputs))
    keys = np.random.default_rng(data.draw(words)).integers(0, 1 << bits, (units, inputs), dtype="uint32")
    values = np.arange(1, units * count + 1, dtype=dtype).reshape(units, count)
    with by_numpy():
        expected = _subsets._keep_smallest(keys, values)
    assert same_bits(_subsets._keep_smallest(keys, values), expected)


@needs_kernel
@given(st.integers(1, 60), st.integers(1, 40), st.data(), words)
def test_floyds_rows_are_those_of_numpy(inputs, units, data, seed):
    stream, count = Stream((seed, 0)), data.draw(st.integers(1, min(inputs, 32)))
    drawn = stream.words(Draw.SUPPORT, (count, units))
    with by_numpy():
        expected = _subsets._floyd(stream, drawn, inputs)
    assert same_bits(_subsets._floyd(stream, drawn, inputs), expected)


@needs_kernel
@pytest.mark.parametrize("units", [512, 513, 1025])
def test_floyds_rows_are_those_of_numpy_at_the_end_of_a_block(units):
    stream = Stream((5, 0))
    drawn = stream.words(Draw.SUPPORT, (7, units))
    with by_numpy():
        expected = _subsets._floyd(stream, drawn, 20)
    assert same_bits(_subsets._floyd(stream, drawn, 20), expected)


@needs_kernel
@given(st.integers(1, 128), st.integers(0, 300), st.sampled_from(["float32", "float64"]), words)
def test_small_frames_are_those_of_numpy_to_rounding(columns, more_rows, dtype, seed):
    rows = min(columns + more_rows, _orthonormal_frames._SMALL // columns)
    stream = Stream((seed, 0), xp=HOST)
    with by_numpy():
        expected = householder_frame(stream, rows, columns, dtype)
    rounding = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(householder_frame(stream, rows, columns, dtype), expected, rtol=0, atol=rounding)


@needs_kernel
def test_vectors_of_zeros_make_the_frame_of_numpy(monkeypatch):
    stream = Stream((0, 0), xp=HOST)
    monkeypatch.setattr(stream, "normal", lambda draw, shape, dtype, start: np.zeros(shape, dtype))
    with by_numpy():
        expected = householder_frame(stream, 5, 3)
    np.testing.assert_allclose(householder_frame(stream, 5, 3), expected, atol=1e-6)


def normal(begin=0):
    return Stream((2024, 7)).normal(Draw.VALUES, (LARGE,), start=begin)


def test_draws_at_one_time_have_the_values_of_each():
    expected = [normal(begin) for begin in range(2)]
    with ThreadPoolExecutor(2) as executor:
        found = list(executor.map(normal, range(2)))
    np.testing.assert_array_equal(found, expected)


def test_an_error_in_a_block_is_raised_and_ends_the_draw():
    begun = []

    def make(block):
        begun.append(block)
        if block == 0:
            raise KeyboardInterrupt
        time.sleep(0.1)

    with pytest.raises(KeyboardInterrupt):
        _words.run_blocks(make, range(400))
    assert len(begun) < 200


def draw_in_a_process(expected):
    np.testing.assert_array_equal(normal(), expected)


@pytest.mark.skipif(BACKEND != "torch", reason="the other backends do not work in a forked process")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_draws_too():
    """It has no threads of its parent."""
    process = multiprocessing.get_context("fork").Process(target=draw_in_a_process, args=(normal(),))
    process.start()
    process.join(60)
    code = process.exitcode
    process.kill()
    assert code == 0
