"""The pages in Chromium: what people search for is found, and on a phone nothing is wider than the page."""

import functools
import http.server
import pathlib
import threading

import pytest

pytest.importorskip("playwright.sync_api")

BUILT = pathlib.Path(__file__).parents[2] / "docs" / "_build" / "html"
# The page that is found first.
SEARCHED = {
    "PINN": "fields",
    "physics": "fields",
    "forecast": "fields",
    "LSTM predicts the mean": "fields",
    "recommender": "fields",
    "reinforcement learning": "fields",
    "PPO": "fields",
    "weight_g": "load_pretrained",
    "loss does not decrease": "symptoms",
    "U-Net": "fields",
    "diffusion": "fields",
    "GAN": "symptoms",
    "SIREN": "fields",
    "two towers": "fields",
    "port from torch": "port_from_torch",
    "fine-tuning": "fine_tuning",
    "round trip": "round_trip",
    "loss stuck at 2.3026": "symptoms",
    "time series": "fields",
    "gallery": "gallery",
    "continuous integration": "ci",
    "bf16": "versions",
    "fp8": "versions",
    "mixed precision": "versions",
    "tf.keras": "versions",
    "onnx": "initializers",
    "huggingface": "load_pretrained",
    "seed": "seeds",
    "weight norm": "load_pretrained",
    "multi gpu": "devices",
    "multi GPU training": "devices",
    "tpu": "devices",
    "quickstart": "index",
    "kaiming": "coming_from",
    "custom initializer": "own_initializer",
    "freeze": "symptoms",
    "HeNormal": "api/initializers",
    "initialize": "api/whole_models",
}


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    if not BUILT.joinpath("searchindex.js").exists():
        pytest.skip("`nox -s site` builds the pages")
    handler = functools.partial(Quiet, directory=BUILT)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def search(page, address, words):
    """Search for words, and return the results."""
    page.goto(f"{address}/search.html?q={words.replace(' ', '+')}")
    page.wait_for_selector("#search-results .search-summary:has-text('found'), #search-results p:has-text('not match')")
    return page.locator("#search-results li")


def test_what_people_search_for_is_found_first(page, address):
    found = {}
    for words in SEARCHED:
        first = search(page, address, words).locator("a").first
        found[words] = first.get_attribute("href").partition(".html")[0] if first.count() else None
    assert found == SEARCHED


@pytest.mark.parametrize(("part", "whole"), [("tpu", "output"), ("ema", "remark")])
def test_a_search_does_not_find_the_middle_of_a_word(page, address, part, whole):
    titles = search(page, address, part).locator("a").all_inner_texts()
    assert [title for title in titles if whole in title.lower()] == []


def test_a_search_finds_the_beginning_of_a_word_after_the_whole_word(page, address):
    titles = search(page, address, "ortho").locator("a").all_inner_texts()
    assert "Initializers" in titles
    titles = search(page, address, "kaiming").locator("a").all_inner_texts()
    assert titles.index("Initializers") < titles.index("Trouble")  # which has `kaiming_normal_`


def test_a_search_finds_attributes_of_the_reference_last(page, address):
    results = search(page, address, "seed")
    names = results.locator("a").all_inner_texts()
    attributes = [name.startswith("keras_initx.types.") for name in names]
    assert any(attributes)
    assert attributes == sorted(attributes)


def test_on_a_phone_no_page_is_wider_than_the_screen(page, address):
    page.set_viewport_size({"width": 390, "height": 844})
    wide = []
    for path in sorted(BUILT.rglob("*.html")):
        page.goto(f"{address}/{path.relative_to(BUILT)}")
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            wide.append(path.name)
    assert wide == []
