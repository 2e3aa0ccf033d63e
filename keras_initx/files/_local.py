"""Check paths on this machine, write files as a whole or not at all, and read strict JSON.

A disk may be full or a process stopped, so a file is written under another name (`replace_file`).
Plans and contracts are JSON with a line for each weight (`LinedFormat`), so that they can be
compared line by line:

    {
     "format": "keras_initx contract",
     "version": 1,
     "weights": [
      {"path": "dense/kernel", "shape": [8, 4], "std": 0.35},
      {"path": "dense/bias", "shape": [4], "std": 0}
     ],
     "numbers": {
      "dense/kernel": [32, 0.0012]
     }
    }

This file imports nothing large, because the command line reads its arguments with it.
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

from keras_initx._received import show

Local = TypeVar("Local", bound=str | Path)
Parsed = TypeVar("Parsed")


@contextlib.contextmanager
def replace_file(path: str | Path) -> Iterator[Path]:
    """Yield the path of a new file, which replaces the file at `path` when the context ends.

    If an exception ends the context, the new file is removed, and the file at `path` stays
    unchanged. The new file has the same suffix, because Keras and matplotlib choose a format by it.
    It gets the permissions of the old file, and is on disk before it replaces the old file. If
    `path` is a symbolic link, its target is replaced. A device or a pipe, such as `/dev/stdout`, is
    written directly.

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
    """Return the file that `replace_file` replaces or makes; `None` if it writes to `path` itself.

    Two paths lead to one file if this returns the same for both.
    """
    target = Path(os.path.realpath(path))
    # A device or a pipe, or an open file that was deleted, which is in no folder.
    if path.exists() and not target.is_file():
        return None
    return target


def check_local(name: str, path: Local) -> Local:
    """Return `path`, or raise an error if it is a URL such as `s3://bucket/study`.

    Without this check, a folder `s3:` would be made.
    """
    # A `Path` has one slash left, and on Windows a backslash. A scheme of one letter is a drive.
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:[/\\]", str(path)):
        raise ValueError(
            f"`{name}` must be a path on this machine: mount the storage as a folder, or copy its "
            f"files. Received: {name}={show(str(path))}"
        )
    return path


def write_file(path: str | Path, content: str | bytes) -> None:
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
        version: The value of the second field, `"version"`.
        writer: The function that writes it, in error messages.
        fields: The names of the other fields; the last is `"weights"`.
        parts: The names of fields after these, into which a part of each line is moved, by its
            path.
    """

    name: str
    version: int
    writer: str
    fields: tuple[str, ...]
    parts: tuple[str, ...] = ()

    def is_in(self, content: Any) -> bool:
        """Return whether the contents of a JSON file have this format, in any version."""
        return isinstance(content, dict) and content.get("format") == self.name

    def text(self, values: Sequence[Any], weights: Sequence[Mapping[str, Any]]) -> str:
        """Format the text of a file.

        Args:
            values: The values of `fields` without the weights.
            weights: The line of each weight, with its `parts`.
        """
        names = ("format", "version", *self.fields)
        fields = []
        for name, value in zip(names, (self.name, self.version, *values), strict=False):
            fields.append(f" {_to_json(name)}: {_to_json(value)}")
        lines = []
        for weight in weights:
            short_line = {name: value for name, value in weight.items() if name not in self.parts}
            lines.append(f"  {_to_json(short_line)}")
        fields.append(_format_lines(names[-1], "[", lines, "]"))
        for part in self.parts:
            lines = []
            for weight in weights:
                lines.append(f"  {_to_json(weight['path'])}: {_to_json(weight[part])}")
            fields.append(_format_lines(part, "{", lines, "}"))
        return "{\n" + ",\n".join(fields) + "\n}\n"

    def read(
        self, argument: str, path: str, parse: Callable[[dict[str, Any]], Parsed]
    ) -> tuple[dict[str, Any], dict[str, Parsed]]:
        """Read the fields of a file, and parse its lines, by the paths of the weights.

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
            raise self._format_error(argument, path, str(error)) from None
        if not self.is_in(content):
            other_format = content.get("format") if isinstance(content, dict) else None
            problem = f'has no "format": "{self.name}"'
            if isinstance(other_format, str):
                problem = f'has the "format": "{other_format}"'
            raise self._format_error(argument, path, problem)
        fields: dict[str, Any] = content
        if fields.get("version") != self.version:
            problem = (
                f"has version {fields.get('version')!r}, and this package reads {self.version}: "
                "record it again"
            )
            raise self._format_error(argument, path, problem)
        names = ("format", "version", *self.fields, *self.parts)
        if fields.keys() != set(names):
            problem = f"must have the keys {names} and has {tuple(fields)}"
            raise self._format_error(argument, path, problem)
        if not isinstance(fields["weights"], list):
            raise self._format_error(argument, path, "has no list of weights")
        parsed: dict[str, Parsed] = {}
        for number, line in enumerate(fields["weights"], 1):
            path_in_line = line.get("path") if isinstance(line, dict) else line
            with self.refusing(argument, path, f"weight {number}, {path_in_line!r}"):
                if not isinstance(path_in_line, str) or path_in_line in parsed:
                    raise ValueError("the path must be a text that no earlier line has")
                parts_of_line = {part: fields[part][path_in_line] for part in self.parts}
                parsed[path_in_line] = parse({**line, **parts_of_line})
        for part in self.parts:
            for unknown in fields[part].keys() - parsed.keys():
                problem = f"has {part!r} of {unknown!r}, and no line of such a weight"
                raise self._format_error(argument, path, problem)
        return fields, parsed

    @contextlib.contextmanager
    def refusing(self, argument: str, path: str, place: str) -> Iterator[None]:
        """Turn any exception about a place in a file into a `ValueError` that names the place."""
        try:
            yield
        except Exception as error:  # the class of a user may raise anything
            problem = f"cannot be read at {place}: {type(error).__name__}: {error}"
            raise self._format_error(argument, path, problem) from error

    def _format_error(self, argument: str, path: str, problem: str) -> ValueError:
        return ValueError(
            f"`{argument}` must be a file that `{self.writer}` wrote; this one {problem}. "
            f"Received: {argument}={show(path)}"
        )


def _format_lines(name: str, begin: str, lines: Sequence[str], end: str) -> str:
    return f" {_to_json(name)}: {begin}\n" + ",\n".join(lines) + f"\n {end}"


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def parse_json(content: str | bytes) -> Any:
    """Parse JSON, in any encoding of Unicode.

    This is stricter than Python's `json`, which accepts equal keys, and numbers that JSON does not
    have.

    Raises:
        ValueError: If it is not JSON, an object has a key twice, or a number is not finite. The
            message continues the name of the file: "is not JSON".
    """
    try:
        return json.loads(
            content,
            object_pairs_hook=_check_unique_keys,
            parse_constant=_refuse_number,
            parse_float=_parse_finite,
        )
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"is not JSON: {error}") from None


def _check_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise ValueError(f"has the key {key!r} twice")
        members[key] = value
    return members


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse_number(text)
    return number


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"has the number {text}, which is not finite")


def _flush(path: Path) -> None:
    # Once the file is on disk, the last error of a write has appeared.
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
