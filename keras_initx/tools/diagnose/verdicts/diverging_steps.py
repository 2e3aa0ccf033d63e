"""Steps whose loss does not stay finite, or rises, or that leave weights as they are."""

import math
from collections.abc import Iterator, Sequence

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
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule
from keras_initx.tools.diagnose._seen import SeenLayer, SeenWeight, weights_of
from keras_initx.tools.diagnose._steps import (
    FALLEN,
    TrainedSteps,
    steps_taken,
    to_beat,
    trained_weights,
)

# A loss is without bound once it is below 0, and this many times as large as at first.
UNBOUNDED = 100
# The steps whose rates are asked for where a rate may rise.
_LATER = [2**power for power in range(21)]


@rule("diverging steps")
def diverging_steps(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Report steps whose loss does not fall, and weights that they leave as they are.

    Finds:
        with `steps`, a loss or a weight that is not finite after some of them; a loss that is above
        {RISING_LOSS:g} times the first in all of the later half, or once above {OVERSHOOT} times;
        one below 0 that is {UNBOUNDED} times as large as the first, and as 1; weights with a
        gradient that stay as they are, bit for bit; steps without an update, while gradients are
        accumulated, or overflow

    Why:
        the optimizer goes too far, which its first step need not show. One that falls again after
        it was a thousand times as large is the loss of units that have died. A loss without a least
        value is lowered for ever, as by a logarithm of what is no probability, or by a sign.
        Weights stay if the optimizer leaves them out, or changes them by less than the last bit

    Level:
        error if the loss or a weight is not finite, or the loss has no bound; warning; note if no
        update was made, or the rate still rises: nothing is known of the weights

    Remedy:
        the rate, of a tenth, a hundredth and a thousandth, with which as many steps lower the loss
        most; if none does, a lower one, and of weights in 16 bits float32; finite values in the
        state that `call` writes, if no rate makes a difference; a loss with a least value; an
        optimizer that has all trainable weights; more steps
    """
    taken = steps_taken(of)
    if taken is None:
        return
    if not taken.stays_finite:
        yield _not_finite(taken, of, layers)
    elif taken.rises:
        evidence = f"{_course(taken)} {taken.with_optimizer}"
        if max(taken.losses) > taken.losses[-1]:
            evidence += f", and is {max(taken.losses):.3g} in between"
        yield Finding([], evidence, _smaller_steps(taken, of))
    elif taken.losses[-1] < -UNBOUNDED * max(abs(taken.losses[0]), 1):
        text = (
            "a loss that has a least value: of logarithms of probabilities, which a sigmoid or a "
            "softmax gives, with its sign, and with targets from 0 to 1"
        )
        yield Finding([], _course(taken), Remedy(text), "error")
    yield from _unmoved(taken, of, layers)


def _not_finite(taken: TrainedSteps, of: Diagnosis, layers: list[SeenLayer]) -> Finding:
    """Return the finding on a loss or weights that are not finite."""
    hit = []
    evidence = f"after {format_count(len(taken.losses) - 1, 'step')} {taken.with_optimizer} "
    if not math.isfinite(taken.losses[-1]):
        evidence += f"the loss is {taken.losses[-1]}"
        if taken.lost:
            evidence += ", and "
    if taken.lost:
        hit = [weight.layer for weight in weights_of(layers) if weight in taken.lost][:1]
        evidence += f"weights are not finite, first {taken.lost[0].path}"
    return Finding(hit, evidence, _smaller_steps(taken, of), "error")


def _unmoved(taken: TrainedSteps, of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Yield the finding on weights that stay as they are."""
    found = [weight for weight in weights_of(layers) if weight in taken.unmoved]
    if not found:
        return
    hit = [weight.layer for weight in found]
    names = summarize_names([weight.path for weight in found])
    count = format_count(len(taken.losses) - 1, "step")
    if taken.is_idle:
        made = f"no update was made in {count} of {taken.optimizer}"
        yield Finding(hit, f"not known for {names}: {made}", _more_steps(of), "note")
        return
    steps = f"{count} {taken.with_optimizer}"
    higher = _higher_rate(of.model.optimizer, taken)
    if higher is not None:
        evidence = (
            f"not known for {names}: {steps} leave them as they are, but the rate rises to "
            f"{higher:.3g}"
        )
        yield Finding(hit, evidence, Remedy("more steps, until the rate has risen"), "note")
        return
    evidence = f"{steps} leave {names} as they are"
    dtype = _short_dtype(found)
    remedy = Remedy("a higher rate") if dtype is None else _full_weights(dtype)
    if taken.rates and not any(taken.rates):
        remedy = Remedy("a learning rate above 0")
    # Those of Keras leave no weight out.
    elif is_from_keras(type(unwrap_optimizer(of.model.optimizer))):
        evidence += ": what they add is less than the last bit"
    else:
        remedy = Remedy("an optimizer with all trainable weights").otherwise(remedy)
    yield Finding(hit, evidence, remedy)


def _higher_rate(optimizer: keras.optimizers.Optimizer, taken: TrainedSteps) -> float | None:
    """Return the highest rate that a schedule has later, `None` if none is known to be higher."""
    if not has_one_rate(unwrap_optimizer(optimizer)) or not taken.rates:
        return None
    highest = max(predict_rates(unwrap_optimizer(copy_unbuilt(optimizer)), _LATER))
    return highest if highest > max(taken.rates) else None


def _more_steps(of: Diagnosis) -> Remedy:
    """Return the remedy where the optimizer has made no update yet."""
    counts = []
    for one in iterate_optimizers(unwrap_optimizer(of.model.optimizer)):
        counts.append(accumulation_steps(one))
    if max(counts) > of.steps:
        return Remedy(f"steps={max(counts)} or more: the optimizer accumulates as many gradients")
    return Remedy("more steps: each lowers the scale of the loss until no gradient overflows")


def _short_dtype(weights: Sequence[SeenWeight]) -> str | None:
    """Return the dtype of 16 bits that one of these weights has, or `None`."""
    for weight in weights:
        if weight.own.dtype in ("bfloat16", "float16"):
            return weight.own.dtype
    return None


def _full_weights(dtype: str) -> Remedy:
    """Return the remedy where weights have too few bits."""
    policy = f'keras.config.set_dtype_policy("mixed_{dtype}")'
    return Remedy(f"weights in float32: {policy} before the model is made")


def _course(taken: TrainedSteps) -> str:
    """Return how the loss goes."""
    count = format_count(len(taken.losses) - 1, "step")
    return f"the loss goes from {taken.losses[0]:.3g} to {taken.losses[-1]:.3g} in {count}"


def _smaller_steps(taken: TrainedSteps, of: Diagnosis) -> Remedy:
    """Return the remedy of a rate that was tried, or another one if none lowers the loss."""
    if taken.better_rate is not None:
        rate = taken.better_rate
        text = f"keras.optimizers.{taken.optimizer}({rate:g}) with its other arguments as they are"
        return Remedy(text)
    if taken.rates and not any(taken.rates):
        return Remedy("a learning rate above 0")
    if not taken.tried:
        return Remedy("a lower rate")
    dtype = _short_dtype(trained_weights(of))
    if dtype is not None:
        return _full_weights(dtype)
    rates = summarize_names([f"{rate:g}" for rate in taken.tried])
    if taken.is_by_state:
        return Remedy(
            f"finite values in what `call` writes: with rates of {rates} the loss is "
            f"{taken.losses[-1]} after as many steps"
        )
    reason = f"with rates of {rates} the loss does not end below {FALLEN * to_beat(taken):.3g}"
    return Remedy(f"a lower rate: {reason}")
