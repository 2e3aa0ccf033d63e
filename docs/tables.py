"""Write the generated parts of the pages: `python docs/tables.py`.

- `catalog`: all initializers, from `keras_initx.catalog()`, with links to the sections of the page.
- `families`: the lists of them from which the API reference makes a page for each.
- `versions`: the oldest and newest versions that the tests run with, from `pyproject.toml`.
- `runs`: which sessions of nox were run with which versions, from `docs/runs.json`, which the
  sessions write.
- `sessions`: the sessions that plain `nox` leaves out, from `noxfile.py`.
- `recipes`: all recipes, with what `@recipe` says of them.
- `problems`: the rules of `diagnose`, from `keras_initx.diagnostics.verdicts.RULES`.
- `thresholds`: the thresholds of `diagnose`, from `keras_initx.diagnostics.THRESHOLDS`.
- `confusion`: the networks that the rules are tried on, from `tests/support/confusion.py`.
- `unseen`: the numbers of runs on unseen programs, from `docs/unseen.json`, which
  `tests/unseen/examine.py` writes.
- `steps`: the same with steps of training.
- `examination`, `programs`, `misses`: what `diagnose` finds in faulty programs of others,
  from `programs.py` in `tests/support/` and `docs/examination.json`, which `examination.py` beside
  it writes.
- `remedies`: what the remedies do to the broken networks, from `docs/remedies.json`, which
  `tests/support/remedies.py` writes.
"""

import ast
import functools
import importlib
import json
import re
import runpy
import sys
import tomllib
from pathlib import Path

import keras_initx
from keras_initx.cli import _catalog
from keras_initx.diagnostics import THRESHOLDS
from keras_initx.diagnostics.verdicts import RULES
from keras_initx.recipes._recipe import ABOUT

DOCS = Path(__file__).parent
INITIALIZERS = DOCS / "initializers.md"
MARKED = re.compile(r"(<!-- begin (\w+): .*? -->\n).*?(<!-- end \2 -->)", re.DOTALL)
# The packages of the table of versions, as pinned in the tests.
TITLES = {
    "keras": "Keras",
    "numpy": "NumPy",
    "jax": "JAX",
    "tensorflow": "TensorFlow",
    "torch": "PyTorch",
}


def catalog():
    """Return the table of all initializers.

    Each has a link to the section that names it, or to the reference.
    """
    sections = {}
    for section in re.split(
        r"^##+ ", INITIALIZERS.read_text().partition("<!-- end catalog")[2], flags=re.MULTILINE
    ):
        heading, _, text = section.partition("\n")
        anchor = re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))
        for name in re.findall(r"{py:class}`~keras_initx\.(\w+)`", text):
            sections.setdefault(name, f"[`{name}`](initializers.md#{anchor})")
    rows = []
    for entry in keras_initx.catalog():
        name = entry.cls.__name__
        link = sections.get(name, f"{{py:class}}`~keras_initx.{name}`")
        rows.append((", ".join(f"`{name}`" for name in entry.ids), link, entry.use))
    return _rows(("id", "class", "when to use it"), rows)


def families():
    """Return a list for each family of initializers."""
    parts = []
    for title, entries in _catalog.families():
        names = "\n".join(f"   {entry.cls.__name__}" for entry in entries)
        options = "   :toctree: api/initializers\n   :nosignatures:"
        parts.append(
            f"### {title}\n\n```{{eval-rst}}\n.. autosummary::\n{options}\n\n{names}\n```\n"
        )
    return "\n".join(parts)


def versions():
    """Return the table of the oldest and newest versions."""
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
    """Return the table of what was run with which versions."""
    rows = []
    for name, run in _runs().items():
        packages = ", ".join(f"{package} {version}" for package, version in run["packages"].items())
        counts = f"{run['passed']:,}", f"{run['skipped']:,}"
        rows.append(
            (f"`{name}`", run["python"], packages, *counts, run["date"], f"`{run['commit']}`")
        )
    return _rows(("session", "Python", "packages", "passed", "skipped", "date", "commit"), rows)


