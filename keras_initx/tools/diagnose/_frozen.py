"""Remedies beside frozen weights, which are somebody's, such as those of another training."""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from keras_initx._checks import summarize_names
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    list_kernels,
    list_weights,
    measured_layers,
)
from keras_initx.tools.diagnose._redrawing import Choice, compute_relative_size
from keras_initx.tools.diagnose._remedy import LSUV, Remedy

# The number of paths in a text.
_SHOWN = 2


def spare_frozen_weights(remedy: Remedy, diagnosis: Diagnosis) -> Remedy:
    """Return a remedy whose rules leave all that is not trained, and whose text says so."""
    weights = list_weights(measured_layers(diagnosis))
    trained = {weight.path for weight in weights if weight.is_trained}
    every: list[str] = []
    for one in (remedy, *remedy.others):
        every += one.rules
    frozen = {weight.path for weight in weights if weight.is_frozen}
    held = list(dict.fromkeys(path for path in every if path in frozen))
    first, *others = (_of_weights(one, trained) for one in (remedy, *remedy.others))
    text = remedy.text
    if held and trained.isdisjoint(every):
        names = summarize_names(held, shown=_SHOWN)
        text = f"set trainable=True for {names}, which {_are(held)} frozen, then {text}"
    elif held:
        text += f", without {summarize_names(held, shown=_SHOWN)}, which {_are(held)} frozen"
    return replace(first, text=text, others=tuple(others))


def _of_weights(remedy: Remedy, paths: Collection[str]) -> Remedy:
    """Return a remedy with the rules of some weights alone."""
    rules = {path: one for path, one in remedy.rules.items() if path in paths}
    return replace(remedy, rules=rules)


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def propose_for_frozen(
    layers: Sequence[MeasuredLayer], choices: Sequence[Choice], later: Sequence[MeasuredLayer] = ()
) -> Remedy | None:
    """Return the remedy where frozen kernels of `layers`, more than others, are not as they should.

    Otherwise `None`.

    Args:
        layers: The layers, the last of which is affected.
        choices: What suits their kernels.
        later: Layers behind these, which are affected too.
    """
    distances = {True: 0.0, False: 0.0}
    kernels = list_kernels(layers)
    for kernel in kernels:
        distances[kernel.is_frozen] += abs(math.log(compute_relative_size(kernel, choices)))
    frozen = [kernel for kernel in kernels if kernel.is_frozen]
    are_most = distances[True] > max(distances[False], math.log(2))
    if not frozen or not (are_most or len(frozen) == len(kernels)):
        return None
    held = []
    for layer in (*layers, *later):
        if any(kernel.is_frozen for kernel in layer.kernels):
            held.append(layer)
    names = list(dict.fromkeys(layer.title for layer in held))
    texts = LSUV.text
    if choices:
        texts = f"use {' or '.join(text for _, text in choices)}"
    text = (
        f"load the trained weights of {summarize_names(names, shown=_SHOWN)}, which {_are(names)} "
        f"frozen, and pass inputs as in that training; or set trainable=True, then {texts}"
    )
    last = held[-1].after or held[-1].signal
    if last.std > 0 and not last.nonfinite and not 0.1 < last.std < 10:
        text += f"; or add keras.layers.Rescaling({1 / last.std:.1g}) after {held[-1].title}"
    return Remedy(text)
