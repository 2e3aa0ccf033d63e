"""The ends of a distribution: values beyond those of other draws, or beyond what laws allow."""

import math
from collections.abc import Iterator

import numpy as np

from keras_initx._checks import summarize_names
from keras_initx._typing import Array
from keras_initx.initializers._laws import IndependentLaw, NormalLaw, TruncatedLaw
from keras_initx.tools.audit._equal_values import (
    BITS,
    FEWEST_OF_AXES,
    Slices,
    all_slices,
    of_equal_slices,
    slices_of_axes,
)
from keras_initx.tools.audit._probabilities import (
    any_of,
    poisson_tail,
    same_rate,
    same_variance,
    student_p_value,
)
from keras_initx.tools.audit._profile import (
    LEVELS,
    MOST,
    NOTHING,
    SHARE_OF_ZEROS,
    Ends,
    Profile,
    Reading,
    error_of_ratio,
    reach_of_values,
    sample_of,
    variance,
)
from keras_initx.tools.audit._property_test import (
    IMPOSSIBLE,
    ONCE,
    ROUNDING,
    SMALL,
    Known,
    Outcome,
    known_of_both,
    property_test,
)

# On PyTorch, Keras takes the first of four normal values that is within its truncation, and so a
# value beyond it if all four are: of those beyond, a share of 0.0455**3 is left.
_RATE = 1e-4
# The share of values that tell how many are near an end, and the number of them.
_OUTER = 0.02
_FEWEST_OUTER = 20


@property_test(needs=Known.DISTRIBUTION, of=("scale", "mean"))
def bounds(expected: Profile, found: Profile) -> Outcome | None:
    """Test whether many values of one draw are beyond the extremes of the other.

    All orders of the values of both together are equally probable. So the numbers of values of one
    at both ends, before the first of the other, have geometric distributions.
    """
    if expected.frames or found.frames:
        return None
    before, now = _number(expected), _number(found)
    probabilities = []
    for count, share in (
        (_beyond(expected, found), before / (before + now)),
        (_beyond(found, expected), now / (before + now)),
    ):
        # Of both ends together.
        p = math.exp(count * math.log1p(share - 1)) * (1 + count * (1 - share))
        probabilities.append(p)
    return Outcome(
        "bounds",
        f"from {found.lowest:.3g} to {found.highest:.3g}, and from {expected.lowest:.3g} to "
        f"{expected.highest:.3g} before",
        p=min(1.0, 2 * min(probabilities)),
    )


def _beyond(profile: Profile, other: Profile) -> float:
    """Return the number of values beyond the extremes of another draw, at least."""
    # A scale that is 1 % off does not matter, nor does rounding.
    slack = SMALL * (other.highest - other.lowest) / 2
    slack += 2.0 ** -min(profile.bits, other.bits) * max(other.highest, -other.lowest)
    low, high = other.lowest - slack, other.highest + slack
    if profile.law is not None:
        # JAX draws no more levels than the mantissa has: the tails beyond the last are missing.
        share = max(share_beyond(profile.law, low, high) - 2.0 ** (1 - other.bits), 0.0)
    else:
        quantiles = np.array(profile.quantiles)
        above = LEVELS[quantiles > high]
        below = LEVELS[quantiles < low]
        share = 1 - above[0] if above.size else 0.0
        share += below[-1] if below.size else 0.0
    return float(share) * _number(profile)


@property_test(needs=Known.KIND, of=("scale", "mean"))
def extremes(expected: Profile, found: Profile) -> Outcome | None:
    """Test whether single values are farther out than the laws that are possible allow."""
    known = known_of_both(expected, found)
    is_known = known == Known.DISTRIBUTION and not (expected.frames or found.frames)
    are_few = known == Known.KIND and expected.law is not None
    return of_extremes(expected, found) if is_known or are_few else None


def of_extremes(expected: Profile, found: Profile) -> Outcome | None:
    """Return what is said of the extremes, if laws are possible, and none has outliers."""
    if not expected.laws or expected.outliers:
        return None
    chance_of_ends = _chance_by_draws if expected.law is None else _chance
    return Outcome(
        "bounds",
        f"from {found.lowest:.4g} to {found.highest:.4g}, with a standard deviation of "
        f"{expected.std:.3g}, {' or '.join(expected.families)}",
        p=max(chance_of_ends(law, expected, found) for law in expected.laws),
    )


