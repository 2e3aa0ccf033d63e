"""Diagnose programs that `diagnose` was never improved with, train them, and count: see the page on the protocol.

    python tests/unseen/examine.py first             # prints what came of each program of the first draw
    python tests/unseen/examine.py sound             # of the sound ones
    python tests/unseen/examine.py first so_123      # of some programs
    python tests/unseen/examine.py first --write     # of all, and records each, and at the end the numbers of all
    python tests/unseen/examine.py first --steps     # what is reported with a hundred steps of training; also --write

What is recorded stays: an interrupted run goes on where it was, and numbers of another commit are a new row. Delete
a draw from the record to run it again.
"""

import datetime
import json
import pathlib
import runpy
import statistics
import subprocess
import sys
import warnings

import keras
from _names import NAMES
from _program import SEEDS, scored

import keras_initx
from keras_initx.diagnostics._verdict import Rule
from keras_initx.diagnostics.verdicts import steps

FOLDER = pathlib.Path(__file__).parent
sys.path.append(str(FOLDER.parent / "support"))
from remedies import applied, can_be_applied  # noqa: E402, from the folder above

RECORDED = pathlib.Path(__file__).parents[2] / "docs" / "unseen.json"
DRAWS = ("first", "second", "third", "fourth", "fifth", "sixth")


def programs(draw):
    """Return the path of each program of a draw, or of the sound ones, by its name."""
    return {path.stem: path for path in sorted((FOLDER / draw).glob("*.py"))}


# With which `diagnose` trains, of as many examples as people usually take.
STEPS = {"steps": 100, "batch_size": 32}


