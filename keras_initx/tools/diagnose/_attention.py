"""Attention: how the softmaxes inside a model distribute weight over keys.

The *focus* of attention is the largest weight that a query gives to a key, as a mean over queries:
1 if each query attends to a single key, one over the number of keys if to all equally.
"""

import contextlib
import functools
import math
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.inspection._batch import first_float, list_tensors, to_array
from keras_initx.inspection._hooks import call_name, replace_attribute
from keras_initx.inspection._names import list_sublayers
from keras_initx.inspection._watch import Call
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe

# The layer that makes the queries of attention, and the layer that makes the keys.
_QueriesAndKeys: TypeAlias = tuple[keras.Layer, keras.Layer]

# The most examples, and about the most queries of each, that are measured: they show the size of
# the scores, and all scores may take more memory than any output.
_EXAMPLES = 4
_QUERIES = 16
# Of fewer keys, one may have most of the weight by chance.
LEAST_KEYS = 4


class AttentionProbe(Probe):
    """Measures the softmaxes inside a model, by the layers that make their inputs.

    Attributes:
        focus: Dict from a layer that makes the queries of attention to its focus in the last call,
            over some queries with at least four keys. If the weights are not accessible, they are
            computed from queries and keys, without masks and rotations.
        of_one: The layers whose outputs get a softmax over a single value, so that it gives 1.
        pairs: Dict from a layer that makes the queries or the keys of attention, by the names that
            Keras and KerasHub give them, to the pair of both layers.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self.focus: dict[keras.Layer, float] = {}
        self.of_one: set[keras.Layer] = set()
        self._watch = diagnosis.watch
        # The shapes of the outputs of softmaxes.
        self._shapes: dict[keras.Layer, tuple[int, ...]] = {}
        self.pairs: dict[keras.Layer, _QueriesAndKeys] = {}
        for layer in diagnosis.watch.layers:
            sublayers = {inner.name: inner for inner in list_sublayers(layer, recursive=False)}
            if "query" in sublayers and "key" in sublayers:
                pair = (sublayers["query"], sublayers["key"])
                for projection in pair:
                    self.pairs[projection] = pair
        # The last queries or keys that a layer has made.
        self._projected: dict[keras.Layer, weakref.ref[Tensor]] = {}

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the functions that users' layers compute attention with, in this thread.

        `keras.layers.Attention` returns its weights on request, so its calls request them.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(_watch_functions(self._note_softmax, self._note_attention))
            for layer in self._watch.layers:
                if isinstance(layer, keras.layers.Attention):
                    name = call_name(layer)
                    requesting = self._request_weights(getattr(layer, name))
                    stack.enter_context(replace_attribute(layer, name, requesting))
            yield

    def after(self, call: Call) -> None:
        layer = call.operation
        if call.is_seen:
            self._add_projection(layer, call.output)
            if self._watch.activations[layer] == "softmax":
                self._add_weights(layer, call.output, is_own=True)
        # The layer, and the operation of a functional model.
        if type(layer).__name__ == "Softmax" and call.inputs and call.output is not None:
            self._note_softmax(call.inputs[0], call.output)

    def finish(self, outputs: Tensor) -> None:
        # A softmax with the shape of an output of the model may be that output.
        shapes = [tuple(tensor.shape) for tensor in list_tensors(outputs)]
        for layer, shape in self._shapes.items():
            if shape in shapes:
                self.focus.pop(layer, None)
                self.of_one.discard(layer)

    def _note_softmax(self, inputs: Tensor, outputs: Tensor) -> None:
        # A softmax that no layer applies as its activation.
        self._note_inner_softmax(self._watch.calls, inputs, outputs)

    def _note_inner_softmax(self, calls: Sequence[Call], inputs: Tensor, outputs: Tensor) -> None:
        """Note a softmax that was computed within `calls`, from the model to the innermost."""
        # Outside of all calls, a loss has computed it.
        if self._watch.is_paused or not calls:
            return
        layer = self._watch.graph.origin(inputs)
        is_own = layer is not None
        # The input was computed in the call of a layer from outputs of the layers inside it.
        if layer is None and len(calls) > 1:
            layer = calls[-1].first_inside
        if layer is not None:
            self._add_weights(layer, outputs, is_own=is_own)

    def _note_attention(self, queries: Tensor, keys: Tensor, scale: float | None) -> None:
        # Fast attention makes no weights that could be watched.
        if self._watch.is_paused or not self._watch.calls:
            return
        layer = self._watch.graph.origin(queries) or self._watch.calls[-1].first_inside
        if layer is not None:
            self._add_attention(layer, queries, keys, scale)

    def _request_weights(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the method of an attention layer without kernels, to note its weights.

        They are not noted if the method gets more than its inputs by position.
        """

        @functools.wraps(function)
        def hooked(*args: Any, **kwargs: Any) -> Any:
            is_requested = bool(kwargs.get("return_attention_scores"))
            if self._watch.is_paused or (len(args) > 1 and not is_requested):
                return function(*args, **kwargs)
            both = function(*args, **{**kwargs, "return_attention_scores": True})
            outputs, weights = both
            inputs = self._watch.calls[-1].inputs
            if inputs:
                self._note_inner_softmax(self._watch.calls[:-1], inputs[0], weights)
            return both if is_requested else outputs

        return hooked

    def _add_projection(self, layer: keras.Layer, tensor: Tensor) -> None:
        """Note the attention of `layer` and its partner once both have made their outputs.

        Its weights are computed from the queries and keys, without masks and rotations, because
        fast attention does not make any weights to watch.
        """
        if layer not in self.pairs:
            return
        self._projected[layer] = weakref.ref(tensor)
        query_layer, key_layer = self.pairs[layer]
        if query_layer not in self._projected or key_layer not in self._projected:
            return
        queries = self._projected[query_layer]()
        keys = self._projected[key_layer]()
        if queries is not None and keys is not None:
            self._add_attention(query_layer, queries, keys)

    def _add_attention(
        self, layer: keras.Layer, queries: Tensor, keys: Tensor, scale: float | None = None
    ) -> None:
        """Note the focus of queries, which `layer` has made, on keys.

        Args:
            layer: The layer.
            queries: Tensor of shape `(examples, positions, heads, size)`.
            keys: Tensor with the same axes, with other positions, and with fewer heads if several
                heads of queries share one.
            scale: Factor of the scores, by default one over the root of `size`.
        """
        focus = compute_focus(queries, keys, scale)
        if focus is not None:
            self._add(layer, (), focus)

    def _add_weights(self, layer: keras.Layer, weights: Tensor, *, is_own: bool) -> None:
        """Note the output of a softmax.

        Args:
            layer: The layer whose output is the input of the softmax, or goes into it.
            weights: The output of the softmax.
            is_own: Whether its input is exactly the output of `layer`. If not, a user's code may
                have computed anything from it.
        """
        shape = tuple(weights.shape)
        is_pair = layer in self.pairs
        # Several weights that add up to 1 are not all near 1. Some processors round.
        if is_own and not is_pair and np.allclose(to_array(weights), 1, atol=1e-2):
            self._add(layer, shape, None)
            self.of_one.add(layer)
            return
        if is_pair:
            layer = self.pairs[layer][0]
            is_attention = len(shape) > 2
        else:
            is_attention = len(shape) == 4 or (len(shape) == 3 and shape[1] == shape[2])
        if is_attention:
            self._add(layer, shape, measure_focus(_take_sample(weights)))

    def _add(self, layer: keras.Layer, shape: tuple[int, ...], focus: float | None) -> None:
        self._shapes[layer] = shape
        self.of_one.discard(layer)
        self.focus.pop(layer, None)
        if focus is not None:
            self.focus[layer] = focus


