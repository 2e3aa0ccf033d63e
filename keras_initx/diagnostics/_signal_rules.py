"""The rules about signals: the inputs of a model, and the outputs of its layers."""

from collections.abc import Callable, Iterator, Sequence

from keras_initx.diagnostics._measure import LayerReport, Measurements
from keras_initx.diagnostics._rule import (
    LSUV,
    OPEN_GATES,
    RECURRENT,
    SCALED,
    STANDARDIZED_TARGETS,
    Finding,
    batch_of_one,
    branch_zeros,
    by_level,
    exceeds,
    gives_one_class,
    gradient_norms,
    growing_sums,
    has_growing_state,
    has_kernel,
    has_large_biases,
    has_unscaled_inputs,
    has_zeros,
    inputs_first,
    inputs_of,
    is_misread,
    is_rescaled,
    is_steep,
    layer_count,
    misses_targets,
    normalization_of,
    remedy_in_depth,
    root_mean_square,
    rule,
    signal_of,
    suggestion_for_all,
)
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._verdicts import Level


@rule(
    "unscaled inputs",
    levels={"warning": "", "note": "if a normalization follows directly"},
    finds="a kernel whose inputs come from outside the model and have a root mean square above "
    "{unscaled_inputs}, or a single one of which has in vectors",
    reason="standardized inputs have 1, images in [0, 1] have 0.6, and raw 8-bit images 150; "
    "inputs ten times too large saturate most activations",
    remedy="`Normalization`, `Rescaling`",
)
def unscaled_inputs(measured: Measurements) -> Iterator[Finding]:
    unscaled = []
    for layer in measured.layers:
        has_enough_values = inputs_of(layer).size >= measured.thresholds.least_values
        if has_enough_values and has_unscaled_inputs(layer, measured):
            unscaled.append(layer)
    remedy = (
        "standardize the inputs: keras.layers.Normalization() adapted to the data, or "
        "keras.layers.Rescaling(1 / 127.5, offset=-1) for images from 0 to 255"
    )
    for level, hit in by_level(unscaled, "warning", lambda layer: not is_rescaled(layer)):
        first = hit[0]
        inputs = inputs_of(first)
        evidence = (
            f"{first.name} gets inputs from {inputs.min:.3g} to {inputs.max:.3g}, with mean "
            f"{inputs.mean:.3g} and standard deviation {inputs.std:.3g}{layer_count(hit)}"
        )
        if root_mean_square(inputs) <= measured.thresholds.unscaled_inputs:
            index, size = first.largest_input or (0, 0.0)
            evidence += f", and at index {index} a root mean square of {size:.3g}"
        if level == "note":
            evidence += normalization_of(first)
        else:
            evidence += ": initializers assume inputs of standard deviation 1"
        yield Finding(hit, evidence, remedy, level)


@rule(
    "inputs not finite",
    levels={"error": ""},
    finds="inputs with NaN or infinities, if outputs are not finite either; nothing else is then "
    "reported",
    reason="all that is computed of them is NaN, the loss and its gradients too",
    remedy="values in the place of what is missing, or examples without",
)
def nonfinite_inputs(measured: Measurements) -> Iterator[Finding]:
    inputs = measured.inputs
    # A model may replace them itself.
    lost = [layer for layer in measured.layers if signal_of(layer).nonfinite]
    if inputs is None or not inputs.nonfinite or not lost:
        return
    count = round(inputs.nonfinite * inputs.size)
    evidence = f"the inputs are not finite: {count} of {inputs.size} values are NaN or infinite"
    remedy = "replace these values of `x`, for example by `numpy.nan_to_num(x)`, or leave them out"
    yield Finding(lost, evidence, remedy, "error")


