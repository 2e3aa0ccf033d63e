"""Outputs and labels: whether a loss of Keras reads them for what they are."""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_initx._keras import layers_of
from keras_initx._typing import Array
from keras_initx.backends import backend
from keras_initx.diagnostics._measurements import LayerReport, Measurements, OptimizerFacts
from keras_initx.diagnostics._outputs import Applied, OutputFacts, reach_alone
from keras_initx.diagnostics._remedy import (
    Choice,
    Remedy,
    drawn,
    of_finite_targets,
    standardized_columns,
    weights_named,
    with_standardized_columns,
)
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._verdict import (
    LEAST_VALUES,
    Finding,
    Level,
    Threshold,
    layer_count,
    rule,
)
from keras_initx.initializers import PriorBias
from keras_initx.structure import array_of, tensors_in

# The number of examples with which the limits of an output are tried.
_TRIED = 64
# Share of the rows with several ones from which on they are no accident.
_SEVERAL = 0.01
# Share of the rows of labels without a meaning from which on they are no accident.
_MANY = 0.1
# The distances of numbers that are not negative.
_OF_COUNTS = ("mean_squared_logarithmic_error", "poisson")
# Up to how many classes a standard deviation of 1 limits what a softmax gives.
_FEW_CLASSES = 30
# From how many classes on sigmoids with SGD learn much more slowly than a softmax.
_MANY_CLASSES = 10

# Relative to the targets, a bias that drives any activation to its limit; its square still fits
# into float32.
_FAR = 1e4

OUT_OF_REACH = Threshold(
    "out_of_reach",
    0.1,
    "fraction of the targets beyond the range of the last activation above which a distance cannot "
    "become small",
)
UNSCALED_TARGETS = Threshold(
    "unscaled_targets",
    500,
    "factor between the standard deviation of the targets of a distance and that of the outputs, "
    "or 1 if that is more, above which the targets are not scaled",
)
SMALL_TARGETS = Threshold(
    "small_targets",
    0.02,
    "standard deviation of the targets of a distance below which they are not scaled",
)
RARE_CLASS = Threshold(
    "rare_class",
    3,
    "factor between the first loss and that of guessing the frequencies of the classes, above "
    "which a class is rare",
)


@rule(
    "targets not finite",
    levels={"error": ""},
    finds="targets with NaN or infinities, if the loss or a gradient is not finite either, or "
    "cannot be computed",
    reason="one such target makes the loss NaN, and the first step all weights. They come from a "
    "logarithm of a negative number, a division by a deviation of 0, a gap in a table",
    remedy="examples without",
)
def nonfinite_targets(measured: Measurements) -> Iterator[Finding]:
    if not spoils_loss(measured):
        return
    targets = measured.targets or Signal()
    count = round(targets.nonfinite * targets.size)
    evidence = f"the targets are not finite: {count} of {targets.size} values are NaN or infinite"
    remedy = Remedy("leave out the examples with such targets", examples=of_finite_targets)
    yield Finding([layer for layer, _ in measured.outputs], evidence, remedy, "error")


def spoils_loss(measured: Measurements) -> bool:
    """Return whether targets are not finite, and a loss or a gradient with them."""
    targets, objective = measured.targets, measured.objective
    if targets is None or not targets.nonfinite or objective is None:
        return False
    # The loss of such labels is not computed where a backend would raise an error.
    if objective.value is None:
        return not objective.outputs.nonfinite
    # A loss may leave them out, as where they stand for what is missing.
    numbers = [objective.value, *(norm for _, norm in measured.gradient_norms)]
    return not all(map(math.isfinite, numbers))


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
    numbers = Remedy(
        'for numbers activation=None and loss="mse"',
        loss="mse",
        layers={name: {"activation": None}},
    )
    remedy = Remedy(
        f'for two classes activation="sigmoid" in {name} and loss="binary_crossentropy"',
        loss="binary_crossentropy",
        layers={name: {"activation": "sigmoid"}},
    )
    if any(layer is hit[0] and _are_signs(facts) for layer, facts in measured.outputs):
        text = f"{remedy.text}, with labels 0 and 1: y = (y + 1) / 2"
        remedy = replace(remedy, text=text, targets=_zero_or_one)
    yield Finding(hit, evidence, remedy.otherwise(numbers, "; "), "error")


