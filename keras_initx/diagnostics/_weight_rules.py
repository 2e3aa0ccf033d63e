"""The rules about weights: those without random differences, and those that differ from the intention."""

import itertools
from collections.abc import Iterator, Sequence

from keras_initx.diagnostics._measure import LayerReport, Measurements
from keras_initx.diagnostics._rule import (
    Finding,
    by_level,
    is_gate,
    is_rescaled,
    names_of,
    normalization_of,
    rule,
    suggestion,
)
from keras_initx.diagnostics._weights import WeightReport, kept_share

_Pair = tuple[LayerReport, WeightReport]


@rule(
    "all-zero weights",
    levels={
        "note": "",
        "error": "if because of them a later kernel gets the same inputs for all examples, or if they get no gradient "
        "while an earlier layer does and no branch starts at 0",
    },
    finds="a trainable kernel, or the scale of a normalization, that is all 0",
    reason="all units have the same output, and no gradient passes back. Intended zeros leave the signal another path: "
    "at the end of a residual branch, in an adapter, in a position embedding, or at the output",
    remedy="random weights",
)
def all_zero(measured: Measurements) -> Iterator[Finding]:
    hit = [(layer, weight) for layer, weight in _pairs_of(measured) if weight.zero]
    are_lost = any(layer.loses_signal for layer, _ in hit)
    reached = list(
        itertools.dropwhile(lambda layer: not (layer.gradient_norm or 0) > 0, measured.layers)
    )[1:]
    waits = any(is_gate(layer, measured) for layer in measured.layers)

    def does_harm(pair: _Pair) -> bool:
        # Behind a layer that learns, what gets no gradient itself stays 0, as before a ReLU that
        # nothing else reaches, unless it waits for a branch to open.
        stays = pair[1].gradient == 0 and pair[0] in reached and not pair[0].is_output and not waits
        # Zeros at the output are intended, unless earlier zeros leave them no signal to learn from.
        return stays or pair[0].loses_signal or (are_lost and pair[0].is_starved)

    for level, pairs in by_level(hit, "error", does_harm):
        layer, weight = pairs[0]
        evidence = f"all weights of {_weight_names(pairs)} are 0"
        remedy = (
            f"random weights: {suggestion(layer)}"
            if weight.axes
            else "ones for the scale of a normalization"
        )
        if level == "error":
            evidence += ": units have the same output, and no gradient passes back through them"
        else:
            evidence += "; no later layer gets equal inputs for all examples because of it"
            remedy += (
                ", unless the zeros are intended, as at the end of a residual branch, at the output, in an adapter or "
                "a position embedding"
            )
        yield Finding(_layers_of(pairs), evidence, remedy, level)


@rule(
    "constant weights",
    levels={"error": ""},
    finds="a trainable kernel with a single nonzero value",
    reason="all units are the same, and stay so in training",
    remedy="random weights",
)
def constant(measured: Measurements) -> Iterator[Finding]:
    hit = [
        (layer, weight)
        for layer, weight in _pairs_of(measured)
        if weight.constant and not weight.zero
    ]
    if hit:
        layer, weight = hit[0]
        first = f" in {_weight_name(layer, weight)}" if len(hit) > 1 else ""
        yield Finding(
            _layers_of(hit),
            f"all weights of {_weight_names(hit)} are equal, {weight.mean:.3g}{first}: the units are identical, and "
            "training updates them in the same way",
            f"random weights: {suggestion(layer)}",
            "error",
        )


@rule(
    "identical units",
    levels={"warning": ""},
    finds="units of a kernel with exactly the same weights and bias",
    reason="they stay identical if their outgoing weights are equal too",
    remedy="independent weights",
)
def identical_units(measured: Measurements) -> Iterator[Finding]:
    hit = [
        (layer, weight)
        for layer, weight in _pairs_of(measured)
        if weight.identical_units and not weight.constant
    ]
    if hit:
        layer, weight = hit[0]
        yield Finding(
            _layers_of(hit),
            f"{weight.identical_units} units of {_weight_name(layer, weight)} have the same weights as another unit"
            f"{_and_more_weights(hit)}: if their outgoing weights are equal too, training updates them in the same way",
            f"independent random weights for each unit: {suggestion(layer)}",
        )


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
    twins = [group for group in groups.values() if len(group) > 1]
    if twins:
        yield Finding(
            [layer for group in twins for layer, _ in group],
            "the same random values: "
            + _join([_weight_names(group, " = ") for group in twins], "; ", 3),
            "a separate initializer for each weight, without a seed or with different seeds: "
            'a string id, `kernel_initializer="initx.glorot_uniform"`, creates a new one for each layer',
        )


