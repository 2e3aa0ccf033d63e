"""All rules, applied to what has been measured."""

from keras_initx.diagnostics import _end_rules, _signal_rules, _weight_rules
from keras_initx.diagnostics._report import LayerReport
from keras_initx.diagnostics._statistics import Signal
from keras_initx.diagnostics._verdicts import Thresholds, Verdict

_RULES = (
    _weight_rules.all_zero,
    _weight_rules.constant,
    _weight_rules.identical_units,
    _weight_rules.twins,
    _weight_rules.forget_bias,
    _weight_rules.wrong_fan,
    _end_rules.unscaled_inputs,
    _signal_rules.exploding,
    _signal_rules.saturated,
    _end_rules.saturated_output,
    _signal_rules.dead,
    _signal_rules.vanishing,
    _signal_rules.vanishing_gradient,
    _signal_rules.exploding_gradient,
)


def judge(layers: list[LayerReport], inputs: Signal | None, thresholds: Thresholds) -> list[Verdict]:
    """Return a `Verdict` for each problem, causes before effects, and then the notes."""
    verdicts = [verdict for rule in _RULES for verdict in rule(layers, inputs, thresholds)]
    return sorted(verdicts, key=lambda verdict: verdict.level == "note")
