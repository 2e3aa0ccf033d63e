"""Find differences between torch and Keras in a step that the values prove.

At the first step an update is a formula of the gradient `g` alone, with the rate `r`:

    Adam of Keras       -r g / (|g| + epsilon / sqrt(1 - beta_2))
    Adam of torch       -r g / (|g| + eps)
    RMSprop of Keras    -r g / sqrt((1 - rho) g**2 + epsilon)
    RMSprop of torch    -r g / (sqrt((1 - alpha) g**2) + eps)

A cause is reported if two conditions hold. The formulas of both sides give both updates. The
formula of torch gives another update with the setting of Keras. So each cause is a fact about these
values, and no guess.

Sources: `torch/optim/adam.py`, `torch/optim/rmsprop.py`, `aten/src/ATen/native/Normalization.cpp`
of torch 2; `keras/src/optimizers/adam.py` and `rmsprop.py` of Keras 3.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initx._checks import truncate
from keras_initx._typing import Array
from keras_initx.backends._current import backend
from keras_initx.backends._moments import compute_rms
from keras_initx.inspection._batch import to_floats
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._weights import ModelWeight
from keras_initx.tools.compare_outputs._compared_step import UPDATE_LIMITS
from keras_initx.tools.compare_outputs._mapped_step import MappedWeight
from keras_initx.tools.compare_outputs._reading import Settings
from keras_initx.tools.compare_outputs._recorded import RecordedCall
from keras_initx.tools.compare_outputs._recorded_step import RecordedStep, RecordedWeight
from keras_initx.tools.compare_outputs._samples import RecordedTensor
from keras_initx.tools.compare_outputs._step_report import StepRow
from keras_initx.tools.compare_outputs._torch_settings import (
    convert_epsilon,
    format_digits,
    select_optimizer_settings,
)

# A formula gives an update if it is off by at most this share of its size.
_SAME = 1e-3
# A cause changes an update if it moves it by more than this share of its size. It is half of what
# makes an update differ, so that rounding does not decide.
_CHANGED = UPDATE_LIMITS.share / 2
# Two momentums are the same if the shares of new values differ by at most this share.
_SAME_MOMENTUM = 1e-2
_ADAMS = ("Adam", "AdamW")
_RATE = "learning_rate"


class Cause(NamedTuple):
    """A cause of another update.

    Attributes:
        text: A sentence without a stop, about both sides.
        remedy: The fix, in the imperative, empty if there is none.
    """

    text: str
    remedy: str = ""


_ROWS = Cause(
    "Keras on TensorFlow gives the optimizer a gradient for each use of a row of an embedding, and "
    "squares each of them; elsewhere it squares their sum"
)


@dataclass
class KnownCauses:
    """Why weights whose gradients are equal get other updates.

    Attributes:
        paths_by_cause: The paths of the weights by their causes.
        explained: The paths of the weights that have no other cause.
    """

    paths_by_cause: dict[Cause, list[str]] = field(default_factory=dict)
    explained: set[str] = field(default_factory=set)

    @property
    def texts(self) -> list[str]:
        """Each cause with the weights that have it, and the remedy."""
        texts = []
        for cause, paths in self.paths_by_cause.items():
            remedy = f". Remedy: {cause.remedy}" if cause.remedy else ""
            texts.append(f"{cause.text} ({truncate(paths)}){remedy}")
        return texts

    def add(self, path: str, causes: Sequence[Cause]) -> None:
        """Add all causes of the difference of a weight, if there are any."""
        for cause in causes:
            self.paths_by_cause.setdefault(cause, []).append(path)
        if causes:
            self.explained.add(path)


class _UpdateRule(NamedTuple):
    """The formula of the first step of an optimizer.

    Attributes:
        name: The name of its class.
        settings: Its settings, in the words of Keras.
        is_inside: Whether epsilon has the same position as in Keras: for Adam before its bias
            correction, for RMSprop under the root.
        is_decoupled: Whether the decay is subtracted from the weights, as Keras does.
    """

    name: str
    settings: Settings
    is_inside: bool
    is_decoupled: bool

    def read_number(self, name: str) -> float:
        """Read a setting, 0 if it is not set."""
        value = self.settings.get(name)
        return float(value) if isinstance(value, int | float) else 0.0

    def compute_update(self, gradient: Array, weight: Array) -> Array | None:
        """Compute the change of a weight by the step, `None` if no formula is known.

        With the rate `r`, the decay `d` and the weight `w`:

            decoupled      -r direction(g) - r d w
            otherwise      -r direction(g + d w)
        """
        rate = self.settings.get(_RATE)
        if not isinstance(rate, int | float):
            return None
        decay = self.read_number("weight_decay")
        decayed = gradient if self.is_decoupled else gradient + decay * weight
        direction = self._compute_direction(decayed)
        if direction is None:
            return None
        return -rate * direction - (rate * decay * weight if self.is_decoupled else 0)

    def _compute_direction(self, gradient: Array) -> Array | None:
        # The formulas in the head of this file, without the rate.
        epsilon = self.read_number("epsilon")
        if self.name == "SGD":
            momentum = self.read_number("momentum") if self.settings.get("nesterov") else 0.0
            return gradient * (1 + momentum)
        if self.name in _ADAMS:
            scale = math.sqrt(1 - self.read_number("beta_2")) if self.is_inside else 1.0
            size = np.abs(gradient) + epsilon / scale
        elif self.name == "RMSprop":
            rho = self.read_number("rho")
            squares = (1 - rho) * np.square(gradient)
            if self.settings.get("centered"):
                squares = squares * rho
            size = np.sqrt(squares + epsilon) if self.is_inside else np.sqrt(squares) + epsilon
        else:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):  # without an epsilon
            direction: Array = gradient / size
        return direction


def find_known_causes(
    here: RecordedStep,
    there: RecordedStep,
    weights: Mapping[str, MappedWeight],
    inventory: Inventory,
    rows: Sequence[StepRow],
    calls: Sequence[RecordedCall],
) -> KnownCauses:
    """Find why weights with equal gradients, and moving variances, get other updates than in torch.

    Args:
        here: The step of the model, with all of its settings.
        there: The step of the module.
        weights: The weights with the arrays of the module, by path.
        inventory: The weights and layers of the model.
        rows: The comparisons of the step.
        calls: The calls of the model in training.
    """
    causes = KnownCauses()
    recorded = {weight.path: weight for weight in here.weights}
    weights_by_path = {weight.path: weight for weight in inventory.weights}
    name = str(here.settings.get("optimizer"))
    rule = _UpdateRule(
        name, select_optimizer_settings(here.settings), is_inside=True, is_decoupled=True
    )
    inputs = {call.key.name: next(iter(call.inputs.values()), None) for call in calls}
    for row in rows:
        weight = weights_by_path.get(row.path)
        if weight is None or row.update is None or row.update.answer != "differs":
            continue
        ours, mapped = recorded[row.path], weights[row.path]
        if row.kind == "trained":
            of_rows = _find_row_causes(ours, mapped.recorded)
            if of_rows:
                causes.add(row.path, of_rows)
                continue
            if ours.update_of_sums is not None:
                ours, of_rows = replace(ours, update=ours.update_of_sums), [_ROWS]
            others = _find_causes(rule, ours, there, mapped, _read_kept_values(weight, mapped))
            causes.add(row.path, [*of_rows, *others] if others else [])
        elif weight.name == "moving_variance":
            tensor = inputs.get(inventory.paths[weight.layer])
            causes.add(row.path, _find_variance_causes(weight, ours, mapped, tensor))
    return causes


def find_causes_between_backends(
    rows: Sequence[StepRow],
    here: RecordedStep,
    find_counterpart: Callable[[str], RecordedWeight | None],
) -> KnownCauses:
    """Find why weights with equal gradients get other updates in two models of Keras.

    Args:
        rows: The comparisons of the step.
        here: The step of the model.
        find_counterpart: Function that maps the path of a weight to its counterpart, or `None`.
    """
    causes = KnownCauses()
    recorded = {weight.path: weight for weight in here.weights}
    for row in rows:
        other = find_counterpart(row.path)
        if other is not None and row.update is not None and row.update.answer == "differs":
            causes.add(row.path, _find_row_causes(recorded[row.path], other))
    return causes


def _find_row_causes(ours: RecordedWeight, theirs: RecordedWeight) -> list[Cause]:
    """Find whether updates are equal once both sides sum the gradients of all uses of a row."""
    for of_sums, update in (
        (ours.update_of_sums, theirs.update),
        (theirs.update_of_sums, ours.update),
    ):
        if of_sums is None or update is None:
            continue
        difference = compute_rms(of_sums.values.astype("float64") - update.values)
        if difference <= max(UPDATE_LIMITS.share * compute_rms(update.values), ours.rounding):
            return [_ROWS]
    return []


def _read_kept_values(weight: ModelWeight, mapped: MappedWeight) -> Array:
    values = to_floats(backend.host_view(weight.variable)).reshape(-1)
    kept: Array = values[mapped.indices].astype("float64")
    return kept


def _find_causes(
    rule: _UpdateRule,
    ours: RecordedWeight,
    there: RecordedStep,
    mapped: MappedWeight,
    weight: Array,
) -> list[Cause]:
    """Find the causes of another update.

    First the rule of Keras must give the update of the model, and the rules of torch the update of
    the module. Then each difference of the rules is tried alone.
    """
    theirs = mapped.recorded
    if ours.gradient is None or ours.update is None or theirs.update is None:
        return []
    gradient = ours.gradient.values.astype("float64")
    update, other_update = ours.update.values, theirs.update.values
    updates = _ArrayUpdates(there, mapped, weight)
    rounding = ours.rounding
    # Keras may leave a weight out of the decay.
    rules = [rule, rule._replace(settings={**rule.settings, "weight_decay": 0.0})]
    known = [
        rule_here
        for rule_here in rules
        if _is_close(rule_here.compute_update(gradient, weight), update, rounding)
    ]
    expected = updates.compute_update()
    if not known or not _is_close(expected, other_update, rounding):
        count = updates.count
        if count > 1 and _is_close(count * update.astype("float64"), other_update, rounding):
            return [_describe_sum(count)]
        return []
    causes = []
    if updates.count > 1:
        causes.append(_describe_sum(updates.count))
    for cause, changed in updates.list_changes(known[0]):
        if changed is not None and expected is not None:
            least = max(_CHANGED * compute_rms(other_update), rounding)
            if compute_rms(changed - expected) > least:
                causes.append(cause)
    return causes


class _ArrayUpdate(NamedTuple):
    """An array of a weight that is trained.

    Attributes:
        rule: The rule that trains it.
        gradient: Its gradient, at the values of the weight that are kept.
        is_there: Whether such a value has one of the array.
    """

    rule: _UpdateRule
    gradient: Array
    is_there: Array


class _ArrayUpdates:
    """The arrays of a weight that are trained. The weight is their sum, so is its update."""

    def __init__(self, there: RecordedStep, mapped: MappedWeight, weight: Array) -> None:
        self._weight = weight
        self._updates: list[_ArrayUpdate] = []
        name = str(there.settings.get("optimizer"))
        for array, indices in mapped.summands:
            if array.gradient is not None and array.group is not None:
                rule = _UpdateRule(name, there.groups[array.group], False, name == "AdamW")
                gradient = array.gradient.values[indices].astype("float64")
                self._updates.append(_ArrayUpdate(rule, gradient, indices >= 0))
        self._counts: Array = sum(
            (update.is_there.astype(int) for update in self._updates), np.zeros(1, int)
        )

    @property
    def count(self) -> int:
        """How many arrays are summed for each value, 0 if that differs."""
        counts = np.unique(self._counts)
        return int(counts[0]) if counts.size == 1 else 0

    def compute_update(self, **changes: Any) -> Array | None:
        """Compute the sum of the updates, with changes of their rules."""
        total = np.zeros(self._weight.shape)
        for rule, gradient, is_there in self._updates:
            update = rule._replace(**changes).compute_update(
                gradient, self._weight / max(self.count, 1)
            )
            if update is None:
                return None
            total += np.where(is_there, update, 0)
        return total

    def list_changes(self, ours: _UpdateRule) -> list[tuple[Cause, Array | None]]:
        """List each cause with the updates that torch would make with Keras' formula."""
        if not self._updates:
            return []
        theirs = self._updates[0].rule
        changes = []
        if theirs.name == ours.name == "RMSprop":
            changes.append(
                (_describe_rmsprop_epsilon(ours.settings), self.compute_update(is_inside=True))
            )
        elif theirs.name in _ADAMS and ours.name in _ADAMS and "beta_2" in ours.settings:
            settings = {**theirs.settings, "epsilon": convert_epsilon(ours.settings)}
            cause = _describe_adam_epsilon(ours.settings, theirs.settings)
            changes.append((cause, self.compute_update(settings=settings)))
        if not theirs.is_decoupled and theirs.read_number("weight_decay"):
            changes.append((_describe_decay(theirs.name), self.compute_update(is_decoupled=True)))
        for name in (_RATE, "rho", "weight_decay", "nesterov", "centered"):
            if name in theirs.settings and ours.read_number(name) != theirs.read_number(name):
                settings = {**theirs.settings, name: ours.settings.get(name)}
                texts = (
                    format_digits(ours.read_number(name)),
                    format_digits(theirs.read_number(name)),
                )
                cause = Cause(f"{name} is {texts[0]} here and {texts[1]} there")
                changes.append((cause, self.compute_update(settings=settings)))
        return changes


