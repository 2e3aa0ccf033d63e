"""Who says what weights should be: rules, a recipe, their layers, a plan."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import keras

from keras_initx._checks import DTYPES, truncated
from keras_initx._typing import RolesGiven
from keras_initx.audits._comparison import Expectation
from keras_initx.audits._expectations import (
    Nothing,
    OfInitializer,
    OrDeclared,
    of_initializer,
)
from keras_initx.audits._planned import PlannedValues
from keras_initx.audits._subjects import Audited, Subject, of_weight, opened, subjects_of
from keras_initx.initializers._sparse import Masked
from keras_initx.models._bound import Binding
from keras_initx.models._given import RulesOrPlan
from keras_initx.models._initialize import begun, notes_on_guesses
from keras_initx.models._plan import InitializationPlan
from keras_initx.models._planned_weight import PlannedWeight
from keras_initx.structure._hooks import LayerInitializer
from keras_initx.structure._inventory import Inventory
from keras_initx.structure._layer_initializers import layer_initializers
from keras_initx.structure._pairing import paired_with_names
from keras_initx.structure._weights import ModelWeight


@dataclass(frozen=True)
class Expected:
    """What is expected of weights.

    Attributes:
        weights: The weights, each with what it should be.
        notes: What is guessed of them, as lines of text.
        inventory: What the model holds, `None` of arrays.
    """

    weights: list[tuple[Subject, Expectation]]
    notes: Sequence[str] = ()
    inventory: Inventory | None = None


@contextlib.contextmanager
def expected_by(
    weights: Audited,
    rules: RulesOrPlan | None,
    seed: int | None,
    roles: RolesGiven | None,
    alpha: float,
) -> Iterator[Expected]:
    """Open what is audited for the duration of the block, and find what each weight should be.

    Args:
        weights: See `audit`.
        rules: See `audit`; a recipe or a plan as itself, see `resolved`.
        seed: See `audit`.
        roles: See `audit`.
        alpha: See `audit`.
    """
    with opened("weights", weights) as found:
        if isinstance(found, Inventory):
            yield _of_model(found, rules, seed, roles, alpha)
            return
        if roles is not None:
            raise ValueError(f"`roles` must be `None` for arrays. Received: {roles=!r}")
        if not isinstance(rules, InitializationPlan):
            raise ValueError(
                "`rules` must be a plan if `weights` are arrays, which have no layers; with "
                f"`like=` they are compared with a contract or other weights. Received: {rules=!r}"
            )
        yield _by_plan(subjects_of(found), rules, alpha)


def _of_model(
    inventory: Inventory,
    rules: RulesOrPlan | None,
    seed: int | None,
    roles: RolesGiven | None,
    alpha: float,
) -> Expected:
    if isinstance(rules, InitializationPlan):
        if roles is not None:
            raise ValueError(f"`roles` must be `None` with a plan. Received: {roles=!r}")
        by_plan = _by_plan(subjects_of(inventory), rules, alpha, _Layers(inventory.weights))
        return replace(by_plan, inventory=inventory)
    started = begun(inventory, rules, seed or 0, roles, refuses_quantized=False)
    source = "" if seed is None else "seed"
    layers = _Layers(inventory.weights)
    result = []
    by_rule = []
    for weight, planned in started.pairs():
        subject = of_weight(weight)
        result.append((subject, _expectation(subject, planned, source, alpha, layers)))
        if not planned.by_layer:
            by_rule.append((weight, planned))
    return Expected(result, notes_on_guesses(by_rule), inventory)


def _by_plan(
    subjects: Sequence[Subject],
    plan: InitializationPlan,
    alpha: float,
    layers: "_Layers | None" = None,
) -> Expected:
    """Return weights with what the lines of a plan say.

    Raises:
        ValueError: If one has another shape than in the plan, or is missing.
    """
    by_path = {planned.row.path: planned for planned in plan._planned}
    own_places = {subject.path: subject.place for subject in subjects}
    places = {path: planned.place for path, planned in by_path.items()}
    pairs = paired_with_names(own_places, places).worded("the plan", "the weights")
    result: list[tuple[Subject, Expectation]] = []
    problems = []
    for subject in subjects:
        planned = by_path.pop(pairs.names.get(subject.path, ""), None)
        if planned is None:
            reason = pairs.reasons.get(subject.path, "not in the plan")
            result.append((subject, Nothing(reason)))
        elif planned.row.shape != subject.shape:
            problems.append(
                f"{subject.path!r} has the shape {subject.shape}, and {planned.row.shape} in the "
                "plan"
            )
        else:
            result.append((subject, _expectation(subject, planned, "plan", alpha, layers)))
    of_plan = paired_with_names(places, own_places).worded("the weights", "the plan")
    for path in by_path:
        reason = f" ({of_plan.reasons[path]})" if path in of_plan.reasons else ""
        problems.append(f"there is no {path!r}{reason}")
    if problems:
        raise ValueError(
            "`rules` must be a plan of these weights. "
            f"Received: rules={plan!r}; {truncated(problems, '; ')}"
        )
    return Expected(result)


def _expectation(
    subject: Subject,
    planned: PlannedWeight,
    source: str,
    alpha: float,
    layers: "_Layers | None",
) -> Expectation:
    """Return what a weight should be.

    Args:
        subject: The weight.
        planned: What it should get.
        source: Who says which values it must have, empty if nobody does.
        alpha: See `audit`.
        layers: The layers of the model, `None` of arrays.
    """
    if planned.initializer is None:
        return Nothing(planned.row.reason)
    if subject.dtype not in DTYPES:
        return Nothing(subject.dtype)
    stated = of_initializer(planned.initializer, subject)
    by_law: Expectation = stated
    if layers is not None:
        declared = functools.partial(layers.declared, subject)
        by_law = OrDeclared(stated, declared, not planned.by_layer, alpha)
    is_cut = isinstance(planned.initializer, Masked)  # so that no law is known
    if source == "plan" or (source and planned.row.seed is not None):
        return PlannedValues(stated, planned, source, None if is_cut else by_law, alpha)
    if is_cut and not source:
        return Nothing("zeros of a constraint")
    return by_law


class _Layers:
    """What layers declare, found at the first question: they may have to be copied."""

    def __init__(self, weights: Sequence[ModelWeight]) -> None:
        self._weights = {weight.path: weight for weight in weights}

    @functools.cached_property
    def _initializers(self) -> dict[str, tuple[LayerInitializer | None, str]]:
        return layer_initializers(list(self._weights.values()))

    def declared(self, subject: Subject) -> Iterator[OfInitializer]:
        """Yield what the layer of a weight declares: as Keras calls it, and with its fans."""
        declared, _ = self._initializers[subject.path]
        found = [declared]
        if isinstance(declared, keras.initializers.Initializer):
            found.append(Binding(self._weights[subject.path]).bound(declared, 0))
        for initializer in found:
            if initializer is not None:
                yield of_initializer(initializer, subject)
