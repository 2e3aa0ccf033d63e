"""Find weights that are not finite: how many of their values, and whether this may be intended.

NaN anywhere                                              never intended
-inf in a mask that is added to scores; inf in a least    intended, in a weight that is not
value so far                                              trained of a user's layer
"""

from dataclasses import dataclass

import keras
import numpy as np

from keras_initx._checks import DTYPES
from keras_initx._keras import is_from_keras, is_made_to_train
from keras_initx.backends._current import backend
from keras_initx.backends._moments import iterate_chunks
from keras_initx.inspection._weights import ModelWeight
from keras_initx.report._text import choose_verb

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
        kinds: Some of `"-inf"`, `"inf"` and `"nan"`.
        is_mask: Whether all other values are 0, as in a mask that is added to scores.
        may_be_meant: Whether they may be intended, for example in a mask or in a running minimum.
    """

    count: int
    size: int
    kinds: tuple[str, ...]
    is_mask: bool
    may_be_meant: bool

    def __str__(self) -> str:
        verb = choose_verb(self.count, "is", "are")
        return f"{self.count} of {self.size} values {verb} {' or '.join(self.kinds)}"


def find_not_finite(weight: ModelWeight, *, here: bool = False) -> NotFinite | None:
    """Find the values of a weight that are not finite; `None` if there are none.

    If several processes share a weight, each counts the values that it has.

    Args:
        weight: The weight.
        here: Whether to look at the values of this process only.
    """
    value = weight.variable.value
    if weight.dtype not in DTYPES:
        return None
    if backend.is_finite_here(value) if here else backend.is_finite(value):
        return None
    count = size = zeros = 0
    kinds: set[str] = set()
    for _, region in backend.parts(value):
        for chunk in iterate_chunks(region):
            not_finite = chunk[~np.isfinite(chunk)].astype("float32")
            kinds.update(map(str, np.unique(not_finite)))
            count += not_finite.size
            size += chunk.size
            zeros += chunk.size - int(np.count_nonzero(chunk))
    return NotFinite(
        count,
        size,
        tuple(sorted(kinds)),
        is_mask=kinds == {"-inf"} and 0 < zeros == size - count,
        may_be_meant="nan" not in kinds and not _must_be_finite(weight),
    )


def _must_be_finite(weight: ModelWeight) -> bool:
    """Return whether a weight is made to be trained, or its layer is one of Keras.

    Users' layers may keep anything in weights that are not trained.
    """
    if is_made_to_train(weight.layer, weight.variable):
        return True
    return is_from_keras(type(weight.layer)) and not isinstance(weight.layer, _FOREIGN)
