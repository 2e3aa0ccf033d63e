"""The first step in a file of recorded outputs: a part of its JSON, and an array of values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_initx._typing import Array
from keras_initx.outputs._recorded_step import RecordedChange, RecordedStep, RecordedWeight
from keras_initx.outputs._samples import RecordedTensor, places


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
