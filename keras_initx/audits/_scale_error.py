"""How far a standard deviation is from the one expected, and how exactly that is known."""

import math
from dataclasses import dataclass

from keras_initx.audits._profile import Profile

# The kurtosis of few values is uncertain: so many are added, with this kurtosis. They are normal
# if a law may be known, otherwise of one with long tails, such as the exponential law.
_OF_A_LAW = 64, 3.0
_NOT_KNOWN = 32, 9.0


@dataclass(frozen=True)
class Scale:
    """The ratio of a standard deviation to the expected one.

    Attributes:
        log: Its logarithm, without bias.
        expected_degrees: The degrees of freedom of the variance that is expected.
        found_degrees: Those of the variance found. Both are infinite where the variance is exact.
    """

    log: float
    expected_degrees: float
    found_degrees: float

    @property
    def error(self) -> float:
        """The standard error of the logarithm, 0 for frames."""
        return error_of_ratio(self.expected_degrees, self.found_degrees)


def scale_of(expected: Profile, found: Profile) -> Scale:
    """Return the scale of values whose standard deviation is known, as is the one expected."""
    of_both = degrees(expected, found)
    log = math.log(variance(found) / variance(expected))
    for sign, number in zip((-1, 1), of_both, strict=True):
        # The mean of the logarithm of a variance is lower than that of the variance.
        log += sign * (1 / number + 1 / (3 * number**2))
    return Scale(log / 2, *of_both)


def error_of_ratio(first: float, second: float) -> float:
    """Return the standard error of the logarithm of the ratio of two standard deviations.

    Args:
        first: The degrees of freedom of one.
        second: Those of the other.
    """
    return math.sqrt(0.5 / first + 0.5 / second)


def variance(profile: Profile) -> float:
    """Return the variance of the law, without bias."""
    size = profile.independent
    bias = 1 - 1 / size if size > 1 else 1.0
    return profile.std**2 / bias


def degrees(expected: Profile, found: Profile) -> tuple[float, float]:
    """Return the degrees of freedom of two variances, infinite where they are exact."""
    if expected.frames and found.frames:
        return math.inf, math.inf
    factor = 2 / (kurtosis_of(expected, found) - 1)
    first = max(factor * (expected.independent - 1), 2.0)
    second = max(factor * (found.independent - 1), 2.0)
    return first, second


def kurtosis_of(expected: Profile, found: Profile) -> float:
    """Return the kurtosis of both samples together."""
    added, kurtosis = _OF_A_LAW if expected.laws else _NOT_KNOWN
    size, total = float(added), kurtosis * added
    for profile in (expected, found):
        number = max(profile.size, 2)
        size += number
        # That of few normal values is lower than 3.
        total += number * profile.kurtosis * (number + 1) / (number - 1)
    return max(total / size, 1.1)
