"""The layers of a diagnosis, and their weights: what was seen of them, and what rules ask."""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import keras

from keras_initx._keras import list_layers
from keras_initx._typing import Array
from keras_initx.backends._current import backend
from keras_initx.backends._moments import Moments
from keras_initx.inspection._architecture import find_hidden_branch_ends
from keras_initx.inspection._branches import find_branches
from keras_initx.inspection._hooks import is_bounded
from keras_initx.inspection._kernels import is_adapter, multiplies
from keras_initx.inspection._names import list_own_weights
from keras_initx.inspection._weights import ModelWeight, is_frozen
from keras_initx.tools.diagnose._diagnosis import Diagnosis, fact
from keras_initx.tools.diagnose._first_inputs import FirstInputs, InputProbe
from keras_initx.tools.diagnose._layer_report import GradientReport, WeightReport
from keras_initx.tools.diagnose._normalized import normalization_after
from keras_initx.tools.diagnose._signal import LEAST_VALUES, Signal
from keras_initx.tools.diagnose._signal_probe import SignalProbe, Signals
from keras_initx.tools.diagnose.losses.ends import Ends
from keras_initx.tools.diagnose.losses.probes import OutputProbe, OutputReport, gradients


class SeenLayer:
    """A layer, and what a diagnosis has seen of it.

    What a `LayerReport` has too has the same name there.

    Args:
        layer: The layer of Keras.
        of: The diagnosis.

    Attributes:
        layer: The layer of Keras.
        name: See `LayerReport`.
        path: See there.
        kind: See there.
        activation: See there.
        before: See there.
        after: See there.
        shape: See there.
        is_first: Whether it gets inputs from outside the model, without a kernel before.
        first_inputs: These inputs, which say nothing of another layer.
        makes_output: Whether it makes an output of the model.
        output: That output, which says nothing of another layer.
        weights: A `SeenWeight` for each weight. Each weight of the model has one layer.
        shared_kernels: The kernels that it uses and another layer has, such as a layer inside it,
            or the embedding whose rows it multiplies its inputs with.
        normalized_by: Path of the normalization layer that is the only consumer of its output, or
            of that of an activation without limits that is; otherwise `None`.
        activated_by: Name of the activation that the only consumer of its output applies to it, or
            `None`.
        slope: The largest slope, at values of the batch, of the activation that is applied to its
            output, by itself or by its only consumer, if Keras does not have it, such as sin(30 x);
            otherwise `None`.
    """

    def __init__(self, layer: keras.Layer, of: Diagnosis) -> None:
        signals = of.probe(SignalProbe).seen.get(layer, Signals())
        self.layer: keras.Layer = layer
        self.name: str = of.watch.layers[layer]
        self.path: str = of.watch.paths[layer]
        self.kind: str = type(layer).__name__
        self.activation: str | None = of.watch.activations[layer]
        self.before: Signal | None = signals.before
        self.after: Signal | None = signals.after
        self.shape: tuple[int, ...] | None = signals.shape
        given, made = of.probe(InputProbe).records, of.probe(OutputProbe).records
        self.is_first: bool = layer in given
        self.first_inputs: FirstInputs = given.get(layer, FirstInputs())
        self.makes_output: bool = layer in made
        self.output: OutputReport = made.get(layer, OutputReport())
        self.weights: list[SeenWeight] = []
        self.shared_kernels: list[SeenWeight] = []
        self.normalized_by: str | None = None
        self.activated_by: str | None = None
        self.slope: float | None = None
        self._see_consumers(of)

    def _see_consumers(self, of: Diagnosis) -> None:
        """Find out what normalizes and activates the output, and the slope."""
        watch, slopes = of.watch, of.probe(SignalProbe).slopes
        self.slope = slopes.get(self.layer)
        normalization = normalization_after(self.layer, of)
        consumer = watch.graph.only_consumer(self.layer)
        if consumer in watch.layers and consumer not in watch.with_kernel:
            self.activated_by = watch.activations[consumer]
            if self.slope is None:
                self.slope = slopes.get(consumer)
            if self.activated_by is not None and not is_bounded(self.activated_by):
                normalization = normalization_after(consumer, of)
        if normalization in watch.layers:
            self.normalized_by = watch.paths[normalization]

    def __repr__(self) -> str:
        return f"<SeenLayer {self.path}>"

    @property
    def title(self) -> str:
        """Its path, with Keras' own name in parentheses where that is another one."""
        name = self.name.rpartition("/")[2]
        if name == self.path.rpartition("/")[2]:
            return self.path
        return f"{self.path} ({name})"

    # ---------------------------------------------------------------- its signals

    @property
    def signal(self) -> Signal:
        """`Signal` before the activation, otherwise of the output; empty if neither is known."""
        return self.before or self.after or Signal()

    @property
    def has_enough_values(self) -> bool:
        """Whether its signal has enough values to say something of it."""
        return self.signal.size >= LEAST_VALUES

    @property
    def saturated(self) -> float | None:
        """Fraction of the outputs near the limits of the activation, `None` if it is unbounded."""
        if self.after is None:
            return None
        return self.after.saturated

    @property
    def dead(self) -> float | None:
        """Fraction of the units whose output is 0 for the whole batch although their input is not.

        It is `None` if no activation could cause this.
        """
        if self.before is None or self.after is None or is_bounded(self.activation):
            return None
        before = self.before.unit_is_silent
        after = self.after.unit_is_silent
        if before is None or after is None or before.shape != after.shape or not after.size:
            return None
        return float((after & ~before).mean())

    @property
    def activation_after(self) -> str | None:
        """The activation that is applied to the output of its kernel."""
        return self.activation or self.activated_by

    @property
    def is_steep(self) -> bool:
        """Whether an activation of slopes that Keras' do not have follows the kernel."""
        return self.slope is not None and self.slope > 2

    @property
    def is_rescaled(self) -> bool:
        """Whether a normalization is the only consumer of its output, whose scale is no matter."""
        return self.normalized_by is not None and not is_bounded(self.activation)

    # ---------------------------------------------------------------- its weights

    def named(self, name: str) -> "list[SeenWeight]":
        """Return its weights of this name."""
        return [weight for weight in self.weights if weight.name == name]

    @property
    def kernels(self) -> "list[SeenWeight]":
        """The weights that a `kernel_initializer` of it is for."""
        found = []
        for weight in self.weights:
            is_other = weight.name == "recurrent_kernel" or weight.is_of_adapter
            if weight.is_kernel and not is_other:
                found.append(weight)
        return found + self.shared_kernels

    @property
    def recurrent_kernels(self) -> "list[SeenWeight]":
        """The recurrent kernels, those of each cell."""
        return [weight for weight in self.named("recurrent_kernel") if weight.is_kernel]

    @property
    def factors(self) -> "list[SeenWeight]":
        """The kernels of an adapter."""
        return [weight for weight in self.weights if weight.is_kernel and weight.is_of_adapter]

    @property
    def has_kernel(self) -> bool:
        """Whether one of its weights is a kernel."""
        return any(weight.is_kernel for weight in self.weights)

    @property
    def has_zeros(self) -> bool:
        """Whether a kernel, or the scale of a normalization, is all 0."""
        return any(weight.report.zero for weight in self.weights)

    @property
    def has_large_bias(self) -> bool:
        """Whether a bias is as large as what kernels give, so that these hardly count."""
        for bias in self.named("bias"):
            if bias.report.norm > math.sqrt(math.prod(bias.report.shape)) / 2:
                return True
        return False

    @property
    def gain(self) -> float | None:
        """Factor by which the first kernel scales its inputs, `None` without one or if quantized.

        The kernels of an adapter do not count: they come after the one that they are added to.
        """
        for weight in self.weights:
            if weight.report.gain is not None and not weight.is_of_adapter:
                return weight.report.gain
        return None

    @property
    def gradient(self) -> GradientReport | None:
        """The gradient of its weights, or `None` without any."""
        measured = [weight.report for weight in self.weights if weight.report.gradient is not None]
        if not measured:
            return None
        norm = _norm_of(report.gradient or 0.0 for report in measured)
        weight_norm = _norm_of(report.norm for report in measured)
        ratio = norm / weight_norm if weight_norm else None
        return GradientReport(norm, ratio)

    @property
    def learns(self) -> bool:
        """Whether its weights get a gradient other than 0."""
        return self.gradient is not None and self.gradient.norm > 0