@rule(
    "exploding",
    levels={"error": "", "note": "if a normalization follows directly and all values are finite"},
    finds="a standard deviation above {exploding}, or a value that is not finite",
    reason="a thousand times that of standardized inputs saturates any softmax, and the loss and "
    "its gradients are as large",
    remedy="scaled inputs, `HeNormal`, `GlorotUniform`",
)
def exploding(measured: Measurements) -> Iterator[Finding]:
    limit = measured.thresholds.exploding
    large = []
    for layer in measured.layers:
        signal = signal_of(layer)
        if signal.nonfinite or (_has_enough_values(layer, measured) and signal.std > limit):
            large.append(layer)
    cause = _outside(measured, root_mean_square)
    if cause is not None and not cause.nonfinite and not root_mean_square(cause) > limit / 10:
        cause = None

    def does_harm(layer: LayerReport) -> bool:
        return signal_of(layer).nonfinite > 0 or not is_rescaled(layer)

    for level, hit in by_level(large, "error", does_harm):
        first = hit[0]
        evidence = _deviations(measured.inputs, hit, "grows")
        lost = [layer for layer in hit if signal_of(layer).nonfinite]
        if lost:
            share = f"{signal_of(lost[0]).nonfinite:.0%}"
            evidence += f"; {share} of the outputs of {lost[0].name} are not finite"
        if level == "note":
            evidence += normalization_of(first)
        remedy = _remedy(first, cause, measured)
        sums = growing_sums(measured)
        if cause is None and sums is not None:
            remedy = sums
        yield Finding(hit, evidence, remedy, level)


@rule(
    "focused attention",
    levels={"warning": ""},
    finds="an attention layer whose queries give a single one of at least four keys more than "
    "{attention_focus} of their weight on average",
    reason="scores of standard deviation 1 give a tenth to a half, those of 6 among 32 keys three "
    "quarters: then most softmaxes are saturated, and queries and keys hardly learn (Vaswani and "
    "others, 2017)",
    remedy="`GlorotUniform` for queries and keys, scores divided by the square root of the size of "
    "a head",
)
def focused_attention(measured: Measurements) -> Iterator[Finding]:
    limit = measured.thresholds.attention_focus
    hit = [layer for layer in measured.layers if exceeds(layer.focus, limit)]
    if not hit:
        return
    worst = max(hit, key=lambda layer: layer.focus or 0)
    evidence = (
        f"the queries of {worst.name}, of standard deviation {signal_of(worst).std:.3g}, give a "
        f"single key {worst.focus:.0%} of their weight on average{layer_count(hit)}: they get "
        "little gradient"
    )
    remedy = (
        "smaller kernels of queries and keys: keras_initx.GlorotUniform(), or a normalization "
        "before the attention layer"
    )
    # Queries of this size give scores of size 1 if these are scaled.
    if signal_of(worst).std < _LARGE_QUERIES:
        remedy = (
            "scores divided by the square root of the size of a head, as in "
            "keras.layers.MultiHeadAttention"
        )
    yield Finding(hit, evidence, remedy)


@rule(
    "one-sided router",
    levels={"warning": ""},
    finds="a softmax inside the model that gives a single unit more than {router_share} of its "
    "weight, on average over the batch",
    reason="what the other units stand for, such as experts, is hardly used and gets little "
    "gradient, so that they do not catch up (Shazeer and others, 2017)",
    remedy="`SmallNormal` and a bias of zeros for the router, a normalization before it",
)
def one_sided_router(measured: Measurements) -> Iterator[Finding]:
    limit = measured.thresholds.router_share
    hit = []
    for layer in measured.layers:
        if layer.is_output or not _has_enough_values(layer, measured):
            continue
        if exceeds(layer.router_share, limit):
            hit.append(layer)
    if not hit:
        return
    worst = max(hit, key=lambda layer: layer.router_share or 0)
    evidence = (
        f"the softmax of {worst.name} gives {worst.router_share:.0%} of its weight to one of "
        f"{(worst.shape or (0,))[-1]} units for the whole batch{layer_count(hit)}: the others are "
        "hardly used"
    )
    remedy = (
        f'keras_initx.SmallNormal() and bias_initializer="zeros" in {worst.name}, or a '
        "normalization before it"
    )
    yield Finding(hit, evidence, remedy)


