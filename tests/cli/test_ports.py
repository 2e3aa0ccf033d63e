"""`python -m keras_initx port`, `record` and `compare`: a port and its torch module, on one machine or two."""

import json

import keras
import pytest
from commands import refused

from keras_initx.cli import _main as cli

torch = pytest.importorskip("torch")

SOURCE = """
import torch


def module():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 3))


loss = torch.nn.MSELoss()
"""

MODEL = """
import keras
import numpy as np

EPSILON = 1e-5


def build():
    layers = keras.layers
    norm = layers.LayerNormalization(epsilon=EPSILON, name="norm")
    hidden = layers.Dense(4, name="hidden")
    model = keras.Sequential([keras.Input((4,)), hidden, norm, layers.Dense(3, name="head")], name="net")
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def converted():
    from source import module

    model = build()
    for layer, part in zip(model.layers, module(), strict=True):
        layer.set_weights([value.detach().numpy() for value in part.parameters()])
    return model


def batch():
    draws = np.random.default_rng(0)
    x = draws.normal(size=(8, 4)).astype("float32")
    return {"model": x, "module": x}, draws.normal(size=(8, 3)).astype("float32")


def names():
    return {"hidden": "0", "norm": "1", "head": "2"}
"""
NAMES = '{"hidden": "0", "norm": "1", "head": "2"}'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Work in a folder with a module and its port."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source.py").write_text(SOURCE)
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "names.json").write_text(NAMES)
    return tmp_path


def port(*options, model="build"):
    return cli.main(["port", f"model.py:{model}", "source.py:module", "--data", "model.py:batch", *options])


@pytest.mark.parametrize("names", ["names.json", "model.py:names", NAMES], ids=["file", "function", "text"])
def test_a_port_is_loaded_compared_and_reported(names, folder, capsys):
    assert port("--names", names, "--out", "report.md", "--json", "report.json") == 0
    assert capsys.readouterr().out.startswith("The port is equal: weights, outputs.\n")
    assert (folder / "report.md").read_text().startswith("**The port is equal: weights, outputs.**\n")
    assert json.loads((folder / "report.json").read_text())["ok"]


def test_a_fault_is_exit_code_1_and_the_first_line(folder, capsys):
    (folder / "model.py").write_text(MODEL.replace("EPSILON = 1e-5", "EPSILON = 1e-3"))
    assert port("--names", NAMES, "--out", "report.md") == 1
    first, *_ = (folder / "report.md").read_text().splitlines()
    assert "beginning with norm (epsilon: 0.001 here, 1e-05 there)" in first
    assert "The port differs" in capsys.readouterr().out


def test_with_a_loss_the_first_step_is_compared(folder, capsys):
    training = ["--loss", "source.py:loss"]
    assert port("--names", NAMES, *training) == 0
    assert capsys.readouterr().out.startswith("The port is equal: weights, outputs, loss and gradients.\n")
    (folder / "source.py").write_text(SOURCE.replace("MSELoss()", 'MSELoss(reduction="sum")'))
    assert port("--names", NAMES, *training) == 1
    assert "in the first step, loss: " in capsys.readouterr().out.splitlines()[0]


def test_what_cannot_be_loaded_is_the_first_line(folder, capsys):
    assert port("--names", '{"hidden": "0", "norm": "2", "head": "2"}') == 1
    assert "weights not loaded, first norm/gamma (" in " ".join(capsys.readouterr().out.split())


def test_a_converter_of_ones_own_is_compared_as_it_is(folder, capsys):
    # It forgets that torch has the axes of a kernel in another order.
    (folder / "model.py").write_text(MODEL.replace("layers.Dense(3", "layers.Dense(4"))
    (folder / "source.py").write_text(SOURCE.replace("Linear(4, 3)", "Linear(4, 4)"))
    assert port("--names", NAMES, "--no-load", model="converted") == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "first hidden/kernel differs by" in out
    assert "(its transpose is equal)" in out


def test_halves_on_two_machines_meet_in_a_file(folder, capsys):
    training = ["--loss", "source.py:loss"]
    data = ["--data", "model.py:batch"]
    assert cli.main(["record", "source.py:module", *data, *training, "--out", "outputs.npz"]) == 0
    assert "Recorded with torch " in capsys.readouterr().out
    compare = ["compare", "model.py:build", "outputs.npz", *data, "--names", NAMES]
    assert cli.main([*compare, "--markdown", "report.md"]) == 1  # these weights were never loaded
    text = (folder / "report.md").read_text()
    assert text.startswith("**Outputs report: ")
    # Both halves say what they ran with, wherever that was.
    here = f"here with keras {keras.__version__}, torch {torch.__version__}, cpu"
    there = f"there with torch {torch.__version__}, cpu"
    assert f"{here}; {there}" in text.splitlines()[-1].replace("\\", "")
    assert f"Computed {here}; {there}." in " ".join(capsys.readouterr().out.split())
    assert cli.main(["record", "model.py:build", *data, "--out", "keras.npz"]) == 0
    assert cli.main(["compare", "model.py:build", "keras.npz", *data]) == 0


def test_bad_arguments_are_refused(folder, capsys):
    record = ["record", "source.py:module", "--data", "model.py:batch"]
    assert "must end in .npz" in refused(capsys, *record, "--out", "a.npy")
    assert "no such file" in refused(capsys, "port", "model.py:build", "nowhere.py:module", "--data", "model.py:batch")
    error = refused(capsys, "port", "model.py:build", "source.py:modul", "--data", "model.py:batch")
    assert "source.py has no function 'modul'; did you mean module?" in error
    error = refused(capsys, "port", "model.py:build", "model.py:build", "--data", "model.py:batch", "--no-load")
    assert "`module` must be a `torch.nn.Module`" in error
