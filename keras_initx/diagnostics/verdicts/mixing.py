"""Examples that influence each other: the outputs for one change with the others in the batch."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_initx._keras import layers_of
from keras_initx._typing import Array, Tensor
from keras_initx.backends import backend
from keras_initx.diagnostics._measurements import Measurements
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._verdict import Finding, rule
from keras_initx.structure import Call, Probe, Watch, array_of, tensors_in

# Two batches of the first examples. Those at both ends are the same, those between them are not.
_COMPANY = np.array([0, 1, 2, 3])
_OTHER_COMPANY = np.array([0, 0, 3, 3])
# The difference, relative to the standard deviation, up to which it may be rounding.
_ROUNDING = 1e-3


class _EndsProbe(Probe):
    """Keeps what goes into each call, and what comes out, for the examples at both ends.

    Attributes:
        calls: The operation of each call, with arrays of its inputs and of its outputs.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[keras.Operation, list[Array], list[Array]]] = []

    def after(self, call: Call) -> None:
        self.calls.append((call.operation, _ends(call.inputs), _ends(tensors_in(call.outputs))))


def mixed_at(model: keras.Model, x: Any, outputs: Any) -> str | None:
    """Return the name of the layer or operation at which examples influence each other.

    Of a few examples in inference mode those in the middle are exchanged. It is `None` where
    nothing else changes, and where this is not possible or is no fault: for models of a fixed batch
    size or with a state, outputs without an axis of examples or with two, and batch normalization.

    Args:
        model: The model.
        x: Its inputs, as tensors.
        outputs: What it gives for them.
    """
    arrays = [array for array in keras.tree.flatten(x) if array is not None]
    is_fixed = any(tensor.shape[0] is not None for tensor in getattr(model, "inputs", None) or ())
    has_state = any(getattr(layer, "stateful", False) for layer in layers_of(model))
    if is_fixed or has_state or len(arrays[0]) <= len(_COMPANY):
        return None
    try:
        own, calls = _run(model, x, _COMPANY)
        other, other_calls = _run(model, x, _OTHER_COMPANY)
        if not _have_examples(own, tensors_in(outputs)) or not _differ(_ends(own), _ends(other)):
            return None
        # What is drawn otherwise than by Keras differs each time.
        again, _ = _run(model, x, _COMPANY)
        if _differ(_ends(own), _ends(again)):
            return None
    except Exception:  # a model may take no other batches
        return None
    for call, other_call in zip(calls, other_calls, strict=False):
        operation, inputs, made = call
        _, other_inputs, other_made = other_call
        if _differ(made, other_made) and not _differ(inputs, other_inputs):
            if isinstance(operation, keras.layers.BatchNormalization):
                return None
            return Watch(model).layers.get(operation, operation.name)
    return model.name


def _run(model: keras.Model, x: Any, examples: Array) -> tuple[list[Tensor], list[Any]]:
    """Return the outputs for some examples, and what was seen of each call."""

    def taken(array: Tensor | None) -> Tensor | None:
        return None if array is None else keras.ops.take(array, examples, axis=0)

    watch = Watch(model)
    probe = _EndsProbe()
    with watch.watching(probe), backend.preserve_state(layers_of(model)):
        outputs = model(keras.tree.map_structure(taken, x), training=False)
    return tensors_in(outputs), probe.calls


def _ends(tensors: Sequence[Tensor]) -> list[Array]:
    """Return the values for the first and the last example of tensors that have an axis of them."""
    ends = []
    for tensor in tensors:
        if len(tensor.shape) and len(tensor) == len(_COMPANY):
            ends.append(array_of(tensor)[[0, -1]])
    return ends


def _have_examples(few: Sequence[Tensor], all_: Sequence[Tensor]) -> bool:
    """Return whether outputs for a few examples and for all differ in the first axis only."""
    return [tuple(one.shape[1:]) for one in few] == [tuple(one.shape[1:]) for one in all_]


def _differ(arrays: Sequence[Array], others: Sequence[Array]) -> bool:
    """Return whether any values differ by more than rounding."""
    for values, other in zip(arrays, others, strict=True):
        if np.abs(values - other).max(initial=0) > _ROUNDING * np.std(values):
            return True
    return False


@rule(
    "mixed examples",
    levels={"warning": ""},
    finds="outputs for an example that change with the other examples of the batch, in inference "
    "mode",
    reason="the model can learn from what else is in the batch, and predicts something else for "
    "an example by itself. Batch normalization mixes examples in training only",
    remedy="the batch in the first axis, and no reshape, softmax or recurrence over it",
)
def mixed_examples(measured: Measurements) -> Iterator[Finding]:
    place = measured.mixed_at
    if place is None:
        return
    hit = [layer for layer in measured.layers if layer.name == place]
    evidence = (
        f"with other examples in the batch {place} gives other outputs for the same example, in "
        "inference mode too"
    )
    remedy = Remedy(
        f"leave the first axis, that of the examples, alone in {place} and before it: "
        "keras.ops.transpose before and after a layer that takes time first, a reshape to "
        "(batch, ...), softmax and means over other axes"
    )
    yield Finding(hit, evidence, remedy)
