"""Files that survive a killed process: lines with a digest, and whole files that are written atomically."""

import contextlib
import hashlib
import json
import os
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_initx.studies._types import Record


class DamagedFileError(Exception):
    """A file of a study is not as it was written."""


class RecordError(OSError):
    """A file of a study cannot be written, as on a full disk."""


def checksum(text: str) -> str:
    """Return the digest that ends a line."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def line(record: Record) -> str:
    """Return `record`, a dict, as a line: JSON with `NaN` and `Infinity`, whose last key is the digest of the rest."""
    text = json.dumps(record)
    return f'{text[:-1]}, "digest": "{checksum(text)}"}}'


def parse(text: str) -> Record | None:
    """Return the record in a line, or `None` if it is damaged."""
    body, separator, digest = text.rpartition(', "digest": "')
    body += "}"
    if not separator or digest != f'{checksum(body)}"}}':
        return None
    record: Record = json.loads(body)
    return record


class Log:
    """A new file that lines are added to. Each is on the disk before `write` returns.

    Args:
        path: Path of the file, which must not exist.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "x", encoding="utf-8")  # noqa: SIM115, closed by __exit__

    def write(self, **record: Any) -> None:
        """Add a line.

        Raises:
            RecordError: If it does not reach the disk.
        """
        with _recording(self._file.name):
            self._file.write(f"{line(record)}\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def fail(self, error: Exception) -> None:
        """Add the line that ends a trial which `error` has stopped."""
        text = "".join(traceback.format_exception(error))
        self.write(event="end", status="failed", error=f"{type(error).__name__}: {error}", traceback=text)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        # Closing tries once more to write what `write` could not, and has told.
        with contextlib.suppress(OSError):
            self._file.close()


def read(path: Path) -> list[Record]:
    """Return the records of a file that `Log` has written.

    A process that was killed may leave part of a last line, which does not count.

    Raises:
        DamagedFileError: If another line is not as it was written.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    records = [parse(text) for text in lines if text]
    if None in records[:-1]:
        raise DamagedFileError(f"{path}, line {records.index(None) + 1}, is not as it was written")
    return [record for record in records if record is not None]


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path`, so that no other process ever sees a part of it.

    Raises:
        RecordError: If it does not reach the disk.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with _recording(path):
        try:
            with open(partial, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _recording(path: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error}") from error
