"""Outputs: whether a loss of Keras takes them for what they are."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from keras_initx.diagnostics._measurements import LayerReport, Measurements
from keras_initx.diagnostics._outputs import OutputFacts
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._verdict import Finding, Level, layer_count, rule

# Up to how many classes a standard deviation of 1 limits what a softmax gives.
_FEW_CLASSES = 30


@rule(
    "single class",
    levels={"error": ""},
    finds="an output of the model with a softmax of one unit, or a crossentropy of several classes "
    "for an output of one unit",
    reason="a single probability is always 1, whatever the weights are: no gradient passes back",
    remedy="a sigmoid and binary crossentropy, or a unit for each class",
)
def single_class(measured: Measurements) -> Iterator[Finding]:
    hit = [layer for layer in measured.layers if gives_one_class(layer, measured)]
    if not hit:
        return
    name = hit[0].name
    evidence = (
        f"{name} has one unit, and a softmax of one unit is always 1{layer_count(hit)}: no "
        "gradient passes back through it"
    )
    text = f'for two classes activation="sigmoid" in {name} and loss="binary_crossentropy"'
    if any(layer is hit[0] and are_signs(facts) for layer, facts in measured.outputs):
        text += ", with labels 0 and 1: y = (y + 1) / 2"
    numbers = Remedy('for numbers activation=None and loss="mse"')
    yield Finding(hit, evidence, Remedy(text).otherwise(numbers, "; "), "error")


def are_signs(facts: OutputFacts) -> bool:
    """Return whether the targets are -1 and 1."""
    targets = facts.targets
    return facts.is_whole and targets.min == -1 and targets.max == 1 and not targets.zeros


@rule(
    "probabilities as logits",
    levels={"warning": ""},
    finds="an output that is probabilities, by a sigmoid or because its rows add up to 1, for a "
    "crossentropy with `from_logits=True`",
    reason="the loss applies a second softmax or sigmoid, whose logits lie between 0 and 1: it "
    "cannot become small. TensorFlow undoes the first in some cases, other backends do not",
    remedy="`from_logits=False`, or no activation in the last layer",
)
def probabilities_as_logits(measured: Measurements) -> Iterator[Finding]:
    for layer, facts in measured.outputs:
        if not has_probabilities_as_logits(facts):
            continue
        made = f"the output of {layer.name}"
        if facts.activation is not None:
            made += f", which ends in {facts.activation},"
        evidence = (
            f"{made} is probabilities from {facts.outputs.min:.3g} to {facts.outputs.max:.3g}, but "
            f"{facts.loss.name} has `from_logits=True` and takes them for logits"
        )
        remedy = other_loss(facts.loss.class_name)
        remedy = replace(remedy, text=f"{remedy.text}, whose default is from_logits=False")
        if facts.activation in ("sigmoid", "softmax"):
            remedy = remedy.otherwise(other_activation(None, layer), "; or ")
        yield Finding([layer], evidence, remedy)


@rule(
    "no probabilities",
    levels={"error": "", "warning": "if they are sigmoids"},
    finds="an output that is no probabilities for a crossentropy with `from_logits=False`: values "
    "beyond [0, 1] for a binary one, values below 0 for the others, a ReLU or a layer without "
    "activation for both, and sigmoids for classes that exclude each other; or values beyond "
    "[0, 1] for a Kullback-Leibler divergence",
    reason="the loss cuts such values off, where they have no gradient. Rows of sigmoids it "
    "divides by their sums",
    remedy="`from_logits=True` for a last layer without activation, otherwise softmax or sigmoid",
)
def no_probabilities(measured: Measurements) -> Iterator[Finding]:
    for layer, facts in measured.outputs:
        if not has_no_probabilities(facts) or facts.means_several or facts.means_numbers:
            continue
        suitable = "sigmoid" if facts.loss.kind == "binary" else "softmax"
        outputs = facts.outputs
        if facts.activation == "sigmoid":
            total = outputs.mean * facts.units
            evidence = (
                f"{layer.name} ends in sigmoids, whose {facts.units} values add up to "
                f"{total:.3g} on average, but {facts.loss.name} takes probabilities of classes "
                "that exclude each other"
            )
            yield Finding([layer], evidence, other_activation("softmax", layer))
            continue
        evidence = (
            f"the output of {layer.name}, from {outputs.min:.3g} to {outputs.max:.3g}, is no "
            f"probabilities, but {facts.loss.name} takes it for them: it cuts off what is not "
            "between 0 and 1, where no gradient passes"
        )
        remedy = other_activation(suitable, layer)
        if facts.activation in ("linear", None):
            remedy = other_loss(facts.loss.class_name, from_logits=True).otherwise(remedy)
        yield Finding([layer], evidence, remedy, "error")
    for layer, given in measured.loss_inputs:
        outputs = given.outputs
        if given.name == "kl_divergence" and (outputs.min < -1e-2 or outputs.max > 1.01):
            evidence = (
                f"the output of {layer.name}, from {outputs.min:.3g} to {outputs.max:.3g}, is no "
                "probabilities, but kl_divergence cuts off what is not between 0 and 1"
            )
            yield Finding([layer], evidence, other_activation("softmax", layer), "error")


def other_activation(activation: str | None, layer: LayerReport, loss: str = "") -> Remedy:
    """Return a remedy with another activation in `layer`, and with another loss if one is given."""
    expression = "None" if activation is None else f'"{activation}"'
    text = f"activation={expression} in {layer.name}"
    if loss:
        text += f' and loss="{loss}"'
    return Remedy(text)


def other_loss(name: str, **arguments: Any) -> Remedy:
    """Return a remedy with a loss of Keras of this name."""
    options = ", ".join(f"{argument}={value!r}" for argument, value in arguments.items())
    return Remedy(f"loss=keras.losses.{name}({options})")


@rule(
    "dropped output",
    levels={"error": "", "warning": "if the loss is a distance"},
    finds="a dropout after the last kernel, before a crossentropy or a distance",
    reason="in each step it sets some of the predictions to 0: a probability of 0 for the true "
    "class is as wrong as can be, and so is a number",
    remedy="no dropout there",
)
def dropped_output(measured: Measurements) -> Iterator[Finding]:
    for layer, facts in measured.outputs:
        if layer.output is None or layer.output.dropped_by is None:
            continue
        name = layer.output.dropped_by
        evidence = f"{name} sets outputs of the model to 0 after {layer.name}, at random"
        level: Level = "warning" if facts.loss.kind == "distance" else "error"
        text = f"no {name}, or the same before {layer.name}, on what it gets"
        yield Finding([layer], evidence, Remedy(text), level)


@rule(
    "limited output",
    levels={"warning": ""},
    finds="a normalization without a learned scale after the last kernel, before a sigmoid, or a "
    "softmax of up to 30 units",
    reason="what comes before the softmax has a standard deviation of 1, whatever the weights are: "
    "over two classes they differ by 2, so that no probability is above 0.89",
    remedy="no normalization there",
)
def limited_output(measured: Measurements) -> Iterator[Finding]:
    for layer in measured.layers:
        output = layer.output
        if output is None or output.limited_by is None:
            continue
        if layer.shape is None or layer.shape[-1] > _FEW_CLASSES:
            continue
        evidence = (
            f"{output.limited_by} gives what becomes the probabilities of {layer.name} a standard "
            "deviation of 1, whatever the weights are"
        )
        yield Finding([layer], evidence, Remedy(f"no {output.limited_by}"))


def gives_one_class(layer: LayerReport, measured: Measurements) -> bool:
    """Return whether `layer` makes an output of the model that is a probability of a single class.

    Then it is always 1.
    """
    if layer.output is not None and layer.activation == "softmax":
        return layer.shape is not None and layer.shape[-1] == 1
    for other, facts in measured.outputs:
        if other is layer and facts.units == 1 and facts.loss.kind in ("categorical", "sparse"):
            return True
    return False


def has_probabilities_as_logits(facts: OutputFacts) -> bool:
    """Return whether a loss takes probabilities for logits."""
    if facts.loss.kind == "distance" or not facts.loss.from_logits:
        return False
    if facts.loss.kind == "binary":
        return facts.within_one or facts.activation in ("hard_sigmoid", "sigmoid", "softmax")
    return facts.sums_to_one


def has_no_probabilities(facts: OutputFacts) -> bool:
    """Return whether a loss takes for probabilities what is none."""
    if facts.loss.kind == "distance" or facts.loss.from_logits:
        return False
    # Without an activation these are logits, even if those of this batch lie between 0 and 1.
    if facts.activation == "linear":
        return True
    # 16 bits round.
    is_beyond = facts.outputs.min < -1e-2
    if facts.loss.kind == "binary":
        return is_beyond or facts.outputs.max > 1.01 or facts.activation == "relu"
    # A row of positive numbers is divided by its sum, as of softplus.
    return is_beyond or (facts.units > 1 and facts.activation in ("relu", "sigmoid"))


def is_misread(layer: LayerReport, measured: Measurements) -> bool:
    """Return whether the loss does not take the output of `layer` for what it is."""
    if gives_one_class(layer, measured):
        return True
    for other, facts in measured.outputs:
        if other is layer and (has_probabilities_as_logits(facts) or has_no_probabilities(facts)):
            return True
    return False