@dataclass(frozen=True, eq=False)
class SeenWeight:
    """A weight of a layer, and what was measured of it.

    Attributes:
        layer: The layer.
        own: The weight as one of the model.
        report: What was measured.
    """

    layer: SeenLayer
    own: ModelWeight
    report: WeightReport

    @property
    def path(self) -> str:
        """Its path in the model."""
        return self.own.path

    @property
    def name(self) -> str:
        """Its name in the layer."""
        return self.own.name

    @property
    def is_kernel(self) -> bool:
        """Whether it is a kernel."""
        return self.report.axes is not None

    @property
    def is_of_adapter(self) -> bool:
        """Whether it belongs to an adapter, by LoRA or DoRA."""
        return is_adapter(self.name)

    @property
    def is_trained(self) -> bool:
        """Whether it is trained."""
        return self.report.trainable

    @functools.cached_property
    def is_frozen(self) -> bool:
        """Whether it is not trained, though its layer has made it to be."""
        return is_frozen(self.own)

    @property
    def values(self) -> Array:
        """Its values."""
        return backend.host_view(self.own.variable.value)


# ---------------------------------------------------------------- what a diagnosis has seen


@fact
def seen_layers(of: Diagnosis) -> list[SeenLayer]:
    """The layers that have weights or an activation, in the order of their outputs."""
    own = {id(weight.variable): weight for weight in of.inventory.weights}
    found = []
    for layer, variables in _weights_by_layer(of).items():
        seen = SeenLayer(layer, of)
        for variable in variables:
            # The shape of TensorFlow is true without axes too.
            if len(variable.shape) > 0 or variable.trainable:
                weight = own[id(variable)]
                seen.weights.append(SeenWeight(seen, weight, _weight_report(weight, of)))
        found.append(seen)
    _add_shared_kernels(found)
    return found


