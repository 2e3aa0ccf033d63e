"""Mark weights at the start of a block, or when `add_weight` makes them.

The mark is a NaN that nothing else makes (`inspection/_unwritten_mark.py`), in all values of a
weight. A value that still has the mark at the end was never written.
"""

import contextlib
import functools
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_initx._checks import DTYPES
from keras_initx._typing import DType, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.inspection._former_values import FormerValues
from keras_initx.inspection._hooks import ADDED_WEIGHTS, default_initializer
from keras_initx.inspection._kernels import is_adapter
from keras_initx.inspection._names import list_own_weights
from keras_initx.inspection._unwritten_mark import (
    BITS,
    count_unwritten,
    has_values,
    make_marks,
    mark_unwritten,
)
from keras_initx.inspection._weights import ModelWeight


class _MarkInitializer:
    """Fills a weight with the mark instead of the values of its initializer.

    Attributes:
        initializer: The initializer of the weight.
        marks: The marks of the block.
        for_integers: Whether integers get the mark too.
        is_used: Whether the weight got the mark.
        is_traced: Whether a compiled program makes the weight, which may change bits. Then the
            weight gets no mark.
    """

    def __init__(
        self, initializer: Callable[..., Any], marks: "Marks", *, for_integers: bool
    ) -> None:
        self.initializer = initializer
        self.marks = marks
        self.for_integers = for_integers
        self.is_used = False
        self.is_traced = False

    def __call__(self, shape: Shape, dtype: DType | None = None) -> Tensor:
        name = backend.available_dtype(keras.backend.standardize_dtype(dtype))
        can_be_marked = name in DTYPES or (self.for_integers and name in BITS)
        # Some weights are made after the block.
        if not can_be_marked or not self.marks.are_watched:
            return self.initializer(shape, dtype=dtype)
        if backend.is_tracing():
            self.is_traced = True
            return self.initializer(shape, dtype=dtype)
        self.is_used = True
        if isinstance(self.initializer, _MarkInitializer):  # of a block within this one
            return self.initializer(shape, dtype=dtype)
        return backend.to_tensor(make_marks(np.empty(shape, name)))


@dataclass(eq=False)
class MarkedWeight:
    """A weight that got the mark.

    Attributes:
        variable: Its variable.
        former: Its former values, or `None` if the block made the weight.
        initializer: The initializer that `add_weight` got for it, if the block made the weight.
        is_added_later: Whether a built layer added it, as `quantize` adds integers and scales.
    """

    variable: Any
    former: Tensor | None = None
    initializer: _MarkInitializer | None = None
    is_added_later: bool = False

    @property
    def is_known(self) -> bool:
        """Whether the weight got the mark. If not, nobody can tell whether it was written."""
        return self.initializer is None or self.initializer.is_used

    def start(self) -> Tensor:
        """Make the values that the weight would have without the block."""
        if self.initializer is None:
            return self.former
        shape = tuple(self.variable.shape)
        return self.initializer.initializer(shape, dtype=self.variable.dtype)


class Marks:
    """The weights that got the mark since a block of `loading` began.

    They are kept by layers, and layers are not kept alive. If a layer gives up a weight, the weight
    is kept until the layer gets another.

    Attributes:
        are_watched: Whether the block is still running.
        count: How many weights have got the mark.
    """

    def __init__(self) -> None:
        self._by_layer: weakref.WeakKeyDictionary[keras.Layer, dict[Any, MarkedWeight]] = (
            weakref.WeakKeyDictionary()
        )
        self.are_watched = False
        self.count = 0

    def put(self, weights: Iterable[ModelWeight], former: FormerValues) -> None:
        """Mark the weights of a model. `former` has their values."""
        for weight in weights:
            marked = MarkedWeight(weight.variable, former.value_of(weight.variable))
            self._by_layer.setdefault(weight.layer, {})[variable_key(weight.variable)] = marked
            mark_unwritten(weight.variable)
            self.count += 1

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Mark each weight that `add_weight` makes in this thread, until the block ends."""
        self.are_watched = True
        try:
            with ADDED_WEIGHTS.wrap(self._add):
                yield
        finally:
            self.are_watched = False

    def list_all(self) -> list[MarkedWeight]:
        """List the weights with a mark, of all layers that still exist."""
        weights: list[MarkedWeight] = []
        for own in list(self._by_layer.values()):
            weights += own.values()
        return weights

    def list_current(self) -> list[MarkedWeight]:
        """List the weights with a mark that their layers still have."""
        weights: list[MarkedWeight] = []
        for layer, own in list(self._by_layer.items()):
            kept = {variable_key(variable) for variable in list_own_weights(layer)}
            weights += [marked for key, marked in own.items() if key in kept]
        return weights

    def find(self, weight: ModelWeight) -> MarkedWeight | None:
        """Find the mark of a weight, or `None` if the weight never got one."""
        return self._by_variable.get(variable_key(weight.variable))

    def find_now(self, key: Any) -> MarkedWeight | None:
        """Find the mark of a variable by its key while the block runs."""
        for own in list(self._by_layer.values()):
            if key in own:
                return own[key]
        return None

    @functools.cached_property
    def _by_variable(self) -> dict[Any, MarkedWeight]:
        return {variable_key(marked.variable): marked for marked in self.list_all()}

    def remove(self) -> None:
        """Give each weight that still has a mark the values that it would have without the block.

        An error of one initializer does not keep other weights from their values.
        """
        with contextlib.ExitStack() as calls:
            for marked in reversed(self.list_all()):  # the last is called first
                calls.callback(_start_if_unwritten, marked)

    def _add(
        self,
        add: Callable[..., keras.Variable],
        layer: keras.Layer,
        shape: Any = None,
        initializer: Any = None,
        *args: Any,
        **options: Any,
    ) -> keras.Variable:
        """Make a weight as `add_weight` does, with the mark."""
        own = self._by_layer.setdefault(layer, {})
        kept = {id(variable) for variable in list_own_weights(layer)}
        for key in list(own):
            if isinstance(key, int) and key not in kept:  # given up, as by `quantize`
                del own[key]
        if initializer is None:
            dtype = args[0] if args else options.get("dtype")
            initializer = default_initializer(dtype or layer.variable_dtype)
        mark = _MarkInitializer(
            keras.initializers.get(initializer),
            self,
            for_integers=layer.quantization_mode is not None,
        )
        variable = add(layer, shape, mark, *args, **options)
        if mark.is_traced and has_values(variable):
            mark_unwritten(variable)
            mark.is_used = True
        is_added_later = layer.built and not is_adapter(variable.name)
        marked = MarkedWeight(variable, initializer=mark, is_added_later=is_added_later)
        own[id(variable)] = marked
        self.count += 1
        return variable


def _start_if_unwritten(marked: MarkedWeight) -> None:
    if count_unwritten(marked.variable.value).unwritten:
        marked.variable.assign(marked.start())


def variable_key(variable: Any) -> Any:
    """Return the key of a variable in dicts."""
    # A buffer of torch is another object each time.
    return id(variable) if isinstance(variable, keras.Variable) else variable
