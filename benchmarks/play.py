"""Measure how long the page to play with takes to show a change.

It is shown in Chromium, with 20 layers of 100 units.

    python benchmarks/play.py

Needs `playwright` and Chromium, see `nox -s site`.
"""

import runpy
import statistics
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "site" / "play" / "index.html").as_uri()
CONTROLS = ("scale", "seed", "activation", "depth")

# Milliseconds from a change of a control to the end of the frame that shows it.
CHANGES = """async ([name, count]) => {
  const times = [], control = form.elements[name];
  for (let i = 1; i <= count; i++) {
    await new Promise(requestAnimationFrame);
    const activation = ["tanh", "relu"][i % 2];
    const values = { scale: i / 100, seed: count + i, activation, depth: 20 - i % 2 };
    control.value = values[name];
    const begin = performance.now();
    const changed = control.length ? [...control].find((radio) => radio.checked) : control;
    changed.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    times.push(performance.now() - begin);
  }
  return times;
}"""


def main():
    """Measure and print."""
    executable = runpy.run_path(str(ROOT / "tests" / "browser" / "chromium.py"))["executable"]()
    print(f"{'weights':12}{'change':12}{'median, ms':>12}{'quartiles':>14}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable)
        page = browser.new_page()
        for weights in ("he", "orthogonal"):
            for name in CONTROLS:
                page.goto("about:blank")
                page.goto(f"{PAGE}#depth=20&activation=relu&weights={weights}")
                page.wait_for_function("shown")
                page.evaluate(CHANGES, [name, 10])  # until it is compiled
                first, median, third = statistics.quantiles(page.evaluate(CHANGES, [name, 30]))
                print(f"{weights:12}{name:12}{median:12.0f}{f'{first:.0f}, {third:.0f}':>14}")
        browser.close()


if __name__ == "__main__":
    main()
