"""The tables that stand in pages where a mark has their names, such as `<!-- table: catalog -->`.

They are written when the pages are built.
"""

import ast
import json
import re
import tomllib
from pathlib import Path

import keras_initx
from keras_initx.cli import _catalog
from keras_initx.diagnostics.verdicts import RULES
from keras_initx.recipes._recipe import ABOUT, described

DOCS = Path(__file__).parent
INITIALIZERS = DOCS / "initializers.md"
# The packages of the table of versions, as pinned in the tests.
TITLES = {
    "keras": "Keras",
    "numpy": "NumPy",
    "jax": "JAX",
    "tensorflow": "TensorFlow",
    "torch": "PyTorch",
}


def catalog():
    """Return the table of all initializers, from `keras_initx.catalog()`.

    Each id has a link to the section that names the class in bold, if there is one.
    """
    sections = {}
    for section in re.split(
        r"^##+ ", INITIALIZERS.read_text().partition("<!-- table: catalog")[2], flags=re.MULTILINE
    ):
        heading, _, text = section.partition("\n")
        anchor = re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))
        for name in re.findall(r"\*\*`(\w+)`\*\*", text):
            sections[name] = anchor
    rows = []
    for entry in keras_initx.catalog():
        ids = ", ".join(f"`{name}`" for name in entry.ids)
        if entry.cls.__name__ in sections:
            ids = f"[{ids}](#{sections[entry.cls.__name__]})"
        rows.append((ids, entry.use))
    return _rows(("id", "when to use it"), rows)


def families():
    """Return the API of the initializers, by families."""
    parts = []
    for title, entries in _catalog.families():
        classes = "\n".join(f".. autoclass:: {entry.cls.__name__}\n" for entry in entries)
        module = ".. currentmodule:: keras_initx"
        parts.append(f"## {title}\n\n```{{eval-rst}}\n{module}\n\n{classes}```\n")
    return "\n".join(parts)


def versions():
    """Return the table of the oldest and newest versions, as pinned in `pyproject.toml`."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())
    pins = {
        (group, re.split("-cpu|==", pin)[0]): pin.partition("==")[2]
        for group, pinned in project["dependency-groups"].items()
        for pin in pinned
    }
    oldest = project["project"]["requires-python"].removeprefix(">=")
    rows = [("Python", oldest, max([oldest, *_pythons()], key=_numbers))]
    for name, title in TITLES.items():
        groups = ("minimums", "keras") if name in ("keras", "numpy") else (f"minimums-{name}", name)
        rows.append((title, *(pins[group, name] for group in groups)))
    return _rows(("", "oldest", "newest tested"), rows)


def _runs():
    return json.loads((DOCS / "runs.json").read_text())


def _pythons():
    """Yield the minor versions of Python in which all tests were run."""
    for name, run in _runs().items():
        if name.partition("-")[0] in ("pythons", "minimums"):
            yield run["python"].rpartition(".")[0]


def _numbers(version):
    return [int(number) for number in version.split(".")]


def runs():
    """Return the table of what was run with which versions, as `docs/runs.py` wrote it down."""
    rows = []
    for name, run in _runs().items():
        packages = ", ".join(f"{package} {version}" for package, version in run["packages"].items())
        counts = f"{run['passed']:,}", f"{run['skipped']:,}"
        rows.append(
            (f"`{name}`", run["python"], packages, *counts, run["date"], f"`{run['commit']}`")
        )
    return _rows(("session", "Python", "packages", "passed", "skipped", "date", "commit"), rows)


def sessions():
    """Return the table of the sessions of `noxfile.py` that plain `nox` leaves out.

    With the minutes that their tests took last.
    """
    rows = []
    for function in ast.parse((DOCS.parent / "noxfile.py").read_text()).body:
        if any(
            "release" in ast.unparse(decorator)
            for decorator in getattr(function, "decorator_list", [])
        ):
            seconds = [
                run["seconds"]
                for name, run in _runs().items()
                if re.match(rf"{function.name}\b", name)
            ]
            minutes = f"{sum(seconds) / 60:.0f}" if seconds else ""
            rows.append(
                (f"`nox -s {function.name}`", ast.get_docstring(function).splitlines()[0], minutes)
            )
    return _rows(("session", "what it does", "minutes"), rows)


def recipes():
    """Return the table of the recipes."""
    rows = []
    for name, about in sorted(ABOUT.items()):
        sources = about.sources
        if not isinstance(sources, str):
            sources = "<br>".join(f'`"{source}"`: {text}' for source, text in sources.items())
        (table, *_) = about.tables().values()  # of the first source
        roles = {}
        for role, value in table.items():
            roles.setdefault(described(value), []).append(role)
        weights = "<br>".join(f"{', '.join(names)}: {text}" for text, names in roles.items())
        rows.append((f"{{py:func}}`~keras_initx.recipes.{name}`", about.kind, weights, sources))
    return _rows(("recipe", "for", "initial weights", "whose numbers"), rows)


def problems():
    """Return the table of the problems that `diagnose` reports."""
    rows = []
    for rule in RULES:
        level = "; ".join(
            f"{level} {condition}".strip() for level, condition in rule.levels.items()
        )
        # In two columns a phone shows the whole table.
        lines = f"*Level:* {level}", f"*Why:* {rule.reason}", f"*Remedy:* {rule.remedy}"
        rows.append((f"**{rule.problem}**", "<br>".join([rule.finds, *lines])))
    return _rows(("problem", "what is reported"), rows)


def _rows(headers, rows):
    """Return a table from cells in Markdown."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (headers, ["---"] * len(headers), *rows))


TABLES = {
    "catalog": catalog,
    "families": families,
    "versions": versions,
    "runs": runs,
    "sessions": sessions,
    "recipes": recipes,
    "problems": problems,
}
