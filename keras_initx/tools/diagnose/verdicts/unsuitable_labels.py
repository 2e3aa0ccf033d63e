"""Unsuitable labels: a loss reads them for something else.

The forms of labels stand in `losses/heads.py`: numbers, rows, or examples.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from keras_initx._typing import Array
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    list_layers_until,
    pair_with_heads,
)
from keras_initx.tools.diagnose._remedies import propose_activation, propose_loss
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, Level, rule
from keras_initx.tools.diagnose.losses.heads import OutputHead
from keras_initx.tools.diagnose.losses.labels import (
    MANY,
    compute_several_share,
    find_binary_rows,
    has_arbitrary_numbers,
    has_several_classes,
    has_sign_labels,
)
from keras_initx.tools.diagnose.losses.probes import LossProbe
from keras_initx.tools.diagnose.losses.training import RepeatableLoss

# The losses for numbers that are not negative.
_COUNT_LOSSES = ("mean_squared_logarithmic_error", "poisson")
# The losses that take targets of another shape than the outputs.
_ANY_SHAPE_LOSSES = ("cosine_similarity", "ctc")
# Share of the variance of the targets that may remain where outputs are compared with several.
REMAINING = 0.1


@rule("unsuitable labels", beside=["single class"])
def unsuitable_labels(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report labels that a loss misinterprets.

    Reported if:
        - A sparse crossentropy gets labels other than class numbers, which are integers from 0 to
          the number of classes less one.
        - A sparse crossentropy gets rows, or a categorical one gets class numbers. Keras refuses
          both.
        - A categorical crossentropy gets several ones in more than {SEVERAL:g} of the rows, no one
          in more than {MANY:g} of the rows, or rows of numbers that do not add up to 1.
        - A binary crossentropy gets values outside [0, 1], or a single label for several outputs.
        - An example has a single label, and its output keeps the positions.
        - A squared logarithmic error or `Poisson` gets targets below 0, more than {MANY:g} of all.
        - A distance compares each output with several targets because their shapes differ, and the
          best outputs leave more than {REMAINING:g} of the variance of the targets.
        - A loss of your own compares each output with the targets of all examples, because it gets
          shapes such as `(n,)` and `(n, 1)`, or flattens one of both. It is a class, a function or
          `compute_loss`.

    Level:
        error; warning if rows have several ones or none, or if a distance gets a single label for
        several outputs

    Why:
        Some backends raise an error. Others train towards something else, and you get no message.

    Typical causes:
        - class numbers that begin at 1, or are -1 and 1
        - labels that you scaled together with the inputs
        - a recurrent layer with `return_sequences=True` before the last layer
        - targets of shape `(n,)` for outputs of shape `(n, 1)`

    Fix:
        - Pass labels in the form that your loss takes, or use the loss that takes your labels.
        - If you have one label for each example, add `Flatten` or a pooling before the last layer.
        - Give your model one output for each target.
    """
    losses = diagnosis.probe(LossProbe)
    for layer, head in pair_with_heads(layers, losses.heads):
        if head.form == "examples" or (head.loss.kind == "binary" and head.form == "numbers"):
            # A distance from the same number everywhere may be meant.
            if head.loss.kind != "distance" or head.target_signal.std > 0:
                yield _report_single_label(layer, head, diagnosis)
        elif head.has_wrong_form:
            yield _report_wrong_form(layer, head)
        elif head.loss.kind == "sparse":
            yield from _report_sparse(layer, head)
        elif head.loss.kind == "categorical":
            yield from _report_categorical(layer, head)
        elif head.loss.kind == "binary":
            yield from _report_binary(layer, head)
    for layer, head in pair_with_heads(layers, losses.other_heads):
        yield from _report_other_loss(layer, head)
    for layer in layers:
        if layer.layer in losses.crossed:
            yield _report_crossed(layer, losses.crossed[layer.layer])


def _report_single_label(layer: MeasuredLayer, head: OutputHead, diagnosis: Diagnosis) -> Finding:
    """Report one label for several rows or values of an output."""
    shape = layer.shape or ()
    evidence = (
        f"each example has one label, but {layer.title} has an output of shape {shape[1:]} for "
        "each example"
    )
    if len(shape) < 3:
        remedy = Remedy(f"use a {layer.kind} of one unit for {layer.title}")
        return Finding([layer], evidence, remedy, "error")
    text = f"add keras.layers.Flatten() before {layer.title}"
    if len(shape) <= 5:
        text += f", or keras.layers.GlobalAveragePooling{len(shape) - 2}D()"
    remedy = Remedy(text)
    before = list_layers_until(layer, diagnosis)[:-1]
    recurrent = [other for other in before if other.kind in ("GRU", "LSTM", "RNN", "SimpleRNN")]
    if recurrent and len(shape) == 3:
        title = recurrent[-1].title
        parent, _, own = title.rpartition("/")
        # The names that `Bidirectional` gives to the two layers that it makes of one.
        if own.startswith(("backward_", "forward_")):
            title = f"the layer in {parent}"
        remedy = Remedy(f"set return_sequences=False in {title}").otherwise(remedy)
    level: Level = "warning" if head.loss.kind == "distance" else "error"
    return Finding([layer], evidence, remedy, level)


