"""Statistics of a layer's output, accumulated in chunks, so that no output is stored."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_initx._typing import Array, Tensor
from keras_initx.backends import backend

__all__ = ["Signal"]

# The number of bins of a histogram.
BINS = 50
# Elements per chunk: limits temporary float64 copies to 32 MiB for outputs of any size.
_PIECE = 1 << 22


class Signal:
    """Statistics of all output values of a layer, over examples, positions and units.

    Args:
        limits: The lower and upper limit of the activation, or `None`. Values near them count as
            saturated.
        margin: Distance that counts as near, as a fraction of the distance between the limits.

    Attributes:
        size: Number of values.
        mean: Mean of the finite values.
        min: The smallest finite value.
        max: The largest finite value.
        counts: Array with the number of finite values in each of `BINS` bins of equal width from
            `min` to `max`.
        unit_is_silent: Array that is true for each unit whose outputs are all zero.
    """

    def __init__(self, limits: tuple[float, float] | None = None, margin: float = 0.0) -> None:
        self.size: int = 0
        self.mean: float = 0.0
        self.min: float = 0.0
        self.max: float = 0.0
        self.counts: npt.NDArray[np.float64] = np.zeros(BINS)
        self.unit_is_silent: npt.NDArray[np.bool_] | None = None
        self._finite = self._zeros = self._saturated = 0
        self._squares = 0.0
        self._bounds: tuple[float, float] | None = None
        if limits:
            room = margin * (limits[1] - limits[0])
            self._bounds = (limits[0] + room, limits[1] - room)

    @property
    def std(self) -> float:
        """Standard deviation of the finite values."""
        return float(np.sqrt(self._squares / self._finite)) if self._finite else 0.0

    @property
    def zeros(self) -> float:
        """Fraction of the values that are exactly zero."""
        return self._zeros / self.size if self.size else 0.0

    @property
    def nonfinite(self) -> float:
        """Fraction of the values that are infinite or NaN."""
        return 1 - self._finite / self.size if self.size else 0.0

    @property
    def saturated(self) -> float | None:
        """Fraction of the values near the limits of the activation, or `None` if it is unbounded."""
        if self._bounds is None:
            return None
        return self._saturated / self.size if self.size else 0.0

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Array with the edges of the bins of `counts`, one more than there are bins."""
        return np.linspace(*self._range(self.min, self.max), BINS + 1)

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
        flat = values.reshape(-1)
        pieces = [flat[start : start + _PIECE] for start in range(0, flat.size, _PIECE)]
        finite = [_finite(piece) for piece in pieces]
        self._widen([piece for piece in finite if piece.size])
        for piece, kept in zip(pieces, finite, strict=True):
            self._add_piece(piece, kept)

    def _widen(self, pieces: Sequence[Array]) -> None:
        """Extend the histogram to the range of `pieces`, which are added next."""
        if not pieces:
            return
        low, high = min(float(piece.min()) for piece in pieces), max(float(piece.max()) for piece in pieces)
        if self._finite:
            low, high = min(low, self.min), max(high, self.max)
            edges = self.edges
            # Reassign the counts of each bin to the new bin that contains its center.
            middles = (edges[1:] + edges[:-1]) / 2
            self.counts = np.histogram(middles, BINS, self._range(low, high), weights=self.counts)[0]
        self.min, self.max = low, high

    def _add_piece(self, piece: Array, finite: Array) -> None:
        self.size += piece.size
        self._zeros += piece.size - int(np.count_nonzero(piece))
        if self._bounds:
            low, high = self._bounds
            self._saturated += int(np.count_nonzero((piece <= low) | (piece >= high)))
        if not finite.size:
            return
        mean = finite.mean(dtype="float64")
        squares = np.square(finite - mean, dtype="float64").sum()
        # The parallel form of the variance (Chan, Golub and LeVeque, 1983).
        total = self._finite + finite.size
        change = mean - self.mean
        self._squares += squares + change**2 * self._finite * finite.size / total
        self.mean = float(self.mean + change * finite.size / total)
        self._finite = total
        self.counts += np.histogram(finite, BINS, self._range(self.min, self.max))[0]

    @staticmethod
    def _range(low: float, high: float) -> tuple[float, float]:
        """Return a range that is wide enough for float32 bins."""
        size = max(abs(low), abs(high))
        if high - low > 1e-5 * size:
            return low, high
        margin = max(0.5, 1e-3 * size)
        return low - margin, high + margin


def _finite(values: Array) -> Array:
    # One sum is cheaper than a test of each value, and usually sufficient.
    with np.errstate(invalid="ignore"):
        if np.isfinite(values.sum(dtype="float64")):
            return values
    return values[np.isfinite(values)]


def tensors_in(nested: Any) -> list[Tensor]:
    """Return the concrete tensors in `nested`, without NumPy scalars.

    NumPy scalars cannot be tracked because they do not support weak references.
    """
    leaves = (leaf for leaf in keras.tree.flatten(nested) if not isinstance(leaf, np.generic))
    return [leaf for leaf in leaves if keras.ops.is_tensor(leaf) and backend.is_concrete(leaf)]


def first_float(nested: Any) -> Tensor | None:
    """Return the first tensor of `nested` if it is concrete and floating-point, otherwise `None`."""
    first: Any = next(iter(keras.tree.flatten(nested)), None)
    is_concrete = keras.ops.is_tensor(first) and backend.is_concrete(first)
    return first if is_concrete and "float" in keras.backend.standardize_dtype(first.dtype) else None


def array_of(tensor: Tensor | keras.Variable) -> Array:
    """Return the values of `tensor` as an array of floats of at least 32 bits."""
    values = backend.host_view(tensor.value if isinstance(tensor, keras.Variable) else tensor)
    if values.dtype.kind != "f" or values.dtype.itemsize < 4:
        values = values.astype("float32")  # also bfloat16, which NumPy does not treat as a float
    return values


def spread(values: Array) -> float:
    """Return the standard deviation between examples, or that of the values of a single example.

    It is NaN if a value is not finite.
    """
    if not values.size:
        return 0.0
    columns = values.reshape(len(values), -1)
    if len(columns) == 1:
        columns = columns.T
    width = max(_PIECE // len(columns), 1)
    with np.errstate(invalid="ignore"):
        parts = (columns[:, start : start + width] for start in range(0, columns.shape[1], width))
        return float(np.sqrt(sum(part.var(axis=0, dtype="float64").sum() for part in parts) / columns.shape[1]))
