"""Rules by path: an initializer for each weight of one model, from a recipe or a diagnosis."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import keras

from keras_initx._similar_paths import describe_paths, group_similar
from keras_initx._typing import InitializerLike
from keras_initx.initializers._description import description
from keras_initx.initializers._initializer import Initializer

# Why a weight keeps its values under a recipe, and is not compared by an audit.
NOT_KNOWN = "the recipe does not know its role"
# Why a weight keeps its values under a rule with `None`. Plans have this text.
BY_RULE = "by rule"


@dataclass(frozen=True)
class Left:
    """The rule that a weight keeps its values.

    Attributes:
        reason: The reason.
        is_final: Whether this ends the search if several rules apply to a weight.
        is_noted: Whether a note lists all weights that keep their values for this reason.
    """

    reason: str
    is_final: bool = False
    is_noted: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class WeightRules:
    """The rules for the weights of one model, which you can pass to `initialize` and `audit`.

    If you print them, weights with the same initializer share a line if their paths differ in
    numbers only. To combine them with rules of your own, put both in a list: `[{"head/kernel":
    "zeros"}, rules]`. The first rule that matches counts. The object is no dict, because the order
    counts and merged dicts would lose it.

    Attributes:
        by_path: An initializer by the path of a weight, or the reason why the weight keeps its
            values. It has no entry for other weights.
        notes: Facts that you may not expect, as lines of text.
        reasons: Why weights have their initializers, by path: the role of a weight and what shows
            it. It has no entry where this is not known.

    Example:
        >>> from keras_initx import recipes
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "selu")])
        >>> recipes.selu(model).by_path
        {'dense/kernel': 'initx.lecun_normal', 'dense/bias': 'zeros'}
    """

    by_path: Mapping[str, InitializerLike | Left]
    notes: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def left(self) -> tuple[str, ...]:
        """The paths of the weights that keep their values."""
        return tuple(path for path, value in self.by_path.items() if isinstance(value, Left))

    def __repr__(self) -> str:
        texts = {}
        for path, value in self.by_path.items():
            texts[path] = _text(value)
        groups = group_similar(texts, path=str, others=texts.__getitem__)
        return "\n".join(f"{describe_paths(paths)}: {texts[paths[0]]}" for paths in groups)


def _text(value: InitializerLike | Left) -> str:
    """Describe the rule for a weight in words."""
    if isinstance(value, str):
        return value
    if isinstance(value, Left):
        return f"left ({value.reason})"
    if isinstance(value, Initializer) or not isinstance(value, keras.initializers.Initializer):
        return repr(value)
    return description(value)  # those of Keras print without their arguments
