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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

Local = TypeVar("Local", bound=str | Path)
Parsed = TypeVar("Parsed")


@contextlib.contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
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
    target = file_to_replace(path)
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
        # That of a disk that takes no more has none.
        if error.filename in (None, str(partial)):
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def file_to_replace(path: Path) -> Path | None:
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
    with replace_file(path) as partial:
        partial.write_bytes(content)


@dataclass(frozen=True)
class LinedFormat:
    """A format of this package: JSON with a line for each field, and for each weight.

    Attributes:
        name: The value of its first field, `"format"`.
        version: That of the second, `"version"`.
        writer: What writes it, in error messages.
        fields: The names of the other fields; the last is `"weights"`.
        parts: The names of fields after these, which hold a part of each line, by its path.
    """

    name: str
    version: int
    writer: str
    fields: tuple[str, ...]
    parts: tuple[str, ...] = ()

    def is_in(self, content: Any) -> bool:
        """Return whether what a JSON file holds has this format, in any version."""
        return isinstance(content, dict) and content.get("format") == self.name

    def text(self, values: Sequence[Any], weights: Sequence[Mapping[str, Any]]) -> str:
        """Return the text of a file with the values of all fields but the weights."""
        names = ("format", "version", *self.fields)
        fields = []
        for name, value in zip(names, (self.name, self.version, *values), strict=False):
            fields.append(f" {_as_json(name)}: {_as_json(value)}")
        lines = []
        for weight in weights:
            said = {name: value for name, value in weight.items() if name not in self.parts}
            lines.append(f"  {_as_json(said)}")
        fields.append(_lined(names[-1], "[", lines, "]"))
        for part in self.parts:
            lines = []
            for weight in weights:
                lines.append(f"  {_as_json(weight['path'])}: {_as_json(weight[part])}")
            fields.append(_lined(part, "{", lines, "}"))
        return "{\n" + ",\n".join(fields) + "\n}\n"

    def read(
        self, argument: str, path: str, parse: Callable[[dict[str, Any]], Parsed]
    ) -> tuple[dict[str, Any], dict[str, Parsed]]:
        """Return the fields of a file, and what its lines say, by the paths of the weights.

        Args:
            argument: Name of the argument in error messages.
            path: The file.
            parse: Function of the fields of a line. It may raise any error.

        Raises:
            OSError: If it cannot be read.
            ValueError: If it is no file of this format and version, lacks a field, or has a line
                that cannot be parsed. The message names the line.
        """
        try:
            content = parse_json(Path(path).read_bytes())
        except ValueError as error:
            raise self._refused(argument, path, str(error)) from None
        if not self.is_in(content):
            own = content.get("format") if isinstance(content, dict) else None
            problem = f'has no "format": "{self.name}"'
            if isinstance(own, str):
                problem = f'has the "format": "{own}"'
            raise self._refused(argument, path, problem)
        fields: dict[str, Any] = content
        if fields.get("version") != self.version:
            problem = (
                f"has version {fields.get('version')!r}, and this package reads {self.version}: "
                "record it anew"
            )
            raise self._refused(argument, path, problem)
        names = ("format", "version", *self.fields, *self.parts)
        if fields.keys() != set(names):
            problem = f"must have the keys {names} and has {tuple(fields)}"
            raise self._refused(argument, path, problem)
        if not isinstance(fields["weights"], list):
            raise self._refused(argument, path, "has no list of weights")
        found: dict[str, Parsed] = {}
        for number, line in enumerate(fields["weights"], 1):
            weight = line.get("path") if isinstance(line, dict) else line
            with self.refusing(argument, path, f"weight {number}, {weight!r}"):
                if not isinstance(weight, str) or weight in found:
                    raise ValueError("the path must be a text, and that of no line before")
                of_line = {part: fields[part][weight] for part in self.parts}
                found[weight] = parse({**line, **of_line})
        for part in self.parts:
            for weight in fields[part].keys() - found.keys():
                raise self._refused(argument, path, f"has {part!r} of {weight!r}, and no such line")
        return fields, found

    @contextlib.contextmanager
    def refusing(self, argument: str, path: str, place: str) -> Iterator[None]:
        """Turn any exception about a place in a file into a `ValueError` that names both."""
        try:
            yield
        except Exception as error:  # the class of a user may raise anything
            problem = f"cannot be read at {place}: {type(error).__name__}: {error}"
            raise self._refused(argument, path, problem) from error

    def _refused(self, argument: str, path: str, problem: str) -> ValueError:
        """Return the error about a file that has not this format."""
        return ValueError(
            f"`{argument}` must be a file that `{self.writer}` wrote; this one {problem}. "
            f"Received: {argument}={path!r}"
        )


def _lined(name: str, begin: str, lines: Sequence[str], end: str) -> str:
    """Return a field of which each item has a line."""
    return f" {_as_json(name)}: {begin}\n" + ",\n".join(lines) + f"\n {end}"


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


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
