"""Labels that are rare: a loss that starts at a half for each, where a bias would lower it."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.initializers._biases import PriorBias
from keras_initx.inspection._batch import to_array
from keras_initx.inspection._weights import is_quantized
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, pair_with_heads
from keras_initx.tools.diagnose._redrawing import make_rules
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule
from keras_initx.tools.diagnose.losses.heads import OutputHead, Steps
from keras_initx.tools.diagnose.losses.probes import LossProbe, OutputProbe
from keras_initx.tools.diagnose.losses.training import RepeatableLoss

# Factor by which the bias has to lower the first loss, and that of a guess of a half.
FALL = 2
# Factor by which a loss is to rise where outputs become ever more certain of the frequent label.
RISE = 1.2
# Logits of such outputs, whose probabilities are no rounding.
_FAR = 14.0
# Probabilities are no nearer to 0 and 1, as in Keras.
_LEAST = 1e-7
# These change the shape of what they get, and nothing else.
_RESHAPING = (keras.layers.Flatten, keras.layers.Permute, keras.layers.Reshape)


class Prior(NamedTuple):
    """What the frequency of labels would make of the first loss of an output.

    Attributes:
        frequency: The frequency of ones among all labels, smoothed as they are in the loss.
        share: The same without smoothing.
        before: The loss as it is.
        after: The loss with a bias of this frequency.
        last: The layer with the bias that gives it, `None` if it is not known.
    """

    frequency: float
    share: float
    before: float
    after: float
    last: keras.Layer | None


class LabelProbe(Probe):
    """Finds outputs of which each has a label that is rarely 1, or 0, whatever the loss is.

    The loss is computed with the bias that suits them. Those of a binary crossentropy are left out,
    of which it is known without.

    Attributes:
        priors: Dict from a layer to what is known of the output that it makes.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self.priors: dict[keras.Layer, Prior] = {}
        self._losses = diagnosis.probe(LossProbe)
        self._outputs = diagnosis.probe(OutputProbe)

    def finish(self, outputs: Tensor) -> None:
        if self._losses.value is None:
            return
        known = {head.layer for head in self._losses.heads if _is_crossentropy(head)}
        for computed in self._losses.computed:
            layer = self._outputs.find_maker(computed.output)
            if layer is None or layer in known or layer in self._losses.crossed:
                continue
            prior = _measure_prior(computed, self._outputs.list_steps(computed.output))
            if prior is not None:
                self.priors[layer] = prior


def _is_crossentropy(head: OutputHead) -> bool:
    return head.loss.name == "binary_crossentropy" and head.form == "rows"


def _measure_prior(computed: RepeatableLoss, steps: Steps) -> Prior | None:
    """Return what a frequency would make of a loss of any kind, `None` if that is not much less.

    Args:
        computed: The loss.
        steps: What makes its output.
    """
    outputs, labels = to_array(computed.output), to_array(computed.targets)
    if labels.size != outputs.size or not _are_rare(labels):
        return None
    activations = _list_activations(steps)
    is_in_range = bool(((outputs >= 0) & (outputs <= 1)).all())
    # What one's own code does is not known.
    has_sigmoid = activations == ["sigmoid"] or (activations == [None] and is_in_range)
    if not has_sigmoid and activations:
        return None
    frequency = float(labels.mean(dtype="float64"))
    logits = _compute_logits(np.clip(outputs, _LEAST, 1 - _LEAST)) if has_sigmoid else outputs
    last = _find_last_layer(steps, activations)
    present = _read_bias(last, outputs.shape[-1])
    if present is None:
        present = logits.mean()

    def value_of(logits: Array) -> float:
        logits = np.clip(logits, -_FAR, _FAR).astype("float32")
        return computed.value_of(1 / (1 + np.exp(-logits)) if has_sigmoid else logits)

    # A loss without a logarithm would hardly learn the rare ones from such a start.
    rarer = np.full(outputs.shape, _FAR * np.sign(frequency - 0.5))
    if not value_of(rarer) > RISE * value_of(rarer * 2 / 3):
        return None
    before = computed.value_of(outputs)
    after = value_of(logits + _compute_logits(frequency) - present)
    # False for NaN.
    if 0 <= after * FALL < before:
        return Prior(_round_frequency(frequency), frequency, before, after, last)
    return None


def _list_activations(steps: Steps) -> list[str | None]:
    """Return the names of the activations after the last kernel, `None` for what is not known."""
    activations = []
    for operation, activation in steps:
        if activation != "linear" and not isinstance(operation, _RESHAPING):
            activations.append(activation)
    return activations if steps else [None]


def _find_last_layer(steps: Steps, activations: list[str | None]) -> keras.Layer | None:
    """Return the layer whose bias is added to the logits.

    It is `None` if something else than these activations may follow it.
    """
    if not steps or activations not in ([], ["sigmoid"]):
        return None
    last, _ = steps[0]
    return last if isinstance(last, keras.Layer) else None


