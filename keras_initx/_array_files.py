"""Read arrays by name from the weight files of frameworks. Nothing is ever unpickled.

A format is a context manager that opens a file and yields two functions: `names()` lists its
arrays, `stored(name)` describes one of them without reading it, or returns `None` if it does not
exist.
"""

import contextlib
import functools
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType
from typing import IO, NamedTuple

import numpy as np

from keras_initx._extras import import_optional
from keras_initx._files import check_local
from keras_initx._typing import Array, DType, Shape

# A slice for each axis, or everything.
Region = tuple[slice, ...] | EllipsisType


class Stored(NamedTuple):
    """An array in a file.

    Attributes:
        shape: Its shape.
        dtype: The name of its dtype.
        read: Function of a region (`...` for the whole) that reads it while the file is open, from
            safetensors and HDF5 without the rest of the array.
    """

    shape: Shape
    dtype: DType
    read: Callable[[Region], Array]


# The array of a `.npy` file has no name.
Name = str | None
Contents = dict[Name, Stored]
File = tuple[Callable[[], Sequence[Name]], Callable[[Name], Stored | None]]


def suffix(path: str) -> str:
    """Return the suffix of `path`, which determines the file format."""
    return os.path.splitext(path)[1].lower()


def check_file(argument: str, path: str) -> None:
    """Raise `ValueError` unless there is a file at `path`."""
    check_local(argument, path)
    if not os.path.isfile(path):
        found = "a folder" if os.path.isdir(path) else "none"
        raise ValueError(
            f"`{argument}` must be an existing file, but there is {found} at {os.path.abspath(path)}. "
            f"Received: {argument}={path!r}"
        )


def read_array(path: str, name: str | None, accepts: Callable[[Stored], bool]) -> Array | Contents:
    """Read a single array from a file.

    Args:
        path: The file.
        name: Name of the array; `None` if it is the only one.
        accepts: Predicate on a `Stored`. If it is false for the named array, nothing is read.

    Returns:
        The array; or, if it was not found or not accepted, the contents of the file: a dict from
        name to `Stored`.

    Raises:
        ValueError: If the file cannot be read.
        ImportError: If the package that reads the format is missing.
    """
    with _refused("path", path), FORMATS[suffix(path)](path) as (names, stored):
        if name is None and len(names()) == 1:
            name = names()[0]
        found = stored(name)
        if found is not None and accepts(found):
            return found.read(...)
        return {name: array for name in names() if (array := stored(name))}


@contextlib.contextmanager
def open_arrays(argument: str, path: str) -> Iterator[dict[str, Stored]]:
    """Open a file for the duration of the block and yield its arrays by name, none of them read yet.

    Args:
        argument: Name of the argument in error messages.
        path: The file. Not a `.npy` file, whose array has no name.

    Raises:
        ValueError: If the file cannot be read, now or later, when an array is read.
        ImportError: If the package that reads the format is missing.
    """

    def read(found: Stored, region: Region) -> Array:
        with _refused(argument, path):
            return found.read(region)

    with contextlib.ExitStack() as stack:
        with _refused(argument, path):
            names, stored = stack.enter_context(FORMATS[suffix(path)](path))
            contents = {name: found for name in names() if name and (found := stored(name))}
        yield {
            name: found._replace(read=functools.partial(read, found))
            for name, found in contents.items()
        }


@contextlib.contextmanager
def _refused(argument: str, path: str) -> Iterator[None]:
    """Turn any exception about a file into a `ValueError` that names the file."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:  # each format raises its own exceptions
        raise ValueError(
            f"`{argument}` must be a {suffix(path)} file: {error}. Received: {argument}={path!r}"
        ) from error


@contextlib.contextmanager
def _npy(path: str) -> Iterator[File]:
    yield (
        lambda: [None],
        lambda name: _npy_array(functools.partial(io.FileIO, path)) if name is None else None,
    )


@contextlib.contextmanager
def _npz(path: str) -> Iterator[File]:
    with zipfile.ZipFile(path) as archive:
        members = {
            name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")
        }

        def stored(name: Name) -> Stored | None:
            return (
                _npy_array(functools.partial(archive.open, members[name]))
                if name in members
                else None
            )

        yield lambda: list(members), stored


def _npy_array(open_file: Callable[[], IO[bytes]]) -> Stored:
    def read(region: Region) -> Array:
        with open_file() as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False)[region])

    with open_file() as file:
        version = np.lib.format.read_magic(file)
        header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = header(file)
    return Stored(shape, dtype.name, read)


@contextlib.contextmanager
def _safetensors(path: str) -> Iterator[File]:
    safe_open = import_optional("safetensors", "safetensors").safe_open
    dtypes = {
        "F16": "float16",
        "BF16": "bfloat16",
        "F32": "float32",
        "F64": "float64",
        "BOOL": "bool",
    }
    dtypes |= {
        f"{kind[0].upper()}{bits}": f"{kind}{bits}"
        for kind in ("int", "uint")
        for bits in (8, 16, 32, 64)
    }
    with safe_open(path, framework="numpy") as file:
        names = file.keys()

        def stored(name: Name) -> Stored | None:
            if name not in names:
                return None
            about = file.get_slice(name)
            code = about.get_dtype()

            def read(region: Region) -> Array:
                return np.asarray(file.get_tensor(name) if region is ... else about[region])

            return Stored(tuple(about.get_shape()), dtypes.get(code, code), read)

        yield lambda: names, stored


@contextlib.contextmanager
def _hdf5(path_or_file: str | IO[bytes]) -> Iterator[File]:
    import h5py  # comes with Keras

    def names() -> Sequence[str]:
        found: list[str] = []
        file.visititems(lambda name, node: found.append(name) if stored(name) else None)
        return found

    def stored(name: Name) -> Stored | None:
        node = file.get(name) if name else None
        if not isinstance(node, h5py.Dataset) or node.shape is None:
            return None
        if node.file != file or node.external or node.is_virtual:
            return (
                None  # the values are in another file, which the digest of this one does not cover
            )
        if node.attrs.get("dtype") == "bfloat16":  # set by Keras: HDF5 has no such type
            return Stored(
                node.shape, "bfloat16", lambda region: np.asarray(node[region]).view("bfloat16")
            )
        return Stored(node.shape, node.dtype.name, lambda region: np.asarray(node[region]))

    with h5py.File(path_or_file, "r") as file:
        yield names, stored


@contextlib.contextmanager
def _keras(path: str) -> Iterator[File]:
    with tempfile.TemporaryFile() as weights:
        # HDF5 seeks back and forth, and seeking back in an archive means reading it again from the
        # start.
        with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as member:
            shutil.copyfileobj(member, weights)
        with _hdf5(weights) as arrays:
            yield arrays


FORMATS: dict[str, Callable[[str], contextlib.AbstractContextManager[File]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".keras": _keras,
}
