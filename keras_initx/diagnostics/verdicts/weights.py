"""Weights: measured one by one, and found not random, or other than they were meant to be."""

import hashlib
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._keras import argument_name
from keras_initx._typing import Array, InitializerLike
from keras_initx.backends import Moments, backend, chunks
from keras_initx.diagnostics._measurements import LayerReport, Measurements, WeightReport
from keras_initx.diagnostics._remedy import Choice, Remedy, choice, suitable
from keras_initx.diagnostics._verdict import (
    Finding,
    by_level,
    listed,
    rule,
)
from keras_initx.diagnostics.verdicts.signals import is_gate
from keras_initx.initializers import (
    ICNR,
    HeNormal,
    Initializer,
    arguments_of,
    counterpart,
    fans,
    stddev_for,
)
from keras_initx.structure import (
    TRANSPOSED,
    array_of,
    floats,
    is_depthwise,
    is_kernel,
    kernel_axes,
    kernel_fans,
    multiplies,
    weights_within,
)

_Pair: TypeAlias = tuple[LayerReport, WeightReport]

# Units with fewer weights may be equal by chance in 16-bit dtypes.
_COMPARABLE = 4
# The same holds for kernels with fewer weights.
_TELLING = 8

# Factor between the standard deviation of a depthwise or transposed kernel and the one that its
# initializer intends.
WRONG_FAN = 1.5


def weight_reports(
    layer: keras.Layer,
    weights: Sequence[keras.Variable],
    paths: Mapping[int, str],
    gradients: Mapping[int, float],
) -> list[WeightReport]:
    """Return a `WeightReport` for each of `weights`.

    Args:
        layer: The layer that they belong to.
        weights: Variables.
        paths: Dict from the id of a variable to its path in the model.
        gradients: Dict from the id of a variable to the norm of its gradient.
    """
    bias = None
    for weight in weights:
        if weight.name == "bias":  # of several the last
            bias = array_of(weight)
    reports = []
    for weight in weights:
        # The shape of TensorFlow is true without axes too.
        if len(weight.shape) > 0 or weight.trainable:
            report = _weight_report(layer, weight, bias)
            path = paths.get(id(weight), weight.name)
            reports.append(replace(report, path=path, gradient=gradients.get(id(weight))))
    return reports


def kept_initializers(model: keras.Model) -> dict[str, keras.initializers.Initializer]:
    """Return the initializers that layers keep for their weights, by the paths of these."""
    kept = {}
    for weight in weights_within(model):
        initializer = getattr(weight.layer, argument_name(weight.variable.name), None)
        if isinstance(initializer, keras.initializers.Initializer):
            kept[weight.path] = initializer
    return kept


def _weight_report(layer: keras.Layer, weight: keras.Variable, bias: Array | None) -> WeightReport:
    array = backend.host_view(weight.value)
    moments = Moments(array)
    report = WeightReport(
        name=weight.name,
        path="",
        shape=array.shape,
        mean=moments.mean,
        std=moments.std,
        zeros=moments.zeros / max(moments.size, 1),
        norm=moments.norm,
        trainable=weight.trainable,
        zero=multiplies(layer, weight) and moments.zeros == moments.size,
    )
    if not is_kernel(weight):
        return report
    axes = kernel_axes(layer, weight)
    fan_in, _ = kernel_fans(layer, weight)
    gain = moments.std
    if moments.size == 1:
        gain = moments.norm
    # An embedding looks up one row.
    if not isinstance(layer, keras.layers.Embedding):
        gain *= math.sqrt(fan_in)
    report = replace(
        report,
        axes=axes,
        fan_in=fan_in,
        gain=gain,
        expected_std=_expected_std(layer, weight, moments.std),
    )
    if not weight.trainable:
        return report
    identical_units = 0
    # Columns of a table of positions may be equal: cosines of small angles are all 1.
    if not isinstance(layer, keras.layers.Embedding) and not _repeats_units(layer, weight.name):
        identical_units = _identical_units(array, bias, axes[0])
    return replace(
        report,
        constant=array.size > 1 and all((chunk == array.flat[0]).all() for chunk in chunks(array)),
        identical_units=identical_units,
        digest=_digest(array, moments),
    )


