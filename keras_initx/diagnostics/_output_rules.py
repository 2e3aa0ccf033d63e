"""The rules about what is between the last layer and the loss, and about the first step."""

import math
from collections.abc import Iterator

import numpy as np

from keras_initx.diagnostics._measure import LayerReport, Measurements
from keras_initx.diagnostics._outputs import OutputFacts, reach_of
from keras_initx.diagnostics._rule import (
    Finding,
    gives_one_class,
    gradient_norms,
    has_no_probabilities,
    has_probabilities_as_logits,
    inputs_first,
    is_misread,
    layer_count,
    rule,
)

# Share of the rows with several ones from which on they are no accident.
_SEVERAL = 0.01


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
    remedy = (
        f'for two classes activation="sigmoid" in {name} and loss="binary_crossentropy"; for '
        'numbers activation=None and loss="mse"'
    )
    yield Finding(hit, evidence, remedy, "error")


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
        remedy = f"loss=keras.losses.{facts.loss.class_name}(), whose default is from_logits=False"
        if facts.activation in ("sigmoid", "softmax"):
            remedy += f"; or activation=None in {layer.name}"
        yield Finding([layer], evidence, remedy)


@rule(
    "no probabilities",
    levels={"error": "", "warning": "if they are sigmoids"},
    finds="an output that is no probabilities for a crossentropy with `from_logits=False`: values "
    "beyond [0, 1] for a binary one, values below 0 for the others, a ReLU or a layer without "
    "activation for both, and sigmoids for classes that exclude each other",
    reason="the loss cuts such values off, where they have no gradient. Rows of sigmoids it "
    "divides by their sums",
    remedy="`from_logits=True` for a last layer without activation, otherwise softmax or sigmoid",
)
def no_probabilities(measured: Measurements) -> Iterator[Finding]:
    for layer, facts in measured.outputs:
        if not has_no_probabilities(facts) or _means_several(facts):
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
            remedy = f'activation="softmax" in {layer.name}'
            yield Finding([layer], evidence, remedy)
            continue
        evidence = (
            f"the output of {layer.name}, from {outputs.min:.3g} to {outputs.max:.3g}, is no "
            f"probabilities, but {facts.loss.name} takes it for them: it cuts off what is not "
            "between 0 and 1, where no gradient passes"
        )
        remedy = f'activation="{suitable}" in {layer.name}'
        if facts.activation in ("linear", None):
            remedy = f"loss=keras.losses.{facts.loss.class_name}(from_logits=True), or {remedy}"
        yield Finding([layer], evidence, remedy, "error")


@rule(
    "unsuitable labels",
    levels={"error": "", "warning": "if rows have several ones"},
    finds="labels that a crossentropy cannot mean: for a sparse one rows, or numbers that are no "
    "integers from 0 to the number of classes less 1; for a categorical one numbers, or rows with "
    "several ones; for a binary one values beyond [0, 1], or one for several outputs; one label "
    "for an example of which the output keeps the positions",
    reason="some backends raise an error, others train towards something else without a word",
    remedy="labels of the form that the loss takes, or the loss that takes these; `Flatten` or a "
    "pooling",
)
def unsuitable_labels(measured: Measurements) -> Iterator[Finding]:
    for layer, facts in measured.outputs:
        if gives_one_class(layer, measured):
            continue
        if facts.form == "examples" or (facts.loss.kind == "binary" and facts.form == "numbers"):
            yield _single(layer, facts)
        elif facts.loss.kind == "sparse":
            yield from _sparse(layer, facts)
        elif facts.loss.kind == "categorical":
            yield from _categorical(layer, facts)
        elif facts.loss.kind == "binary":
            yield from _binary(layer, facts)


def _single(layer: LayerReport, facts: OutputFacts) -> Finding:
    """Return the finding on one label for several rows or values of an output."""
    shape = layer.shape or ()
    evidence = (
        f"there is one label for each example, but {layer.name} has an output of shape "
        f"{shape[1:]} for it"
    )
    if len(shape) < 3:
        return Finding([layer], evidence, f"a {layer.kind} of one unit for {layer.name}", "error")
    remedy = f"keras.layers.Flatten() before {layer.name}"
    if len(shape) <= 5:
        remedy += f", or keras.layers.GlobalAveragePooling{len(shape) - 2}D()"
    return Finding([layer], evidence, remedy, "error")


