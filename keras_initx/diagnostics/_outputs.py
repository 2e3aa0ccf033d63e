"""What is between the last layer and a loss: outputs, targets, and how the loss reads them."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from keras_initx._typing import Array
from keras_initx.diagnostics._losses import KnownLoss
from keras_initx.diagnostics._signal import Signal
from keras_initx.structure import CONVOLUTIONS, LIMITS

# How the targets of a loss are given.
_Form: TypeAlias = Literal["numbers", "rows", "examples"]

# Without an activation these are known to be linear.
_WITHOUT_ACTIVATION = (keras.layers.Dense, keras.layers.EinsumDense, *CONVOLUTIONS)
# Activations that are layers or operations of their own, by the name of the class in lower case.
_OPERATIONS = ("relu", "sigmoid", "softmax", "tanh")
# What an output of these activations cannot leave.
_RANGES: dict[str, tuple[float, float]] = {
    **LIMITS,
    "relu": (0.0, np.inf),
    "softmax": (0.0, 1.0),
    "softplus": (0.0, np.inf),
}


@dataclass(frozen=True, eq=False)
class OutputFacts:
    """What a loss of Keras gets: one output of a model, and its targets.

    Attributes:
        loss: The loss.
        activation: Name of the activation that made the output, `"linear"` for none, or `None` if
            it is not known.
        units: Number of values in a row of outputs: the classes of a crossentropy.
        outputs: `Signal` of the output.
        targets: `Signal` of the targets.
        sums_to_one: Whether the values in each row of the output are probabilities that add up
            to 1.
        form: `"numbers"` where there is one target for each row of outputs, `"rows"` where there
            is one for each output, `"examples"` where there is a single number or row for an
            example, of which the output has several rows.
        is_whole: Whether all targets are integers.
        outside: Fraction of the targets that are no class of a sparse crossentropy.
        divisor: By which class numbers were divided if targets that are no integers are quotients
            of them, otherwise `None`.
        several: Fraction of the rows of targets with several ones among zeros.
        frequencies: For a crossentropy, the share of each class in the targets; for a binary one,
            the mean of the targets of each unit. Otherwise `None`.
        beyond: Fraction of the targets that the activation does not reach.
        sum_beyond: Fraction of the rows of targets that add up to more than 1 for an output whose
            rows add up to 1.
    """

    loss: KnownLoss
    activation: str | None
    units: int
    outputs: Signal
    targets: Signal
    sums_to_one: bool
    form: _Form
    is_whole: bool
    outside: float
    divisor: int | None
    several: float
    frequencies: npt.NDArray[np.float64] | None
    beyond: float
    sum_beyond: float

    @property
    def leaves_range(self) -> bool:
        """Whether targets are beyond [0, 1], other than a -1 beside 0 and 1.

        That may stand for what sample weights leave out.
        """
        targets = self.targets
        if self.is_whole and targets.zeros and targets.min == -1 and targets.max == 1:
            return False
        return targets.min < -1e-2 or targets.max > 1.01

    @property
    def loss_fails(self) -> bool:
        """Whether the loss cannot be computed: some backends raise an error, others go on."""
        if self.form == "examples":
            return True
        if self.loss.kind == "sparse":
            return self.form == "rows" or self.outside > 0
        if self.loss.kind == "binary":
            return self.leaves_range or self.form == "numbers"
        return self.loss.kind == "categorical" and self.form == "numbers"


def output_facts(
    loss: KnownLoss,
    activation: str | None,
    targets: Array,
    outputs: Array,
    counts: npt.NDArray[np.bool_],
) -> OutputFacts | None:
    """Return the facts of one output, `None` if the targets have another shape or are empty.

    Args:
        loss: The loss.
        activation: See `OutputFacts`.
        targets: The targets.
        outputs: The output.
        counts: Array that is false for each row of outputs that a mask leaves out.
    """
    rows = np.moveaxis(outputs, loss.axis, -1)
    units = rows.shape[-1]
    form = _form_of(loss, targets.shape, outputs.shape, rows.shape)
    if form is None:
        return None
    aims: Array = targets.reshape(-1)
    if form == "rows":
        if targets.ndim == outputs.ndim:
            targets = np.moveaxis(targets, loss.axis, -1)
        aims = targets.reshape(-1, units)
    rows = rows.reshape(-1, units)
    if not counts.all() and counts.size == len(rows):
        rows = rows[counts.reshape(-1)]
        aims = aims[counts.reshape(-1)]
    if loss.ignored is not None and form == "numbers":
        aims = aims[aims != loss.ignored]
    if not rows.size or not aims.size:
        return None
    outside = 0.0
    divisor = None
    several = 0.0
    beyond = 0.0
    sum_beyond = 0.0
    frequencies = None
    if form == "examples":
        aims = targets.reshape(-1)
    elif form == "numbers":
        is_class = (aims >= 0) & (aims < units) & (aims == np.round(aims))
        outside = float(np.mean(~is_class))
        divisor = _divisor(aims, units)
        if not outside:
            frequencies = np.bincount(aims.astype("int64"), minlength=units) / len(aims)
    elif loss.kind == "distance":
        beyond = _share_beyond(aims, activation)
        if are_of_softmax(rows) and aims.ndim == 2:
            sum_beyond = float(np.mean(aims.sum(axis=-1) > 1.01))
    else:
        frequencies = aims.mean(axis=0, dtype="float64")
        is_binary = ((aims == 0) | (aims == 1)).all(axis=-1)
        several = float(np.mean(is_binary & (aims.sum(axis=-1) > 1)))
    return OutputFacts(
        loss=loss,
        activation=activation,
        units=units,
        outputs=_signal_of(rows),
        targets=_signal_of(aims),
        sums_to_one=are_of_softmax(rows),
        form=form,
        is_whole=bool((aims == np.round(aims)).all()),
        outside=outside,
        divisor=divisor,
        several=several,
        frequencies=frequencies,
        beyond=beyond,
        sum_beyond=sum_beyond,
    )


def _form_of(
    loss: KnownLoss, targets: tuple[int, ...], outputs: tuple[int, ...], rows: tuple[int, ...]
) -> _Form | None:
    """Return the form of targets of one shape for outputs of another.

    Args:
        loss: The loss.
        targets: Shape of the targets.
        outputs: Shape of the outputs.
        rows: Shape of the outputs with the classes last.
    """
    has_one_for_each_row = targets in (rows[:-1], (*rows[:-1], 1))
    if has_one_for_each_row and (loss.kind == "sparse" or rows[-1] > 1):
        return "numbers"
    if has_one_for_each_row or targets == outputs:
        return "rows"
    # Without `Flatten` or a pooling the outputs keep the positions of an example.
    if loss.kind != "distance" and len(rows) > 2 and targets in _of_examples(rows):
        return "examples"
    return None


def _of_examples(rows: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shapes of targets with one number or one row for each example."""
    count, *_, units = rows
    return [(count,), (count, 1), (count, units)]


