"""Outputs: whether a loss of Keras takes them for what they are."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.diagnostics._diagnosis import Diagnosis
from keras_initx.diagnostics._layers import LayerReport, ends_for
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._rules import Finding, Level, layer_count, rule
from keras_initx.diagnostics.losses.ends import Ends, are_of_softmax
from keras_initx.diagnostics.losses.probes import LossProbe, outputs
from keras_initx.diagnostics.losses.reach import reaches

# Share of the rows with several ones from which on they are no accident.
_SEVERAL = 0.01
# Share of the labels without a meaning from which on they are no accident.
MANY = 0.1


@rule(
    "single class",
    levels={"error": ""},
    finds="an output of the model with a softmax of one unit, or a crossentropy of several classes "
    "for an output of one unit",
    reason="a single probability is always 1, whatever the weights are: no gradient passes back",
    remedy="a sigmoid and binary crossentropy, or a unit for each class",
)
def single_class(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    read = ends_for(layers, of.probe(LossProbe).ends, of)
    crossed = []
    for layer, ends in read:
        if ends.units == 1 and ends.loss.kind in ("categorical", "sparse"):
            crossed.append(layer)
    hit = []
    for layer in layers:
        is_softmax = layer.name in outputs(of) and layer.activation == "softmax"
        has_one_unit = layer.shape is not None and layer.shape[-1] == 1
        if layer in crossed or (is_softmax and has_one_unit):
            hit.append(layer)
    if not hit:
        return
    title = hit[0].title
    evidence = (
        f"{title} has one unit, and a softmax of one unit is always 1{layer_count(hit)}: no "
        "gradient passes back through it"
    )
    of_first = next((ends for layer, ends in read if layer is hit[0]), None)
    text = f"for two classes {other_activation('sigmoid', hit[0], 'binary_crossentropy', of_first)}"
    if of_first is not None and are_signs(of_first):
        text += ", with labels 0 and 1: y = (y + 1) / 2"
    numbers = Remedy('for numbers activation=None and loss="mse"')
    yield Finding(hit, evidence, Remedy(text).otherwise(numbers, "; "), "error")


def means_several(ends: Ends) -> bool:
    """Return whether labels of a categorical crossentropy have several classes for an example."""
    if ends.loss.kind != "categorical" or ends.form != "rows":
        return False
    return share_of_several(ends) > _SEVERAL


def share_of_several(ends: Ends) -> float:
    """Return the fraction of the rows of targets with several ones among zeros."""
    return float(np.mean(_are_binary(ends.aims) & (np.count_nonzero(ends.aims, axis=-1) > 1)))


def means_numbers(ends: Ends) -> bool:
    """Return whether targets of a categorical crossentropy are no probabilities of classes.

    These are zeros and ones, or shares that add up to 1.
    """
    if ends.loss.kind != "categorical" or ends.form != "rows":
        return False
    rows = ends.aims
    are_several = np.count_nonzero(rows, axis=-1) > 1
    are_shares = (abs(rows.sum(axis=-1, dtype="float64") - 1) < 1e-2) & (rows >= 0).all(axis=-1)
    return bool(np.mean(~_are_binary(rows) & are_several & ~are_shares) > MANY)


def _are_binary(rows: Array) -> Array:
    """Return for each row whether it has zeros and ones alone."""
    return np.asarray(((rows == 0) | (rows == 1)).all(axis=-1))


def are_signs(ends: Ends) -> bool:
    """Return whether the targets are -1 and 1."""
    targets = ends.wanted
    return ends.is_whole and targets.min == -1 and targets.max == 1 and not targets.zeros


@rule(
    "no probabilities",
    levels={
        "error": "",
        "warning": "if they are sigmoids, taken for logits, or add up to 1 over other axes",
    },
    finds="an output that is no probabilities for a crossentropy with `from_logits=False`: values "
    "beyond [0, 1] for a binary one, values below 0 for the others, a ReLU or a layer without "
    "activation for both, and sigmoids for classes that exclude each other; or values beyond "
    "[0, 1] for a Kullback-Leibler divergence. Also probabilities, by a sigmoid or because rows "
    "add up to 1, for a crossentropy with `from_logits=True`. Also those that add up to 1 over "
    "examples or positions, and not over classes",
    reason="the loss cuts such values off, where they have no gradient. Rows of sigmoids it "
    "divides by their sums. To probabilities taken for logits it applies a second softmax or "
    "sigmoid, and cannot become small; TensorFlow undoes the first in some cases, other backends "
    "do not. What a softmax over examples says of one depends on the others",
    remedy="`from_logits=True` for a last layer without activation, otherwise softmax or sigmoid "
    "and `from_logits=False`; a softmax over the axis of the classes",
)
def no_probabilities(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    losses = of.probe(LossProbe)
    for layer, ends in ends_for(layers, losses.ends, of):
        if _is_of_other_axes(ends):
            yield _over_other_axes(layer, ends)
        elif _has_probabilities_as_logits(ends, of):
            yield _as_logits(layer, ends)
        # Such labels are suitable for another loss, which takes other outputs.
        elif _has_no_probabilities(ends) and not (means_several(ends) or means_numbers(ends)):
            yield _as_probabilities(layer, ends)
    for layer, ends in ends_for(layers, losses.others, of):
        made = ends.made
        if ends.loss.name == "kl_divergence" and (made.min < -1e-2 or made.max > 1.01):
            evidence = (
                f"the output of {layer.title}, from {made.min:.3g} to {made.max:.3g}, is no "
                "probabilities, but kl_divergence cuts off what is not between 0 and 1"
            )
            yield Finding([layer], evidence, other_activation("softmax", layer), "error")


def _is_of_other_axes(ends: Ends) -> bool:
    """Return whether probabilities are shared among examples or positions, not among classes."""
    if ends.loss.kind != "binary":
        return bool(ends.sum_axes)
    # Of positions, one may be wanted.
    return 0 in ends.sum_axes or (bool(ends.sum_axes) and not ends.targets_sum)


def _over_other_axes(layer: LayerReport, ends: Ends) -> Finding:
    """Return the finding on a softmax over other axes than that of the classes."""
    axes = ends.sum_axes
    over = f"axes {axes}"
    if axes == (0,):
        over = "the examples (axis 0)"
    elif len(axes) == 1:
        over = f"the positions (axis {axes[0]})"
    evidence = f"the output of {layer.title} adds up to 1 over {over}"
    if ends.loss.kind == "binary":
        evidence += f", but {ends.loss.title} takes each value for a probability of its own"
        return Finding([layer], evidence, other_activation("sigmoid", layer))
    evidence += f", but {ends.loss.title} takes classes along axis {ends.loss.axis}"
    if ends.targets_sum and 0 not in axes and len(axes) == 1:
        return Finding([layer], evidence, other_loss(ends.loss.class_name, axis=axes[0]))
    if ends.loss.from_logits:
        text = f"no softmax after the weights of {layer.title}: the loss applies one"
        return Finding([layer], evidence, Remedy(text))
    text = f"a softmax over the classes, with axis={ends.loss.axis}, after {layer.title}"
    return Finding([layer], evidence, Remedy(text))


def _has_probabilities_as_logits(ends: Ends, of: Diagnosis) -> bool:
    """Return whether a loss takes probabilities for logits."""
    if not ends.loss.is_crossentropy or not ends.loss.from_logits:
        return False
    if ends.loss.kind == "binary":
        limits = reaches(of)[ends]
        is_within_one = ends.activation is None and (limits.low, limits.high) == (0, 1)
        return is_within_one or ends.activation in ("hard_sigmoid", "sigmoid", "softmax")
    return are_of_softmax(ends.rows)


def _as_logits(layer: LayerReport, ends: Ends) -> Finding:
    """Return the finding on probabilities that are taken for logits."""
    made = f"the output of {layer.title}"
    if ends.activation is not None:
        made += f", which ends in {ends.activation},"
    reads = "takes" if ends.loss.is_own else "has `from_logits=True` and takes"
    evidence = (
        f"{made} is probabilities from {ends.made.min:.3g} to {ends.made.max:.3g}, but "
        f"{ends.loss.title} {reads} them for logits"
    )
    remedy = other_loss(ends.loss.class_name)
    remedy = replace(remedy, text=f"{remedy.text}, whose default is from_logits=False")
    if ends.activation in ("sigmoid", "softmax"):
        remedy = remedy.otherwise(other_activation(None, layer), "; or ")
    return Finding([layer], evidence, remedy)


def _has_no_probabilities(ends: Ends) -> bool:
    """Return whether a loss takes for probabilities what is none."""
    if not ends.loss.is_crossentropy or ends.loss.from_logits:
        return False
    # Without an activation these are logits, even if those of this batch lie between 0 and 1.
    if ends.activation == "linear":
        return True
    # 16 bits round.
    is_beyond = ends.made.min < -1e-2
    if ends.loss.kind == "binary":
        return is_beyond or ends.made.max > 1.01 or ends.activation == "relu"
    # A row of positive numbers is divided by its sum, as of softplus.
    return is_beyond or (ends.units > 1 and ends.activation in ("relu", "sigmoid"))


def _as_probabilities(layer: LayerReport, ends: Ends) -> Finding:
    """Return the finding on an output that is taken for probabilities."""
    made = ends.made
    if ends.activation == "sigmoid":
        evidence = (
            f"{layer.title} ends in sigmoids, whose {ends.units} values add up to "
            f"{made.mean * ends.units:.3g} on average, but {ends.loss.title} takes probabilities "
            "of classes that exclude each other"
        )
        return Finding([layer], evidence, other_activation("softmax", layer))
    evidence = (
        f"the output of {layer.title}, from {made.min:.3g} to {made.max:.3g}, is no "
        f"probabilities, but {ends.loss.title} takes it for them"
    )
    # What another loss does with such numbers is not known.
    if not ends.loss.is_own:
        evidence += ": it cuts off what is not between 0 and 1, where no gradient passes"
    remedy = other_activation("sigmoid" if ends.loss.kind == "binary" else "softmax", layer)
    if ends.activation in ("linear", None):
        remedy = other_loss(ends.loss.class_name, from_logits=True).otherwise(remedy)
    return Finding([layer], evidence, remedy, "error")


def other_activation(
    activation: str | None,
    layer: LayerReport,
    loss: str = "",
    ends: Ends | None = None,
) -> Remedy:
    """Return a remedy with another activation in `layer`, and with another loss if one is given.

    What the layer and the loss of `ends` have already is left out.
    """
    parts = []
    if activation != layer.activation or not loss:
        expression = "None" if activation is None else f'"{activation}"'
        parts.append(f"activation={expression} in {layer.title}")
    name = getattr(keras.losses.get(loss), "__name__", None) if loss else None
    if loss and (ends is None or ends.loss.name != name):
        parts.append(f'loss="{loss}"')
    return Remedy(" and ".join(parts))


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
def dropped_output(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    for layer, ends in ends_for(layers, of.probe(LossProbe).ends, of):
        record = outputs(of).get(layer.name)
        if record is None or record.dropped_by is None:
            continue
        name = record.dropped_by
        evidence = f"{name} sets outputs of the model to 0 after {layer.title}, at random"
        level: Level = "warning" if ends.loss.kind == "distance" else "error"
        text = f"no {name}, or the same before {layer.title}, on what it gets"
        yield Finding([layer], evidence, Remedy(text), level)
