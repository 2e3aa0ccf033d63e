"""The page "Check models in CI", as written, in a new folder: only the packages are there already."""

import pathlib
import re
import subprocess
import sys

import pytest

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "ci.md").read_text()
MODEL, TEST, BATCH = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
(WORKFLOW,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
RECORD, DIAGNOSE = re.findall(r"^initx (.*)$", PAGE, re.MULTILINE)
(AUDIT,) = re.findall(r"- run: initx (.*)$", WORKFLOW, re.MULTILINE)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A folder with the files of the page, and the contract that its first command writes."""
    folder = tmp_path_factory.mktemp("repository")
    for name, text in (("model.py", MODEL), ("test_weights.py", TEST), ("batch.py", BATCH)):
        (folder / name).write_text(text)
    assert ended(folder, *RECORD.split()) == 0
    return folder


def ended(folder, *arguments, module="keras_initx"):
    """Return the exit code of a command in a folder."""
    return subprocess.run([sys.executable, "-m", module, *arguments], cwd=folder, capture_output=True).returncode


@pytest.fixture
def changed(repository):
    """The folder, while the model draws its weights in another way."""
    before = (repository / "model.py").read_text()
    (repository / "model.py").write_text(before.replace("initx.he_normal", "initx.glorot_uniform"))
    yield repository
    (repository / "model.py").write_text(before)


def test_the_workflow_has_eight_lines():
    assert len(WORKFLOW.splitlines()) == 8


def test_the_workflow_fails_after_a_change(changed):
    assert ended(changed, *AUDIT.split()) == 1


def test_the_workflow_passes(repository):
    assert ended(repository, *AUDIT.split()) == 0


def test_the_test_passes(repository):
    assert ended(repository, "-q", "test_weights.py", module="pytest") == 0


def test_the_test_fails_after_a_change(changed):
    assert ended(changed, "-q", "test_weights.py", module="pytest") == 1


def test_the_batch_passes(repository):
    assert ended(repository, *DIAGNOSE.split()) == 0


def test_the_batch_fails_where_units_are_equal(changed):
    (changed / "model.py").write_text(MODEL.replace("initx.he_normal", "zeros"))
    assert ended(changed, *DIAGNOSE.split()) == 1
