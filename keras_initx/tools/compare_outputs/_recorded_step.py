"""The record of the first step of training: its types, and the kept values of arrays.

    RecordedStep(loss=1.99, weights=[RecordedWeight("dense/kernel", "trained", (3, 2), "float32",
        gradient=RecordedChange(norm=1.3, values, rounding=4e-8), update=...)], ...)

A *change* is a gradient, or the update of a weight by a step.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from keras_initx._signatures import shorten_signature
from keras_initx._typing import Array, DType, Shape
from keras_initx.backends._moments import Moments, compute_rms
from keras_initx.inspection._batch import to_floats
from keras_initx.tools.compare_outputs._reading import Settings, label_members, read_values
from keras_initx.tools.compare_outputs._samples import (
    RecordedTensor,
    list_orders,
    own_order,
    sample_values,
)

# So many more runs measure the rounding.
RUNS = 3
# In these, weights are changed by at most so many times the epsilon of their dtype.
_CHANGE = 2
# What a weight is in training. A state is changed by a call in training, such as a moving average.
Kind: TypeAlias = Literal["trained", "frozen", "state"]


@dataclass(frozen=True, eq=False)
class RecordedChange:
    """The kept values of a gradient, or of the change of a weight by a step.

    Attributes:
        norm: Its norm.
        values: Some of its values, in float32, at indices that follow from the shape.
        rounding: The rounding of these values, measured: the root mean square of their deviations
            over several runs. It is 0 if there was one run.
    """

    norm: float
    values: Array = field(repr=False)
    rounding: float = 0.0


def record_change(values: Array, indices: Array | None = None) -> RecordedChange:
    """Record an array.

    Args:
        values: The array.
        indices: The flat indices of the values that are kept, if they do not follow from its shape.
    """
    if indices is None:
        kept = sample_values(values, own_order(values.shape))
    else:
        kept = to_floats(values).reshape(-1)[indices]
    with np.errstate(over="ignore"):  # of float64
        return RecordedChange(Moments(values).norm, kept.astype("float32"))


def perturb_by_rounding(rng: np.random.Generator, values: Array, epsilon: float) -> Array:
    """Multiply values by `1 + 2 epsilon u`, with u uniform in [-1, 1]: no more than rounding."""
    noise = rng.random(values.shape, dtype="float32") * 2 - 1
    perturbed: Array = values * (1 + _CHANGE * epsilon * noise.astype(values.dtype))
    return perturbed


def add_measured_rounding(
    change: RecordedChange | None, repeats: Sequence[RecordedChange | None]
) -> RecordedChange | None:
    """Add the rounding that repeated runs show, which differ by rounding alone."""
    runs = [run.values for run in (change, *repeats) if run is not None]
    if change is None or len(runs) < 2:
        return change
    with np.errstate(invalid="ignore", over="ignore"):
        deviations = np.std(np.stack(runs).astype("float64"), axis=0, ddof=1)
        return replace(change, rounding=compute_rms(deviations))


class RecordedTarget(NamedTuple):
    """The record of targets, or of the weights of samples.

    Attributes:
        shape: Their shape.
        digest: The digest of their values, the same for the same values in another dtype.
    """

    shape: Shape
    digest: str


def record_targets(nested: Any) -> dict[str, RecordedTarget]:
    """Record targets or weights of samples, by their labels; nothing for `None`."""
    return {label: _record_target(values) for label, values in _label_arrays(nested).items()}


def convert_torch_targets(
    nested: Any, others: Mapping[str, RecordedTarget]
) -> Mapping[str, RecordedTarget]:
    """Convert records of targets of torch to the forms of the model, if their values are the same.

    Images have channels first in torch, and classes are numbers, which may be one-hot here.

    Args:
        nested: The targets of the model.
        others: The records of the targets of torch.
    """
    ours = _label_arrays(nested)
    if len(ours) != len(others):
        return others
    converted = {}
    for values, (label, other) in zip(ours.values(), others.items(), strict=True):
        own = _record_target(values)
        digests = [
            _record_target(form).digest for form in _iterate_torch_forms(values, other.shape)
        ]
        if digests:
            other = other._replace(shape=own.shape)
        converted[label] = own if other.digest in digests else other
    return converted


def _label_arrays(nested: Any) -> dict[str, Array]:
    arrays = {}
    for label, value in label_members(nested):
        values = read_values(value)
        if values is not None:
            arrays[label] = values.array
    return arrays


def _iterate_torch_forms(values: Array, shape: Shape) -> Iterator[Array]:
    """Yield targets in the forms that torch may have: moved axes, and classes for one-hot."""
    for order in list_orders(values.shape):
        if order.fits(shape):
            yield values.transpose(order.axes)
    is_one_hot = values.ndim > 1 and bool(((values == 0) | (values == 1)).all())
    if is_one_hot and bool((values.sum(axis=-1) == 1).all()):
        yield from _iterate_torch_forms(values.argmax(axis=-1), shape)


def _record_target(values: Array) -> RecordedTarget:
    # As Keras does, which computes losses in float32.
    values = to_floats(values).astype("float32") if values.dtype.kind not in "biu" else values
    content = np.ascontiguousarray(values.astype("float64") + 0.0)  # -0 is 0
    digest = hashlib.sha256(content.tobytes()).hexdigest()
    return RecordedTarget(values.shape, digest)


@dataclass(frozen=True, eq=False)
class RecordedWeight:
    """The record of a weight in the step.

    Attributes:
        path: Its path.
        kind: Its kind in training.
        shape: Its shape.
        dtype: The dtype that its layer computes in.
        gradient: The gradient of the loss, if it is trained.
        update: Its change by the step, or of a state by the call; `None` if it is not known.
        rounding: By how much its values are rounded, as a root mean square.
        obstacle: Why neither gradient nor update is known, empty if they may be.
        has_row_gradients: Whether the optimizer got a gradient for each use of a row, and not the
            sum for each row.
    """

    path: str
    kind: Kind
    shape: Shape
    dtype: DType
    gradient: RecordedChange | None = None
    update: RecordedChange | None = None
    rounding: float = 0.0
    obstacle: str = ""
    has_row_gradients: bool = False


class ArrayChange(NamedTuple):
    """The gradient of a parameter of a module of torch, or the change of a buffer by a call.

    Attributes:
        norm: Its norm.
        values: Its kept values in float32, see `RecordedStep.is_whole`.
        deviations: The measured rounding of each value, empty if it was not measured.
    """

    norm: float
    values: Array
    deviations: Array


@dataclass(frozen=True, eq=False)
class RecordedArray:
    """The record of a parameter or a buffer of a module of torch.

    Attributes:
        name: Its name in the `state_dict()` of the module.
        kind: Its kind in training.
        shape: Its shape.
        dtype: The name of its dtype.
        gradient: The gradient of the loss, if it is trained: 0 if it has none.
        update: The change of a buffer by the call, `None` for a parameter.
        tied_to: The first name of the same tensor, empty if this is it.
    """

    name: str
    kind: Kind
    shape: Shape
    dtype: DType
    gradient: ArrayChange | None = None
    update: ArrayChange | None = None
    tied_to: str = ""


@shorten_signature
@dataclass(frozen=True, eq=False)
class RecordedStep:
    """The record of the first step of your model on a batch.

    The step of a module of torch has arrays in place of weights. Only the comparison pairs arrays
    with the weights of a model.

    Attributes:
        obstacle: Why the step could not be recorded, empty if it was.
        targets: Dict from the labels of targets to their records.
        sample_weights: The same for the weights of samples.
        rates: Dict from the paths of rates of dropout to their values. All are 0 in the step.
        has_drawn: Whether random numbers were drawn, without an effect in several calls.
        outputs: Dict from the labels of the outputs in training to tensors.
        loss: The whole loss, with all added parts.
        loss_rounding: The rounding of the loss, measured, as a standard deviation.
        added: The part of the loss from regularizers and `add_loss`.
        summed: How many values of the batch a normalization sums for one statistic, at most.
        counts: Dict from numbers to the things that they count in the batch, such as `"examples"`.
        weights: The weights, beginning with the last layer.
        without_gradients: Why gradients are not known, empty if they are.
        without_updates: Why updates are not known, empty if they are.
        settings: The settings of the loss and the optimizer.
        unread: Settings that cannot be read, in words.
        arrays: The parameters and buffers of a module of torch.
        is_whole: Whether all values of the arrays are kept, and not at most `MOST_VALUES` of each.
    """

    obstacle: str = ""
    targets: Mapping[str, RecordedTarget] = field(default_factory=dict)
    sample_weights: Mapping[str, RecordedTarget] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    has_drawn: bool = False
    outputs: Mapping[str, RecordedTensor] = field(default_factory=dict)
    loss: float = float("nan")
    loss_rounding: float = 0.0
    added: float = 0.0
    summed: int = 0
    counts: Mapping[int, str] = field(default_factory=dict)
    weights: Sequence[RecordedWeight] = ()
    without_gradients: str = ""
    without_updates: str = ""
    settings: Settings = field(default_factory=dict)
    unread: Sequence[str] = ()
    arrays: Sequence[RecordedArray] = ()
    is_whole: bool = False
