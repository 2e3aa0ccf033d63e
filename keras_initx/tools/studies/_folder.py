"""The folder of a study: a file for the shared settings, and one for each finished trial.

A study only goes on with the same settings. The settings of `build` are its source text and the
plain values that it reads, such as numbers and texts:

    build -> "def build(initializer): return network(initializer, UNITS)"
    build.UNITS -> 64
    build, what it reads -> {"not compared": "network"}
"""

import contextlib
import hashlib
import inspect
import json
import re
import textwrap
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras

from keras_initx._checks import check_type
from keras_initx._received import show
from keras_initx._version import __version__
from keras_initx.files import _local
from keras_initx.tools.studies._data import data_digest
from keras_initx.tools.studies._settings import Settings
from keras_initx.tools.studies._types import Record

# What cannot be compared is a dict with this key and the reason.
NOT_COMPARED = "not compared"
# The packages whose versions are compared.
_COMPARED_PACKAGES = "keras", "keras_initx"


def describe_settings(path: str, value: Any) -> dict[str, Any]:
    """List the settings that a value has, by their paths. The first path is `path`."""
    if _is_plain(value):
        return {path: value, **_describe_registered_classes(path, value)}
    if isinstance(value, dict | list | tuple):
        parts: dict[str, Any] = {}
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            parts |= describe_settings(f"{path}[{key!r}]", item)
        return parts
    if isinstance(value, keras.initializers.Initializer):
        config = describe_settings(f"{path}.config", value.get_config())
        return {
            path: _name_of_class(type(value)),
            **config,
            **_describe_own_class(path, type(value)),
        }
    if inspect.isfunction(value):
        return {path: _source(value), **_values_read(path, value)}
    return {path: {NOT_COMPARED: f"an object of `{type(value).__name__}`"}}


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _describe_registered_classes(path: str, value: Any) -> dict[str, Any]:
    """List the classes of the user that texts may name, as in `"my_package>Mine"`."""
    classes: dict[str, Any] = {}
    for item in keras.tree.flatten(value):
        cls = keras.saving.get_registered_object(item) if isinstance(item, str) else None
        if isinstance(cls, type):
            classes |= _describe_own_class(path, cls)
    return classes


def _describe_own_class(path: str, cls: type) -> dict[str, Any]:
    if cls.__module__.partition(".")[0] in _COMPARED_PACKAGES:
        return {}
    return {f"{path}, its class": {NOT_COMPARED: f"the code of `{cls.__name__}`"}}


def _name_of_class(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _source(function: types.FunctionType) -> str | dict[str, str]:
    """Read the source text of a function, or say why there is none."""
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):  # of what was typed in
        return {NOT_COMPARED: "it has no source"}
    if function.__name__ == "<lambda>" and source.count("lambda") > 1:
        return {NOT_COMPARED: "there are several lambdas in its lines"}
    return source


def _values_read(path: str, function: types.FunctionType) -> dict[str, Any]:
    """List the plain values that a function reads, and the names of other read objects."""
    values = {}
    for parameter in inspect.signature(function, follow_wrapped=False).parameters.values():
        if parameter.default is not parameter.empty:
            values[parameter.name] = parameter.default
    names = {*_names_read(function.__code__)}
    values |= {name: function.__globals__[name] for name in names & function.__globals__.keys()}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with contextlib.suppress(ValueError):  # the cell is empty until the name is assigned
            values[name] = cell.cell_contents
    plain = {f"{path}.{name}": value for name, value in values.items() if _is_plain(value)}
    others = [name for name, value in values.items() if not _is_plain(value)]
    others = [name for name in sorted(others) if _package(values[name]) not in _COMPARED_PACKAGES]
    if others:
        plain[f"{path}, what it reads"] = {NOT_COMPARED: ", ".join(others)}
    return plain


