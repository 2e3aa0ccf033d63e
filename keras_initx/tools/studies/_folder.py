"""The folder of a study: a file for what all trials share, and one for each that was finished."""

import builtins
import contextlib
import dis
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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from keras_initx._checks import check_type
from keras_initx._version import __version__
from keras_initx.files import _local
from keras_initx.tools.studies._data import data_digest
from keras_initx.tools.studies._settings import Settings
from keras_initx.tools.studies._types import Record

# What tells the `build` of a study, and what it gets, from others: as JSON, by places.


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


_FORMAT = "keras_initx study"
_SHOWN = 60  # characters of a value in a message


class SettingsError(ValueError):
    """Raised if a folder contains a study with other settings."""


class Folder:
    """Where the finished trials of a study are, each in a file that is whole or not there at all.

    Args:
        path: Path of the folder, or `None` to keep nothing.
        shared: What all trials share, as JSON types.

    Raises:
        OSError: If a file cannot be written.
        SettingsError: If the folder contains another study.
        TypeError: If `path` is not a path.
        ValueError: If `path` is empty or a URL.

    Attributes:
        not_compared: What was not compared with the folder, or will not be, each with the reason.
    """

    def __init__(self, path: str | Path | None, shared: Record) -> None:
        check_type("out", path, str | Path | None, "the path of a folder or `None`")
        self.not_compared: list[str] = []
        self._path = None
        if path is None:
            return
        if not str(path):
            raise ValueError(f"`out` must be the path of a folder. Received: out={path!r}")
        self._path = Path(_local.check_local("out", path))
        self._path.mkdir(parents=True, exist_ok=True)
        file = self._path / "study.json"
        if not file.exists():
            _local.write(file, _as_json({"format": _FORMAT, **shared}))
        there = _content(file) or {}
        if there.pop("format", None) != _FORMAT or not isinstance(there.get("build"), dict):
            raise SettingsError(
                "`out` must be a new folder, or one of a study of this version. "
                f"Received: out={str(path)!r}, of which study.json has another form"
            )
        self._check_same(self._path, _by_place(there), _by_place(shared))

    def read(self, name: str, arm: Any, repeat: int) -> Record | None:
        """Return the record of a finished trial, or `None` if there is none.

        Args:
            name: The name of the arm.
            arm: What `build` gets.
            repeat: The number of the repeat.

        Raises:
            SettingsError: If another arm has this name.
            ValueError: If the file has JSON of something else, or another trial.
        """
        if self._path is None:
            return None
        file = self._file(self._path, name, repeat)
        # A file that is no JSON is not one of ours: the trial is run again.
        record = _content(file) if file.exists() else None
        if record is not None:
            _check_trial(file, record, name, repeat)
            del record["arm"], record["repeat"]
            self._check_same(self._path, record.pop("given"), described(name, arm))
        return record

    def write(self, name: str, arm: Any, repeat: int, record: Record) -> None:
        """Write the record of a finished trial.

        Raises:
            OSError: If it does not reach the disk.
        """
        if self._path is not None:
            given = described(name, arm)
            self._check_same(self._path, given, given)
            content = {"arm": name, "repeat": repeat, "given": given, **record}
            _local.write(self._file(self._path, name, repeat), _as_json(content))

    def _check_same(self, folder: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
        """Raise `SettingsError` with the names of the settings that differ."""
        # Tuples come back as lists.
        there, here = (json.loads(json.dumps(settings)) for settings in (there, here))
        changed: dict[str, str] = {}
        for place in sorted(there.keys() | here.keys()):
            parts: list[Any] = [there.get(place), here.get(place)]
            reasons = [part[NOT_COMPARED] for part in parts if _is_left_out(part)]
            if reasons:
                text = f"{place} ({reasons[-1]})"
                if text not in self.not_compared:
                    self.not_compared.append(text)
            # What another function names is another too.
            elif any(place.startswith((f"{one}.", f"{one}[")) for one in changed):
                continue
            elif json.dumps(parts[0]) != json.dumps(parts[1]):  # as texts, where NaN is equal
                changed[place] = _change(place, *parts)
        if changed:
            raise SettingsError(
                f"{folder} has a study with other settings. Received: {'; '.join(changed.values())}"
            )

    def _file(self, folder: Path, name: str, repeat: int) -> Path:
        # Names may have signs that no file may have, and be the same without them.
        readable = re.sub(r"[^\w.=-]+", "_", name)[:40]
        return folder / f"{readable}.{_digest(name)[:6]}.{repeat}.json"


def _by_place(settings: Record) -> Record:
    """Return the settings of a study, of which `build` has several parts."""
    return {**settings, **settings["build"]}


def _is_left_out(part: Any) -> bool:
    return isinstance(part, dict) and part.keys() == {NOT_COMPARED}


def _change(place: str, there: Any, here: Any) -> str:
    texts = json.dumps(here), json.dumps(there)
    if max(map(len, texts)) > _SHOWN:
        return f"another `{place}`"
    return f"{place}={texts[0]}, there {texts[1]}"


def _as_json(content: Record) -> str:
    """Return JSON with `NaN` and `Infinity`, which diverged trials have."""
    return json.dumps(content, indent=1)


def _content(file: Path) -> Record | None:
    """Return the content of a file of a study, or `None` if it is no JSON object."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


# What the file of a trial must have, each of one of these types. One that failed is not written.
_NUMBER = (int, float)
_OF_A_TRIAL: dict[str, tuple[type, ...]] = {
    "arm": (str,),
    "repeat": (int,),
    "given": (dict,),
    "status": (str,),
    "epochs": (list,),
    "directions": (dict,),
}


def _check_trial(file: Path, record: Record, name: str, repeat: int) -> None:
    """Raise `ValueError` unless a file has what that of this trial has, when it is finished."""
    wrong = None
    missing = [key for key in _OF_A_TRIAL if key not in record]
    if missing:
        wrong = f"without {', '.join(map(repr, missing))}"
    for key in _OF_A_TRIAL:
        if wrong is None and not isinstance(record[key], _OF_A_TRIAL[key]):
            wrong = f"with {key}={_shortened(record[key])}"
    if wrong is None:
        wrong = _wrong_content(record)
    if wrong is None and (record["arm"], record["repeat"]) != (name, repeat):
        wrong = f"with repeat {record['repeat']} of {record['arm']!r}, not {repeat} of {name!r}"
    if wrong is not None:
        raise ValueError(
            f"the file of a trial must have {', '.join(map(repr, _OF_A_TRIAL))}, as a study writes "
            f"them: remove it, and the trial is run again. Received: {file}, {wrong}"
        )


def _wrong_content(record: Record) -> str | None:
    """Return what is wrong with the status, the metrics or the diagnosis of a trial, or `None`."""
    if record["status"] not in ("finished", "diverged"):
        return f"with status={record['status']!r}"
    epochs = record["epochs"]
    for place, epoch in enumerate(epochs):
        if not isinstance(epoch, dict) or epoch.get("epoch") != place:
            return f"with {_shortened(epoch)} for epoch {place}"
        if not all(isinstance(value, _NUMBER) for value in epoch.values()):
            return f"with {_shortened(epoch)} for epoch {place}"
    if len(epochs) == 0 or (len(epochs) == 1 and record["status"] == "finished"):
        return f"with {len(epochs)} epochs"
    if not set(record["directions"].values()) <= {"max", "min"}:
        return f"with directions={_shortened(record['directions'])}"
    diagnosis = record.get("diagnosis", {})
    if not isinstance(diagnosis, dict) or not isinstance(diagnosis.get("verdicts", []), list):
        return f"with diagnosis={_shortened(diagnosis)}"
    for verdict in diagnosis.get("verdicts", []):
        if not isinstance(verdict, dict) or not {"level", "problem"} <= verdict.keys():
            return f"with the verdict {_shortened(verdict)}"
    return None


def _shortened(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


# The settings that Keras keeps for a process or a thread. Older versions lack the last two.
_CONFIG = (
    "floatx",
    "epsilon",
    "image_data_format",
    "dtype_policy",
    "max_steps_per_epoch",
    "max_epochs",
)


def keras_config() -> dict[str, Any]:
    """Return the settings of Keras by name, for each of which it has a function `set_...`."""
    found = {}
    for name in _CONFIG:
        if hasattr(keras.config, name):
            found[name] = getattr(keras.config, name)()
    return found


def shared_settings(kind: str, build: Any, settings: Settings) -> Record:
    """Return what all trials of a study share and their results depend on, as JSON types."""
    config = keras_config()
    # A trial that ends before its last epoch fails.
    config.pop("max_epochs", None)
    return {
        "kind": kind,
        "build": described("build", build),
        "data": data_digest(settings.data),
        "backend": keras.backend.backend(),
        **config,
        "dtype_policy": config["dtype_policy"].name,
        "keras": keras.__version__,
        "keras_initx": __version__,
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "seed": settings.seed,
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
