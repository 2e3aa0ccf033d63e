"""What is kept of the first step of training."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from keras_initx._typing import Array, DType, Shape
from keras_initx.backends._moments import Moments
from keras_initx.inspection._batch import to_floats
from keras_initx.tools.compare_outputs._reading import Settings, labeled, values_of
from keras_initx.tools.compare_outputs._samples import RecordedTensor, own_order, sampled

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


def recorded_change(values: Array) -> RecordedChange:
    """Return what is kept of an array."""
    kept = sampled(values, own_order(values.shape))
    with np.errstate(over="ignore"):  # of float64
        return RecordedChange(Moments(values).norm, kept.astype("float32"))


def with_rounding(
    change: RecordedChange | None, others: Sequence[RecordedChange | None]
) -> RecordedChange | None:
    """Return a change with the rounding that others show, which rounding alone has made differ."""
    runs = [run.values for run in (change, *others) if run is not None]
    if change is None or len(runs) < 2:
        return change
    with np.errstate(invalid="ignore", over="ignore"):
        deviations = np.std(np.stack(runs).astype("float64"), axis=0, ddof=1)
        return replace(change, rounding=compute_rms(deviations))


def compute_rms(values: Array) -> float:
    """Return the root mean square of values, 0 of none."""
    if not values.size:
        return 0.0
    return float(np.sqrt(np.mean(np.square(values.astype("float64")))))


class RecordedTarget(NamedTuple):
    """What is kept of targets, or of the weights of samples.

    Attributes:
        shape: Their shape.
        digest: Of their values, the same for the same values in another dtype.
    """

    shape: Shape
    digest: str


def recorded_targets(nested: Any) -> dict[str, RecordedTarget]:
    """Return what is kept of targets or weights of samples, by their places; of `None` nothing."""
    found = {}
    for place, value in labeled(nested):
        known = values_of(value)
        if known is None:
            continue
        values = known.array
        # As Keras does, which computes losses in float32.
        values = to_floats(values).astype("float32") if values.dtype.kind not in "biu" else values
        content = np.ascontiguousarray(values.astype("float64") + 0.0)  # -0 is 0
        digest = hashlib.sha256(content.tobytes()).hexdigest()
        found[place] = RecordedTarget(values.shape, digest)
    return found


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
    """

    path: str
    kind: Kind
    shape: Shape
    dtype: DType
    gradient: RecordedChange | None = None
    update: RecordedChange | None = None
    rounding: float = 0.0

    @property
    def changes(self) -> Iterator[RecordedChange]:
        """The gradient and the update, as far as they are known."""
        for change in (self.gradient, self.update):
            if change is not None:
                yield change


@dataclass(frozen=True, eq=False)
class RecordedStep:
    """What is kept of the first step of a model on a batch.

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
