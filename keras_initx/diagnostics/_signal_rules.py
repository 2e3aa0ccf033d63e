"""The rules about signals: the inputs of a model, and the outputs of its layers."""

import itertools
from collections.abc import Callable, Iterator, Sequence

from keras_initx.diagnostics._measure import LayerReport, Measurements
from keras_initx.diagnostics._rule import (
    STANDARDIZED_TARGETS,
    Finding,
    by_level,
    gradient_norms,
    has_unscaled_inputs,
    has_zeros,
    inputs_first,
    inputs_of,
    is_rescaled,
    layer_count,
    misses_targets,
    normalization_of,
    root_mean_square,
    rule,
    signal_of,
    suggestion,
)
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._verdicts import Level


@rule(
    "unscaled inputs",
    levels={"warning": "", "note": "if a normalization follows directly"},
    finds="a kernel whose inputs come from outside the model and have a root mean square above {unscaled_inputs}",
    reason="standardized inputs have 1, images in [0, 1] have 0.6, and raw 8-bit images 150; inputs ten times too "
    "large saturate most activations",
    remedy="`Normalization`, `Rescaling`",
)
def unscaled_inputs(measured: Measurements) -> Iterator[Finding]:
    unscaled = [
        layer
        for layer in measured.layers
        if has_unscaled_inputs(layer, measured)
        and inputs_of(layer).size >= measured.thresholds.least_values
    ]
    for level, hit in by_level(unscaled, "warning", lambda layer: not is_rescaled(layer)):
        first, inputs = hit[0], inputs_of(hit[0])
        reason = (
            normalization_of(first)
            if level == "note"
            else ": initializers assume inputs of standard deviation 1"
        )
        yield Finding(
            hit,
            f"{first.name} gets inputs from {inputs.min:.3g} to {inputs.max:.3g}, with mean {inputs.mean:.3g} "
            f"and standard deviation {inputs.std:.3g}{layer_count(hit)}{reason}",
            "standardize the inputs: keras.layers.Normalization() adapted to the data, or "
            "keras.layers.Rescaling(1 / 127.5, offset=-1) for images from 0 to 255",
            level,
        )


@rule(
    "exploding",
    levels={"error": "", "note": "if a normalization follows directly and all values are finite"},
    finds="a standard deviation above {exploding}, or a value that is not finite",
    reason="a thousand times that of standardized inputs saturates any softmax, and the loss and its gradients are as "
    "large",
    remedy="scaled inputs, `HeNormal`, `GlorotUniform`",
)
def exploding(measured: Measurements) -> Iterator[Finding]:
    inputs, limit = measured.inputs, measured.thresholds.exploding
    large = [
        layer
        for layer in measured.layers
        if signal_of(layer).nonfinite
        or (_has_enough_values(layer, measured) and signal_of(layer).std > limit)
    ]
    outside = _outside(measured, root_mean_square)
    if outside and not (outside.nonfinite or root_mean_square(outside) > limit / 10):
        outside = None
    for level, hit in by_level(
        large, "error", lambda layer: signal_of(layer).nonfinite or not is_rescaled(layer)
    ):
        evidence = _deviations(inputs, hit, "grows")
        lost = next((layer for layer in hit if signal_of(layer).nonfinite), None)
        if lost:
            evidence += (
                f"; {signal_of(lost).nonfinite:.0%} of the outputs of {lost.name} are not finite"
            )
        if level == "note":
            evidence += normalization_of(hit[0])
        yield Finding(hit, evidence, _remedy(hit[0], outside), level)


@rule(
    "focused attention",
    levels={"warning": ""},
    finds="an attention layer whose queries give a single key more than {attention_focus} of their weight on average",
    reason="at 0.9 the softmax has a third of its largest derivative, and queries and keys hardly learn (Vaswani and "
    "others, 2017)",
    remedy="`GlorotUniform` for queries and keys",
)
def focused_attention(measured: Measurements) -> Iterator[Finding]:
    hit = [
        layer
        for layer in measured.layers
        if (layer.focus or 0) > measured.thresholds.attention_focus
    ]
    if hit:
        worst = max(hit, key=lambda layer: layer.focus or 0)
        yield Finding(
            hit,
            f"the queries of {worst.name}, of standard deviation {signal_of(worst).std:.3g}, give a single key "
            f"{worst.focus:.0%} of their weight on average{layer_count(hit)}: they get little gradient",
            "smaller kernels of queries and keys: GlorotUniform(), or a normalization before the attention layer",
        )


