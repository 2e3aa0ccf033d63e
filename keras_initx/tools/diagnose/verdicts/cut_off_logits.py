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

# Share of the logits that are cut off, above which they are missed.
CUT_OFF = 0.1
# These give 0 for all numbers below.
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
            applied = [
                one for one in reaches(diagnosis)[head].applied if one.activation in _CUTTING
            ]
            yield Finding([layer], evidence, propose_removal(applied))


def _compute_cut_off_share(head: OutputHead) -> float:
    """Return the share of the logits that a ReLU sets to 0."""
    applied = [
        activation for _, activation in head.last_operations if activation not in (None, "linear")
    ]
    if head.loss.kind not in ("categorical", "sparse") or head.units < 2:
        return 0.0
    if not head.loss.from_logits and applied[-1:] == ["softmax"]:
        applied.pop()
    elif not head.loss.from_logits:
        return 0.0
    if not applied or applied[-1] not in _CUTTING:
        return 0.0
    # Also after a softmax, of whose values those of equal logits are equal.
    is_least = head.output_rows == head.output_rows.min(axis=-1, keepdims=True)
    are_several = is_least.sum(axis=-1, keepdims=True) > 1
    return float(np.mean(is_least & are_several))
