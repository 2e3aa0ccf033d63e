"""Some steps of training on one batch: whether the loss stays finite, falls, and moves all weights.

One batch cannot show a rate that is somewhat too large, or a NaN in the third step. The steps are
taken with the optimizer from its start, and the weights put back.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_initx._keras import is_built_with, is_of_keras, layers_of
from keras_initx._typing import Tensor
from keras_initx.backends import backend
from keras_initx.diagnostics._measurements import LayerReport, Measurements, TrainedSteps
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._verdict import Finding, Level, listed, rule
from keras_initx.rendering import counted
from keras_initx.structure import (
    array_of,
    lost_settings,
    rate_of,
    unbuilt_copy,
    unscaled,
    weights_within,
)

# Factor between the lowest loss in the later half of `steps` and the first loss, above which
# training diverges.
RISING_LOSS = 1.2
# A loss that was this many times the first may fall again, where all units have died.
_OVERSHOOT = 1000
# A loss is without bound once it is below 0, and this many times as large as at first.
_UNBOUNDED = 100
# What a rate is multiplied with where the loss rises.
_LOWER = (0.1, 0.01, 0.001)


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


def steps_taken(
    model: keras.Model,
    weights: Sequence[keras.Variable],
    function: Callable[..., Tensor],
    batch: Sequence[Any],
    count: int,
    blind: float | None,
    progress: Callable[[str], object],
) -> TrainedSteps:
    """Return what steps on a batch do to the loss and to the weights, which are put back.

    Args:
        model: The model, whose optimizer stays as it is.
        weights: Those that are trained.
        function: Function of the parts of the batch that returns the training objective.
        batch: The batch.
        count: Number of steps.
        blind: See `TrainedSteps`.
        progress: Function that is called with the name of each step.

    Raises:
        ValueError: If the optimizer was built without some of the weights, or cannot be made anew
            from its config.
    """
    before = [backend.snapshot(weight.value) for weight in weights]
    paths = {id(weight.variable): weight.path for weight in weights_within(model)}

    def put_back() -> None:
        for weight, value in zip(weights, before, strict=True):
            weight.assign(value)

    def losses_with(optimizer: keras.optimizers.Optimizer) -> list[float]:
        if not optimizer.built:
            optimizer.build(weights)
        descent = backend.descend(function, weights, layers_of(model), optimizer, batch)
        losses = []
        for step, loss in enumerate(itertools.islice(descent, count + 1)):
            losses.append(loss)
            if not math.isfinite(loss):
                break
            if step:
                progress(f"step {step} of {count}")
        return losses

    optimizer = _copied(model.optimizer, weights)
    rate = rate_of(unscaled(optimizer))
    try:
        losses = losses_with(optimizer)
        lost, unmoved = [], []
        for weight, value in zip(weights, before, strict=True):
            if not backend.is_finite(weight.value):
                lost.append(paths[id(weight)])
            elif np.array_equal(array_of(weight), array_of(value)):
                unmoved.append(paths[id(weight)])
        name = type(unscaled(optimizer)).__name__
        taken = TrainedSteps(losses, name, rate, blind, lost, unmoved)
        factors: Sequence[float] = ()
        if not _stays_finite(taken) or _rises(taken):
            factors = _LOWER
        least = 0.9 * _to_beat(taken)
        for factor in factors:
            tried = float(f"{(rate or 0) * factor:.1g}")
            other = _with_rate(model.optimizer, tried)
            if other is None:
                break
            put_back()
            last = losses_with(other)[-1]
            # False for NaN.
            if last < least:
                least = last
                taken = replace(taken, better_rate=tried)
        return taken
    finally:
        put_back()


def _copied(
    optimizer: keras.optimizers.Optimizer, weights: Sequence[keras.Variable]
) -> keras.optimizers.Optimizer:
    """Return an optimizer that does what another does, at its start."""
    for used in {optimizer, unscaled(optimizer)}:
        unknown = [weight for weight in weights if not is_built_with(used, weight)]
        if used.built and unknown:
            raise ValueError(
                "`steps` needs an optimizer that is built with all weights that are trained, as "
                "`fit` does: compile the model again. Received: "
                f"optimizer={optimizer!r}, built without {unknown[0].path!r}"
            )
    required = "`steps` needs an optimizer that its config makes anew"
    try:
        copied = unbuilt_copy(optimizer)
        # Building may set attributes. The optimizer inside may be built alone.
        if unscaled(optimizer).built:
            unscaled(copied).build(weights)
        if optimizer.built and not copied.built:
            copied.build(weights)
        lost = lost_settings(optimizer, copied)
    except Exception as error:  # it is the user's, and may lack anything
        raise ValueError(
            f"{required}. Received: optimizer={optimizer!r}, whose config raises {error!r}"
        ) from error
    if lost:
        raise ValueError(
            f"{required}. Received: optimizer={optimizer!r}, whose config lacks {listed(lost)}"
        )
    return copied


def _with_rate(
    optimizer: keras.optimizers.Optimizer, rate: float
) -> keras.optimizers.Optimizer | None:
    """Return an optimizer of Keras with another rate, `None` for others."""
    if not is_of_keras(unscaled(optimizer)) or rate <= 0:
        return None
    return unbuilt_copy(optimizer, rate)


def _stays_finite(taken: TrainedSteps) -> bool:
    return math.isfinite(taken.losses[-1]) and not taken.lost


def _later(taken: TrainedSteps) -> float:
    """Return the lowest loss of the later half."""
    return min(taken.losses[len(taken.losses) // 2 :])


def _rises(taken: TrainedSteps) -> bool:
    first = taken.losses[0]
    if not first > 0:
        return False
    return _later(taken) > RISING_LOSS * first or max(taken.losses) > _OVERSHOOT * first


def _to_beat(taken: TrainedSteps) -> float:
    """Return the first loss, or that of a blind guess if it is less."""
    first = taken.losses[0]
    return first if taken.blind is None else min(first, taken.blind)


@rule(
    "diverging steps",
    levels={"error": "if the loss or a weight is not finite", "warning": ""},
    finds="with `steps`, a loss or a weight that is not finite after some of them, or a loss that "
    f"is above {RISING_LOSS:g} times the first in all of the later half, or once above a thousand "
    "times",
    reason="the optimizer goes too far, which its first step need not show. One that falls again "
    "after it was a thousand times as large is the loss of units that have died",
    remedy="the rate, of a tenth, a hundredth and a thousandth, with which as many steps lower the "
    "loss most; if none does, clipped gradients",
)
def diverging_steps(measured: Measurements) -> Iterator[Finding]:
    taken = measured.steps
    if taken is None:
        return
    level: Level = "warning"
    layers = []
    if not _stays_finite(taken):
        level = "error"
        done = len(taken.losses) - 1
        evidence = f"after {counted(done, 'step')} {_with_optimizer(taken)} "
        if not math.isfinite(taken.losses[-1]):
            evidence += f"the loss is {taken.losses[-1]}"
            if taken.lost:
                evidence += ", and "
        if taken.lost:
            layers = [layer for layer in measured.layers if _has_any(layer, taken.lost)][:1]
            evidence += f"weights are not finite, first {taken.lost[0]}"
    elif _rises(taken):
        evidence = f"{_course(taken)} {_with_optimizer(taken)}"
        if max(taken.losses) > taken.losses[-1]:
            evidence += f", and is {max(taken.losses):.3g} in between"
    else:
        return
    clipped = Remedy("global_clipnorm=1.0 in the optimizer: at no lower rate the loss falls")
    yield Finding(layers, evidence, _at_better_rate(taken, clipped), level)


@rule(
    "unbounded loss",
    levels={"error": ""},
    finds="with `steps`, a loss below 0 that is a hundred times as large as the first, and as 1",
    reason="a loss without a least value is lowered for ever, as by a logarithm of what is no "
    "probability, by a sign, or by targets outside of 0 and 1",
    remedy="probabilities in the logarithms of the loss, the other sign, targets from 0 to 1",
)
def unbounded_loss(measured: Measurements) -> Iterator[Finding]:
    taken = measured.steps
    if taken is None or not _stays_finite(taken):
        return
    if not taken.losses[-1] < -_UNBOUNDED * max(abs(taken.losses[0]), 1):
        return
    text = (
        "a loss that has a least value: of logarithms of probabilities, which a sigmoid or a "
        "softmax gives, with its sign, and with targets from 0 to 1"
    )
    yield Finding([], _course(taken), Remedy(text), "error")


@rule(
    "unmoved weights",
    levels={"warning": ""},
    finds="with `steps`, weights with a gradient that stay as they are, bit for bit",
    reason="the optimizer leaves them out, or its change is less than the last bit of a weight",
    remedy="an optimizer that has all trainable weights, a higher rate",
)
def unmoved_weights(measured: Measurements) -> Iterator[Finding]:
    taken = measured.steps
    if taken is None or not taken.unmoved:
        return
    layers, paths = [], []
    for layer in measured.layers:
        for weight in layer.weights:
            if weight.path in taken.unmoved and weight.gradient:
                layers.append(layer)
                paths.append(weight.path)
    if not paths:
        return
    count = counted(len(taken.losses) - 1, "step")
    evidence = f"{count} {_with_optimizer(taken)} leave {listed(paths)} as they are"
    remedy = Remedy("an optimizer with all trainable weights, or a higher rate")
    yield Finding(layers, evidence, remedy)


def _has_any(layer: LayerReport, paths: Sequence[str]) -> bool:
    return any(weight.path in paths for weight in layer.weights)


def _with_optimizer(taken: TrainedSteps) -> str:
    """Return the optimizer, with its rate where it has one."""
    if taken.rate is None:
        return f"of {taken.optimizer}"
    return f"of {taken.optimizer} at {taken.rate:.3g}"


def _course(taken: TrainedSteps) -> str:
    """Return how the loss goes."""
    count = counted(len(taken.losses) - 1, "step")
    return f"the loss goes from {taken.losses[0]:.3g} to {taken.losses[-1]:.3g} in {count}"


def _at_better_rate(taken: TrainedSteps, otherwise: Remedy) -> Remedy:
    """Return the remedy of a rate that was tried, or another one if none lowers the loss."""
    if taken.better_rate is None:
        return otherwise
    rate = taken.better_rate
    text = f"keras.optimizers.{taken.optimizer}({rate:g}) with its other arguments as they are"
    return Remedy(text)
