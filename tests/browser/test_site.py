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
    "weight_g": "checkpoints",
    "loss does not decrease": "symptoms",
    "U-Net": "fields",
    "diffusion": "fields",
    "GAN": "symptoms",
    "SIREN": "fields",
    "two towers": "fields",
    "port from torch": "port_from_torch",
    "fine-tuning": "fine_tuning",
    "loss stuck at 2.3026": "symptoms",
    "time series": "fields",
    "gallery": "gallery",
    "continuous integration": "ci",
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


def test_what_people_search_for_is_found_first(page, address):
    found = {}
    for words in SEARCHED:
        page.goto(f"{address}/search.html?q={words.replace(' ', '+')}")
        page.wait_for_selector(
            "#search-results .search-summary:has-text('found'), #search-results p:has-text('not match')"
        )
        first = page.locator("#search-results li a").first
        found[words] = first.get_attribute("href").partition(".html")[0] if first.count() else None
    assert found == SEARCHED


def test_on_a_phone_no_page_is_wider_than_the_screen(page, address):
    page.set_viewport_size({"width": 390, "height": 844})
    wide = []
    for path in sorted(BUILT.rglob("*.html")):
        page.goto(f"{address}/{path.relative_to(BUILT)}")
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            wide.append(path.name)
    assert wide == []
