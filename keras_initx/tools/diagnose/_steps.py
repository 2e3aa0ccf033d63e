"""Some steps of training on one batch, and their effects on the loss and the weights.

One pass cannot show a rate that is somewhat too large, or a NaN in the third step. Steps use a
fresh copy of the optimizer. Like in `fit`, each step gets the state that layers wrote in the step
before. Weights and state are restored.

The *guess* is the prediction of the shares of the labels for each example, whatever its inputs.
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
from keras_initx._received import show
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
from keras_initx.inspection._training import has_own_train_step
from keras_initx.tools.diagnose._diagnosis import Diagnosis, fact
from keras_initx.tools.diagnose._lost_weights import lost_weights
from keras_initx.tools.diagnose._measured_layers import MeasuredWeight, measured_weights
from keras_initx.tools.diagnose.losses.probes import LossProbe, OutputProbe, gradient_norms

# Training diverges if the lowest loss in the later half of `steps` is above this many times the
# first loss.
RISING_LOSS = 1.2
# Training also diverges if any loss is above this many times the first: the loss may fall again
# because all units have died.
OVERSHOOT = 1000
# Factors of the rates to try if the loss rises, and if it is no better than the loss of a guess.
_LOWER = (0.1, 0.01, 0.001)
_OTHER = (*_LOWER, 10.0, 100.0)
# Another rate is better if the loss ends below this fraction of the first loss, or of the loss of a
# guess.
FALLEN = 0.9
# After this many steps a loss should be below this fraction of the loss of a guess.
LEAST_STEPS = 50
BETTER_THAN_GUESS = 0.99


def check_optimizer(model: keras.Model) -> None:
    """Raise `ValueError` unless `model` has an optimizer for `steps`, and the step of Keras."""
    if has_own_train_step(model):
        raise ValueError(
            "`steps` cannot follow a `train_step` of your own. Leave out `steps`, or pass one of "
            "the models that your step trains, with its own inputs, targets and loss. Received: "
            f"model of type {type(model).__name__}, whose `train_step` is not that of keras.Model"
        )
    optimizer = getattr(model, "optimizer", None)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ValueError(
            "`steps` needs a model that is compiled with an optimizer of Keras. Received: "
            f"optimizer={show(optimizer)}"
        )
    # A model of TensorFlow has its strategy outside of the scope of the strategy, too.
    strategy = getattr(model, "distribute_strategy", None)
    replicas = getattr(strategy, "num_replicas_in_sync", 1)
    if replicas > 1:
        raise ValueError(
            f"`steps` needs a model on one replica. Received: a model on {replicas} replicas"
        )


@dataclass(frozen=True)
class TrainedSteps:
    """The effects of some steps on the batch, with a fresh copy of the optimizer.

    Attributes:
        losses: The training objective before each step, and after the last, up to the first that
            is not finite.
        optimizer: Name of the class of the optimizer.
        rates: Its learning rates in the steps that update weights; empty if it has none.
        guess: The loss of a guess if the objective is one crossentropy, otherwise `None`.
        lost: The weights that are not finite afterward.
        unmoved: The weights that stay as they are, bit for bit, though they have a gradient.
        is_idle: Whether no update was made, because the optimizer waits for more gradients, or for
            finite ones.
        tried: Other rates that were tried because the loss does not stay finite, rises, or is no
            better than a guess.
        better_rate: The rate of `tried` that lowers the loss most in the same number of steps;
            `None` if no rate lowers it enough.
        is_by_state: Whether the loss becomes infinite or NaN after the same number of steps with
            each rate. Then state that `call` writes is the reason, not the rate.
    """

    losses: Sequence[float]
    optimizer: str
    rates: Sequence[float]
    guess: float | None = None
    lost: Sequence[MeasuredWeight] = ()
    unmoved: Sequence[MeasuredWeight] = ()
    is_idle: bool = False
    tried: Sequence[float] = ()
    better_rate: float | None = None
    is_by_state: bool = False

    @property
    def with_optimizer(self) -> str:
        """The optimizer with its rates: `"of Adam at 0.001"`, or without: `"of Adam"`."""
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
        """Whether the loss stays above the first in the later half, or was far above it once."""
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
        """Whether the loss is no better than the loss of a guess, after enough steps."""
        if self.guess is None or self.is_idle or len(self.losses) <= LEAST_STEPS:
            return False
        return self.lowest > BETTER_THAN_GUESS * self.guess


@fact
def steps_taken(diagnosis: Diagnosis) -> TrainedSteps | None:
    """The effects of the requested steps, `None` without any.

    It is also `None` if the loss, a gradient, or a weight that is no mask is not finite, and if all
    gradients are 0.

    Raises:
        ValueError: If the optimizer was built without some of the weights, or cannot be made from
            its config.
    """
    norms, value = gradient_norms(diagnosis), diagnosis.probe(LossProbe).value
    if not diagnosis.steps or value is None or not any(norms.values()):
        return None
    if not all(map(math.isfinite, [value, *norms.values()])):
        return None
    if any(lost.is_certain for lost in lost_weights(diagnosis)):  # before any step
        return None
    guess = _compute_guess(diagnosis)
    optimizer = _copy_optimizer(diagnosis.model.optimizer, diagnosis.trained)
    with diagnosis.changed(), preserve_variables(diagnosis.trained) as former:
        taken = _take_steps(diagnosis, optimizer, guess)
        taken = replace(taken, unmoved=_find_unmoved_weights(diagnosis, former))
        lowest = FALLEN * loss_to_beat(taken)
        # The number of losses up to one that is not finite, by rate; infinite if all are finite.
        lengths = set()
        for factor in _choose_factors(taken):
            rate = float(f"{max(taken.rates, default=0.0) * factor:.1g}")
            other = _copy_with_rate(diagnosis.model.optimizer, rate)
            if other is None:
                break
            former.put_back()
            taken = replace(taken, tried=(*taken.tried, rate))
            losses = _run_steps(other, diagnosis, diagnosis.steps).losses
            last = losses[-1]
            lengths.add(math.inf if math.isfinite(last) else len(losses))
            # False for NaN.
            if last < lowest:
                lowest = last
                taken = replace(taken, better_rate=rate)
        is_by_state = taken.better_rate is None and lengths == {len(taken.losses)}
    return replace(taken, is_by_state=is_by_state)


@fact
def first_step_raises_loss(diagnosis: Diagnosis) -> bool:
    """Whether the loss is larger after the first step of the optimizer, or not finite.

    It is false if a step cannot be taken, for example on several replicas.
    """
    try:
        check_optimizer(diagnosis.model)
        optimizer = _copy_optimizer(diagnosis.model.optimizer, diagnosis.trained)
    except ValueError:
        return False
    with diagnosis.changed(), preserve_variables(diagnosis.trained):
        before, *after = _run_steps(optimizer, diagnosis, 1).losses
    # False for NaN.
    return not all(loss <= before for loss in after)


def _list_trained_weights(diagnosis: Diagnosis) -> list[MeasuredWeight]:
    """Return the weights that are trained, in the order of the model."""
    return [measured_weights(diagnosis)[id(variable)] for variable in diagnosis.trained]


def _find_unmoved_weights(diagnosis: Diagnosis, former: FormerValues) -> list[MeasuredWeight]:
    """Return the weights with a gradient that have their former values, to the bit."""
    unmoved = []
    for weight in _list_trained_weights(diagnosis):
        variable = weight.own.variable
        is_same = np.array_equal(to_array(variable), to_array(former.value_of(variable)))
        if is_same and weight.report.gradient:
            unmoved.append(weight)
    return unmoved


def _compute_guess(diagnosis: Diagnosis) -> float | None:
    """Return the loss of a guess if the objective is one crossentropy, otherwise `None`."""
    losses = diagnosis.probe(LossProbe)
    outputs = diagnosis.probe(OutputProbe).records
    if len(outputs) != 1 or len(losses.heads) != 1 or losses.value is None:
        return None
    (output,) = outputs.values()
    (head,) = losses.heads
    if output.loss is None or output.loss_kind != "crossentropy":
        return None
    factor = head.loss.factor
    # Without penalties or other terms.
    is_whole_objective = math.isclose(output.loss * factor, losses.value, rel_tol=0.01)
    if not is_whole_objective or head.loss_of_shares is None:
        return None
    return head.loss_of_shares * factor


def _choose_factors(taken: TrainedSteps) -> Sequence[float]:
    if not taken.stays_finite or taken.rises:
        return _LOWER
    return _OTHER if taken.is_guess else ()


def _take_steps(
    diagnosis: Diagnosis, optimizer: keras.optimizers.Optimizer, guess: float | None
) -> TrainedSteps:
    # The result lacks the weights that stay as they are, and other rates.
    course = _run_steps(optimizer, diagnosis, diagnosis.steps)
    lost = []
    for weight in _list_trained_weights(diagnosis):
        if not backend.is_finite(weight.own.variable.value):
            lost.append(weight)
    name = type(unwrap_optimizer(optimizer)).__name__
    return TrainedSteps(course.losses, name, course.rates, guess, lost, is_idle=course.is_idle)


class _Course(NamedTuple):
    """The course of some steps.

    Attributes:
        losses: The losses, up to the first that is not finite.
        rates: The learning rates of the steps that have updated weights; empty if the optimizer
            has none.
        is_idle: Whether the optimizer, or one of several in it, has waited all the time: for more
            gradients to accumulate, or for scaled gradients that are finite.
    """

    losses: list[float]
    rates: list[float]
    is_idle: bool


def _run_steps(optimizer: keras.optimizers.Optimizer, diagnosis: Diagnosis, steps: int) -> _Course:
    if not optimizer.built:
        optimizer.build(diagnosis.trained)
    inner = unwrap_optimizer(optimizer)
    batch = (diagnosis.x, diagnosis.y)
    layers = list_layers(diagnosis.model)
    # The loss after the last step is the loss before one more, which is not taken.
    count = steps + 1
    descent = backend.descend(
        diagnosis.objective_of, diagnosis.trained, layers, optimizer, batch, count
    )
    losses, rates = [], []
    updates, rate = 0, read_rate(inner)
    with contextlib.closing(descent):
        for step, loss in enumerate(itertools.islice(descent, count)):
            # A step updates nothing while the optimizer waits.
            if _count_updates(inner) > updates and rate is not None:
                rates.append(rate)
            losses.append(loss)
            if not math.isfinite(loss):
                break
            updates, rate = _count_updates(inner), read_rate(inner)
            if step:
                diagnosis.progress(f"step {step} of {steps}")
    are_idle = []
    for member in iterate_optimizers(inner):
        may_wait = accumulation_steps(member) > 1 or scales_loss(optimizer)
        are_idle.append(member.built and may_wait and not _count_updates(member))
    return _Course(losses, rates, any(are_idle))


def _count_updates(optimizer: keras.optimizers.Optimizer) -> int:
    # With accumulated gradients `iterations` is a quotient, not a variable.
    return int(backend.host_view(keras.ops.convert_to_tensor(optimizer.iterations)))


def _copy_optimizer(
    optimizer: keras.optimizers.Optimizer, weights: Sequence[keras.Variable]
) -> keras.optimizers.Optimizer:
    try:
        return copy_initial_optimizer(optimizer, weights)
    except NoCopyError as error:
        raise ValueError(
            f"`steps` needs an optimizer that {error.required}. "
            f"Received: optimizer={show(optimizer)}, {error.received}"
        ) from error


def _copy_with_rate(
    optimizer: keras.optimizers.Optimizer, rate: float
) -> keras.optimizers.Optimizer | None:
    # Only optimizers of Keras can be copied with another rate.
    if not is_from_keras(unwrap_optimizer(optimizer)) or rate <= 0:
        return None
    return copy_unbuilt(optimizer, rate)


def loss_to_beat(taken: TrainedSteps) -> float:
    """Return the first loss, or the loss of a guess if it is lower."""
    first = taken.losses[0]
    return first if taken.guess is None else min(first, taken.guess)
