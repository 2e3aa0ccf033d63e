"""Hooks that record the outputs of all layers while a model is called."""

import contextlib
import functools
import inspect
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import keras
import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.diagnostics._graph import ForwardGraph
from keras_initx.diagnostics._layers import layer_facts
from keras_initx.diagnostics._losses import Guessed
from keras_initx.diagnostics._signal import Signal, focus, likeness, spread
from keras_initx.diagnostics._verdicts import Thresholds
from keras_initx.structure import (
    HOOKS,
    LIMITS,
    NORMALIZATIONS,
    activation_of,
    array_of,
    call_name,
    first_float,
    parts_of,
    replaced,
    tensors_in,
    unit_axis,
)

# Is called with the name of each layer after it is measured.
Progress = Callable[[str], object]


@dataclass(eq=False)
class Record:
    """The record of one layer: those attributes of its `LayerReport` that the forward pass gives."""

    shape: tuple[int, ...] | None = None
    before: Signal | None = None
    after: Signal | None = None
    is_output: bool = False
    certain: float | None = None
    loss: float | None = None
    blind_loss: float | None = None
    examples_alike: float | None = None
    positions_alike: float | None = None
    focus: float | None = None


# These keep the size of a signal that is the same everywhere, which no other measurement shows
# then.
_OF_EACH_EXAMPLE = tuple(
    kind for kind in NORMALIZATIONS if kind is not keras.layers.BatchNormalization
)


# To these integers are numbers, to others they may be indices.
_MULTIPLYING = (
    *(keras.layers.Dense, keras.layers.EinsumDense, keras.layers.RNN),
    *(keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D),
)


