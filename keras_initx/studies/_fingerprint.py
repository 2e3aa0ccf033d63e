"""Describe what a run was given by its contents, so that a folder is not resumed with others."""

import dis
import hashlib
import json
import types
from typing import Any

import keras
import numpy as np

from keras_initx._seeds import takes_seed
from keras_initx._typing import Array
from keras_initx.backends import backend
from keras_initx.studies._data import data_digest

# Characters of JSON that settings and messages show. Of a longer description the digest is.
_SHOWN = 1000
# Pickle would save them to an archive, which differs each time.
_SAVED_BY_KERAS = (keras.Operation, keras.Optimizer, keras.Metric)


def fingerprint(value: Any, unknown: list[str]) -> Any:
    """Return a JSON-serializable description of `value`, which differs from that of another value.

    It is the same in another process. A function is described by its name, its code, its defaults
    and the variables around it that it uses, but not by the other functions that it calls. Of the
    variables of its module, the numbers, strings, and lists, tuples and dicts of them count. Other
    objects are described by what pickle would keep of them, and by their `__call__`.

    Args:
        value: Anything.
        unknown: A list, to which the classes are added of which an object cannot be described.
    """
    try:
        return _Description(unknown).of(value)
    except RecursionError:  # of a long chain of objects
        return _unknown(value, unknown)


def name_of(value: Any) -> str:
    """Return the name of a function or a class with its module, or that of an object's class."""
    is_named = callable(value) and hasattr(value, "__qualname__")
    named = value if is_named else type(value)
    return f"{named.__module__}.{named.__qualname__}"


class _Description:
    """The description of a value and all values within it.

    Args:
        unknown: See `fingerprint`.
    """

    def __init__(self, unknown: list[str]) -> None:
        self._unknown = unknown
        # Objects that were seen before and their descriptions, by their ids.
        self._known: dict[int, tuple[Any, Any]] = {}

    def of(self, value: Any) -> Any:
        """Return the description of `value`."""
        if value is None or isinstance(value, str | bool | int | float):
            return value
        if id(value) not in self._known:
            self._known[id(value)] = value, "itself"  # if it contains itself
            described = self._contents(value)
            text = json.dumps(described)
            if len(text) > _SHOWN:
                described = _digest(text.encode())
            self._known[id(value)] = value, described
        return self._known[id(value)][1]

    def _contents(self, value: Any) -> Any:
        if isinstance(value, bytes):
            return _digest(value)
        if isinstance(value, type):
            return name_of(value)
        if isinstance(value, types.ModuleType):
            return value.__name__
        if isinstance(value, keras.Variable) or keras.ops.is_tensor(value):
            return self._array(backend.host_view(value))
        if type(value) is np.ndarray or isinstance(value, np.generic):
            return self._array(np.asarray(value))
        if type(value) is dict:
            if all(isinstance(key, str) for key in value):
                return {key: self.of(item) for key, item in value.items()}
            return [[self.of(key), self.of(item)] for key, item in value.items()]
        if type(value) in (list, tuple):
            return [self.of(item) for item in value]
        if isinstance(value, set | frozenset):
            return sorted(json.dumps(self.of(item)) for item in value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return [self.of(value.__func__), self.of(value.__self__)]
        if isinstance(value, types.CodeType):
            return [_digest(value.co_code), self.of(value.co_names), self.of(value.co_consts)]
        # In no method of its own: with more calls for each object, shorter chains would be unknown.
        try:
            name, *parts = _taken_apart(value)
        except Exception:  # An object may raise anything.
            return _unknown(value, self._unknown)
        if callable(value) and isinstance(type(value).__call__, types.FunctionType):
            parts.append(type(value).__call__)
        return [name, *(self.of(part) for part in parts)]

    def _array(self, array: Array) -> Any:
        kind = ["array", str(array.dtype), list(array.shape)]
        if array.dtype.hasobject:
            return [*kind, self.of(array.tolist())]
        return [*kind, data_digest(array)]

    def _function(self, function: types.FunctionType) -> Any:
        code = function.__code__
        variables = _constants(function)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                variables[name] = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
        described_code = json.dumps(self.of(code))
        defaults = function.__defaults__, function.__kwdefaults__
        return [
            name_of(function),
            _digest(described_code.encode()),
            self.of(defaults),
            self.of(variables),
        ]


def _constants(function: types.FunctionType) -> dict[str, Any]:
    """Return the variables of its module that a function only reads, by name.

    These are numbers, strings, and structures of them. Of the others, functions and classes are
    what it calls, and objects may change as it runs.
    """
    read = set()
    written = set()
    codes = [function.__code__]
    for code in codes:
        codes.extend(item for item in code.co_consts if isinstance(item, types.CodeType))
        for instruction in dis.get_instructions(code):
            if instruction.opname == "LOAD_GLOBAL":
                read.add(instruction.argval)
            elif instruction.opname == "STORE_GLOBAL":
                written.add(instruction.argval)
    variables = function.__globals__
    constants = {}
    for name in sorted(read - written):
        if name in variables and _is_plain(variables[name]):
            constants[name] = variables[name]
    return constants


def _is_plain(value: Any) -> bool:
    """Return whether `value` is a number, a string, or a structure of them that is not empty."""
    leaves = keras.tree.flatten(value)
    if not leaves:  # It is often there to be filled.
        return False
    return all(isinstance(leaf, str | bool | int | float | None) for leaf in leaves)


def _taken_apart(value: Any) -> list[Any]:
    """Return the name of the class of an object, and what it consists of."""
    if isinstance(value, keras.initializers.Initializer) and takes_seed(value.get_config()):
        return [name_of(value), value.get_config()]  # from which each trial makes a new one
    if isinstance(value, keras.initializers.Initializer | keras.Loss):
        return [name_of(value), vars(value)]  # Their configs may be incomplete.
    if isinstance(value, _SAVED_BY_KERAS):
        variables = getattr(value, "variables", [])  # an operation that is no layer has none
        return [name_of(value), _nameless(value.get_config()), list(variables)]
    reduced = value.__reduce_ex__(4)
    if isinstance(reduced, str):
        return [name_of(value), reduced]
    make, *parts = reduced
    described: list[Any] = [name_of(make)]
    for part in parts:
        # The items of lists and dicts come one by one.
        described.append(list(part) if hasattr(part, "__next__") else part)
    return described


def _nameless(config: Any) -> Any:
    """Return a config without names, which may be numbered in the process."""
    if isinstance(config, dict):
        return {key: _nameless(item) for key, item in config.items() if key != "name"}
    if isinstance(config, list | tuple):
        return [_nameless(item) for item in config]
    return config


def _unknown(value: Any, unknown: list[str]) -> Any:
    unknown.append(name_of(value))
    return ["unknown", name_of(value)]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
