"""The form of a program, and the list that each of the other files adds to."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

# Where programs are from. One that is in several benchmarks stands under the first.
OVERFLOW, GITHUB = "DeepLocalize, Stack Overflow", "DeepLocalize, GitHub"
DEEPFD, AUTOTRAINER, UMLAUT, NEURALINT = "DeepFD", "AUTOTRAINER", "UMLAUT", "NeuraLint"

# The verdicts of which one says that inputs are raw, with what cures them.
RAW = {"unscaled inputs": "Normalization|Rescaling"}


@dataclasses.dataclass(frozen=True)
class Program:
    """A faulty program.

    Attributes:
        source: Benchmark that it is from.
        id: Its name there: the number of the question on Stack Overflow, or of the repository.
        fault: What is wrong.
        repair: What was accepted as the repair.
        expected: Problems that `diagnose` must name, each with a pattern that its remedy must have.
            A bar separates problems of which one is enough. Empty if a batch cannot show the fault.
        build: Function that returns the compiled model, inputs and targets; its argument says
            whether they are repaired.
    """

    source: str
    id: str
    fault: str
    repair: str
    expected: dict[str, str]
    build: Callable[[bool], tuple[keras.Model, np.ndarray, np.ndarray]]


PROGRAMS: list[Program] = []


def program(source, id, *, fault, repair, expected=None):
    """Return a decorator that adds a program to the list."""

    def add(build):
        PROGRAMS.append(Program(source, id, fault, repair, expected or {}, build))
        return build

    return add