def _chance(law: IndependentLaw, expected: Profile, found: Profile) -> float:
    """Return the probability of a value as far out as the lowest or the highest one."""
    center = expected.mean
    # A value may have been rounded.
    slack = 2 * 2.0 ** -max(found.bits, min(BITS))
    low = center - max(center - found.lowest, 0.0) / (1 + slack) + slack * abs(center)
    high = center + max(found.highest - center, 0.0) / (1 + slack) - slack * abs(center)
    probabilities = []
    for ends in ((min(low, center), math.inf), (-math.inf, max(high, center))):
        probabilities.append(any_of(found.total, share_beyond(law, *ends)))
    return min(1.0, 2 * min(probabilities))


def _chance_by_draws(law: IndependentLaw, expected: Profile, found: Profile) -> float:
    """Return that probability where mean, deviation and bounds of a symmetric law are of draws.

    Draws may have ended far from a bound, and new values do not: all orders of both are equally
    probable, and gaps between values have exponential distributions.
    """
    rounding = max(2 * 2.0 ** -max(min(expected.bits, found.bits), min(BITS)), ROUNDING)
    rounding *= max(abs(end) for end in (found.lowest, found.highest))
    before, now = _number(expected), _number(found)
    # A law is known of so many values that their mean is exact beside a new one.
    error = math.sqrt(variance(expected))
    if isinstance(law, TruncatedLaw):
        error *= law.untruncated_std / law.std
    # Where parts have scales of their own, fewer values are near the ends than in the law.
    outer = max(_OUTER, _FEWEST_OUTER / before)
    low, high = np.interp([outer, 1 - outer], LEVELS, expected.quantiles)
    probabilities = []
    for out_before, out, width in (
        (expected.mean - expected.lowest, expected.mean - found.lowest, low - expected.lowest),
        (
            expected.highest - expected.mean,
            found.highest - expected.mean,
            expected.highest - high,
        ),
    ):
        tail = student_p_value(max(out - rounding, 0.0) / error, expected.independent - 1) / 2
        beyond = out - out_before - rounding
        if math.isinf(law.bounds[0]):
            p = any_of(now, tail)
        elif beyond <= 0:
            p = 1.0
        else:
            gap = share_beyond(law, law.bounds[0] + beyond, math.inf)
            gap = min(gap, outer * beyond / max(float(width), rounding))
            p = now / (now + before) * math.exp(-ONCE * before * gap)
            if isinstance(law, TruncatedLaw):
                p = max(p, any_of(now, _RATE * tail))
        probabilities.append(p)
    # Of the least one of both, and of both together (Fisher).
    product = math.prod(probabilities)
    together = product * (1 - math.log(product)) if product else 0.0
    return min(1.0, 2 * min(2 * min(probabilities), together))


def _number(profile: Profile) -> float:
    """Return the number of all independent values, without zeros where these do not count."""
    share = 1 - profile.zeros if profile.zeros > SHARE_OF_ZEROS else 1.0
    return max(profile.total * share * profile.independent / profile.size, 1.0)


def share_beyond(law: IndependentLaw, low: float, high: float) -> float:
    """Return the probability of a value below `low` or above `high`."""
    below, up_to = law.distribution_function(np.array([low, high]))
    share = float(below + 1 - up_to)
    if isinstance(law, TruncatedLaw) and share <= 0:
        normal = NormalLaw(law.center, law.untruncated_std)
        below, up_to = normal.distribution_function(np.array([low, high]))
        share = _RATE * float(below + 1 - up_to)
    return max(share, 0.0)


# Outliers: values that are very far from the others.


@property_test()
def outliers_of_law(expected: Profile, found: Profile) -> Outcome | None:
    """Test the number of outliers, where a law says how many there are."""
    if expected.law is None or not found.outliers:
        return None
    # Few laws have any, such as that of logarithms of numbers that may be near 0.
    low, median, high = np.interp([0.25, 0.5, 0.75], LEVELS, expected.quantiles).tolist()
    reach = reach_of_values(low, high)
    share = share_beyond(expected.law, median - reach, median + reach)
    return Outcome(
        "outliers",
        f"{found.outliers} values more than 12 deviations from the median",
        p=poisson_tail(found.outliers, found.total * share),
    )


