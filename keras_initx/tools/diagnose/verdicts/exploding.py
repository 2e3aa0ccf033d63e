"""Exploding: signals, or gradients, that are too large, or not finite."""

import math
from collections.abc import Iterator, Sequence

from keras_initx._checks import summarize_names
from keras_initx.inspection._optimizers import read_step_facts, unwrap_optimizer
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._kernel_inputs import (
    find_largest_inputs,
    has_large_inputs,
    standardize_inputs_first,
)
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    list_kernels,
    measured_layers,
    trained_layers,
)
from keras_initx.tools.diagnose._redrawing import find_larger_weights, propose_redraw
from keras_initx.tools.diagnose._remedies import (
    describe_deviations,
    find_growing_kernels,
    misses_targets,
    propose_for_growing_sums,
    propose_for_signal,
    propose_orthogonal_recurrence,
    propose_standardized_targets,
)
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import (
    EXPLODING,
    FIRST_LOSS,
    HUGE,
    Finding,
    Level,
    describe_normalization,
    exceeds,
    group_by_level,
    rule,
    write_count,
    write_rest,
)
from keras_initx.tools.diagnose._signal import compute_signal_rms
from keras_initx.tools.diagnose._suitable_initializers import (
    choose_initializers,
    find_common_activation,
)
from keras_initx.tools.diagnose.losses.probes import LossProbe

# Gradient norm of a layer above which the gradient has exploded.
EXPLODING_GRADIENT = 1e5
# Gain of a recurrent kernel above which gradients explode over many steps.
_GROWING = 1.1
# A function that turns around as often within a standard deviation of its inputs gives unrelated
# outputs for neighbors. A sine does so a third as often as its arguments are large: those of
# published networks, up to 30, 10 times. Functions that keep the order of sizes do so once or less.
TURNS = 150


