"""An error or the end of one of two processes leaves both with the former weights."""

import functools
import signal

import numpy as np
import pytest
from joined import report, reports, start
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
def results(folder):
    """Return what each of two processes finds, of which the second fails in each function."""
    return reports(start("failing.py", 2, 2, folder))


def survivor(folder, function, *arguments):
    """Return the exit code of the first process, and what it prints, when the second gets a signal in a function."""
    first, second = start("failing.py", 2, 2, folder, "--killed", function, *arguments)
    out, error = first.communicate()
    second.kill()  # if it was only stopped
    second.communicate()
    return first.returncode, out, error


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Return a folder with a checkpoint, and two others, of which that of the second process is torn."""
    folder = tmp_path_factory.mktemp("agreement")
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
    return folder


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
    code, out, error = survivor(folder, function)
    assert code == 0, error[-3000:]
    kind, text, is_former = report(out)[function]
    assert kind == "RuntimeError"
    assert "One does not answer, so this one does not: " in text
    assert is_former


@pytest.mark.parametrize(
    ("function", "number"),
    [
        ("reset_dormant in a forward pass", signal.SIGKILL),
        ("lsuv in a forward pass", signal.SIGKILL),
        ("lsuv in a forward pass", 0),  # it raises an error, and ends then
    ],
)
def test_a_process_that_ends_in_a_forward_pass_ends_that_of_the_other(folder, function, number):
    code, out, error = survivor(folder, function, "--signal", str(int(number)))
    assert code == 0, error[-3000:]
    _, text, is_former = report(out)[function]  # of the type that JAX raises at that operation
    assert "Gloo" in text
    assert is_former


def test_jax_ends_the_process_that_was_left_after_its_report(folder):
    code, out, error = survivor(folder, "initialize", "--stays")
    assert "initialize" in report(out)
    assert code == -signal.SIGABRT
    assert "stopped sending heartbeats" in error


def test_jax_ends_a_process_that_waits_for_one_that_is_stopped(folder):
    code, out, error = survivor(folder, "initialize", "--stays", "--signal", str(int(signal.SIGSTOP)))
    assert "initialize" not in out
    assert code == -signal.SIGABRT
    assert "stopped sending heartbeats" in error
