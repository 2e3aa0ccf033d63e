"""The table of `tests/support/README.md`: what each module gives, and which tests use it.

`python tests/support/readme.py` writes it; a test compares it.
"""

import ast
import pathlib
import re

SUPPORT = pathlib.Path(__file__).parent
TESTS = SUPPORT.parent
README = SUPPORT / "README.md"
_HEAD = """# What tests share

A module here is used by several test files, or is a script that stays beside them. What one test file uses alone stands
in that file. `python tests/support/readme.py` writes this table.

| module | what it gives | used by |
| --- | --- | --- |
"""
_FEW = 3


def list_modules():
    """List the modules and packages of this folder, each with its file."""
    found = {path.stem: path for path in SUPPORT.glob("*.py")}
    found |= {path.parent.name: path for path in SUPPORT.glob("*/__init__.py")}
    return dict(sorted(found.items()))


def read_first_sentence(path):
    text = " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].split())
    return text.replace("|", "\\|")


def list_imports():
    """List the files of the tests with the names of the modules that each imports."""
    imports = re.compile(r"^\s*(?:from|import) (\w+)", re.MULTILINE)
    return {path: set(imports.findall(path.read_text())) for path in sorted(TESTS.rglob("*.py"))}


def name_users(name, imports):
    """Name the rooms of the tests that import a module, or the few files themselves."""
    files = [path.relative_to(TESTS) for path, names in imports.items() if name in names and path.stem != name]
    if len(files) <= _FEW:
        return ", ".join(f"`{file}`" for file in files)
    rooms = dict.fromkeys(str(file.parent) if file.parent.name else "tests" for file in files)
    return f"{len(files)} files in {', '.join(rooms)}"


def make_table():
    lines = []
    imports = list_imports()
    for name, path in list_modules().items():
        users = name_users(name, imports) or "a script: see its head"
        lines.append(f"| `{name}` | {read_first_sentence(path)} | {users} |\n")
    return _HEAD + "".join(lines)


if __name__ == "__main__":
    README.write_text(make_table())
