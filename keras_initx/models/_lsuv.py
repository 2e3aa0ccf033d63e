"""Layer-sequential unit-variance initialization."""

import functools
import math
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._checks import check_count, check_flag, check_number, check_type
from keras_initx._seeds import derived_seed, root_seed
from keras_initx._typing import Array, Tensor
from keras_initx.backends import Computation
from keras_initx.diagnostics import spread
from keras_initx.initializers import Orthogonal
from keras_initx.models._assign import assign, made_like, undone_after_error
from keras_initx.models._changes import Change, Changes
from keras_initx.models._forward import Kernels, Outputs, forward, kernels_of
from keras_initx.rendering import counted, progress
from keras_initx.structure import (
    Data,
    batch_of,
    check_finite,
    check_unshared,
    ensure_built,
    find_weights,
    first_examples,
    kernel_axes,
    named_layers,
)

__all__ = ["lsuv"]

# Variables with the values to assign to them.
_Values: TypeAlias = list[tuple[keras.Variable, Tensor]]


def lsuv(
    model: keras.Model,
    x: Data,
    *,
    seed: int | None = None,
    tolerance: float = 0.1,
    max_steps: int = 10,
    batch_size: int = 1024,
    dry_run: bool = False,
) -> Changes:
    """Initialize kernels orthogonally, and scale them so that outputs have variance 1 on a batch.

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
    frozen and quantized weights, modules of torch and saved models of TensorFlow, the factors of
    LoRA and kernels that are all zero are left unchanged; the PyTorch code of an author also sets
    biases to 0, and shifts them towards a mean of 0 where it scales a kernel. Kernel constraints
    are applied.

    The model runs in training mode, so that batch normalization uses batch statistics, but without
    the dropout and noise of layers that have a random generator, as all of Keras do. The same seed
    gives the same result on every backend, to rounding. There are three passes: one before, one in
    which each layer is called until its variance is 1, and one after. Only kernels change. After an
    error or an interruption the model is unchanged, and compiled functions stay valid.

    Args:
        model: A Keras model: sequential, functional or subclassed. It is built if necessary.
        x: Inputs of `model`, or a batch or dataset with them, see `diagnose`.
        seed: `None` or an integer in `[0, 2**32)`. With `None`, a seed is drawn from Python's
            `random`, so that `keras.utils.set_random_seed` controls it.
        tolerance: Maximum deviation of a variance from 1.
        max_steps: Maximum number of times that a kernel is rescaled. Once is usually enough.
        batch_size: Number of examples to use, taken from the start of `x`.
        dry_run: If true, only measure what would be changed and do not change the model.

    Returns:
        `Changes` with a row for each layer that has a kernel, in execution order: `before` and
        `after` are the variances of its output before its activation, `None` where that is not
        accessible, and `status` is `"scaled"` if the variance is 1 within the tolerance, `"not
        reached"` if the kernel was scaled but the variance is not, or `"left"`, with the reason.

    Raises:
        TypeError: If `model` is not a Keras model, `x` is not an array, or an argument has the
            wrong type.
        ValueError: If `x` has no examples, does not fit to the inputs of `model` or is not finite,
            an argument is out of range, or on JAX other processes hold parts of the weights.

    Example:
        >>> hidden = [keras.layers.Dense(50, "tanh") for _ in range(10)]
        >>> model = keras.Sequential([keras.Input((20,)), *hidden])
        >>> result = lsuv(model, keras.random.normal((200, 20)), seed=0)
        >>> all(abs(row.after - 1) <= 0.1 for row in result.rows)
        True
        >>> result
        <Changes: 10 layers: 10 scaled, seed 0>

    Reference:
        Mishkin and Matas, "All you need is a good init", ICLR 2016, and Mishkin's `LSUV-pytorch`,
        commit 0c45eb2.
    """
    check_type("model", model, keras.Model, "a Keras model")
    check_count("batch_size", batch_size)
    check_number("tolerance", tolerance, positive=True)
    check_count("max_steps", max_steps)
    check_flag("dry_run", dry_run)
    root = root_seed(seed)
    x = first_examples(batch_of(model, x).x, batch_size)
    ensure_built(model, x)
    check_unshared("model", model)
    weights = find_weights(model)
    paths: dict[keras.layers.Layer, str] = {}
    for weight in weights:
        paths.update(zip(weight.layers, weight.layer_paths, strict=True))
    kernels: dict[keras.layers.Layer, Kernels] = {}
    for layer in named_layers(model):
        # A layer with no weights but those of another has no path: its kernel is scaled there.
        found = kernels_of(layer) if layer in paths else None
        if found is not None:
            kernels[layer] = found

    before = _variances(model, x, kernels, [])
    if not all(math.isfinite(variance or 0.0) for variance in before.values()):
        check_finite(x)
    free = [layer for layer in before if kernels[layer].free]
    seeds = {id(weight.variable): derived_seed(root, weight.path) for weight in weights}
    with progress("LSUV", len(free), "layers") as advance:
        scaling = _Scaling(kernels, seeds, tolerance, max_steps, advance)
        forward(model, x, free, [], scaling.visit)
    after = _variances(model, x, kernels, scaling.values)
    if not dry_run:
        with undone_after_error() as assign_one:
            for kernel, value in scaling.values:
                assign_one(kernel, value)

    rows = []
    # In execution order; layers that are not called come last.
    for layer in dict.fromkeys([*before, *kernels]):
        fit = scaling.fits.get(layer)
        if fit is None:
            reason = kernels[layer].reason or "not called, or in a compiled function"
            fit = Fit(1.0, 0, reason)
        variance = after.get(layer)
        status = _status(fit, variance, tolerance)
        how = fit.reason or counted(fit.steps, "step")
        rows.append(Change(paths[layer], status, how, before=before.get(layer), after=variance))
    counts = Counter(row.status for row in rows)
    in_words = ", ".join(f"{counts[status]} {status}" for status in _STATUSES if counts[status])
    summary = f"{counted(len(rows), 'layer')}: {in_words or 'none'}, seed {root}."
    return Changes(rows, summary, "variance of the output", root, dry_run)


