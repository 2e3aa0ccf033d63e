"""Count the faulty public programs that `diagnose` names, with verdicts of whatever names it has.

The programs of six draws, and sound ones, are in an earlier commit; the seventy of `programs.py` are here:

    git worktree add /tmp/programs 015473e4
    KERAS_BACKEND=torch python tests/support/public_programs.py /tmp/programs > named.txt

It takes a quarter of an hour and more, and prints a line for each program as it goes: the draw, the name, "named" or
"missed", and the errors and warnings of the faulty form and of the repaired one. The last lines are the counts.
"""

import pathlib
import runpy
import sys
import warnings

import keras
from programs import PROGRAMS

import keras_initx

DRAWS = ("first", "second", "third", "fourth", "fifth", "sixth")

# With which the drawn programs are diagnosed, of as many examples as people usually take.
STEPS = {"steps": 100, "batch_size": 32}

# Names of verdicts in that commit that are part of another one, or are to be.
MERGED = {
    "inputs not finite": "not finite",
    "targets not finite": "not finite",
    "impossible labels": "unsuitable labels",
    "probabilities as logits": "no probabilities",
    "limited output": "unreachable targets",
    "constant inputs": "alike",
    "all-zero weights": "equal units",
    "constant weights": "equal units",
    "identical units": "equal units",
    "shut gates": "memory",
    "recurrent kernel": "memory",
    "unread words": "memory",
    "forget bias overwritten": "memory",
    "saturated output": "saturated",
    "exploding gradient": "exploding",
    "negative rate": "rate",
    "small steps": "rate",
    "large steps": "rate",
    "unbounded loss": "diverging steps",
    "unmoved weights": "diverging steps",
}


def merged(names):
    """Return verdicts by the names of today and of then alike."""
    return {MERGED.get(name, name) for name in names}


def problems_of(build, **arguments):
    """Return the names of the errors and warnings of a compiled model, or the error of `diagnose`."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    network = build()
    try:
        return [verdict.problem for verdict in keras_initx.diagnose(*network, **arguments).problems]
    except Exception as error:
        # Without targets, and with some optimizers of people, there are no steps.
        if "`steps`" in str(error):
            return problems_of(build)
        return [f"{type(error).__name__}: {error}"]


def drawn(folder, draw, kinds):
    """Yield the programs of a draw whose fault shows in training and in a batch, and the names it may get.

    Args:
        folder: The folder `tests/unseen` of that commit.
        draw: Name of the draw.
        kinds: The verdicts that name a kind of fault, by the kind.
    """
    for path in sorted((folder / draw).glob("*.py")):
        program = runpy.run_path(str(path))
        if program.get("REPRODUCED", True) and program["VISIBLE"]:
            names = {name for kind in program["KINDS"] for name in kinds[kind.partition(" (")[0]]}
            yield path.stem, program["build"], names


def seventy():
    """Yield the programs of `programs.py` whose fault a batch can show, and the names it may get."""
    for program in PROGRAMS:
        if program.expected:
            yield program.id, program.build, "|".join(program.expected).split("|")


def print_programs(draw, programs, **arguments):
    """Print what comes of each program, and return the numbers of programs, named ones and false alarms."""
    count = named = alarms = 0
    for name, build, expected in programs:
        found = problems_of(lambda build=build: build(False), **arguments)
        repaired = problems_of(lambda build=build: build(True), **arguments)
        is_named = bool(merged(found) & merged(expected))
        print(f"{draw} {name}: {'named' if is_named else 'missed'} {found}; repaired: {repaired}", flush=True)
        count, named, alarms = count + 1, named + is_named, alarms + bool(repaired)
    return count, named, alarms


def print_sound(folder):
    """Print the alarms of the sound programs, and return the numbers of programs and of those with one."""
    count = alarms = 0
    for path in sorted((folder / "sound").glob("*.py")):
        found = problems_of(runpy.run_path(str(path))["build"], **STEPS)
        print(f"sound {path.stem}: {found}", flush=True)
        count, alarms = count + 1, alarms + bool(found)
    return count, alarms


def main(worktree):
    warnings.simplefilter("ignore")
    folder = pathlib.Path(worktree, "tests", "unseen")
    sys.path.append(str(folder))  # what the programs import
    kinds = runpy.run_path(str(folder / "_names.py"))["NAMES"]
    numbers = {"seventy": print_programs("seventy", seventy())}
    for draw in DRAWS:
        numbers[draw] = print_programs(draw, drawn(folder, draw, kinds), **STEPS)
    for draw, (count, named, alarms) in numbers.items():
        print(f"{draw}: {named} of {count} named, {alarms} alarms on repaired forms")
    print(f"all: {sum(row[1] for row in numbers.values())} of {sum(row[0] for row in numbers.values())} named")
    print("sound: {1} alarms on {0} programs".format(*print_sound(folder)))


if __name__ == "__main__":
    main(sys.argv[1])
