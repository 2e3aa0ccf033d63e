"""Examples that influence each other: the outputs for one change with the others in the batch."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_initx._keras import layers_of
from keras_initx._typing import Array, Shape, Tensor
from keras_initx.backends import backend
from keras_initx.diagnostics._measurements import Measurements
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._verdict import Finding, rule
from keras_initx.structure import Call, Probe, Watch, array_of, tensors_in

# The number of examples that are compared.
_FEW = 4
# The difference, relative to the standard deviation, up to which it may be rounding.
_ROUNDING = 1e-3


class _EndsProbe(Probe):
    """Keeps what goes into each call, and what comes out, for the first and the last example.

    Attributes:
        calls: The operation of each call, with arrays of its inputs and of its outputs.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[keras.Operation, list[Array], list[Array]]] = []

    def after(self, call: Call) -> None:
        inputs = _ends(call.inputs, _FEW)
        self.calls.append((call.operation, inputs, _ends(tensors_in(call.outputs), _FEW)))


def mixed_at(model: keras.Model, x: Any, shapes: Sequence[Shape]) -> str | None:
    """Return the name of the layer or operation at which examples influence each other.

    In inference mode the examples between the first and the last are exchanged. It is `None` where
    nothing else changes, and where this is not possible or is no fault: for models of a fixed batch
    size or with a state, outputs without an axis of examples or with two, and batch normalization.

    Args:
        model: The model.
        x: Its inputs, as tensors.
        shapes: The shapes of what it gives for them.
    """
    count = min(len(array) for array in keras.tree.flatten(x) if array is not None)
    is_fixed = any(tensor.shape[0] is not None for tensor in getattr(model, "inputs", None) or ())
    has_state = any(getattr(layer, "stateful", False) for layer in layers_of(model))
    if is_fixed or has_state or count <= _FEW:
        return None
    # Where each shape is compiled, the whole batch takes less time than a few examples.
    used = count if backend.compiles_shapes else _FEW
    try:
        own = _run(model, x, used)
        if not _differ(_ends(own, used), _ends(_run(model, x, used, exchanged=True), used)):
            return None
        return _first_mixed(model, x, shapes)
    except Exception:  # a model may take no other batches
        return None


def _first_mixed(model: keras.Model, x: Any, shapes: Sequence[Shape]) -> str | None:
    """Return the same as `mixed_at`, `None` if random numbers or relations were the reason."""
    probe, other_probe = _EndsProbe(), _EndsProbe()
    own = _run(model, x, _FEW, probe)
    other = _run(model, x, _FEW, other_probe, exchanged=True)
    # Relations between examples have two axes of them.
    if [tuple(tensor.shape[1:]) for tensor in own] != [shape[1:] for shape in shapes]:
        return None
    if not _differ(_ends(own, _FEW), _ends(other, _FEW)):
        return None
    # What is drawn otherwise than by Keras differs each time.
    if _differ(_ends(own, _FEW), _ends(_run(model, x, _FEW), _FEW)):
        return None
    for call, other_call in zip(probe.calls, other_probe.calls, strict=False):
        operation, inputs, made = call
        _, other_inputs, other_made = other_call
        if _differ(made, other_made) and not _differ(inputs, other_inputs):
            if isinstance(operation, keras.layers.BatchNormalization):
                return None
            # Experts of limited capacity take the first tokens of a batch, and leave some others.
            if not _differ_widely(made, other_made):
                return None
            name: str = Watch(model).layers.get(operation, operation.name)
            return name
    return str(model.name)


def _run(
    model: keras.Model, x: Any, count: int, *probes: Probe, exchanged: bool = False
) -> list[Tensor]:
    """Return the outputs for the first examples, of which those in the middle may be exchanged."""
    examples = np.arange(count)
    if exchanged:
        examples = np.where(examples < count / 2, 0, count - 1)

    def taken(array: Tensor | None) -> Tensor | None:
        return None if array is None else keras.ops.take(array, examples, axis=0)

    with contextlib.ExitStack() as stack:
        if probes:
            stack.enter_context(Watch(model).watching(*probes))
        stack.enter_context(backend.preserve_state(layers_of(model)))
        return tensors_in(model(keras.tree.map_structure(taken, x), training=False))


def _ends(tensors: Sequence[Tensor], count: int) -> list[Array]:
    """Return the values for the first and the last example of tensors with `count` of them."""
    ends = []
    for tensor in tensors:
        if len(tensor.shape) and len(tensor) == count:
            ends.append(np.stack([array_of(tensor[0]), array_of(tensor[-1])]))
    return ends


def _differ(arrays: Sequence[Array], others: Sequence[Array]) -> bool:
    """Return whether any values differ by more than rounding."""
    for values, other in zip(arrays, others, strict=True):
        if np.abs(values - other).max(initial=0) > _ROUNDING * np.std(values):
            return True
    return False


def _differ_widely(arrays: Sequence[Array], others: Sequence[Array]) -> bool:
    """Return whether more than a quarter of the values of the first or the last example differ."""
    changed = []
    for values, other in zip(arrays, others, strict=True):
        changed.append((values != other).reshape(2, -1))
    return bool(np.concatenate(changed, axis=1).mean(axis=1).max() > 0.25)


@rule(
    "mixed examples",
    levels={"warning": ""},
    finds="outputs for an example that change with the other examples of the batch, in inference "
    "mode, and more than a quarter of what one layer gives; nothing is said of models with a fixed "
    "batch size or a state, nor of outputs with two axes of examples",
    reason="examples influence each other, by an exchange of time and batch, or a reshape or a "
    "softmax over the batch. What is predicted for an example depends on its company. Batch "
    "normalization mixes examples in training only",
    remedy="operations that leave the first axis alone",
)
def mixed_examples(measured: Measurements) -> Iterator[Finding]:
    place = measured.mixed_at
    if place is None:
        return
    hit = [layer for layer in measured.layers if layer.name == place]
    evidence = (
        f"the output of {place} for an example changes with the other examples of the batch, in "
        "inference mode too: time and batch may be exchanged, or a reshape, a softmax or a mean "
        "be over the batch"
    )
    remedy = Remedy(
        "leave the first axis to the examples: layers of Keras take (batch, time, features), "
        "reshapes keep the batch, such as keras.layers.Reshape, and softmaxes have axis=-1 or "
        "that of time"
    )
    yield Finding(hit, evidence, remedy)
