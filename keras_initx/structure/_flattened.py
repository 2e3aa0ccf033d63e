"""Which layers have a flattened image as their input, and in which order torch would have it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import keras
import numpy as np

from keras_initx._typing import Array, Shape
from keras_initx.structure._kernels import ALL_CONVOLUTIONS

__all__ = ["Flattened"]

# What gives a sequence of vectors, which torch has in the same order.
_SEQUENCES = (
    keras.layers.Bidirectional,
    keras.layers.Embedding,
    keras.layers.GRU,
    keras.layers.LSTM,
    keras.layers.MultiHeadAttention,
    keras.layers.SimpleRNN,
)
# What changes the order of axes, or mixes values.
_MIXING = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Permute)
_MOVING = ("Moveaxis", "Reshape", "Swapaxes", "Transpose")

# What is known of a tensor: the place of the channels in an image of a convolution; that it is a
# sequence; of a flattened image the places that its values have in torch; or that these are not
# known.
_Kind: TypeAlias = str | Array | None


@dataclass
class Flattened:
    """The layers with a flattened input.

    Attributes:
        orders: Of layers that read a flattened image of a convolution, the places that their inputs
            have in torch, which flattens channels first.
        unknown: The layers whose inputs are flattened from something else.
    """

    orders: dict[keras.Operation, Array] = field(default_factory=dict)
    unknown: set[keras.Operation] = field(default_factory=set)
    _kinds: dict[int, _Kind] = field(default_factory=dict)

    def add(
        self,
        operation: keras.Operation,
        inputs: Sequence[keras.KerasTensor],
        outputs: Sequence[keras.KerasTensor],
    ) -> None:
        """Note a call. Its tensors must be kept, because they are known by their ids."""
        kinds = [self._kinds.get(id(tensor)) for tensor in inputs]
        flat = [kind for kind in kinds if isinstance(kind, np.ndarray) or kind == "flat"]
        if len(inputs) == 1 and isinstance(kinds[0], np.ndarray):
            self.orders[operation] = kinds[0]
        elif flat:
            self.unknown.add(operation)
        for output in outputs:
            if isinstance(operation, ALL_CONVOLUTIONS):
                kind: _Kind = str(operation.data_format)
            elif isinstance(operation, _SEQUENCES):
                kind = "sequence"
            elif isinstance(operation, _MIXING) or not inputs:
                kind = None
            elif flat:
                is_same = len(inputs) == 1 and output.shape == inputs[0].shape
                kind = kinds[0] if is_same else "flat"
            else:
                kind = _kind_of_output(operation, inputs[0], output, kinds)
            self._kinds[id(output)] = kind


def _kind_of_output(
    operation: keras.Operation,
    given: keras.KerasTensor,
    output: keras.KerasTensor,
    kinds: Sequence[_Kind],
) -> _Kind:
    """Return what an output is by the inputs, of which none is flat."""
    is_moving = type(operation).__name__ in _MOVING
    if len(output.shape) == len(given.shape):
        known = [kind for kind in kinds if kind is not None]
        return known[0] if known and not is_moving else None
    is_flattening = is_moving or isinstance(operation, keras.layers.Flatten)
    shape = given.shape[1:]
    if not is_flattening or len(output.shape) != 2 or None in shape or kinds[0] == "sequence":
        return None
    return _order(operation, shape, kinds[0])


def _order(operation: keras.Operation, shape: Shape, kind: _Kind) -> _Kind:
    """Return where torch has the values of a flattened image, `None` if it is the same order."""
    places = np.arange(np.prod(shape))
    if kind == "channels_last":
        places = np.moveaxis(places.reshape(shape[-1], *shape[:-1]), 0, -1)
    else:
        places = places.reshape(shape)
    if isinstance(operation, keras.layers.Flatten) and operation.data_format == "channels_first":
        places = np.moveaxis(places, 0, -1)
    places = places.reshape(-1)
    lengths = [length for length in shape if length > 1]
    if len(lengths) < 2 or (kind and (np.diff(places) == 1).all()):
        return None
    return places if kind else "flat"
