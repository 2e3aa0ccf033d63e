"""The folder of a run: its settings, and a log for each attempt at a trial.

They survive a killed process.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import keras
import numpy as np
import numpy.typing as npt

from keras_initx import _files
from keras_initx._files import check_local

__all__ = ["DamagedFileError", "RecordError", "SettingsError", "Trial"]

FloatArray: TypeAlias = npt.NDArray[np.float64]

# An array, a tensor, a pandas object, or a list, tuple or dict of them, as for `fit`.
Structure: TypeAlias = Any
# ((x, y), (x_val, y_val)) as an argument, and as arrays after checking. Sample weights may follow
# the targets.
DataLike: TypeAlias = Sequence[Sequence[Structure]]
Part: TypeAlias = tuple[Structure, ...]
Data: TypeAlias = tuple[Part, Part]

# Takes an initializer, or another value of `initializers`.
BuildWith: TypeAlias = Callable[[Any], keras.Model]
Build: TypeAlias = Callable[[], keras.Model]
Initializers: TypeAlias = Sequence[str] | Mapping[str, Any]

Mode: TypeAlias = Literal["auto", "max", "min"]
Direction: TypeAlias = Literal["max", "min"]
Status: TypeAlias = Literal["finished", "diverged", "failed", "interrupted", "missing"]

# A row of a machine-readable table: names, numbers and lists by column.
Record: TypeAlias = dict[str, Any]
# The arguments of a run as JSON types.
Settings: TypeAlias = dict[str, Any]
# Appends a record, given by keywords, to the log of a trial.
Log: TypeAlias = Callable[..., None]


class BuildError(ValueError):
    """Raised if the trials of a run cannot be compared.

    The reason is what `build` returns, or the metric to compare by.
    """


class DamagedFileError(Exception):
    """Raised if a file of a study is damaged."""


class RecordError(OSError):
    """Raised if a file of a study cannot be written, for example because the disk is full."""


class SettingsError(ValueError):
    """Raised if a folder contains a run with other settings."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """The record of one training run.

    Attributes:
        key: Its name in the folder.
        status: `"finished"`, `"diverged"` (a metric was not finite), `"failed"` (an exception was
            raised), `"interrupted"` or `"missing"`.
        epochs: A dict of metrics for each epoch, with `"epoch"`, `"seconds"` and, in the first
            epoch, the list `"batch_losses"`. The first dict is before training.
        end: The last record, e.g. with the `"error"` of a failed trial.
        first_batch: Diagnosis of the initial weights on the first batch: a dict with `"layers"`,
            the statistics of each layer, and `"verdicts"`, or with an `"error"`. Empty if
            `diagnose` did not run.
        directions: For each metric `"max"` or `"min"`, whether larger or smaller values are better,
            or `None` if that is unknown.
    """

    key: str
    status: Status = "missing"
    epochs: tuple[Record, ...] = ()
    end: Record = dataclasses.field(default_factory=dict)
    first_batch: Record = dataclasses.field(default_factory=dict)
    directions: dict[str, Direction | None] = dataclasses.field(default_factory=dict)

    @property
    def is_settled(self) -> bool:
        """Whether it will not be run again.

        A failed trial is run again, because it may succeed next time.
        """
        return self.status in ("finished", "diverged")

    @property
    def verdicts(self) -> list[Record]:
        """The errors and warnings of the first batch, without notes, which are harmless."""
        verdicts = self.first_batch.get("verdicts", [])
        return [verdict for verdict in verdicts if verdict["level"] != "note"]

    @property
    def problems(self) -> list[str]:
        """Names of the problems in the first batch."""
        return [verdict["problem"] for verdict in self.verdicts]


class Folder:
    """A folder in which trials are recorded.

    Each attempt at a trial writes its own file, and no other process writes to it. So neither a
    worker that survives a killed run nor a second run in the same folder can damage a record.

    Args:
        path: Path of the folder.
        is_kept: Whether it is still there after the run.
    """

    def __init__(self, path: str | Path, *, is_kept: bool = True) -> None:
        self.path: Path = Path(check_local("path", path))
        self._is_kept = is_kept
        self._header = self.path / "study.json"
        self._trials = self.path / "trials"

    @property
    def place(self) -> str:
        """Where the records are after the run, in words."""
        if self._is_kept:
            return f"recorded in {self._trials}"
        return "`out` would keep their records"

    def open(self, kind: str, settings: Settings) -> None:
        """Start a run of this kind, or resume it.

        Raises:
            SettingsError: If the folder contains another run.
        """
        header = {"kind": kind, "settings": settings}
        if not self._header.exists():
            self._trials.mkdir(parents=True, exist_ok=True)
            write_atomic(self._header, as_line(header).encode())
        found = self.header()
        if found["kind"] != kind:
            raise SettingsError(
                f"{self.path} contains another kind of run. Received: {kind}, there {found['kind']}"
            )
        there = found["settings"]
        here = json.loads(json.dumps(settings))  # tuples come back as lists
        changes = []
        for name in sorted(there.keys() | here.keys()):
            value = here.get(name)
            value_there = there.get(name)
            if not _is_same(value_there, value):
                changes.append(f"{name}={value!r}, there {value_there!r}")
        if changes:
            raise SettingsError(
                f"{self.path} contains a run with other settings. Received: {'; '.join(changes)}"
            )

    def header(self) -> Record:
        """Return the kind and the settings of the run.

        Raises:
            FileNotFoundError: If the folder contains none.
            DamagedFileError: If the file is damaged.
        """
        header = from_line(self._header.read_text(encoding="utf-8", errors="replace"))
        if header is None:
            raise DamagedFileError(f"{self._header} is damaged")
        return header

    def settings(self, kind: str) -> Settings:
        """Return the settings of the run.

        Raises:
            DamagedFileError: If the file is damaged.
            FileNotFoundError: If the folder contains none.
            ValueError: If the run is of another kind.
        """
        header = self.header()
        if header["kind"] != kind:
            raise ValueError(
                f"`path` must be the folder of a {kind} run. "
                f"Received: path={self.path}, of {header['kind']}"
            )
        return cast(Settings, header["settings"])

    def begin(self, key: str) -> Log:
        """Make the log of a new attempt at a trial, and return a function that appends to it."""
        numbers = [number for number, _ in self._attempts().get(key, [])]
        attempt = 1 + max(numbers, default=0)
        while True:
            log = self._trials / f"{key}.{attempt}.jsonl"
            try:
                log.touch(exist_ok=False)
                return functools.partial(_append, log)
            except FileExistsError:
                attempt += 1

    def trial(self, key: str) -> Trial:
        """Return the record of a trial: the first attempt that settled it, or else the last."""
        return self.trials([key])[key]

    def trials(self, keys: Iterable[str]) -> dict[str, Trial]:
        """Return the records of trials by their keys. The folder is listed once."""
        attempts = self._attempts()
        trials = {}
        for key in keys:
            files = [file for _, file in attempts.get(key, [])]
            trials[key] = _read_trial(key, files)
        return trials

    def _attempts(self) -> dict[str, list[tuple[int, Path]]]:
        """Return the numbers and files of all attempts, by the keys of the trials."""
        found: dict[str, list[tuple[int, Path]]] = {}
        for file in self._trials.glob("*.jsonl"):
            key, _, number = file.stem.rpartition(".")
            # Others are copies, made by a user or by a program that synchronizes folders.
            if number.isdecimal():
                found.setdefault(key, []).append((int(number), file))
        return {key: sorted(files) for key, files in found.items()}

    def keep_state(self, key: str, state: bytes) -> str:
        """Write the state in which a trial ends, and return its digest for the end of the log."""
        digest = hashlib.sha256(state).hexdigest()
        write_atomic(self._state_file(key, digest), state)
        return digest

    def state(self, key: str) -> bytes:
        """Return the state in which a trial ended.

        Raises:
            DamagedFileError: If the file is missing or damaged.
        """
        digest = self.trial(key).end["state"]
        path = self._state_file(key, digest)
        if path.exists():
            state = path.read_bytes()
            if hashlib.sha256(state).hexdigest() == digest:
                return state
        raise DamagedFileError(f"{path} is missing or damaged")

    def _state_file(self, key: str, digest: str) -> Path:
        # Named after its content too, because two runs in one folder may differ in the last bits.
        return self._trials / f"{key}.{digest[:16]}.state"


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two settings are the same, also if they are NaN."""
    if one == other:
        return True
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _read_trial(key: str, files: Sequence[Path]) -> Trial:
    """Return the record of a trial from the files of its attempts, in their order."""
    trial = Trial(key)
    for file in files:
        attempt = _read_attempt(key, file)
        # An interrupted attempt does not replace the error of the one before.
        if attempt.end or trial.status != "failed":
            trial = attempt
        if trial.is_settled:
            break
    return trial


