"""Write the table of all initializers into the README and the documentation: `python docs/tables.py`."""

import re
from pathlib import Path

import keras_initx
from keras_initx._tables import markdown

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "initializers.md")
MARKED = re.compile(r"(<!-- catalogue: .*? -->\n).*?(<!-- end of catalogue -->)", re.DOTALL)


def with_table(text):
    """Return `text` with the table of the catalogue between its two marks."""
    table = markdown(keras_initx.catalog())
    text, count = MARKED.subn(lambda marks: f"{marks[1]}\n{table}\n{marks[2]}", text)
    if count != 1:
        raise ValueError(f"a page must have the marks of the table once. Received: {count} pairs")
    return text


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(with_table(page.read_text()))
