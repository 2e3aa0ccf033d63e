"""The page "Read a result in a program" says what the JSON of each result has, and its check works on all."""

import json
import pathlib
import re
import subprocess
import sys

import pytest
from results import EXAMPLES

from keras_initx.report._results import Judgement
from keras_initx.types import Contract, InitializationPlan

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "results.md"
FILES = (InitializationPlan, Contract)  # which are read again, and have a form of their own
HEAD = ["result", "keras_initx", "keras", "backend", "ok", "problems", "summary", "rows"]


@pytest.fixture(scope="module")
def results():
    found = {}
    for make in EXAMPLES.values():
        result = make()
        if not isinstance(result, FILES):
            found.setdefault(type(result).__name__, result)
    return found


def read_keys():
    """Return the keys of each result that the page names."""
    lines = re.findall(r"^\| `([A-Z]\w+)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    return {name: re.findall("`(\\w+)`", keys) for name, keys in lines if "|" not in keys}


def test_the_page_names_the_keys_of_each_json(results):
    shown = {}
    for name, result in results.items():
        shown[name] = [key for key in json.loads(result.to_json()) if key not in HEAD]
    assert read_keys() == dict(sorted(shown.items()))


def test_the_head_on_the_page_is_that_of_a_judgement(results):
    (block,) = re.findall("^```json\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert list(json.loads(block)) == HEAD
    assert list(json.loads(results["AuditReport"].to_json()))[: len(HEAD)] == HEAD


def test_the_check_on_the_page_works_on_all_results(results, tmp_path):
    (program,) = re.findall("^```python\n(# check.py.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "check.py").write_text(program)
    for name, result in results.items():
        result.to_json(tmp_path / f"{name}.json")
        command = [sys.executable, "check.py", f"{name}.json"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        first, *others = done.stdout.splitlines()
        assert first == f"{name}.json: {result.summary}"
        judges = isinstance(result, Judgement)
        assert done.returncode == (1 if judges and not result.ok else 0)
        assert bool(others) == (judges and bool(result.problems))
