"""New rows, or units, that start from the mean of the old ones."""

import keras
import numpy as np
import pytest
from modes import STREAM_MODES, run, to_numpy

from keras_initx import Pretrained

layers = keras.layers
WORDS = np.random.default_rng(0).normal(0.3, [0.5, 1.0, 2.0], size=(40, 3)).astype("float32")
MEAN = WORDS.mean(axis=0, dtype="float64").astype("float32")


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "words.npy", WORDS)
    return tmp_path / "words.npy"


@pytest.mark.parametrize("mode", STREAM_MODES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_new_rows_are_the_mean(mode, dtype, path):
    words = Pretrained(path, pad="mean")
    values = run(mode, lambda: words((60, 3), dtype))
    np.testing.assert_array_equal(values[:40], WORDS.astype(dtype))
    np.testing.assert_array_equal(values[40:], np.tile(MEAN.astype(dtype), (20, 1)))


# The dtype of a file, that of a weight, and the distance of two numbers above 1 in the latter.
ROUNDED = [("float64", "float32", 2**-23), ("float32", "bfloat16", 2**-7), ("float32", "float16", 2**-10)]


@pytest.mark.parametrize(("stored", "dtype", "distance"), ROUNDED)
def test_the_mean_is_that_of_the_numbers_before_they_are_rounded(stored, dtype, distance, path):
    # Rounded, their mean would be nearer to the number above 1.
    words = (1 + distance * np.array([[0], [0.6], [0.6]])).astype(stored)
    np.save(path, words)
    assert to_numpy(Pretrained(path, pad="mean")((4, 1), dtype))[3] == 1


def test_new_units_are_the_mean_too(path):
    np.save(path, WORDS.T)
    values = to_numpy(Pretrained(path, pad="mean")((3, 60)))
    np.testing.assert_array_equal(values[:, 40:], np.tile(MEAN[:, None], (1, 20)))
    np.save(path, WORDS[:, 0])
    assert to_numpy(Pretrained(path, pad="mean")((41,)))[40] == MEAN[0]


@pytest.mark.parametrize(("old", "shape"), [((40, 3), (41, 4)), ((0, 3), (5, 3))])
def test_the_array_must_not_be_empty_and_grow_along_one_axis(old, shape, path):
    np.save(path, np.ones(old, "float32"))
    with pytest.raises(ValueError, match=r"`shape` must be larger along one axis .* Received: shape=\("):
        Pretrained(path, pad="mean")(shape)
