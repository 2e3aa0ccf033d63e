"""The tables of the pages, and the catalog on the standard output."""

import inspect
import itertools
import json
import pathlib
import re
import runpy

import pytest

import keras_initx
from keras_initx.cli import _main as cli
from keras_initx.initializers import CatalogEntry
from keras_initx.initializers._initializer import Catalog
from keras_initx.report._export import section
from keras_initx.report._table import Table

ROOT = pathlib.Path(__file__).parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs" / "tables.py"))
FIRST = CatalogEntry(
    ("initx.one", "initx.first"), int, "a * b * c", "where one is enough: for few units, or small ones"
)
ENTRIES = Catalog((FIRST, CatalogEntry(("initx.another",), float, "x | y", "elsewhere")))


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
    assert {"HeNormal", "initialize", "Study", "MupTable", "DiagnosisReport"} <= public
    assert public - set(listed) == {"Catalog"}  # which is a tuple


@pytest.mark.parametrize("page", ["README.md", "benchmarks/README.md"])
def test_a_page_beside_the_documentation_has_the_tables_as_they_are_now(page):
    text = (ROOT / page).read_text()
    assert SCRIPT["with_tables"](text) == text


# Where the figures of the table on a GPU are printed, in milliseconds or seconds, by the start of a row.
PRINTED = {
    "$10^9$ normal": (1e3, r" rates .* RandomNormal float32: one billion (?P<first>[\d.]+) s,"),
    "$2^{22}$ normal": (
        1,
        r" crossover .* 2\^22 host .*?, (?P<second>[\d.]+) ms; 2\^22 device .*?, (?P<first>[\d.]+) ms",
    ),
    "`Orthogonal`": (1, r" orthogonal .* (?P<first>[\d.]+) ms, Keras' own (?P<second>[\d.]+) ms"),
    "a transformer": (1, r" build .* initx.he_normal (?P<first>[\d.]+), .*?; he_normal (?P<second>[\d.]+),"),
    "the same once": (1, r" build .* initx.he_normal .*?, (?P<first>[\d.]+) s; he_normal .*?, (?P<second>[\d.]+) s"),
}


@pytest.mark.parametrize("start", PRINTED)
def test_the_table_of_a_gpu_has_what_was_printed_last(start):
    (row,) = re.findall(rf"^\| {re.escape(start)}(.*) \|$", (ROOT / "docs" / "devices.md").read_text(), re.MULTILINE)
    text = (ROOT / "benchmarks" / "results" / "h100.txt").read_text()
    scale, pattern = PRINTED[start]
    for backend, cell in zip(("torch", "jax"), row.split(" | ")[1:], strict=True):
        *_, printed = re.finditer(rf"^\w+ {backend}{pattern}", text, re.MULTILINE)
        expected = [scale * float(figure) for _, figure in sorted(printed.groupdict().items())]
        figures = re.findall(r"([\d.]+) m?s", cell)
        places = [len(figure.partition(".")[2]) for figure in figures]
        assert [*map(float, figures)] == [round(*pair) for pair in zip(expected, places, strict=True)]


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Return a function that writes ratios of the first and the warm calls as the only results."""

    def write(device, cold, warm):
        cold, warm = ({"keras": {"q1": ratio, "median": ratio, "q3": 2.0, "n": 7}} for ratio in (cold, warm))
        case = {"cold_seconds": {}, "cold_ratio": cold, "warm_seconds": {}, "warm_ratio": warm, "errors": {}}
        environment = {"backend": "jax", "device": "one", "cpu": "its host", "cores": 2, "load_before": 0.1}
        results = {
            "benchmark": "sampling",
            "device": device,
            "environment": {**environment, "versions": {}},
            "cases": {"Sparse(10), 64x64, bfloat16": case},
        }
        (tmp_path / f"{device}.json").write_text(json.dumps(results))
        monkeypatch.setitem(SCRIPT["TABLES"]["machines"].__globals__, "RESULTS", tmp_path)

    return write


def test_comparisons_in_which_a_peer_is_faster_come_by_their_ratio(measured):
    measured("cpu", 0.8, 0.5)
    measured("gpu", 3.0, 0.7)
    summary, _, _, _, *rows = SCRIPT["TABLES"]["slower_than_peers"]().splitlines()
    assert summary == "A peer is faster in 3 of 4 comparisons."
    assert [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows] == [
        ["JAX", "`Sparse(10)`", "64x64", "bfloat16", "Keras", "warm", "0.5 (0.5 to 2)", "not known"],
        ["JAX, GPU", "`Sparse(10)`", "64x64", "bfloat16", "Keras", "warm", "0.7 (0.7 to 2)", "not known"],
        ["JAX", "`Sparse(10)`", "64x64", "bfloat16", "Keras", "first", "0.8 (0.8 to 2)", "first call"],
    ]


def test_a_ratio_in_favor_of_a_peer_is_bold_in_the_table_of_its_device(measured):
    measured("cpu", 2.0, 3.0)
    assert "Older ones" in SCRIPT["TABLES"]["devices"]()
    measured("gpu", 0.8, 5.0)
    host, device = SCRIPT["TABLES"]["single_initializers"](), SCRIPT["TABLES"]["devices"]()
    assert "**" not in host
    assert "**0.8**" in device
    assert "**5**" not in device


def test_what_no_file_of_results_says_is_not_recorded(measured):
    measured("gpu", 2.0, 3.0)
    row = SCRIPT["TABLES"]["machines"]().splitlines()[-1]
    assert row.count("not recorded") == 2
    assert "one, its host, 2 cores, load 0.1" in row


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
    for entry in keras_initx.catalog().values():
        assert {*entry.ids, entry.cls.__name__} <= words


def test_a_notebook_shows_the_catalog_as_a_table():
    assert "<td" in ENTRIES._repr_html_()
    assert "initx.another" in ENTRIES._repr_html_()