def _sparse(layer: LayerReport, facts: OutputFacts) -> Iterator[Finding]:
    """Yield the finding on the labels of a sparse crossentropy."""
    targets = facts.targets
    if facts.form == "rows":
        evidence = (
            f"the labels are rows of {facts.units} values, but {facts.loss.name} takes one class "
            "number for each example"
        )
        remedy = (
            f"loss=keras.losses.CategoricalCrossentropy({_options(facts)}), or class numbers: "
            "y = y.argmax(-1)"
        )
        yield Finding([layer], evidence, remedy, "error")
    elif facts.outside:
        evidence = (
            f"{facts.outside:.0%} of the labels, which go from {targets.min:.6g} to "
            f"{targets.max:.6g}, are none of the class numbers 0 to {facts.units - 1} of "
            f"{layer.name}"
        )
        yield Finding([layer], evidence, _class_numbers(layer, facts), "error")


def _options(facts: OutputFacts) -> str:
    """Return the arguments of a crossentropy of several classes that suits an output."""
    is_of_logits = facts.loss.from_logits or has_no_probabilities(facts)
    # Probabilities for logits have a verdict of their own.
    if is_of_logits and not has_probabilities_as_logits(facts):
        return "from_logits=True"
    return ""


def _class_numbers(layer: LayerReport, facts: OutputFacts) -> str:
    """Return the remedy for labels that are no class numbers."""
    targets = facts.targets
    low, high = round(targets.min), round(targets.max)
    if facts.divisor is not None:
        return f"class numbers as before the division: y = (y * {facts.divisor}).round()"
    if not facts.is_whole:
        return f'for numbers a {layer.kind} of one unit without activation and loss="mse"'
    if low > 0 and high - low < facts.units:
        return f"labels that begin at 0: y = y - {low}"
    if low == -1 and high == 1 and not targets.zeros:
        return "labels 0 and 1: y = (y + 1) // 2"
    if low < 0 and high < facts.units:
        return f"ignore_class={low} in the loss if such labels are to be left out"
    return f"a {layer.kind} of {high + 1} units instead of {layer.name}"


def _categorical(layer: LayerReport, facts: OutputFacts) -> Iterator[Finding]:
    """Yield the finding on the labels of a categorical crossentropy."""
    if facts.form == "numbers":
        evidence = (
            f"the labels are one number for each example, but {facts.loss.name} takes rows of "
            f"{facts.units} values"
        )
        remedy = (
            f"loss=keras.losses.SparseCategoricalCrossentropy({_options(facts)}), or "
            f"rows: y = keras.utils.to_categorical(y, {facts.units})"
        )
        yield Finding([layer], evidence, remedy, "error")
    elif _means_several(facts):
        evidence = (
            f"{facts.several:.0%} of the rows of labels have several ones, but {facts.loss.name} "
            "takes classes that exclude each other"
        )
        remedy = f'activation="sigmoid" in {layer.name} and loss="binary_crossentropy"'
        if facts.loss.from_logits:
            remedy = "loss=keras.losses.BinaryCrossentropy(from_logits=True)"
        yield Finding([layer], evidence, remedy, "warning")


def _means_several(facts: OutputFacts) -> bool:
    """Return whether labels for a categorical crossentropy have several classes for an example."""
    return facts.loss.kind == "categorical" and facts.several > _SEVERAL


def _binary(layer: LayerReport, facts: OutputFacts) -> Iterator[Finding]:
    """Yield the finding on the labels of a binary crossentropy."""
    if not facts.leaves_range:
        return
    targets = facts.targets
    low, high = round(targets.min), round(targets.max)
    if not facts.is_whole:
        remedy = f'for numbers activation=None in {layer.name} and loss="mse"'
    elif low == -1 and high == 1:
        remedy = "labels 0 and 1: y = (y + 1) / 2"
    elif low > 0 and high - low == 1:
        remedy = f"labels 0 and 1: y = y - {low}"
    elif low >= 0 and high == 255:
        remedy = "targets from 0 to 1: y = y / 255"
    else:
        remedy = (
            f'for class numbers keras.layers.Dense({high + 1}, "softmax") instead of {layer.name} '
            'and loss="sparse_categorical_crossentropy"; for numbers loss="mse"'
        )
    evidence = (
        f"the targets go from {targets.min:.6g} to {targets.max:.6g}, but {facts.loss.name} takes "
        "values from 0 to 1"
    )
    yield Finding([layer], evidence, remedy, "error")


