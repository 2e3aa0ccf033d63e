"""Commands in each encoding, and with streams that are closed, full or not read: the exit code holds."""

import io
import itertools
import os
import sys

import keras
import numpy as np
import pytest

from keras_initx import cli

COMMANDS = {
    "--help": 0,
    "--version": 0,
    "nonsense": 2,
    "list": 0,
    "list --markdown": 0,
    "show sparse": 0,
    "show orthogonal --shape 3,3,4,8": 0,
    "show €": 2,
    "show sparse --seed -1": 2,
    "diagnose model.keras --data x.npy": 0,
    "diagnose zeros.keras --data x.npy": 1,
    "diagnose é→.keras --data x.npy": 2,
    "diagnose model.keras --data d.npz": 2,
    "initialize model.keras --seed 1 --dry-run": 0,
    "initialize model.keras --seed 1 --out é→.out.keras": 0,
    "initialize é→.keras --dry-run": 2,
}
ENCODINGS = ("ascii", "cp1252", "utf-8")
# Of those that draw, and of those that diagnose.
EVERYWHERE = ("diagnose model.keras --data x.npy", "initialize model.keras --seed 1 --dry-run")
# The kinds of standard output and of standard error.
STREAMS = [("none", "file"), ("file", "none"), ("none", "none"), ("file", "full"), ("full", "file"), ("full", "full")]
STREAMS += [("pipe", "file"), ("file", "pipe"), ("pipe", "pipe"), ("pipe", "none")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with models and data."""
    path = tmp_path_factory.mktemp("commands")
    draws = np.random.default_rng(0)
    for name, kernel in (("model", "glorot_uniform"), ("zeros", "zeros")):
        layers = [keras.layers.Dense(4, "tanh", kernel_initializer=kernel) for _ in range(2)]
        keras.Sequential([keras.Input((4,)), *layers]).save(path / f"{name}.keras")
    np.save(path / "x.npy", draws.normal(size=(64, 4)).astype("float32"))
    (path / "d.npz").mkdir()
    return path


@pytest.fixture(autouse=True)
def prepared(folder, monkeypatch):
    monkeypatch.chdir(folder)


def stream(kind, encoding):
    if kind == "none":
        return None
    if kind == "file":
        return io.TextIOWrapper(io.BytesIO(), encoding)
    if kind == "full":
        return open("/dev/full", "w", encoding=encoding)
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w", encoding=encoding)


def ran(command, monkeypatch, encoding="utf-8", kinds=("file", "file")):
    """Return the exit code of a command and what it has written to standard output and errors."""
    streams = [stream(kind, encoding) for kind in kinds]
    for name, each in zip(("stdout", "stderr"), streams, strict=True):
        monkeypatch.setattr(sys, name, each)
    try:
        code = cli.main(command.split())
    except SystemExit as error:
        code = error.code
    opened = sys.stdout, sys.stderr
    monkeypatch.undo()
    written = []
    for kind, each in zip(kinds, opened, strict=True):
        each.flush()
        written.append(each.buffer.getvalue().decode(encoding) if kind == "file" else "")
        each.close()
    return code, *written


# Of each exit code one, and one that writes what few encodings have.
FEW = ("list", "diagnose zeros.keras --data x.npy", "show €", "initialize model.keras --seed 1 --out é→.out.keras")


@pytest.mark.parametrize(
    ("command", "encoding"),
    [
        *(
            pytest.param(command, "ascii", marks=[pytest.mark.every_backend] * (command in EVERYWHERE))
            for command in COMMANDS
        ),
        *itertools.product(FEW, ENCODINGS[1:]),
    ],
)
def test_a_command_in_an_encoding(monkeypatch, command, encoding):
    code, out, errors = ran(command, monkeypatch, encoding)
    assert code == COMMANDS[command], errors
    assert "Traceback" not in errors
    assert out if code in (0, 1) else errors


@pytest.mark.skipif(sys.platform == "win32", reason="pipes are closed otherwise there, and no device is always full")
@pytest.mark.parametrize("kinds", STREAMS, ids="-".join)
@pytest.mark.parametrize("command", FEW[1:3])
def test_commands_with_each_kind_of_stream(monkeypatch, command, kinds):
    code, _, errors = ran(command, monkeypatch, kinds=kinds)
    lost = {"pipe": 141, "full": 2}.get(kinds[0]) if COMMANDS[command] != 2 else None
    assert code == (lost or COMMANDS[command]), errors
    assert "Traceback" not in errors