@rule(
    "steep activation",
    levels={"warning": ""},
    finds="a kernel inside the model that together with its activation, a function or layer of "
    "one's own such as sin(30 x), makes differences between examples more than {steep_activation} "
    "times as large",
    reason="such layers turn small differences into noise: the network can learn what it sees, and "
    "gives anything in between (Sitzmann and others, 2020). Those that keep the size have 1",
    remedy='`VarianceScaling(2 / 30**2, distribution="uniform")` for sin(30 x)',
)
def steep_activation(measured: Measurements) -> Iterator[Finding]:
    limit = measured.thresholds.steep_activation
    hit = []
    for layer in measured.layers:
        # In the first layer the frequencies are chosen.
        if layer.slopes is None or layer.gain is None or layer.first_inputs is not None:
            continue
        slope, largest = layer.slopes
        # A function with one slope only changes the size of signals.
        if slope > 0.99 * largest:
            continue
        factor = layer.gain * slope
        if factor > limit and not layer.is_output and _has_enough_values(layer, measured):
            hit.append((layer, slope, largest, factor))
    if not hit:
        return
    layers = [layer for layer, *_ in hit]
    worst, slope, largest, factor = max(hit, key=lambda one: one[-1])
    evidence = (
        f"the activation of {worst.name} has slopes up to {largest:.3g}, and a root mean square of "
        f"{slope:.3g}; with the kernel it makes differences between examples "
        f"{factor:.3g} times as large{layer_count(layers)}: what comes out resembles noise"
    )
    yield Finding(layers, evidence, f"{suggestion_for_all(layers, measured)} in these layers")


@rule(
    "saturated",
    levels={"warning": ""},
    finds="a fraction above {saturated} of the outputs near a limit: within {saturation_margin} of "
    "it, relative to the distance between the limits",
    reason="beyond 0.99 tanh has 2% of its gradient; this happens to 1% of the outputs for inputs "
    "of standard deviation 1, and to a quarter for 2.3",
    remedy="`GlorotUniform`, smaller inputs",
)
def saturated(measured: Measurements) -> Iterator[Finding]:
    limits = measured.thresholds
    hit = []
    for layer in measured.layers:
        # The gradient of a final sigmoid does not matter with a crossentropy loss.
        if layer.is_output and layer.activation == "sigmoid":
            continue
        if exceeds(layer.saturated, limits.saturated) and _has_enough_values(layer, measured):
            hit.append(layer)
    if not hit:
        return
    worst = max(hit, key=lambda layer: layer.saturated or 0)
    evidence = (
        f"{worst.saturated:.0%} of the outputs of {worst.name} are at the limits of "
        f"{worst.activation}{_input_size(worst)}{layer_count(hit)}, where its gradient is almost 0"
    )
    cause = _outside(measured, root_mean_square)
    if cause is not None and not root_mean_square(cause) > limits.unscaled_inputs:
        cause = None
    yield Finding(hit, evidence, _remedy(hit[0], cause, measured))


@rule(
    "saturated output",
    levels={"warning": ""},
    finds="a final softmax or sigmoid that is saturated for a fraction of the examples above "
    "{saturated_output}",
    reason="the loss starts far above that of guessing, and the first steps only undo this",
    remedy="scaled inputs, smaller weights in the last layer",
)
def saturated_output(measured: Measurements) -> Iterator[Finding]:
    hit = [layer for layer in measured.layers if _is_certain(layer, measured)]
    if not hit:
        return
    worst = max(hit, key=lambda layer: layer.certain or 0)
    evidence = (
        f"{worst.name} is saturated for {worst.certain:.0%} of the examples before training"
        f"{_input_size(worst)}{layer_count(hit)}: the loss starts far above that of guessing, and "
        "the first steps only undo this"
    )
    smaller = "smaller weights in the last layer: keras_initx.GlorotUniform()"
    yield Finding(hit, evidence, inputs_first(measured) + smaller)


