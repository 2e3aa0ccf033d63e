"""Audit weights: compare what is there with what should be. Nothing is drawn or changed."""

import hashlib
import itertools
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias, cast

import numpy as np

from keras_initx._checks import check_number, check_root, close_matches
from keras_initx._typing import Array, RolesGiven
from keras_initx.audits._causes import IMPLAUSIBLE, note_causes
from keras_initx.audits._contract import Contract, contract_at, contract_of
from keras_initx.audits._expected import expected_of, fixed_test
from keras_initx.audits._groups import WeightAudit
from keras_initx.audits._pairs import Pair, judge, paired, test_equal, test_together
from keras_initx.audits._profile import NOT_FINITE, Profile, of_array, of_values
from keras_initx.audits._reference import reference_of, source_of
from keras_initx.audits._repeated import SAMPLE, sampled
from keras_initx.audits._report import OF_LAYERS, AuditReport
from keras_initx.audits._subjects import (
    Audited,
    Planned,
    Subject,
    opened,
    plain_subjects,
    subjects,
)
from keras_initx.audits._tests import SAME, SMALL, Test, compare, impossible
from keras_initx.backends import Moments, backend
from keras_initx.initializers import FixedLaw, FrameLaw, IndependentLaw, Law, is_exact, law_of
from keras_initx.models import InitializationPlan, RulesOrPlan, array_digest, description
from keras_initx.recipes import Recipe, recipe_of
from keras_initx.rendering import progress
from keras_initx.structure import LayerInitializer

__all__ = ["audit"]

# What weights are compared with.
Expected: TypeAlias = RulesOrPlan | Contract | Audited

# What is reported of a weight, the first that was found.
_ORDER = (
    "not finite",
    "reshaped",
    "constant",
    "values",
    "equal weights",
    "connections",
    "zeros",
    "copies",
    "equal slices",
    "orthonormality",
    "scale",
    "parts",
    "bounds",
    "mean",
    "shape",
    "outliers",
    "precision",
    "dtype",
    "bits",
)
# Verdicts that a scale or a distribution explains, not what is equal or zero.
_EXPLAINED = ("values", "orthonormality", "scale", "bounds", "mean", "shape", "zeros")
_SAME_BITS = Test("bits", "", p=1.0, deviation=0.0)
_SAME_DIGEST = Test("bits", "the digest is that of the plan", p=1.0, deviation=0.0)
# With a smaller probability, it is worth looking for another explanation.
_SUSPICIOUS = 1e-3
# Unmatched names for which similar ones are looked for.
_MOST_HINTS = 50