def _repeats_units(layer: keras.Layer, name: str) -> bool:
    """Return whether the kernel of this name repeats units on purpose, as that of upsampling."""
    initializer = getattr(layer, "kernel_initializer", None)
    return name == "kernel" and isinstance(initializer, ICNR)


def _expected_std(layer: keras.Layer, kernel: keras.Variable, std: float) -> float | None:
    """Return the standard deviation that the initializer of a kernel intends.

    It is `None` for kernels that are neither depthwise nor transposed. With strides a unit sums
    over a part of the window only, of which a layer does not tell its initializer: weights may have
    the scale for the whole window too. From that range it is the value next to `std`, that of the
    kernel.
    """
    if is_depthwise(layer, kernel.name):
        initializer = layer.depthwise_initializer
    elif isinstance(layer, TRANSPOSED):
        initializer = layer.kernel_initializer
    else:
        return None
    if not isinstance(initializer, keras.initializers.VarianceScaling):
        return None
    # Some subclasses, such as `Orthogonal`, have no scale.
    if not hasattr(initializer, "scale"):
        return None
    scale, mode = float(initializer.scale), initializer.mode
    least = stddev_for(scale, mode, *fans(tuple(kernel.shape), *kernel_axes(layer, kernel)))
    most = stddev_for(scale, mode, *kernel_fans(layer, kernel))
    return min(max(std, least), most)


def _identical_units(array: Array, bias: Array | None, input_axes: tuple[int, ...]) -> int:
    """Return the number of units with the same weights and bias as another unit."""
    input_axes = input_axes or (0,)  # where nothing is summed
    count = math.prod(array.shape[axis] for axis in input_axes)
    if count < _COMPARABLE:
        return 0
    units = np.moveaxis(array, input_axes, range(-len(input_axes), 0)).reshape(-1, count)
    # Units with the same bits have the same sum of products with random numbers, modulo 2**64.
    factors = np.random.default_rng(0).integers(1 << 64, size=count, dtype="uint64")
    sums = np.einsum("ui,i->u", units.view(f"u{array.itemsize}"), factors)
    _, places, counts = np.unique(sums, return_inverse=True, return_counts=True)
    alike = counts[places] > 1
    units = units[alike]
    if bias is not None and bias.size == len(alike):
        units = np.concatenate([units, bias.reshape(-1, 1)[alike]], axis=1)
    units_by_digest: Counter[bytes] = Counter()
    for unit in np.ascontiguousarray(units):
        units_by_digest[hashlib.blake2b(unit.tobytes(), digest_size=16).digest()] += 1
    return sum(count for count in units_by_digest.values() if count > 1)


def _digest(array: Array, moments: Moments) -> str | None:
    """Return a digest of a random kernel.

    It is `None` for kernels with few distinct values, such as an identity.
    """
    checksum = 0
    distinct = np.zeros(0)
    for chunk in map(floats, chunks(array)):
        checksum = zlib.crc32(chunk.data, checksum)
        if len(distinct) <= 64:
            distinct = np.union1d(distinct, chunk[chunk != 0])
    nonzero = moments.size - moments.zeros
    if nonzero < _TELLING or len(distinct) <= min(nonzero / 2, 64):
        return None
    # With the moments a checksum tells kernels apart, and takes a quarter of the time of a
    # cryptographic hash.
    return f"{checksum:08x} {moments.mean!r} {moments.norm!r}"


