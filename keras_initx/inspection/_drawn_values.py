"""Remember which tensors initializers have made, for blocks that watch how weights are written.

The call of every class of initializers is replaced for one thread. A tensor is known by identity,
so that values that code has computed from it are not: `weight.assign(0.5 * initializer(shape))`.
"""

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras

from keras_initx._typing import Tensor
from keras_initx.initializers._pretrained import Pretrained
from keras_initx.initializers._seeds import initializers_within
from keras_initx.inspection._hooks import PatchedMethod


class DrawnValues:
    """The tensors that initializers have made in a block. They are not kept alive."""

    def __init__(self) -> None:
        self._entries: dict[int, tuple[weakref.ref[Any], str]] = {}

    def add(self, value: Tensor, drawn_by: str) -> None:
        """Remember a tensor, and the name of what has drawn it."""
        key = id(value)
        with contextlib.suppress(TypeError):  # of an object without weak references
            reference = weakref.ref(value, lambda _: self._entries.pop(key, None))
            self._entries[key] = reference, drawn_by

    def find(self, value: Any) -> str | None:
        """Return the name of what has drawn a tensor, or `None` if no initializer has made it."""
        reference, drawn_by = self._entries.get(id(value), (None, None))
        return drawn_by if reference is not None and reference() is value else None


# For each thread, the values of its blocks.
_RECORDED_BY_THREAD: dict[int, list[DrawnValues]] = {}
# For each class of initializers that has a call of its own.
_CALLS: weakref.WeakKeyDictionary[type, PatchedMethod] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def record_drawn_values() -> Iterator[DrawnValues]:
    """Record the values that initializers make in this thread, for the duration of the block."""
    drawn = DrawnValues()
    recorded = _RECORDED_BY_THREAD.setdefault(threading.get_ident(), [])

    def call(make: Callable[..., Any], initializer: Any, *args: Any, **options: Any) -> Any:
        value = make(initializer, *args, **options)
        if not _reads_file(initializer):
            drawn.add(value, type(initializer).__name__)
        return value

    recorded.append(drawn)
    try:
        with contextlib.ExitStack() as patches:
            for cls in _list_initializer_classes():
                method = _CALLS.setdefault(cls, PatchedMethod(cls, "__call__"))
                patches.enter_context(method.wrap(call))
            yield drawn
    finally:
        recorded.remove(drawn)
        if not recorded:
            _RECORDED_BY_THREAD.pop(threading.get_ident(), None)


def remember_drawn(value: Tensor, initializer: Any, drawn_by: str) -> None:
    """Tell the blocks of this thread that a value was drawn, although no initializer returned it.

    Args:
        value: The value, such as a tensor that was distributed over devices.
        initializer: The initializer that has made it.
        drawn_by: The name of the function that draws.
    """
    for drawn in _RECORDED_BY_THREAD.get(threading.get_ident(), ()):
        if not _reads_file(initializer):
            drawn.add(value, drawn_by)


def _reads_file(initializer: Any) -> bool:
    if not isinstance(initializer, keras.initializers.Initializer):
        return False
    return any(isinstance(part, Pretrained) for part in initializers_within(initializer))


def _list_initializer_classes() -> list[type]:
    """List the classes of initializers that exist, of Keras, this package and the user."""
    classes: dict[type, None] = {}
    waiting: list[type] = [keras.initializers.Initializer]
    while waiting:
        cls = waiting.pop()
        if cls not in classes:
            classes[cls] = None
            waiting += cls.__subclasses__()
    return [cls for cls in classes if "__call__" in vars(cls)]
