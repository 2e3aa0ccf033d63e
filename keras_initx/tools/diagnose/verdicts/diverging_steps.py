"""Steps whose loss does not stay finite, or rises, or that do not change weights."""

import math
from collections.abc import Iterator

import keras

from keras_initx._checks import summarize_names
from keras_initx._keras import is_from_keras
from keras_initx.inspection._optimizers import (
    accumulation_steps,
    copy_unbuilt,
    has_one_rate,
    iterate_optimizers,
    predict_rates,
    unwrap_optimizer,
)
from keras_initx.report._text import format_count
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, list_weights
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule
from keras_initx.tools.diagnose._steps import (
    FALLEN,
    TrainedSteps,
    loss_to_beat,
    steps_taken,
)

# The steps whose rates are computed to see whether the rate rises: up to a million.
_LATER_STEPS = [2**power for power in range(21)]


@rule("diverging steps")
def diverging_steps(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report steps whose loss does not fall, and weights that they do not change.

    Reported if:
        You pass `steps`, and one of these is true:

        - The loss or a weight is not finite after a step.
        - The loss is above {RISING_LOSS:g} times the first in all of the later half, or once above
          {OVERSHOOT} times the first.
        - Weights with a gradient stay the same, bit for bit.
        - The optimizer makes no update, because it accumulates gradients, or because they overflow.

    Level:
        error if the loss or a weight is not finite; note if the optimizer made no update, or the
        rate still rises, because the steps then show nothing of the weights; warning in other cases

    Why:
        - The optimizer goes too far. The first step may not show it.
        - If a loss falls again after it was a thousand times as large, units have died.
        - Weights stay the same if the optimizer leaves them out, or if each update is smaller than
          the float spacing of the weights.

    Typical causes:
        - a rate that is too large
        - weights in 16 bits with a small rate
        - an optimizer of your own that gets only some of the weights
        - values that `call` writes and that grow

    Fix:
        - Use the rate in the remedy. `diagnose` tries a tenth, a hundredth and a thousandth of
          yours, and takes the one that lowers the loss most. If none does, use a lower one.
        - Keep weights in float32.
        - Keep the values finite that `call` writes, if no rate makes a difference.
        - Use an optimizer with all trainable weights.
        - Pass more steps.
    """
    taken = steps_taken(diagnosis)
    if taken is None:
        return
    if not taken.stays_finite:
        yield _report_not_finite(taken, layers)
    elif taken.rises:
        count = format_count(len(taken.losses) - 1, "step")
        evidence = (
            f"the loss goes from {taken.losses[0]:.3g} to {taken.losses[-1]:.3g} in {count} "
            f"{taken.with_optimizer}"
        )
        if max(taken.losses) > taken.losses[-1]:
            evidence += f", and is {max(taken.losses):.3g} in between"
        yield Finding([], evidence, _propose_smaller_steps(taken))
    yield from _report_unmoved(taken, diagnosis, layers)


def _report_not_finite(taken: TrainedSteps, layers: list[MeasuredLayer]) -> Finding:
    hit = []
    evidence = f"the loss is {taken.losses[-1]}"
    if taken.lost:
        hit = [weight.layer for weight in list_weights(layers) if weight in taken.lost][:1]
        clause = f"weights are not finite, first {taken.lost[0].path},"
        evidence = f"{evidence}, and {clause}"
        if math.isfinite(taken.losses[-1]):
            evidence = clause
    evidence += f" after {format_count(len(taken.losses) - 1, 'step')} {taken.with_optimizer}"
    return Finding(hit, evidence, _propose_smaller_steps(taken), "error")


def _report_unmoved(
    taken: TrainedSteps, diagnosis: Diagnosis, layers: list[MeasuredLayer]
) -> Iterator[Finding]:
    """Report weights that the steps did not change."""
    unmoved = [weight for weight in list_weights(layers) if weight in taken.unmoved]
    if not unmoved:
        return
    hit = [weight.layer for weight in unmoved]
    names = summarize_names([weight.path for weight in unmoved])
    count = format_count(len(taken.losses) - 1, "step")
    if taken.is_idle:
        evidence = (
            f"{taken.optimizer} makes no update in {count}. These steps do not show whether "
            f"{names} can learn"
        )
        yield Finding(hit, evidence, _propose_more_steps(diagnosis), "note")
        return
    steps = f"{count} {taken.with_optimizer}"
    higher_rate = _find_higher_rate(diagnosis.model.optimizer, taken)
    if higher_rate is not None:
        evidence = (
            f"{steps} do not change {names}, but the rate rises to {higher_rate:.3g}. These steps "
            "do not show whether the weights can learn"
        )
        yield Finding(hit, evidence, Remedy("pass more steps, until the rate has risen"), "note")
        return
    evidence = f"{steps} do not change {names}"
    remedy = Remedy("use a higher rate, or keep weights in float32")
    if taken.rates and not any(taken.rates):
        remedy = Remedy("use a learning rate above 0")
    # The optimizers of Keras leave no weight out.
    elif is_from_keras(type(unwrap_optimizer(diagnosis.model.optimizer))):
        evidence += ". Each update is smaller than the float spacing of the weights"
    else:
        remedy = Remedy("use an optimizer that gets all trainable weights").otherwise(remedy)
    yield Finding(hit, evidence, remedy)


def _find_higher_rate(optimizer: keras.optimizers.Optimizer, taken: TrainedSteps) -> float | None:
    """Find the highest later rate of a schedule, `None` if no rate is certainly higher."""
    if not has_one_rate(unwrap_optimizer(optimizer)) or not taken.rates:
        return None
    highest = max(predict_rates(unwrap_optimizer(copy_unbuilt(optimizer)), _LATER_STEPS))
    return highest if highest > max(taken.rates) else None


def _propose_more_steps(diagnosis: Diagnosis) -> Remedy:
    """Propose as many steps as the optimizer needs for an update."""
    counts = []
    for optimizer in iterate_optimizers(unwrap_optimizer(diagnosis.model.optimizer)):
        counts.append(accumulation_steps(optimizer))
    if max(counts) > diagnosis.steps:
        return Remedy(
            f"pass steps={max(counts)} or more, because the optimizer accumulates as many gradients"
        )
    return Remedy("pass more steps: each lowers the scale of the loss until no gradient overflows")


def _propose_smaller_steps(taken: TrainedSteps) -> Remedy:
    """Propose the best rate that was tried, or something else if none lowers the loss."""
    if taken.better_rate is not None:
        rate = taken.better_rate
        text = f"keras.optimizers.{taken.optimizer}({rate:g}) with its other arguments unchanged"
        return Remedy(f"use {text}")
    if taken.rates and not any(taken.rates):
        return Remedy("use a learning rate above 0")
    if not taken.tried:
        return Remedy("use a lower rate")
    rates = summarize_names([f"{rate:g}" for rate in taken.tried])
    if taken.is_by_state:
        return Remedy(
            f"keep the values finite that `call` writes: with rates of {rates}, the loss is "
            f"{taken.losses[-1]} after as many steps; or keep weights in float32"
        )
    reason = (
        f"with rates of {rates}, the loss does not end below {FALLEN * loss_to_beat(taken):.3g}"
    )
    return Remedy(f"use a lower rate: {reason}; or keep weights in float32")
