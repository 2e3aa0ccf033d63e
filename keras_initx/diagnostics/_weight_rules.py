"""The rules about weights: not random, or other than they were meant to be."""

from collections.abc import Iterator, Sequence

from keras_initx.diagnostics._measure import LayerReport, Measurements
from keras_initx.diagnostics._rule import (
    OPEN_GATES,
    RECURRENT,
    Finding,
    by_level,
    exceeds,
    has_growing_state,
    is_gate,
    is_rescaled,
    layer_count,
    listed,
    names_of,
    normalization_of,
    rule,
    suggestion,
)
from keras_initx.diagnostics._weights import WeightReport, kept_share

_Pair = tuple[LayerReport, WeightReport]
# The number of steps over which a recurrent layer should have a memory.
_STEPS = 10


@rule(
    "all-zero weights",
    levels={
        "note": "",
        "error": "if because of them a later kernel gets the same inputs for all examples, or if "
        "they get no gradient while an earlier layer does and no branch starts at 0",
    },
    finds="a trainable kernel, or the scale of a normalization, that is all 0",
    reason="all units have the same output, and no gradient passes back. Intended zeros leave the "
    "signal another path: at the end of a residual branch, in an adapter, in a position embedding, "
    "or at the output",
    remedy="random weights",
)
def all_zero(measured: Measurements) -> Iterator[Finding]:
    hit = [(layer, weight) for layer, weight in _pairs_of(measured) if weight.zero]
    are_lost = any(layer.loses_signal for layer, _ in hit)
    behind = _behind_the_first_that_learns(measured.layers)
    waits = any(is_gate(layer, measured) for layer in measured.layers)

    def does_harm(pair: _Pair) -> bool:
        layer, weight = pair
        # Behind a layer that learns, what gets no gradient itself stays 0, as before a ReLU that
        # nothing else reaches, unless it waits for a branch to open.
        stays = weight.gradient == 0 and layer in behind and not layer.is_output and not waits
        # Zeros at the output are intended, unless earlier zeros leave them no signal to learn from.
        return stays or layer.loses_signal or (are_lost and layer.is_starved)

    for level, pairs in by_level(hit, "error", does_harm):
        layer, weight = pairs[0]
        evidence = f"all weights of {_weight_names(pairs)} are 0"
        if weight.axes:
            remedy = f"random weights: {suggestion(layer, weight)}"
        else:
            remedy = "ones for the scale of a normalization"
        if level == "error":
            evidence += ": units have the same output, and no gradient passes back through them"
        else:
            evidence += "; no later layer gets equal inputs for all examples because of it"
            remedy += (
                ", unless the zeros are intended, as at the end of a residual branch, "
                "at the output, in an adapter or a position embedding"
            )
        yield Finding(_layers_of(pairs), evidence, remedy, level)


def _behind_the_first_that_learns(layers: Sequence[LayerReport]) -> Sequence[LayerReport]:
    """Return the layers behind the first that gets a gradient."""
    for place, layer in enumerate(layers):
        if exceeds(layer.gradient_norm, 0):
            return layers[place + 1 :]
    return []


@rule(
    "constant weights",
    levels={"error": ""},
    finds="a trainable kernel with a single nonzero value",
    reason="all units are the same, and stay so in training",
    remedy="random weights",
)
def constant(measured: Measurements) -> Iterator[Finding]:
    hit = []
    for layer, weight in _pairs_of(measured):
        if weight.constant and not weight.zero:
            hit.append((layer, weight))
    if not hit:
        return
    layer, weight = hit[0]
    value = f"{weight.mean:.3g}"
    if len(hit) > 1:
        value += f" in {_weight_name(layer, weight)}"
    evidence = (
        f"all weights of {_weight_names(hit)} are equal, {value}: the units are identical, and "
        "training updates them in the same way"
    )
    yield Finding(
        _layers_of(hit), evidence, f"random weights: {suggestion(layer, weight)}", "error"
    )


