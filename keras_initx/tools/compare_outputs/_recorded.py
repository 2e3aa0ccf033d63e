"""Record the calls of a forward pass.

A *label* names an output or an argument within its call: `""` for the only output, `"0"` in a list,
`"logits/0"` in nested containers, `"mask"` for an argument. One recorded call:

    RecordedCall(CallKey("block/norm", 1), "LayerNormalization", {"epsilon": 1e-3, ...},
                 inputs={"inputs": tensor}, outputs={"": tensor}, begin=3)
"""

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import keras

from keras_initx._keras import read_mask
from keras_initx._typing import Array, Shape
from keras_initx.backends._current import backend
from keras_initx.backends._moments import Moments
from keras_initx.inspection._hooks import unit_axis
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._watch import Call, Watch, Watcher
from keras_initx.tools.compare_outputs._components import (
    Component,
    read_components,
    read_trained,
)
from keras_initx.tools.compare_outputs._reading import (
    Settings,
    Values,
    canonicalize_operations,
    is_simple,
    label_members,
    name_operations,
    read_arguments,
    read_settings,
    read_values,
)
from keras_initx.tools.compare_outputs._samples import (
    RecordedTensor,
    measure_units,
    own_order,
    sample_values,
)


class CallKey(NamedTuple):
    """Which call it is.

    Attributes:
        name: The path of the layer, or the name of the module.
        number: The number of the call, from 1.
    """

    name: str
    number: int

    def __str__(self) -> str:
        if self.number == 1:
            return self.name
        return f"{self.name}, call {self.number}"


@dataclass(frozen=True, eq=False)
class RecordedCall:
    """The record of a call.

    Attributes:
        key: The layer and the number of the call.
        kind: The name of the class of the layer, the operation or the module.
        settings: Its settings and arguments, without tensors.
        inputs: Dict from the names of its arguments to tensors. The output of another call is the
            same object here.
        outputs: Dict from the labels of its outputs to tensors.
        begin: How many calls had ended when it began. Later calls in the list are inside it.
        before_activation: The input of its activation, `None` if no activation is known.
        is_model: Whether it is the call of the whole model.
        components: What it does, in the words of the table of settings.
        trained: Dict from the names of its weights to whether they are trained.
        masks: Dict from the labels of the outputs of a model that have a mask of Keras to how many
            positions it hides, and of how many.
        canonical_path: The canonical path of the layer, see `canonicalize_operations`. It finds the
            layer in another model with other automatic names. A module or an array has its name.
    """

    key: CallKey
    kind: str
    settings: Settings
    inputs: Mapping[str, RecordedTensor]
    outputs: Mapping[str, RecordedTensor]
    begin: int = 0
    before_activation: RecordedTensor | None = None
    is_model: bool = False
    canonical_path: str = ""
    components: Sequence[Component] = ()
    trained: Mapping[str, bool] = field(default_factory=dict)
    masks: Mapping[str, Sequence[int]] = field(default_factory=dict)


