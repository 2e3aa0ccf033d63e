"""The commands and their options."""

import subprocess
import sys

import pytest

import keras_initx
from keras_initx._compiled_kernel import load_library
from keras_initx.cli import _main as cli

DRAWS = "the compiled kernel" if load_library() else "NumPy"
VERSION = f"keras_initx {keras_initx.__version__}, draws on the host by {DRAWS}\n"


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"    {command} " in shown for command in ("list", "show", "contract"))


@pytest.mark.parametrize("arguments", [["nonsense"], ["list", "nonsense"], ["show"]], ids=" ".join)
def test_wrong_arguments_are_an_error_of_one_line(capsys, arguments):
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m keras_initx")


def test_arguments_are_read_before_anything_large_is_imported():
    command = [sys.executable, "-X", "importtime", "-m", "keras_initx", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == VERSION
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "keras_initx.cli._main" in imported
    assert not imported & {"jax", "keras", "keras_initx.initializers", "numpy", "tensorflow", "torch"}