@rule(
    "identical units",
    levels={"warning": ""},
    finds="units of a kernel with exactly the same weights and bias",
    reason="they stay identical if their outgoing weights are equal too",
    remedy="independent weights",
)
def identical_units(measured: Measurements) -> Iterator[Finding]:
    hit = []
    for layer, weight in _pairs_of(measured):
        if weight.identical_units and not weight.constant:
            hit.append((layer, weight))
    if not hit:
        return
    layer, weight = hit[0]
    evidence = (
        f"{weight.identical_units} units of {_weight_name(layer, weight)} have the same weights "
        f"as another unit{_and_more_weights(hit)}: if their outgoing weights are equal too, "
        "training updates them in the same way"
    )
    remedy = f"independent random weights for each unit: {suggestion(layer, weight)}"
    yield Finding(_layers_of(hit), evidence, remedy)


@rule(
    "twin tensors",
    levels={"warning": ""},
    finds="two trainable kernels with the same random values",
    reason="an initializer object or a seed was used twice",
    remedy="a separate initializer for each",
)
def twins(measured: Measurements) -> Iterator[Finding]:
    groups: dict[str, list[_Pair]] = {}
    for layer, weight in _pairs_of(measured):
        if weight.digest:
            groups.setdefault(weight.digest, []).append((layer, weight))
    layers: list[LayerReport] = []
    equations: list[str] = []
    for group in groups.values():
        if len(group) > 1:
            layers += _layers_of(group)
            equations.append(_weight_names(group, " = "))
    if not equations:
        return
    remedy = (
        "a separate initializer for each weight, without a seed or with different seeds: a string "
        'id, `kernel_initializer="initx.glorot_uniform"`, creates a new one for each layer'
    )
    yield Finding(layers, f"the same random values: {listed(equations, '; ', 3)}", remedy)


@rule(
    "forget bias overwritten",
    levels={"warning": ""},
    finds="an LSTM whose forget-gate bias is 1 although its bias initializer gives other values",
    reason="`unit_forget_bias=True` overwrites it, so memory has another length than intended",
    remedy="`LSTMForgetBias` and `unit_forget_bias=False`",
)
def forget_bias(measured: Measurements) -> Iterator[Finding]:
    hit = [layer for layer in measured.layers if layer.forget_bias_overwritten]
    if not hit:
        return
    evidence = (
        f"{listed(names_of(hit))}: the bias initializer fills the other gates, but the forget-gate "
        "bias is 1, because `unit_forget_bias=True` overwrites it"
    )
    remedy = (
        "unit_forget_bias=False with bias_initializer=keras_initx.LSTMForgetBias(1.0), or 2.0 for "
        "a longer memory"
    )
    yield Finding(hit, evidence, remedy)


@rule(
    "shut gates",
    levels={"warning": ""},
    finds="an LSTM whose forget gates, or a GRU whose update gates, keep less than {shut_gate} of "
    "the state in a step, by their biases",
    reason="a bias of 0 keeps half, one of -3 keeps 0.05, of which 0.0001 is left after three "
    "steps: there is no memory, and no gradient through time (Gers and others, 2000)",
    remedy="`LSTMForgetBias`, `GRUUpdateBias`",
)
def shut_gates(measured: Measurements) -> Iterator[Finding]:
    hit = []
    for layer in measured.layers:
        if layer.gate_bias is None:
            continue
        gate, bias = layer.gate_bias
        share = kept_share(bias)
        if share < measured.thresholds.shut_gate:
            hit.append((layer, gate, share))
    if not hit:
        return
    first, gate, share = hit[0]
    remedy = OPEN_GATES[gate]
    yield Finding(
        [layer for layer, _, _ in hit],
        f"the biases of the {gate} gates of {first.name} keep {share:.1%} of the state in a step",
        remedy,
    )


