"""What tells the `build` of a study, and what it gets, from others: as JSON, and compared.

Two descriptions are compared part by part, with three answers: the same, another, or not known. A
function is told by its code and by what that reads, an object by its config, its attributes and its
class. What is of an installed package is told by its name, and by the version of the package.
"""

import argparse
import builtins
import contextlib
import dis
import functools
import hashlib
import importlib.util
import inspect
import io
import json
import re
import sys
import textwrap
import tokenize
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initx.backends._current import backend
from keras_initx.initializers._seeds import initializer_of
from keras_initx.studies._data import data_digest

# A part that cannot be compared is a dict with this key and the reason.
_UNKNOWN = "not compared"
# The last part of a list may be a dict with this key: what the first version did not keep.
_MORE = "more"
_SHOWN = 60  # characters of a value in a message
_BYTECODE = importlib.util.MAGIC_NUMBER.hex()  # which versions of Python share
_ADDRESS = " at 0x"


def described(value: Any) -> Any:
    """Return JSON that differs from that of another value, as far as it can be told."""
    try:
        return _described(value, {})
    except RecursionError:
        return _unknown("it is nested too deeply")


def described_arm(arm: Any) -> Any:
    """Return the description of what `build` gets, with what the names of initializers mean."""
    if isinstance(arm, list | tuple):
        return [described_arm(item) for item in arm]
    if isinstance(arm, dict) and "class_name" not in arm:
        return {_text_of_key(key): described_arm(item) for key, item in arm.items()}
    if isinstance(arm, str | dict):
        # The name of something else, such as one of several functions.
        with contextlib.suppress(ValueError), backend.generators_preserved():
            made = initializer_of(arm)
            if not _is_of_package(type(made)):
                return [described(arm), {_MORE: {"made": described(made)}}]
    return described(arm)


def _unknown(reason: str) -> dict[str, str]:
    return {_UNKNOWN: reason}


def _is_unknown(part: Any) -> bool:
    return isinstance(part, dict) and part.keys() == {_UNKNOWN}


