"""Remedies that keep frozen weights, which may come from another training."""

from collections.abc import Collection
from dataclasses import replace

from keras_initx._checks import summarize_names
from keras_initx.report._text import choose_verb
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import list_weights, measured_layers
from keras_initx.tools.diagnose._remedy import Remedy

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
