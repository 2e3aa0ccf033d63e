"""Moments of arrays of any size and dtype, and derived values, summed in float64 in parts."""

import math
from collections.abc import Iterator

import numpy as np

from keras_initx._typing import Array

# Elements per chunk, which stays in the cache: fresh memory costs more than the sums.
CHUNK = 1 << 16


def iterate_chunks(array: Array) -> Iterator[Array]:
    """Yield all elements of `array` in vectors of at most `CHUNK`."""
    flat = array.reshape(-1)
    for begin in range(0, flat.size, CHUNK):
        yield flat[begin : begin + CHUNK]


class Moments:
    """The moments of all elements of `arrays`, and of elements that are added later.

    Without elements they are 0.

    Attributes:
        size: Number of elements.
        zeros: Number of elements that are exactly zero.
    """

    def __init__(self, *arrays: Array) -> None:
        self.size: int = 0
        self.zeros: int = 0
        self._sum = self._squares = self._deviations = 0.0
        for array in arrays:
            self.add(array)

    @property
    def mean(self) -> float:
        """Mean of the elements."""
        return self._sum / max(self.size, 1)

    @property
    def std(self) -> float:
        """Standard deviation of the elements."""
        return math.sqrt(self._deviations / max(self.size, 1))

    @property
    def norm(self) -> float:
        """Square root of the sum of the squares of the elements."""
        return math.sqrt(self._squares)

    def add(self, array: Array) -> None:
        """Add the elements of `array`."""
        with np.errstate(invalid="ignore", over="ignore"):  # they may be infinite
            for chunk in iterate_chunks(array):
                self._add_chunk(chunk.astype("float64"))

    def _add_chunk(self, chunk: Array) -> None:
        total = float(chunk.sum())
        mean = total / chunk.size
        self.zeros += chunk.size - int(np.count_nonzero(chunk))
        self._squares += _square(chunk)
        chunk -= mean
        # The parallel form of the variance (Chan, Golub and LeVeque, 1983).
        change = mean - self.mean
        size = self.size + chunk.size
        self._deviations += _square(chunk) + change * change * self.size * chunk.size / size
        self._sum += total
        self.size = size


def _square(vector: Array) -> float:
    # Not `vector @ vector`, for which BLAS may wake threads.
    return float(np.einsum("i,i->", vector, vector))


def compute_rms(values: Array) -> float:
    """Return the root mean square of `values`."""
    return float(Moments(values).norm / max(values.size, 1) ** 0.5)


def spread(values: Array) -> float:
    """Return the standard deviation between examples, or of the values of a single example.

    It is NaN if a value is not finite.
    """
    if not values.size:
        return 0.0
    columns = values.reshape(len(values), -1)
    if len(columns) == 1:
        columns = columns.T
    count = columns.shape[1]
    width = max(CHUNK // len(columns), 16)  # a cache line
    total = 0.0
    with np.errstate(invalid="ignore"):
        for start in range(0, count, width):
            block = columns[:, start : start + width]
            total += block.var(axis=0, dtype="float64").sum()
        return float(np.sqrt(total / count))
