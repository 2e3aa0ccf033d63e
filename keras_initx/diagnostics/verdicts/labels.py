"""Labels: whether a loss of Keras reads them for what they are, and which there are."""

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_initx.diagnostics._measurements import LayerReport, Measurements, OptimizerFacts
from keras_initx.diagnostics._outputs import MANY, OutputFacts
from keras_initx.diagnostics._remedy import Choice, Remedy, drawn, weights_named
from keras_initx.diagnostics._verdict import LEAST_VALUES, Finding, Level, Threshold, rule
from keras_initx.diagnostics.verdicts.outputs import (
    are_signs,
    gives_one_class,
    has_no_probabilities,
    has_probabilities_as_logits,
    is_misread,
    other_activation,
    other_loss,
    zero_or_one,
)
from keras_initx.initializers import PriorBias

# The distances of numbers that are not negative.
_OF_COUNTS = ("mean_squared_logarithmic_error", "poisson")
# From how many classes on sigmoids with SGD learn much more slowly than a softmax.
_MANY_CLASSES = 10

RARE_CLASS = Threshold(
    "rare_class",
    3,
    "factor between the first loss and that of guessing the frequencies of the classes, above "
    "which a class is rare",
)


# What remedies do to labels. Named functions, so that a report can be pickled.
def _argmax(y: Any) -> Any:
    return np.asarray(y).argmax(-1)


def _multiplied(factor: int, y: Any) -> Any:
    return (np.asarray(y) * factor).round()


def _from_zero(least: int, y: Any) -> Any:
    return np.asarray(y) - least


def _of_bytes(y: Any) -> Any:
    return np.asarray(y) / 255


def _above_mean(y: Any) -> Any:
    values = np.asarray(y)
    return (values > values.mean()).astype(values.dtype)


def _second(y: Any) -> Any:
    return np.asarray(y)[..., 1:]


def _one_hot(classes: int, y: Any) -> Any:
    return keras.utils.to_categorical(y, classes)


@rule(
    "unsuitable labels",
    levels={"error": "", "warning": "if rows have several ones, or the loss is a distance"},
    finds="labels that a crossentropy cannot mean: for a sparse one rows, or numbers that are no "
    "integers from 0 to the number of classes less 1; for a categorical one numbers, or rows with "
    "several ones; for a binary one values beyond [0, 1], or one for several outputs; one label "
    "for an example of which the output keeps the positions, also for a distance; targets below 0 "
    "for a squared logarithmic error or `Poisson`",
    reason="some backends raise an error, others train towards something else without a word",
    remedy="labels of the form that the loss takes, or the loss that takes these; `Flatten` or a "
    "pooling",
)
def unsuitable_labels(measured: Measurements) -> Iterator[Finding]:
    for layer, facts in measured.outputs:
        if gives_one_class(layer, measured):
            continue
        if facts.form == "examples" or (facts.loss.kind == "binary" and facts.form == "numbers"):
            # A distance from the same number everywhere may be meant.
            if facts.loss.kind != "distance" or facts.targets.std > 0:
                yield _single(layer, facts, measured)
        elif facts.form == "columns":
            yield _columns(layer, facts)
        elif facts.loss.kind == "sparse":
            yield from _sparse(layer, facts)
        elif facts.loss.kind == "categorical":
            yield from _categorical(layer, facts)
        elif facts.loss.kind == "binary":
            yield from _binary(layer, facts)
    for layer, given in measured.loss_inputs:
        if given.name in _OF_COUNTS and given.negative > MANY:
            evidence = (
                f"{given.negative:.0%} of the targets of {layer.name} are below 0, but "
                f"{given.name} takes numbers from 0"
            )
            remedy = Remedy('for such numbers loss="mse"', loss="mse")
            yield Finding([layer], evidence, remedy, "error")


def _single(layer: LayerReport, facts: OutputFacts, measured: Measurements) -> Finding:
    """Return the finding on one label for several rows or values of an output."""
    shape = layer.shape or ()
    evidence = (
        f"there is one label for each example, but {layer.name} has an output of shape "
        f"{shape[1:]} for it"
    )
    if len(shape) < 3:
        remedy = Remedy(f"a {layer.kind} of one unit for {layer.name}")
        return Finding([layer], evidence, remedy, "error")
    text = f"keras.layers.Flatten() before {layer.name}"
    if len(shape) <= 5:
        text += f", or keras.layers.GlobalAveragePooling{len(shape) - 2}D()"
    remedy = Remedy(text)
    before = measured.layers[: measured.layers.index(layer)]
    recurrent = [one for one in before if one.recurrence is not None]
    if recurrent and len(shape) == 3:
        last = recurrent[-1].name
        around, _, own = last.rpartition("/")
        of_last_step = {last: {"return_sequences": False}}
        # The names that `Bidirectional` gives to the two layers that it makes of one.
        if own.startswith(("backward_", "forward_")):
            last, of_last_step = f"the layer in {around}", {}
        remedy = Remedy(f"return_sequences=False in {last}", layers=of_last_step).otherwise(remedy)
    level: Level = "warning" if facts.loss.kind == "distance" else "error"
    return Finding([layer], evidence, remedy, level)


