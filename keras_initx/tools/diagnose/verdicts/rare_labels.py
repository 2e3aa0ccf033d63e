"""Labels that are rare: a loss that starts at a half for each, where a bias would lower it."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.initializers._biases import PriorBias
from keras_initx.inspection._batch import array_of
from keras_initx.inspection._weights import is_quantized
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._drawn_anew import rules_for
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule
from keras_initx.tools.diagnose._seen import SeenLayer, ends_of
from keras_initx.tools.diagnose.losses.ends import Ends
from keras_initx.tools.diagnose.losses.probes import LossProbe

# Factor by which the bias has to lower the first loss, and that of a guess of a half.
FALL = 2
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


def _last_layer(ends: Ends) -> keras.Layer | None:
    """Return the layer whose bias is added to the logits.

    It is `None` if something else than a sigmoid may follow it.
    """
    activations = []
    for operation, activation in ends.steps:
        if activation != "linear" and not isinstance(operation, _RESHAPING):
            activations.append(activation)
    if not ends.steps or activations != ([] if ends.loss.from_logits else ["sigmoid"]):
        return None
    last, _ = ends.steps[0]
    return last if isinstance(last, keras.Layer) else None


def _prior(ends: Ends) -> Prior | None:
    """Return what a frequency would make of a loss, `None` if that is not much less."""
    last = _last_layer(ends)
    labels, logits = ends.aims.astype("float32"), ends.rows.astype("float32")
    ones = labels.sum(dtype="float64")
    # Others than 0 and 1 are no labels, and of labels that are all the same nothing is known.
    if ((labels != 0) & (labels != 1)).any() or not 0 < ones < labels.size:
        return None
    if not _are_rare(ones, labels.size):
        return None
    smoothing = ends.loss.smoothing
    targets = labels * (1 - smoothing) + smoothing / 2
    if not ends.loss.from_logits:
        logits = _logit(np.clip(logits, _LEAST, 1 - _LEAST))
    before = _crossentropy(targets, logits)
    share = float(ones / labels.size)
    frequency = share * (1 - smoothing) + smoothing / 2
    present = _bias_of(last, ends.units)
    if present is None:
        present = logits.mean()
    after = _crossentropy(targets, logits + _logit(frequency) - present)
    # False for NaN.
    if after * FALL < before:
        return Prior(_rounded(frequency), share, before, after, last)
    return None


def _are_rare(ones: float, count: int) -> bool:
    """Return whether a guess by a frequency is much better than one of a half.

    The frequency is taken as near to a half as it may be where few labels show so many ones.
    """
    rarer = min(ones, count - ones)
    most = min((rarer + math.sqrt(rarer) + 1) / count, 0.5)
    entropy = -most * math.log(most) - (1 - most) * math.log1p(-most)
    return entropy * FALL < math.log(2)


def _bias_of(layer: keras.Layer | None, units: int) -> Array | None:
    """Return the bias of each unit, or the mean where it has another shape, `None` without any."""
    bias = getattr(layer, "bias", None)
    if not isinstance(bias, keras.Variable):
        return None
    values = array_of(bias).astype("float32")
    return values if values.shape == (units,) else np.asarray(values.mean())


def _rounded(frequency: float) -> float:
    """Return a frequency with two digits of what is rarer: 0.0078, 0.9922."""
    if frequency > 0.5:
        return 1 - float(f"{1 - frequency:.2g}")
    return float(f"{frequency:.2g}")


def _logit(probabilities: float | Array) -> Array:
    logits: Array = np.log(probabilities) - np.log1p(-probabilities)
    return logits


def _crossentropy(targets: Array, logits: Array) -> float:
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
)
def rare_labels(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Report labels whose frequency in the bias would lower the first loss.

    Finds:
        labels of a binary crossentropy, of one unit or of several, that are so rarely 1, or 0, that
        the loss would start at less than 1/{FALL} of what it is with a bias of their frequency

    Why:
        with 1% of ones the loss is 0.69 for outputs of 1/2, and 0.056 for outputs of 0.01: the
        first steps learn nothing but this bias (Lin and others, 2017). Weights of classes change
        what is best

    Level:
        note

    Remedy:
        `PriorBias`
    """
    losses = of.probe(LossProbe)
    for layer, ends in ends_of(layers, losses.ends):
        if ends.loss.name != "binary_crossentropy" or ends.form != "rows" or losses.value is None:
            continue
        prior = _prior(ends)
        if prior is None:
            continue
        last = next((one for one in layers if one.layer is prior.last), None)
        if last is not None and not all(bias.is_trained for bias in last.named("bias")):
            continue
        evidence = (
            f"{prior.share:.2%} of the labels of {layer.title} are 1: its loss starts at "
            f"{prior.before:.3g}, and would at {prior.after:.3g} with a bias of this frequency"
        )
        yield Finding([layer], evidence, _remedy(prior, last, layer), "note")


def _remedy(prior: Prior, last: SeenLayer | None, layer: SeenLayer) -> Remedy:
    """Return the remedy for an output.

    Args:
        prior: What is known of it.
        last: The layer with the last kernel, if it is known.
        layer: The layer that makes the output.
    """
    initializer = PriorBias(prior.frequency)
    text = f"keras_initx.PriorBias({prior.frequency:.4g})"
    unless = ", unless classes are weighted in training"
    if last is None:
        return Remedy(f"a bias of {text} before the sigmoid of {layer.title}{unless}")
    biases = last.named("bias")
    use = "" if biases else "use_bias=True and "
    rules = {} if is_quantized(last.layer) else rules_for(biases, initializer)
    return Remedy(
        f"{use}bias_initializer={text} in {last.title}{unless}", rules, is_safe=bool(rules)
    )