@rule(
    "large first loss",
    levels={"warning": ""},
    finds="an output whose loss is above {first_loss}, and as many times that of a blind guess",
    reason="usual weights give 1 to 4 times a blind guess; the first steps only undo what is above "
    "(Karpathy, A recipe for training neural networks, 2019)",
    remedy="scaled inputs, smaller weights in the last layer, residual branches that start at 0, "
    "standardized targets",
)
def large_first_loss(measured: Measurements) -> Iterator[Finding]:
    limits = measured.thresholds
    hit = []
    for layer in measured.layers:
        if not layer.loss or not layer.blind_loss or is_misread(layer, measured):
            continue
        # What explodes or is saturated has its own verdict.
        if not signal_of(layer).std <= limits.exploding or _is_certain(layer, measured):
            continue
        # Outputs start at about 1, however small the targets are.
        ratio = layer.loss / max(layer.blind_loss, 1)
        if ratio > limits.first_loss and _has_enough_values(layer, measured):
            hit.append((layer, ratio))
    if not hit:
        return
    layers = [layer for layer, _ in hit]
    worst, _ = max(hit, key=lambda pair: pair[1])
    evidence = (
        f"the loss of {worst.name} starts at {worst.loss:.3g}, that of a blind guess is "
        f"{worst.blind_loss:.3g}; its outputs have standard deviation {signal_of(worst).std:.3g}"
        f"{layer_count(layers)}"
    )
    size = root_mean_square(worst.after or Signal())
    smaller_factor = (
        f"a smaller factor after {worst.name}: a higher temperature, a division by the square "
        "root of the number of units"
    )
    remedy = "smaller weights in the last layer: keras_initx.GlorotUniform()"
    if exceeds(worst.input_size, _LARGE_INPUTS) and not inputs_first(measured):
        remedy = f"keras.layers.LayerNormalization() before {worst.name}"
        evidence += f", and its inputs a root mean square of {worst.input_size:.3g}"
        zeros = branch_zeros(measured)
        if zeros is not None:
            remedy = f"{zeros}; or {remedy}"
    elif worst.weights and not has_kernel(worst):
        remedy = smaller_factor.replace("after", "in", 1)
    remedy = inputs_first(measured) + remedy
    # Operations follow the layer.
    if worst.output_size is not None and worst.output_size > 2 * size > 0:
        evidence += f"; what follows makes them {worst.output_size / size:.3g} times as large"
        remedy = smaller_factor
    if misses_targets(worst):
        remedy = STANDARDIZED_TARGETS
    yield Finding(layers, evidence, remedy)


@rule(
    "dead units",
    levels={"warning": "", "error": "if all units of a layer are dead"},
    finds="a fraction above {dead} of the units with output 0 for the whole batch",
    reason="a dead unit gets no gradient. About half is normal: in a deep network examples become "
    "similar, so that a unit is on or off for all of them",
    remedy="`HeNormal` and `ReLUBias`",
)
def dead(measured: Measurements) -> Iterator[Finding]:
    limits = measured.thresholds
    hit = []
    for layer in measured.layers:
        has_enough_examples = _examples(layer) >= limits.least_values
        if exceeds(layer.dead, limits.dead) and has_enough_examples:
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
    remedy = (
        "weights with mean 0 and a nonnegative bias: keras_initx.HeNormal() with "
        "bias_initializer=keras_initx.ReLUBias(0.01)"
    )
    level: Level = "warning"
    if worst.dead == 1:
        level = "error"
    yield Finding(hit, evidence, remedy, level)


