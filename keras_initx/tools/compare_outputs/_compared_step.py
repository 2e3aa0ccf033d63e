"""Compare the first steps of two models: loss, gradients, updates, settings.

A *change* is a gradient or an update. `here` is the model, `there` is the other side. Two changes
are equal if the root mean square of their difference is at most the largest of

    times * rounding    what rounding was measured to make of it, in more runs on both sides
    share * size        what such runs miss
    float spacing       for updates: small steps are rounded to the same multiple of it

No fixed tolerance can replace the first: the gradient of a bias before a normalization, or of the
keys of an attention, is nothing but rounding.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import keras
import numpy as np

from keras_initx._checks import truncate
from keras_initx._typing import Array
from keras_initx.backends._current import backend
from keras_initx.backends._moments import compute_rms
from keras_initx.inspection._batch import to_floats
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._weights import ModelWeight
from keras_initx.report._text import format_number, group_names, join_clauses
from keras_initx.tools.compare_outputs._mapped_step import MappedWeight
from keras_initx.tools.compare_outputs._pairs import pair_tensors
from keras_initx.tools.compare_outputs._recorded import RecordedCall
from keras_initx.tools.compare_outputs._recorded_step import (
    RecordedStep,
    RecordedTarget,
    RecordedWeight,
    record_change,
)
from keras_initx.tools.compare_outputs._samples import RecordedTensor, squeeze_shape
from keras_initx.tools.compare_outputs._step_report import (
    Status,
    StepChange,
    StepLoss,
    StepReport,
    StepRow,
)
from keras_initx.tools.compare_outputs._tolerance import (
    TOLERANCES,
    choose_tolerance,
    compute_sum_factor,
)
from keras_initx.tools.compare_outputs._training_settings import compare_training_settings


class _Limits(NamedTuple):
    """The limits for the difference of two equal changes.

    Attributes:
        times: A multiple of the rounding of a change.
        share: A share of the larger change.
    """

    times: float
    share: float


# Convolutions of TensorFlow round more than is measured on torch: hence the share.
_GRADIENT_LIMITS = _Limits(times=8, share=5e-5)
# Few values of small gradients make most of the rounding of the steps of Adam, so that three runs
# may miss it: hence the times. Powers of `beta_2` are rounded differently on torch: hence the
# share.
_UPDATE_LIMITS = _Limits(times=32, share=1e-4)
# Both sides with rows, or both without, make the same of them.
_IN_ROWS = (
    "rows are added after the optimizer on TensorFlow: "
    "docs/first_step.md#embeddings-on-tensorflow-a-true-difference-between-backends"
)
# All values are larger by one factor if at most this share of them is left.
_LEFT = 1e-3


def compare_steps(
    here: RecordedStep,
    there: RecordedStep,
    find_counterpart: Callable[[str], RecordedWeight | None],
    tolerance: float | None,
    tolerances: Mapping[str, float],
    backends: Collection[str],
) -> StepReport:
    """Compare a step with another one.

    Args:
        here: The step.
        there: The step that it is compared with.
        find_counterpart: Function that maps the path of a weight to its counterpart, or `None`.
        tolerance: The tolerance of the outputs and the loss, `None` for the tolerance of their
            dtype.
        tolerances: The tolerances of the outputs, by their labels: the largest of all calls that
            an output depends on.
        backends: The backends of both.
    """
    obstacle = _find_step_obstacle(here, there)
    if obstacle:
        return _report_obstacle(obstacle)
    factor = _compute_sum_factor(here, backends)
    sum_tolerance = TOLERANCES["float32"] * factor
    rows = []
    matched = set()
    for weight in here.weights:
        other = find_counterpart(weight.path)
        if other is not None:
            matched.add(id(other))
        rows.append(_compare_weight(weight, other, sum_tolerance, here, there))
    unmatched = [weight.path for weight in there.weights if id(weight) not in matched]
    output_tolerances = {}
    for label, tensor in here.outputs.items():
        own = choose_tolerance(tensor.dtype, tolerance) or 0.0
        largest = max(tolerances.get(label, 0.0), own)
        if tolerance is None:
            # In a sum over the batch every value is rounded, also the sums of 16 bits in float32.
            largest = max(largest, min(own, TOLERANCES["float32"]) * factor)
        output_tolerances[label] = largest
    settings = compare_training_settings(here, there)
    report = StepReport(
        rows,
        _compare_training_outputs(here.outputs, there.outputs, output_tolerances),
        _compare_losses(here, there, max([sum_tolerance, *output_tolerances.values()])),
        settings.differing,
        unmatched,
        inputs=_compare_inputs(here, there),
        later=settings.later,
        unread=settings.unread,
        dropout_off=_describe_rates(here.rates, there.rates),
    )
    for step, side in ((here, "here"), (there, "there")):
        if step.has_drawn and any(report._differing()):
            return _report_obstacle(f"it differs, and random numbers are drawn {side}")
    return report


def _report_obstacle(obstacle: str) -> StepReport:
    return StepReport([], {}, StepLoss("not compared", detail=obstacle), [], [], obstacle)


def _compute_sum_factor(here: RecordedStep, backends: Collection[str]) -> float:
    return compute_sum_factor(here.summed, is_in_order="tensorflow" in backends)


def _find_step_obstacle(here: RecordedStep, there: RecordedStep) -> str:
    """Say why two steps cannot be compared, empty if they can."""
    for step, side in ((here, "here"), (there, "there")):
        if step.obstacle:
            return f"{step.obstacle} {side}"
    return ""


def _describe_rates(here: Mapping[str, float], there: Mapping[str, float]) -> str:
    """Describe the rates of dropout that the step was taken without, empty if all are 0."""
    sides = []
    for rates in (here, there):
        statements = [
            (f"{rate:g}", path.removesuffix("/rate")) for path, rate in rates.items() if rate
        ]
        groups = group_names(statements).items()
        sides.append(", ".join(f"{rate} in {truncate(paths)}" for rate, paths in groups))
    ours, theirs = sides
    if ours == theirs:
        return f"{ours} here and there" if ours else ""
    return f"{ours or 'none'} here; {theirs or 'none'} there"


def _compare_inputs(here: RecordedStep, there: RecordedStep) -> list[str]:
    """List how the targets and the weights of samples differ, in words."""
    differences = []
    for name, ours, theirs in (
        ("targets", here.targets, there.targets),
        ("weights of the samples", here.sample_weights, there.sample_weights),
    ):
        if len(ours) != len(theirs):
            counts = _format_target_count(ours), _format_target_count(theirs)
            differences.append(f"{name}: {counts[0]} here, {counts[1]} there")
            continue
        if ours.keys() != theirs.keys():  # in other containers
            theirs = dict(zip(ours, theirs.values(), strict=True))
        for label, target in ours.items():
            other = theirs[label]
            subject = f"{name} of {label}" if label else name
            if squeeze_shape(target.shape) != squeeze_shape(other.shape):
                shapes = f"the shape is {target.shape} here, {other.shape} there"
                differences.append(f"{subject}: {shapes}")
            elif target.digest != other.digest:
                differences.append(f"{subject}: other values")
    return differences


def _format_target_count(targets: Mapping[str, RecordedTarget]) -> str:
    return str(len(targets)) if targets else "none"


def _compare_weight(
    weight: RecordedWeight,
    other: RecordedWeight | None,
    sum_tolerance: float,
    here: RecordedStep,
    there: RecordedStep,
) -> StepRow:
    obstacle = _find_weight_obstacle(weight, other)
    is_trained = weight.kind == "trained"
    # A step of a module of torch ends with the gradients.
    has_update = weight.kind != "frozen" and not (is_trained and there.arrays)
    if other is None or obstacle:
        missing = StepChange("not compared", obstacle)
        return StepRow(
            weight.path,
            weight.kind,
            "" if other is None else other.path,
            missing if is_trained else None,
            missing if has_update else None,
        )
    if "trained" in (weight.kind, other.kind) and weight.kind != other.kind:
        side = "here" if weight.kind == "trained" else "there"
        change = StepChange("differs", f"trained {side} only")
        return StepRow(weight.path, weight.kind, other.path, change)
    gradient = None
    obstacle = here.without_gradients or there.without_gradients
    if is_trained and obstacle:
        gradient = StepChange("not compared", obstacle)
    elif weight.gradient is not None and other.gradient is not None:
        gradient = _compare_gradients(weight, other, sum_tolerance)
    update = None
    if has_update:
        obstacle = here.without_updates or there.without_updates
        update = _compare_updates(weight, other, gradient, sum_tolerance, obstacle)
    return StepRow(weight.path, weight.kind, other.path, gradient, update)


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


def _compare_gradients(
    weight: RecordedWeight, other: RecordedWeight, sum_tolerance: float
) -> StepChange:
    change = _compare_changes(weight, other, "gradient", sum_tolerance, _GRADIENT_LIMITS)
    if change.status == "equal" and _is_rounding(change):
        return replace(change, detail="0 up to rounding")
    return change


def _compare_updates(
    weight: RecordedWeight,
    other: RecordedWeight,
    gradient: StepChange | None,
    sum_tolerance: float,
    obstacle: str,
) -> StepChange:
    """Compare the change of a weight by a step, or of a state by a call."""
    if weight.kind == "trained":
        if weight.has_row_gradients != other.has_row_gradients:
            return StepChange("not compared", _IN_ROWS)
        if obstacle:
            return StepChange("not compared", obstacle)
        if gradient is not None and gradient.status == "differs":
            return StepChange("not compared", "the gradient differs")
        if gradient is not None and gradient.status == "not compared":
            return StepChange("not compared", "the gradient was not compared")
        if gradient is not None and gradient.detail:
            return StepChange("not compared", f"the gradient is {gradient.detail}")
    if weight.update is None or other.update is None:
        return StepChange("not compared", "no update is known")
    # In all runs, a small step is rounded to the same multiple of the float spacing.
    least = weight.rounding if weight.kind == "trained" else 0.0
    change = _compare_changes(weight, other, "update", sum_tolerance, _UPDATE_LIMITS, least)
    if change.status != "equal":
        return change
    if weight.kind == "trained" and not change.norm and gradient is not None and gradient.norm:
        return StepChange("not compared", "the first step makes no update")
    if _is_rounding(change):
        return StepChange("not compared", "less than rounding")
    return change


def _is_rounding(change: StepChange) -> bool:
    # Rounding may be as large as the whole change.
    if change.rounding is None or not (change.norm or change.norm_there):
        return False
    return change.rounding >= 1


def _compare_changes(
    weight: RecordedWeight,
    other: RecordedWeight,
    name: str,
    sum_tolerance: float,
    limits: _Limits,
    least: float = 0.0,
) -> StepChange:
    """Compare the gradient or the update of a weight with its counterpart.

    Args:
        weight: The weight.
        other: Its counterpart.
        name: `"gradient"` or `"update"`.
        sum_tolerance: By what share of its size a sum over the batch may be rounded.
        limits: Up to what difference both are equal.
        least: What the difference may be in any case.
    """
    ours, theirs = getattr(weight, name), getattr(other, name)
    values, expected = ours.values.astype("float64"), theirs.values.astype("float64")
    if not (np.isfinite(values).all() and np.isfinite(expected).all()):
        is_similar = np.array_equal(np.isfinite(values), np.isfinite(expected))
        status: Status = "not compared" if is_similar else "differs"
        return StepChange(status, "not finite", ours.norm, theirs.norm)
    # Each side has measured what rounding makes of it there.
    rounding = max(ours.rounding, theirs.rounding)
    size = max(compute_rms(values), compute_rms(expected))
    difference = compute_rms(values - expected)
    share = max(limits.share, sum_tolerance * limits.times / _GRADIENT_LIMITS.times)
    allowed = max(limits.times * rounding, share * size, least)
    # Of a large weight, only some values are kept; its norm is that of all values.
    norms = ours.norm, theirs.norm
    if math.isnan(theirs.norm):  # of an array of which a part is compared
        scale = math.sqrt(math.prod(weight.shape) / max(values.size, 1))
        norms = float(np.linalg.norm(values)) * scale, float(np.linalg.norm(expected)) * scale
    # norm = rms * sqrt(number of values)
    root = math.sqrt(math.prod(weight.shape))
    allowed_norm = max(max(limits.times * rounding, least) * root, share * max(norms))
    is_real = difference > allowed or abs(norms[0] - norms[1]) > allowed_norm
    unit = size or 1.0
    return StepChange(
        "differs" if is_real else "equal",
        "",
        *norms,
        difference / unit,
        allowed / unit,
        # If norms alone differ, the values that are kept do not show the factor.
        _find_ratio(values, expected, rounding) if difference > allowed else None,
    )


def explain_variances(
    rows: Sequence[StepRow],
    here: RecordedStep,
    weights: Mapping[str, MappedWeight],
    inventory: Inventory,
    calls: Sequence[RecordedCall],
    backends: Collection[str],
) -> list[StepRow]:
    """Explain moving variances that differ only because torch divides by n - 1, and Keras by n.

    Args:
        rows: The comparisons of a step with one of a module of torch.
        here: The step of the model.
        weights: The weights with the arrays of the module, by path.
        inventory: The weights and layers of the model.
        calls: The calls of the model in training.
        backends: The backends of both.
    """
    sum_tolerance = TOLERANCES["float32"] * _compute_sum_factor(here, backends)
    recorded = {weight.path: weight for weight in here.weights}
    weights_by_path = {weight.path: weight for weight in inventory.weights}
    inputs = {call.key.name: next(iter(call.inputs.values()), None) for call in calls}
    explained = []
    for row in rows:
        weight = weights_by_path.get(row.path)
        if row.update is not None and row.update.status == "differs" and weight is not None:
            tensor = inputs.get(inventory.paths[weight.layer])
            detail = _explain_variance(
                weight, recorded[row.path], weights[row.path], tensor, sum_tolerance
            )
            if detail:
                row = replace(row, update=replace(row.update, status="explained", detail=detail))
        explained.append(row)
    return explained


def _explain_variance(
    weight: ModelWeight,
    ours: RecordedWeight,
    theirs: MappedWeight,
    inputs: RecordedTensor | None,
    sum_tolerance: float,
) -> str:
    """Explain a moving variance, in words; empty if it differs in more than what torch divides by.

    With the momentum `m`, `n` values and the variance `v` of the batch, the new value is

        Keras    m * old + (1 - m) * v
        torch    m * old + (1 - m) * v * n / (n - 1)
    """
    layer = weight.layer
    if ours.update is None or theirs.recorded.update is None or inputs is None:
        return ""
    if weight.name != "moving_variance" or not isinstance(layer, keras.layers.BatchNormalization):
        return ""
    count = math.prod(inputs.shape) // inputs.shape[layer.axis]
    share = 1 - layer.momentum
    if count < 2 or share <= 0:
        return ""
    values = to_floats(backend.host_view(weight.variable)).reshape(-1)
    before = values[theirs.indices].astype("float64")
    variance = before + ours.update.values.astype("float64") / share
    expected = record_change(share * (variance * count / (count - 1) - before))
    # Norms are those of the values that are kept.
    there = replace(theirs.recorded, update=replace(theirs.recorded.update, norm=math.nan))
    here = replace(ours, update=replace(expected, rounding=ours.update.rounding))
    change = _compare_changes(here, there, "update", sum_tolerance, _UPDATE_LIMITS, ours.rounding)
    if change.status != "equal":
        return ""
    return f"torch divides the variance of a batch by n - 1, and Keras by n, with n = {count}"


def explain_padding(
    rows: Sequence[StepRow],
    here: RecordedStep,
    weights: Mapping[str, MappedWeight],
    calls_there: Sequence[RecordedCall],
    backends: Collection[str],
) -> list[StepRow]:
    """Explain gradients of embeddings that differ only in the row `padding_idx` of torch.

    Torch computes no gradient by the embedding for this row, and Keras does. If the gradient there
    has the row nevertheless, because a tied layer has the parameter too, the row is not compared.

    Args:
        rows: The comparisons of a step with one of a module of torch.
        here: The step of the model.
        weights: The weights with the arrays of the module, by path.
        calls_there: The calls of the module.
        backends: The backends of both.
    """
    sum_tolerance = TOLERANCES["float32"] * _compute_sum_factor(here, backends)
    recorded = {weight.path: weight for weight in here.weights}
    places = {}
    for call in calls_there:
        for component in call.components:
            place = component.settings.get("padding_idx")
            if isinstance(place, int):
                places[f"{call.key.name}.weight"] = place
    explained = []
    for row in rows:
        place = places.get(row.like)
        if place is not None and row.gradient is not None and row.gradient.status == "differs":
            status, detail = _explain_padded_row(
                recorded[row.path], weights[row.path], place, sum_tolerance
            )
            row = replace(row, gradient=replace(row.gradient, status=status, detail=detail))
        explained.append(row)
    return explained


def _explain_padded_row(
    ours: RecordedWeight, theirs: MappedWeight, place: int, sum_tolerance: float
) -> tuple[Status, str]:
    """Compare gradients with those of a row at zero here, and there too if another layer has it.

    Args:
        ours: The weight of the embedding.
        theirs: Its counterpart.
        place: The row.
        sum_tolerance: By what share of its size a sum over the batch may be rounded.
    """
    if ours.gradient is None or theirs.recorded.gradient is None or theirs.indices is None:
        return "differs", ""
    is_padded = theirs.indices // math.prod(ours.shape[1:]) == place
    without_row = [
        replace(change, norm=math.nan, values=np.where(is_padded, 0, change.values))
        for change in (ours.gradient, theirs.recorded.gradient)
    ]
    here = replace(ours, gradient=without_row[0])
    there = replace(theirs.recorded, gradient=without_row[1])
    if _compare_gradients(here, there, sum_tolerance).status != "equal":
        return "differs", ""
    reason = f"torch computes no gradient for the row {place} of an embedding (`padding_idx`)"
    if theirs.recorded.gradient.values[is_padded].any():
        return "not compared", f"{reason}, and another layer has it too; the other rows are equal"
    return "explained", f"{reason}, and Keras does"


def _find_ratio(values: Array, expected: Array, rounding: float) -> float | None:
    """Find the common factor between all values and `expected`, if there is one.

    It is the factor of least squares, `values @ expected / expected @ expected`.
    """
    squares = float(expected @ expected)
    if not squares:
        return None
    ratio = float(values @ expected) / squares
    left = compute_rms(values - ratio * expected)
    if not ratio or left > max(_LEFT * compute_rms(values), _GRADIENT_LIMITS.times * rounding):
        return None
    return ratio


def _compare_training_outputs(
    here: Mapping[str, RecordedTensor],
    there: Mapping[str, RecordedTensor],
    tolerances: Mapping[str, float],
) -> dict[str, StepChange]:
    """Compare the outputs in training, by their labels here.

    Args:
        here: The outputs here.
        there: The outputs there.
        tolerances: The tolerances of the outputs here.
    """
    changes = {}
    for pair in pair_tensors(here, there, None):
        if pair.difference is None:
            changes[pair.label] = StepChange("not compared", pair.obstacle)
            continue
        if pair.tolerance:  # integers have none
            pair = pair._replace(tolerance=tolerances[pair.label])
        detail = f"by {format_number(pair.size)} of their size" if pair.differs else ""
        changes[pair.label] = StepChange(
            "differs" if pair.differs else "equal",
            detail,
            difference=pair.size,
            rounding=pair.tolerance,
        )
    return changes


def _compare_losses(here: RecordedStep, there: RecordedStep, tolerance: float) -> StepLoss:
    ours, theirs = here.loss, there.loss
    if (math.isnan(ours) and math.isnan(theirs)) or (ours == theirs and math.isinf(ours)):
        return StepLoss("not compared", ours, theirs, "not finite")
    rounding = max(here.loss_rounding, there.loss_rounding)
    if abs(ours - theirs) <= max(tolerance * abs(theirs), _GRADIENT_LIMITS.times * rounding):
        return StepLoss("equal", ours, theirs)
    factor = ""
    if theirs and math.isfinite(ours / theirs):
        factor = _describe_factor(ours / theirs, here.counts)
    added = ""
    if not math.isclose(here.added, there.added, rel_tol=1e-5):
        added = (
            f"of it {here.added:.3g} here, {there.added:.3g} there by regularizers and `add_loss`"
        )
    return StepLoss("differs", ours, theirs, join_clauses(factor, added))


def _describe_factor(ratio: float, counts: Mapping[int, str]) -> str:
    """Give the factor between two losses, and the things in the batch with this count."""
    number = ratio if ratio >= 1 else (1 / ratio if ratio > 0 else 0.0)
    whole = round(number)
    if whole < 2 or abs(number - whole) > 1e-4 * whole:
        return f"{ratio:.6g} times that there" if ratio > 0 else ""
    text = f"{whole} times that there" if ratio >= 1 else f"1/{whole} of that there"
    if whole in counts:
        text += f", the number of {counts[whole]}: a sum against a mean"
    return text