@rule(
    "unreachable targets",
    levels={"warning": ""},
    finds="a fraction above {out_of_reach} of the targets of a distance beyond the range of the "
    "last activation, or of the rows that add up to more than 1 for a softmax",
    reason="the loss cannot become small, and the activation is driven to its limit, where it has "
    "no gradient",
    remedy="no activation in the last layer, or scaled targets",
)
def unreachable_targets(measured: Measurements) -> Iterator[Finding]:
    limit = measured.thresholds.out_of_reach
    for layer, facts in measured.outputs:
        if facts.sum_beyond > limit >= facts.beyond:
            evidence = (
                f"{facts.sum_beyond:.0%} of the rows of targets add up to more than 1, but those "
                f"of {layer.name} add up to 1"
            )
            remedy = f'activation="sigmoid" in {layer.name} and loss="binary_crossentropy"'
            yield Finding([layer], evidence, remedy)
        if not facts.beyond > limit:
            continue
        low, high = reach_of(facts.activation)
        reach = f"the outputs of {facts.activation} lie between {low:g} and {high:g}"
        scaled = f", or targets scaled to [{low:g}, {high:g}]"
        if math.isinf(high):
            reach = f"the outputs of {facts.activation} are never negative"
            scaled = ""
        evidence = (
            f"{facts.beyond:.0%} of the targets, which go from {facts.targets.min:.3g} to "
            f"{facts.targets.max:.3g}, are out of reach: {reach}"
        )
        yield Finding([layer], evidence, f"activation=None in {layer.name}{scaled}")


@rule(
    "unscaled targets",
    levels={"warning": ""},
    finds="targets of a distance whose standard deviation about their mean is above "
    "{unscaled_targets} times that of the outputs, or 1 if that is more",
    reason="outputs start at about 1, and Adam changes a weight by at most its rate in a step, so "
    "that it takes thousands of steps to reach the targets; the gradients of SGD are as much too "
    "large",
    remedy="standardized targets",
)
def unscaled_targets(measured: Measurements) -> Iterator[Finding]:
    limits = measured.thresholds
    for layer, facts in measured.outputs:
        if facts.loss.kind != "distance" or layer.blind_loss is None:
            continue
        # These have their own verdict, whose remedy scales them too.
        if facts.beyond > limits.out_of_reach or layer.loss_kind != "distance":
            continue
        ratio = layer.blind_loss / max(facts.outputs.std, 1)
        if not ratio > limits.unscaled_targets:
            continue
        evidence = (
            f"the targets of {layer.name} have standard deviation {layer.blind_loss:.3g}, its "
            f"outputs {facts.outputs.std:.3g}"
        )
        remedy = "standardized targets: y = (y - y.mean(axis=0)) / y.std(axis=0)"
        yield Finding([layer], evidence, remedy)


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
    limits = measured.thresholds
    for layer, facts in measured.outputs:
        frequencies = facts.frequencies
        if frequencies is None or layer.loss is None or facts.targets.size < limits.least_values:
            continue
        if is_misread(layer, measured):
            continue
        # A class that is not in the batch may have any frequency.
        if not (frequencies > 0).all() or not (frequencies < 1).all():
            continue
        guess = _cost(frequencies, facts)
        if not min(layer.loss, layer.blind_loss or 0) > limits.rare_class * guess:
            continue
        evidence = (
            f"the rarest class of {layer.name} has a share of {_rarest(frequencies, facts):.2g} of "
            f"the labels: the loss starts at {layer.loss:.3g}, that of guessing the frequencies is "
            f"{guess:.3g}"
        )
        remedy = (
            f"bias_initializer={_prior(frequencies, facts)} in {layer.name}, with the frequencies "
            "of all labels"
        )
        yield Finding([layer], evidence, remedy, "note")


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


