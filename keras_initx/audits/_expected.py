"""Who says what weights should be: rules, a recipe, their layers, a plan."""

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

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
from keras_initx.audits._planned import Planned, PlannedValues
from keras_initx.audits._subjects import Audited, Subject, of_weight, opened, subjects_of
from keras_initx.initializers._as_ours import as_ours
from keras_initx.initializers._sparse import Masked
from keras_initx.models._bound import with_seed_and_axes
from keras_initx.models._given import RulesOrPlan
from keras_initx.models._initialize import begun
from keras_initx.models._plan import Drawing, InitializationPlan, Said, WeightPlan
from keras_initx.structure._hooks import LayerInitializer
from keras_initx.structure._layer_initializers import layer_initializers
from keras_initx.structure._weights import ModelWeight, find_weights

# Weights, each with what it should be.
Expected: TypeAlias = list[tuple[Subject, Expectation]]


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
        if isinstance(found, keras.Model):
            yield _of_model(found, rules, seed, roles, alpha)
            return
        if roles is not None:
            raise ValueError(f"`roles` must be `None` for arrays. Received: {roles=!r}")
        if not isinstance(rules, InitializationPlan):
            raise ValueError(
                "`rules` must be a plan if `weights` are arrays, which have no layers; with "
                f"`like=` they are compared with a contract or other weights. Received: {rules=!r}"
            )
        yield _by_plan(subjects_of(found), rules, _Lines("plan", alpha))


def _of_model(
    model: keras.Model,
    rules: RulesOrPlan | None,
    seed: int | None,
    roles: RolesGiven | None,
    alpha: float,
) -> Expected:
    if isinstance(rules, InitializationPlan):
        if roles is not None:
            raise ValueError(f"`roles` must be `None` with a plan. Received: {roles=!r}")
        weights = find_weights(model)
        subjects = [of_weight(weight) for weight in weights]
        return _by_plan(subjects, rules, _Lines("plan", alpha, _Layers(weights)))
    started = begun(model, rules, seed or 0, roles, refuses_quantized=False)
    layers = _Layers([step.weight for step in started.steps])
    lines = _Lines("" if seed is None else "seed", alpha, layers)
    result: Expected = []
    for step in started.steps:
        subject = of_weight(step.weight)
        result.append((subject, lines.expectation(subject, step.row, step.said)))
    return result


def _by_plan(subjects: Sequence[Subject], plan: InitializationPlan, lines: "_Lines") -> Expected:
    """Return weights with what the lines of a plan say.

    Raises:
        ValueError: If one has another shape than in the plan, or is missing.
    """
    rows = {row.path: row for row in plan.rows}
    result: Expected = []
    problems = []
    for subject in subjects:
        # Other packages join names by dots.
        row = rows.pop(subject.path, None) or rows.pop(subject.path.replace(".", "/"), None)
        if row is None:
            result.append((subject, Nothing("not in the plan")))
        elif row.shape != subject.shape:
            problems.append(
                f"{subject.path!r} has the shape {subject.shape}, and {row.shape} in the plan"
            )
        else:
            said = plan._said.get(row.path)
            result.append((subject, lines.expectation(subject, row, said)))
    problems += [f"there is no {path!r}" for path in rows]
    if problems:
        raise ValueError(
            "`rules` must be a plan of these weights. "
            f"Received: rules={plan!r}; {truncated(problems, '; ')}"
        )
    return result


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
            found.append(with_seed_and_axes(declared, 0, self._weights[subject.path]))
        for initializer in found:
            if initializer is not None and as_ours(initializer).law(subject.shape) is not None:
                yield of_initializer(initializer, subject)


@dataclass(frozen=True)
class _Lines:
    """What the lines of a plan say.

    Attributes:
        source: Who says which values weights must have, empty if nobody does.
        alpha: See `audit`.
        layers: The layers of the model, `None` of arrays.
    """

    source: str
    alpha: float
    layers: _Layers | None = None

    def expectation(self, subject: Subject, row: WeightPlan, drawn: Said | None) -> Expectation:
        """Return what a line says of a weight, and of where its values come from."""
        if drawn is None or drawn.initializer is None:
            return Nothing(row.reason)
        if subject.dtype not in DTYPES:
            return Nothing(subject.dtype)
        stated = of_initializer(drawn.initializer, subject)
        by_law: Expectation = stated
        if self.layers is not None:
            declared = functools.partial(self.layers.declared, subject)
            by_law = OrDeclared(stated, declared, not drawn.by_layer)
        is_cut = isinstance(drawn.initializer, Masked)  # so that no law is known
        if not self.source or (self.source == "seed" and row.seed is None):
            return Nothing("zeros of a constraint") if is_cut and not self.source else by_law
        draw = Drawing(row, drawn.initializer).at
        planned = Planned(self.source, row.dtype, drawn.digest, draw)
        return PlannedValues(stated, planned, None if is_cut else by_law, self.alpha)
