"""The first step of a model beside that of another: loss, gradients, updates, settings.

What of a difference is rounding is measured here, in more runs from weights that are rounded
otherwise: no number does it. The gradient of a bias before a normalization, or of the keys of an
attention, is nothing but rounding.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from keras_initx._typing import Array
from keras_initx.report._text import short_number
from keras_initx.tools.compare_outputs._pairs import paired_tensors
from keras_initx.tools.compare_outputs._recorded_step import (
    RecordedChange,
    RecordedStep,
    RecordedWeight,
)
from keras_initx.tools.compare_outputs._samples import RecordedTensor
from keras_initx.tools.compare_outputs._step_report import StepChange, StepLoss, StepReport, StepRow
from keras_initx.tools.compare_outputs._tolerance import TOLERANCES, times_of_sum, tolerance_of

# So many runs measure the rounding.
RUNS = 3
# A gradient differs if its difference is so many times what rounding makes of it.
_MOST = 8
# An update too: few values of small gradients make most of the rounding of the steps of Adam, so
# that three runs may miss it.
_MOST_OF_UPDATES = 32
# A difference that is at most this share of a gradient is rounding too: convolutions of TensorFlow
# round more than is measured on torch.
_LEAST = 5e-5
# So is this share of the largest gradient in the layer, of which sums of equal terms may be left.
_LEAST_IN_LAYER = 1e-4
# And this share of an update: powers of `beta_2` are rounded otherwise on torch.
_LEAST_OF_UPDATES = 1e-4
# All values are by one factor larger if what is left is at most this share.
_LEFT = 1e-3


def compared_step(
    here: RecordedStep,
    runs: Sequence[RecordedStep],
    there: RecordedStep,
    other_path: Callable[[str], str | None],
    tolerance: float | None,
    backends: Collection[str],
) -> StepReport:
    """Return the report on a step that is compared with another.

    Args:
        here: The step.
        runs: The same from weights that are rounded otherwise.
        there: The step that it is compared with.
        other_path: Function that maps the path of a weight to that of its counterpart, or `None`.
        tolerance: That of the outputs and the loss, `None` for that of their dtype.
        backends: The backends of both.
    """
    obstacle = ""
    for step, place in ((here, "here"), (there, "there")):
        if step.obstacle:
            obstacle = obstacle or f"{step.obstacle} {place}"
    if obstacle:
        return StepReport([], {}, StepLoss("not compared", how=obstacle), [], [], obstacle)
    times = times_of_sum(here.summed, is_in_order="tensorflow" in backends)
    noise = _Noise([here, *runs], TOLERANCES["float32"] * times)
    others = {weight.path: weight for weight in there.weights}
    rows = []
    matched = set()
    for weight in here.weights:
        path = other_path(weight.path)
        other = None if path is None else others.get(path)
        if other is not None:
            matched.add(other.path)
        rows.append(_row(weight, other, noise, here, there))
    unmatched = [weight.path for weight in there.weights if weight.path not in matched]
    return StepReport(
        rows,
        _outputs(here.outputs, there.outputs, tolerance, times),
        _loss(here, there, noise, tolerance),
        _settings(here, there),
        unmatched,
    )


class _Noise:
    """What rounding makes of what a step computes.

    Args:
        runs: The step, from weights that are rounded in several ways.
        of_sums: What share of a value its sum over the batch may be rounded by.

    Attributes:
        of_sums: The same.
    """

    def __init__(self, runs: Sequence[RecordedStep], of_sums: float) -> None:
        self.of_sums: float = of_sums
        self._losses = [run.loss for run in runs]
        self._changes: dict[tuple[str, str], list[RecordedChange]] = {}
        for run in runs:
            for weight in run.weights:
                for name in ("gradient", "update"):
                    change = getattr(weight, name)
                    if change is not None:
                        self._changes.setdefault((weight.path, name), []).append(change)
        # The largest gradient in a layer, of which the others are sums of the same terms.
        self._largest: dict[str, float] = {}
        for weight in runs[0].weights:
            if weight.gradient is not None:
                layer = _layer(weight.path)
                size = _size(weight.gradient.values)
                self._largest[layer] = max(size, self._largest.get(layer, 0.0))

    @property
    def of_loss(self) -> float:
        """The deviation of the loss."""
        return float(np.std(self._losses, ddof=1))

    def of(self, path: str, name: str) -> tuple[float, float]:
        """Return the deviations of the values and of the norm of the gradient or update."""
        changes = self._changes[path, name]
        values = np.stack([change.values for change in changes]).astype("float64")
        norms = [change.norm for change in changes]
        with np.errstate(invalid="ignore", over="ignore"):
            return _size(np.std(values, axis=0, ddof=1)), float(np.std(norms, ddof=1))

    def largest_in_layer(self, path: str) -> float:
        """Return the size of the largest gradient in the layer of a weight."""
        return self._largest.get(_layer(path), 0.0)


def _layer(path: str) -> str:
    return path.rpartition("/")[0]


def _size(values: Array) -> float:
    if not values.size:
        return 0.0
    return float(np.sqrt(np.mean(np.square(values.astype("float64")))))


def _row(
    weight: RecordedWeight,
    other: RecordedWeight | None,
    noise: _Noise,
    here: RecordedStep,
    there: RecordedStep,
) -> StepRow:
    """Return the row of a weight."""
    obstacle = _obstacle(weight, other)
    if other is None or obstacle:
        missing = StepChange("not compared", obstacle)
        is_trained = weight.kind == "trained"
        return StepRow(
            weight.path,
            weight.kind,
            "" if other is None else other.path,
            missing if is_trained else None,
            None if weight.kind == "frozen" else missing,
        )
    if "trained" in (weight.kind, other.kind) and weight.kind != other.kind:
        place = "here" if weight.kind == "trained" else "there"
        only = StepChange("differs", f"trained {place} only")
        return StepRow(weight.path, weight.kind, other.path, only)
    gradient = None
    without = here.without_gradients or there.without_gradients
    if weight.kind == "trained" and without:
        gradient = StepChange("not compared", without)
    elif weight.gradient is not None and other.gradient is not None:
        gradient = _gradient(weight, other, noise)
    return StepRow(
        weight.path,
        weight.kind,
        other.path,
        gradient,
        _update(weight, other, gradient, noise, here.without_updates or there.without_updates),
    )


def _obstacle(weight: RecordedWeight, other: RecordedWeight | None) -> str:
    if other is None:
        return "no counterpart"
    if weight.shape != other.shape:
        return f"other shape: {weight.shape} here, {other.shape} there"
    if weight.dtype != other.dtype:
        return f"computed in {weight.dtype} here, in {other.dtype} there"
    return ""


def _gradient(weight: RecordedWeight, other: RecordedWeight, noise: _Noise) -> StepChange:
    """Return a gradient beside another."""
    least = _LEAST_IN_LAYER * noise.largest_in_layer(weight.path)
    change = _compared(weight, other, "gradient", noise, _MOST, _LEAST, least)
    if change.answer == "equal" and _is_rounding(change):
        return replace(change, how="0 up to rounding")
    return change


def _update(
    weight: RecordedWeight,
    other: RecordedWeight,
    gradient: StepChange | None,
    noise: _Noise,
    obstacle: str,
) -> StepChange | None:
    """Return what a step adds to a weight, or a call to a state, beside that there."""
    if weight.kind == "frozen":
        return None
    if weight.kind == "trained":
        if obstacle:
            return StepChange("not compared", obstacle)
        if gradient is not None and gradient.answer == "differs":
            return StepChange("not compared", "the gradient differs")
        if gradient is not None and gradient.answer == "not compared":
            return StepChange("not compared", "the gradient was not compared")
        if gradient is not None and gradient.how:
            return StepChange("not compared", f"the gradient is {gradient.how}")
    if weight.update is None or other.update is None:
        return StepChange("not compared", "no update is known")
    # In all runs a small step is rounded to the same multiple of what parts two values.
    least = weight.rounding if weight.kind == "trained" else 0.0
    change = _compared(weight, other, "update", noise, _MOST_OF_UPDATES, _LEAST_OF_UPDATES, least)
    if change.answer != "equal":
        return change
    if weight.kind == "trained" and not change.norm and gradient is not None and gradient.norm:
        return StepChange("not compared", "the first step makes no update")
    if _is_rounding(change):
        return StepChange("not compared", "less than rounding")
    return change


def _is_rounding(change: StepChange) -> bool:
    """Return whether what is equal up to rounding is no more than that."""
    if change.rounding is None or not (change.norm or change.norm_there):
        return False
    return change.rounding >= 1


def _compared(
    weight: RecordedWeight,
    other: RecordedWeight,
    name: str,
    noise: _Noise,
    most: float,
    share: float,
    least: float,
) -> StepChange:
    """Return how the gradient or the update of a weight compares with another.

    Args:
        weight: The weight.
        other: Its counterpart.
        name: `"gradient"` or `"update"`.
        noise: What rounding makes of it.
        most: How many times that a difference may be.
        share: What share of the larger of both it may be.
        least: What it may be in any case.
    """
    one, two = getattr(weight, name), getattr(other, name)
    values, expected = one.values.astype("float64"), two.values.astype("float64")
    if not (np.isfinite(values).all() and np.isfinite(expected).all()):
        is_alike = np.array_equal(np.isfinite(values), np.isfinite(expected))
        if is_alike:
            return StepChange("not compared", "not finite", one.norm, two.norm)
        return StepChange("differs", "not finite", one.norm, two.norm)
    deviation, deviation_of_norm = noise.of(weight.path, name)
    size = max(_size(values), _size(expected))
    difference = _size(values - expected)
    share = max(share, noise.of_sums * most / _MOST)
    allowed = max(most * deviation, share * size, least)
    largest = max(one.norm, two.norm)
    allowed_norm = max(most * deviation_of_norm, share * largest)
    allowed_norm = max(allowed_norm, least * math.sqrt(math.prod(weight.shape)))
    is_real = difference > allowed or abs(one.norm - two.norm) > allowed_norm
    unit = size or 1.0
    return StepChange(
        "differs" if is_real else "equal",
        "",
        one.norm,
        two.norm,
        difference / unit,
        allowed / unit,
        # Where norms alone differ, the values that are kept do not show the factor.
        _ratio(values, expected, deviation) if difference > allowed else None,
    )


def _ratio(values: Array, expected: Array, noise: float) -> float | None:
    """Return the factor by which all values are larger than others, if there is one."""
    squares = float(expected @ expected)
    if not squares:
        return None
    ratio = float(values @ expected) / squares
    left = _size(values - ratio * expected)
    if not ratio or left > max(_LEFT * _size(values), _MOST * noise):
        return None
    return ratio


def _outputs(
    here: Mapping[str, RecordedTensor],
    there: Mapping[str, RecordedTensor],
    given: float | None,
    times: float,
) -> dict[str, StepChange]:
    """Return how the outputs in training compare.

    Args:
        here: Those here.
        there: Those there.
        given: The tolerance that a user gives.
        times: How many times the tolerance of a value a sum over the batch has.
    """
    found = {}
    for pair in paired_tensors(here, there, given):
        if given is None:
            pair = pair._replace(tolerance=pair.tolerance * times)
        if pair.difference is None:
            found[pair.place] = StepChange("not compared", pair.obstacle)
            continue
        how = f"by {short_number(pair.size)} of their size" if pair.differs else ""
        found[pair.place] = StepChange(
            "differs" if pair.differs else "equal",
            how,
            difference=pair.size,
            rounding=pair.tolerance,
        )
    return found


def _loss(here: RecordedStep, there: RecordedStep, noise: _Noise, given: float | None) -> StepLoss:
    """Return how the losses compare."""
    one, two = here.loss, there.loss
    if (math.isnan(one) and math.isnan(two)) or (one == two and math.isinf(one)):
        return StepLoss("not compared", one, two, "not finite")
    tolerance = noise.of_sums  # in float32, in which losses are computed
    for tensor in here.outputs.values():
        tolerance = max(tolerance, tolerance_of(tensor.dtype, given) or 0.0)
    if abs(one - two) <= max(tolerance * abs(two), _MOST * noise.of_loss):
        return StepLoss("equal", one, two)
    parts = []
    if two and math.isfinite(one / two):
        parts.append(_factor(one / two, here.counts))
    if abs(here.added - there.added) > 1e-5 * max(abs(here.added), abs(there.added)):
        parts.append(
            f"of it {here.added:.3g} here, {there.added:.3g} there by regularizers and `add_loss`"
        )
    return StepLoss("differs", one, two, "; ".join(filter(None, parts)))


def _factor(ratio: float, counts: Mapping[int, str]) -> str:
    """Return by which factor a loss is larger, and what there is as often in the batch."""
    number = ratio if ratio >= 1 else (1 / ratio if ratio > 0 else 0.0)
    whole = round(number)
    if whole < 2 or abs(number - whole) > 1e-4 * whole:
        return f"{ratio:.6g} times that there" if ratio > 0 else ""
    text = f"{whole} times that there" if ratio >= 1 else f"1/{whole} of that there"
    if whole in counts:
        text += f", the number of {counts[whole]}: a sum against a mean"
    return text


def _settings(here: RecordedStep, there: RecordedStep) -> list[str]:
    """Return the settings of the loss and the optimizer that differ."""
    found = []
    changed = set()  # the objects of other classes, of which settings of one alone say nothing
    for name in dict.fromkeys([*here.settings, *there.settings]):
        owner, _, setting = name.partition(": ")
        one, two = here.settings.get(name), there.settings.get(name)
        if _is_same(one, two):
            continue
        if not setting:
            changed.add(owner)
        elif owner in changed and not (name in here.settings and name in there.settings):
            continue
        found.append(f"{name}: {_shown(name, here)} here, {_shown(name, there)} there")
    return found


def _is_same(one: object, two: object) -> bool:
    if isinstance(one, float) and isinstance(two, float):
        return math.isclose(one, two, rel_tol=1e-6)
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        return list(one) == list(two)
    return one == two


def _shown(name: str, step: RecordedStep) -> str:
    if name not in step.settings:
        return "not set"
    value = step.settings[name]
    return f"{value:.6g}" if isinstance(value, float) else f"{value}"
