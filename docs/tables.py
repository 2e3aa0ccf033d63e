"""Generate tables in the documentation pages: `python docs/tables.py`.

- `catalog`: all initializers, from `keras_initx.catalog()`.
- `featured`: some of them.
- `digests`: the digests of their values, from `docs/digests/`, which the tests write.
- `problems` and `levels`: the rules of `diagnose`, from `keras_initx.diagnostics.rules.RULES`.
"""

import dataclasses
import json
import re
from pathlib import Path

import keras_initx
from keras_initx.cli._list import markdown
from keras_initx.diagnostics import Thresholds
from keras_initx.diagnostics.rules import RULES

DOCS = Path(__file__).parent
MARKED = re.compile(r"(<!-- begin (\w+): .*? -->\n).*?(<!-- end \2 -->)", re.DOTALL)
WAYS = ("eager", "compiled", "2 devices", "8 devices", "bfloat16")
FEATURED = {"HeNormal", "LSTMForgetBias", "Orthogonal", "Pretrained", "Sparse", "TruncatedNormal"}
BACKENDS = {"jax": "JAX", "tensorflow": "TensorFlow", "torch": "PyTorch"}


def catalog():
    """Return the table of all initializers."""
    return markdown(keras_initx.catalog())


def featured():
    """Return the table of the initializers in the README."""
    return markdown([entry for entry in keras_initx.catalog() if entry.cls.__name__ in FEATURED])


def digests():
    """Return a table for each backend."""
    return "\n".join(_digests_of(backend) for backend in BACKENDS)


def _digests_of(backend):
    found = json.loads((DOCS / "digests" / f"{backend}.json").read_text())
    lines = [f"| {BACKENDS[backend]} | {' | '.join(WAYS)} |", f"|---|{'---|' * len(WAYS)}"]
    for label, cells in sorted(found.items(), key=lambda item: item[0].lower()):
        # The arguments of the initializer are in the JSON file.
        name, shape = re.match(r"(\w+)\(.*\) (\(.*\))$", label).groups()
        lines.append(f"| `{name}` {shape} | {' | '.join(cells.get(way, '') for way in WAYS)} |")
    return "\n".join(lines) + "\n"


def problems():
    """Return the table of the problems that `diagnose` reports."""
    thresholds = {name: f"`{name}={value:g}`" for name, value in dataclasses.asdict(Thresholds()).items()}
    return _rows(
        ("problem", "what is reported", "why", "remedy"),
        ((rule.problem, rule.finds.format_map(thresholds), rule.reason, rule.remedy) for rule in RULES),
    )


def levels():
    """Return the table of the levels of these problems."""
    cells = ("; ".join(f"{level} {condition}".strip() for level, condition in rule.levels.items()) for rule in RULES)
    rows = ((rule.problem, level, rule.level_reason) for rule, level in zip(RULES, cells, strict=True))
    return _rows(("problem", "level", "reason"), rows)


def _rows(headers, rows):
    """Return a table from cells in Markdown."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (headers, ["---"] * len(headers), *rows))


TABLES = {"catalog": catalog, "featured": featured, "digests": digests, "problems": problems, "levels": levels}
PAGES = {
    DOCS.parent / "README.md": {"featured"},
    DOCS / "diagnose.md": {"problems", "levels"},
    DOCS / "initializers.md": {"catalog"},
    DOCS / "values.md": {"digests"},
}


def with_tables(text, names):
    """Return `text` with the tables named `names` between their marks."""
    found = [marks[2] for marks in MARKED.finditer(text)]
    if sorted(found) != sorted(names):
        raise ValueError(f"a page must have the marks of its tables once. Required: {sorted(names)}. Received: {found}")
    return MARKED.sub(lambda marks: f"{marks[1]}\n{TABLES[marks[2]]()}\n{marks[3]}", text)


if __name__ == "__main__":
    for page, names in PAGES.items():
        page.write_text(with_tables(page.read_text(), names))