def _are_signs(facts: OutputFacts) -> bool:
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
        if not _has_probabilities_as_logits(facts):
            continue
        made = f"the output of {layer.name}"
        if facts.activation is not None:
            made += f", which ends in {facts.activation},"
        evidence = (
            f"{made} is probabilities from {facts.outputs.min:.3g} to {facts.outputs.max:.3g}, but "
            f"{facts.loss.name} has `from_logits=True` and takes them for logits"
        )
        remedy = _other_loss(facts.loss.class_name)
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
        if not _has_no_probabilities(facts) or _means_several(facts) or _means_numbers(facts):
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
            remedy = _other_loss(facts.loss.class_name, from_logits=True).otherwise(remedy)
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
    return Remedy(text, loss=loss or None, layers={layer.name: {"activation": activation}})


def _other_loss(name: str, **arguments: Any) -> Remedy:
    """Return a remedy with a loss of Keras of this name."""
    options = ", ".join(f"{argument}={value!r}" for argument, value in arguments.items())
    loss = getattr(keras.losses, name)(**arguments)
    return Remedy(f"loss=keras.losses.{name}({options})", loss=loss)


# What remedies do to targets. Named functions, so that a report can be pickled.
def _argmax(y: Any) -> Any:
    return np.asarray(y).argmax(-1)


def _multiplied(factor: int, y: Any) -> Any:
    return (np.asarray(y) * factor).round()


def _from_zero(least: int, y: Any) -> Any:
    return np.asarray(y) - least


def _zero_or_one(y: Any) -> Any:
    return (np.asarray(y) + 1) // 2


def _of_bytes(y: Any) -> Any:
    return np.asarray(y) / 255


def _above_mean(y: Any) -> Any:
    values = np.asarray(y)
    return (values > values.mean()).astype(values.dtype)


def _second(y: Any) -> Any:
    return np.asarray(y)[..., 1:]


def _one_hot(classes: int, y: Any) -> Any:
    return keras.utils.to_categorical(y, classes)


def _between(low: float, high: float, y: Any) -> Any:
    values = np.asarray(y)
    least = values.min()
    return low + (high - low) * (values - least) / max(values.max() - least, 1e-30)


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
        if given.name in _OF_COUNTS and given.negative > _MANY:
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
        remedy = _other_loss("CategoricalCrossentropy", **_options(facts))
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
    is_of_logits = facts.loss.from_logits or _has_no_probabilities(facts)
    # Probabilities for logits have a verdict of their own.
    if is_of_logits and not _has_probabilities_as_logits(facts):
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
    if _are_signs(facts):
        return Remedy("labels 0 and 1: y = (y + 1) // 2", targets=_zero_or_one)
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
        remedy = _other_loss("SparseCategoricalCrossentropy", **_options(facts))
        rows = Remedy(
            f"rows: y = keras.utils.to_categorical(y, {units})",
            targets=functools.partial(_one_hot, units),
        )
        yield Finding([layer], evidence, remedy.otherwise(rows), "error")
    elif _means_numbers(facts):
        targets = facts.targets
        evidence = (
            f"the targets, from {targets.min:.3g} to {targets.max:.3g}, are no probabilities of "
            f"classes, whose rows add up to 1, but {facts.loss.name} takes them for these"
        )
        remedy = other_activation(None, layer, "mse")
        remedy = replace(remedy, text=f"for numbers {remedy.text}")
        yield Finding([layer], evidence, remedy, "error")
    elif _means_several(facts):
        evidence = (
            f"{facts.several:.0%} of the rows of labels have several ones, but {facts.loss.name} "
            "takes classes that exclude each other"
        )
        remedy = other_activation("sigmoid", layer, "binary_crossentropy")
        if facts.loss.from_logits:
            remedy = _other_loss("BinaryCrossentropy", from_logits=True)
        yield Finding([layer], evidence, remedy, "warning")
    elif facts.empty > _MANY:
        evidence = (
            f"{facts.empty:.0%} of the rows of labels are all 0, and have no class: they add "
            f"nothing to {facts.loss.name}"
        )
        remedy = Remedy("labels of all classes, from 0 to the number of classes less 1")
        yield Finding([layer], evidence, remedy, "warning")