class Recorder:
    """The layers of a model and their records.

    Args:
        model: A built model.
        thresholds: Thresholds of saturation and vanishing signals.
        progress: Function that is called with the name of each layer, or `None`.

    Attributes:
        facts: Dict from each layer to its `LayerFacts`.
        records: Dict from a layer to its `Record`, in the order of recording.
        first_inputs: Dict from a layer to the `Signal` of its inputs from outside the model.
        graph: The graph of the forward pass.
        lost: The signals that are lost in it.
    """

    def __init__(
        self, model: keras.Model, thresholds: Thresholds, progress: Progress | None = None
    ) -> None:
        self.facts = layer_facts(model)
        self.records: dict[keras.layers.Layer, Record] = {}
        self.first_inputs: dict[keras.layers.Layer, Signal] = {}
        self.graph = ForwardGraph()
        self.lost = LostSignals(
            {layer for layer, facts in self.facts.items() if facts.has_zeros}, thresholds.vanishing
        )
        self._margin = thresholds.saturation_margin
        # By layer, how much the values before a sigmoid or softmax differ between examples.
        self._logits_spread: dict[keras.layers.Layer, float] = {}
        # The queries and keys of attention, by the layers that make them, which Keras and KerasHub
        # name so.
        parts = (
            {part.name: part for part in parts_of(layer, recursive=False)} for layer in self.facts
        )
        pairs = [
            (named["query"], named["key"]) for named in parts if {"query", "key"} <= named.keys()
        ]
        self._attention = {part: pair for pair in pairs for part in pair}
        self._projected: dict[keras.layers.Layer, weakref.ref[Tensor]] = {}
        self._progress = progress
        # For each active call, whether a layer inside it has been recorded.
        self._inside = [False]
        # Number of active calls of layers that may transform tensors in ways that cannot be
        # observed.
        self._hidden = 0
        self._has_begun = False

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Record all outputs for the duration of the block."""
        with HOOKS, contextlib.ExitStack() as stack:
            for layer in self.facts:
                name = call_name(layer)
                stack.enter_context(
                    replaced(layer, name, self._hooked(layer, getattr(layer, name)))
                )
                activation = activation_of(layer)
                if activation is not None:
                    stack.enter_context(
                        replaced(layer, "activation", self._hooked_activation(layer, activation))
                    )
            # Layers cast their inputs before they are called.
            for policy in {
                id(layer.dtype_policy): layer.dtype_policy for layer in self.facts
            }.values():
                stack.enter_context(
                    replaced(policy, "convert_input", self._hooked_cast(policy.convert_input))
                )
            # A functional model also has operations that are not layers, such as additions.
            operations = {part for layer in self.facts for part in getattr(layer, "operations", ())}
            for operation in operations - self.facts.keys():
                stack.enter_context(
                    replaced(operation, "call", self._hooked(operation, operation.call))
                )
            yield

    def _hooked(
        self, operation: keras.Operation, call: Callable[..., Tensor]
    ) -> Callable[..., Tensor]:
        """Wrap `call` with a hook that tracks its tensors and, for a layer, records its inputs and outputs."""
        facts = self.facts.get(operation)
        # These only call other layers and operations.
        is_hidden = not isinstance(operation, keras.Sequential | keras.Function)
        is_origin = facts is not None and bool(operation.weights or facts.activation)

        @functools.wraps(call)
        def hooked(*args: Tensor, **kwargs: Tensor) -> Tensor:
            inputs = tensors_in((args, kwargs))
            if not self._hidden:
                self.graph.add_inputs(inputs)
            if is_hidden:
                self.graph.add_consumer(operation, inputs)
            # A layer may get its inputs by keyword.
            given = args or tuple(inspect.signature(call).bind(**kwargs).arguments.values())
            if facts and facts.has_kernel:
                count = sum(first_float(tensor) is not None for tensor in inputs)  # without masks
                numbers = (
                    "int" if isinstance(operation, _MULTIPLYING) else "uint8"
                )  # the dtype of images
                self._record_inputs(operation, first_float(given, or_kind=numbers), count)
            self._hidden += is_hidden
            self._inside.append(False)
            try:
                outputs = call(*args, **kwargs)
            finally:
                self._hidden -= is_hidden
                inside = self._inside.pop()
            self.graph.add_outputs(operation, inputs, tensors_in(outputs), is_origin=is_origin)
            output = first_float(outputs)
            # Layers around others are not reported, unless they have own weights or the others
            # cannot be observed.
            if (
                facts
                and output is not None
                and is_origin
                and (facts.own_weights or facts.activation or not inside)
            ):
                # The input of a layer that is itself an activation is the value before it.
                if facts.activation and activation_of(operation) is None and given:
                    self._record_before(operation, given[0])
                self._record_after(operation, output)
                if operation in self._attention:
                    self._record_projection(operation, output)
                inside = True
                if self._progress:
                    self._progress(facts.name)
            self._inside[-1] |= inside
            return outputs

        return hooked

    def _hooked_cast(self, cast: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @functools.wraps(cast)
        def hooked(tensor: Tensor, *args: Tensor, **kwargs: Tensor) -> Tensor:
            result = cast(tensor, *args, **kwargs)
            self.graph.add_alias(tensor, result)
            return result

        return hooked

    def _hooked_activation(
        self, layer: keras.layers.Layer, activation: Callable[..., Tensor]
    ) -> Callable[..., Tensor]:
        @functools.wraps(activation)
        def hooked(values: Tensor, *args: Tensor, **kwargs: Tensor) -> Tensor:
            if first_float(values) is not None:
                self._record_before(layer, values)
            return activation(values, *args, **kwargs)

        return hooked

    def _record_inputs(self, layer: keras.layers.Layer, tensor: Tensor | None, count: int) -> None:
        """Record the first of `count` inputs of a layer, and whether examples still differ after one with no signal."""
        is_first, self._has_begun = not self._has_begun, True
        if tensor is None or isinstance(
            layer, keras.layers.Embedding
        ):  # whose inputs are row indices
            return
        for outside in (
            [tensor] if is_first or self.graph.is_input(tensor) else self.graph.joined(tensor)
        ):
            self.first_inputs.setdefault(layer, Signal()).add(array_of(outside))
        self.lost.check_input(layer, tensor)

    def _record_before(self, layer: keras.layers.Layer, tensor: Tensor) -> None:
        record, values = self.records.setdefault(layer, Record()), array_of(tensor)
        record.before = record.before or Signal()
        record.before.add(values, unit_axis(layer, values.ndim))
        record.shape = values.shape
        if self.facts[layer].activation in ("sigmoid", "softmax") and values.ndim:
            self._logits_spread[layer] = spread(values)

    def _record_after(self, layer: keras.layers.Layer, tensor: Tensor) -> None:
        record, values = self.records.setdefault(layer, Record()), array_of(tensor)
        record.after = record.after or Signal(
            LIMITS.get(self.facts[layer].activation or ""), self._margin
        )
        record.after.add(values, unit_axis(layer, values.ndim))
        record.shape = values.shape
        if len(self.records) == 1 or isinstance(layer, _OF_EACH_EXAMPLE):
            record.examples_alike = likeness(values.reshape(len(values), -1))
            if values.ndim > 2:
                record.positions_alike = likeness(values.reshape(len(values), -1, values.shape[-1]))
        self.lost.add_output(layer, record.before or record.after)

    def _record_projection(self, layer: keras.layers.Layer, tensor: Tensor) -> None:
        """Record the weights of attention once both its queries and its keys are known."""
        self._projected[layer] = weakref.ref(tensor)
        queries, keys = (
            self._projected.get(part, lambda: None)() for part in self._attention[layer]
        )
        if queries is not None and keys is not None:
            self.records[self._attention[layer][0]].focus = focus(queries, keys)

    def record_model_outputs(self, outputs: Tensor) -> None:
        """Record which layers produce the outputs of the model, and how saturated these are."""
        for tensor in tensors_in(outputs):
            for layer in self._makers(tensor):
                self.records[layer].is_output = True
                # The makers of several outputs may not be told apart.
                found = self.records[layer].certain, self._certainty(layer, array_of(tensor))
                self.records[layer].certain = max(
                    (one for one in found if one is not None), default=None
                )

    def record_losses(self, guessed: Iterable[Guessed]) -> None:
        """Record the losses of the outputs of the model, and those of blind guesses."""
        for tensor, loss, blind_loss in guessed:
            for layer in self._makers(tensor):
                self.records[layer].loss, self.records[layer].blind_loss = loss, blind_loss

    def _makers(self, output: Tensor) -> list[keras.layers.Layer]:
        """Return the layer that has made an output of the model, as a list that is empty if none was recorded."""
        if self.graph.is_input(output):  # passed through
            return []
        recorded = [layer for layer, record in self.records.items() if record.after]
        origin = self.graph.origin(output)
        return [origin] if origin in recorded else recorded[-1:]  # Custom code has transformed it.

    def _certainty(self, layer: keras.layers.Layer, values: Array) -> float | None:
        """Return the fraction of probabilities near 0 or 1, or `None` if the outputs are no probabilities.

        For a softmax, it is that of the examples with one probability near 1.
        """
        is_softmax = (
            values.ndim > 1
            and values.shape[-1] > 1
            and values.min(initial=0) >= 0
            and (abs(values.sum(axis=-1, dtype="float64") - 1) < 1e-2).all()
        )
        if not values.size or not (is_softmax or self.facts[layer].activation == "sigmoid"):
            return None
        # A bias set to the frequencies of rare classes also saturates outputs, but in the same way
        # for all examples.
        differs = self._logits_spread.get(layer, np.inf)
        if (
            is_softmax and layer not in self._logits_spread
        ):  # It was applied by a layer or operation of its own.
            differs = spread(np.log(np.maximum(values, 1e-30)))
        if differs < np.log(1 / self._margin - 1) / 2:
            return 0.0
        low, high = self._margin, 1 - self._margin
        return float(
            np.mean(
                values.max(axis=-1) >= high if is_softmax else (values <= low) | (values >= high)
            )
        )


# Relative tolerance for values that are equal for all examples, because matrix products round.
_SAME = 1e-5


class LostSignals:
    """The layers with nearly zero output because of which a later kernel gets the same inputs for all examples.

    Zeros are harmless if the inputs of the next kernel still differ between examples, e.g. through
    the other branch of an addition. The same holds for small outputs.

    Args:
        zero: The layers with all-zero weights.
        least: Standard deviation below which a signal has vanished.

    Attributes:
        causes: The layers because of which a kernel got nearly the same input for all examples.
        starved: The layers with these kernels.
    """

    def __init__(self, zero: set[keras.layers.Layer], least: float) -> None:
        self.causes: set[keras.layers.Layer] = set()
        self.starved: set[keras.layers.Layer] = set()
        self._zero = zero
        self._least = least
        # The most recent consecutive layers whose output was nearly zero.
        self._row: list[keras.layers.Layer] = []
        self._is_over = False

    def add_output(self, layer: keras.layers.Layer, signal: Signal) -> None:
        """Record the output of `layer`."""
        is_small = layer in self._zero or signal.std < self._least
        if is_small:
            self._row = [*([] if self._is_over else self._row), layer]
        self._is_over = not is_small

    def check_input(self, layer: keras.layers.Layer, tensor: Tensor) -> None:
        """Check whether `tensor`, which a kernel of `layer` multiplies, still differs between examples."""
        if not self._row:
            return
        values = array_of(tensor)
        differs = spread(values)
        is_same = differs <= _SAME * abs(values).max(initial=0)
        is_weak = differs < self._least
        causes = {
            suspect for suspect in self._row if (is_same if suspect in self._zero else is_weak)
        }
        if causes:
            self.causes |= causes
            self.starved.add(layer)
