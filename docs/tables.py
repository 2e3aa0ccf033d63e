"""Write the generated parts of the pages: `python docs/tables.py`, where the package is installed.

A page has `<!-- table: NAME -->` before the part of the function `NAME` of this file, a table or
sections, and `<!-- end of table -->` after it. `conf.py` warns where a page has another. A test
checks the README and the page of benchmarks, which pages include.
"""

import ast
import importlib
import inspect
import pkgutil
import re
import runpy
import textwrap
import tomllib
from pathlib import Path

from keras_initx.cli import _catalog
from keras_initx.recipes._frameworks import FLAX, TORCH
from keras_initx.recipes._named import RECIPES
from keras_initx.report._results import Judgement, Result
from keras_initx.scaling import CoordinateCheck, MupTable
from keras_initx.tools import diagnose as diagnostics
from keras_initx.tools.diagnose.verdicts import RULES
from keras_initx.types import (
    AuditReport,
    Contract,
    DiagnosisReport,
    InitializationPlan,
    Loaded,
    LoadReport,
    LsuvReport,
    OutputsReport,
    PortReport,
    RecordedOutputs,
    RestartStudy,
    SaveReport,
    Study,
)

DOCS = Path(__file__).parent
BENCHMARKS = DOCS.parent / "benchmarks"
PAGES = (*DOCS.rglob("*.md"), BENCHMARKS / "README.md", DOCS.parent / "README.md")
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
# The packages of the table of versions, as pinned in the tests.
TITLES = {
    "keras": "Keras",
    "numpy": "NumPy",
    "scipy": "SciPy",
    "jax": "JAX",
    "tensorflow": "TensorFlow",
    "torch": "PyTorch",
}


# What a class of one's own implements, which users do not call.
_HOOKS = "check_shape, compute, draw, fans, fill, is_exact, largest, law"


def families():
    """Return the reference of all initializers, by families."""
    parts = []
    for title, entries in _catalog.list_families():
        directives = []
        for entry in entries:
            members = f"   :members:\n   :exclude-members: {_HOOKS}"
            directives.append(f".. autoclass:: keras_initx.{entry.cls.__name__}\n{members}")
        names = "\n\n".join(directives)
        parts.append(f"## {title}\n\n```{{eval-rst}}\n{names}\n```\n")
    return "\n".join(parts)


def kinds():
    """Return the table of the initializers by families, with links to their reference."""
    rows = []
    for title, entries in _catalog.list_families():
        names = ", ".join(f"`{entry.cls.__name__}`" for entry in entries)
        rows.append((f"[{title}](api/initializers.md#{title.lower()})", names))
    return _rows(("kind", "classes of `keras_initx`"), rows)


def recipe_names():
    """Return the names of all recipes."""
    return f"{', '.join(f'`{name}`' for name in sorted(RECIPES))}\n"


def reference():
    """Return the reference of all recipes."""
    names = "\n\n".join(f".. autofunction:: keras_initx.recipes.{name}" for name in sorted(RECIPES))
    return f"```{{eval-rst}}\n{names}\n```\n"


