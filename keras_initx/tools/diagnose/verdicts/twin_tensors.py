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
    """Propose to draw each weight by itself, by the initializer that its layer has.

    An initializer of a user without a `seed` has no rule: it may give the same values each time.
    """
    rules: dict[str, InitializerLike] = {}
    texts: list[str] = []
    without_seed: list[str] = []
    for weight in weights:
        present = getattr(weight.own.layer, argument_name(weight.name), None)
        choice = _choose_without_seed(present)
        if choice is None and _is_own(present):
            without_seed.append(getattr(present, "__name__", type(present).__name__))
            continue
        choice = choice or choose_for_weight(weight)
        rules[weight.path] = choice.initializer
        texts.append(choice.text)
    text = "make layers one by one, not as copies, and use a separate initializer for each weight"
    if texts:
        text += f", without a seed or with different seeds: write {texts[0]} in each layer"
    if without_seed:
        text += (
            f"; let {without_seed[0]} draw by an argument `seed`, and pass another seed to each "
            "layer"
        )
    return Remedy(text, rules)


def _is_own(present: Any) -> bool:
    """Return whether this is an initializer of a user: an object or a function."""
    return callable(present) and not type(present).__module__.startswith("keras.")


def _choose_without_seed(present: Any) -> Choice | None:
    """Choose the present initializer without its seeds.

    It is `None` without one, for one of a user that has no `seed` in its config, and for one that
    has arguments that only Keras takes.
    """
    is_known = isinstance(present, Initializer)
    try:
        if is_known or adapt_initializer(present).counterpart is not None:
            return make_choice(_drop_seeds(present))
        if not isinstance(present, keras.initializers.Initializer) or not _is_own(present):
            return None
        config = present.get_config()
        if "seed" not in config:
            return None
        name = type(present).__name__
        return Choice(type(present).from_config({**config, "seed": None}), f"{name}(seed=None)")
    except (NotImplementedError, TypeError, ValueError):
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