def _add_shared_kernels(layers: Sequence[SeenLayer]) -> None:
    """Add to each layer the trained kernels that it uses and another layer has."""
    by_id = _by_id(layers)
    for layer in layers:
        for variable in layer.layer.weights:
            weight = by_id.get(id(variable))
            if weight is None or weight.layer is layer:
                continue
            if weight.is_kernel and weight.is_trained:
                layer.shared_kernels.append(weight)


@fact
def seen_weights(of: Diagnosis) -> dict[int, SeenWeight]:
    """The weights of these layers, by the ids of their variables."""
    return _by_id(seen_layers(of))


def _by_id(layers: Iterable[SeenLayer]) -> dict[int, SeenWeight]:
    return {id(weight.own.variable): weight for weight in weights_of(layers)}


def _weights_by_layer(of: Diagnosis) -> dict[keras.Layer, list[keras.Variable]]:
    """Return the layers to report, in the order of their outputs, with their weights.

    Each weight has one layer.
    """
    seen = of.probe(SignalProbe).seen
    known = of.watch.layers
    order = [layer for layer, of_layer in seen.items() if of_layer.after is not None]
    owners: dict[int, keras.Layer] = {}
    # The first of the layers that share a weight owns it.
    for layer in reversed(known):
        for weight in list_own_weights(layer):
            owners[id(weight)] = layer
    # The weights of layers that could not be observed belong to the layer around them.
    observed = set(order)
    for layer in order:
        if not any(part in seen for part in list_layers(layer, include_self=False)):
            for weight in layer.weights:
                if owners.get(id(weight)) not in observed:
                    owners[id(weight)] = layer
    for layer in known:
        if isinstance(layer, keras.layers.RNN):  # whose weights count as its own
            for weight in layer.weights:
                owners.setdefault(id(weight), layer)
    # A layer that was not called itself may have been used by another layer.
    order += [layer for layer in known if layer not in order and layer in owners.values()]
    by_layer: dict[keras.Layer, list[keras.Variable]] = {layer: [] for layer in order}
    for weight in of.model.weights:
        if id(weight) in owners:
            by_layer[owners[id(weight)]].append(weight)
    return by_layer


