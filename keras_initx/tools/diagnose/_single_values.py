"""Normalizations and softmaxes over a single value, which give the same output for all inputs."""

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Iterator

import keras
import numpy as np

from keras_initx._typing import Tensor
from keras_initx.inspection._batch import first_float, list_tensors, to_array
from keras_initx.inspection._hooks import replace_attribute
from keras_initx.inspection._names import list_sublayers
from keras_initx.inspection._watch import Call
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe


class SingleValueProbe(Probe):
    """Finds normalizations and softmaxes over a single value.

    Attributes:
        paths: Dict from such a normalization to its path, or the name of an operation.
        before_softmax: The layers whose outputs got a softmax over a single value in their last
            call, so that it gave 1. The queries of a layer with a query and a key do not count,
            because attention to a single key is usual where sequences have one position.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self.paths: dict[keras.Operation, str] = {}
        self.before_softmax: set[keras.Layer] = set()
        self._watch = diagnosis.watch
        self._projections = {layer for pair in list_query_key_pairs(diagnosis) for layer in pair}
        # The shapes of the outputs of softmaxes.
        self._shapes: dict[keras.Layer, tuple[int, ...]] = {}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the functions by which users' layers compute a softmax, in this thread."""
        with _watch_softmax(self._note_softmax):
            yield

    def after(self, call: Call) -> None:
        operation = call.operation
        if call.is_seen and self._watch.activations[operation] == "softmax":
            self._add(operation, call.values.shape, _are_ones(call.output))
        if not call.inputs or not len(call.inputs[0].shape):
            return
        if _count_normalized(operation, tuple(call.inputs[0].shape)) == 1:
            self.paths[operation] = self._watch.paths.get(operation, operation.name)
        # The layer, and the operation of a functional model.
        if type(operation).__name__ == "Softmax" and call.output is not None:
            self._note_softmax(call.inputs[0], call.output)
        if isinstance(operation, keras.layers.Attention):
            self._note_attention(*call.inputs[:2])

    def finish(self, outputs: Tensor) -> None:
        # A softmax with the shape of an output of the model may be that output.
        shapes = [tuple(tensor.shape) for tensor in list_tensors(outputs)]
        for layer, shape in self._shapes.items():
            if shape in shapes:
                self.before_softmax.discard(layer)

    def _note_softmax(self, inputs: Tensor, outputs: Tensor) -> None:
        # A softmax that no layer applies as its activation. Outside of all calls, a loss has
        # computed it.
        if self._watch.is_paused or not self._watch.calls:
            return
        layer = self._watch.graph.origin(inputs)
        if layer is not None:
            self._add(layer, tuple(outputs.shape), _are_ones(outputs))

    def _note_attention(self, queries: Tensor, values: Tensor) -> None:
        # Keras computes the softmax of a layer without kernels by functions of its own. There are
        # as many keys as values.
        layer = self._watch.graph.origin(queries)
        count = values.shape[1]
        if layer is not None:
            self._add(layer, (*queries.shape[:2], count), count == 1)

    def _add(self, layer: keras.Layer, shape: tuple[int, ...], is_of_one: bool) -> None:
        """Note the shape of a softmax of exactly the output of `layer`."""
        self._shapes[layer] = shape
        self.before_softmax.discard(layer)
        if is_of_one and layer not in self._projections:
            self.before_softmax.add(layer)


def _are_ones(outputs: Tensor) -> bool:
    # Several shares that add up to 1 are not all near 1. Some processors round.
    return np.allclose(to_array(outputs), 1, atol=1e-2)


def _count_normalized(operation: keras.Operation, shape: tuple[int, ...]) -> int | None:
    """Return how many values are normalized together, `None` for other operations."""
    if isinstance(operation, keras.layers.GroupNormalization):
        groups = shape[operation.axis] if operation.groups == -1 else int(operation.groups)
        return math.prod(shape[1:]) // groups
    classes_with_axes = (
        keras.layers.LayerNormalization,
        keras.layers.RMSNormalization,
        keras.layers.UnitNormalization,
    )
    if isinstance(operation, classes_with_axes):
        axes = operation.axis if isinstance(operation.axis, list | tuple) else [operation.axis]
        return math.prod(shape[axis] for axis in axes)
    return None


@contextlib.contextmanager
def _watch_softmax(on_softmax: Callable[[Tensor, Tensor], object]) -> Iterator[None]:
    """Watch the functions by which users' layers compute a softmax, in this thread.

    Args:
        on_softmax: Is called with the input and the output of a softmax over the last axis.
    """
    thread = threading.get_ident()
    softmax = keras.ops.softmax

    @functools.wraps(softmax)
    def note_softmax(x: Tensor, axis: int = -1) -> Tensor:
        outputs = softmax(x, axis)
        is_last = axis in (-1, len(outputs.shape) - 1)
        if is_last and threading.get_ident() == thread and first_float(outputs) is not None:
            on_softmax(x, outputs)
        return outputs

    with (
        replace_attribute(keras.ops, "softmax", note_softmax),
        replace_attribute(keras.activations, "softmax", note_softmax),
    ):
        yield


def has_single_values(diagnosis: Diagnosis) -> bool:
    """Return whether a normalization or a softmax is over a single value."""
    probe = diagnosis.probe(SingleValueProbe)
    return bool(probe.paths or probe.before_softmax)


def list_query_key_pairs(diagnosis: Diagnosis) -> list[tuple[keras.Layer, keras.Layer]]:
    """List the layers that make queries, with those that make keys.

    Keras and KerasHub give them these names.
    """
    pairs = []
    for layer in diagnosis.watch.layers:
        sublayers = {inner.name: inner for inner in list_sublayers(layer, recursive=False)}
        if "query" in sublayers and "key" in sublayers:
            pairs.append((sublayers["query"], sublayers["key"]))
    return pairs
