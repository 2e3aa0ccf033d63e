"""The demo fails where a network does not come back."""

import shutil
import subprocess

import keras
import numpy as np
import pytest
from archives import name_a_missing_optimizer

from keras_initx import cli
from keras_initx.cli import _demo

pytestmark = pytest.mark.once

BACKEND = keras.backend.backend()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_demo, "EPOCHS", 1)
        _demo.train(folder)
    return folder


@pytest.fixture
def demo(monkeypatch, trained):
    """Return a function that runs the demo on one backend and tampers with the networks it has trained."""

    def load(task, backend, folder):
        _demo.load(folder)
        return True

    def run(tamper, load=load):
        def work_and_tamper(task, backend, folder):
            if task == "load":
                return load(task, backend, folder)
            shutil.copytree(trained, folder, dirs_exist_ok=True)
            tamper(folder)
            return True

        monkeypatch.setattr(_demo, "_work", work_and_tamper)
        return cli.main(["demo"])

    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(_demo, "installed_backends", lambda: [BACKEND])
    monkeypatch.setenv("COLUMNS", "120")  # so that no phrase is broken
    return run


def test_a_weight_that_is_off_by_one_bit_fails_the_demo(demo, capsys):
    changed = []

    def tamper(folder):
        network = keras.models.load_model(folder / "dense.keras")
        kernel = network.layers[-1].kernel
        changed.append(kernel.path)
        values = np.array(keras.ops.convert_to_numpy(kernel))
        values[0] = np.nextafter(values[0], np.float32(1))
        kernel.assign(values)
        network.save(folder / "dense.keras")

    assert demo(tamper) == 1
    table = capsys.readouterr().out
    assert f"trained on {BACKEND}, loaded in a fresh process" in table
    assert table.count("differs by") == 1
    assert changed[0] in table
    assert table.count("ok (±") == len(_demo.NETWORKS) - 1


def test_the_demo_does_not_need_the_optimizers(demo):
    assert demo(lambda folder: name_a_missing_optimizer(folder / "lstm.keras")) == 0


@pytest.mark.full  # a new process
def test_a_network_that_cannot_be_loaded_fails_the_demo(demo, capsys):
    in_a_process = _demo._work
    assert demo(lambda folder: (folder / "lstm.keras").unlink(), in_a_process) == 1
    output = capsys.readouterr()
    assert "not loaded" in output.out
    assert "lstm.keras" in output.err


@pytest.mark.parametrize("chosen", ["tensorflow", ""])
def test_the_backend_that_trains_is_the_one_of_the_environment(monkeypatch, capsys, chosen):
    def work(task, backend, folder):
        tasks.append((task, backend))
        return backend != "jax"

    tasks = []
    monkeypatch.setattr(_demo, "_work", work)
    monkeypatch.setattr(_demo, "_outcome", lambda folder, network, backend: ("0.9", "ok (±0)"))
    monkeypatch.setattr(_demo, "installed_backends", lambda: ["torch", "tensorflow", "jax"])
    monkeypatch.setenv("KERAS_BACKEND", chosen)
    # One backend that fails is enough.
    assert cli.main(["demo"]) == 1
    assert tasks[0] == ("train", chosen or "torch")
    assert sorted(tasks[1:]) == [("load", "jax"), ("load", "tensorflow"), ("load", "torch")]
    assert capsys.readouterr().out.count("not loaded") == len(_demo.NETWORKS)


def test_a_process_that_is_killed_is_told_with_its_backend(monkeypatch, capsys, tmp_path):
    def killed(command, env, **options):
        environments.append((command[-2:], env["KERAS_BACKEND"], env["CUDA_VISIBLE_DEVICES"]))
        return subprocess.CompletedProcess(command, -9, "", "Killed\n")

    environments = []
    monkeypatch.setattr(_demo.subprocess, "run", killed)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert not _demo._work("load", "jax", tmp_path)
    assert environments == [(["load", tmp_path], "jax", "")]
    assert capsys.readouterr().err == "Could not load on jax:\nKilled\n"


def test_training_that_fails_fails_the_demo(monkeypatch, capsys):
    monkeypatch.setattr(_demo, "_work", lambda *arguments: False)
    assert cli.main(["demo"]) == 1
    assert capsys.readouterr().out == ""