def _describe_adam_epsilon(ours: Settings, theirs: Settings) -> Cause:
    first = format_digits(convert_epsilon(ours))
    epsilon, eps = format_digits(ours["epsilon"]), format_digits(theirs["epsilon"])
    return Cause(
        "Adam of torch adds epsilon after its bias correction, and Keras before it: "
        f"epsilon={epsilon} here is eps={first} there at the first step (at step t it is epsilon / "
        f"sqrt(1 - beta_2**t)), and eps is {eps}",
        f"record it with eps={first} to compare the rest",
    )


def _describe_rmsprop_epsilon(ours: Settings) -> Cause:
    return Cause(
        "RMSprop of torch adds epsilon to the root, and Keras under it: no eps there equals "
        f"epsilon={format_digits(ours['epsilon'])} here for all gradients"
    )


def _describe_decay(name: str) -> Cause:
    return Cause(
        f"{name} of torch adds the decay to the gradient, and Keras takes it from the weight, as "
        "`torch.optim.AdamW` does"
    )


def _describe_sum(count: int) -> Cause:
    return Cause(
        f"the weight is the sum of {count} arrays there, and each is trained, so it moves {count} "
        "times as far",
        "freeze all of them but one there",
    )


def _is_close(values: Array | None, expected: Array, rounding: float) -> bool:
    # Whether a formula gives an update, up to rounding.
    if values is None or not np.isfinite(expected).all():
        return False
    return compute_rms(values - expected) <= max(_SAME * compute_rms(expected), rounding)


