"""Scale kernels to a batch: layer-sequential unit-variance initialization (LSUV).

Two passes of the batch through the model, which stop at the first call of each layer:

    `_Measuring`  the variance of each output before                   dense: 0.31
    `_Scaling`    new orthonormal kernels, divided until it is near 1  dense: 1.02, 1 step

A pass assigns values in a scope only; `lsuv` assigns them to the model at the end. A kernel is
*free* if it multiplies the inputs of its layer and may be changed.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._checks import check_count, check_flag, check_number, check_type
from keras_initx._typing import Array, Tensor
from keras_initx.backends._backend import Computation
from keras_initx.backends._current import backend
from keras_initx.backends._moments import spread
from keras_initx.initializers._orthogonal import Orthogonal
from keras_initx.initializers._seeds import derived_seed, root_seed
from keras_initx.inspection._batch import (
    Data,
    check_finite,
    first_examples,
    first_float,
    make_batch,
    to_array,
)
from keras_initx.inspection._build import ensure_built
from keras_initx.inspection._drawn_values import remember_drawn
from keras_initx.inspection._inventory import Inventory, check_unshared, check_weights
from keras_initx.inspection._kernels import is_adapter, is_kernel, is_zero, kernel_axes
from keras_initx.inspection._names import list_own_weights, list_sublayers
from keras_initx.inspection._watch import Call, Watch, Watcher
from keras_initx.inspection._weights import ModelWeight, is_quantized
from keras_initx.report._terminal import Verbose, show_progress, takes_verbose
from keras_initx.report._text import format_count
from keras_initx.tools.initialize._assign import assign_all, compute_like, undo_after_error
from keras_initx.tools.initialize._lsuv_report import LsuvReport, ScaledLayer

# Variables with the values to assign to them.
_Assignments: TypeAlias = Sequence[tuple[keras.Variable, Tensor]]
# Calls a layer, possibly again, and returns its output before the activation, or `None` if that is
# not accessible.
_Outputs: TypeAlias = Callable[[], Array | None]


@takes_verbose
def lsuv(
    model: keras.Model,
    x: Data,
    *,
    seed: int | None = None,
    tolerance: float = 0.1,
    max_steps: int = 10,
    batch_size: int = 1024,
    dry_run: bool = False,
    verbose: Verbose = "auto",
) -> LsuvReport:
    """Initialize kernels orthogonally, and scale them so that outputs have variance 1 on a batch.

    This is layer-sequential unit-variance (LSUV) initialization. Use it if no rule such as He's
    fits your activations or layers. Layer by layer, `lsuv` replaces a kernel by a random orthogonal
    matrix. Then it divides the kernel by the standard deviation of the layer's output before the
    activation. This deviation is over all examples, positions and units of your batch.

    - Dense, einsum, attention, convolution and custom layers are scaled, and the input kernels of
      recurrent layers.
    - Only kernels change. Biases, scales, embeddings, frozen and quantized weights, and kernels
      that are all zero keep their values. The row of a layer gives you the reason.
    - The same seed gives the same result on every backend, to rounding.
    - After an error or an interruption, your model is unchanged.

    Args:
        model: A Keras model: sequential, functional or subclassed. It is built if necessary.
        x: Inputs of `model`, or a batch or dataset with them, see `diagnose`.
        seed: `None` or an integer in `[0, 2**32)`. With `None`, Python's `random` draws a seed, so
            that `keras.utils.set_random_seed` controls it.
        tolerance: Maximum deviation of a variance from 1.
        max_steps: Maximum number of times that a kernel is divided. Once is usually enough.
        batch_size: Number of examples to use, taken from the start of `x`.
        dry_run: If true, only measure what would be changed and do not change the model.
        verbose: Whether to show progress: `"auto"` on a terminal, unless you called
            `keras.config.disable_interactive_logging()`; 1 always; 0 never.

    Returns:
        An `LsuvReport` with a `ScaledLayer` for each layer that has a kernel, in execution order.

    Raises:
        TypeError: If `model` is not a Keras model, `x` is not an array, or an argument has the
            wrong type.
        ValueError: If `x` has no examples, does not fit to the inputs of `model` or is not finite,
            an argument is out of range, or on JAX other processes hold parts of the weights.

    Note:
        A kernel is treated as a matrix of shape `(inputs, units)`. The kernels of a separable
        convolution, or of a custom layer with several kernels, share one factor. The input kernel
        of a recurrent layer is scaled so that its contribution to the gates has variance 1. A
        recurrent layer keeps its kernels if it has several cells, or your own cell without a matrix
        `kernel` of shape `(inputs, ...)`. A layer with several calls is scaled at its first call.
        Kernel constraints are applied.

        Modules of torch, saved models of TensorFlow and factors of LoRA keep their values too. So
        does a kernel that does not control the output, for example because a bias is too large or
        because another layer rewrites the kernel at each call (`SpectralNormalization`). The
        PyTorch code of an author also sets biases to 0, and shifts them towards a mean of 0 when it
        scales a kernel.

        Your model runs in training mode, so that batch normalization uses batch statistics. Layers
        with a random generator, such as all dropout and noise layers of Keras, run without dropout
        and noise. One pass measures the variances before. A second pass stops at each layer and
        calls it until its variance is 1. Compiled functions stay valid.

    Example:
        >>> hidden = [keras.layers.Dense(50, "tanh") for _ in range(10)]
        >>> model = keras.Sequential([keras.Input((20,)), *hidden])
        >>> result = lsuv(model, keras.random.normal((200, 20)), seed=0)
        >>> all(abs(row.after - 1) <= 0.1 for row in result.rows)
        True
        >>> result
        <LsuvReport: 10 layers: 10 scaled, seed 0>

    Reference:
        Mishkin and Matas, "All you need is a good init", ICLR 2016, and Mishkin's `LSUV-pytorch`,
        commit 0c45eb2.

    See Also:
        `initialize` draws by rules, `diagnose` measures signals and gradients. The page "Whole
        models: initialize by rules and one seed" shows `lsuv` on a network with a residual branch.
    """
    check_type("model", model, keras.Model, "a Keras model")
    check_count("batch_size", batch_size)
    check_number("tolerance", tolerance, positive=True)
    check_count("max_steps", max_steps)
    check_flag("dry_run", dry_run)
    root = root_seed(seed)
    x = first_examples(make_batch(model, x).x, batch_size)
    ensure_built(model, x)
    inventory = Inventory(model)
    check_weights("model", inventory)
    check_unshared("model", inventory)
    kernels = _list_kernels(inventory)
    before = _measure_variances(inventory, x, kernels)
    called = {layer: kernels[layer] for layer in before}
    starts = _prepare_starts(called, inventory.weights, root)
    with show_progress("LSUV", len(called), "layers") as advance:
        scaling = _Scaling(called, starts, tolerance, max_steps, advance)
        Watch(inventory).observe(x, scaling, training=True)
    results = scaling.results
    if not dry_run:
        with undo_after_error() as assign:
            for result in results.values():
                for kernel, value in result.values:
                    remember_drawn(value, None, "lsuv")
                    assign(kernel, value)
    rows = []
    # In execution order; layers that are not called come last.
    for layer in dict.fromkeys([*before, *kernels]):
        reason = kernels[layer].reason or "not called, or in a compiled function"
        result = results.get(layer, _LayerResult("left", reason))
        path, variance = inventory.paths[layer], before.get(layer)
        rows.append(ScaledLayer(path, result.status, result.detail, variance, result.variance))
    return LsuvReport(rows, root, dry_run)


def _list_kernels(inventory: Inventory) -> dict[keras.Layer, "_Kernels"]:
    """List the kernels of each layer that has some, by layer."""
    owners = {layer for weight in inventory.weights for layer in weight.layers}
    kernels = {}
    for layer in inventory.names:
        # The kernel of a layer with no weights but those of another is scaled there.
        chosen = _choose_kernels(layer) if layer in owners else None
        if chosen is not None:
            kernels[layer] = chosen
    return kernels


def _measure_variances(
    inventory: Inventory, x: Any, kernels: dict[keras.Layer, "_Kernels"]
) -> dict[keras.Layer, float | None]:
    """Measure the variance of each layer that is called, in the order of the calls.

    A kernel that another layer rewrites is marked as one that may not be changed.

    Raises:
        ValueError: If `x` has values that are not finite, and so have outputs.
    """
    measuring = _Measuring(kernels)
    Watch(inventory).observe(x, measuring, training=True)
    if not all(math.isfinite(variance or 0.0) for variance in measuring.variances.values()):
        check_finite(x)
    for layer in measuring.rewritten:
        reason = f"{_NOT_FOLLOWED}, which another layer rewrites at each call"
        kernels[layer] = _Kernels((), reason)
    return measuring.variances


def _prepare_starts(
    kernels: Mapping[keras.Layer, "_Kernels"], weights: Sequence[ModelWeight], root: int
) -> dict[int, Computation]:
    """Prepare how to make the orthonormal start of each kernel, by its id.

    Call this before a pass. In the call of a layer, mixed precision changes the dtype of variables.
    """
    seeds = {id(weight.variable): derived_seed(root, weight.path) for weight in weights}
    starts = {}
    for layer, own in kernels.items():
        for kernel in own.free:
            starts[id(kernel)] = _prepare_orthonormal(layer, kernel, seeds[id(kernel)])
    return starts


class _Kernels(NamedTuple):
    """The kernels of a layer.

    Attributes:
        free: The kernels that multiply its inputs and may be changed.
        reason: Why no kernel may be changed; empty if one may.
    """

    free: tuple[keras.Variable, ...]
    reason: str


# Layers that hold a model of another framework.
_FOREIGN = (keras.layers.TFSMLayer, keras.layers.TorchModuleWrapper)


def _choose_kernels(layer: keras.Layer) -> _Kernels | None:
    """Choose the kernels of `layer` to scale, or give the reason why not; `None` if it has none."""
    if is_quantized(layer):
        return _Kernels((), "quantized")
    if isinstance(layer, _FOREIGN) and layer.weights:
        return _Kernels((), "of another framework, which reads its weights without Keras")
    kernels = []
    if isinstance(layer, keras.layers.RNN):
        kernel = _find_input_kernel(layer)
        if kernel is not None:
            kernels.append(kernel)
        elif layer.weights:
            return _Kernels((), "the kernels of its cell are not known")
    else:
        for weight in list_own_weights(layer):
            if len(weight.shape) > 1 and is_kernel(weight):
                kernels.append(weight)
    # The factors of an adapter start a change of the kernel at zero. While they train, that is
    # frozen.
    kernels = [kernel for kernel in kernels if not is_adapter(kernel.name)]
    if not kernels:
        return None
    trained = [kernel for kernel in kernels if kernel.trainable]
    if not trained:
        return _Kernels((), "frozen")
    # Embeddings are looked up or added, not multiplied.
    multiplying = [kernel for kernel in trained if "embed" not in kernel.name]
    if not multiplying or isinstance(layer, keras.layers.Embedding):
        return _Kernels((), "an embedding, which does not multiply its input")
    free = [kernel for kernel in multiplying if not is_zero(layer, kernel)]
    if not free:
        return _Kernels((), "its kernel is zero")
    return _Kernels(tuple(free), "")


def _find_input_kernel(layer: keras.layers.RNN) -> keras.Variable | None:
    """Find the matrix or the filters that multiply the inputs in the cell of `layer`.

    Return `None` if it is unknown. The recurrent kernel multiplies the state, and a loop over
    several cells cannot be watched inside.
    """
    kernel = getattr(layer.cell, "kernel", None)
    if isinstance(kernel, keras.Variable) and len(kernel.shape) > 1:
        return kernel
    return None


# A step must bring the logarithm of the variance nearer to 0, by at least this share of it.
# Otherwise the kernel does not determine the variance.
_LEAST_PROGRESS = 0.05
# Examples that differ by less than this relative amount are equal up to rounding.
_LEAST_SPREAD = 1e-5
_NOT_FOLLOWED = "its output does not follow its kernel"


class _LayerResult(NamedTuple):
    """The outcome of LSUV for a layer.

    Attributes:
        status: See `ScaledLayer`.
        detail: The number of steps, or the reason why its kernels keep their values.
        variance: The variance of its output, `None` if that is not accessible.
        values: The new values of its kernels, empty if they keep their values.
    """

    status: str
    detail: str
    variance: float | None = None
    values: _Assignments = ()


def _scale_layer(
    kernels: _Kernels,
    starts: dict[int, Computation],
    outputs: _Outputs,
    tolerance: float,
    max_steps: int,
) -> _LayerResult:
    """Make new kernels for a layer, and divide them until its output has variance 1.

    During the last call of `outputs`, the kernels have their new values, or their former values if
    the layer is not scaled.
    """
    if kernels.reason:
        return _LayerResult("left", kernels.reason, _compute_variance(outputs()))
    # In a scope, which keeps what is assigned apart from the values: nothing is copied.
    former = [(kernel, kernel.value) for kernel in kernels.free]
    values = []
    for kernel in kernels.free:
        start = compute_like(kernel, starts[id(kernel)])
        values.append((kernel, _apply_constraint(kernel, start)))
    assign_all(values)
    output = outputs()
    reason = _find_obstacle(output)
    variance = _compute_variance(output)
    steps = 0
    while not reason and steps < max_steps:
        if variance is None or abs(variance - 1) <= tolerance:
            break
        # Each of several kernels multiplies the output.
        divisor = math.sqrt(variance) ** (1 / len(values))
        values = [(kernel, _apply_constraint(kernel, value / divisor)) for kernel, value in values]
        assign_all(values)
        distance = _compute_distance(variance)
        variance = _compute_variance(outputs())
        steps += 1
        if not _compute_distance(variance) <= (1 - _LEAST_PROGRESS) * distance:
            reason = _NOT_FOLLOWED
    if reason:
        assign_all(former)
        return _LayerResult("left", reason, _compute_variance(outputs()))
    is_reached = variance is not None and abs(variance - 1) <= tolerance
    status = "scaled" if is_reached else "not reached"
    return _LayerResult(status, format_count(steps, "step"), variance, values)


def _prepare_orthonormal(layer: keras.Layer, kernel: keras.Variable, seed: int) -> Computation:
    inputs, _ = kernel_axes(layer, kernel)
    orthogonal = Orthogonal(seed=seed, input_axes=inputs)
    return Computation(functools.partial(orthogonal, kernel.shape, kernel.dtype))


def _apply_constraint(kernel: keras.Variable, value: Tensor) -> Tensor:
    if kernel.constraint is None:
        return value
    return kernel.constraint(value)


def _compute_variance(output: Array | None) -> float | None:
    if output is None:
        return None
    with np.errstate(invalid="ignore", over="ignore"):
        return float(output.var(dtype="float64"))


def _compute_distance(variance: float | None) -> float:
    """Compute how far `variance` is from 1 on a logarithmic scale."""
    if variance is None or not 0 < variance < math.inf:
        return math.inf
    return abs(math.log(variance))


def _find_obstacle(output: Array | None) -> str:
    """Say why no factor can bring the variance of `output` to 1; empty if a factor can."""
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


class _Off(int):
    """A false `training` that a block does not use itself to freeze a batch normalization."""


_OFF = _Off(0)


class _Visits(Watcher):
    """Stops a pass at the first call of each of some layers.

    The pass is in training mode, so that batch normalization uses batch statistics. Layers with a
    random generator are in inference mode, without dropout and noise. Layers that they call are
    not.

    Args:
        kernels: Dict from the layers to their kernels.
    """

    def __init__(self, kernels: Mapping[keras.Layer, _Kernels]) -> None:
        self._kernels = kernels
        self._visited: set[keras.Layer] = set()

    def visit(self, layer: keras.Layer, outputs: _Outputs) -> None:
        """Look at a layer.

        Args:
            layer: The layer.
            outputs: Call this at least once; the last outputs are passed on. A second call visits
                the layers inside the layer again.
        """
        raise NotImplementedError

    def before(self, call: Call) -> None:
        layer = call.operation
        if "training" in call.kwargs and _has_generator(layer):
            call.kwargs["training"] = _OFF
        elif call.kwargs.get("training") is _OFF:
            call.kwargs["training"] = True
        is_first = layer in self._kernels and layer not in self._visited
        if is_first and _has_values(call):
            self._visited.add(layer)
            call.function = functools.partial(self._repeated, call, call.function)

    def _repeated(self, call: Call, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Repeat a call as often as the visit wants, with the same inputs and state."""
        layer = call.operation
        visited = frozenset(self._visited)
        state = _read_state(layer)
        result: Any = None

        def outputs() -> Array | None:
            nonlocal result
            self._visited.intersection_update(visited)
            assign_all(state)
            result = function(*args, **kwargs)
            output = _choose_output(call, result)
            call.before_activation = None
            if output is None:
                return None
            return to_array(output)

        self.visit(layer, outputs)
        return result


