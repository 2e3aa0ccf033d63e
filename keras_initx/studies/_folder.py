"""The folder of a study: a file for what all trials share, and one for each that was finished."""

import functools
import hashlib
import inspect
import io
import json
import re
import textwrap
import tokenize
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_initx import _files
from keras_initx._checks import check_type
from keras_initx._version import __version__
from keras_initx.backends._current import backend
from keras_initx.studies._data import data_digest
from keras_initx.studies._settings import Settings
from keras_initx.studies._types import Record

_FORMAT = "keras_initx study"
_SHOWN = 60  # characters of a value in a message
# What the file of each trial has. One that failed is not written.
_OF_A_TRIAL = ("arm", "repeat", "given", "status", "epochs", "directions")


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
    """

    def __init__(self, path: str | Path | None, shared: Record) -> None:
        check_type("out", path, str | Path | None, "the path of a folder or `None`")
        self._path = None
        if path is None:
            return
        if not str(path):
            raise ValueError(f"`out` must be the path of a folder. Received: out={path!r}")
        self._path = Path(_files.check_local("out", path))
        self._path.mkdir(parents=True, exist_ok=True)
        file = self._path / "study.json"
        if not file.exists():
            _files.write(file, _as_json({"format": _FORMAT, **shared}))
        there = _content(file)
        if there is None or there.pop("format", None) != _FORMAT:
            raise SettingsError(
                "`out` must be a new folder, or one of a study of this version. "
                f"Received: out={str(path)!r}, of which study.json has another form"
            )
        _check_same(self._path, there, shared)

    def read(self, name: str, arm: Any, repeat: int) -> Record | None:
        """Return the record of a finished trial, or `None` if there is none.

        Args:
            name: The name of the arm.
            arm: What `build` gets.
            repeat: The number of the repeat.

        Raises:
            SettingsError: If another arm has this name.
            ValueError: If the file has JSON of something else.
        """
        if self._path is None:
            return None
        file = self._file(self._path, name, repeat)
        # A file that is no JSON is not one of ours: the trial is run again.
        record = _content(file) if file.exists() else None
        if record is not None:
            _check_whole(file, record)
            del record["arm"], record["repeat"]  # for people to read
            _check_same(self._path, {name: record.pop("given")}, {name: described(arm)})
        return record

    def write(self, name: str, arm: Any, repeat: int, record: Record) -> None:
        """Write the record of a finished trial.

        Raises:
            OSError: If it does not reach the disk.
        """
        if self._path is not None:
            content = {"arm": name, "repeat": repeat, "given": described(arm), **record}
            _files.write(self._file(self._path, name, repeat), _as_json(content))

    def _file(self, folder: Path, name: str, repeat: int) -> Path:
        # Names may have signs that no file may have, and be the same without them.
        readable = re.sub(r"[^\w.=-]+", "_", name)[:40]
        return folder / f"{readable}.{_digest(name)[:6]}.{repeat}.json"


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


def _check_whole(file: Path, record: Record) -> None:
    """Raise `ValueError` unless a file has all that that of a finished trial has."""
    missing = [key for key in _OF_A_TRIAL if key not in record]
    if missing:
        raise ValueError(
            f"the file of a trial must have {', '.join(map(repr, _OF_A_TRIAL))}: remove it, and "
            f"the trial is run again. Received: {file}, without {', '.join(map(repr, missing))}"
        )


def _check_same(folder: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise `SettingsError` with the names of the settings that differ."""
    here = json.loads(json.dumps(here))  # tuples come back as lists
    changes = []
    for name in sorted(there.keys() | here.keys()):
        texts = [json.dumps(settings.get(name), sort_keys=True) for settings in (here, there)]
        if texts[0] == texts[1]:
            continue
        if max(map(len, texts)) > _SHOWN:
            changes.append(f"another `{name}`")
        else:
            changes.append(f"{name}={texts[0]}, there {texts[1]}")
    if changes:
        raise SettingsError(
            f"{folder} has a study with other settings. Received: {'; '.join(changes)}"
        )


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
        "build": described(build),
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


def described(value: Any) -> Any:
    """Return JSON that differs from that of another value, as far as its parts show.

    A function is told by its source and by the variables around it that it uses, not by what it
    calls. An object is told by its config or its attributes.
    """
    try:
        return _described(value, set())
    except RecursionError:
        return type(value).__qualname__


def _described(value: Any, seen: set[int]) -> Any:
    """Return the description of a value in which functions and objects with these ids occurred."""
    of_part = functools.partial(_described, seen=seen)
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, np.ndarray | np.generic) or keras.ops.is_tensor(value):
        array = np.asarray(backend.host_view(value))
        return [str(array.dtype), list(array.shape), data_digest(array)]
    if isinstance(value, dict):
        return {str(key): of_part(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [of_part(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, functools.partial):
        return [of_part(part) for part in (value.func, value.args, value.keywords)]
    if inspect.ismethod(value):
        return [of_part(value.__func__), of_part(value.__self__)]
    if isinstance(value, type) or inspect.isbuiltin(value) or inspect.ismodule(value):
        return value.__name__
    if id(value) in seen:
        return type(value).__qualname__
    seen.add(id(value))
    if inspect.isfunction(value):
        return [value.__qualname__, _source(value), *map(of_part, _variables(value))]
    parts = [type(value).__qualname__, *map(of_part, _parts(value))]
    if callable(value) and inspect.isfunction(type(value).__call__):  # an object as `build`
        parts.append(_source(type(value).__call__))
    return parts


def _parts(value: Any) -> list[Any]:
    """Return what tells an object from others of its class."""
    if isinstance(value, keras.Variable):
        return [value.value]
    if hasattr(value, "get_config"):
        return [_nameless(value.get_config()), list(getattr(value, "weights", ()))]
    if hasattr(value, "__dict__"):
        return [vars(value)]
    text = repr(value)
    return [] if " at 0x" in text else [text]


def _nameless(config: Any) -> Any:
    """Return a config without names, which may be numbered in the process."""
    if isinstance(config, dict):
        return {key: _nameless(item) for key, item in config.items() if key != "name"}
    if isinstance(config, list | tuple):
        return [_nameless(item) for item in config]
    return config


def _source(function: Callable[..., Any]) -> str:
    """Return the source of a function without comments, or a digest of its code."""
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


def _variables(function: Any) -> list[Any]:
    """Return the defaults of a function, and the variables around it that it uses."""
    around = inspect.getclosurevars(function).nonlocals if function.__closure__ else {}
    return [function.__defaults__, function.__kwdefaults__, around]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
