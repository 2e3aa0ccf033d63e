"""The learning rate, and the effect of the first steps of the optimizer on the weights.

Nothing is trained here, except one step of SGD for a loss that may fall below 0. How far a thousand
steps go follows from the present gradients, by a formula for each kind of optimizer, in
`_compute_change`:

    sgd      travel / (1 - momentum) * gradient
    adam     travel * gradient / (gradient + epsilon), for the mean size of a gradient
    adagrad  the integral of rate * gradient / sqrt(start + steps * gradient**2)

*Travel* is the sum of the rates of these steps, as a schedule has them.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_initx.inspection._optimizers import (
    OptimizerKind,
    StepFacts,
    predict_rates,
    read_rate,
    read_step_facts,
    unwrap_optimizer,
)
from keras_initx.tools.diagnose._dead_ends import freed_gradients
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._kernel_inputs import standardize_inputs_first
from keras_initx.tools.diagnose._lost_signals import LostProbe, lost_signals
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    list_weights,
    measured_layers,
    trained_layers,
)
from keras_initx.tools.diagnose._normalized import NormalizedProbe
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule
from keras_initx.tools.diagnose._steps import first_step_raises_loss
from keras_initx.tools.diagnose.losses.probes import LossProbe

# Factor between the fall of the loss in a step of SGD, to first order, and the loss, above which
# the learning rate is too large.
LARGE_STEP = 20
# Product of the rate of Adam and the square root of the inputs of a unit, above which the learning
# rate is too large.
LARGE_UPDATE = 1

# The steps of some epochs, and the steps whose rates are computed.
STEPS = 1000
_SAMPLED = (0, *(2**power for power in range(10)), STEPS)
# Change of the kernels of a layer in a thousand steps, relative to their size, below which they
# stay where they are.
SMALL_CHANGE = 0.02
# Fall of the loss in a thousand steps of SGD, to first order, relative to the loss, below which
# nothing is learned.
SMALL_GAIN = 0.01
# Learning rate of Adadelta below which it hardly moves weights.
SLOW_ADADELTA = 0.03

# The kinds of optimizers with a formula.
_KNOWN = ("adadelta", "adagrad", "adam", "sgd")


@dataclass(frozen=True)
class _Optimizer:
    """The optimizer of a model, as its steps begin.

    Attributes:
        rate: Learning rate of the next step.
        facts: How it makes a step from a gradient.
        travel: The sum of the rates of the next thousand steps.
        has_schedule: Whether the rate changes by itself.
        is_sensitive: Whether large steps do harm: the network has no normalizations, and SGD does
            not clip gradients.
    """

    rate: float
    facts: StepFacts
    travel: float = 0.0
    has_schedule: bool = False
    is_sensitive: bool = True

    @property
    def kind(self) -> OptimizerKind | None:
        """The kind of its steps, `None` for an optimizer without a formula."""
        return self.facts.kind if self.facts.kind in _KNOWN else None


# Adam as it is by default.
_DEFAULT = _Optimizer(0.001, StepFacts("adam", epsilon=1e-7), travel=0.001 * STEPS)


def _read_optimizer(diagnosis: Diagnosis) -> _Optimizer | None:
    """Read the optimizer, `None` if the model is not compiled with one, or its rate is unknown."""
    optimizer: Any = getattr(diagnosis.model, "optimizer", None)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return None
    optimizer = unwrap_optimizer(optimizer)
    rate = read_rate(optimizer)
    if rate is None:
        return None
    facts = read_step_facts(optimizer)
    is_clipped = facts.kind == "sgd" and facts.is_clipped
    # Normalizations undo the scale of weights before them, so large steps only make these larger.
    is_normalized = bool(diagnosis.probe(NormalizedProbe).normalizing)
    rates = predict_rates(optimizer, _SAMPLED)
    return _Optimizer(
        rate,
        facts,
        travel=_integrate(_SAMPLED, rates),
        has_schedule=len(set(rates)) > 1,
        is_sensitive=not is_clipped and not is_normalized,
    )


def _integrate(steps: Sequence[int], rates: Sequence[float]) -> float:
    """Compute the sum of the rates of all steps from some rates, by the trapezoidal rule."""
    total = 0.0
    pairs = itertools.pairwise(zip(steps, rates, strict=True))
    for (begin, first), (end, last) in pairs:
        total += (end - begin) * (first + last) / 2
    return total


@rule(
    "rate",
    # Such kernels stay where they are with any rate.
    beside=["vanishing", "vanishing gradient"],
)
def rate(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report a learning rate that makes the first steps go too far, or nowhere.

    Reported if:
        - The learning rate is below 0, with any optimizer.
        - {STEPS} steps of SGD, Adagrad or Adam change the kernels of every layer by less than
          {SMALL_CHANGE:g} of their size.
        - {STEPS} steps of SGD lower the loss by less than {SMALL_GAIN:g} of its value.
        - The rate of Adadelta is below {SLOW_ADADELTA:g}.
        - The rate of SGD times the squared norm of the gradient is above {LARGE_STEP:g} times the
          loss.
        - The rate of Adam times the square root of the inputs of a unit is above {LARGE_UPDATE:g}.

        Optimizers that are similar to Adam count as Adam. The tests of these products need a model
        without normalizations, and for SGD also without clipping.

    Level:
        error if the rate is below 0; warning in other cases

    Why:
        - Adam changes a weight by at most the rate in a step, and by less if the gradient is small
          next to epsilon. SGD changes it by the rate times the gradient, which may be clipped.
        - A schedule may end before the network learns anything.
        - Adadelta finds the size of its steps itself, for a rate of 1 (Zeiler, 2012).
        - To first order, a step of SGD lowers the loss by the rate times the squared norm. A loss
          of Keras cannot fall below 0, so such a step goes too far. For other losses, `diagnose`
          takes the step, and reports the rate if the loss rises.
        - Weights usually have a standard deviation of 1 over the square root of the inputs. A large
          rate of Adam overwrites them in the first step.
        - Normalizations undo the scale of weights, so large steps before them do no harm.
        - A loss with `reduction="sum"` grows with the examples, and a batch in training may have
          fewer. So `diagnose` does not compare it with the steps of SGD.

    Typical causes:
        - a rate for another optimizer, such as 1e-4 with SGD or 0.3 with Adam
        - `Adadelta` with a rate that suits Adam
        - a sign that is wrong

    Fix:
        - Use `Adam` with its defaults, another rate, or `Adadelta(1.0)`.
        - Scale your inputs.
    """
    optimizer = _read_optimizer(diagnosis)
    if optimizer is None:
        return
    if optimizer.rate < 0:
        evidence = f"the learning rate is {optimizer.rate:g}, so each step raises the loss"
        yield Finding([], evidence, _propose_adam("use a positive learning rate: "), "error")
        return
    if optimizer.kind == "adadelta":
        yield from _report_adadelta(optimizer)
        return
    yield from _report_small_steps(optimizer, diagnosis, layers)
    if optimizer.rate > 0 and optimizer.is_sensitive and optimizer.kind == "sgd":
        yield from _report_large_sgd_steps(optimizer.rate, diagnosis)
    elif optimizer.rate > 0 and optimizer.is_sensitive and optimizer.kind == "adam":
        yield from _report_large_adam_steps(optimizer.rate, measured_layers(diagnosis))


