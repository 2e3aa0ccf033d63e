"""Layer-sequential unit-variance initialization."""

import functools
import math
from collections import Counter
from collections.abc import Sequence
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
_Values: TypeAlias = Sequence[tuple[keras.Variable, Tensor]]


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
    LoRA, kernels that are all zero, and kernels that the output does not follow, as where a bias is
    too large, are left unchanged; the PyTorch code of an author also sets biases to 0, and shifts
    them towards a mean of 0 where it scales a kernel. Kernel constraints are applied.

    The model runs in training mode, so that batch normalization uses batch statistics, but without
    the dropout and noise of layers that have a random generator, as all of Keras do. The same seed
    gives the same result on every backend, to rounding. One pass measures the variances before, and
    one stops at each layer, which is called until its variance is 1. Only kernels change. After an
    error or an interruption the model is unchanged, and compiled functions stay valid.

    Args:
        model: A Keras model: sequential, functional or subclassed. It is built if necessary.
        x: Inputs of `model`, or a batch or dataset with them, see `diagnose`.
        seed: `None` or an integer in `[0, 2**32)`. With `None`, a seed is drawn from Python's
            `random`, so that `keras.utils.set_random_seed` controls it.
        tolerance: Maximum deviation of a variance from 1.
        max_steps: Maximum number of times that a kernel is divided. Once is usually enough.
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

    before: dict[keras.layers.Layer, float | None] = {}

    def measure(layer: keras.layers.Layer, outputs: Outputs) -> None:
        before[layer] = None  # in the order in which calls start
        before[layer] = _variance(outputs())

    forward(model, x, kernels, measure)
    if not all(math.isfinite(variance or 0.0) for variance in before.values()):
        check_finite(x)
    seeds = {id(weight.variable): derived_seed(root, weight.path) for weight in weights}
    results: dict[keras.layers.Layer, _Scaled] = {}
    with progress("LSUV", len(before), "layers") as advance:

        def scale(layer: keras.layers.Layer, outputs: Outputs) -> None:
            is_first = layer not in results
            results[layer] = _scaled(layer, kernels[layer], seeds, outputs, tolerance, max_steps)
            if is_first:
                advance(1)

        forward(model, x, before, scale)
    if not dry_run:
        with undone_after_error() as assign_one:
            for result in results.values():
                for kernel, value in result.values:
                    assign_one(kernel, value)

    rows = []
    # In execution order; layers that are not called come last.
    for layer in dict.fromkeys([*before, *kernels]):
        reason = kernels[layer].reason or "not called, or in a compiled function"
        result = results.get(layer, _Scaled("left", reason))
        row = Change(
            paths[layer],
            result.status,
            result.how,
            before=before.get(layer),
            after=result.variance,
        )
        rows.append(row)
    counts = Counter(row.status for row in rows)
    in_words = ", ".join(f"{counts[status]} {status}" for status in _STATUSES if counts[status])
    summary = f"{counted(len(rows), 'layer')}: {in_words or 'none'}, seed {root}."
    return Changes(rows, summary, "variance of the output", root, dry_run)


_STATUSES = ("scaled", "not reached", "left")
# A step must bring the logarithm of the variance nearer to 0, by at least this part of it.
# Otherwise the kernel does not determine the variance.
_LEAST_PROGRESS = 0.05
# Examples that differ by less than this relative amount are equal up to rounding.
_LEAST_SPREAD = 1e-5


class _Scaled(NamedTuple):
    """What became of a layer.

    Attributes:
        status: One of `_STATUSES`.
        how: The number of steps, or why its kernels are left.
        variance: The variance of its output, `None` if that is not accessible.
        values: The new values of its kernels, none if they are left.
    """

    status: str
    how: str
    variance: float | None = None
    values: _Values = ()


def _scaled(
    layer: keras.layers.Layer,
    kernels: Kernels,
    seeds: dict[int, int],
    outputs: Outputs,
    tolerance: float,
    max_steps: int,
) -> _Scaled:
    """Make new kernels for a layer, and divide them until its output has variance 1.

    The kernels have the new values when `outputs` is called last, or their former ones if they are
    left.
    """
    if kernels.reason:
        return _Scaled("left", kernels.reason, _variance(outputs()))
    former = [(kernel, kernel.value) for kernel in kernels.free]
    values = []
    for kernel in kernels.free:
        start = _orthonormal(layer, kernel, seeds[id(kernel)])
        values.append((kernel, _constrained(kernel, start)))
    assign(values)
    output = outputs()
    reason = _obstacle(output)
    variance = _variance(output)
    steps = 0
    while not reason and steps < max_steps:
        if variance is None or abs(variance - 1) <= tolerance:
            break
        # Each of several kernels multiplies the output.
        divisor = math.sqrt(variance) ** (1 / len(values))
        values = [(kernel, _constrained(kernel, value / divisor)) for kernel, value in values]
        assign(values)
        distance = _distance(variance)
        variance = _variance(outputs())
        steps += 1
        if not _distance(variance) <= (1 - _LEAST_PROGRESS) * distance:
            reason = "its output does not follow its kernel"
    if reason:
        assign(former)
        return _Scaled("left", reason, _variance(outputs()))
    is_reached = variance is not None and abs(variance - 1) <= tolerance
    status = "scaled" if is_reached else "not reached"
    return _Scaled(status, counted(steps, "step"), variance, values)


def _orthonormal(layer: keras.layers.Layer, kernel: keras.Variable, seed: int) -> Tensor:
    inputs, _ = kernel_axes(layer, kernel)
    orthogonal = Orthogonal(seed=seed, input_axes=inputs)
    function = functools.partial(orthogonal, kernel.shape, kernel.dtype)
    return made_like(kernel, Computation(function))


def _constrained(kernel: keras.Variable, value: Tensor) -> Tensor:
    """Return `value` after applying the constraint of `kernel`."""
    if kernel.constraint is None:
        return value
    return kernel.constraint(value)


def _variance(output: Array | None) -> float | None:
    """Return the variance of all values, `None` if they are not accessible."""
    if output is None:
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        return float(output.var(dtype="float64"))


def _distance(variance: float | None) -> float:
    """Return how far `variance` is from 1 on a logarithmic scale."""
    if variance is None or not 0 < variance < math.inf:
        return math.inf
    return abs(math.log(variance))


def _obstacle(output: Array | None) -> str:
    """Return why no factor can bring the variance of `output` to 1, empty if one can."""
    if output is None:
        return "its output is not known or not floating-point"
    if not np.isfinite(output).all():
        return "its output is not finite"
    size = 0.0
    if output.size:
        size = math.sqrt(float(np.square(output, dtype="float64").mean()))
    if not size:
        return "its output is zero"
    if spread(output) <= _LEAST_SPREAD * size:
        return "its output is the same for all examples"
    return ""