def _columns(layer: LayerReport, facts: OutputFacts) -> Finding:
    """Return the finding on several labels for an output of one unit."""
    evidence = (
        f"there are {facts.width} labels in a row, but {layer.name} has one unit: it is compared "
        "with all of them"
    )
    if facts.width == 2 and facts.single == 1:
        remedy = Remedy("the labels of one of the two classes: y = y[:, 1:]", targets=_second)
    elif facts.single == 1:
        remedy = _with_units(layer, facts.width, "softmax", "categorical_crossentropy")
    else:
        remedy = _with_units(layer, facts.width, "sigmoid", "binary_crossentropy")
    return Finding([layer], evidence, remedy, "error")


def _with_units(layer: LayerReport, units: int, activation: str, loss: str) -> Remedy:
    """Return a remedy with another number of units in `layer`, and the loss for it."""
    return Remedy(
        f'{units} units and activation="{activation}" in {layer.name}, and loss="{loss}"',
        loss=loss,
        layers={layer.name: {**_sized(layer, units), "activation": activation}},
    )


def _sized(layer: LayerReport, units: int) -> dict[str, Any]:
    """Return the argument of a layer that gives it a number of units."""
    return {"filters" if layer.kind.startswith("Conv") else "units": units}


def _sparse(layer: LayerReport, facts: OutputFacts) -> Iterator[Finding]:
    """Yield the finding on the labels of a sparse crossentropy."""
    targets = facts.targets
    if facts.form == "rows":
        evidence = (
            f"the labels are rows of {facts.units} values, but {facts.loss.name} takes one class "
            "number for each example"
        )
        remedy = other_loss("CategoricalCrossentropy", **_options(facts))
        numbers = Remedy("class numbers: y = y.argmax(-1)", targets=_argmax)
        yield Finding([layer], evidence, remedy.otherwise(numbers), "error")
    elif facts.outside:
        evidence = (
            f"{facts.outside:.0%} of the labels, which go from {targets.min:.6g} to "
            f"{targets.max:.6g}, are none of the class numbers 0 to {facts.units - 1} of "
            f"{layer.name}"
        )
        yield Finding([layer], evidence, _class_numbers(layer, facts), "error")


def _options(facts: OutputFacts) -> dict[str, bool]:
    """Return the arguments of a crossentropy of several classes that suits an output."""
    is_of_logits = facts.loss.from_logits or has_no_probabilities(facts)
    # Probabilities for logits have a verdict of their own.
    if is_of_logits and not has_probabilities_as_logits(facts):
        return {"from_logits": True}
    return {}


def _class_numbers(layer: LayerReport, facts: OutputFacts) -> Remedy:
    """Return the remedy for labels that are no class numbers."""
    targets = facts.targets
    low, high = round(targets.min), round(targets.max)
    divisor = facts.divisor
    if divisor is not None:
        return Remedy(
            f"class numbers as before the division: y = (y * {divisor}).round()",
            targets=functools.partial(_multiplied, divisor),
        )
    if not facts.is_whole:
        return Remedy(f'for numbers a {layer.kind} of one unit without activation and loss="mse"')
    if low > 0 and high - low < facts.units:
        begins_at_0 = functools.partial(_from_zero, low)
        return Remedy(f"labels that begin at 0: y = y - {low}", targets=begins_at_0)
    if are_signs(facts):
        return Remedy("labels 0 and 1: y = (y + 1) // 2", targets=zero_or_one)
    if low < 0 and high < facts.units:
        # The loss is that of the user, with one more argument.
        return Remedy(f"ignore_class={low} in the loss if such labels are to be left out")
    text = f"a {layer.kind} of {high + 1} units instead of {layer.name}"
    return Remedy(text, layers={layer.name: _sized(layer, high + 1)})


