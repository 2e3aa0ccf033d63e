"""The optimizer: what its first step does to the weights."""

import math
from collections.abc import Iterator
from typing import Any, Literal

import keras

from keras_initx._keras import layers_of
from keras_initx.diagnostics._measurements import LayerReport, Measurements, OptimizerFacts
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._verdict import Finding, Threshold, rule
from keras_initx.diagnostics.verdicts.inputs import scaled_first
from keras_initx.structure import NORMALIZATIONS, has_schedule, rate_of, unscaled

LARGE_STEP = Threshold(
    "large_step",
    20,
    "factor between what a step of SGD would lower the loss by, to first order, and the loss, "
    "above which the learning rate is too large",
)
LARGE_UPDATE = Threshold(
    "large_update",
    3,
    "product of the rate of Adam and the square root of the inputs of a unit, above which the "
    "learning rate is too large",
)

# The steps of some epochs.
_STEPS = 1000
SMALL_CHANGE = Threshold(
    "small_change",
    0.02,
    "change of the weights of a layer in a thousand steps, relative to their size, below which "
    "they stay where they are",
)
SLOW_ADADELTA = Threshold(
    "slow_adadelta",
    0.03,
    "learning rate of Adadelta below which it hardly moves weights",
)

# The optimizers whose first step changes each weight by about the learning rate.
_NORMALIZING = (
    keras.optimizers.Adam,
    keras.optimizers.Adamax,
    keras.optimizers.AdamW,
    keras.optimizers.Nadam,
)
_NORMALIZING_NAMES = tuple(optimizer.__name__ for optimizer in _NORMALIZING)


def optimizer_facts(model: keras.Model) -> OptimizerFacts | None:
    """Return what is known of the optimizer of `model`, `None` if it is not compiled with one."""
    optimizer: Any = getattr(model, "optimizer", None)
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return None
    optimizer = unscaled(optimizer)
    rate = rate_of(optimizer)
    if rate is None:
        return None
    # On torch Keras has subclasses of its own, with the same names.
    name = type(optimizer).__name__
    kind: Literal["adadelta", "adam", "sgd"] | None = None
    if isinstance(optimizer, keras.optimizers.Adadelta) and name == "Adadelta":
        kind = "adadelta"
    elif isinstance(optimizer, _NORMALIZING) and name in _NORMALIZING_NAMES:
        kind = "adam"
    elif isinstance(optimizer, keras.optimizers.SGD) and name == "SGD":
        kind = "sgd"
    clipping = (optimizer.clipnorm, optimizer.clipvalue, optimizer.global_clipnorm)
    is_clipped = kind == "sgd" and any(limit is not None for limit in clipping)
    # Normalizations undo the scale of what comes before them, so that large steps only make its
    # weights larger.
    is_normalized = any(isinstance(layer, NORMALIZATIONS) for layer in layers_of(model))
    return OptimizerFacts(
        rate,
        kind,
        is_constant=not has_schedule(optimizer),
        is_sensitive=not is_clipped and not is_normalized,
        momentum=optimizer.momentum if kind == "sgd" else 0.0,
    )


@rule(
    "negative rate",
    levels={"error": ""},
    finds="a model that is compiled with a learning rate below 0",
    reason="each step raises the loss",
    remedy="a positive rate",
)
def negative_rate(measured: Measurements) -> Iterator[Finding]:
    optimizer = measured.optimizer
    if optimizer is None or not optimizer.rate < 0:
        return
    evidence = f"the learning rate is {optimizer.rate:g}: each step raises the loss"
    yield Finding([], evidence, _adam("a positive learning rate: "), "error")


def _adam(before: str = "") -> Remedy:
    """Return a remedy with Adam at its default rate."""
    return Remedy(f"{before}keras.optimizers.Adam()", optimizer="adam")


@rule(
    "small steps",
    levels={"warning": ""},
    finds="a model that is compiled with SGD, or with Adam or its like, at a constant rate with "
    "which a thousand steps change the weights of no layer by {small_change} of their size; or "
    "with Adadelta at a rate below {slow_adadelta}",
    reason="Adam changes a weight by at most the rate in a step, SGD by its gradient times the "
    "rate. Adadelta has no rate: it finds the size of its steps itself, and 1 leaves them as they "
    "are (Zeiler, 2012). With 0.001, the default of Keras, they are a thousandth of that",
    remedy="the default rate of Adam, `Adadelta(1.0)`",
)
def small_steps(measured: Measurements) -> Iterator[Finding]:
    optimizer = measured.optimizer
    if optimizer is None or optimizer.rate < 0 or not optimizer.is_constant:
        return
    if optimizer.kind != "adadelta":
        yield from _small_changes(optimizer, measured)
        return
    if not 0 < optimizer.rate < SLOW_ADADELTA.of(measured):
        return
    evidence = (
        f"the rate of Adadelta is {optimizer.rate:.3g}, with which weights hardly move: the method "
        "finds the size of its steps itself, for a rate of 1"
    )
    method = {"class_name": "Adadelta", "config": {"learning_rate": 1.0}}
    yield Finding([], evidence, Remedy("keras.optimizers.Adadelta(1.0)", optimizer=method))


