"""Write and read the file of recorded outputs: arrays of NumPy, without pickles, and a JSON text.

`float32`, `float64` and `int64` have the values of all tensors that are kept in these dtypes, one
after the other. `step` has the values of gradients and updates. `calls` is JSON in UTF-8, in which
calls and the first step refer to tensors by their numbers:

    {"format": "keras_initx outputs", "version": 3, "framework": "keras", "backend": "torch",
     "draws": [false, [], []], "environment": null,
     "tensors": [[[4, 3], "float32", "float32", 0.1, 1.2], ...],    shape, dtype, kept as, mean, std
     "calls": [{"name": "dense", "number": 1, "inputs": {"inputs": 0}, "outputs": {"": 1}, ...}],
     "step": null}
"""

import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_initx._typing import Array
from keras_initx.files import _local
from keras_initx.inspection._environment import Environment
from keras_initx.tools.compare_outputs._components import Component
from keras_initx.tools.compare_outputs._equal_draws import Draws
from keras_initx.tools.compare_outputs._recorded import CallKey, RecordedCall
from keras_initx.tools.compare_outputs._recorded_step import (
    ArrayChange,
    RecordedArray,
    RecordedChange,
    RecordedStep,
    RecordedTarget,
    RecordedWeight,
)
from keras_initx.tools.compare_outputs._samples import RecordedTensor, choose_indices, own_order


def serialize_step(step: RecordedStep, numbers: Mapping[int, int]) -> dict[str, Any]:
    """Serialize a step as JSON.

    Args:
        step: The step.
        numbers: The numbers of tensors in the file, by their ids.
    """
    return {
        "obstacle": step.obstacle,
        "targets": _serialize_targets(step.targets),
        "sample_weights": _serialize_targets(step.sample_weights),
        "by_backend": list(step.by_backend),
        "outputs": {label: numbers[id(tensor)] for label, tensor in step.outputs.items()},
        "loss": step.loss,
        "loss_rounding": step.loss_rounding,
        "added": step.added,
        "summed": step.summed,
        "counts": list(step.counts.items()),
        "without_gradients": step.without_gradients,
        "without_updates": step.without_updates,
        "settings": dict(step.settings),
        "unread": list(step.unread),
        "weights": [_serialize_weight(weight) for weight in step.weights],
        "arrays": [_serialize_array(array) for array in step.arrays],
        "is_whole": step.is_whole,
    }


def _serialize_weight(weight: RecordedWeight) -> list[Any]:
    changes: list[list[float] | None] = []
    for change in (weight.gradient, weight.update):
        changes.append(None if change is None else [change.norm, change.rounding])
    facts = [weight.path, weight.kind, list(weight.shape), weight.dtype, weight.has_row_gradients]
    return [*facts, *changes]


def _serialize_array(array: RecordedArray) -> list[Any]:
    changes: list[list[Any] | None] = []
    for change in (array.gradient, array.update):
        changes.append(None if change is None else [change.norm, change.deviations.size > 0])
    facts = [array.name, array.kind, list(array.shape), array.dtype, array.tied_to]
    return [*facts, *changes]


def _serialize_targets(targets: Mapping[str, RecordedTarget]) -> dict[str, Any]:
    return {label: [list(target.shape), target.digest] for label, target in targets.items()}


def _parse_targets(content: Mapping[str, Any]) -> dict[str, RecordedTarget]:
    targets = {}
    for label, (shape, digest) in content.items():
        targets[label] = RecordedTarget(tuple(shape), str(digest))
    return targets


def join_step_values(step: RecordedStep | None) -> Array:
    """Join the values of all gradients and updates that are kept."""
    parts = [np.zeros(0, "float32")]
    if step is not None:
        for weight in step.weights:
            parts += [change.values for change in weight.changes]
        for array in step.arrays:
            for change in array.changes:
                parts += [change.values, change.deviations]
    return np.concatenate(parts)


