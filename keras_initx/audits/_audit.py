"""Audit weights: compare what is there with what should be. Nothing is drawn or changed."""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias, cast

import numpy as np

from keras_initx._checks import check_flag, check_number, check_root
from keras_initx._recipe_names import recipe_of
from keras_initx._typing import Array
from keras_initx.audits._against import audit_against
from keras_initx.audits._causes import Finding, scale_cause
from keras_initx.audits._compare import (
    SAMPLE,
    Test,
    compare,
    holm,
    least,
    moments_of,
    sampled,
    smallest_effect,
)
from keras_initx.audits._contract import Contract, contract_at
from keras_initx.audits._differences import equal_rows
from keras_initx.audits._explanations import IMPLAUSIBLE, explanation, reordered
from keras_initx.audits._groups import WeightAudit
from keras_initx.audits._reference import reference_of
from keras_initx.audits._report import OF_LAYERS, AuditReport
from keras_initx.audits._subjects import Audited, Planned, Subject, subjects
from keras_initx.backends import Moments, backend
from keras_initx.initializers import (
    FixedLaw,
    IndependentLaw,
    Law,
    RandomNormal,
    SlicesLaw,
    TiledLaw,
    Truncated,
    is_exact,
    law_of,
)
from keras_initx.models import InitializationPlan, RulesOrPlan, array_digest, description
from keras_initx.rendering import progress
from keras_initx.structure import LayerInitializer

__all__ = ["audit"]

# What weights are compared with.
Expected: TypeAlias = RulesOrPlan | Contract | Audited

# What is reported of a weight, the first that was found.
_ORDER = (
    "not finite",
    "constant",
    "zeros",
    "values",
    "equal weights",
    "copies",
    "equal slices",
    "connections",
    "orthonormality",
    "singular values",
    "scale",
    "bounds",
    "mean",
    "shape",
    "precision",
    "bits",
)
_SAME_BITS = Test("bits", "", p=1.0, deviation=0.0)
_SAME_DIGEST = Test("bits", "the digest is that of the plan", p=1.0, deviation=0.0)
# With a smaller probability, it is worth looking for another explanation.
_SUSPICIOUS = 1e-3
# Fewer values may be equal by chance in 16 bits.
_FEWEST = 16


