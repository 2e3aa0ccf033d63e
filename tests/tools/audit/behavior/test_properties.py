"""Faults in weights, each found by an audit, in its place and with its name; and none where there is none."""

import keras
import numpy as np
import pytest
from audited import audit, off
from faulty_weights import FAULTS, RNG, RULES, audit_with, contract_of, model_of
from modes import often, to_numpy
from own_moments import LAWS, compare_distances

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
        assert [(row.path, row.status) for row in rows] == [(fault.path, fault.verdict)], which
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
        assert row.status, which


@pytest.mark.parametrize("name", often(RULES, ["sparse"]))
def test_a_contract_gives_no_alarm_without_a_fault(name):
    variables = model_of(name)[1]
    arrays = {path: to_numpy(variable) for path, variable in variables.items()}
    report = keras_initx.audit(arrays, like=contract_of(name))
    assert report.ok, report.problems


def frames(rows, columns, count):
    """Return orthonormal blocks next to each other."""
    return np.concatenate([np.linalg.qr(RNG.normal(size=(rows, columns)))[0] for _ in range(count)], axis=1)


@pytest.mark.parametrize(
    ("expected", "actual", "evidence"),
    [
        ((64, 48, 1), (64, 12, 4), "4 orthonormal blocks along the last axis, expected orthonormal along the last"),
        ((64, 12, 4), (64, 16, 3), "3 orthonormal blocks along the last axis, expected 4 orthonormal blocks along"),
    ],
)
def test_another_number_of_orthonormal_blocks_is_told_of(expected, actual, evidence):
    contract = keras_initx.contract(lambda: {"kernel": frames(*expected)}, draws=2)
    assert keras_initx.audit({"kernel": frames(*expected)}, like=contract).ok
    (row,) = keras_initx.audit({"kernel": frames(*actual)}, like=contract).problems
    assert row.status == "orthonormality"
    assert row.detail.startswith(evidence)


@pytest.mark.parametrize(("units", "is_told"), [(9, False), (14, True)])
def test_equal_numbers_of_connections_count_if_they_are_no_chance(units, is_told):
    def sparse():
        kernel = RNG.normal(size=(8, units))
        for column in kernel.T:
            column[RNG.permutation(8)[:4]] = 0
        return {"kernel": kernel}

    contract = keras_initx.contract(sparse, draws=1)
    random = {"kernel": np.where(RNG.random((8, units)) < 0.5, 0, RNG.normal(size=(8, units)))}
    assert keras_initx.audit(sparse(), like=contract).ok
    verdicts = [row.status for row in keras_initx.audit(random, like=contract).problems]
    assert verdicts == ["connections"] * is_told


def test_zeros_that_a_law_does_not_draw_are_counted():
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, name="dense")])
    values = np.asarray(RNG.normal(0, 0.125, (64, 64)), "float32")
    for count, evidence in ((0, []), (14, ["14 of 4096 values are 0"])):
        values.flat[: 65 * count : 65] = 0  # on the diagonal
        model.layers[0].kernel.assign(values)
        report = keras_initx.audit(model, {"*kernel": keras_initx.RandomNormal(stddev=0.125)})
        assert [row.detail for row in report.problems] == evidence


def test_a_frame_is_called_orthonormal():
    values = to_numpy(keras_initx.Orthogonal(seed=0)((64, 64)))
    assert off(audit({"a": values}, {"a": keras_initx.RandomNormal(stddev=1 / 8)})) == {"a": "orthonormality"}


@pytest.mark.parametrize("law", LAWS)
def test_own_moments_make_draws_of_a_family_more_similar(law):
    assert compare_distances(LAWS[law], 64, draws=2000) > 1.25  # as the test of shapes takes for granted
