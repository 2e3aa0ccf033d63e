"""What is added to a loss, by `add_loss` and by regularizers: whether it outweighs the loss."""

import contextlib
import math
from collections.abc import Iterator, Sequence

import keras

from keras_initx.diagnostics._measurements import AddedTerms, Measurements, OptimizerFacts
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._verdict import Finding, Threshold, rule

OUTWEIGHED_LOSS = Threshold(
    "outweighed_loss",
    5,
    "factor between the gradient of what is added to the loss and that of the loss, for the same "
    "weights, above which these hardly learn from the targets",
)
# A term whose gradient is larger than this many times its value falls in the first steps.
_STEEP = 100


@contextlib.contextmanager
def without_penalties(weights: Sequence[keras.Variable]) -> Iterator[None]:
    """Take the regularizers from `weights` for the duration of the block.

    They pull each weight to 0, also one that the loss does not reach.
    """
    kept = [(weight, weight.regularizer) for weight in weights]
    try:
        for weight in weights:
            weight.regularizer = None
        yield
    finally:
        for weight, regularizer in kept:
            weight.regularizer = regularizer


def added_terms(
    value: float, of_terms: Sequence[float], of_loss: Sequence[float], is_compiled: bool
) -> AddedTerms | None:
    """Return how what is added to a loss compares with it.

    It is `None` where it does not reach the first weight: what pulls on a branch alone leaves the
    rest to learn.

    Args:
        value: The sum of what is added.
        of_terms: The norm of its gradient for each weight.
        of_loss: Those of the rest of the loss.
        is_compiled: See `AddedTerms`.
    """
    if of_terms[0] == 0:
        return None
    reached = [pair for pair in zip(of_terms, of_loss, strict=True) if pair[0] != 0]
    slope, rest = (math.hypot(*norms) for norms in zip(*reached, strict=True))
    return AddedTerms(value, slope, rest, is_compiled)


@rule(
    "outweighed loss",
    levels={"warning": ""},
    finds="what layers add by `add_loss`, or regularizers, with a gradient above {outweighed_loss} "
    "times that of the loss for the weights that it reaches, the first among them",
    reason="these weights follow what is added and learn nothing from the targets, as where a "
    "divergence is a sum over the numbers of a code, and the loss a mean over the pixels of an "
    "image",
    remedy="`loss_weights`, or a smaller factor of what is added",
)
def outweighed_loss(measured: Measurements) -> Iterator[Finding]:
    added = measured.added_terms
    # What gives no gradient at all has its own verdict.
    if added is None or not 0 < added.of_loss < math.inf:
        return
    ratio = added.slope / added.of_loss
    if not OUTWEIGHED_LOSS.of(measured) < ratio < math.inf:
        return
    if added.slope > _STEEP * abs(added.value):
        return
    evidence = (
        f"what is added to the loss, {added.value:.3g}, has a gradient of {added.slope:.3g} for "
        f"the weights that it reaches, the loss itself one of {added.of_loss:.3g}: they hardly "
        "learn from the targets"
    )
    text = f"a factor of {1 / ratio:.0e} for what is added, by add_loss or by regularizers"
    remedy = Remedy(text)
    optimizer = measured.optimizer or OptimizerFacts(0.0)
    # The steps of SGD would grow with the loss.
    if added.is_compiled and optimizer.kind != "sgd":
        weight = float(f"{ratio:.0e}")
        weighted = Remedy(f"loss_weights={weight:g} in compile", loss_weights=weight)
        remedy = weighted.otherwise(remedy)
    yield Finding([], evidence, remedy)
