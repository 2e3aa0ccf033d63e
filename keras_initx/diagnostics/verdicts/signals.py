"""Signals: what comes out of each layer, too large, too small, at limits, or lost."""

import math
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np

from keras_initx._typing import Array, InitializerLike, Tensor
from keras_initx.backends import backend
from keras_initx.diagnostics._measurements import LayerReport, Measurements, root_mean_square
from keras_initx.diagnostics._remedy import (
    LSUV,
    Remedy,
    activation_after,
    choice,
    drawn_or_scaled,
    has_large_biases,
    is_steep,
    kernels_of,
    rules_for,
    suitable_for_all,
    weights_named,
    without_large_biases,
)
from keras_initx.diagnostics._signal import Signal, spread
from keras_initx.diagnostics._verdict import (
    EXPLODING,
    LEAST_VALUES,
    Finding,
    Level,
    by_level,
    exceeds,
    has_enough_values,
    layer_count,
    listed,
    names_of,
    normalization_of,
    rule,
)
from keras_initx.diagnostics.verdicts.gates import (
    has_growing_state,
    open_gates,
    orthogonal_recurrence,
)
from keras_initx.diagnostics.verdicts.inputs import (
    SMALL_INPUTS,
    UNSCALED_INPUTS,
    are_constant,
    gets_zeros,
)
from keras_initx.diagnostics.verdicts.no_gradient import is_held_back
from keras_initx.diagnostics.verdicts.undefined import fault_of
from keras_initx.initializers import HeNormal, ReLUBias, Scaled
from keras_initx.structure import (
    LIMITS,
    Call,
    Probe,
    Watch,
    activation_by_values,
    activation_of,
    activation_slope,
    array_of,
    first_float,
    is_zero,
    multiplying_weights,
    unit_axis,
)

# Standard deviation before the activation below which a signal has vanished.
VANISHING = 1e-3
# Fraction of saturated outputs above which an activation passes too little gradient.
SATURATED = 0.25
# Distance from a limit within which an output counts as saturated, as a fraction of the distance
# between the limits; for tanh this means beyond 0.99.
SATURATION_MARGIN = 0.005
# Fraction of units with zero output for the whole batch above which too few are active.
DEAD = 0.75
# The number of units from which on it is no chance that all are off for all examples.
_BEYOND_CHANCE = 8


class SignalProbe(Probe):
    """Measures the output of each layer with weights or an activation, and what is before this.

    Args:
        watch: The watch of the pass.

    Attributes:
        reports: Dict from a layer to its `LayerReport`, with these signals, in the order in which
            they were seen.
        last_std: Dict from a layer to the standard deviation before its activation, or of its
            output if it has none, in its last call.
        slopes: Dict from a layer with an activation that Keras does not have to the largest slope
            of this, `None` where it is no function of single values.
    """

    def __init__(self, watch: Watch) -> None:
        self.reports: dict[keras.Layer, LayerReport] = {}
        self.last_std: dict[keras.Layer, float] = {}
        self.slopes: dict[keras.Layer, float | None] = {}
        self._watch = watch

    def activated(
        self,
        layer: keras.Layer,
        activation: Callable[..., Tensor],
        values: Tensor,
        outputs: Tensor,
    ) -> None:
        if activation_of(layer) is not None:
            self._name_activation(layer, activation, values, outputs)
        report = self._report(layer)
        if report.before is None:
            report.before = Signal()
        array = array_of(values)
        self.last_std[layer] = _added(report.before, array, unit_axis(layer, array.ndim))
        report.shape = array.shape

    def after(self, call: Call) -> None:
        layer = call.operation
        if call.is_seen:
            report = self._report(layer)
            if report.after is None:
                activation = self._watch.activations[layer] or ""
                report.after = Signal(LIMITS.get(activation), _margin_of(activation))
            std = _added(report.after, call.values, unit_axis(layer, call.values.ndim))
            report.shape = call.values.shape
            if report.before is None:
                self.last_std[layer] = std
        elif self._may_be_activation(call):
            self._add_slope(layer, call.function, call.inputs[0])

    def _report(self, layer: keras.Layer) -> LayerReport:
        if layer not in self.reports:
            name = self._watch.layers[layer]
            self.reports[layer] = LayerReport(name, type(layer).__name__)
        return self.reports[layer]

    def _name_activation(
        self,
        layer: keras.Layer,
        activation: Callable[..., Tensor],
        values: Tensor,
        outputs: Tensor,
    ) -> None:
        """Give the activation of `layer` the name of the one of Keras that has these outputs.

        It may be a lambda, or a function that goes by another name. Of a function that Keras does
        not have, measure the slope.
        """
        known = self._watch.activations[layer] or ""
        if hasattr(keras.activations, known) or first_float(outputs) is None:
            return
        name = activation_by_values(array_of(values[:8]), array_of(outputs[:8]))
        if name is not None:
            self._watch.activations[layer] = name
        elif not getattr(activation, "weights", None):
            self._add_slope(layer, activation, values)

    def _may_be_activation(self, call: Call) -> bool:
        """Return whether a call is one of a function, or a layer of one's own, without weights."""
        layer = call.operation
        if layer not in self._watch.layers or layer.weights or self._watch.activations[layer]:
            return False
        is_own = not type(layer).__module__.startswith("keras.")
        is_own |= isinstance(layer, keras.layers.Lambda)
        return is_own and len(call.inputs) == 1 and call.output is not None

    def _add_slope(
        self, layer: keras.Layer, activation: Callable[..., Tensor], values: Tensor
    ) -> None:
        """Measure the largest slope of what `layer` applies to single values."""
        # What these calls draw, count or add as losses is no part of the pass either.
        with self._watch.paused(), backend.preserve_state([layer]):
            self.slopes[layer] = activation_slope(activation, array_of(values[:8]))


