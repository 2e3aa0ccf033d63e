"""The scripts of the documentation, which come with the repository and not with the package."""

import importlib
import pathlib

import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "docs" / "examples"


def script(name):
    """Return the module of a script. One that cannot be imported fails the test; only a missing folder skips it."""
    if not FOLDER.is_dir():
        pytest.skip(f"there is no folder {FOLDER}", allow_module_level=True)
    return importlib.import_module(name)
