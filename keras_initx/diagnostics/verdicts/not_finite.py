"""Weights, inputs and targets that are not finite."""

import copy
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np

from keras_initx._checks import first_of
from keras_initx._keras import layers_of
from keras_initx._typing import Array
from keras_initx.backends._current import backend
from keras_initx.diagnostics._diagnosis import Diagnosis, fact
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._rules import Finding, rule
from keras_initx.diagnostics._seen import SeenLayer, seen_weights, trained_layers
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._signal_probe import inputs, signal_of_floats, targets
from keras_initx.diagnostics.losses.probes import LossProbe, OutputProbe
from keras_initx.structure._finite import NotFinite
from keras_initx.structure._finite import not_finite as not_finite_in
from keras_initx.structure._hooks import LayerInitializer
from keras_initx.structure._layer_initializers import layer_initializers
from keras_initx.structure._weights import ModelWeight, buffers_within, weights_within

# What stands for infinity where it is tried whether that does harm.
_LARGE = 1e4


# ---------------------------------------------------------------- what is measured


class LostWeight(NamedTuple):
    """A weight that is not finite.

    Attributes:
        weight: The weight.
        values: Its values that are not finite.
        is_certain: Whether that is a fault: it cannot be meant, or what the model computes is lost.
    """

    weight: ModelWeight
    values: NotFinite
    is_certain: bool


@fact
def lost_weights(of: Diagnosis) -> list[LostWeight]:
    """The weights that are not finite, without masks that do no harm."""
    found = []
    for weight in [*weights_within(of.model), *buffers_within(of.model)]:
        seen = seen_weights(of).get(id(weight.variable))
        if seen is not None and math.isfinite(seen.report.norm):
            continue
        values = not_finite_in(weight)
        if values is None:
            continue
        is_certain = not values.may_be_meant or _spoils(weight, values, of)
        if is_certain or not values.is_mask:
            found.append(LostWeight(weight, values, is_certain))
    return found


def _spoils(weight: ModelWeight, values: NotFinite, of: Diagnosis) -> bool:
    """Return whether outputs, the loss or gradients are finite only with others of these values."""
    losses, outputs = of.probe(LossProbe), of.probe(OutputProbe)
    numbers = [losses.value or 0.0, *(norm for _, norm in trained_layers(of))]
    is_lost = outputs.has_nan or not all(map(math.isfinite, numbers))
    # A mask makes outputs infinite on purpose.
    if outputs.signal is not None and outputs.signal.nonfinite and not values.is_mask:
        is_lost = True
    if not is_lost:
        return False
    variable = weight.variable
    former = backend.snapshot(variable.value)
    with of.changed():
        try:
            variable.assign(_made_finite(backend.host_view(variable.value)))
            with backend.preserve_state(layers_of(of.model)):
                signal = signal_of_floats(of.model(of.x, training=False))
            is_cured = signal is None or not signal.nonfinite
            return is_cured and (not losses.has_loss or all(map(math.isfinite, of.norms())))
        finally:
            variable.assign(former)


def _made_finite(values: Array) -> Array:
    """Return values of which the infinite ones are large numbers that float16 holds."""
    numbers: Array = np.nan_to_num(values.astype("float32"), posinf=_LARGE, neginf=-_LARGE)
    return numbers.astype(values.dtype)


# ---------------------------------------------------------------- the rule


