"""Dropped output: predictions that are set to 0 at random."""

from collections.abc import Iterator

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, Level, rule
from keras_initx.tools.diagnose._seen import SeenLayer, ends_of
from keras_initx.tools.diagnose.losses.probes import LossProbe


@rule("dropped output")
def dropped_output(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Report a dropout that sets predictions to 0.

    Finds:
        a dropout after the last kernel, before a crossentropy or a distance

    Why:
        in each step it sets some of the predictions to 0: a probability of 0 for the true class is
        as wrong as can be, and so is a number

    Level:
        error; warning if the loss is a distance

    Remedy:
        no dropout there
    """
    for layer, ends in ends_of(layers, of.probe(LossProbe).ends):
        name = layer.output.dropped_by
        if name is None:
            continue
        evidence = f"{name} sets outputs of the model to 0 after {layer.title}, at random"
        level: Level = "warning" if ends.loss.kind == "distance" else "error"
        text = f"no {name}, or the same before {layer.title}, on what it gets"
        yield Finding([layer], evidence, Remedy(text), level)
