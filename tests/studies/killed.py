"""Kill a study again and again and see whether it comes to the same end: `python tests/studies/killed.py 10`."""

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from networks import build, data, timeless

from keras_initx.studies import Study, compare

INITIALIZERS = {"he": "he_normal", "zeros": "zeros"}


def run(folder):
    return compare(build, INITIALIZERS, data(), repeats=2, epochs=6, out=folder)


def lines(folder):
    return sum(len(file.read_bytes().splitlines()) for file in folder.glob("trials/*.jsonl"))


def kill_after_a_while(folder, wait):
    """Start the study, kill it so many seconds after it has begun to write, and return its exit code."""
    before = lines(folder)
    process = subprocess.Popen([sys.executable, __file__, "--run", folder], stderr=subprocess.PIPE)
    while lines(folder) == before and process.poll() is None:
        time.sleep(0.01)
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode


def settled(folder):
    """Return the records of the trials that are finished, by trial."""
    return {key: timeless(t.epochs) for key, t in Study.read(folder).trials.items() if t.status == "finished"}


def check(kills, seed=0):
    """Kill a study `kills` times, finish it, and compare it with one that was left alone."""
    moments = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        undisturbed, folder = run(Path(name, "whole")), Path(name, "killed")
        killed, done = 0, {}
        for _ in range(kills):
            killed += kill_after_a_while(folder, moments.uniform(0, 1)) == -signal.SIGKILL
            now = settled(folder)
            assert now.items() >= done.items(), "something finished was lost"
            done = now
        files = {file.name: file.read_bytes() for file in folder.glob("trials/*.jsonl")}
        study = run(folder)
        for file, content in files.items():
            assert Path(folder, "trials", file).read_bytes() == content, "something written was touched"
        again = {file.name.split(".")[0] for file in folder.glob("trials/*.jsonl") if file.name not in files}
        names = list(INITIALIZERS)
        assert not again & {f"{names.index(name)}-{repeat}" for name, repeat in done}, "something finished was repeated"
        assert timeless(study.records) == timeless(undisturbed.records)
        for row, other in zip(study.summary(), undisturbed.summary(), strict=True):
            assert row | {"seconds_per_epoch": 0} == other | {"seconds_per_epoch": 0}
        assert study.comparisons() == undisturbed.comparisons()
        return killed, len(done), len(undisturbed.trials)


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        run(sys.argv[2])
    else:
        killed, done, total = check(int(sys.argv[1]))
        sys.stdout.write(f"Killed {killed} times, when {done} of {total} trials were finished; the same in the end.\n")
