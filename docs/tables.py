"""Write the generated parts of the pages: `python docs/tables.py`.

- `catalog`: all initializers, from `keras_initx.catalog()`.
- `featured`: some of them.
- `reference`: the entries of the API reference for all initializers, by family.
- `digests`: the digests of their values, from `docs/digests/`, which the tests write.
- `problems` and `levels`: the rules of `diagnose`, from `keras_initx.diagnostics.rules.RULES`.
"""

import dataclasses
import importlib
import json
import re
from pathlib import Path

import keras_initx
from keras_initx._default_backend import BACKENDS
from keras_initx.cli._list import markdown
from keras_initx.diagnostics import Thresholds
from keras_initx.diagnostics.rules import RULES

DOCS = Path(__file__).parent
MARKED = re.compile(r"(<!-- begin (\w+): .*? -->\n).*?(<!-- end \2 -->)", re.DOTALL)
FEATURED = {"HeNormal", "LSTMForgetBias", "Orthogonal", "Pretrained", "Sparse", "TruncatedNormal"}
# The files of `keras_initx/initializers/` in the order of the API reference.
FAMILIES = {
    "Variance scaling": ("_variance", "_variance_named", "_spectral"),
    "Random": ("_random",),
    "Orthogonal": ("_orthogonal", "_orthogonal_qr"),
    "Sparse": ("_sparse",),
    "Convolutions": ("_convolution", "_upsampling"),
    "Recurrent layers": ("_recurrent", "_chrono"),
    "Biases": ("_bias", "_prior"),
    "Composition": ("_composition",),
    "Pretrained": ("_pretrained",),
}


def catalog():
    """Return the table of all initializers."""
    return markdown(keras_initx.catalog())


def featured():
    """Return the table of the initializers in the README."""
    return markdown([entry for entry in keras_initx.catalog() if entry.cls.__name__ in FEATURED])


def reference():
    """Return the `autoclass` directives of all initializers, with a heading for each family."""
    remaining = {entry.cls.__name__: entry.cls.__module__ for entry in keras_initx.catalog()}
    sections = []
    for title, files in FAMILIES.items():
        directives = []
        for file in files:
            module = importlib.import_module(f"keras_initx.initializers.{file}")
            for name in [name for name in vars(module) if remaining.get(name) == module.__name__]:
                directives.append(f".. autoclass:: {name}\n   :members:\n")
                del remaining[name]
        listed = "\n".join(directives)
        sections.append(f"### {title}\n\n```{{eval-rst}}\n.. currentmodule:: keras_initx\n\n{listed}```\n")
    if remaining:
        raise ValueError(f"`FAMILIES` must have every file with initializers. Received: none with {remaining}")
    return "\n".join(sections)


def digests():
    """Return the table of digests, which must be the same for all backends and all ways to compute the values."""
    found = [json.loads((DOCS / "digests" / f"{backend}.json").read_text()) for backend in BACKENDS]
    rows = []
    for label in sorted(found[0], key=str.lower):
        cells = {dtype: set() for dtype in ("float32", "bfloat16")}
        for way, cell in (item for backend in found for item in backend[label].items()):
            cells["bfloat16" if way == "bfloat16" else "float32"].add(cell)
        if any(len(values) > 1 for values in cells.values()):
            raise ValueError(f"the digests of an initializer must be equal on all backends. Received: {label} {cells}")
        # The arguments of the initializer are in the file.
        name, shape = re.match(r"(\w+)\(.*\) (\(.*\))$", label).groups()
        rows.append((f"`{name}`", shape, *(values.pop() for values in cells.values())))
    return _rows(("initializer", "shape", "float32", "bfloat16"), rows)


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


TABLES = {
    "catalog": catalog,
    "featured": featured,
    "reference": reference,
    "digests": digests,
    "problems": problems,
    "levels": levels,
}
PAGES = {
    DOCS.parent / "README.md": {"featured"},
    DOCS / "api.md": {"reference"},
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
