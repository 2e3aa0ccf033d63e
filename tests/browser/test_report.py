"""The report of a study, in Chromium: on a desktop no table is cut, however long the names of initializers are."""

import pytest

from keras_initx.studies import Study, Trial

pytest.importorskip("playwright.sync_api")

NAMES = (
    "initx.orthogonal(gain=relu)",
    "initx.sparse(connections=15,gain=relu)",
    "VarianceScaling(scale=2.0, mode='fan_out', distribution='untruncated_normal')",
)


def test_no_table_is_cut_on_a_desktop(browser, tmp_path):
    trials = {}
    for place, name in enumerate(NAMES):
        for repeat in (1, 2, 3):
            accuracy = 0.5 + 0.1 * place + 0.05 * repeat
            metrics = {"loss": 1.0, "accuracy": accuracy, "val_loss": 1.0, "val_accuracy": accuracy}
            metrics |= {"seconds": 1.0, "batch_losses": [2.0, 1.0]}
            epochs = {"epoch": 0, "val_loss": 2.0, "val_accuracy": 0.1}, {"epoch": 1, **metrics}
            trials[name, repeat] = Trial("key", "finished", epochs)
    settings = {"repeats": 3, "epochs": 1, "batch_size": 8, "seed": 0, "keras": "3", "backend": "none"}
    settings["initializers"] = dict.fromkeys(NAMES)
    path = tmp_path / "report.html"
    Study("made up", settings, trials, "val_accuracy", "max", 0.8).report(path)
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(path.as_uri())
    assert page.get_by_role("heading", name="All pairs").is_visible()
    tables = "[...document.querySelectorAll('table')].map(table => table.parentElement)"
    hidden = page.evaluate(f"{tables}.map(box => box.scrollWidth - box.clientWidth)")
    assert set(hidden) == {0}