def _margin_of(activation: str) -> float:
    """Return the distance from a limit where an activation has the slope of tanh at the margin.

    It is relative to the distance between the limits, as `SATURATION_MARGIN` is. Softsign nears its
    limits slowly.
    """
    if activation == "softsign":
        return math.sqrt(SATURATION_MARGIN * (1 - SATURATION_MARGIN))
    return SATURATION_MARGIN


def _added(signal: Signal, values: Array, axis: int) -> float:
    """Add the values of one call to `signal`, and return their own standard deviation.

    A signal that fades from call to call of one layer is large on the whole.
    """
    is_first = not signal.size
    signal.add(values, axis)
    if is_first:
        return signal.std
    with np.errstate(invalid="ignore"):
        return float(np.std(values, dtype="float64"))


# Relative tolerance for values that are equal for all examples, because matrix products round.
_SAME = 1e-5


class LostProbe(Probe):
    """Finds the layers with nearly zero output that make the inputs of a later kernel alike.

    It then gets the same inputs for all examples. Zeros are harmless if the inputs of the next
    kernel still differ between examples, e.g. through the other branch of an addition. The same
    holds for small outputs.

    Args:
        signals: The probe of the signals, which is told of each call before.
        watch: The watch of the pass.

    Attributes:
        causes: The layers because of which a kernel got nearly the same input for all examples.
        starved: The layers with these kernels.
    """

    def __init__(self, watch: Watch, signals: SignalProbe) -> None:
        self.causes: set[keras.Layer] = set()
        self.starved: set[keras.Layer] = set()
        self._signals = signals
        self._with_kernel = watch.with_kernel
        self._zero: set[keras.Layer] = set()
        for layer in watch.layers:
            if any(is_zero(layer, weight) for weight in multiplying_weights(layer)):
                self._zero.add(layer)
        # The most recent consecutive layers whose output was nearly zero.
        self._row: list[keras.Layer] = []
        self._is_over = False

    def before(self, call: Call) -> None:
        layer = call.operation
        if not self._row or layer not in self._with_kernel:
            return
        # The inputs of an embedding are row indices.
        if call.kernel_input is None or isinstance(layer, keras.layers.Embedding):
            return
        values = array_of(call.kernel_input)
        differs = spread(values)
        is_same = differs <= _SAME * abs(values).max(initial=0)
        is_weak = differs < VANISHING
        for suspect in self._row:
            is_cause = is_same if suspect in self._zero else is_weak
            if is_cause:
                self.causes.add(suspect)
                self.starved.add(layer)

    def after(self, call: Call) -> None:
        if not call.is_seen:
            return
        layer = call.operation
        is_small = layer in self._zero or self._signals.last_std[layer] < VANISHING
        if is_small:
            if self._is_over:
                self._row = []
            self._row.append(layer)
        self._is_over = not is_small


