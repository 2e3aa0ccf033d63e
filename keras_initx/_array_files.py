"""Read arrays by name from the weight files of frameworks. Nothing is ever unpickled.

A format is a class, with a subclass of `ArrayFile` for each: `open` opens a file, `names` lists its
arrays, and `stored` describes one of them without reading it.
"""

import abc
import contextlib
import functools
import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from types import EllipsisType
from typing import IO, Any, NamedTuple

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
    with _refused("path", path), FORMATS[suffix(path)].open(path) as file:
        if name is None:
            names = file.names()
            if len(names) == 1:
                name = names[0]
        found = file.stored(name)
        if found is not None and accepts(found):
            return found.read(...)
        contents: Contents = {}
        for array_name in file.names():
            found = file.stored(array_name)
            if found is not None:
                contents[array_name] = found
        return contents


@contextlib.contextmanager
def open_arrays(argument: str, path: str) -> Iterator[dict[str, Stored]]:
    """Open a file for the duration of the block and yield its arrays by name, not yet read.

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

    contents = {}
    with contextlib.ExitStack() as stack:
        with _refused(argument, path):
            file = stack.enter_context(FORMATS[suffix(path)].open(path))
            for name in file.names():
                if not name:
                    continue
                found = file.stored(name)
                if found is not None:
                    contents[name] = found._replace(read=functools.partial(read, found))
        yield contents


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


class ArrayFile(abc.ABC):
    """An open file with arrays."""

    @classmethod
    @abc.abstractmethod
    def open(cls, path: str) -> contextlib.AbstractContextManager["ArrayFile"]:
        """Open a file for the duration of the block."""

    @abc.abstractmethod
    def names(self) -> Sequence[Name]:
        """Return the names of its arrays."""

    @abc.abstractmethod
    def stored(self, name: Name) -> Stored | None:
        """Return a description of an array, which is not read, or `None` if it does not exist."""


class NpyFile(ArrayFile):
    """NumPy's file of a single array, which has no name."""

    def __init__(self, path: str) -> None:
        self._path = path

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: str) -> Iterator[ArrayFile]:
        yield cls(path)

    def names(self) -> Sequence[Name]:
        return [None]

    def stored(self, name: Name) -> Stored | None:
        if name is not None:
            return None
        return _npy_array(functools.partial(io.FileIO, self._path))


class NpzFile(ArrayFile):
    """NumPy's archive of `.npy` files."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._members = {}
        for member in archive.namelist():
            if member.endswith(".npy"):
                self._members[member.removesuffix(".npy")] = member

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: str) -> Iterator[ArrayFile]:
        with zipfile.ZipFile(path) as archive:
            yield cls(archive)

    def names(self) -> Sequence[Name]:
        return list(self._members)

    def stored(self, name: Name) -> Stored | None:
        if name not in self._members:
            return None
        return _npy_array(functools.partial(self._archive.open, self._members[name]))


def _npy_array(open_file: Callable[[], IO[bytes]]) -> Stored:
    def read(region: Region) -> Array:
        with open_file() as file:
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False)[region])

    with open_file() as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    return Stored(shape, dtype.name, read)


class SafetensorsFile(ArrayFile):
    """A file of safetensors, which reads a slice without the rest."""

    _DTYPES = {
        "F16": "float16",
        "BF16": "bfloat16",
        "F32": "float32",
        "F64": "float64",
        "BOOL": "bool",
        "I8": "int8",
        "I16": "int16",
        "I32": "int32",
        "I64": "int64",
        "U8": "uint8",
        "U16": "uint16",
        "U32": "uint32",
        "U64": "uint64",
    }

    def __init__(self, file: Any) -> None:
        self._file = file
        self._names: Sequence[Name] = file.keys()

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: str) -> Iterator[ArrayFile]:
        safetensors = import_optional("safetensors", "safetensors")
        with safetensors.safe_open(path, framework="numpy") as file:
            yield cls(file)

    def names(self) -> Sequence[Name]:
        return self._names

    def stored(self, name: Name) -> Stored | None:
        if name not in self._names:
            return None
        part = self._file.get_slice(name)

        def read(region: Region) -> Array:
            if region is ...:
                return np.asarray(self._file.get_tensor(name))
            return np.asarray(part[region])

        code = part.get_dtype()
        return Stored(tuple(part.get_shape()), self._DTYPES.get(code, code), read)


class Hdf5File(ArrayFile):
    """A file of HDF5, in which Keras saves weights."""

    def __init__(self, file: Any) -> None:
        self._file = file

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: str | IO[bytes]) -> Iterator[ArrayFile]:
        import h5py  # comes with Keras

        with h5py.File(path, "r") as file:
            yield cls(file)

    def names(self) -> Sequence[Name]:
        found: list[str] = []

        def visit(name: str, _: Any) -> None:
            if self.stored(name) is not None:
                found.append(name)

        self._file.visititems(visit)
        return found

    def stored(self, name: Name) -> Stored | None:
        import h5py

        node = self._file.get(name) if name else None
        if not isinstance(node, h5py.Dataset) or node.shape is None:
            return None
        # The values are in another file, which the digest of this one does not cover.
        if node.file != self._file or node.external or node.is_virtual:
            return None
        # Set by Keras: HDF5 has no such type.
        is_bfloat16 = node.attrs.get("dtype") == "bfloat16"

        def read(region: Region) -> Array:
            values = np.asarray(node[region])
            if is_bfloat16:
                return values.view("bfloat16")
            return values

        return Stored(node.shape, "bfloat16" if is_bfloat16 else node.dtype.name, read)


class KerasFile(Hdf5File):
    """A model that Keras saved, an archive with the weights as HDF5."""

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: str | IO[bytes]) -> Iterator[ArrayFile]:
        with tempfile.TemporaryFile() as weights:
            # HDF5 seeks back and forth, and seeking back in an archive means reading it again from
            # the start.
            with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as member:
                shutil.copyfileobj(member, weights)
            with super().open(weights) as file:
                yield file


FORMATS: dict[str, type[ArrayFile]] = {
    ".npy": NpyFile,
    ".npz": NpzFile,
    ".safetensors": SafetensorsFile,
    ".h5": Hdf5File,
    ".hdf5": Hdf5File,
    ".keras": KerasFile,
}
