"""How the values of an initializer are made on several devices."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_initx._keras import keeps_seed
from keras_initx._typing import DType, Shape, Tensor
from keras_initx.backends._backend import Computation
from keras_initx.initializers._seeds import drawn_seed, initializers_within


def computation_of(initializer: Any, shape: Shape, dtype: DType) -> Computation:
    """Return how to make the values of a call of an `Initializer` on several devices."""
    function = functools.partial(initializer._on_device, shape, dtype)
    seeded = seeded_call(initializer, shape, dtype)
    return Computation(function, is_exact(initializer), drawn_seed(initializer), seeded)


def is_exact(initializer: Any) -> bool:
    """Return whether `initializer` makes the same bits on all processors.

    For a user's initializer this is not known, and the answer is no.
    """
    known = keras.initializers
    constants = known.Constant | known.Identity | known.Ones | known.Zeros
    for part in initializers_within(initializer):
        if hasattr(part, "is_exact"):
            if not part.is_exact():
                return False
        elif not isinstance(part, constants):
            return False
    return True


def seeded_call(
    initializer: Any, shape: Shape, dtype: DType
) -> tuple[Callable[[Tensor], Tensor], Tensor] | None:
    """Return a call of an `Initializer` as a function of the seed, and the seed.

    The functions of calls that differ in the seed only are equal. Return `None` if the values do
    not follow from one integer seed.
    """
    seed = getattr(initializer, "seed", None)
    if not keeps_seed(initializer) or not isinstance(seed, int):
        return None
    if len(list(initializers_within(initializer))) > 1:
        return None
    return _SeededCall(initializer.for_weight(0), shape, dtype), np.uint32(seed)


@dataclass(frozen=True)
class _SeededCall:
    """A call of a `RandomInitializer`, whose own seed is zero, as a function of the seed."""

    initializer: Any
    shape: Shape
    dtype: DType

    def __call__(self, seed: Tensor) -> Tensor:
        return self.initializer.for_weight(seed)._on_device(self.shape, self.dtype)
