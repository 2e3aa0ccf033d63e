"""The page to play with, in Chromium: its weights and verdicts are those of the package, and it can be used by all."""

import contextlib
import io
import pathlib
import re
import urllib.parse
import urllib.request

import numpy as np
import pytest

import keras_initx

pytest.importorskip("playwright.sync_api")

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "site" / "play" / "index.html").as_uri()
GUIDE = pathlib.Path(__file__).parents[2] / "docs" / "play.md"
EXACT = {
    "small": keras_initx.SmallNormal,
    "fan_in": keras_initx.FanInNormal,
    "glorot": keras_initx.GlorotUniform,
    "he": keras_initx.HeNormal,
    "sparse": keras_initx.Sparse,
}
SIZES = (20, 64, 100, 200)
SEEDS = (0, 7, 999_950)
# The cases at the top of the page, and one for each other text of a verdict that such a network can get.
CASES = (
    "",
    "weights=zeros",
    "activation=relu&weights=glorot&depth=30",
    "weights=fan_in&scale=10",
    "activation=relu&weights=he&depth=30",
    "weights=orthogonal&depth=50",
    "weights=zeros&depth=1",
    "weights=zeros&activation=sigmoid&depth=3",
    "weights=equal&depth=4&scale=0.5",
    "weights=equal&depth=1",
    "weights=equal&activation=relu&width=200",
    "depth=2&scale=0.1",
    "depth=3",
    "depth=7&width=20&activation=gelu",
    "weights=sparse&activation=relu&depth=20&seed=3",
    "weights=sparse&activation=gelu&depth=8&width=48",
    "weights=orthogonal&activation=gelu&depth=8&scale=0.7",
    "weights=he&activation=relu&scale=10&depth=4",
    "weights=he&activation=relu&scale=10&depth=44&seed=5",
    "weights=glorot&activation=sigmoid&depth=12",
    "weights=he&activation=sigmoid&scale=10&depth=6",
    "weights=fan_in&activation=gelu&scale=5&depth=12&width=160",
)


MARKS = {"spirals": "np.arange", "digits": "load_digits"}  # of the programs


@pytest.fixture
def page(browser):
    opened, problems = browser.new_page(), []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.on(
        "request",
        lambda request: None if request.url.startswith(("file:", "data:", "blob:")) else problems.append(request.url),
    )
    yield opened
    opened.close()
    assert problems == []


def show(page, case):
    """Open the page with these settings."""
    page.goto("about:blank")
    page.goto(f"{PAGE}#{case}")
    page.wait_for_function("shown")


def kernel(page, expression):
    """Return an array of float32 from the page, bit by bit."""
    bits = page.evaluate(f"Array.from(new Uint32Array({expression}.buffer))")
    return np.array(bits, "uint32").view("float32")


def values_of(initializer, size):
    return np.asarray(initializer((size, size))).reshape(-1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", EXACT)
def test_weights_are_those_of_the_package_bit_for_bit(page, name, size):
    show(page, "")
    for seed in SEEDS:
        made = kernel(page, f"initx.KERNELS.{name}({seed}, {size}, 1)")
        np.testing.assert_array_equal(made.view("uint32"), values_of(EXACT[name](seed=seed), size).view("uint32"))


@pytest.mark.parametrize("size", SIZES)
def test_orthogonal_weights_are_those_of_the_package_to_rounding(page, size):
    show(page, "")
    for seed in SEEDS:
        made = kernel(page, f"initx.KERNELS.orthogonal({seed}, {size}, 1)")
        np.testing.assert_allclose(made, values_of(keras_initx.Orthogonal(seed=seed), size), rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_program_makes_the_same_network_and_verdict(page, case):
    show(page, case)
    names = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(page.text_content("#program"), names)
    for index, layer in enumerate(names["model"].layers):
        made, expected = kernel(page, f"shown.net.layers[{index}].kernel"), np.asarray(layer.kernel).reshape(-1)
        if "orthogonal" in case:
            np.testing.assert_allclose(made, expected, rtol=0, atol=1e-5)
        else:
            np.testing.assert_array_equal(made.view("uint32"), expected.view("uint32"))
    report = keras_initx.diagnose(names["model"], names["x"], names["y"], loss="mse")
    found = page.evaluate("shown.found")
    assert [(one["problem"], one["level"], tuple(one["layers"])) for one in found] == [
        (verdict.problem, verdict.level, verdict.layers) for verdict in report.verdicts
    ]
    for one, verdict in zip(found, report.verdicts, strict=True):
        assert one["remedy"] == verdict.remedy.text
        assert_same_text(one["evidence"], verdict.evidence)


NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]\d+)?")