def _categorical(layer: LayerReport, facts: OutputFacts) -> Iterator[Finding]:
    """Yield the finding on the labels of a categorical crossentropy."""
    if facts.form == "numbers":
        evidence = (
            f"the labels are one number for each example, but {facts.loss.name} takes rows of "
            f"{facts.units} values"
        )
        units = facts.units
        remedy = other_loss("SparseCategoricalCrossentropy", **_options(facts))
        rows = Remedy(
            f"rows: y = keras.utils.to_categorical(y, {units})",
            targets=functools.partial(_one_hot, units),
        )
        yield Finding([layer], evidence, remedy.otherwise(rows), "error")
    elif facts.means_numbers:
        targets = facts.targets
        evidence = (
            f"the targets, from {targets.min:.3g} to {targets.max:.3g}, are no probabilities of "
            f"classes, whose rows add up to 1, but {facts.loss.name} takes them for these"
        )
        remedy = other_activation(None, layer, "mse")
        remedy = replace(remedy, text=f"for numbers {remedy.text}")
        yield Finding([layer], evidence, remedy, "error")
    elif facts.means_several:
        evidence = (
            f"{facts.several:.0%} of the rows of labels have several ones, but {facts.loss.name} "
            "takes classes that exclude each other"
        )
        remedy = other_activation("sigmoid", layer, "binary_crossentropy")
        if facts.loss.from_logits:
            remedy = other_loss("BinaryCrossentropy", from_logits=True)
        yield Finding([layer], evidence, remedy, "warning")
    elif facts.empty > MANY:
        evidence = (
            f"{facts.empty:.0%} of the rows of labels are all 0, and have no class: they add "
            f"nothing to {facts.loss.name}"
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
        remedy = Remedy("labels 0 and 1: y = (y > y.mean())", targets=_above_mean)
    elif not facts.is_whole:
        remedy = other_activation(None, layer, "mse")
        remedy = replace(remedy, text=f"for numbers {remedy.text}")
    elif are_signs(facts):
        remedy = Remedy("labels 0 and 1: y = (y + 1) / 2", targets=zero_or_one)
    elif low > 0 and high - low == 1:
        begins_at_0 = functools.partial(_from_zero, low)
        remedy = Remedy(f"labels 0 and 1: y = y - {low}", targets=begins_at_0)
    elif low >= 0 and high == 255:
        remedy = Remedy("targets from 0 to 1: y = y / 255", targets=_of_bytes)
    else:
        numbers = Remedy('for numbers loss="mse"', loss="mse")
        remedy = _with_units(layer, high + 1, "softmax", "sparse_categorical_crossentropy")
        remedy = replace(remedy, text=f"for class numbers {remedy.text}").otherwise(numbers, "; ")
    evidence = (
        f"the targets go from {targets.min:.6g} to {targets.max:.6g}, but {facts.loss.name} takes "
        "values from 0 to 1"
    )
    yield Finding([layer], evidence, remedy, "error")


@rule(
    "constant targets",
    levels={"warning": "for exclusive classes", "note": ""},
    finds="labels of a crossentropy that are the same for all examples, at least {least_values}",
    reason="the model learns to give this answer to everything. Batches of one class come from a "
    "folder or a table in the order of its labels; a discriminator may get them on purpose",
    remedy="shuffled examples, labels of all classes",
)
def constant_targets(measured: Measurements) -> Iterator[Finding]:
    for layer, facts in measured.outputs:
        targets = facts.targets
        examples = targets.size // facts.width
        if examples < LEAST_VALUES.of(measured) or gives_one_class(layer, measured):
            continue
        if not _are_constant(facts):
            continue
        is_exclusive = facts.loss.kind in ("categorical", "sparse")
        level: Level = "warning" if is_exclusive else "note"
        what = "are of one class" if is_exclusive else "are the same"
        evidence = f"all {examples} labels of {layer.name} {what}: nothing tells examples apart"
        text = "examples in random order, with labels that differ, unless this is intended"
        yield Finding([layer], evidence, Remedy(text), level)


def _are_constant(facts: OutputFacts) -> bool:
    """Return whether the labels of a crossentropy are the same for all examples."""
    frequencies = facts.frequencies
    if frequencies is None:
        return False
    if facts.loss.kind == "binary":
        return bool(((frequencies == 0) | (frequencies == 1)).all())
    return bool((frequencies == 1).any())


@rule(
    "exclusive classes",
    levels={"warning": "for SGD without momentum and ten classes or more", "note": ""},
    finds="sigmoids and a binary crossentropy for rows of at least three labels, each with a "
    "single 1",
    reason="each sigmoid is nearly right by answering 0, and its gradient is divided by their "
    "number: SGD has hardly begun when a softmax has learned the classes",
    remedy="a softmax and categorical crossentropy",
)
def exclusive_classes(measured: Measurements) -> Iterator[Finding]:
    for layer, facts in measured.outputs:
        if facts.loss.kind != "binary" or facts.single < 1 or facts.units < 3:
            continue
        if facts.targets.size < facts.units * LEAST_VALUES.of(measured):
            continue
        # A sum over the classes divides no gradient.
        if facts.loss.factor > facts.units / 2:
            continue
        evidence = (
            f"each row of labels of {layer.name} has a single 1 among {facts.units}: classes "
            f"exclude each other, but {facts.loss.name} learns each of them by itself"
        )
        remedy = other_loss("CategoricalCrossentropy", from_logits=True)
        if not facts.loss.from_logits:
            remedy = other_activation("softmax", layer, "categorical_crossentropy")
        level: Level = "note"
        optimizer = measured.optimizer or OptimizerFacts(0.0)
        # Momentum makes up for it.
        if facts.units >= _MANY_CLASSES and optimizer.kind == "sgd" and not optimizer.momentum:
            level = "warning"
        yield Finding([layer], evidence, remedy, level)


@rule(
    "rare class",
    levels={"note": ""},
    finds="classes so rare that the first loss, and that of a blind guess, are above {rare_class} "
    "times the loss of guessing the frequencies in the batch",
    reason="the first steps learn only the frequencies (Lin and others, 2017; Karpathy, A recipe "
    "for training neural networks, 2019). Networks train without it, more slowly",
    remedy="`PriorBias`",
)
def rare_class(measured: Measurements) -> Iterator[Finding]:
    for layer, facts in measured.outputs:
        frequencies = facts.frequencies
        output = layer.output
        if frequencies is None or output is None or output.loss is None:
            continue
        if facts.targets.size < LEAST_VALUES.of(measured):
            continue
        if is_misread(layer, measured):
            continue
        # A class that is not in the batch may have any frequency, but all labels of sigmoids
        # together have one, as those of a map.
        if facts.loss.kind == "binary" and not _all_occur(frequencies):
            frequencies = frequencies.mean(keepdims=True)
        if not _all_occur(frequencies):
            continue
        # With a bias for rare labels, as RetinaNet's, the loss starts low, however rare they are.
        if output.loss < (output.blind_loss or 0) / 4:
            continue
        guess = _cost(frequencies, facts)
        if not min(output.loss, output.blind_loss or 0) > RARE_CLASS.of(measured) * guess:
            continue
        evidence = (
            f"the rarest class of {layer.name} has a share of {_rarest(frequencies, facts):.2g} of "
            f"the labels: the loss starts at {output.loss:.3g}, that of guessing the frequencies "
            f"is {guess:.3g}"
        )
        remedy = drawn(
            [_prior(frequencies, facts)],
            weights_named("bias", [layer]),
            "bias_initializer=",
            f" in {layer.name}, with the frequencies of all labels",
        )
        yield Finding([layer], evidence, remedy, "note")


def _all_occur(frequencies: np.ndarray) -> bool:
    """Return whether all labels are in the batch, and not always."""
    return bool((frequencies > 0).all() and (frequencies < 1).all())


def _cost(frequencies: np.ndarray, facts: OutputFacts) -> float:
    """Return the crossentropy of guessing the frequencies."""
    if facts.loss.kind == "binary":
        both = np.stack([frequencies, 1 - frequencies])
        return float(-(both * np.log(both)).sum(axis=0).mean())
    return float(-(frequencies * np.log(frequencies)).sum())


def _rarest(frequencies: np.ndarray, facts: OutputFacts) -> float:
    if facts.loss.kind == "binary":
        frequencies = np.minimum(frequencies, 1 - frequencies)
    return float(frequencies.min())


def _prior(frequencies: np.ndarray, facts: OutputFacts) -> Choice:
    """Return the initializer of a bias that starts at the frequencies."""
    numbers = [float(f"{frequency:.2g}") for frequency in frequencies]
    if len(numbers) == 1:
        return Choice(PriorBias(numbers[0]), f"keras_initx.PriorBias({numbers[0]})")
    is_binary = facts.loss.kind == "binary"
    options = ", multi_label=True" if is_binary else ""
    listed = str(numbers) if len(numbers) <= 10 else "frequencies"
    initializer = PriorBias(numbers, multi_label=is_binary)
    return Choice(initializer, f"keras_initx.PriorBias({listed}{options})")
