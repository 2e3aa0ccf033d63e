"""Layers that give next to nothing, and whether layers behind them suffer from it."""

import keras

from keras_initx._typing import Array
from keras_initx.diagnostics._statistics import Signal
from keras_initx.diagnostics._values import spread

# By how much values that are the same for all examples may differ, as a share of the largest: matrix products round.
_SAME = 1e-5


class Suspects:
    """The last layers in a row that have given next to nothing.

    Zeros do no harm as long as something else, as the other branch of an addition, tells the next kernel the examples
    apart; nor does a small output.

    Args:
        zero: The layers that have weights of zeros.
        least: Standard deviation below which a signal has vanished.

    Attributes:
        losing: The layers because of which a kernel has got next to the same for all examples.
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
        """Record what `layer` has given."""
        if layer in self._zero or signal.std < self._least:
            self._row = [*([] if self._is_over else self._row), layer]
            self._is_over = False
        else:
            self._is_over = True

    def check_input(self, layer: keras.layers.Layer, values: Array) -> None:
        """Check whether the examples still differ in what the kernel of `layer` gets."""
        differs = spread(values)
        is_same = differs <= _SAME * abs(values).max(initial=0)
        is_weak = differs < self._least
        losing = {suspect for suspect in self._row if (is_same if suspect in self._zero else is_weak)}
        if losing:
            self.losing |= losing
            self.starved.add(layer)