@rule(
    "not finite",
    hides_all=True,
    levels={
        "error": "",
        "note": "if a weight is infinite that is not made to be trained, in a layer that is not "
        "Keras', and all that is computed is finite: it may be meant",
    },
    finds="weights with NaN or infinities, also where all outputs are finite, other than masks of "
    "0 and -inf that are not trained; inputs with NaN or infinities, if outputs are not finite "
    "either; or such targets, if the loss or a gradient is not finite, or cannot be computed. "
    "Beside an error nothing else is reported",
    reason="all that is computed of them is NaN, and the first step makes all weights NaN. They "
    "come from a logarithm of 0 or of a negative number, a division by a deviation of 0, a gap in "
    "a table, numbers beyond the range of float16",
    remedy="another initializer, or other values to load; values in the place of what is missing, "
    "or examples without",
)
def not_finite(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    certain = [one for one in lost_weights(of) if one.is_certain]
    if certain:
        yield Finding(_layers_with(certain, layers), _of_weights(certain), _cause(certain), "error")
        return
    unclear = lost_weights(of)
    if unclear:
        evidence = f"{_of_weights(unclear)}; what is computed of this batch is finite"
        remedy = Remedy(f"none if this is meant, as in a mask; otherwise {_cause(unclear)}")
        yield Finding(_layers_with(unclear, layers), evidence, remedy, "note")
    # A model may replace such inputs itself.
    lost = [layer for layer in layers if layer.signal.nonfinite]
    of_inputs, of_targets = inputs(of), targets(of)
    if of_inputs is not None and of_inputs.nonfinite and lost:
        text = (
            "replace these values of `x`, for example by `numpy.nan_to_num(x)`, or leave them out"
        )
        if of_targets is not None and of_targets.nonfinite:
            text += "; and leave out the examples whose targets are not finite"
        yield Finding(lost, _evidence("inputs", of_inputs), Remedy(text), "error")
    elif of_targets is not None and of_targets.nonfinite and _spoil_loss(of):
        remedy = Remedy("leave out the examples with such targets")
        yield Finding([], _evidence("targets", of_targets), remedy, "error")


def _layers_with(lost: Sequence[LostWeight], layers: list[SeenLayer]) -> list[SeenLayer]:
    """Return the layers that have one of these weights."""
    found = {id(one.weight.variable) for one in lost}
    hit = []
    for layer in layers:
        if any(id(weight.own.variable) in found for weight in layer.weights):
            hit.append(layer)
    return hit


def _of_weights(lost: Sequence[LostWeight]) -> str:
    (first, values, _), *others = lost
    text = f"{first.path} is not finite: {values}"
    if others:
        text += f"; also {first_of([one.weight.path for one in others])}"
    return text


def _cause(lost: Sequence[LostWeight]) -> Remedy:
    """Return the remedy where weights are not finite: it lies in what has made their values."""
    initializers = layer_initializers([one.weight for one in lost])
    by_text: dict[str, list[str]] = {}
    for one in lost:
        initializer, _ = initializers[one.weight.path]
        by_text.setdefault(_maker(one.weight, initializer), []).append(one.weight.path)
    return Remedy("; ".join(f"for {first_of(paths)} {text}" for text, paths in by_text.items()))


def _maker(weight: ModelWeight, initializer: LayerInitializer | None) -> str:
    """Return what has to make finite values, by what is known of the initializer of a weight."""
    others = "a file, or an assignment"
    if initializer is None:
        return f"finite values from what made it: its initializer, {others}"
    name = getattr(initializer, "__name__", type(initializer).__name__)
    is_finite = _gives_finite_values(initializer, weight)
    if is_finite is None:
        return f"finite values from what made it: its initializer {name}, {others}"
    if is_finite:
        return f"finite values from {others}: its initializer, {name}, gives such"
    return f"another initializer than {name}, or other arguments: it gives such values"


def _gives_finite_values(initializer: LayerInitializer, weight: ModelWeight) -> bool | None:
    """Return whether an initializer gives finite values for a weight, `None` if it is not known.

    A function is not called: what it draws from may be a generator of the user.
    """
    if not isinstance(initializer, keras.initializers.Initializer):
        return None
    try:
        # A copy has generators of its own.
        drawn = copy.deepcopy(initializer)(weight.shape, dtype=weight.dtype)
        return bool(np.isfinite(backend.host_view(drawn)).all())
    except Exception:  # a user's class may raise anything
        return None


def _evidence(name: str, signal: Signal) -> str:
    count = round(signal.nonfinite * signal.size)
    return f"the {name} are not finite: {count} of {signal.size} values are NaN or infinite"


def _spoil_loss(of: Diagnosis) -> bool:
    """Return whether the loss or a gradient is not finite because of targets that are not."""
    value, outputs = of.probe(LossProbe).value, of.probe(OutputProbe).signal
    if outputs is None:
        return False
    # The loss of such labels is not computed where a backend would raise an error.
    if value is None:
        return not outputs.nonfinite
    # A loss may leave them out, as where they stand for what is missing.
    numbers = [value, *(norm for _, norm in trained_layers(of))]
    return not all(map(math.isfinite, numbers))
