"""What is kept of the first step of training."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

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
# In these, weights are changed by so many times their rounding at most.
_CHANGE = 2
# What a weight is in training. A state is changed by a call in training, such as a moving average.
Kind: TypeAlias = Literal["trained", "frozen", "state"]


@dataclass(frozen=True, eq=False)
class RecordedChange:
    """What is kept of a gradient, or of what a step adds to a weight.

    Attributes:
        norm: Its norm.
        values: Some of its values, in float32, at places that follow from the shape.
        rounding: What rounding was measured to make of these values: the root mean square of their
            deviations over several runs. It is 0 where there was one run.
    """

    norm: float
    values: Array = field(repr=False)
    rounding: float = 0.0


def record_change(values: Array, kept_at: Array | None = None) -> RecordedChange:
    """Return what is kept of an array.

    Args:
        values: The array.
        kept_at: The places in it that are kept, where they do not follow from its shape.
    """
    if kept_at is None:
        kept = sample_values(values, own_order(values.shape))
    else:
        kept = to_floats(values).reshape(-1)[kept_at]
    with np.errstate(over="ignore"):  # of float64
        return RecordedChange(Moments(values).norm, kept.astype("float32"))


def perturb_by_rounding(rng: np.random.Generator, values: Array, epsilon: float) -> Array:
    """Return values times `1 + 2 epsilon u`, with u uniform in [-1, 1]: by what may be rounding."""
    noise = rng.random(values.shape, dtype="float32") * 2 - 1
    changed: Array = values * (1 + _CHANGE * epsilon * noise.astype(values.dtype))
    return changed


def add_measured_rounding(
    change: RecordedChange | None, others: Sequence[RecordedChange | None]
) -> RecordedChange | None:
    """Return a change with the rounding that others show, which rounding alone has made differ."""
    runs = [run.values for run in (change, *others) if run is not None]
    if change is None or len(runs) < 2:
        return change
    with np.errstate(invalid="ignore", over="ignore"):
        deviations = np.std(np.stack(runs).astype("float64"), axis=0, ddof=1)
        return replace(change, rounding=compute_rms(deviations))


class RecordedTarget(NamedTuple):
    """What is kept of targets, or of the weights of samples.

    Attributes:
        shape: Their shape.
        digest: Of their values, the same for the same values in another dtype.
    """

    shape: Shape
    digest: str


def record_targets(nested: Any) -> dict[str, RecordedTarget]:
    """Return what is kept of targets or weights of samples, by their places; of `None` nothing."""
    return {place: _record_target(values) for place, values in _label_arrays(nested).items()}


def convert_torch_targets(
    nested: Any, others: Mapping[str, RecordedTarget]
) -> Mapping[str, RecordedTarget]:
    """Return targets of torch, as those of a model where they are the same in another form.

    Images have channels first in torch, and classes are numbers, which may be one-hot here.

    Args:
        nested: The targets of the model.
        others: What is kept of those of torch.
    """
    ours = _label_arrays(nested)
    if len(ours) != len(others):
        return others
    found = {}
    for values, (place, other) in zip(ours.values(), others.items(), strict=True):
        own = _record_target(values)
        digests = [
            _record_target(form).digest for form in _iterate_torch_forms(values, other.shape)
        ]
        if digests:
            other = other._replace(shape=own.shape)
        found[place] = own if other.digest in digests else other
    return found


def _label_arrays(nested: Any) -> dict[str, Array]:
    found = {}
    for place, value in label_members(nested):
        known = read_values(value)
        if known is not None:
            found[place] = known.array
    return found


def _iterate_torch_forms(values: Array, shape: Shape) -> Iterator[Array]:
    """Yield targets in the forms with a shape that torch may have them in."""
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
    """What is kept of a weight.

    Attributes:
        path: Its path.
        kind: What it is in training.
        shape: Its shape.
        dtype: The dtype in which its layer computes.
        gradient: The gradient of the loss, if it is trained.
        update: What the step adds to it, or the call to a state; `None` if it is not known.
        rounding: By how much its values are rounded, as a root mean square. Files do not have it.
        obstacle: Why neither gradient nor update is known, empty if they may be. Files do not have
            it.
    """

    path: str
    kind: Kind
    shape: Shape
    dtype: DType
    gradient: RecordedChange | None = None
    update: RecordedChange | None = None
    rounding: float = 0.0
    obstacle: str = ""

    @property
    def changes(self) -> Iterator[RecordedChange]:
        """The gradient and the update, as far as they are known."""
        for change in (self.gradient, self.update):
            if change is not None:
                yield change


class ArrayChange(NamedTuple):
    """The gradient of an array of a module of torch, or what a step adds to it.

    Attributes:
        norm: Its norm.
        values: Its values in float32, those that `RecordedStep.is_whole` says.
        deviations: What rounding was measured to make of each, empty if it was not.
    """

    norm: float
    values: Array
    deviations: Array


@dataclass(frozen=True, eq=False)
class RecordedArray:
    """What is kept of a parameter or a buffer of a module of torch.

    Attributes:
        name: Its name in the `state_dict()` of the module.
        kind: What it is in training.
        shape: Its shape.
        dtype: The name of its dtype.
        gradient: The gradient of the loss, if it is trained: 0 if it has none.
        update: What the step adds to it, or the call to a buffer; `None` if it is not known.
        group: The place of its settings in `RecordedStep.groups`, `None` without an optimizer.
        tied_to: The first name of the same tensor, empty if this is it.
    """

    name: str
    kind: Kind
    shape: Shape
    dtype: DType
    gradient: ArrayChange | None = None
    update: ArrayChange | None = None
    group: int | None = None
    tied_to: str = ""

    @property
    def changes(self) -> Iterator[ArrayChange]:
        """The gradient and the update, as far as they are known."""
        for change in (self.gradient, self.update):
            if change is not None:
                yield change


@dataclass(frozen=True, eq=False)
class RecordedStep:
    """What is kept of the first step of a model on a batch.

    That of a module of torch has arrays in place of weights: which weight of a model an array is,
    only the comparison knows.

    Attributes:
        obstacle: Why nothing of it is known, empty if it was taken.
        targets: Dict from the places of targets to what is kept of them.
        sample_weights: The same of the weights of samples.
        by_backend: What has drawn random numbers that no two backends have in common, in words.
        outputs: Dict from the places of the outputs in training to tensors.
        loss: The loss, with all that is added to it.
        loss_rounding: The deviation of the loss that rounding was measured to make.
        added: What regularizers and `add_loss` add to it.
        summed: How many values of the batch a normalization sums for one, at most.
        counts: Dict from numbers to what they count in the batch, such as `"examples"`.
        weights: The weights, those of the last layer first.
        without_gradients: Why gradients are not known, empty if they are.
        without_updates: Why updates are not known, empty if they are.
        settings: Those of the loss and the optimizer.
        unread: Settings that cannot be read, in words.
        arrays: The parameters and buffers of a module of torch.
        is_whole: Whether all values of these are kept, and not at most `MOST_VALUES` of each.
        groups: The settings of the groups of its parameters, in the words of Keras.
    """

    obstacle: str = ""
    targets: Mapping[str, RecordedTarget] = field(default_factory=dict)
    sample_weights: Mapping[str, RecordedTarget] = field(default_factory=dict)
    by_backend: Sequence[str] = ()
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
    groups: Sequence[Settings] = ()