def _find_variance_causes(
    weight: ModelWeight,
    ours: RecordedWeight,
    mapped: MappedWeight,
    inputs: RecordedTensor | None,
) -> list[Cause]:
    """Find why a moving variance differs: torch divides by n - 1, and Keras by n.

    With the momentum `m`, `n` values and the variance `v` of the batch, the new value is

        Keras    m * old + (1 - m) * v
        torch    m * old + (1 - m) * v * n / (n - 1)
    """
    layer = weight.layer
    theirs = mapped.recorded.update
    if ours.update is None or theirs is None or inputs is None:
        return []
    if not isinstance(layer, keras.layers.BatchNormalization):
        return []
    count = math.prod(inputs.shape) // inputs.shape[layer.axis]
    if count < 2 or layer.momentum >= 1:
        return []
    before = _read_kept_values(weight, mapped)
    variance = before + ours.update.values.astype("float64") / (1 - layer.momentum)
    change = variance * count / (count - 1) - before
    share = float(change @ theirs.values) / (float(change @ change) or 1.0)
    if not _is_close(share * change, theirs.values, ours.rounding):
        return []
    causes = [
        Cause(
            "torch moves a variance to n / (n - 1) times the variance of the batch, with "
            f"n = {count}, and Keras to the variance of the batch"
        )
    ]
    if abs(share - (1 - layer.momentum)) > _SAME_MOMENTUM * share:
        momentums = f"{layer.momentum:.3g} here and {1 - share:.3g} there"
        causes.append(Cause(f"momentum is {momentums}"))
    return causes
