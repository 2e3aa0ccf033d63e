"""Equal units: kernels of one number, or with units that are the same.

Zeros that keep each other from a gradient are *blocked* here, such as both factors of LoRA. Parts
of a kernel that are equal and get equal gradients are *permanently equal*.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from keras_initx._typing import InitializerLike
from keras_initx.initializers._variance_named import HeUniform
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._equal_parts import equal_outputs, equal_parts
from keras_initx.tools.diagnose._kernel_values import kernel_values
from keras_initx.tools.diagnose._lost_signals import lost_signals
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    MeasuredWeight,
    branch_ends,
    list_weights,
)
from keras_initx.tools.diagnose._redrawing import make_choice
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import (
    Finding,
    Level,
    group_by_level,
    rule,
    summarize_paths,
    write_rest,
)
from keras_initx.tools.diagnose._softmax_logits import LogitsProbe
from keras_initx.tools.diagnose._suitable_initializers import choose_for_weight
from keras_initx.tools.diagnose._unreached_layers import weights_blocked_by_zeros


@rule("equal units", probes=[LogitsProbe])
def equal_units(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report kernels of zeros or of one number, and equal units.

    Reported if:
        - A trainable kernel, or the scale of a normalization, is all 0.
        - All numbers of a trainable kernel are equal.
        - Units of a kernel have exactly the same weights and bias.

        Weights that are logits of a softmax do not count, because any number may be added to them.

    Level:
        error if all weights of a kernel are one number other than 0, if zeros give a later kernel
        the same inputs for all examples, or if zeros keep each other from a gradient; note for
        other zeros, and for equal units of the last layer, which labels distinguish; warning in
        other cases

    Why:
        - Equal units have the same output, and training updates them in the same way.
        - Zeros pass no gradient back. Intended zeros leave another path to the signal: at the end
          of a residual branch, in an adapter, in a position embedding, or at the output.
        - If two zeros are multiplied, both get no gradient, for example both factors of LoRA, or a
          gate and the values that it opens.

    Typical causes:
        - `kernel_initializer="zeros"` or a constant
        - units that you copied to widen a layer

    Fix:
        Draw random weights. In LoRA, use `HeUniform` for the first factor.
    """
    permanent = _find_permanently_equal(diagnosis, layers)
    yield from _report_zeros(diagnosis, layers, permanent)
    yield from _report_permanently_equal(diagnosis, permanent)
    logits = diagnosis.probe(LogitsProbe)
    others = []
    for weight in list_weights(layers):
        if weight not in permanent and not logits.has(weight):
            others.append(weight)
    yield from _report_constants(diagnosis, others)
    yield from _report_identical(diagnosis, others)


def _report_zeros(
    diagnosis: Diagnosis, layers: list[MeasuredLayer], permanent: Sequence[MeasuredWeight]
) -> Iterator[Finding]:
    blocked = weights_blocked_by_zeros(diagnosis) | _find_closed_adapters(layers)
    hit = []
    for weight in list_weights(layers):
        if weight in permanent or diagnosis.probe(LogitsProbe).has(weight):
            continue
        if weight in blocked or (weight.report.zero and not _is_opened_by_training(weight)):
            hit.append(weight)
    lost = lost_signals(diagnosis)
    are_lost = any(weight.layer.layer in lost.causes for weight in hit)

    def loses_signal(weight: MeasuredWeight) -> bool:
        # Zeros at the output are intended, unless earlier zeros leave them no signal to learn from.
        layer = weight.layer.layer
        return layer in lost.causes or (are_lost and layer in lost.starved)

    for level, zeros in group_by_level(hit, "error", loses_signal):
        if level == "error":
            evidence = (
                f"all weights of {summarize_paths(zeros)} are 0. Their units have the same output, "
                "and no gradient passes back through them"
            )
            yield Finding(_list_layers(zeros), evidence, _propose_random_weights(zeros), level)
            continue
        for other_level, others in group_by_level(zeros, "error", lambda weight: weight in blocked):
            if other_level == "error":
                yield _report_blocked_zeros(others)
            else:
                yield _report_harmless_zeros(others, diagnosis)