@rule(
    "saturated",
    levels={"warning": ""},
    finds="a fraction above {saturated} of the outputs near a limit: within {saturation_margin} of it, relative to the "
    "distance between the limits",
    reason="beyond 0.99 tanh has 2% of its gradient; this happens to 1% of the outputs for inputs of standard "
    "deviation 1, and to a quarter for 2.3",
    remedy="`GlorotUniform`, smaller inputs",
)
def saturated(measured: Measurements) -> Iterator[Finding]:
    hit = [
        layer
        for layer in measured.layers
        # The gradient of a final sigmoid does not matter with a crossentropy loss.
        if (layer.saturated or 0) > measured.thresholds.saturated
        and _has_enough_values(layer, measured)
        and not (layer.is_output and layer.activation == "sigmoid")
    ]
    if not hit:
        return
    worst = max(hit, key=lambda layer: layer.saturated or 0)
    outside = _outside(measured, root_mean_square)
    if outside and not root_mean_square(outside) > measured.thresholds.unscaled_inputs:
        outside = None
    yield Finding(
        hit,
        f"{worst.saturated:.0%} of the outputs of {worst.name} are at the limits of {worst.activation}"
        f"{_input_size(worst)}{layer_count(hit)}, where its gradient is almost 0",
        _remedy(hit[0], outside),
    )


@rule(
    "saturated output",
    levels={"warning": ""},
    finds="a final softmax or sigmoid that is saturated for a fraction of the examples above {saturated_output}",
    reason="the loss starts far above that of guessing, and the first steps only undo this",
    remedy="scaled inputs, smaller weights in the last layer",
)
def saturated_output(measured: Measurements) -> Iterator[Finding]:
    hit = [layer for layer in measured.layers if _is_certain(layer, measured)]
    if not hit:
        return
    worst = max(hit, key=lambda layer: layer.certain or 0)
    yield Finding(
        hit,
        f"{worst.name} is saturated for {worst.certain:.0%} of the examples before training{_input_size(worst)}"
        f"{layer_count(hit)}: the loss starts far above that of guessing, and the first steps only undo this",
        f"{inputs_first(measured)}GlorotUniform() or smaller weights in the last layer",
    )


@rule(
    "large first loss",
    levels={"warning": ""},
    finds="an output whose loss is above {first_loss}, and as many times that of a blind guess",
    reason="usual weights give 1 to 4 times a blind guess; the first steps only undo what is above (Karpathy, A recipe "
    "for training neural networks, 2019)",
    remedy="scaled inputs, smaller weights in the last layer, residual branches that start at 0, standardized targets",
)
def large_first_loss(measured: Measurements) -> Iterator[Finding]:
    limits = measured.thresholds
    # Outputs start at about 1, however small the targets are.
    ratios = [
        (one, one.loss / max(one.blind_loss, 1))
        for one in measured.layers
        if one.loss and one.blind_loss
    ]
    large = [
        pair
        for pair in ratios
        if limits.first_loss < pair[1] and signal_of(pair[0]).std <= limits.exploding
    ]
    # What explodes or is saturated has its own verdict.
    hit = [
        pair
        for pair in large
        if _has_enough_values(pair[0], measured) and not _is_certain(pair[0], measured)
    ]
    if not hit:
        return
    worst, _ = max(hit, key=lambda pair: pair[1])
    signal, count = signal_of(worst), layer_count([layer for layer, _ in hit])
    remedy = inputs_first(measured) + (
        "smaller weights in the last layer: GlorotUniform(); a normalization, or residual branches that end in zeros"
    )
    if misses_targets(worst):
        remedy = STANDARDIZED_TARGETS
    yield Finding(
        [layer for layer, _ in hit],
        f"the loss of {worst.name} starts at {worst.loss:.3g}, that of a blind guess is {worst.blind_loss:.3g}; its "
        f"outputs have standard deviation {signal.std:.3g}{count}",
        remedy,
    )


@rule(
    "dead units",
    levels={"warning": "", "error": "if all units of a layer are dead"},
    finds="a fraction above {dead} of the units with output 0 for the whole batch",
    reason="a dead unit gets no gradient. About half is normal: in a deep network examples become similar, so that a "
    "unit is on or off for all of them",
    remedy="`HeNormal` and `ReLUBias`",
)
def dead(measured: Measurements) -> Iterator[Finding]:
    hit = [
        layer
        for layer in measured.layers
        if (layer.dead or 0) > measured.thresholds.dead
        and _examples(layer) >= measured.thresholds.least_values
    ]
    if not hit:
        return
    worst = max(hit, key=lambda layer: layer.dead or 0)
    before = worst.before or Signal()
    yield Finding(
        hit,
        f"{worst.dead:.0%} of the units of {worst.name} output 0 for all {_examples(worst)} examples; their inputs "
        f"have mean {before.mean:.3g} and standard deviation {before.std:.3g}{layer_count(hit)}: they get no gradient",
        "weights with mean 0 and a nonnegative bias: HeNormal() with bias_initializer=ReLUBias(0.01)",
        "error" if worst.dead == 1 else "warning",
    )


