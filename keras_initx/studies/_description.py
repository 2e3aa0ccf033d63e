"""What tells the `build` of a study, and what it gets, from others: as JSON, by places.

Sources are compared, of `build` and of the user's functions and classes that it names, and plain
values: numbers, texts, and tuples, lists and dicts of these. Of initializers their configs are
compared, of installed packages the names. All else is told as not compared.
"""

import builtins
import contextlib
import dis
import importlib.util
import inspect
import io
import json
import sys
import textwrap
import tokenize
import types
from collections.abc import Iterator
from typing import Any

import keras

# A part that cannot be compared is a dict with this key and the reason.
NOT_COMPARED = "not compared"
_COMMENTS = (tokenize.COMMENT, tokenize.NL)
# What is read or assigned, but not within a function. What is assigned comes last.
_USES = ("LOAD_GLOBAL", "LOAD_NAME", "IMPORT_NAME", "STORE_GLOBAL", "STORE_DEREF")


def described(place: str, value: Any) -> dict[str, Any]:
    """Return the parts of a value by their places, of which the first is `place`."""
    parts = _Parts()
    parts.add(place, value)
    for item in keras.tree.flatten(value):
        if isinstance(item, str):  # it may name a class of the user
            parts.add(f"{place}.{item}", keras.saving.get_registered_object(item))
    return parts.by_place


class _Parts:
    """The parts that were found, by their places, and where each object was found first."""

    def __init__(self) -> None:
        self.by_place: dict[str, Any] = {}
        # The objects are kept, or others would get their ids.
        self._found: dict[int, tuple[str, Any]] = {}

    def add(self, place: str, value: Any) -> None:
        if _is_plain(value):
            self.by_place[place] = value
        elif id(value) in self._found:
            self.by_place[place] = f"as {self._found[id(value)][0]}"
        else:
            self._found[id(value)] = place, value
            self._add_new(place, value)

    def _add_new(self, place: str, value: Any) -> None:
        if isinstance(value, dict | list | tuple):
            self.by_place[place] = f"{len(value)} items"
            for key, item in value.items() if isinstance(value, dict) else enumerate(value):
                self.add(f"{place}[{key!r}]", item)
        elif inspect.ismethod(value):
            self.add(place, value.__func__)
            self.add(f"{place}.__self__", value.__self__)
        elif inspect.ismodule(value) or isinstance(value, type) or inspect.isroutine(value):
            self._add_named(place, value)
        elif isinstance(value, keras.initializers.Initializer):
            self._add_initializer(place, value)
        else:
            self.by_place[place] = {NOT_COMPARED: f"an object of `{type(value).__name__}`"}
            self.add(f"{place}.__class__", type(value))

    def _add_initializer(self, place: str, value: Any) -> None:
        self.add(place, type(value))
        config = dict(value.get_config())
        if isinstance(config.get("seed"), dict):
            generator = config.pop("seed")["class_name"]
            self.by_place[f"{place}.seed"] = {NOT_COMPARED: f"a `{generator}`, which advances"}
        self.add(f"{place}.config", config)
        lacks = [name for name in vars(value) if name[0] != "_" and name not in {*config, "seed"}]
        if lacks and not _is_installed(type(value)):
            self.by_place[f"{place}.attributes"] = {NOT_COMPARED: f"its config lacks {lacks}"}

    def _add_named(self, place: str, value: Any) -> None:
        """Add a module, a class or a function: its name, or its source and what that names."""
        if _is_installed(value):
            self.by_place[place] = f"{value.__name__} of {getattr(value, '__module__', 'modules')}"
        elif inspect.ismodule(value):
            self.by_place[place] = {NOT_COMPARED: "a module that is passed on"}
        else:
            self.by_place[place] = _source(value)
            if isinstance(value, type):
                self._add_class(place, value)
            elif inspect.isfunction(value):
                self._add_around(place, value)

    def _add_class(self, place: str, cls: type) -> None:
        for base in cls.__bases__:
            self.add(f"{place}.{base.__name__}", base)
        for name, value in vars(cls).items():
            # Of properties, and of static methods and those of a class.
            item = getattr(value, "fget", getattr(value, "__func__", value))
            if inspect.isfunction(item) and _is_method(item, cls):
                self._add_around(f"{place}.{name}", item)
            elif not name.startswith(("__", "_abc_")) and not inspect.isdatadescriptor(item):
                self.add(f"{place}.{name}", item)

    def _add_around(self, place: str, function: Any) -> None:
        """Add the defaults of a function, and the variables and globals that it reads."""
        for parameter in inspect.signature(function, follow_wrapped=False).parameters.values():
            if parameter.default is not parameter.empty:
                self.add(f"{place}.{parameter.name}", parameter.default)
        around = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        for name, cell in around.items():
            with contextlib.suppress(ValueError):  # the cell is empty
                self.add(f"{place}.{name}", cell.cell_contents)
        for opname, name, *attributes in sorted({*_uses(function.__code__)} - {()}):
            own = f"{place}.{name}"
            if opname in ("LOAD_GLOBAL", "LOAD_NAME") and name in function.__globals__:
                self._add_global(own, function.__globals__[name], attributes)
            elif opname == "IMPORT_NAME" and not _is_of_package(name):
                self.by_place[own] = {NOT_COMPARED: "it is imported when the function runs"}
            elif opname == "STORE_GLOBAL" or (opname == "STORE_DEREF" and name in around):
                self.by_place[own] = {NOT_COMPARED: "the function assigns it"}

    def _add_global(self, place: str, value: Any, attributes: list[str]) -> None:
        """Add a global, and of a module of the user what is read of it, as in `helpers.network`."""
        while attributes and inspect.ismodule(value) and not _is_installed(value):
            name = attributes.pop(0)
            place, value = f"{place}.{name}", getattr(value, name, None)
        self.add(place, value)


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):  # of objects, and of what contains itself
        return False
    return True