def audit(
    weights: Contract | Audited,
    expected: Expected | None = None,
    *,
    seed: int | None = None,
    roles: RolesGiven | None = None,
    alpha: float = 0.01,
) -> AuditReport:
    """Compare weights with what they should be when training starts, or with other weights.

    Each weight is compared with the law of the initializer that it should come from: constants,
    mean, standard deviation, bounds, the shape of the distribution, the connections of `Sparse`,
    the orthonormality of `Orthogonal`, the biases of gates. Equal weights that should be
    independent are reported too, and equal slices of one weight, such as units, also with opposite
    signs. The tests are corrected for their number (Holm, 1979): the
    probability of any alarm is at most `alpha` for a model of any size. Deviations below 1 % are
    not reported, in 16 bits below 2 %. Weights of initializers whose law is not known, of
    quantized layers and of integers are listed as not compared.

    With a contract or other weights, the law of each weight is measured from them: the report says
    which weights are no longer drawn as they were. Weights of one name in several layers are judged
    together too. Those that are new, missing or have another shape or dtype are listed. The
    summary names those that have too few values for a factor of 1.2 to be seen.

    One weight is in memory at a time, beside those of a model. Of large ones, a sample of 65,536
    values is compared with the distribution; moments are those of at most 262,144 values, zeros and
    extremes those of all.

    Args:
        weights: A built Keras model; the path of a saved model, of a file of arrays
            (`.safetensors`, `.npz`, `.weights.h5`), of the index of several files,
            `model.safetensors.index.json`, or of a folder with one or with `.safetensors` files; a
            list of files of arrays; or a dict from names to arrays. Of names for one array in
            memory, as of a tied table, the first is compared. To compare with a contract, also a
            contract or its path.
        expected: For a model, rules or a recipe, as for `initialize`. By default each weight is
            compared with what its layer declares: its initializer, called as the layer does.
            Weights that no rule matches are compared with that too. For a model or arrays, a plan
            of `initialize`, as itself or as the path of a file that its `save` wrote: then each
            weight is compared with its line, and must have the very values of the plan. The names
            of arrays must be its paths, with `/` or `.`. Or a `contract`, or its path; or other
            weights, in all forms of `weights`: then each is compared with the one of its name, with
            `/` or `.`.
        seed: The seed that was given to `initialize`. Then each weight must have the very values
            that this seed gives. A plan has its own.
        roles: For a recipe, what it cannot know of weights, as for `initialize`.
        alpha: The probability of any alarm where all weights are as they should be, between 0
            and 1.

    Returns:
        An `AuditReport`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, the model is not built, a file cannot be read,
            a rule matches no weight, a weight of a plan is missing or has another shape, or
            arrays are to be compared with rules.

    Example:
        >>> import keras_initx
        >>> model = keras.Sequential([
        ...     keras.Input((64,)),
        ...     keras.layers.Dense(32, "relu", name="hidden"),
        ...     keras.layers.Dense(10, name="logits"),
        ... ])
        >>> audit(model).ok
        True
        >>> report = audit(model, {"hidden/kernel": "initx.he_normal"})
        >>> [(weight.path, weight.verdict) for weight in report.problems]
        [('hidden/kernel', 'scale')]

    References:
        Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
        Statistics 6 (1979). Box, "Non-normality and tests on variances", Biometrika 40 (1953).
    """
    check_number("alpha", alpha, positive=True)
    if alpha >= 1:
        raise ValueError(f"`alpha` must be between 0 and 1. Received: {alpha=!r}")
    if seed is not None:
        check_root("seed", seed)
    of_file = contract_at("weights", weights)
    if of_file is not None:
        weights = of_file
    like = reference_of(expected)
    if like is not None:
        if roles is not None:
            raise ValueError(
                f"`roles` must be `None` with a contract or other weights. Received: {roles=!r}"
            )
        if seed is not None:
            raise ValueError(
                f"`seed` must be `None` with a contract or other weights. Received: {seed=!r}"
            )
        found, wanted = _contract_of("weights", weights), _contract_of("expected", like)
        pairs = paired(found, wanted)
        test_equal(pairs, found.equal, wanted.equal)
        test_together(pairs, [*found.equal, *wanted.equal])
        judge(pairs, alpha)
        return AuditReport([*_rows(pairs, wanted), *_missing_rows(pairs, wanted)], source_of(like))
    if isinstance(weights, Contract):
        raise TypeError(
            "`expected` must be a contract or other weights if `weights` is a contract. "
            f"Received: {expected=!r}"
        )
    rules = cast("RulesOrPlan | None", expected)
    pairs = []
    equal: dict[bytes, list[str]] = {}
    # Copies of initializers without a seed draw one.
    with (
        backend.globals_preserved(),
        subjects(weights, rules, seed, roles) as opened_subjects,
        progress("Auditing", len(opened_subjects), "weights") as advance,
    ):
        for subject in opened_subjects:
            pair, digest = _pair_of(subject, alpha)
            pairs.append(pair)
            if digest:
                equal.setdefault(digest, []).append(pair.path)
            advance(1)
    test_equal(pairs, [paths for paths in equal.values() if len(paths) > 1], [])
    judge(pairs, alpha)
    return AuditReport(_rows(pairs), _source(rules))


