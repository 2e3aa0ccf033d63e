"""The page to play with, in Chromium: it opens without an error, and its weights are those of the package."""

import pathlib
import re

import numpy as np
import pytest

import keras_initx

pytest.importorskip("playwright.sync_api")

DOCS = pathlib.Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "site" / "play" / "index.html").as_uri()


def test_it_opens_without_an_error_and_has_weights_of_the_package(page):
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(f"{PAGE}#activation=relu&weights=he&depth=30")
    page.wait_for_function("shown")
    assert page.locator(".layers tbody tr").count() == 30
    assert "no problem" in page.locator(".headline.whole").inner_text().lower()
    bits = page.evaluate("Array.from(new Uint32Array(initx.KERNELS.he(7, 20, 1).buffer))")
    expected = np.asarray(keras_initx.HeNormal(seed=7)((20, 20))).reshape(-1)
    np.testing.assert_array_equal(np.array(bits, "uint32"), expected.view("uint32"))
    assert problems == []


ROW = re.compile(r"^\| .*? \| `(#.*?)` \| (.*?) \|", re.MULTILINE)


@pytest.mark.parametrize(("address", "found"), ROW.findall((DOCS / "play.md").read_text()))
def test_diagnose_finds_in_the_cases_of_the_page_what_it_says(page, address, found):
    page.goto(f"{PAGE}{address}")
    page.wait_for_function("shown")
    names = re.findall(
        r"^([\w -]+) \((?:warning|error)\):?", page.locator(".problems").first.inner_text(), re.MULTILINE
    )
    assert (", ".join(names) or "no problem") == found


@pytest.mark.parametrize(
    ("case", "has_exponents"), [("weights=small", True), ("activation=relu&weights=he&depth=30", False)]
)
def test_the_numbers_of_a_column_have_one_form(page, case, has_exponents):
    page.goto(f"{PAGE}#{case}")
    page.wait_for_function("shown")
    numbers = page.locator(".layers tbody td:nth-of-type(2)").all_inner_texts()
    assert len(numbers) in (10, 30)
    assert ["e" in number for number in numbers] == [has_exponents] * len(numbers)


@pytest.mark.parametrize("height", [667, 844])
def test_on_a_phone_nothing_is_cut_and_the_controls_leave_most_of_the_page(page, height):
    page.set_viewport_size({"width": 390, "height": height})
    page.goto(PAGE)
    page.wait_for_function("shown")
    page.locator("summary").click()
    boxes = page.locator(".cases, pre, body")
    widths = boxes.evaluate_all("found => found.map((box) => [box.scrollWidth, box.clientWidth])")
    assert len(widths) == 4
    assert all(needed <= room for needed, room in widths)
    assert page.locator(".controls").bounding_box()["height"] < 0.27 * height


def test_a_shown_program_is_copied_as_it_is_written(page):
    page.goto(PAGE)
    page.wait_for_function("shown")
    assert page.locator("#program").evaluate("code => code.textContent === python(settings)")