def _described(value: Any, seen: dict[int, Any]) -> Any:
    """Return the description of a value.

    Args:
        value: Any value.
        seen: The functions, classes and objects that are described elsewhere, by their ids.
    """
    of_part = functools.partial(_described, seen=seen)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.ndarray | np.generic) or keras.ops.is_tensor(value):
        return _described_array(np.asarray(backend.host_view(value)), of_part)
    if isinstance(value, dict):
        return {_text_of_key(key): of_part(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [of_part(item) for item in value]
    if isinstance(value, set | frozenset):
        texts = sorted(map(str, value))
        if any(_ADDRESS in text for text in texts):
            return _unknown("the text of an item has an address")
        return texts
    if isinstance(value, functools.partial):
        return [of_part(part) for part in (value.func, value.args, value.keywords)]
    if inspect.ismethod(value):
        return [of_part(value.__func__), of_part(value.__self__)]
    if inspect.isbuiltin(value):
        return value.__name__
    if inspect.ismodule(value):
        return _described_module(value)
    if isinstance(value, keras.random.SeedGenerator):
        return _unknown("a random generator, which advances")
    if id(value) in seen:
        return getattr(value, "__qualname__", type(value).__qualname__)
    seen[id(value)] = value  # alive, or another would get its id
    if isinstance(value, type):
        return _described_class(value, of_part)
    if inspect.isfunction(value):
        return _described_function(value, of_part)
    return _described_object(value, of_part)


def _text_of_key(key: Any) -> str:
    text = str(key)
    return type(key).__qualname__ if _ADDRESS in text else text


def _described_array(array: Any, of_part: Callable[[Any], Any]) -> Any:
    if array.dtype.hasobject:
        return of_part(array.tolist())
    return [str(array.dtype), list(array.shape), data_digest(array)]


def _described_module(module: types.ModuleType) -> Any:
    if not _is_installed(module.__name__):
        return [module.__name__, {_MORE: _unknown("a module that is passed on")}]
    version = getattr(module, "__version__", None)
    if isinstance(version, str):
        return [module.__name__, {_MORE: {"version": version}}]
    return module.__name__


# What Python adds to the attributes of a class, and what they say in another form.
_OF_EVERY_CLASS = (
    *("__module__", "__dict__", "__weakref__", "__doc__", "__annotations__", "__qualname__"),
    *("__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl"),
    *("__annotate__", "__annotate_func__", "__annotations_cache__", "__parameters__"),
    *("__dataclass_fields__", "__dataclass_params__", "__orig_bases__"),
)


def _described_class(cls: type, of_part: Callable[[Any], Any]) -> Any:
    if _is_of_package(cls):
        return [cls.__name__, {_MORE: {"module": cls.__module__}}]
    attributes = {}
    for name, value in vars(cls).items():
        if name in _OF_EVERY_CLASS or (inspect.isdatadescriptor(value) and _is_slot(value)):
            continue
        if isinstance(value, staticmethod | classmethod):
            attributes[name] = of_part(value.__func__)
        elif isinstance(value, property):
            attributes[name] = [of_part(part) for part in (value.fget, value.fset, value.fdel)]
        else:
            attributes[name] = of_part(value)
    bases = [of_part(base) for base in cls.__bases__]
    return [cls.__name__, {_MORE: {"bases": bases, "attributes": attributes}}]


def _is_slot(value: Any) -> bool:
    return isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType)


def _described_function(function: Any, of_part: Callable[[Any], Any]) -> Any:
    names = _Names.of(function.__code__)
    around = {}
    cells = function.__closure__ or ()
    for name, cell in zip(function.__code__.co_freevars, cells, strict=True):
        if name in names.assigned:
            around[name] = _unknown("the function assigns it")
            continue
        try:
            around[name] = of_part(cell.cell_contents)
        except ValueError:  # the cell is empty
            around[name] = _unknown("it has no value yet")
    defaults = [of_part(function.__defaults__), of_part(function.__kwdefaults__)]
    parts = [function.__qualname__, _source(function), *defaults, around]
    more: dict[str, Any] = {"bytecode": _BYTECODE, "code": _digest(_code_text(function.__code__))}
    if not _is_of_package(function):
        more["globals"] = _globals_of(function, names, of_part)
        more["attributes"] = of_part(dict(vars(function)))
    return [*parts, {_MORE: more}]


class _Names(NamedTuple):
    """What a code reads and assigns outside of itself.

    Attributes:
        read: The globals, each with the attributes that follow, as in `helpers.network`.
        assigned: The names of globals, and of variables around it, that it assigns.
        imported: The modules that it imports when it runs.
    """

    read: set[tuple[str, ...]]
    assigned: set[str]
    imported: set[str]

    @classmethod
    def of(cls, code: types.CodeType) -> "_Names":
        """Return the names of a code and of those within it."""
        names = cls(set(), set(), set())
        chain: list[str] = []
        for step in dis.get_instructions(code):
            if step.opname in ("LOAD_ATTR", "LOAD_METHOD") and chain:
                chain.append(step.argval)
                continue
            if chain:
                names.read.add(tuple(chain))
                chain = []
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                chain = [step.argval]
            elif step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL") or (
                step.opname == "STORE_DEREF" and step.argval in code.co_freevars
            ):
                names.assigned.add(step.argval)
            elif step.opname == "IMPORT_NAME":
                names.imported.add(step.argval)
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                within = cls.of(constant)
                names.read.update(within.read)
                names.assigned.update(within.assigned - set(code.co_cellvars))
                names.imported.update(within.imported)
        return names


def _globals_of(function: Any, names: _Names, of_part: Callable[[Any], Any]) -> dict[str, Any]:
    """Return the descriptions of the globals that a function reads, by name."""
    found: dict[str, Any] = {}
    for name, *attributes in sorted(names.read):
        if name not in function.__globals__:  # it is built in, or not there yet
            continue
        if name in names.assigned:
            found[name] = _unknown("the function assigns it")
            continue
        value = function.__globals__[name]
        while attributes and inspect.ismodule(value) and not _is_installed(value.__name__):
            if not hasattr(value, attributes[0]):
                break
            value = getattr(value, attributes[0])
            name = f"{name}.{attributes.pop(0)}"
        if name not in found:
            found[name] = of_part(value)
    for name in sorted(names.imported):
        if not _is_installed(name):
            found[name] = _unknown("it is imported when the function runs")
    return found


