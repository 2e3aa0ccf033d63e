"""Unreachable targets: the outputs cannot come near to them."""

import math
from collections.abc import Iterator

import numpy as np

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, pair_with_heads
from keras_initx.tools.diagnose._remedies import propose_activation, propose_removal
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule
from keras_initx.tools.diagnose.losses.heads import OutputHead, are_probabilities
from keras_initx.tools.diagnose.losses.probes import LossProbe
from keras_initx.tools.diagnose.losses.reach import Reach, compute_activation_limits, reaches

# Fraction of the targets beyond the range of the last activation above which a distance cannot
# become small.
OUT_OF_REACH = 0.1
# How far the sum of a row of targets may be from 1, the sum of a softmax.
_SUM_TOLERANCE = 0.1
# How far a probability may be from its label where a crossentropy is small.
PROBABLE = 0.25


@rule("unreachable targets", beside=["single class", "no probabilities"])
def unreachable_targets(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report targets that are outside of the range of the outputs.

    Reported if:
        - A fraction above {OUT_OF_REACH:g} of the targets is outside the range of the activations
          after the last kernel. For a crossentropy, a label counts if it is more than {PROBABLE:g}
          away from every probability in that range.
        - The outputs are a softmax, the loss is a distance or a binary crossentropy, and a fraction
          above {OUT_OF_REACH:g} of the rows of targets does not add up to 1.

    Level:
        warning

    Why:
        The loss cannot become small. Training drives the activation to its limit, and the gradient
        is 0 at this limit.

    Typical causes:
        - `tanh` or a sigmoid in the last layer, for targets with other limits
        - a ReLU in the last layer, for targets below 0
        - a ReLU before a sigmoid, which then gives 0.5 to 1

    Fix:
        Remove the activation of the last layer, keep only one of two, or scale your targets.
    """
    for layer, head in pair_with_heads(layers, diagnosis.probe(LossProbe).heads):
        reach = reaches(diagnosis)[head]
        low, high = reach.to_probabilities(head)
        share = _compute_unreachable_share(head, low, high)
        other_sums_share = _compute_other_sums_share(head)
        if other_sums_share > OUT_OF_REACH >= share:
            evidence = (
                f"{other_sums_share:.0%} of the rows of targets do not add up to 1, but the rows "
                f"of {layer.title} do"
            )
            remedy = propose_activation("sigmoid", layer, "binary_crossentropy", head)
            yield Finding([layer], evidence, remedy)
        if not share > OUT_OF_REACH:
            continue
        activations = [applied.activation for applied in reach.applied]
        names = ", then ".join(activations) or layer.title
        subject = f"outputs of {names}"
        if head.loss.is_crossentropy and head.loss.from_logits:
            subject = f"probabilities of logits of {names}"
        limits = f"the {subject} lie between {low:.3g} and {high:.3g}"
        if math.isinf(high):
            limits = f"the {subject} are never below {low:.3g}"
            if not low:
                limits = f"the {subject} are never negative"
        evidence = (
            f"{share:.0%} of the targets, which go from {head.target_signal.min:.3g} to "
            f"{head.target_signal.max:.3g}, are out of reach: {limits}"
        )
        if head.form == "numbers" and head.loss.is_crossentropy:
            evidence = f"no label can become certain: {limits}"
        yield Finding([layer], evidence, _propose_reach(layer, head, reach))


def _compute_unreachable_share(head: OutputHead, low: float, high: float) -> float:
    """Compute the fraction of the targets that an output within limits cannot come near to."""
    targets = head.target_rows
    if head.form == "examples":
        return 0.0
    if head.loss.kind == "distance":
        tolerance = 0.01
        if math.isfinite(high - low):
            tolerance *= high - low
        return float(np.mean((targets < low - tolerance) | (targets > high + tolerance)))
    if head.form == "numbers":
        return float(not head.invalid_share and high < 1 - PROBABLE)
    least, most = low - PROBABLE, high + PROBABLE
    if head.loss.kind == "binary":
        # Labels outside [0, 1] are another problem.
        labels = np.clip(targets, 0, 1)
        return float(np.mean((labels < least) | (labels > most)))
    return float(np.mean(targets.max(axis=-1) > most))


def _compute_other_sums_share(head: OutputHead) -> float:
    """Compute the fraction of the rows of targets that do not add up to 1, if outputs do."""
    loss, targets = head.loss, head.target_rows
    takes_any_sum = loss.kind == "distance" or (loss.kind == "binary" and not loss.from_logits)
    if not takes_any_sum or targets.ndim != 2 or not are_probabilities(head.output_rows):
        return 0.0
    return float(np.mean(abs(targets.sum(axis=-1, dtype="float64") - 1) > _SUM_TOLERANCE))


def _propose_reach(layer: MeasuredLayer, head: OutputHead, reach: Reach) -> Remedy:
    """Propose to remove the activations that limit an output, or to scale the targets."""
    low, high, applied = reach
    if not applied:
        return Remedy(f"remove the limit after the weights of {layer.title}")
    if head.loss.kind == "distance":
        remedy = propose_activation(None, layer)
        if len(applied) > 1:
            least, most = compute_activation_limits(applied[-1].activation)
            if least <= head.target_signal.min and head.target_signal.max <= most:
                return propose_removal(applied[:-1])
            remedy = propose_removal(applied)
        if math.isinf(high):
            return remedy
        return remedy.otherwise(Remedy(f"scale the targets to [{low:.3g}, {high:.3g}]"))
    # The last activation makes the probabilities that a crossentropy takes.
    removed = applied if head.loss.from_logits else applied[:-1]
    return propose_removal(removed)
