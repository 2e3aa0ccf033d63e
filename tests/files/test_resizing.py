"""Arrays get other channels, rows, units and positions: by which numbers, in which order."""

import functools
import operator
import re

import numpy as np
import pytest
from loaded import normal

from keras_initx.files._lazy import LazyArray
from keras_initx.types import Channels, Grid, Rows, Units


def resized(kind, array, axis, new):
    """Return an array with another length, which its description takes too."""
    kind.described(array.shape, axis, new)
    return kind.resized(array, axis, new)


@pytest.mark.parametrize(("old", "new"), [(3, 1), (3, 2), (3, 5), (1, 3), (4, 4)])
def test_equal_channels_give_the_same_sum(old, new):
    kernel = normal(2, 2, old, 6).astype("float64")
    found = resized(Channels(), kernel, 2, new)
    assert found.shape == (2, 2, new, 6)
    np.testing.assert_allclose(found.sum(axis=2), kernel.sum(axis=2), rtol=1e-14)


def test_old_channels_stay_and_new_ones_get_their_mean_times_a_factor():
    found = resized(Channels(), np.array([[1.0, 2.0, 6.0]]), 1, 4)
    assert found.tolist() == [[0.75, 1.5, 4.5, 2.25]]
    assert resized(Channels(), np.array([[1.0, 2.0, 6.0]]), 1, 2).tolist() == [[4.5, 4.5]]


def test_statistics_are_not_multiplied():
    assert resized(Channels(), np.array([1.0, 2.0, 6.0]), 0, 5).tolist() == [1, 2, 6, 3, 3]
    assert resized(Channels(), np.array([1.0, 2.0, 6.0]), 0, 1).tolist() == [3]


def test_channels_of_patches_are_innermost():
    # Two places of three channels, and a unit.
    kernel = np.array([[1.0], [2.0], [6.0], [10.0], [20.0], [60.0]])
    found = resized(Channels(3, 4), kernel, 0, 8)
    assert found.ravel().tolist() == [0.75, 1.5, 4.5, 2.25, 7.5, 15, 45, 22.5]
    assert resized(Channels(3, 1), kernel, 0, 2).ravel().tolist() == [9, 90]


def test_old_rows_stay_and_new_ones_get_their_mean():
    rows = np.array([[1, 2], [3, 6]], "float32")
    assert resized(Rows(), rows, 0, 4).tolist() == [[1, 2], [3, 6], [2, 4], [2, 4]]
    assert resized(Rows(), rows, 0, 1).tolist() == [[1, 2]]
    assert resized(Units(), rows.T, 1, 3).tolist() == [[1, 3, 2], [2, 6, 4]]
    assert resized(Units(), rows[0], 0, 3).tolist() == [1, 2, 1.5]


def test_chosen_rows_stay_in_their_order_and_new_ones_get_their_mean():
    rows = np.arange(10.0).reshape(5, 2)
    assert resized(Rows([3, 0]), rows, 0, 2).tolist() == [[6, 7], [0, 1]]
    assert resized(Rows([3, 0, 0]), rows, 0, 4).tolist() == [[6, 7], [0, 1], [0, 1], [2, 3]]
    assert resized(Units(np.array([4, 1])), rows.T, 1, 3).tolist() == [[8, 2, 5], [9, 3, 6]]


@pytest.mark.parametrize(("axis", "layout"), [(0, "C"), (1, "C"), (0, "F"), (1, "F")])
def test_a_mean_adds_one_after_the_other_however_the_array_lies_in_memory(axis, layout):
    table = np.random.default_rng(1).normal(size=(300, 300)).astype("float64", order=layout)
    rows = np.moveaxis(table, axis, 0)
    expected = [functools.reduce(operator.add, map(float, column)) / 300 for column in rows.T]
    found = np.moveaxis(resized(Rows(), table, axis, 301), axis, 0)
    assert found[300].tolist() == expected
    # `sum` would give other numbers.
    assert (np.ascontiguousarray(rows.T).mean(axis=1) != expected).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("kind", [Rows(), Units([0, 1, 2]), Channels(), Grid((3,), (4,))])
def test_numbers_of_all_dtypes_are_taken_for_what_they_are(kind, dtype):
    array = normal(3, 2).astype(dtype)
    found = resized(kind, array, 0, 4)
    assert found.dtype == "float64"
    np.testing.assert_array_equal(found, resized(kind, array.astype("float64"), 0, 4))


