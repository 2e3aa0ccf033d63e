"""`python -m keras_initx save`: a saved model in the names of torch."""

import json

import keras
import numpy as np
import pytest
from commands import refused
from saved import read, state_of

from keras_initx import load_pretrained
from keras_initx.cli import _main as cli

layers = keras.layers


@pytest.fixture
def files(tmp_path):
    """Return a saved model, the file that it was loaded from, and the report of this load."""
    model = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="hidden", use_bias=False)])
    np.savez(tmp_path / "like.npz", **state_of({"fc.weight": (8, 4)}))
    names = {"hidden/kernel": ("fc.weight", np.s_[:4])}
    report = load_pretrained(model, tmp_path / "like.npz", names, layout="torch")
    report.to_json(tmp_path / "load.json")
    model.layers[0].kernel.assign(np.arange(16.0).reshape(4, 4))
    model.save(tmp_path / "model.keras")
    return tmp_path


NAMES = '{"hidden/kernel": ["fc.weight", "[:4]"]}'


@pytest.mark.parametrize("names", ["report", "text", "file"])
def test_a_model_is_saved_with_the_names_of_its_load(names, files, capsys):
    (files / "names.json").write_text(NAMES)
    given = {"report": str(files / "load.json"), "text": NAMES, "file": str(files / "names.json")}[names]
    layout = [] if names == "report" else ["--layout", "torch"]
    out = files / "out.safetensors"
    arguments = [str(files / "model.keras"), str(out), "--like", str(files / "like.npz"), "--names", given, *layout]
    assert cli.main(["save", *arguments, "--json", str(files / "save.json")]) == 0
    np.testing.assert_array_equal(read(out)["fc.weight"][:4].T, np.arange(16.0).reshape(4, 4))
    assert "1 of 1 weights saved to" in capsys.readouterr().out
    assert json.loads((files / "save.json").read_text())["rows"][0]["arrays"] == ["fc.weight"]


def test_a_dry_run_says_what_cannot_be_saved(files, capsys):
    arguments = [str(files / "model.keras"), str(files / "out.safetensors"), "--like", str(files / "like.npz")]
    assert cli.main(["save", *arguments, "--layout", "torch", "--dry-run"]) == 1
    assert "1 with errors" in capsys.readouterr().out
    error = refused(capsys, "save", *arguments, "--layout", "torch")
    assert "initx save: error: `like` must have an array that can hold each weight" in error
    assert not (files / "out.safetensors").exists()


def test_bad_arguments_are_refused(files, capsys):
    model = str(files / "model.keras")
    assert "--like" in refused(capsys, "save", model, "out.safetensors")
    arguments = ["save", model, "out.npz", "--like", str(files / "like.npz"), "--layout", "torch"]
    assert "`path` must be a file that ends in '.safetensors'" in refused(capsys, *arguments)
    arguments[2] = "out.safetensors"
    assert "`names` must be a dict" in refused(capsys, *arguments, "--names", "[]")
    assert "index as texts" in refused(capsys, *arguments, "--names", '{"a": [1]}')
