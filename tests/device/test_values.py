"""What is made on a device has the bits of what is made on the host."""

import golden
import keras
import numpy as np
import pytest
from cases import CASES, RARE_CASES
from modes import BACKEND, float64, to_numpy

import keras_initx
from keras_initx.backends import backend
from keras_initx.initializers import RandomInitializer, Uniform
from keras_initx.sampling import Draw, Stream, _stream, affine

GOLDEN = golden.load()


# Arranged from draws of others, or not drawn.
ARRANGED = {
    *(keras_initx.Bilinear, keras_initx.Concatenated, keras_initx.DeltaOrthogonal, keras_initx.Dirac),
    *(keras_initx.ICNR, keras_initx.OrthogonalQR),
}


def rows(cases):
    """Yield the golden rows: an ordinary run makes the first of each class that is drawn, `nox -s device` all."""
    classes = set(ARRANGED)
    for row in golden.rows(cases):
        marks = pytest.mark.full if row[0].cls in classes else ()
        classes.add(row[0].cls)
        yield pytest.param(*row, marks=marks, id=golden.label(*row))


def on_host(monkeypatch, function):
    with monkeypatch.context() as patch:
        patch.setenv("KERAS_INITX_SAMPLE_ON", "host")
        return function()


def assert_same(monkeypatch, initializer, shape, dtype="float32", exact=True):
    values = initializer(shape, dtype)
    expected = on_host(monkeypatch, lambda: initializer(shape, dtype))
    assert (tuple(values.shape), values.dtype) == (tuple(expected.shape), expected.dtype)
    if dtype.endswith("float16"):  # TensorFlow has no array of a scalar in bfloat16
        values, expected = keras.ops.cast(values, "float32"), keras.ops.cast(expected, "float32")
    values, expected = to_numpy(values), to_numpy(expected)
    tolerance = {"float16": 1e-3, "bfloat16": 1e-2}.get(dtype, 1e-5)
    np.testing.assert_allclose(values, expected, rtol=0, atol=0 if exact else tolerance)


@pytest.mark.parametrize(("case", "shape", "dtype"), [*rows(CASES + RARE_CASES)])
def test_values_are_the_golden_ones(way, case, shape, dtype):
    expected = GOLDEN[golden.label(case, shape, dtype)]
    values = to_numpy(case.make()(shape, dtype))
    if case.exact:
        assert golden.record(case, values) == expected
    else:
        np.testing.assert_allclose(golden.sample(values), expected, atol=1e-5)


@pytest.mark.full
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_shape_has_the_values_of_the_host(way, monkeypatch, case, dtype):
    with float64():
        for shape in case.shapes:
            assert_same(monkeypatch, case.make(), shape, dtype, case.exact)


@pytest.mark.parametrize("count", [10, 40])
def test_no_connection_is_rounded_to_zero(way, monkeypatch, count):
    assert_same(monkeypatch, keras_initx.Sparse(count, stddev=1e-6, seed=0), (50, 300), "float16")


@pytest.mark.parametrize(("start", "size"), [(0, 1), (1, 5000), (6, 3001), (2**31 + 1, 2000), (2**32 - 2003, 2003)])
@pytest.mark.parametrize("kind", ["words", "uniform", "normal"])
def test_a_part_of_a_draw_may_begin_anywhere(way, monkeypatch, kind, start, size):
    def part():
        made = getattr(Stream((2024, 2**32 - 1)), kind)(Draw.FRAME, (size,), start=start)
        return np.asarray(made if isinstance(made, np.ndarray) else to_numpy(made))

    expected = on_host(monkeypatch, part)
    np.testing.assert_array_equal(part().view(expected.dtype), expected)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("bounds", [None, (0.1, 0.8)])
