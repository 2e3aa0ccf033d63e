"""The layers of a diagnosis, and their weights: what a report shows of them, and rules read."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import keras

from keras_initx._keras import layers_of
from keras_initx.backends._current import backend
from keras_initx.backends._moments import Moments
from keras_initx.diagnostics._diagnosis import Diagnosis, fact
from keras_initx.diagnostics._normalized import normalization_after
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._signal_probe import SignalProbe
from keras_initx.diagnostics.losses.ends import Ends
from keras_initx.diagnostics.losses.probes import gradients
from keras_initx.structure._architecture import hidden_branch_ends
from keras_initx.structure._branches import branches_of
from keras_initx.structure._hooks import is_bounded
from keras_initx.structure._kernels import (
    KernelAxes,
    is_adapter,
    is_kernel,
    kernel_axes,
    kernel_fans,
    multiplies,
)
from keras_initx.structure._names import own_weights
from keras_initx.structure._weights import ModelWeight, weights_within

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class GradientReport:
    """The gradient of all trainable weights of a layer, without penalties by their regularizers.

    Attributes:
        norm: Its norm, NaN if the loss of the model is NaN.
        ratio: Ratio of that norm to the norm of the same weights, `None` if they are zero.
    """

    norm: float
    ratio: float | None


@dataclass(frozen=True)
class WeightReport:
    """One weight of a layer.

    Attributes:
        name: Name of the weight, `"kernel"`.
        path: Its path in the model, by which rules of `initialize` find it.
        shape: Its shape.
        mean: Mean of its entries.
        std: Their standard deviation.
        zeros: Fraction of the entries that are exactly zero.
        norm: Norm of the weight.
        trainable: Whether it is trained.
        gradient: Norm of its gradient, or `None` without targets.
        axes: For a kernel, a tuple of input axes and a tuple of output axes.
        fan_in: For a kernel, the number of inputs of a unit, otherwise `None`.
        gain: For a kernel, `std * sqrt(fan_in)`, the factor by which it scales its inputs; for an
            embedding, `std`; for a single weight its absolute value.
        zero: For a trainable kernel, or the trainable scale of a normalization, whether all entries
            are 0.
    """

    name: str
    path: str
    shape: tuple[int, ...]
    mean: float
    std: float
    zeros: float
    norm: float
    trainable: bool = True
    gradient: float | None = None
    axes: KernelAxes | None = None
    fan_in: float | None = None
    gain: float | None = None
    zero: bool = False


@dataclass(eq=False, repr=False)
class LayerReport:
    """The measurements of one layer.

    `DiagnosisReport.to_dict` has those that are printed or plotted.

    Attributes:
        name: Names of the layer and of those around it, as Keras has them: `"encoder/dense_3"`.
        path: The same as rules and plans have them, counted within the model: `"encoder/dense"`.
        kind: Name of its class.
        activation: Name of its activation, or `None` if it has none.
        shape: Shape of its output, or `None` if it is not accessible.
        before: `Signal` before the activation, or `None` if there is no activation or it is not
            accessible.
        after: `Signal` of the output, or `None` if it is not accessible.
        gradient: The gradient of its weights, or `None` without any.
        weights: A `WeightReport` for each weight.
        shared_kernels: The paths of the kernels that it uses and another layer has in its reports,
            such as a layer inside it, or the embedding whose rows it multiplies its inputs with.
        normalized_by: Path of the normalization layer that is the only consumer of its output, or
            of that of an activation without limits that is; otherwise `None`.
        activated_by: Name of the activation that the only consumer of its output applies to it, or
            `None`.
        slope: The largest slope, at values of the batch, of the activation that is applied to its
            output, by itself or by its only consumer, if Keras does not have it, such as sin(30 x);
            otherwise `None`.
        shown: What else the table has of it, by the header of the column.
    """

    name: str
    path: str
    kind: str
    activation: str | None = None
    shape: tuple[int, ...] | None = None
    before: Signal | None = None
    after: Signal | None = None
    gradient: GradientReport | None = None
    weights: list[WeightReport] = field(default_factory=list)
    shared_kernels: list[str] = field(default_factory=list)
    normalized_by: str | None = None
    activated_by: str | None = None
    slope: float | None = None
    shown: dict[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Its path, with Keras' own name in parentheses where that is another one."""
        name = self.name.rpartition("/")[2]
        if name == self.path.rpartition("/")[2]:
            return self.path
        return f"{self.path} ({name})"

    @property
    def signal(self) -> Signal:
        """`Signal` before the activation, otherwise of the output; empty if neither is known."""
        return self.before or self.after or Signal()

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
    def gain(self) -> float | None:
        """Factor by which the first kernel scales its inputs, `None` without one or if quantized.

        The kernels of an adapter do not count: they come after the one that they are added to.
        """
        for weight in self.weights:
            if weight.gain is not None and not is_adapter(weight.name):
                return weight.gain
        return None

    @property
    def has_kernel(self) -> bool:
        """Whether one of its weights is a kernel."""
        return any(weight.axes for weight in self.weights)

    @property
    def has_zeros(self) -> bool:
        """Whether a kernel, or the scale of a normalization, is all 0."""
        return any(weight.zero for weight in self.weights)

    @property
    def is_rescaled(self) -> bool:
        """Whether a normalization is the only consumer of its output, whose scale is no matter."""
        return self.normalized_by is not None and not is_bounded(self.activation)

    def __repr__(self) -> str:
        return f"<LayerReport of {self.name}, {self.kind}: output {self.after or 'not seen'}>"


