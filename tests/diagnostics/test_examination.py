"""The faults of others' programs that a batch can show are found, and their repaired forms have no problem."""

import examination
import keras
import pytest
from programs import PROGRAMS

# Other backends draw other weights, see the page.
ELSEWHERE = {
    ("jax", "41372874"): "alarm",
    ("tensorflow", "41372874"): "alarm",
    ("tensorflow", "circle, model_8e28bdef"): "missed",
}

# JAX would take minutes to compile all.
EVERYWHERE = {"50306988"}

# Keras itself warns of a softmax of one unit, and on TensorFlow of probabilities taken for logits.
pytestmark = [
    pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1"),
    pytest.mark.filterwarnings("ignore:.*from_logits=True.*:UserWarning"),
]


def expected_grade(program):
    """Return the grade that a faulty program has at least."""
    if program.id in examination.EXPLAINED:
        return "missed"
    usual = "remedied" if program.expected else "silent"
    return ELSEWHERE.get((keras.backend.backend(), program.id), usual)


def marked(step=3):
    """Return the programs, all but every third of them marked `full`."""
    params = []
    for place, program in enumerate(PROGRAMS):
        marks = () if program.id in EVERYWHERE else (pytest.mark.once, *[pytest.mark.full] * bool(place % step))
        params.append(pytest.param(program, marks=marks, id=f"{program.source}: {program.id}"))
    return params


@pytest.mark.parametrize("program", marked())
def test_a_faulty_program_is_found(program):
    grade = examination.grade(program, examination.diagnosed(program, repaired=False))
    assert examination.GRADES.index(grade) >= examination.GRADES.index(expected_grade(program))


@pytest.mark.parametrize("program", marked())
def test_a_repaired_program_has_no_problem(program):
    assert examination.diagnosed(program, repaired=True) == {}
