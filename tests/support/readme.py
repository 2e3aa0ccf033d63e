"""The table of `tests/support/README.md`: what each module gives, and which tests use it.

`python tests/support/readme.py` writes it; a test compares it.
"""

import ast
import functools
import pathlib
import re

SUPPORT = pathlib.Path(__file__).parent
TESTS = SUPPORT.parent
README = SUPPORT / "README.md"
_HEAD = """# What tests share

A module here is used by several test files, or is a script. What one test file uses alone stands in that file, unless
people run it as a script, or the file would be too long with it. `python tests/support/readme.py` writes this table.

| module | what it gives | used by |
| --- | --- | --- |
"""
_FEW = 3
_LONG = 500


def list_modules():
    """List the modules and packages of this folder, each with its file."""
    found = {path.stem: path for path in SUPPORT.glob("*.py")}
    found |= {path.parent.name: path for path in SUPPORT.glob("*/__init__.py")}
    return dict(sorted(found.items()))


def read_first_sentence(path):
    text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].split())
    return text.replace("|", "\\|")


@functools.cache
def list_imports():
    """Return for each file what its lines with imports name first."""
    imports = re.compile(r"^\s*(?:from|import) (\w+)", re.MULTILINE)
    return {path: set(imports.findall(path.read_text())) for path in sorted(TESTS.rglob("*.py"))}


def find_users(name):
    """Return the files that import a module."""
    return [path.relative_to(TESTS) for path, names in list_imports().items() if name in names and path.stem != name]


def find_reason(name, path):
    """Return why a module that one file uses is not in that file; empty if there is no reason."""
    if "__main__" in path.read_text():
        return "and a script: see its head"
    files = [path, *(TESTS / user for user in find_users(name))]
    lines = sum(len(file.read_text().splitlines()) for file in files)
    return "which would be too long with it" if lines > _LONG else ""


def describe_users(name, path):
    """Return the rooms of the tests that import a module, or the few files themselves."""
    files = find_users(name)
    if not files:
        return "a script: see its head"
    if len(files) == 1:
        return f"`{files[0]}`, {find_reason(name, path)}"
    if len(files) <= _FEW:
        return ", ".join(f"`{file}`" for file in files)
    rooms = dict.fromkeys(str(file.parent) if file.parent.name else "tests" for file in files)
    return f"{len(files)} files in {', '.join(rooms)}"


def make_table():
    lines = []
    for name, path in list_modules().items():
        lines.append(f"| `{name}` | {read_first_sentence(path)} | {describe_users(name, path)} |\n")
    return _HEAD + "".join(lines)


if __name__ == "__main__":
    README.write_text(make_table())