def _compute_prior(head: OutputHead) -> Prior | None:
    """Return what a frequency would make of a loss, `None` if that is not much less."""
    activations = _list_activations(head.steps)
    last = None
    if activations == ([] if head.loss.from_logits else ["sigmoid"]):
        last = _find_last_layer(head.steps, activations)
    labels, logits = head.aims.astype("float32"), head.rows.astype("float32")
    if not _are_rare(labels):
        return None
    ones = labels.sum(dtype="float64")
    smoothing = head.loss.smoothing
    targets = labels * (1 - smoothing) + smoothing / 2
    if not head.loss.from_logits:
        logits = _compute_logits(np.clip(logits, _LEAST, 1 - _LEAST))
    before = _compute_crossentropy(targets, logits)
    share = float(ones / labels.size)
    frequency = share * (1 - smoothing) + smoothing / 2
    present = _read_bias(last, head.units)
    if present is None:
        present = logits.mean()
    after = _compute_crossentropy(targets, logits + _compute_logits(frequency) - present)
    # False for NaN.
    if after * FALL < before:
        return Prior(_round_frequency(frequency), share, before, after, last)
    return None


def _are_rare(labels: Array) -> bool:
    """Return whether a guess by the frequency of labels is much better than one of a half.

    The frequency is taken as near to a half as it may be where few labels show so many ones.
    """
    ones, count = labels.sum(dtype="float64"), labels.size
    # Others than 0 and 1 are no labels, and of labels that are all the same nothing is known.
    if ((labels != 0) & (labels != 1)).any() or not 0 < ones < count:
        return False
    rarer = min(ones, count - ones)
    most = min((rarer + math.sqrt(rarer) + 1) / count, 0.5)
    entropy = -most * math.log(most) - (1 - most) * math.log1p(-most)
    return bool(entropy * FALL < math.log(2))


def _read_bias(layer: keras.Layer | None, units: int) -> Array | None:
    """Return the bias of each unit, or the mean where it has another shape, `None` without any."""
    bias = getattr(layer, "bias", None)
    if not isinstance(bias, keras.Variable):
        return None
    values = to_array(bias).astype("float32")
    return values if values.shape == (units,) else np.asarray(values.mean())


def _round_frequency(frequency: float) -> float:
    """Return a frequency with two digits of what is rarer: 0.0078, 0.9922."""
    if frequency > 0.5:
        return 1 - float(f"{1 - frequency:.2g}")
    return float(f"{frequency:.2g}")


def _compute_logits(probabilities: float | Array) -> Array:
    logits: Array = np.log(probabilities) - np.log1p(-probabilities)
    return logits


def _compute_crossentropy(targets: Array, logits: Array) -> float:
    return float(np.mean(np.logaddexp(0, logits) - targets * logits, dtype="float64"))


@rule(
    "rare labels",
    beside=[
        "single class",
        "no probabilities",
        "unsuitable labels",
        "unreachable targets",
        "saturated",
        "large first loss",
    ],
    probes=[LabelProbe],
)
def rare_labels(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report labels whose frequency in the bias would lower the first loss.

    Reported if:
        Each output has a label of 0 or 1, and ones or zeros are rare. With a bias of their
        frequency, the loss would start at less than 1/{FALL} of its value. The loss may be a binary
        crossentropy, a focal loss or your own. A loss without a logarithm does not count, for
        example a squared error, because it does not rise as outputs become certain of the frequent
        label.

    Level:
        note

    Why:
        With 1% of ones, the loss is 0.69 for outputs of 1/2, and 0.056 for outputs of 0.01. The
        first steps learn only this bias (Lin and others, 2017). If you weight the classes, another
        bias is best.

    Typical causes:
        Rare events: frauds, defects, clicks, objects among many boxes.

    Fix:
        Use `PriorBias` for the last layer.
    """
    losses = diagnosis.probe(LossProbe)
    priors = {}
    if losses.value is not None:
        for layer, head in pair_with_heads(layers, losses.heads):
            if _is_crossentropy(head):
                priors[layer] = _compute_prior(head)
    for layer in layers:
        prior = priors.get(layer) or diagnosis.probe(LabelProbe).priors.get(layer.layer)
        if prior is None:
            continue
        last = next((one for one in layers if one.layer is prior.last), None)
        if last is not None and not all(bias.is_trained for bias in last.named("bias")):
            continue
        evidence = (
            f"{prior.share:.2%} of the labels of {layer.title} are 1. Its loss starts at "
            f"{prior.before:.3g}; with a bias of this frequency, it would start at "
            f"{prior.after:.3g} (Lin and others, Focal loss, 2017)"
        )
        yield Finding([layer], evidence, _propose_bias(prior, last, layer), "note")


def _propose_bias(prior: Prior, last: MeasuredLayer | None, layer: MeasuredLayer) -> Remedy:
    """Return the remedy for an output.

    Args:
        prior: What is known of it.
        last: The layer with the last kernel, if it is known.
        layer: The layer that makes the output.
    """
    initializer = PriorBias(prior.frequency)
    text = f"keras_initx.PriorBias({prior.frequency:.4g})"
    unless = ", unless you weight classes in training"
    if last is None:
        return Remedy(f"use a bias of {text} before the sigmoid of {layer.title}{unless}")
    biases = last.named("bias")
    use = "" if biases else "use_bias=True and "
    rules = {} if is_quantized(last.layer) else make_rules(biases, initializer)
    return Remedy(
        f"set {use}bias_initializer={text} in {last.title}{unless}", rules, is_safe=bool(rules)
    )
