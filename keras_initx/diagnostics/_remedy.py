"""Remedies: what takes a problem away, as an object that can be printed and applied."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import keras

from keras_initx._checks import first_of
from keras_initx._typing import Array, InitializerLike
from keras_initx.backends._current import backend
from keras_initx.backends._moments import Moments
from keras_initx.diagnostics._diagnosis import Diagnosis, fact
from keras_initx.diagnostics._layers import LayerReport, WeightReport, weights
from keras_initx.initializers._activations import activation_facts
from keras_initx.initializers._as_ours import as_ours
from keras_initx.initializers._initializer import Initializer
from keras_initx.initializers._laws import SLACK, Law
from keras_initx.initializers._orthogonal import Orthogonal
from keras_initx.initializers._scale import default_axes
from keras_initx.initializers._variance import VarianceScaling
from keras_initx.initializers._variance_named import GlorotUniform, HeNormal, LecunNormal
from keras_initx.structure._kernels import is_adapter
from keras_initx.structure._weights import ModelWeight, is_frozen


@dataclass(frozen=True)
class Remedy:
    """What takes a problem away. It prints as in a report.

    A remedy that changes more than weights, such as the data or the layers of a model, is a text
    alone.

    Attributes:
        text: What to do, in words and code.
        rules: Rules for `keras_initx.initialize`: initializers by the paths of the weights to draw
            anew, of which none is frozen. `initialize(model, report)` applies those of the first
            problem that weights cure.
        lsuv: Whether to call `keras_initx.lsuv` with the inputs.
        others: Other remedies, each of which takes the problem away too. They are in the text.
        is_safe: Whether `initialize(model, report)` applies it for a note too, because nothing that
            may be intended is lost by it.
    """

    text: str
    rules: Mapping[str, InitializerLike] = field(default_factory=dict)
    lsuv: bool = False
    others: tuple["Remedy", ...] = ()
    is_safe: bool = False

    @property
    def weights(self) -> Mapping[str, InitializerLike]:
        """The rules of this remedy, or the first of `others`, that has any, otherwise none."""
        for remedy in (self, *self.others):
            if remedy.rules:
                return remedy.rules
        return {}

    def otherwise(self, other: "Remedy", between: str = ", or ") -> "Remedy":
        """Return this remedy with another one, in whose place it can be used."""
        return replace(
            self,
            text=f"{self.text}{between}{other.text}",
            others=(*self.others, other, *other.others),
        )

    def after(self, text: str) -> "Remedy":
        """Return this remedy after a change of the inputs, which the start of the text says."""
        return Remedy(f"{text}, then {self.text}")

    def __str__(self) -> str:
        return self.text


# ---------------------------------------------------------------- which weights are drawn anew


class Choice(NamedTuple):
    """An initializer, and the expression that makes it."""

    initializer: InitializerLike
    text: str


def choice(initializer: keras.initializers.Initializer, *arguments: float) -> Choice:
    """Return an initializer of this package with its expression.

    Args:
        initializer: The initializer.
        arguments: Its arguments, if they are to be shown although they are the defaults.
    """
    expression = repr(initializer).replace("'", '"')
    if arguments:
        expression = f"{type(initializer).__name__}({', '.join(map(str, arguments))})"
    return Choice(initializer, f"keras_initx.{expression}")


def kernels_of(layers: Iterable[LayerReport]) -> list[str]:
    """Return the paths of the weights that a `kernel_initializer` of layers is for."""
    paths = []
    for layer in layers:
        for weight in layer.weights:
            is_other = weight.name == "recurrent_kernel" or is_adapter(weight.name)
            if weight.axes is not None and not is_other:
                paths.append(weight.path)
        paths += layer.shared_kernels
    return paths


def weights_named(name: str, layers: Iterable[LayerReport]) -> list[str]:
    """Return the paths of the weights of one name of layers."""
    return [weight.path for layer in layers for weight in layer.weights if weight.name == name]


def recurrent_kernels_of(layers: Iterable[LayerReport]) -> list[WeightReport]:
    """Return the recurrent kernels of layers, those of each cell."""
    return [
        weight
        for layer in layers
        for weight in layer.weights
        if weight.name == "recurrent_kernel" and weight.axes is not None
    ]


def rules_for(paths: Iterable[str], initializer: InitializerLike) -> dict[str, InitializerLike]:
    """Return rules that give each of some weights values of an initializer."""
    return dict.fromkeys(paths, initializer)


# ---------------------------------------------------------------- what weights have already


def not_yet_drawn(choices: Iterable[Choice], paths: Iterable[str], of: Diagnosis) -> list[Choice]:
    """Return the choices before the first whose values weights have; frozen ones do not count."""
    found = [weight for path, weight in weights(of).items() if path in paths]
    trained = [weight for weight in found if weight.variable.trainable]
    others = []
    for one in choices:
        if trained and all(_is_like(weight, one) for weight in trained):
            break
        others.append(one)
    return others


def _is_like(weight: ModelWeight, drawn: Choice) -> bool:
    """Return whether a weight may have been drawn so."""
    law = _law_for(weight, drawn.initializer)
    return law is not None and law.fits(_values(weight))


def larger_than(choices: Sequence[Choice], paths: Iterable[str], of: Diagnosis) -> list[str]:
    """Return the paths of the weights that are larger than each of some choices makes them."""
    found = []
    for path in paths:
        if all(_size(path, [one], of) > 1 + SLACK for one in choices):
            found.append(path)
    return found


def _size(path: str, choices: Sequence[Choice], of: Diagnosis) -> float:
    """Return the deviation of a weight relative to what the first choice gives; 1 if unknown."""
    weight = weights(of).get(path)
    initializer = choices[0].initializer if choices else HeNormal()
    law = None if weight is None else _law_for(weight, initializer)
    if weight is None or law is None or not law.std:
        return 1.0
    size = Moments(_values(weight)).std / law.std
    return size if 0 < size < math.inf else 1.0


def _values(weight: ModelWeight) -> Array:
    return backend.host_view(weight.variable.value)


def _law_for(weight: ModelWeight, initializer: InitializerLike) -> Law | None:
    """Return the law of the values that an initializer gives a weight, `None` if it has none."""
    initializer = keras.initializers.get(initializer)
    if isinstance(initializer, Initializer) and weight.axes is not None:
        config = initializer.get_config()
        if "input_axes" in config:
            inputs, units = weight.axes
            config |= {"input_axes": list(inputs), "output_axes": list(units)}
            initializer = type(initializer).from_config(config)
    return as_ours(initializer).law(weight.shape)


# ---------------------------------------------------------------- what is frozen

# The number of paths in a text.
_SHOWN = 2


@fact
def frozen(of: Diagnosis) -> set[str]:
    """The paths of the weights that are frozen."""
    return {path for path, weight in weights(of).items() if is_frozen(weight)}


def sparing_frozen(remedy: Remedy, of: Diagnosis) -> Remedy:
    """Return a remedy whose rules leave all that is not trained, and whose text names the frozen.

    Frozen weights are somebody's, such as those of another training.
    """
    trained = {path for path, weight in weights(of).items() if weight.variable.trainable}
    every = [path for one in (remedy, *remedy.others) for path in one.rules]
    held = list(dict.fromkeys(path for path in every if path in frozen(of)))
    kept = [_of_weights(one, trained) for one in (remedy, *remedy.others)]
    first, *others = kept
    text = remedy.text
    if held and trained.isdisjoint(every):
        text = f"{first_of(held, shown=_SHOWN)} {_are(held)} frozen: with trainable=True, {text}"
    elif held:
        text += f", without {first_of(held, shown=_SHOWN)}, which {_are(held)} frozen"
    return replace(first, text=text, others=tuple(others))


def _of_weights(remedy: Remedy, paths: Collection[str]) -> Remedy:
    """Return a remedy with the rules of some weights alone."""
    rules = {path: one for path, one in remedy.rules.items() if path in paths}
    return replace(remedy, rules=rules)


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def of_frozen(
    layers: Sequence[LayerReport],
    choices: Sequence[Choice],
    of: Diagnosis,
    later: Sequence[LayerReport] = (),
) -> Remedy | None:
    """Return the remedy where frozen kernels of `layers`, more than others, are not as they should.

    Otherwise `None`.

    Args:
        layers: The layers, the last of which is affected.
        choices: What suits their kernels.
        of: The diagnosis.
        later: Layers behind these, which are affected too.
    """
    distances = {True: 0.0, False: 0.0}
    kernels = kernels_of(layers)
    for path in kernels:
        distances[path in frozen(of)] += abs(math.log(_size(path, choices, of)))
    held = [path for path in kernels if path in frozen(of)]
    are_most = distances[True] > max(distances[False], math.log(2))
    if not held or not (are_most or len(held) == len(kernels)):
        return None
    those = [layer for layer in (*layers, *later) if not frozen(of).isdisjoint(kernels_of([layer]))]
    names = list(dict.fromkeys(layer.title for layer in those))
    texts = " or ".join(text for _, text in choices) or LSUV.text
    text = (
        f"{first_of(names, shown=_SHOWN)} {_are(names)} frozen: the weights and inputs of their "
        f"training, or trainable=True for them, then {texts}"
    )
    last = those[-1].after or those[-1].signal
    if last.std > 0 and not last.nonfinite and not 0.1 < last.std < 10:
        text += f"; or keras.layers.Rescaling({1 / last.std:.1g}) behind {those[-1].title}"
    return Remedy(text)


# ---------------------------------------------------------------- what is drawn anew

# The number of kernels from which on the guide on choosing an initializer calls a network deep.
DEEP = 10
# What is drawn before an activation in a network of few layers, by whose initialization suits it.
_SHALLOW = {"glorot": GlorotUniform, "he": HeNormal, "lecun": LecunNormal}

LSUV = Remedy("keras_initx.lsuv(model, x)", lsuv=True)
# For activations whose signals no initializer keeps at one size in depth. Normalization before each
# of them does too, but forty such layers of GELU do not train. After LSUV they do not with SGD.
SCALED = Remedy(f"{LSUV}, and train with Adam", lsuv=True)


def suited(
    layers: Sequence[LayerReport],
    activation: str | None,
    *,
    is_deep: bool,
    axes: Mapping[str, Any] | None = None,
) -> list[Choice]:
    """Return what keeps signals and gradients in some layers, the best first.

    The list is empty where no initializer does.

    Args:
        layers: The layers.
        activation: Their activation, or that of the one that matters.
        is_deep: Whether the model has many layers with kernels.
        axes: The arguments with the axes of a kernel, if they are not the usual ones.
    """
    axes = axes or {}
    if any(map(is_steep, layers)):
        return [_before_slope(max(layer.slope or 0.0 for layer in layers), axes)]
    facts = activation_facts(activation)
    shallow = choice(_SHALLOW[facts.suits](**axes))
    if not is_deep:
        return [shallow]
    if not facts.keeps_size:
        return []
    # The gain of softplus keeps signals only.
    if activation == "softplus" or _loss_by_widening(layers) > 10:
        return [shallow]
    gain: Any = 1.0
    if facts.suits == "he":
        # The slope of PReLU starts at 0.
        gain = "relu" if activation == "prelu" else activation
    return [choice(Orthogonal(gain)), shallow]


def is_steep(layer: LayerReport) -> bool:
    """Return whether an activation of slopes that Keras' do not have follows the kernel."""
    return layer.slope is not None and layer.slope > 2