@pytest.mark.parametrize(("offset", "factor"), [(0.3, 0.7), (-1, 1e-3), (1e5, 0.01), (0, 0.1)])
def test_offset_and_factor_round_as_on_the_host(way, monkeypatch, offset, factor, bounds, dtype):
    def draw():
        stream = Stream((5, 0), dtype)
        made = stream.normal(Draw.VALUES, (3000,), then=affine(offset, factor, bounds))
        return made if isinstance(made, np.ndarray) else to_numpy(made)

    np.testing.assert_array_equal(draw(), on_host(monkeypatch, draw))


@pytest.mark.parametrize(("dtype", "stddev"), [("float16", 1e-6), ("bfloat16", 1e-39), ("float32", 1e-39)])
def test_values_below_the_smallest_normal_one(way, monkeypatch, dtype, stddev):
    initializer = keras_initx.RandomNormal(stddev=stddev, seed=1)
    made = to_numpy(initializer((50, 70), dtype))
    expected = on_host(monkeypatch, lambda: to_numpy(initializer((50, 70), dtype)))
    assert np.count_nonzero(expected) > 3000
    # XLA on a CPU makes zeros of those of float32.
    flushed = 0 if BACKEND == "torch" or dtype == "float16" else np.abs(expected) < np.finfo("float32").tiny
    np.testing.assert_array_equal(made, np.where(flushed & (made == 0), made, expected))


@keras.saving.register_keras_serializable("tests")
class Narrow(RandomInitializer):
    """An initializer with bounds that 16 bits have no number between."""

    def law(self, shape):
        return Uniform(1.0001, 1.0002, is_strict=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cls", [Narrow, keras_initx.RandomUniform])
def test_bounds_hold_as_on_the_host(way, monkeypatch, cls, dtype):
    assert_same(monkeypatch, cls(seed=5), (70, 50), dtype)  # a seed with uniform values that 16 bits lead over a bound


@pytest.mark.parametrize(
    ("connections", "shape", "dtype"),
    [
        (10, (90, 333), "bfloat16"),
        pytest.param(40, (90, 333), "bfloat16", marks=pytest.mark.full),
        (40, (1100, 3), "float32"),  # a column is larger than a block
        (10, (0, 4), "float32"),
        (40, (4, 0), "float32"),
    ],
)
def test_a_sparse_matrix_of_many_blocks_or_none(way, monkeypatch, connections, shape, dtype):
    assert_same(monkeypatch, keras_initx.Sparse(connections, seed=3), shape, dtype)


@pytest.mark.parametrize(("connections", "shape"), [(10, (90, 11)), (40, (90, 2))])
def test_a_sparse_matrix_of_too_many_draws_is_refused(way, monkeypatch, connections, shape):
    monkeypatch.setattr(_stream, "_MAX_SIZE", 100)
    with pytest.raises(ValueError, match=r"`shape` must need at most 2\*\*32 random numbers"):
        keras_initx.Sparse(connections, seed=3)(shape)


@pytest.mark.parametrize("shape", [(150, 130), (130, 150)])
def test_a_frame_of_several_panels(way, monkeypatch, shape):
    assert_same(monkeypatch, keras_initx.Orthogonal(seed=3), shape, exact=False)


@pytest.mark.parametrize("place", ["host", "device"])
def test_an_initializer_of_keras_within_another(way, monkeypatch, place):
    monkeypatch.setenv("KERAS_INITX_SAMPLE_ON", place)
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


def test_a_model_starts_with_the_weights_of_the_host(way, monkeypatch):
    def weights():
        keras.utils.set_random_seed(7)
        layers = [
            keras.layers.Embedding(20, 8, embeddings_initializer="initx.truncated_normal"),
            keras.layers.LSTM(8, recurrent_initializer="initx.random_normal", unit_forget_bias=False),
            keras.layers.Dense(4, kernel_initializer="initx.sparse", bias_initializer="initx.relu_bias"),
        ]
        model = keras.Sequential([keras.Input((5,)), *layers])
        return model.get_weights()

    pairs = zip(weights(), on_host(monkeypatch, weights), strict=True)
    assert all(np.array_equal(made, expected) for made, expected in pairs)
