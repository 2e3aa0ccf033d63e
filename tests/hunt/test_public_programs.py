"""Programs of others: a fault that was found is still found, and a repaired form has no problem.

Each rule has small faults of its own in `tests/support/diagnosed`; these programs show that all rules together are
right.
"""

import examination
import keras
import pytest
from programs import PROGRAMS

pytestmark = [
    pytest.mark.every_backend,
    # Keras itself warns of a softmax of one unit, and on TensorFlow of probabilities taken for logits.
    pytest.mark.filterwarnings("ignore:.*softmax over axis:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*from_logits=True.*:UserWarning"),
    pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning"),
]

# Other backends draw other weights, see the page on the examination.
ELSEWHERE = {
    ("jax", "41372874"): "alarm",
    ("tensorflow", "41372874"): "alarm",
    ("tensorflow", "circle, model_8e28bdef"): "missed",
    ("tensorflow", "circle, model_0eb8d545"): "found",
}


def expected_grade(program):
    """Return the grade that a faulty program has at least."""
    if program.id in examination.EXPLAINED:
        return "missed"
    usual = "remedied" if program.expected else "silent"
    return ELSEWHERE.get((keras.backend.backend(), program.id), usual)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: f"{program.source}: {program.id}")
def test_a_public_program_is_found_and_has_no_problem_once_repaired(program):
    grade = examination.grade(program, examination.diagnosed(program, repaired=False))
    assert examination.GRADES.index(grade) >= examination.GRADES.index(expected_grade(program))
    assert examination.diagnosed(program, repaired=True) == []