def _contract_of(name: str, given: Contract | Audited) -> Contract:
    """Return the contract of what is given; `name` is that of the argument in error messages."""
    if isinstance(given, Contract):
        return given
    with opened(name, given) as found:
        return contract_of(plain_subjects(found))


def _source(expected: RulesOrPlan | None) -> str:
    """Return who says how weights should be."""
    if expected is None:
        return OF_LAYERS
    if isinstance(expected, str) and recipe_of(expected) is not None:
        return f"{expected} says"
    if isinstance(expected, InitializationPlan | str | os.PathLike):
        return "the plan says"
    if isinstance(expected, Recipe):
        return f"{expected.name} says"
    if callable(expected):
        return f"{getattr(expected, '__name__', 'the recipe')} says"
    return "the rules say"


def _pair_of(subject: Subject, alpha: float) -> tuple[Pair, bytes]:
    """Read a weight, and test it by its initializer; also return a digest if it is random."""
    pair = Pair(subject.path, subject.shape, subject.dtype, Profile("unknown"), None)
    pair.name = subject.path
    pair.text = subject.description
    pair.initializer = subject.initializer
    pair.fans = subject.fans
    lost = subject.lost()
    if lost:  # whoever says so
        pair.found = pair.expected = Profile("unknown", NOT_FINITE)
        pair.tests.append(impossible("not finite", lost))
        return pair, b""
    if subject.initializer is None:
        pair.reason = subject.reason
        return pair, b""
    law = law_of(subject.initializer, subject.shape)
    planned = subject.planned
    if planned is not None:
        _add_bits(pair, subject, planned, by_digest=True)
        if planned.is_cut or law is None or pair.tests == [_SAME_BITS]:
            pair.expected = Profile("unknown", std=0.0 if law is None else law.std or 0.0)
            return pair, b""
    if isinstance(law, FixedLaw):
        _add_fixed(pair, subject, law)
        if _least(pair.tests) < _SUSPICIOUS and not subject.values.is_shared:
            _compare_with_declared(pair, subject, subject.values.read())
        return pair, b""
    values = _read(subject, law)
    if values.size == 0:
        pair.reason = "empty"
        return pair, b""
    pair.expected = expected_of(subject, law)
    _add_tests(pair, subject, law, values)
    # No test fails whose probability is larger than `alpha`.
    if planned is not None and _SAME_DIGEST in pair.tests and _least(pair.tests) <= alpha:
        # By chance, or the line has been edited.
        tests, pair.tests = pair.tests, []
        _add_bits(pair, subject, planned, by_digest=False)
        if pair.tests == [_SAME_BITS]:
            return pair, b""
        pair.tests = [*pair.tests, *tests[1:]]
    if _least(pair.tests) < _SUSPICIOUS:
        _compare_with_declared(pair, subject, values)
    if pair.found.kind == "random" and not pair.reason:
        return pair, _digest(values)
    return pair, b""


def _read(subject: Subject, law: Law | None) -> Array:
    """Return the values of a weight.

    A process that shares the weight with others takes its own, if their law is known by itself.
    """
    if subject.values.is_shared and isinstance(law, IndependentLaw):
        return np.concatenate([part.reshape(-1) for _, part in subject.values.parts()])
    return subject.values.read()


def _add_fixed(pair: Pair, subject: Subject, law: FixedLaw) -> None:
    """Add the test of a weight whose values do not depend on a seed."""
    moments = Moments()
    pair.expected = Profile("fixed", std=law.std or 0.0)
    for region, values in subject.values.parts():
        moments.add(sampled(values))
        if values.size:
            test = fixed_test(law, values, subject, region or ...)
            pair.tests.append(test)
    pair.found = Profile("fixed", std=moments.std)


