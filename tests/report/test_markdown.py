"""Texts stay as they are where a code host renders them."""

import html
import re

import pytest

from keras_initx.report._markdown import bullets, fold, format_line, paragraphs
from keras_initx.report._table import Column, Table

TEXTS = [
    "block_*/dense: 2 < 3 & 4 > 3, x | y, $a$, [b](c), ~~d~~, _e_, &lt;",
    "# not a heading",
    "1. not an item",
    "- nor this",
    "+ nor this",
    "<script>alert(1)</script>",
    r"a\b",
]


@pytest.fixture(scope="module")
def rendered():
    """Return a function that renders Markdown as a code host does, and returns the text of the page."""
    markdown_it = pytest.importorskip("markdown_it")
    parser = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

    def text_of(markdown):
        page = parser.render(markdown)
        assert "<h1>" not in page
        return html.unescape(re.sub(r"</?(p|table|thead|tbody|tr|th|td|code|ul|li|details|summary)[^>]*>|\n", "", page))

    return text_of


@pytest.mark.parametrize("text", TEXTS)
def test_a_line_is_shown_as_it_is(text, rendered):
    assert rendered(format_line(text)) == text
    assert rendered(bullets([text])) == text
    assert rendered(fold("", format_line(text))) == text
    table = Table.of([Column("", str, is_text=True), Column("", str)], [text])
    assert rendered(table.as_markdown()) == 2 * text


def test_code_in_backticks_is_code(rendered):
    assert format_line("call `load(names={'*': 'a_b'})` *") == r"call `load(names={'*': 'a_b'})` \*"
    assert rendered(format_line("call `a*b`, c*d")) == "call a*b, c*d"


def test_the_heading_of_a_section_is_html(rendered):
    assert fold("12 layers of <b>", "text").startswith("<details><summary>12 layers of &lt;b&gt;</summary>\n\ntext")


def test_lines_are_paragraphs():
    assert paragraphs(["one\n  two", "", "three"]) == ["one", "two", "three"]
