"""Files that survive a killed process: logs of lines with digests, and files that are written atomically."""

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
    """Raised if a file of a study is damaged."""


class RecordError(OSError):
    """Raised if a file of a study cannot be written, for example because the disk is full."""


def checksum(text: str) -> str:
    """Return the digest for the end of a line."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def line(record: Record) -> str:
    """Return the dict `record` as a line: JSON with `NaN` and `Infinity`, and a digest of the rest as the last key."""
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
    """A new file to append lines to. Each line is on disk before `write` returns.

    Args:
        path: Path of the file, which must not exist.
    """

    def __init__(self, path: Path) -> None:
        self._file = open(path, "x", encoding="utf-8")  # noqa: SIM115, closed by __exit__

    def write(self, **record: Any) -> None:
        """Append a line.

        Raises:
            RecordError: If it does not reach the disk.
        """
        with _recording(self._file.name):
            self._file.write(f"{line(record)}\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def fail(self, error: Exception) -> None:
        """Append the final line of a trial that was stopped by `error`."""
        text = "".join(traceback.format_exception(error))
        self.write(event="end", status="failed", error=f"{type(error).__name__}: {error}", traceback=text)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        # Closing retries a failed write, which `write` has already reported.
        with contextlib.suppress(OSError):
            self._file.close()


def read(path: Path) -> list[Record]:
    """Return the records of a file written by `Log`.

    An incomplete last line, left by a killed process, is ignored.

    Raises:
        DamagedFileError: If another line is damaged.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    records = [parse(text) for text in lines if text]
    if None in records[:-1]:
        raise DamagedFileError(f"{path}, line {records.index(None) + 1}, is damaged")
    return [record for record in records if record is not None]


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path` atomically, so that no other process ever sees a partial file.

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