def _add_tests(pair: Pair, subject: Subject, law: Law | None, values: Array) -> None:
    """Add the tests of random values."""
    assert pair.expected is not None
    frame = law if isinstance(law, FrameLaw) else None
    has_parts = bool(pair.expected.parts)
    found = of_values(values, subject.dtype, has_parts=has_parts, frame=frame)
    if pair.expected.kind == "fixed":
        # Of several draws: what ignores its seed may have had another state.
        found = of_array(subject.values.stored(), subject.dtype)
        pair.found = found
        if found.digest == pair.expected.digest:
            pair.tests.append(SAME)
        else:
            pair.reason = "equal in each draw of its initializer, and not here"
        return
    pair.found = found
    pair.tests += compare(pair.expected, found, subject.dtype)
    if pair.expected.kind == "unknown" and not pair.tests:
        pair.reason = pair.expected.reason


def _least(tests: Iterable[Test]) -> float:
    """Return the smallest probability of a deviation that matters, 1 if there is none."""
    return min((test.p for test in tests if test.deviation > SMALL), default=1.0)


def _compare_with_declared(pair: Pair, subject: Subject, values: Array) -> None:
    """Compare a weight that is not as expected with what its layer declares."""
    for initializer in subject.declared():
        declared = law_of(initializer, subject.shape)
        if declared is None or values.shape != subject.shape:
            continue
        other = replace(subject, initializer=initializer)
        again = replace(pair, tests=[], initializer=initializer)
        if isinstance(declared, FixedLaw):
            _add_fixed(again, other, declared)
        else:
            again.expected = expected_of(other, declared)
            _add_tests(again, other, declared, values)
        if subject.has_rule and _least(again.tests) > IMPLAUSIBLE:
            pair.declared = description(initializer)
        elif not subject.has_rule and _least(again.tests) > _least(pair.tests):
            # Keras drew it, with the fans of the shape.
            pair.expected, pair.tests = again.expected, again.tests


