"""Put back plain attributes of layers, which calls may set: state that Keras does not track.

For example, the `call` of a layer may set `self.ready = True`, append to a list, write into an
array or draw from a generator. A layer may keep these in an object of its own.
"""

import collections
import contextlib
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np

from keras_initx._keras import list_modules

_CONTAINERS: tuple[Any, ...] = (list, collections.deque, dict, set)
# What Keras keeps in any layer or model has contexts of its own.
_KERAS_ATTRIBUTES = vars(keras.Layer()).keys() | vars(keras.Model()).keys()
# The objects of these packages keep no plain attributes that are state of a layer.
_STATELESS_PACKAGES = {
    "jax",
    "jaxlib",
    "keras",
    "ml_dtypes",
    "numpy",
    "tensorflow",
    *sys.stdlib_module_names,
}


class KeptAttributes:
    """The plain attributes of some objects, with their present contents.

    Args:
        owners: Layers, or other objects.
    """

    def __init__(self, owners: Iterable[Any]) -> None:
        # By the id, with the object, whose id would otherwise be that of another one.
        self._put_back: dict[int, tuple[Any, Callable[[], None]]] = {}
        self.keep(owners)

    def keep(self, owners: Iterable[Any]) -> None:
        """Keep the attributes of some objects, instead of the objects that were kept before."""
        visited: set[int] = set()
        for owner in owners:
            if hasattr(owner, "__dict__"):
                self._keep_object(owner, visited)

    def put_back(self) -> None:
        """Restore the attributes of the objects."""
        for _, put_back in self._put_back.values():
            put_back()

    def _keep_object(self, owner: Any, visited: set[int]) -> None:
        kept = _own_attributes(owner)

        def put_back() -> None:
            attributes = vars(owner)
            for name, value in _own_attributes(owner).items():
                if _holds_state(value) and not _holds_state(kept.get(name)):
                    continue
                if name not in kept:
                    del attributes[name]
                elif kept[name] is not value:
                    attributes[name] = kept[name]
            for name in kept.keys() - attributes.keys():
                attributes[name] = kept[name]

        visited.add(id(owner))
        self._put_back[id(owner)] = owner, put_back
        for value in kept.values():
            self._keep_value(value, visited)
        for module in list_modules(owner).values():
            self._keep_value(module, visited)

    def _keep_value(self, value: Any, visited: set[int]) -> None:
        """Keep the contents of a value that can change."""
        if id(value) in visited:
            return
        inside: Iterable[Any] = value if isinstance(value, tuple) else ()
        put_back = _make_restorer(value)
        if put_back is not None:
            visited.add(id(value))
            self._put_back[id(value)] = value, put_back
            if isinstance(value, dict):
                inside = list(value.values())
            elif isinstance(value, list | collections.deque):
                inside = list(value)
        elif _is_plain(value):
            self._keep_object(value, visited)
        for item in inside:
            self._keep_value(item, visited)


def _holds_state(value: Any) -> bool:
    """Return whether a value is or holds an object that Keras tracks, such as a layer."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return any(map(_holds_state, value))
    return isinstance(value, keras.Layer | keras.Variable)


def _own_attributes(owner: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(owner).items() if name not in _KERAS_ATTRIBUTES}


def _is_plain(value: Any) -> bool:
    """Return whether this is an object of a user, or a module of torch, with attributes."""
    if not hasattr(value, "__dict__") or isinstance(value, type | keras.Layer | keras.Variable):
        return False
    if type(value).__module__.partition(".")[0] in _STATELESS_PACKAGES:
        return False
    return not keras.ops.is_tensor(value)


def _make_restorer(value: Any) -> Callable[[], None] | None:
    """Make a function that restores the present contents of a container, an array or a generator.

    It is `None` for other values.
    """
    if isinstance(value, np.ndarray):
        return _make_array_restorer(value) if value.flags.writeable else None
    if isinstance(value, np.random.Generator):
        bits, bits_state = value.bit_generator, value.bit_generator.state
        return lambda: setattr(bits, "state", bits_state)
    if isinstance(value, np.random.RandomState):
        numpy_state = value.get_state(legacy=False)
        return lambda: value.set_state(numpy_state)
    if isinstance(value, random.Random):
        python_state = value.getstate()
        return lambda: value.setstate(python_state)
    if isinstance(value, _CONTAINERS):
        return _make_container_restorer(value)
    return None


def _make_array_restorer(array: Any) -> Callable[[], None]:
    kept = array.copy()

    def put_back() -> None:
        array[...] = kept

    return put_back


def _make_container_restorer(value: Any) -> Callable[[], None]:
    kept = list(value.items() if isinstance(value, dict) else value)

    def put_back() -> None:
        now = list(value.items() if isinstance(value, dict) else value)
        if len(now) == len(kept) and all(map(_is_same, now, kept)):
            return
        if _holds_state(now) and not _holds_state(kept):
            return
        # Not by the methods of Keras' classes, which would wrap what is inside anew.
        (kind,) = (cls for cls in _CONTAINERS if isinstance(value, cls))
        kind.clear(value)
        if kind in (list, collections.deque):
            kind.extend(value, kept)
        else:
            kind.update(value, dict(kept) if kind is dict else kept)

    return put_back


def _is_same(value: Any, other: Any) -> bool:
    """Return whether this is the same object, or the same pair of a key and a value."""
    if isinstance(value, tuple) and isinstance(other, tuple) and len(value) == len(other):
        return all(map(_is_same, value, other))
    return value is other


@contextlib.contextmanager
def preserve_attributes(owners: Iterable[Any]) -> Iterator[KeptAttributes]:
    """Put back the plain attributes of layers, or of other objects, at the end of the block."""
    kept = KeptAttributes(owners)
    try:
        yield kept
    finally:
        kept.put_back()
