"""The rules about weights: those that training cannot tell apart, and those that are not what was meant."""

from keras_initx.diagnostics._verdicts import Verdict
from keras_initx.diagnostics._wording import (
    and_more,
    and_others,
    behind,
    in_first,
    join_names,
    layer_names,
    number,
    rescaled,
    suggestion,
    weight_name,
    weight_names,
)


def all_zero(layers, _inputs, _thresholds):
    hit = [(layer, weight) for layer in layers for weight in layer.weights if weight.zero]
    are_lost = any(layer.loses_signal for layer, _ in hit)
    # Zeros of the outputs are meant, but not where zeros before them leave them nothing to learn from.
    harmful = [pair for pair in hit if pair[0].loses_signal or (are_lost and pair[0].is_starved)]
    harmless = [pair for pair in hit if pair not in harmful]
    if harmful:
        yield Verdict(
            "all-zero weights",
            layer_names(harmful),
            f"all weights of {weight_names(harmful)} are 0: units give the same output, and no gradient passes back "
            "through them",
            _instead_of_zeros(*harmful[0]),
            "error",
        )
    if harmless:
        yield Verdict(
            "all-zero weights",
            layer_names(harmless),
            f"all weights of {weight_names(harmless)} are 0; no layer behind gets the same for all examples because "
            "of it",
            f"{_instead_of_zeros(*harmless[0])}, unless the zeros are meant, as at the end of a residual branch, for "
            "the outputs, in an adapter or a position embedding",
            "note",
        )


def _instead_of_zeros(layer, weight):
    return f"random weights: {suggestion(layer)}" if weight.axes else "ones for the scale of a normalization"


def constant(layers, _inputs, _thresholds):
    hit = [(layer, weight) for layer in layers for weight in layer.weights if weight.constant and not weight.zero]
    if not hit:
        return
    yield Verdict(
        "constant weights",
        layer_names(hit),
        f"all weights of {weight_names(hit)} are the same, {number(hit[0][1].mean)}{in_first(hit)}: the units are one "
        "unit, and training changes them alike",
        f"random weights: {suggestion(hit[0][0])}",
        "error",
    )


def identical_units(layers, _inputs, _thresholds):
    hit = [
        (layer, weight)
        for layer in layers
        for weight in layer.weights
        if weight.identical_units and not weight.constant
    ]
    if not hit:
        return
    yield Verdict(
        "identical units",
        layer_names(hit),
        f"{hit[0][1].identical_units} units of {weight_name(*hit[0])} have the very weights of another unit"
        f"{and_others(hit)}: where they also go to the same weights, training changes them alike",
        f"independent random weights for each unit: {suggestion(hit[0][0])}",
    )


def twins(layers, _inputs, _thresholds):
    groups: dict = {}
    for layer in layers:
        for weight in layer.weights:
            if weight.digest:
                groups.setdefault(weight.digest, []).append((layer, weight))
    twins = [group for group in groups.values() if len(group) > 1]
    if not twins:
        return
    yield Verdict(
        "twin tensors",
        layer_names([pair for group in twins for pair in group]),
        "the same random values: " + "; ".join(weight_names(group, " = ") for group in twins[:3]) + and_more(twins, 3),
        "an initializer of its own for each weight, without a seed or with a seed of its own: "
        'a string id, `kernel_initializer="initx.glorot_uniform"`, makes a new one for each layer',
    )


def forget_bias(layers, _inputs, _thresholds):
    hit = [layer for layer in layers if layer.forget_bias_overwritten]
    if not hit:
        return
    yield Verdict(
        "forget bias overwritten",
        tuple(layer.name for layer in hit),
        f"{join_names([layer.name for layer in hit])}: the bias initializer fills the other gates, but the forget "
        "gates are 1, because `unit_forget_bias=True` writes ones over what it gave",
        "unit_forget_bias=False with bias_initializer=LSTMForgetBias(1.0), 2.0 for a longer memory",
    )


def wrong_fan(layers, _inputs, thresholds):
    hit = [
        (layer, weight)
        for layer in layers
        for weight in layer.weights
        if weight.expected_std and not _within(weight.std / weight.expected_std, thresholds.wrong_fan)
    ]
    harmless = [pair for pair in hit if rescaled(pair[0])]
    harmful = [pair for pair in hit if not rescaled(pair[0])]
    if harmful:
        yield _wrong_fan(harmful, "warning", "")
    if harmless:
        yield _wrong_fan(harmless, "note", behind(harmless[0][0]))


def _wrong_fan(hit, level, reason):
    layer, weight = hit[0]
    input_axes, output_axes = (list(axes) for axes in weight.axes)
    return Verdict(
        "wrong fan",
        layer_names(hit),
        f"{weight_name(layer, weight)} has standard deviation {number(weight.std)}; its initializer stands for "
        f"{number(weight.expected_std)} with the {weight.fan_in} inputs that a unit has{and_others(hit)}: "
        f"from the shape of this kernel, inputs and outputs are counted wrongly{reason}",
        f"HeNormal(input_axes={input_axes}, output_axes={output_axes}), or another of its family with these axes",
        level,
    )


def _within(ratio, factor):
    return 1 / factor <= ratio <= factor