def _variances(
    model: keras.Model, x: Data, layers: dict[keras.layers.Layer, Kernels], values: _Values
) -> dict[keras.layers.Layer, float | None]:
    """Return the output variance of each layer, in execution order, with these kernel values."""
    found: dict[keras.layers.Layer, float | None] = {}

    def visit(layer: keras.layers.Layer, outputs: Outputs) -> None:
        found[layer] = None  # in the order in which calls start
        array = outputs()
        if array is not None:
            with np.errstate(invalid="ignore", over="ignore"):
                found[layer] = float(array.var(dtype="float64"))

    forward(model, x, layers, values, visit)
    return found


class _Scaling:
    """Makes new kernels for each layer at which a forward pass stops, and finds their factor.

    Args:
        kernels: The kernels of each layer.
        seeds: The seed of each weight, by the id of its variable.
        tolerance: See `lsuv`.
        max_steps: See `lsuv`.
        advance: Function that is called with 1 after each layer.

    Attributes:
        fits: The `Fit` of each layer that was visited.
        values: The new values of the kernels for which there is a factor.
    """

    def __init__(
        self,
        kernels: dict[keras.layers.Layer, Kernels],
        seeds: dict[int, int],
        tolerance: float,
        max_steps: int,
        advance: Callable[[int], object],
    ) -> None:
        self.fits: dict[keras.layers.Layer, Fit] = {}
        self.values: _Values = []
        self._kernels = kernels
        self._seeds = seeds
        self._tolerance = tolerance
        self._max_steps = max_steps
        self._advance = advance

    def visit(self, layer: keras.layers.Layer, outputs: Outputs) -> None:
        """Scale the kernels of a layer, as the `visit` of `forward`."""
        start = []
        for kernel in self._kernels[layer].free:
            value = _orthonormal(layer, kernel, self._seeds[id(kernel)])
            start.append((kernel, value))
        fit, values = _fit(start, outputs, self._tolerance, self._max_steps)
        self.fits[layer] = fit
        self.values += values
        self._advance(1)


def _orthonormal(layer: keras.layers.Layer, kernel: keras.Variable, seed: int) -> Tensor:
    inputs, _ = kernel_axes(layer, kernel)
    dtype = "float64" if kernel.dtype == "float64" else "float32"
    function = functools.partial(Orthogonal(seed=seed, input_axes=inputs), kernel.shape, dtype)
    return made_like(kernel, Computation(function))