def _list_layers(weights: Sequence[MeasuredWeight]) -> list[MeasuredLayer]:
    return [weight.layer for weight in weights]


def _find_closed_adapters(layers: Sequence[MeasuredLayer]) -> set[MeasuredWeight]:
    """Find the factors of adapters of Keras that are all 0, also without targets.

    The gradient of each is a multiple of the other.
    """
    closed: set[MeasuredWeight] = set()
    for layer in layers:
        factors = layer.factors
        if len(factors) < 2 or not all(factor.report.zero for factor in factors):
            continue
        if hasattr(type(factors[0].own.layer), "enable_lora"):
            closed.update(factors)
    return closed


def _is_opened_by_training(weight: MeasuredWeight) -> bool:
    # One factor of an adapter of Keras starts at 0, and the other does not.
    factors = weight.layer.factors
    return weight in factors and any(factor.report.zeros < 1 for factor in factors)


def _report_blocked_zeros(weights: Sequence[MeasuredWeight]) -> Finding:
    """Report zeros that get no gradient because of each other."""
    evidence = (
        f"all weights of {summarize_paths(weights)} are 0, and get no gradient as long as all of "
        "them are 0. None of them ever changes"
    )
    kernels = [weight for weight in weights if weight.is_kernel]
    by_layer: dict[MeasuredLayer, list[MeasuredWeight]] = {}
    for weight in kernels or weights:
        by_layer.setdefault(weight.layer, []).append(weight)
    drawn: list[MeasuredWeight] = []
    for factors in by_layer.values():
        # One factor of a product may stay 0, as in an adapter, which changes nothing at first.
        drawn += factors[:-1] or factors
    remedy = _propose_random_weights(drawn, f"draw random weights in {summarize_paths(drawn)}")
    return Finding(_list_layers(weights), evidence, remedy, "error")


def _report_harmless_zeros(weights: Sequence[MeasuredWeight], diagnosis: Diagnosis) -> Finding:
    """Report zeros that leave the signal another path, as a note."""
    evidence = f"all weights of {summarize_paths(weights)} are 0"
    remedy = _propose_random_weights(weights)
    if all(weight.layer in branch_ends(diagnosis) for weight in weights):
        evidence += ", at the end of residual branches. The branches change no signal at first"
        remedy = Remedy("change nothing if this is intended: training opens the branches")
    else:
        evidence += ". No later layer gets equal inputs for all examples because of this"
        examples = (
            "for example at the end of a residual branch, at the output, in an adapter or in a "
            "position embedding"
        )
        text = f"{remedy.text}, unless the zeros are intended, {examples}"
        if all(weight.report.gradient for weight in weights):
            text = f"change nothing if the zeros are intended, {examples}; if not, {remedy.text}"
        remedy = replace(remedy, text=text)
    return Finding(_list_layers(weights), evidence, remedy, "note")


def _propose_random_weights(
    weights: Sequence[MeasuredWeight], before: str = "draw random weights"
) -> Remedy:
    """Propose to redraw weights, with the text for the first of them.

    Factors of adapters get the initializer that they have in Keras, and scales become 1.
    """
    rules: dict[str, InitializerLike] = {}
    texts = []
    for weight in weights:
        if weight.is_of_adapter:
            rules[weight.path], text = make_choice(HeUniform())
            texts.append(f"{before}: {text}")
        elif weight.is_kernel:
            rules[weight.path], text = choose_for_weight(weight)
            texts.append(f"{before}: {text}")
        else:
            rules[weight.path] = "ones"
            name = "the scale of a normalization" if weight.report.zero else weight.path
            texts.append(f"set {name} to ones")
    return Remedy(texts[0], rules)


def _find_permanently_equal(
    diagnosis: Diagnosis, layers: Sequence[MeasuredLayer]
) -> list[MeasuredWeight]:
    """Find the kernels with parts that are equal and get equal gradients."""
    parts = equal_parts(diagnosis)
    logits = diagnosis.probe(LogitsProbe)
    permanent = []
    for weight in list_weights(layers):
        if weight in parts and parts[weight].staying and not logits.has(weight):
            permanent.append(weight)
    return permanent


