"""The folder of a study: a file for what all trials share, and one for each that was finished."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from keras_initx import _files
from keras_initx._checks import check_type
from keras_initx._version import __version__
from keras_initx.studies._data import data_digest
from keras_initx.studies._description import NOT_COMPARED, described
from keras_initx.studies._settings import Settings
from keras_initx.studies._types import Record

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
        self._path = Path(_files.check_local("out", path))
        self._path.mkdir(parents=True, exist_ok=True)
        file = self._path / "study.json"
        if not file.exists():
            _files.write(file, _as_json({"format": _FORMAT, **shared}))
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
            _files.write(self._file(self._path, name, repeat), _as_json(content))

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