def assert_same_text(text, expected):
    """Compare two texts, whose numbers may differ by rounding in the last of their digits."""
    # How many sums leave float32 on their way depends on the order of their terms.
    text, expected = (re.sub(r"\d+%(?= of the outputs of \S+ are not finite)", "0%", one) for one in (text, expected))
    assert NUMBER.sub("0", text) == NUMBER.sub("0", expected)
    np.testing.assert_allclose(
        [float(number) for number in NUMBER.findall(text)],
        [float(number) for number in NUMBER.findall(expected)],
        rtol=0.02,
    )


def test_statistics_are_those_of_the_package(page):
    for case in ("activation=gelu&weights=he", "activation=sigmoid&weights=glorot", "weights=sparse"):
        show(page, case)
        names = {}
        with contextlib.redirect_stdout(io.StringIO()):
            exec(page.text_content("#program"), names)
        report = keras_initx.diagnose(names["model"], names["x"], names["y"], loss="mse")
        for name, expected in (
            ("std", [layer.before.std for layer in report.layers]),
            ("output.std", [layer.after.std for layer in report.layers]),
            ("output.mean", [layer.after.mean for layer in report.layers]),
            ("gradient_norm", [layer.gradient.norm for layer in report.layers]),
        ):
            measured = page.evaluate(f"shown.net.layers.map((layer) => layer.{name})")
            np.testing.assert_allclose(measured, expected, rtol=1e-4, atol=1e-6)


def test_a_link_shows_its_case_and_a_change_is_in_the_address(page):
    show(page, "activation=relu&weights=he&depth=30&scale=1.41&seed=5")
    assert page.evaluate("settings") == {
        "activation": "relu", "weights": "he", "depth": 30, "width": 100, "scale": 1.41, "seed": 5,
    }  # fmt: skip
    assert page.locator("tbody tr").count() == 30
    page.get_by_role("button", name="Draw again").click()
    page.wait_for_function("location.hash.includes('seed=6')")
    assert "seed=600 + n" in page.text_content("#program")


def test_settings_out_of_range_are_limited_and_unknown_ones_ignored(page):
    show(page, "depth=1e9&width=101&scale=nan&weights=none&activation=&seed=-3&size=7")
    assert page.evaluate("settings") == {
        "activation": "tanh", "weights": "small", "depth": 50, "width": 100, "scale": 1, "seed": 0,
    }  # fmt: skip


def test_the_cases_of_the_guide_have_the_problems_that_it_names(page):
    rows = re.findall(r"^\| \[.*?\]\(play:(.*?)\) \| (.*?) \|", GUIDE.read_text(), re.MULTILINE)
    assert len(rows) == 6
    for case, problems in rows:
        show(page, case)
        found = page.evaluate("shown.found.map(({ problem }) => problem)")
        assert (", ".join(found) or "no problem") == problems
        assert page.locator(".cases a[aria-current]").count() == 1
        assert page.locator(".see").inner_text().count(".") >= 2


def test_no_problem_is_explained_by_numbers_and_limits(page):
    show(page, "activation=relu&weights=he&depth=30")
    std = page.locator("tbody tr").last.locator("td").nth(1).inner_text()
    assert f"1 at the inputs and {std} in the last layer; below 0.001 it would be lost" in page.text_content(".why")
    show(page, "")
    assert page.text_content(".why") == ""


