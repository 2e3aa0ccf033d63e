"""The page on adding an initializer or a verdict, followed to the letter in a copy of the tree."""

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import keras
import pytest

ROOT = pathlib.Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "adding.md").read_text()


def block(kind, containing):
    """Return the one code block of the page with a text in it."""
    (found,) = (text for text in re.findall(rf"^ *```{kind}\n(.*?)^ *```$", PAGE, re.M | re.S) if containing in text)
    return found


def edit(path, old, new):
    """Replace what a file has once."""
    before, after = path.read_text().split(old)
    path.write_text(f"{before}{new}{after}")


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(ROOT, tmp_path / "copy", ignore=shutil.ignore_patterns(".*", "_build", "__pycache__"))


def run(copy, commands):
    """Run commands of Python, each in a line, in a copy."""
    for command in commands.splitlines():
        arguments = [sys.executable, *shlex.split(command)[1:]]
        environment = {**os.environ, "PYTHONPATH": str(copy)}
        result = subprocess.run(arguments, cwd=copy, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.full
def test_an_initializer_is_added_as_the_page_says(copy):
    package = copy / "keras_initx"
    for file in (package / "initializers" / "_random.py", package / "__init__.py"):
        edit(file, '"RandomNormal",', '"RandomNormal", "HalfNormal",')
    imports, _, code = block(r"{testcode}", "class HalfNormal").partition("\n\n\n")
    edit(package / "initializers" / "_random.py", "\nimport numpy as np\n", f"\nimport numpy as np\n{imports}\n")
    with open(package / "initializers" / "_random.py", "a") as file:
        file.write(f"\n\n{code}")
    row = block("{code-block} python", "HalfNormal").splitlines()[-1]
    edit(copy / "tests" / "cases.py", "\nCASES = (\n", f"\nCASES = (\n{row},\n")

    run(copy, block("sh", "golden"))
    assert "initx.half_normal" in (copy / "docs" / "initializers.md").read_text()
    assert "   HalfNormal\n" in (copy / "docs" / "api.md").read_text()
    run(copy, block("sh", "test_ids"))
    run(copy, "python -m keras_initx show half_normal")


@pytest.mark.full
def test_a_verdict_is_added_as_the_page_says(copy):
    code = block("{code-block} python", "LARGE_BIAS").partition("\n")[2]
    with open(copy / "keras_initx" / "diagnostics" / "verdicts" / "weights.py", "a") as file:
        file.write(f"\n\n{code}")
    _, network = block("{code-block} python", "bias of 9").split("\n", 1)
    edit(copy / "tests" / "confusion.py", "\nBROKEN = {\n", f"\nBROKEN = {{\n{network}")
    run(copy, block("sh", "remedies"))
    assert "`large_bias=5`" in (copy / "docs" / "diagnose.md").read_text()
    assert json.loads((copy / "docs" / "remedies.json").read_text())[keras.backend.backend()]["bias of 9"]["gone"]
