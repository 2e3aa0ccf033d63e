"""Who says what weights should be: rules, a recipe, their layers, a plan."""

import contextlib
import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np

from keras_initx._checks import DTYPES, truncate
from keras_initx._typing import Array, DType, RolesGiven
from keras_initx.backends._moments import Moments
from keras_initx.initializers._sharding import is_exact
from keras_initx.initializers._sparse import Masked
from keras_initx.inspection._hooks import LayerInitializer
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._layer_initializers import layer_initializers
from keras_initx.inspection._pairing import pair_by_path_or_name
from keras_initx.inspection._weights import ModelWeight
from keras_initx.tools.audit._expectations import Nothing, OfInitializer, OrDeclared, of_initializer
from keras_initx.tools.audit._judgement import Comparison, Expectation
from keras_initx.tools.audit._profile import Profile, sampled
from keras_initx.tools.audit._property_test import Outcome, proven
from keras_initx.tools.audit._subjects import Audited, Subject, of_weight, opened, subjects_of
from keras_initx.tools.initialize._bound import Binding
from keras_initx.tools.initialize._digest import array_digest
from keras_initx.tools.initialize._given import RulesOrPlan
from keras_initx.tools.initialize._initialize import begin, note_guesses
from keras_initx.tools.initialize._plan import InitializationPlan
from keras_initx.tools.initialize._planned_weight import PlannedWeight

# The very values of a plan or a seed, and what is wrong with others.


@dataclass(frozen=True)
class PlannedValues(Expectation):
    """The very values of a plan or a seed, and what is wrong with others.

    Attributes:
        stated: What gives the values.
        planned: The values.
        source: Who says so: `"plan"` or `"seed"`.
        by_law: What is wrong with others, `None` if they are cut, so that no law is known.
        alpha: See `audit`. No test fails whose probability is larger.
    """

    stated: OfInitializer
    planned: PlannedWeight
    source: str
    by_law: Expectation | None
    alpha: float

    @property
    def text(self) -> str:  # type: ignore[override]
        """What gives the values."""
        return self.stated.text

    def test(self, weight: Subject) -> Comparison:
        by_bits = self._test_bits(weight)
        (outcome,) = by_bits.outcomes
        if self.by_law is None or self.stated.law is None or outcome.proof == "bits":
            return by_bits
        by_law = self.by_law.test(weight)
        if outcome.proof and by_law.least <= self.alpha:
            # By chance, or the line was edited after its digest had been written.
            return replace(self, planned=replace(self.planned, digest=None)).test(weight)
        return replace(
            by_law,
            outcomes=(outcome, *by_law.outcomes),
            is_unchanged=by_bits.is_unchanged,
            rows_unchanged=by_bits.rows_unchanged,
        )

    def _test_bits(self, weight: Subject) -> Comparison:
        """Test whether a weight has the values.

        They are compared in the parts in which they lie on devices: no process needs those of
        others. Their digest is enough, where it is known.
        """
        planned = replace(self.planned)  # what it keeps goes with it
        moments = Moments()
        differing = total = 0
        digest = cause = ""
        rows = None
        proof = "bits"
        for region, values in weight.values.parts():
            moments.add(sampled(values))
            total += values.size
            if region is None and planned.digest is not None:
                digest = _digest(values, weight.dtype)
                if digest == planned.digest:
                    proof = "digest"
                    continue
            drawn = planned.values(region)
            differing_here = self._differing(drawn, values)
            differing += differing_here
            if region is None and differing_here:
                drawn = np.asarray(drawn, values.dtype)
                cause = "an axis exchanged" if _is_transposed(drawn, values) else ""
                rows = _equal_rows(drawn, values)
        evidence = self._evidence(weight, differing, total, digest)
        outcome = Outcome("bits", evidence, cause=cause) if evidence else proven(proof)
        # Of what is computed by matrix products, the last bits are not known.
        is_known = evidence or proof == "digest" or is_exact(self.stated.initializer)
        std = None if self.stated.law is None else self.stated.law.std
        return Comparison(
            weight,
            self.stated,
            Profile("random", std=moments.std),
            Profile("unknown", std=std or 0.0),
            (outcome,),
            is_unchanged=not evidence if is_known else None,
            rows_unchanged=rows if evidence else None,
        )

    def _evidence(self, weight: Subject, differing: int, total: int, digest: str) -> str:
        """Return how the values differ, empty if they do not."""
        planned = self.planned
        if weight.dtype != planned.row.dtype:
            return f"{weight.dtype}, and {planned.row.dtype} in the plan"
        if differing:
            return f"{differing} of {total} values are not those of the {self.source}"
        if digest and digest != planned.digest:
            return f"the digest is {digest}, and {planned.digest} in the plan"
        return ""

    def _differing(self, drawn: Array, values: Array) -> int:
        """Return how many values are not those that were drawn."""
        drawn = np.asarray(drawn, values.dtype)
        differ = drawn != values
        if not is_exact(self.stated.initializer):
            finite = np.isfinite(drawn)
            tolerance = 1e-5 * max(1.0, float(np.abs(drawn).max(initial=0, where=finite)))
            with np.errstate(invalid="ignore"):
                differ &= ~(finite & (np.abs(drawn - values) <= tolerance))
        return int(np.count_nonzero(differ))


def _digest(values: Array, dtype: DType) -> str:
    """Return the digest of values that were read as numbers."""
    if dtype != "float64":  # which is float32 on JAX, without its option
        values = values.astype(dtype, copy=False)
    return array_digest(values)


def _is_transposed(drawn: Array, values: Array) -> bool:
    """Return whether values are those that were drawn, with axes in another order."""
    flat = values.reshape(-1)
    for order in itertools.permutations(range(drawn.ndim)):
        changed = drawn.transpose(order)
        # Most arrays differ at the beginning already.
        if np.array_equal(changed.flat[:64], flat[:64]) and np.array_equal(changed.ravel(), flat):
            return True
    return False


def _equal_rows(drawn: Array, values: Array) -> int | None:
    """Return how many slices along the first axis are as drawn, `None` of a vector."""
    if values.ndim < 2:
        return None
    differ = values.reshape(len(values), -1) != drawn.reshape(len(values), -1)
    return int(np.count_nonzero(~differ.any(axis=1)))


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
    started = begin(inventory, rules, seed or 0, roles, refuses_quantized=False)
    source = "" if seed is None else "seed"
    layers = _Layers(inventory.weights)
    result = []
    by_rule = []
    for weight, planned in started.pairs():
        subject = of_weight(weight)
        result.append((subject, _expectation(subject, planned, source, alpha, layers)))
        if not planned.by_layer:
            by_rule.append((weight, planned))
    return Expected(result, note_guesses(by_rule), inventory)


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
    pairs = pair_by_path_or_name(own_places, places).worded("the plan", "the weights")
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
    of_plan = pair_by_path_or_name(places, own_places).worded("the weights", "the plan")
    for path in by_path:
        reason = f" ({of_plan.reasons[path]})" if path in of_plan.reasons else ""
        problems.append(f"there is no {path!r}{reason}")
    if problems:
        raise ValueError(
            "`rules` must be a plan of these weights. "
            f"Received: rules={plan!r}; {truncate(problems, '; ')}"
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
