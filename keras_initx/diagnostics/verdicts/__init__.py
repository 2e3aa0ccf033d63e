"""The verdicts of `diagnose`: in each file what is measured, bounds, rules and remedies.

A rule is a decorated function. The order of files, and of rules in a file, is that of the verdicts
in a report: causes before effects.
"""

from types import ModuleType

from keras_initx.diagnostics._verdict import Rule
from keras_initx.diagnostics.verdicts import (
    attention,
    first_loss,
    gates,
    gradients,
    inputs,
    labels,
    likeness,
    mismatch,
    no_gradient,
    not_finite,
    optimizer,
    outputs,
    signals,
    steps,
    targets,
    undefined,
    untracked,
    weights,
)

_FILES: tuple[ModuleType, ...] = (
    not_finite,
    # Whatever the weights and the inputs are, what a loss misreads is not learned.
    outputs,
    labels,
    targets,
    mismatch,
    inputs,
    untracked,
    weights,
    no_gradient,
    gates,
    undefined,
    signals,
    attention,
    first_loss,
    likeness,
    gradients,
    optimizer,  # late: other remedies change what rate is suitable
    steps,
)
RULES: tuple[Rule, ...] = tuple(
    value for file in _FILES for value in vars(file).values() if isinstance(value, Rule)
)
