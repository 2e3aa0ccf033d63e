"""Logits that a ReLU cuts off before a softmax."""

from collections.abc import Iterator

import numpy as np

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, pair_with_heads
from keras_initx.tools.diagnose._rules import Finding, rule
from keras_initx.tools.diagnose.losses.heads import OutputHead
from keras_initx.tools.diagnose.losses.probes import LossProbe
from keras_initx.tools.diagnose.losses.reach import reaches
from keras_initx.tools.diagnose.remedies.output_heads import propose_removal

# Share of the logits that are cut off, above which training misses their gradients.
CUT_OFF = 0.1
# These activations give 0 for all numbers below 0.
_CUTTING = ("relu", "relu6")


@rule(
    "cut-off logits",
    beside=["single class", "no probabilities", "unsuitable labels", "unreachable targets"],
)
def cut_off_logits(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report a ReLU that cuts logits off.

    Reported if:
        A ReLU before the softmax of a crossentropy, or before a loss with `from_logits=True`, sets
        more than {CUT_OFF:g} of the logits of the batch to 0.

    Level:
        warning

    Why:
        A logit of 0 after the ReLU gets no gradient. No class can become less probable than a class
        with such a logit.

    Typical causes:
        `activation="relu"` in the last layer, with the softmax in a layer of its own or in the
        loss.

    Fix:
        Remove the activation before the softmax.
    """
    for layer, head in pair_with_heads(layers, diagnosis.probe(LossProbe).heads):
        share = _compute_cut_off_share(head)
        if share > CUT_OFF:
            evidence = (
                f"a ReLU after the weights of {layer.title} sets {share:.0%} of the logits to 0. "
                "These logits get no gradient"
            )
            cutting = []
            for applied in reaches(diagnosis)[head].applied:
                if applied.activation in _CUTTING:
                    cutting.append(applied)
            yield Finding([layer], evidence, propose_removal(cutting))


def _compute_cut_off_share(head: OutputHead) -> float:
    """Compute the share of the logits that a ReLU sets to 0."""
    activations = []
    for last in head.last_operations:
        if last.activation not in (None, "linear"):
            activations.append(last.activation)
    if head.loss.kind not in ("categorical", "sparse") or head.units < 2:
        return 0.0
    if not head.loss.from_logits and activations[-1:] == ["softmax"]:
        activations.pop()
    elif not head.loss.from_logits:
        return 0.0
    if not activations or activations[-1] not in _CUTTING:
        return 0.0
    # The outputs may be those of a softmax: it gives equal values for equal logits.
    is_least = head.output_rows == head.output_rows.min(axis=-1, keepdims=True)
    are_several = is_least.sum(axis=-1, keepdims=True) > 1
    return float(np.mean(is_least & are_several))