def _weight_report(weight: ModelWeight, of: Diagnosis) -> WeightReport:
    """Return the report of a weight."""
    moments = Moments(backend.host_view(weight.variable.value))
    fan_in = gain = None
    if weight.fans is not None:
        fan_in, _ = weight.fans
        gain = moments.norm if moments.size == 1 else moments.std
        # An embedding looks up one row.
        if not isinstance(weight.layer, keras.layers.Embedding):
            gain *= math.sqrt(fan_in)
    return WeightReport(
        name=weight.name,
        path=weight.path,
        shape=weight.shape,
        mean=moments.mean,
        std=moments.std,
        zeros=moments.zeros / max(moments.size, 1),
        norm=moments.norm,
        trainable=weight.variable.trainable,
        gradient=gradients(of).get(id(weight.variable)),
        axes=weight.axes,
        fan_in=fan_in,
        gain=gain,
        zero=multiplies(weight.layer, weight.variable) and moments.zeros == moments.size,
    )


def _norm_of(norms: Iterable[float]) -> float:
    """Return the norm of a vector from the norms of its parts."""
    return float(sum(norm**2 for norm in norms) ** 0.5)


@fact
def trained_layers(of: Diagnosis) -> list[tuple[SeenLayer, float]]:
    """The layers with a gradient, each with its norm."""
    found = []
    for layer in seen_layers(of):
        if layer.gradient is not None:
            found.append((layer, layer.gradient.norm))
    return found


@fact
def branch_ends(of: Diagnosis) -> list[SeenLayer]:
    """The layers at the ends of residual branches."""
    branches = find_branches(of.watch.graph.nodes).branches
    ends = {end for branch in branches for end in branch.ends}
    ends |= find_hidden_branch_ends(of.inventory)
    return [layer for layer in seen_layers(of) if layer.layer in ends]


# ---------------------------------------------------------------- several layers


def layers_until(last: SeenLayer, of: Diagnosis) -> list[SeenLayer]:
    """Return the layers up to `last`, and itself."""
    layers = seen_layers(of)
    return layers[: layers.index(last) + 1]


def weights_of(layers: Iterable[SeenLayer]) -> list[SeenWeight]:
    """Return all weights of some layers."""
    found: list[SeenWeight] = []
    for layer in layers:
        found += layer.weights
    return found


def kernels_of(layers: Iterable[SeenLayer]) -> list[SeenWeight]:
    """Return the weights that a `kernel_initializer` of some layers is for."""
    found: list[SeenWeight] = []
    for layer in layers:
        found += layer.kernels
    return found


def biases_of(layers: Iterable[SeenLayer]) -> list[SeenWeight]:
    """Return the biases of some layers."""
    found: list[SeenWeight] = []
    for layer in layers:
        found += layer.named("bias")
    return found


def ends_of(layers: Sequence[SeenLayer], ends: Iterable[Ends]) -> list[tuple[SeenLayer, Ends]]:
    """Return those of some `Ends` whose layer is among `layers`, each with it."""
    by_layer = {layer.layer: layer for layer in layers}
    return [(by_layer[one.layer], one) for one in ends if one.layer in by_layer]
