"""The table of cases, and public programs: a faulty network has its problems, a repaired or healthy one has none."""

import examination
import keras
import pytest
from diagnosed import FAULTY, HEALTHY
from programs import PROGRAMS

import keras_initx

pytestmark = [
    # Keras itself warns of a softmax of one unit, on TensorFlow of probabilities taken for logits, and of no gradients.
    pytest.mark.filterwarnings("ignore:.*softmax over axis:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*from_logits=True.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning"),
]

# Of each kind of measurement, and where backends differ: what is not finite, gradients that are 0 but for rounding,
# weights that Keras does not know. JAX would take minutes to compile all.
EVERYWHERE = {
    "kernels of zeros",
    "LSTM, forget bias -4",
    "softmax, taken for logits",
    "class numbers from 1",
    "logarithms of a ReLU",
    "softmax of one score",
    "layers in a container that Keras does not search",
    "SGD, 1, sum over the examples",
    "50306988",
}


def rows(names):
    """Return names as parameters, those of kinds that one backend is enough for with their mark."""
    return [pytest.param(name, marks=[pytest.mark.once] * (name not in EVERYWHERE)) for name in names]


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
    network = built(case.build, False)
    report = diagnosed(network, case.steps)
    assert problems_of(report) == case.problems
    assert case.remedy in report.problems[0].remedy.text
    if case.steps:  # which alone show it
        assert diagnosed(network).ok
    if apply_weights(network, report):
        assert case.problems[0] not in problems_of(diagnosed(network))
    assert problems_of(diagnosed(built(case.build, True), case.steps)) == []


@pytest.mark.parametrize("name", rows(HEALTHY))
def test_a_healthy_network_has_no_problem(name):
    # Zeros at the end of a branch or of the network, what ReZero multiplies by zero, gates that forget in a few steps.
    notes = {("equal units", "note"), ("vanishing", "note"), ("memory", "note")}
    report = diagnosed(built(HEALTHY[name]))
    assert {(verdict.problem, verdict.level) for verdict in report.verdicts} <= notes


# Whose repaired form a few epochs are enough for, one of each rule that reads the loss.
LEARNABLE = [
    "logits of ten classes, taken for probabilities",
    "softmax of one unit",
    "class numbers from 1",
    "several labels, softmax",
    "sigmoid, targets of deviation 1",
    "regression, targets of deviation 1e4",
    "Poisson's loss, no activation",
    "one unit for three targets",
    "layers in a container that Keras does not search",
]


@pytest.mark.parametrize("name", LEARNABLE)
def test_a_repaired_network_learns(name):
    model, x, y, loss = built(FAULTY[name].build, True)
    model.compile(keras.optimizers.Adam(0.03), loss)
    course = model.fit(x, y, batch_size=16, epochs=20, verbose=0).history["loss"]
    assert course[-1] < 0.5 * course[0]


# Public programs. Other backends draw other weights, see the page on the examination.
ELSEWHERE = {
    ("jax", "41372874"): "alarm",
    ("tensorflow", "41372874"): "alarm",
    ("tensorflow", "circle, model_8e28bdef"): "missed",
}


def expected_grade(program):
    """Return the grade that a faulty program has at least."""
    if program.id in examination.EXPLAINED:
        return "missed"
    usual = "remedied" if program.expected else "silent"
    return ELSEWHERE.get((keras.backend.backend(), program.id), usual)


def programs(step=3):
    """Return the programs, all but every third of them marked `full`."""
    params = []
    for place, program in enumerate(PROGRAMS):
        marks = () if program.id in EVERYWHERE else (pytest.mark.once, *[pytest.mark.full] * bool(place % step))
        params.append(pytest.param(program, marks=marks, id=f"{program.source}: {program.id}"))
    return params


@pytest.mark.parametrize("program", programs())
def test_a_public_program_is_found_and_has_no_problem_once_repaired(program):
    grade = examination.grade(program, examination.diagnosed(program, repaired=False))
    assert examination.GRADES.index(grade) >= examination.GRADES.index(expected_grade(program))
    assert examination.diagnosed(program, repaired=True) == []