def _described_object(value: Any, of_part: Callable[[Any], Any]) -> Any:
    parts: list[Any] = [type(value).__qualname__]
    more: dict[str, Any] = {}
    is_own = not _is_of_package(type(value))
    if isinstance(value, keras.Variable):
        parts.append(of_part(value.value))
    elif hasattr(value, "get_config"):
        try:
            config = value.get_config()
        except Exception as error:  # a user's class may raise anything
            parts.append(_unknown(f"its config cannot be read: {error}"))
            config = {}
        else:
            parts.append(of_part(_nameless(config)))
        parts.append([of_part(weight) for weight in getattr(value, "weights", ())])
        if is_own:
            more["attributes"] = of_part(_beside_config(value, config))
    elif hasattr(value, "__array__"):  # of pandas
        parts.append(_unknown("it may be more than an array"))
        more["array"] = of_part(np.asarray(value))
    elif is_own or isinstance(value, types.SimpleNamespace | argparse.Namespace):
        attributes = dict(_in_slots(value)) | dict(getattr(value, "__dict__", {}))
        parts.append(of_part(attributes))
    elif hasattr(value, "__wrapped__"):  # such as by `functools.cache`
        parts.append(_unknown("how it is wrapped"))
        more["wrapped"] = of_part(value.__wrapped__)
    elif hasattr(value, "__dict__"):
        parts.append(_unknown("it may be more than its public values"))
        more["attributes"] = of_part(_public_values(value))
    elif _ADDRESS in repr(value):
        more = _unknown("its text has an address")
    else:
        parts.append(repr(value))
    if callable(value) and inspect.isfunction(type(value).__call__):  # an object as `build`
        parts.append(_source(type(value).__call__))
    if is_own:
        more["class"] = of_part(type(value))
    return [*parts, {_MORE: more}] if more else parts


def _in_slots(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and the values of the slots of an object that have one."""
    for cls in type(value).__mro__:
        for name, slot in vars(cls).items():
            if isinstance(slot, types.MemberDescriptorType) and hasattr(value, name):
                yield name, getattr(value, name)


def _beside_config(value: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the public attributes of an object that its config lacks.

    Keras gives its own objects more than they are made of, so of these the arguments count.
    """
    names = [name for name in vars(value) if not name.startswith("_")]
    if isinstance(value, keras.Layer | keras.Optimizer | keras.Metric | keras.Loss):
        arguments = inspect.signature(type(value).__init__).parameters
        names = [name for name in names if name in arguments]
    return {name: vars(value)[name] for name in names if name not in {*config, "name"}}


def _public_values(value: Any) -> dict[str, Any]:
    """Return the attributes of an object that are plain values or arrays."""
    kinds = (str, bool, int, float, list, tuple, dict, np.ndarray, np.generic)
    found = {}
    for name, item in vars(value).items():
        leaves = keras.tree.flatten(item)
        if not name.startswith("_") and all(isinstance(leaf, kinds) for leaf in leaves):
            found[name] = item
    return found


def _nameless(config: Any) -> Any:
    """Return a config without names, which may be numbered in the process."""
    if isinstance(config, dict):
        return {key: _nameless(item) for key, item in config.items() if key != "name"}
    if isinstance(config, list | tuple):
        return [_nameless(item) for item in config]
    return config


def _is_of_package(value: Any) -> bool:
    """Return whether a class or a function is of an installed package."""
    module = getattr(value, "__module__", None) or ""
    if module == "builtins":  # also what `exec` makes
        return getattr(builtins, value.__name__, None) is value
    return _is_installed(module)


@functools.cache
def _is_installed(module: str) -> bool:
    """Return whether a module is of Python or of an installed package, without importing it."""
    package = module.partition(".")[0]
    if package == "keras_initx" or package in sys.stdlib_module_names:
        return True
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # of `__main__`, and of one that was made by hand
        return False
    if spec is None:
        return False
    places = [spec.origin or "", *(spec.submodule_search_locations or ())]
    folders = set[str]().union(*(Path(place).parts for place in places))
    return not folders.isdisjoint(("site-packages", "dist-packages"))


def _source(function: Any) -> str:
    """Return the source of a function without comments, or a digest of its instructions."""
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):  # of a function that was typed in
        return _digest(function.__code__.co_code.hex())
    try:
        # `ast` would be shorter, but may fail in Python 3.11 where objects are deleted meanwhile.
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (SyntaxError, tokenize.TokenError):  # of a lambda, of which these are lines
        return source
    comments = (tokenize.COMMENT, tokenize.NL)
    return " ".join(token.string for token in tokens if token.type not in comments)


def _code_text(code: types.CodeType) -> str:
    """Return a text of all that a code does, wherever it stands."""
    takes_more = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    arguments = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, takes_more
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    constants = [_constant_text(constant) for constant in code.co_consts]
    jumps = code.co_exceptiontable.hex()
    return repr((code.co_code.hex(), arguments, names, constants, jumps))


