"""Seventy faults in weights, each found by an audit, in its place and with its name; and none where there is none."""

import pytest
from audits.faults import FAULTS, RULES, audit_with, model_of

import keras_initx

pytestmark = pytest.mark.once


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.model}-{fault.path}-{fault.name}")
def test_a_fault_is_found(fault):
    rows = audit_with(fault).problems
    assert [(row.path, row.verdict) for row in rows] == [(fault.path, fault.verdict)]
    if fault.cause is not None:
        assert rows[0].cause == fault.cause


@pytest.mark.parametrize("name", RULES)
def test_there_is_no_alarm_without_a_fault(name):
    model, _ = model_of(name)
    report = keras_initx.audit(model, RULES[name])
    assert report.ok, report.problems
    assert len(report.weights) == len(model.weights)
