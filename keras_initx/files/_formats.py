"""Open files of arrays. Each array is read when it is needed, and nothing is ever unpickled.

    .npy            one array, whose name is `None`
    .npz            an archive of `.npy` files, each an array
    .safetensors    a header in JSON, and the bytes of all arrays, see `_safetensors.py`
    .h5 of Keras 3  layers/dense/vars/0; the group `vars` has the attribute name="dense_7"
    .h5 of Keras 2  dense_7/dense_7/kernel:0; groups list `layer_names` and `weight_names`
    .keras          an archive with `model.weights.h5`

A format is a function, listed in `FORMATS` at the end, that opens a file for the duration of a
block.
"""

import contextlib
import functools
import io
import itertools
import math
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np

from keras_initx._received import show
from keras_initx._typing import Array, DType, Shape
from keras_initx.files._lazy import LazyArray, Selection
from keras_initx.files._local import check_local
from keras_initx.files._safetensors import DTYPES_OF_NUMPY, read_header

# Bytes that are read at a time.
_BLOCK = 1 << 20
# Bytes of a row from which on only the wanted part of it is read.
_LONG_ROW = 1 << 14


class Contents(dict[Any, LazyArray]):
    """The arrays of one or several files by name. The array of a `.npy` file has the name `None`.

    Attributes:
        layers: The names of the layers that Keras has saved, by the groups of HDF5 with their
            arrays: `{"layers/dense": "dense_7"}`.
        are_in_order: Whether arrays are in the order of the layers, which files of Keras 2 list.
        canonical_paths: The canonical paths by name, if the arrays are the weights of a model, see
            `inspection/_pairing.py`.
        metadata: The metadata of a safetensors file.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers: dict[str, str] = {}
        self.are_in_order = False
        self.canonical_paths: dict[str, str] = {}
        self.metadata: dict[str, str] = {}


def suffix(path: str) -> str:
    """Return the suffix of `path` in lower case, which determines the file format."""
    return os.path.splitext(path)[1].lower()


def check_file(argument: str, path: str) -> None:
    """Raise `ValueError` unless there is a file at `path`."""
    check_local(argument, path)
    if not os.path.isfile(path):
        obstacle = "a folder" if os.path.isdir(path) else "none"
        raise ValueError(
            f"`{argument}` must be an existing file, but there is {obstacle} at "
            f"{os.path.abspath(path)}. Received: {argument}={show(path)}"
        )


@contextlib.contextmanager
def open_arrays(argument: str, path: str) -> Iterator[Contents]:
    """Open a file for the duration of the block and yield its arrays, not yet read.

    Args:
        argument: Name of the argument in error messages.
        path: The file.

    Raises:
        ValueError: If the file cannot be read, now or later, when an array is read.
    """

    def wrap_errors(array: LazyArray) -> LazyArray:
        def read(region: Selection) -> Array:
            with _name_file_in_errors(argument, path):
                return array.read(region)

        return replace(array, read=read)

    with contextlib.ExitStack() as stack:
        with _name_file_in_errors(argument, path):
            contents = stack.enter_context(FORMATS[suffix(path)](path))
        for name, array in contents.items():
            contents[name] = wrap_errors(array)
        yield contents


@contextlib.contextmanager
def _name_file_in_errors(argument: str, path: str) -> Iterator[None]:
    """Turn any exception about a file into a `ValueError` that names the file."""
    try:
        yield
    except Exception as error:  # each format raises its own exceptions
        raise ValueError(
            f"`{argument}` must be a {suffix(path)} file: {error}. "
            f"Received: {argument}={show(path)}"
        ) from error


@dataclass(frozen=True)
class _RowReader:
    """Reads regions of an array that a file has as contiguous values, in row-major order.

    Attributes:
        open_file: Function that opens the file.
        begin: The position of the first byte of the values.
        shape: The shape of the array.
        dtype: Its dtype.
    """

    open_file: Callable[[], IO[bytes]]
    begin: int
    shape: Shape
    dtype: np.dtype[Any]

    def make_array(self) -> LazyArray:
        """Make the lazy array for this reader."""
        return LazyArray(self.shape, self.dtype.name, self.read)

    def read(self, region: Selection) -> Array:
        """Read a region."""
        if self.dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded: they are pickles")
        slices = (slice(None),) * len(self.shape) if region is ... else region
        lengths = []
        for selected, length in zip(slices, self.shape, strict=True):
            start, end, _ = selected.indices(length)
            lengths.append(end - start)
        result = np.empty(lengths, self.dtype)
        with self.open_file() as file:
            if not self.shape:
                file.seek(self.begin)
                content = file.read(self.dtype.itemsize)
                return np.frombuffer(content, self.dtype, 1).reshape(())
            self._fill(result, file, 0, slices)
        return result

    def _fill(self, result: Array, file: IO[bytes], offset: int, region: tuple[slice, ...]) -> None:
        # `region` selects from the last axes of the array, whose values begin after `offset`
        # values. Rows that are long are read one by one.
        lengths = self.shape[len(self.shape) - len(region) :]
        row = math.prod(lengths[1:])
        first, *others = region
        start, end, _ = first.indices(lengths[0])
        are_whole = all(
            selected.indices(length) == (0, length, 1)
            for selected, length in zip(others, lengths[1:], strict=True)
        )
        itemsize = self.dtype.itemsize
        if others and row * itemsize > (_BLOCK if are_whole else _LONG_ROW):
            for number in range(start, end):
                self._fill(result[number - start], file, offset + number * row, tuple(others))
            return
        at_a_time = max(1, _BLOCK // max(1, row * itemsize))
        for number in range(start, end, at_a_time):
            count = min(at_a_time, end - number)
            position = self.begin + (offset + number * row) * itemsize
            if file.tell() != position:  # an archive is read up to the position, or again
                file.seek(position)
            content = file.read(count * row * itemsize)
            block = np.frombuffer(content, self.dtype, count * row).reshape(count, *lengths[1:])
            result[number - start : number - start + count] = block[(slice(None), *others)]


@contextlib.contextmanager
def _open_npy(path: str) -> Iterator[Contents]:
    """Open NumPy's file of a single array, which has no name."""
    contents = Contents()
    contents[None] = _make_npy_array(functools.partial(io.FileIO, path))
    yield contents


