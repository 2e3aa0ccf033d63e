"""The built documentation, in Chromium: every page fits a phone, and shows its contents and its code on a desktop."""

import pathlib
import re

import pytest

pytest.importorskip("playwright.sync_api")

SITE = pathlib.Path(__file__).parents[2] / "docs" / "_build" / "html"
PAGES = sorted(page for page in SITE.rglob("*.html") if page.parent.name != "play" and "_modules" not in page.parts)
pytestmark = pytest.mark.skipif(not PAGES, reason="the documentation is built by `nox -s site`")


@pytest.fixture(scope="module")
def phone(browser):
    return browser.new_page(viewport={"width": 390, "height": 844})


@pytest.fixture(scope="module")
def desktop(browser):
    return browser.new_page(viewport={"width": 1280, "height": 900})


def name(page):
    return str(page.relative_to(SITE).with_suffix(""))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_does_not_scroll_sideways_on_a_phone(phone, page):
    phone.goto(page.as_uri())
    # What is wider than its column scrolls in a box of its own.
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    assert phone.evaluate("(box => box.scrollWidth - box.clientWidth)(document.querySelector('.content'))") == 0


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_shows_its_contents_and_whole_lines_of_code_on_a_desktop(desktop, page):
    desktop.goto(page.as_uri())
    for contents in desktop.locator(".toc-tree").all():
        box = contents.bounding_box()
        assert box["x"] > 0
        assert box["x"] + box["width"] <= 1280
    cut = "[...document.querySelectorAll('article pre')].filter(code => code.scrollWidth > code.clientWidth).length"
    assert desktop.evaluate(cut) == 0


def test_the_first_column_of_a_table_stays_in_view_on_a_phone(phone):
    phone.goto((SITE / "which.html").as_uri())
    box = phone.locator(".table-wrapper").first
    before = box.locator("td").first.bounding_box()["x"]
    box.evaluate("box => { box.scrollLeft = 100 }")
    assert box.evaluate("box => box.scrollLeft") == 100
    assert box.locator("td").first.bounding_box()["x"] == pytest.approx(before, abs=4)  # the padding of the box


def test_a_wide_table_shows_on_a_phone_that_it_scrolls(phone):
    phone.goto((SITE / "which.html").as_uri())
    box = phone.locator(".table-wrapper").first
    assert "gradient" in box.evaluate("box => getComputedStyle(box).backgroundImage")


@pytest.mark.parametrize(("scheme", "shown"), [("light", "none"), ("dark", "invert(0.92) hue-rotate(180deg)")])
def test_figures_are_dark_on_a_dark_page(desktop, scheme, shown):
    desktop.emulate_media(color_scheme=scheme)
    desktop.goto((SITE / "initializers.html").as_uri())
    figures = desktop.locator("article img")
    assert figures.count() >= 7
    assert set(figures.evaluate_all("all => all.map(one => getComputedStyle(one).filter)")) == {shown}
    desktop.emulate_media(color_scheme="light")


def test_ids_of_initializers_are_not_broken_on_a_phone(phone):
    phone.goto((SITE / "initializers.html").as_uri())
    lines = "codes => codes.map(code => code.getClientRects().length)"
    assert set(phone.locator("td:first-child code.literal", has_text="initx.").evaluate_all(lines)) == {1}


def test_neither_prompts_nor_output_are_copied(desktop):
    desktop.goto((SITE / "index.html").as_uri())
    console = desktop.locator(".highlight-pycon")
    console.hover()
    console.locator(".copybtn").click()
    desktop.evaluate("document.body.prepend(document.createElement('textarea'))")
    desktop.locator("textarea").focus()
    desktop.keyboard.press("Control+V")
    source = (
        "kernel = keras_initx.Sparse(connections=2, seed=7)((5, 3))\nprint(keras.ops.convert_to_numpy(kernel).round(4))"
    )
    assert desktop.input_value("textarea").rstrip() == source  # the lines of the output are empty


def test_links_of_the_page_to_play_with_lead_to_pages():
    play = SITE / "play" / "index.html"
    linked = re.findall(r'href="(\.\./.*?)"', play.read_text())
    assert len(linked) >= 4
    assert all((play.parent / link).is_file() for link in linked)
