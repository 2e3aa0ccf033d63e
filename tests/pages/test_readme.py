"""The blocks of the README, run one after another, print what it shows, and learn as much as it says."""

import importlib.util
import pathlib
import re
import tomllib

import keras
import pytest

ROOT = pathlib.Path(__file__).parents[2]
TEXT = ROOT.joinpath("README.md").read_text()
BLOCK = re.compile(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```)?", re.DOTALL)
# What the command that loads the model of the first block runs.
LINE = re.compile(r"^KERAS_BACKEND=\w+ python -c \"(.*?)\"$", re.DOTALL | re.MULTILINE)

# The weights of Keras itself in forty layers depend on the backend: the numbers are those of JAX.
OF_KERAS = "diagnose("


def without_numbers(text):
    return re.sub(r"\d[\d.e-]*", "#", text).split()


@pytest.mark.every_backend
@pytest.mark.filterwarnings("ignore:.*could not be loaded")
@pytest.mark.parametrize("is_trained", [False, pytest.param(True, marks=pytest.mark.rare)], ids=["shown", "trained"])
def test_the_blocks_print_what_is_shown_and_forty_layers_learn_as_much_as_is_said(
    is_trained, capsys, monkeypatch, tmp_path
):
    has_digits = importlib.util.find_spec("sklearn") is not None
    if is_trained and not has_digits:
        pytest.skip("the digits are those of scikit-learn")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    keras.utils.clear_session(free_memory=False)  # names of layers are counted from the start
    names, shown = {}, 0
    for code, expected in BLOCK.findall(TEXT):
        if "digits()" in code and not has_digits:
            continue
        if "model.fit" in code and not is_trained:
            continue
        exec(code, names)
        printed = capsys.readouterr().out
        if expected:
            shown += 1
            if keras.backend.backend() == "jax" or OF_KERAS not in code:
                assert printed == expected
            else:
                assert without_numbers(printed) == without_numbers(expected)
        if "model.fit" in code:
            accuracy = names["model"].history.history["val_accuracy"]
    assert shown == 1 + has_digits
    if not is_trained:
        return
    (percent,) = re.findall(r"more than (\d+) % of the digits", TEXT)
    assert max(accuracy[-3:]) > int(percent) / 100


@pytest.mark.every_backend
def test_the_first_block_saves_a_model_of_which_the_line_below_prints_the_digest(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    exec(BLOCK.search(TEXT)[1], {})
    drawn = capsys.readouterr().out
    exec(LINE.search(TEXT)[1], {})
    assert capsys.readouterr().out == drawn


def test_ci_runs_the_test_command_of_the_readme():
    (shown,) = re.findall(r"^```sh\n((?:[^`]*\n)?pip install nox [^`]*)^```$", TEXT, re.MULTILINE)
    run = ROOT.joinpath(".ci", "run").read_text()
    commands = [line for line in run.splitlines() if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == shown.splitlines()


def test_a_package_index_shows_no_links_to_files_that_it_lacks():
    project = tomllib.loads(ROOT.joinpath("pyproject.toml").read_text())
    text = TEXT
    for rule in project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    assert "<img" not in text
    assert not re.findall(r"\]\((?!https?:|#)[^)]*\)", text)
