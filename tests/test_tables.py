"""The tables of the pages, and the catalog on the standard output."""

import inspect
import itertools
import pathlib
import re
import runpy
import subprocess
import sys

import pytest

import keras_initx
from keras_initx import cli
from keras_initx.initializers import CatalogEntry
from keras_initx.initializers._base import Catalog
from keras_initx.rendering import Table, section

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "tables.py"))
FIRST = CatalogEntry(
    ("initx.one", "initx.first"), int, "a * b * c", "where one is enough: for few units, or small ones"
)
ENTRIES = Catalog((FIRST, CatalogEntry(("initx.another",), float, "x | y", "elsewhere")))


def test_the_catalog_of_the_page_links_an_id_to_the_section_that_names_its_class(tmp_path, monkeypatch):
    page = tmp_path / "initializers.md"
    page.write_text("### He, Glorot\n\n**`HeNormal`** and `Sparse`\n")
    monkeypatch.setitem(SCRIPT["catalog"].__globals__, "INITIALIZERS", page)
    table = SCRIPT["catalog"]()
    assert "| [`initx.he_normal`](#he-glorot) | layers before relu" in table
    assert "| `initx.sparse` | each unit starts" in table


def public_names():
    """Yield what users call, as the package and the room of scaling list it, and the results that it returns."""
    for module in (keras_initx, keras_initx.scaling):
        for name in dir(module):
            value = getattr(module, name)
            if not callable(value):
                continue
            yield name
            result = inspect.signature(value).return_annotation if inspect.isfunction(value) else None
            if getattr(result, "__module__", "").startswith("keras_initx."):
                yield result.__name__
            elif isinstance(result, str) and result.isidentifier():  # of a class further down in the file
                yield result


def test_the_api_reference_has_every_public_name():
    text = "".join(page.read_text() for page in (ROOT / "docs" / "api").glob("*.md"))
    listed = re.findall(r"^(?:   |\.\. auto\w+:: )(?:[\w.]+\.)?(\w+)$", text, re.MULTILINE)
    public = set(public_names())
    assert {"HeNormal", "initialize", "Study", "RateStudy", "MupTable", "Report"} <= public
    assert public - set(listed) == {"Catalog"}  # which is a tuple


def test_the_page_on_speed_says_how_many_targets_are_missed_and_a_command_prints_the_results():
    command = [sys.executable, ROOT / "benchmarks" / "report.py"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    missed = re.search(r"\d+ of \d+", printed)[0]
    assert missed in (ROOT / "benchmarks" / "README.md").read_text()
    for result in (ROOT / "benchmarks" / "results").glob("*.json"):
        assert f"## {result.stem.replace('-', ', ')}\n" in printed


def test_markdown_has_a_row_for_each_class():
    *_, first, second = ENTRIES.table("`").as_markdown().splitlines()
    assert first == (
        r"| `initx.one`, `initx.first` | `int` | a \* b \* c | where one is enough: for few units, or small ones |"
    )
    assert second == r"| `initx.another` | `float` | x \| y | elsewhere |"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("2 $ and $ 3", r"2 \$ and \$ 3"),
        ("`code` <b>", r"\`code\` \<b\>"),
        (r"a\b [c] ~d~", r"a\\b \[c\] \~d\~"),
        ("fan_in _so_", r"fan_in \_so\_"),
        ("gain² / (k + 1)", "gain² / (k + 1)"),
    ],
)
def test_markdown_shows_signs_as_they_are(text, escaped):
    table = Catalog([CatalogEntry(("initx.one",), int, text, "use")]).table("`").as_markdown()
    assert f"| {escaped} |" in table


def test_plain_text_has_a_line_for_each_class():
    header, first, second = ENTRIES.table().as_text().splitlines()
    assert first == ("initx.one, initx.first  int    a * b * c  where one is enough: for few units, or small ones")
    assert second == "initx.another           float  x | y      elsewhere"
    assert header == "id                      class  values     when to use it"


def test_wide_characters_take_two_columns_of_a_terminal():
    rows = (("ab", "1"), ("\u6f22\u5b57", "2"), ("\uff21\uff22", "3"))
    assert Table((), rows, (True, False)).as_text() == "ab    1\n\u6f22\u5b57  2\n\uff21\uff22  3\n"


def test_headings_of_pages_are_text():
    assert section("a < b") == "<h2>a &lt; b</h2>"


def terminal(monkeypatch, columns):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_shows_every_id_within_its_width(capsys, monkeypatch, columns):
    terminal(monkeypatch, columns)
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    words = set(itertools.chain.from_iterable(line.split() for line in lines))
    for entry in keras_initx.catalog():
        assert {*entry.ids, entry.cls.__name__} <= words


def test_a_notebook_shows_the_catalog_as_a_table():
    assert "<td" in ENTRIES._repr_html_()
    assert "initx.another" in ENTRIES._repr_html_()
