"""Weights of 16 bits: what the optimizer does to them, beside the same weights in 32 bits."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.backends import Moments, backend
from keras_initx.diagnostics._measurements import Measurements, PrecisionFacts
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._verdict import Finding, Level, Threshold, rule
from keras_initx.structure import array_of, is_kernel, unscaled

LOST_PRECISION = Threshold(
    "lost_precision",
    0.1,
    "share of the change of 16-bit weights in 32 bits that is left in 16 bits, below which it is "
    "lost to rounding",
    below=1.0,
)
# Nadam with an epsilon that float16 holds goes up to 20 times as far at first, and trains.
_TOO_FAR = 50
_STEPS = 10
_ENTRIES = 256
_KERNELS = 4
# What 16 bits hold in the place of usual arguments of optimizers.
_CHANGES = ({"epsilon": 1e-4}, {"beta_2": 0.99}, {"epsilon": 1e-4, "beta_2": 0.99})


def precision_facts(
    model: keras.Model, gradients: Mapping[int, float], least: float
) -> PrecisionFacts | None:
    """Return what the optimizer of `model` does to kernels of 16 bits.

    A few steps are tried on a sample of numbers of the size of the kernels and their gradients.

    Args:
        model: The model.
        gradients: The norm of the gradient of each trained weight, by its id.
        least: See `LOST_PRECISION`.

    Returns:
        The facts, `None` without such kernels, without gradients, or if the optimizer cannot be
        copied.
    """
    optimizer: Any = getattr(model, "optimizer", None)
    if not isinstance(optimizer, keras.optimizers.Optimizer) or backend.replicas() > 1:
        return None
    sample = _sample(model, gradients)
    if not sample:
        return None
    try:
        config = keras.optimizers.serialize(unscaled(optimizer))
        size, kept = _compared(config, sample)
    except Exception:  # it is the user's, and may want anything
        return None
    found = PrecisionFacts(sample[0][0], config["class_name"], size, kept)
    # A schedule may begin with a rate that only later ones make up for.
    if not isinstance(config["config"].get("learning_rate"), int | float):
        found = replace(found, kept=None)
    if _holds(found, least):
        return found
    for changes in _CHANGES:
        if changes.keys() <= config["config"].keys():
            changed = {**config, "config": {**config["config"], **changes}}
            size, kept = _compared(changed, sample)
            if _holds(replace(found, size=size, kept=kept), least):
                return replace(found, changes=changes, config=_wrapped(optimizer, changed))
    return found


def _holds(found: PrecisionFacts, least: float) -> bool:
    """Return whether weights change in 16 bits about as in 32."""
    return found.size <= _TOO_FAR and (found.kept is None or found.kept >= least)


def _wrapped(optimizer: keras.optimizers.Optimizer, config: dict[str, Any]) -> dict[str, Any]:
    """Return the config of an optimizer in the place of that in a `LossScaleOptimizer`, if any."""
    if unscaled(optimizer) is optimizer:
        return config
    around: dict[str, Any] = keras.optimizers.serialize(optimizer)
    return {**around, "config": {**around["config"], "inner_optimizer": config}}


def _sample(model: keras.Model, gradients: Mapping[int, float]) -> list[tuple[str, Array, Array]]:
    """Return the dtype, values and gradients of some kernels of 16 bits.

    They are numbers of the same size. The gradients differ from step to step, as those of batches
    do. Some are 0, as those of units that are not active.
    """
    draws = np.random.default_rng(0)
    found = []
    for weight in model.trainable_variables:
        norm = gradients.get(id(weight), 0.0)
        if weight.dtype not in ("float16", "bfloat16") or not is_kernel(weight):
            continue
        if norm and math.isfinite(norm):
            found.append((weight, norm))
    sample = []
    for weight, norm in found[:: max(len(found) // _KERNELS, 1)][:_KERNELS]:
        count = math.sqrt(math.prod(weight.shape))
        values = draws.normal(size=_ENTRIES) * Moments(array_of(weight)).norm / count
        common, own = draws.normal(size=_ENTRIES), draws.normal(size=(_STEPS, _ENTRIES))
        slopes = (common / 2 + own * 3**0.5 / 2) * norm / count
        slopes[:, ::8] = 0
        sample.append((weight.dtype, values, slopes))
    return sample


def _compared(
    config: Mapping[str, Any], sample: Sequence[tuple[str, Array, Array]]
) -> tuple[float, float]:
    """Return how far 16 bits go relative to 32, and which share of the change they keep."""
    sizes = []
    products = squares = 0.0
    for dtype, values, slopes in sample:
        rounded = _after_steps(config, dtype, values, slopes)
        exact = _after_steps(config, "float32", values, slopes)
        square = float((exact**2).sum())
        # A rate that begins at 0 moves nothing.
        if not square:
            continue
        sizes.append(float(np.sqrt((rounded**2).sum() / square)))
        products += float((rounded * exact).sum())
        squares += square
    if not sizes:
        return 1.0, 1.0
    return float(np.max(sizes)), products / squares


def _after_steps(config: Mapping[str, Any], dtype: str, values: Array, slopes: Array) -> Array:
    """Return the change of a weight of `dtype` by a few steps of an optimizer."""
    optimizer = keras.optimizers.deserialize(dict(config))
    weight = keras.Variable(values, dtype=dtype, name="kernel")
    before = array_of(weight).astype("float64")
    optimizer.build([weight])
    for gradient in slopes:
        optimizer.apply([keras.ops.cast(keras.ops.convert_to_tensor(gradient), dtype)], [weight])
    change: Array = array_of(weight).astype("float64") - before
    return change


@rule(
    "lost precision",
    levels={"error": "", "warning": "if weights move, but little"},
    finds="weights of float16 or bfloat16 that a few steps of the compiled optimizer make NaN or "
    "move far, or that keep less than {lost_precision} of their change, beside the same in float32",
    reason="float16 holds no number below 6e-8: with an epsilon of 1e-7 Adam divides by almost "
    "nothing. bfloat16 rounds a beta of 0.999 to 1, and a change below 1/500 of a weight away",
    remedy="`epsilon=1e-4`, `beta_2=0.99`, or mixed precision, which keeps weights in float32",
)
def lost_precision(measured: Measurements) -> Iterator[Finding]:
    facts = measured.precision
    if facts is None:
        return
    level: Level = "error"
    where = f"the weights are {facts.dtype}, in which {_STEPS} steps of {facts.optimizer}"
    if math.isnan(facts.size):
        evidence = f"{where} make them NaN"
    elif facts.size > _TOO_FAR:
        evidence = f"{where} move them {facts.size:.0f} times as far as in float32"
    elif facts.kept is not None and facts.kept < LOST_PRECISION.of(measured):
        evidence = (
            f"{where} keep {facts.kept:.2g} of the change in float32: the rest is rounded away"
        )
        if facts.kept:
            level = "warning"
    else:
        return
    yield Finding([], evidence, _more_precise(facts), level)


def _more_precise(facts: PrecisionFacts) -> Remedy:
    """Return the remedy where 16 bits do not hold what the optimizer does."""
    policy = f"mixed_{facts.dtype}"
    mixed = Remedy(f'keras.config.set_dtype_policy("{policy}"), which keeps weights in float32')
    if not facts.changes:
        return mixed
    options = ", ".join(f"{name}={value:g}" for name, value in facts.changes.items())
    text = f"keras.optimizers.{facts.optimizer}({options}) at the same rate"
    return Remedy(text, optimizer=dict(facts.config)).otherwise(mixed)
