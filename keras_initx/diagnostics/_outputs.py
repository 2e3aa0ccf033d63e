"""What is between the last layer and a loss: outputs, targets, and how the loss reads them."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from keras_initx._keras import layers_of
from keras_initx._typing import Array
from keras_initx.backends import backend
from keras_initx.diagnostics._losses import KnownLoss
from keras_initx.diagnostics._signal import Signal
from keras_initx.initializers import activation_facts
from keras_initx.structure import CONVOLUTIONS, array_of, tensors_in

# How the targets of a loss are given.
_Form: TypeAlias = Literal["numbers", "rows", "examples"]

# Without an activation these are known to be linear.
_WITHOUT_ACTIVATION = (keras.layers.Dense, keras.layers.EinsumDense, *CONVOLUTIONS)
# Activations that are layers or operations of their own, by the name of the class in lower case.
_OPERATIONS = ("relu", "sigmoid", "softmax", "tanh")
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
# Share of the rows with several ones from which on they are no accident.
_SEVERAL = 0.01
# Share of the labels without a meaning from which on they are no accident.
MANY = 0.1
# How far the sum of a row of targets may be from that of a softmax.
_OF_A_SUM = 0.1
# How far a sum of shares may be from 1, which 16 bits round.
_OF_SHARES = 5e-3
# The number of values from which on their sum is hardly 1 by chance.
_LEAST_OF_A_SUM = 16
# How far a probability may be from its label where a crossentropy is small.
_PROBABLE = 0.25


class Applied(NamedTuple):
    """An activation between the last kernel and an output.

    Attributes:
        layer: Path of the layer, or name of the operation, that applies it.
        activation: Its name.
        is_argument: Whether it is an argument of the layer.
    """

    layer: str
    activation: str
    is_argument: bool


@dataclass(frozen=True, eq=False)
class LossInputs:
    """What a loss of Keras gets, be it a known one or another.

    Attributes:
        name: Name of the function of the loss.
        outputs: `Signal` of the output.
        negative: Fraction of the targets that are below 0.
        mismatch: Why the shapes cannot satisfy the loss, `None` if they can.
    """

    name: str
    outputs: Signal
    negative: float = 0.0
    mismatch: "Mismatch | None" = None


@dataclass(frozen=True)
class Mismatch:
    """Why the shapes cannot satisfy a loss.

    Attributes:
        targets: Shape of the targets.
        outputs: Shape of the outputs.
        remaining: Share of the variance of the targets that remains for the best outputs of this
            shape, because each is compared with several targets.
    """

    targets: tuple[int, ...]
    outputs: tuple[int, ...]
    remaining: float


def loss_inputs_of(name: str, targets: Array, outputs: Array) -> LossInputs | None:
    """Return what the loss of this name gets.

    It is `None` for crossentropies, and where the outputs are empty or no numbers.
    """
    if "crossentropy" in name or not outputs.size or outputs.dtype.kind != "f":
        return None
    mismatch = None
    if name not in ("cosine_similarity", "ctc"):
        mismatch = _of_shapes(targets, outputs)
    negative = float(np.mean(targets < 0))
    return LossInputs(name, _signal_of(outputs), negative, mismatch)


def _of_shapes(targets: Array, outputs: Array) -> Mismatch | None:
    """Return where a distance compares one output with several targets, by their shapes."""
    aims, shape = targets, list(outputs.shape)
    # As Keras makes their ranks equal.
    if aims.ndim == len(shape) + 1 and aims.shape[-1] == 1:
        aims = aims[..., 0]
    elif len(shape) == aims.ndim + 1 and shape[-1] == 1:
        shape.pop()
    shape = [1] * (aims.ndim - len(shape)) + shape
    aims = aims.reshape((1,) * (len(shape) - aims.ndim) + aims.shape)
    several = tuple(axis for axis, size in enumerate(shape) if size == 1 < aims.shape[axis])
    if not several:
        return None
    variance = aims.var(dtype="float64")
    if not variance > 0:
        return None
    remaining = float(aims.var(axis=several, dtype="float64").mean() / variance)
    return Mismatch(targets.shape, outputs.shape, remaining=remaining)


@dataclass(frozen=True)
class LabelFacts:
    """What labels of a crossentropy may mean.

    Attributes:
        outside: Fraction of the class numbers that are none.
        divisor: By which class numbers were divided if targets that are no integers are quotients
            of them, otherwise `None`.
        several: Fraction of the rows of targets with several ones among zeros.
        empty: Fraction of the rows that are all 0.
        no_shares: Fraction of the rows with several numbers other than 0 that are no zeros and
            ones, and no shares that add up to 1.
    """

    outside: float = 0.0
    divisor: int | None = None
    several: float = 0.0
    empty: float = 0.0
    no_shares: float = 0.0


@dataclass(frozen=True, eq=False)
class OutputFacts:
    """What a loss of Keras gets: one output of a model, and its targets.

    Attributes:
        loss: The loss.
        activation: Name of the activation that made the output, `"linear"` for none, or `None` if
            it is not known.
        applied: The activations between the last kernel and the output, the first of them first.
        reach: What the output cannot leave: for a crossentropy, the probabilities that it stands
            for.
        units: Number of values in a row of outputs: the classes of a crossentropy.
        outputs: `Signal` of the output.
        targets: `Signal` of the targets.
        sums_to_one: Whether the values in each row of the output are probabilities that add up
            to 1.
        within_one: Whether its values lie between 0 and 1 by an activation that is not known.
        sum_axes: The axes over which the values of the output add up to 1, if these are others than
            that of the classes, otherwise none.
        targets_sum: Whether those of the targets do, too, and not over that of the classes.
        form: `"numbers"` where there is one target for each row of outputs, `"rows"` where there
            is one for each output, `"examples"` where there is a single number or row for an
            example, of which the output has several rows.
        is_whole: Whether all targets are integers.
        has_two_values: Whether all targets are one of two numbers.
        labels: What labels may mean.
        beyond: Fraction of the targets that are not in reach.
        sum_beyond: Fraction of the rows of targets that do not add up to 1 for an output whose
            rows do.
    """

    loss: KnownLoss
    activation: str | None
    applied: tuple[Applied, ...]
    reach: tuple[float, float]
    units: int
    outputs: Signal
    targets: Signal
    sums_to_one: bool
    within_one: bool
    sum_axes: tuple[int, ...]
    targets_sum: bool
    form: _Form
    is_whole: bool
    has_two_values: bool
    labels: LabelFacts
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
    def means_numbers(self) -> bool:
        """Whether targets of a categorical crossentropy are no probabilities of classes."""
        return self.loss.kind == "categorical" and self.labels.no_shares > MANY

    @property
    def means_several(self) -> bool:
        """Whether labels of a categorical crossentropy have several classes for an example."""
        return self.loss.kind == "categorical" and self.labels.several > _SEVERAL

    @property
    def loss_fails(self) -> bool:
        """Whether the loss cannot be computed: some backends raise an error, others go on."""
        if self.loss.kind == "distance":
            return False
        if self.loss.kind == "binary" and (self.leaves_range or self.form == "numbers"):
            return True
        return self.form == "examples" or self.labels.outside > 0


def output_facts(
    loss: KnownLoss,
    activation: str | None,
    applied: tuple[Applied, ...],
    reach: tuple[float, float],
    targets: Array,
    outputs: Array,
    counts: npt.NDArray[np.bool_],
) -> OutputFacts | None:
    """Return the facts of one output, `None` if the targets have another shape or are empty.

    Args:
        loss: The loss.
        activation: See `OutputFacts`.
        applied: See `OutputFacts`.
        reach: What the output cannot leave.
        targets: The targets.
        outputs: The output.
        counts: Array that is false for each row of outputs that a mask leaves out.
    """
    rows = np.moveaxis(outputs, loss.axis, -1)
    units = rows.shape[-1]
    form = _form_of(loss, targets.shape, outputs.shape, rows.shape)
    if form is None:
        return None
    aims = targets
    if form == "rows":
        if targets.ndim == outputs.ndim:
            aims = np.moveaxis(targets, loss.axis, -1)
        aims = aims.reshape(-1, units)
    else:
        aims = targets.reshape(-1)
    rows = rows.reshape(-1, units)
    if not counts.all() and counts.size == len(rows):
        rows = rows[counts.reshape(-1)]
        if form != "examples":
            aims = aims[counts.reshape(-1)]
    if loss.ignored is not None and form == "numbers":
        aims = aims[aims != loss.ignored]
    if not rows.size or not aims.size:
        return None
    labels = LabelFacts()
    if loss.kind != "distance" and form == "rows":
        labels = _facts_of_rows(aims)
    elif form == "numbers":
        labels = _facts_of_numbers(aims, units)
    of_loss = _reach_of_probabilities(loss, reach, units)
    sum_axes: tuple[int, ...] = ()
    if loss.kind != "distance" and activation_facts(activation).rising is None:
        sum_axes = _axes_of_sums(outputs, loss.axis % outputs.ndim, activation == "softmax")
    targets_sum = bool(sum_axes) and targets.shape == outputs.shape and _add_up(targets, sum_axes)
    if targets_sum:
        targets_sum = not _add_up(targets, (loss.axis,))
    return OutputFacts(
        loss=loss,
        activation=activation,
        applied=applied,
        reach=of_loss,
        units=units,
        outputs=_signal_of(rows),
        targets=_signal_of(aims),
        sums_to_one=are_of_softmax(rows),
        within_one=activation is None and reach == (0, 1),
        sum_axes=sum_axes,
        targets_sum=targets_sum,
        form=form,
        is_whole=bool((aims == np.round(aims)).all()),
        has_two_values=bool(((aims == aims.min()) | (aims == aims.max())).all()),
        labels=labels,
        beyond=_share_out_of_reach(loss, form, aims, labels, of_loss),
        sum_beyond=_share_of_other_sums(loss, aims, rows),
    )


def _axes_of_sums(outputs: Array, of_classes: int, is_softmax: bool) -> tuple[int, ...]:
    """Return the fewest axes over which values add up to 1, none if those of the classes do.

    Args:
        outputs: The values.
        of_classes: The axis of the classes.
        is_softmax: Whether they are known to be of a softmax. Otherwise a single sum of few, or
            sums of equal values, may be 1 by chance.
    """
    if _add_up(outputs, (of_classes,)):
        return ()
    if not is_softmax and outputs.min() == outputs.max():
        return ()
    mean = outputs.mean(dtype="float64")
    for count in range(1, outputs.ndim + 1):
        for axes in itertools.combinations(range(outputs.ndim), count):
            size = math.prod(outputs.shape[axis] for axis in axes)
            is_single = size == outputs.size and not is_softmax
            if size < 2 or (is_single and size < _LEAST_OF_A_SUM):
                continue
            # Most need no sums.
            if abs(mean * size - 1) < _OF_SHARES and _add_up(outputs, axes):
                return axes
    return ()


def _add_up(values: Array, axes: tuple[int, ...]) -> bool:
    """Return whether values are shares, which add up to 1 over some axes."""
    if not values.min(initial=0) >= 0:
        return False
    return bool((abs(values.sum(axis=axes, dtype="float64") - 1) < _OF_SHARES).all())


def _facts_of_numbers(numbers: Array, units: int) -> LabelFacts:
    """Return what numbers may mean where each is a class."""
    is_class = (numbers >= 0) & (numbers < units) & (numbers == np.round(numbers))
    return LabelFacts(outside=float(np.mean(~is_class)), divisor=_divisor(numbers, units))


def _facts_of_rows(rows: Array) -> LabelFacts:
    """Return what rows of targets may mean where each has a number for each class."""
    is_binary = ((rows == 0) | (rows == 1)).all(axis=-1)
    others = np.count_nonzero(rows, axis=-1)
    is_shared = (abs(rows.sum(axis=-1, dtype="float64") - 1) < 1e-2) & (rows >= 0).all(axis=-1)
    return LabelFacts(
        several=float(np.mean(is_binary & (others > 1))),
        empty=float(np.mean(others == 0)),
        no_shares=float(np.mean(~is_binary & (others > 1) & ~is_shared)),
    )


def _share_out_of_reach(
    loss: KnownLoss, form: _Form, aims: Array, labels: LabelFacts, reach: tuple[float, float]
) -> float:
    """Return the fraction of the targets that an output within `reach` cannot come near to."""
    low, high = reach
    if form == "examples":
        return 0.0
    if loss.kind == "distance":
        return _share_beyond(aims, low, high)
    if form == "numbers":
        return float(not labels.outside and high < 1 - _PROBABLE)
    least, most = low - _PROBABLE, high + _PROBABLE
    if loss.kind == "binary":
        # Labels beyond [0, 1] are none, whatever is in reach.
        probable = np.clip(aims, 0, 1)
        return float(np.mean((probable < least) | (probable > most)))
    return float(np.mean(aims.max(axis=-1) > most))


def _share_of_other_sums(loss: KnownLoss, aims: Array, rows: Array) -> float:
    """Return the fraction of the rows of targets that do not add up to 1, though outputs do."""
    takes_any_sum = loss.kind == "distance" or (loss.kind == "binary" and not loss.from_logits)
    if not takes_any_sum or aims.ndim != 2 or not are_of_softmax(rows):
        return 0.0
    return float(np.mean(abs(aims.sum(axis=-1, dtype="float64") - 1) > _OF_A_SUM))


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
        # Keras refuses them for a categorical crossentropy, and rows for a sparse one.
        return None if loss.kind == "categorical" else "numbers"
    if has_one_for_each_row or targets == outputs:
        return None if loss.kind == "sparse" else "rows"
    # Without `Flatten` or a pooling the outputs keep the positions of an example.
    if len(rows) > 2 and targets in _of_examples(loss, rows):
        return "examples"
    return None


def _of_examples(loss: KnownLoss, rows: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the shapes of targets with one number or one row for each example."""
    count, *positions, units = rows
    if loss.kind == "distance":
        # Of other shapes each output is compared with the targets of several examples.
        return [(count, 1), (count, *(1 for _ in positions), 1)] if units == 1 else []
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
        if divisor == 0:
            continue
        classes = numbers.astype("float64") * divisor
        if classes.max() < units - 0.5 and (abs(classes - np.round(classes)) < 1e-3).all():
            return divisor
    return None


