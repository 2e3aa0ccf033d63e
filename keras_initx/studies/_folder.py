"""The folder of a run: its settings, and a log for each attempt at a trial."""

import dataclasses
import json
from pathlib import Path

from keras_initx.studies._log import DamagedFileError, Log, line, parse, read, write_whole


class SettingsError(ValueError):
    """A folder holds a run with other settings."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """What became of one training run.

    Attributes:
        key: Its name in the folder.
        status: `"finished"`, `"diverged"` (a figure was not finite), `"failed"` (an exception), `"cut off"` or
            `"missing"`.
        epochs: A dict of figures for each epoch, the first before any training.
        end: What was written at the end, as the `"error"` of a failed trial.
        first_batch: What the initial weights do to the first batch: a dict of `"layers"`, with figures of each, and
            `"verdicts"`, or of an `"error"`. Empty if nobody looked.
    """

    key: str
    status: str = "missing"
    epochs: tuple = ()
    end: dict = dataclasses.field(default_factory=dict)
    first_batch: dict = dataclasses.field(default_factory=dict)

    @property
    def is_settled(self):
        """Whether there is no point in running it again. What failed may go well next time."""
        return self.status in ("finished", "diverged")

    @property
    def verdicts(self) -> list[dict]:
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

    def __init__(self, path):
        self.path = Path(path)

    @property
    def _header(self):
        return self.path / "study.json"

    def open(self, kind, settings):
        """Begin a run of this kind, or take it up again.

        Raises:
            SettingsError: If the folder holds another run.
        """
        header = {"kind": kind, "settings": settings}
        if not self._header.exists():
            (self.path / "trials").mkdir(parents=True, exist_ok=True)
            write_whole(self._header, line(header).encode())
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

    def header(self):
        """Return the kind and the settings of the run.

        Raises:
            FileNotFoundError: If the folder holds none.
            DamagedFileError: If the file is not as it was written.
        """
        header = parse(self._header.read_text(encoding="utf-8"))
        if header is None:
            raise DamagedFileError(f"{self._header} is not as it was written")
        return header

    def settings(self, kind):
        """Return the settings of the run.

        Raises:
            DamagedFileError: If the file is not as it was written.
            FileNotFoundError: If the folder holds none.
            ValueError: If the run is of another kind.
        """
        header = self.header()
        if header["kind"] != kind:
            raise ValueError(f"`path` must be a folder of `{kind}`. Received: path={self.path}, of {header['kind']}")
        return header["settings"]

    def begin(self, key) -> Log:
        """Return the log of a new attempt at a trial."""
        attempt = 1 + max((number for number, _ in self._attempts(key)), default=0)
        while True:
            try:
                return Log(self.path / "trials" / f"{key}.{attempt}.jsonl")
            except FileExistsError:
                attempt += 1

    def _attempts(self, key):
        files = (self.path / "trials").glob(f"{key}.*.jsonl")
        return sorted((int(file.name.split(".")[-2]), file) for file in files)

    def trial(self, key) -> Trial:
        """Return the record of a trial: of the first attempt that came to its end, else of the last."""
        trial = Trial(key)
        for _, file in self._attempts(key):
            records = read(file)
            epochs = tuple(record["figures"] for record in records if record["event"] == "epoch")
            end = next((record for record in records if record["event"] == "end"), None)
            found: dict = next((record["found"] for record in records if record["event"] == "first batch"), {})
            if end:
                trial = Trial(key, end.pop("status"), epochs, end, found)
            elif trial.status != "failed":
                trial = Trial(key, "cut off", epochs, first_batch=found)
            if trial.is_settled:
                break
        return trial

    def keep(self, name, content):
        """Write `content`, bytes, to a file of this name, at once."""
        write_whole(self.path / "trials" / name, content)
