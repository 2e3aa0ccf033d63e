"""Statistics of a layer's output, accumulated in chunks, so that no output is stored."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from keras_initx._typing import Array
from keras_initx.backends._moments import Moments, iterate_chunks

# The least number of values to judge a signal, and of examples to count dead units.
LEAST_VALUES = 16
# The number of bins of a histogram.
BINS = 50


class Signal:
    """Statistics of all output values of a layer, over examples, positions and units.

    Args:
        limits: The lower and upper limit of the activation, or `None`. Values near them count as
            saturated.
        margin: Distance that counts as near, as a fraction of the distance between the limits.

    Attributes:
        size: Number of values.
        min: The smallest finite value.
        max: The largest finite value.
        counts: Array with the number of finite values in each of `BINS` bins of equal width from
            `min` to `max`.
        unit_is_silent: Array that is true for each unit with outputs of zero only.

    See Also:
        `LayerReport`, whose `before` and `after` are signals.
    """

    def __init__(self, limits: tuple[float, float] | None = None, margin: float = 0.0) -> None:
        self.size: int = 0
        self.min: float = 0.0
        self.max: float = 0.0
        self.counts: npt.NDArray[np.float64] = np.zeros(BINS)
        self.unit_is_silent: npt.NDArray[np.bool_] | None = None
        self._saturated = 0
        self._finite = Moments()
        self._bounds: tuple[float, float] | None = None
        if limits:
            room = margin * (limits[1] - limits[0])
            self._bounds = (limits[0] + room, limits[1] - room)

    @property
    def mean(self) -> float:
        """Mean of the finite values."""
        return self._finite.mean

    @property
    def std(self) -> float:
        """Standard deviation of the finite values."""
        return self._finite.std

    @property
    def zeros(self) -> float:
        """Fraction of the values that are exactly zero."""
        if not self.size:
            return 0.0
        return self._finite.zeros / self.size

    @property
    def nonfinite(self) -> float:
        """Fraction of the values that are infinite or NaN."""
        if not self.size:
            return 0.0
        return 1 - self._finite.size / self.size

    @property
    def saturated(self) -> float | None:
        """Fraction of the values near the limits of the activation, `None` if it is unbounded."""
        if self._bounds is None:
            return None
        if not self.size:
            return 0.0
        return self._saturated / self.size

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Array with the edges of the bins of `counts`, one more than there are bins."""
        return np.linspace(*self._widen_range(self.min, self.max), BINS + 1)

    def heights(self) -> npt.NDArray[np.float64]:
        """Return the heights to show for the values other than 0, truncating a dominant bin."""
        counts = self.counts.copy()
        zero = np.clip(np.searchsorted(self.edges, 0, "right") - 1, 0, len(counts) - 1)
        counts[zero] = max(counts[zero] - self.zeros * self.size, 0)
        second = np.partition(counts, -2)[-2]
        if second:
            counts = np.minimum(counts, 3 * second)
        return counts

    def __repr__(self) -> str:
        return f"<Signal of {self.size} values: mean {self.mean:.3g}, std {self.std:.3g}>"

    def add(self, values: Array, unit_axis: int = -1) -> None:
        """Add the values of one call.

        Args:
            values: Array of floats.
            unit_axis: The axis of the units.
        """
        if values.ndim:
            units = np.moveaxis(values, unit_axis, -1)
            silent = np.asarray(~units.reshape(-1, units.shape[-1]).any(axis=0))
            if self.unit_is_silent is not None and self.unit_is_silent.shape == silent.shape:
                silent &= self.unit_is_silent
            self.unit_is_silent = silent
        self.size += values.size
        pieces = list(iterate_chunks(values))
        if self._bounds is not None:
            low, high = self._bounds
            for piece in pieces:
                self._saturated += int(np.count_nonzero((piece <= low) | (piece >= high)))
        finite_pieces = [_select_finite(piece) for piece in pieces]
        self._widen([piece for piece in finite_pieces if piece.size])
        limits = self._widen_range(self.min, self.max)
        for piece in finite_pieces:
            self._finite.add(piece)
            # The width of a range in float32 may be beyond float32.
            counts, _ = np.histogram(piece.astype("float64"), BINS, limits)
            self.counts += counts

    def _widen(self, pieces: Sequence[Array]) -> None:
        """Extend the histogram to the range of `pieces`, which are added next."""
        if not pieces:
            return
        low = min(float(piece.min()) for piece in pieces)
        high = max(float(piece.max()) for piece in pieces)
        if self._finite.size:
            low = min(low, self.min)
            high = max(high, self.max)
            edges = self.edges
            # Reassign the counts of each bin to the new bin that contains its center.
            middles = (edges[1:] + edges[:-1]) / 2
            limits = self._widen_range(low, high)
            self.counts, _ = np.histogram(middles, BINS, limits, weights=self.counts)
        self.min = low
        self.max = high

    @staticmethod
    def _widen_range(low: float, high: float) -> tuple[float, float]:
        """Return the range, or a wider one if float32 cannot distinguish its bins."""
        size = max(abs(low), abs(high))
        if high - low > max(1e-5 * size, 1e-30):
            return low, high
        margin = max(0.5, 1e-3 * size)
        return low - margin, high + margin


def _select_finite(values: Array) -> Array:
    # One sum is cheaper than a test of each value, and usually sufficient.
    with np.errstate(invalid="ignore"):
        if np.isfinite(values.sum(dtype="float64")):
            return values
    return values[np.isfinite(values)]


def compute_signal_rms(signal: Signal) -> float:
    """Return the root mean square of the finite values of `signal`."""
    return math.hypot(signal.mean, signal.std)
