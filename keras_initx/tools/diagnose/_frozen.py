"""Remedies that keep frozen weights, which may come from another training."""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from keras_initx._checks import summarize_names
from keras_initx.report._text import choose_verb
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    list_kernels,
    list_weights,
    measured_layers,
)
from keras_initx.tools.diagnose._redrawing import Choice, compute_relative_size
from keras_initx.tools.diagnose._remedy import LSUV, Remedy

# The most paths in a text.
_MOST_PATHS = 2


def spare_frozen_weights(remedy: Remedy, diagnosis: Diagnosis) -> Remedy:
    """Return `remedy` without rules for weights that are not trained. Its text says so."""
    weights = list_weights(measured_layers(diagnosis))
    trained = {weight.path for weight in weights if weight.is_trained}
    remedies = (remedy, *remedy.others)
    paths: list[str] = []
    for alternative in remedies:
        paths += alternative.rules
    frozen = {weight.path for weight in weights if weight.is_frozen}
    kept = list(dict.fromkeys(path for path in paths if path in frozen))
    first, *others = (_keep_rules(alternative, trained) for alternative in remedies)
    text = remedy.text
    names = summarize_names(kept, shown=_MOST_PATHS)
    are = choose_verb(len(kept), "is", "are")
    if kept and trained.isdisjoint(paths):
        text = f"set trainable=True for {names}, which {are} frozen, then {text}"
    elif kept:
        text += f", without {names}, which {are} frozen"
    return replace(first, text=text, others=tuple(others))


def _keep_rules(remedy: Remedy, paths: Collection[str]) -> Remedy:
    kept = {path: rule for path, rule in remedy.rules.items() if path in paths}
    return replace(remedy, rules=kept)


def propose_for_frozen(
    layers: Sequence[MeasuredLayer], choices: Sequence[Choice], later: Sequence[MeasuredLayer] = ()
) -> Remedy | None:
    """Return a remedy if frozen kernels are the farthest from suitable ones, otherwise `None`.

    Args:
        layers: The layers up to the first that is affected.
        choices: Initializers that suit their kernels.
        later: Layers after these, which are affected, too.
    """
    # Of frozen and of other kernels: the sum of |log(deviation / suitable deviation)|.
    distances = {True: 0.0, False: 0.0}
    kernels = list_kernels(layers)
    for kernel in kernels:
        distances[kernel.is_frozen] += abs(math.log(compute_relative_size(kernel, choices)))
    frozen = [kernel for kernel in kernels if kernel.is_frozen]
    are_farthest = distances[True] > max(distances[False], math.log(2))
    if not frozen or not (are_farthest or len(frozen) == len(kernels)):
        return None
    frozen_layers = []
    for layer in (*layers, *later):
        if any(kernel.is_frozen for kernel in layer.kernels):
            frozen_layers.append(layer)
    titles = list(dict.fromkeys(layer.title for layer in frozen_layers))
    names = summarize_names(titles, shown=_MOST_PATHS)
    are = choose_verb(len(titles), "is", "are")
    advice = LSUV.text
    if choices:
        advice = f"use {' or '.join(text for _, text in choices)}"
    text = (
        f"load the trained weights of {names}, which {are} "
        f"frozen, and pass inputs as in that training; or set trainable=True, then {advice}"
    )
    last = frozen_layers[-1]
    signal = last.after or last.signal
    if signal.std > 0 and not signal.nonfinite and not 0.1 < signal.std < 10:
        text += f"; or add keras.layers.Rescaling({1 / signal.std:.1g}) after {last.title}"
    return Remedy(text)
