"""Print the path of Chromium: of the system's, or of the one that `playwright install chromium` has fetched."""

import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable():
    """Return the path, or `None` if there is no Chromium."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found:
        return found
    with sync_playwright() as playwright:
        fetched = playwright.chromium.executable_path
    return fetched if Path(fetched).exists() else None


if __name__ == "__main__":
    print(executable() or "")  # noqa: T201
