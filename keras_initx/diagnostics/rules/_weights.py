"""The rules about weights: those that training cannot tell apart, and those that are not what was meant."""

from collections.abc import Iterator, Sequence

from keras_initx.diagnostics._measurements import LayerReport, Measurements
from keras_initx.diagnostics._types import Level
from keras_initx.diagnostics._weights import WeightReport
from keras_initx.diagnostics.rules._rule import Finding, rule
from keras_initx.diagnostics.rules._wording import (
    Pair,
    and_more,
    and_others,
    in_first,
    is_rescaled,
    join_names,
    layer_names,
    names_of,
    normalization_of,
    number,
    pairs_of,
    suggestion,
    weight_name,
    weight_names,
)


@rule(
    "all-zero weights",
    levels={
        "note": "",
        "error": "if a kernel behind gets the same inputs for all examples because of them",
    },
    finds="a trainable kernel of zeros, or the scale of a normalization",
    reason="units give the same output, and no gradient passes back",
    remedy="random weights",
    level_reason="what is behind cannot tell the examples apart, and nothing passes back. Zeros that are meant leave "
    "the signal another way: at the end of a residual branch (the last kernel, or the last scale), in an adapter such "
    "as LoRA's second kernel, in a position embedding; behind the outputs there is no kernel. Zeros behind such zeros "
    "are an error too",
)
def all_zero(measured: Measurements) -> Iterator[Finding]:
    hit = [(layer, weight) for layer, weight in pairs_of(measured) if weight.zero]
    are_lost = any(layer.loses_signal for layer, _ in hit)
    # Zeros of the outputs are meant, but not where zeros before them leave them nothing to learn from.
    harmful = [pair for pair in hit if pair[0].loses_signal or (are_lost and pair[0].is_starved)]
    harmless = [pair for pair in hit if pair not in harmful]
    if harmful:
        yield Finding(
            layer_names(harmful),
            f"all weights of {weight_names(harmful)} are 0: units give the same output, and no gradient passes back "
            "through them",
            _instead_of_zeros(*harmful[0]),
            "error",
        )
    if harmless:
        yield Finding(
            layer_names(harmless),
            f"all weights of {weight_names(harmless)} are 0; no layer behind gets the same for all examples because "
            "of it",
            f"{_instead_of_zeros(*harmless[0])}, unless the zeros are meant, as at the end of a residual branch, for "
            "the outputs, in an adapter or a position embedding",
            "note",
        )


def _instead_of_zeros(layer: LayerReport, weight: WeightReport) -> str:
    return f"random weights: {suggestion(layer)}" if weight.axes else "ones for the scale of a normalization"


@rule(
    "constant weights",
    levels={"error": ""},
    finds="a trainable kernel of one other value",
    reason="the units are one unit",
    remedy="random weights",
    level_reason="the units stay one unit",
)
def constant(measured: Measurements) -> Iterator[Finding]:
    hit = [(layer, weight) for layer, weight in pairs_of(measured) if weight.constant and not weight.zero]
    if not hit:
        return
    yield Finding(
        layer_names(hit),
        f"all weights of {weight_names(hit)} are the same, {number(hit[0][1].mean)}{in_first(hit)}: the units are one "
        "unit, and training changes them alike",
        f"random weights: {suggestion(hit[0][0])}",
    )


@rule(
    "identical units",
    levels={"warning": ""},
    finds="units of a kernel with exactly the same weights, and bias",
    reason="training changes them alike",
    remedy="independent weights",
    level_reason="some units begin alike; they often get different gradients and part",
)
def identical_units(measured: Measurements) -> Iterator[Finding]:
    hit = [(layer, weight) for layer, weight in pairs_of(measured) if weight.identical_units and not weight.constant]
    if not hit:
        return
    yield Finding(
        layer_names(hit),
        f"{hit[0][1].identical_units} units of {weight_name(*hit[0])} have the very weights of another unit"
        f"{and_others(hit)}: where they also go to the same weights, training changes them alike",
        f"independent random weights for each unit: {suggestion(hit[0][0])}",
    )


