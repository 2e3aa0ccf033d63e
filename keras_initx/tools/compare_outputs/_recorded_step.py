"""What is kept of the first step of training."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from keras_initx._typing import Array, DType, Shape
from keras_initx.backends._moments import Moments
from keras_initx.tools.compare_outputs._reading import Settings
from keras_initx.tools.compare_outputs._samples import RecordedTensor, own_order, sampled

# What a weight is in training. A state is changed by a call in training, such as a moving average.
Kind: TypeAlias = Literal["trained", "frozen", "state"]


@dataclass(frozen=True, eq=False)
class RecordedChange:
    """What is kept of a gradient, or of what a step adds to a weight.

    Attributes:
        norm: Its norm.
        values: Some of its values, in float32, at places that follow from the shape.
    """

    norm: float
    values: Array = field(repr=False)


def recorded_change(values: Array) -> RecordedChange:
    """Return what is kept of an array."""
    kept = sampled(values, own_order(values.shape))
    with np.errstate(over="ignore"):  # of float64
        return RecordedChange(Moments(values).norm, kept.astype("float32"))


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
        outputs: Dict from the places of the outputs in training to tensors.
        loss: The loss, with all that is added to it.
        added: What regularizers and `add_loss` add to it.
        summed: How many values of the batch a normalization sums for one, at most.
        counts: Dict from numbers to what they count in the batch, such as `"examples"`.
        weights: The weights, those of the last layer first.
        without_gradients: Why gradients are not known, empty if they are.
        without_updates: Why updates are not known, empty if they are.
        settings: Those of the loss and the optimizer.
    """

    obstacle: str = ""
    outputs: Mapping[str, RecordedTensor] = field(default_factory=dict)
    loss: float = float("nan")
    added: float = 0.0
    summed: int = 0
    counts: Mapping[int, str] = field(default_factory=dict)
    weights: Sequence[RecordedWeight] = ()
    without_gradients: str = ""
    without_updates: str = ""
    settings: Settings = field(default_factory=dict)