def parse_step(
    content: Mapping[str, Any] | None, tensors: Sequence[RecordedTensor], values: Array
) -> RecordedStep | None:
    """Parse the step in a file, `None` if there is none.

    Args:
        content: The result of `serialize_step`.
        tensors: The tensors in the file.
        values: The result of `join_step_values`.

    Raises:
        ValueError: If there are more or fewer values than the weights have.
    """
    reader = _ValueReader(values)
    weights = []
    for path, kind, lengths, dtype, in_rows, *sizes in (
        () if content is None else content["weights"]
    ):
        changes: list[RecordedChange | None] = []
        for size in sizes:
            if size is None:
                changes.append(None)
                continue
            norm, rounding = map(float, size)
            kept = reader.take(choose_indices(math.prod(lengths)).size)
            changes.append(RecordedChange(norm, kept, rounding))
        gradient, update = changes
        weight = RecordedWeight(
            str(path),
            kind,
            tuple(lengths),
            str(dtype),
            gradient,
            update,
            has_row_gradients=bool(in_rows),
        )
        weights.append(weight)
    arrays = [] if content is None else _parse_arrays(content, reader)
    if reader.begin != values.size or values.dtype != "float32":
        raise ValueError(f"its step needs {reader.begin} values, and has {values.size}")
    if content is None:
        return None
    return RecordedStep(
        obstacle=str(content["obstacle"]),
        targets=_parse_targets(content["targets"]),
        sample_weights=_parse_targets(content["sample_weights"]),
        by_backend=list(map(str, content["by_backend"])),
        outputs={label: tensors[number] for label, number in content["outputs"].items()},
        loss=float(content["loss"]),
        loss_rounding=float(content["loss_rounding"]),
        added=float(content["added"]),
        summed=int(content["summed"]),
        counts={int(number): str(name) for number, name in content["counts"]},
        weights=weights,
        without_gradients=str(content["without_gradients"]),
        without_updates=str(content["without_updates"]),
        settings=dict(content["settings"]),
        unread=list(map(str, content["unread"])),
        arrays=arrays,
        is_whole=bool(content["is_whole"]),
    )


class _ValueReader:
    """Takes the values of a step, one after the other.

    Attributes:
        begin: How many were taken, or are due.
    """

    def __init__(self, values: Array) -> None:
        self._values = values
        self.begin = 0

    def take(self, count: int) -> Array:
        """Return the next values."""
        self.begin += count
        return self._values[self.begin - count : self.begin]


def _parse_arrays(content: Mapping[str, Any], reader: _ValueReader) -> list[RecordedArray]:
    arrays = []
    for name, kind, lengths, dtype, tied_to, *sizes in content["arrays"]:
        shape = tuple(lengths)
        count = math.prod(shape) if content["is_whole"] else choose_indices(math.prod(shape)).size
        changes: list[ArrayChange | None] = []
        for size in sizes:
            if size is None:
                changes.append(None)
                continue
            norm, has_deviations = size
            kept = reader.take(count)
            deviations = reader.take(count if has_deviations else 0)
            changes.append(ArrayChange(float(norm), kept, deviations))
        gradient, update = changes
        arrays.append(
            RecordedArray(str(name), kind, shape, str(dtype), gradient, update, str(tied_to))
        )
    return arrays


_FORMAT = "keras_initx outputs"
_VERSION = 4
# In which values are kept.
_DTYPES = ("float32", "float64", "int64")


def save_outputs(
    path: str | Path,
    calls: Sequence[RecordedCall],
    framework: str,
    backend: str,
    step: RecordedStep | None,
    draws: Draws,
    environment: Environment | None,
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
        "draws": [draws.is_random, draws.repeated, draws.by_backend],
        "environment": None if environment is None else asdict(environment),
        "tensors": [_serialize_tensor(tensor) for tensor in tensors.values()],
        "calls": [_serialize_call(call, numbers) for call in calls],
        "step": None if step is None else serialize_step(step, numbers),
    }
    kept: dict[str, list[Array]] = {dtype: [np.zeros(0, dtype)] for dtype in _DTYPES}
    for tensor in tensors.values():
        kept[tensor.own_values.dtype.name].append(tensor.own_values)
    arrays: dict[str, Any] = {dtype: np.concatenate(parts) for dtype, parts in kept.items()}
    arrays["step"] = join_step_values(step)
    text = json.dumps(content, allow_nan=True).encode()
    file = io.BytesIO()
    np.savez(file, calls=np.frombuffer(text, "uint8"), **arrays)
    _local.write_file(path, file.getvalue())