@fact
def weights(of: Diagnosis) -> dict[str, ModelWeight]:
    """The weights of the model, by their paths."""
    return {weight.path: weight for weight in weights_within(of.model)}


@fact
def paths(of: Diagnosis) -> dict[int, str]:
    """The path of each weight of the model, by its id."""
    return {id(weight.variable): weight.path for weight in weights_within(of.model)}


@fact
def layers(of: Diagnosis) -> list[LayerReport]:
    """The layers that have weights or an activation, in the order of their outputs."""
    seen = of.probe(SignalProbe).seen
    weights_by_layer = _weights_by_layer(of)
    found = []
    for layer, variables in weights_by_layer.items():
        report = LayerReport(
            of.watch.layers[layer],
            of.watch.paths[layer],
            type(layer).__name__,
            of.watch.activations[layer],
        )
        if layer in seen:
            report.before, report.after = seen[layer].before, seen[layer].after
            report.shape = seen[layer].shape
        _add_consumers(report, layer, of)
        report.weights = [
            _weight_report(layer, weight, of)
            for weight in variables
            # The shape of TensorFlow is true without axes too.
            if len(weight.shape) > 0 or weight.trainable
        ]
        report.gradient = _gradient_report(report.weights)
        owned = {id(variable) for variable in variables}
        report.shared_kernels = [
            paths(of).get(id(variable), variable.name)
            for variable in layer.weights
            if id(variable) not in owned and variable.trainable and is_kernel(variable)
        ]
        found.append(report)
    return found


def _add_consumers(report: LayerReport, layer: keras.Layer, of: Diagnosis) -> None:
    """Add to a report what normalizes and activates the output of `layer`, and the slope."""
    watch, slopes = of.watch, of.probe(SignalProbe).slopes
    report.slope = slopes.get(layer)
    normalization = normalization_after(layer, of)
    consumer = watch.graph.only_consumer(layer)
    if consumer in watch.layers and consumer not in watch.with_kernel:
        report.activated_by = watch.activations[consumer]
        if report.slope is None:
            report.slope = slopes.get(consumer)
        if report.activated_by is not None and not is_bounded(report.activated_by):
            normalization = normalization_after(consumer, of)
    if normalization in watch.layers:
        report.normalized_by = watch.paths[normalization]


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
        for weight in own_weights(layer):
            owners[id(weight)] = layer
    # The weights of layers that could not be observed belong to the layer around them.
    observed = set(order)
    for layer in order:
        if not any(part in seen for part in layers_of(layer, include_self=False)):
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


