"""The end of a model: an output, its targets, and how a loss of Keras reads them."""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from keras_initx._typing import Array
from keras_initx.initializers._activations import activation_facts
from keras_initx.tools.diagnose._signal import Signal
from keras_initx.tools.diagnose.losses.known import Loss

# How the targets of a loss are given.
_Form: TypeAlias = Literal["numbers", "rows", "examples"]
# Layers or operations, each with the name of its activation: `"linear"` for none, `None` if it is
# not known.
Steps: TypeAlias = Sequence[tuple[keras.Operation, str | None]]

# How far a sum of shares may be from 1, which 16 bits round.
_SUM_TOLERANCE = 5e-3
# The number of values from which on their sum is hardly 1 by chance.
_LEAST_TERMS = 16


@dataclass(frozen=True, eq=False)
class OutputHead:
    """What a loss of Keras gets: an output of a model, and its targets.

    Attributes:
        layer: The layer that makes the output.
        steps: What follows the last kernel, its layer first.
        place: The place of the output among those of the model, `None` if it is none of these.
        loss: The loss.
        outputs: The output.
        targets: Its targets.
        counts: An array that is false for each row of outputs that a mask leaves out.
    """

    layer: keras.Layer
    steps: Steps
    place: int | None
    loss: Loss
    outputs: Array
    targets: Array
    counts: npt.NDArray[np.bool_]

    @property
    def activation(self) -> str | None:
        """The activation that made the output, `"linear"` for none, `None` if it is not known."""
        return self.steps[-1][1] if self.steps else None

    @property
    def units(self) -> int:
        """Number of values in a row of outputs: the classes of a crossentropy."""
        return int(self.outputs.shape[self.loss.axis])

    @functools.cached_property
    def form(self) -> _Form | None:
        """How the targets are given, `None` if their shape does not fit.

        `"numbers"` where there is one target for each row of outputs, `"rows"` where there is one
        for each output, `"examples"` where there is a single number or row for an example, of which
        the output has several rows.
        """
        rows = np.moveaxis(self.outputs, self.loss.axis, -1).shape
        return _find_form(self.loss, self.targets.shape, self.outputs.shape, rows)

    @functools.cached_property
    def rows(self) -> Array:
        """The outputs that count, with a row of units for each."""
        rows = np.moveaxis(self.outputs, self.loss.axis, -1).reshape(-1, self.units)
        return self._kept(rows)

    @functools.cached_property
    def aims(self) -> Array:
        """The targets that count, with a number or a row for each row of outputs."""
        aims: Array = self.targets.reshape(-1)
        if self.form == "rows":
            aims = self.targets
            if aims.ndim == self.outputs.ndim:
                aims = np.moveaxis(aims, self.loss.axis, -1)
            aims = aims.reshape(-1, self.units)
        if self.form != "examples":
            aims = self._kept(aims)
        if self.loss.ignored is not None and self.form == "numbers":
            aims = aims[aims != self.loss.ignored]
        return aims

    def _kept(self, values: Array) -> Array:
        """Return the values of the rows that a mask does not leave out."""
        if self.counts.all() or self.counts.size != self.outputs.size // self.units:
            return values
        return values[self.counts.reshape(-1)]

    @functools.cached_property
    def made(self) -> Signal:
        """`Signal` of the outputs that count."""
        return measure_signal(self.rows)

    @functools.cached_property
    def wanted(self) -> Signal:
        """`Signal` of the targets that count."""
        return measure_signal(self.aims)

    @property
    def is_read(self) -> bool:
        """Whether it is known how the loss reads these outputs and targets."""
        if self.loss.kind == "other" or self.form is None:
            return False
        return self.rows.size > 0 and self.aims.size > 0

    @property
    def fails(self) -> bool:
        """Whether the loss cannot be computed: some backends raise an error, others go on."""
        if self.loss.kind == "distance":
            return False
        if self.loss.kind == "binary" and (self.leaves_range or self.form == "numbers"):
            return True
        if self.is_of_other_form:
            return True
        return self.form == "examples" or self.outside > 0

    @property
    def is_of_other_form(self) -> bool:
        """Whether there are rows for a sparse crossentropy, or class numbers for a categorical one.

        Keras refuses them.
        """
        return (self.loss.kind, self.form) in (("sparse", "rows"), ("categorical", "numbers"))

    @functools.cached_property
    def loss_of_shares(self) -> float | None:
        """The crossentropy of a guess by the shares of the labels, the best without any inputs.

        It lacks the factor of a loss of one's own. It is `None` for other losses, where labels are
        no shares, and where all are the same.
        """
        if not self.loss.is_crossentropy or self.loss.is_focal or self.fails:
            return None
        if self.form == "numbers":
            shares = np.bincount(self.aims.astype("int64"), minlength=self.units) / len(self.aims)
        else:
            shares = self.aims.mean(axis=0, dtype="float64")
        if shares.min() < 0 or shares.max() > 1:
            return None
        smoothing = self.loss.smoothing
        if self.loss.kind == "binary":
            shares = shares * (1 - smoothing) + smoothing / 2
            of_units = _compute_entropy_terms(shares) + _compute_entropy_terms(1 - shares)
            guessed = of_units.mean()
        else:
            shares = shares * (1 - smoothing) + smoothing / len(shares)
            guessed = _compute_entropy_terms(shares).sum()
        return float(guessed) or None

    @functools.cached_property
    def is_whole(self) -> bool:
        """Whether all targets are integers."""
        return bool((self.aims == np.round(self.aims)).all())

    @property
    def leaves_range(self) -> bool:
        """Whether targets are beyond [0, 1], other than a -1 beside 0 and 1.

        That may stand for what sample weights leave out.
        """
        wanted = self.wanted
        if self.is_whole and wanted.zeros and wanted.min == -1 and wanted.max == 1:
            return False
        return wanted.min < -1e-2 or wanted.max > 1.01

    @property
    def outside(self) -> float:
        """Fraction of the targets that are no class numbers, where each row has one."""
        if self.form != "numbers":
            return 0.0
        numbers = self.aims
        is_class = (numbers >= 0) & (numbers < self.units) & (numbers == np.round(numbers))
        return float(np.mean(~is_class))

    @functools.cached_property
    def sum_axes(self) -> tuple[int, ...]:
        """The axes over which values of the output of a crossentropy add up to 1.

        There are none if those of the classes do.
        """
        if not self.loss.is_crossentropy or activation_facts(self.activation).rising is not None:
            return ()
        of_classes = self.loss.axis % self.outputs.ndim
        return _find_sum_axes(self.outputs, of_classes, self.activation == "softmax")

    @property
    def targets_sum(self) -> bool:
        """Whether the targets add up to 1 over these axes too, and not over that of the classes."""
        if not self.sum_axes or self.targets.shape != self.outputs.shape:
            return False
        of_classes = (self.loss.axis,)
        return _are_shares(self.targets, self.sum_axes) and not _are_shares(
            self.targets, of_classes
        )


