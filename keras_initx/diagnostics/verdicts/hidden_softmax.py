"""A softmax between the kernels of a model."""

from collections.abc import Iterator

from keras_initx.diagnostics._measurements import Measurements
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._verdict import Finding, layer_count, rule

# Fewer units may be meant as the shares of some experts or kinds.
_LEAST_UNITS = 8


@rule(
    "hidden softmax",
    levels={"warning": ""},
    finds=f"a layer of {_LEAST_UNITS} units or more with a softmax, all of which the kernel of the "
    "next layer multiplies",
    reason="the outputs of the units add up to 1, whatever the example is: each is about 1 over "
    "their number, and hardly differs between examples",
    remedy="`relu`",
)
def hidden_softmax(measured: Measurements) -> Iterator[Finding]:
    hit = []
    for layer in measured.layers:
        is_wide = layer.shape is not None and layer.shape[-1] >= _LEAST_UNITS
        if layer.activation == "softmax" and is_wide and layer.flow.feeds_kernel:
            hit.append(layer)
    if not hit:
        return
    first = hit[0]
    units = (first.shape or (0,))[-1]
    evidence = (
        f"{first.name} ends in a softmax, whose {units} values add up to 1, and the next kernel "
        f"multiplies them{layer_count(hit)}: they hardly differ between examples"
    )
    text = f'activation="relu" in {first.name}{layer_count(hit)}'
    remedy = Remedy(text, layers={layer.name: {"activation": "relu"} for layer in hit})
    yield Finding(hit, evidence, remedy)
