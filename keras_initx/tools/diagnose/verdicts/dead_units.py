"""Dead units: the outputs of their activation are 0 for the whole batch."""

from collections.abc import Iterator, Sequence

from keras_initx.initializers._biases import ReLUBias
from keras_initx.initializers._variance_named import HeNormal
from keras_initx.inspection._hooks import is_bounded
from keras_initx.tools.diagnose._dead_ends import dead_ends
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, list_biases, list_kernels
from keras_initx.tools.diagnose._redrawing import list_untried, make_choice, make_rules
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, Level, exceeds, rule, write_count
from keras_initx.tools.diagnose._signal import LEAST_VALUES, Signal

# Fraction of units with zero output for the whole batch above which too few are active.
DEAD = 0.75
# The number of units from which it is no chance that all are off for all examples.
BEYOND_CHANCE = 8


# What is 0 for all examples but passes gradients is *alike*.
@rule("dead units", beside=["alike"])
def dead_units(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report layers with too few living units after an activation, or none.

    Reported if:
        - A fraction above {DEAD:g} of the units has the output 0 for the whole batch. A layer of
          fewer than {BEYOND_CHANCE} units does not count, if all its units are dead and a layer
          before it gets a gradient.
        - An operation of a functional model is 0 for all examples, and passes no gradient.

    Level:
        warning; error if all units of a layer are dead

    Why:
        A dead unit gets no gradient. About half of the units may be dead in a sound deep network:
        its examples become similar, so a unit is on or off for all of them.

    Typical causes:
        - biases below 0
        - inputs or kernels with a mean other than 0
        - a rate that is too large, in training

    Fix:
        Use `HeNormal` and `ReLUBias`.
    """
    yield from _report_dead_operations(diagnosis)
    hit = []
    for index, layer in enumerate(layers):
        if not exceeds(layer.dead, DEAD):
            continue
        has_enough_examples = _count_examples(layer) >= LEAST_VALUES
        if not has_enough_examples and layer.layer not in dead_ends(diagnosis):
            continue
        if not _is_dead_by_chance(layer, layers[:index]):
            hit.append(layer)
    if not hit:
        return
    worst = max(hit, key=lambda layer: layer.dead or 0)
    before = worst.before or Signal()
    evidence = (
        f"{worst.dead:.0%} of the units of {worst.title} output 0 for all {_count_examples(worst)} "
        f"examples{write_count(hit)}; their inputs have mean {before.mean:.3g} and standard "
        f"deviation {before.std:.3g}. These units get no gradient"
    )
    kernel, kernels = make_choice(HeNormal()), list_kernels(hit)
    bias, biases = make_choice(ReLUBias(0.01), 0.01), list_biases(hit)
    if list_untried([kernel], kernels) or list_untried([bias], biases):
        remedy = Remedy(
            f"use {kernel.text} with bias_initializer={bias.text}: weights of mean 0 and a small "
            "positive bias",
            {**make_rules(kernels, kernel.initializer), **make_rules(biases, bias.initializer)},
        )
    else:
        remedy = Remedy(
            f"add keras.layers.BatchNormalization() before the activation of {worst.title}"
        )
    level: Level = "warning"
    if worst.dead == 1:
        level = "error"
    yield Finding(hit, evidence, remedy, level)


def _report_dead_operations(diagnosis: Diagnosis) -> Iterator[Finding]:
    """Report operations of a functional model that are dead ends, such as `ops.relu`."""
    kinds = []
    for operation in dead_ends(diagnosis):
        if operation not in diagnosis.watch.layers and not is_bounded(
            type(operation).__name__.lower()
        ):
            kinds.append(type(operation).__name__)
    if kinds:
        evidence = f"the operation {kinds[0]} gives 0 for all examples, and passes no gradient"
        text = f"draw other weights before it, or use keras.ops.leaky_relu instead of {kinds[0]}"
        yield Finding([], evidence, Remedy(text), "error")


def _is_dead_by_chance(layer: MeasuredLayer, earlier: Sequence[MeasuredLayer]) -> bool:
    """Return whether all of few units are dead, perhaps by chance, and layers before still learn.

    An example is a gate that gets an average over positions, which hardly differs between examples.
    """
    units = layer.shape[-1] if layer.shape else 0
    if units >= BEYOND_CHANCE or layer.dead != 1:
        return False
    return any(other.learns for other in earlier)


def _count_examples(layer: MeasuredLayer) -> int:
    # 0 if the shape is unknown.
    return layer.shape[0] if layer.shape else 0
