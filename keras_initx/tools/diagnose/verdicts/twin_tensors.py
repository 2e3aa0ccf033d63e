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
from keras_initx.inspection._layer_initializers import find_layer_initializers
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._drawn_anew import Choice, choice
from keras_initx.tools.diagnose._kernel_values import kernel_values
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, by_level, rule, weight_names
from keras_initx.tools.diagnose._seen import SeenLayer, SeenWeight, weights_of
from keras_initx.tools.diagnose._suited import suited_to


@rule("twin tensors")
def twin_tensors(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
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
    groups: dict[str, list[SeenWeight]] = {}
    for weight in weights_of(layers):
        values = kernel_values(of).get(weight)
        if values is not None and values.digest:
            groups.setdefault(values.digest, []).append(weight)
    of_several = [group for group in groups.values() if len(group) > 1]
    for level, hit in by_level(of_several, "warning", _are_beside):
        twins = list(itertools.chain.from_iterable(hit))
        equations = [weight_names(group, " = ") for group in hit]
        evidence = f"kernels have the same random values: {summarize_names(equations, '; ', 3)}"
        yield Finding([one.layer for one in twins], evidence, _separate(twins), level)


def _are_beside(group: Sequence[SeenWeight]) -> bool:
    """Return whether two of these weights are in one layer, or in one layer within the model."""
    counts: Counter[str] = Counter()
    for weight in group:
        around, _, own = weight.layer.path.rpartition("/")
        counts[around or own] += 1
    return max(counts.values()) > 1


def _separate(weights: Sequence[SeenWeight]) -> Remedy:
    """Return a remedy that draws each of some weights by itself."""
    rules: dict[str, InitializerLike] = {}
    texts = []
    for weight in weights:
        kept = getattr(weight.own.layer, argument_name(weight.name), None)
        chosen = _without_seed(kept) or suited_to(weight)
        rules[weight.path], text = chosen
        texts.append(text)
    if _are_copies(weights):
        return Remedy(
            "make layers one by one, and not as copies of one, which have its values; or draw "
            f"other values for each: {texts[0]}",
            rules,
        )
    return Remedy(
        "use a separate initializer for each weight, without a seed or with different seeds: write "
        f"{texts[0]} in each layer",
        rules,
    )


def _are_copies(weights: Sequence[SeenWeight]) -> bool:
    """Return whether layers were copied with their values: nothing that has a seed made these.

    That is so of initializers without a seed, each an object of its own, and of modules of torch.
    """
    made = find_layer_initializers([weight.own for weight in weights])
    initializers = [made[weight.path][0] for weight in weights]
    if len({id(one) for one in initializers if one is not None}) < len(weights):
        return all(isinstance(one.own.layer, keras.layers.TorchModuleWrapper) for one in weights)
    for initializer in initializers:
        if not isinstance(initializer, keras.initializers.Initializer):
            return False
        if initializer.get_config().get("seed", 0) is not None:
            return False
    return True


def _without_seed(kept: Any) -> Choice | None:
    """Return an initializer of this package or of Keras without its seeds.

    It is `None` if it is another one, or has arguments that only Keras takes.
    """
    if not isinstance(kept, Initializer) and adapt_initializer(kept).counterpart is None:
        return None
    try:
        return choice(_unseeded(kept))
    except (TypeError, ValueError):
        return None


def _unseeded(argument: Any) -> Any:
    """Return an argument in which no initializer has a seed."""
    if isinstance(argument, list | tuple):
        return list(map(_unseeded, argument))
    if not isinstance(argument, keras.initializers.Initializer):
        return argument
    adapted = adapt_initializer(argument)
    arguments = {}
    for name, value in (adapted.arguments() or {}).items():
        arguments[name] = None if name == "seed" else _unseeded(value)
    return (adapted.counterpart or type(argument)).from_config(arguments)
