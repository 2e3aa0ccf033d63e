"""Rare labels: outputs start at a half, although a bias would lower the loss.

A binary crossentropy is computed from its logits here. Any other loss is computed again, with the
outputs that a bias would give, by `LabelProbe`.
"""

import math
from collections.abc import Iterator, Sequence
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
from keras_initx.tools.diagnose.losses.heads import LastOperation, OutputHead
from keras_initx.tools.diagnose.losses.probes import LossProbe, OutputProbe
from keras_initx.tools.diagnose.losses.training import RepeatableLoss

# Factor by which the bias has to lower the first loss, and the loss of a guess of a half.
FALL = 2
# Factor by which a loss has to rise as outputs become ever more certain of the frequent label.
RISE = 1.2
# The logit of such outputs: float32 distinguishes its probability, 1 - 8e-7, well from 1.
_FAR = 14.0
# Probabilities are no nearer to 0 and 1, as in Keras.
_LEAST = 1e-7
# These change the shape of what they get, and nothing else.
_RESHAPING = (keras.layers.Flatten, keras.layers.Permute, keras.layers.Reshape)


class Prior(NamedTuple):
    """The first loss of an output with a bias for the frequency of its labels.

    Attributes:
        frequency: The frequency of ones among all labels, smoothed as they are in the loss.
        share: The same without smoothing.
        before: The loss without this bias.
        after: The loss with a bias of this frequency.
        last: The layer with this bias, `None` if it is not known.
    """

    frequency: float
    share: float
    before: float
    after: float
    last: keras.Layer | None


class LabelProbe(Probe):
    """Finds outputs that each have a label that is rarely 1, or rarely 0, whatever the loss is.

    It computes the loss with the bias that suits them. It skips outputs of a binary crossentropy,
    whose loss follows from the logits.

    Attributes:
        priors: Dict from a layer to the prior of the output that it makes.
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
        for loss in self._losses.repeatable:
            layer = self._outputs.find_maker(loss.output)
            if layer is None or layer in known or layer in self._losses.crossed:
                continue
            prior = _measure_prior(loss, self._outputs.list_last_operations(loss.output))
            if prior is not None:
                self.priors[layer] = prior


def _is_crossentropy(head: OutputHead) -> bool:
    return head.loss.name == "binary_crossentropy" and head.form == "rows"


def _measure_prior(loss: RepeatableLoss, operations: Sequence[LastOperation]) -> Prior | None:
    """Measure any loss with a bias for the labels, `None` if it is not much less.

    Args:
        loss: The loss.
        operations: The operations between the last kernel and the output that the loss gets.
    """
    outputs, labels = to_array(loss.output), to_array(loss.targets)
    if labels.size != outputs.size or not _are_rare(labels):
        return None
    activations = _list_activations(operations)
    is_in_range = bool(((outputs >= 0) & (outputs <= 1)).all())
    # An unknown activation counts as a sigmoid if all outputs are in its range.
    has_sigmoid = activations == ["sigmoid"] or (activations == [None] and is_in_range)
    if not has_sigmoid and activations:
        return None
    frequency = float(labels.mean(dtype="float64"))
    logits = _compute_logits(np.clip(outputs, _LEAST, 1 - _LEAST)) if has_sigmoid else outputs
    last = _find_last_layer(operations, activations)
    present_bias = _read_bias(last, outputs.shape[-1])
    if present_bias is None:
        present_bias = logits.mean()

    def compute_loss(logits: Array) -> float:
        logits = np.clip(logits, -_FAR, _FAR).astype("float32")
        return loss.compute_with(1 / (1 + np.exp(-logits)) if has_sigmoid else logits)

    # A loss without a logarithm would hardly learn the rare ones from such a start.
    certain = np.full(outputs.shape, _FAR * np.sign(frequency - 0.5))
    if not compute_loss(certain) > RISE * compute_loss(certain * 2 / 3):
        return None
    before = loss.compute_with(outputs)
    after = compute_loss(logits + _compute_logits(frequency) - present_bias)
    # False for NaN.
    if 0 <= after * FALL < before:
        return Prior(_round_frequency(frequency), frequency, before, after, last)
    return None


def _list_activations(operations: Sequence[LastOperation]) -> list[str | None]:
    """List the names of the activations after the last kernel, `None` for an unknown one."""
    activations = []
    for operation, activation in operations:
        if activation != "linear" and not isinstance(operation, _RESHAPING):
            activations.append(activation)
    return activations if operations else [None]


def _find_last_layer(
    operations: Sequence[LastOperation], activations: list[str | None]
) -> keras.Layer | None:
    """Find the layer whose bias is added to the logits.

    It is `None` if something else than these activations may follow it.
    """
    if not operations or activations not in ([], ["sigmoid"]):
        return None
    last = operations[0].operation
    return last if isinstance(last, keras.Layer) else None


def _compute_prior(head: OutputHead) -> Prior | None:
    """Compute a binary crossentropy with a bias for the labels, `None` if it is not much less."""
    activations = _list_activations(head.last_operations)
    last = None
    if activations == ([] if head.loss.from_logits else ["sigmoid"]):
        last = _find_last_layer(head.last_operations, activations)
    labels, logits = head.target_rows.astype("float32"), head.output_rows.astype("float32")
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
    present_bias = _read_bias(last, head.units)
    if present_bias is None:
        present_bias = logits.mean()
    after = _compute_crossentropy(targets, logits + _compute_logits(frequency) - present_bias)
    # False for NaN.
    if after * FALL < before:
        return Prior(_round_frequency(frequency), share, before, after, last)
    return None


def _are_rare(labels: Array) -> bool:
    """Return whether a guess by the frequency of labels is much better than one of a half.

    Few labels show their frequency inexactly. It may be nearer to a half by a standard deviation of
    the count, which is about its root, and by one label.
    """
    ones, count = labels.sum(dtype="float64"), labels.size
    # Other numbers are no labels, and labels that are all the same tell nothing of the rare one.
    if ((labels != 0) & (labels != 1)).any() or not 0 < ones < count:
        return False
    rarer = min(ones, count - ones)
    most = min((rarer + math.sqrt(rarer) + 1) / count, 0.5)
    entropy = -most * math.log(most) - (1 - most) * math.log1p(-most)
    return bool(entropy * FALL < math.log(2))


def _read_bias(layer: keras.Layer | None, units: int) -> Array | None:
    """Read the bias of each unit, or the mean if it has another shape, `None` without any."""
    bias = getattr(layer, "bias", None)
    if not isinstance(bias, keras.Variable):
        return None
    values = to_array(bias).astype("float32")
    return values if values.shape == (units,) else np.asarray(values.mean())


def _round_frequency(frequency: float) -> float:
    # Two digits of the rarer label: 0.0078, 0.9922.
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
        last = next((other for other in layers if other.layer is prior.last), None)
        if last is not None and not all(bias.is_trained for bias in last.named("bias")):
            continue
        evidence = (
            f"{prior.share:.2%} of the labels of {layer.title} are 1. Its loss starts at "
            f"{prior.before:.3g}; with a bias of this frequency, it would start at "
            f"{prior.after:.3g} (Lin and others, Focal loss, 2017)"
        )
        yield Finding([layer], evidence, _propose_bias(prior, last, layer), "note")


def _propose_bias(prior: Prior, last: MeasuredLayer | None, layer: MeasuredLayer) -> Remedy:
    """Propose the bias.

    Args:
        prior: The first loss with and without the bias.
        last: The layer with the last kernel, if the code has identified it.
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
