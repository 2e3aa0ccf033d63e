"""Diagnose the programs of `programs.py`, faulty and repaired, and count what was found.

    python tests/support/examination.py           # prints the result on this backend
    python tests/support/examination.py --write   # also records it for the page and the tests

The recorded result is that of torch; the command says where another backend differs.
"""

import json
import pathlib
import re
import sys

import keras
from programs import DEEPFD, GITHUB, OVERFLOW, PROGRAMS

import keras_initx

RECORDED = pathlib.Path(__file__).parents[2] / "docs" / "examination.json"

# Of the 52 programs of DeepFD's evaluation (Cao and others, 2022), in its `Benchmark/Evaluation.xlsx`:
# how many each tool detected, diagnosed and located by training them.
PUBLISHED = {
    "UMLAUT": (50, 14, 12),
    "AUTOTRAINER": (12, 10, 8),
    "DeepLocalize": (36, 7, 5),
    "DeepFD": (47, 27, 22),
}

# From the same sheet: those of `programs.py` that a tool diagnosed.
DIAGNOSED = {
    "UMLAUT": "48385830 31556268 55328966 48934338 59278771 52800582 48221692 50079585 44066044 47352366 45442843"
    " 37624102",
    "AUTOTRAINER": "48385830 50306988 55328966 34673164 50079585 47352366 37624102 41600519",
    "DeepLocalize": "48385830 44164749 38648195 34311586 47352366 41600519 kaggle-melbourne_properties",
    "DeepFD": "48385830 44164749 31556268 50306988 55328966 34311586 31880720 39525358 48934338 59325381 59278771"
    " 41372874 50079585 45337371 45442843 48594888 31627380 37624102 41600519 46642627 51181393 gol_nn"
    " FacialKeypointsDetection",
}
NOT_EVALUATED = {
    "DDOS-ML-Detection",
    "keras-super-resolution",
    "keras_catsdogs",
    "kerasma",
    "hotdog-sandwich",
    "Averaging_Neural_Networks",
}

# Why a fault that a batch can show is not found, or not with the accepted remedy.
EXPLAINED = {
    "48934338": "the rate times the squared gradient is 7 times the loss, below the threshold of 20, and a regression "
    "of the tests trains at 9.9. The first step would show it: it raises the loss 570 times, which `steps=100` reports",
    "37624102": "the rate times the squared gradient is 2.7 times the loss, and with data drawn at random the "
    "network learns at this rate, faster than the repaired one",
}

# What can come of a faulty program, from bad to good.
GRADES = ("crashed", "alarm", "missed", "found", "remedied", "silent")


def diagnosed(program, repaired):
    """Return the problems that `diagnose` names, each with its remedy, or None if it raises an error."""
    keras.utils.set_random_seed(0)
    model, x, y = program.build(repaired)
    try:
        report = keras_initx.diagnose(model, x, y)
    except Exception:
        return None
    return {verdict.problem: verdict.remedy.text for verdict in report.problems}


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
    named = [problems[name] for name in names if name in problems]
    if not named:
        return "missed"
    return "remedied" if any(re.search(remedy, text) for text in named) else "found"


def examined():
    """Return the result of each program: its grade, and the problems of both forms."""
    results = {}
    for program in PROGRAMS:
        problems = diagnosed(program, repaired=False)
        after = diagnosed(program, repaired=True)
        results[f"{program.source}: {program.id}"] = {
            "grade": grade(program, problems),
            "problems": None if problems is None else list(problems),
            "repaired": None if after is None else list(after),
        }
    return results


def counts(results):
    """Return a row for each source, and one for all: its name and numbers of programs.

    The numbers are of all programs, of those whose fault a batch can show, of the found ones among
    these and of those with the right remedy; of false alarms on the others and on repaired forms.
    """
    sources = list(dict.fromkeys(program.source for program in PROGRAMS))
    rows = []
    for source in [*sources, None]:
        chosen = [program for program in PROGRAMS if source in (program.source, None)]
        kept = [results[f"{program.source}: {program.id}"] for program in chosen]
        grades = [result["grade"] for result in kept]
        shown = sum(bool(program.expected) for program in chosen)
        remedied = grades.count("remedied")
        false = grades.count("alarm") + sum(result["repaired"] != [] for result in kept)
        rows.append((source or "all", len(chosen), shown, remedied + grades.count("found"), remedied, false))
    return rows


def beside():
    """Return the ids of the programs that DeepFD's evaluation has, and whose fault a batch can show."""
    chosen = []
    for program in PROGRAMS:
        if program.source in (OVERFLOW, GITHUB, DEEPFD) and program.id not in NOT_EVALUATED and program.expected:
            chosen.append(program.id)
    return chosen


def main():
    results = examined()
    for name, result in results.items():
        print(f"{result['grade']:9}{name}: {result['problems']}; repaired: {result['repaired']}")
    print(f"\n{'source':32}programs  can be shown  found  right remedy  false alarms")
    for source, *numbers in counts(results):
        print(f"{source:32}{numbers[0]:8}{numbers[1]:14}{numbers[2]:7}{numbers[3]:14}{numbers[4]:14}")
    if "--write" in sys.argv:
        RECORDED.write_text(json.dumps(results, indent=1) + "\n")
    elif RECORDED.exists():
        for name, result in json.loads(RECORDED.read_text()).items():
            if results.get(name) != result:
                print(f"differs from the record: {name}: {result}")


if __name__ == "__main__":
    main()