def _weight_report(layer: keras.Layer, weight: keras.Variable, of: Diagnosis) -> WeightReport:
    """Return the report of a weight of `layer`."""
    moments = Moments(backend.host_view(weight.value))
    axes = fan_in = gain = None
    if is_kernel(weight):
        axes = kernel_axes(layer, weight)
        fan_in, _ = kernel_fans(layer, weight)
        gain = moments.norm if moments.size == 1 else moments.std
        # An embedding looks up one row.
        if not isinstance(layer, keras.layers.Embedding):
            gain *= math.sqrt(fan_in)
    return WeightReport(
        name=weight.name,
        path=paths(of).get(id(weight), weight.name),
        shape=tuple(weight.shape),
        mean=moments.mean,
        std=moments.std,
        zeros=moments.zeros / max(moments.size, 1),
        norm=moments.norm,
        trainable=weight.trainable,
        gradient=gradients(of).get(id(weight)),
        axes=axes,
        fan_in=fan_in,
        gain=gain,
        zero=multiplies(layer, weight) and moments.zeros == moments.size,
    )


def _gradient_report(weights: Sequence[WeightReport]) -> GradientReport | None:
    """Return the norm of the gradient of a layer, and its ratio to that of the weights.

    It is `None` without gradients.
    """
    gradients = []
    norms = []
    for weight in weights:
        if weight.gradient is not None:
            gradients.append(weight.gradient)
            norms.append(weight.norm)
    if not gradients:
        return None
    norm = _norm_of(gradients)
    weight_norm = _norm_of(norms)
    return GradientReport(norm, norm / weight_norm if weight_norm else None)


def _norm_of(norms: Iterable[float]) -> float:
    """Return the norm of a vector from the norms of its parts."""
    return float(sum(norm**2 for norm in norms) ** 0.5)


@fact
def trained_layers(of: Diagnosis) -> list[tuple[LayerReport, float]]:
    """The layers with a gradient, each with its norm."""
    found = []
    for layer in layers(of):
        if layer.gradient is not None:
            found.append((layer, layer.gradient.norm))
    return found


def having(
    layers: Iterable[LayerReport], found: Mapping[str, _Found]
) -> list[tuple[LayerReport, _Found]]:
    """Return those of `layers` of which something was found, by their names, with it."""
    return [(layer, found[layer.name]) for layer in layers if layer.name in found]


def pairs_for(
    layers: Iterable[LayerReport], pairs: Iterable[tuple[keras.Layer, _Found]], of: Diagnosis
) -> list[tuple[LayerReport, _Found]]:
    """Return what a probe has found of layers with their reports, if these are among `layers`."""
    by_name = {layer.name: layer for layer in layers}
    found = []
    for layer, of_layer in pairs:
        name = of.watch.layers[layer]
        if name in by_name:
            found.append((by_name[name], of_layer))
    return found


def ends_for(
    layers: Iterable[LayerReport], ends: Iterable[Ends], of: Diagnosis
) -> list[tuple[LayerReport, Ends]]:
    """Return those of some `Ends` whose layer is among `layers`, each with its report."""
    return pairs_for(layers, [(one.layer, one) for one in ends], of)


@fact
def branch_ends(of: Diagnosis) -> list[LayerReport]:
    """The layers at the ends of residual branches."""
    names = {of.watch.layers.get(branch.end) for branch in branches_of(of.watch.graph.nodes)}
    names |= hidden_branch_ends(of.model)
    return [layer for layer in layers(of) if layer.name in names]


@dataclass(frozen=True)
class LayerColumn:
    """One more column of the table.

    Attributes:
        header: Its header.
        note: What it shows, for the legend.
        texts: Function of a diagnosis that returns the texts of some layers, by their names.
    """

    header: str
    note: str
    texts: Callable[[Diagnosis], Mapping[str, str]]