def sessions():
    """Return the table of the sessions that plain `nox` leaves out.

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
        summary = about.function.__doc__.partition("\n")[0].removeprefix("Return ").rstrip(".")
        weights = summary.partition(": ")[2] or summary  # "the rules of BERT" is the recipe again
        sources = about.sources
        if not isinstance(sources, str):
            sources = "<br>".join(f'`"{source}"`: {text}' for source, text in sources.items())
        rows.append((f"{{py:func}}`~keras_initx.recipes.{name}`", about.kind, weights, sources))
    return _rows(("recipe", "for", "initial weights", "whose numbers"), rows)


def problems():
    """Return the table of the problems that `diagnose` reports."""
    thresholds = {name: f"`{name}={one.default:g}`" for name, one in THRESHOLDS.items()}
    rows = []
    for rule in RULES:
        level = "; ".join(
            f"{level} {condition}".strip() for level, condition in rule.levels.items()
        )
        # In two columns a phone shows the whole table.
        lines = f"*Level:* {level}", f"*Why:* {rule.reason}", f"*Remedy:* {rule.remedy}"
        rows.append(
            (f"**{rule.problem}**", "<br>".join([rule.finds.format_map(thresholds), *lines]))
        )
    return _rows(("problem", "what is reported"), rows)


def thresholds():
    """Return the table of the thresholds of `diagnose`."""
    rows = []
    for threshold in THRESHOLDS.values():
        rows.append((f"`{threshold.name}={threshold.default:g}`", threshold.meaning))
    return _rows(("threshold", "what it is"), rows)


def confusion():
    """Return how many networks the rules are tried on, and, folded, the problems in the broken."""
    networks = runpy.run_path(str(DOCS.parent / "tests" / "support" / "confusion.py"))
    broken, healthy = networks["BROKEN"], networks["HEALTHY"]
    table = _rows(
        ("network", "problems"),
        ((name, ", ".join(problems)) for name, (_, problems) in broken.items()),
    )
    count = len(broken) + len(healthy)
    return f"""\
`diagnose` was tried on {count} small networks. In the {len(broken)} broken ones it reports what
was planted, and what follows from it; in the {len(healthy)} healthy ones it reports no error and \
no warning.

<details>
<summary>The {len(broken)} broken networks</summary>

{table}
</details>
"""


@functools.cache
def _examined():
    """Return the script of the examination."""
    tests = str(DOCS.parent / "tests" / "support")
    if tests not in sys.path:
        sys.path.insert(0, tests)
    return importlib.import_module("examination")


def _recorded(program):
    return json.loads(_examined().RECORDED.read_text())[f"{program.source}: {program.id}"]


def _linked(program):
    """Return the name of a program, with a link to its question."""
    if program.id.isdigit():
        return f"[{program.id}](https://stackoverflow.com/questions/{program.id})"
    return program.id


def examination():
    """Return the numbers of each source, and those of other tools on the same programs."""
    script = _examined()
    results = json.loads(script.RECORDED.read_text())
    headers = "source", "programs", "a batch can show", "found", "right remedy", "false alarms"
    numbers = [tuple(map(str, row)) for row in script.counts(results)]
    chosen = script.beside()
    records = {name.partition(": ")[2]: result for name, result in results.items()}
    found = sum(records[name]["grade"] in ("found", "remedied") for name in chosen)
    remedied = sum(records[name]["grade"] == "remedied" for name in chosen)
    tools = []
    for tool, (detected, diagnosed, located) in script.PUBLISHED.items():
        both = len(set(script.DIAGNOSED[tool].split()) & set(chosen))
        tools.append((tool, str(detected), str(diagnosed), str(located), str(both)))
    tools.append(("`diagnose`, right remedy", "", "", "", str(remedied)))
    tools.append(("`diagnose`, found", "", "", "", str(found)))
    of_both = f"diagnosed, of the {len(chosen)} that a batch can show"
    beside = _rows(
        ("tool", "detected, of 52", "diagnosed, of 52", "located, of 52", of_both), tools
    )
    return f"{_rows(headers, numbers)}\n{beside}"


def unseen():
    """Return the numbers of each run on programs that `diagnose` was never improved with."""
    runs = json.loads((DOCS / "unseen.json").read_text())["runs"]
    faulty = [run for run in runs if run["draw"] != "sound"]
    sound = [run for run in runs if run["draw"] == "sound"]
    # The newest has all numbers.
    numbers = [name for name in faulty[-1] if name not in ("draw", "date", "commit", "backend")]
    table = _columns(faulty, ("date", "commit", *numbers))
    # Of the first draw the second run came after it had been mended by.
    firsts = {run["draw"]: run for run in reversed(faulty)}.values()
    named, visible = (sum(run[name] for run in firsts) for name in ("named", "visible"))
    table += f"\nIn the first runs of all draws {named} of {visible} visible faults are named.\n"
    return f"{table}\n{_columns(sound, ('date', 'commit', 'drawn', 'alarms on sound'))}"


def with_steps():
    """Return the numbers of each draw with steps of training on the batch."""
    recorded = json.loads((DOCS / "unseen.json").read_text())["numbers with steps"]
    runs = [{"draw": draw, **recorded[draw]} for draw in sorted(recorded, key=_DRAWS.index)]
    names = dict.fromkeys(name for run in runs for name in run if name != "draw")
    return _columns(runs, names)


_DRAWS = ("first", "second", "third", "fourth", "fifth", "sixth", "sound")


def _columns(runs, names):
    """Return a table with a column for each run: not all numbers would fit beside each other."""
    rows = [(name, *(str(run.get(name, "")) for run in runs)) for name in names]
    return _rows(("draw", *(run["draw"] for run in runs)), rows)


def programs():
    """Return the table of all programs, folded."""
    rows = []
    for program in _examined().PROGRAMS:
        result = _recorded(program)
        named = ", ".join(result["problems"] or ()) or "nothing"
        rows.append((_linked(program), program.fault, program.repair, result["grade"], named))
    table = _rows(("program", "fault", "accepted repair", "result", "problems named"), rows)
    return f"<details>\n<summary>All {len(rows)} programs</summary>\n\n{table}\n</details>\n"


def misses():
    """Return why a fault that a batch can show is not found, or not with the accepted remedy."""
    script = _examined()
    rows = []
    for program in script.PROGRAMS:
        grade = _recorded(program)["grade"]
        if grade not in ("remedied", "silent"):
            rows.append((_linked(program), program.fault, grade, script.EXPLAINED[program.id]))
    return _rows(("program", "fault", "result", "why"), rows)


def remedies():
    """Return what the remedies do to the broken networks, on each backend."""
    recorded = json.loads((DOCS / "remedies.json").read_text())
    names = list(dict.fromkeys(name for results in recorded.values() for name in results))
    counts = []
    for backend, results in recorded.items():
        gone = sum(bool(result["gone"]) for result in results.values())
        counts.append(f"{gone} of {len(results)} with {_BACKENDS[backend]}")
    rows = []
    for name in names:
        results = [results[name] for results in recorded.values() if name in results]
        problems = dict.fromkeys(result["problem"] for result in results)
        cells = [_outcome(results.get(name)) for results in recorded.values()]
        rows.append((name, ", ".join(problems), *cells))
    backends = [_BACKENDS[backend] for backend in recorded]
    return f"""\
