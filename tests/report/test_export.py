"""Results as JSON, CSV and pages."""

import html
import json
import re
import sys

import keras
import pytest
from results import EXAMPLES, X, loaded, network, rows_of

import keras_initx


def test_a_page_has_a_title_the_table_and_the_plot(tmp_path):
    page = EXAMPLES["diagnose"]().to_html(tmp_path / "page.html", title="a & b")
    assert "<title>a &amp; b</title>" in page
    assert page.count("<table>") == 1
    assert page.count('src="data:image/png;base64,') == 1
    assert re.findall("<summary>(.*)</summary>", page)[-1] == "Plot"
    assert (tmp_path / "page.html").read_text() == page


# With a title of its own, and with one from what it is.
@pytest.mark.parametrize("name", ["compare_initializers", "diagnose"])
def test_a_page_has_no_plots_without_matplotlib(name, monkeypatch):
    for module in [module for module in sys.modules if module.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, module, None)
    shown = EXAMPLES[name]()
    page = shown.to_html()
    assert "<img" not in page
    assert page.count("<table>") == 1


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("diagnose", "Diagnosis of 3 layers: no problem found"),
        ("initialize", "Initialization plan: 6 of 6 weights drawn"),
        ("mup", "Factors of muP of 6 weights"),
        ("compare_initializers", "made up"),
    ],
)
def test_a_page_has_a_title_of_words_once(name, title):
    page = EXAMPLES[name]().to_html()
    assert re.findall("<h.>(.*)</h.>", page) == [title]


def test_the_title_of_a_page_fits_a_line_and_what_is_longer_stands_below():
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, kernel_initializer="ones")])
    found = keras_initx.audit(model, {"*/kernel": "initx.he_normal"})
    (title,) = re.findall("<h1>(.*)</h1>", found.to_html())
    assert title.startswith("Audit report")
    assert len(title) <= 70
    assert html.escape(found.summary) in found.to_html()


def test_numbers_are_not_rounded():
    found = keras_initx.lsuv(network(), X, seed=0)
    assert [float(row["after"]) for row in rows_of(found)] == [row.after for row in found.rows]
    assert [row["after"] for row in json.loads(found.to_json())["rows"]] == [row.after for row in found.rows]
    assert list(found.to_pandas()["after"]) == [row.after for row in found.rows]


def test_shapes_and_names_are_texts_in_a_csv():
    first, *_, last = rows_of(keras_initx.initialize(network(), seed=0))
    assert (first["shape"], last["shape"]) == ("6x8", "3")
    assert [row["sources"] for row in rows_of(loaded())][:2] == ["first/kernel", ""]
