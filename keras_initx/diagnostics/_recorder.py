"""Hooks that record the outputs of all layers while a model is called."""

import contextlib
import functools
import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import keras
import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.backends import Moments, backend
from keras_initx.diagnostics._attention import Softmaxes, watched
from keras_initx.diagnostics._graph import ForwardGraph
from keras_initx.diagnostics._layers import LayerFacts, layer_facts
from keras_initx.diagnostics._losses import (
    Guessed,
    LossKind,
    SeenLoss,
    counted_rows,
    known_loss,
)
from keras_initx.diagnostics._outputs import (
    OutputFacts,
    are_of_softmax,
    last_activation,
    output_facts,
)
from keras_initx.diagnostics._signal import Signal, likeness, spread
from keras_initx.diagnostics._verdicts import Thresholds
from keras_initx.structure import (
    CONVOLUTIONS,
    HOOKS,
    LIMITS,
    NORMALIZATIONS,
    activation_by_values,
    activation_of,
    activation_slopes,
    array_of,
    call_name,
    first_float,
    replaced,
    tensors_in,
    unit_axis,
)

# Is called with the name of each layer after it is measured.
Progress = Callable[[str], object]


@dataclass(eq=False)
class LayerRecord:
    """The attributes of the `LayerReport` of one layer that the forward pass gives."""

    shape: tuple[int, ...] | None = None
    before: Signal | None = None
    after: Signal | None = None
    is_output: bool = False
    certain: float | None = None
    loss_kind: LossKind | None = None
    loss: float | None = None
    blind_loss: float | None = None
    output_size: float | None = None
    examples_alike: float | None = None
    inputs_differ: float | None = None
    input_size: float | None = None
    steps: int | None = None
    largest_input: tuple[int, float] | None = None
    positions_alike: float | None = None
    focus: float | None = None
    router_share: float | None = None


# These keep the size of a signal that is the same everywhere, which no other measurement shows
# then.
_OF_EACH_EXAMPLE = tuple(
    kind for kind in NORMALIZATIONS if kind is not keras.layers.BatchNormalization
)
# The number of examples whose inputs of a kernel are compared.
_COMPARED = 64
# To these integers are numbers, to others they may be indices.
_MULTIPLYING = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.RNN,
    *CONVOLUTIONS,
)