def versions():
    """Return the table of the oldest and newest versions, as pinned in `pyproject.toml`."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())
    pins = {
        (group, re.split("-cpu|==", pin)[0]): pin.partition("==")[2]
        for group, pinned in project["dependency-groups"].items()
        for pin in pinned
    }
    oldest = project["project"]["requires-python"].removeprefix(">=")
    (newest,) = (
        ast.literal_eval(keyword.value)[-1]
        for decorator in _sessions()["pythons"].decorator_list
        for keyword in getattr(decorator, "keywords", [])
        if keyword.arg == "python"
    )
    rows = [("Python", oldest, newest)]
    for name, title in TITLES.items():
        groups = f"minimums-{name}", name
        if name in ("keras", "numpy", "scipy"):
            groups = "minimums", "keras"
        rows.append((title, *(pins[group, name] for group in groups)))
    return _rows(("", "oldest", "newest tested"), rows)


def _sessions():
    """Return the functions of `noxfile.py` by name."""
    body = ast.parse((DOCS.parent / "noxfile.py").read_text()).body
    return {part.name: part for part in body if isinstance(part, ast.FunctionDef)}


def recipes():
    """Return the table of the recipes: for which model, and by which sources."""
    rows = []
    for name, recipe in sorted(RECIPES.items()):
        is_one = isinstance(recipe.sources, str)
        sources = "" if is_one else ", ".join(f"`{source}`" for source in recipe.sources)
        rows.append((f"`{name}`", recipe.kind, sources))
    return _rows(("recipe", "for", "sources to choose from"), rows)


def starts_of_torch():
    """Return the table of what layers of torch start with."""
    return _starts(RECIPES["torch"], f"PyTorch {TORCH}, `torch/nn/modules`")


def starts_of_flax():
    """Return the table of what layers of Flax start with."""
    return _starts(RECIPES["flax"], f"Flax {FLAX}, `flax/linen`")


def _starts(recipe, title):
    rows = []
    for row in recipe.table():
        starts = [f"{', '.join(paths)}: {text}" for text, paths in row.by_text().items()]
        rows.append((row.layers, "<br>".join(starts) or "left", row.source))
    return _rows(("layer of Keras", "initial weights", title), rows)


def problems():
    """Return a section for each problem that `diagnose` reports."""
    return "\n".join(_section(rule) for rule in RULES)


def _section(rule):
    """Return the section of a problem, with a label before each part."""
    parts = [f"## {rule.problem}"]
    for title, text in stated(rule.check).items():
        # A list begins in a line of its own.
        between = "\n\n" if text.startswith("- ") else " "
        parts.append(f"**{title}:**{between}{text}")
    return "\n\n".join(parts) + "\n"


def stated(check):
    """Return the sections of what a rule says of itself, with the numbers of its thresholds."""
    text = inspect.getdoc(check).format_map(thresholds())
    sections = re.split(r"^([A-Z][a-z ]+):\n", text, flags=re.MULTILINE)[1:]
    return {
        title: textwrap.dedent(lines).strip()
        for title, lines in zip(sections[::2], sections[1::2], strict=True)
    }


def thresholds():
    """Return the numbers by which rules judge, by the names that they have in the code."""
    found = {}
    for file in pkgutil.walk_packages(diagnostics.__path__, f"{diagnostics.__name__}."):
        if file.name.endswith("._plot"):  # which judges nothing, and needs an extra
            continue
        for name, value in vars(importlib.import_module(file.name)).items():
            if name.isupper() and isinstance(value, int | float):
                found[name] = value
    return found


# What functions return, in the order of the pages.
RESULTS = {
    InitializationPlan: "initialize",
    LsuvReport: "lsuv",
    LoadReport: "load_pretrained",
    SaveReport: "save_pretrained",
    Loaded: "loading",
    RecordedOutputs: "record_outputs",
    OutputsReport: "compare_outputs",
    PortReport: "port_report",
    DiagnosisReport: "diagnose",
    AuditReport: "audit",
    Contract: "contract",
    MupTable: "scaling.mup",
    CoordinateCheck: "scaling.coordinate_check",
    Study: "compare_initializers",
    RestartStudy: "random_restarts",
}


def results():
    """Return the table of the results, from their classes."""
    rows = []
    for result, function in RESULTS.items():
        shared = {
            *dir(Result),
            *dir(Judgement),
            "title",
            "settings",
            "monitor",
            "mode",
            "threshold",
        }
        own = {*result.__annotations__, *vars(result)} - shared
        names = sorted(name for name in own if not name.startswith("_"))
        listed = ", ".join(f"`{name}`" for name in names if name != "rows")
        judges = "`ok`, `problems`" if issubclass(result, Judgement) else ""
        rows.append((f"`{function}`", f"`{result.__name__}`", judges, listed))
    return _rows(("function", "returns", "says what is wrong", "has in addition"), rows)


def _rows(headers, rows):
    """Return a table from cells in Markdown."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (headers, ["---"] * len(headers), *rows))


TABLES = {
    table.__name__: table
    for table in (
        families,
        kinds,
        recipe_names,
        reference,
        versions,
        recipes,
        starts_of_torch,
        starts_of_flax,
        problems,
        results,
    )
} | runpy.run_path(str(BENCHMARKS / "report.py"))["TABLES"]


def with_tables(text):
    """Return the text of a page with its tables as they are now."""
    return TABLE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", text)


if __name__ == "__main__":
    for page in PAGES:
        text = page.read_text()
        if with_tables(text) != text:
            page.write_text(with_tables(text))
