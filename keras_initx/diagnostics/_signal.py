"""Statistics of a layer's output, accumulated in chunks, so that no output is stored."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_initx._typing import Array, Tensor
from keras_initx.backends import backend
from keras_initx.diagnostics._verdicts import Limits

# Number of values per chunk of columns.
_PIECE = 1 << 22


def tensors_in(nested: Any) -> list[Tensor]:
    """Return the concrete tensors in `nested`, without NumPy scalars.

    NumPy scalars cannot be tracked because they do not support weak references.
    """
    leaves = (leaf for leaf in keras.tree.flatten(nested) if not isinstance(leaf, np.generic))
    return [leaf for leaf in leaves if keras.ops.is_tensor(leaf) and backend.is_concrete(leaf)]


def first_float(nested: Any) -> Tensor | None:
    """Return the first tensor of `nested` if it is concrete and floating-point, otherwise `None`."""
    first = next(iter(keras.tree.flatten(nested)), None)
    if first is None or not keras.ops.is_tensor(first) or not backend.is_concrete(first):
        return None
    return first if "float" in keras.backend.standardize_dtype(first.dtype) else None


def array_of(tensor: Tensor) -> Array:
    """Return the values of `tensor` as an array of floats of at least 32 bits."""
    values = np.asarray(keras.ops.convert_to_numpy(tensor))
    if values.dtype.kind != "f" or values.dtype.itemsize < 4:
        values = values.astype("float32")  # also bfloat16, which NumPy does not treat as a float
    return values


def weight_array(weight: keras.Variable) -> Array:
    """Return the values of `weight` as a float32 array."""
    return array_of(weight).astype("float32", copy=False)


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


def is_softmax(values: Array) -> bool:
    """Return whether the last axis holds probabilities that sum to 1."""
    if values.ndim < 2 or values.shape[-1] < 2 or not values.size:
        return False
    return bool(values.min() >= 0 and (abs(values.sum(axis=-1, dtype="float64") - 1) < 1e-2).all())


def certain(values: Array, margin: float) -> float:
    """Return the fraction of probabilities near 0 or 1; for a softmax, of examples with one probability near 1."""
    if is_softmax(values):
        return float(np.mean(values.max(axis=-1) >= 1 - margin))
    return float(np.mean((values <= margin) | (values >= 1 - margin)))


BINS = 50
# Elements per chunk: limits temporary float64 copies to 32 MiB for outputs of any size.


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

    def __init__(self, limits: Limits | None = None, margin: float = 0.0) -> None:
        self.size: int = 0
        self.mean: float = 0.0
        self.min: float = 0.0
        self.max: float = 0.0
        self.counts: npt.NDArray[np.float64] = np.zeros(BINS)
        self.unit_is_silent: npt.NDArray[np.bool_] | None = None
        self._finite = self._zeros = self._saturated = 0
        self._squares = 0.0
        self._bounds: Limits | None = None
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
            self._add_units(np.moveaxis(values, unit_axis, -1))
        flat = values.reshape(-1)
        pieces = [flat[start : start + _PIECE] for start in range(0, flat.size, _PIECE)]
        finite = [_finite(piece) for piece in pieces]
        self._widen([piece for piece in finite if piece.size])
        for piece, kept in zip(pieces, finite, strict=True):
            self._add_piece(piece, kept)

    def _add_units(self, values: Array) -> None:
        silent = np.asarray(~values.reshape(-1, values.shape[-1]).any(axis=0))
        if self.unit_is_silent is None or self.unit_is_silent.shape != silent.shape:
            self.unit_is_silent = silent
        else:
            self.unit_is_silent &= silent

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
    def _range(low: float, high: float) -> Limits:
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


# Relative tolerance for values that are equal for all examples, because matrix products round.
_SAME = 1e-5


class Suspects:
    """The most recent consecutive layers whose output was nearly zero.

    Zeros are harmless if the inputs of the next kernel still differ between examples, e.g. through the other branch of
    an addition. The same holds for small outputs.

    Args:
        zero: The layers with all-zero weights.
        least: Standard deviation below which a signal has vanished.

    Attributes:
        losing: The layers because of which a kernel got nearly the same input for all examples.
        starved: The layers with these kernels.
    """

    def __init__(self, zero: set[keras.layers.Layer], least: float) -> None:
        self.losing: set[keras.layers.Layer] = set()
        self.starved: set[keras.layers.Layer] = set()
        self._zero = zero
        self._least = least
        self._row: list[keras.layers.Layer] = []
        self._is_over = False

    def __bool__(self) -> bool:
        return bool(self._row)

    def add_output(self, layer: keras.layers.Layer, signal: Signal) -> None:
        """Record the output of `layer`."""
        if layer in self._zero or signal.std < self._least:
            self._row = [*([] if self._is_over else self._row), layer]
            self._is_over = False
        else:
            self._is_over = True

    def check_input(self, layer: keras.layers.Layer, values: Array) -> None:
        """Check whether the inputs of the kernel of `layer` still differ between examples."""
        differs = spread(values)
        is_same = differs <= _SAME * abs(values).max(initial=0)
        is_weak = differs < self._least
        losing = {suspect for suspect in self._row if (is_same if suspect in self._zero else is_weak)}
        if losing:
            self.losing |= losing
            self.starved.add(layer)