@rule(
    "all-zero weights",
    levels={
        "note": "",
        "error": "if because of them a later kernel gets the same inputs for all examples, or if "
        "they get no gradient while an earlier layer does and no branch starts at 0",
    },
    finds="a trainable kernel, or the scale of a normalization, that is all 0",
    reason="all units have the same output, and no gradient passes back. Intended zeros leave the "
    "signal another path: at the end of a residual branch, in an adapter, in a position embedding, "
    "or at the output",
    remedy="random weights",
)
def all_zero(measured: Measurements) -> Iterator[Finding]:
    hit = [(layer, weight) for layer, weight in _pairs_of(measured) if weight.zero]
    are_lost = any(layer.flow.loses_signal for layer, _ in hit)
    behind = _behind_the_first_that_learns(measured.layers)
    waits = any(is_gate(layer) for layer in measured.layers)

    def does_harm(pair: _Pair) -> bool:
        layer, weight = pair
        # Behind a layer that learns, what gets no gradient itself stays 0, as before a ReLU that
        # nothing else reaches, unless it waits for a branch to open.
        is_stuck = weight.gradient == 0 and layer in behind and layer.output is None and not waits
        # Zeros at the output are intended, unless earlier zeros leave them no signal to learn from.
        return is_stuck or layer.flow.loses_signal or (are_lost and layer.flow.is_starved)

    for level, pairs in by_level(hit, "error", does_harm):
        evidence = f"all weights of {_weight_names(pairs)} are 0"
        remedy = _random(pairs)
        if level == "error":
            evidence += ": units have the same output, and no gradient passes back through them"
        elif all(layer in measured.branch_ends for layer, _ in pairs):
            evidence += ", at the end of residual branches, which pass signals on as they are"
            remedy = Remedy("none, if this is intended: the branches open in training")
        else:
            evidence += "; no later layer gets equal inputs for all examples because of it"
            unless = (
                ", unless the zeros are intended, as at the end of a residual branch, "
                "at the output, in an adapter or a position embedding"
            )
            remedy = replace(remedy, text=remedy.text + unless)
        yield Finding(_layers_of(pairs), evidence, remedy, level)


def _random(pairs: Sequence[_Pair], before: str = "random weights") -> Remedy:
    """Return a remedy that draws weights anew, with the text for the first of them.

    Each gets what suits it. The scale of a normalization becomes 1.
    """
    rules: dict[str, InitializerLike] = {}
    texts = []
    for layer, weight in pairs:
        if weight.axes:
            rules[weight.path], text = suitable(layer, weight)
            texts.append(f"{before}: {text}")
        else:
            rules[weight.path] = "ones"
            texts.append("ones for the scale of a normalization")
    return Remedy(texts[0], rules)


def _behind_the_first_that_learns(layers: Sequence[LayerReport]) -> Sequence[LayerReport]:
    """Return the layers behind the first that gets a gradient."""
    for place, layer in enumerate(layers):
        if layer.gradient is not None and layer.gradient.norm > 0:
            return layers[place + 1 :]
    return []


@rule(
    "constant weights",
    levels={"error": ""},
    finds="a trainable kernel with a single nonzero value",
    reason="all units are the same, and stay so in training",
    remedy="random weights",
)
def constant(measured: Measurements) -> Iterator[Finding]:
    hit = []
    for layer, weight in _pairs_of(measured):
        if weight.constant and not weight.zero:
            hit.append((layer, weight))
    if not hit:
        return
    layer, weight = hit[0]
    value = f"{weight.mean:.3g}"
    if len(hit) > 1:
        value += f" in {_weight_name(layer, weight)}"
    evidence = (
        f"all weights of {_weight_names(hit)} are equal, {value}: the units are identical, and "
        "training updates them in the same way"
    )
    yield Finding(_layers_of(hit), evidence, _random(hit), "error")


@rule(
    "identical units",
    levels={"warning": ""},
    finds="units of a kernel with exactly the same weights and bias",
    reason="they stay identical if their outgoing weights are equal too",
    remedy="independent weights",
)
def identical_units(measured: Measurements) -> Iterator[Finding]:
    hit = []
    for layer, weight in _pairs_of(measured):
        if weight.identical_units and not weight.constant:
            hit.append((layer, weight))
    if not hit:
        return
    layer, weight = hit[0]
    evidence = (
        f"{weight.identical_units} units of {_weight_name(layer, weight)} have the same weights "
        f"as another unit{_and_more_weights(hit)}: if their outgoing weights are equal too, "
        "training updates them in the same way"
    )
    remedy = _random(hit, "independent random weights for each unit")
    yield Finding(_layers_of(hit), evidence, remedy)