def _constant_text(constant: Any) -> str:
    if isinstance(constant, types.CodeType):
        return _code_text(constant)
    if isinstance(constant, frozenset):
        return f"a set of {sorted(map(_constant_text, constant))}"
    if isinstance(constant, tuple):
        return f"a tuple of {list(map(_constant_text, constant))}"
    return repr(constant)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Differences:
    """What differs between descriptions in a folder and the present ones.

    Attributes:
        changed: What is another, in words, by its place.
        not_compared: Why a part was not compared, by its place.
    """

    def __init__(self) -> None:
        self.changed: dict[str, str] = {}
        self.not_compared: dict[str, str] = {}

    def compare(self, place: str, there: Any, here: Any) -> None:
        """Compare two values of JSON.

        Args:
            place: Where they are, in words.
            there: That of the folder.
            here: The present one.
        """
        for part in (here, there):
            if _is_unknown(part):
                self.not_compared[place] = part[_UNKNOWN]
                return
        if isinstance(there, dict) and isinstance(here, dict):
            for key in sorted(there.keys() | here.keys()):
                self.compare(f"{place}.{key}", there.get(key), here.get(key))
        elif isinstance(there, list) and isinstance(here, list):
            self._compare_lists(place, there, here)
        elif isinstance(there, list) and isinstance(here, str):
            self._compare_name(place, here, there)
        elif isinstance(there, str) and isinstance(here, list):
            self._compare_name(place, there, here)
        elif _as_text(there) != _as_text(here):
            self._note(place, there, here)

    def _compare_lists(self, place: str, there: list[Any], here: list[Any]) -> None:
        parts_there, more_there = _split(there)
        parts_here, more_here = _split(here)
        before = len(self.changed)
        if len(parts_there) != len(parts_here):
            self._note(place, there, here)
        elif "code" in more_here:
            self._compare_functions(place, there, here)
        else:
            for one, other in zip(parts_there, parts_here, strict=True):
                self.compare(place, one, other)
        # What another function reads is another too.
        if len(self.changed) == before:
            self._compare_more(place, more_there, more_here)

    def _compare_functions(self, place: str, there: list[Any], here: list[Any]) -> None:
        """Compare the instructions and the sources of two functions, and what is around them."""
        (_, source_there, *defaults_there, around_there), more_there = _split(there)
        (_, source_here, *defaults_here, around_here), more_here = _split(here)
        have_sources = not _is_digest(source_there) and not _is_digest(source_here)
        is_other = have_sources and source_there != source_here
        # Other versions of Python have other instructions.
        if more_there.get("bytecode") == more_here["bytecode"]:
            is_other = is_other or more_there["code"] != more_here["code"]
        elif not have_sources:
            self.not_compared[place] = "it has no source, and its code is of another Python"
        if is_other:
            self.changed[place] = f"another `{place}`"
            return
        self.compare(f"{place}.defaults", defaults_there, defaults_here)
        self.compare(place, around_there, around_here)

    def _compare_name(self, place: str, name: str, described: list[Any]) -> None:
        """Compare the name of what is described elsewhere, or was not yet, with a description."""
        parts, more = _split(described)
        if parts[:1] != [name]:
            self._note(place, name, described)
        else:
            self._compare_more(place, {}, more)

    def _compare_more(self, place: str, there: dict[str, Any], here: dict[str, Any]) -> None:
        if not there and not here:
            return
        if not there or not here:
            self.not_compared[place] = "the folder has less of it"
            return
        if _is_unknown(there) or _is_unknown(here):
            self.compare(place, there, here)
            return
        for key in sorted({*there, *here} - {"bytecode", "code"}):
            self.compare(place, there.get(key), here.get(key))

    def _note(self, place: str, there: Any, here: Any) -> None:
        texts = _as_text(here), _as_text(there)
        if max(map(len, texts)) > _SHOWN:
            self.changed[place] = f"another `{place}`"
        else:
            self.changed[place] = f"{place}={texts[0]}, there {texts[1]}"


def _split(described: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the parts of a description, and what the first version did not keep."""
    if described and isinstance(described[-1], dict) and described[-1].keys() == {_MORE}:
        return described[:-1], described[-1][_MORE]
    return described, {}


def _is_digest(source: Any) -> bool:
    """Return whether the source of a function was not known."""
    return re.fullmatch("[0-9a-f]{16}", str(source)) is not None


def _as_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