def _propose_adam(before: str = "use ") -> Remedy:
    return Remedy(f"{before}keras.optimizers.Adam()")


def _report_adadelta(optimizer: _Optimizer) -> Iterator[Finding]:
    if not optimizer.has_schedule and 0 < optimizer.rate < SLOW_ADADELTA:
        evidence = (
            f"the rate of Adadelta is {optimizer.rate:.3g}; its usual rate is 1, because it finds "
            "the size of its steps itself. The weights hardly move"
        )
        yield Finding([], evidence, Remedy("use keras.optimizers.Adadelta(1.0)"))


def _report_small_steps(
    optimizer: _Optimizer, diagnosis: Diagnosis, layers: list[MeasuredLayer]
) -> Iterator[Finding]:
    """Report an optimizer that hardly changes the weights."""
    if optimizer.kind is None:
        return
    change = _compute_largest_change(optimizer, diagnosis, layers)
    # Without such kernels, nothing learns with any optimizer.
    if change is None:
        return
    rate = f"the rate {optimizer.rate:.3g}"
    if optimizer.has_schedule:
        rate = f"rates that begin at {optimizer.rate:.3g} and add up to {optimizer.travel:.3g}"
    gain = _compute_gain(optimizer, diagnosis)
    if change < SMALL_CHANGE:
        effect = f"change the kernels of each layer by at most {change:.1g} of their size"
    elif gain is not None and gain < SMALL_GAIN:
        effect = f"lower the loss by {gain:.1g} of its value"
    else:
        return
    remedy = _propose_adam("use its defaults: ")
    default_change = _compute_largest_change(_DEFAULT, diagnosis, layers)
    if default_change is not None and default_change < SMALL_CHANGE:
        remedy = Remedy(
            "multiply the loss by a factor, because its gradients are small next to the epsilon of "
            f"Adam, {_DEFAULT.facts.epsilon:g}"
        )
    yield Finding([], f"{STEPS} steps with {rate} {effect}", remedy)


def _compute_largest_change(
    optimizer: _Optimizer, diagnosis: Diagnosis, layers: Sequence[MeasuredLayer]
) -> float | None:
    """Compute the largest change of a kernel in a thousand steps, relative to its size.

    This is an upper bound. It is `None` without kernels that get gradients.
    """
    clipping = _compute_clipping(optimizer, diagnosis)
    changes = []
    # Layers with tiny inputs learn at no rate.
    lost = lost_signals(diagnosis)
    weak = lost.starved | lost.began | diagnosis.probe(LostProbe).shrunk.keys()
    for weight in list_weights(layer for layer in layers if layer.layer not in weak):
        report = weight.report
        # No rate suits a gradient that an activation at its limits holds back.
        gradient = freed_gradients(diagnosis).get(id(weight.own.variable), report.gradient)
        # Biases begin at zeros, so any change of them is large.
        if gradient and report.norm and weight.is_kernel:
            change = _compute_change(optimizer, clipping * gradient, math.prod(report.shape))
            changes.append(change / report.norm)
    return max(changes, default=None)