def test_the_table_has_the_numbers_of_the_evidence(page):
    show(page, "")
    numbers = page.locator("tbody td:nth-child(3)").all_inner_texts()
    assert numbers[2] in page.text_content(".problems")


def test_a_large_network_is_shown_coarse_and_computed_in_a_worker(page):
    show(page, "weights=he&activation=relu&depth=30&width=200")
    assert page.evaluate("shown.net.layers[29].kernel.length") == 200**2
    std = page.evaluate("shown.net.layers[29].std")
    page.evaluate("setTo({ ...settings, seed: 1 })")
    page.wait_for_function("document.body.classList.contains('coarse')")
    page.wait_for_function("!document.body.classList.contains('coarse')")
    assert page.evaluate("shown.settings.seed") == 1
    assert page.evaluate("shown.net.layers[29].std") != std
    assert page.text_content(".whole") == "No problem found."


def test_a_seed_out_of_its_range_is_shown_as_it_was_taken(page):
    show(page, "")
    seed = page.get_by_role("spinbutton")
    seed.fill("123456")
    seed.press("Tab")
    assert seed.input_value() == "9999"


def test_units_of_the_layer_that_is_chosen_are_shown(page):
    show(page, "weights=equal")
    page.locator("tbody tr").nth(4).click()
    assert page.locator("#look").input_value() == "5"
    pixels = page.evaluate("""() => {
      const { data } = document.querySelector(".look canvas").getContext("2d").getImageData(0, 0, 100, 50);
      return Array.from(data);
    }""")
    pixels = np.array(pixels).reshape(50, 100, 4)
    assert (pixels == pixels[:, :1]).all()  # all units are one
    assert (pixels != pixels[:1]).any()


def test_links_from_a_checkout_lead_to_the_sources_of_pages(page):
    show(page, "")
    links = page.evaluate("[...document.querySelectorAll('.brand a, .program .notes a')].map(({ href }) => href)")
    assert len(links) == 4
    assert all(pathlib.Path(urllib.request.url2pathname(urllib.parse.urlsplit(link).path)).is_file() for link in links)


def test_a_phone_shows_all_layers_and_controls_at_once(page):
    page.set_viewport_size({"width": 390, "height": 844})
    show(page, "")
    top = page.locator(".controls").bounding_box()["y"]
    last = page.locator("tbody tr").last.bounding_box()
    assert last["y"] + last["height"] <= top
    assert page.get_by_role("button", name="Draw again").is_visible()


def test_a_phone_shows_what_trains_and_not_the_controls(page):
    page.set_viewport_size({"width": 390, "height": 844})
    show(page, "width=20&depth=5")
    page.get_by_role("button", name="Train").click()
    pictures = page.locator(".pair")
    pictures.scroll_into_view_if_needed()
    box = pictures.bounding_box()
    assert box["y"] + box["height"] <= page.locator(".controls").bounding_box()["y"]
    page.get_by_role("button", name="Change").click()
    assert page.get_by_role("button", name="Draw again").is_visible()


def test_a_desktop_shows_the_verdict_and_the_training_at_once(page):
    page.set_viewport_size({"width": 1280, "height": 800})
    show(page, "")
    box = page.get_by_role("button", name="Train").bounding_box()
    assert box["y"] + box["height"] <= 800


def test_a_phone_shows_the_case_of_a_link_and_the_reason_for_hes_factor(page):
    page.set_viewport_size({"width": 390, "height": 844})
    show(page, "activation=relu&weights=he&depth=30")
    case = page.locator(".cases a[aria-current]").bounding_box()
    assert 0 <= case["x"] <= case["x"] + case["width"] <= 390
    assert page.get_by_text("removes half of the mean square").is_visible()


def test_a_remedy_cures(page):
    show(page, "")
    assert page.text_content(".whole") == "2 problems found."
    page.get_by_role("button", name="Try GlorotUniform").click()
    page.locator(".whole", has_text="No problem found").wait_for()
    assert page.get_by_role("radio", name="Glorot").is_checked()


