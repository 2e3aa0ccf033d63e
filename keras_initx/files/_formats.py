"""Open files of arrays, of which each is read when it is needed. Nothing is ever unpickled.

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
from dataclasses import replace
from typing import IO, Any

import numpy as np

from keras_initx._typing import Array, DType, Shape
from keras_initx.files._lazy import LazyArray, Selection
from keras_initx.files._local import check_local
from keras_initx.files._safetensors import DTYPES_OF_NUMPY, read_header

# Bytes that are read at a time.
_BLOCK = 1 << 20
# Bytes of a row from which on only the wanted part of it is read.
_LONG_ROW = 1 << 14


class Contents(dict[Any, LazyArray]):
    """The arrays of a file, or of several, by name, which is `None` for that of a `.npy` file.

    Attributes:
        layers: The names of the layers that Keras has saved, by the groups of HDF5 with their
            arrays.
        are_in_order: Whether these are in the order of the layers, which files of Keras 2 list.
        canonical_paths: Those of weights if these are the weights of a model, see `_pairing.py`.
        files: The file of each array, by name, if several files may have them.
        raw: The bytes of the arrays that have a dtype which NumPy lacks, by name.
        metadata: What a file of safetensors says of itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers: dict[str, str] = {}
        self.are_in_order = False
        self.canonical_paths: dict[str, str] = {}
        self.files: dict[str, str] = {}
        self.raw: dict[str, LazyArray] = {}
        self.metadata: dict[str, str] = {}


def suffix(path: str) -> str:
    """Return the suffix of `path`, which determines the file format."""
    return os.path.splitext(path)[1].lower()


