"""Paths on this machine, and files that are written as a whole or not at all.

A disk may be full, a process stopped.

Imports nothing large, because the command line reads its arguments with it.
"""

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

Local = TypeVar("Local", bound=str | Path)


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield the path of a new file, which replaces the file at `path` when the context ends.

    If the context is left by an exception, the new file is removed, and the one at `path` is as it
    was. The new file has the same suffix, because Keras and matplotlib choose a format by it, and
    the permissions of the old one. It is on disk before it replaces anything. A symbolic link stays
    one: what it leads to is replaced. A device or a pipe, such as `/dev/stdout`, is written to
    directly.

    Raises:
        OSError: If the file cannot be written.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    is_new = not path.exists()
    if not is_new and not target.is_file():  # nor has an open file that was deleted a place
        yield path
        return
    if not is_new:
        open(target, "ab").close()  # raises the error of a file that must not be written
    partial = target.with_name(f".{uuid.uuid4().hex[:8]}.{target.name}")
    try:
        yield partial
        _flush(partial)
        if not is_new:
            shutil.copymode(target, partial)
        os.replace(partial, target)
    except OSError as error:
        if error.filename == str(partial):
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def check_local(name: str, path: Local) -> Local:
    """Return `path`, which must not be a URL such as `s3://bucket/study`.

    A folder `s3:` would be made of it.
    """
    # A `Path` has one slash left, and on Windows a backslash. A scheme of one letter is a drive.
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:[/\\]", str(path)):
        raise ValueError(
            f"`{name}` must be a path on this machine: mount the storage as a folder, or copy its "
            f"files. Received: {name}={str(path)!r}"
        )
    return path


def write(path: str | Path, content: str | bytes) -> None:
    """Write a file as a whole or not at all, text in UTF-8 and with its own line ends.

    Raises:
        OSError: If the file cannot be written.
    """
    if isinstance(content, str):
        content = content.encode()
    with replacing(path) as partial:
        partial.write_bytes(content)


def _flush(path: Path) -> None:
    """Return once a file is on disk, where the last error of a write may appear."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
