"""The expectation of each weight from rules, a recipe, the layers or a plan.

rules, a recipe    the law of the initializer of the first rule that matches
seed, a plan       also the very values: `PlannedValues`
no rule            what the layer declares
"""

import contextlib
import copy
import functools
import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np

from keras_initx._checks import DTYPES, truncate
from keras_initx._received import show
from keras_initx._typing import Array, DType
from keras_initx.backends._current import backend
from keras_initx.backends._moments import Moments
from keras_initx.initializers._sharding import is_exact
from keras_initx.initializers._sparse import Masked
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._layer_initializers import WeightInitializer, find_layer_initializers
from keras_initx.inspection._pairing import pair_by_path_or_name
from keras_initx.inspection._weights import ModelWeight
from keras_initx.recipes._weight_rules import BY_RULE
from keras_initx.tools.audit._initializer_expectations import (
    DeclaredFallback,
    InitializerExpectation,
    NotKnown,
    expect_initializer,
)
from keras_initx.tools.audit._judgement import Comparison, Expectation
from keras_initx.tools.audit._profile import Profile, sample_for_moments
from keras_initx.tools.audit._property_test import ALPHA, ROUNDING, Outcome, proven
from keras_initx.tools.audit._subjects import (
    Audited,
    Subject,
    list_buffers,
    list_subjects,
    list_weight_subjects,
    open_weights,
    weight_subject,
)
from keras_initx.tools.initialize._binding import Binding
from keras_initx.tools.initialize._digest import array_digest
from keras_initx.tools.initialize._initialize import note_guessed_fans, prepare
from keras_initx.tools.initialize._module_state import (
    find_owner,
    list_left_by_rule,
    read_module_state,
)
from keras_initx.tools.initialize._plan import InitializationPlan
from keras_initx.tools.initialize._planned_weight import PlannedWeight
from keras_initx.tools.initialize._rules import RulesOrPlan


