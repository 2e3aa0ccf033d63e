"""Building the package with a compiler and without one, and a checkout that was updated since."""

import _ctypes
import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

pytestmark = pytest.mark.rare
ROOT = pathlib.Path(__file__).parents[2]
CHANGE = "\n/* of another commit */\n"


def run(folder, *arguments, **variables):
    environment = os.environ | {"PYTHONPATH": str(folder), "KERAS_INITX_KERNEL": "", **variables}
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)


def build(folder, **variables):
    """Build a wheel, as any installation does, and return what is said, its name and its files."""
    said = run(folder, "hatchling", "build", "-t", "wheel", "-d", "dist", **variables).stderr
    (wheel,) = (folder / "dist").glob("*.whl")
    return said, wheel.name, zipfile.ZipFile(wheel).namelist()


@pytest.fixture(scope="module")
def first_checkout(tmp_path_factory):
    """Return a copy of this checkout in which the package was built with a compiler."""
    folder = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "keras_initx", folder / "keras_initx", ignore=ignored)
    shutil.copy(ROOT / "LICENSE", folder)
    project = (ROOT / "pyproject.toml").read_text()
    # The readme needs one more package.
    project = re.sub(r"(?s)# A package index has none.*?(?=\[tool.hatch.build)", "", project)
    (folder / "pyproject.toml").write_text(project.replace('["readme", "version"]', '["version"]'))
    said, name, files = build(folder)
    if "The kernel is not compiled" in said:
        pytest.skip("there is no compiler")
    assert not name.endswith("-any.whl")
    assert "keras_initx/sampling/_kernel.so" in files
    return folder


@pytest.fixture
def checkout(first_checkout, tmp_path):
    """Return a copy of the checkout that a test may change, the library and its source."""
    folder = tmp_path / "checkout"
    shutil.copytree(first_checkout, folder, ignore=shutil.ignore_patterns("dist"))
    sampling = folder / "keras_initx" / "sampling"
    return folder, sampling / "_kernel.so", sampling / "_kernel.c"


def used(folder):
    """Return what draws on the host, and what is said."""
    result = run(folder, "keras_initx", "--version")
    return result.stdout.strip().rpartition(" by ")[2], result.stderr


def test_a_library_is_used_with_its_source_whatever_ends_the_lines(checkout):
    folder, _, source = checkout
    source.write_bytes(source.read_text().replace("\n", "\r\n").encode())
    assert used(folder) == ("the compiled kernel", "")


def test_a_library_is_used_without_a_source_as_in_a_wheel(checkout):
    folder, _, source = checkout
    source.unlink()
    assert used(folder) == ("the compiled kernel", "")


@pytest.mark.parametrize("is_older", [True, False], ids=["without a digest", "with another digest"])
def test_a_library_of_another_source_is_not_used_and_a_warning_says_so(checkout, is_older):
    folder, library, source = checkout
    if is_older:
        shutil.copy(_ctypes.__file__, library)  # a library without the functions of this one
    else:
        source.write_text(source.read_text() + CHANGE)
    draws, said = used(folder)
    assert draws == "NumPy"
    assert said.count("UserWarning") == 1
    assert "_kernel.so was compiled from another _kernel.c" in said
    assert "install keras_initx again, in a checkout by `pip install -e .`" in said


def test_a_build_compiles_the_source_that_is_there_now(checkout):
    folder, _, source = checkout
    source.write_text(source.read_text() + CHANGE)
    build(folder)
    assert used(folder) == ("the compiled kernel", "")


def test_a_build_without_a_compiler_keeps_and_packs_a_library_that_fits(checkout):
    folder, library, _ = checkout
    before = library.read_bytes()
    said, name, files = build(folder, CC="false")
    assert "The kernel of an earlier build is kept" in said
    assert not name.endswith("-any.whl")
    assert "keras_initx/sampling/_kernel.so" in files
    assert library.read_bytes() == before
    assert used(folder) == ("the compiled kernel", "")


@pytest.mark.parametrize("is_there", [True, False], ids=["another library", "no library"])
def test_a_build_without_a_compiler_packs_no_library_of_another_source(checkout, is_there):
    folder, library, source = checkout
    source.write_text(source.read_text() + CHANGE)
    if not is_there:
        library.unlink()
    said, name, files = build(folder, CC="false")
    assert "The kernel is not compiled, so NumPy draws instead" in said
    assert name.endswith("-any.whl")
    assert not [file for file in files if "_kernel.so" in file]
    assert library.exists() == is_there
