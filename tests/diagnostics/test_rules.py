"""Rules are in the order of causes and effects, and documented by their decorator."""

import pytest

from keras_initx.diagnostics._rules import LEVELS
from keras_initx.diagnostics.verdicts import RULES

pytestmark = pytest.mark.once

NAMES = [rule.problem for rule in RULES]


def test_causes_come_before_effects():
    chain = ("unscaled inputs", "all-zero weights", "wrong fan", "saturated", "saturated output", "vanishing gradient")
    assert tuple(sorted(chain, key=NAMES.index)) == chain


def test_each_rule_has_a_name_of_its_own():
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_rule_says_what_it_is(rule):
    assert rule.levels
    assert set(rule.levels) <= set(LEVELS)
    assert all((rule.finds, rule.reason, rule.remedy))
    assert not any("|" in text for text in (rule.finds, rule.reason, rule.remedy, *rule.levels.values()))
