"""Read and write files of safetensors.

8 bytes      the length of the header, little-endian
header       {"fc.bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
              "__metadata__": {"format": "pt"}}, JSON, and spaces up to a multiple of 8 bytes
the rest     the bytes of all arrays, to which the offsets refer
"""

import io
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_initx._typing import Array, DType, Shape
from keras_initx.files._local import parse_json

# The names that the format has for dtypes of NumPy. It has more, such as F8_E8M0.
DTYPES_OF_NUMPY = {
    "BOOL": "bool",
    "BF16": "bfloat16",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}
_METADATA = "__metadata__"
# The values begin at a multiple of these bytes, so that they can be used where the file is mapped.
_ALIGNMENT = 8


class ArrayHeader(NamedTuple):
    """The entry of an array in a header.

    Attributes:
        dtype: The name of its dtype in this format.
        shape: Its shape.
        begin: The position of its first byte in the file.
    """

    dtype: str
    shape: Shape
    begin: int


@dataclass
class Header:
    """The header of a file.

    Attributes:
        arrays: The entry of each array, by name.
        metadata: The metadata of the file, as texts.
    """

    arrays: dict[str, ArrayHeader] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)


def read_header(path: str) -> Header:
    """Read the header of a file.

    Raises:
        ValueError: If the file is cut off, or the size of an array does not match its shape.
    """
    size = os.path.getsize(path)
    with io.FileIO(path) as file:
        length = int.from_bytes(file.read(8), "little")
        if length > size - 8:
            raise ValueError("its header is cut off")
        content = parse_json(file.read(length))
    header = Header(metadata=content.pop(_METADATA, {}))
    for name, entry in content.items():
        shape = tuple(entry["shape"])
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        if not 8 + length <= begin <= end <= size:
            raise ValueError(f"it ends before {name!r}")
        if entry["dtype"] in DTYPES_OF_NUMPY:
            itemsize = np.dtype(DTYPES_OF_NUMPY[entry["dtype"]]).itemsize
            if end - begin != math.prod(shape) * itemsize:
                raise ValueError(f"the size of {name!r} does not match its shape")
        header.arrays[name] = ArrayHeader(entry["dtype"], shape, begin)
    return header


class ArraySpec(NamedTuple):
    """The dtype, shape and size of an array to write.

    Attributes:
        dtype: The name of its dtype in this format.
        shape: Its shape.
        size: The number of its bytes.
    """

    dtype: str
    shape: Shape
    size: int


def format_dtype(dtype: DType) -> str | None:
    """Return the name of a dtype of NumPy in this format, or `None` if there is none."""
    names = {ours: theirs for theirs, ours in DTYPES_OF_NUMPY.items()}
    return names.get(dtype)


def write_safetensors(
    path: str | Path,
    specs: Mapping[str, ArraySpec],
    arrays: Iterable[Array],
    metadata: Mapping[str, str],
) -> None:
    """Write a file, array by array.

    Args:
        path: The file.
        specs: The arrays by name, in the order in which they are written.
        arrays: The same arrays. Each is made when it is written.
        metadata: Texts about the file.

    Raises:
        OSError: If the file cannot be written.
    """
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name, array in specs.items():
        begin, end = end, end + array.size
        entry = {"dtype": array.dtype, "shape": array.shape, "data_offsets": (begin, end)}
        header[name] = entry
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for values in arrays:
            little = values.astype(values.dtype.newbyteorder("<"), copy=False)
            file.write(np.ascontiguousarray(little).reshape(-1).view("uint8").data)
            del values, little  # which the next array would come beside