def _compute_gain(optimizer: _Optimizer, diagnosis: Diagnosis) -> float | None:
    """Compute the fall of the loss in a thousand steps of SGD, to first order, relative to it.

    It is `None` for other optimizers, and if the loss or its gradient is unknown.
    """
    loss = _read_loss(diagnosis)
    if optimizer.kind != "sgd" or not loss or not trained_layers(diagnosis):
        return None
    squares = sum(norm**2 for _, norm in trained_layers(diagnosis))
    # No gradient at all has verdicts of its own.
    if not 0 < squares < math.inf or loss < 0:
        return None
    return optimizer.travel * squares / max(1 - optimizer.facts.momentum, 1 / STEPS) / loss


def _read_loss(diagnosis: Diagnosis) -> float | None:
    """Read the loss, `None` if the loss of a batch in training is unknown."""
    losses = diagnosis.probe(LossProbe)
    # Training may take fewer examples at once, whose sum and its gradient are smaller.
    return None if losses.is_sum else losses.value


def _compute_clipping(optimizer: _Optimizer, diagnosis: Diagnosis) -> float:
    """Compute the clipping factor for the norm of all gradients together."""
    total = math.hypot(*(norm for _, norm in trained_layers(diagnosis)))
    return min(optimizer.facts.global_clipnorm / total, 1.0) if total > 0 else 1.0


def _compute_change(optimizer: _Optimizer, norm: float, count: int) -> float:
    """Compute how far a thousand steps move a weight, at most.

    Args:
        optimizer: The optimizer.
        norm: The norm of the gradient of the weight, which stays the same by assumption.
        count: How many numbers the weight has.
    """
    norm = min(norm, optimizer.facts.clipnorm)
    size = min(norm / math.sqrt(count), optimizer.facts.clipvalue)
    travel = optimizer.travel
    if optimizer.kind == "adam":
        travel *= 1 / (size + optimizer.facts.epsilon)
    elif optimizer.kind == "adagrad":
        # The integral over the steps, each of which adds a square to the sum.
        end = math.sqrt(optimizer.facts.start + STEPS * size**2)
        travel *= 2 / (end + math.sqrt(optimizer.facts.start))
    elif optimizer.kind == "sgd":
        # Momentum adds up as many steps as there are, at most.
        travel /= max(1 - optimizer.facts.momentum, 1 / STEPS)
    return travel * size * math.sqrt(count)


def _report_large_sgd_steps(rate: float, diagnosis: Diagnosis) -> Iterator[Finding]:
    """Report a rate of SGD that makes the first step go too far."""
    loss = _read_loss(diagnosis)
    norms = trained_layers(diagnosis)
    if loss is None or not loss > 0 or not norms:
        return
    # Momentum is left out: it makes the first step no longer, and later steps change direction.
    # Healthy networks train with it although the sum of its steps would be far too long.
    squares = sum(norm**2 for _, norm in norms)
    ratio = rate * squares / loss
    if not LARGE_STEP < ratio < math.inf:
        return
    # A loss of one's own may fall below 0, as a difference of scores does.
    if diagnosis.probe(LossProbe).mean is None and not first_step_raises_loss(diagnosis):
        return
    worst, _ = max(norms, key=lambda pair: pair[1])
    evidence = (
        f"the rate {rate:.3g} times the squared norm of the gradient, {math.sqrt(squares):.3g}, "
        f"is {ratio:.3g} times the loss of {loss:.3g}. A step goes too far. {worst.title} has the "
        "largest gradient"
    )
    # The product would then be a tenth of the loss.
    suitable = f"{rate / ratio / 10:.0e}"
    remedy = Remedy(f"use keras.optimizers.SGD({suitable})").otherwise(_propose_adam())
    yield Finding([worst], evidence, standardize_inputs_first(diagnosis, remedy))


def _report_large_adam_steps(rate: float, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report a rate of Adam, or of a similar optimizer, that overwrites weights in a step."""
    widest: MeasuredLayer | None = None
    most = 0.0
    for weight in list_weights(layers):
        # A row of an embedding is no sum of inputs.
        if weight.layer.kind == "Embedding" or weight.report.gradient is None:
            continue
        fan_in = weight.report.fan_in
        if fan_in is not None and fan_in > most:
            widest, most = weight.layer, fan_in
    if widest is None:
        return
    update = rate * math.sqrt(most)
    if not update > LARGE_UPDATE:
        return
    evidence = (
        f"the first step changes each weight by about the rate, {rate:.3g}; for {most} inputs of "
        f"a unit, weights of {widest.title} should have a standard deviation of 1 / sqrt({most}). "
        f"The step is {update:.3g} times as large"
    )
    remedy = _propose_adam("use the default rate: ")
    if _DEFAULT.rate * math.sqrt(most) > LARGE_UPDATE:
        remedy = Remedy(f"use a rate of {0.1 / math.sqrt(most):.0e}")
    yield Finding([widest], evidence, remedy)
