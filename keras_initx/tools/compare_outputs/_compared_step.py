"""The first step of a model beside that of another: loss, gradients, updates, settings.

What of a difference is rounding was measured on both sides, in more runs from weights that are
rounded otherwise: no number does it. The gradient of a bias before a normalization, or of the keys
of an attention, is nothing but rounding.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import numpy as np

from keras_initx._typing import Array
from keras_initx.report._text import format_number
from keras_initx.tools.compare_outputs._pairs import pair_tensors
from keras_initx.tools.compare_outputs._recorded_step import (
    RecordedStep,
    RecordedTarget,
    RecordedWeight,
    compute_rms,
)
from keras_initx.tools.compare_outputs._samples import RecordedTensor, squeeze_shape
from keras_initx.tools.compare_outputs._step_report import StepChange, StepLoss, StepReport, StepRow
from keras_initx.tools.compare_outputs._tolerance import (
    TOLERANCES,
    choose_tolerance,
    compute_sum_factor,
)
from keras_initx.tools.compare_outputs._training_settings import compare_training_settings

# A gradient differs if its difference is so many times what rounding makes of it.
_MOST = 8
# An update too: few values of small gradients make most of the rounding of the steps of Adam, so
# that three runs may miss it.
_MOST_OF_UPDATES = 32
# A difference that is at most this share of a gradient is rounding too: convolutions of TensorFlow
# round more than is measured on torch.
_LEAST = 5e-5
# So is this share of an update: powers of `beta_2` are rounded otherwise on torch.
_LEAST_OF_UPDATES = 1e-4
# All values are by one factor larger if what is left is at most this share.
_LEFT = 1e-3


def compare_steps(
    here: RecordedStep,
    there: RecordedStep,
    other_of: Callable[[str], RecordedWeight | None],
    tolerance: float | None,
    allowed: Mapping[str, float],
    backends: Collection[str],
) -> StepReport:
    """Return the report on a step that is compared with another.

    Args:
        here: The step.
        there: The step that it is compared with.
        other_of: Function that maps the path of a weight to its counterpart, or `None`.
        tolerance: That of the outputs and the loss, `None` for that of their dtype.
        allowed: Those of the outputs, by their places: the largest of all that they depend on.
        backends: The backends of both.
    """
    obstacle = _find_step_obstacle(here, there, backends)
    if obstacle:
        return StepReport([], {}, StepLoss("not compared", how=obstacle), [], [], obstacle)
    times = compute_sum_factor(here.summed, is_in_order="tensorflow" in backends)
    of_sums = TOLERANCES["float32"] * times
    rows = []
    matched = set()
    for weight in here.weights:
        other = other_of(weight.path)
        if other is not None:
            matched.add(id(other))
        rows.append(_compare_weight(weight, other, of_sums, here, there))
    unmatched = [weight.path for weight in there.weights if id(weight) not in matched]
    # In a sum over the batch every value is rounded, also what 16 bits are summed to.
    allowed = {
        place: max(allowed.get(place, 0.0), (choose_tolerance(tensor.dtype, tolerance) or 0.0))
        for place, tensor in here.outputs.items()
    }
    if tolerance is None:
        for place, tensor in here.outputs.items():
            own = choose_tolerance(tensor.dtype) or 0.0
            allowed[place] = max(allowed[place], min(own, TOLERANCES["float32"]) * times)
    settings = compare_training_settings(here, there)
    return StepReport(
        rows,
        _compare_training_outputs(here.outputs, there.outputs, tolerance, allowed),
        _compare_losses(here, there, max([of_sums, *allowed.values()])),
        settings.differing,
        unmatched,
        inputs=_compare_inputs(here, there),
        later=settings.later,
        unread=settings.unread,
    )


def _find_step_obstacle(here: RecordedStep, there: RecordedStep, backends: Collection[str]) -> str:
    """Return why two steps are not compared, empty if they are."""
    for step, place in ((here, "here"), (there, "there")):
        if step.obstacle:
            return f"{step.obstacle} {place}"
        if step.by_backend and len(set(backends)) > 1:
            return f"{step.by_backend[0]} draws other numbers on each backend"
    return ""


def _compare_inputs(here: RecordedStep, there: RecordedStep) -> list[str]:
    """Return how the targets and the weights of samples differ, in words."""
    found = []
    for name, ours, theirs in (
        ("targets", here.targets, there.targets),
        ("weights of the samples", here.sample_weights, there.sample_weights),
    ):
        if len(ours) != len(theirs):
            found.append(
                f"{name}: {_format_target_count(ours)} here, {_format_target_count(theirs)} there"
            )
            continue
        if ours.keys() != theirs.keys():  # in other containers
            theirs = dict(zip(ours, theirs.values(), strict=True))
        for place, one in ours.items():
            other = theirs[place]
            where = f"{name} of {place}" if place else name
            if squeeze_shape(one.shape) != squeeze_shape(other.shape):
                found.append(f"{where}: the shape is {one.shape} here, {other.shape} there")
            elif one.digest != other.digest:
                found.append(f"{where}: other values")
    return found


def _format_target_count(targets: Mapping[str, RecordedTarget]) -> str:
    return str(len(targets)) if targets else "none"


def _compare_weight(
    weight: RecordedWeight,
    other: RecordedWeight | None,
    of_sums: float,
    here: RecordedStep,
    there: RecordedStep,
) -> StepRow:
    """Return the row of a weight."""
    obstacle = _find_weight_obstacle(weight, other)
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
        gradient = _compare_gradients(weight, other, of_sums)
    return StepRow(
        weight.path,
        weight.kind,
        other.path,
        gradient,
        _compare_updates(
            weight, other, gradient, of_sums, here.without_updates or there.without_updates
        ),
    )


def _find_weight_obstacle(weight: RecordedWeight, other: RecordedWeight | None) -> str:
    if other is None:
        return "no counterpart"
    if other.obstacle:
        return other.obstacle
    if weight.shape != other.shape:
        return f"other shape: {weight.shape} here, {other.shape} there"
    if weight.dtype != other.dtype:
        return f"computed in {weight.dtype} here, in {other.dtype} there"
    return ""


def _compare_gradients(weight: RecordedWeight, other: RecordedWeight, of_sums: float) -> StepChange:
    """Return a gradient beside another."""
    change = _compare_changes(weight, other, "gradient", of_sums, _MOST, _LEAST)
    if change.answer == "equal" and _is_rounding(change):
        return replace(change, how="0 up to rounding")
    return change


def _compare_updates(
    weight: RecordedWeight,
    other: RecordedWeight,
    gradient: StepChange | None,
    of_sums: float,
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
    most, share = _MOST_OF_UPDATES, _LEAST_OF_UPDATES
    change = _compare_changes(weight, other, "update", of_sums, most, share, least)
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


def _compare_changes(
    weight: RecordedWeight,
    other: RecordedWeight,
    name: str,
    of_sums: float,
    most: float,
    share: float,
    least: float = 0.0,
) -> StepChange:
    """Return how the gradient or the update of a weight compares with another.

    Args:
        weight: The weight.
        other: Its counterpart.
        name: `"gradient"` or `"update"`.
        of_sums: What share of a value its sum over the batch may be rounded by.
        most: How many times what rounding makes of it a difference may be.
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
    # Each side has measured what rounding makes of it there.
    rounding = max(one.rounding, two.rounding)
    size = max(compute_rms(values), compute_rms(expected))
    difference = compute_rms(values - expected)
    share = max(share, of_sums * most / _MOST)
    allowed = max(most * rounding, share * size, least)
    # Of large weights the norm has what is not among the values that are kept.
    count = math.sqrt(math.prod(weight.shape))
    norms = one.norm, two.norm
    if math.isnan(two.norm):  # of an array of which a part is compared
        scale = math.sqrt(math.prod(weight.shape) / max(values.size, 1))
        norms = float(np.linalg.norm(values)) * scale, float(np.linalg.norm(expected)) * scale
    allowed_norm = max(max(most * rounding, least) * count, share * max(norms))
    is_real = difference > allowed or abs(norms[0] - norms[1]) > allowed_norm
    unit = size or 1.0
    return StepChange(
        "differs" if is_real else "equal",
        "",
        *norms,
        difference / unit,
        allowed / unit,
        # Where norms alone differ, the values that are kept do not show the factor.
        _find_ratio(values, expected, rounding) if difference > allowed else None,
    )


