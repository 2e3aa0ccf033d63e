"""What `diagnose` named in programs that were drawn for an examination it names still; sound ones have no new alarm."""

import json
import runpy

import examine
import pytest

RECORDED = json.loads(examine.RECORDED.read_text())

# Recorded with torch. All of them take minutes.
pytestmark = [pytest.mark.once, pytest.mark.filterwarnings("ignore")]


def chosen(names, step=5):
    """Return every fifth name, the others marked `full`."""
    return [pytest.param(name, marks=[pytest.mark.full] if place % step else []) for place, name in enumerate(names)]


@pytest.mark.parametrize("name", chosen([name for name, result in RECORDED["first"].items() if result["named"]]))
def test_what_was_named_is_named_still(name):
    program = runpy.run_path(str(examine.programs("first")[name]))
    problems = examine.problems_of(examine.report_of(lambda: program["build"](False)))
    assert examine.is_named(problems, program["KINDS"])


@pytest.mark.full
@pytest.mark.parametrize("name", RECORDED["sound"])
def test_a_sound_program_has_no_new_alarm(name):
    result = examine.examined_sound(examine.programs("sound")[name])
    assert set(examine.alarms(result["problems"])) <= set(examine.alarms(RECORDED["sound"][name]["problems"]))