class Recorder(Watcher):
    """Records the calls of a pass.

    Args:
        model: The model or the module of torch.
        paths: Dict from the layers, operations or modules in it to their names.
        canonical_paths: Dict from the same to their canonical paths.
        other_shapes: The shapes of the tensors of the other model, without axes of length 1. Values
            are also kept in the possible orders of these tensors.

    Attributes:
        calls: The records, ordered by the ends of calls.
    """

    def __init__(
        self,
        model: Any,
        paths: Mapping[Any, str],
        canonical_paths: Mapping[Any, str],
        other_shapes: Collection[Shape] = (),
    ) -> None:
        self.calls: list[RecordedCall] = []
        self._model = model
        self._paths = paths
        self._canonical_paths = canonical_paths
        self._other_shapes = other_shapes
        self._counts: Counter[str] = Counter()
        self._tensors: dict[bytes, RecordedTensor] = {}
        self._begun: dict[Call, RecordedCall] = {}
        # While a model is watched, its activations are other objects.
        self._components = {operation: read_components(operation) for operation in paths}
        self._functions: dict[Call, list[Component]] = {}

    def before(self, call: Call) -> None:
        name = self._paths[call.operation]
        self._counts[name] += 1
        inputs = {}
        settings = dict(read_settings(call.operation))
        for label, value in read_arguments(call.function, call.args, call.kwargs).items():
            values = read_values(value)
            if values is not None:
                inputs[label] = self._keep_tensor(values, call)
            elif value is not None and label != "training" and is_simple(value):
                settings[label] = value
        components = self._components[call.operation]
        self._begun[call] = RecordedCall(
            key=CallKey(name, self._counts[name]),
            kind=type(call.operation).__name__,
            settings=settings,
            inputs=inputs,
            outputs={},
            begin=len(self.calls),
            is_model=call.operation is self._model,
            canonical_path=self._canonical_paths[call.operation],
            components=components,
            trained=read_trained(call.operation, components),
        )

    def add_function(self, component: Component) -> None:
        """Record a function of torch in the code of the innermost module that is being called."""
        call = next(reversed(self._begun), None)
        if call is None or any(known.kind for known in self._begun[call].components):
            return  # the module itself is in the table
        component = replace(component, begin=len(self.calls))
        self._functions.setdefault(call, []).append(component)

    def after(self, call: Call) -> None:
        begun = self._begun.pop(call)
        image = _find_image_shape(begun.inputs.values())
        before = read_values(call.before_activation)
        outputs = {}
        masks = {}
        for label, value in label_members(call.outputs):
            values = read_values(value)
            if values is not None:
                outputs[label] = self._keep_tensor(values, call, image)
            mask = read_values(read_mask(value)) if begun.is_model else None
            if mask is not None and not mask.array.all():
                masks[label] = [int((~mask.array.astype(bool)).sum()), mask.array.size]
        recorded = replace(
            begun,
            outputs=outputs,
            masks=masks,
            components=[*begun.components, *self._functions.pop(call, ())],
            before_activation=None if before is None else self._keep_tensor(before, call, image),
        )
        self.calls.append(recorded)

    def _keep_tensor(
        self, values: Values, call: Call, image: Shape | None = None
    ) -> RecordedTensor:
        """Record a tensor. Tensors with the same values are the same object.

        So an input is recognized as the output of another call: by its values, because a module of
        torch may change its input in place, and Keras may cast it. A tensor whose values are all
        the same is always a new object, because it may come from anywhere.

        Args:
            values: The values of the tensor.
            call: The call that gets or returns it.
            image: The shape of the image that may have been flattened to it.
        """
        array = values.array
        sample = sample_values(array, own_order(array.shape))
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
            self._tensors[key] = record_tensor(values, sample, axis, before_flattened)
        tensor = self._tensors[key]
        tensor.keep(array, self._other_shapes)
        return tensor


def record_calls(
    inventory: Inventory,
    x: Any,
    *watchers: Watcher,
    training: bool,
    other_shapes: Collection[Shape] = (),
) -> list[RecordedCall]:
    """Record the calls of a model of Keras in one pass. The last call is its own.

    Args:
        inventory: The weights and layers of the model.
        x: Its inputs.
        watchers: Look at the calls too.
        training: Whether it is called in training.
        other_shapes: See `Recorder`.
    """
    canonical_paths = canonicalize_operations(inventory)
    recorder = Recorder(inventory.model, name_operations(inventory), canonical_paths, other_shapes)
    with backend.full_precision():
        Watch(inventory).observe(x, recorder, *watchers, training=training)
    return recorder.calls


def _find_image_shape(inputs: Iterable[RecordedTensor]) -> Shape | None:
    """Find the shape of the first input, before it was flattened; `None` without axes."""
    for tensor in inputs:
        shape = tensor.before_flattened or tensor.shape
        return shape if len(shape) > 2 else None
    return None


def record_tensor(
    values: Values,
    sample: Array | None = None,
    axis: int = -1,
    before_flattened: Shape | None = None,
) -> RecordedTensor:
    """Record a tensor.

    Args:
        values: Its values.
        sample: The kept values, in its own order, if they were taken already.
        axis: The axis of its channels.
        before_flattened: The shape of the image that was flattened to it, if it is known.
    """
    array, dtype = values
    order = own_order(array.shape)
    if sample is None:
        sample = sample_values(array, order)
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
