"""Normalizations over a single value, which give the same output for all inputs."""

import math

import keras

from keras_initx.inspection._watch import Call
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe


class SingleValueProbe(Probe):
    """Finds normalizations over a single value.

    Attributes:
        paths: Dict from such a layer to its path, or the name of an operation.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self.paths: dict[keras.Operation, str] = {}

    def after(self, call: Call) -> None:
        operation = call.operation
        if not call.inputs or not len(call.inputs[0].shape):
            return
        if _count_normalized(operation, tuple(call.inputs[0].shape)) == 1:
            self.paths[operation] = self.diagnosis.watch.paths.get(operation, operation.name)


def _count_normalized(operation: keras.Operation, shape: tuple[int, ...]) -> int | None:
    """Return how many values are normalized together, `None` for other operations."""
    if isinstance(operation, keras.layers.GroupNormalization):
        groups = shape[operation.axis] if operation.groups == -1 else int(operation.groups)
        return math.prod(shape[1:]) // groups
    classes_with_axes = (
        keras.layers.LayerNormalization,
        keras.layers.RMSNormalization,
        keras.layers.UnitNormalization,
    )
    if isinstance(operation, classes_with_axes):
        axes = operation.axis if isinstance(operation.axis, list | tuple) else [operation.axis]
        return math.prod(shape[axis] for axis in axes)
    return None


def has_single_values(diagnosis: Diagnosis) -> bool:
    """Return whether a normalization is over a single value."""
    return bool(diagnosis.probe(SingleValueProbe).paths)