@rule(
    "exploding",
    levels={"error": "", "note": "if a normalization follows directly and all values are finite"},
    finds=f"a standard deviation above {EXPLODING:g}, or a value that is not finite",
    reason="a thousand times that of standardized inputs saturates any softmax, and the loss and "
    "its gradients are as large",
    remedy="scaled inputs, `HeNormal`, `GlorotUniform`",
)
def exploding(measured: Measurements) -> Iterator[Finding]:
    if fault_of(measured) is not None:
        return
    limit = EXPLODING
    large = []
    for layer in measured.layers:
        signal = layer.signal
        if signal.nonfinite or (has_enough_values(layer) and signal.std > limit):
            large.append(layer)
    cause = _outside(measured, root_mean_square)
    if cause is not None and not cause.nonfinite and not root_mean_square(cause) > limit / 10:
        cause = None

    def does_harm(layer: LayerReport) -> bool:
        return layer.signal.nonfinite > 0 or not layer.is_rescaled

    for level, hit in by_level(large, "error", does_harm):
        first = hit[0]
        evidence = _deviations(measured.inputs, hit, "grows")
        lost = [layer for layer in hit if layer.signal.nonfinite]
        if lost:
            share = f"{lost[0].signal.nonfinite:.0%}"
            evidence += f"; {share} of the outputs of {lost[0].name} are not finite"
        if level == "note":
            evidence += normalization_of(first)
        remedy = signal_remedy(hit, cause, measured)
        sums = growing_sums(measured)
        if cause is None and sums is not None:
            remedy = sums
        yield Finding(hit, evidence, remedy, level)


@rule(
    "saturated",
    levels={"warning": ""},
    finds=f"a fraction above {SATURATED:g} of the outputs near a limit: within "
    f"{SATURATION_MARGIN:g} of it, relative to the distance between the limits",
    reason="beyond 0.99 tanh has 2% of its gradient; this happens to 1% of the outputs for inputs "
    "of standard deviation 1, and to a quarter for 2.3",
    remedy="`GlorotUniform`, smaller inputs",
)
def saturated(measured: Measurements) -> Iterator[Finding]:
    hit = []
    for layer in measured.layers:
        # The gradient of a final sigmoid does not matter with a crossentropy loss.
        if layer.output is not None and layer.activation == "sigmoid":
            continue
        if exceeds(layer.saturated, SATURATED) and has_enough_values(layer):
            hit.append(layer)
    if not hit:
        return
    worst = max(hit, key=lambda layer: layer.saturated or 0)
    evidence = (
        f"{worst.saturated:.0%} of the outputs of {worst.name} are at the limits of "
        f"{worst.activation}{input_size(worst)}{layer_count(hit)}, where its gradient is almost 0"
    )
    cause = _outside(measured, root_mean_square)
    if cause is not None and not root_mean_square(cause) > UNSCALED_INPUTS:
        cause = None
    yield Finding(hit, evidence, signal_remedy(hit, cause, measured))


@rule(
    "dead units",
    levels={"warning": "", "error": "if all units of a layer are dead"},
    finds=f"a fraction above {DEAD:g} of the units with output 0 for the whole batch; nothing is "
    "said where all of fewer than eight units are dead and a layer before gets a gradient all the "
    "same",
    reason="a dead unit gets no gradient. About half is normal: in a deep network examples become "
    "similar, so that a unit is on or off for all of them",
    remedy="`HeNormal` and `ReLUBias`",
)
def dead(measured: Measurements) -> Iterator[Finding]:
    hit = []
    for place, layer in enumerate(measured.layers):
        has_enough_examples = _examples(layer) >= LEAST_VALUES
        if not exceeds(layer.dead, DEAD) or not has_enough_examples:
            continue
        if not _is_passed_by(layer, measured.layers[:place]):
            hit.append(layer)
    if not hit:
        return
    worst = max(hit, key=lambda layer: layer.dead or 0)
    before = worst.before or Signal()
    evidence = (
        f"{worst.dead:.0%} of the units of {worst.name} output 0 for all {_examples(worst)} "
        f"examples; their inputs have mean {before.mean:.3g} and standard deviation "
        f"{before.std:.3g}{layer_count(hit)}: they get no gradient"
    )
    kernel = choice(HeNormal())
    bias = choice(ReLUBias(0.01), 0.01)
    remedy = Remedy(
        f"weights with mean 0 and a nonnegative bias: {kernel.text} with "
        f"bias_initializer={bias.text}",
        {
            **rules_for(kernels_of(hit), kernel.initializer),
            **rules_for(weights_named("bias", hit), bias.initializer),
        },
    )
    level: Level = "warning"
    if worst.dead == 1:
        level = "error"
    yield Finding(hit, evidence, remedy, level)


