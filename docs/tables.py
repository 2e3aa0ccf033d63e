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

import keras_initx
from keras_initx.backends._backend import Backend
from keras_initx.cli import _catalog
from keras_initx.files._formats import Contents
from keras_initx.files._lazy import LazyArray
from keras_initx.files._resizing import Resizing
from keras_initx.initializers import Initializer
from keras_initx.initializers._laws import Law
from keras_initx.inspection._architecture import Architecture
from keras_initx.inspection._inventory import Inventory
from keras_initx.inspection._pairing import Pairs
from keras_initx.inspection._watch import Watch, Watcher
from keras_initx.inspection._weights import ModelWeight
from keras_initx.recipes import Recipe
from keras_initx.recipes._frameworks import FLAX, TORCH
from keras_initx.recipes._layer_recipe import LayerRecipe
from keras_initx.recipes._named import RECIPES
from keras_initx.recipes._parts import Part
from keras_initx.recipes._recipe import describe_entry
from keras_initx.report._results import Judgement, Result
from keras_initx.sampling import Stream
from keras_initx.scaling import CoordinateCheck, MupTable
from keras_initx.tools import diagnose as diagnostics
from keras_initx.tools.audit._initializer_expectations import Expectation
from keras_initx.tools.audit._judgement import Comparison
from keras_initx.tools.audit._profile import Profile
from keras_initx.tools.compare_outputs._flow import Flow
from keras_initx.tools.compare_outputs._recorded import RecordedCall
from keras_initx.tools.compare_outputs._recorded_step import RecordedStep
from keras_initx.tools.compare_outputs._samples import RecordedTensor
from keras_initx.tools.compare_outputs._tolerance import Difference
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe
from keras_initx.tools.diagnose._seen import SeenLayer, SeenWeight
from keras_initx.tools.diagnose.losses.ends import Ends
from keras_initx.tools.diagnose.losses.known import Loss
from keras_initx.tools.diagnose.verdicts import RULES
from keras_initx.tools.initialize._planned_weight import PlannedWeight
from keras_initx.tools.initialize._rules import Instructions
from keras_initx.tools.loading._marks import Marks
from keras_initx.tools.studies._settings import Settings
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
    Remedy,
    RestartStudy,
    SaveReport,
    Study,
    Verdict,
)

DOCS = Path(__file__).parent
BENCHMARKS = DOCS.parent / "benchmarks"
PAGES = (*DOCS.rglob("*.md"), BENCHMARKS / "README.md", DOCS.parent / "README.md")
INITIALIZERS = DOCS / "initializers.md"
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


def catalog():
    """Return the table of all initializers, from `keras_initx.catalog()`.

    Each id has a link to the section that names the class in bold, if there is one.
    """
    sections = {}
    for section in re.split(r"^##+ ", INITIALIZERS.read_text(), flags=re.MULTILINE):
        heading, _, text = section.partition("\n")
        anchor = re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))
        for name in re.findall(r"\*\*`(\w+)`\*\*", text):
            sections[name] = anchor
    rows = []
    for entry in keras_initx.catalog().values():
        ids = ", ".join(f"`{name}`" for name in entry.ids)
        if entry.cls.__name__ in sections:
            ids = f"[{ids}](#{sections[entry.cls.__name__]})"
        rows.append((ids, entry.use))
    return _rows(("id", "when to use it"), rows)


# What a class of one's own implements, which users do not call.
_HOOKS = "check_shape, compute, draw, fans, fill, is_exact, largest, law"


def families():
    """Return the reference of all initializers, by families."""
    parts = []
    for title, entries in _catalog.families():
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
    for title, entries in _catalog.families():
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


def sessions():
    """Return the table of the sessions that plain `nox` leaves out."""
    rows = [
        (f"`nox -s {name}`", ast.get_docstring(function).splitlines()[0])
        for name, function in _sessions().items()
        if any("release" in ast.unparse(decorator) for decorator in function.decorator_list)
    ]
    return _rows(("session", "what it does"), rows)


def _sessions():
    """Return the functions of `noxfile.py` by name."""
    body = ast.parse((DOCS.parent / "noxfile.py").read_text()).body
    return {part.name: part for part in body if isinstance(part, ast.FunctionDef)}


def tested_through():
    """Return the table of the files that have no test by their names."""
    body = ast.parse((DOCS.parent / "tests" / "test_tested_files.py").read_text()).body
    (rows,) = (
        ast.literal_eval(part.value)
        for part in body
        if isinstance(part, ast.Assign) and ast.unparse(part.targets) == "TESTED_THROUGH"
    )
    cells = [(f"`keras_initx/{file}`", f"`tests/{test}`") for file, test in rows.items()]
    return _rows(("file", "tested through"), cells)


def recipes():
    """Return an entry for each recipe: its model, what weights of each role get, its sources."""
    entries = []
    for name, recipe in sorted(RECIPES.items()):
        sources = recipe.sources
        if isinstance(sources, str):
            lines = [f"source: {sources}"]
        else:
            lines = [f'source `"{source}"`: {text}' for source, text in sources.items()]
        is_by_layers = isinstance(recipe, LayerRecipe)
        weights = ["[by layers](start_as_in_torch.md)"] if is_by_layers else _by_roles(recipe)
        items = "\n".join(f"- {line}" for line in [*weights, *lines])
        entries.append(f"**`{name}`** is for {recipe.kind}.\n\n{items}\n")
    return "\n".join(entries)


def _by_roles(recipe):
    """Return lines on what the weights of each role get, by the first source of a recipe."""
    (table, *_) = recipe.tables().values()
    roles = {}
    for role, value in table.items():
        roles.setdefault(describe_entry(value), []).append(role)
    lines = [f"{', '.join(names)}: {text}" for text, names in roles.items()]
    return [re.sub(r"\d\.\d{6,}", lambda number: f"{float(number[0]):.4g}", line) for line in lines]


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
    parts = [f"### {rule.problem}"]
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


# The classes that a maintainer has to know, in the order of the rooms.
NOUNS = (
    Result,
    Backend,
    Stream,
    LazyArray,
    Contents,
    Resizing,
    Initializer,
    Law,
    Inventory,
    ModelWeight,
    Architecture,
    Pairs,
    Watch,
    Watcher,
    Part,
    Recipe,
    Diagnosis,
    Probe,
    SeenLayer,
    SeenWeight,
    Loss,
    Ends,
    Verdict,
    Remedy,
    Instructions,
    PlannedWeight,
    InitializationPlan,
    LoadReport,
    Marks,
    Loaded,
    RecordedTensor,
    RecordedCall,
    RecordedStep,
    Flow,
    Difference,
    Profile,
    Expectation,
    Comparison,
    Settings,
)


def nouns():
    """Return the table of the nouns, from the first lines of what the classes say of themselves."""
    rows = []
    for noun in NOUNS:
        file = noun.__module__.removeprefix("keras_initx.").replace(".", "/")
        rows.append((f"`{noun.__name__}`", f"`{file}.py`", noun.__doc__.partition("\n")[0]))
    return _rows(("noun", "file", "what it is"), rows)


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
        catalog,
        families,
        kinds,
        recipe_names,
        reference,
        versions,
        sessions,
        tested_through,
        recipes,
        starts_of_torch,
        starts_of_flax,
        problems,
        nouns,
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
