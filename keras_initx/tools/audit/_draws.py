"""Merge several draws of a weight, and find the differences between them.

draws                        together
equal values                 "fixed", such as a table of positions
different values             "random", with moments and quantiles of all
another scale in each draw   "random", varies=True: scale, mean and distribution are not compared
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from keras_initx.tools.audit._facts import FACTS
from keras_initx.tools.audit._probabilities import variance_ratio_p_value
from keras_initx.tools.audit._profile import (
    LOST,
    NOT_FINITE,
    Profile,
    estimate_kurtosis,
    round_numbers,
)

# The two limits of `_find_variation`, for which `python tests/support/few_values.py` counts, among
# 1,000 contracts of three draws:
#
#     values     law                   taken for  not    unchanged  2 times  another scale in
#                                      another    known  blamed     told     each draw, blamed
#     16         uniform               0          87     2          700      5
#     64         uniform               1          0      4          999      10
#     256        uniform               0          0      0          1000     2
#     16         normal                0          331    0          218      7
#     64         normal                0          5      1          995      5
#     256        normal                0          0      4          1000     4
#     16         constant plus noise   0          331    0          669      0
#     64         constant plus noise   0          5      1          995      0
#     256        constant plus noise   0          0      4          1000     0
#
# With a smaller probability, the scale or the mean of a weight is another in each draw.
_ANOTHER = 1e-4
# Draws of few values of one law, and draws with scales of their own, may both have scales whose
# logarithms have a standard deviation larger than this. Then it is not known which they are.
# Smaller, more contracts of 64 normal values are not known. Larger, more draws with scales of their
# own are blamed: 10 of 1,000 with 64 uniform values are all that `ALPHA` allows. So a rare contract
# of 64 uniform values stays not known: one draw has a scale that is 5 of its errors off, and
# nothing in the contract tells it from a scale of its own.
_ALIKE = 0.2


def merge_draws(draws: Sequence[Profile]) -> Profile:
    """Combine the profiles of one draw or more of a weight."""
    if len(draws) == 1:
        return draws[0]
    not_random = _merge_unless_random(draws)
    if not_random is not None:
        return not_random
    merged = {}
    for fact in FACTS:
        if fact.merge is not None:
            merged[fact.name] = fact.merge([getattr(draw, fact.name) for draw in draws])
    together = Profile("random", **merged)
    merged_draws: Profile = round_numbers(
        replace(
            together,
            std=math.hypot(together.std, float(np.std([draw.mean for draw in draws]))),
            varies=_find_variation(draws),
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


def _find_variation(draws: Sequence[Profile]) -> bool | None:
    """Return whether the scale or the mean is another in each draw, `None` if that is not known."""
    stds = np.array([draw.std for draw in draws])
    if all(draw.frames for draw in draws) or not stds.all():
        return False
    between = len(draws) - 1
    within = max(float(np.mean([draw.independent for draw in draws])) - 1, 1.0)
    spread = float(np.log(stds).std(ddof=1))
    # The variance of the logarithm of a standard deviation of n values with kurtosis k is
    # (k - 1) / 4 / (n - 1).
    expected_variance = (estimate_kurtosis(draws) - 1) / 4 / within
    spread_of_means = float(np.var([draw.mean for draw in draws], ddof=1))
    p_values = (
        variance_ratio_p_value(max(spread**2 / expected_variance, 1.0), between, math.inf),
        variance_ratio_p_value(
            max(spread_of_means / float(np.mean(stds**2) / within), 1.0),
            between,
            len(draws) * within,
        ),
    )
    if min(p_values) <= _ANOTHER:
        return True
    return None if spread > _ALIKE else False


def describe_variation(*profiles: Profile) -> str:
    """Say why the values of profiles cannot be compared, empty if their draws are of one law."""
    answers = [profile.varies for profile in profiles]
    if True in answers:
        return "another scale or mean in each draw"
    return "too few values to know whether each draw has another scale" if None in answers else ""
