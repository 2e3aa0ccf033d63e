"""Weights that are not finite: how many of their values, and whether that can be meant."""

from dataclasses import dataclass

import keras
import numpy as np

from keras_initx._checks import DTYPES
from keras_initx._keras import is_from_keras, is_made_to_train
from keras_initx.backends._current import backend
from keras_initx.backends._moments import iterate_chunks
from keras_initx.inspection._weights import ModelWeight

# What these hold is made by others than Keras.
_FOREIGN = (
    keras.layers.FlaxLayer,
    keras.layers.JaxLayer,
    keras.layers.TFSMLayer,
    keras.layers.TorchModuleWrapper,
)


@dataclass(frozen=True)
class NotFinite:
    """The values of a weight that are not finite.

    Attributes:
        count: Their number.
        size: The number of all values.
        kinds: Which there are, of `"-inf"`, `"inf"` and `"nan"`.
        is_mask: Whether all others are 0, as in a mask that is added to scores.
        may_be_meant: Whether they may be, as those of a mask or of a least value so far.
    """

    count: int
    size: int
    kinds: tuple[str, ...]
    is_mask: bool
    may_be_meant: bool

    def __str__(self) -> str:
        verb = "is" if self.count == 1 else "are"
        return f"{self.count} of {self.size} values {verb} {' or '.join(self.kinds)}"


def find_not_finite(weight: ModelWeight, *, here: bool = False) -> NotFinite | None:
    """Return what is not finite in a weight, `None` if nothing is.

    Of a weight that several processes share, each counts what it has.

    Args:
        weight: The weight.
        here: Whether the other processes are not asked.
    """
    value = weight.variable.value
    if weight.dtype not in DTYPES:
        return None
    if backend.is_finite_here(value) if here else backend.is_finite(value):
        return None
    count = size = zeros = 0
    kinds: set[str] = set()
    for _, part in backend.parts(value):
        for chunk in iterate_chunks(part):
            lost = chunk[~np.isfinite(chunk)].astype("float32")
            kinds.update(map(str, np.unique(lost)))
            count += lost.size
            size += chunk.size
            zeros += chunk.size - int(np.count_nonzero(chunk))
    return NotFinite(
        count,
        size,
        tuple(sorted(kinds)),
        is_mask=kinds == {"-inf"} and 0 < zeros == size - count,
        may_be_meant="nan" not in kinds and not must_be_finite(weight),
    )


def must_be_finite(weight: ModelWeight) -> bool:
    """Return whether a weight is made to be trained, or its layer is one of Keras.

    What others keep in weights that are not trained is not known.
    """
    if is_made_to_train(weight.layer, weight.variable):
        return True
    return is_from_keras(type(weight.layer)) and not isinstance(weight.layer, _FOREIGN)
