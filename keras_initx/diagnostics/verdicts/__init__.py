"""The verdicts of `diagnose`: in each file what is measured, bounds, rules and remedies."""

from keras_initx.diagnostics._diagnosis import Probe
from keras_initx.diagnostics._normalized import NormalizedProbe
from keras_initx.diagnostics._signal_probe import SignalProbe
from keras_initx.diagnostics._tables import TableProbe
from keras_initx.diagnostics.losses.probes import LossProbe, OutputProbe
from keras_initx.diagnostics.verdicts import (
    alike,
    attention,
    exploding,
    first_loss,
    gradients,
    inputs,
    labels,
    memory,
    no_gradient,
    not_finite,
    outputs,
    rare_labels,
    rate,
    signals,
    steps,
    targets,
    undefined,
    untracked,
    weights,
)

# All rules, in the order in which they are asked: causes before effects.
RULES = (
    # The data.
    not_finite.not_finite,
    # The loss: what it misreads is not learned, whatever the inputs and weights are.
    outputs.single_class,
    outputs.no_probabilities,
    outputs.dropped_output,
    labels.unsuitable_labels,
    targets.unreachable_targets,
    targets.unscaled_targets,
    # The inputs.
    inputs.exchanged_axes,
    inputs.unscaled_inputs,
    # The weights.
    alike.alike,
    untracked.untracked_weights,
    weights.equal_units,
    weights.twins,
    weights.wrong_fan,
    # What holds back signals or gradients, whatever the weights are.
    memory.memory,
    no_gradient.no_gradient,
    undefined.undefined_loss,
    # The signals.
    exploding.exploding,
    signals.saturated,
    signals.dead,
    signals.vanishing,
    attention.focused_attention,
    first_loss.large_first_loss,
    rare_labels.rare_labels,
    # The gradients.
    gradients.vanishing_gradient,
    # The optimizer: late, because other remedies change what rate is suitable.
    rate.rate,
    steps.diverging_steps,
)
# What looks at the pass: for many rules, and for those of one file.
PROBES: tuple[type[Probe], ...] = (
    SignalProbe,
    OutputProbe,
    LossProbe,
    NormalizedProbe,
    TableProbe,
    *(probe for rule in RULES for probe in rule.probes),
)
# What rules add to the table.
COLUMNS = tuple(column for rule in RULES for column in rule.columns)
