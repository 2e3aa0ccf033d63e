"""Layer-sequential unit-variance initialization."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import keras
import numpy as np

from keras_initx._checks import check_count, check_number
from keras_initx._seeds import derived_seed, root_seed
from keras_initx._typing import Array
from keras_initx.diagnostics._diagnose import check_batch, ensure_built, first_examples
from keras_initx.diagnostics._layers import named_layers
from keras_initx.diagnostics._signal import array_of
from keras_initx.diagnostics._verdicts import Arrays
from keras_initx.diagnostics._weights import kernel_axes
from keras_initx.initializers import Orthogonal
from keras_initx.models._forward import Fit, Outputs, forward, unit_variance
from keras_initx.models._weights import Kernels, find_weights, kernels_of
from keras_initx.rendering._table import Column, Table
from keras_initx.rendering._terminal import progress

Status = Literal["scaled", "not reached", "left"]


@dataclass(frozen=True)
class LSUVRow:
    """The result of `lsuv` for one layer.

    Attributes:
        path: Path of the layer in the model, see `ModelWeight`.
        before: Variance of its output before its activation, with the original weights. `None` if
            it is not accessible.
        after: The same with the new weights.
        steps: Number of times that its kernel was rescaled.
        status: `"scaled"` if the variance is 1 within the tolerance, `"not reached"` if the kernel
            was scaled but the variance is not, `"left"` if the kernel is unchanged.
        reason: Why the kernel was left unchanged.
    """

    path: str
    before: float | None
    after: float | None
    steps: int
    status: Status
    reason: str = ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


_COLUMNS = (
    Column[LSUVRow]("layer", lambda row: row.path, is_text=True),
    Column[LSUVRow]("before", lambda row: _number(row.before)),
    Column[LSUVRow]("after", lambda row: _number(row.after)),
    Column[LSUVRow]("steps", lambda row: row.steps),
    Column[LSUVRow]("status", lambda row: f"{row.status}: {row.reason}" if row.reason else row.status, is_text=True),
)


@dataclass(frozen=True, repr=False)
class LSUVResult:
    """The result of `lsuv`, shown as a table by `print` and in notebooks.

    Attributes:
        rows: An `LSUVRow` for each layer with a kernel, in execution order.
        seed: The seed, given or drawn.
    """

    rows: Sequence[LSUVRow]
    seed: int

    def __str__(self) -> str:
        return self._table().as_text(rule=True).rstrip("\n")

    def __repr__(self) -> str:
        counts = (
            (status, sum(row.status == status for row in self.rows)) for status in ("scaled", "not reached", "left")
        )
        found = ", ".join(f"{count} {status}" for status, count in counts if count)
        return f"<LSUVResult of {len(self.rows)} layers: {found or 'none'}, seed {self.seed}>"

    def _repr_html_(self) -> str:
        return self._table().as_html()

    def _table(self) -> Table:
        return Table.of(_COLUMNS, self.rows)


_Values = list[tuple[keras.Variable, Array]]


def lsuv(
    model: keras.Model,
    x: Arrays,
    *,
    seed: int | None = None,
    tolerance: float = 0.1,
    max_steps: int = 10,
    batch_size: int = 1024,
) -> LSUVResult:
    """Initialize kernels orthogonally and scale them so that the output of each layer has variance 1 on a batch.

    This is layer-sequential unit-variance (LSUV) initialization. Layer by layer, in execution
    order, a kernel is replaced by a random orthogonal matrix and divided by the standard deviation
    of the layer's output before its activation, over all examples, positions and units of the
    batch. Signals then keep their scale through layers of any kind, with any activation, without a
    formula for each.

    All layers that multiply their inputs by a kernel are scaled: dense, einsum and attention
    layers, all convolutions and custom layers. A kernel is treated as a matrix of shape `(inputs,
    units)`. The kernels of a separable convolution, or of a custom layer with several kernels,
    share one factor. In a recurrent layer the input kernel is scaled, so that its contribution to
    the gates has variance 1; the recurrent kernel is unchanged, and so is a recurrent layer with
    several cells, or with one of your own that has no matrix `kernel` of shape `(inputs, ...)`. A
    layer that is called more than once is scaled at its first call. Biases, scales, embeddings,
    frozen and quantized weights, the factors of LoRA and kernels that are all zero are left
    unchanged. Kernel constraints are applied.

    The model runs in training mode, so that batch normalization uses batch statistics, but without
    dropout and noise. The same seed gives the same result on every backend, to rounding. There are
    three passes: one before, one in which each layer is called until its variance is 1, and one
    after. Only kernels change. After an error or an interruption the model is unchanged, and
    compiled functions stay valid.

    Args:
        model: A Keras model: sequential, functional or subclassed. It is built if necessary.
        x: Inputs of `model`: an array, or a list or dict of arrays. Preprocess them as for
            training.
        seed: `None` or an integer in `[0, 2**32)`. With `None`, a seed is drawn from Python's
            `random`, so that `keras.utils.set_random_seed` controls it.
        tolerance: Maximum deviation of a variance from 1.
        max_steps: Maximum number of times that a kernel is rescaled. Once is usually enough.
        batch_size: Number of examples to use, taken from the start of `x`.

    Returns:
        An `LSUVResult` with a row for each layer that has a kernel; `print` shows it as a table. A
        layer that cannot be scaled is left unchanged, and its row has the reason.

    Raises:
        TypeError: If `model` is not a Keras model, `x` is not an array, or an argument has the
            wrong type.
        ValueError: If `x` has no examples, or an argument is out of range.

    Example:
        >>> hidden = [keras.layers.Dense(50, "tanh") for _ in range(10)]
        >>> model = keras.Sequential([keras.Input((20,)), *hidden])
        >>> result = lsuv(model, keras.random.normal((200, 20)), seed=0)
        >>> all(abs(row.after - 1) <= 0.1 for row in result.rows)
        True
        >>> result
        <LSUVResult of 10 layers: 10 scaled, seed 0>

    Reference:
        Mishkin and Matas, "All you need is a good init", ICLR 2016.
    """
    check_batch(model, x, None, batch_size)
    check_number("tolerance", tolerance, positive=True)
    check_count("max_steps", max_steps)
    root = root_seed(seed)
    x = first_examples(x, batch_size)
    ensure_built(model, x)
    weights = find_weights(model)
    paths = {layer: path for weight in weights for layer, path in zip(weight.layers, weight.layer_paths, strict=True)}
    kernels = {layer: found for layer in named_layers(model) if (found := kernels_of(layer))}
    before = _variances(model, x, kernels, [])
    # In execution order; layers that are not called come last.
    order = [*before, *(layer for layer in kernels if layer not in before)]
    with progress("LSUV", len(before), "layers") as advance:
        seeds = {id(weight.variable): derived_seed(root, weight.path) for weight in weights}
        fitting = _Fitting(kernels, seeds, tolerance, max_steps, advance)
        forward(model, x, before, [], fitting.visit)
    after = _variances(model, x, kernels, fitting.values)
    _assign(fitting.values)

    def row(layer: keras.layers.Layer) -> LSUVRow:
        fit = fitting.fits.get(layer, Fit(1.0, 0, kernels[layer].reason or "not called, or in a compiled function"))
        variance = after.get(layer)
        status: Status = "left" if fit.reason else "not reached"
        if not fit.reason and variance is not None and abs(variance - 1) <= tolerance:
            status = "scaled"
        return LSUVRow(paths[layer], before.get(layer), variance, fit.steps, status, fit.reason)

    return LSUVResult([row(layer) for layer in order], root)


def _variances(
    model: keras.Model, x: Arrays, layers: dict[keras.layers.Layer, Kernels], values: _Values
) -> dict[keras.layers.Layer, float | None]:
    """Return the output variance of each layer, in execution order, with these kernel values."""
    found: dict[keras.layers.Layer, float | None] = {}

    def visit(layer: keras.layers.Layer, outputs: Outputs) -> None:
        found[layer] = None  # in the order in which calls start
        array = outputs()
        with np.errstate(invalid="ignore", over="ignore"):
            found[layer] = None if array is None else float(array.var(dtype="float64"))

    forward(model, x, layers, values, visit)
    return found


class _Fitting:
    """Fit the kernels of each visited layer: an orthogonal start, scaled so that the output has variance 1.

    Args:
        layers: Dict from layers to their kernels.
        seeds: Dict from the identity of each kernel to its seed.
        tolerance: See `lsuv`.
        max_steps: See `lsuv`.
        advance: Function that advances the progress bar.

    Attributes:
        fits: Dict from each layer that was visited to its `Fit`.
        values: The fitted kernels and their new values.
    """

    def __init__(
        self,
        layers: dict[keras.layers.Layer, Kernels],
        seeds: Mapping[int, int],
        tolerance: float,
        max_steps: int,
        advance: Callable[[int], None],
    ) -> None:
        self.fits: dict[keras.layers.Layer, Fit] = {}
        self.values: _Values = []
        self._kernels = layers
        self._limits = tolerance, max_steps
        self._advance = advance
        self._seeds = seeds

    def visit(self, layer: keras.layers.Layer, outputs: Outputs) -> None:
        found = self._kernels[layer]
        if found.reason:
            outputs()
            self.fits[layer] = Fit(1.0, 0, found.reason)
        else:
            self.fits[layer] = self._fit(layer, found.free, outputs)
        self._advance(1)

    def _fit(self, layer: keras.layers.Layer, kernels: Sequence[keras.Variable], outputs: Outputs) -> Fit:
        former = [array_of(kernel) for kernel in kernels]
        start = [self._orthonormal(layer, kernel) for kernel in kernels]

        def scaled(factor: float) -> _Values:
            return [
                (kernel, _constrained(kernel, factor * value)) for kernel, value in zip(kernels, start, strict=True)
            ]

        def outputs_with(factor: float) -> Array | None:
            for kernel, value in scaled(factor):
                kernel.assign(value)
            return outputs()

        fit = unit_variance(outputs_with, 2 * len(kernels), *self._limits)
        if fit.reason:
            for kernel, value in zip(kernels, former, strict=True):
                kernel.assign(value)
            outputs()
        else:
            self.values += scaled(fit.factor)
        return fit

    def _orthonormal(self, layer: keras.layers.Layer, kernel: keras.Variable) -> Array:
        inputs, _ = kernel_axes(layer, kernel.name, len(kernel.shape))
        draw = Orthogonal(seed=self._seeds[id(kernel)], input_axes=inputs)
        dtype = "float64" if kernel.dtype == "float64" else "float32"
        return array_of(draw(kernel.shape, dtype))


def _constrained(kernel: keras.Variable, value: Array) -> Array:
    """Return `value` after applying the constraint of `kernel`."""
    if kernel.constraint is None:
        return value
    return array_of(kernel.constraint(keras.ops.convert_to_tensor(value)))


def _assign(values: _Values) -> None:
    """Assign the values to all variables, or to none if there is an error."""
    former = [np.array(array_of(variable)) for variable, _ in values]
    try:
        for variable, value in values:
            variable.assign(value)
    except BaseException:
        for (variable, _), value in zip(values, former, strict=True):
            variable.assign(value)
        raise
