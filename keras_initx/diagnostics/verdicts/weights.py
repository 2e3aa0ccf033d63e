"""Weights that are no random numbers, or other ones than were meant: equal, shared, too small."""

import hashlib
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._keras import argument_name
from keras_initx._typing import Array, InitializerLike
from keras_initx.backends import backend, chunks
from keras_initx.diagnostics._diagnosis import Diagnosis, fact
from keras_initx.diagnostics._layers import LayerReport, WeightReport, branch_ends, weights
from keras_initx.diagnostics._layers import layers as layers_of
from keras_initx.diagnostics._remedy import (
    Choice,
    Remedy,
    activation_after,
    choice,
    rules_for,
    suited,
)
from keras_initx.diagnostics._rules import Finding, by_level, listed, rule
from keras_initx.diagnostics.verdicts.no_gradient import held_by_zeros
from keras_initx.diagnostics.verdicts.signals import lost_signals
from keras_initx.initializers import (
    ICNR,
    HeNormal,
    HeUniform,
    Initializer,
    arguments_of,
    counterpart,
    default_axes,
    fans,
    stddev_for,
)
from keras_initx.structure import (
    TRANSPOSED,
    array_of,
    floats,
    is_adapter,
    is_depthwise,
    is_kernel,
    is_quantized,
    kernel_axes,
    kernel_fans,
)

# A weight and the layer that it belongs to.
_Pair: TypeAlias = tuple[LayerReport, WeightReport]

# Units with fewer weights may be equal by chance in 16-bit dtypes.
_COMPARABLE = 4
# The same holds for kernels with fewer weights.
_TELLING = 8

# Factor between the standard deviation of a depthwise or transposed kernel and the one that its
# initializer intends.
WRONG_FAN = 1.5


# ---------------------------------------------------------------- what is measured


class Values(NamedTuple):
    """The values of a trainable kernel.

    Attributes:
        constant: Whether all are the same.
        identical_units: The number of units with the same weights as another unit.
        digest: Of random numbers, a digest that two kernels share only if they are equal.
    """

    constant: bool
    identical_units: int
    digest: str | None


@fact
def kernel_values(of: Diagnosis) -> dict[str, Values]:
    """The values of each trainable kernel, by its path."""
    found = {}
    for _, report in _pairs_of(layers_of(of)):
        weight = weights(of).get(report.path)
        if weight is None or weight.axes is None or not report.trainable:
            continue
        array = backend.host_view(weight.variable.value)
        identical_units = 0
        # Columns of a table of positions may be equal: cosines of small angles are all 1.
        is_table = isinstance(weight.layer, keras.layers.Embedding)
        if not is_table and not _repeats_units(weight.layer, weight.name):
            inputs, _ = weight.axes
            identical_units = _identical_units(array, _bias_of(weight.layer), inputs)
        found[report.path] = Values(
            array.size > 1 and all((chunk == array.flat[0]).all() for chunk in chunks(array)),
            identical_units,
            _digest(array, report),
        )
    return found


def _bias_of(layer: keras.Layer) -> Array | None:
    for weight in layer.weights:
        if weight.name == "bias":
            return array_of(weight)
    return None


def _repeats_units(layer: keras.Layer, name: str) -> bool:
    """Return whether the kernel of this name repeats units on purpose, as that of upsampling."""
    initializer = getattr(layer, "kernel_initializer", None)
    return name == "kernel" and isinstance(initializer, ICNR)


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


def _digest(array: Array, report: WeightReport) -> str | None:
    """Return a digest of a random kernel.

    It is `None` for kernels with few distinct values, such as an identity.
    """
    checksum = 0
    distinct = np.zeros(0)
    for chunk in map(floats, chunks(array)):
        checksum = zlib.crc32(chunk.data, checksum)
        if len(distinct) <= 64:
            distinct = np.union1d(distinct, chunk[chunk != 0])
    nonzero = array.size - round(report.zeros * array.size)
    if nonzero < _TELLING or len(distinct) <= min(nonzero / 2, 64):
        return None
    # With mean and norm a checksum tells kernels apart, and takes a quarter of the time of a
    # cryptographic hash.
    return f"{checksum:08x} {report.mean!r} {report.norm!r}"


