"""Unscaled targets: those of a distance that are large or small."""

from collections.abc import Iterator

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule
from keras_initx.tools.diagnose._seen import SeenLayer, ends_of
from keras_initx.tools.diagnose.losses.probes import LossProbe

# Factor between the standard deviation of the targets of a distance and that of the outputs, or 1
# if that is more, above which the targets are not scaled.
UNSCALED_TARGETS = 500
# Standard deviation of the targets of a distance below which they are not scaled.
SMALL_TARGETS = 0.02


@rule("unscaled targets", beside=["single class", "unreachable targets"])
def unscaled_targets(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Report targets of a distance that are large or small.

    Finds:
        targets of a distance whose standard deviation about their mean is above
        {UNSCALED_TARGETS:g} times that of the outputs, or 1 if that is more; or below
        {SMALL_TARGETS:g}, as returns of prices have

    Why:
        outputs start at about 1, and Adam changes a weight by at most its rate in a step, so that
        it takes thousands of steps to reach the targets; the gradients of SGD are as much too
        large. Beside small targets the outputs that a network starts with, and each step, are noise

    Level:
        warning

    Remedy:
        standardized targets
    """
    remedy = Remedy("standardized targets: y = (y - y.mean(axis=0)) / y.std(axis=0)")
    for layer, ends in ends_of(layers, of.probe(LossProbe).ends):
        if not ends.loss.kind == layer.output.loss_kind == "distance":
            continue
        deviation = layer.output.blind_loss or 0.0
        are_large = deviation / max(ends.made.std, 1) > UNSCALED_TARGETS
        are_small = 0 < deviation < SMALL_TARGETS
        if are_large or are_small:
            evidence = (
                f"the targets of {layer.title} have standard deviation {deviation:.3g}, its "
                f"outputs {ends.made.std:.3g}"
            )
            yield Finding([layer], evidence, remedy)
