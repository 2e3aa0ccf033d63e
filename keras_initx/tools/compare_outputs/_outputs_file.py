"""Read and write the file of recorded outputs, an `.npz` file.

    calls      JSON as bytes: versions, records with their fields, and numbers of tensors
    float32    the values that are kept in this dtype, of all arrays, one after the other
    float64    and int64: the same

A record is stored by the names of its fields, so a new field needs no code here, only another
version of the file:

    {"record": "CallKey", "fields": {"name": "dense/kernel", "number": 1}}
    {"tuple": [3, 2]}    {"dict": [["inputs", ...]]}    {"array": ["float32", 0, 6]}
    {"tensor": 0}        its number in `tensors`: calls share tensors, which shows their order
"""

import dataclasses
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_initx._received import show
from keras_initx._typing import Array
from keras_initx.files import _local
from keras_initx.inspection._environment import Environment
from keras_initx.tools.compare_outputs._components import Component
from keras_initx.tools.compare_outputs._recorded import CallKey, RecordedCall
from keras_initx.tools.compare_outputs._recorded_step import (
    ArrayChange,
    RecordedArray,
    RecordedChange,
    RecordedStep,
    RecordedTarget,
    RecordedWeight,
)
from keras_initx.tools.compare_outputs._samples import Order, RecordedTensor, choose_indices

_FORMAT = "keras_initx outputs"
_VERSION = 5
# In which values are kept.
_DTYPES = ("float32", "float64", "int64")


class FileContent(NamedTuple):
    """The content of a file of outputs.

    Attributes:
        calls: The calls.
        framework: The framework that has made them.
        backend: The backend that has made them.
        step: The first step, `None` if there is none.
        environment: The versions and devices that have computed them, `None` if they are not known.
        weights: The weights and buffers of a model of Keras, by their paths.
    """

    calls: Sequence[RecordedCall]
    framework: str
    backend: str
    step: RecordedStep | None
    environment: Environment | None
    weights: Mapping[str, RecordedTensor]


_RECORDS: Mapping[str, type] = {
    record.__name__: record
    for record in (
        ArrayChange,
        CallKey,
        Component,
        Environment,
        FileContent,
        Order,
        RecordedArray,
        RecordedCall,
        RecordedChange,
        RecordedStep,
        RecordedTarget,
        RecordedTensor,
        RecordedWeight,
    )
}


def _list_fields(record: type) -> list[str]:
    if dataclasses.is_dataclass(record):
        return [field.name for field in dataclasses.fields(record)]
    return list(record.__annotations__)  # of a `NamedTuple`


class _Writer:
    """Converts records to JSON, and collects the values of arrays.

    Attributes:
        values: Lists of arrays by their dtypes.
        tensors: The tensors of all records, each once, as JSON.
    """

    def __init__(self) -> None:
        self.values: dict[str, list[Array]] = {dtype: [np.zeros(0, dtype)] for dtype in _DTYPES}
        self.tensors: list[Any] = []
        self._ends = dict.fromkeys(_DTYPES, 0)
        self._numbers: dict[int, int] = {}

    def convert(self, value: Any) -> Any:
        """Convert a record, or what a field of it holds."""
        if isinstance(value, RecordedTensor):
            return {"tensor": self._number_tensor(value)}
        if isinstance(value, np.ndarray):
            dtype = value.dtype.name
            self.values[dtype].append(value)
            begin = self._ends[dtype]
            self._ends[dtype] += value.size
            return {"array": [dtype, begin, self._ends[dtype]]}
        if type(value) in _RECORDS.values():
            return self._convert_record(value)
        if isinstance(value, Mapping):
            return {"dict": [[self.convert(key), self.convert(one)] for key, one in value.items()]}
        if isinstance(value, tuple):
            return {"tuple": list(map(self.convert, value))}
        if isinstance(value, list):
            return list(map(self.convert, value))
        return value

    def _convert_record(self, record: Any) -> Any:
        kind = type(record)
        fields = {name: self.convert(getattr(record, name)) for name in _list_fields(kind)}
        return {"record": kind.__name__, "fields": fields}

    def _number_tensor(self, tensor: RecordedTensor) -> int:
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = len(self.tensors)
            # Only the side that compares needs other orders and units, and measures them anew.
            order, kept = next(iter(tensor.values.items()))
            own = dataclasses.replace(
                tensor, values={order: kept}, before_flattened=None, units=None
            )
            self.tensors.append(self._convert_record(own))
        return self._numbers[id(tensor)]


