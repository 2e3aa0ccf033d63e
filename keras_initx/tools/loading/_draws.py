"""Find weights that were loaded and then drawn again in the block, because the last write counts.

A draw is a write of values that come from an initializer:

    weight.assign(initializer(shape))        the tensor that the initializer returned
    initialize(model), lsuv(model, x)        values that they pass to `remember_drawn`
    nn.init.xavier_uniform_(parameter)       a tensor of torch that is drawn or filled in place
    parameter.data.normal_(0, 0.02)

All other writes load. Some of these cannot be seen, for example through a NumPy view. So each draw
leaves a digest of its values, and a weight with other values at the end was written after the draw.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_initx._keras import is_in_scope
from keras_initx._typing import Tensor
from keras_initx.backends._backend import ChangeInPlace
from keras_initx.backends._current import backend
from keras_initx.inspection._drawn_values import record_drawn_values
from keras_initx.inspection._hooks import ASSIGNED_VARIABLES
from keras_initx.inspection._unwritten_mark import is_any_written
from keras_initx.tools.initialize._digest import array_digest
from keras_initx.tools.loading._marks import MarkedWeight, Marks, variable_key


class _Draw:
    """The last draw of a weight in the block.

    Attributes:
        drawn_by: The name of the initializer or function.
        was_loaded: Whether the weight was loaded before this draw, or before the draws before it.
    """

    def __init__(self, drawn_by: str, value: Tensor, *, was_loaded: bool) -> None:
        self.drawn_by = drawn_by
        self.was_loaded = was_loaded
        self._digests = _compute_digests(value)

    def gave(self, value: Tensor) -> bool:
        """Return whether a weight still has the values of this draw."""
        return _compute_digests(value) == self._digests


def _compute_digests(value: Tensor) -> list[str]:
    return [array_digest(part) for _, part in backend.parts(value)]


class Draws:
    """The draws of the weights with a mark, while a block of `loading` runs.

    Args:
        marks: The marks of the block.
    """

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._draws: dict[MarkedWeight, _Draw] = {}
        self._by_memory: dict[int, list[MarkedWeight]] = {}
        self._count = 0

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the writes of this thread, for the duration of the block."""
        with record_drawn_values() as drawn:

            def assign(
                call: Callable[..., Any], variable: keras.Variable, value: Any, *args: Any
            ) -> Any:
                def write() -> Any:
                    return call(variable, value, *args)

                # The values in a scope or a program are not those of the variable.
                if is_in_scope() or backend.is_tracing():
                    return write()
                marked = self._marks.find_now(variable_key(variable))
                if marked is None:
                    return write()
                drawn_by = drawn.find(value)
                # Two wrappers of one module of torch have a variable each for one memory.
                others = self._list_by_memory(variable.value) if backend.has_views else []
                for weight in dict.fromkeys([marked, *others]):
                    write = self._watched(weight, write, drawn_by or "", is_load=not drawn_by)
                return write()

            with ASSIGNED_VARIABLES.wrap(assign), backend.changes_in_place(self._change):
                yield

    def find_last(self, marked: MarkedWeight) -> str | None:
        """Find what drew a weight that had been loaded; `None` if that was not the end."""
        draw = self._draws.get(marked)
        if draw is None or not draw.was_loaded or not draw.gave(marked.variable.value):
            return None
        return draw.drawn_by

    def _watched(
        self, marked: MarkedWeight, write: Callable[[], Any], drawn_by: str, *, is_load: bool
    ) -> Callable[[], Any]:
        """Make a function that writes all values of a weight, and keeps what the write was."""
        if drawn_by:
            return lambda: self._draw(marked, write, drawn_by)
        if is_load:
            return lambda: self._load(marked, write)
        return lambda: self._adjust(marked, write)

    def _draw(self, marked: MarkedWeight, write: Callable[[], Any], drawn_by: str) -> Any:
        variable = marked.variable
        former = self._draws.get(marked)
        if former is not None and former.gave(variable.value):
            was_loaded = former.was_loaded
        else:
            was_loaded = is_any_written(variable.value)
        result = write()
        self._draws[marked] = _Draw(drawn_by, variable.value, was_loaded=was_loaded)
        return result

    def _load(self, marked: MarkedWeight, write: Callable[[], Any]) -> Any:
        result = write()
        self._draws.pop(marked, None)
        return result

    def _adjust(self, marked: MarkedWeight, write: Callable[[], Any]) -> Any:
        """Change values in place: `trunc_normal_` multiplies and clips what it has drawn."""
        former = self._draws.get(marked)
        if former is None or not former.gave(marked.variable.value):
            return write()
        return self._draw(marked, write, former.drawn_by)

    def _change(self, change: ChangeInPlace, write: Callable[[], Any]) -> Any:
        """Change a tensor of torch, which may be a weight or a part of one."""
        for marked in self._list_by_memory(change.tensor):
            if tuple(change.tensor.shape) == tuple(marked.variable.shape):
                write = self._watched(marked, write, change.drawn_by, is_load=change.is_load)
            elif not change.is_load:
                write = self._watched(marked, write, "", is_load=False)
            # If a part is loaded after a draw, the digest tells that the values are not as drawn.
        return write()

    def _list_by_memory(self, tensor: Tensor) -> list[MarkedWeight]:
        """List the weights of which a tensor of torch is a view, or a view of a part."""
        if self._marks.count != self._count:
            self._count = self._marks.count
            self._by_memory = {}
            for marked in self._marks.list_all():
                address = backend.memory_address(marked.variable.value)
                self._by_memory.setdefault(address, []).append(marked)
        candidates = self._by_memory.get(backend.memory_address(tensor), ())
        return [
            marked for marked in candidates if backend.is_part_of(tensor, marked.variable.value)
        ]
