"""Merge several draws of a weight, and find the differences between them.

draws                        together
equal values                 "fixed", such as a table of positions
different values             "random", with moments and quantiles of all
another scale in each draw   "random", varies=("scale",): it is compared without its scale
"""

import math
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
    stated = {}
    for field in fields(Profile):
        rule = field.metadata.get("merged")
        if rule is not None:
            stated[field.name] = rule([getattr(draw, field.name) for draw in draws])
    together = Profile(**stated)
    # Where draws differ from each other, they tell less than all of their values would.
    differ = tuple(dict.fromkeys([*find_varying(draws, ANOTHER), *varies]))
    spread = 0.0 if "mean" in differ else float(np.std([draw.mean for draw in draws]))
    merged_draws: Profile = round_numbers(
        replace(
            together,
            independent=_count_independent(draws),
            std=math.hypot(together.std, spread),
            varies=differ,
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
