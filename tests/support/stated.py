"""What rules say of themselves, as the page of problems shows it."""

import functools
import pathlib
import runpy

TABLES = pathlib.Path(__file__).parents[2] / "docs" / "tables.py"


@functools.cache
def _reader():
    return runpy.run_path(str(TABLES))["stated"]


def stated(rule):
    """Return the sections of what a rule says, by their titles."""
    return _reader()(rule.check)


def levels_of(rule):
    """Return the levels of a rule."""
    return {condition.split()[0] for condition in stated(rule)["Level"].split(";")}
