"""The verdicts of `diagnose`: a file for each problem.

A file has thresholds with their meaning, and a function with `@rule`, which gets the `Diagnosis`
and the layers that it may report. Its docstring is a section of the page on all problems. In its
private functions, `_report_...` makes a `Finding` or yields several, `_propose_...` makes its
`Remedy`, and `_describe_...` writes a part of its text. Measurements of several rules are in the
folder above, proposals of several rules in `_remedies.py`.

Read `dropped_output.py` first: a whole verdict in forty lines.
"""

from keras_initx.tools.diagnose._diagnosis import Probe
from keras_initx.tools.diagnose._kernel_inputs import DifferenceProbe, InputProbe
from keras_initx.tools.diagnose._lost_signals import LostProbe
from keras_initx.tools.diagnose._normalized import NormalizedProbe
from keras_initx.tools.diagnose._signal_probe import SignalProbe
from keras_initx.tools.diagnose._single_values import SingleValueProbe
from keras_initx.tools.diagnose.losses.probes import LossProbe, OutputProbe
from keras_initx.tools.diagnose.verdicts import (
    alike,
    blind_guess,
    dead_units,
    diverging_steps,
    dropped_output,
    equal_inputs,
    equal_units,
    exchanged_axes,
    exploding,
    huge_weights,
    large_first_loss,
    linear_layers,
    memory,
    no_gradient,
    no_probabilities,
    not_finite,
    rare_labels,
    rate,
    saturated,
    single_class,
    twin_tensors,
    undefined_loss,
    unreachable_targets,
    unscaled_inputs,
    unscaled_targets,
    unsuitable_labels,
    untracked_weights,
    vanishing,
    vanishing_gradient,
)

# All rules, in the order in which they are asked: causes before effects.
RULES = (
    # The data, and what no initializer and no training gives.
    not_finite.not_finite,
    huge_weights.huge_weights,
    # The loss: what it misreads is not learned, whatever the inputs and weights are.
    single_class.single_class,
    no_probabilities.no_probabilities,
    dropped_output.dropped_output,
    unsuitable_labels.unsuitable_labels,
    unreachable_targets.unreachable_targets,
    unscaled_targets.unscaled_targets,
    # The inputs.
    exchanged_axes.exchanged_axes,
    unscaled_inputs.unscaled_inputs,
    # The weights.
    equal_inputs.equal_inputs,
    alike.alike,
    untracked_weights.untracked_weights,
    equal_units.equal_units,
    twin_tensors.twin_tensors,
    linear_layers.linear_layers,
    # What holds back signals or gradients, whatever the weights are.
    memory.memory,
    no_gradient.no_gradient,
    undefined_loss.undefined_loss,
    # The signals.
    exploding.exploding,
    saturated.saturated,
    dead_units.dead_units,
    vanishing.vanishing,
    large_first_loss.large_first_loss,
    rare_labels.rare_labels,
    # The gradients.
    vanishing_gradient.vanishing_gradient,
    # The optimizer: late, because other remedies change what rate is suitable.
    rate.rate,
    diverging_steps.diverging_steps,
    blind_guess.blind_guess,
)
# What looks at the pass: for many rules, and for those of one file.
PROBES: tuple[type[Probe], ...] = (
    SignalProbe,
    OutputProbe,
    LossProbe,
    InputProbe,
    DifferenceProbe,
    NormalizedProbe,
    SingleValueProbe,
    LostProbe,
    *(probe for rule in RULES for probe in rule.probes),
)
