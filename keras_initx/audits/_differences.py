"""Differences of two weights that should be the same."""

import math
from dataclasses import dataclass

import numpy as np

from keras_initx._typing import Array
from keras_initx.audits._subjects import Values, as_numbers
from keras_initx.backends import chunks

__all__ = ["Difference"]


@dataclass(frozen=True)
class Difference:
    """How the values of a weight differ from others, place by place.

    Attributes:
        size: The number of values.
        changed: How many of them differ.
        rows: The number of slices along the first axis, of a weight with two or more.
        changed_rows: How many of these differ.
        largest: The largest difference of finite values.
        mean: The mean of all absolute differences of finite values.
        relative: The norm of the difference, relative to that of the other values.
    """

    size: int
    changed: int
    rows: int | None
    changed_rows: int | None
    largest: float
    mean: float
    relative: float

    @property
    def unchanged_rows(self) -> int | None:
        """The number of slices along the first axis that do not differ."""
        if self.rows is None or self.changed_rows is None:
            return None
        return self.rows - self.changed_rows

    @property
    def rows_text(self) -> str:
        """How many rows differ, if not all do, otherwise empty."""
        if not self.unchanged_rows:
            return ""
        return f"{self.changed_rows} of {self.rows} rows"

    def __str__(self) -> str:
        where = f" in {self.rows_text}" if self.rows_text else ""
        return f"{self.changed} of {self.size} values{where} differ, by {self.largest:.2g} at most"


def difference_of(found: Values, expected: Values) -> Difference:
    """Return how values differ from others of the same shape."""
    own, other = found.stored(), expected.stored()
    if own.dtype.kind not in "biu" or other.dtype.kind not in "biu":
        own, other = as_numbers(own), as_numbers(other)
    changed = 0
    largest = total = squares = norm = 0.0
    for one, before in zip(chunks(own), chunks(other), strict=True):
        # NaN in the same place is no difference.
        changed += int(np.count_nonzero((one != before) & ~(np.isnan(one) & np.isnan(before))))
        are_finite = np.isfinite(one) & np.isfinite(before)
        difference = one[are_finite].astype("float64") - before[are_finite]
        largest = max(largest, float(np.abs(difference).max(initial=0)))
        total += float(np.abs(difference).sum())
        squares += float(difference @ difference)
        finite = before[np.isfinite(before)].astype("float64")
        norm += float(finite @ finite)
    rows = changed_rows = None
    if own.ndim > 1 and own.size:
        rows = own.shape[0]
        changed_rows = rows - int(np.count_nonzero(equal_rows(own, other)))
    return Difference(
        own.size,
        changed,
        rows,
        changed_rows,
        largest,
        total / max(own.size, 1),
        math.sqrt(squares / norm) if norm else (math.inf if squares else 0.0),
    )


def equal_rows(own: Array, other: Array) -> Array:
    """Return for each slice along the first axis whether it equals that of another array."""
    differ = own.reshape(len(own), -1) != other.reshape(len(other), -1)
    rows: Array = ~differ.any(axis=1)
    return rows