def _reach_of_probabilities(
    loss: KnownLoss, reach: tuple[float, float], units: int
) -> tuple[float, float]:
    """Return the probabilities in reach for a crossentropy, and otherwise `reach`."""
    if loss.kind == "distance" or not loss.from_logits:
        return reach
    return _image("sigmoid" if loss.kind == "binary" else "softmax", *reach, units)


def _image(activation: str | None, low: float, high: float, units: int) -> tuple[float, float]:
    """Return what an activation makes of the numbers from `low` to `high`."""
    if activation == "softmax":
        others = math.exp(low - high) if math.isfinite(high - low) else 0.0
        largest = 1 / (1 + (units - 1) * others)
        smallest = others / (others + units - 1) if units > 1 else 1.0
        return smallest, largest
    known = activation_facts(activation)
    if known.rising is not None:
        return known.rising(low), known.rising(high)
    return known.limits or (-math.inf, math.inf)


def reach_alone(activation: str) -> tuple[float, float]:
    """Return the limits that the outputs of an activation cannot leave, whatever it gets."""
    return _image(activation, -math.inf, math.inf, 2)


def reach_of(
    steps: Sequence[tuple[keras.Operation, str | None]], shape: Sequence[int], axis: int
) -> tuple[float, float]:
    """Return the limits that an output cannot leave.

    Args:
        steps: Each layer or operation between the last kernel and the output, the first of them
            first, with the name of its activation, `None` if that is not known.
        shape: The shape of the output.
        axis: The axis of a row of outputs.
    """
    units = shape[axis]
    low, high = -math.inf, math.inf
    for operation, activation in steps:
        if type(operation) is keras.layers.Rescaling:
            factors = operation.scale, operation.offset
            if not all(isinstance(factor, int | float) for factor in factors):
                low, high = -math.inf, math.inf
                continue
            scale, offset = factors
            low, high = sorted((low * scale + offset, high * scale + offset))
        elif _only_normalizes(operation):
            # One number can be this many deviations from the mean of all, no more.
            high = math.sqrt(units - 1)
            low = -high
        elif activation == "softmax" and not _is_over(operation, axis, len(shape)):
            low, high = 0.0, 1.0
        elif not isinstance(operation, _KEEPING_RANGE):
            low, high = _image(activation, low, high, units)
    return low, high