def _before_slope(slope: float, axes: Mapping[str, Any]) -> Choice:
    """Return what suits a steep activation, by the rule of Sitzmann and others (2020)."""
    options = "".join(f", {name}={value}" for name, value in axes.items())
    return Choice(
        VarianceScaling(2 / slope**2, distribution="uniform", **axes),
        f'keras_initx.VarianceScaling(2 / {slope:.2g}**2, distribution="uniform"{options})',
    )


def _loss_by_widening(layers: Sequence[LayerReport]) -> float:
    """Return the factor by which orthogonal kernels with more units than inputs shrink a signal."""
    factor = 1.0
    for layer in layers:
        for weight in layer.weights:
            if weight.fan_in and weight.axes == default_axes(len(weight.shape)):
                factor *= math.sqrt(max(1.0, weight.shape[-1] / weight.fan_in))
    return factor


def common_activation(layers: Sequence[LayerReport]) -> str | None:
    """Return the most common activation of the layers with a kernel, or of all if none has one."""
    with_kernel = [layer for layer in layers if layer.has_kernel]
    activations = [activation_after(layer) for layer in with_kernel or layers]
    return max(activations, key=activations.count)


def activation_after(layer: LayerReport) -> str | None:
    """Return the activation that is applied to the output of the kernel of `layer`."""
    return layer.activation or layer.activated_by