@property_test(of=("scale", "mean"))
def outliers(expected: Profile, found: Profile) -> Outcome | None:
    """Test the number of outliers, compared with that of other draws."""
    if expected.law is not None or not (expected.outliers or found.outliers):
        return None
    return Outcome(
        "outliers",
        f"{found.outliers} values more than 12 deviations from the median, and "
        f"{expected.outliers} were",
        p=same_rate(expected.outliers, expected.total, found.outliers, found.total),
    )


# Single slices of a weight, such as units: those that are farthest from the whole are known.


# Values of a slice that are looked at, at least, if it has so many.
_FEWEST_SEEN = 64
# Slices of fewer values are not compared.
_FEWEST = 16
# Slices of values with longer tails than normal ones have may be of any scale.
_KURTOSIS_OF_NORMAL = 3.05
# With a smaller share of values that differ from each other, slices are not independent.
_INDEPENDENT = 0.9
# With a smaller probability, slices of what is expected have scales of their own.
_THEIR_OWN = 0.01


def ends_of(reading: Reading) -> tuple[Ends, ...]:
    """Return what is known of the slices along each axis.

    Of slices with zeros or outliers, the farthest say nothing of the others.
    """
    if reading.is_sparse or reading.outliers or reading.values.ndim < 2:
        return ()
    found = []
    for slices in slices_of_axes(reading.values):
        if slices.number < 2:
            continue
        seen = slices.seen(max(MOST // slices.number, _FEWEST_SEEN))
        means = seen.mean(axis=0, dtype="float64")
        stds = np.sqrt(np.square(seen - means).mean(axis=0))
        ends = Ends(slices.axes[0], len(seen), slices.number, _farthest(means), _farthest(stds))
        found.append(ends)
    return tuple(found)


def _farthest(numbers: Array) -> tuple[float, ...]:
    """Return the lowest and the highest number, and their places."""
    low, high = int(numbers.argmin()), int(numbers.argmax())
    return float(numbers[low]), float(numbers[high]), low, high


def of_single_slices(expected: Profile, found: Profile) -> Iterator[Outcome]:
    """Yield what is said of the slices that are farthest from the whole.

    They are compared where values are independent, of a family without long tails, and where the
    slices expected have no scales of their own.
    """
    has_long_tails = expected.law is not None and expected.kurtosis > _KURTOSIS_OF_NORMAL
    has_copies = found.independent < _INDEPENDENT * found.size
    if not expected.laws or has_long_tails or has_copies:
        return
    of_expected = {ends.axis: ends for ends in expected.ends}
    for ends in found.ends:
        before = of_expected.get(ends.axis)
        if ends.size < _FEWEST or (before is None and expected.law is None):
            continue
        if before is not None:
            chances = [outcome.p for outcome in _of_farthest(before, expected)]
            if len(chances) * min(chances) <= _THEIR_OWN:
                continue
        yield from _of_farthest(ends, found)


def _of_farthest(ends: Ends, profile: Profile) -> Iterator[Outcome]:
    """Yield how probable the lowest and the highest scale and mean of a slice are.

    Of values that are as far in as uniform ones, the scale varies less than of normal ones.
    """
    degrees = ends.size - 1
    error = error_of_ratio(math.inf, degrees)
    low, high, *places = ends.stds
    for std, place in zip((low, high), places, strict=True):
        ratio = max(std / profile.std, 1e-9)
        p = same_variance(ratio**2 / (1 - 1 / ends.size), degrees, math.inf)
        yield Outcome(
            "parts",
            f"{_name(ends, place)} has {std / profile.std:.3g} times the scale of the whole",
            p=min(1.0, ends.number * p),
            deviation=abs(math.log(ratio)) - 2 * error,
        )
    low, high, *places = ends.means
    for mean, place in zip((low, high), places, strict=True):
        shift = abs(mean - profile.mean) / profile.std
        error = 1 / math.sqrt(ends.size)
        yield Outcome(
            "parts",
            f"{_name(ends, place)} has another mean",
            p=min(1.0, ends.number * math.erfc(shift / error / math.sqrt(2))),
            deviation=shift - 2 * error,
        )


def _name(ends: Ends, place: float) -> str:
    return f"[{place:.0f}] of {ends.number} slices along axis {ends.axis}"


# Slices of a weight, such as units, in which one value is there more often than by chance.


# The share of one value that rounding makes of a continuous law, at least. JAX draws no more random
# numbers than the mantissa has, and of normal values here one in 65,536 is 0.
_BY_ROUNDING = {"bfloat16": 2.0**-6, "float16": 2.0**-9}
_BY_ROUNDING_ELSE = 2.0**-16
# Values of a slice that are looked at, and at least.
_MOST_SEEN = 256
_FEWEST_ENDS = 32
# Slices that are named.
_MOST_NAMED = 3


def crowded(reading: Reading) -> tuple[str, str]:
    """Return in which slices one value is too often there: what that is, and where.

    Both are empty if there are none. It is `"zeros"` if the value is 0 in all of them, `"constant"`
    if all values of such slices are equal, otherwise `"copies"`. Whole slices come first.
    """
    if reading.values.ndim < 2:
        return NOTHING
    by_rounding = _BY_ROUNDING.get(reading.dtype, _BY_ROUNDING_ELSE)
    frequent = max(by_rounding, _share(reading))
    first = NOTHING
    for slices in all_slices(reading.values, FEWEST_OF_AXES):
        found = _crowded_slices(slices, frequent)
        if not found:
            continue
        are_whole = all((slices.values[:, index] == value).all() for index, value in found.items())
        verdict = "constant" if are_whole else "copies"
        if not any(found.values()):
            verdict = "zeros"
        said = verdict, f"{len(found)} of {slices.text}: {_text(slices, found)}"
        if are_whole:
            return said
        first = first if first[0] else said
    return first


def _share(reading: Reading) -> float:
    """Return the share of the most frequent value, or the one expected."""
    if reading.share is not None:
        return reading.share
    sample = sample_of(reading.values)
    count = int(np.unique(sample, return_counts=True)[1].max())
    # The count of another draw may be larger by chance.
    return min((count + 4 * math.sqrt(count)) / sample.size, 1.0)


def _crowded_slices(slices: Slices, frequent: float) -> dict[int, float]:
    """Return the values that are too often in slices, by the indices of these.

    Args:
        slices: The slices.
        frequent: The share of the most frequent value.
    """
    seen = min(slices.size, _MOST_SEEN, max(MOST // slices.number, _FEWEST_ENDS))
    most = _most_by_chance(seen, slices.number, frequent)
    if most >= seen:
        return {}
    ordered = np.sort(slices.seen(seen), axis=0)
    are_equal = ordered[most:] == ordered[: seen - most]  # a run that is longer than that
    found = {}
    for index in np.flatnonzero(are_equal.any(axis=0)).tolist():
        value = float(ordered[are_equal[:, index].argmax(), index])
        found[index] = value + 0.0  # no zero with a sign
    return found


def _most_by_chance(size: int, slices: int, frequent: float) -> int:
    """Return how often a value may be among so many values of one of the slices by chance."""
    bound = math.log(slices / frequent / IMPOSSIBLE)
    for count in range(1, size + 1):
        share = count / size
        if share <= frequent:
            continue
        surprise = share * math.log(share / frequent)  # of many more than expected (Chernoff)
        if share < 1:
            surprise += (1 - share) * math.log((1 - share) / (1 - frequent))
        if size * surprise > bound:
            return count - 1
    return size


def _text(slices: Slices, found: dict[int, float]) -> str:
    """Return the first slices with their values in words."""
    texts = []
    for index, value in found.items():
        count = int(np.count_nonzero(slices.values[:, index] == value))
        how_many = "all" if count == slices.size else f"{count} of {slices.size}"
        texts.append(f"{how_many} of {slices.place(index)} are {value:.4g}")
    return summarize_names(texts, shown=_MOST_NAMED)


@property_test(needs=Known.KIND)
def crowds(expected: Profile, found: Profile) -> Outcome | None:
    """Test whether one value is too often in slices where it was not, or no longer is."""
    return of_equal_slices(expected.crowded, found.crowded)
