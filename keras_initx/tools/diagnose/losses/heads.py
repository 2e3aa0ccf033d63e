"""An output of a model with its targets and its loss: an output head, and how the loss reads it.

A loss of Keras takes targets in one of three forms. For outputs of shape (32, 10, 7), that is 32
examples of 10 positions with 7 classes:

    numbers     (32, 10)       a class number for each row of outputs
    rows        (32, 10, 7)    a target for each output
    examples    (32,)          one label for an example, of which the output has several rows
"""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from keras_initx._typing import Array, Shape
from keras_initx.initializers._activations import activation_facts
from keras_initx.tools.diagnose._signal import Signal
from keras_initx.tools.diagnose.losses.known import Loss

_Form: TypeAlias = Literal["numbers", "rows", "examples"]

# How far a sum of shares may be from 1, which 16 bits round.
_SUM_TOLERANCE = 5e-3
# The number of values from which on their sum is hardly 1 by chance.
_LEAST_TERMS = 16


class LastOperation(NamedTuple):
    """A layer or an operation after the last kernel.

    Attributes:
        operation: The layer or operation.
        activation: Name of its activation, `"linear"` for none, `None` if it is not known.
    """

    operation: keras.Operation
    activation: str | None


@dataclass(frozen=True, eq=False)
class OutputHead:
    """The inputs of a loss of Keras: an output of a model, and its targets.

    Attributes:
        layer: The layer that makes the output.
        last_operations: The operations after the last kernel, its layer first.
        index: The index of the output among the outputs of the model, `None` if it is none of
            these.
        loss: The loss.
        outputs: The output.
        targets: Its targets.
        row_mask: An array that is false for each masked row of outputs.
    """

    layer: keras.Layer
    last_operations: Sequence[LastOperation]
    index: int | None
    loss: Loss
    outputs: Array
    targets: Array
    row_mask: npt.NDArray[np.bool_]

    @property
    def activation(self) -> str | None:
        """The activation that made the output, `"linear"` for none, `None` if it is not known."""
        return self.last_operations[-1].activation if self.last_operations else None

    @property
    def units(self) -> int:
        """Number of values in a row of outputs: the classes of a crossentropy."""
        return int(self.outputs.shape[self.loss.axis])

    @functools.cached_property
    def form(self) -> _Form | None:
        """The form of the targets, `None` if their shape does not fit."""
        classes_last = np.moveaxis(self.outputs, self.loss.axis, -1).shape
        return _find_form(self.loss, self.targets.shape, self.outputs.shape, classes_last)

    @functools.cached_property
    def output_rows(self) -> Array:
        """The outputs that count, with a row of units for each."""
        rows = np.moveaxis(self.outputs, self.loss.axis, -1).reshape(-1, self.units)
        return self._drop_masked(rows)

    @functools.cached_property
    def target_rows(self) -> Array:
        """The targets that count, with a number or a row for each row of outputs."""
        targets: Array = self.targets.reshape(-1)
        if self.form == "rows":
            targets = self.targets
            if targets.ndim == self.outputs.ndim:
                targets = np.moveaxis(targets, self.loss.axis, -1)
            targets = targets.reshape(-1, self.units)
        if self.form != "examples":
            targets = self._drop_masked(targets)
        if self.loss.ignored is not None and self.form == "numbers":
            targets = targets[targets != self.loss.ignored]
        return targets

    def _drop_masked(self, values: Array) -> Array:
        if self.row_mask.all() or self.row_mask.size != self.outputs.size // self.units:
            return values
        return values[self.row_mask.reshape(-1)]

    @functools.cached_property
    def output_signal(self) -> Signal:
        """`Signal` of `output_rows`."""
        return measure_signal(self.output_rows)

    @functools.cached_property
    def target_signal(self) -> Signal:
        """`Signal` of `target_rows`."""
        return measure_signal(self.target_rows)

    @property
    def is_understood(self) -> bool:
        """Whether the code understands how the loss reads these outputs and targets."""
        if self.loss.kind == "other" or self.form is None:
            return False
        return self.output_rows.size > 0 and self.target_rows.size > 0

    @property
    def may_raise(self) -> bool:
        """Whether some backends raise an error, because the loss cannot read these targets."""
        if self.loss.kind == "distance":
            return False
        if self.loss.kind == "binary" and (self.has_targets_beyond_range or self.form == "numbers"):
            return True
        if self.has_wrong_form:
            return True
        return self.form == "examples" or self.invalid_share > 0

    @property
    def has_wrong_form(self) -> bool:
        """Whether there are rows for a sparse crossentropy, or class numbers for a categorical one.

        Keras refuses them.
        """
        return (self.loss.kind, self.form) in (("sparse", "rows"), ("categorical", "numbers"))

    @functools.cached_property
    def loss_of_shares(self) -> float | None:
        """The crossentropy of a guess by the shares of the labels, the best without any inputs.

        It lacks the factor of a user's loss. It is `None` for other losses, if labels are no
        shares, and if all labels are the same.
        """
        if not self.loss.is_crossentropy or self.loss.is_focal or self.may_raise:
            return None
        if self.form == "numbers":
            classes = self.target_rows.astype("int64")
            shares = np.bincount(classes, minlength=self.units) / len(classes)
        else:
            shares = self.target_rows.mean(axis=0, dtype="float64")
        if shares.min() < 0 or shares.max() > 1:
            return None
        smoothing = self.loss.smoothing
        if self.loss.kind == "binary":
            shares = shares * (1 - smoothing) + smoothing / 2
            entropies = _compute_entropy_terms(shares) + _compute_entropy_terms(1 - shares)
            crossentropy = entropies.mean()
        else:
            shares = shares * (1 - smoothing) + smoothing / len(shares)
            crossentropy = _compute_entropy_terms(shares).sum()
        return float(crossentropy) or None

    @functools.cached_property
    def has_integer_targets(self) -> bool:
        """Whether all targets are integers."""
        return bool((self.target_rows == np.round(self.target_rows)).all())

    @property
    def has_targets_beyond_range(self) -> bool:
        """Whether targets are outside [0, 1], other than a -1 next to 0 and 1."""
        targets = self.target_signal
        # Such a -1 may stand for what sample weights leave out.
        if self.has_integer_targets and targets.zeros and targets.min == -1 and targets.max == 1:
            return False
        return targets.min < -1e-2 or targets.max > 1.01

    @property
    def invalid_share(self) -> float:
        """Fraction of the targets that are no class numbers, if each row has one target."""
        if self.form != "numbers":
            return 0.0
        numbers = self.target_rows
        is_class = (numbers >= 0) & (numbers < self.units) & (numbers == np.round(numbers))
        return float(np.mean(~is_class))

    @functools.cached_property
    def sum_axes(self) -> tuple[int, ...]:
        """The axes whose values add up to 1 in the output of a crossentropy.

        There are none if the values along the class axis do.
        """
        if not self.loss.is_crossentropy or activation_facts(self.activation).rising is not None:
            return ()
        class_axis = self.loss.axis % self.outputs.ndim
        return _find_sum_axes(self.outputs, class_axis, self.activation == "softmax")

    @property
    def has_summing_targets(self) -> bool:
        """Whether the targets add up to 1 over `sum_axes` too, and not over the class axis."""
        if not self.sum_axes or self.targets.shape != self.outputs.shape:
            return False
        if _are_shares(self.targets, (self.loss.axis,)):
            return False
        return _are_shares(self.targets, self.sum_axes)