class _Reader:
    """Converts JSON to the records that `_Writer` has converted.

    Args:
        values: The values of all arrays, by their dtypes.
        tensors: The tensors, as JSON.

    Raises:
        ValueError: If a tensor has more or fewer values than are kept for its shape.
    """

    def __init__(self, values: Mapping[str, Array], tensors: Sequence[Any]) -> None:
        self._values = values
        self._tensors: list[RecordedTensor] = []
        for content in tensors:
            tensor = self.convert(content)
            if tensor.own_values.size != choose_indices(math.prod(tensor.shape)).size:
                raise ValueError(f"a tensor of {tensor.shape} has other values")
            self._tensors.append(tensor)

    def convert(self, content: Any) -> Any:
        """Convert a record, or what a field of it holds.

        Raises:
            ValueError: If a record has other fields, or there are too few values.
        """
        if isinstance(content, list):
            return list(map(self.convert, content))
        if not isinstance(content, dict):
            return content
        if "tensor" in content:
            return self._tensors[content["tensor"]]
        if "array" in content:
            return self._take_values(*content["array"])
        if "dict" in content:
            return {self.convert(key): self.convert(one) for key, one in content["dict"]}
        if "tuple" in content:
            return tuple(map(self.convert, content["tuple"]))
        record = _RECORDS[content["record"]]
        fields = {name: self.convert(one) for name, one in content["fields"].items()}
        if list(fields) != _list_fields(record):
            raise ValueError(f"a {content['record']} has the fields {', '.join(fields)}")
        return record(**fields)

    def _take_values(self, dtype: str, begin: int, end: int) -> Array:
        values = self._values[dtype]
        if values.dtype != dtype or values.size < end:
            raise ValueError(f"it needs {end} values in {dtype}, and has {values.size}")
        return values[begin:end]


def save_outputs(path: str | Path, content: FileContent) -> None:
    """Write calls and the first step to a file, as a whole or not at all.

    Raises:
        OSError: If it cannot be written.
        ValueError: If `path` is a URL or has another suffix than `.npz`.
    """
    _local.check_local("path", path)
    if Path(path).suffix != ".npz":
        raise ValueError(f"`path` must end in `.npz`. Received: path={show(str(path))}")
    writer = _Writer()
    converted = writer.convert(content)
    head = {"format": _FORMAT, "version": _VERSION}
    text = json.dumps({**head, "tensors": writer.tensors, "content": converted}).encode()
    arrays: dict[str, Any] = {}
    for dtype, parts in writer.values.items():
        arrays[dtype] = np.concatenate(parts)
    file = io.BytesIO()
    np.savez(file, calls=np.frombuffer(text, "uint8"), **arrays)
    _local.write_file(path, file.getvalue())


def read_outputs(argument: str, path: str | Path) -> FileContent:
    """Read a file of outputs.

    Args:
        argument: Name of the argument in error messages.
        path: The file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is none that `save` wrote, is damaged, or has another version.
    """
    whole = Path(path).read_bytes()
    received = f"Received: {argument}={show(str(path))}"
    try:
        version, content = _parse_file(whole)
    except Exception as error:  # of NumPy, of the archive, of JSON: what reading raises is damage
        raise ValueError(
            f"`{argument}` must be a file that `record_outputs(...).save` wrote, and not damaged. "
            f"{received}: {type(error).__name__}: {error}"
        ) from error
    if content is None:
        raise ValueError(
            f"`{argument}` must be a file of the version {_VERSION}, which this version of "
            f"keras_initx writes: record the outputs again. {received}, of the version {version}"
        )
    return content


def _parse_file(whole: bytes) -> tuple[Any, FileContent | None]:
    """Parse the version of a file, and its content, `None` if it has another version."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        # Each member is read to its end, where its CRC-32 is checked, also what nobody reads.
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} is damaged")
    with np.load(io.BytesIO(whole), allow_pickle=False) as arrays:
        content = json.loads(arrays["calls"].tobytes())
        if content["format"] != _FORMAT:
            raise ValueError(f"it has the format {content['format']!r}")
        if content["version"] != _VERSION:
            return content["version"], None
        values = {dtype: arrays[dtype] for dtype in _DTYPES}
    converted = _Reader(values, content["tensors"]).convert(content["content"])
    if not isinstance(converted, FileContent):
        raise ValueError(f"it has a {type(converted).__name__}")
    return _VERSION, converted