def _is_installed(value: Any) -> bool:
    """Return whether a module, a class or a function is of Python or of an installed package."""
    module = value.__name__ if inspect.ismodule(value) else value.__module__
    if module == "builtins":  # also what `exec` makes
        return getattr(builtins, value.__name__, None) is value
    return _is_of_package(module or "")


def _is_of_package(module: str) -> bool:
    """Return whether a module is of Python or of an installed package, without importing it."""
    package = module.partition(".")[0]
    if package == "keras_initx" or package in sys.stdlib_module_names:
        return True
    with contextlib.suppress(ImportError, ValueError):  # of `__main__`, and of one made by hand
        spec = importlib.util.find_spec(package)
        places = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
        return any(f"{kind}-packages" in place for place in places for kind in ("site", "dist"))
    return False


def _is_method(function: Any, cls: type) -> bool:
    """Return whether a function is written in a class, or made for it, as by `dataclass`."""
    code: types.CodeType = function.__code__
    return code.co_filename == "<string>" or code.co_qualname.startswith(f"{cls.__qualname__}.")


def _source(value: Any) -> str | dict[str, str]:
    """Return the source of a function or a class without comments, or why there is none."""
    try:
        # The code of a function is not that of another, which it wraps.
        source = textwrap.dedent(inspect.getsource(getattr(value, "__code__", value)))
    except (OSError, TypeError):  # of what was typed in
        return {NOT_COMPARED: "it has no source"}
    if value.__name__ == "<lambda>" and source.count("lambda") > 1:
        return {NOT_COMPARED: "there are several lambdas in its lines"}
    with contextlib.suppress(SyntaxError, tokenize.TokenError):  # of a lambda within other lines
        # `ast` would be shorter, but may fail in Python 3.11 where objects are deleted meanwhile.
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        return " ".join(token.string for token in tokens if token.type not in _COMMENTS)
    return source


def _uses(code: types.CodeType) -> Iterator[tuple[str, ...]]:
    """Yield how a code and those within it use names, with the attributes that are read of each.

    What is empty is of other instructions.
    """
    use: tuple[str, ...] = ()
    for step in dis.get_instructions(code):
        if use and step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            use = (*use, step.argval)
        else:
            yield use
            use = (step.opname, step.argval) if step.opname in _USES else ()
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _uses(constant)