def check_file(argument: str, path: str) -> None:
    """Raise `ValueError` unless there is a file at `path`."""
    check_local(argument, path)
    if not os.path.isfile(path):
        found = "a folder" if os.path.isdir(path) else "none"
        raise ValueError(
            f"`{argument}` must be an existing file, but there is {found} at "
            f"{os.path.abspath(path)}. Received: {argument}={path!r}"
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

    def checked(array: LazyArray) -> LazyArray:
        def read(region: Selection) -> Array:
            with _refused(argument, path):
                return array.read(region)

        return replace(array, read=read)

    with contextlib.ExitStack() as stack:
        with _refused(argument, path):
            contents = stack.enter_context(FORMATS[suffix(path)](path))
        for arrays in (contents, contents.raw):
            for name, array in arrays.items():
                arrays[name] = checked(array)
        yield contents


@contextlib.contextmanager
def _refused(argument: str, path: str) -> Iterator[None]:
    """Turn any exception about a file into a `ValueError` that names the file."""
    try:
        yield
    except Exception as error:  # each format raises its own exceptions
        raise ValueError(
            f"`{argument}` must be a {suffix(path)} file: {error}. Received: {argument}={path!r}"
        ) from error


def _in_rows(
    open_file: Callable[[], IO[bytes]], begin: int, shape: Shape, dtype: np.dtype[Any]
) -> LazyArray:
    """Return an array whose values are in a file one after another, in row-major order.

    Args:
        open_file: Function that opens the file.
        begin: Where the values begin.
        shape: The shape of the array.
        dtype: Its dtype.
    """

    def fill(result: Array, file: IO[bytes], place: int, region: tuple[slice, ...]) -> None:
        """Read a region of what begins at a place and has the last axes of the array."""
        lengths = shape[len(shape) - len(region) :]
        row = math.prod(lengths[1:])
        first, *others = region
        start, end, _ = first.indices(lengths[0])
        are_whole = all(
            part.indices(n) == (0, n, 1) for part, n in zip(others, lengths[1:], strict=True)
        )
        if others and row * dtype.itemsize > (_BLOCK if are_whole else _LONG_ROW):
            for number in range(start, end):
                fill(result[number - start], file, place + number * row, tuple(others))
            return
        at_a_time = max(1, _BLOCK // max(1, row * dtype.itemsize))
        for number in range(start, end, at_a_time):
            count = min(at_a_time, end - number)
            wanted = begin + (place + number * row) * dtype.itemsize
            if file.tell() != wanted:  # an archive is read to the place, or again
                file.seek(wanted)
            content = file.read(count * row * dtype.itemsize)
            block = np.frombuffer(content, dtype, count * row).reshape(count, *lengths[1:])
            result[number - start : number - start + count] = block[(slice(None), *others)]

    def read(region: Selection) -> Array:
        if dtype.hasobject:
            raise ValueError("Object arrays cannot be loaded: they are pickles")
        parts = (slice(None),) * len(shape) if region is ... else region
        lengths = []
        for part, n in zip(parts, shape, strict=True):
            start, end, _ = part.indices(n)
            lengths.append(end - start)
        result = np.empty(lengths, dtype)
        with open_file() as file:
            if not shape:
                file.seek(begin)
                return np.frombuffer(file.read(dtype.itemsize), dtype, 1).reshape(())
            fill(result, file, 0, parts)
        return result

    return LazyArray(shape, dtype.name, read)


@contextlib.contextmanager
def _npy(path: str) -> Iterator[Contents]:
    """Open NumPy's file of a single array, which has no name."""
    contents = Contents()
    contents[None] = _npy_array(functools.partial(io.FileIO, path))
    yield contents


@contextlib.contextmanager
def _npz(path: str) -> Iterator[Contents]:
    """Open NumPy's archive of `.npy` files."""
    contents = Contents()
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            if member.endswith(".npy"):
                array = _npy_array(functools.partial(archive.open, member))
                contents[member.removesuffix(".npy")] = array
        yield contents


def _npy_array(open_file: Callable[[], IO[bytes]]) -> LazyArray:
    with open_file() as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(file)
        begin = file.tell()
    if not is_fortran:
        return _in_rows(open_file, begin, shape, dtype)
    array = _in_rows(open_file, begin, shape[::-1], dtype).transposed(*range(len(shape))[::-1])
    return replace(array, how=())


@contextlib.contextmanager
def _safetensors(path: str) -> Iterator[Contents]:
    """Open a file of safetensors."""
    open_file = functools.partial(io.FileIO, path)
    head = read_header(path)
    contents = Contents()
    contents.metadata = head.metadata
    for name, line in head.lines.items():
        if line.dtype not in DTYPES_OF_NUMPY:
            contents[name] = LazyArray(line.shape, line.dtype, _refuse)
            size = line.end - line.begin
            contents.raw[name] = _in_rows(open_file, line.begin, (size,), np.dtype("uint8"))
            continue
        dtype = np.dtype(DTYPES_OF_NUMPY[line.dtype]).newbyteorder("<")
        contents[name] = _in_rows(open_file, line.begin, line.shape, dtype)
    yield contents


def _refuse(region: Selection) -> Array:
    raise ValueError("NumPy has no such dtype")


@contextlib.contextmanager
def _hdf5(path: str | IO[bytes]) -> Iterator[Contents]:
    """Open a file of HDF5, in which Keras saves weights."""
    import h5py  # comes with Keras

    contents = Contents()

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            # Otherwise the values are in another file, which the digest of this one does not cover.
            if node.shape is not None and not node.external and not node.is_virtual:
                contents[name] = _dataset(node)
            return
        around, _, last = f"/{name}".rpartition("/")
        if last == "vars" and "name" in node.attrs:
            contents.layers[around[1:]] = str(node.attrs["name"])
        # That of Keras 2, of which the names of many weights are cut into parts.
        elif any(key.startswith("weight_names") for key in node.attrs):
            contents.layers[name] = last

    with h5py.File(path, "r") as file:
        file.visititems(visit)
        _put_in_order(contents, file)
        yield contents


def _put_in_order(contents: Contents, file: Any) -> None:
    """Put the arrays of a file of Keras 2 in the order of its layers, where it lists them."""
    listed = []
    for prefix in ("", "model_weights/"):
        for layer in _texts(file.get(prefix or "/"), "layer_names"):
            for weight in _texts(file.get(f"{prefix}{layer}"), "weight_names"):
                listed.append(f"{prefix}{layer}/{weight}")
    arrays = dict(contents)
    first = {name: arrays[name] for name in listed if name in arrays}
    if first:
        contents.clear()
        contents.update({**first, **arrays})
        contents.are_in_order = True


def _texts(group: Any, attribute: str) -> list[str]:
    """Return a list of texts that Keras keeps in attributes of a group, in parts if it is long."""
    attributes = {} if group is None else group.attrs
    if attribute in attributes:
        parts = [attributes[attribute]]
    else:
        names = (f"{attribute}{number}" for number in itertools.count())
        parts = [attributes[name] for name in itertools.takewhile(attributes.__contains__, names)]
    found = []
    for text in itertools.chain.from_iterable(parts):
        found.append(text.decode() if isinstance(text, bytes) else str(text))
    return found


def _dataset(node: Any) -> LazyArray:
    # Set by Keras: HDF5 has no such type.
    is_bfloat16 = node.attrs.get("dtype") == "bfloat16"

    def read(region: Selection) -> Array:
        values = np.asarray(node[region])
        return values.view("bfloat16") if is_bfloat16 else values

    dtype: DType = "bfloat16" if is_bfloat16 else node.dtype.name
    return LazyArray(node.shape, dtype, read)


@contextlib.contextmanager
def _keras(path: str) -> Iterator[Contents]:
    """Open a model that Keras saved, an archive with the weights as HDF5."""
    with tempfile.TemporaryFile() as weights:
        # HDF5 seeks back and forth, and seeking back in an archive means reading it again from
        # the start.
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as member:
            shutil.copyfileobj(member, weights)
        with _hdf5(weights) as contents:
            yield contents


FORMATS: dict[str, Callable[[str], contextlib.AbstractContextManager[Contents]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".keras": _keras,
}
