"""What several verdicts measure and advise."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import keras
import numpy as np

from keras_initx._checks import first_of
from keras_initx._typing import Array, InitializerLike
from keras_initx.diagnostics._diagnosis import Diagnosis, Probe, fact
from keras_initx.diagnostics._first_inputs import first_inputs, too_large
from keras_initx.diagnostics._layers import LayerReport, WeightReport, branch_ends
from keras_initx.diagnostics._layers import layers as layers_of
from keras_initx.diagnostics._normalized import NormalizedProbe, normalized, takes_scale_away
from keras_initx.diagnostics._remedy import (
    DEEP,
    LSUV,
    Choice,
    Remedy,
    activation_after,
    choice,
    common_activation,
    drawn,
    frozen,
    has_large_biases,
    is_steep,
    kernels_of,
    larger_than,
    not_yet_drawn,
    of_frozen,
    recurrent_kernels_of,
    rules_for,
    suited,
    weights_named,
)
from keras_initx.diagnostics._rules import exceeds, layer_count, titles_of
from keras_initx.diagnostics._signal import Signal, spread
from keras_initx.diagnostics._signal_probe import SignalProbe, inputs
from keras_initx.diagnostics._tables import tied_tables
from keras_initx.diagnostics.losses.ends import Ends
from keras_initx.diagnostics.losses.probes import outputs
from keras_initx.diagnostics.verdicts.memory import (
    RECURRENT_GAIN,
    gates,
    open_gates,
    orthogonal_recurrence,
)
from keras_initx.initializers._activations import activation_facts
from keras_initx.initializers._composition import Scaled
from keras_initx.initializers._random import RandomNormal
from keras_initx.initializers._variance_named import GlorotUniform, HeNormal
from keras_initx.structure._batch import array_of
from keras_initx.structure._branches import Branch, branches_of
from keras_initx.structure._kernels import is_zero, multiplying_weights
from keras_initx.structure._watch import Call

# Standard deviation before the activation below which a signal has vanished.
VANISHING = 1e-3
# A network that keeps the size of standardized inputs gives 1 to 2.
_LARGE_INPUTS = 5
# Relative tolerance for values that are equal for all examples, because matrix products round.
_SAME = 1e-5
# Share of the rows with several ones from which on they are no accident.
_SEVERAL = 0.01
# Share of the labels without a meaning from which on they are no accident.
MANY = 0.1


class LostProbe(Probe):
    """Finds the layers with nearly zero output that make the inputs of a later kernel alike.

    It then gets the same inputs for all examples. Zeros are harmless if the inputs of the next
    kernel still differ between examples, e.g. through the other branch of an addition. The same
    holds for small outputs.

    Attributes:
        causes: The layers because of which a kernel got nearly the same input for all examples.
        starved: The layers with these kernels.
    """

    def __init__(self, of: Diagnosis) -> None:
        super().__init__(of)
        self.causes: set[keras.Layer] = set()
        self.starved: set[keras.Layer] = set()
        self._seen = of.probe(SignalProbe).seen
        self._zero: set[keras.Layer] = set()
        for layer in of.watch.layers:
            if any(is_zero(layer, weight) for weight in multiplying_weights(layer)):
                self._zero.add(layer)
        # The most recent consecutive layers whose output was nearly zero.
        self._row: list[keras.Layer] = []
        self._is_over = False

    def before(self, call: Call) -> None:
        layer = call.operation
        if not self._row or layer not in self.of.watch.with_kernel:
            return
        # The inputs of an embedding are row indices.
        if call.kernel_input is None or isinstance(layer, keras.layers.Embedding):
            return
        values = array_of(call.kernel_input)
        differs = spread(values)
        is_same = differs <= _SAME * abs(values).max(initial=0)
        is_weak = differs < VANISHING
        for suspect in self._row:
            is_cause = is_same if suspect in self._zero else is_weak
            if is_cause:
                self.causes.add(suspect)
                self.starved.add(layer)

    def after(self, call: Call) -> None:
        if not call.is_seen:
            return
        layer = call.operation
        is_small = layer in self._zero or self._seen[layer].last_std < VANISHING
        if is_small:
            if self._is_over:
                self._row = []
            self._row.append(layer)
        self._is_over = not is_small


@fact
def lost_signals(of: Diagnosis) -> tuple[set[str], set[str]]:
    """The names of the layers that lose the signal, and of those that are starved by them."""
    probe, names = of.probe(LostProbe), of.watch.layers
    return {names[layer] for layer in probe.causes}, {names[layer] for layer in probe.starved}


@fact
def is_waiting(of: Diagnosis) -> bool:
    """Whether a layer learns, but what is before it does not yet.

    That is because it still adds little to a larger signal, as ReZero does.
    """
    lost, starved = lost_signals(of)
    for layer in layers_of(of):
        if layer.name in lost | starved | outputs(of).keys() or layer.shape is None:
            continue
        is_small = layer.signal.std < VANISHING
        if is_small and any(one.gradient for one in layer.weights if one.name != "bias"):
            return True
    return False


def largest_inputs(of: Diagnosis, size: Callable[[Signal], float]) -> Signal | None:
    """Return the largest inputs of the first kernels, as `Rescaling` or others have left them.

    Largest are those with values that are not finite, then those of the largest `size`. `None` if
    the model has no inputs that are numbers.
    """
    signals = [record.signal for record in first_inputs(of).values() if record.signal.size]
    if not signals:
        return inputs(of)
    return max(signals, key=lambda signal: (signal.nonfinite, size(signal)))


def deviations(of: Diagnosis, hit: Sequence[LayerReport], verb: Literal["grows", "falls"]) -> str:
    """Describe the standard deviation at the inputs, and in the first and last affected layer.

    Where it does not change as the verb says, these are levels.
    """
    ends = dict.fromkeys([hit[0], hit[-1]])
    places = [f"{layer.signal.std:.3g} in {layer.title}" for layer in ends]
    found = " and ".join(places) + layer_count(hit)
    start = inputs(of)
    if start is None:
        return f"the standard deviation is {found}"

    def is_beyond(layer: LayerReport, signal: Signal) -> bool:
        # As printed.
        here, there = (float(f"{one.std:.3g}") for one in (layer.signal, signal))
        return here > there if verb == "grows" else here < there

    if is_beyond(hit[0], start) and is_beyond(hit[-1], start):
        return f"the standard deviation {verb} from {start.std:.3g} at the inputs to {found}"
    # A layer before the first kernel may have scaled them.
    first = largest_inputs(of, lambda signal: signal.std)
    are_cause = first is not None and not is_beyond(hit[0], first)
    already = "already " if are_cause else ""
    return f"the standard deviation is {found}, {already}{start.std:.3g} at the inputs"


def signal_remedy(hit: Sequence[LayerReport], inputs: Signal | None, of: Diagnosis) -> Remedy:
    """Return the remedy where a signal has become wrong in the first of `hit`, and the others.

    It starts with `inputs`, which are `None` unless they are the cause.
    """
    several = batch_of_one(of)
    if several is not None:
        return several
    layer = hit[0]
    all_layers = layers_of(of)
    layers = all_layers[: all_layers.index(layer) + 1]
    kernels = kernels_of(all_layers[: all_layers.index(hit[-1]) + 1])
    activation = activation_after(layer) or common_activation(layers)
    is_deep = sum(one.has_kernel for one in all_layers) >= DEEP
    choices = suited(layers, activation, is_deep=is_deep)
    others = not_yet_drawn(choices, kernels, of)
    has_them = bool(choices) and not others
    held = of_frozen(layers, choices, of, hit)
    if inputs is not None:
        text = _other_inputs(inputs)
        if has_them or held is not None:
            return Remedy(text)
        return drawn(others, kernels).after(text)
    if held is not None:
        return held
    if layer.name in gates(of) and has_large_biases([layer]):
        return open_gates(of, [layer])
    growing = growing_kernels([layer])
    if growing:
        return orthogonal_recurrence(growing)
    if has_them and not has_large_biases(layers):
        # LSUV would give steep activations the size that makes noise.
        is_any_steep = any(map(is_steep, layers))
        return Remedy("a smaller factor in the activation") if is_any_steep else LSUV
    biases = weights_named("bias", layers) if choices and has_large_biases(layers) else []
    return drawn(others, kernels, after=" in this and all earlier layers", biases=biases)


def _other_inputs(inputs: Signal) -> str:
    """Return what to do with inputs that are the cause."""
    # By a layer before, such as a `Rescaling`.
    if inputs.nonfinite:
        return f"finite inputs ({inputs.nonfinite:.0%} of them are not)"
    size = f"their standard deviation is {inputs.std:.3g}"
    if abs(inputs.mean) > inputs.std:
        size = f"their mean is {inputs.mean:.3g}, {size}"
    return f"standardize the inputs ({size})"


def batch_of_one(of: Diagnosis) -> Remedy | None:
    """Return the remedy where a batch normalization got a single example, otherwise `None`.

    It then gives its offset whatever the weights are.
    """
    names = {of.watch.layers[layer] for layer in _batch_normalizations(of)}
    for layer in layers_of(of):
        is_of_one = layer.name in names and layer.shape and layer.shape[0] == 1
        if is_of_one and layer.signal.std == 0:
            return Remedy(
                f"a batch of several examples, because {layer.title} normalizes over them"
            )
    return None


def _batch_normalizations(of: Diagnosis) -> list[keras.Layer]:
    """Return those that use the statistics of the batch."""
    found = of.probe(NormalizedProbe).normalizing
    return [layer for layer in found if isinstance(layer, keras.layers.BatchNormalization)]


def smaller_branches(of: Diagnosis) -> Remedy | None:
    """Return the remedy where the sum of residual branches grows.

    It is `None` without branches, and where they start so already. Each branch starts at 0, or, if
    it ends in a ReLU, at a fraction: a ReLU of zeros gets no gradient, and the branch would stay 0.
    """
    ends = []
    is_flat = False
    for place, layer in enumerate(layers_of(of)):
        if layer in branch_ends(of):
            is_flat = is_flat or activation_facts(activation_after(layer)).opens is False
            # What multiplies stands before the activation.
            ends.append(_last_that_multiplies(layers_of(of)[: place + 1]))
    if not ends:
        return None
    kernels = kernels_of(ends)
    name = "kernel"
    if not kernels:
        kernels = weights_named("gamma", ends)
        name = "gamma"
    initializer: InitializerLike = "zeros"
    text = '"zeros"'
    if is_flat and name == "kernel":
        initializer = Scaled(HeNormal(), 1 / len(ends))
        text = f"keras_initx.Scaled(keras_initx.HeNormal(), 1 / {len(ends)})"
    elif is_flat:
        initializer = keras.initializers.Constant(1 / len(ends))
        text = f"keras.initializers.Constant(1 / {len(ends)})"
    if not not_yet_drawn([Choice(initializer, text)], kernels, of):
        return None
    return Remedy(
        f"{name}_initializer={text} in the last layer of each residual branch: "
        f"{first_of(titles_of(ends))}",
        rules_for(kernels, initializer),
    )


def _last_that_multiplies(layers: Sequence[LayerReport]) -> LayerReport:
    """Return the last of `layers` with a kernel or a scale, or the last of all."""
    for layer in reversed(layers):
        if kernels_of([layer]) or weights_named("gamma", [layer]):
            return layer
    return layers[-1]


def growing_sums(of: Diagnosis) -> Remedy | None:
    """Return the remedy where a signal grows by the sum of branches alone, otherwise `None`.

    Then no kernel makes it much larger.
    """
    smaller = smaller_branches(of)
    if smaller is None or any(exceeds(layer.gain, 2) for layer in layers_of(of)):
        return None
    branches = branches_of(of.watch.graph.nodes)
    if branches and all(_starts_normalized(branch, of) for branch in branches):
        return smaller
    return smaller.otherwise(Remedy("a normalization at the start of each branch"), "; or ")


def _starts_normalized(branch: Branch, of: Diagnosis) -> bool:
    return all(takes_scale_away(operation, of) for operation in branch.first)


def growing_kernels(
    layers: Iterable[LayerReport], limit: float = RECURRENT_GAIN
) -> list[WeightReport]:
    """Return the recurrent kernels of layers that make a state larger in each step."""
    return [one for one in recurrent_kernels_of(layers) if exceeds(one.gain, limit)]


def smaller_inputs(layer: LayerReport, of: Diagnosis) -> Remedy | None:
    """Return the remedy where what the last layer gets has grown in the model, else `None`."""
    size = outputs(of)[layer.name].input_size
    if not layer.has_kernel or not exceeds(size, _LARGE_INPUTS) or too_large(of):
        return None
    if layer.name in normalized(of):
        return None
    remedy = Remedy(f"keras.layers.LayerNormalization() before {layer.title}")
    smaller = smaller_branches(of)
    return remedy if smaller is None else smaller.otherwise(remedy, "; or ")


def smaller_last_layer(layers: Sequence[LayerReport], of: Diagnosis) -> Remedy:
    """Return a remedy that draws the kernels of the last of `layers` anew.

    If they have such values already, something else makes its outputs large.
    """
    with_kernel = [layer for layer in layers if kernels_of([layer])]
    if not with_kernel:
        # They are activations of what comes before.
        before = layers_of(of)[: layers_of(of).index(layers[0])]
        with_kernel = [layer for layer in before if kernels_of([layer])][-1:]
    kernels = kernels_of(with_kernel)
    choices = not_yet_drawn([choice(GlorotUniform())], kernels, of)
    if not choices and too_large(of):
        return Remedy("standardize the inputs")
    if not choices:
        return Remedy(smaller_factor("after", layers[0]))
    shared = [path for layer in with_kernel for path in layer.shared_kernels]
    what = "in the last layer"
    if shared:
        what = f"in {first_of(shared)}, which the last layer shares"
    remedy = drawn(choices, kernels, f"smaller weights {what}: ")
    if frozen(of).issuperset(kernels):
        remedy = remedy.otherwise(Remedy(smaller_factor("after", layers[0])), "; or ")
    return scaled_first(of, remedy)


def smaller_table(layer: LayerReport, of: Diagnosis) -> Remedy | None:
    """Return the remedy where an output is a product with rows of an embedding that are too large.

    Otherwise `None`. The deviation of a row is then to be one over the root of its length.
    """
    if layer.name not in tied_tables(of):
        return None
    table = tied_tables(of)[layer.name]
    size = table.shape[-1]
    small = Choice(RandomNormal(stddev=size**-0.5), f"keras_initx.RandomNormal({size} ** -0.5)")
    if not larger_than([small], [table.path], of):
        return None
    remedy = drawn([small], [table.path], f"smaller rows of {table.path}: ")
    if table.path in frozen(of):
        remedy = remedy.otherwise(Remedy(smaller_factor("after", layer)), "; or ")
    return remedy


def size_of_table(layer: LayerReport, of: Diagnosis) -> str:
    """Return a phrase with the deviation of the table with whose rows an output is a product."""
    table = tied_tables(of)[layer.name]
    return f"what is put out are products with rows of {table.path}, which have {table.std:.3g}"


def smaller_factor(place: str, layer: LayerReport) -> str:
    """Return what makes outputs smaller without other weights."""
    return (
        f"a smaller factor {place} {layer.title}: a higher temperature, a division by the square "
        "root of the number of units"
    )


def means_several(ends: Ends) -> bool:
    """Return whether labels of a categorical crossentropy have several classes for an example."""
    if ends.loss.kind != "categorical" or ends.form != "rows":
        return False
    return share_of_several(ends) > _SEVERAL


def share_of_several(ends: Ends) -> float:
    """Return the fraction of the rows of targets with several ones among zeros."""
    return float(np.mean(_are_binary(ends.aims) & (np.count_nonzero(ends.aims, axis=-1) > 1)))


def means_numbers(ends: Ends) -> bool:
    """Return whether targets of a categorical crossentropy are no probabilities of classes.

    These are zeros and ones, or shares that add up to 1.
    """
    if ends.loss.kind != "categorical" or ends.form != "rows":
        return False
    rows = ends.aims
    are_several = np.count_nonzero(rows, axis=-1) > 1
    are_shares = (abs(rows.sum(axis=-1, dtype="float64") - 1) < 1e-2) & (rows >= 0).all(axis=-1)
    return bool(np.mean(~_are_binary(rows) & are_several & ~are_shares) > MANY)


def _are_binary(rows: Array) -> Array:
    """Return for each row whether it has zeros and ones alone."""
    return np.asarray(((rows == 0) | (rows == 1)).all(axis=-1))


def are_signs(ends: Ends) -> bool:
    """Return whether the targets are -1 and 1."""
    targets = ends.wanted
    return ends.is_whole and targets.min == -1 and targets.max == 1 and not targets.zeros


def other_activation(
    activation: str | None,
    layer: LayerReport,
    loss: str = "",
    ends: Ends | None = None,
) -> Remedy:
    """Return a remedy with another activation in `layer`, and with another loss if one is given.

    What the layer and the loss of `ends` have already is left out.
    """
    parts = []
    if activation != layer.activation or not loss:
        expression = "None" if activation is None else f'"{activation}"'
        parts.append(f"activation={expression} in {layer.title}")
    name = getattr(keras.losses.get(loss), "__name__", None) if loss else None
    if loss and (ends is None or ends.loss.name != name):
        parts.append(f'loss="{loss}"')
    return Remedy(" and ".join(parts))


def other_loss(name: str, **arguments: Any) -> Remedy:
    """Return a remedy with a loss of Keras of this name."""
    options = ", ".join(f"{argument}={value!r}" for argument, value in arguments.items())
    return Remedy(f"loss=keras.losses.{name}({options})")


def scaled_first(of: Diagnosis, remedy: Remedy) -> Remedy:
    """Return a remedy that standardizes the inputs before if they are too large."""
    if not too_large(of):
        return remedy
    return remedy.after("standardize the inputs")


def remedy_in_depth(layers: Sequence[LayerReport], of: Diagnosis) -> Remedy:
    """Return the remedy where gradients, or the differences of examples, vanish in `layers`."""
    activation = common_activation(layers)
    choices = suited(layers, activation, is_deep=True)
    held = of_frozen(layers, choices, of)
    if held is not None:
        return held
    normalization = "keras.layers.BatchNormalization() before"
    if activation_facts(activation).is_flat:
        _, text = choice(GlorotUniform())
        text = f'activation="tanh" with {text} instead of {activation}'
        if not _are_normalized(layers):
            text += f", or {normalization} it"
        return Remedy(f"{text}: its slope is at most 1/4, which no initializer makes up for")
    if activation == "softplus":
        text = "another activation than"
        if not _are_normalized(layers):
            text = f"{normalization} each"
        return Remedy(f"{text} softplus, whose mean makes examples alike with any initializer")
    kernels = kernels_of(layers_of(of))
    others = not_yet_drawn(choices, kernels, of)
    if choices and not others and not has_large_biases(layers):
        if _are_normalized(layers):
            return Remedy("residual branches, x + f(x), around these layers")
        return Remedy(f"{normalization} each activation")
    biases = weights_named("bias", layers_of(of)) if choices and has_large_biases(layers) else []
    return drawn(others, kernels, after=" in all layers", biases=biases)


def _are_normalized(layers: Sequence[LayerReport]) -> bool:
    """Return whether a normalization is before each activation, but for the last of the layers."""
    hidden = [layer for layer in layers if layer.has_kernel][:-1]
    return bool(hidden) and all(
        layer.normalized_by is not None and layer.activation is None for layer in hidden
    )
