"""Dropped output: predictions that are set to 0 at random."""

from collections.abc import Iterator

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, pair_with_heads
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, Level, rule
from keras_initx.tools.diagnose.losses.probes import LossProbe


@rule("dropped output")
def dropped_output(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report a dropout that sets predictions to 0.

    Reported if:
        A dropout follows the last kernel, before a crossentropy or a distance.

    Level:
        error; warning if the loss is a distance

    Why:
        In each step, the dropout sets some predictions to 0. A probability of 0 for the true class
        is as wrong as possible, and so is a number of 0.

    Typical causes:
        - a `Dropout` at the end of a model
        - a `Dropout` between the last `Dense` and its softmax

    Fix:
        Remove the dropout, or move it before your last layer.
    """
    for layer, head in pair_with_heads(layers, diagnosis.probe(LossProbe).heads):
        name = layer.output.dropped_by
        if name is None:
            continue
        evidence = (
            f"{name} sets outputs of {layer.title} to 0 at random. The loss takes these zeros for "
            "predictions"
        )
        level: Level = "warning" if head.loss.kind == "distance" else "error"
        text = f"remove {name}, or move it before {layer.title}"
        yield Finding([layer], evidence, Remedy(text), level)