@rule(
    "vanishing",
    levels={
        "warning": "",
        "error": "if gradients are 0",
        "note": "if no kernel gets too small an input because of it",
    },
    finds="a standard deviation below {vanishing} before the activation",
    reason="negligible next to a bias after its first update. Small gradients train with Adam, "
    "which normalizes them, gradients of 0 do not; a small output that is added to a larger one, "
    "or normalized, is harmless",
    remedy="`HeNormal`, `GlorotUniform`",
)
def vanishing(measured: Measurements) -> Iterator[Finding]:
    limit = measured.thresholds.vanishing
    small = []
    for layer in measured.layers:
        # A kernel of zeros causes everything after it, and has its own verdict.
        if layer.loses_signal and has_zeros(layer):
            break
        # So does a layer of dead units.
        if layer.dead == 1:
            break
        signal = signal_of(layer)
        if signal.nonfinite or (has_zeros(layer) and signal.zeros == 1):
            continue
        if signal.std < limit and _has_enough_values(layer, measured):
            small.append(layer)
    cause = _outside(measured, lambda signal: signal.std)
    if cause is not None and not cause.std < limit:
        cause = None
    harmful: Level = "warning"
    norms = [norm for _, norm in gradient_norms(measured)]
    # Zeros have their own verdict.
    if norms and norms[0] == 0 and not any(map(has_zeros, measured.layers)):
        harmful = "error"

    def does_harm(layer: LayerReport) -> bool:
        return layer.loses_signal or layer.is_starved

    for level, hit in by_level(small, harmful, does_harm):
        evidence = _deviations(measured.inputs, hit, "falls")
        if level == "note":
            evidence += "; no later layer gets too small an input because of it"
        yield Finding(hit, evidence, _remedy(hit[0], cause, measured), level)


@rule(
    "alike",
    levels={"warning": ""},
    finds="a layer, group or RMS normalization whose outputs have a mean cosine above "
    "{examples_alike} between examples, or above {positions_alike} between positions, if that of "
    "the first layer is ten times as far from 1; or a last layer whose inputs differ between "
    "examples by at most {inputs_differ} of their size, if those of the first do by ten times as "
    "much",
    reason="later layers get almost the same for all, which the standard deviation does not show. "
    "ReLU makes examples alike with depth (Cho and Saul, 2009), attention makes positions alike "
    "(Dong and others, 2021), and so do sigmoids, or biases beside small kernels",
    remedy="residual connections, normalization inside the branches; `Orthogonal` with biases of "
    "zeros",
)
def alike(measured: Measurements) -> Iterator[Finding]:
    examples: list[tuple[LayerReport, float]] = []
    positions: list[tuple[LayerReport, float]] = []
    for layer in measured.layers:
        if layer.examples_alike is not None:
            examples.append((layer, layer.examples_alike))
        if layer.positions_alike is not None:
            positions.append((layer, layer.positions_alike))
    found = list(_alike("examples", examples, measured.thresholds.examples_alike))
    yield from found
    yield from _alike("positions", positions, measured.thresholds.positions_alike)
    # The last layer gets what these have made alike.
    if not found:
        yield from _alike_at_the_end(measured)


def _alike_at_the_end(measured: Measurements) -> Iterator[Finding]:
    """Yield the finding on the inputs of the last layers, which differ too little."""
    limit = measured.thresholds.inputs_differ
    with_inputs = [layer for layer in measured.layers if layer.inputs_differ is not None]
    hit = []
    for layer in with_inputs:
        if layer.is_output and (layer.inputs_differ or 0.0) <= limit:  # not NaN
            hit.append(layer)
    # What differs little from the start is not made so by the network.
    if not hit or not exceeds(with_inputs[0].inputs_differ, 10 * limit):
        return
    # Weights that are no random numbers have their own verdicts.
    for layer in measured.layers:
        if layer.loses_signal or any(weight.constant or weight.zero for weight in layer.weights):
            return
    first = with_inputs[0]
    last = hit[0]
    evidence = (
        f"the inputs of {last.name} differ between examples by {last.inputs_differ:.1g} of their "
        f"root mean square, those of {first.name} by {first.inputs_differ:.1g}{layer_count(hit)}: "
        "the last layer gets the same for all"
    )
    hidden = measured.layers[: measured.layers.index(last)]
    yield Finding(hit, evidence, remedy_in_depth(hidden))


