"""Kill a study again and again and see whether it comes to the same end: `python tests/support/killed.py 10`."""

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import pytest
from networks import build, data, timeless

from keras_initx.studies import Study, compare_initializers

BACKEND = keras.backend.backend()
INITIALIZERS = {"he": "he_normal", "zeros": "zeros"}


def run(folder, repeats):
    return compare_initializers(build, INITIALIZERS, data(), repeats=int(repeats), epochs=6, out=folder)


def lines(folder):
    return sum(len(file.read_bytes().splitlines()) for file in folder.glob("trials/*.jsonl"))


def kill_after(folder, repeats, count, wait):
    """Start the study, kill it so many seconds after it has written `count` lines, and return its exit code."""
    enough = lines(folder) + count
    command = [sys.executable, __file__, "--run", folder, str(repeats)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while lines(folder) < enough and process.poll() is None:
        time.sleep(0.005)
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    return process.wait()


def settled(folder):
    """Return the records of the trials that are finished, by trial."""
    return {key: timeless(t.epochs) for key, t in Study.read(folder).trials.items() if t.status == "finished"}


def assert_same(study, undisturbed):
    for record, other in zip(timeless(study.records), timeless(undisturbed.records), strict=True):
        # A library that finds the processor busy may share a sum among fewer threads, which rounds it otherwise.
        assert record == pytest.approx(other, abs=0 if BACKEND == "jax" else 1e-4)
    if timeless(study.records) == timeless(undisturbed.records):
        assert timeless(study.statistics()) == timeless(undisturbed.statistics())
        assert study.comparisons() == undisturbed.comparisons()


def check(kills, seed=0):
    """Kill a study `kills` times, finish it, and compare it with one that was left alone."""
    moments, repeats = random.Random(seed), max(2, kills // 2)
    with tempfile.TemporaryDirectory() as name:
        undisturbed, folder = run(Path(name, "whole"), repeats), Path(name, "killed")
        killed, done = 0, {}
        for _ in range(kills):
            code = kill_after(folder, repeats, moments.randint(1, 14), moments.uniform(0, 0.05))
            killed += code == -signal.SIGKILL
            now = settled(folder)
            assert now.items() >= done.items(), "something finished was lost"
            done = now
        files = {file.name: file.read_bytes() for file in folder.glob("trials/*.jsonl")}
        study = run(folder, repeats)
        for file, content in files.items():
            assert Path(folder, "trials", file).read_bytes() == content, "something written was touched"
        again = {file.name.split(".")[0] for file in folder.glob("trials/*.jsonl") if file.name not in files}
        names = list(INITIALIZERS)
        assert not again & {f"{names.index(name)}-{repeat}" for name, repeat in done}, "something finished was repeated"
        assert_same(study, undisturbed)
        return killed, len(done), len(undisturbed.trials)


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        run(*sys.argv[2:])
    else:
        killed, done, total = check(int(sys.argv[1]))
        sys.stdout.write(f"Killed {killed} times, when {done} of {total} trials were finished; the same in the end.\n")