@rule(
    "vanishing",
    levels={
        "warning": "",
        "error": "if gradients are 0",
        "note": "if no kernel gets too small an input because of it",
    },
    finds="a standard deviation below {vanishing} before the activation",
    reason="negligible next to a bias after its first update. Small gradients train with Adam, which normalizes them, "
    "gradients of 0 do not; a small output that is added to a larger one, or normalized, is harmless",
    remedy="`HeNormal`, `GlorotUniform`",
)
def vanishing(measured: Measurements) -> Iterator[Finding]:
    inputs, limit = measured.inputs, measured.thresholds.vanishing
    # A kernel of zeros causes everything after it, and has its own verdict.
    before_zeros = itertools.takewhile(
        lambda layer: not (layer.loses_signal and has_zeros(layer)), measured.layers
    )
    small = [
        layer
        for layer in before_zeros
        if _has_enough_values(layer, measured)
        and signal_of(layer).std < limit
        and not signal_of(layer).nonfinite
        and not (has_zeros(layer) and signal_of(layer).zeros == 1)
    ]
    outside = _outside(measured, lambda signal: signal.std)
    if outside and not outside.std < limit:
        outside = None
    # Zeros have their own verdict.
    is_cut = not any(map(has_zeros, measured.layers)) and any(
        norm == 0 for _, norm in gradient_norms(measured)[:1]
    )
    harmful: Level = "error" if is_cut else "warning"
    for level, hit in by_level(
        small, harmful, lambda layer: layer.loses_signal or layer.is_starved
    ):
        evidence = _deviations(inputs, hit, "falls")
        if level == "note":
            evidence += "; no later layer gets too small an input because of it"
        yield Finding(hit, evidence, _remedy(hit[0], outside), level)


@rule(
    "alike",
    levels={"warning": ""},
    finds="a layer, group or RMS normalization whose outputs have a mean cosine above {examples_alike} between "
    "examples, or above {positions_alike} between positions, if that of the first layer is ten times as far from 1",
    reason="later layers get almost the same for all, which the standard deviation does not show. ReLU makes examples "
    "alike with depth (Cho and Saul, 2009), attention makes positions alike (Dong and others, 2021)",
    remedy="residual connections, normalization inside the branches",
)
def alike(measured: Measurements) -> Iterator[Finding]:
    for name in ("examples_alike", "positions_alike"):
        limit = getattr(measured.thresholds, name)
        found = [
            (layer, cosine)
            for layer in measured.layers
            if (cosine := getattr(layer, name)) is not None
        ]
        hit = [
            (layer, cosine)
            for layer, cosine in found
            if cosine > limit and found[0][1] < 1 - 10 * (1 - limit)
        ]
        if hit:
            (first, start), (last, end), layers = found[0], hit[-1], [layer for layer, _ in hit]
            yield Finding(
                layers,
                f"the mean cosine of the outputs for different {name.split('_')[0]} is {end:.5f} in {last.name} and "
                f"{start:.2f} in {first.name}{layer_count(layers)}: later layers get the same for all",
                "residual connections with the normalization inside each branch, or the rules of recipes.deepnorm",
            )


def _has_enough_values(layer: LayerReport, measured: Measurements) -> bool:
    return bool(signal_of(layer).size >= measured.thresholds.least_values)


def _is_certain(layer: LayerReport, measured: Measurements) -> bool:
    return bool((layer.certain or 0) > measured.thresholds.saturated_output)


def _examples(layer: LayerReport) -> int:
    return layer.shape[0] if layer.shape else 0


def _outside(measured: Measurements, size: Callable[[Signal], float]) -> Signal | None:
    """Return the largest inputs of the first kernels, as `Rescaling` or others have left them.

    Largest are those with values that are not finite, then those of the largest `size`. `None` if
    the model has no inputs that are numbers.
    """
    found = (layer.first_inputs for layer in measured.layers if layer.first_inputs)
    return max(found, key=lambda signal: (signal.nonfinite, size(signal)), default=measured.inputs)


def _input_size(layer: LayerReport) -> str:
    """Return a phrase with the size of the values before the activation if they are known."""
    return f", its input has standard deviation {layer.before.std:.3g}" if layer.before else ""


def _deviations(inputs: Signal | None, hit: Sequence[LayerReport], verb: str) -> str:
    """Describe the standard deviation from the inputs to the first and last affected layer."""
    first, last = hit[0], hit[-1]
    start = f"from {inputs.std:.3g} at the inputs " if inputs else ""
    text = f"the standard deviation {verb} {start}to {signal_of(first).std:.3g} in {first.name}"
    if last is not first:
        text += f" and {signal_of(last).std:.3g} in {last.name}"
    return text + layer_count(hit)


def _remedy(layer: LayerReport, inputs: Signal | None) -> str:
    """Return the remedy, which starts with `inputs`, `None` unless they are the cause."""
    if inputs and inputs.nonfinite:
        return f"finite inputs ({inputs.nonfinite:.0%} of them are not), then {suggestion(layer)}"
    if inputs:
        size = f"their standard deviation is {inputs.std:.3g}"
        if abs(inputs.mean) > inputs.std:
            size = f"their mean is {inputs.mean:.3g}, {size}"
        return f"standardize the inputs ({size}), then {suggestion(layer)}"
    return f"{suggestion(layer)} in this and all earlier layers; if they have it, keras_initx.lsuv(model, x)"