@rule(
    "twin tensors",
    levels={"warning": ""},
    finds="two trainable kernels with the same random values",
    reason="an initializer or a seed was used twice",
    remedy="an initializer for each",
    level_reason="two kernels begin alike; they often get different gradients and part",
)
def twins(measured: Measurements) -> Iterator[Finding]:
    groups: dict[str, list[Pair]] = {}
    for layer, weight in pairs_of(measured):
        if weight.digest:
            groups.setdefault(weight.digest, []).append((layer, weight))
    twins = [group for group in groups.values() if len(group) > 1]
    if not twins:
        return
    yield Finding(
        layer_names([pair for group in twins for pair in group]),
        "the same random values: " + "; ".join(weight_names(group, " = ") for group in twins[:3]) + and_more(twins, 3),
        "an initializer of its own for each weight, without a seed or with a seed of its own: "
        'a string id, `kernel_initializer="initx.glorot_uniform"`, makes a new one for each layer',
    )


@rule(
    "forget bias overwritten",
    levels={"warning": ""},
    finds="an LSTM whose forget biases are 1, but whose other biases come from an initializer that gives something "
    "else",
    reason="`unit_forget_bias=True` writes ones over it",
    remedy="`LSTMForgetBias` and `unit_forget_bias=False`",
    level_reason="the layer learns, with another memory than was meant",
)
def forget_bias(measured: Measurements) -> Iterator[Finding]:
    hit = [layer for layer in measured.layers if layer.forget_bias_overwritten]
    if not hit:
        return
    yield Finding(
        names_of(hit),
        f"{join_names(names_of(hit))}: the bias initializer fills the other gates, but the forget "
        "gates are 1, because `unit_forget_bias=True` writes ones over what it gave",
        "unit_forget_bias=False with bias_initializer=LSTMForgetBias(1.0), 2.0 for a longer memory",
    )


@rule(
    "wrong fan",
    levels={"warning": "", "note": "if a normalization is right behind"},
    finds="a depthwise or transposed kernel whose standard deviation is not what its initializer stands for, by a "
    "factor of {wrong_fan}",
    reason="Keras takes its number of inputs from the wrong axes; small kernels are off by chance, but not by so much",
    remedy="`input_axes`, `output_axes`",
    level_reason="the normalization divides by the scale. What is left is the effective learning rate: the ratio of "
    "gradient and weights still differs",
)
def wrong_fan(measured: Measurements) -> Iterator[Finding]:
    factor = measured.thresholds.wrong_fan
    hit = [
        (layer, weight)
        for layer, weight in pairs_of(measured)
        if weight.expected_std and not 1 / factor <= weight.std / weight.expected_std <= factor
    ]
    harmless = [pair for pair in hit if is_rescaled(pair[0])]
    harmful = [pair for pair in hit if not is_rescaled(pair[0])]
    if harmful:
        yield _wrong_fan(harmful, "warning", "")
    if harmless:
        yield _wrong_fan(harmless, "note", normalization_of(harmless[0][0]))


def _wrong_fan(hit: Sequence[Pair], level: Level, reason: str) -> Finding:
    layer, weight = hit[0]
    input_axes, output_axes = (list(axes) for axes in weight.axes or ())
    return Finding(
        layer_names(hit),
        f"{weight_name(layer, weight)} has standard deviation {number(weight.std)}; its initializer stands for "
        f"{number(weight.expected_std or 0)} with the {weight.fan_in} inputs that a unit has{and_others(hit)}: "
        f"from the shape of this kernel, inputs and outputs are counted wrongly{reason}",
        f"HeNormal(input_axes={input_axes}, output_axes={output_axes}), or another of its family with these axes",
        level,
    )
