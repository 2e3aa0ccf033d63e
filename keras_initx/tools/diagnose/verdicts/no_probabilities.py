"""No probabilities: outputs that a loss wrongly takes for probabilities or logits."""

from collections.abc import Iterator
from dataclasses import replace

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, pair_with_heads
from keras_initx.tools.diagnose._remedies import propose_activation, propose_loss
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule
from keras_initx.tools.diagnose.losses.heads import OutputHead, are_probabilities
from keras_initx.tools.diagnose.losses.labels import has_arbitrary_numbers, has_several_classes
from keras_initx.tools.diagnose.losses.probes import LossProbe
from keras_initx.tools.diagnose.losses.reach import reaches

# How far a probability may be beyond [0, 1], as 16 bits round it.
BEYOND = 0.01


@rule("no probabilities")
def no_probabilities(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report outputs that a loss wrongly takes for probabilities or for logits.

    Reported if:
        - A crossentropy with `from_logits=False` gets other numbers than probabilities: numbers
          below -{BEYOND:g}, and for a binary one also numbers more than {BEYOND:g} above 1.
        - It gets the output of a ReLU, or of a layer without activation.
        - It gets sigmoids for classes that exclude each other.
        - A Kullback-Leibler divergence gets values more than {BEYOND:g} outside [0, 1].
        - A crossentropy with `from_logits=True` gets probabilities: rows that add up to 1, or for a
          binary one outputs of a sigmoid or a softmax.
        - Probabilities add up to 1 over examples or positions, and not over classes.

    Level:
        error; warning if the outputs are sigmoids, are taken for logits, or add up to 1 over other
        axes

    Why:
        - The loss cuts off values outside [0, 1], and these get no gradient.
        - The loss divides rows of sigmoids by their sums.
        - The loss applies a second softmax or sigmoid to probabilities that it takes for logits.
          Then it cannot become small. TensorFlow undoes the first one in some cases; other backends
          do not.
        - After a softmax over examples, a prediction depends on the other examples of its batch.

    Typical causes:
        - a last layer without activation, and a loss with the default `from_logits=False`
        - a last layer with a softmax, and a loss with `from_logits=True`
        - a softmax along the wrong axis

    Fix:
        - If your last layer has no activation, pass `from_logits=True` to the loss.
        - If it has a softmax or a sigmoid, keep `from_logits=False`.
        - Apply the softmax along the axis of the classes.
    """
    losses = diagnosis.probe(LossProbe)
    for layer, head in pair_with_heads(layers, losses.heads):
        if _has_sums_over_other_axes(head):
            yield _report_other_axes(layer, head)
        elif _has_probabilities_as_logits(head, diagnosis):
            yield _report_probabilities_as_logits(layer, head)
        # Such labels are suitable for another loss, which takes other outputs.
        elif _has_no_probabilities(head) and not (
            has_several_classes(head) or has_arbitrary_numbers(head)
        ):
            yield _report_others_as_probabilities(layer, head)
    for layer, head in pair_with_heads(layers, losses.other_heads):
        outputs = head.output_signal
        are_beyond = outputs.min < -BEYOND or outputs.max > 1 + BEYOND
        if head.loss.name == "kl_divergence" and are_beyond:
            evidence = (
                f"the outputs of {layer.title} go from {outputs.min:.3g} to {outputs.max:.3g}, but "
                "kl_divergence takes probabilities, and cuts off values outside [0, 1]"
            )
            yield Finding([layer], evidence, propose_activation("softmax", layer), "error")


def _has_sums_over_other_axes(head: OutputHead) -> bool:
    """Return whether probabilities are shared among examples or positions, not among classes."""
    if head.loss.kind != "binary":
        return bool(head.sum_axes)
    # One position may be the target: then the targets add up to 1 over positions, too.
    return 0 in head.sum_axes or (bool(head.sum_axes) and not head.has_summing_targets)


def _report_other_axes(layer: MeasuredLayer, head: OutputHead) -> Finding:
    """Report a softmax over other axes than the axis of the classes."""
    axes = head.sum_axes
    over = f"axes {axes}"
    if axes == (0,):
        over = "the examples (axis 0)"
    elif len(axes) == 1:
        over = f"the positions (axis {axes[0]})"
    evidence = f"the output of {layer.title} adds up to 1 over {over}"
    if head.loss.kind == "binary":
        evidence += f", but {head.loss.title} takes each value for a probability of its own"
        return Finding([layer], evidence, propose_activation("sigmoid", layer))
    evidence += f", but {head.loss.title} takes classes along axis {head.loss.axis}"
    if head.has_summing_targets and 0 not in axes and len(axes) == 1:
        return Finding([layer], evidence, propose_loss(head.loss.class_name, axis=axes[0]))
    if head.loss.from_logits:
        text = f"remove the softmax after the weights of {layer.title}: the loss applies one"
        return Finding([layer], evidence, Remedy(text))
    text = f"apply a softmax to the classes, with axis={head.loss.axis}, after {layer.title}"
    return Finding([layer], evidence, Remedy(text))


def _has_probabilities_as_logits(head: OutputHead, diagnosis: Diagnosis) -> bool:
    if not head.loss.is_crossentropy or not head.loss.from_logits:
        return False
    if head.loss.kind == "binary":
        limits = reaches(diagnosis)[head]
        is_within_one = head.activation is None and (limits.low, limits.high) == (0, 1)
        return is_within_one or head.activation in ("hard_sigmoid", "sigmoid", "softmax")
    return are_probabilities(head.output_rows)


def _report_probabilities_as_logits(layer: MeasuredLayer, head: OutputHead) -> Finding:
    subject = layer.title
    if head.activation is not None:
        subject += f" ends in {head.activation}, and"
    outputs = head.output_signal
    reads = "takes" if head.loss.is_own else "has `from_logits=True` and takes"
    evidence = (
        f"{subject} gives probabilities from {outputs.min:.3g} to {outputs.max:.3g}, but "
        f"{head.loss.title} {reads} them for logits"
    )
    remedy = propose_loss(head.loss.class_name)
    remedy = replace(remedy, text=f"{remedy.text}, whose default is from_logits=False")
    if head.activation in ("sigmoid", "softmax"):
        remedy = remedy.otherwise(propose_activation(None, layer), "; or ")
    return Finding([layer], evidence, remedy)


def _has_no_probabilities(head: OutputHead) -> bool:
    """Return whether a loss takes other numbers for probabilities."""
    if not head.loss.is_crossentropy or head.loss.from_logits:
        return False
    # Without an activation these are logits, even if those of this batch lie between 0 and 1.
    if head.activation == "linear":
        return True
    is_beyond = head.output_signal.min < -BEYOND
    if head.loss.kind == "binary":
        return is_beyond or head.output_signal.max > 1 + BEYOND or head.activation == "relu"
    # A row of positive numbers, as softplus gives, is divided by its sum.
    return is_beyond or (head.units > 1 and head.activation in ("relu", "sigmoid"))


def _report_others_as_probabilities(layer: MeasuredLayer, head: OutputHead) -> Finding:
    outputs = head.output_signal
    if head.activation == "sigmoid":
        evidence = (
            f"{layer.title} ends in sigmoids, whose {head.units} values add up to "
            f"{outputs.mean * head.units:.3g} on average, but {head.loss.title} takes "
            "probabilities of classes that exclude each other, which add up to 1"
        )
        return Finding([layer], evidence, propose_activation("softmax", layer))
    evidence = (
        f"the outputs of {layer.title} go from {outputs.min:.3g} to {outputs.max:.3g}, but "
        f"{head.loss.title} takes them for probabilities"
    )
    # What a loss of one's own does with such numbers is unknown.
    if not head.loss.is_own:
        evidence += ". It cuts off values outside [0, 1], and these get no gradient"
    remedy = propose_activation("sigmoid" if head.loss.kind == "binary" else "softmax", layer)
    if head.activation in ("linear", None):
        remedy = propose_loss(head.loss.class_name, from_logits=True).otherwise(remedy)
    return Finding([layer], evidence, remedy, "error")
