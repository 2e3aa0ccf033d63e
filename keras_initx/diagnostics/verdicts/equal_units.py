"""Equal units: kernels of one number, or with units that are alike."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from keras_initx._typing import InitializerLike
from keras_initx.diagnostics._diagnosis import Diagnosis
from keras_initx.diagnostics._kernel_values import (
    Pair,
    and_more_weights,
    kernel_values,
    layers_in,
    suited_to,
    weight_names,
    weight_pairs,
)
from keras_initx.diagnostics._layers import LayerReport, WeightReport, branch_ends, weights
from keras_initx.diagnostics._remedy import Remedy, choice
from keras_initx.diagnostics._rules import Finding, by_level, rule
from keras_initx.diagnostics.losses.probes import outputs
from keras_initx.diagnostics.verdicts._shared import lost_signals
from keras_initx.diagnostics.verdicts.no_gradient import held_by_zeros
from keras_initx.initializers._variance_named import HeUniform
from keras_initx.structure._kernels import is_adapter


@rule(
    "equal units",
    levels={
        "error": "if all weights of a kernel are one number: other than 0; or 0, if because of "
        "them a later kernel gets the same inputs for all examples, or if weights of zeros get no "
        "gradient because of each other",
        "note": "if they are 0 otherwise, or if units of the last layer are alike, which labels "
        "part",
        "warning": "",
    },
    finds="a trainable kernel, or the scale of a normalization, that is all 0; a trainable kernel "
    "with a single other value; units of a kernel with exactly the same weights and bias",
    reason="equal units have the same output, and training updates them in the same way; through "
    "zeros no gradient passes back. Intended zeros leave the signal another path: at the end of a "
    "residual branch, in an adapter, in a position embedding, or at the output. But not both of "
    "two that are multiplied, as the factors of LoRA, or a gate and what it opens: the gradient of "
    "each is a multiple of the other",
    remedy="random weights; in LoRA `HeUniform` for the first factor",
)
def equal_units(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    yield from _zeros(of, layers)
    yield from _constants(of, layers)
    yield from _identical(of, layers)


def _zeros(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    held = held_by_zeros(of) | _closed_adapters(of, layers)
    hit = []
    for layer, weight in weight_pairs(layers):
        if weight.path in held or (weight.zero and not _opens_in_training(layer, weight)):
            hit.append((layer, weight))
    lost, starved = lost_signals(of)
    are_lost = any(layer.name in lost for layer, _ in hit)

    def loses_signal(pair: Pair) -> bool:
        # Zeros at the output are intended, unless earlier zeros leave them no signal to learn from.
        layer, _ = pair
        return layer.name in lost or (are_lost and layer.name in starved)

    for level, pairs in by_level(hit, "error", loses_signal):
        if level == "error":
            evidence = (
                f"all weights of {weight_names(pairs)} are 0: units have the same output, and no "
                "gradient passes back through them"
            )
            yield Finding(layers_in(pairs), evidence, _random(pairs), level)
            continue
        for kept_level, others in by_level(pairs, "error", lambda pair: pair[1].path in held):
            if kept_level == "error":
                yield _held(others, of)
            else:
                yield _harmless(others, of)


def _closed_adapters(of: Diagnosis, layers: Sequence[LayerReport]) -> set[str]:
    """Return the paths of the factors of adapters of Keras that are all 0, also without targets.

    The gradient of each is a multiple of the other.
    """
    found: set[str] = set()
    for layer in layers:
        factors = [one for one in layer.weights if is_adapter(one.name) and one.axes]
        if len(factors) < 2 or not all(one.zero for one in factors):
            continue
        owner = weights(of)[factors[0].path].layer
        if hasattr(type(owner), "enable_lora"):
            found.update(one.path for one in factors)
    return found


def _opens_in_training(layer: LayerReport, weight: WeightReport) -> bool:
    """Return whether this is the factor of an adapter of Keras that starts at 0, alone."""
    factors = [one for one in layer.weights if is_adapter(one.name) and one.axes]
    return weight in factors and any(one.zeros < 1 for one in factors)


def _held(pairs: Sequence[Pair], of: Diagnosis) -> Finding:
    """Return the finding on zeros that get no gradient because of each other."""
    evidence = (
        f"all weights of {weight_names(pairs)} are 0, and get no gradient as long as all of these "
        "are: none of them ever changes"
    )
    kernels = [(layer, weight) for layer, weight in pairs if weight.axes]
    by_layer: dict[str, list[Pair]] = {}
    for layer, weight in kernels or pairs:
        by_layer.setdefault(layer.name, []).append((layer, weight))
    drawn = []
    for of_layer in by_layer.values():
        # Of a product one factor may stay 0, as in an adapter, which then changes nothing at first.
        drawn += of_layer[:-1] or of_layer
    remedy = _random(drawn, f"random weights in {weight_names(drawn)}")
    return Finding(layers_in(pairs), evidence, remedy, "error")


def _harmless(pairs: Sequence[Pair], of: Diagnosis) -> Finding:
    """Return the note on zeros that leave the signal another path."""
    evidence = f"all weights of {weight_names(pairs)} are 0"
    remedy = _random(pairs)
    if all(layer in branch_ends(of) for layer, _ in pairs):
        evidence += ", at the end of residual branches, which pass signals on as they are"
        remedy = Remedy("none, if this is intended: the branches open in training")
    else:
        evidence += "; no later layer gets equal inputs for all examples because of it"
        unless = (
            ", unless the zeros are intended, as at the end of a residual branch, "
            "at the output, in an adapter or a position embedding"
        )
        remedy = replace(remedy, text=remedy.text + unless)
    return Finding(layers_in(pairs), evidence, remedy, "note")


def _random(pairs: Sequence[Pair], before: str = "random weights") -> Remedy:
    """Return a remedy that draws weights anew, with the text for the first of them.

    Each gets what suits it: factors of adapters what they have in Keras, and scales become 1.
    """
    rules: dict[str, InitializerLike] = {}
    texts = []
    for layer, weight in pairs:
        if is_adapter(weight.name):
            rules[weight.path], text = choice(HeUniform())
            texts.append(f"{before}: {text}")
        elif weight.axes:
            rules[weight.path], text = suited_to(layer, weight)
            texts.append(f"{before}: {text}")
        else:
            rules[weight.path] = "ones"
            what = "the scale of a normalization" if weight.zero else weight.path
            texts.append(f"ones for {what}")
    return Remedy(texts[0], rules)


def _constants(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    hit = []
    for layer, weight in weight_pairs(layers):
        values = kernel_values(of).get(weight.path)
        if values is not None and values.constant and not weight.zero:
            hit.append((layer, weight))
    if not hit:
        return
    layer, weight = hit[0]
    value = f"{weight.mean:.3g}"
    if len(hit) > 1:
        value += f" in {weight.path}"
    evidence = (
        f"all weights of {weight_names(hit)} are equal, {value}: the units are identical, and "
        "training updates them in the same way"
    )
    yield Finding(layers_in(hit), evidence, _random(hit), "error")


def _identical(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    hit = []
    for layer, weight in weight_pairs(layers):
        values = kernel_values(of).get(weight.path)
        if values is not None and values.identical_units and not values.constant:
            hit.append((layer, weight))
    if not hit:
        return
    for level, pairs in by_level(hit, "warning", lambda pair: not _has_labels(pair[0], of)):
        _, weight = pairs[0]
        evidence = (
            f"{kernel_values(of)[weight.path].identical_units} units of {weight.path} have the "
            f"same weights as another unit{and_more_weights(pairs)}"
        )
        remedy = _random(pairs, "independent random weights for each unit")
        if level == "warning":
            evidence += ": if their outgoing weights are equal too, training updates them in the "
            evidence += "same way"
        else:
            evidence += ": they are units of the last layer, which their labels part"
            text = f"none, if this is intended, as for new classes; otherwise {remedy.text}"
            remedy = replace(remedy, text=text)
        yield Finding(layers_in(pairs), evidence, remedy, level)


def _has_labels(layer: LayerReport, of: Diagnosis) -> bool:
    """Return whether each unit of a layer is one of the outputs of the model, with its labels."""
    output = outputs(of).get(layer.name)
    return output is not None and layer.shape is not None and output.shape == layer.shape