def _digest(values: Array) -> bytes:
    """Return a digest of a sample of the values and their number."""
    step = max(1, values.size // SAMPLE)
    sample = np.ascontiguousarray(values.reshape(-1)[::step])
    whole = hashlib.blake2b(sample.tobytes(), digest_size=16)
    whole.update(str(values.size).encode())
    return whole.digest()


def _add_bits(pair: Pair, subject: Subject, planned: Planned, *, by_digest: bool) -> None:
    """Add the test whether a weight has the values of a plan or a seed.

    They are compared in the parts in which they lie on devices: no process needs those of others.

    Args:
        pair: The weight.
        subject: The weight.
        planned: The values.
        by_digest: Whether their digest is enough, where it is known.
    """
    initializer = subject.initializer
    assert initializer is not None
    moments = Moments()
    count = 0
    total = 0
    found = ""
    cause = ""
    same = _SAME_BITS
    rows = None
    for region, values in subject.values.parts():
        moments.add(sampled(values))
        total += values.size
        if by_digest and region is None and planned.digest is not None:
            stored = values
            if subject.dtype != "float64":  # which is float32 on JAX, without its option
                stored = values.astype(subject.dtype, copy=False)
            found = array_digest(stored)
            if found == planned.digest:
                same = _SAME_DIGEST
                continue
        drawn = planned.draw(region)
        differing = _differing(initializer, drawn, values)
        count += differing
        if region is None and differing:
            drawn = np.asarray(drawn, values.dtype)
            if _is_transposed(drawn, values):
                cause = "an axis exchanged"
            if values.ndim > 1:
                differ = values.reshape(len(values), -1) != drawn.reshape(len(values), -1)
                rows = int(np.count_nonzero(~differ.any(axis=1)))
    pair.found = Profile("random", std=moments.std)
    evidence = ""
    if subject.dtype != planned.dtype:
        evidence = f"{subject.dtype}, and {planned.dtype} in the plan"
    elif count:
        evidence = f"{count} of {total} values are not those of the {planned.source}"
    elif found and found != planned.digest:
        evidence = f"the digest is {found}, and {planned.digest} in the plan"
    if not evidence:
        # Of what is computed by matrix products, the last bits are not known.
        is_known = same is _SAME_DIGEST or is_exact(initializer)
        pair.tests.append(same)
        pair.is_unchanged = True if is_known else None
        return
    pair.tests.append(Test("bits", evidence, p=0.0, deviation=math.inf, cause=cause))
    pair.is_unchanged = False
    pair.rows_unchanged = rows


def _is_transposed(drawn: Array, values: Array) -> bool:
    """Return whether values are those that were drawn, with axes in another order."""
    flat = values.reshape(-1)
    for order in itertools.permutations(range(drawn.ndim)):
        changed = drawn.transpose(order)
        # Most arrays differ at the beginning already.
        if np.array_equal(changed.flat[:64], flat[:64]) and np.array_equal(changed.ravel(), flat):
            return True
    return False


def _differing(initializer: LayerInitializer, drawn: Array, values: Array) -> int:
    """Return how many values are not those that were drawn."""
    drawn = np.asarray(drawn, values.dtype)
    differ = drawn != values
    if not is_exact(initializer):
        finite = np.isfinite(drawn)
        tolerance = 1e-5 * max(1.0, float(np.abs(drawn).max(initial=0, where=finite)))
        with np.errstate(invalid="ignore"):
            differ &= ~(finite & (np.abs(drawn - values) <= tolerance))
    return int(np.count_nonzero(differ))


def _rows(pairs: Sequence[Pair], contract: Contract | None = None) -> list[WeightAudit]:
    """Return the rows of the report, for a contract with new weights among them."""
    causes = note_causes(pairs)
    knows_bits = any(pair.is_unchanged is not None for pair in pairs)
    rows = []
    for pair in pairs:
        row = WeightAudit(
            pair.path,
            pair.shape,
            pair.dtype,
            pair.text,
            std=pair.found.std_of_all,
            reason=pair.reason,
            resolution=pair.resolution if contract is not None else None,
            is_unchanged=pair.is_unchanged,
            rows_unchanged=pair.rows_unchanged,
        )
        if pair.expected is None and contract is not None:
            row = replace(
                row, verdict="new", evidence=f"it was not there{_hint(pair.path, contract)}"
            )
        if pair.expected is not None:
            row = replace(row, expected_std=pair.expected.std_of_all)
            if pair.is_unchanged is None and knows_bits and pair.expected.kind == "fixed":
                row = replace(row, is_unchanged=not pair.failed)
        if row.expected_std and row.std is not None:
            row = replace(row, ratio=row.std / row.expected_std)
        if pair.failed:
            worst = min(pair.failed, key=lambda test: (_ORDER.index(test.verdict), test.p))
            cause = worst.cause or (causes[pair.path] if worst.verdict in _EXPLAINED else "")
            row = replace(
                row, verdict=worst.verdict, evidence=worst.evidence, cause=cause, reason=""
            )
        rows.append(row)
    return rows


def _missing_rows(pairs: Sequence[Pair], contract: Contract) -> list[WeightAudit]:
    """Return the rows of the weights of a contract that are not there any more."""
    taken = {pair.name for pair in pairs if pair.expected is not None}
    new = [pair.path for pair in pairs if pair.expected is None]
    missing = [weight for weight in contract.weights if weight.path not in taken]
    rows = []
    for weight in missing:
        hint = close_matches(weight.path, new) if len(missing) <= _MOST_HINTS else ""
        rows.append(
            WeightAudit(
                weight.path,
                weight.shape,
                weight.dtype,
                weight.text,
                weight.profile.std_of_all,
                verdict="missing",
                evidence=f"it is not there any more{hint}",
            )
        )
    return rows


def _hint(path: str, contract: Contract) -> str:
    """Return names of a contract that are like that of a new weight."""
    if len(contract.weights) > _MOST_HINTS:
        return ""
    return close_matches(path, [weight.path for weight in contract.weights])