def _report_wrong_form(layer: MeasuredLayer, head: OutputHead) -> Finding:
    """Report rows for a sparse crossentropy, or class numbers for a categorical one."""
    name, logits = head.loss.name, {"from_logits": True} if head.loss.from_logits else {}
    if head.loss.kind == "sparse":
        evidence = f"the labels are rows of {head.units} numbers, but {name} takes class numbers"
        remedy = propose_loss("CategoricalCrossentropy", **logits)
        if find_binary_rows(head.target_rows).all() and (head.target_rows.sum(axis=-1) == 1).all():
            remedy = remedy.otherwise(Remedy("pass class numbers: y = y.argmax(axis=-1)"))
    else:
        evidence = f"the labels are class numbers, but {name} takes rows of {head.units} numbers"
        remedy = propose_loss("SparseCategoricalCrossentropy", **logits)
        remedy = remedy.otherwise(Remedy(f"pass rows: keras.ops.one_hot(y, {head.units})"))
    return Finding([layer], evidence, remedy, "error")


def _report_sparse(layer: MeasuredLayer, head: OutputHead) -> Iterator[Finding]:
    targets = head.target_signal
    if head.invalid_share:
        evidence = (
            f"{head.invalid_share:.0%} of the labels, which go from {targets.min:.6g} to "
            f"{targets.max:.6g}, are not class numbers of {layer.title}; these go from 0 to "
            f"{head.units - 1}"
        )
        yield Finding([layer], evidence, _propose_class_numbers(layer, head), "error")


def _propose_class_numbers(layer: MeasuredLayer, head: OutputHead) -> Remedy:
    """Propose how to make class numbers of the labels, or another output for them."""
    targets = head.target_signal
    low, high = round(targets.min), round(targets.max)
    divisor = _find_divisor(head.target_rows, head.units)
    if divisor is not None:
        return Remedy(f"undo the division of the class numbers: y = (y * {divisor}).round()")
    if not head.has_integer_targets:
        return Remedy(
            f'for numbers, use a {layer.kind} of one unit without activation and loss="mse"'
        )
    if low > 0 and high - low < head.units:
        return Remedy(f"shift labels to begin at 0: y = y - {low}")
    if has_sign_labels(head):
        return Remedy("pass labels 0 and 1: y = (y + 1) // 2")
    if low < 0 and high < head.units:
        # The text names no loss: the user's loss may have other arguments, too.
        return Remedy(f"set ignore_class={low} in the loss if it should leave out such labels")
    return Remedy(f"use a {layer.kind} of {high + 1} units instead of {layer.title}")


def _find_divisor(numbers: Array, units: int) -> int | None:
    """Find the divisor of scaled class numbers below `units`, `None` if they were not divided.

    For example, you scale labels by mistake together with pixels: 0.0, 0.0039, 0.0078 are 0, 1, 2.
    """
    positive = numbers[numbers > 0]
    if not positive.size or numbers.min() < 0 or (numbers == np.round(numbers)).all():
        return None
    # The smallest label is class 1 if it occurs, or a later class.
    for first in range(1, units):
        divisor = round(first / float(positive.min()))
        if divisor == 0:
            continue
        classes = numbers.astype("float64") * divisor
        if classes.max() < units - 0.5 and (abs(classes - np.round(classes)) < 1e-3).all():
            return divisor
    return None


def _report_categorical(layer: MeasuredLayer, head: OutputHead) -> Iterator[Finding]:
    # The labels have their classes along the same axis as the outputs: only the loss has another.
    if head.has_summing_targets:
        return
    empty = float(np.mean(~head.target_rows.any(axis=-1)))
    if has_arbitrary_numbers(head):
        targets = head.target_signal
        evidence = (
            f"the targets go from {targets.min:.3g} to {targets.max:.3g}, but {head.loss.title} "
            "takes probabilities of classes, whose rows add up to 1"
        )
        remedy = propose_activation(None, layer, "mse")
        remedy = replace(remedy, text=f"for numbers, {remedy.text}")
        yield Finding([layer], evidence, remedy, "error")
    elif has_several_classes(head):
        evidence = (
            f"{compute_several_share(head):.0%} of the rows of labels have several ones, but "
            f"{head.loss.title} takes classes that exclude each other"
        )
        remedy = propose_activation("sigmoid", layer, "binary_crossentropy", head)
        if head.loss.from_logits:
            remedy = propose_loss("BinaryCrossentropy", from_logits=True)
        yield Finding([layer], evidence, remedy, "warning")
    elif empty > MANY:
        evidence = (
            f"{empty:.0%} of the rows of labels are all 0, and have no class. They add nothing to "
            f"{head.loss.title}"
        )
        remedy = Remedy("pass labels of all classes, from 0 to the number of classes less 1")
        yield Finding([layer], evidence, remedy, "warning")


def _have_two_values(targets: Array) -> bool:
    return bool(((targets == targets.min()) | (targets == targets.max())).all())