def _report_permanently_equal(
    diagnosis: Diagnosis, permanent: Sequence[MeasuredWeight]
) -> Iterator[Finding]:

    def are_most(weight: MeasuredWeight) -> bool:
        _, count, equal = equal_parts(diagnosis)[weight]
        return 2 * (equal or 0) >= count

    most = [weight for weight in permanent if are_most(weight)]
    few = [weight for weight in permanent if weight not in most]
    levels: list[tuple[Level, list[MeasuredWeight]]] = [("error", most), ("warning", few)]
    for level, hit in levels:
        if not hit:
            continue
        first = hit[0]
        axes, count, equal = equal_parts(diagnosis)[first]
        noun = f"parts along axis {axes[0]}"
        if first.own.axes is not None and axes == tuple(first.own.axes[1]):
            noun = "units"
        evidence = (
            f"{equal} of {count} {noun} of {first.path}{write_rest(hit)} have the same "
            "weights as another one, and get the same gradient. Training never distinguishes them"
        )
        yield Finding(_list_layers(hit), evidence, _propose_random_weights(hit), level)


def _report_constants(diagnosis: Diagnosis, weights: Sequence[MeasuredWeight]) -> Iterator[Finding]:
    """Report kernels of one number, whose units have the same output."""
    hit = []
    for weight in weights:
        values = kernel_values(diagnosis).get(weight)
        is_constant = values is not None and values.constant and not weight.report.zero
        if is_constant and equal_outputs(diagnosis).get(weight.layer.layer):
            hit.append(weight)
    labeled = [weight for weight in hit if _has_labels(weight.layer)]
    hidden = [weight for weight in hit if weight not in labeled]
    separable = [weight for weight in hidden if equal_parts(diagnosis)[weight].staying == 0]
    unknown = [weight for weight in hidden if weight not in separable]
    levels: list[tuple[Level, list[MeasuredWeight]]] = [
        ("error", unknown),
        ("warning", separable),
        ("note", labeled),
    ]
    for level, group in levels:
        if not group:
            continue
        first = group[0]
        value = f"{first.report.mean:.3g}"
        if len(group) > 1:
            value += f" in {first.path}"
        evidence = f"all weights of {summarize_paths(group)} are equal, {value}. "
        remedy = _propose_random_weights(group)
        if level == "error":
            evidence += "The units are identical, and training updates them in the same way"
        elif level == "warning":
            evidence += "The units have the same output, and only later layers distinguish them"
        else:
            evidence += "Labels distinguish these units of the last layer"
            remedy = replace(
                remedy, text=f"change nothing if this is intended; if not, {remedy.text}"
            )
        yield Finding(_list_layers(group), evidence, remedy, level)


def _report_identical(diagnosis: Diagnosis, weights: Sequence[MeasuredWeight]) -> Iterator[Finding]:
    """Report some units with the same weights and the same output."""
    hit = []
    for weight in weights:
        values = kernel_values(diagnosis).get(weight)
        are_some = values is not None and values.identical_units and not values.constant
        if are_some and equal_outputs(diagnosis).get(weight.layer.layer):
            hit.append(weight)
    for level, alike in group_by_level(
        hit, "warning", lambda weight: not _has_labels(weight.layer)
    ):
        count = kernel_values(diagnosis)[alike[0]].identical_units
        evidence = (
            f"{count} units of {alike[0].path}{write_rest(alike)} have the same weights as "
            "another unit"
        )
        remedy = _propose_random_weights(alike, "draw independent weights for each unit")
        if level == "warning":
            evidence += ". If their outgoing weights are equal too, training updates them in the "
            evidence += "same way"
        else:
            evidence += ". Labels distinguish these units of the last layer"
            text = (
                "change nothing if this is intended, for example for new classes; if not, "
                f"{remedy.text}"
            )
            remedy = replace(remedy, text=text)
        yield Finding(_list_layers(alike), evidence, remedy, level)


def _has_labels(layer: MeasuredLayer) -> bool:
    """Return whether each unit of a layer is one of the outputs of the model, with its labels."""
    return layer.shape is not None and layer.output.shape == layer.shape
