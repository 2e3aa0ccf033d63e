"""Gradients of the first layers that are much smaller than gradients of later layers."""

import math
from collections.abc import Iterator, Mapping, Sequence

from keras_initx.tools.diagnose._dead_ends import dead_ends, freed_gradients
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._kernel_inputs import has_large_inputs
from keras_initx.tools.diagnose._lost_signals import VANISHING, lost_signals
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    list_layers_until,
    measured_layers,
    trained_layers,
)
from keras_initx.tools.diagnose._remedies import propose_for_depth, propose_larger_batch
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rounding import select_rounding_gradients
from keras_initx.tools.diagnose._rules import Finding, Level, rule, write_count

# Ratio of the gradient norm of the first layers to the largest gradient norm of a layer, below
# which the gradient has vanished.
VANISHING_GRADIENT = 1e-4


@rule(
    "vanishing gradient",
    unless=["no gradient:error", "dead units:error"],
    # Gates that keep nothing pass no gradient back either.
    beside=["no gradient:note", "memory"],
    reads_loss=True,
)
def vanishing_gradient(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report first layers whose gradients are much smaller than the gradients of later layers.

    Reported if:
        The gradients of the first layers are below {VANISHING_GRADIENT:g} times the largest
        gradient of a layer. A model with a branch that starts at 0, for example with ReZero, does
        not count.

    Level:
        warning; error if all gradients are 0; note if only rounding errors reach the first layers

    Why:
        No single learning rate suits both. Adam normalizes gradients, and can compensate.

    Typical causes:
        - many layers with sigmoids
        - kernels that are too small for the depth of the network

    Fix:
        - Use `Orthogonal` or `HeNormal` with the gain of the activation.
        - Use tanh instead of sigmoid.
    """
    norms = trained_layers(diagnosis)
    if not norms or _is_a_layer_waiting(diagnosis):
        return
    strongest, largest = max(norms, key=lambda pair: pair[1])
    if not math.isfinite(largest):
        return
    # If all gradients are 0, the verdict on the dead end reports it.
    if not largest and dead_ends(diagnosis):
        return
    limit = VANISHING_GRADIENT * largest
    # No gradient passes through zeros, which are *equal units*.
    has_zero_weights = any(layer.has_zeros for layer in layers)
    hit = []
    are_reached = any(norm > limit and _is_first(layer) for layer, norm in norms)
    # Only the first layers count, because all gradients to them pass through the others. A small
    # gradient elsewhere may be harmless, e.g. that of queries and keys while attention is still
    # uniform.
    for layer, norm in norms:
        if layer not in layers:
            continue
        # Another path from the inputs learns. This path gets no gradient on purpose, as the target
        # network of a self-supervised model, or the other path has inputs that are too large.
        if are_reached and (norm == 0 or has_large_inputs(diagnosis)):
            continue
        if norm == 0 and dead_ends(diagnosis):
            continue
        if not norm <= limit:
            break
        if norm or not has_zero_weights:
            hit.append((layer, norm))
    rounded = select_rounding_gradients([layer for layer, norm in hit if norm], diagnosis)
    known = [(layer, norm) for layer, norm in hit if layer not in rounded]
    # If another path from the inputs learns, no gradient has to pass this one.
    if rounded and not known and not are_reached:
        yield _report_rounding(rounded, dict(hit))
    if not known or _are_large_when_opened([layer for layer, _ in known], diagnosis):
        return
    first, norm = known[0]
    level: Level = "error"
    evidence = f"all gradients are 0{write_count(known)}"
    if largest:
        level = "warning"
        evidence = (
            f"the gradient norm of {first.title} is {norm:.3g}{write_count(known)}; the gradient "
            f"norm of {strongest.title} is {largest:.3g}. No single rate suits both"
        )
    remedy = propose_larger_batch(diagnosis) or propose_for_depth(
        list_layers_until(strongest, diagnosis), diagnosis
    )
    yield Finding([layer for layer, _ in known], evidence, remedy, level)


def _are_large_when_opened(hit: Sequence[MeasuredLayer], diagnosis: Diagnosis) -> bool:
    """Return whether all gradients are large enough if activations at their limits pass them.

    Such activations are *saturated*.
    """
    freed = freed_gradients(diagnosis)
    largest = max(freed.values(), default=0.0)
    for layer in hit:
        norms = [freed.get(id(weight.own.variable), 0.0) for weight in layer.weights]
        if not math.hypot(*norms) > VANISHING_GRADIENT * largest:
            return False
    return True


def _report_rounding(hit: Sequence[MeasuredLayer], norms: Mapping[MeasuredLayer, float]) -> Finding:
    """Report layers whose gradients are rounding errors, as a note."""
    first = hit[0]
    evidence = (
        f"the gradient norm of {first.title} is {norms[first]:.3g}{write_count(hit)}, which is "
        "rounding, of terms that cancel. It is unknown whether any gradient reaches the layer"
    )
    text = (
        f"change nothing if later layers remove the output of {first.title}, as a batch "
        "normalization removes an offset"
    )
    return Finding(hit, evidence, Remedy(text), "note")


def _is_first(layer: MeasuredLayer) -> bool:
    return layer.is_first or layer.kind == "Embedding"


def _is_a_layer_waiting(diagnosis: Diagnosis) -> bool:
    """Return whether a layer learns, and the layers before it do not yet.

    For example with ReZero, the layer still adds little to a larger signal.
    """
    lost = lost_signals(diagnosis)
    for layer in measured_layers(diagnosis):
        is_lost = layer.layer in lost.causes or layer.layer in lost.starved
        if is_lost or layer.makes_output or layer.shape is None:
            continue
        others = [weight for weight in layer.weights if weight.name != "bias"]
        if layer.signal.std < VANISHING and any(weight.report.gradient for weight in others):
            return True
    return False