def test_a_sum_beyond_the_range_of_16_bits_has_a_mean():
    rows = np.full((4, 2), 6e4, "float16")
    np.testing.assert_array_equal(resized(Rows(), rows, 0, 5)[4], rows[0])


SIZES = [
    ((14, 14), (16, 16)),
    ((14, 14), (7, 9)),
    ((5, 8), (3, 20)),
    ((3, 3), (24, 24)),
    ((24, 24), (2, 2)),
    ((1, 1), (3, 3)),
    ((4, 4), (1, 1)),
    ((5, 8), (8, 5)),
]


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_positions_are_those_of_torch_with_antialiasing(old, new):
    torch = pytest.importorskip("torch")
    grid = np.random.default_rng(0).normal(size=(*old, 3))
    images = torch.tensor(grid).permute(2, 0, 1)[None]
    expected = torch.nn.functional.interpolate(images, size=new, mode="bicubic", antialias=True, align_corners=False)
    found = resized(Grid(old, new), grid.reshape(-1, 3), 0, new[0] * new[1])
    np.testing.assert_allclose(found.reshape(*new, 3), expected[0].permute(1, 2, 0).numpy(), atol=1e-13)


def test_rows_before_the_positions_stay():
    table = normal(2 + 6, 4)
    found = resized(Grid((2, 3), (3, 4), leading=2), table, 0, 2 + 12)
    np.testing.assert_array_equal(found[:2], table[:2])
    np.testing.assert_array_equal(found[2:], resized(Grid((2, 3), (3, 4)), table[2:], 0, 12))


@pytest.mark.parametrize(("old", "new"), [((6,), (9,)), ((4, 3, 2), (3, 3, 3))])
def test_equal_positions_stay_equal_in_grids_of_any_number_of_axes(old, new):
    table = np.ones((np.prod(old), 2))
    found = resized(Grid(old, new), table, 0, np.prod(new))
    np.testing.assert_allclose(found, np.ones((np.prod(new), 2)), rtol=1e-15)


def test_the_axes_of_a_grid_are_those_of_the_image():
    rows, columns = np.mgrid[:4, :3].astype("float64")
    table = np.stack([rows.ravel(), columns.ravel()], axis=1)
    found = resized(Grid((4, 3), (4, 6)), table, 0, 24).reshape(4, 6, 2)
    # The rows of the image are as many as before.
    np.testing.assert_allclose(found[..., 0], np.mgrid[:4, :6][0], atol=1e-15)
    assert (np.diff(found[..., 1], axis=1) > 0).all()


def test_what_is_beyond_the_reach_of_a_place_does_not_count():
    table = np.array([[np.inf], [1], [1], [1], [1], [1.0]])
    assert np.isfinite(resized(Grid((6,), (12,)), table, 0, 12)[6:]).all()


@pytest.mark.parametrize(
    ("kind", "shape", "axis", "new", "expected"),
    [
        (Channels(), (3, 3, 3, 8), 2, 5, "3 to 5 channels: first 3, mean for 2, times 0.6"),
        (Channels(), (3, 3, 3, 8), 2, 1, "3 to 1 channels: mean for each, times 3"),
        (Channels(), (3,), 0, 5, "3 to 5 channels: first 3, mean for 2"),
        (
            Channels(3, 4),
            (12, 8),
            0,
            16,
            "3 to 4 channels: first 3, mean for 1 at each of 4 places, times 0.75",
        ),
        (Rows(), (40, 8), 0, 60, "40 to 60 rows: first 40, mean for 20"),
        (Rows(), (40, 8), 0, 16, "40 to 16 rows: first 16"),
        (Rows([3, 17]), (40, 8), 0, 2, "40 to 2 rows: chosen 2"),
        (Units([3, 17]), (8, 40), 1, 4, "40 to 4 units: chosen 2, mean for 2"),
        (Grid((2, 3), (4, 4)), (6, 8), 0, 16, "2 x 3 to 4 x 4 positions: cubic"),
        (
            Grid((2, 3), (4, 4), leading=1),
            (7, 8),
            0,
            17,
            "2 x 3 to 4 x 4 positions: cubic, first 1 kept",
        ),
    ],
)
def test_what_is_done_is_said(kind, shape, axis, new, expected):
    assert kind.described(shape, axis, new) == expected


