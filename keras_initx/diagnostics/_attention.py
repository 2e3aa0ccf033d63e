"""How a softmax inside a model shares its weight: among the keys of attention, among experts."""

import contextlib
import functools
import math
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import keras
import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.structure import array_of, first_float, parts_of, replaced

# The layers that make the queries and the keys of one attention layer.
_QueriesAndKeys: TypeAlias = tuple[keras.layers.Layer, keras.layers.Layer]

# The most examples, and about the most queries of each, that are looked at: they show the size of
# the scores, and all scores may take more memory than any output.
_EXAMPLES = 4
_QUERIES = 16
# Of fewer keys one has most of the weight by chance.
_KEYS = 4


@dataclass(eq=False)
class SoftmaxRecord:
    """What a softmax inside a model gives in its last call.

    Attributes:
        shape: Shape of its output.
        focus: See `LayerReport`.
        router_share: See `LayerReport`.
    """

    shape: tuple[int, ...]
    focus: float | None = None
    router_share: float | None = None


class Softmaxes:
    """The records of the softmaxes inside a model, by the layers that make their inputs.

    Args:
        layers: All layers of the model.

    Attributes:
        records: Dict from a layer to the `SoftmaxRecord` of what it makes: queries, or the values
            that a router compares.
    """

    def __init__(self, layers: Iterable[keras.layers.Layer]) -> None:
        self.records: dict[keras.layers.Layer, SoftmaxRecord] = {}
        # The queries and keys of attention, by the layers that make them, which Keras and KerasHub
        # name so.
        self._pairs: dict[keras.layers.Layer, _QueriesAndKeys] = {}
        for layer in layers:
            parts = {part.name: part for part in parts_of(layer, recursive=False)}
            if "query" in parts and "key" in parts:
                pair = (parts["query"], parts["key"])
                for part in pair:
                    self._pairs[part] = pair
        # By layer, the queries or keys that it has made last.
        self._projected: dict[keras.layers.Layer, weakref.ref[Tensor]] = {}

    def add_projection(self, layer: keras.layers.Layer, tensor: Tensor) -> None:
        """Record the attention of `layer` and its partner once both have made their outputs.

        Its weights are computed from the queries and keys, without masks and rotations: fast
        attention makes none that could be seen.
        """
        if layer not in self._pairs:
            return
        self._projected[layer] = weakref.ref(tensor)
        query_layer, key_layer = self._pairs[layer]
        if query_layer not in self._projected or key_layer not in self._projected:
            return
        queries = self._projected[query_layer]()
        keys = self._projected[key_layer]()
        if queries is not None and keys is not None:
            self.add_attention(query_layer, queries, keys)

    def add_attention(
        self, layer: keras.layers.Layer, queries: Tensor, keys: Tensor, scale: float | None = None
    ) -> None:
        """Record the attention of queries, which `layer` has made, to keys.

        Args:
            layer: The layer.
            queries: Tensor of shape `(examples, positions, heads, size)`.
            keys: The same with other positions, and with fewer heads if several share one.
            scale: By which the scores are multiplied, by default one over the root of `size`.
        """
        found = focus(queries, keys, scale)
        if found is not None:
            self.records[layer] = SoftmaxRecord((), found)

    def add_weights(self, layer: keras.layers.Layer, weights: Tensor, *, is_router: bool) -> None:
        """Record the output of a softmax.

        Args:
            layer: The layer that has made its input, or what the input was computed from.
            weights: The output.
            is_router: Whether it is the output of `layer` that is compared. Otherwise it may be
                anything that the code of a user computes.
        """
        shape = tuple(weights.shape)
        if layer in self._pairs:
            layer = self._pairs[layer][0]
            is_attention = len(shape) > 2
        else:
            is_attention = len(shape) == 4 or (len(shape) == 3 and shape[1] == shape[2])
        if is_attention:
            self.records[layer] = SoftmaxRecord(shape, focus_of(_some_of(weights)))
        elif is_router and len(shape) > 1:
            values = array_of(weights).reshape(-1, shape[-1])
            share = float(values.mean(axis=0, dtype="float64").max(initial=0))
            self.records[layer] = SoftmaxRecord(shape, router_share=share)

    def forget(self, shape: tuple[int, ...]) -> None:
        """Forget what has the shape of an output of the model: it may be that output."""
        for layer, record in list(self.records.items()):
            if record.shape == shape:
                del self.records[layer]


def _some_of(weights: Tensor) -> Array:
    """Return the weights of some examples and queries."""
    some = weights[:_EXAMPLES]
    step = max(some.shape[-2] // _QUERIES, 1)
    return array_of(some[..., ::step, :])


def focus(queries: Tensor, keys: Tensor, scale: float | None = None) -> float | None:
    """Return the focus of some queries on keys, without a mask.

    Args:
        queries: See `Softmaxes.add_attention`.
        keys: See there.
        scale: See there.

    Returns:
        A number of at most 1, or `None` for other shapes or few keys.
    """
    q = array_of(queries[:_EXAMPLES])
    k = array_of(keys[:_EXAMPLES])
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
        return focus_of(terms / terms.sum(axis=-1, keepdims=True))


def focus_of(weights: Array) -> float | None:
    """Return the largest weight of a query as a mean over queries, or `None` if keys are few.

    Queries whose weights are nearly all 0, because the keys are masked, are left out.

    Args:
        weights: Array whose last axis is that of keys.
    """
    if weights.shape[-1] < _KEYS:
        return None
    largest = weights.max(axis=-1)
    counts = (weights > 0).sum(axis=-1) >= _KEYS
    if not counts.any():
        return None
    return float(largest[counts].mean())


@contextlib.contextmanager
def watched(
    on_softmax: Callable[[Tensor, Tensor], object],
    on_attention: Callable[[Tensor, Tensor, float | None], object],
) -> Iterator[None]:
    """Watch the functions by which layers of users compute attention, in this thread.

    Args:
        on_softmax: Is called with the input and the output of a softmax.
        on_attention: Is called with the queries, the keys and the scale of fast attention.
    """
    thread = threading.get_ident()
    softmax = keras.ops.softmax
    attention = keras.ops.dot_product_attention

    @functools.wraps(softmax)
    def watched_softmax(x: Tensor, axis: int = -1) -> Tensor:
        outputs = softmax(x, axis)
        is_last = axis in (-1, len(outputs.shape) - 1)
        if is_last and threading.get_ident() == thread and first_float(outputs) is not None:
            on_softmax(x, outputs)
        return outputs

    @functools.wraps(attention)
    def watched_attention(query: Tensor, key: Tensor, *args: Tensor, **options: Tensor) -> Tensor:
        if threading.get_ident() == thread and first_float(query) is not None:
            on_attention(query, key, options.get("scale"))
        return attention(query, key, *args, **options)

    with (
        replaced(keras.ops, "softmax", watched_softmax),
        replaced(keras.activations, "softmax", watched_softmax),
        replaced(keras.ops, "dot_product_attention", watched_attention),
    ):
        yield
