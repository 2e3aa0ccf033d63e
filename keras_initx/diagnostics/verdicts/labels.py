"""Labels: whether a loss of Keras reads them for what they are."""

import math
from collections.abc import Iterator
from dataclasses import replace

from keras_initx.diagnostics._diagnosis import Diagnosis
from keras_initx.diagnostics._layers import LayerReport, pairs_for
from keras_initx.diagnostics._layers import layers as layers_of
from keras_initx.diagnostics._output_probe import LossProbe
from keras_initx.diagnostics._outputs import MANY, LossInputs, Mismatch, OutputFacts
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._rules import Finding, Level, rule
from keras_initx.diagnostics.verdicts.outputs import are_signs, other_activation, other_loss

# The distances of numbers that are not negative.
_OF_COUNTS = ("mean_squared_logarithmic_error", "poisson")
# Share of the variance of the targets that may remain where outputs are compared with several.
_REMAINING = 0.1


@rule(
    "unsuitable labels",
    beside=["single class"],
    levels={
        "error": "",
        "warning": "if rows have several ones, or one label of a distance is for several outputs",
    },
    finds="labels that a crossentropy cannot mean: for a sparse one numbers that are no integers "
    "from 0 to the number of classes less 1; for a categorical one rows with several ones; for a "
    "binary one values beyond [0, 1], or one for several outputs; one label "
    "for an example of which the output keeps the positions, also for a distance; targets below 0 "
    "for a squared logarithmic error or `Poisson`; outputs that a distance compares with several "
    "different targets each, because their shapes differ",
    reason="some backends raise an error, others train towards something else without a word",
    remedy="labels of the form that the loss takes, or the loss that takes these; `Flatten` or a "
    "pooling; one output for each target",
)
def unsuitable_labels(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    losses = of.probe(LossProbe)
    for layer, facts in pairs_for(layers, losses.read, of):
        if facts.form == "examples" or (facts.loss.kind == "binary" and facts.form == "numbers"):
            # A distance from the same number everywhere may be meant.
            if facts.loss.kind != "distance" or facts.targets.std > 0:
                yield _single(layer, facts, of)
        elif facts.loss.kind == "sparse":
            yield from _sparse(layer, facts)
        elif facts.loss.kind == "categorical":
            yield from _categorical(layer, facts)
        elif facts.loss.kind == "binary":
            yield from _binary(layer, facts)
    for layer, given in pairs_for(layers, losses.given, of):
        yield from _of_distance(layer, given)


def _single(layer: LayerReport, facts: OutputFacts, of: Diagnosis) -> Finding:
    """Return the finding on one label for several rows or values of an output."""
    shape = layer.shape or ()
    evidence = (
        f"there is one label for each example, but {layer.title} has an output of shape "
        f"{shape[1:]} for it"
    )
    if len(shape) < 3:
        remedy = Remedy(f"a {layer.kind} of one unit for {layer.title}")
        return Finding([layer], evidence, remedy, "error")
    text = f"keras.layers.Flatten() before {layer.title}"
    if len(shape) <= 5:
        text += f", or keras.layers.GlobalAveragePooling{len(shape) - 2}D()"
    remedy = Remedy(text)
    before = layers_of(of)[: layers_of(of).index(layer)]
    recurrent = [one for one in before if one.kind in ("GRU", "LSTM", "RNN", "SimpleRNN")]
    if recurrent and len(shape) == 3:
        last = recurrent[-1].title
        around, _, own = last.rpartition("/")
        # The names that `Bidirectional` gives to the two layers that it makes of one.
        if own.startswith(("backward_", "forward_")):
            last = f"the layer in {around}"
        remedy = Remedy(f"return_sequences=False in {last}").otherwise(remedy)
    level: Level = "warning" if facts.loss.kind == "distance" else "error"
    return Finding([layer], evidence, remedy, level)


def _sparse(layer: LayerReport, facts: OutputFacts) -> Iterator[Finding]:
    """Yield the finding on the labels of a sparse crossentropy."""
    targets = facts.targets
    if facts.labels.outside:
        evidence = (
            f"{facts.labels.outside:.0%} of the labels, which go from {targets.min:.6g} to "
            f"{targets.max:.6g}, are none of the class numbers 0 to {facts.units - 1} of "
            f"{layer.title}"
        )
        yield Finding([layer], evidence, _class_numbers(layer, facts), "error")


def _class_numbers(layer: LayerReport, facts: OutputFacts) -> Remedy:
    """Return the remedy for labels that are no class numbers."""
    targets = facts.targets
    low, high = round(targets.min), round(targets.max)
    divisor = facts.labels.divisor
    if divisor is not None:
        return Remedy(f"class numbers as before the division: y = (y * {divisor}).round()")
    if not facts.is_whole:
        return Remedy(f'for numbers a {layer.kind} of one unit without activation and loss="mse"')
    if low > 0 and high - low < facts.units:
        return Remedy(f"labels that begin at 0: y = y - {low}")
    if are_signs(facts):
        return Remedy("labels 0 and 1: y = (y + 1) // 2")
    if low < 0 and high < facts.units:
        # The loss is that of the user, with one more argument.
        return Remedy(f"ignore_class={low} in the loss if such labels are to be left out")
    return Remedy(f"a {layer.kind} of {high + 1} units instead of {layer.title}")


def _categorical(layer: LayerReport, facts: OutputFacts) -> Iterator[Finding]:
    """Yield the finding on the labels of a categorical crossentropy."""
    # Their classes are along the axis of those of the outputs, which the loss does not know.
    if facts.targets_sum:
        return
    if facts.means_numbers:
        targets = facts.targets
        evidence = (
            f"the targets, from {targets.min:.3g} to {targets.max:.3g}, are no probabilities of "
            f"classes, whose rows add up to 1, but {facts.loss.title} takes them for these"
        )
        remedy = other_activation(None, layer, "mse")
        remedy = replace(remedy, text=f"for numbers {remedy.text}")
        yield Finding([layer], evidence, remedy, "error")
    elif facts.means_several:
        evidence = (
            f"{facts.labels.several:.0%} of the rows of labels have several ones, but "
            f"{facts.loss.title} takes classes that exclude each other"
        )
        remedy = other_activation("sigmoid", layer, "binary_crossentropy", facts)
        if facts.loss.from_logits:
            remedy = other_loss("BinaryCrossentropy", from_logits=True)
        yield Finding([layer], evidence, remedy, "warning")
    elif facts.labels.empty > MANY:
        evidence = (
            f"{facts.labels.empty:.0%} of the rows of labels are all 0, and have no class: they "
            f"add nothing to {facts.loss.title}"
        )
        remedy = Remedy("labels of all classes, from 0 to the number of classes less 1")
        yield Finding([layer], evidence, remedy, "warning")


def _binary(layer: LayerReport, facts: OutputFacts) -> Iterator[Finding]:
    """Yield the finding on the labels of a binary crossentropy."""
    if not facts.leaves_range:
        return
    targets = facts.targets
    low, high = round(targets.min), round(targets.max)
    if facts.has_two_values and not facts.is_whole:
        # They were standardized together with the inputs.
        remedy = Remedy("labels 0 and 1: y = (y > y.mean())")
    elif not facts.is_whole:
        remedy = other_activation(None, layer, "mse")
        remedy = replace(remedy, text=f"for numbers {remedy.text}")
    elif are_signs(facts):
        remedy = Remedy("labels 0 and 1: y = (y + 1) / 2")
    elif low > 0 and high - low == 1:
        remedy = Remedy(f"labels 0 and 1: y = y - {low}")
    elif low >= 0 and high == 255:
        remedy = Remedy("targets from 0 to 1: y = y / 255")
    else:
        numbers = Remedy('for numbers loss="mse"')
        remedy = Remedy(
            f'for class numbers {high + 1} units and activation="softmax" in {layer.title}, and '
            'loss="sparse_categorical_crossentropy"'
        ).otherwise(numbers, "; ")
    evidence = (
        f"the targets go from {targets.min:.6g} to {targets.max:.6g}, but {facts.loss.title} takes "
        "values from 0 to 1"
    )
    yield Finding([layer], evidence, remedy, "error")


def _of_distance(layer: LayerReport, given: LossInputs) -> Iterator[Finding]:
    """Yield the findings on the targets of a loss that is no crossentropy."""
    if given.name in _OF_COUNTS and given.negative > MANY:
        evidence = (
            f"{given.negative:.0%} of the targets of {layer.title} are below 0, but {given.name} "
            "takes numbers from 0"
        )
        yield Finding([layer], evidence, Remedy('for such numbers loss="mse"'), "error")
    mismatch = given.mismatch
    if mismatch is not None and mismatch.remaining > _REMAINING:
        evidence = (
            f"the targets have the shape {mismatch.targets}, the outputs of {layer.title} "
            f"{mismatch.outputs}: each output is compared with several targets, whose mean is "
            f"the best that it can be, with {mismatch.remaining:.0%} of their variance left"
        )
        yield Finding([layer], evidence, _for_shapes(layer, mismatch), "error")


def _for_shapes(layer: LayerReport, mismatch: Mismatch) -> Remedy:
    """Return the remedy where outputs are compared with several targets."""
    targets, outputs = mismatch.targets, mismatch.outputs
    if math.prod(targets) == math.prod(outputs):
        if len(targets) < len(outputs):
            return Remedy("targets of the shape of the outputs: y = y[..., None]")
        return Remedy("targets of the shape of the outputs: y = y[..., 0]")
    if len(targets) == len(outputs):
        return Remedy(f"a {layer.kind} of {targets[-1]} units for {layer.title}")
    return Remedy(
        f"one output for each target: an output of shape {targets} of {layer.title}, for a "
        "sequence by return_sequences=False, keras.layers.Flatten() or a pooling before it"
    )
