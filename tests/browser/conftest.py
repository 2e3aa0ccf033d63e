"""The browser that all tests of this folder share."""

import pytest


@pytest.fixture(scope="session")
def browser():
    import chromium  # only here: it needs playwright, without which the tests are skipped
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium.executable())
        yield opened
        opened.close()
