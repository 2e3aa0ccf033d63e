"""Some steps of training on one batch: whether the loss stays finite, falls, and moves all weights.

One batch cannot show a rate that is somewhat too large, or a NaN in the third step. The steps are
taken with the optimizer from its start, and the weights put back.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np

from keras_initx._keras import is_built_with, is_of_keras, layers_of
from keras_initx._typing import Tensor
from keras_initx.backends import backend
from keras_initx.diagnostics._diagnosis import Diagnosis, fact
from keras_initx.diagnostics._layers import LayerReport, paths
from keras_initx.diagnostics._output_probe import LossProbe, gradients, outputs
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._rules import Finding, Stage, listed, rule
from keras_initx.rendering import counted
from keras_initx.structure import (
    array_of,
    lost_settings,
    rate_of,
    unbuilt_copy,
    unscaled,
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


@dataclass(frozen=True)
class TrainedSteps:
    """What some steps on the batch do, with the optimizer from its start.

    Attributes:
        losses: The training objective before each step, and after the last; it ends where it is not
            finite.
        optimizer: Name of the class of the optimizer.
        rate: Its learning rate in the first step, `None` if it has none.
        blind: The loss of a blind guess, where the objective is one crossentropy, otherwise `None`.
        lost: Paths of the weights that are not finite afterward.
        unmoved: Paths of the weights that stay as they are, bit for bit.
        better_rate: Another rate, with which as many steps lower the loss where its own does not;
            `None` if none was tried, or none does.
    """

    losses: Sequence[float]
    optimizer: str
    rate: float | None
    blind: float | None = None
    lost: Sequence[str] = ()
    unmoved: Sequence[str] = ()
    better_rate: float | None = None


@fact
def steps_taken(of: Diagnosis) -> TrainedSteps | None:
    """What the steps do that were asked for, `None` without any, and where gradients are none.

    Raises:
        ValueError: If the optimizer was built without some of the weights, or cannot be made anew
            from its config.
    """
    norms = gradients(of).values()
    if not of.steps or not any(norms) or not all(map(math.isfinite, norms)):
        return None
    blind = _blind_loss(of)
    before = [backend.snapshot(weight.value) for weight in of.trained]

    def put_back() -> None:
        for weight, value in zip(of.trained, before, strict=True):
            weight.assign(value)

    optimizer = _copied(of.model.optimizer, of.trained)
    with of.changed():
        try:
            taken = _taken(of, optimizer, before, blind)
            least = 0.9 * _to_beat(taken)
            factors = () if _stays_finite(taken) and not _rises(taken) else _LOWER
            for factor in factors:
                tried = float(f"{(taken.rate or 0) * factor:.1g}")
                other = _with_rate(of.model.optimizer, tried)
                if other is None:
                    break
                put_back()
                last = _losses_with(other, of)[-1]
                # False for NaN.
                if last < least:
                    least = last
                    taken = replace(taken, better_rate=tried)
        finally:
            put_back()
    return taken


def _blind_loss(of: Diagnosis) -> float | None:
    """Return the loss of a blind guess if the objective is the crossentropy of one output."""
    value = of.probe(LossProbe).value
    if len(outputs(of)) != 1 or value is None:
        return None
    (output,) = outputs(of).values()
    if output.loss is None or output.loss_kind != "crossentropy":
        return None
    return output.blind_loss if math.isclose(output.loss, value, rel_tol=0.01) else None


def _taken(
    of: Diagnosis,
    optimizer: keras.optimizers.Optimizer,
    before: Sequence[Tensor],
    blind: float | None,
) -> TrainedSteps:
    """Take the steps, and return what they do to the loss and to the weights.

    Args:
        of: The diagnosis.
        optimizer: The optimizer, at its start.
        before: The values of the weights.
        blind: See `TrainedSteps`.
    """
    losses = _losses_with(optimizer, of)
    lost, unmoved = [], []
    for weight, value in zip(of.trained, before, strict=True):
        if not backend.is_finite(weight.value):
            lost.append(paths(of)[id(weight)])
        elif np.array_equal(array_of(weight), array_of(value)):
            unmoved.append(paths(of)[id(weight)])
    inner = unscaled(optimizer)
    return TrainedSteps(losses, type(inner).__name__, rate_of(inner), blind, lost, unmoved)


def _losses_with(optimizer: keras.optimizers.Optimizer, of: Diagnosis) -> list[float]:
    """Return the losses of the steps of an optimizer, up to one that is not finite."""
    if not optimizer.built:
        optimizer.build(of.trained)
    batch = (of.x, of.y)
    layers = layers_of(of.model)
    descent = backend.descend(of.objective_of, of.trained, layers, optimizer, batch)
    losses = []
    for step, loss in enumerate(itertools.islice(descent, of.steps + 1)):
        losses.append(loss)
        if not math.isfinite(loss):
            break
        if step:
            of.progress(f"step {step} of {of.steps}")
    return losses


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
    stage=Stage.STEPS,
    levels={
        "error": "if the loss or a weight is not finite, or the loss has no bound",
        "warning": "",
    },
    finds="with `steps`, a loss or a weight that is not finite after some of them; a loss that "
    f"is above {RISING_LOSS:g} times the first in all of the later half, or once above a thousand "
    "times; one below 0 that is a hundred times as large as the first, and as 1; weights with a "
    "gradient that stay as they are, bit for bit",
    reason="the optimizer goes too far, which its first step need not show. One that falls again "
    "after it was a thousand times as large is the loss of units that have died. A loss without a "
    "least value is lowered for ever, as by a logarithm of what is no probability, or by a sign. "
    "Weights stay if the optimizer leaves them out, or changes them by less than the last bit",
    remedy="the rate, of a tenth, a hundredth and a thousandth, with which as many steps lower the "
    "loss most; if none does, clipped gradients; a loss with a least value; an optimizer that has "
    "all trainable weights",
)
def diverging_steps(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    taken = steps_taken(of)
    if taken is None:
        return
    clipped = Remedy("global_clipnorm=1.0 in the optimizer: at no lower rate the loss falls")
    remedy = _at_better_rate(taken, clipped)
    if not _stays_finite(taken):
        yield _not_finite(taken, layers, remedy)
    elif _rises(taken):
        evidence = f"{_course(taken)} {_with_optimizer(taken)}"
        if max(taken.losses) > taken.losses[-1]:
            evidence += f", and is {max(taken.losses):.3g} in between"
        yield Finding([], evidence, remedy)
    elif taken.losses[-1] < -_UNBOUNDED * max(abs(taken.losses[0]), 1):
        text = (
            "a loss that has a least value: of logarithms of probabilities, which a sigmoid or a "
            "softmax gives, with its sign, and with targets from 0 to 1"
        )
        yield Finding([], _course(taken), Remedy(text), "error")
    yield from _unmoved(taken, layers)


def _not_finite(taken: TrainedSteps, layers: list[LayerReport], remedy: Remedy) -> Finding:
    """Return the finding on a loss or weights that are not finite."""
    hit = []
    evidence = f"after {counted(len(taken.losses) - 1, 'step')} {_with_optimizer(taken)} "
    if not math.isfinite(taken.losses[-1]):
        evidence += f"the loss is {taken.losses[-1]}"
        if taken.lost:
            evidence += ", and "
    if taken.lost:
        hit = [layer for layer in layers if _has_any(layer, taken.lost)][:1]
        evidence += f"weights are not finite, first {taken.lost[0]}"
    return Finding(hit, evidence, remedy, "error")


def _unmoved(taken: TrainedSteps, layers: list[LayerReport]) -> Iterator[Finding]:
    """Yield the finding on weights that stay as they are."""
    hit, paths = [], []
    for layer in layers:
        for weight in layer.weights:
            if weight.path in taken.unmoved and weight.gradient:
                hit.append(layer)
                paths.append(weight.path)
    if not paths:
        return
    count = counted(len(taken.losses) - 1, "step")
    evidence = f"{count} {_with_optimizer(taken)} leave {listed(paths)} as they are"
    remedy = Remedy("an optimizer with all trainable weights, or a higher rate")
    yield Finding(hit, evidence, remedy)


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
