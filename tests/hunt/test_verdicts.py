"""The record of the verdicts: what it counts, and a row of the page for each verdict."""

import pathlib
import re
import runpy

import pytest

from keras_initx.tools.diagnose.verdicts import RULES

RECORD = runpy.run_path(str(pathlib.Path(__file__).with_name("verdicts.py")))
PAGE = RECORD["PAGE"].read_text()


def observed(verdicts, source="six draws", **network):
    return RECORD["Observation"](RECORD["Network"](source, "a network", None, **network), verdicts)


def counted(*observations):
    return {problem: vars(count) for problem, count in RECORD["count"](list(observations)).items()}


RATE = [("rate", "warning")]


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        (observed(RATE, fault={"rate", "alike"}), {"rate": "right"}),
        (observed(RATE, fault={"alike"}), {"rate": "beside", "alike": "missed"}),
        (observed([], fault={"alike"}, is_visible=False), {}),
        (observed(RATE, fault=None), {"rate": "wrong"}),
        (observed([("rate", "note"), ("rate", "warning")], fault=None), {"rate": "noted"}),
        (observed([("rate", "note")], fault=None, notes=("rate",)), {}),
        (observed(RATE, source="own cases", fault={"rate"}), {"rate": "own"}),
        (observed(None, fault={"rate"}), {}),
    ],
)
def test_a_network_is_counted_once_for_each_verdict(observation, expected):
    found = {}
    for problem, counts in counted(observation).items():
        found[problem] = [name for name, number in counts.items() if number]
    assert found == {problem: [name] for problem, name in expected.items()}


@pytest.mark.parametrize(
    ("problem", "counts", "judged"),
    [
        ("rate", {"right": 2, "wrong": 1}, "stays"),
        ("rate", {"right": 1, "wrong": 1, "missed": 1}, "to be mended, or goes"),
        ("rate", {"wrong": 1, "missed": 1}, "stays: no evidence"),
        ("dead units", {"wrong": 5}, "stays: source texts name the fault"),
    ],
)
def test_a_verdict_is_judged_by_its_record(problem, counts, judged):
    count = RECORD["Count"]()
    vars(count).update(counts)
    assert RECORD["judgement"](problem, count) == judged


def test_the_page_has_a_row_for_each_verdict():
    table = PAGE.partition(RECORD["BEGIN"])[2].partition(RECORD["END"])[0]
    assert re.findall(r"^\| ([a-z -]+) \| \d", table, re.MULTILINE) == [rule.problem for rule in RULES]