@rule("exploding", unless=["undefined loss"])
def exploding(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report signals, or gradients, that are too large or not finite.

    Reported if:
        - The standard deviation of a signal is above {EXPLODING:g}, or a value is not finite.
        - The norm of a gradient is above {EXPLODING_GRADIENT:g}, or not finite, and no signal and
          no loss is reported as an error.
        - A trained kernel gives arguments to a sine, or another function that repeats, which turns
          around more than {TURNS} times within their standard deviation.

    Level:
        error if a value or a gradient is not finite, or a signal is too large; note if a
        normalization follows directly and all values are finite; warning if only gradients, or
        arguments, are too large

    Why:
        - A signal of that size saturates any softmax. The loss and its gradients are as large.
        - No usual learning rate is small enough for such gradients. Clipping or Adam can
          compensate.
        - A normalization takes the scale away. For example, a ResNet-50 starts at a thousand, and
          trains.

    Typical causes:
        - raw inputs
        - kernels that are too large for the depth of the network
        - residual branches that add up without a normalization
        - a recurrent kernel with a gain above 1
        - a loss with a large factor, or a sum over examples
        - sines with a factor such as 1000

    Fix:
        - Scale your inputs.
        - Use `HeNormal` or `GlorotUniform`, and `Orthogonal` for recurrent kernels.
        - Use a smaller loss.
    """
    of_signals = list(_report_signals(diagnosis, layers))
    yield from of_signals
    # Large gradients are an effect of large signals.
    if any(finding.level == "error" for finding in of_signals):
        return
    of_gradients = list(_report_gradients(diagnosis))
    yield from of_gradients
    if not of_signals and not of_gradients:
        yield from _report_arguments(layers)


def _report_arguments(layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report layers whose outputs are too large as arguments of a function that repeats."""
    hit = []
    for layer in layers:
        is_trained = any(kernel.is_trained for kernel in layer.kernels)
        if is_trained and layer.turns > TURNS and not layer.first_inputs.are_large:
            hit.append(layer)
    if not hit:
        return
    first = hit[0]
    evidence = (
        f"the function after {first.title}{write_count(hit)} turns around about "
        f"{first.turns:.0f} times within a standard deviation of its inputs, with slopes up to "
        f"{first.slope:.3g}. So it gives unrelated outputs for similar examples"
    )
    text = (
        "use arguments of size 1 to 30 in the sine: a smaller factor, or smaller weights before it"
    )
    yield Finding(hit, evidence, Remedy(text))


def _report_signals(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    large = []
    for layer in layers:
        signal = layer.signal
        if signal.nonfinite or (layer.has_enough_values and signal.std > EXPLODING):
            large.append(layer)
    cause = find_largest_inputs(diagnosis, compute_signal_rms)
    if cause is not None and not cause.nonfinite and compute_signal_rms(cause) <= EXPLODING / 10:
        cause = None

    def does_harm(layer: MeasuredLayer) -> bool:
        return layer.signal.nonfinite > 0 or not layer.is_rescaled

    for level, hit in group_by_level(large, "error", does_harm):
        evidence = describe_deviations(diagnosis, hit, "grows")
        nonfinite = [layer for layer in hit if layer.signal.nonfinite]
        if all(layer.signal.nonfinite == 1 for layer in hit):
            evidence = f"no output of {hit[0].title} is finite{write_count(hit)}"
        elif nonfinite:
            first = nonfinite[0]
            share = f"{first.signal.nonfinite:.0%}"
            evidence += f"; {share} of the outputs of {first.title} are not finite"
        if level == "note":
            evidence += describe_normalization(hit[0])
        evidence += _describe_huge_kernels(hit)
        remedy = propose_for_signal(hit, cause, diagnosis)
        sums = propose_for_growing_sums(diagnosis)
        if cause is None and sums is not None:
            remedy = sums
        yield Finding(hit, evidence, remedy, level)


def _describe_huge_kernels(hit: Sequence[MeasuredLayer]) -> str:
    """Write which kernels alone suffice to make these signals, with their size."""
    huge = [kernel for kernel in list_kernels(hit) if kernel.report.std > HUGE]
    if not huge:
        return ""
    size = f"a standard deviation of {huge[0].report.std:.3g}"
    return f"; the cause is {huge[0].path} with {size}{write_rest(huge)}"


def _report_gradients(diagnosis: Diagnosis) -> Iterator[Finding]:
    norms: dict[MeasuredLayer, float] = {}
    level: Level = "warning"
    for layer, norm in trained_layers(diagnosis):
        if not norm <= EXPLODING_GRADIENT:  # also if it is NaN
            norms[layer] = norm
            if not math.isfinite(norm):
                level = "error"
    if not norms:
        return
    hit = list(norms)
    evidence = (
        f"the gradient norm of {hit[0].title} is {norms[hit[0]]:.3g}{write_count(hit)}; "
        f"the limit is {EXPLODING_GRADIENT:g}"
    )
    remedy = _propose_smaller_gradients(hit, diagnosis)
    yield Finding(hit, evidence, remedy, level, reads_loss=True)


def _propose_smaller_gradients(hit: Sequence[MeasuredLayer], diagnosis: Diagnosis) -> Remedy:
    """Propose smaller gradients, by changing targets, kernels, branches, weights or the loss."""
    layers = measured_layers(diagnosis)
    for layer in layers:
        if misses_targets(layer) and exceeds(layer.output.loss, FIRST_LOSS):
            return propose_standardized_targets()
    growing = find_growing_kernels(layers) or find_growing_kernels(hit, _GROWING)
    if growing:
        return standardize_inputs_first(diagnosis, propose_orthogonal_recurrence(growing))
    sums = propose_for_growing_sums(diagnosis)
    if sums is not None and not has_large_inputs(diagnosis):
        return sums
    remedy = _propose_smaller_weights(diagnosis)
    if remedy is None and has_large_inputs(diagnosis):
        return Remedy("standardize the inputs")
    if remedy is None:
        remedy = _propose_smaller_loss(diagnosis)
    is_certain = any(layer.is_steep for layer in layers) or bool(diagnosis.probe(LossProbe).heads)
    if not is_certain and not any(layer.signal.nonfinite for layer in layers):
        other_loss = Remedy(
            "use a loss that matches the outputs (`from_logits=True` if there is no softmax)"
        )
        remedy = other_loss.otherwise(remedy)
    return standardize_inputs_first(diagnosis, remedy)


def _propose_smaller_weights(diagnosis: Diagnosis) -> Remedy | None:
    """Propose to redraw weights that are too large, `None` if there are none."""
    layers = measured_layers(diagnosis)
    choices = choose_initializers(layers, find_common_activation(layers), is_deep=True)
    kernels = list_kernels(layers)
    if not choices:
        return propose_redraw(choices, kernels)
    large = find_larger_weights(choices, kernels)
    if not large:
        return None
    where = ""
    if large != kernels:
        where = f" in {summarize_names([kernel.path for kernel in large], shown=2)}"
    return propose_redraw(choices, large, "draw smaller weights: ", where)


def _propose_smaller_loss(diagnosis: Diagnosis) -> Remedy:
    """Propose another loss, if weights and inputs are as they should be."""
    text = "use a smaller loss, for example this one times a factor"
    for head in diagnosis.probe(LossProbe).heads:
        if head.loss.is_sum:
            text = "use the mean of the losses of the examples instead of their sum"
        elif head.loss.factor > 1:
            text = f"use the loss without its factor of {head.loss.factor:.3g}"
    remedy = Remedy(text)
    optimizer = unwrap_optimizer(getattr(diagnosis.model, "optimizer", None))
    if not read_step_facts(optimizer).is_clipped:
        clipped = Remedy("clip gradients: global_clipnorm=1.0 in the optimizer")
        remedy = remedy.otherwise(clipped)
    return remedy
