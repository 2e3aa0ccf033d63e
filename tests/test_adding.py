"""The page on adding an initializer, followed to the letter in a copy of the tree."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

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


@pytest.mark.full
def test_an_initializer_is_added_as_the_page_says(tmp_path):
    copy = shutil.copytree(ROOT, tmp_path / "copy", ignore=shutil.ignore_patterns(".*", "_build", "__pycache__"))
    package = copy / "keras_initx"
    for file in (package / "initializers" / "_random.py", package / "__init__.py"):
        edit(file, '"RandomNormal",', '"RandomNormal", "HalfNormal",')
    imports, _, code = block(r"{testcode}", "class HalfNormal").partition("\n\n\n")
    edit(package / "initializers" / "_random.py", "\nimport numpy as np\n", f"\nimport numpy as np\n{imports}\n")
    with open(package / "initializers" / "_random.py", "a") as file:
        file.write(f"\n\n{code}")
    row = block("{code-block} python", "HalfNormal").splitlines()[-1]
    edit(copy / "tests" / "cases.py", "\nCASES = (\n", f"\nCASES = (\n{row},\n")

    def run(*command):
        environment = {**os.environ, "PYTHONPATH": str(copy)}
        result = subprocess.run([sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr

    for command in block("sh", "golden").splitlines():
        run(*shlex.split(command)[1:])
    assert "initx.half_normal" in (copy / "docs" / "initializers.md").read_text()
    assert "   HalfNormal\n" in (copy / "docs" / "api.md").read_text()
    for command in block("sh", "pytest").splitlines():
        run(*shlex.split(command)[1:])
    run("-m", "keras_initx", "show", "half_normal")