def _is_passed_by(layer: LayerReport, earlier: Sequence[LayerReport]) -> bool:
    """Return whether all of few units are dead, perhaps by chance, and layers before learn anyway.

    So it is with a gate that gets an average over positions, which hardly differs between examples.
    """
    units = layer.shape[-1] if layer.shape else 0
    if units >= _BEYOND_CHANCE or layer.dead != 1:
        return False
    return any(one.gradient is not None and one.gradient.norm > 0 for one in earlier)


@rule(
    "vanishing",
    levels={
        "warning": "",
        "error": "if gradients are 0",
        "note": "if no kernel gets too small an input because of it, unless all gradients are as "
        "small beside the loss",
    },
    finds=f"a standard deviation below {VANISHING:g} before the activation",
    reason="negligible next to a bias after its first update. Small gradients train with Adam, "
    "which normalizes them, gradients of 0 do not; a small output that is added to a larger one, "
    "or normalized, is harmless",
    remedy="`HeNormal`, `GlorotUniform`",
)
def vanishing(measured: Measurements) -> Iterator[Finding]:
    if is_held_back(measured) or are_constant(measured):
        return
    limit = VANISHING
    small = []
    for layer in measured.layers:
        # A kernel of zeros causes everything after it, and has its own verdict.
        if layer.flow.loses_signal and layer.has_zeros:
            break
        # So do a layer of dead units, and inputs of zeros.
        if layer.dead == 1 or gets_zeros(layer, measured):
            break
        signal = layer.signal
        if signal.nonfinite or (layer.has_zeros and signal.zeros == 1):
            continue
        if signal.std < limit and has_enough_values(layer):
            small.append(layer)
    cause = _outside(measured, lambda signal: signal.std)
    if cause is not None and not cause.std < SMALL_INPUTS:
        cause = None
    harmful: Level = "warning"
    norms = [norm for _, norm in measured.gradient_norms]
    # Zeros have their own verdict.
    if norms and norms[0] == 0 and not any(layer.has_zeros for layer in measured.layers):
        harmful = "error"

    def does_harm(layer: LayerReport) -> bool:
        if layer.output is not None and _are_slight(measured):
            return True
        return layer.flow.loses_signal or layer.flow.is_starved

    for level, hit in by_level(small, harmful, does_harm):
        evidence = _deviations(measured.inputs, hit, "falls")
        if level == "note":
            evidence += "; no later layer gets too small an input because of it"
        yield Finding(hit, evidence, signal_remedy(hit, cause, measured), level)


def _are_slight(measured: Measurements) -> bool:
    """Return whether no gradient is noticeable beside the loss.

    A last layer that only starts small, or at 0, gets one itself.
    """
    objective, norms = measured.objective, measured.gradient_norms
    if objective is None or objective.value is None or not norms:
        return False
    return max(norm for _, norm in norms) < VANISHING * objective.value


def is_gate(layer: LayerReport) -> bool:
    """Return whether `layer` learns, but what is before it does not yet.

    That is because it still adds little to a larger signal, as ReZero does.
    """
    if layer.flow.loses_signal or layer.flow.is_starved or layer.output is not None:
        return False
    if layer.shape is None or not layer.signal.std < VANISHING:
        return False
    return any(weight.gradient for weight in layer.weights if weight.name != "bias")


def input_size(layer: LayerReport) -> str:
    """Return a phrase with the size of the values before the activation if they are known."""
    if layer.before is None:
        return ""
    return f", its input has standard deviation {layer.before.std:.3g}"


def _depth(measured: Measurements) -> int:
    """Return the number of layers with kernels."""
    return sum(layer.has_kernel for layer in measured.layers)


def _examples(layer: LayerReport) -> int:
    """Return the number of examples in the output of `layer`, 0 if it is not known."""
    if not layer.shape:
        return 0
    return layer.shape[0]


def _outside(measured: Measurements, size: Callable[[Signal], float]) -> Signal | None:
    """Return the largest inputs of the first kernels, as `Rescaling` or others have left them.

    Largest are those with values that are not finite, then those of the largest `size`. `None` if
    the model has no inputs that are numbers.
    """
    signals = []
    for layer in measured.layers:
        if layer.first_inputs is not None:
            signals.append(layer.first_inputs)
    if not signals:
        return measured.inputs
    return max(signals, key=lambda signal: (signal.nonfinite, size(signal)))


def _deviations(inputs: Signal | None, hit: Sequence[LayerReport], verb: str) -> str:
    """Describe the standard deviation from the inputs to the first and last affected layer."""
    first = hit[0]
    last = hit[-1]
    text = f"the standard deviation {verb} "
    if inputs is not None:
        text += f"from {inputs.std:.3g} at the inputs "
    text += f"to {first.signal.std:.3g} in {first.name}"
    if last is not first:
        text += f" and {last.signal.std:.3g} in {last.name}"
    return text + layer_count(hit)