def _prior(frequencies: np.ndarray, facts: OutputFacts) -> str:
    """Return the initializer of a bias that starts at the frequencies, as an expression."""
    numbers = [float(f"{frequency:.2g}") for frequency in frequencies]
    if len(numbers) == 1:
        return f"keras_initx.PriorBias({numbers[0]})"
    multi_label = ", multi_label=True" if facts.loss.kind == "binary" else ""
    listed = str(numbers) if len(numbers) <= 10 else "frequencies"
    return f"keras_initx.PriorBias({listed}{multi_label})"


@rule(
    "negative rate",
    levels={"error": ""},
    finds="a model that is compiled with a learning rate below 0",
    reason="each step raises the loss",
    remedy="a positive rate",
)
def negative_rate(measured: Measurements) -> Iterator[Finding]:
    optimizer = measured.optimizer
    if optimizer is None or not optimizer.rate < 0:
        return
    evidence = f"the learning rate is {optimizer.rate:g}: each step raises the loss"
    remedy = "a positive learning rate: keras.optimizers.Adam()"
    yield Finding([], evidence, remedy, "error")


@rule(
    "large steps",
    levels={"warning": ""},
    finds="a model without normalizations that is compiled with SGD, whose learning rate times "
    "the squared norm of the gradient is above {large_step} times the loss; or with Adam or its "
    "like, whose rate times the square root of the inputs of a unit is above {large_update}",
    reason="to first order a step of SGD lowers the loss by this product, but a loss cannot fall "
    "below 0: the step goes too far, and the loss rises. The first step of Adam changes each "
    "weight by the rate, and usual weights have a standard deviation of 1 over that root: it "
    "overwrites them. Normalizations undo the scale of weights, so that large steps do no harm "
    "before them",
    remedy="a lower rate, `Adam`, scaled inputs",
)
def large_steps(measured: Measurements) -> Iterator[Finding]:
    optimizer = measured.optimizer
    if optimizer is None or not optimizer.rate > 0:
        return
    if optimizer.kind == "sgd":
        yield from _steps_of_sgd(optimizer.rate, measured)
    elif optimizer.kind == "adam":
        yield from _steps_of_adam(optimizer.rate, measured)


def _steps_of_sgd(rate: float, measured: Measurements) -> Iterator[Finding]:
    """Yield the finding on the rate of SGD."""
    loss = measured.loss
    norms = gradient_norms(measured)
    if loss is None or not loss > 0 or not norms:
        return
    # Momentum makes the first step no longer, and later ones turn: healthy networks train with it
    # where the steps that it adds up would be far too long.
    squares = sum(norm**2 for _, norm in norms)
    ratio = rate * squares / loss
    if not measured.thresholds.large_step < ratio < math.inf:
        return
    worst, _ = max(norms, key=lambda pair: pair[1])
    evidence = (
        f"the rate {rate:.3g} times the squared norm of the gradient, {math.sqrt(squares):.3g}, "
        f"is {ratio:.3g} times the loss of {loss:.3g}: a step goes too far. The largest gradient "
        f"is that of {worst.name}"
    )
    # The product would then be a tenth of the loss.
    suitable = f"keras.optimizers.SGD({rate / ratio / 10:.0e})"
    remedy = f"{inputs_first(measured)}{suitable}, or keras.optimizers.Adam()"
    yield Finding([worst], evidence, remedy)


def _steps_of_adam(rate: float, measured: Measurements) -> Iterator[Finding]:
    """Yield the finding on the rate of Adam and its like."""
    widest: LayerReport | None = None
    most = 0
    for layer in measured.layers:
        # A row of an embedding is no sum of inputs.
        if layer.kind == "Embedding":
            continue
        for weight in layer.weights:
            if weight.gradient is not None and weight.fan_in is not None and weight.fan_in > most:
                widest, most = layer, weight.fan_in
    if widest is None:
        return
    update = rate * math.sqrt(most)
    if not update > measured.thresholds.large_update:
        return
    evidence = (
        f"the first step changes each weight by about the rate, {rate:.3g}: that is {update:.3g} "
        f"times 1 / sqrt({most}), the standard deviation that suits the {most} inputs of a unit of "
        f"{widest.name}"
    )
    yield Finding([widest], evidence, "the default rate: keras.optimizers.Adam()")