def report_of(build, **arguments):
    """Return the report of a program on the data that it is trained with, or the error as text."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model, x, y = build()
    try:
        return keras_initx.diagnose(model, x, y, **arguments)
    except ValueError as error:
        # Without targets, and with optimizers of people that have no config, there are no steps.
        if "`steps` needs" in str(error):
            return report_of(build)
        return f"{type(error).__name__}: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def problems_of(report):
    """Return the name and the level of each verdict, or the error of `diagnose`."""
    if isinstance(report, str):
        return report
    return [[verdict.problem, verdict.level] for verdict in report.verdicts]


def is_named(problems, kinds):
    """Return whether a problem stands beside one of the kinds of a fault in `NAMES`."""
    if isinstance(problems, str):
        return False
    names = {name for kind in kinds for name in NAMES[kind.partition(" (")[0]]}
    return any(problem in names and (level != "note" or problem == "rare class") for problem, level in problems)


def alarms(problems):
    """Return the errors and warnings, and an error of `diagnose` itself."""
    if isinstance(problems, str):
        return [problems]
    return [problem for problem, level in problems if level != "note"]


def treated(network, remedy):
    """Return a compiled model, its inputs and its targets with a remedy."""
    model, x, y, loss = applied((*network, network[0].loss), remedy)
    # What a model is compiled with already does not follow.
    if (remedy.loss is not None or remedy.layers) and remedy.optimizer is None:
        model.compile(model.optimizer.from_config(model.optimizer.get_config()), loss)
    return model, x, y


def remedied(program, remedies):
    """Return a program whose faulty form has remedies. Its score is that of the data it is then trained with.

    Args:
        program: The program.
        remedies: Function of a network that yields remedies, each for what the network then is.
    """

    def build(repaired):
        network = program["build"](repaired)
        model, x, _ = network
        if not model.built:
            model(keras.tree.map_structure(lambda array: array[:1], x))
        applied_to = set()
        while True:
            problem, remedy = next(remedies(network, applied_to), (None, None))
            if problem is None:
                return network
            applied_to.add(problem)
            network = treated(network, remedy)

    return {**program, "build": build}


def first_remedy(verdict):
    """Return a function for `remedied` that gives the remedy of one verdict."""

    def remedies(network, applied_to):
        if not applied_to:
            yield verdict.problem, verdict.remedy

    return remedies


def each_in_turn(network, applied_to):
    """Yield the first remedy that can be applied, of a problem without one so far."""
    for verdict in keras_initx.diagnose(*network).problems:
        if verdict.problem not in applied_to and can_be_applied(verdict.remedy):
            yield verdict.problem, verdict.remedy


def examined(path):
    """Return what comes of a faulty program: what is named, and how training scores in its three forms."""
    program = runpy.run_path(str(path))
    report = report_of(lambda: program["build"](False))
    problems = problems_of(report)
    result = {
        "kinds": list(program["KINDS"]),
        "visible": program["VISIBLE"],
        "reproduced": program.get("REPRODUCED", True),
        "problems": problems,
        "repaired": problems_of(report_of(lambda: program["build"](True))),
    }
    result["named"] = is_named(problems, program["KINDS"])
    if isinstance(report, str) or report.ok:
        return result
    first = report.problems[0]
    result["remedy"] = str(first.remedy)
    can_be_first = can_be_applied(first.remedy)
    if not result["reproduced"] or not result["visible"] or not any(map(can_be_applied, report.remedies)):
        return result
    forms = {"faulty": (program, False), "repaired": (program, True)}
    if can_be_first:
        forms["remedied"] = (remedied(program, first_remedy(first)), False)
    forms["in turn"] = (remedied(program, each_in_turn), False)
    scores = {}
    for name, (form, repaired) in forms.items():
        scores[name] = [round(scored(form, repaired, seed), 3) for seed in SEEDS]
    result["scores"] = scores
    medians = {name: statistics.median(scores[name]) for name in scores}
    least = (medians["faulty"] + medians["repaired"]) / 2
    result["cures"] = can_be_first and medians["remedied"] >= least
    result["cures in turn"] = medians["in turn"] >= least
    return result


def examined_sound(path):
    """Return what is reported of a sound program."""
    return {"problems": problems_of(report_of(runpy.run_path(str(path))["build"]))}


def examined_with_steps(path, draw):
    """Return what is reported of a program with steps of training, in each of its forms."""
    program = runpy.run_path(str(path))
    if draw not in DRAWS:
        return {"problems": problems_of(report_of(program["build"], **STEPS))}
    result = {"visible": program["VISIBLE"], "reproduced": program.get("REPRODUCED", True)}
    for form, repaired in (("problems", False), ("repaired", True)):
        result[form] = problems_of(report_of(lambda repaired=repaired: program["build"](repaired), **STEPS))
    problems, kinds = result["problems"], program["KINDS"]
    result["named"] = is_named(problems, kinds)
    by_steps = {rule.problem for rule in vars(steps).values() if isinstance(rule, Rule)}
    without = problems if isinstance(problems, str) else [pair for pair in problems if pair[0] not in by_steps]
    result["named without"] = is_named(without, kinds)
    return result


def counted_with_steps(results):
    """Return the numbers of a draw with steps, by what they count."""
    usable = [result for result in results.values() if result["reproduced"]]
    numbers = {"reproduced": len(usable)}
    for name, is_visible in (("visible", True), ("not visible", False)):
        some = [result for result in usable if result["visible"] == is_visible]
        numbers[name] = len(some)
        numbers[f"{name}, named by a batch alone"] = sum(result["named without"] for result in some)
        numbers[f"{name}, named with steps"] = sum(result["named"] for result in some)
    numbers["alarms on repaired"] = sum(bool(alarms(result["repaired"])) for result in usable)
    return numbers


def counted(results):
    """Return the numbers of a draw of faulty programs, by what they count."""
    usable = [result for result in results.values() if result["reproduced"]]
    visible = [result for result in usable if result["visible"]]
    with_remedy = [result for result in visible if "remedy" in result]
    return {
        "drawn": len(results),
        "reproduced": len(usable),
        "visible": len(visible),
        "named": sum(result["named"] for result in visible),
        "first remedies": len(with_remedy),
        "cure": sum(result.get("cures", False) for result in with_remedy),
        "cure in turn": sum(result.get("cures in turn", False) for result in with_remedy),
        "named, not visible": sum(result["named"] for result in usable if not result["visible"]),
        "alarms on repaired": sum(bool(alarms(result["repaired"])) for result in usable),
    }


def counted_sound(results):
    """Return the numbers of the sound programs, by what they count."""
    return {"drawn": len(results), "alarms on sound": sum(bool(alarms(one["problems"])) for one in results.values())}


def main():
    draw, *names = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    writes, with_steps = "--write" in sys.argv, "--steps" in sys.argv
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {"runs": []}
    kept = recorded.setdefault("with steps", {}) if with_steps else recorded
    results = kept.setdefault(draw, {}) if writes else {}
    warnings.simplefilter("ignore")
    for name, path in programs(draw).items():
        if name in results or (names and name not in names):
            continue
        if with_steps:
            results[name] = examined_with_steps(path, draw)
        else:
            results[name] = examined(path) if draw in DRAWS else examined_sound(path)
        print(f"{name}: {json.dumps(results[name])}", flush=True)
        if writes:
            RECORDED.write_text(json.dumps(recorded, indent=1) + "\n")
    if draw not in DRAWS:
        numbers = counted_sound(results)
    elif with_steps:
        numbers = counted_with_steps(results)
    else:
        numbers = counted(results)
    print(numbers)
    if writes and with_steps:
        recorded.setdefault("numbers with steps", {})[draw] = numbers
        RECORDED.write_text(json.dumps(recorded, indent=1) + "\n")
    elif writes:
        folder = pathlib.Path(keras_initx.__file__).parent
        command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        run = {"draw": draw, "date": str(datetime.date.today()), "commit": commit, "backend": keras.backend.backend()}
        recorded["runs"].append({**run, **numbers})
        RECORDED.write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
