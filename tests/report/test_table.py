"""Cells of tables are aligned and wrapped by what they are."""

from keras_initx.report._table import Column, Table

COLUMNS = [
    Column("weight", lambda row: row[0], is_text=True),
    Column("values", lambda row: row[1]),
]
ROWS = [("the first of several kernels", 12), ("the other one", 3)]


def test_html_has_texts_at_the_left_and_numbers_at_the_right():
    html = Table.of(COLUMNS, ROWS).as_html()
    assert '<td style="text-align: left">the other one</td>' in html
    assert '<td style="text-align: right">12</td>' in html


def test_words_share_a_line_as_far_as_it_goes():
    whole = Table.fitted(COLUMNS, ROWS, 80).as_text().splitlines()
    assert whole == [
        "weight                        values",
        "the first of several kernels      12",
        "the other one                      3",
    ]
    _, *narrow = Table.fitted(COLUMNS, ROWS, 28).as_text().splitlines()
    assert narrow == ["the first of several      12", "  kernels", "the other one              3"]
