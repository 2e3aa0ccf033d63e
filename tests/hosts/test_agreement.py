"""An error or the end of one of two processes leaves both with the former weights."""

import functools
import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
from modes import BACKEND
from safetensors.numpy import save_file

pytestmark = pytest.mark.skipif(BACKEND != "jax", reason="only JAX shards weights over processes")
SHAPES = {"a": (16, 16), "b": (16, 16), "c": (8, 16)}
FUNCTIONS = (
    "initialize",
    "initialize at the last",
    "initializer",
    "load_pretrained",
    "torn file",
    "shrink_and_perturb",
    "reset_dormant",
    "lora",
    "pissa",
    "lsuv",
)


@functools.cache
def results(folder, killed=None):
    """Return what each of two processes finds, of which the second fails in each function, or is `killed` in one."""
    state = {}
    for name, shape in SHAPES.items():
        state[f"{name}.weight"] = np.ones(shape, "float32")
        state[f"{name}.bias"] = np.ones(shape[0], "float32")
    torn = [folder / f"torn.{rank}" for rank in range(2)]
    for place in (folder, *torn):
        place.mkdir(exist_ok=True)
        save_file(state, place / "model.safetensors")
    content = (torn[1] / "model.safetensors").read_bytes()
    (torn[1] / "model.safetensors").write_bytes(content[:-8])
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    script = pathlib.Path(__file__).with_name("failing.py")
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    processes = []
    for rank in range(2):
        command = [sys.executable, script, str(rank), port, folder]
        if killed is not None:
            command.append(killed)
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True))
    printed = [process.communicate() for process in processes]
    for process, (_, error) in zip(processes, printed, strict=True):
        assert process.returncode == 0, error[-3000:]
    lines = [line for out, _ in printed for line in out.splitlines() if line.startswith("{")]  # the rest is of gloo
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("agreement")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_error_in_one_process_leaves_both_with_the_former_weights(folder, function):
    first, second = results(folder)
    kind, text, is_former = first[function]
    assert kind == "RuntimeError"
    assert text.endswith("Another could not, so this one does not: see the error of process 1")
    assert is_former
    kind, _, is_former = second[function]
    assert kind == ("ValueError" if function == "torn file" else "FailureError")
    assert is_former


def test_after_an_error_all_can_go_on(folder):
    first, second = results(folder)
    assert first["digest"] == second["digest"]


@pytest.mark.parametrize("function", [function for function in FUNCTIONS if function != "torn file"])
def test_a_process_that_is_killed_leaves_the_other_with_the_former_weights(folder, function):
    (first,) = results(folder, function)
    kind, text, is_former = first[function]
    assert kind == "RuntimeError"
    assert "One does not answer, so this one does not: " in text
    assert is_former