class Recorder:
    """The layers of a model and their records.

    Args:
        model: A built model.
        thresholds: Thresholds of saturation and vanishing signals.
        progress: Function that is called with the name of each layer, or `None`.

    Attributes:
        facts: Dict from each layer to its `LayerFacts`.
        records: Dict from a layer to its `LayerRecord`, in the order of recording.
        first_inputs: Dict from a layer to the `Signal` of its inputs from outside the model.
        outputs: Pairs of a layer and the facts of the output of the model that it makes.
        graph: The graph of the forward pass.
        lost: The signals that are lost in it.
        slopes: Dict from a layer with an activation that Keras does not have to the slopes of this,
            `None` where it is no function of single values.
    """

    def __init__(
        self, model: keras.Model, thresholds: Thresholds, progress: Progress | None = None
    ) -> None:
        self.facts: dict[keras.Layer, LayerFacts] = layer_facts(model)
        self.records: dict[keras.layers.Layer, LayerRecord] = {}
        self.first_inputs: dict[keras.layers.Layer, Signal] = {}
        self.outputs: list[tuple[keras.layers.Layer, OutputFacts]] = []
        self.graph: ForwardGraph = ForwardGraph()
        zero = {layer for layer, facts in self.facts.items() if facts.has_zeros}
        self.lost: LostSignals = LostSignals(zero, thresholds.vanishing)
        self.slopes: dict[keras.Layer, tuple[float, float] | None] = {}
        self._margin = thresholds.saturation_margin
        # By layer, how much the values before a sigmoid or softmax differ between examples, in the
        # call in which they do most.
        self._logits_spread: dict[keras.layers.Layer, float] = {}
        # By layer, the standard deviation before its activation in its last call.
        self._std_before: dict[keras.layers.Layer, float] = {}
        self._softmaxes = Softmaxes(self.facts)
        # By layer with a kernel, by how much its last inputs differ between examples.
        self._inputs_differ: dict[keras.layers.Layer, float | None] = {}
        # By layer, the root mean square of its last inputs.
        self._input_size: dict[keras.layers.Layer, float] = {}
        # By layer, the index and the root mean square of the largest of its inputs from outside.
        self._largest_input: dict[keras.layers.Layer, tuple[int, float]] = {}
        self._progress = progress
        # While `progress` runs, what it calls is no part of the pass.
        self._is_paused = False
        # For each active call, the first layer inside it that has been recorded.
        self._inside: list[keras.layers.Layer | None] = [None]
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
                hooked = self._hooked(layer, getattr(layer, name))
                stack.enter_context(replaced(layer, name, hooked))
                activation = activation_of(layer)
                if activation is not None:
                    hooked = self._hooked_activation(layer, activation)
                    stack.enter_context(replaced(layer, "activation", hooked))
            # Layers cast their inputs before they are called. Several may have one policy.
            policies = {id(layer.dtype_policy): layer.dtype_policy for layer in self.facts}
            for policy in policies.values():
                hooked = self._hooked_cast(policy.convert_input)
                stack.enter_context(replaced(policy, "convert_input", hooked))
            # A functional model also has operations that are not layers, such as additions.
            operations: set[keras.Operation] = set()
            for layer in self.facts:
                operations.update(getattr(layer, "operations", ()))
            for operation in operations - self.facts.keys():
                hooked = self._hooked(operation, operation.call)
                stack.enter_context(replaced(operation, "call", hooked))
            stack.enter_context(watched(self._record_softmax, self._record_attention))
            yield

    def _hooked(
        self, operation: keras.Operation, call: Callable[..., Tensor]
    ) -> Callable[..., Tensor]:
        """Wrap `call` with a hook that tracks its tensors.

        For a layer, it also records the inputs and outputs.
        """
        facts = self.facts.get(operation)
        # These only call other layers and operations.
        is_hidden = not isinstance(operation, keras.Sequential | keras.Function)
        is_origin = facts is not None and bool(operation.weights or facts.activation)
        is_container = facts is not None and not (facts.own_weights or facts.activation)
        # A function, or a layer of one's own, without weights.
        is_own = not type(operation).__module__.startswith("keras.")
        is_own |= isinstance(operation, keras.layers.Lambda)
        may_be_activation = facts is not None and not is_origin and is_own

        @functools.wraps(call)
        def hooked(*args: Tensor, **kwargs: Tensor) -> Tensor:
            if self._is_paused:
                return call(*args, **kwargs)
            inputs = tensors_in((args, kwargs))
            if not self._hidden:
                self.graph.add_inputs(inputs)
            if is_hidden:
                self.graph.add_consumer(operation, inputs)
            given = args
            if not given:
                # A layer may get its inputs by keyword.
                given = tuple(inspect.signature(call).bind(**kwargs).arguments.values())
            if facts is not None and facts.has_kernel:
                count = sum(first_float(tensor) is not None for tensor in inputs)  # without masks
                # The integers that any layer may get as numbers are those of images.
                kind = "int" if isinstance(operation, _MULTIPLYING) else "uint8"
                self._record_inputs(operation, first_float(given, or_kind=kind), count)
            self._hidden += is_hidden
            self._inside.append(None)
            weights = None
            try:
                if isinstance(operation, keras.layers.Attention):
                    outputs, weights = _with_weights(call, args, kwargs)
                else:
                    outputs = call(*args, **kwargs)
            finally:
                self._hidden -= is_hidden
                inside = self._inside.pop()
            self.graph.add_outputs(operation, inputs, tensors_in(outputs), is_origin=is_origin)
            # Layers around others are not reported, unless they have own weights or the others
            # cannot be observed.
            is_reported = is_origin and not (is_container and inside)
            output = first_float(outputs)
            if facts is not None and is_reported and output is not None:
                self._record_call(operation, facts, given, output)
                inside = operation
            if self._inside[-1] is None:
                self._inside[-1] = inside
            if weights is not None and inputs:
                self._record_softmax(inputs[0], weights)
            if may_be_activation and len(inputs) == 1 and output is not None:
                self._record_slopes(operation, call, inputs[0])
            # The layer, and the operation of a functional model.
            if type(operation).__name__ == "Softmax" and inputs and output is not None:
                self._record_softmax(inputs[0], output)
            return outputs

        return hooked

    def _hooked_cast(self, cast: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Wrap a cast of inputs with a hook that tracks its tensors."""

        @functools.wraps(cast)
        def hooked(tensor: Tensor, *args: Tensor, **kwargs: Tensor) -> Tensor:
            result = cast(tensor, *args, **kwargs)
            if not self._is_paused:
                self.graph.add_alias(tensor, result)
            return result

        return hooked

    def _hooked_activation(
        self, layer: keras.layers.Layer, activation: Callable[..., Tensor]
    ) -> Callable[..., Tensor]:
        """Wrap the activation of `layer` with a hook that records the values before it."""

        @functools.wraps(activation)
        def hooked(values: Tensor, *args: Tensor, **kwargs: Tensor) -> Tensor:
            outputs = activation(values, *args, **kwargs)
            if first_float(values) is not None and not self._is_paused:
                self._name_activation(layer, activation, values, outputs)
                self._record_before(layer, values)
            return outputs

        return hooked

    def _name_activation(
        self,
        layer: keras.layers.Layer,
        activation: Callable[..., Tensor],
        values: Tensor,
        outputs: Tensor,
    ) -> None:
        """Give the activation of `layer` the name of the one of Keras that has these outputs.

        It may be a lambda, or a function that goes by another name. Of a function that Keras does
        not have, record the slopes.
        """
        facts = self.facts[layer]
        if hasattr(keras.activations, facts.activation or "") or first_float(outputs) is None:
            return
        name = activation_by_values(array_of(values[:8]), array_of(outputs[:8]))
        if name is not None:
            self.facts[layer] = replace(facts, activation=name)
        elif not getattr(activation, "weights", None):
            self._record_slopes(layer, activation, values)

    def _record_slopes(
        self, layer: keras.layers.Layer, activation: Callable[..., Tensor], values: Tensor
    ) -> None:
        """Record the slopes of what `layer` applies to single values."""
        self._is_paused = True
        try:
            # What these calls draw, count or add as losses is no part of the pass either.
            with backend.preserve_state([layer]):
                self.slopes[layer] = activation_slopes(activation, array_of(values[:8]))
        finally:
            self._is_paused = False

    def _record_inputs(self, layer: keras.layers.Layer, tensor: Tensor | None, count: int) -> None:
        """Record the first of `count` inputs of a layer with a kernel.

        It is also checked whether examples still differ after a layer with no signal.
        """
        is_first = not self._has_begun
        self._has_begun = True
        # The inputs of an embedding are row indices.
        if tensor is None or isinstance(layer, keras.layers.Embedding):
            return
        if is_first or self.graph.is_input(tensor):
            from_outside = [tensor]
        else:
            from_outside = self.graph.joined(tensor)
        for part in from_outside:
            self._record_first_inputs(layer, array_of(part))
        self.lost.check_input(layer, tensor)
        self._inputs_differ[layer] = _difference(tensor)

    def _record_first_inputs(self, layer: keras.layers.Layer, values: Array) -> None:
        """Record inputs from outside the model of a layer with a kernel."""
        self.first_inputs.setdefault(layer, Signal()).add(values)
        # The channels of images are alike.
        if isinstance(layer, CONVOLUTIONS) or values.ndim < 2:
            return
        columns = values.reshape(-1, values.shape[-1])
        squares = np.einsum("ij,ij->j", columns, columns, dtype="float64") / len(columns)
        index = int(squares.argmax())
        size = math.sqrt(squares[index])
        if size > self._largest_input.get(layer, (0, 0.0))[1]:
            self._largest_input[layer] = (index, size)

    def _record_call(
        self,
        layer: keras.layers.Layer,
        facts: LayerFacts,
        given: tuple[Tensor, ...],
        output: Tensor,
    ) -> None:
        """Record the output of a layer that was called with the inputs `given`."""
        # The input of a layer that is itself an activation is the value before it.
        if facts.activation and activation_of(layer) is None and given:
            self._record_before(layer, given[0])
        self._record_after(layer, output)
        inputs = first_float(given)
        if inputs is not None:
            self._input_size[layer] = _size_of(array_of(inputs[:_COMPARED]))
            if isinstance(layer, keras.layers.RNN):
                self.records[layer].steps = inputs.shape[1]
        self._softmaxes.add_projection(layer, output)
        if facts.activation == "softmax":
            self._softmaxes.add_weights(layer, output, is_router=True)
        if self._progress is not None:
            self._is_paused = True
            try:
                self._progress(facts.name)
            finally:
                self._is_paused = False

    def _record_before(self, layer: keras.layers.Layer, tensor: Tensor) -> None:
        """Record the values before the activation of `layer`."""
        record = self.records.setdefault(layer, LayerRecord())
        values = array_of(tensor)
        if record.before is None:
            record.before = Signal()
        self._std_before[layer] = _added(record.before, values, unit_axis(layer, values.ndim))
        record.shape = values.shape
        if self.facts[layer].activation in ("sigmoid", "softmax") and values.ndim:
            others = self._logits_spread.get(layer, 0.0)
            self._logits_spread[layer] = float(np.maximum(others, spread(values)))

    def _record_after(self, layer: keras.layers.Layer, tensor: Tensor) -> None:
        """Record the output of `layer`."""
        record = self.records.setdefault(layer, LayerRecord())
        values = array_of(tensor)
        if record.after is None:
            activation = self.facts[layer].activation or ""
            record.after = Signal(LIMITS.get(activation), _margin_of(activation, self._margin))
        std = _added(record.after, values, unit_axis(layer, values.ndim))
        record.shape = values.shape
        if len(self.records) == 1 or isinstance(layer, _OF_EACH_EXAMPLE):
            examples = values.reshape(len(values), -1)
            record.examples_alike = likeness(examples)
            if values.ndim > 2:
                positions = values.reshape(len(values), -1, values.shape[-1])
                record.positions_alike = likeness(positions)
        self.lost.add_output(layer, self._std_before.get(layer, std))

    def _record_softmax(self, inputs: Tensor, outputs: Tensor) -> None:
        """Record a softmax that no layer applies as its activation."""
        # Outside of all calls it is that of a loss.
        if self._is_paused or len(self._inside) == 1:
            return
        layer = self.graph.origin(inputs)
        is_router = layer is not None
        # What was computed in the call of a layer inside the model is due to the layers inside it.
        if layer is None and len(self._inside) > 2:
            layer = self._inside[-1]
        if layer is not None:
            self._softmaxes.add_weights(layer, outputs, is_router=is_router)

    def _record_attention(self, queries: Tensor, keys: Tensor, scale: float | None) -> None:
        """Record fast attention, which makes no weights that could be seen."""
        if self._is_paused or len(self._inside) == 1:
            return
        layer = self.graph.origin(queries) or self._inside[-1]
        if layer is not None:
            self._softmaxes.add_attention(layer, queries, keys, scale)

    def record_model_outputs(self, outputs: Tensor) -> None:
        """Record which layers produce the outputs of the model, and how saturated these are.

        Also the softmaxes that are no outputs.
        """
        for tensor in tensors_in(outputs):
            self._softmaxes.forget(tuple(tensor.shape))
            layer = self._maker(tensor)
            if layer is None:
                continue
            record = self.records[layer]
            self._mark_output(layer)
            self._mark_before_activation(layer)
            certainty = self._certainty(layer, array_of(tensor))
            if certainty is None:
                continue
            # The makers of several outputs may not be told apart.
            if record.certain is None or certainty > record.certain:
                record.certain = certainty
        for layer, found in self._softmaxes.records.items():
            if layer in self.records:
                self.records[layer].focus = found.focus
                self.records[layer].router_share = found.router_share
        for layer, difference in self._inputs_differ.items():
            if layer in self.records:
                self.records[layer].inputs_differ = difference
        for layer, largest in self._largest_input.items():
            if layer in self.records:
                self.records[layer].largest_input = largest

    def _mark_before_activation(self, layer: keras.layers.Layer) -> None:
        """Record that what makes the inputs of an activation layer makes an output of the model."""
        if layer.weights:
            return
        for other, record in self.records.items():
            if not record.is_output and self.graph.only_consumer(other) is layer:
                self._mark_output(other)
                self._mark_before_activation(other)

    def _mark_output(self, layer: keras.layers.Layer) -> None:
        """Record that `layer` makes an output of the model."""
        record = self.records[layer]
        record.is_output = True
        record.input_size = self._input_size.get(layer)

    def record_outputs(self, seen: Iterable[SeenLoss]) -> None:
        """Record what is between the last layers and the losses of Keras."""
        for one in seen:
            layer = self._maker(one.output)
            loss = known_loss(one.loss, one.targets, one.output)
            if layer is None or loss is None or not one.output.shape:
                continue
            producer = self.graph.producer(one.output)
            activation = None
            if producer in self.facts:
                activation = self.facts[producer].activation
            facts = output_facts(
                loss,
                last_activation(producer, activation),
                array_of(one.targets),
                array_of(one.output),
                counted_rows(one.targets, one.output),
            )
            if facts is not None:
                self.outputs.append((layer, facts))

    def record_losses(self, guessed: Iterable[Guessed]) -> None:
        """Record the losses of the outputs of the model, and those of blind guesses."""
        for tensor, kind, loss, blind_loss in guessed:
            layer = self._maker(tensor)
            if layer is not None:
                record = self.records[layer]
                record.loss_kind = kind
                record.loss = loss
                record.blind_loss = blind_loss
                record.output_size = _size_of(array_of(tensor))

    def _maker(self, output: Tensor) -> keras.layers.Layer | None:
        """Return the layer that has made an output of the model, `None` if it was not recorded."""
        if self.graph.is_input(output):  # passed through
            return None
        recorded = [layer for layer, record in self.records.items() if record.after is not None]
        origin = self.graph.origin(output)
        if origin in recorded:
            return origin
        # Custom code has transformed it, often without changing its shape.
        alike = [layer for layer in recorded if self.records[layer].shape == tuple(output.shape)]
        candidates = alike or recorded
        return candidates[-1] if candidates else None

    def _certainty(self, layer: keras.layers.Layer, values: Array) -> float | None:
        """Return the fraction of probabilities near 0 or 1, or `None` for other outputs.

        For a softmax, it is that of the examples with one probability near 1.
        """
        if not values.size:
            return None
        is_softmax = are_of_softmax(values)
        if not is_softmax and self.facts[layer].activation != "sigmoid":
            return None
        # A bias set to the frequencies of rare classes also saturates outputs, but in the same way
        # for all examples.
        differs = self._logits_spread.get(layer, np.inf)
        if is_softmax and layer not in self._logits_spread:
            # It was applied by a layer or operation of its own.
            differs = spread(np.log(np.maximum(values, 1e-30)))
        if differs < np.log(1 / self._margin - 1) / 2:
            return 0.0
        is_high = values >= 1 - self._margin
        if is_softmax:
            is_certain = is_high.any(axis=-1)
        else:
            is_certain = is_high | (values <= self._margin)
        return float(np.mean(is_certain))


def _size_of(values: Array) -> float:
    """Return the root mean square of `values`."""
    return float(Moments(values).norm / max(values.size, 1) ** 0.5)


def _difference(tensor: Tensor) -> float | None:
    """Return the standard deviation between examples relative to the root mean square.

    It is that of some examples, and `None` for zeros, and without two examples.
    """
    step = max(len(tensor) // _COMPARED, 1)
    values = array_of(tensor[::step])
    size = _size_of(values)
    if len(values) < 2 or not size:
        return None
    return spread(values) / size


def _margin_of(activation: str, margin: float) -> float:
    """Return the distance from a limit at which an activation has the slope of tanh at `margin`.

    It is relative to the distance between the limits, as `margin` is. Softsign nears its limits
    slowly.
    """
    if activation == "softsign":
        return math.sqrt(margin * (1 - margin))
    return margin


def _with_weights(
    call: Callable[..., Tensor], args: tuple[Tensor, ...], kwargs: dict[str, Tensor]
) -> tuple[Tensor, Tensor | None]:
    """Call an attention layer of Keras that has no kernels.

    Returns:
        Its outputs as it was asked for them, and the weights of attention. These are `None` if it
        gets other arguments by position.
    """
    if kwargs.get("return_attention_scores"):
        outputs = call(*args, **kwargs)
        return outputs, outputs[1]
    if len(args) > 1:
        return call(*args, **kwargs), None
    outputs, weights = call(*args, **{**kwargs, "return_attention_scores": True})
    return outputs, weights


def _added(signal: Signal, values: Array, axis: int) -> float:
    """Add the values of one call to `signal`, and return their own standard deviation.

    A signal that fades from call to call of one layer is large on the whole.
    """
    is_first = not signal.size
    signal.add(values, axis)
    if is_first:
        return signal.std
    with np.errstate(invalid="ignore"):
        return float(np.std(values, dtype="float64"))


# Relative tolerance for values that are equal for all examples, because matrix products round.
_SAME = 1e-5


class LostSignals:
    """The layers with nearly zero output that make the inputs of a later kernel alike.

    It then gets the same inputs for all examples. Zeros are harmless if the inputs of the next
    kernel still differ between examples, e.g. through the other branch of an addition. The same
    holds for small outputs.

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

    def add_output(self, layer: keras.layers.Layer, std: float) -> None:
        """Record the standard deviation of an output of `layer`, before its activation."""
        is_small = layer in self._zero or std < self._least
        if is_small:
            if self._is_over:
                self._row = []
            self._row.append(layer)
        self._is_over = not is_small

    def check_input(self, layer: keras.layers.Layer, tensor: Tensor) -> None:
        """Check whether `tensor`, the input of a kernel of `layer`, differs between examples."""
        if not self._row:
            return
        values = array_of(tensor)
        differs = spread(values)
        is_same = differs <= _SAME * abs(values).max(initial=0)
        is_weak = differs < self._least
        for suspect in self._row:
            is_cause = is_same if suspect in self._zero else is_weak
            if is_cause:
                self.causes.add(suspect)
                self.starved.add(layer)
