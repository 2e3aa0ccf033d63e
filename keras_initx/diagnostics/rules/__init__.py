"""The rules that find problems in measurements.

To add a rule, write a decorated function in one of these modules. Rules are ordered by their
position in the modules and not listed anywhere else.
"""

from keras_initx.diagnostics._measure import Measurements
from keras_initx.diagnostics._verdicts import Verdict
from keras_initx.diagnostics.rules import _signals, _weights
from keras_initx.diagnostics.rules._rule import Rule

__all__ = ["RULES", "Rule", "evaluate"]

# Causes before effects: in the order of the modules, and of the functions within a module.
_MODULES = (_weights, _signals)
RULES = tuple(rule for module in _MODULES for rule in vars(module).values() if isinstance(rule, Rule))


def evaluate(measured: Measurements) -> list[Verdict]:
    """Return a `Verdict` for each problem, causes before effects, with notes last."""
    verdicts = [verdict for rule in RULES for verdict in rule.verdicts(measured)]
    return sorted(verdicts, key=lambda verdict: verdict.level == "note")
