"""The calls of a forward pass, as they are recorded."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from keras_initx._typing import Array, DType, Shape
from keras_initx.backends._moments import Moments
from keras_initx.outputs._samples import RecordedTensor, own_order, sampled

# What a layer or a module computes with, as far as that is numbers, texts and lists of these.
Settings: TypeAlias = Mapping[str, Any]

# Attributes that say nothing about what is computed in inference.
_LEFT_OUT = ("built", "name", "seed", "training")


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


class Values(NamedTuple):
    """The values of a tensor, for the time of a call.

    Attributes:
        array: The values.
        dtype: The name of their dtype, which NumPy may not have.
    """

    array: Array
    dtype: DType


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
        before_activation: What its activation has got, `None` if it is not known to have one.
        is_model: Whether it is the call of the whole model.
    """

    key: CallKey
    kind: str
    settings: Settings
    inputs: Mapping[str, RecordedTensor]
    outputs: Mapping[str, RecordedTensor]
    before_activation: RecordedTensor | None = None
    is_model: bool = False

    @property
    def made(self) -> list[RecordedTensor]:
        """The outputs, and what comes before the activation."""
        tensors = list(self.outputs.values())
        if self.before_activation is not None:
            tensors.append(self.before_activation)
        return tensors


def simple_attributes(owner: Any) -> dict[str, Any]:
    """Return the public attributes of a layer or a module that are numbers or short texts."""
    found = {}
    for name, value in vars(owner).items():
        if not name.startswith("_") and name not in _LEFT_OUT and is_simple(value):
            found[name] = value
    return found


def is_simple(value: Any) -> bool:
    """Return whether a setting is a number, a short text, `None`, or a list of these."""
    if isinstance(value, list | tuple):
        return len(value) <= 8 and all(map(is_simple, value))
    if isinstance(value, str):
        return len(value) <= 40
    return value is None or isinstance(value, bool | int | float)


class CallListener:
    """Is told of each call, before it and after it."""

    def begin(self, key: CallKey, arguments: Mapping[str, Any]) -> None:
        """Hear of a call that is about to be made.

        Args:
            key: Which call it is.
            arguments: Dict from the names of its arguments to them; tensors are `Values`.
        """
        raise NotImplementedError

    def end(
        self,
        key: CallKey,
        operation: Any,
        outputs: Mapping[str, Values],
        before_activation: Values | None = None,
    ) -> None:
        """Hear of a call that was made.

        Args:
            key: Which call it is.
            operation: The layer, operation or module.
            outputs: Dict from the places of its outputs to their values.
            before_activation: What its activation has got, if it has one.
        """
        raise NotImplementedError


class Recorder(CallListener):
    """Records the calls of a pass.

    Args:
        model: The layer or the module whose call is that of the whole model.
        settings: Dict from the layers, operations or modules to their settings.
        counterparts: Dict from calls to those that they are to be compared with. Values are then
            also kept in the orders that these may have.

    Attributes:
        calls: What was recorded, in the order in which the calls have ended.
    """

    def __init__(
        self,
        model: Any,
        settings: Mapping[Any, Settings],
        counterparts: Mapping[CallKey, RecordedCall],
    ) -> None:
        self.calls: list[RecordedCall] = []
        self._model = model
        self._settings = settings
        self._counterparts = counterparts
        self._tensors: dict[bytes, RecordedTensor] = {}
        self._begun: dict[CallKey, tuple[dict[str, RecordedTensor], dict[str, Any]]] = {}

    def begin(self, key: CallKey, arguments: Mapping[str, Any]) -> None:
        other = self._counterparts.get(key)
        others = [] if other is None else list(other.inputs.values())
        inputs = {}
        options = {}
        for name, value in arguments.items():
            if isinstance(value, Values):
                inputs[name] = self._kept(value, others)
            elif value is not None and name != "training" and is_simple(value):
                options[name] = value
        self._begun[key] = inputs, options

    def end(
        self,
        key: CallKey,
        operation: Any,
        outputs: Mapping[str, Values],
        before_activation: Values | None = None,
    ) -> None:
        other = self._counterparts.get(key)
        others = [] if other is None else other.made
        inputs, options = self._begun.pop(key)
        image = _image_in(inputs.values())
        before = None
        if before_activation is not None:
            before = self._kept(before_activation, others, image)
        call = RecordedCall(
            key=key,
            kind=type(operation).__name__,
            settings={**self._settings.get(operation, {}), **options},
            inputs=inputs,
            outputs={place: self._kept(one, others, image) for place, one in outputs.items()},
            before_activation=before,
            is_model=operation is self._model,
        )
        self.calls.append(call)

    def _kept(
        self, values: Values, others: Sequence[RecordedTensor], image: Shape | None = None
    ) -> RecordedTensor:
        """Return what is kept of a tensor; one with the same values is the same object.

        So an input is found to be the output of another call: by its values, because a module of
        torch may change its input in place, and Keras may cast it.

        Args:
            values: The values of the tensor.
            others: The tensors that it may be compared with.
            image: The shape of the image that may have been flattened to it.
        """
        array, dtype = values
        sample = sampled(array, own_order(array.shape))
        key = hashlib.sha256(f"{array.shape} {dtype} ".encode() + sample.tobytes()).digest()
        if key not in self._tensors:
            before_flattened = None
            if image is not None and len(array.shape) == 2 and math.prod(image) == array.size:
                before_flattened = image
            self._tensors[key] = _recorded(values, sample, before_flattened)
        tensor = self._tensors[key]
        for other in others:
            tensor.keep(array, other.shape)
        return tensor


def _image_in(inputs: Iterable[RecordedTensor]) -> Shape | None:
    """Return the shape of the first input, that before it was flattened; `None` without axes."""
    for tensor in inputs:
        shape = tensor.before_flattened or tensor.shape
        return shape if len(shape) > 2 else None
    return None


def recorded_tensor(values: Values) -> RecordedTensor:
    """Return what is kept of a tensor."""
    return _recorded(values, sampled(values.array, own_order(values.array.shape)), None)


def _recorded(values: Values, sample: Array, before_flattened: Shape | None) -> RecordedTensor:
    """Return what is kept of a tensor, of which these values are."""
    array, dtype = values
    moments = Moments(array)
    kept = {own_order(array.shape): sample}
    return RecordedTensor(array.shape, dtype, moments.mean, moments.std, kept, before_flattened)