def _means_numbers(facts: OutputFacts) -> bool:
    """Return whether targets for a categorical crossentropy are no probabilities of classes."""
    return facts.loss.kind == "categorical" and facts.no_shares > _MANY


def _means_several(facts: OutputFacts) -> bool:
    """Return whether labels for a categorical crossentropy have several classes for an example."""
    return facts.loss.kind == "categorical" and facts.several > _SEVERAL


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
    elif _are_signs(facts):
        remedy = Remedy("labels 0 and 1: y = (y + 1) / 2", targets=_zero_or_one)
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
        yield Finding([layer], evidence, Remedy(text, layers={name: {"rate": 0.0}}), level)


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


def reach_by_trial(
    model: keras.Model, x: Any, layer: keras.Layer, place: int, size: float
) -> tuple[float, float]:
    """Return the limits of an output that no bias of its last layer moves it beyond.

    They are infinite where such a bias has no end of its effect, or none.

    Args:
        model: The model, which is left unchanged.
        x: Its inputs, as tensors.
        layer: The layer.
        place: The place of the output among those of the model.
        size: That of the targets.
    """
    bias = getattr(layer, "bias", None)
    if not isinstance(bias, keras.Variable):
        return -math.inf, math.inf
    some = keras.tree.map_structure(lambda tensor: tensor[:_TRIED], x)

    def moved(shift: float) -> Array:
        with backend.preserve_state(layers_of(model)):
            bias.assign_add(keras.ops.full(bias.shape, shift, bias.dtype))
            return array_of(tensors_in(model(some, training=False))[place]).astype("float64")

    far_away, farther_away = _FAR * size, _FAR**2 * size
    try:
        here = moved(0.0)
        below = moved(-far_away), moved(-farther_away)
        above = moved(far_away), moved(farther_away)
    except Exception:  # a model may take no other batches
        return -math.inf, math.inf
    limits = []
    for sign, (far, farther) in ((-1, below), (1, above)):
        has_end = np.isfinite(farther).all() and np.allclose(far, farther, rtol=1e-3, atol=1e-6)
        if not has_end or np.allclose(here, far, rtol=1e-3, atol=1e-6):
            limits.append(sign * math.inf)
        else:
            limits.append(float(far.min() if sign < 0 else far.max()))
    low, high = limits
    return low, high


@rule(
    "unreachable targets",
    levels={"warning": ""},
    finds="a fraction above {out_of_reach} of the targets beyond the range of the activations "
    "after the last kernel, one after the other, or of the rows that do not add up to 1 for a "
    "softmax with a distance or a binary crossentropy. For a crossentropy these are labels more "
    "than 0.25 from any probability in range",
    reason="the loss cannot become small, and the activation is driven to its limit, where it has "
    "no gradient. A ReLU before a sigmoid gives 0.5 to 1",
    remedy="no activation in the last layer, one instead of two, or scaled targets",
)
def unreachable_targets(measured: Measurements) -> Iterator[Finding]:
    limit = OUT_OF_REACH.of(measured)
    for layer, facts in measured.outputs:
        if facts.sum_beyond > limit >= facts.beyond:
            evidence = (
                f"{facts.sum_beyond:.0%} of the rows of targets do not add up to 1, but those of "
                f"{layer.name} do"
            )
            remedy = other_activation("sigmoid", layer, "binary_crossentropy")
            yield Finding([layer], evidence, remedy)
        if not facts.beyond > limit:
            continue
        # What is misread has its own verdict.
        if facts.loss.kind != "distance" and is_misread(layer, measured):
            continue
        low, high = facts.reach
        names = ", then ".join(applied.activation for applied in facts.applied) or layer.name
        made = "outputs"
        if facts.loss.kind != "distance" and facts.loss.from_logits:
            made = "probabilities of logits"
        reach = f"the {made} of {names} lie between {low:.3g} and {high:.3g}"
        if math.isinf(high):
            reach = f"the {made} of {names} are never below {low:.3g}"
            if not low:
                reach = f"the {made} of {names} are never negative"
        evidence = (
            f"{facts.beyond:.0%} of the targets, which go from {facts.targets.min:.3g} to "
            f"{facts.targets.max:.3g}, are out of reach: {reach}"
        )
        if facts.form == "numbers":
            evidence = f"no label can become certain: {reach}"
        yield Finding([layer], evidence, _in_reach(layer, facts))


