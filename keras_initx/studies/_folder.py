"""The folder of a run: its settings, and a log for each attempt at a trial."""

import dataclasses
import json
from pathlib import Path

from keras_initx.studies._log import DamagedFileError, Log, line, parse, read, write_atomic
from keras_initx.studies._types import Metrics, Record, Settings, Status


class SettingsError(ValueError):
    """A folder holds a run with other settings."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """The record of one training run.

    Attributes:
        key: Its name in the folder.
        status: `"finished"`, `"diverged"` (a metric was not finite), `"failed"` (an exception), `"interrupted"` or
            `"missing"`.
        epochs: A dict of metrics for each epoch, the first before any training.
        end: What was recorded at the end, such as the `"error"` of a failed trial.
        first_batch: What the initial weights do to the first batch: a dict of `"layers"`, with statistics of each, and
            `"verdicts"`, or of an `"error"`. Empty if `diagnose` did not run.
    """

    key: str
    status: Status = "missing"
    epochs: tuple[Metrics, ...] = ()
    end: Record = dataclasses.field(default_factory=dict)
    first_batch: Record = dataclasses.field(default_factory=dict)

    @property
    def is_settled(self) -> bool:
        """Whether it is not run again; a failed trial is, because it may succeed next time."""
        return self.status in ("finished", "diverged")

    @property
    def verdicts(self) -> list[Record]:
        """The errors and warnings of the first batch, without the notes, which do no harm to training."""
        return [verdict for verdict in self.first_batch.get("verdicts", []) if verdict["level"] != "note"]

    @property
    def problems(self) -> list[str]:
        """Names of the problems that were found in the first batch."""
        return [verdict["problem"] for verdict in self.verdicts]


class Folder:
    """A folder in which trials are recorded.

    Each attempt at a trial writes a file of its own, which nobody else writes to. So neither a process that
    outlives the one that was killed nor a second run in the same folder can harm a record.

    Args:
        path: Path of the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def _header(self) -> Path:
        return self.path / "study.json"

    def open(self, kind: str, settings: Settings) -> None:
        """Begin a run of this kind, or resume it.

        Raises:
            SettingsError: If the folder holds another run.
        """
        header = {"kind": kind, "settings": settings}
        if not self._header.exists():
            (self.path / "trials").mkdir(parents=True, exist_ok=True)
            write_atomic(self._header, line(header).encode())
        found = self.header()
        # As JSON: tuples come back as lists.
        wanted = json.loads(json.dumps(header))
        if found["kind"] != kind:
            raise SettingsError(f"{self.path} holds another kind of run. Received: {kind}, there {found['kind']}")
        there, here = found["settings"], wanted["settings"]
        changed = sorted(name for name in there.keys() | here.keys() if there.get(name) != here.get(name))
        if changed:
            details = "; ".join(f"{name}={here.get(name)!r}, there {there.get(name)!r}" for name in changed)
            raise SettingsError(f"{self.path} holds a run with other settings. Received: {details}")

    def header(self) -> Record:
        """Return the kind and the settings of the run.

        Raises:
            FileNotFoundError: If the folder holds none.
            DamagedFileError: If the file is not as it was written.
        """
        header = parse(self._header.read_text(encoding="utf-8"))
        if header is None:
            raise DamagedFileError(f"{self._header} is not as it was written")
        return header

    def settings(self, kind: str) -> Settings:
        """Return the settings of the run.

        Raises:
            DamagedFileError: If the file is not as it was written.
            FileNotFoundError: If the folder holds none.
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
        return sorted((int(file.name.split(".")[-2]), file) for file in files)

    def trial(self, key: str) -> Trial:
        """Return the record of a trial: of the first attempt that settled it, else of the last."""
        trial = Trial(key)
        for _, file in self._attempts(key):
            records = read(file)
            epochs = tuple(record["metrics"] for record in records if record["event"] == "epoch")
            end = next((record for record in records if record["event"] == "end"), None)
            diagnosis: Record = next((r["diagnosis"] for r in records if r["event"] == "first batch"), {})
            if end:
                trial = Trial(key, end.pop("status"), epochs, end, diagnosis)
            elif trial.status != "failed":
                trial = Trial(key, "interrupted", epochs, first_batch=diagnosis)
            if trial.is_settled:
                break
        return trial

    def keep(self, name: str, content: bytes) -> None:
        """Write `content` to a file of this name, atomically."""
        write_atomic(self.path / "trials" / name, content)
