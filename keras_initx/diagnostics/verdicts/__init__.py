"""The verdicts of `diagnose`: in each file what is measured, thresholds, rules and remedies.

A rule is a decorated function. The order of files, and of rules in a file, is that of the verdicts
in a report: causes before effects.
"""

from types import ModuleType

from keras_initx.diagnostics._verdict import Rule, Threshold
from keras_initx.diagnostics.verdicts import (
    added_terms,
    attention,
    first_loss,
    gates,
    gradients,
    hidden_softmax,
    inputs,
    labels,
    likeness,
    linear,
    mismatch,
    mixing,
    no_gradient,
    noise,
    not_finite,
    optimizer,
    outputs,
    own_loss,
    precision,
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
    own_loss,
    linear,
    noise,
    inputs,
    untracked,
    mixing,
    weights,
    no_gradient,
    gates,
    undefined,
    hidden_softmax,
    signals,
    attention,
    first_loss,
    added_terms,
    likeness,
    gradients,
    precision,
    optimizer,  # late: other remedies change what rate is suitable
    steps,
)
_VALUES = [value for file in _FILES for value in vars(file).values()]
RULES: tuple[Rule, ...] = tuple(value for value in _VALUES if isinstance(value, Rule))
THRESHOLDS: dict[str, Threshold] = {
    value.name: value for value in _VALUES if isinstance(value, Threshold)
}
