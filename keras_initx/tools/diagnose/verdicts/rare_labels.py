"""Rare labels: outputs start at a half, although a bias would lower the loss."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.initializers._biases import PriorBias
from keras_initx.inspection._batch import to_array
from keras_initx.inspection._weights import is_quantized
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, pair_with_heads
from keras_initx.tools.diagnose._redrawing import make_rules
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule
from keras_initx.tools.diagnose.losses.heads import LastOperation, OutputHead
from keras_initx.tools.diagnose.losses.probes import LossProbe

# Factor by which the bias has to lower the first loss, and the loss of a guess of a half.
FALL = 2
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


def _is_crossentropy(head: OutputHead) -> bool:
    return head.loss.name == "binary_crossentropy" and head.form == "rows"


def _list_activations(operations: Sequence[LastOperation]) -> list[str | None]:
    """List the names of the activations after the last kernel, `None` for an unknown one."""
    activations = []
    for operation, activation in operations:
        if activation != "linear" and not isinstance(operation, _RESHAPING):
            activations.append(activation)
    return activations


def _find_last_layer(head: OutputHead) -> keras.Layer | None:
    """Find the layer whose bias is added to the logits of an output.

    It is `None` if something else than the activation of the loss may follow it.
    """
    expected = [] if head.loss.from_logits else ["sigmoid"]
    if not head.last_operations or _list_activations(head.last_operations) != expected:
        return None
    last = head.last_operations[0].operation
    return last if isinstance(last, keras.Layer) else None


def _compute_prior(head: OutputHead) -> Prior | None:
    """Compute a binary crossentropy with a bias for the labels, `None` if it is not much less."""
    last = _find_last_layer(head)
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


@rule("rare labels", beside=["saturated", "large first loss"], reads_loss=True)
def rare_labels(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report labels whose frequency in the bias would lower the first loss.

    Reported if:
        The loss is a binary crossentropy of Keras, or your own with the same values. Each output
        has a label of 0 or 1, and ones or zeros are rare. With a bias of their frequency, the loss
        would start at less than 1/{FALL} of its value. Other losses are not looked at, for example
        focal losses.

    Level:
        note

    Why:
        With 1% of ones, the loss is 0.69 for outputs of 1/2, and 0.056 for outputs of 0.01. The
        first steps learn only this bias (Lin and others, 2017). If you weight the classes, another
        bias is best.

    Typical causes:
        Rare events: frauds, defects, clicks, objects among many boxes.

    Fix:
        Use `PriorBias` for the last layer, also with a focal loss.
    """
    losses = diagnosis.probe(LossProbe)
    if losses.value is None:
        return
    for layer, head in pair_with_heads(layers, losses.heads):
        prior = _compute_prior(head) if _is_crossentropy(head) else None
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