def _report_binary(layer: MeasuredLayer, head: OutputHead) -> Iterator[Finding]:
    if not head.has_targets_beyond_range:
        return
    targets = head.target_signal
    low, high = round(targets.min), round(targets.max)
    if _have_two_values(head.target_rows) and not head.has_integer_targets:
        # The labels were standardized together with the inputs.
        remedy = Remedy("pass labels 0 and 1: y = (y > y.mean())")
    elif not head.has_integer_targets:
        remedy = propose_activation(None, layer, "mse")
        remedy = replace(remedy, text=f"for numbers, {remedy.text}")
    elif has_sign_labels(head):
        remedy = Remedy("pass labels 0 and 1: y = (y + 1) / 2")
    elif low > 0 and high - low == 1:
        remedy = Remedy(f"pass labels 0 and 1: y = y - {low}")
    elif low >= 0 and high == 255:
        remedy = Remedy("scale targets to [0, 1]: y = y / 255")
    else:
        numbers = Remedy('for numbers, set loss="mse"')
        remedy = Remedy(
            f'for class numbers, use {high + 1} units and activation="softmax" in {layer.title}, '
            'and loss="sparse_categorical_crossentropy"'
        ).otherwise(numbers, "; ")
    evidence = (
        f"the targets go from {targets.min:.6g} to {targets.max:.6g}, but {head.loss.title} takes "
        "values from 0 to 1"
    )
    yield Finding([layer], evidence, remedy, "error")


def _report_other_loss(layer: MeasuredLayer, head: OutputHead) -> Iterator[Finding]:
    """Report targets of a loss that is no crossentropy."""
    negative = float(np.mean(head.targets < 0))
    if head.loss.name in _COUNT_LOSSES and negative > MANY:
        evidence = (
            f"{negative:.0%} of the targets of {layer.title} are below 0, but {head.loss.name} "
            "takes numbers from 0"
        )
        yield Finding([layer], evidence, Remedy('for such numbers, set loss="mse"'), "error")
    remaining = _compute_remaining_share(head)
    if remaining > REMAINING:
        evidence = (
            f"the targets have the shape {head.targets.shape}; the outputs of {layer.title} have "
            f"the shape {head.outputs.shape}. The loss compares each output with several targets. "
            f"The best output is their mean, which leaves {remaining:.0%} of their variance"
        )
        shapes = head.targets.shape, head.outputs.shape
        yield Finding([layer], evidence, _propose_shapes(layer, *shapes), "error")


def _report_crossed(layer: MeasuredLayer, loss: RepeatableLoss) -> Finding:
    """Report a user's loss that compares each output with the targets of all examples."""
    targets, outputs = tuple(loss.targets.shape), tuple(loss.output.shape)
    evidence = (
        f"the loss gets targets of the shape {targets}, and outputs of {layer.title} of the shape "
        f"{outputs}. It compares each output with the targets of all examples. The best output is "
        "their mean, in whatever order they are"
    )
    remedy = Remedy(
        "give both the same shape in the loss: y_true = keras.ops.reshape(y_true, "
        "keras.ops.shape(y_pred))"
    )
    if targets != outputs:
        remedy = _propose_shapes(layer, targets, outputs)
    return Finding([layer], evidence, remedy, "error")


def _compute_remaining_share(head: OutputHead) -> float:
    """Compute the share of the variance of the targets that remains for the best outputs.

    If shapes differ, a distance compares each output with several targets. The best output is
    their mean, and their variance around it remains.
    """
    if head.loss.is_crossentropy or head.loss.name in _ANY_SHAPE_LOSSES:
        return 0.0
    targets, shape = head.targets, list(head.outputs.shape)
    # Keras makes ranks equal in the same way.
    if targets.ndim == len(shape) + 1 and targets.shape[-1] == 1:
        targets = targets[..., 0]
    elif len(shape) == targets.ndim + 1 and shape[-1] == 1:
        shape.pop()
    shape = [1] * (targets.ndim - len(shape)) + shape
    targets = targets.reshape((1,) * (len(shape) - targets.ndim) + targets.shape)
    repeated = tuple(axis for axis, size in enumerate(shape) if size == 1 < targets.shape[axis])
    variance = targets.var(dtype="float64")
    if not repeated or not variance > 0:
        return 0.0
    return float(targets.var(axis=repeated, dtype="float64").mean() / variance)


def _propose_shapes(
    layer: MeasuredLayer, targets: tuple[int, ...], outputs: tuple[int, ...]
) -> Remedy:
    """Propose targets of the shape of the outputs, or outputs of the shape of the targets."""
    if math.prod(targets) == math.prod(outputs):
        if len(targets) < len(outputs):
            return Remedy("give targets the shape of the outputs: y = y[..., None]")
        return Remedy("give targets the shape of the outputs: y = y[..., 0]")
    if len(targets) == len(outputs):
        return Remedy(f"use a {layer.kind} of {targets[-1]} units for {layer.title}")
    return Remedy(
        f"use one output for each target: give {layer.title} outputs of shape {targets}; for a "
        "sequence, use return_sequences=False, keras.layers.Flatten() or a pooling before it"
    )
