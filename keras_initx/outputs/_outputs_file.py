"""The file of recorded outputs: arrays of NumPy, without pickles, and a text on what they are.

`float32`, `float64` and `int64` have the values of all tensors that are kept in these dtypes, one
after the other. `calls` is JSON in UTF-8: the tensors, and the calls and the first step, which
refer to them by their places. `step` has the values of its gradients and updates.
"""

import io
import json
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_initx import _files
from keras_initx._typing import Array
from keras_initx.outputs._recorded import CallKey, RecordedCall
from keras_initx.outputs._recorded_step import RecordedStep
from keras_initx.outputs._samples import RecordedTensor, own_order, places
from keras_initx.outputs._step_file import step_as_json, step_in, step_values

_FORMAT = "keras_initx outputs"
_VERSION = 1
# In which values are kept.
_DTYPES = ("float32", "float64", "int64")


def save_outputs(
    path: str | Path,
    calls: Sequence[RecordedCall],
    framework: str,
    backend: str,
    step: RecordedStep | None,
) -> None:
    """Write calls and the first step to a file, as a whole or not at all.

    Raises:
        OSError: If it cannot be written.
        ValueError: If `path` is a URL or has another suffix than `.npz`.
    """
    _files.check_local("path", path)
    if Path(path).suffix != ".npz":
        raise ValueError(f"`path` must end in `.npz`. Received: path={str(path)!r}")
    tensors: dict[int, RecordedTensor] = {}
    for call in calls:
        before = () if call.before_activation is None else (call.before_activation,)
        for tensor in (*call.inputs.values(), *call.outputs.values(), *before):
            tensors.setdefault(id(tensor), tensor)
    for tensor in () if step is None else step.outputs.values():
        tensors.setdefault(id(tensor), tensor)
    numbers = {address: number for number, address in enumerate(tensors)}
    content = {
        "format": _FORMAT,
        "version": _VERSION,
        "framework": framework,
        "backend": backend,
        "tensors": [_as_json(tensor) for tensor in tensors.values()],
        "calls": [_call_as_json(call, numbers) for call in calls],
        "step": None if step is None else step_as_json(step, numbers),
    }
    kept: dict[str, list[Array]] = {dtype: [np.zeros(0, dtype)] for dtype in _DTYPES}
    for tensor in tensors.values():
        kept[tensor.own_values.dtype.name].append(tensor.own_values)
    arrays: dict[str, Any] = {dtype: np.concatenate(parts) for dtype, parts in kept.items()}
    arrays["step"] = step_values(step)
    text = json.dumps(content, allow_nan=True).encode()
    file = io.BytesIO()
    np.savez(file, calls=np.frombuffer(text, "uint8"), **arrays)
    _files.write(path, file.getvalue())


def _as_json(tensor: RecordedTensor) -> list[Any]:
    kept = tensor.own_values.dtype.name
    return [list(tensor.shape), tensor.dtype, kept, tensor.mean, tensor.deviation]


def _call_as_json(call: RecordedCall, numbers: Mapping[int, int]) -> dict[str, Any]:
    before = None
    if call.before_activation is not None:
        before = numbers[id(call.before_activation)]
    return {
        "name": call.key.name,
        "number": call.key.number,
        "kind": call.kind,
        "settings": dict(call.settings),
        "inputs": {name: numbers[id(tensor)] for name, tensor in call.inputs.items()},
        "outputs": {place: numbers[id(tensor)] for place, tensor in call.outputs.items()},
        "begin": call.begin,
        "before_activation": before,
        "is_model": call.is_model,
        "place": call.place,
    }


def read_outputs(
    argument: str, path: str | Path
) -> tuple[list[RecordedCall], str, str, RecordedStep | None]:
    """Return the calls in a file, the framework and the backend that have made them, and the step.

    Args:
        argument: Name of the argument in error messages.
        path: The file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is none that `save` wrote, or is damaged.
    """
    try:
        # NumPy leaves a file open that is no archive.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            content = json.loads(arrays["calls"].tobytes())
            values = {dtype: arrays[dtype] for dtype in _DTYPES}
            of_step = arrays["step"]
        if (content["format"], content["version"]) != (_FORMAT, _VERSION):
            raise ValueError(f"it has the format {content['format']!r}, {content['version']!r}")
        tensors = _tensors_in(content, values)
        step = step_in(content["step"], tensors, of_step)
        calls = _calls_in(content, tensors)
        return calls, str(content["framework"]), str(content["backend"]), step
    except (
        # That of a file that is no archive, is cut off, or has another array or no such place.
        AttributeError,
        EOFError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f"`{argument}` must be a file that `record_outputs(...).save` wrote, and not damaged. "
            f"Received: {argument}={str(path)!r}: {type(error).__name__}: {error}"
        ) from error


def _tensors_in(content: Mapping[str, Any], values: Mapping[str, Array]) -> list[RecordedTensor]:
    tensors = []
    begins = dict.fromkeys(_DTYPES, 0)
    for lengths, dtype, kept_dtype, mean, deviation in content["tensors"]:
        shape = tuple(lengths)
        begin = begins[kept_dtype]
        end = begin + places(math.prod(shape)).size
        kept = {own_order(shape): values[kept_dtype][begin:end]}
        tensors.append(RecordedTensor(shape, str(dtype), float(mean), float(deviation), kept))
        begins[kept_dtype] = end
    for dtype, due in begins.items():
        if due != values[dtype].size or values[dtype].dtype != dtype:
            raise ValueError(f"{due} values in {dtype} are due, {values[dtype].size} are there")
    return tensors


def _calls_in(content: Mapping[str, Any], tensors: Sequence[RecordedTensor]) -> list[RecordedCall]:
    calls = []
    for call in content["calls"]:
        before = None
        if call["before_activation"] is not None:
            before = tensors[call["before_activation"]]
        read = RecordedCall(
            key=CallKey(str(call["name"]), int(call["number"])),
            kind=str(call["kind"]),
            settings=dict(call["settings"]),
            inputs={name: tensors[number] for name, number in call["inputs"].items()},
            outputs={place: tensors[number] for place, number in call["outputs"].items()},
            begin=int(call["begin"]),
            before_activation=before,
            is_model=bool(call["is_model"]),
            place=str(call["place"]),
        )
        calls.append(read)
    return calls