def _is_over(operation: keras.Operation, axis: int, ndim: int) -> bool:
    """Return whether a softmax is over this axis, as one in another layer is over the last."""
    axes = getattr(operation, "axis", -1)
    if not isinstance(axes, list | tuple):
        axes = [axes]
    return [one % ndim for one in axes] == [axis % ndim]


def _only_normalizes(operation: keras.Operation) -> bool:
    """Return whether a layer divides each row by its deviation, and nothing else."""
    if not isinstance(operation, keras.layers.LayerNormalization):
        return False
    return not operation.scale and not operation.center and operation.axis in (-1, [-1])


def reach_by_trial(
    model: keras.Model, x: Any, layer: keras.Layer, place: int, size: float
) -> tuple[float, float]:
    """Return the limits of an output that no bias of its last layer moves it beyond.

    They are infinite where such a bias has no end of its effect, or none.

    Args:
        model: The model, which is left unchanged.
        x: Its inputs, as tensors.
        layer: The layer.
        place: The place of the output among those of the model.
        size: That of the targets.
    """
    bias = getattr(layer, "bias", None)
    if not isinstance(bias, keras.Variable):
        return -math.inf, math.inf
    some = keras.tree.map_structure(lambda tensor: tensor[:_TRIED], x)

    def moved(shift: float) -> Array:
        with backend.preserve_state(layers_of(model)):
            bias.assign_add(keras.ops.full(bias.shape, shift, bias.dtype))
            return array_of(tensors_in(model(some, training=False))[place]).astype("float64")

    far_away, farther_away = _FAR * size, _FAR**2 * size
    try:
        here = moved(0.0)
        below = moved(-far_away), moved(-farther_away)
        above = moved(far_away), moved(farther_away)
    except Exception:  # a model may take no other batches
        return -math.inf, math.inf
    limits = []
    for sign, (far, farther) in ((-1, below), (1, above)):
        has_end = np.isfinite(farther).all() and np.allclose(far, farther, rtol=1e-3, atol=1e-6)
        if not has_end or np.allclose(here, far, rtol=1e-3, atol=1e-6):
            limits.append(sign * math.inf)
        else:
            limits.append(float(far.min() if sign < 0 else far.max()))
    low, high = limits
    return low, high


def _share_beyond(targets: Array, low: float, high: float) -> float:
    """Return the fraction of the targets beyond these limits."""
    room = 0.01
    if math.isfinite(high - low):
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