def _compute_entropy_terms(shares: Array) -> Array:
    # -p log(p), which is 0 for a share of 0.
    terms: Array = -shares * np.log(np.where(shares > 0, shares, 1))
    return terms


def _find_form(
    loss: Loss, target_shape: Shape, output_shape: Shape, classes_last: Shape
) -> _Form | None:
    """Find the form of targets by the shapes.

    Args:
        loss: The loss.
        target_shape: Shape of the targets.
        output_shape: Shape of the outputs.
        classes_last: Shape of the outputs with the axis of the classes last.
    """
    rows = classes_last[:-1]
    has_one_for_each_row = target_shape in (rows, (*rows, 1))
    if has_one_for_each_row and (loss.kind == "sparse" or classes_last[-1] > 1):
        return "numbers"
    if has_one_for_each_row or target_shape == output_shape:
        return "rows"
    # Without `Flatten` or a pooling the outputs keep the positions of an example.
    if len(rows) > 1 and target_shape in _list_shapes_by_example(loss, classes_last):
        return "examples"
    return None


def _list_shapes_by_example(loss: Loss, classes_last: Shape) -> list[Shape]:
    """List the shapes of targets with one number or one row for each example."""
    count, *positions, units = classes_last
    if loss.kind == "distance":
        # Of other shapes each output is compared with the targets of several examples.
        return [(count, 1), (count, *(1 for _ in positions), 1)] if units == 1 else []
    return [(count,), (count, 1), (count, units)]


def _find_sum_axes(outputs: Array, class_axis: int, is_softmax: bool) -> tuple[int, ...]:
    """Find the fewest axes whose values add up to 1, none if the class axis does so alone.

    Args:
        outputs: The values.
        class_axis: The axis of the classes.
        is_softmax: Whether they certainly come from a softmax. If not, a single sum of few values,
            or sums of equal values, may be 1 by chance.
    """
    if _are_shares(outputs, (class_axis,)):
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
    if not values.min(initial=0) >= 0:
        return False
    return bool((abs(values.sum(axis=axes, dtype="float64") - 1) < _SUM_TOLERANCE).all())


def are_probabilities(values: Array) -> bool:
    """Return whether each row has several values from 0 which add up to 1."""
    if values.ndim < 2 or values.shape[-1] < 2:
        return False
    if not values.min(initial=0) >= 0:
        return False
    sums = values.sum(axis=-1, dtype="float64")
    return bool((abs(sums - 1) < 1e-2).all())


def measure_signal(values: Array) -> Signal:
    """Measure the statistics of an array."""
    signal = Signal()
    signal.add(values.astype("float64") if values.dtype.kind != "f" else values)
    return signal