def _alike(
    what: str, cosines: Sequence[tuple[LayerReport, float]], limit: float
) -> Iterator[Finding]:
    """Yield the finding on the outputs for different examples, or for different positions.

    Args:
        what: `"examples"` or `"positions"`.
        cosines: Each layer with the mean cosine between them.
        limit: The cosine above which they have become alike.
    """
    hit = [(layer, cosine) for layer, cosine in cosines if cosine > limit]
    if not hit:
        return
    first, start = cosines[0]
    if not start < 1 - 10 * (1 - limit):
        return
    last, end = hit[-1]
    layers = [layer for layer, _ in hit]
    evidence = (
        f"the mean cosine of the outputs for different {what} is {end:.5f} in {last.name} and "
        f"{start:.2f} in {first.name}{layer_count(layers)}: later layers get the same for all"
    )
    remedy = (
        "residual connections with the normalization inside each branch, or the rules of "
        "keras_initx.recipes.deepnorm"
    )
    yield Finding(layers, evidence, remedy)


# A network that keeps the size of standardized inputs gives 1 to 2.
_LARGE_INPUTS = 5
# A kernel of He gives standardized inputs a standard deviation of 1.4.
_LARGE_QUERIES = 2


def _has_enough_values(layer: LayerReport, measured: Measurements) -> bool:
    return bool(signal_of(layer).size >= measured.thresholds.least_values)


def _is_certain(layer: LayerReport, measured: Measurements) -> bool:
    if gives_one_class(layer, measured):
        return False
    return exceeds(layer.certain, measured.thresholds.saturated_output)


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


def _input_size(layer: LayerReport) -> str:
    """Return a phrase with the size of the values before the activation if they are known."""
    if layer.before is None:
        return ""
    return f", its input has standard deviation {layer.before.std:.3g}"


def _deviations(inputs: Signal | None, hit: Sequence[LayerReport], verb: str) -> str:
    """Describe the standard deviation from the inputs to the first and last affected layer."""
    first = hit[0]
    last = hit[-1]
    text = f"the standard deviation {verb} "
    if inputs is not None:
        text += f"from {inputs.std:.3g} at the inputs "
    text += f"to {signal_of(first).std:.3g} in {first.name}"
    if last is not first:
        text += f" and {signal_of(last).std:.3g} in {last.name}"
    return text + layer_count(hit)


def _remedy(layer: LayerReport, inputs: Signal | None, measured: Measurements) -> str:
    """Return the remedy where a signal has first become wrong in `layer`.

    It starts with `inputs`, which are `None` unless they are the cause.
    """
    several = batch_of_one(measured)
    if several is not None:
        return several
    if inputs is None and layer.gate_bias is not None and has_large_biases([layer]):
        return OPEN_GATES[layer.gate_bias[0]]
    if inputs is None and has_growing_state(layer, measured):
        return RECURRENT
    layers = measured.layers[: measured.layers.index(layer) + 1]
    initializer = suggestion_for_all(layers, measured)
    if inputs is None:
        if initializer == SCALED:
            return SCALED
        # LSUV would give them the size that makes noise.
        if any(map(is_steep, layers)):
            return f"{initializer} in this and all earlier layers"
        return f"{initializer} in this and all earlier layers; if they have it, {LSUV}"
    # By a layer before, such as a `Rescaling`.
    if inputs.nonfinite:
        return f"finite inputs ({inputs.nonfinite:.0%} of them are not), then {initializer}"
    size = f"their standard deviation is {inputs.std:.3g}"
    if abs(inputs.mean) > inputs.std:
        size = f"their mean is {inputs.mean:.3g}, {size}"
    return f"standardize the inputs ({size}), then {initializer}"
