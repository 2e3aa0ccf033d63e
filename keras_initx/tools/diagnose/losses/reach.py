"""The limits of the outputs of a model, whatever its weights are.

The limits of an output follow from the activations after the last kernel: an output after a sigmoid
lies in [0, 1], and after a ReLU and a sigmoid in [0.5, 1]. If a user's code makes the output, the
limits are tried with a very large and a very small bias of the last layer.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from keras_initx._keras import list_layers
from keras_initx._typing import Array
from keras_initx.backends._current import backend
from keras_initx.initializers._activations import activation_facts
from keras_initx.inspection._batch import list_tensors, to_array
from keras_initx.tools.diagnose._diagnosis import Diagnosis, fact
from keras_initx.tools.diagnose.losses.heads import LastOperation, OutputHead
from keras_initx.tools.diagnose.losses.probes import LossProbe

# These pass on a range of values as it is.
_KEEPING_RANGE = (
    keras.layers.AveragePooling1D,
    keras.layers.AveragePooling2D,
    keras.layers.AveragePooling3D,
    keras.layers.GlobalAveragePooling1D,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.GlobalAveragePooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
)
# The number of examples with which the limits of an output are tried.
_TRIED = 64
# Relative to the targets, a bias that drives any activation to its limit; its square still fits
# into float32.
_FAR = 1e4


class AppliedActivation(NamedTuple):
    """An activation between the last kernel and an output.

    Attributes:
        layer: Path of the layer, or name of the operation, that applies it.
        activation: Its name.
        is_argument: Whether it is an argument of the layer.
    """

    layer: str
    activation: str
    is_argument: bool


class Reach(NamedTuple):
    """The limits that an output cannot leave.

    Attributes:
        low: The lower one.
        high: The upper one.
        applied: The activations between the last kernel and the output, the first of them first.
    """

    low: float
    high: float
    applied: tuple[AppliedActivation, ...]

    def to_probabilities(self, head: OutputHead) -> tuple[float, float]:
        """Return the limits; for logits, the limits of their probabilities."""
        loss = head.loss
        if not loss.is_crossentropy or not loss.from_logits:
            return self.low, self.high
        activation = "sigmoid" if loss.kind == "binary" else "softmax"
        return _compute_image(activation, self.low, self.high, head.units)


@fact
def reaches(diagnosis: Diagnosis) -> dict[OutputHead, Reach]:
    """The limits of each output."""
    by_head = {}
    for head in diagnosis.probe(LossProbe).heads:
        operations = head.last_operations
        low, high = _compute_limits(head)
        is_free = (low, high) == (-math.inf, math.inf)
        if head.activation is None and is_free and head.index is not None:
            low, high = _try_limits(head, head.index, diagnosis)
            operations = [LastOperation(head.layer, diagnosis.watch.activations[head.layer])]
        by_head[head] = Reach(low, high, _list_activations(operations, diagnosis))
    return by_head


def _list_activations(
    operations: Sequence[LastOperation], diagnosis: Diagnosis
) -> tuple[AppliedActivation, ...]:
    applied = []
    for operation, activation in operations:
        if activation not in (None, "linear"):
            name = diagnosis.watch.paths.get(operation, operation.name)
            applied.append(AppliedActivation(name, activation, hasattr(operation, "activation")))
    return tuple(applied)


def _compute_limits(head: OutputHead) -> tuple[float, float]:
    """Compute the limits of an output from the operations after the last kernel."""
    units, axis, ndim = head.units, head.loss.axis, head.outputs.ndim
    low, high = -math.inf, math.inf
    for operation, activation in head.last_operations:
        if type(operation) is keras.layers.Rescaling:
            factors = operation.scale, operation.offset
            if not all(isinstance(factor, int | float) for factor in factors):
                low, high = -math.inf, math.inf
                continue
            scale, offset = factors
            low, high = sorted((low * scale + offset, high * scale + offset))
        elif _is_plain_normalization(operation):
            # One of n numbers is at most sqrt(n - 1) deviations from their mean.
            high = math.sqrt(units - 1)
            low = -high
        elif activation == "softmax" and not _is_over_axis(operation, axis, ndim):
            low, high = 0.0, 1.0
        elif not isinstance(operation, _KEEPING_RANGE):
            low, high = _compute_image(activation, low, high, units)
    return low, high


def _is_over_axis(operation: keras.Operation, axis: int, ndim: int) -> bool:
    """Return whether a softmax is over this axis. One without an axis is over the last."""
    axes = getattr(operation, "axis", -1)
    if not isinstance(axes, list | tuple):
        axes = [axes]
    return [softmax_axis % ndim for softmax_axis in axes] == [axis % ndim]


def _is_plain_normalization(operation: keras.Operation) -> bool:
    """Return whether a layer divides each row by its deviation, and nothing else."""
    if not isinstance(operation, keras.layers.LayerNormalization):
        return False
    return not operation.scale and not operation.center and operation.axis in (-1, [-1])


def _try_limits(head: OutputHead, index: int, diagnosis: Diagnosis) -> tuple[float, float]:
    """Find the limits of an output beyond which no bias of its last layer moves it.

    A limit is infinite if a larger bias moves the output further, or moves nothing.

    Args:
        head: The output. The model is not changed.
        index: The index of the output among the outputs of the model.
        diagnosis: The diagnosis.
    """
    bias = getattr(head.layer, "bias", None)
    if not isinstance(bias, keras.Variable):
        return -math.inf, math.inf
    examples = keras.tree.map_structure(lambda tensor: tensor[:_TRIED], diagnosis.x)

    def compute_outputs(shift: float) -> Array:
        with backend.preserve_state(list_layers(diagnosis.model)):
            bias.assign_add(keras.ops.full(bias.shape, shift, bias.dtype))
            outputs = list_tensors(diagnosis.model(examples, training=False))
            return to_array(outputs[index]).astype("float64")

    size = max(float(abs(head.targets).max(initial=0)), 1.0)
    far_away, farther_away = _FAR * size, _FAR**2 * size
    try:
        unmoved = compute_outputs(0.0)
        below = compute_outputs(-far_away), compute_outputs(-farther_away)
        above = compute_outputs(far_away), compute_outputs(farther_away)
    except Exception:  # a model may take no other batches
        return -math.inf, math.inf
    limits = []
    for sign, (far, farther) in ((-1, below), (1, above)):
        has_end = np.isfinite(farther).all() and np.allclose(far, farther, rtol=1e-3, atol=1e-6)
        if not has_end or np.allclose(unmoved, far, rtol=1e-3, atol=1e-6):
            limits.append(sign * math.inf)
        else:
            limits.append(float(far.min() if sign < 0 else far.max()))
    low, high = limits
    # An output that goes to one number on both sides has no limit: the large bias rounds away all
    # others.
    return (low, high) if low < high else (-math.inf, math.inf)


def _compute_image(
    activation: str | None, low: float, high: float, units: int
) -> tuple[float, float]:
    """Compute the limits of an activation for numbers from `low` to `high`."""
    if activation == "softmax":
        # The largest share is that of one unit at `high` with all others at `low`.
        ratio = math.exp(low - high) if math.isfinite(high - low) else 0.0
        largest = 1 / (1 + (units - 1) * ratio)
        smallest = ratio / (ratio + units - 1) if units > 1 else 1.0
        return smallest, largest
    facts = activation_facts(activation)
    if facts.rising is not None:
        return facts.rising(low), facts.rising(high)
    return facts.limits or (-math.inf, math.inf)


def compute_activation_limits(activation: str) -> tuple[float, float]:
    """Compute the limits of an activation for any numbers."""
    return _compute_image(activation, -math.inf, math.inf, 2)
