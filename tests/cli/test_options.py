"""Kinds of options, which are checked before anything large is imported."""

import argparse
import itertools
import os
import re
import sys
from pathlib import Path

import pytest
from commands import refused

from keras_initx import _startup
from keras_initx.cli import _options, _parser


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("initialize pyproject.toml", "one of the arguments --out --dry-run is required"),
        ("initialize pyproject.toml --out a.keras --dry-run", "--dry-run: not allowed with argument --out"),
        ("initialize pyproject.toml --out model.npz", "--out: must end in one of ('.keras', '.h5', '.hdf5')"),
        ("initialize pyproject.toml --dry-run --rules nowhere.json", "no such file or folder: nowhere.json"),
        ("shwo sparse", "no command is named 'shwo'; did you mean show?"),
        ("diagnose nowhere.keras", "no such file or folder: nowhere.keras"),  # and not that there is no --data
        ("diagnose pyproject.toml --data nowhere.npy", "no such file or folder: nowhere.npy"),
        ('show sparse --config {"gain":1,"gain":2}', "has the key 'gain' twice"),
        ('show sparse --config {"gain":Infinity}', "has the number Infinity, which is not finite"),
        ("show he_norml", "no initializer is named 'he_norml'; did you mean HeNormal?"),
        ("show constan", "no initializer is named 'constan'; `list` shows all ids."),
        ("audit pyproject.toml --rules {", "{ is not JSON"),
        ('initialize pyproject.toml --dry-run --rules {"*":{"stddev":NaN}}', "has the number NaN, which is not finite"),
        (
            'audit pyproject.toml --rules {"*":"initx.spars"}',
            "no initializer is named 'initx.spars'; did you mean Sparse?",
        ),
        ("audit README.md.py:build", "no such file or folder: README.md.py"),
    ],
)
def test_options_and_files_are_checked_before_keras_is_imported(capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(Path(__file__).parents[2])  # where there is a file to read
    monkeypatch.setattr(_startup, "use_installed_backend", lambda: pytest.fail("Keras is imported"))
    assert message in refused(capsys, *arguments.split())


@pytest.mark.parametrize(
    "arguments",
    [
        "initialize --out s3://bucket/model.keras model.keras",
        "initialize s3://bucket/model.keras --dry-run",
        "diagnose --json s3://bucket/report.json model.keras",
    ],
)
def test_a_url_is_no_path(capsys, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    assert "must be a path on this machine: mount the storage as a folder" in refused(capsys, *arguments.split())
    assert list(tmp_path.iterdir()) == []


def options_that_write():
    """Return the command and the options of each pair of options that write a file."""
    (commands,) = [action.choices for action in _parser.build()._actions if action.choices]
    pairs = []
    for name, command in commands.items():
        outputs = [action.option_strings[0] for action in command._actions if writes(action)]
        pairs += [(name, *pair) for pair in itertools.combinations(outputs, 2)]
    return pairs


def writes(action):
    return action.type in (_options.output_path, _options.plot_path, _options.saved_model)


PAIRS = options_that_write()
REQUIRED = {"diagnose": ["in.keras", "--data", "x.npy"], "initialize": ["in.keras"], "audit": ["in.keras"]}


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """Work in a folder with files to read, without Keras."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_startup, "use_installed_backend", lambda: pytest.fail("Keras is imported"))
    for name in ("in.keras", "x.npy"):
        (tmp_path / name).touch()
    (tmp_path / "rules.keras").write_text("{}")
    return tmp_path


def assert_one_file_is_refused(capsys, command, one, other, spelling):
    required = REQUIRED[command]
    if (one, other) == ("--plan", "--html"):
        required = [*required, "--dry-run"]
    error = refused(capsys, command, *required, one, "out.keras", other, spelling)
    assert re.search(rf"error: {other} must be a file of its own. Received: \S+, the file of {one}\n$", error)
    assert not os.path.exists("out.keras")


@pytest.mark.parametrize("command", REQUIRED)
def test_two_outputs_are_two_files(capsys, inputs, command):
    for of, one, other in PAIRS:
        if of == command:
            assert_one_file_is_refused(capsys, command, one, other, "out.keras")


@pytest.mark.parametrize("spelling", ["folder/../out.keras", "link.keras"])
def test_two_outputs_are_two_files_in_any_spelling(capsys, inputs, spelling):
    (inputs / "folder").mkdir()
    (inputs / "link.keras").symlink_to("out.keras")
    assert_one_file_is_refused(capsys, "initialize", "--out", "--html", spelling)


@pytest.mark.parametrize(
    "arguments",
    [
        "initialize in.keras --out new.keras --plan ./in.keras",
        "initialize in.keras --dry-run --rules rules.keras --html rules.keras",
        "diagnose in.keras --data in.keras --labels x.npy --json x.npy",
        "audit in.keras --html in.keras",
    ],
)
def test_an_output_is_no_input(capsys, inputs, arguments):
    error = refused(capsys, *arguments.split())
    assert re.search(r"error: --\w+ must be a file of its own. Received: \S+, which the command reads\n$", error)


@pytest.mark.skipif(sys.platform == "win32", reason="there is another null device")
def test_a_device_takes_several_outputs():
    options = {"json": _options.Output(os.devnull), "html": _options.Output(os.devnull), "model": Path(os.devnull)}
    _options.refuse_shared_files(_parser.build(), argparse.Namespace(**options))


@pytest.mark.parametrize(
    ("arguments", "required"),
    [
        ("show sparse --seed -1", "integer in [0, 2**32)"),
        ("show sparse --seed 4294967296", "integer in [0, 2**32)"),
        ("diagnose --batch-size 0", "positive integer"),
        ("diagnose --steps -1", "non-negative integer"),
        ("compare --tolerance 0", "positive number"),
        ("compare --tolerance inf", "positive number"),
    ],
)
def test_a_number_out_of_range_is_an_error_that_names_the_option(capsys, arguments, required):
    option, value = arguments.split()[-2:]
    error = refused(capsys, *arguments.split())
    assert error.endswith(f"error: argument {option}: invalid {required} value: '{value}'\n")