def _small_changes(optimizer: OptimizerFacts, measured: Measurements) -> Iterator[Finding]:
    """Yield the finding on a rate of SGD or of Adam with which weights stay where they are."""
    changes = []
    for layer in measured.layers:
        for weight in layer.weights:
            # Of zeros, such as biases, any change is a large one.
            if not weight.gradient or not weight.norm:
                continue
            if optimizer.kind == "adam":
                change = math.sqrt(math.prod(weight.shape))
            elif optimizer.kind == "sgd":
                # Momentum adds up as many steps as there are, at most.
                change = weight.gradient / max(1 - optimizer.momentum, 1 / _STEPS)
            else:
                return
            changes.append(_STEPS * optimizer.rate * change / weight.norm)
    if not changes or not max(changes) < SMALL_CHANGE.of(measured):
        return
    evidence = (
        f"with the rate {optimizer.rate:.3g}, {_STEPS} steps change the weights of no layer by "
        f"more than {max(changes):.1g} of their size"
    )
    yield Finding([], evidence, _adam("the default rate: "))


@rule(
    "large steps",
    levels={"warning": ""},
    finds="a model without normalizations that is compiled with SGD, whose learning rate times "
    "the squared norm of the gradient is above {large_step} times the loss; or with Adam or its "
    "like, whose rate times the square root of the inputs of a unit is above {large_update}",
    reason="to first order a step of SGD lowers the loss by this product, but a loss cannot fall "
    "below 0: the step goes too far, and the loss rises. The first step of Adam changes each "
    "weight by the rate, and usual weights have a standard deviation of 1 over that root: it "
    "overwrites them. Normalizations undo the scale of weights, so that large steps do no harm "
    "before them",
    remedy="a lower rate, `Adam`, scaled inputs",
)
def large_steps(measured: Measurements) -> Iterator[Finding]:
    optimizer = measured.optimizer
    if optimizer is None or not optimizer.rate > 0 or not optimizer.is_sensitive:
        return
    if optimizer.kind == "sgd":
        yield from _steps_of_sgd(optimizer.rate, measured)
    elif optimizer.kind == "adam":
        yield from _steps_of_adam(optimizer.rate, measured)


def _steps_of_sgd(rate: float, measured: Measurements) -> Iterator[Finding]:
    """Yield the finding on the rate of SGD."""
    loss = measured.loss
    norms = measured.gradient_norms
    if loss is None or not loss > 0 or not norms:
        return
    # Momentum makes the first step no longer, and later ones turn: healthy networks train with it
    # where the steps that it adds up would be far too long.
    squares = sum(norm**2 for _, norm in norms)
    ratio = rate * squares / loss
    if not LARGE_STEP.of(measured) < ratio < math.inf:
        return
    worst, _ = max(norms, key=lambda pair: pair[1])
    evidence = (
        f"the rate {rate:.3g} times the squared norm of the gradient, {math.sqrt(squares):.3g}, "
        f"is {ratio:.3g} times the loss of {loss:.3g}: a step goes too far. The largest gradient "
        f"is that of {worst.name}"
    )
    # The product would then be a tenth of the loss.
    suitable = f"{rate / ratio / 10:.0e}"
    optimizer = {"class_name": "SGD", "config": {"learning_rate": float(suitable)}}
    remedy = Remedy(f"keras.optimizers.SGD({suitable})", optimizer=optimizer).otherwise(_adam())
    yield Finding([worst], evidence, scaled_first(measured, remedy))


def _steps_of_adam(rate: float, measured: Measurements) -> Iterator[Finding]:
    """Yield the finding on the rate of Adam and its like."""
    widest: LayerReport | None = None
    most = 0
    for layer in measured.layers:
        # A row of an embedding is no sum of inputs.
        if layer.kind == "Embedding":
            continue
        for weight in layer.weights:
            if weight.gradient is not None and weight.fan_in is not None and weight.fan_in > most:
                widest, most = layer, weight.fan_in
    if widest is None:
        return
    update = rate * math.sqrt(most)
    if not update > LARGE_UPDATE.of(measured):
        return
    evidence = (
        f"the first step changes each weight by about the rate, {rate:.3g}: that is {update:.3g} "
        f"times 1 / sqrt({most}), the standard deviation that suits the {most} inputs of a unit of "
        f"{widest.name}"
    )
    yield Finding([widest], evidence, _adam("the default rate: "))