@pytest.mark.parametrize(
    ("case", "data"),
    [
        ("width=40&depth=6", "spirals"),
        ("width=40&activation=relu&weights=sparse&depth=12&seed=3", "spirals"),
        ("width=64&activation=gelu&weights=orthogonal&scale=0.7&depth=5", "spirals"),
        ("width=40&activation=relu&weights=he&depth=6", "digits"),
    ],
)
def test_both_networks_train_as_in_the_package(page, case, data):
    show(page, case)
    page.get_by_label("Data").select_option(data)
    page.wait_for_function(f"document.querySelector('#training-program').textContent.includes('{MARKS[data]}')")
    page.get_by_role("button", name="Train").click()
    page.wait_for_function("sideBySide.runs().every(({ losses }) => losses.length >= 10)")
    found = page.evaluate("sideBySide.runs().map(({ losses, shares }) => [losses.slice(0, 10), shares.slice(0, 10)])")
    program = page.text_content("#training-program").replace("epochs=100", "epochs=10")
    histories = []
    exec(program.replace('print(history["loss"])', "histories.append(history)"), {"histories": histories})
    assert len(found) == len(histories) == 2
    for (losses, shares), history in zip(found, histories, strict=True):
        np.testing.assert_allclose(losses, history["loss"], rtol=0, atol=1e-5)
        np.testing.assert_allclose(shares, history["binary_accuracy"], rtol=0, atol=0.011)  # two points on the border


def test_training_ends_with_a_sentence_and_a_change_stops_it(page):
    show(page, "width=20&depth=5")
    page.get_by_role("button", name="Train").click()
    page.locator(".outcome:not(:empty)").wait_for()
    assert page.text_content(".outcome").startswith("small still guesses. Glorot puts ")
    page.get_by_role("button", name="Train").click()
    page.get_by_role("button", name="Stop").wait_for()
    page.get_by_role("button", name="Draw again").click()
    page.get_by_role("button", name="Train").wait_for()
    assert page.evaluate("sideBySide.runs().map(({ losses }) => losses.length)") == [0, 0]


def test_everything_can_be_reached_and_changed_with_the_keyboard(page):
    show(page, "")
    reached = []
    for _ in range(45):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.name || document.activeElement.id || document.activeElement.tagName")
        )
        if reached[-1] in ("activation", "depth") and reached.count(reached[-1]) == 1:
            page.keyboard.press("ArrowRight")
    assert {
        "A",
        "weights",
        "activation",
        "depth",
        "width",
        "scale",
        "seed",
        "again",
        "other",
        "data",
        "rate",
        "train",
        "PRE",
    } <= set(reached)
    assert page.evaluate("[settings.depth, settings.activation]") == [11, "relu"]


def test_every_control_has_a_name(page):
    show(page, "")
    for role in ("radio", "slider", "spinbutton", "button", "link"):
        controls = page.get_by_role(role).all()
        assert controls, role
        for control in controls:
            assert re.search(r'- \w+ "\S|- \w+: \S', control.aria_snapshot()), control


@pytest.mark.parametrize("case", [CASES[0], CASES[5], CASES[18]])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_words_can_be_read(page, case, scheme):
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)
    show(page, case)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for selector in (".headline", ".training .notes", "h1", ".choices :checked + span", "tbody th", "pre", ".cases a"):
        assert page.evaluate(CONTRAST, selector) >= 4.5, selector


# The ratio of the luminances of an element's text and its background (WCAG 2).
CONTRAST = """(selector) => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => numbers(color).slice(0, 3)
    .map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  let element = document.querySelector(selector);
  const color = luminance(getComputedStyle(element).color);
  while (numbers(getComputedStyle(element).backgroundColor)[3] === 0) element = element.parentElement;
  const behind = luminance(getComputedStyle(element).backgroundColor);
  return (Math.max(color, behind) + 0.05) / (Math.min(color, behind) + 0.05);
}"""
