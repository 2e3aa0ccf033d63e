"""Weights, inputs and targets that are not finite."""

import copy
import math
from collections.abc import Iterator, Sequence

import keras
import numpy as np

from keras_initx._checks import summarize_names
from keras_initx.backends._current import backend
from keras_initx.inspection._hooks import LayerInitializer
from keras_initx.inspection._layer_initializers import find_layer_initializers
from keras_initx.inspection._weights import ModelWeight
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._lost_weights import LostWeight, lost_weights
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule
from keras_initx.tools.diagnose._seen import SeenLayer, trained_layers
from keras_initx.tools.diagnose._signal import Signal
from keras_initx.tools.diagnose._signal_probe import inputs, targets
from keras_initx.tools.diagnose.losses.probes import LossProbe, OutputProbe


@rule("not finite", hides_all=True)
def not_finite(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Report weights, inputs and targets that are not finite.

    Reported if:
        - Weights have NaN or infinities, even if all outputs are finite. Masks of 0 and -inf that
          are not trained do not count.
        - Inputs have NaN or infinities, and the output of a layer is not finite.
        - Targets have NaN or infinities, and the loss or a gradient is not finite, or cannot be
          computed.

        After such an error, `diagnose` reports no other problem.

    Level:
        error; note if an infinite weight is not made to be trained, belongs to a layer that is not
        Keras', and spoils nothing

    Why:
        Everything that is computed from such a number becomes NaN. The first training step then
        makes all weights NaN.

    Typical causes:
        - a logarithm of 0 or of a negative number
        - a division by a standard deviation of 0
        - a gap in a table
        - a number outside the range of float16

    Fix:
        - For weights, use another initializer, or load other values.
        - In your data, replace the missing values, or leave out these examples.
    """
    certain = [one for one in lost_weights(of) if one.is_certain]
    if certain:
        yield Finding(_layers_with(certain, layers), _of_weights(certain), _cause(certain), "error")
        return
    unclear = lost_weights(of)
    if unclear:
        evidence = f"{_of_weights(unclear)}. All numbers that this batch gives are finite"
        remedy = Remedy(
            f"change nothing if this is intended, for example in a mask; if not, {_cause(unclear)}"
        )
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
        text += f"; also {summarize_names([one.weight.path for one in others])}"
    return text


def _cause(lost: Sequence[LostWeight]) -> Remedy:
    """Return the remedy where weights are not finite: it lies in what has made their values."""
    initializers = find_layer_initializers([one.weight for one in lost])
    by_text: dict[str, list[str]] = {}
    for one in lost:
        initializer, _ = initializers[one.weight.path]
        by_text.setdefault(_maker(one.weight, initializer), []).append(one.weight.path)
    return Remedy(
        "; ".join(f"for {summarize_names(paths)}, {text}" for text, paths in by_text.items())
    )


def _maker(weight: ModelWeight, initializer: LayerInitializer | None) -> str:
    """Return what has to make finite values, by what is known of the initializer of a weight."""
    others = "a file, or an assignment"
    if initializer is None:
        return f"take finite values from its source: an initializer, {others}"
    name = getattr(initializer, "__name__", type(initializer).__name__)
    is_finite = _gives_finite_values(initializer, weight)
    if is_finite is None:
        return f"take finite values from its source: the initializer {name}, {others}"
    if is_finite:
        return f"take finite values from {others}: its initializer, {name}, gives finite ones"
    return f"use another initializer than {name}, or other arguments: it gives such values"


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
