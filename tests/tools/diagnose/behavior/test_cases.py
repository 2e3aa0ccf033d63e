"""The table of cases: a faulty network has its problems, a repaired or healthy one has none."""

import re

import keras
import pins
import pytest
from diagnosed import FAULTY, HEALTHY
from modes import needs_keras

import keras_initx

pytestmark = [
    # Keras itself warns of a softmax of one unit, on TensorFlow of probabilities taken for logits, and of no gradients.
    pytest.mark.filterwarnings("ignore:.*softmax over axis:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*from_logits=True.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning"),
]

# Where backends differ: weights that Keras does not know, and gradients that are 0 but for rounding.
# JAX would take minutes to compile all.
MARKS = {
    "layers in a container that Keras does not search": pytest.mark.release_backends,
    "softmax of one score": pytest.mark.release_backends,
    "class numbers of which -1 is left out": needs_keras("3.15", "has a gradient where a class is left out"),
}
# Of each list of problems the first faulty network, which `pins/reports.txt` shows, and healthy ones that are not deep.
# Before a release all others too.
OFTEN = {*pins.first_faulty(), *HEALTHY, *MARKS} - {
    "transformer, 6 blocks",
    "transformer, normalization behind",
    "ReZero, 8 blocks",
}


def rows(names):
    """Return names as parameters, with the marks of those for every backend, and before a release."""
    found = []
    for name in names:
        marks = [MARKS[name]] if name in MARKS else []
        if name not in OFTEN:
            marks.append(pytest.mark.rare)
        found.append(pytest.param(name, marks=marks))
    return found


def diagnosed(network, steps=0):
    """Return the report of a model, inputs, targets and a loss."""
    model, x, y, loss = network
    return keras_initx.diagnose(model, x, y, loss=loss, steps=steps)


def built(build, *arguments):
    """Return a network, each time with the same weights and names."""
    keras.utils.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    return build(*arguments)


def problems_of(report):
    """Return the names of errors and warnings, each once."""
    return list(dict.fromkeys(verdict.problem for verdict in report.problems))


def apply_weights(network, report):
    """Apply the first remedy of weights that the first problem has, and return whether there is one."""
    remedy = report.problems[0].remedy
    if any(one.rules for one in (remedy, *remedy.others)):
        keras_initx.initialize(network[0], report, seed=0)
    elif any(one.lsuv for one in (remedy, *remedy.others)):
        keras_initx.lsuv(*network[:2], seed=0)
    else:
        return False
    return True


@pytest.mark.parametrize("name", rows(FAULTY))
def test_a_faulty_network_has_its_problems_and_none_once_repaired(name):
    case = FAULTY[name]
    network, report = pins.faulty(name)
    assert problems_of(report) == case.problems
    assert case.remedy in report.problems[0].remedy.text
    if case.steps:  # which alone show it
        assert diagnosed(network).ok
    first = case.problems[0]
    repaired = report
    # One remedy at a time, as a user does: other layers may have the same problem at another level.
    for _ in [problem for problem in report.problems if problem.problem == first]:
        if first in problems_of(repaired) and apply_weights(network, repaired):
            repaired = diagnosed(network)
    if repaired is not report:
        assert first not in problems_of(repaired)
    assert problems_of(diagnosed(built(case.build, True), case.steps)) == []


@pytest.mark.parametrize("name", pins.first_faulty())
def test_the_words_of_a_report_change_on_purpose(name):
    """Numbers are left out, whose last digit may differ between machines, and with them the widths of columns."""
    texts = (pins.recorded_reports()[name], str(pins.faulty(name)[1]))
    recorded, found = (re.sub(r"-{5,}|-?\d[\d.e+-]*", "#", text).split() for text in texts)
    assert found == recorded, "run `python tests/support/pins.py` and read `git diff tests/support/pins`"


@pytest.mark.parametrize("name", rows(HEALTHY))
def test_a_healthy_network_has_no_problem(name):
    # Zeros at the end of a branch or of the network, what ReZero multiplies by zero.
    notes = {("equal units", "note"), ("vanishing", "note")}
    report = diagnosed(built(HEALTHY[name]))
    assert {(verdict.problem, verdict.level) for verdict in report.verdicts} <= notes
