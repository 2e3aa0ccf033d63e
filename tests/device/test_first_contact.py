"""`benchmarks/first_contact.py` runs to its end without an accelerator."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from modes import BACKEND

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "first_contact.py"
pytestmark = pytest.mark.full
# The steps that need no accelerator.
REAL = {
    "versions",
    "golden_values",
    "golden_values_in_small_blocks",
    "sizes_and_starts",
    "subnormal_values",
    "threshold",
    "full_precision",
    *(["compiled_programs"] if BACKEND != "torch" else []),
}


def contact(folder, *options):
    """Run the script and return its exit code, and the verdict and the text of each step as they were written."""
    out = folder / "first.txt"
    command = [sys.executable, str(SCRIPT), f"--backends={BACKEND}", f"--out={out}", *options]
    # On a CPU, whatever is here, and compiled as for users.
    hidden = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu", "TRITON_INTERPRET": "0"}
    result = subprocess.run(command, env=os.environ | hidden, capture_output=True, text=True)
    assert result.stdout == out.read_text(encoding="utf-8"), result.stderr
    lines = [
        re.fullmatch(rf"(PASS|FAIL|SKIP) {BACKEND} (\w+) \(.* s\): (.*)", line)
        for line in result.stdout.split("\n")[:-1]
    ]
    return result.returncode, {line[2]: (line[1], line[3]) for line in lines}


def test_first_contact_runs_to_its_end_on_a_cpu(tmp_path):
    code, steps = contact(tmp_path, "--few")
    assert {name for name, (verdict, _) in steps.items() if verdict == "PASS"} == REAL, steps
    others = {text.rpartition(" -- ")[2] for name, (_, text) in steps.items() if name not in REAL}
    assert others <= {"no GPU", "a matter of torch", "a matter of jax and tensorflow"}
    assert len(steps) == 18
    assert code == 0


def test_a_step_that_takes_too_long_fails_and_the_next_is_done(tmp_path):
    code, steps = contact(tmp_path, "--steps=golden_values,threshold", "--limit=0.001")
    assert steps["golden_values"] == ("FAIL", "took more than 0.001 seconds")
    assert set(steps) == {"golden_values", "threshold"}
    assert code == 1


@pytest.mark.skipif(BACKEND != "torch" or importlib.util.find_spec("jax") is not None, reason="jax must be missing")
def test_a_backend_that_does_not_start_fails_and_says_why(tmp_path):
    out = tmp_path / "first.txt"
    command = [sys.executable, str(SCRIPT), "--backends=jax", f"--out={out}"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 1
    assert re.fullmatch(r"FAIL jax start .*ModuleNotFoundError: No module named 'jax'\n", result.stdout)
