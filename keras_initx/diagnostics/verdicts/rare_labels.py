"""Labels that are rare: a loss that starts at a half for each, where a bias would lower it."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initx._typing import Array
from keras_initx.diagnostics._diagnosis import Diagnosis
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._rules import Finding, rule
from keras_initx.diagnostics._seen import SeenLayer, ends_of
from keras_initx.diagnostics.losses.ends import Ends
from keras_initx.diagnostics.losses.probes import LossProbe
from keras_initx.initializers._biases import PriorBias
from keras_initx.structure._batch import array_of
from keras_initx.structure._weights import is_quantized

# Factor by which the bias has to lower the first loss, and that of a guess of a half.
FALL = 2
# How much less the loss has to be with a frequency for each unit than with one for all.
_BETTER = 0.8
# The most numbers of which the loss is computed.
_MOST = 1 << 20
# Probabilities are no nearer to 0 and 1, as in Keras.
_LEAST = 1e-7
# These change the shape of what they get, and nothing else.
_RESHAPING = (keras.layers.Flatten, keras.layers.Permute, keras.layers.Reshape)


class Prior(NamedTuple):
    """What the frequencies of labels would make of the first loss of an output.

    Attributes:
        frequencies: One for all units, or one for each, smoothed as the labels are in the loss.
        share: The share of ones among all labels.
        before: The loss as it is.
        after: The loss with a bias of these frequencies.
        last: The layer with the bias that gives them, `None` if it is not known.
        units: Number of values in a row of outputs.
    """

    frequencies: float | list[float]
    share: float
    before: float
    after: float
    last: keras.Layer | None
    units: int


def _last_layer(ends: Ends) -> tuple[keras.Layer | None, bool]:
    """Return the layer whose bias is added to the logits, and whether it has one for each.

    The layer is `None` if something else than a sigmoid may follow it.
    """
    activations = []
    has_other_shape = False
    for operation, activation in ends.steps:
        if isinstance(operation, _RESHAPING):
            has_other_shape = True
        elif activation != "linear":
            activations.append(activation)
    if not ends.steps or activations != ([] if ends.loss.from_logits else ["sigmoid"]):
        return None, True
    last, _ = ends.steps[0]
    return (last if isinstance(last, keras.Layer) else None), not has_other_shape


def _prior(ends: Ends) -> Prior | None:
    """Return what frequencies would make of a loss, `None` if that is not much less."""
    last, takes_list = _last_layer(ends)
    units = ends.units
    labels, outputs = ends.aims.astype("float32"), ends.rows.astype("float32")
    ones, count = labels.sum(axis=0, dtype="float64"), len(labels)
    # Others than 0 and 1 are no labels, and of labels that are all the same nothing is known.
    if ((labels != 0) & (labels != 1)).any() or not 0 < ones.sum() < labels.size:
        return None
    smoothing = ends.loss.smoothing
    step = math.ceil(labels.size / _MOST)
    targets = labels[::step] * (1 - smoothing) + smoothing / 2
    logits = outputs[::step]
    if not ends.loss.from_logits:
        logits = _logit(np.clip(logits, _LEAST, 1 - _LEAST))

    bias = _bias_of(last, units)

    def loss_with(frequencies: Array) -> float:
        """Return the loss with a bias of these frequencies, of all units or of each."""
        present = bias
        if present is None:
            present = logits.mean(axis=0) if frequencies.ndim else logits.mean()
        return _crossentropy(targets, logits + _logit(frequencies) - present)

    def smoothed(frequencies: Array) -> Array:
        return np.asarray(frequencies * (1 - smoothing) + smoothing / 2)

    before = _crossentropy(targets, logits)
    share = float(ones.sum() / labels.size)
    found = None
    if _are_rare(ones.sum(), labels.size):
        frequency = smoothed(np.asarray(share))
        after = loss_with(frequency)
        if after * FALL < before:  # false for NaN
            found = Prior(_rounded(frequency), share, before, after, last, units)
    if units > 1 and takes_list and _are_rare(ones, count):
        frequencies = smoothed((ones + 0.5) / (count + 1))  # not 0, where a batch has no such label
        after = loss_with(frequencies)
        if after * FALL < before and (found is None or after < _BETTER * found.after):
            found = Prior(list(map(_rounded, frequencies)), share, before, after, last, units)
    return found


def _are_rare(ones: Array, count: int) -> bool:
    """Return whether a guess by frequencies is much better than one of a half for each label.

    Frequencies are taken as near to a half as they may be where few labels show so many ones.
    """
    rarer = np.minimum(ones, count - ones)
    most = np.minimum((rarer + np.sqrt(rarer) + 1) / count, 0.5)
    entropy = -most * np.log(most) - (1 - most) * np.log1p(-most)
    return bool(entropy.mean() * FALL < math.log(2))


def _bias_of(layer: keras.Layer | None, units: int) -> Array | None:
    """Return the bias of each unit, or the mean where it has another shape, `None` without any."""
    bias = getattr(layer, "bias", None)
    if not isinstance(bias, keras.Variable):
        return None
    values = array_of(bias).astype("float32")
    return values if values.shape == (units,) else np.asarray(values.mean())


def _rounded(frequency: Any) -> float:
    """Return a frequency with two digits of what is rarer: 0.0078, 0.9922."""
    if frequency > 0.5:
        return 1 - float(f"{1 - frequency:.2g}")
    return float(f"{frequency:.2g}")


def _logit(probabilities: Array) -> Array:
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
    levels={"note": ""},
    finds="labels of a binary crossentropy, of one unit or of several, that are so rarely 1, or 0, "
    f"that the loss would start at less than 1/{FALL} of what it is with a bias of their frequency",
    reason="with 1% of ones the loss is 0.69 for outputs of 1/2, and 0.056 for outputs of 0.01: "
    "the first steps learn nothing but this bias (Lin and others, 2017). Weights of classes change "
    "what is best",
    remedy="`PriorBias`",
)
def rare_labels(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
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
            f"{_shares(prior)} of the labels of {layer.title} are 1: its loss starts at "
            f"{prior.before:.3g}, and would at {prior.after:.3g} with a bias of such frequencies"
        )
        yield Finding([layer], evidence, _remedy(prior, last, layer), "note")


def _shares(prior: Prior) -> str:
    """Return the share of ones among labels, or the least and the greatest of all units."""
    if isinstance(prior.frequencies, list):
        return f"{min(prior.frequencies):.2%} to {max(prior.frequencies):.2%}"
    return f"{prior.share:.2%}"


def _remedy(prior: Prior, last: SeenLayer | None, layer: SeenLayer) -> Remedy:
    """Return the remedy for an output.

    Args:
        prior: What is known of it.
        last: The layer with the last kernel, if it is known.
        layer: The layer that makes the output.
    """
    if isinstance(prior.frequencies, list):
        initializer = PriorBias(prior.frequencies, multi_label=True)
        text = "keras_initx.PriorBias.from_labels(y, multi_label=True)"
    else:
        initializer, text = (
            PriorBias(prior.frequencies),
            f"keras_initx.PriorBias({prior.frequencies:.4g})",
        )
    unless = ", unless classes are weighted in training"
    if last is None:
        return Remedy(f"a bias of {text} before the sigmoid of {layer.title}{unless}")
    biases = last.named("bias")
    use = "" if biases else "use_bias=True and "
    rules = {}
    for bias in biases:
        has_a_list = isinstance(prior.frequencies, list)
        if not is_quantized(last.layer) and (not has_a_list or bias.own.shape == (prior.units,)):
            rules[bias.path] = initializer
    return Remedy(
        f"{use}bias_initializer={text} in {last.title}{unless}", rules, is_safe=bool(rules)
    )