def _find_ratio(values: Array, expected: Array, noise: float) -> float | None:
    """Return the factor by which all values are larger than others, if there is one."""
    squares = float(expected @ expected)
    if not squares:
        return None
    ratio = float(values @ expected) / squares
    left = compute_rms(values - ratio * expected)
    if not ratio or left > max(_LEFT * compute_rms(values), _MOST * noise):
        return None
    return ratio


def _compare_training_outputs(
    here: Mapping[str, RecordedTensor],
    there: Mapping[str, RecordedTensor],
    given: float | None,
    allowed: Mapping[str, float],
) -> dict[str, StepChange]:
    """Return how the outputs in training compare.

    Args:
        here: Those here.
        there: Those there.
        given: The tolerance that a user gives.
        allowed: The tolerances of those here.
    """
    found = {}
    for pair in pair_tensors(here, there, given):
        if pair.difference is None:
            found[pair.place] = StepChange("not compared", pair.obstacle)
            continue
        if pair.tolerance:  # integers have none
            pair = pair._replace(tolerance=allowed[pair.place])
        how = f"by {format_number(pair.size)} of their size" if pair.differs else ""
        found[pair.place] = StepChange(
            "differs" if pair.differs else "equal",
            how,
            difference=pair.size,
            rounding=pair.tolerance,
        )
    return found


def _compare_losses(here: RecordedStep, there: RecordedStep, tolerance: float) -> StepLoss:
    """Return how the losses compare."""
    one, two = here.loss, there.loss
    if (math.isnan(one) and math.isnan(two)) or (one == two and math.isinf(one)):
        return StepLoss("not compared", one, two, "not finite")
    rounding = max(here.loss_rounding, there.loss_rounding)
    if abs(one - two) <= max(tolerance * abs(two), _MOST * rounding):
        return StepLoss("equal", one, two)
    parts = []
    if two and math.isfinite(one / two):
        parts.append(_describe_factor(one / two, here.counts))
    if abs(here.added - there.added) > 1e-5 * max(abs(here.added), abs(there.added)):
        parts.append(
            f"of it {here.added:.3g} here, {there.added:.3g} there by regularizers and `add_loss`"
        )
    return StepLoss("differs", one, two, "; ".join(filter(None, parts)))


def _describe_factor(ratio: float, counts: Mapping[int, str]) -> str:
    """Return by which factor a loss is larger, and what there is as often in the batch."""
    number = ratio if ratio >= 1 else (1 / ratio if ratio > 0 else 0.0)
    whole = round(number)
    if whole < 2 or abs(number - whole) > 1e-4 * whole:
        return f"{ratio:.6g} times that there" if ratio > 0 else ""
    text = f"{whole} times that there" if ratio >= 1 else f"1/{whole} of that there"
    if whole in counts:
        text += f", the number of {counts[whole]}: a sum against a mean"
    return text
