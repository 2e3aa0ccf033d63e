"""Twin tensors: kernels with the same random values."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from keras_initx._checks import summarize_names
from keras_initx._keras import argument_name
from keras_initx._typing import InitializerLike
from keras_initx.initializers._as_ours import adapt_initializer
from keras_initx.initializers._initializer import Initializer
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._kernel_values import kernel_values
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, MeasuredWeight, list_weights
from keras_initx.tools.diagnose._redrawing import Choice, make_choice
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, group_by_level, rule, summarize_paths
from keras_initx.tools.diagnose._suitable_initializers import choose_for_weight


@rule("twin tensors")
def twin_tensors(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report kernels with the same random values.

    Reported if:
        Two trainable kernels have the same random values.

    Level:
        warning if they are in one layer, or in one layer around both; note in other cases

    Why:
        A query and a key, or the units of two experts, start as one. Layers that follow each other
        lose nothing.

    Typical causes:
        - an initializer object that you use for several layers
        - a seed that you use twice
        - a layer that you copied with its values

    Fix:
        Use a separate initializer for each weight. Make layers one by one, instead of copies of
        one.
    """
    by_digest: dict[str, list[MeasuredWeight]] = {}
    for weight in list_weights(layers):
        values = kernel_values(diagnosis).get(weight)
        if values is not None and values.digest:
            by_digest.setdefault(values.digest, []).append(weight)
    groups = [group for group in by_digest.values() if len(group) > 1]
    for level, hit in group_by_level(groups, "warning", _are_siblings):
        twins = list(itertools.chain.from_iterable(hit))
        equations = [summarize_paths(group, " = ") for group in hit]
        evidence = f"kernels have the same random values: {summarize_names(equations, '; ', 3)}"
        yield Finding(
            [weight.layer for weight in twins], evidence, _propose_separate_draws(twins), level
        )


def _are_siblings(group: Sequence[MeasuredWeight]) -> bool:
    """Return whether two of these weights are in one layer, or in one layer around both."""
    counts: Counter[str] = Counter()
    for weight in group:
        parent, _, own = weight.layer.path.rpartition("/")
        counts[parent or own] += 1
    return max(counts.values()) > 1


def _propose_separate_draws(weights: Sequence[MeasuredWeight]) -> Remedy:
    """Propose to draw each weight by itself."""
    rules: dict[str, InitializerLike] = {}
    texts = []
    for weight in weights:
        present = getattr(weight.own.layer, argument_name(weight.name), None)
        choice = _choose_without_seed(present) or choose_for_weight(weight)
        rules[weight.path], text = choice
        texts.append(text)
    return Remedy(
        "make layers one by one, not as copies, and use a separate initializer for each weight, "
        f"without a seed or with different seeds: write {texts[0]} in each layer",
        rules,
    )


def _choose_without_seed(present: Any) -> Choice | None:
    """Choose the present initializer, of this package or of Keras, without its seeds.

    It is `None` for another one, or if it has arguments that only Keras takes.
    """
    if not isinstance(present, Initializer) and adapt_initializer(present).counterpart is None:
        return None
    try:
        return make_choice(_drop_seeds(present))
    except (TypeError, ValueError):
        return None


def _drop_seeds(argument: Any) -> Any:
    # The argument may be an initializer, or hold one, such as `Scaled(HeNormal(seed=0), 2)`.
    if isinstance(argument, list | tuple):
        return list(map(_drop_seeds, argument))
    if not isinstance(argument, keras.initializers.Initializer):
        return argument
    adapted = adapt_initializer(argument)
    arguments = {}
    for name, value in (adapted.arguments() or {}).items():
        arguments[name] = None if name == "seed" else _drop_seeds(value)
    return (adapted.counterpart or type(argument)).from_config(arguments)
