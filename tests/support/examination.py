"""Diagnose the programs of `programs`, faulty and repaired, and count what was found.

python tests/support/examination.py   # prints the result on this backend
"""

import re

import keras
from programs import PROGRAMS

import keras_initx

# Why a fault that a batch can show is not found.
EXPLAINED = {
    "48934338": "the rate times the squared gradient is 7 times the loss, below the threshold of 20, and a regression "
    "of the tests trains at 9.9. The first step would show it: it raises the loss 570 times, which `steps=100` reports",
    "37624102": "the rate times the squared gradient is 2.7 times the loss, and with data drawn at random the "
    "network learns at this rate, faster than the repaired one",
}

# What can come of a faulty program, from bad to good.
GRADES = ("crashed", "alarm", "missed", "found", "remedied", "silent")


def diagnosed(program, repaired):
    """Return the problems that `diagnose` names, each with the text of its remedy, or None if it raises an error."""
    keras.utils.set_random_seed(0)
    model, x, y = program.build(repaired)
    try:
        report = keras_initx.diagnose(model, x, y)
    except Exception:
        return None
    return [(verdict.problem, verdict.remedy.text) for verdict in report.problems]


def grade(program, problems):
    """Return what came of a faulty program, one of `GRADES`.

    It is `found` if at least one of the expected problems is named, and `remedied` if all are, with
    the remedies that were accepted. A program whose fault a batch cannot show must be `silent`.
    """
    if problems is None:
        return "crashed"
    if not program.expected:
        return "alarm" if problems else "silent"
    answers = [_answer(names.split("|"), remedy, problems) for names, remedy in program.expected.items()]
    if all(answer == "remedied" for answer in answers):
        return "remedied"
    return "missed" if all(answer == "missed" for answer in answers) else "found"


def _answer(names, remedy, problems):
    named = [text for name, text in problems if name in names]
    if not named:
        return "missed"
    return "remedied" if any(re.search(remedy, text) for text in named) else "found"


def names_of(problems):
    return [name for name, _ in problems or ()]


def main():
    grades, alarms = [], 0
    for program in PROGRAMS:
        problems = diagnosed(program, repaired=False)
        after = diagnosed(program, repaired=True)
        grades.append(grade(program, problems))
        alarms += after != []
        print(f"{grades[-1]:9}{program.source}: {program.id}: {names_of(problems)}; repaired: {names_of(after)}")
    shown = sum(bool(program.expected) for program in PROGRAMS)
    print(f"{len(PROGRAMS)} programs, {shown} whose fault a batch can show: {grades.count('found')} found, ", end="")
    print(f"{grades.count('remedied')} with the right remedy; {grades.count('alarm') + alarms} false alarms")


if __name__ == "__main__":
    main()