class _Measuring(_Visits):
    """Measures the outputs of layers.

    Attributes:
        variances: Dict from each called layer to the variance of its output, ordered by the start
            of the calls.
        rewritten: The layers with a kernel that the pass itself has changed.
    """

    def __init__(self, kernels: Mapping[keras.Layer, _Kernels]) -> None:
        super().__init__(kernels)
        self.variances: dict[keras.Layer, float | None] = {}
        self.rewritten: list[keras.Layer] = []

    def visit(self, layer: keras.Layer, outputs: _Outputs) -> None:
        self.variances[layer] = None
        self.variances[layer] = _compute_variance(outputs())

    def finish(self, outputs: Any) -> None:
        for layer, kernels in self._kernels.items():
            if any(map(_is_rewritten, kernels.free)):
                self.rewritten.append(layer)


def _is_rewritten(kernel: keras.Variable) -> bool:
    """Return whether a pass has changed a kernel, in the scope of the pass.

    `SpectralNormalization` does this in training.
    """
    value = kernel.value
    with keras.StatelessScope():  # in which it has the value of before
        former = kernel.value
    if value is former:
        return False
    return not np.array_equal(backend.host_view(former), backend.host_view(value))


class _Scaling(_Visits):
    """Scales the kernels of each layer when it is called, after all layers before it.

    Args:
        kernels: Dict from the layers to their kernels.
        starts: The first value of each kernel, by its id.
        tolerance: See `lsuv`.
        max_steps: See `lsuv`.
        advance: Is called with 1 after the first scaling of each layer.

    Attributes:
        results: Dict from each layer to its outcome.
    """

    def __init__(
        self,
        kernels: Mapping[keras.Layer, _Kernels],
        starts: dict[int, Computation],
        tolerance: float,
        max_steps: int,
        advance: Callable[[int], object],
    ) -> None:
        super().__init__(kernels)
        self.results: dict[keras.Layer, _LayerResult] = {}
        self._starts = starts
        self._tolerance = tolerance
        self._max_steps = max_steps
        self._advance = advance

    def visit(self, layer: keras.Layer, outputs: _Outputs) -> None:
        is_first = layer not in self.results
        self.results[layer] = _scale_layer(
            self._kernels[layer], self._starts, outputs, self._tolerance, self._max_steps
        )
        if is_first:
            self._advance(1)


