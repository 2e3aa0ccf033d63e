"""The command `demo`, with networks that train for one epoch; `tests/hunt/test_demo_command.py` runs it whole."""

import contextlib
import io
import re
import sys

import pytest
from commands import refused

from keras_initx.cli import _demo
from keras_initx.cli import _main as cli


@pytest.fixture(scope="module")
def printed():
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        patch.setenv("COLUMNS", "80")
        patch.setattr(_demo, "_EPOCHS", 1)
        assert cli.main(["demo"]) == 0
    return output.getvalue()


@pytest.mark.rare
def test_it_diagnoses_initializes_diagnoses_again_and_trains_both(printed):
    parts = printed.split("\n\n")
    numbered = [part for part in parts if re.match(r"\d\. ", part)]
    assert numbered == [
        "1. keras_initx.diagnose(model, x, y)",
        "2. keras_initx.initialize(model, report, seed=0)",
        "3. keras_initx.diagnose(model, x, y)",
        "4. model.fit(x, y, epochs=1, validation_split=0.2), of both",
    ]
    before, changed, after, trained = (parts.index(part) for part in numbered)
    assert parts[before + 2].startswith("vanishing (warning): ")
    assert parts[changed + 2].startswith("41 of 82 weights drawn")
    assert parts[after + 2] == "No problem found."
    _, default, remedied = parts[trained + 1].splitlines()
    assert default.startswith("Keras' default weights ")
    assert remedied.startswith("after initialize ")


@pytest.mark.rare
def test_it_ends_with_the_command_for_a_model_of_ones_own(printed):
    assert printed.endswith("\n    python -m keras_initx diagnose FILE.py:model --data FILE.py:batch\n")


def test_it_draws_nothing(monkeypatch, capsys):
    for name in ["matplotlib", *(name for name in sys.modules if name.startswith("matplotlib."))]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(_demo, "_tell", lambda x, y: None)
    assert cli.main(["demo"]) == 0
    assert "1797 images" in capsys.readouterr().out


@pytest.mark.parametrize(("module", "package"), [("sklearn", "scikit-learn"), ("threadpoolctl", "threadpoolctl")])
def test_a_missing_package_is_named_with_the_extra(capsys, monkeypatch, module, package):
    for name in [module, *(name for name in sys.modules if name.startswith(f"{module}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    error = refused(capsys, "demo")
    assert f"error: {package} not found; install with `pip install {package}`" in error
    assert error.endswith("with its extra `demo`\n")


def test_one_thread_computes_and_the_others_are_given_back(monkeypatch):
    def threads():
        return [pool["num_threads"] for pool in _demo.import_optional("threadpoolctl", "demo").threadpool_info()]

    before, seen = threads(), []
    monkeypatch.setattr(_demo, "_tell", lambda x, y: seen.append(threads()))
    cli.main(["demo"])
    assert {*seen[0]} == {1}
    assert threads() == before