def _compute_entropy_terms(shares: Array) -> Array:
    """Return what each share adds to the entropy, 0 for one of 0."""
    entropies: Array = -shares * np.log(np.where(shares > 0, shares, 1))
    return entropies


def _find_form(
    loss: Loss, targets: tuple[int, ...], outputs: tuple[int, ...], rows: tuple[int, ...]
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
    if len(rows) > 2 and targets in _list_shapes_by_example(loss, rows):
        return "examples"
    return None


def _list_shapes_by_example(loss: Loss, rows: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shapes of targets with one number or one row for each example."""
    count, *positions, units = rows
    if loss.kind == "distance":
        # Of other shapes each output is compared with the targets of several examples.
        return [(count, 1), (count, *(1 for _ in positions), 1)] if units == 1 else []
    return [(count,), (count, 1), (count, units)]


def _find_sum_axes(outputs: Array, of_classes: int, is_softmax: bool) -> tuple[int, ...]:
    """Return the fewest axes over which values add up to 1, none if those of the classes do.

    Args:
        outputs: The values.
        of_classes: The axis of the classes.
        is_softmax: Whether they are known to be of a softmax. Otherwise a single sum of few, or
            sums of equal values, may be 1 by chance.
    """
    if _are_shares(outputs, (of_classes,)):
        return ()
    if not is_softmax and outputs.min() == outputs.max():
        return ()
    mean = outputs.mean(dtype="float64")
    for count in range(1, outputs.ndim + 1):
        for axes in itertools.combinations(range(outputs.ndim), count):
            size = math.prod(outputs.shape[axis] for axis in axes)
            is_single = size == outputs.size and not is_softmax
            if size < 2 or (is_single and size < _LEAST_TERMS):
                continue
            # Most need no sums.
            if abs(mean * size - 1) < _SUM_TOLERANCE and _are_shares(outputs, axes):
                return axes
    return ()


def _are_shares(values: Array, axes: tuple[int, ...]) -> bool:
    """Return whether values are shares, which add up to 1 over some axes."""
    if not values.min(initial=0) >= 0:
        return False
    return bool((abs(values.sum(axis=axes, dtype="float64") - 1) < _SUM_TOLERANCE).all())


def are_probabilities(values: Array) -> bool:
    """Return whether `values` are several probabilities for each example, which add up to 1."""
    if values.ndim < 2 or values.shape[-1] < 2:
        return False
    if not values.min(initial=0) >= 0:
        return False
    sums = values.sum(axis=-1, dtype="float64")
    return bool((abs(sums - 1) < 1e-2).all())


def measure_signal(values: Array) -> Signal:
    """Return the statistics of an array."""
    signal = Signal()
    signal.add(values.astype("float64") if values.dtype.kind != "f" else values)
    return signal
