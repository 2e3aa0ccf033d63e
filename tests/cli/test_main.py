"""The command line: its streams, its exit codes, and errors of one line."""

import importlib
import importlib.util
import os
import subprocess
import sys

import pytest
import streams
from commands import refused

import keras_initx
from keras_initx import _startup
from keras_initx._compiled_kernel import load_library
from keras_initx.cli import _catalog
from keras_initx.cli import _main as cli

DRAWS = "the compiled kernel" if load_library() else "NumPy"
VERSION = f"keras_initx {keras_initx.__version__}, draws on the host by {DRAWS}\n"


def test_version(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["--version"])
    assert capsys.readouterr().out == VERSION


@pytest.mark.parametrize("error", [ImportError("no h5py"), ValueError("Unable to import backend : mxnet")], ids=str)
def test_what_keras_raises_when_it_is_imported_is_an_error(capsys, monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr(_startup, "use_installed_backend", fail)
    assert refused(capsys, "list").endswith(f"error: Keras cannot be imported: {error}\n")


@pytest.mark.parametrize(("script", "starts"), [("/bin/initx", True), ("initx.exe", True), ("initx.py", False)])
def test_the_installed_command_is_known_by_its_name(monkeypatch, script, starts):
    monkeypatch.setattr(sys, "argv", [script, "list"])
    assert _startup.is_starting() is starts
    assert _startup.program() == ("initx" if starts else "python -m keras_initx")


def test_keras_that_does_not_start_is_an_error(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_initx.initializers", None)
    assert "error: Keras cannot be imported: import of keras_initx.initializers halted" in refused(capsys, "list")


def test_no_backend_is_an_error(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "error: Keras cannot be imported: Keras needs one of the backends" in refused(capsys, "list")


def written_to(output, errors=subprocess.PIPE, option="--help"):
    """Return the exit code and the errors of a command that writes to the file of this descriptor."""
    command = [sys.executable, "-m", "keras_initx", option]
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    result = subprocess.run(command, env=environment, stdout=output, stderr=errors, text=True)
    return result.returncode, result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are closed otherwise there")
def test_a_closed_pipe_ends_a_command_quietly():
    reader, writer = os.pipe()
    os.close(reader)
    assert written_to(writer) == (141, "")
    os.close(writer)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
def test_a_full_disk_ends_a_command_with_an_error():
    with open("/dev/full", "w") as full:
        assert written_to(full) == (2, "python -m keras_initx: error: [Errno 28] No space left on device\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
@pytest.mark.parametrize("option", ["--help", "--nonsense"])
def test_errors_may_be_written_to_the_full_disk_too(option):
    with open("/dev/full", "w") as full:
        assert written_to(full, full, option) == (2, None)


def test_signs_that_an_encoding_lacks_are_escaped(monkeypatch):
    stdout = streams.encoded("ascii")
    monkeypatch.setattr(sys, "stdout", stdout)
    assert cli.main(["list"]) == 0
    text = _catalog.write_families().replace("\n", os.linesep)
    assert stdout.buffer.getvalue() == text.encode("ascii", "backslashreplace")


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_closed_stream_is_no_error(capsys, monkeypatch, name):
    monkeypatch.setattr(sys, name, None)
    assert cli.main(["list"]) == 0
    with getattr(sys, name) as opened:
        assert opened.name == os.devnull


def test_an_error_that_nobody_foresaw_is_no_problem_that_was_found(capsys, monkeypatch):
    def fail(*arguments, **options):
        raise ZeroDivisionError

    monkeypatch.setattr(keras_initx.Sparse, "__call__", fail)
    assert refused(capsys, "show", "sparse").startswith("Traceback (most recent call last):\n")


def test_an_interrupt_ends_a_command_with_one_line(capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(keras_initx.Sparse, "__call__", interrupted)
    assert cli.main(["show", "sparse"]) == 130
    assert capsys.readouterr().err == "python -m keras_initx: interrupted\n"