def drawn(
    choices: Sequence[Choice],
    paths: Sequence[str],
    before: str = "",
    after: str = "",
    biases: Sequence[str] = (),
) -> Remedy:
    """Return a remedy that draws weights anew, by the first of several initializers.

    If there are neither these nor biases, it is LSUV, which scales all layers.

    Args:
        choices: The initializers.
        paths: The paths of the weights.
        before: The start of the text.
        after: The end of the text.
        biases: The paths of biases that are 0 then.
    """
    if not choices and not biases:
        return replace(SCALED, text=f"{before}{SCALED}")
    zeros = rules_for(biases, "zeros")
    if biases:
        before += 'bias_initializer="zeros"'
    if not choices:
        return Remedy(f"{before}{after}", zeros)
    if biases:
        before += " and "
    remedies = []
    for initializer, text in choices:
        rules = {**rules_for(paths, initializer), **zeros}
        remedies.append(Remedy(f"{before}{text}{after}", rules))
    first, *others = remedies
    texts = " or ".join(text for _, text in choices)
    return replace(first, text=f"{before}{texts}{after}", others=tuple(others))


def has_large_biases(layers: Iterable[LayerReport]) -> bool:
    """Return whether biases are as large as what kernels give, so that these hardly count."""
    for layer in layers:
        for weight in layer.weights:
            if weight.name == "bias" and weight.norm > math.sqrt(math.prod(weight.shape)) / 2:
                return True
    return False