def _has_generator(layer: keras.Layer) -> bool:
    layers = [layer]
    if isinstance(layer, keras.layers.RNN):  # which calls its cells directly
        layers += list_sublayers(layer)
    for owner in layers:
        for value in vars(owner).values():
            # Keras keeps a list of them.
            items = value if isinstance(value, list) else [value]
            if any(isinstance(item, keras.random.SeedGenerator) for item in items):
                return True
    return False


def _has_values(call: Call) -> bool:
    # Inside a trace, tensors have no values.
    leaves = keras.tree.flatten((call.args, call.kwargs))
    tensors = [leaf for leaf in leaves if keras.ops.is_tensor(leaf)]
    return len(tensors) == len(call.inputs)


def _read_state(layer: keras.Layer) -> list[tuple[keras.Variable, Tensor]]:
    """Read all values that a call of `layer` may change."""
    # Keras does not list the states of a recurrent layer.
    states = keras.tree.flatten(getattr(layer, "states", None))
    values = []
    for variable in (*layer.non_trainable_variables, *states):
        if isinstance(variable, keras.Variable):
            values.append((variable, variable.value))
    return values


def _choose_output(call: Call, result: Any) -> Tensor | None:
    """Choose the output of a layer before its activation, or the input of recurrent gates.

    `None` if it is not known or not floating-point.
    """
    layer = call.operation
    if isinstance(layer, keras.layers.RNN):
        if call.args:
            return _compute_gates(layer, call.args[0])
        return _compute_gates(layer, call.kwargs["sequences"])
    if call.before_activation is not None:
        return first_float(call.before_activation)
    return first_float(result)


def _compute_gates(layer: keras.layers.RNN, inputs: Tensor) -> Tensor | None:
    """Compute the product of the cell's kernel with the inputs of all steps.

    `None` if it is not known.
    """
    cell = layer.cell
    kernel = _find_input_kernel(layer)
    if kernel is None:
        return None
    if hasattr(cell, "input_conv"):
        images = keras.ops.reshape(inputs, (-1, *inputs.shape[2:]))
        return cell.input_conv(images, kernel, padding=cell.padding)
    if kernel.shape[:-1] != inputs.shape[-1:]:
        return None
    return keras.ops.matmul(inputs, kernel)
