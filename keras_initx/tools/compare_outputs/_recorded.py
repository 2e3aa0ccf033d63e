"""The calls of a forward pass, as they are recorded."""

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import keras

from keras_initx._typing import Array, Shape
from keras_initx.backends._moments import Moments
from keras_initx.inspection._hooks import unit_axis
from keras_initx.inspection._watch import Call, Watcher
from keras_initx.tools.compare_outputs._reading import (
    Settings,
    Values,
    arguments_of,
    is_simple,
    labeled,
    settings_of,
    values_of,
)
from keras_initx.tools.compare_outputs._samples import (
    RecordedTensor,
    measure_units,
    own_order,
    sampled,
)


class CallKey(NamedTuple):
    """Which call it is.

    Attributes:
        name: The path of the layer, or the name of the module.
        number: Which of its calls, from 1.
    """

    name: str
    number: int

    def __str__(self) -> str:
        if self.number == 1:
            return self.name
        return f"{self.name}, call {self.number}"


@dataclass(frozen=True, eq=False)
class RecordedCall:
    """What is kept of a call.

    Attributes:
        key: Which call it is.
        kind: The name of the class of the layer, the operation or the module.
        settings: What it was made and called with, beside tensors.
        inputs: Dict from the names of its arguments to tensors. One that another call has returned
            is the same object.
        outputs: Dict from the places of its outputs, empty where there is one, to tensors.
        begin: How many calls had ended when it began. Those from there on are inside it.
        before_activation: What its activation has got, `None` if it is not known to have one.
        is_model: Whether it is the call of the whole model.
        place: The place of the layer in the model, see `_pairing.py`, by which it is found in
            another one. That of a module or an array is its name.
    """

    key: CallKey
    kind: str
    settings: Settings
    inputs: Mapping[str, RecordedTensor]
    outputs: Mapping[str, RecordedTensor]
    begin: int = 0
    before_activation: RecordedTensor | None = None
    is_model: bool = False
    place: str = ""


class Recorder(Watcher):
    """Records the calls of a pass.

    Args:
        model: The model or the module of torch.
        paths: Dict from the layers, operations or modules in it to their names.
        places: The same to their places.
        lengths: The shapes of tensors that are compared with, without axes of length 1. Values are
            also kept in the orders that these may have.

    Attributes:
        calls: What was recorded, in the order in which the calls have ended.
    """

    def __init__(
        self,
        model: Any,
        paths: Mapping[Any, str],
        places: Mapping[Any, str],
        lengths: Collection[Shape] = (),
    ) -> None:
        self.calls: list[RecordedCall] = []
        self._model = model
        self._paths = paths
        self._places = places
        self._lengths = lengths
        self._counts: Counter[str] = Counter()
        self._tensors: dict[bytes, RecordedTensor] = {}
        self._begun: dict[Call, RecordedCall] = {}

    def before(self, call: Call) -> None:
        name = self._paths[call.operation]
        self._counts[name] += 1
        inputs = {}
        settings = dict(settings_of(call.operation))
        for place, value in arguments_of(call.function, call.args, call.kwargs).items():
            values = values_of(value)
            if values is not None:
                inputs[place] = self._kept(values, call)
            elif value is not None and place != "training" and is_simple(value):
                settings[place] = value
        self._begun[call] = RecordedCall(
            key=CallKey(name, self._counts[name]),
            kind=type(call.operation).__name__,
            settings=settings,
            inputs=inputs,
            outputs={},
            begin=len(self.calls),
            is_model=call.operation is self._model,
            place=self._places[call.operation],
        )

    def after(self, call: Call) -> None:
        begun = self._begun.pop(call)
        image = _image_in(begun.inputs.values())
        before = values_of(call.before_activation)
        outputs = {}
        for place, value in labeled(call.outputs):
            values = values_of(value)
            if values is not None:
                outputs[place] = self._kept(values, call, image)
        recorded = replace(
            begun,
            outputs=outputs,
            before_activation=None if before is None else self._kept(before, call, image),
        )
        self.calls.append(recorded)

    def _kept(self, values: Values, call: Call, image: Shape | None = None) -> RecordedTensor:
        """Return what is kept of a tensor; one with the same values is the same object.

        So an input is found to be the output of another call: by its values, because a module of
        torch may change its input in place, and Keras may cast it. A tensor whose values are all
        the same is no other one.

        Args:
            values: The values of the tensor.
            call: The call that gets or returns it.
            image: The shape of the image that may have been flattened to it.
        """
        array = values.array
        sample = sampled(array, own_order(array.shape))
        name = f"{array.shape} "
        if not sample.size or (sample == sample[0]).all():
            name += f"{len(self._tensors)} "
        key = hashlib.sha256(name.encode() + sample.tobytes()).digest()
        if key not in self._tensors:
            before_flattened = None
            if image is not None and len(array.shape) == 2 and math.prod(image) == array.size:
                before_flattened = image
            axis = -1
            if isinstance(call.operation, keras.Layer):
                axis = unit_axis(call.operation, array.ndim)
            self._tensors[key] = recorded_tensor(values, sample, axis, before_flattened)
        tensor = self._tensors[key]
        tensor.keep(array, self._lengths)
        return tensor


def _image_in(inputs: Iterable[RecordedTensor]) -> Shape | None:
    """Return the shape of the first input, that before it was flattened; `None` without axes."""
    for tensor in inputs:
        shape = tensor.before_flattened or tensor.shape
        return shape if len(shape) > 2 else None
    return None


def recorded_tensor(
    values: Values,
    sample: Array | None = None,
    axis: int = -1,
    before_flattened: Shape | None = None,
) -> RecordedTensor:
    """Return what is kept of a tensor.

    Args:
        values: Its values.
        sample: Those that are kept, in its own order, if they are known.
        axis: The axis of its channels.
        before_flattened: The shape of the image that was flattened to it, if it is known.
    """
    array, dtype = values
    order = own_order(array.shape)
    if sample is None:
        sample = sampled(array, order)
    moments = Moments(array)
    return RecordedTensor(
        array.shape,
        dtype,
        moments.mean,
        moments.std,
        {order: sample},
        before_flattened,
        measure_units(array, axis),
    )