def audit(
    weights: Contract | Audited,
    expected: Expected | None = None,
    *,
    seed: int | None = None,
    alpha: float = 0.01,
    names: Mapping[str, str] | None = None,
    same: bool | None = None,
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

    One weight is in memory at a time, beside those of a model; two where values are compared place
    by place. Of large ones, a sample of 65,536 values is compared with
    the distribution; moments are those of at most 262,144 values, zeros and extremes those of all.

    Args:
        weights: A built Keras model; the path of a saved model, of a file of arrays
            (`.safetensors`, `.npz`, `.weights.h5`), of the index of several files,
            `model.safetensors.index.json`, or of a folder with one or with `.safetensors` files; a
            list of files of arrays; or a dict from names to arrays. Where names end in `.weight`,
            as those of torch, kernels have their units on the first axis. Of names for one array
            in memory, as of a tied table, the first is compared. To compare with a contract, also
            a contract or its path.
        expected: Rules or a recipe, as for `initialize`. By default each weight of a model is
            compared with what its layer declares: its initializer, called as the layer does.
            Weights that no rule matches are compared with that too. Required with arrays, whose
            names the patterns match. Or a plan of `initialize`, as itself or as the path of a file
            that its `save` wrote: then each weight is compared with its line, and must have the
            very values of the plan. The names of arrays must be its paths, with `/` or `.`.
            Or a `contract`, or its path; or other weights, in all forms of `weights`: then each is
            compared with the one of its name, with `/` or `.`.
        seed: The seed that was given to `initialize`. Then each weight must have the very values
            that this seed gives. A plan has its own.
        alpha: The probability of any alarm where all weights are as they should be, between 0
            and 1.
        names: With a contract or other weights, a dict from patterns for the paths of `weights` to
            the names there, with `{0}` for the text of the first `*`: for layers that were renamed,
            and for other libraries. Weights that it matches may have their axes in another order.
        same: With other weights, whether each value is compared with the one in its place. By
            default they are if most random weights are equal bit for bit, as in two versions of a
            trained model.

    Returns:
        An `AuditReport`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, the model is not built, a file cannot be read,
            a rule matches no weight, or a weight of a plan is missing or has another shape.

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
    if same is not None:
        check_flag("same", same)
    of_file = contract_at("weights", weights)
    if of_file is not None:
        weights = of_file
    like = reference_of(expected)
    if like is not None:
        if seed is not None:
            raise ValueError(
                f"`seed` must be `None` with a contract or other weights. Received: {seed=!r}"
            )
        if same and (isinstance(like, Contract) or isinstance(weights, Contract)):
            raise ValueError(
                "`same` must not be true with a contract, which has no values. Received: same=True"
            )
        return audit_against(weights, like, alpha=alpha, names=names, same=same)
    if names is not None or same is not None:
        name, value = ("names", names) if names is not None else ("same", same)
        raise ValueError(
            f"`{name}` must be `None` unless `expected` is a contract or other weights. "
            f"Received: {name}={value!r}"
        )
    if isinstance(weights, Contract):
        raise TypeError(
            "`expected` must be a contract or other weights if `weights` is a contract. "
            f"Received: {expected=!r}"
        )
    rules = cast("RulesOrPlan | None", expected)
    measured = []
    # Copies of initializers without a seed draw one.
    with (
        backend.generators_preserved(),
        subjects(weights, rules, seed) as found,
        progress("Auditing", len(found), "weights") as advance,
    ):
        for subject in found:
            measured.append(_measured(subject))
            advance(1)
    _note_equal(measured)
    _judge(measured, alpha)
    return AuditReport(
        _rows(measured, knows_bits=any(one.bits is not None for one in measured)),
        _source(rules),
    )


def _source(expected: RulesOrPlan | None) -> str:
    """Return who says how weights should be."""
    if expected is None:
        return OF_LAYERS
    if isinstance(expected, str) and recipe_of(expected) is not None:
        return f"{expected} says"
    if isinstance(expected, InitializationPlan | str | os.PathLike):
        return "the plan says"
    if callable(expected):
        return f"{getattr(expected, '__name__', 'the recipe')} says"
    return "the rules say"


@dataclass
class _Measured:
    """A weight with the tests of it.

    Attributes:
        subject: The weight.
        law: Its law, or `None` if it is not known.
        reason: Why it is not compared.
        tests: The tests.
        std: Its standard deviation.
        digest: A digest of its values if they are random.
        varies: Whether its values differ from each other.
        declared: The initializer of its layer, if a rule has another and the values are those of
            the layer.
        explanation: What else explains the values, see `explanation`.
        bits: Whether it has the values that are known, or `None` if none are.
        keeps_shape: Whether nothing but the scale is off.
        failed: The tests that failed.
    """

    subject: Subject
    law: Law | None
    reason: str
    tests: list[Test] = field(default_factory=list)
    std: float | None = None
    digest: bytes = b""
    varies: bool = False
    declared: str = ""
    explanation: str = ""
    bits: "_Bits | None" = None
    keeps_shape: bool = True
    failed: list[Test] = field(default_factory=list)


def _measured(subject: Subject) -> _Measured:
    """Read a weight, and test it by the law of its initializer."""
    if subject.initializer is None:
        return _Measured(subject, None, subject.reason)
    law = law_of(subject.initializer, subject.shape)
    planned = subject.planned
    if planned is not None and planned.is_cut:
        law = None
    if law is None and (planned is None or not (planned.digest or planned.is_cut)):
        return _Measured(subject, None, "law unknown")
    result = _Measured(subject, law, "")
    if planned is not None:
        result.bits = _bits(subject, planned, by_digest=True)
        result.tests.append(result.bits.test)
        result.std = result.bits.moments.std
        result.varies = result.std > 0
        if result.bits.test is _SAME_BITS or law is None:
            return result
    assert law is not None
    law_here, values = _read(subject, law)
    moments = moments_of(values)
    result.std = moments.std
    result.varies = result.std > 0
    if subject.is_table and isinstance(law, IndependentLaw) and values.ndim == 2:
        values = _without_padding(values)
        moments = moments_of(values)
    of_law = compare(law_here, values, subject.dtype, moments)
    has_digest = result.tests == [_SAME_DIGEST]
    if planned is not None and has_digest and least(of_law) < _SUSPICIOUS:
        # By chance, or the line has been edited.
        bits = _bits(subject, planned, by_digest=False)
        if bits.test is _SAME_BITS:
            return result
    result.tests += of_law
    if least(of_law) < _SUSPICIOUS:
        _compare_with_declared(result, values)
        _explain(result, law_here, values)
    if _is_random(law) and values.size >= _FEWEST and result.varies:
        result.digest = _digest(values)
    return result


def _read(subject: Subject, law: Law) -> tuple[Law, Array]:
    """Return the values of a weight, and their law.

    A process that shares the weight with others takes its own values, if their law is known by
    itself.
    """
    if not subject.values.is_shared or not isinstance(law, FixedLaw | IndependentLaw):
        return law, subject.values.read()
    parts = []
    expected = []
    for region, values in subject.values.parts():
        parts.append(values.reshape(-1))
        if isinstance(law, FixedLaw):
            whole = np.broadcast_to(law.make(), subject.shape)
            expected.append(whole[region or ...].reshape(-1))
    if isinstance(law, FixedLaw):
        law = replace(law, make=lambda: np.concatenate(expected))
    return law, np.concatenate(parts)


def _compare_with_declared(result: _Measured, values: Array) -> None:
    """Compare a weight that is not as expected with what its layer declares."""
    subject = result.subject
    for initializer in subject.declared():
        declared = law_of(initializer, subject.shape)
        if declared is None:
            continue
        if values.shape != subject.shape and not isinstance(declared, IndependentLaw):
            continue
        tests = compare(declared, values, subject.dtype)
        if subject.has_rule and least(tests) > IMPLAUSIBLE:
            result.declared = description(initializer)
        elif not subject.has_rule and least(tests) > least(result.tests):
            # Keras drew it, with the fans of the shape.
            result.law = declared
            result.tests = tests


def _explain(result: _Measured, law: Law, values: Array) -> None:
    """Look for what else explains the values of a weight that is not as expected."""
    subject = result.subject
    assert subject.initializer is not None
    if result.std and law.std:
        tests = compare(law.scaled(result.std / law.std), values, subject.dtype)
        # Bounds would be exact, which the standard deviation that was found is not.
        of_shape = [test for test in tests if test.verdict != "bounds"]
        result.keeps_shape = least(of_shape) > IMPLAUSIBLE
    if values.shape == subject.shape:
        result.explanation = explanation(subject.initializer, law, values, subject.dtype)


def _without_padding(table: Array) -> Array:
    """Return a table without the row that torch sets to zero, for padding, if there is one."""
    zero = np.flatnonzero(~table.any(axis=1))
    if len(zero) != 1:
        return table
    return np.delete(table, zero, axis=0)


def _digest(values: Array) -> bytes:
    """Return a digest of a sample of the values and their number."""
    step = max(1, values.size // SAMPLE)
    sample = np.ascontiguousarray(values.reshape(-1)[::step])
    whole = hashlib.blake2b(sample.tobytes(), digest_size=16)
    whole.update(str(values.size).encode())
    return whole.digest()


def _is_random(law: Law) -> bool:
    """Return whether two weights with this law differ."""
    if isinstance(law, TiledLaw):
        return _is_random(law.part)
    if isinstance(law, SlicesLaw):
        return any(part is not None and _is_random(part) for part in law.laws)
    return not isinstance(law, FixedLaw)


class _Bits(NamedTuple):
    """Whether a weight has the values that are known, the moments of its own, and equal slices."""

    test: Test
    moments: Moments
    is_unchanged: bool | None
    rows_unchanged: int | None


def _bits(subject: Subject, planned: Planned, *, by_digest: bool) -> _Bits:
    """Return whether a weight has the values of a plan or a seed.

    They are compared in the parts in which they lie on devices: no process needs those of others.

    Args:
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
            cause = reordered(drawn, values)
            if values.ndim > 1:
                rows = int(np.count_nonzero(equal_rows(values, drawn)))
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
        return _Bits(same, moments, True if is_known else None, None)
    test = Test("bits", evidence, p=0.0, deviation=math.inf, cause=cause)
    return _Bits(test, moments, False, rows)


def _differing(initializer: LayerInitializer, drawn: Array, values: Array) -> int:
    """Return how many values are not those that were drawn."""
    drawn = np.asarray(drawn, values.dtype)
    if is_exact(initializer):
        differ = drawn != values
    else:
        differ = np.abs(drawn - values) > 1e-5 * max(1.0, float(np.abs(drawn).max(initial=0)))
    return int(np.count_nonzero(differ))


def _note_equal(measured: Sequence[_Measured]) -> None:
    """Add a test to weights that should be independent and are equal."""
    first: dict[bytes, Subject] = {}
    for one in measured:
        if not one.digest:
            continue
        other = first.setdefault(one.digest, one.subject)
        if other is not one.subject:
            evidence = f"equal to {other.path!r}"
            if other.shape != one.subject.shape:
                evidence = f"the values of {other.path!r} in another shape"
            one.tests.append(Test("equal weights", evidence, p=0.0, deviation=math.inf))


def _judge(measured: Sequence[_Measured], alpha: float) -> None:
    """Decide which tests failed, for all weights at once."""
    rejected = holm([test for one in measured for test in one.tests], alpha)
    failed = {id(test) for test in rejected}
    for one in measured:
        least_effect = smallest_effect(one.subject.dtype)
        for test in one.tests:
            if id(test) in failed and test.deviation > least_effect:
                one.failed.append(test)


def _rows(measured: Sequence[_Measured], *, knows_bits: bool) -> list[WeightAudit]:
    """Return the rows of the report.

    Args:
        measured: The weights.
        knows_bits: Whether the values of random weights are known, so that it can be said which
            weights are the same.
    """
    scales = {}
    for one in measured:
        initializer = one.subject.initializer
        if isinstance(initializer, RandomNormal) and one.law is not None and one.law.std:
            scales[one.law.std] = str(one.subject.description)
    siblings = Counter(one.law.std for one in measured if one.law is not None)
    findings = {}
    for one in measured:
        is_scale = any(test.verdict == "scale" for test in one.failed)
        if is_scale and one.std and one.law is not None and one.law.std:
            findings[one.subject.path] = Finding(
                one.subject,
                one.law.std,
                one.std,
                siblings[one.law.std],
                isinstance(one.law, Truncated),
                one.keeps_shape,
            )
    rows = []
    for one in measured:
        subject = one.subject
        expected = None if one.law is None else one.law.std
        ratio = None
        if expected and one.std is not None:
            ratio = one.std / expected
        verdict = evidence = cause = ""
        if one.failed:
            worst = min(one.failed, key=lambda test: _ORDER.index(test.verdict))
            verdict = worst.verdict
            evidence = worst.evidence
            cause = worst.cause
            if subject.path in findings and verdict == "scale":
                others = list(findings.values())
                cause = scale_cause(findings[subject.path], others, scales)
            if not cause and one.declared:
                cause = f"as its layer declares: {one.declared}"
            if not cause and not (verdict == "scale" and one.keeps_shape):
                cause = one.explanation
        is_unchanged = None
        if one.bits is not None:
            is_unchanged = one.bits.is_unchanged
        elif knows_bits and isinstance(one.law, FixedLaw):
            is_unchanged = not one.failed
        rows.append(
            WeightAudit(
                subject.path,
                subject.shape,
                subject.dtype,
                subject.description,
                expected,
                one.std,
                ratio,
                verdict,
                evidence,
                cause,
                one.reason,
                is_unchanged=is_unchanged,
                rows_unchanged=None if one.bits is None else one.bits.rows_unchanged,
            )
        )
    return rows
