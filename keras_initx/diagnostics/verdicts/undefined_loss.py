"""A loss without a value or a gradient at finite numbers."""

import math
from collections.abc import Iterator
from typing import Any

import keras

from keras_initx._keras import layers_of
from keras_initx._typing import Tensor
from keras_initx.backends._current import backend
from keras_initx.diagnostics._diagnosis import Arrays, Diagnosis, fact
from keras_initx.diagnostics._layers import LayerReport, ends_for
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._rules import EXPLODING, Finding, rule
from keras_initx.diagnostics._signal_probe import floats_in, inputs, targets
from keras_initx.diagnostics.losses.ends import Ends
from keras_initx.diagnostics.losses.probes import LossProbe, OutputProbe, gradients
from keras_initx.diagnostics.verdicts._shared import other_activation, other_loss
from keras_initx.structure._batch import array_of

# What cures it where the operation is not known.
_GUARDED = Remedy(
    "what is in a root, in a logarithm or below a fraction line is kept away from 0 before: "
    "keras.ops.sqrt(keras.ops.maximum(x, 1e-7)), keras.ops.log(keras.ops.maximum(x, 1e-7)), "
    "x / keras.ops.maximum(y, 1e-7); and what is in keras.ops.exp below 80"
)


@fact
def slope(of: Diagnosis) -> float:
    """Norm of the gradient of the loss with respect to the outputs, 0 where it is not needed.

    It is needed where the gradient of a weight is not finite, though the loss is.
    """
    value, norms = of.probe(LossProbe).value, gradients(of).values()
    if value is None or math.isnan(value) or all(map(math.isfinite, norms)):
        return 0.0
    layers = layers_of(of.model)
    variables = []

    def as_variable(tensor: Tensor) -> Any:
        if not floats_in(tensor):
            return tensor
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        variables.append(keras.Variable(array_of(tensor), dtype=dtype, name="outputs"))
        return variables[-1]

    with backend.preserve_state(layers):
        outputs = of.model(of.x, training=True)
    outputs = keras.tree.map_structure(as_variable, outputs)

    def of_outputs(x: Arrays, y: Arrays) -> Tensor:
        values = keras.tree.map_structure(keras.ops.convert_to_tensor, outputs)
        return of.objective(x, y, values)

    return max(backend.gradient_norms(of_outputs, variables, layers)(of.x, of.y))


@rule(
    "undefined loss",
    # What it takes these outputs for is named already.
    unless=["single class", "no probabilities"],
    levels={"error": ""},
    finds="a loss, or its gradient, that is not finite, although inputs, targets and the outputs "
    "of all layers are, and nothing grows",
    reason="the logarithm of 0 and a division by 0 have no value, the root of 0 and the norm of "
    "zeros no gradient: one such number makes all weights NaN in the first step",
    remedy="`maximum(x, 1e-7)` in the root, in the logarithm or below the fraction line; softplus "
    "before `Poisson`, a sigmoid or softmax before a crossentropy of one's own",
)
def undefined_loss(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    losses, outputs = of.probe(LossProbe), of.probe(OutputProbe).signal
    if losses.value is None or outputs is None or outputs.nonfinite or not layers:
        return
    for data in (inputs(of), targets(of)):
        if data is not None and data.nonfinite:
            return
    if not all(map(_is_finite, layers)):
        return
    if math.isfinite(losses.value) and math.isfinite(slope(of)):
        return
    given = f"the outputs, from {outputs.min:.3g} to {outputs.max:.3g}, are finite"
    if not math.isfinite(losses.terms):
        evidence = f"what is added to the loss by `add_loss` is {losses.terms:.3g}, but {given}"
        yield Finding([layers[-1]], evidence, _GUARDED, "error")
        return
    what = f"the loss is {losses.value:.3g}, but {given}"
    if math.isfinite(losses.value):
        what = f"the gradient of the loss of {losses.value:.3g} is not finite, but {given}"
    yield _explained(what, of, layers)


def _is_finite(layer: LayerReport) -> bool:
    """Return whether the signals of `layer` are finite and have not exploded."""
    for signal in (layer.before, layer.after):
        if signal is not None and signal.nonfinite:
            return False
    return bool(layer.signal.std <= EXPLODING)


def _explained(what: str, of: Diagnosis, layers: list[LayerReport]) -> Finding:
    """Return the finding on a loss, with the operation that is to blame where it is known."""
    for layer, ends in ends_for(layers, of.probe(LossProbe).others, of):
        if ends.loss.name == "poisson" and ends.made.min < 0:
            evidence = f"{what}: poisson takes the logarithm of the outputs of {layer.title}"
            return Finding([layer], evidence, other_activation("softplus", layer), "error")
        if ends.loss.is_own and _takes_others_for_probabilities(ends):
            activation = "sigmoid" if ends.loss.kind == "binary" else "softmax"
            evidence = f"{what}: {ends.loss.title} takes those of a {activation}"
            remedy = other_activation(activation, layer)
            if ends.activation == "linear":
                remedy = other_loss(ends.loss.class_name, from_logits=True).otherwise(remedy)
            return Finding([layer], evidence, remedy, "error")
    evidence = f"{what}: it has no value or no gradient at some of them"
    return Finding([layers[-1]], evidence, _GUARDED, "error")


def _takes_others_for_probabilities(ends: Ends) -> bool:
    """Return whether a crossentropy gets what are no probabilities, though some may be in range."""
    if not ends.loss.is_crossentropy or ends.loss.from_logits:
        return False
    return ends.activation in ("linear", "relu") or ends.made.min < 0 or ends.made.max > 1