def _take_sample(weights: Tensor) -> Array:
    # The weights of some examples and queries.
    sample = weights[:_EXAMPLES]
    step = max(sample.shape[-2] // _QUERIES, 1)
    return to_array(sample[..., ::step, :])


def compute_focus(queries: Tensor, keys: Tensor, scale: float | None = None) -> float | None:
    """Return the focus of some queries on keys, by softmax(q k^T * scale) without a mask.

    Args:
        queries: Array of shape `(examples, positions, heads, size)`.
        keys: Array with the same axes, with other positions, and with fewer heads if several heads
            of queries share one.
        scale: Factor of the scores, by default one over the root of `size`.

    Returns:
        A number of at most 1, or `None` for other shapes or few keys.
    """
    q = to_array(queries[:_EXAMPLES])
    k = to_array(keys[:_EXAMPLES])
    if q.ndim != 4 or k.ndim != 4:
        return None
    _, q_positions, q_heads, size = q.shape
    _, _, k_heads, _ = k.shape
    if q_heads % k_heads:
        return None
    step = max(q_positions // _QUERIES, 1)
    q = q[:, ::step]
    k = k.repeat(q_heads // k_heads, axis=2)
    if scale is None:
        scale = 1 / math.sqrt(size)
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) * scale
    with np.errstate(invalid="ignore"):
        terms = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return measure_focus(terms / terms.sum(axis=-1, keepdims=True))


def measure_focus(weights: Array) -> float | None:
    """Return the focus of weights, or `None` if keys are few.

    Queries with fewer than `LEAST_KEYS` weights other than 0, because keys are masked, do not
    count.

    Args:
        weights: Array whose last axis has the keys.
    """
    if weights.shape[-1] < LEAST_KEYS:
        return None
    largest = weights.max(axis=-1)
    has_enough = (weights > 0).sum(axis=-1) >= LEAST_KEYS
    if not has_enough.any():
        return None
    return float(largest[has_enough].mean())


@contextlib.contextmanager
def _watch_functions(
    on_softmax: Callable[[Tensor, Tensor], object],
    on_attention: Callable[[Tensor, Tensor, float | None], object],
) -> Iterator[None]:
    """Watch the functions that users' layers compute attention with, in this thread.

    Args:
        on_softmax: Is called with the input and the output of a softmax.
        on_attention: Is called with the queries, the keys and the scale of fast attention.
    """
    thread = threading.get_ident()
    softmax = keras.ops.softmax
    attention = keras.ops.dot_product_attention

    @functools.wraps(softmax)
    def note_softmax(x: Tensor, axis: int = -1) -> Tensor:
        outputs = softmax(x, axis)
        is_last = axis in (-1, len(outputs.shape) - 1)
        if is_last and threading.get_ident() == thread and first_float(outputs) is not None:
            on_softmax(x, outputs)
        return outputs

    @functools.wraps(attention)
    def note_attention(query: Tensor, key: Tensor, *args: Tensor, **options: Tensor) -> Tensor:
        if threading.get_ident() == thread and first_float(query) is not None:
            on_attention(query, key, options.get("scale"))
        return attention(query, key, *args, **options)

    with (
        replace_attribute(keras.ops, "softmax", note_softmax),
        replace_attribute(keras.activations, "softmax", note_softmax),
        replace_attribute(keras.ops, "dot_product_attention", note_attention),
    ):
        yield
