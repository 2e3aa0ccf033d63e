"""Faults in weights, each found by an audit, in its place and with its name; and none where there is none."""

import numpy as np
import pytest
from faulty_weights import FAULTS, RNG, RULES, audit_with, contract_of, model_of
from modes import often, to_numpy

import keras_initx

KINDS = sorted({fault.verdict for fault in FAULTS})


def of_kind(verdict):
    """Return the faults of a kind, each with words that say which it is."""
    return {f"{fault.model}, {fault.path}, {fault.name}": fault for fault in FAULTS if fault.verdict == verdict}


# The first fault of a kind, and before a release all.
HOW_MANY = pytest.mark.parametrize("count", [1, pytest.param(None, marks=pytest.mark.rare)], ids=["one", "all"])


@pytest.fixture(autouse=True)
def _same_draws():
    """Draw the faults of a test in the same way whatever ran before."""
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


@HOW_MANY
@pytest.mark.parametrize("verdict", KINDS)
def test_faults_of_a_kind_are_found(verdict, count):
    for which, fault in [*of_kind(verdict).items()][:count]:
        rows = audit_with(fault).problems
        assert [(row.path, row.verdict) for row in rows] == [(fault.path, fault.verdict)], which
        if fault.cause is not None:
            assert rows[0].cause == fault.cause, which


@pytest.mark.parametrize("name", RULES)
def test_there_is_no_alarm_without_a_fault(name):
    model, _ = model_of(name)
    report = keras_initx.audit(model, RULES[name])
    assert report.ok, report.problems
    assert len(report.rows) == len(model.weights)


@pytest.mark.rare
@HOW_MANY
@pytest.mark.parametrize("verdict", KINDS)
def test_faults_of_a_kind_are_found_by_a_contract(verdict, count):
    for which, fault in [*of_kind(verdict).items()][:count]:
        values = np.asarray(fault.change(to_numpy(model_of(fault.model)[1][fault.path])), "float32")
        report = keras_initx.audit({fault.path: values}, like=contract_of(fault.model))
        row = next(row for row in report.rows if row.path == fault.path)
        assert row.verdict, which


@pytest.mark.parametrize("name", often(RULES, ["sparse"]))
def test_a_contract_gives_no_alarm_without_a_fault(name):
    variables = model_of(name)[1]
    arrays = {path: to_numpy(variable) for path, variable in variables.items()}
    report = keras_initx.audit(arrays, like=contract_of(name))
    assert report.ok, report.problems
