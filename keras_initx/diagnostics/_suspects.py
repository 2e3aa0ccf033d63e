"""Find layers whose output is nearly zero, and later layers that get no signal because of them."""

import keras

from keras_initx._typing import Array
from keras_initx.diagnostics._statistics import Signal
from keras_initx.diagnostics._values import spread

# Relative tolerance for values that are equal for all examples, because matrix products round.
_SAME = 1e-5


class Suspects:
    """The most recent consecutive layers whose output was nearly zero.

    Zeros are harmless if the inputs of the next kernel still differ between examples, e.g. through the other branch of
    an addition. The same holds for small outputs.

    Args:
        zero: The layers with all-zero weights.
        least: Standard deviation below which a signal has vanished.

    Attributes:
        losing: The layers because of which a kernel got nearly the same input for all examples.
        starved: The layers with these kernels.
    """

    def __init__(self, zero: set[keras.layers.Layer], least: float) -> None:
        self.losing: set[keras.layers.Layer] = set()
        self.starved: set[keras.layers.Layer] = set()
        self._zero = zero
        self._least = least
        self._row: list[keras.layers.Layer] = []
        self._is_over = False

    def __bool__(self) -> bool:
        return bool(self._row)

    def add_output(self, layer: keras.layers.Layer, signal: Signal) -> None:
        """Record the output of `layer`."""
        if layer in self._zero or signal.std < self._least:
            self._row = [*([] if self._is_over else self._row), layer]
            self._is_over = False
        else:
            self._is_over = True

    def check_input(self, layer: keras.layers.Layer, values: Array) -> None:
        """Check whether the inputs of the kernel of `layer` still differ between examples."""
        differs = spread(values)
        is_same = differs <= _SAME * abs(values).max(initial=0)
        is_weak = differs < self._least
        losing = {suspect for suspect in self._row if (is_same if suspect in self._zero else is_weak)}
        if losing:
            self.losing |= losing
            self.starved.add(layer)