def _names_read(code: types.CodeType) -> Iterator[str]:
    """Yield the names of globals, and of attributes, in a code and the functions within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_read(constant)


def _package(value: Any) -> str:
    """Name the package of a module, a class, a function or an object."""
    module = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
    return str(module or type(value).__module__).partition(".")[0]


_FORMAT = "keras_initx study"
_SHOWN = 60  # characters of a value in a message


class SettingsError(ValueError):
    """Raised if a folder contains a study with other settings."""


class Folder:
    """The finished trials of a study on disk, each in a complete file or in none.

    Args:
        path: Path of the folder, or `None` to keep nothing.
        shared: The settings that all trials share, as JSON types.

    Raises:
        OSError: If a file cannot be written.
        SettingsError: If the folder contains another study.
        TypeError: If `path` is not a path.
        ValueError: If `path` is empty or a URL.

    Attributes:
        not_compared: The settings that cannot be compared with the folder, each with the reason.
    """

    def __init__(self, path: str | Path | None, shared: Record) -> None:
        check_type("out", path, str | Path | None, "the path of a folder or `None`")
        self.not_compared: list[str] = []
        self._path = None
        if path is None:
            return
        if not str(path):
            raise ValueError(f"`out` must be the path of a folder. Received: out={show(path)}")
        self._path = Path(_local.check_local("out", path))
        self._path.mkdir(parents=True, exist_ok=True)
        file = self._path / "study.json"
        if not file.exists():
            _local.write_file(file, _as_json({"format": _FORMAT, **shared}))
        there = _read_content(file) or {}
        if there.pop("format", None) != _FORMAT or not isinstance(there.get("build"), dict):
            raise SettingsError(
                "`out` must be a new folder, or one of a study of this version. "
                f"Received: out={show(str(path))}, whose study.json has another form"
            )
        self._check_same(self._path, _flatten_build(there), _flatten_build(shared))

    def read(self, name: str, arm: Any, repeat: int) -> Record | None:
        """Read the record of a finished trial; `None` if there is none.

        Args:
            name: The name of the arm.
            arm: The argument of `build`.
            repeat: The number of the repeat.

        Raises:
            SettingsError: If another arm has this name.
            ValueError: If the file belongs to another trial.
        """
        if self._path is None:
            return None
        file = self._file(self._path, name, repeat)
        # A file that is no JSON is not one of ours: the trial is run again.
        record = _read_content(file) if file.exists() else None
        if record is not None:
            _check_trial(file, record, name, repeat)
            del record["arm"], record["repeat"]
            self._check_same(self._path, record.pop("given"), describe_settings(name, arm))
        return record

    def write(self, name: str, arm: Any, repeat: int, record: Record) -> None:
        """Write the record of a finished trial.

        Raises:
            OSError: If it does not reach the disk.
        """
        if self._path is not None:
            given = describe_settings(name, arm)
            self._check_same(self._path, given, given)
            content = {"arm": name, "repeat": repeat, "given": given, **record}
            _local.write_file(self._file(self._path, name, repeat), _as_json(content))

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
            # What another function reads is another too.
            elif any(place.startswith(f"{changed_path}.") for changed_path in changed):
                continue
            elif json.dumps(parts[0]) != json.dumps(parts[1]):  # as texts, where NaN is equal
                changed[place] = _describe_change(place, *parts)
        if changed:
            raise SettingsError(
                f"{folder} has a study with other settings. Received: {'; '.join(changed.values())}"
            )

    def _file(self, folder: Path, name: str, repeat: int) -> Path:
        # Names may have signs that no file may have, and be the same without them.
        readable = re.sub(r"[^\w.=-]+", "_", name)[:40]
        return folder / f"{readable}.{_digest(name)[:6]}.{repeat}.json"


def _flatten_build(settings: Record) -> Record:
    """Split `build` in the settings of a study into its parts, as separate settings."""
    rest = dict(settings)
    return {**rest.pop("build"), **rest}


def _is_left_out(part: Any) -> bool:
    return isinstance(part, dict) and part.keys() == {NOT_COMPARED}


def _describe_change(place: str, there: Any, here: Any) -> str:
    texts = json.dumps(here), json.dumps(there)
    if max(map(len, texts)) > _SHOWN:
        return f"another `{place}`"
    return f"{place}={texts[0]}, there {texts[1]}"


def _as_json(content: Record) -> str:
    """Write JSON with `NaN` and `Infinity`, which diverged trials have."""
    return json.dumps(content, indent=1)


def _read_content(file: Path) -> Record | None:
    """Read the content of a file of a study; `None` if it is no JSON object."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


# What the file of a trial has. One that failed is not written.
_TRIAL_KEYS = "arm", "repeat", "given", "status", "epochs", "directions"


def _check_trial(file: Path, record: Record, name: str, repeat: int) -> None:
    """Raise `ValueError` unless a file belongs to a trial, and to this one."""
    missing = [repr(key) for key in _TRIAL_KEYS if key not in record]
    received = f"without {', '.join(missing)}"
    if not missing:
        if (record["arm"], record["repeat"]) == (name, repeat):
            return
        received = f"with repeat {record['repeat']} of {record['arm']!r}"
    raise ValueError(
        f"the file must be the result of repeat {repeat} of {name!r}, as a study writes it. Remove "
        f"it, and the trial runs again. Received: {file}, {received}"
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
    """Read the settings of Keras that have a function `set_...`, by name."""
    found = {}
    for name in _CONFIG:
        if hasattr(keras.config, name):
            found[name] = getattr(keras.config, name)()
    return found


def shared_settings(kind: str, build: Any, settings: Settings) -> Record:
    """List the settings that all trials share and their results depend on, as JSON types."""
    config = keras_config()
    # A trial that ends before its last epoch fails.
    config.pop("max_epochs", None)
    return {
        "kind": kind,
        "build": describe_settings("build", build),
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
