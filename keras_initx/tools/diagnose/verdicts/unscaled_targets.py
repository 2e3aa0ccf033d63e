"""Unscaled targets: large or small targets of a distance."""

from collections.abc import Iterator

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, pair_with_heads
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule
from keras_initx.tools.diagnose.losses.probes import LossProbe

# Factor between the standard deviation of the targets of a distance and that of the outputs, or 1
# if that is more, above which the targets are not scaled.
UNSCALED_TARGETS = 500
# Standard deviation of the targets of a distance below which they are not scaled.
SMALL_TARGETS = 0.02


@rule("unscaled targets", beside=["single class", "unreachable targets"])
def unscaled_targets(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report targets of a distance that are large or small.

    Reported if:
        - The targets of a distance have a standard deviation above {UNSCALED_TARGETS:g} times the
          deviation of the outputs. Outputs with a smaller deviation than 1 count as 1.
        - The targets of a distance have a standard deviation below {SMALL_TARGETS:g}, for example
          returns of prices.

    Level:
        warning

    Why:
        - Outputs start at about 1, and Adam changes a weight by at most its rate in a step. So
          training takes thousands of steps to reach large targets. The gradients of SGD are as much
          too large.
        - Next to small targets, the first outputs of a network and each step are noise.

    Typical causes:
        Prices, distances in meters, or returns in their own units.

    Fix:
        Standardize your targets.
    """
    remedy = Remedy("standardize the targets: y = (y - y.mean(axis=0)) / y.std(axis=0)")
    for layer, head in pair_with_heads(layers, diagnosis.probe(LossProbe).heads):
        if not head.loss.kind == layer.output.loss_kind == "distance":
            continue
        deviation = layer.output.blind_loss or 0.0
        are_large = deviation / max(head.output_signal.std, 1) > UNSCALED_TARGETS
        are_small = 0 < deviation < SMALL_TARGETS
        if are_large or are_small:
            evidence = (
                f"the targets of {layer.title} have standard deviation {deviation:.3g}; its "
                f"outputs have {head.output_signal.std:.3g}. "
            )
            if are_large:
                evidence += "Training takes thousands of steps to reach such targets"
            else:
                evidence += "Next to such targets, the first outputs and each step are noise"
            yield Finding([layer], evidence, remedy)
