"""Paths on this machine, files that are written as a whole or not at all, and the reading of JSON.

A disk may be full, a process stopped.

Imports nothing large, because the command line reads its arguments with it.
"""

import contextlib
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

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
    target = replaced_file(path)
    if target is None:
        yield path
        return
    is_new = not path.exists()
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


def replaced_file(path: Path) -> Path | None:
    """Return the file that `replacing` replaces or makes, or `None` if it writes to `path` itself.

    Two paths lead to one file if they give the same.
    """
    target = Path(os.path.realpath(path))
    if path.exists() and not target.is_file():  # nor has an open file that was deleted a place
        return None
    return target


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


def parse_json(content: str | bytes) -> Any:
    """Return what JSON says, in any encoding of Unicode.

    Python's `json` takes the last of equal keys, and numbers that JSON does not have.

    Raises:
        ValueError: If it is not JSON, an object has a key twice, or a number is not finite. The
            message goes on after the name of the file: "is not JSON".
    """
    try:
        return json.loads(
            content,
            object_pairs_hook=_unique,
            parse_constant=_refuse_number,
            parse_float=_finite,
        )
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"is not JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"has the key {key!r} twice")
        found[key] = value
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse_number(text)
    return number


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"has the number {text}, which is not finite")


def _flush(path: Path) -> None:
    """Return once a file is on disk, where the last error of a write may appear."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
