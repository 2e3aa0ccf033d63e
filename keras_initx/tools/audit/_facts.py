"""The facts of a profile: one description of each, from which follows what is done with it.

    profile_values     measures each fact in the values of a weight
    merge_draws        merges what several draws say of it
    compare_profiles   runs its tests
    write_line         writes it to the file of a contract, and `read_line` reads it again

The descriptions are in the order of the file. Not described here are the facts that say what a
profile is: its kind, reason, value and law.
"""

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from keras_initx.tools.audit._distribution import (
    compare_constant_parts,
    compare_means,
    compare_parts_and_slices,
    compare_scales,
    compare_shapes,
    measure_parts,
)
from keras_initx.tools.audit._equal_values import (
    compare_copies,
    compare_precision,
    compare_repeated,
    count_bits,
    count_independent,
    encode_ranks,
    encode_signs,
    find_repeated,
)
from keras_initx.tools.audit._extremes import (
    compare_bounds,
    compare_extremes,
    compare_outliers,
    compare_outliers_with_law,
    measure_ends,
)
from keras_initx.tools.audit._profile import (
    LEVELS,
    Ends,
    Parts,
    Reading,
    Take,
    compute_quantiles,
)
from keras_initx.tools.audit._property_test import PropertyTest
from keras_initx.tools.audit._zeros import (
    compare_frames,
    compare_input_connections,
    compare_unit_connections,
    compare_zero_shares,
    compare_zeros_with_law,
    count_connections,
    find_frames,
)

# How several draws are merged: from what each says of a fact, what they say together.
MergeRule: TypeAlias = Callable[[list[Any]], Any]


class Form(NamedTuple):
    """How the numbers of a fact are listed for a file, and how the next ones are read from it."""

    list_numbers: Callable[[Any], Iterable[float]]
    read: Callable[[Take], Any]


_NUMBER = Form(lambda number: [number], lambda take: take(1)[0])


class Fact(NamedTuple):
    """A fact of a profile, and all that is done with it.

    Attributes:
        name: Its field in `Profile`.
        measure: Function that measures it in the values of a weight. `None`: it is not measured.
        merge: Function that merges the values of several draws of a random weight. `None`: of
            several draws it is not known.
        tests: The tests that compare it, of values that are random on both sides.
        form: Its numbers in a file, or those of each item of a list.
    """

    name: str
    measure: Callable[[Reading], Any] | None = None
    merge: MergeRule | None = None
    tests: tuple[PropertyTest, ...] = ()
    form: Form = _NUMBER


def _merge_equal(values: list[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else None


def _merge_mean(values: list[Any]) -> Any:
    # Of numbers, or of tuples of them, element by element.
    mean = np.mean(values, axis=0).tolist()
    return tuple(mean) if isinstance(mean, list) else mean


def _merge_root_mean_square(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _merge_equal_by_position(values: list[tuple[int, ...]]) -> tuple[int, ...]:
    # -1 says that draws differ.
    return tuple(_merge_equal(list(numbers)) or -1 for numbers in zip(*values, strict=True))


def _merge_by_position(values: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    # Of parts and ends. If one draw has none, nothing is known of all.
    if not all(values):
        return ()
    return tuple(draws[0].merge(draws) for draws in zip(*values, strict=True))


def _compute_kurtosis(reading: Reading) -> float:
    # mean(((x - mean) / std)**4)
    sample = reading.sample
    std = sample.std()
    if not std:
        return 3.0
    squares = ((sample - sample.mean()) / std) ** 2
    return float(np.mean(squares * squares))


def _measure_quantiles(reading: Reading) -> tuple[float, ...]:
    return tuple(compute_quantiles(reading.ordered, LEVELS).tolist())


def _pick_spot_values(reading: Reading) -> tuple[float, ...]:
    # With 64 of them, fixed weights that differ in their last bits are compared.
    values = reading.values
    indices = np.linspace(0, values.size - 1, min(values.size, 64)).astype(int)
    return tuple(values.reshape(-1)[indices].tolist())


# In a file, the line of a weight has these if they are not 0, rounded. Its numbers begin with them.
MOMENTS = (
    Fact("mean", lambda reading: float(reading.sample.mean()), _merge_mean, (compare_means,)),
    Fact(
        "std",
        lambda reading: float(reading.sample.std()),
        _merge_root_mean_square,
        (compare_scales,),
    ),
    Fact("zeros", attrgetter("zeros"), _merge_mean, (compare_zeros_with_law, compare_zero_shares)),
)
# The numbers that follow.
NUMBERS = (
    Fact("size", attrgetter("sample.size"), sum),
    Fact("total", attrgetter("values.size"), sum),
    Fact("outliers", attrgetter("outliers"), sum, (compare_outliers_with_law, compare_outliers)),
    Fact("bits", count_bits, max, (compare_precision,)),
    Fact("independent", count_independent, sum, (compare_copies,)),
    Fact("kurtosis", _compute_kurtosis, _merge_mean),
    Fact("lowest", attrgetter("lowest"), min),  # compared together with the highest
    Fact("highest", attrgetter("highest"), max, (compare_bounds, compare_extremes)),
    Fact(
        "connections",
        count_connections,
        _merge_equal_by_position,
        (compare_input_connections, compare_unit_connections),
        Form(tuple, lambda take: tuple(take(2))),
    ),
    Fact(
        "quantiles",
        _measure_quantiles,
        _merge_mean,
        (compare_shapes,),
        Form(tuple, lambda take: tuple(take(len(LEVELS)))),
    ),
)
# Then how many items each of these has, and all items.
LISTS = (
    Fact("spot_values", _pick_spot_values),
    Fact(
        "parts",
        measure_parts,
        _merge_by_position,
        (compare_constant_parts, compare_parts_and_slices),
        Form(Parts.list_numbers, Parts.read),
    ),
    # Compared together with the parts.
    Fact("ends", measure_ends, _merge_by_position, form=Form(Ends.list_numbers, Ends.read)),
)
# These are no numbers. A line has them if they are not the default of a profile.
TEXTS = (
    Fact("digest"),  # of all values, also of those that are not measured
    Fact("frames", find_frames, _merge_equal, (compare_frames,)),
    Fact("repeated", find_repeated, _merge_equal, (compare_repeated,)),
    Fact("signs", encode_signs),
    Fact("ranks", encode_ranks),
    Fact("varies"),  # only several draws tell
)
FACTS = (*MOMENTS, *NUMBERS, *LISTS, *TEXTS)