The first verdict goes when its remedy is applied in {_listed(counts)}.

<details>
<summary>All {len(rows)} networks</summary>

{_rows(("network", "first verdict", *backends), rows)}
</details>
"""


_BACKENDS = {"jax": "JAX", "tensorflow": "TensorFlow", "torch": "PyTorch"}


def _listed(texts):
    """Return texts with commas and an "and"."""
    if len(texts) == 1:
        return texts[0]
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


def _outcome(result):
    """Return what became of a verdict, and the losses without the remedy and with it."""
    if result is None:
        return ""
    texts = {True: "gone", False: "stays", None: "not run"}
    text = texts[result["gone"]]
    if not result["losses"]:
        return text
    losses = ["error" if value is None else f"{value:g}" for value in result["losses"]]
    return f"{text}: {' → '.join(losses)}"


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
    "thresholds": thresholds,
    "confusion": confusion,
    "unseen": unseen,
    "steps": with_steps,
    "examination": examination,
    "programs": programs,
    "misses": misses,
    "remedies": remedies,
}
PAGES = {
    DOCS / "api.md": {"families"},
    DOCS / "diagnose.md": {"problems", "thresholds", "confusion"},
    DOCS / "examination.md": {
        "unseen",
        "steps",
        "examination",
        "programs",
        "misses",
        "remedies",
    },
    INITIALIZERS: {"catalog"},
    DOCS / "recipes.md": {"recipes"},
    DOCS / "releasing.md": {"sessions"},
    DOCS / "support.md": {"versions", "runs"},
}


def with_tables(text, names):
    """Return `text` with the tables named `names` between their marks."""
    found = [marks[2] for marks in MARKED.finditer(text)]
    if sorted(found) != sorted(names):
        raise ValueError(
            f"a page must have the marks of its tables once. Required: {sorted(names)}. Received: "
            f"{found}"
        )
    return MARKED.sub(lambda marks: f"{marks[1]}\n{TABLES[marks[2]]()}\n{marks[3]}", text)


if __name__ == "__main__":
    for page, names in PAGES.items():
        page.write_text(with_tables(page.read_text(), names))
