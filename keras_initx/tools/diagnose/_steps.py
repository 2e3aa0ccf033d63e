"""Some steps of training on one batch: what they do to the loss and the weights.

One batch cannot show a rate that is somewhat too large, or a NaN in the third step. The steps are
taken with the optimizer from its start, as `fit` takes them: state that layers write goes from each
to the next. Weights and state are put back.
"""

import contextlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import keras
import numpy as np

from keras_initx._keras import is_from_keras, list_layers
from keras_initx.backends._current import backend
from keras_initx.inspection._batch import to_array
from keras_initx.inspection._former_values import FormerValues, preserve_variables
from keras_initx.inspection._optimizers import (
    NoCopyError,
    accumulation_steps,
    copy_initial_optimizer,
    copy_unbuilt,
    iterate_optimizers,
    read_rate,
    scales_loss,
    unwrap_optimizer,
)
from keras_initx.tools.diagnose._diagnosis import Diagnosis, fact
from keras_initx.tools.diagnose._lost_weights import lost_weights
from keras_initx.tools.diagnose._seen import SeenWeight, seen_weights
from keras_initx.tools.diagnose.losses.probes import LossProbe, OutputProbe, gradients

# Factor between the lowest loss in the later half of `steps` and the first loss, above which
# training diverges.
RISING_LOSS = 1.2
# A loss that was this many times the first may fall again, where all units have died.
OVERSHOOT = 1000
# What a rate is multiplied with where the loss rises, and where it is that of a guess.
_LOWER = (0.1, 0.01, 0.001)
_OTHER = (*_LOWER, 10.0, 100.0)
# What the loss is to fall to, relative to the first or to that of a guess.
FALLEN = 0.9
# From how many steps on a loss is to be less than that of a guess, and how much less.
LEAST_STEPS = 50
BETTER_THAN_GUESS = 0.99


def check_optimizer(model: keras.Model) -> None:
    """Raise `ValueError` unless `model` has an optimizer for `steps`."""
    optimizer = getattr(model, "optimizer", None)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ValueError(
            "`steps` needs a model that is compiled with an optimizer of Keras. Received: "
            f"optimizer={optimizer!r}"
        )
    # Of a model of TensorFlow, also outside of the scope in which it was made.
    strategy = getattr(model, "distribute_strategy", None)
    replicas = getattr(strategy, "num_replicas_in_sync", 1)
    if replicas > 1:
        raise ValueError(
            f"`steps` needs a model on one replica. Received: a model on {replicas} replicas"
        )


