"""The page on adding an initializer, a recipe or a verdict, followed to the letter in a copy of the tree."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import textwrap

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding.md").read_text()


def block(kind, containing):
    """Return the one code block of the page with a text in it."""
    (found,) = (text for text in re.findall(rf"^ *```{kind}\n(.*?)^ *```$", PAGE, re.M | re.S) if containing in text)
    return found


def edit(path, old, new):
    """Replace what a file has once."""
    before, after = path.read_text().split(old)
    path.write_text(f"{before}{new}{after}")


def add(file, code, name):
    """Write code to the end of a file, its imports to the others, and import its name in the room."""
    imports, _, definition = code.partition("\n\n\n")
    with open(file.with_name("__init__.py"), "a") as opened:
        opened.write(f"from keras_initx.{file.parent.name}.{file.stem} import {name} as {name}\n")
    first = next(line for line in file.read_text().splitlines() if line.startswith("from keras_initx"))
    edit(file, f"\n{first}", f"\n{imports}\n{first}")
    with open(file, "a") as opened:
        opened.write(f"\n\n{definition}")


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(ROOT, tmp_path / "copy", ignore=shutil.ignore_patterns(".*", "_build", "__pycache__"))


def run(copy, *command):
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    result = subprocess.run([sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def run_block(copy, containing):
    for command in textwrap.dedent(block("sh", containing)).splitlines():
        run(copy, *shlex.split(command)[1:])


def tables(copy, page):
    run(copy, "docs/tables.py")
    return (copy / "docs" / page).read_text()


def test_an_initializer_is_added_as_the_page_says(copy):
    package = copy / "keras_initx"
    add(package / "initializers" / "_random.py", block(r"{testcode}", "class HalfNormal"), "HalfNormal")
    edit(package / "__init__.py", '"RandomNormal",', '"RandomNormal", "HalfNormal",')
    row = block("text", "HalfNormal").splitlines()[-1]
    edit(copy / "tests" / "support" / "cases.py", "\nCASES = (\n", f"\nCASES = (\n{row},\n")
    run_block(copy, "support/golden.py")
    assert "`HalfNormal`" in (copy / "docs" / "api.md").read_text()
    assert "keras_initx.HalfNormal\n" in (copy / "docs" / "api" / "initializers.md").read_text()
    run_block(copy, "test_contract")
    run(copy, "-m", "keras_initx", "show", "half_normal")


def test_a_recipe_is_added_as_the_page_says(copy):
    file = copy / "keras_initx" / "recipes" / "_networks.py"
    add(file, block(r"{testcode}", "def _irnn"), "irnn")
    _, row = block("text", "irnn").split("\n", 1)
    edit(copy / "tests" / "support" / "recipe_rows.py", "\nROWS = {\n", f"\nROWS = {{\n{row}")
    run_block(copy, "irnn")
    assert "| `irnn` | a network with a simple RNN, with ReLU |" in tables(copy, "recipes.md")


def test_a_verdict_is_added_as_the_page_says(copy):
    code = block("python", "MeanProbe").partition("\n")[2]
    (copy / "keras_initx" / "tools" / "diagnose" / "verdicts" / "large_bias.py").write_text(code)
    line = block("text", "large_bias.large_bias").splitlines()[-1]
    verdicts = copy / "keras_initx" / "tools" / "diagnose" / "verdicts" / "__init__.py"
    edit(verdicts, "    equal_units.equal_units,\n", f"    equal_units.equal_units,\n    {line}\n")
    edit(verdicts, "import (\n", "import (\n    large_bias,\n")
    _, network = block("text", "bias of nine").split("\n", 1)
    edit(copy / "tests" / "support" / "diagnosed" / "weights.py", "\nFAULTY = {\n", f"\nFAULTY = {{\n{network}")
    run_block(copy, "tests/tools/diagnose")
    assert "The examples share more than 0.9 of the output of a layer." in tables(copy, "problems.md")


def test_the_sample_of_a_verdict_has_the_order_of_imports_that_the_linter_asks_for():
    modules = re.findall(r"^from (keras_initx\S+)", block("python", "MeanProbe"), re.MULTILINE)
    assert modules == sorted(modules)