def _divisor(numbers: Array, units: int) -> int | None:
    """Return by which class numbers below `units` were divided, `None` if they were not.

    Labels are divided by mistake together with the pixels that they are scaled with.
    """
    positive = numbers[numbers > 0]
    if not positive.size or numbers.min() < 0 or (numbers == np.round(numbers)).all():
        return None
    # The smallest label is that of class 1 if there is one, otherwise of a later class.
    for first in range(1, units):
        divisor = round(first / float(positive.min()))
        classes = numbers.astype("float64") * divisor
        if classes.max() < units - 0.5 and (abs(classes - np.round(classes)) < 1e-3).all():
            return divisor
    return None


def reach_of(activation: str | None) -> tuple[float, float]:
    """Return the limits that the outputs of an activation cannot leave."""
    return _RANGES.get(activation or "", (-np.inf, np.inf))


def _share_beyond(targets: Array, activation: str | None) -> float:
    """Return the fraction of the targets that an activation does not reach."""
    low, high = reach_of(activation)
    room = 0.01
    if np.isfinite(high):
        room *= high - low
    return float(np.mean((targets < low - room) | (targets > high + room)))


def _signal_of(values: Array) -> Signal:
    signal = Signal()
    signal.add(values.astype("float64") if values.dtype.kind != "f" else values)
    return signal


def are_of_softmax(values: Array) -> bool:
    """Return whether `values` are several probabilities for each example, which add up to 1."""
    if values.ndim < 2 or values.shape[-1] < 2:
        return False
    if not values.min(initial=0) >= 0:
        return False
    sums = values.sum(axis=-1, dtype="float64")
    return bool((abs(sums - 1) < 1e-2).all())


def last_activation(producer: keras.Operation | None, activation: str | None) -> str | None:
    """Return the name of the activation of what an output came out of.

    It is `"linear"` for a layer of Keras that has none, and `None` where it is not known, as in
    code of one's own.

    Args:
        producer: The layer or operation.
        activation: The name of the activation that it applies if it is a layer, or `None`.
    """
    if activation is not None:
        return activation
    # A subclass may apply anything in its own `call`.
    if type(producer) in _WITHOUT_ACTIVATION:
        return "linear"
    name = type(producer).__name__.lower()
    return name if name in _OPERATIONS else None
