"""The faulty programs of others are found as recorded for the page, and their repaired forms have no problem."""

import json

import examination
import keras
import pytest
from programs import PROGRAMS

RECORDED = json.loads(examination.RECORDED.read_text())

# Other backends draw other weights, see the page.
ELSEWHERE = {
    ("jax", "41372874"): "alarm",
    ("tensorflow", "41372874"): "alarm",
    ("tensorflow", "circle, model_8e28bdef"): "missed",
}

# JAX would take minutes to compile all.
EVERYWHERE = {"50306988"}

# Keras itself warns of some of the faults.
# Keras itself warns of a softmax of one unit, and on TensorFlow of probabilities taken for logits.
pytestmark = [
    pytest.mark.filterwarnings("ignore:You are using a softmax over axis -1"),
    pytest.mark.filterwarnings("ignore:.*from_logits=True.*:UserWarning"),
]


def named(program):
    return f"{program.source}: {program.id}"


def marked(step=3):
    """Return the programs, all but every third of them marked `full`."""
    params = []
    for place, program in enumerate(PROGRAMS):
        marks = () if program.id in EVERYWHERE else (pytest.mark.once, *[pytest.mark.full] * bool(place % step))
        params.append(pytest.param(program, marks=marks, id=named(program)))
    return params


@pytest.mark.parametrize("program", marked())
def test_a_faulty_program_is_found_as_recorded(program):
    grade = examination.grade(program, examination.diagnosed(program, repaired=False))
    recorded = ELSEWHERE.get((keras.backend.backend(), program.id), RECORDED[named(program)]["grade"])
    assert examination.GRADES.index(grade) >= examination.GRADES.index(recorded)


@pytest.mark.parametrize("program", marked())
def test_a_repaired_program_has_no_problem(program):
    assert examination.diagnosed(program, repaired=True) == {}


def test_each_program_is_recorded_once():
    assert list(RECORDED) == [named(program) for program in PROGRAMS]


def test_each_miss_is_explained():
    unsolved = {name for name, result in RECORDED.items() if result["grade"] not in ("remedied", "silent")}
    assert {name.partition(": ")[2] for name in unsolved} <= set(examination.EXPLAINED)