@rule(
    "forget bias overwritten",
    levels={"warning": ""},
    finds="an LSTM whose forget-gate bias is 1 although its bias initializer gives other values",
    reason="`unit_forget_bias=True` overwrites it, so memory has another length than intended",
    remedy="`LSTMForgetBias` and `unit_forget_bias=False`",
)
def forget_bias(measured: Measurements) -> Iterator[Finding]:
    hit = [layer for layer in measured.layers if layer.forget_bias_overwritten]
    if hit:
        yield Finding(
            hit,
            f"{_join(names_of(hit))}: the bias initializer fills the other gates, but the forget-gate bias is 1, "
            "because `unit_forget_bias=True` overwrites it",
            "unit_forget_bias=False with bias_initializer=LSTMForgetBias(1.0), or 2.0 for a longer memory",
        )


@rule(
    "shut gates",
    levels={"warning": ""},
    finds="an LSTM whose forget gates, or a GRU whose update gates, keep less than {shut_gate} of the state in a step, "
    "by their biases",
    reason="a bias of 0 keeps half, one of -3 keeps 0.05, of which 0.0001 is left after three steps: there is no "
    "memory, and no gradient through time (Gers and others, 2000)",
    remedy="`LSTMForgetBias`, `GRUUpdateBias`",
)
def shut_gates(measured: Measurements) -> Iterator[Finding]:
    biases = [(layer, *layer.gate_bias) for layer in measured.layers if layer.gate_bias]
    kept = [(layer, gate, kept_share(bias)) for layer, gate, bias in biases]
    hit = [found for found in kept if found[2] < measured.thresholds.shut_gate]
    if hit:
        layer, gate, share = hit[0]
        yield Finding(
            [layer for layer, _, _ in hit],
            f"the biases of the {gate} gates of {layer.name} keep {share:.1%} of the state in a step",
            "LSTMForgetBias(1.0) with unit_forget_bias=False"
            if gate == "forget"
            else "GRUUpdateBias(1.0)",
        )


@rule(
    "wrong fan",
    levels={"warning": "", "note": "if a normalization follows directly"},
    finds="a depthwise or transposed kernel whose standard deviation is larger or smaller than its initializer "
    "intends, by a factor above {wrong_fan}",
    reason="Keras computes the fans of such kernels from the wrong axes. A normalization divides by the scale, but the "
    "ratio of gradient to weights still differs",
    remedy="`input_axes`, `output_axes`",
)
def wrong_fan(measured: Measurements) -> Iterator[Finding]:
    factor = measured.thresholds.wrong_fan
    wrong = [
        (layer, weight)
        for layer, weight in _pairs_of(measured)
        if weight.expected_std and not 1 / factor <= weight.std / weight.expected_std <= factor
    ]
    for level, hit in by_level(wrong, "warning", lambda pair: not is_rescaled(pair[0])):
        layer, weight = hit[0]
        input_axes, output_axes = (list(axes) for axes in weight.axes or ())
        yield Finding(
            _layers_of(hit),
            f"{_weight_name(layer, weight)} has standard deviation {weight.std:.3g}; its initializer intends "
            f"{weight.expected_std or 0:.3g} for the {weight.fan_in} inputs of a unit{_and_more_weights(hit)}: "
            f"it computes wrong fans from the shape of this kernel{normalization_of(layer) if level == 'note' else ''}",
            f"HeNormal(input_axes={input_axes}, output_axes={output_axes}), or a similar initializer with these axes",
            level,
        )


def _pairs_of(measured: Measurements) -> list[_Pair]:
    """Return all pairs of a layer and one of its weights."""
    return [(layer, weight) for layer in measured.layers for weight in layer.weights]


def _layers_of(pairs: Sequence[_Pair]) -> list[LayerReport]:
    """Return the layer of each pair."""
    return [layer for layer, _ in pairs]


def _weight_name(layer: LayerReport, weight: WeightReport) -> str:
    """Return the name of a weight, prefixed with that of its layer."""
    return f"{layer.name}/{weight.name}"


def _weight_names(pairs: Sequence[_Pair], between: str = ", ") -> str:
    """Return the names of the first few weights."""
    return _join([_weight_name(*pair) for pair in pairs], between)


def _join(names: Sequence[str], between: str = ", ", shown: int = 4) -> str:
    """Return the first names, and the number of the others."""
    return between.join(names[:shown]) + (
        f" and {len(names) - shown} more" if len(names) > shown else ""
    )


def _and_more_weights(pairs: Sequence[_Pair]) -> str:
    """Return a phrase with the number of weights after the first."""
    return f", and {len(pairs) - 1} more weights" if len(pairs) > 1 else ""
