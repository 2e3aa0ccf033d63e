"""What one backend saves, every other loads; what one seed gives on one, it gives on every other.

The tests of other folders have one backend, and files of others. These want all backends at once. With one it is the
round trip from that backend to itself.
"""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_initx
from keras_initx._startup import BACKENDS, installed_backends

pytestmark = pytest.mark.every_backend

# The weights that are multiplied out, not just drawn: equal to rounding.
ORTHOGONAL = {"conv/kernel", "lstm/lstm_cell/recurrent_kernel"}


class Process:
    """A process with a backend of its own."""

    def __init__(self, backend):
        environment = {
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": str(Path(keras_initx.__file__).parents[1]),
        }
        command = [sys.executable, Path(__file__).with_name("portable_model.py")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env=environment, **pipes)
        self._imported = None

    def imported(self):
        """Return the modules that Keras has imported, and those that the package has imported in addition."""
        if self._imported is None:
            self._imported = [set(json.loads(self._process.stdout.readline())) for _ in range(2)]
        return self._imported

    def run(self, task, *folders):
        self.imported()
        line = json.dumps([task, *map(str, folders)]) + "\n"
        self._process.stdin.write(line)
        self._process.stdin.flush()
        assert self._process.stdout.readline() == line

    def end(self):
        self._process.communicate()


@pytest.fixture(scope="module")
def processes():
    """A process for each backend, in which a model is saved and those of all are loaded."""
    processes = {backend: Process(backend) for backend in installed_backends()}
    yield processes
    for process in processes.values():
        process.end()


@pytest.fixture(scope="module")
def saved(processes, tmp_path_factory):
    """Folders by the backend that has saved the model there."""
    folders = {backend: tmp_path_factory.mktemp(backend) for backend in processes}
    for backend, process in processes.items():
        process.run("save", folders[backend])
    return folders


@pytest.fixture(scope="module", params=BACKENDS)
def loader(request, processes, saved):
    """The name of a backend that has loaded the model from every folder."""
    skip_without(saved, request.param)
    processes[request.param].run("load", *saved.values())
    return request.param


@pytest.mark.parametrize("backend", BACKENDS)
def test_importing_brings_in_no_other_framework(processes, backend):
    skip_without(processes, backend)
    of_keras, added = processes[backend].imported()
    assert backend in of_keras
    assert not added & {*BACKENDS}


def skip_without(saved, *backends):
    for backend in backends:
        if backend not in saved:
            pytest.skip(f"{backend} is not installed")


def arrays(folder, name):
    with np.load(folder / f"{name}.npz") as file:
        arrays = dict(file)
    return arrays, arrays.pop("predictions")


@pytest.mark.parametrize("saver", BACKENDS)
@pytest.mark.parametrize("file_format", ["keras", "weights"])
def test_weights_come_back_bit_for_bit(saved, saver, loader, file_format):
    skip_without(saved, saver)
    before, predictions_before = arrays(saved[saver], "saved")
    after, predictions_after = arrays(saved[saver], f"{file_format}-{loader}")
    assert before.keys() == after.keys()
    for path in before:
        assert before[path].dtype == after[path].dtype
        np.testing.assert_array_equal(before[path].view("uint32"), after[path].view("uint32"), err_msg=path)
    np.testing.assert_allclose(predictions_before, predictions_after, rtol=0, atol=1e-4)


@pytest.mark.parametrize("saver", BACKENDS)
def test_training_with_a_rate_for_each_weight_goes_on_where_it_stopped(saved, saver, loader):
    skip_without(saved, saver)
    there, predictions_there = arrays(saved[saver], "trained-saved")
    here, predictions_here = arrays(saved[saver], f"trained-{loader}")
    assert there.keys() == here.keys()
    for path in there:
        np.testing.assert_allclose(here[path], there[path], rtol=1e-4, atol=1e-5, err_msg=path)
    np.testing.assert_allclose(predictions_here, predictions_there, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(BACKENDS, 2)))
def test_one_seed_gives_the_same_weights(saved, first, second):
    skip_without(saved, first, second)
    ours, _ = arrays(saved[first], "saved")
    theirs, _ = arrays(saved[second], "saved")
    assert ours.keys() == theirs.keys() > ORTHOGONAL
    for path in ours:
        if path in ORTHOGONAL:
            np.testing.assert_allclose(ours[path], theirs[path], rtol=0, atol=1e-5, err_msg=path)
        else:
            np.testing.assert_array_equal(ours[path].view("uint32"), theirs[path].view("uint32"), err_msg=path)


def test_outputs_of_all_layers_are_those_of_the_backend_that_saved(loader, saved):
    for folder in saved.values():
        count, is_ok, report = json.loads((folder / f"outputs-{loader}.json").read_text())
        assert count == 9
        assert is_ok, report