def _serialize_tensor(tensor: RecordedTensor) -> list[Any]:
    kept = tensor.own_values.dtype.name
    return [list(tensor.shape), tensor.dtype, kept, tensor.mean, tensor.deviation]


def _serialize_call(call: RecordedCall, numbers: Mapping[int, int]) -> dict[str, Any]:
    before = None
    if call.before_activation is not None:
        before = numbers[id(call.before_activation)]
    return {
        "name": call.key.name,
        "number": call.key.number,
        "kind": call.kind,
        "settings": dict(call.settings),
        "inputs": {name: numbers[id(tensor)] for name, tensor in call.inputs.items()},
        "outputs": {label: numbers[id(tensor)] for label, tensor in call.outputs.items()},
        "begin": call.begin,
        "before_activation": before,
        "is_model": call.is_model,
        "place": call.canonical_path,
        "components": [asdict(component) for component in call.components],
        "trained": dict(call.trained),
        "masks": dict(call.masks),
    }


class FileContent(NamedTuple):
    """The content of a file of outputs.

    Attributes:
        calls: The calls.
        framework: The framework that has made them.
        backend: The backend that has made them.
        step: The first step, `None` if there is none.
        draws: The random numbers that were drawn.
        environment: The versions and devices that have computed them, `None` if the file does not
            say it.
    """

    calls: list[RecordedCall]
    framework: str
    backend: str
    step: RecordedStep | None
    draws: Draws
    environment: Environment | None


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
    received = f"Received: {argument}={str(path)!r}"
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
        step_values = arrays["step"]
    tensors = _parse_tensors(content, values)
    is_random, repeated, by_backend = content["draws"]
    return _VERSION, FileContent(
        _parse_calls(content, tensors),
        str(content["framework"]),
        str(content["backend"]),
        parse_step(content["step"], tensors, step_values),
        Draws(bool(is_random), list(map(str, repeated)), list(map(str, by_backend))),
        _parse_environment(content.get("environment")),
    )


def _parse_environment(content: Mapping[str, Any] | None) -> Environment | None:
    if content is None:
        return None
    versions = {str(name): str(version) for name, version in content["versions"].items()}
    return Environment(versions, tuple(map(str, content["devices"])))


def _parse_tensors(content: Mapping[str, Any], values: Mapping[str, Array]) -> list[RecordedTensor]:
    tensors = []
    begins = dict.fromkeys(_DTYPES, 0)
    for lengths, dtype, kept_dtype, mean, deviation in content["tensors"]:
        shape = tuple(lengths)
        begin = begins[kept_dtype]
        end = begin + choose_indices(math.prod(shape)).size
        kept = {own_order(shape): values[kept_dtype][begin:end]}
        tensors.append(RecordedTensor(shape, str(dtype), float(mean), float(deviation), kept))
        begins[kept_dtype] = end
    for dtype, due in begins.items():
        if due != values[dtype].size or values[dtype].dtype != dtype:
            raise ValueError(f"it needs {due} values in {dtype}, and has {values[dtype].size}")
    return tensors


def _parse_calls(
    content: Mapping[str, Any], tensors: Sequence[RecordedTensor]
) -> list[RecordedCall]:
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
            outputs={label: tensors[number] for label, number in call["outputs"].items()},
            begin=int(call["begin"]),
            before_activation=before,
            is_model=bool(call["is_model"]),
            canonical_path=str(call["place"]),
            components=[Component(**component) for component in call["components"]],
            trained=dict(call["trained"]),
            masks=dict(call["masks"]),
        )
        calls.append(read)
    return calls