# ---------------------------------------------------------------- the rules


@rule(
    "equal units",
    levels={
        "error": "if all weights of a kernel are one number: other than 0; or 0, if because of "
        "them a later kernel gets the same inputs for all examples, or if weights of zeros get no "
        "gradient because of each other",
        "note": "if they are 0 otherwise",
        "warning": "",
    },
    finds="a trainable kernel, or the scale of a normalization, that is all 0; a trainable kernel "
    "with a single other value; units of a kernel with exactly the same weights and bias",
    reason="equal units have the same output, and training updates them in the same way; through "
    "zeros no gradient passes back. Intended zeros leave the signal another path: at the end of a "
    "residual branch, in an adapter, in a position embedding, or at the output. But not both of "
    "two that are multiplied, as the factors of LoRA, or a gate and what it opens: the gradient of "
    "each is a multiple of the other",
    remedy="random weights; in LoRA `HeUniform` for the first factor",
)
def equal_units(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    yield from _zeros(of, layers)
    yield from _constants(of, layers)
    yield from _identical(of, layers)


def _zeros(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    held = held_by_zeros(of)
    hit = []
    for layer, weight in _pairs_of(layers):
        if weight.path in held or (weight.zero and not _opens_in_training(layer, weight)):
            hit.append((layer, weight))
    lost, starved = lost_signals(of)
    are_lost = any(layer.name in lost for layer, _ in hit)

    def loses_signal(pair: _Pair) -> bool:
        # Zeros at the output are intended, unless earlier zeros leave them no signal to learn from.
        layer, _ = pair
        return layer.name in lost or (are_lost and layer.name in starved)

    for level, pairs in by_level(hit, "error", loses_signal):
        if level == "error":
            evidence = (
                f"all weights of {_weight_names(pairs)} are 0: units have the same output, and no "
                "gradient passes back through them"
            )
            yield Finding(_layers_of(pairs), evidence, _random(pairs), level)
            continue
        for kept_level, others in by_level(pairs, "error", lambda pair: pair[1].path in held):
            if kept_level == "error":
                yield _held(others, of)
            else:
                yield _harmless(others, of)


def _opens_in_training(layer: LayerReport, weight: WeightReport) -> bool:
    """Return whether this is the factor of an adapter of Keras that starts at 0, alone."""
    factors = [one for one in layer.weights if is_adapter(one.name) and one.axes]
    return weight in factors and any(one.zeros < 1 for one in factors)


def _held(pairs: Sequence[_Pair], of: Diagnosis) -> Finding:
    """Return the finding on zeros that get no gradient because of each other."""
    evidence = (
        f"all weights of {_weight_names(pairs)} are 0, and get no gradient as long as all of these "
        "are: none of them ever changes"
    )
    kernels = [(layer, weight) for layer, weight in pairs if weight.axes]
    by_layer: dict[str, list[_Pair]] = {}
    for layer, weight in kernels or pairs:
        by_layer.setdefault(layer.name, []).append((layer, weight))
    drawn = []
    for of_layer in by_layer.values():
        # Of a product one factor may stay 0, as in an adapter, which then changes nothing at first.
        drawn += of_layer[:-1] or of_layer
    remedy = _random(drawn, f"random weights in {_weight_names(drawn)}")
    quantized = [path for path in remedy.rules if is_quantized(weights(of)[path].layer)]
    if quantized:  # where `initialize` draws nothing
        rules = {path: one for path, one in remedy.rules.items() if path not in quantized}
        text = f"{remedy.text}, by `assign` in {listed(quantized)}, whose layers are quantized"
        remedy = Remedy(text, rules)
    return Finding(_layers_of(pairs), evidence, remedy, "error")


def _harmless(pairs: Sequence[_Pair], of: Diagnosis) -> Finding:
    """Return the note on zeros that leave the signal another path."""
    evidence = f"all weights of {_weight_names(pairs)} are 0"
    remedy = _random(pairs)
    if all(layer in branch_ends(of) for layer, _ in pairs):
        evidence += ", at the end of residual branches, which pass signals on as they are"
        remedy = Remedy("none, if this is intended: the branches open in training")
    else:
        evidence += "; no later layer gets equal inputs for all examples because of it"
        unless = (
            ", unless the zeros are intended, as at the end of a residual branch, "
            "at the output, in an adapter or a position embedding"
        )
        remedy = replace(remedy, text=remedy.text + unless)
    return Finding(_layers_of(pairs), evidence, remedy, "note")


def _random(pairs: Sequence[_Pair], before: str = "random weights") -> Remedy:
    """Return a remedy that draws weights anew, with the text for the first of them.

    Each gets what suits it: factors of adapters what they have in Keras, and scales become 1.
    """
    rules: dict[str, InitializerLike] = {}
    texts = []
    for layer, weight in pairs:
        if is_adapter(weight.name):
            rules[weight.path], text = choice(HeUniform())
            texts.append(f"{before}: {text}")
        elif weight.axes:
            rules[weight.path], text = _suited(layer, weight)
            texts.append(f"{before}: {text}")
        else:
            rules[weight.path] = "ones"
            what = "the scale of a normalization" if weight.zero else weight.path
            texts.append(f"ones for {what}")
    return Remedy(texts[0], rules)


def _constants(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    hit = []
    for layer, weight in _pairs_of(layers):
        values = kernel_values(of).get(weight.path)
        if values is not None and values.constant and not weight.zero:
            hit.append((layer, weight))
    if not hit:
        return
    layer, weight = hit[0]
    value = f"{weight.mean:.3g}"
    if len(hit) > 1:
        value += f" in {weight.path}"
    evidence = (
        f"all weights of {_weight_names(hit)} are equal, {value}: the units are identical, and "
        "training updates them in the same way"
    )
    yield Finding(_layers_of(hit), evidence, _random(hit), "error")


def _identical(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    hit = []
    for layer, weight in _pairs_of(layers):
        values = kernel_values(of).get(weight.path)
        if values is not None and values.identical_units and not values.constant:
            hit.append((layer, weight))
    if not hit:
        return
    _, weight = hit[0]
    evidence = (
        f"{kernel_values(of)[weight.path].identical_units} units of {weight.path} have the same "
        f"weights as another unit{_and_more_weights(hit)}: if their outgoing weights are equal "
        "too, training updates them in the same way"
    )
    remedy = _random(hit, "independent random weights for each unit")
    yield Finding(_layers_of(hit), evidence, remedy)


@rule(
    "twin tensors",
    levels={"warning": "if they are in one layer, or in one layer around both", "note": ""},
    finds="two trainable kernels with the same random values",
    reason="an initializer object or a seed was used twice. A query and a key, or the units of two "
    "experts, then begin as one; in layers that follow each other nothing is lost",
    remedy="a separate initializer for each",
)
def twins(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    groups: dict[str, list[_Pair]] = {}
    for layer, weight in _pairs_of(layers):
        values = kernel_values(of).get(weight.path)
        if values is not None and values.digest:
            groups.setdefault(values.digest, []).append((layer, weight))
    of_several = [group for group in groups.values() if len(group) > 1]
    for level, hit in by_level(of_several, "warning", _are_beside):
        pairs = [pair for group in hit for pair in group]
        equations = [_weight_names(group, " = ") for group in hit]
        evidence = f"the same random values: {listed(equations, '; ', 3)}"
        yield Finding(_layers_of(pairs), evidence, _separate(pairs, of), level)


def _are_beside(group: Sequence[_Pair]) -> bool:
    """Return whether two of these weights are in one layer, or in one layer within the model."""
    counts = Counter(layer.path.rpartition("/")[0] or layer.path for layer, _ in group)
    return max(counts.values()) > 1


def _separate(pairs: Sequence[_Pair], of: Diagnosis) -> Remedy:
    """Return a remedy that draws each of some weights by itself."""
    rules: dict[str, InitializerLike] = {}
    texts = []
    for layer, weight in pairs:
        owner = weights(of).get(weight.path)
        kept = None if owner is None else getattr(owner.layer, argument_name(owner.name), None)
        chosen = _without_seed(kept) or _suited(layer, weight)
        rules[weight.path], text = chosen
        texts.append(text)
    return Remedy(
        "a separate initializer for each weight, without a seed or with different seeds: write "
        f"{texts[0]} in each layer",
        rules,
    )


def _suited(layer: LayerReport, weight: WeightReport) -> Choice:
    """Return an initializer for a kernel of `layer` that suits its activation."""
    axes = {}
    # `EinsumDense` passes its axes on by itself.
    if weight.axes not in (None, default_axes(len(weight.shape))) and layer.kind != "EinsumDense":
        inputs, outputs = weight.axes
        axes = {"input_axes": list(inputs), "output_axes": list(outputs)}
    (found,) = suited([layer], activation_after(layer), is_deep=False, axes=axes)
    return found


def _without_seed(kept: Any) -> Choice | None:
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
def wrong_fan(of: Diagnosis, layers: list[LayerReport]) -> Iterator[Finding]:
    wrong = []
    for layer, weight in _pairs_of(layers):
        owner = weights(of).get(weight.path)
        intended = None if owner is None else _expected_std(owner.layer, owner.variable, weight.std)
        if intended and not 1 / WRONG_FAN <= weight.std / intended <= WRONG_FAN:
            wrong.append((layer, weight, intended))
    if not wrong:
        return
    hit = [(layer, weight) for layer, weight, _ in wrong]
    _, weight, intended = wrong[0]
    evidence = (
        f"{weight.path} has standard deviation {weight.std:.3g}; its initializer intends "
        f"{intended:.3g} for the {weight.fan_in} inputs of a unit{_and_more_weights(hit)}: it "
        "computes wrong fans from the shape of this kernel"
    )
    inputs, units = weight.axes or ((), ())
    _, text = choice(HeNormal(input_axes=list(inputs), output_axes=list(units)))
    # `initialize` knows the axes.
    rules = rules_for([weight.path for _, weight in hit], HeNormal())
    remedy = Remedy(f"{text}, or a similar initializer with these axes", rules)
    yield Finding(_layers_of(hit), evidence, remedy, "note")


def _expected_std(layer: keras.Layer, kernel: keras.Variable, std: float) -> float | None:
    """Return the standard deviation that the initializer of a kernel intends.

    It is `None` for weights that are no depthwise or transposed kernels. With strides a unit sums
    over a part of the window only, of which a layer does not tell its initializer: weights may have
    the scale for the whole window too. From that range it is the value next to `std`, that of the
    kernel.
    """
    if not is_kernel(kernel):
        return None
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


def _pairs_of(layers: Sequence[LayerReport]) -> list[_Pair]:
    """Return all pairs of a layer and one of its weights."""
    return [(layer, weight) for layer in layers for weight in layer.weights]


def _layers_of(pairs: Sequence[_Pair]) -> list[LayerReport]:
    """Return the layer of each pair."""
    return [layer for layer, _ in pairs]


def _weight_names(pairs: Sequence[_Pair], between: str = ", ") -> str:
    """Return the paths of the first few weights."""
    return listed([weight.path for _, weight in pairs], between)


def _and_more_weights(pairs: Sequence[_Pair]) -> str:
    """Return a phrase with the number of weights after the first."""
    if len(pairs) < 2:
        return ""
    return f", and {len(pairs) - 1} more weights"
