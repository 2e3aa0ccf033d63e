"""Studies under two runs in one folder, a full disk and killed processes."""

import functools
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

import pytest
import runs
from runs import RUNS

from keras_initx.types import Study

# Threads share sums otherwise on a busy machine.
SAME = {"abs": 1e-4}


def begin(name, folder, n_jobs=1):
    """Start a run in a process group of its own."""
    command = [sys.executable, runs.__file__, name, folder, str(n_jobs)]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)


def timeless(result):
    records = result.rows if isinstance(result, Study) else [e for draw in result.draws for e in draw["epochs"]]
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def assert_same(result, undisturbed):
    for record, other in zip(timeless(result), timeless(undisturbed), strict=True):
        assert record == pytest.approx(other, **SAME)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return a function of the name of a run that returns its result."""
    return functools.cache(lambda name: RUNS[name](tmp_path_factory.mktemp(name)))


@pytest.mark.parametrize("name", RUNS)
def test_two_runs_in_one_folder(undisturbed, tmp_path, name):
    processes = [begin(name, tmp_path) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    assert_same(RUNS[name](tmp_path), undisturbed(name))


@pytest.mark.parametrize("size", [100, 691])
@pytest.mark.parametrize("name", RUNS)
def test_a_disk_that_takes_no_more_of_a_file(undisturbed, tmp_path, name, size):
    """A limit on the size of files stops a write in its middle, as a full disk does."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        with pytest.raises(OSError, match=str(tmp_path)):
            RUNS[name](tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert not list(tmp_path.rglob(".*"))
    assert_same(RUNS[name](tmp_path), undisturbed(name))


def files(folder):
    return len(list(folder.glob("[!.]*.json")))


def wait_for(process, folder, count):
    while files(folder) < count:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("name", "count"), [pytest.param("compare", 1, marks=pytest.mark.every_backend), ("restarts", 4)]
)
def test_killed_with_all_its_workers(undisturbed, tmp_path, name, count):
    process = begin(name, tmp_path, 2)
    wait_for(process, tmp_path, count)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert_same(RUNS[name](tmp_path, 2), undisturbed(name))


def test_killed_four_times(undisturbed, tmp_path):
    for count in (2, 4, 5, 7):  # the first is that of the settings
        process = begin("compare", tmp_path)
        wait_for(process, tmp_path, count)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    result = RUNS["compare"](tmp_path)
    assert_same(result, undisturbed("compare"))
    assert str(result) == str(undisturbed("compare"))


def children(process):
    return [int(pid) for pid in pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_a_killed_worker_is_told(undisturbed, tmp_path):
    process = begin("compare", tmp_path, 2)
    wait_for(process, tmp_path, 3)
    for pid in children(process):
        if "popen_loky" in pathlib.Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGKILL)
            break
    _, errors = process.communicate()
    assert process.returncode == 1
    assert "TerminatedWorkerError: A worker process managed by the executor was unexpectedly terminated" in errors
    assert_same(RUNS["compare"](tmp_path), undisturbed("compare"))