def _read_attempt(key: str, file: Path) -> Trial:
    """Return the record of a trial from the file of one attempt."""
    epochs = []
    end: Record = {}
    diagnosis: Record = {}
    directions: Record = {}
    for record in read_log(file):
        if record["event"] == "epoch":
            epochs.append(record["metrics"])
        # An error after the end is none of the trial.
        if record["event"] == "end" and not end:
            end = record
        diagnosis = record.get("diagnosis", diagnosis)
        directions = record.get("directions", directions)
    status = end.pop("status", "interrupted")
    return Trial(key, status, tuple(epochs), end, diagnosis, directions)


def _append(log: Path, **record: Any) -> None:
    """Append a line to a log. It is on disk when this returns.

    Raises:
        RecordError: If it does not reach the disk.
    """
    with _recording(log), open(log, "ab") as file:
        file.write(f"{as_line(record)}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def read_log(path: Path) -> list[Record]:
    """Return the records of a file written by the function from `Folder.begin`.

    An incomplete last line, left by a killed process, is ignored.

    Raises:
        DamagedFileError: If another line is damaged.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    records = [from_line(text) for text in lines if text]
    if None in records[:-1]:
        raise DamagedFileError(f"{path}, line {records.index(None) + 1}, is damaged")
    return [record for record in records if record is not None]


def as_line(record: Record) -> str:
    """Return the dict `record` as a line.

    It is JSON with `NaN` and `Infinity`, and with a digest of the rest as the last key.
    """
    text = json.dumps(record)
    return f'{text[:-1]}, "digest": "{_checksum(text)}"}}'


def from_line(text: str) -> Record | None:
    """Return the record in a line, or `None` if it is damaged."""
    body, separator, digest = text.rpartition(', "digest": "')
    body += "}"
    if not separator or digest != f'{_checksum(body)}"}}':
        return None
    return cast(Record, json.loads(body))


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically, so that no other process ever sees a partial file.

    Raises:
        RecordError: If it does not reach the disk.
    """
    with _recording(path):
        _files.write(path, content)


@contextlib.contextmanager
def _recording(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error}") from error
