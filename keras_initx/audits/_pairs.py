"""Weights, each with the one of another draw that it is compared with."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from keras_initx._checks import check_type, similar_paths
from keras_initx._typing import DType
from keras_initx.audits._compare import Test, smallest_effect
from keras_initx.audits._contract import Contract, WeightContract
from keras_initx.audits._statistics import Statistics
from keras_initx.audits._two_samples import error_of_ratio
from keras_initx.structure import captured_texts

# The normal quantile of the probability with which a deviation is found that "would be seen".
_POWER = 1.645


@dataclass
class Pair:
    """A weight, and what it is compared with.

    Attributes:
        found: The weight.
        expected: What it is compared with, or `None` if it is new.
        name: The path of what it is compared with, from `names`, or its own.
        is_renamed: Whether that is from `names`.
        tests: The tests.
        failed: Those that failed.
        reason: Why it was not compared.
        together: The scale of this weight and of those of its name in other layers, if it has one.
        resolution: The smallest factor of the scale that would be seen, in 95 of 100 cases.
    """

    found: WeightContract
    expected: WeightContract | None
    name: str
    is_renamed: bool
    tests: list[Test] = field(default_factory=list)
    failed: list[Test] = field(default_factory=list)
    reason: str = ""
    together: "Scale | None" = None
    resolution: float | None = None

    @property
    def has_same_bits(self) -> bool:
        """Whether all values are known to be equal bit for bit."""
        if self.expected is None or self.expected.digest is None:
            return False
        return self.expected.digest == self.found.digest

    @property
    def statistics(self) -> tuple[Statistics, Statistics] | None:
        """The statistics expected and found, if it was and is random."""
        if self.expected is None or {self.expected.kind, self.found.kind} != {"random"}:
            return None
        if self.expected.statistics is None or self.found.statistics is None:
            return None
        return self.expected.statistics, self.found.statistics


@dataclass(frozen=True)
class Scale:
    """The ratio of a standard deviation to the expected one: its logarithm, and the error of it."""

    log: float
    error: float


def scale_of(pair: Pair) -> Scale | None:
    """Return the scale of a random weight."""
    if pair.statistics is None or pair.reason:
        return None
    expected, found = pair.statistics
    if not expected.std or not found.std:
        return None
    return Scale(math.log(found.std / expected.std), error_of_ratio(expected, found))


def paired(found: Contract, expected: Contract, names: Mapping[str, str] | None) -> list[Pair]:
    """Return each weight with the one that it is compared with.

    Raises:
        TypeError: If `names` is not a dict from patterns to texts.
        ValueError: If one of `names` matches no weight, or cannot be filled in.
    """
    by_path = {weight.path: weight for weight in expected.weights}
    by_slashes = {weight.path.replace(".", "/"): weight for weight in expected.weights}
    renamed = _renamed([weight.path for weight in found.weights], names)
    pairs = []
    for weight in found.weights:
        path = renamed.get(weight.path, weight.path)
        # Some packages join names by dots.
        other = by_path.get(path) or by_slashes.get(path.replace(".", "/"))
        if other is not None and _may_be_random(weight, found.draws, other, expected.draws):
            weight = replace(weight, kind="random")
        pairs.append(Pair(weight, other, path, weight.path in renamed))
    return pairs


def _may_be_random(
    found: WeightContract, found_draws: int, expected: WeightContract, expected_draws: int
) -> bool:
    """Return whether a fixed weight may be random, like the one that it is compared with.

    One draw of either does not tell fixed values from random ones.
    """
    if expected.kind != "random" or found.kind != "fixed" or found.statistics is None:
        return False
    return min(found_draws, expected_draws) == 1


def _renamed(paths: Sequence[str], names: Mapping[str, str] | None) -> dict[str, str]:
    """Return the paths for which `names` has another name, with it."""
    found: dict[str, str] = {}
    if names is None:
        return found
    check_type("names", names, Mapping, "a dict from patterns to names")
    for pattern, template in names.items():
        if not isinstance(pattern, str) or not isinstance(template, str):
            raise TypeError(
                "`names` must be a dict from patterns to names. "
                f"Received: {template!r} for {pattern!r}"
            )
        has_match = False
        for path in paths:
            texts = captured_texts(pattern, path)
            if texts is None:
                continue
            has_match = True
            try:
                found.setdefault(path, template.format(*texts))
            except (IndexError, KeyError, ValueError, AttributeError) as error:
                raise ValueError(
                    "`names` must have names with `{0}` for the text that the first `*` of the "
                    f"pattern stands for. Received: {template!r} for {path!r}: {error}"
                ) from None
        if not has_match:
            raise ValueError(
                "Each of `names` must match a weight. "
                f"Received: {pattern!r}, which matches none{similar_paths(pattern, paths)}"
            )
    return found


def dtypes_of(pair: Pair) -> list[DType]:
    """Return the dtype that was found and the one expected."""
    return [weight.dtype for weight in (pair.found, pair.expected) if weight is not None]


def note_resolution(pair: Pair, alpha: float) -> None:
    """Note which factor of the scale would be seen, with tests at `alpha`."""
    scale = scale_of(pair)
    if scale is None:
        return
    quantile = math.sqrt(2 * math.log(1 / alpha))  # of the normal distribution, a little high
    factor = math.exp((quantile + _POWER) * scale.error)
    pair.resolution = max(factor, 1 + max(map(smallest_effect, dtypes_of(pair))))
