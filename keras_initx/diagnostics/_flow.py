"""Where the outputs of layers go during a forward pass, as the identity of tensors tells."""

import weakref
from dataclasses import dataclass, field

import keras

from keras_initx.diagnostics._layers import NORMALIZATIONS


@dataclass(eq=False)
class _Known:
    """A tensor: the layer that it comes from, `None` for the model's inputs, and what takes it."""

    tensor: weakref.ref
    origin: object
    takers: list = field(default_factory=list)


class Flow:
    """What takes the outputs of layers, and from which layer a tensor comes. No tensor is kept alive."""

    def __init__(self):
        self._known: dict = {}
        self._outputs: dict = {}

    def begin(self, tensors) -> None:
        """Take note of those of `tensors` that are not known yet as inputs of the model."""
        for tensor in tensors:
            if not self._find(tensor):
                self._note(tensor, None)

    def is_input(self, tensor) -> bool:
        """Tell whether `tensor` is an input of the model, or comes from one by operations alone."""
        known = self._find(tensor)
        return known is not None and known.origin is None

    def origin(self, tensor):
        """Return the layer that `tensor` comes from, `None` if that is not known."""
        known = self._find(tensor)
        return known and known.origin

    def taken(self, taker, tensors) -> None:
        """Take note that a layer or an operation is called with `tensors`."""
        if hands_on(taker):
            return
        for known in filter(None, map(self._find, tensors)):
            known.takers.append(taker)

    def given(self, giver, inputs, outputs, *, is_origin) -> None:
        """Take note of what a layer or an operation has made of its inputs.

        Args:
            giver: The layer or the operation.
            inputs: Tensors.
            outputs: Tensors.
            is_origin: Whether the outputs come from here, not from where the inputs come from.
        """
        sources = [known.origin for known in map(self._find, inputs) if known]
        for tensor in outputs:
            known = self._find(tensor)
            if known:
                # It is passed on as it is.
                known.takers = [taker for taker in known.takers if taker is not giver]
            elif is_origin or sources:
                origin = giver if is_origin else next((source for source in sources if source is not None), None)
                known = self._note(tensor, origin)
            self._outputs.setdefault(giver, []).append(known)

    def normalization_behind(self, layer):
        """Return the normalization that takes all outputs of `layer`, `None` if anything else takes one too."""
        takers = [known.takers if known else [] for known in self._outputs.get(layer, [])]
        if all(takers) and all(isinstance(taker, NORMALIZATIONS) for some in takers for taker in some):
            return takers[0][0] if takers else None
        return None

    def _find(self, tensor):
        known = self._known.get(id(tensor))
        # An identity may be used again once a tensor is gone.
        return known if known and known.tensor() is tensor else None

    def _note(self, tensor, origin):
        self._known[id(tensor)] = known = _Known(weakref.ref(tensor), origin)
        return known


def hands_on(layer) -> bool:
    """Tell whether all that `layer` does with a tensor is to call layers and operations with it."""
    return isinstance(layer, keras.Sequential | keras.Function)