@rule(
    "twin tensors",
    levels={"warning": ""},
    finds="two trainable kernels with the same random values",
    reason="an initializer object or a seed was used twice",
    remedy="a separate initializer for each",
)
def twins(measured: Measurements) -> Iterator[Finding]:
    groups: dict[str, list[_Pair]] = {}
    for layer, weight in _pairs_of(measured):
        if weight.digest:
            groups.setdefault(weight.digest, []).append((layer, weight))
    hit: list[_Pair] = []
    equations: list[str] = []
    for group in groups.values():
        if len(group) > 1:
            hit += group
            equations.append(_weight_names(group, " = "))
    if not equations:
        return
    rules: dict[str, InitializerLike] = {}
    texts = []
    for layer, weight in hit:
        chosen = _without_seed(measured.initializers.get(weight.path)) or suitable(layer, weight)
        rules[weight.path], text = chosen
        texts.append(text)
    remedy = Remedy(
        "a separate initializer for each weight, without a seed or with different seeds: write "
        f"{texts[0]} in each layer",
        rules,
    )
    yield Finding(_layers_of(hit), f"the same random values: {listed(equations, '; ', 3)}", remedy)


def _without_seed(kept: keras.initializers.Initializer | None) -> Choice | None:
    """Return an initializer of this package or of Keras without its seeds.

    It is `None` if it is another one, or has arguments that only Keras takes.
    """
    if kept is None or not (counterpart(kept) or isinstance(kept, Initializer)):
        return None
    try:
        return choice(_unseeded(kept))
    except (TypeError, ValueError):
        return None


def _unseeded(argument: Any) -> Any:
    """Return an argument in which no initializer has a seed."""
    if isinstance(argument, list | tuple):
        return list(map(_unseeded, argument))
    if not isinstance(argument, keras.initializers.Initializer):
        return argument
    arguments = {}
    for name, value in (arguments_of(argument) or {}).items():
        arguments[name] = None if name == "seed" else _unseeded(value)
    return (counterpart(argument) or type(argument)).from_config(arguments)


@rule(
    "wrong fan",
    levels={"note": ""},
    finds="a depthwise or transposed kernel whose standard deviation is larger or smaller than its "
    f"initializer intends, by a factor above {WRONG_FAN:g}",
    reason="Keras computes the fans of such kernels from the wrong axes. Where a signal is lost by "
    "it, that has its own verdict",
    remedy="`input_axes`, `output_axes`",
)
def wrong_fan(measured: Measurements) -> Iterator[Finding]:
    factor = WRONG_FAN
    wrong = []
    for layer, weight in _pairs_of(measured):
        if weight.expected_std:
            ratio = weight.std / weight.expected_std
            if not 1 / factor <= ratio <= factor:
                wrong.append((layer, weight))
    if not wrong:
        return
    layer, weight = wrong[0]
    evidence = (
        f"{_weight_name(layer, weight)} has standard deviation {weight.std:.3g}; its "
        f"initializer intends {weight.expected_std or 0:.3g} for the {weight.fan_in} inputs "
        f"of a unit{_and_more_weights(wrong)}: it computes wrong fans from the shape of this "
        "kernel"
    )
    rules: dict[str, InitializerLike] = {}
    texts = []
    for _, wrong_weight in wrong:
        rules[wrong_weight.path] = HeNormal()  # `initialize` knows the axes
        inputs, outputs = wrong_weight.axes or ((), ())
        _, text = choice(HeNormal(input_axes=list(inputs), output_axes=list(outputs)))
        texts.append(f"{text}, or a similar initializer with these axes")
    yield Finding(_layers_of(wrong), evidence, Remedy(texts[0], rules), "note")


def _pairs_of(measured: Measurements) -> list[_Pair]:
    """Return all pairs of a layer and one of its weights."""
    pairs: list[_Pair] = []
    for layer in measured.layers:
        for weight in layer.weights:
            pairs.append((layer, weight))
    return pairs


def _layers_of(pairs: Sequence[_Pair]) -> list[LayerReport]:
    """Return the layer of each pair."""
    return [layer for layer, _ in pairs]


def _weight_name(layer: LayerReport, weight: WeightReport) -> str:
    """Return the name of a weight, prefixed with that of its layer."""
    return f"{layer.name}/{weight.name}"


def _weight_names(pairs: Sequence[_Pair], between: str = ", ") -> str:
    """Return the names of the first few weights."""
    return listed([_weight_name(*pair) for pair in pairs], between)


def _and_more_weights(pairs: Sequence[_Pair]) -> str:
    """Return a phrase with the number of weights after the first."""
    if len(pairs) < 2:
        return ""
    return f", and {len(pairs) - 1} more weights"
