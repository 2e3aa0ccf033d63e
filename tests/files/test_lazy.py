"""A region of an array in a file, or of a view of it, is read without the rest."""

import io

import h5py
import numpy as np
import pytest
import safetensors.numpy

from keras_initx.files import _formats
from keras_initx.files._lazy import LazyArray, stack_lazily, sum_lazily

WHOLE = np.arange(2 * 12 * 5, dtype="float32").reshape(2, 12, 5)


def write_hdf5(path, a):
    with h5py.File(path, "w") as file:
        file["a"] = a


WRITERS = {
    "a.npy": np.save,
    "a.npz": lambda path, a: np.savez(path, a=a),
    "deflated.npz": lambda path, a: np.savez_compressed(path, a=a),
    "a.safetensors": lambda path, a: safetensors.numpy.save_file({"a": np.ascontiguousarray(a)}, path),
    "a.h5": write_hdf5,
}
REGIONS = [np.s_[:, :, :], np.s_[1:, 3:7, :], np.s_[:, :, 1:3], np.s_[:1, 4:, 4:], np.s_[:, 2:2, :]]


@pytest.mark.parametrize(
    ("name", "array"),
    [
        *((name, WHOLE) for name in WRITERS),
        *((name, np.asfortranarray(WHOLE)) for name in ("a.npy", "deflated.npz")),
        *((name, WHOLE.astype(">f4")) for name in ("a.npy", "a.h5")),
    ],
)
def test_a_region_is_a_part_of_the_whole(name, array, tmp_path, monkeypatch):
    WRITERS[name](tmp_path / name, array)
    for block, long_row in ((1 << 20, 1 << 14), (48, 8), (1, 1)):
        monkeypatch.setattr(_formats, "_BLOCK", block)
        monkeypatch.setattr(_formats, "_LONG_ROW", long_row)
        with _formats.open_arrays("path", str(tmp_path / name)) as contents:
            (found,) = contents.values()
            np.testing.assert_array_equal(found.read(...), array)
            for region in REGIONS:
                np.testing.assert_array_equal(found.read(region), array[region])


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,)])
def test_numbers_and_empty_arrays_are_arrays_too(shape, tmp_path):
    for name, write in WRITERS.items():
        write(tmp_path / name, np.ones(shape))
        with _formats.open_arrays("path", str(tmp_path / name)) as contents:
            (found,) = contents.values()
            np.testing.assert_array_equal(found.read(...), np.ones(shape))


def test_columns_of_long_rows_are_read_alone(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.zeros((100, 10_000)))
    read = []

    class Counted(io.FileIO):
        def read(self, size=-1):
            read.append(size)
            return super().read(size)

    monkeypatch.setattr(_formats.io, "FileIO", Counted)
    with _formats.open_arrays("path", str(tmp_path / "a.npy")) as contents:
        read.clear()
        assert contents[None].read(np.s_[:, 20:30]).shape == (100, 10)
    assert sum(read) == 100 * 10 * 8


def lazy(array, read):
    def of_region(region):
        read.append(array[region].size)
        return array[region]

    return LazyArray(array.shape, array.dtype.name, of_region)


VIEWS = {
    "transposed": (lambda one: one.transposed(2, 0, 1), WHOLE.transpose(2, 0, 1)),
    "part": (lambda one: one.part(np.s_[1:, ..., 1:4]), WHOLE[1:, :, 1:4]),
    "both": (
        lambda one: one.part(np.s_[:, 2:10]).transposed(1, 2, 0).part(np.s_[3:]),
        WHOLE[:, 5:10].transpose(1, 2, 0),
    ),
    "stacked": (lambda one: stack_lazily([one, one]), np.stack([WHOLE, WHOLE])),
    "summed": (lambda one: sum_lazily([one, one]), 2 * WHOLE),
    "reshaped": (lambda one: one.reshaped((24, 5)), WHOLE.reshape(24, 5)),
    "index": (lambda one: one.part(np.s_[0, ::2]), WHOLE[0, ::2]),
}


@pytest.mark.parametrize("name", VIEWS)
def test_views_read_what_they_need(name):
    make, expected = VIEWS[name]
    view = make(lazy(WHOLE, read := []))
    assert view.shape == expected.shape
    np.testing.assert_array_equal(view.read(...), expected)
    region = tuple(slice(1, length) for length in expected.shape)
    read.clear()
    np.testing.assert_array_equal(view.read(region), expected[region])
    reads_all = name in ("reshaped", "index")
    assert sum(read) <= (WHOLE.size if reads_all else 2 * expected[region].size)