@dataclass(frozen=True)
class PlannedValues(Expectation):
    """The exact values of a plan or a seed. Other values are tested by their law.

    Attributes:
        stated: The initializer that draws the values.
        planned: Draws the values.
        source: The source of the values: `"plan"` or `"seed"`.
        by_law: Tests other values. `None` if some values are cut off, because then the law is not
            known.
    """

    stated: InitializerExpectation
    planned: PlannedWeight
    source: str
    by_law: Expectation | None

    @property
    def text(self) -> str:  # type: ignore[override]
        """The initializer that draws the values."""
        return self.stated.text

    def test(self, weight: Subject) -> Comparison:
        by_bits = self._test_bits(weight)
        (outcome,) = by_bits.outcomes
        if self.by_law is None or self.stated.law is None or outcome.proof == "bits":
            return by_bits
        by_law = self.by_law.test(weight)
        if outcome.proof and by_law.least_p_value <= ALPHA:
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

        Each process compares its own parts on its own devices. If the digest is known and equal,
        nothing is drawn.
        """
        planned = replace(self.planned)  # a copy, with which the values that it keeps are freed
        moments = Moments()
        differing = total = 0
        digest = cause = ""
        rows = None
        proof = "bits"
        for region, values in weight.values.parts():
            moments.add(sample_for_moments(values))
            total += values.size
            if region is None and planned.digest is not None:
                digest = _compute_digest(values, weight.dtype)
                if digest == planned.digest:
                    proof = "digest"
                    continue
            drawn = planned.values(region)
            differing_in_region = self._count_differing(drawn, values)
            differing += differing_in_region
            if region is None and differing_in_region:
                drawn = np.asarray(drawn, values.dtype)
                cause = "an axis exchanged" if _is_transposed(drawn, values) else ""
                rows = _count_equal_rows(drawn, values)
        detail = self._describe_difference(weight, differing, total, digest)
        outcome = Outcome("bits", detail, cause=cause) if detail else proven(proof)
        # Of what is computed by matrix products, the last bits are not known.
        is_known = detail or proof == "digest" or is_exact(self.stated.initializer)
        std = None if self.stated.law is None else self.stated.law.std
        return Comparison(
            weight,
            self.stated,
            Profile("random", std=moments.std),
            Profile("unknown", std=std or 0.0),
            (outcome,),
            is_unchanged=not detail if is_known else None,
            rows_unchanged=rows if detail else None,
        )

    def _describe_difference(self, weight: Subject, differing: int, total: int, digest: str) -> str:
        """Say how the values differ, empty if they do not."""
        planned = self.planned
        if weight.dtype != planned.row.dtype:
            return f"{weight.dtype}, and {planned.row.dtype} in the plan"
        if differing:
            return f"{differing} of {total} values differ from the {self.source}"
        if digest and digest != planned.digest:
            return f"the digest is {digest}, and {planned.digest} in the plan"
        return ""

    def _count_differing(self, drawn: Array, values: Array) -> int:
        """Count the values that differ from the drawn ones by more than their drawing may round."""
        drawn = np.asarray(drawn, values.dtype)
        differ = drawn != values
        if not is_exact(self.stated.initializer):
            finite = np.isfinite(drawn)
            tolerance = ROUNDING * max(1.0, float(np.abs(drawn).max(initial=0, where=finite)))
            with np.errstate(invalid="ignore"):
                differ &= ~(finite & (np.abs(drawn - values) <= tolerance))
        return int(np.count_nonzero(differ))


def _compute_digest(values: Array, dtype: DType) -> str:
    # Of values that were read as float32, in their own dtype.
    if dtype != "float64":  # which is float32 on JAX, without its option
        values = values.astype(dtype, copy=False)
    return array_digest(values)


def _is_transposed(drawn: Array, values: Array) -> bool:
    """Return whether values are the drawn values with axes in another order."""
    flat = values.reshape(-1)
    for order in itertools.permutations(range(drawn.ndim)):
        changed = drawn.transpose(order)
        # Most arrays differ at the beginning already.
        if np.array_equal(changed.flat[:64], flat[:64]) and np.array_equal(changed.ravel(), flat):
            return True
    return False


def _count_equal_rows(drawn: Array, values: Array) -> int | None:
    """Count the slices along the first axis with the drawn values, `None` for a vector."""
    if values.ndim < 2:
        return None
    differ = values.reshape(len(values), -1) != drawn.reshape(len(values), -1)
    return int(np.count_nonzero(~differ.any(axis=1)))


@dataclass(frozen=True)
class ExpectedWeights:
    """The audited weights, while they are open, with their expectations.

    Attributes:
        weights: The weights, each with its expectation.
        notes: The guesses, as lines of text.
        inventory: The weights and layers of the model, `None` for arrays.
    """

    weights: list[tuple[Subject, Expectation]]
    notes: Sequence[str] = ()
    inventory: Inventory | None = None


@contextlib.contextmanager
def open_expectations(
    weights: Audited, rules: RulesOrPlan | None, seed: int | None
) -> Iterator[ExpectedWeights]:
    """Open the audited weights for the duration of the block, with their expectations.

    Args:
        weights: See `audit`.
        rules: See `audit`; but a recipe or a plan itself, not its name or path.
        seed: See `audit`.
    """
    with open_weights("weights", weights) as source:
        if isinstance(source, Inventory):
            yield _expect_of_model(source, rules, seed)
            return
        if not isinstance(rules, InitializationPlan):
            raise ValueError(
                "`rules` must be a plan if `weights` are arrays, which have no layers. To compare "
                "them with a contract or with other weights, pass these as `like`. "
                f"Received: rules={show(rules)}"
            )
        yield _expect_by_plan(list_subjects(source), rules)


def _expect_of_model(
    inventory: Inventory, rules: RulesOrPlan | None, seed: int | None
) -> ExpectedWeights:
    if isinstance(rules, InitializationPlan):
        subjects = list_weight_subjects(inventory, inventory.weights)
        by_plan = _expect_by_plan(subjects, rules, _LayerDeclarations(inventory.weights))
        left = set()
        for subject, expectation in by_plan.weights:
            if isinstance(expectation, NotKnown) and expectation.reason == BY_RULE:
                left.add(subject.path)
        weights = [*by_plan.weights, *_expect_buffers(inventory, left)]
        return replace(by_plan, weights=weights, inventory=inventory)
    started = prepare(inventory, rules, seed or 0, refuses_quantized=False)
    source = "" if seed is None else "seed"
    layers = _LayerDeclarations(inventory.weights)
    expected = []
    planned_by_rules = []
    for weight, planned in started.pairs():
        subject = weight_subject(weight)
        expected.append((subject, _choose_expectation(subject, planned, source, layers)))
        if not planned.is_by_layer:
            planned_by_rules.append((weight, planned))
    expected += _expect_buffers(inventory, list_left_by_rule(started.pairs()))
    return ExpectedWeights(expected, note_guessed_fans(planned_by_rules), inventory)


def _expect_buffers(
    inventory: Inventory, left_by_rule: Collection[str]
) -> list[tuple[Subject, Expectation]]:
    """List the buffers of torch modules with their expectations.

    Only statistics have any: the values that `reset_running_stats` gives a copy of their module.
    """
    reset = read_module_state(inventory, left_by_rule).reset
    expected = []
    for buffer in list_buffers(inventory):
        initializer = _find_start(buffer) if buffer in reset else None
        subject = weight_subject(buffer)
        expectation: Expectation = NotKnown("a buffer of torch")
        if initializer is not None and buffer.dtype in DTYPES:
            expectation = expect_initializer(initializer, subject)
        expected.append((subject, expectation))
    return expected


def _find_start(buffer: ModelWeight) -> keras.initializers.Initializer | None:
    """Find the initializer of a statistic, or `None` if its module does not start it so."""
    try:
        module = copy.deepcopy(find_owner(buffer))
        module.reset_running_stats()
        values = backend.host_view(getattr(module, buffer.variable.attribute))
    except Exception:  # of a module of the user
        return None
    for initializer, value in ((keras.initializers.Zeros(), 0), (keras.initializers.Ones(), 1)):
        if (values == value).all():
            return initializer
    return None


def _expect_by_plan(
    subjects: Sequence[Subject],
    plan: InitializationPlan,
    layers: "_LayerDeclarations | None" = None,
) -> ExpectedWeights:
    """Find the expectation of each weight in the lines of a plan.

    Raises:
        ValueError: If a weight has another shape than in the plan, or is missing.
    """
    by_path = {planned.row.path: planned for planned in plan._planned}
    own_paths = {subject.path: subject.canonical_path for subject in subjects}
    plan_paths = {path: planned.canonical_path for path, planned in by_path.items()}
    pairs = pair_by_path_or_name(own_paths, plan_paths).worded("the plan", "the weights")
    expected: list[tuple[Subject, Expectation]] = []
    problems = []
    for subject in subjects:
        planned = by_path.pop(pairs.names.get(subject.path, ""), None)
        if planned is None:
            reason = pairs.reasons.get(subject.path, "not in the plan")
            expected.append((subject, NotKnown(reason)))
        elif planned.row.shape != subject.shape:
            problems.append(
                f"{subject.path!r} has the shape {subject.shape}, and {planned.row.shape} in the "
                "plan"
            )
        else:
            expected.append((subject, _choose_expectation(subject, planned, "plan", layers)))
    plan_pairs = pair_by_path_or_name(plan_paths, own_paths).worded("the weights", "the plan")
    for path in by_path:
        reason = f" ({plan_pairs.reasons[path]})" if path in plan_pairs.reasons else ""
        problems.append(f"there is no {path!r}{reason}")
    if problems:
        raise ValueError(
            "`rules` must be a plan of these weights. "
            f"Received: rules={show(plan)}; {truncate(problems, '; ')}"
        )
    return ExpectedWeights(expected)


def _choose_expectation(
    subject: Subject,
    planned: PlannedWeight,
    source: str,
    layers: "_LayerDeclarations | None",
) -> Expectation:
    """Choose the expectation of a weight from its rule or its line of a plan.

    Args:
        subject: The weight.
        planned: The planned initializer of the weight.
        source: `"plan"` or `"seed"` if that decides the exact values, otherwise empty.
        layers: The declarations of the layers of the model, `None` for arrays.
    """
    if planned.initializer is None:
        return NotKnown(planned.row.detail)
    if subject.dtype not in DTYPES:
        return NotKnown(subject.dtype)
    stated = expect_initializer(planned.initializer, subject)
    by_law: Expectation = stated
    if layers is not None:
        declared = functools.partial(layers.expect_declared, subject)
        by_law = DeclaredFallback(stated, declared, not planned.is_by_layer)
    is_cut = isinstance(planned.initializer, Masked)  # so that no law is known
    if source == "plan" or (source and planned.row.seed is not None):
        return PlannedValues(stated, planned, source, None if is_cut else by_law)
    if is_cut and not source:
        return NotKnown("zeros of a constraint")
    return by_law


class _LayerDeclarations:
    """The initializers that layers declare. Reading them may copy layers, so it happens late."""

    def __init__(self, weights: Sequence[ModelWeight]) -> None:
        self._weights = {weight.path: weight for weight in weights}

    @functools.cached_property
    def _initializers(self) -> dict[str, WeightInitializer]:
        return find_layer_initializers(list(self._weights.values()))

    def expect_declared(self, subject: Subject) -> Iterator[InitializerExpectation]:
        """Yield expectations from the layer of a weight: as Keras calls it, and with its fans."""
        declared, _ = self._initializers[subject.path]
        initializers = [declared]
        if isinstance(declared, keras.initializers.Initializer):
            initializers.append(Binding(self._weights[subject.path]).bind(declared, 0))
        for initializer in initializers:
            if initializer is not None:
                yield expect_initializer(initializer, subject)