@rule(
    "recurrent kernel",
    levels={"warning": ""},
    finds="a recurrent layer without gates, over ten steps or more, whose recurrent kernel has "
    "singular values that are all below 1 / {recurrent_gain}, or above {recurrent_gain} in their "
    "geometric mean",
    reason="a kernel of 0.5 leaves a thousandth of a state, and of its gradient, after ten steps; "
    "one of 3 drives tanh to its limits, and what is not at them grows (Saxe and others, 2014)",
    remedy="`Orthogonal` for the recurrent kernel",
)
def recurrent_kernel(measured: Measurements) -> Iterator[Finding]:
    limit = measured.thresholds.recurrent_gain
    hit = []
    for layer in measured.layers:
        if layer.recurrent_gains is None or (layer.steps or 0) < _STEPS:
            continue
        _, largest = layer.recurrent_gains
        # Zeros have their own verdict.
        if 0 < largest < 1 / limit or has_growing_state(layer, measured):
            hit.append(layer)
    if not hit:
        return
    first = hit[0]
    mean, largest = first.recurrent_gains or (1.0, 1.0)
    if mean > limit:
        evidence = (
            f"the singular values of the recurrent kernel of {first.name} are {mean:.3g} in their "
            f"geometric mean: in {_STEPS} steps a small state grows by a factor of "
            f"{mean**_STEPS:.1g}"
        )
    else:
        evidence = (
            f"the singular values of the recurrent kernel of {first.name} are at most "
            f"{largest:.3g}: of a state, and of its gradient, at most {largest**_STEPS:.1g} is "
            f"left after {_STEPS} steps"
        )
    yield Finding(hit, evidence + layer_count(hit), RECURRENT)


@rule(
    "wrong fan",
    levels={"warning": "", "note": "if a normalization follows directly"},
    finds="a depthwise or transposed kernel whose standard deviation is larger or smaller than its "
    "initializer intends, by a factor above {wrong_fan}",
    reason="Keras computes the fans of such kernels from the wrong axes. A normalization divides "
    "by the scale, but the ratio of gradient to weights still differs",
    remedy="`input_axes`, `output_axes`",
)
def wrong_fan(measured: Measurements) -> Iterator[Finding]:
    factor = measured.thresholds.wrong_fan
    wrong = []
    for layer, weight in _pairs_of(measured):
        if weight.expected_std:
            ratio = weight.std / weight.expected_std
            if not 1 / factor <= ratio <= factor:
                wrong.append((layer, weight))
    for level, hit in by_level(wrong, "warning", lambda pair: not is_rescaled(pair[0])):
        layer, weight = hit[0]
        evidence = (
            f"{_weight_name(layer, weight)} has standard deviation {weight.std:.3g}; its "
            f"initializer intends {weight.expected_std or 0:.3g} for the {weight.fan_in} inputs "
            f"of a unit{_and_more_weights(hit)}: it computes wrong fans from the shape of this "
            "kernel"
        )
        if level == "note":
            evidence += normalization_of(layer)
        input_axes, output_axes = weight.axes or ((), ())
        remedy = (
            f"keras_initx.HeNormal(input_axes={list(input_axes)}, "
            f"output_axes={list(output_axes)}), "
            "or a similar initializer with these axes"
        )
        yield Finding(_layers_of(hit), evidence, remedy, level)


def _pairs_of(measured: Measurements) -> list[_Pair]:
    """Return all pairs of a layer and one of its weights."""
    pairs: list[_Pair] = []
    for layer in measured.layers:
        for weight in layer.weights:
            pairs.append((layer, weight))
    return pairs


def _layers_of(pairs: Sequence[_Pair]) -> list[LayerReport]:
    """Return the layer of each pair."""
    return [layer for layer, _ in pairs]


def _weight_name(layer: LayerReport, weight: WeightReport) -> str:
    """Return the name of a weight, prefixed with that of its layer."""
    return f"{layer.name}/{weight.name}"


def _weight_names(pairs: Sequence[_Pair], between: str = ", ") -> str:
    """Return the names of the first few weights."""
    return listed([_weight_name(*pair) for pair in pairs], between)


def _and_more_weights(pairs: Sequence[_Pair]) -> str:
    """Return a phrase with the number of weights after the first."""
    if len(pairs) < 2:
        return ""
    return f", and {len(pairs) - 1} more weights"