@pytest.mark.parametrize(
    ("kind", "shape", "new", "message"),
    [
        (Channels(3, 5), (12, 8), 21, "12 and 21 inputs are not patches of 3 and 5 channels"),
        (Channels(3, 5), (13, 8), 20, "13 and 20 inputs are not patches of 3 and 5 channels"),
        (Rows([3, 40]), (40, 8), 2, "the array has 40 rows, and no index 40"),
        (Units([1, 2, 3]), (40, 8), 2, "3 units are chosen, and the model has 2"),
        (Grid((2, 3), (4, 4)), (7, 8), 16, "7 rows are not the positions of 2 x 3 patches"),
        (
            Grid((2, 3), (4, 4), leading=2),
            (8, 8),
            16,
            "16 rows are not the positions of 4 x 4 patches with leading=2",
        ),
    ],
)
def test_other_lengths_are_refused(kind, shape, new, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        kind.described(shape, 0, new)


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "message"),
    [
        (Channels, (3,), TypeError, "`new` must be a positive integer. Received: new=None"),
        (Channels, (None, 3), TypeError, "`old` must be a positive integer. Received: old=None"),
        (Channels, (0, 3), ValueError, "`old` must be a positive integer. Received: old=0"),
        (Channels, (3, 2.0), TypeError, "`new` must be a positive integer. Received: new=2.0"),
        (Rows, ([],), ValueError, "`chosen` must not be empty. Received: chosen=[]"),
        (Rows, ([1, -1],), ValueError, "`chosen` must be a non-negative integer. Received: chosen=-1"),
        (Units, ([True],), TypeError, "`chosen` must be a non-negative integer. Received: chosen=True"),
        (Units, ("12",), TypeError, "`chosen` must be a non-negative integer. Received: chosen='1'"),
        (Rows, (3,), TypeError, "`chosen` must be indices of rows, such as [3, 17]. Received: chosen=3"),
        (Units, (3,), TypeError, "`chosen` must be indices of units, such as [3, 17]. Received: chosen=3"),
        (Grid, (14, 16), TypeError, "`old` must be the numbers of patches along the axes of an image"),
        (Grid, ((14, 14), (16, 1.5)), TypeError, "`new` must be the numbers of patches"),
        (Grid, ((14, 14), "16"), TypeError, "`new` must be the numbers of patches"),
        (Grid, ((), ()), ValueError, "`old` must be the numbers of patches"),
        (Grid, ((14, 14), (16, 0)), ValueError, "`new` must be the numbers of patches"),
        (
            Grid,
            ((14, 14), (16,)),
            ValueError,
            "`new` must have as many axes as `old`. Received: old=(14, 14), new=(16,)",
        ),
    ],
)
def test_arguments_of_kinds_are_checked(kind, arguments, error, message):
    with pytest.raises(error, match=re.escape(message)):
        kind(*arguments)


@pytest.mark.parametrize("leading", [-1, 1.0, None])
def test_rows_before_a_grid_are_counted(leading):
    message = rf"`leading` must be a non-negative integer. Received: leading={leading}"
    with pytest.raises((TypeError, ValueError), match=message):
        Grid((2, 2), (3, 3), leading=leading)


WRITTEN = ["Channels()", "Channels(3, 5)", "Rows()", "Rows([1, 2])", "Units([0])", "Grid((2, 3), (4, 5), leading=1)"]


@pytest.mark.parametrize("text", WRITTEN)
def test_a_kind_prints_as_it_is_written(text):
    assert repr(eval(text)) == text


def test_an_array_of_a_file_is_read_when_its_values_are_needed():
    values, regions = normal(3, 2), []

    def read(region):
        regions.append(region)
        return values[region]

    array = LazyArray((3, 2), "float32", read, ("transposed",))
    found = Rows().of(array, 0, 4)
    assert (found.shape, found.dtype) == ((4, 2), "float64")
    assert found.how == ("transposed", "3 to 4 rows: first 3, mean for 1")
    assert regions == []
    np.testing.assert_array_equal(found.read(np.s_[2:, 1:]), Rows().resized(values, 0, 4)[2:, 1:])
    with pytest.raises(ValueError, match="the array has 3 rows, and no index 3"):
        Rows([3]).of(array, 0, 4)
