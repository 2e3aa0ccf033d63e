"""Noise of training mode, such as dropout: whether it drowns the signal."""

import math
from collections.abc import Iterator
from typing import Any

import keras

from keras_initx.diagnostics._measurements import Measurements, Noise
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._verdict import Finding, Threshold, listed, rule
from keras_initx.structure import Call, Probe, Watch, array_of

DROWNED_SIGNAL = Threshold(
    "drowned_signal",
    3.2,
    "factor between the standard deviation of what a layer adds at random in training mode and "
    "the size of the signal above which it hides it",
)

# Those of whole channels are subclasses.
DROPOUTS = (keras.layers.AlphaDropout, keras.layers.Dropout, keras.layers.GaussianDropout)
_RECURRENT = (keras.layers.GRU, keras.layers.LSTM, keras.layers.SimpleRNN)


class NoiseProbe(Probe):
    """Finds layers whose noise is larger than their inputs.

    Args:
        watch: The watch of the pass.
        limit: The factor from which on.

    Attributes:
        found: A `Noise` for each of them.
    """

    def __init__(self, watch: Watch, limit: float) -> None:
        self.found: list[Noise] = []
        self._watch = watch
        self._limit = limit

    def before(self, call: Call) -> None:
        name = self._watch.layers.get(call.operation, call.operation.name)
        if any(noise.layer == name for noise in self.found):
            return
        noise = _noise_of(call, name)
        if noise is not None and noise.ratio > self._limit:
            self.found.append(noise)


def _noise_of(call: Call, name: str) -> Noise | None:
    """Return the noise of a layer of Keras, relative to its inputs, `None` where it has none."""
    layer: Any = call.operation
    if isinstance(layer, DROPOUTS):
        # A value that is kept is divided by the share of those that are.
        return Noise(name, _of_dropout(layer.rate), {"rate": 0.5})
    if isinstance(layer, _RECURRENT):
        argument = max(("dropout", "recurrent_dropout"), key=lambda each: getattr(layer, each))
        return Noise(name, _of_dropout(getattr(layer, argument)), {argument: 0.5})
    if isinstance(layer, keras.layers.GaussianNoise):
        return Noise(name, _relative_to_inputs(layer.stddev, call), {"stddev": 0.1})
    if isinstance(layer, keras.layers.RandomBrightness):
        low, high = layer.value_range
        # Uniform numbers from a to b have a standard deviation of (b - a) / sqrt(12).
        least, most = layer.factor
        ratio = _relative_to_inputs((most - least) * (high - low) / 12**0.5, call)
        return Noise(name, ratio, {"value_range": (0, 1)})
    return None


def _of_dropout(rate: float) -> float:
    """Return the standard deviation of the noise of dropout relative to what it gets."""
    return math.sqrt(rate / (1 - rate)) if rate < 1 else math.inf


def _relative_to_inputs(deviation: float, call: Call) -> float:
    """Return a standard deviation relative to that of the inputs of a call."""
    spread = float(array_of(call.inputs[0]).std(dtype="float64"))
    return deviation / spread if spread else 0.0


@rule(
    "drowned signal",
    levels={"warning": ""},
    finds="a layer whose noise in training mode has a standard deviation above {drowned_signal} "
    "times the size of its inputs: a dropout of more than 0.91, a `GaussianNoise` beside small "
    "inputs, a `RandomBrightness` for bytes that gets pixels from 0 to 1",
    reason="later layers see more of the noise than of the example. `rate` is the share that "
    "dropout sets to 0, not the one that it keeps",
    remedy="a smaller rate, `value_range=(0, 1)`",
)
def drowned_signal(measured: Measurements) -> Iterator[Finding]:
    after_the_last = [layer.output.dropped_by for layer in measured.layers if layer.output]
    hit = [noise for noise in measured.noises if noise.layer not in after_the_last]
    if not hit:
        return
    worst = max(hit, key=lambda noise: noise.ratio)
    evidence = f"in training mode {worst.layer} sets all values to 0"
    if worst.ratio < math.inf:
        evidence = (
            f"in training mode the noise of {listed([noise.layer for noise in hit])} is up to "
            f"{worst.ratio:.3g} times as large as the signal that it gets"
        )
    texts = []
    for noise in hit:
        for argument, value in noise.better.items():
            texts.append(f"{argument}={value} in {noise.layer}")
    remedy = Remedy(listed(texts), layers={noise.layer: noise.better for noise in hit})
    yield Finding([], evidence, remedy)
