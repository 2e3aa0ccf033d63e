"""Rules are listed once and documented by their decorator, and their thresholds are known to editors."""

import dataclasses
import inspect
from typing import get_type_hints

import pytest

import keras_initx
from keras_initx.diagnostics import (
    DiagnoseOptions,
    ThresholdOptions,
    Thresholds,
    _gradient_rules,
    _output_rules,
    _signal_rules,
    _weight_rules,
)
from keras_initx.diagnostics._diagnose import RULES
from keras_initx.diagnostics._rule import Rule
from keras_initx.diagnostics._verdicts import LEVELS

pytestmark = pytest.mark.once

NAMES = [rule.problem for rule in RULES]


def test_causes_come_before_effects():
    chain = ("all-zero weights", "wrong fan", "unscaled inputs", "saturated", "saturated output", "vanishing gradient")
    assert tuple(sorted(chain, key=NAMES.index)) == chain


MODULES = [_weight_rules, _signal_rules, _output_rules, _gradient_rules]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_rule_is_listed_once(module):
    defined = [value for value in vars(module).values() if isinstance(value, Rule)]
    assert defined
    assert all(RULES.count(rule) == 1 for rule in defined)


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


def test_options_are_the_fields_of_thresholds():
    fields = {field.name: field.type for field in dataclasses.fields(Thresholds)}
    assert get_type_hints(ThresholdOptions) == fields
