"""The folder of a run: its settings, and a log for each attempt at a trial."""

import dataclasses
import json
from pathlib import Path

from keras_initx.studies._log import DamagedFileError, Log, line, parse, read, write_atomic
from keras_initx.studies._types import Direction, Metrics, Record, Settings, Status


class SettingsError(ValueError):
    """Raised if a folder contains a run with other settings."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """The record of one training run.

    Attributes:
        key: Its name in the folder.
        status: `"finished"`, `"diverged"` (a metric was not finite), `"failed"` (an exception was
            raised), `"interrupted"` or `"missing"`.
        epochs: A dict of metrics for each epoch. The first is before training.
        end: The last record, e.g. with the `"error"` of a failed trial.
        first_batch: Diagnosis of the initial weights on the first batch: a dict with `"layers"`,
            the statistics of each layer, and `"verdicts"`, or with an `"error"`. Empty if
            `diagnose` did not run.
        directions: For each metric `"max"` or `"min"`, whether larger or smaller values are better, or
            `None` if that is unknown.
    """

    key: str
    status: Status = "missing"
    epochs: tuple[Metrics, ...] = ()
    end: Record = dataclasses.field(default_factory=dict)
    first_batch: Record = dataclasses.field(default_factory=dict)
    directions: dict[str, Direction | None] = dataclasses.field(default_factory=dict)

    @property
    def is_settled(self) -> bool:
        """Whether it will not be run again. A failed trial is run again, because it may succeed next time."""
        return self.status in ("finished", "diverged")

    @property
    def verdicts(self) -> list[Record]:
        """The errors and warnings of the first batch, without notes, which are harmless."""
        return [verdict for verdict in self.first_batch.get("verdicts", []) if verdict["level"] != "note"]

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
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def _header(self) -> Path:
        return self.path / "study.json"

    def open(self, kind: str, settings: Settings) -> None:
        """Start a run of this kind, or resume it.

        Raises:
            SettingsError: If the folder contains another run.
        """
        header = {"kind": kind, "settings": settings}
        if not self._header.exists():
            (self.path / "trials").mkdir(parents=True, exist_ok=True)
            write_atomic(self._header, line(header).encode())
        found = self.header()
        # As JSON: tuples come back as lists.
        wanted = json.loads(json.dumps(header))
        if found["kind"] != kind:
            raise SettingsError(f"{self.path} contains another kind of run. Received: {kind}, there {found['kind']}")
        there, here = found["settings"], wanted["settings"]
        changed = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
        if changed:
            details = "; ".join(f"{name}={here.get(name)!r}, there {there.get(name)!r}" for name in changed)
            raise SettingsError(f"{self.path} contains a run with other settings. Received: {details}")

    def header(self) -> Record:
        """Return the kind and the settings of the run.

        Raises:
            FileNotFoundError: If the folder contains none.
            DamagedFileError: If the file is damaged.
        """
        header = parse(self._header.read_text(encoding="utf-8"))
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
                f"`path` must be the folder of a {kind} run. Received: path={self.path}, of {header['kind']}"
            )
        settings: Settings = header["settings"]
        return settings

    def begin(self, key: str) -> Log:
        """Return the log of a new attempt at a trial."""
        attempt = 1 + max((number for number, _ in self._attempts(key)), default=0)
        while True:
            try:
                return Log(self.path / "trials" / f"{key}.{attempt}.jsonl")
            except FileExistsError:
                attempt += 1

    def _attempts(self, key: str) -> list[tuple[int, Path]]:
        files = (self.path / "trials").glob(f"{key}.*.jsonl")
        numbers = {file: file.name.removeprefix(f"{key}.").removesuffix(".jsonl") for file in files}
        # Others are copies, made by a user or by a program that synchronizes folders.
        return sorted((int(number), file) for file, number in numbers.items() if number.isdecimal())

    def trial(self, key: str) -> Trial:
        """Return the record of a trial: the first attempt that settled it, or else the last attempt."""
        trial = Trial(key)
        for _, file in self._attempts(key):
            records = read(file)
            epochs = tuple(record["metrics"] for record in records if record["event"] == "epoch")
            end = next((record for record in records if record["event"] == "end"), None)
            diagnosis: Record = next((r["diagnosis"] for r in records if r["event"] == "first batch"), {})
            known: dict[str, Direction | None] = next(
                (record["directions"] for record in records if "directions" in record), {}
            )
            if end:
                trial = Trial(key, end.pop("status"), epochs, end, diagnosis, known)
            elif trial.status != "failed":
                trial = Trial(key, "interrupted", epochs, first_batch=diagnosis, directions=known)
            if trial.is_settled:
                break
        return trial

    def keep(self, name: str, content: bytes) -> None:
        """Write `content` to a file of this name, atomically."""
        write_atomic(self.path / "trials" / name, content)
