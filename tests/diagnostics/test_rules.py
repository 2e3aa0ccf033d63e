"""Rules are listed by their place and documented by their decorator, and their thresholds are known to editors."""

import inspect
from typing import get_type_hints

import pytest

import keras_initx
from keras_initx.diagnostics import DiagnoseOptions, ThresholdOptions
from keras_initx.diagnostics._diagnose import RULES
from keras_initx.diagnostics._verdicts import LEVELS

pytestmark = pytest.mark.once

NAMES = [rule.problem for rule in RULES]


def test_causes_come_before_effects():
    chain = ("all-zero weights", "wrong fan", "unscaled inputs", "saturated", "saturated output", "vanishing gradient")
    assert tuple(sorted(chain, key=NAMES.index)) == chain


@pytest.mark.parametrize("rule", RULES, ids=NAMES)
def test_a_rule_says_what_it_is(rule):
    assert rule.levels
    assert set(rule.levels) <= set(LEVELS)
    assert all((rule.finds, rule.reason, rule.remedy))
    assert not any("|" in text for text in (rule.finds, rule.reason, rule.remedy, *rule.levels.values()))


def test_options_are_the_arguments_of_diagnose():
    parameters = inspect.signature(keras_initx.diagnose).parameters.values()
    keywords = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    assert get_type_hints(DiagnoseOptions).keys() == keywords | get_type_hints(ThresholdOptions).keys()