class Fit(NamedTuple):
    """The factor, the number of steps that it took to find it, and the reason if there is none."""

    factor: float
    steps: int
    reason: str = ""


def _fit(start: _Values, outputs: Outputs, tolerance: float, max_steps: int) -> tuple[Fit, _Values]:
    """Return the factor that scales the kernels of a layer from `start`, and their new values.

    The kernels have these values when `outputs` is called last. Without a factor there are none,
    and the kernels have their former ones.
    """
    former = [(kernel, kernel.value) for kernel, _ in start]

    def scaled(factor: float) -> _Values:
        return [(kernel, _constrained(kernel, factor * value)) for kernel, value in start]

    def outputs_with(factor: float) -> Array | None:
        assign(scaled(factor))
        return outputs()

    fit = unit_variance(outputs_with, 2 * len(start), tolerance, max_steps)
    if not fit.reason:
        return fit, [(kernel, kernel.value) for kernel, _ in start]
    assign(former)
    outputs()
    return fit, []


def _constrained(kernel: keras.Variable, value: Tensor) -> Tensor:
    """Return `value` after applying the constraint of `kernel`."""
    if kernel.constraint is None:
        return value
    return kernel.constraint(value)


_STATUSES = ("scaled", "not reached", "left")


def _status(fit: Fit, variance: float | None, tolerance: float) -> str:
    """Return the status of a layer with this variance of its output after the scaling."""
    if fit.reason:
        return "left"
    if variance is not None and abs(variance - 1) <= tolerance:
        return "scaled"
    return "not reached"


# If the variance grows with less than this power of the kernel's scale, the kernel does not
# determine it.
_LEAST_POWER = 0.1
# Examples that differ by less than this relative amount are equal up to rounding.
_LEAST_SPREAD = 1e-5
_VANISHES = Fit(1.0, 0, "its output vanishes or overflows")
_UNRELATED = Fit(1.0, 0, "its output does not follow its kernel")


class _Point(NamedTuple):
    """The logarithms of a factor that was tried and of the variance that it gave."""

    factor: float
    variance: float


def unit_variance(
    outputs: Callable[[float], Array | None], power: float, tolerance: float, max_steps: int
) -> Fit:
    """Return the factor that brings the variance of `outputs` within `tolerance` of 1.

    The output of a layer is usually proportional to its kernel, so that one step is enough. A bias
    or another added term breaks the proportionality: then each step is a secant step through the
    last two points on logarithmic scales.

    Args:
        outputs: Function of a factor on the kernel.
        power: The power of the factor by which the variance scales: twice the number of multiplied
            kernels.
        tolerance: A positive number.
        max_steps: Maximum number of factors to try.

    Returns:
        A `Fit` with the best factor found, or with a reason.
    """
    tried: list[_Point] = []
    logarithm = 0.0
    while True:
        values = outputs(math.exp(logarithm))
        obstacle = "" if tried else _obstacle(values)
        if obstacle:
            return Fit(1.0, 0, obstacle)
        if values is None or not np.isfinite(values).all():
            return _VANISHES
        variance = float(values.var(dtype="float64"))
        if not 0 < variance < math.inf:
            return _VANISHES
        last = _Point(logarithm, math.log(variance))
        tried.append(last)
        if abs(variance - 1) <= tolerance or len(tried) > max_steps:
            break
        if len(tried) > 1:
            former = tried[-2]
            power = (last.variance - former.variance) / (last.factor - former.factor)
            if not power > _LEAST_POWER:
                return _UNRELATED
        logarithm -= last.variance / power
        if abs(logarithm) > 80:  # beyond the range of float32
            return _UNRELATED
    closest = min(tried, key=lambda point: abs(point.variance))
    factor = math.exp(closest.factor)
    if closest is not last:
        outputs(factor)
    return Fit(factor, len(tried) - 1)


def _obstacle(values: Array | None) -> str:
    """Return why no factor can bring the variance of `values` to 1, empty if one can."""
    if values is None:
        return "its output is not known or not floating-point"
    if not np.isfinite(values).all():
        return "its output is not finite"
    size = 0.0
    if values.size:
        size = math.sqrt(float(np.square(values, dtype="float64").mean()))
    if not size:
        return "its output is zero"
    if spread(values) <= _LEAST_SPREAD * size:
        return "its output is the same for all examples"
    return ""