def signal_remedy(
    hit: Sequence[LayerReport], inputs: Signal | None, measured: Measurements
) -> Remedy:
    """Return the remedy where a signal has become wrong in the first of `hit`, and the others.

    It starts with `inputs`, which are `None` unless they are the cause.
    """
    several = batch_of_one(measured)
    if several is not None:
        return several
    layer = hit[0]
    layers = measured.layers[: measured.layers.index(layer) + 1]
    choices = suitable_for_all(layers, _depth(measured))
    kernels = kernels_of(measured.layers[: measured.layers.index(hit[-1]) + 1])
    if inputs is not None:
        remedy = drawn_or_scaled(choices, kernels)
        # By a layer before, such as a `Rescaling`.
        if inputs.nonfinite:
            return remedy.after(f"finite inputs ({inputs.nonfinite:.0%} of them are not)")
        size = f"their standard deviation is {inputs.std:.3g}"
        if abs(inputs.mean) > inputs.std:
            size = f"their mean is {inputs.mean:.3g}, {size}"
        return remedy.after(f"standardize the inputs ({size})")
    has_gate = layer.recurrence is not None and layer.recurrence.gate is not None
    if has_gate and has_large_biases([layer]):
        return open_gates([layer])
    if has_growing_state(layer):
        return orthogonal_recurrence([layer])
    remedy = drawn_or_scaled(choices, kernels, after=" in this and all earlier layers")
    remedy = without_large_biases(remedy, layers, layers)
    # LSUV would give steep activations the size that makes noise.
    if not choices or any(map(is_steep, layers)):
        return remedy
    return remedy.otherwise(LSUV, "; if they have it, ")


def batch_of_one(measured: Measurements) -> Remedy | None:
    """Return the remedy where a batch normalization got a single example, otherwise `None`.

    It then gives its offset whatever the weights are.
    """
    for layer in measured.layers:
        is_of_one = layer.kind == "BatchNormalization" and layer.shape and layer.shape[0] == 1
        if is_of_one and layer.signal.std == 0:
            return Remedy(f"a batch of several examples, because {layer.name} normalizes over them")
    return None


# Activations whose slope at 0 is 0.
_NO_SLOPE_AT_0 = ("relu", "relu6")


def smaller_branches(measured: Measurements) -> Remedy | None:
    """Return the remedy where the sum of residual branches grows, `None` without branches.

    Each branch starts at 0, or, if it ends in a ReLU, at a fraction: a ReLU of zeros gets no
    gradient, and the branch would stay 0.
    """
    ends = []
    is_flat = False
    for place, layer in enumerate(measured.layers):
        if layer in measured.branch_ends:
            is_flat = is_flat or activation_after(layer) in _NO_SLOPE_AT_0
            # What multiplies stands before the activation.
            ends.append(_last_that_multiplies(measured.layers[: place + 1]))
    if not ends:
        return None
    kernels = kernels_of(ends)
    name = "kernel"
    if not kernels:
        kernels = weights_named("gamma", ends)
        name = "gamma"
    initializer: InitializerLike = "zeros"
    text = '"zeros"'
    if is_flat and name == "kernel":
        initializer = Scaled(HeNormal(), 1 / len(ends))
        text = f"keras_initx.Scaled(keras_initx.HeNormal(), 1 / {len(ends)})"
    elif is_flat:
        initializer = keras.initializers.Constant(1 / len(ends))
        text = f"keras.initializers.Constant(1 / {len(ends)})"
    return Remedy(
        f"{name}_initializer={text} in the last layer of each residual branch: "
        f"{listed(names_of(ends))}",
        rules_for(kernels, initializer),
    )


def _last_that_multiplies(layers: Sequence[LayerReport]) -> LayerReport:
    """Return the last of `layers` with a kernel or a scale, or the last of all."""
    for layer in reversed(layers):
        if kernels_of([layer]) or weights_named("gamma", [layer]):
            return layer
    return layers[-1]


def growing_sums(measured: Measurements) -> Remedy | None:
    """Return the remedy where a signal grows by the sum of branches alone, otherwise `None`.

    Then no kernel makes it much larger.
    """
    smaller = smaller_branches(measured)
    if smaller is None or any(exceeds(layer.gain, 2) for layer in measured.layers):
        return None
    return smaller.otherwise(Remedy("a normalization at the start of each branch"), "; or ")