def _in_reach(layer: LayerReport, facts: OutputFacts) -> Remedy:
    """Return the remedy where targets are beyond the activations of an output."""
    low, high = facts.reach
    if not facts.applied:
        return Remedy(f"no limit in what follows the weights of {layer.name}")
    if facts.loss.kind == "distance":
        remedy = other_activation(None, layer)
        if len(facts.applied) > 1:
            least, most = reach_alone(facts.applied[-1].activation)
            if least <= facts.targets.min and facts.targets.max <= most:
                return _without(facts.applied[:-1])
            remedy = _without(facts.applied)
        if math.isinf(high):
            return remedy
        scaled = functools.partial(_between, low, high)
        text = f"targets scaled to [{low:.3g}, {high:.3g}]"
        return remedy.otherwise(Remedy(text, targets=scaled))
    # The loss applies the last one itself.
    before = facts.applied if facts.loss.from_logits else facts.applied[:-1]
    return _without(before)


def _without(applied: Sequence[Applied]) -> Remedy:
    """Return a remedy without some activations."""
    texts = []
    layers: dict[str, Mapping[str, Any]] = {}
    for one in applied:
        if one.is_argument:
            texts.append(f"activation=None in {one.layer}")
            layers[one.layer] = {"activation": None}
        else:
            texts.append(f"no {one.layer}, which applies {one.activation}")
    if len(layers) < len(applied):
        layers = {}
    return Remedy(" and ".join(texts), layers=layers)


@rule(
    "unscaled targets",
    levels={"warning": ""},
    finds="targets of a distance whose standard deviation about their mean is above "
    "{unscaled_targets} times that of the outputs, or 1 if that is more; or below {small_targets}, "
    "as returns of prices have",
    reason="outputs start at about 1, and Adam changes a weight by at most its rate in a step, so "
    "that it takes thousands of steps to reach the targets; the gradients of SGD are as much too "
    "large. Beside small targets the outputs that a network starts with, and each step, are noise",
    remedy="standardized targets",
)
def unscaled_targets(measured: Measurements) -> Iterator[Finding]:
    for layer, facts in measured.outputs:
        output = layer.output
        if facts.loss.kind != "distance" or output is None or output.blind_loss is None:
            continue
        # These have their own verdict, whose remedy scales them too.
        if facts.beyond > OUT_OF_REACH.of(measured) or output.loss_kind != "distance":
            continue
        ratio = output.blind_loss / max(facts.outputs.std, 1)
        are_small = 0 < output.blind_loss < SMALL_TARGETS.of(measured)
        if not ratio > UNSCALED_TARGETS.of(measured) and not are_small:
            continue
        evidence = (
            f"the targets of {layer.name} have standard deviation {output.blind_loss:.3g}, its "
            f"outputs {facts.outputs.std:.3g}"
        )
        remedy = Remedy(
            "standardized targets: y = (y - y.mean(axis=0)) / y.std(axis=0)",
            targets=standardized_columns,
        )
        yield Finding([layer], evidence, remedy)
    for layer, own in measured.own_losses:
        size = measured.objective.outputs.std if measured.objective else 1.0
        if not own.spread / max(size, 1) > UNSCALED_TARGETS.of(measured):
            continue
        evidence = (
            f"the loss of {layer.name} reads targets with standard deviation {own.spread:.3g}, its "
            f"outputs have {size:.3g}"
        )
        remedy = Remedy(
            "standardized targets: y = (y - y.mean(axis=0)) / y.std(axis=0) for these columns",
            targets=with_standardized_columns,
        )
        yield Finding([layer], evidence, remedy)


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
        remedy = _other_loss("CategoricalCrossentropy", from_logits=True)
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


def _has_probabilities_as_logits(facts: OutputFacts) -> bool:
    """Return whether a loss takes probabilities for logits."""
    if facts.loss.kind == "distance" or not facts.loss.from_logits:
        return False
    if facts.loss.kind == "binary":
        return facts.within_one or facts.activation in ("hard_sigmoid", "sigmoid", "softmax")
    return facts.sums_to_one


def _has_no_probabilities(facts: OutputFacts) -> bool:
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
        if other is layer and (_has_probabilities_as_logits(facts) or _has_no_probabilities(facts)):
            return True
    return False
