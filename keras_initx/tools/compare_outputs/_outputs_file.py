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

from keras_initx._typing import Array
from keras_initx.files import _local
from keras_initx.tools.compare_outputs._recorded import CallKey, RecordedCall
from keras_initx.tools.compare_outputs._recorded_step import (
    RecordedChange,
    RecordedStep,
    RecordedWeight,
)
from keras_initx.tools.compare_outputs._samples import RecordedTensor, own_order, places

# The first step in a file of recorded outputs: a part of its JSON, and an array of values.


def step_as_json(step: RecordedStep, numbers: Mapping[int, int]) -> dict[str, Any]:
    """Return a step as JSON.

    Args:
        step: The step.
        numbers: The places of tensors in the file, by their ids.
    """
    return {
        "obstacle": step.obstacle,
        "outputs": {place: numbers[id(tensor)] for place, tensor in step.outputs.items()},
        "loss": step.loss,
        "added": step.added,
        "summed": step.summed,
        "counts": list(step.counts.items()),
        "without_gradients": step.without_gradients,
        "without_updates": step.without_updates,
        "settings": dict(step.settings),
        "weights": [_weight_as_json(weight) for weight in step.weights],
    }


def _weight_as_json(weight: RecordedWeight) -> list[Any]:
    norms = [None if one is None else one.norm for one in (weight.gradient, weight.update)]
    return [weight.path, weight.kind, list(weight.shape), weight.dtype, *norms]


def step_values(step: RecordedStep | None) -> Array:
    """Return the values of all gradients and updates that are kept, one after the other."""
    found = [np.zeros(0, "float32")]
    if step is not None:
        for weight in step.weights:
            found += [change.values for change in weight.changes]
    return np.concatenate(found)


def step_in(
    content: Mapping[str, Any] | None, tensors: Sequence[RecordedTensor], values: Array
) -> RecordedStep | None:
    """Return the step in a file, `None` if there is none.

    Args:
        content: What `step_as_json` has returned.
        tensors: The tensors in the file.
        values: What `step_values` has returned.

    Raises:
        ValueError: If there are more or fewer values than the weights have.
    """
    weights = []
    begin = 0
    for path, kind, lengths, dtype, *norms in () if content is None else content["weights"]:
        changes = []
        for norm in norms:
            end = begin
            if norm is not None:
                end += places(math.prod(lengths)).size
            kept = values[begin:end]
            changes.append(None if norm is None else RecordedChange(float(norm), kept))
            begin = end
        gradient, update = changes
        shape = tuple(lengths)
        weights.append(RecordedWeight(str(path), kind, shape, str(dtype), gradient, update))
    if begin != values.size or values.dtype != "float32":
        raise ValueError(f"{begin} values of a step are due, {values.size} are there")
    if content is None:
        return None
    return RecordedStep(
        obstacle=str(content["obstacle"]),
        outputs={place: tensors[number] for place, number in content["outputs"].items()},
        loss=float(content["loss"]),
        added=float(content["added"]),
        summed=int(content["summed"]),
        counts={int(number): str(name) for number, name in content["counts"]},
        weights=weights,
        without_gradients=str(content["without_gradients"]),
        without_updates=str(content["without_updates"]),
        settings=dict(content["settings"]),
    )


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
    _local.check_local("path", path)
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
    _local.write(path, file.getvalue())


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
