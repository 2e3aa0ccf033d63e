"""Write the tables that follow from elsewhere into the pages: `python docs/tables.py`.

- `catalogue`: all initializers, from `keras_initx.catalog()`.
- `digests`: the digests of their values, from `docs/digests/`, which the tests write.
"""

import json
import re
from pathlib import Path

import keras_initx
from keras_initx.cli._list import markdown

DOCS = Path(__file__).parent
MARKED = re.compile(r"(<!-- begin (\w+): .*? -->\n).*?(<!-- end \2 -->)", re.DOTALL)
WAYS = ("eager", "compiled", "2 devices", "8 devices", "bfloat16")
BACKENDS = {"jax": "JAX", "tensorflow": "TensorFlow", "torch": "PyTorch"}


def catalogue():
    """Return the table of all initializers."""
    return markdown(keras_initx.catalog())


def digests():
    """Return a table for each backend."""
    return "\n".join(_digests_of(backend) for backend in BACKENDS)


def _digests_of(backend):
    found = json.loads((DOCS / "digests" / f"{backend}.json").read_text())
    lines = [f"| {BACKENDS[backend]} | {' | '.join(WAYS)} |", f"|---|{'---|' * len(WAYS)}"]
    for label, cells in sorted(found.items(), key=lambda item: item[0].lower()):
        # What the initializer has for arguments is in the file.
        name, shape = re.match(r"(\w+)\(.*\) (\(.*\))$", label).groups()
        lines.append(f"| `{name}` {shape} | {' | '.join(cells.get(way, '') for way in WAYS)} |")
    return "\n".join(lines) + "\n"


TABLES = {"catalogue": catalogue, "digests": digests}
PAGES = {
    DOCS.parent / "README.md": {"catalogue"},
    DOCS / "initializers.md": {"catalogue"},
    DOCS / "values.md": {"digests"},
}


def with_tables(text, names):
    """Return `text` with the tables called `names`, each between its marks."""
    found = [marks[2] for marks in MARKED.finditer(text)]
    if sorted(found) != sorted(names):
        raise ValueError(f"a page must have the marks of its tables once. Required: {sorted(names)}. Received: {found}")
    return MARKED.sub(lambda marks: f"{marks[1]}\n{TABLES[marks[2]]()}\n{marks[3]}", text)


if __name__ == "__main__":
    for page, names in PAGES.items():
        page.write_text(with_tables(page.read_text(), names))