@contextlib.contextmanager
def _open_npz(path: str) -> Iterator[Contents]:
    """Open NumPy's archive of `.npy` files."""
    contents = Contents()
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(".npy"):
                array = _make_npy_array(functools.partial(archive.open, member))
                contents[member.removesuffix(".npy")] = array
        yield contents


def _make_npy_array(open_file: Callable[[], IO[bytes]]) -> LazyArray:
    with open_file() as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(file)
        begin = file.tell()
    if not is_fortran:
        return _RowReader(open_file, begin, shape, dtype).make_array()
    array = _RowReader(open_file, begin, shape[::-1], dtype).make_array()
    array = array.transposed(*range(len(shape))[::-1])
    return replace(array, how=())


@contextlib.contextmanager
def _open_safetensors(path: str) -> Iterator[Contents]:
    """Open a file of safetensors."""
    open_file = functools.partial(io.FileIO, path)
    header = read_header(path)
    contents = Contents()
    contents.metadata = header.metadata
    for name, entry in header.arrays.items():
        if entry.dtype not in DTYPES_OF_NUMPY:
            contents[name] = LazyArray(entry.shape, entry.dtype, _refuse_dtype)
            continue
        dtype = np.dtype(DTYPES_OF_NUMPY[entry.dtype]).newbyteorder("<")
        contents[name] = _RowReader(open_file, entry.begin, entry.shape, dtype).make_array()
    yield contents


def _refuse_dtype(region: Selection) -> Array:
    raise ValueError("NumPy has no such dtype")


@contextlib.contextmanager
def _open_hdf5(path: str | IO[bytes]) -> Iterator[Contents]:
    """Open a file of HDF5, in which Keras saves weights."""
    import h5py  # comes with Keras

    contents = Contents()

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            # Otherwise the values are in another file, which the digest of this one does not cover.
            if node.shape is not None and not node.external and not node.is_virtual:
                contents[name] = _make_lazy_dataset(node)
            return
        group, _, name_in_group = f"/{name}".rpartition("/")
        if name_in_group == "vars" and "name" in node.attrs:
            contents.layers[group[1:]] = str(node.attrs["name"])
        # The group of a layer of Keras 2; a long list of names is `weight_names0` and so on.
        elif any(key.startswith("weight_names") for key in node.attrs):
            contents.layers[name] = name_in_group

    with h5py.File(path, "r") as file:
        file.visititems(visit)
        _order_arrays(contents, file)
        yield contents


def _order_arrays(contents: Contents, file: Any) -> None:
    # Into the order of the layers of a file of Keras 2, if it lists them.
    listed = []
    for prefix in ("", "model_weights/"):
        for layer in _read_texts(file.get(prefix or "/"), "layer_names"):
            for weight in _read_texts(file.get(f"{prefix}{layer}"), "weight_names"):
                listed.append(f"{prefix}{layer}/{weight}")
    arrays = dict(contents)
    ordered = {name: arrays[name] for name in listed if name in arrays}
    if ordered:
        contents.clear()
        contents.update({**ordered, **arrays})
        contents.are_in_order = True


def _read_texts(group: Any, attribute: str) -> list[str]:
    # Keras keeps a long list in several attributes: `weight_names0`, `weight_names1`.
    attributes = {} if group is None else group.attrs
    if attribute in attributes:
        pieces = [attributes[attribute]]
    else:
        names = (f"{attribute}{number}" for number in itertools.count())
        pieces = [attributes[name] for name in itertools.takewhile(attributes.__contains__, names)]
    texts = []
    for text in itertools.chain.from_iterable(pieces):
        texts.append(text.decode() if isinstance(text, bytes) else str(text))
    return texts


def _make_lazy_dataset(node: Any) -> LazyArray:
    # Set by Keras: HDF5 has no such type.
    is_bfloat16 = node.attrs.get("dtype") == "bfloat16"

    def read(region: Selection) -> Array:
        values = np.asarray(node[region])
        return values.view("bfloat16") if is_bfloat16 else values

    dtype: DType = "bfloat16" if is_bfloat16 else node.dtype.name
    return LazyArray(node.shape, dtype, read)


@contextlib.contextmanager
def _open_keras(path: str) -> Iterator[Contents]:
    """Open a model that Keras saved, an archive with the weights as HDF5."""
    with tempfile.TemporaryFile() as weights:
        # HDF5 seeks back and forth, and seeking back in an archive means reading it again from
        # the start.
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as member:
            shutil.copyfileobj(member, weights)
        with _open_hdf5(weights) as contents:
            yield contents


FORMATS: dict[str, Callable[[str], contextlib.AbstractContextManager[Contents]]] = {
    ".npy": _open_npy,
    ".npz": _open_npz,
    ".safetensors": _open_safetensors,
    ".h5": _open_hdf5,
    ".hdf5": _open_hdf5,
    ".keras": _open_keras,
}
