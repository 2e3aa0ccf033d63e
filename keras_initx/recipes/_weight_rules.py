"""Rules by path: what a recipe, or a remedy of a diagnosis, says of each weight of one model."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras

from keras_initx._similar_paths import describe_paths, group_similar
from keras_initx._typing import InitializerLike
from keras_initx.initializers._description import description
from keras_initx.initializers._initializer import Initializer

# Why a weight keeps its values under a recipe, and is not compared by an audit.
NOT_KNOWN = "the recipe does not know what it is for"
# The same of a recipe that is for some weights only.
NOT_ITS_OWN = "the recipe keeps all others"


@dataclass(frozen=True)
class Left:
    """That a weight keeps its values.

    Attributes:
        reason: Why.
        is_final: Whether nobody else is asked, where several say what weights get.
        is_noted: Whether a note lists all weights that are left for this reason.
    """

    reason: str
    is_final: bool = False
    is_noted: bool = False


@dataclass(frozen=True, eq=False, repr=False)
class WeightRules:
    """What is said of the weights of one model, to be used as rules.

    It prints as tables do: a line for weights that get the same and whose paths differ in numbers
    only. It is no dict, so that nobody can join it with one in an order that does not count: put
    both in a list, `[{"head/kernel": "zeros"}, rules]`, in which the first that matches counts.

    Attributes:
        by_path: An initializer for the path of a weight, or that it is left and why. Of others
            nothing is said.
        notes: What a reader may not expect, as lines of text.

    Example:
        >>> from keras_initx import recipes
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "selu")])
        >>> recipes.selu(model).by_path
        {'dense/kernel': 'initx.lecun_normal', 'dense/bias': 'zeros'}
    """

    by_path: Mapping[str, InitializerLike | Left]
    notes: tuple[str, ...] = ()

    @property
    def left(self) -> tuple[str, ...]:
        """The paths of the weights that are left."""
        return tuple(path for path, value in self.by_path.items() if isinstance(value, Left))

    def __repr__(self) -> str:
        texts = {}
        for path, value in self.by_path.items():
            texts[path] = _text(value)
        groups = group_similar(texts, path=str, others=texts.__getitem__)
        return "\n".join(f"{describe_paths(paths)}: {texts[paths[0]]}" for paths in groups)


def _text(value: InitializerLike | Left) -> str:
    """Return what is said of a weight in words."""
    if isinstance(value, str):
        return value
    if isinstance(value, Left):
        return f"left ({value.reason})"
    if isinstance(value, Initializer) or not isinstance(value, keras.initializers.Initializer):
        return repr(value)
    return description(value)  # those of Keras print without their arguments
