"""Merge several draws of a weight, and find the differences between them.

draws                        together
equal values                 "fixed", such as a table of positions
different values             "random", with moments and quantiles of all
another scale in each draw   "random", varies=("scale",): it is compared without its scale
-0.1 and 0.1 in all draws    "random", has_levels: equal values are independent, and no copies
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from keras_initx.tools.audit._probabilities import chi_square_tail
from keras_initx.tools.audit._profile import (
    LOST,
    NOT_FINITE,
    SHARE_OF_ZEROS,
    Parts,
    Profile,
    round_numbers,
)

# With a smaller probability, the scale or the mean of a weight is another in each draw.
ANOTHER = 1e-3
# Of parts, there are many: where their scales differ, values of a draw are not independent.
_ANOTHER_OF_PARTS = 1e-4
# Squares of values of one size differ by rounding alone.
_LEAST_KURTOSIS_OVER_1 = 0.01
# Of fewer values of a part, the scale is not compared.
_FEWEST_OF_PART = 8


def merge_draws(draws: Sequence[Profile], varies: Sequence[str] = ()) -> Profile:
    """Combine the profiles of several draws of a weight.

    Args:
        draws: One draw or more.
        varies: The moments that vary from draw to draw, even if these draws do not show it.
    """
    if len(draws) == 1:
        return draws[0]
    not_random = _merge_unless_random(draws)
    if not_random is not None:
        return not_random
    has_levels = _have_levels(draws)
    if has_levels:
        draws = [draw.with_levels() for draw in draws]
    stated = {}
    for field in fields(Profile):
        rule = field.metadata.get("merged")
        if rule is not None:
            stated[field.name] = rule([getattr(draw, field.name) for draw in draws])
    together = Profile(**stated)
    # Where draws differ from each other, they tell less than all of their values would.
    differ = tuple(dict.fromkeys([*find_varying(draws, ANOTHER), *varies]))
    if has_levels and not all(
        _have_one_size(draws, parts) for parts in zip(*[draw.parts for draw in draws], strict=True)
    ):
        # Levels that depend on the place, as of rows that are large or small as a whole.
        differ = tuple(dict.fromkeys([*differ, "scale"]))
    spread = 0.0 if "mean" in differ else float(np.std([draw.mean for draw in draws]))
    merged_draws: Profile = round_numbers(
        replace(
            together,
            independent=_count_independent(draws),
            std=math.hypot(together.std, spread),
            varies=differ,
            has_levels=has_levels,
        )
    )
    return merged_draws


def _merge_unless_random(draws: Sequence[Profile]) -> Profile | None:
    """Combine draws that are not all random, or all the same. Otherwise return `None`."""
    first = draws[0]
    if all((draw.kind, draw.value) == ("constant", first.value) for draw in draws):
        return first
    if first.digest is not None and all(draw.digest == first.digest for draw in draws):
        may_be_meant = first.reason not in (NOT_FINITE, LOST)
        is_fixed = first.kind in ("random", "unknown") and may_be_meant
        return replace(first, kind="fixed", reason="") if is_fixed else first
    kinds = {draw.kind for draw in draws}
    if kinds == {"random"}:
        return None
    reason = "constant in some draws" if "random" in kinds else "another constant in each draw"
    if "unknown" in kinds:
        unknown = next(draw.reason for draw in draws if draw.kind == "unknown")
        reason = unknown.replace(", of one draw", ", another in each draw")
    return Profile("unknown", reason)


def _have_levels(draws: Sequence[Profile]) -> bool:
    """Return whether values are equal because the law has few levels, and not because of copies.

    Levels are equal in all draws, but copies of drawn values are not. Values that depend on their
    index, such as rows of one sign, are not independent either.
    """
    if all(draw.independent == draw.size for draw in draws):
        return False
    counters = [Counter(value for value in draw.spot_values if value) for draw in draws]
    repeated, common = 0, 0
    for index, counter in enumerate(counters):
        other_draws = set().union(*counters[:index], *counters[index + 1 :])
        repeated_here = {value for value, count in counter.items() if count > 1}
        repeated += len(repeated_here)
        common += len(repeated_here & other_draws)
    if not repeated or common < repeated / 2:
        return False
    return all(_have_one_mean(parts) for parts in zip(*[draw.parts for draw in draws], strict=True))


def _have_one_mean(parts: Sequence[Parts]) -> bool:
    """Return whether the means of parts vary within each draw as for independent values."""
    spread = degrees = 0.0
    for parts_of_draw in parts:
        means = np.array(parts_of_draw.means)
        variance = float(np.mean(np.square(parts_of_draw.stds)) + means.var())
        spread += float(((means - means.mean()) ** 2).sum()) * parts_of_draw.size / variance
        degrees += len(means) - 1
    return chi_square_tail(spread, degrees) > _ANOTHER_OF_PARTS


def _have_one_size(draws: Sequence[Profile], parts: Sequence[Parts]) -> bool:
    """Return whether the mean squares of parts vary as for independent values.

    The mean of `n` squares has the variance `(kurtosis - 1) std^4 / n`.
    """
    spread = degrees = 0.0
    for draw, of_draw in zip(draws, parts, strict=True):
        means = np.array(of_draw.means)
        squares = np.square(of_draw.stds) + np.square(means - means.mean())
        kurtosis = draw.kurtosis / (1 - draw.zeros)  # that of a draw is of all but its zeros
        variance = max(kurtosis - 1, _LEAST_KURTOSIS_OVER_1) * squares.mean() ** 2 / of_draw.size
        spread += float(((squares - squares.mean()) ** 2).sum()) / variance
        degrees += len(squares) - 1
    return chi_square_tail(spread, degrees) > _ANOTHER_OF_PARTS


def _count_independent(draws: Sequence[Profile]) -> float:
    """Count the independent values with the same information as all draws."""
    independent = sum(draw.independent for draw in draws)
    error = _average_error(draws)
    if not error or not all(draw.std for draw in draws):
        return independent
    spread = float(np.log([draw.std for draw in draws]).std(ddof=1)) / error
    if _compute_p_value(spread**2, len(draws) - 1) > ANOTHER:
        return independent
    return max(independent / spread**2, float(len(draws)))


def _average_error(draws: Sequence[Profile]) -> float:
    # That of the logarithm of the standard deviation of one draw.
    return float(np.mean([draw.error for draw in draws]))


def _compute_p_value(spread: float, degrees: int) -> float:
    # Of a larger variance, relative to the one expected.
    return chi_square_tail(degrees * spread, degrees)


def find_varying(draws: Sequence[Profile], chance: float) -> tuple[str, ...]:
    """Find the moments that vary from draw to draw of a random weight, see `Profile.varies`.

    Args:
        draws: Two draws or more.
        chance: Draws that differ as much by chance with a larger probability may be of one law.
    """
    stds = np.array([draw.std for draw in draws])
    means = np.array([draw.mean for draw in draws])
    error = _average_error(draws)
    if not error or not stds.all():
        return ()
    varying = []
    degrees = len(draws) - 1
    spread = float(np.log(stds).var(ddof=1)) / error**2
    parts = zip(*[draw.parts for draw in draws], strict=True)
    if _compute_p_value(spread, degrees) <= chance or any(
        _parts_vary(draws, part_of_draws) for part_of_draws in parts
    ):
        varying.append("scale")
    variance_of_mean = np.mean([draw.std**2 / draw.independent for draw in draws])
    if _compute_p_value(float(means.var(ddof=1) / variance_of_mean), degrees) <= chance:
        varying.append("mean")
    return tuple(varying)


def _parts_vary(draws: Sequence[Profile], parts: Sequence[Parts]) -> bool:
    """Return whether the scales of parts, relative to the whole, vary from draw to draw.

    The variance of the logarithm of a standard deviation of n values with kurtosis k is
    (k - 1) / 4 / (n - 1).
    """
    stds = np.array([parts_of_draw.stds for parts_of_draw in parts])
    size = parts[0].size * draws[0].independent / draws[0].size
    is_sparse = any(draw.zeros > SHARE_OF_ZEROS for draw in draws)
    if is_sparse or size < _FEWEST_OF_PART or not stds.all():
        return False
    logs = np.log(stds / np.array([draw.std for draw in draws])[:, None])
    kurtosis = max(float(np.mean([draw.kurtosis for draw in draws])), 1.5)
    expected = (kurtosis - 1) / 4 / (size - 1)
    degrees = (len(draws) - 1) * (len(parts[0].stds) - 1)
    actual = float(((logs - logs.mean(axis=0)) ** 2).sum()) / degrees
    return _compute_p_value(actual / expected, degrees) <= _ANOTHER_OF_PARTS