@dataclass(frozen=True)
class TrainedSteps:
    """What some steps on the batch do, with the optimizer from its start.

    Attributes:
        losses: The training objective before each step, and after the last; it ends where it is not
            finite.
        optimizer: Name of the class of the optimizer.
        rates: Its learning rates in the steps that update weights; empty if it has none.
        guess: The loss of a guess by the shares of the labels, where the objective is one
            crossentropy, otherwise `None`.
        lost: The weights that are not finite afterward.
        unmoved: The weights that stay as they are, bit for bit, though they have a gradient.
        is_idle: Whether no update was made, because the optimizer waits for more gradients, or for
            finite ones.
        tried: Other rates that were tried, where the loss does not stay finite, rises, or is that
            of a guess.
        better_rate: The one of these with which as many steps lower the loss most; `None` if none
            does.
        is_by_state: Whether the loss is not finite after as many steps with each rate that was
            tried, as where what `call` writes makes it so.
    """

    losses: Sequence[float]
    optimizer: str
    rates: Sequence[float]
    guess: float | None = None
    lost: Sequence[SeenWeight] = ()
    unmoved: Sequence[SeenWeight] = ()
    is_idle: bool = False
    tried: Sequence[float] = ()
    better_rate: float | None = None
    is_by_state: bool = False

    @property
    def with_optimizer(self) -> str:
        """The optimizer, with its rates where it has any: `"of Adam at 0.001"`."""
        if not self.rates:
            return f"of {self.optimizer}"
        low, high = f"{min(self.rates):.3g}", f"{max(self.rates):.3g}"
        if low == high:
            return f"of {self.optimizer} at {low}"
        return f"of {self.optimizer} at rates between {low} and {high}"

    @property
    def stays_finite(self) -> bool:
        """Whether the loss and all weights are finite at the end."""
        return math.isfinite(self.losses[-1]) and not self.lost

    @property
    def rises(self) -> bool:
        """Whether the loss is above the first in all of the later half, or once far above it."""
        first = self.losses[0]
        if not first > 0:
            return False
        return self.lowest > RISING_LOSS * first or max(self.losses) > OVERSHOOT * first

    @property
    def lowest(self) -> float:
        """The lowest loss of the later half."""
        return min(self.losses[len(self.losses) // 2 :])

    @property
    def is_guess(self) -> bool:
        """Whether the loss is no better than that of a guess, after enough steps."""
        if self.guess is None or self.is_idle or len(self.losses) <= LEAST_STEPS:
            return False
        return self.lowest > BETTER_THAN_GUESS * self.guess


@fact
def steps_taken(of: Diagnosis) -> TrainedSteps | None:
    """What the steps do that were asked for, `None` without any.

    It is `None` too where the loss or a gradient is not finite, and where all gradients are 0.

    Neither are any taken from weights that are not finite.

    Raises:
        ValueError: If the optimizer was built without some of the weights, or cannot be made anew
            from its config.
    """
    norms, value = gradients(of), of.probe(LossProbe).value
    if not of.steps or value is None or not any(norms.values()):
        return None
    if not all(map(math.isfinite, [value, *norms.values()])):
        return None
    if any(lost.is_certain for lost in lost_weights(of)):  # before any step
        return None
    guess = _loss_of_guess(of)
    optimizer = _copied(of.model.optimizer, of.trained)
    with of.changed(), preserve_variables(of.trained) as former:
        taken = _taken(of, optimizer, guess)
        taken = replace(taken, unmoved=_unmoved_weights(of, former))
        least = FALLEN * to_beat(taken)
        lengths = set()
        for factor in _factors(taken):
            tried = float(f"{max(taken.rates, default=0.0) * factor:.1g}")
            other = _with_rate(of.model.optimizer, tried)
            if other is None:
                break
            former.put_back()
            taken = replace(taken, tried=(*taken.tried, tried))
            losses = _losses_with(other, of, of.steps).losses
            last = losses[-1]
            lengths.add(math.inf if math.isfinite(last) else len(losses))
            # False for NaN.
            if last < least:
                least = last
                taken = replace(taken, better_rate=tried)
        is_by_state = taken.better_rate is None and lengths == {len(taken.losses)}
    return replace(taken, is_by_state=is_by_state)


@fact
def first_step_raises_loss(of: Diagnosis) -> bool:
    """Whether the loss is larger after the first step of the optimizer, or not finite.

    It is false where that cannot be tried, as on several replicas.
    """
    try:
        check_optimizer(of.model)
        optimizer = _copied(of.model.optimizer, of.trained)
    except ValueError:
        return False
    with of.changed(), preserve_variables(of.trained):
        before, *after = _losses_with(optimizer, of, 1).losses
    # False for NaN.
    return not all(loss <= before for loss in after)


def trained_weights(of: Diagnosis) -> list[SeenWeight]:
    """Return the weights that are trained, in the order of the model."""
    return [seen_weights(of)[id(variable)] for variable in of.trained]


def _unmoved_weights(of: Diagnosis, former: FormerValues) -> list[SeenWeight]:
    """Return the weights with a gradient that have their former values, to the bit."""
    found = []
    for weight in trained_weights(of):
        variable = weight.own.variable
        is_same = np.array_equal(to_array(variable), to_array(former.value_of(variable)))
        if is_same and weight.report.gradient:
            found.append(weight)
    return found


def _loss_of_guess(of: Diagnosis) -> float | None:
    """Return the loss of a guess by the shares of the labels, if the objective is one such loss."""
    losses = of.probe(LossProbe)
    outputs = of.probe(OutputProbe).records
    if len(outputs) != 1 or len(losses.ends) != 1 or losses.value is None:
        return None
    (output,) = outputs.values()
    (ends,) = losses.ends
    if output.loss is None or output.loss_kind != "crossentropy":
        return None
    factor = ends.loss.factor
    is_whole = math.isclose(output.loss * factor, losses.value, rel_tol=0.01)
    if not is_whole or ends.loss_of_shares is None:
        return None
    return ends.loss_of_shares * factor


def _factors(taken: TrainedSteps) -> Sequence[float]:
    """Return what the rate is multiplied with, to look for a better one."""
    if not taken.stays_finite or taken.rises:
        return _LOWER
    return _OTHER if taken.is_guess else ()


def _taken(
    of: Diagnosis, optimizer: keras.optimizers.Optimizer, guess: float | None
) -> TrainedSteps:
    """Take the steps with an optimizer at its start, and return what they do to the loss.

    Of the weights only those are told that are not finite.
    """
    course = _losses_with(optimizer, of, of.steps)
    lost = []
    for weight in trained_weights(of):
        if not backend.is_finite(weight.own.variable.value):
            lost.append(weight)
    name = type(unwrap_optimizer(optimizer)).__name__
    return TrainedSteps(course.losses, name, course.rates, guess, lost, is_idle=course.is_idle)


class _Course(NamedTuple):
    """What some steps give.

    Attributes:
        losses: The losses, up to one that is not finite.
        rates: The learning rates of the steps that have updated weights; empty if there are none.
        is_idle: Whether the optimizer, or one of several in it, has waited all the time: for more
            gradients to accumulate, or for scaled ones that are finite.
    """

    losses: list[float]
    rates: list[float]
    is_idle: bool


def _losses_with(optimizer: keras.optimizers.Optimizer, of: Diagnosis, steps: int) -> _Course:
    """Take some steps with an optimizer at its start."""
    if not optimizer.built:
        optimizer.build(of.trained)
    inner = unwrap_optimizer(optimizer)
    batch = (of.x, of.y)
    layers = list_layers(of.model)
    # The loss after the last of them is that before one more, which is not taken.
    count = steps + 1
    descent = backend.descend(of.objective_of, of.trained, layers, optimizer, batch, count)
    losses, rates = [], []
    made, rate = 0, read_rate(inner)
    with contextlib.closing(descent):
        for step, loss in enumerate(itertools.islice(descent, count)):
            # A step updates nothing while the optimizer waits.
            if _updates(inner) > made and rate is not None:
                rates.append(rate)
            losses.append(loss)
            if not math.isfinite(loss):
                break
            made, rate = _updates(inner), read_rate(inner)
            if step:
                of.progress(f"step {step} of {steps}")
    waiting = []
    for one in iterate_optimizers(inner):
        may_wait = accumulation_steps(one) > 1 or scales_loss(optimizer)
        waiting.append(one.built and may_wait and not _updates(one))
    return _Course(losses, rates, any(waiting))


def _updates(optimizer: keras.optimizers.Optimizer) -> int:
    """Return how many updates an optimizer has made."""
    # A quotient of a variable where gradients are accumulated.
    return int(backend.host_view(keras.ops.convert_to_tensor(optimizer.iterations)))


def _copied(
    optimizer: keras.optimizers.Optimizer, weights: Sequence[keras.Variable]
) -> keras.optimizers.Optimizer:
    """Return an optimizer that does what another does, at its start."""
    try:
        return copy_initial_optimizer(optimizer, weights)
    except NoCopyError as error:
        raise ValueError(
            f"`steps` needs an optimizer that {error.required}. "
            f"Received: optimizer={optimizer!r}, {error.received}"
        ) from error


def _with_rate(
    optimizer: keras.optimizers.Optimizer, rate: float
) -> keras.optimizers.Optimizer | None:
    """Return an optimizer of Keras with another rate, `None` for others."""
    if not is_from_keras(unwrap_optimizer(optimizer)) or rate <= 0:
        return None
    return copy_unbuilt(optimizer, rate)


def to_beat(taken: TrainedSteps) -> float:
    """Return the first loss, or that of a guess if it is less."""
    first = taken.losses[0]
    return first if taken.guess is None else min(first, taken.guess)
