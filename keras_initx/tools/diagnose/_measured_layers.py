"""The layers and weights of a model with their measurements, for rules.

A `MeasuredLayer` has the signals of a layer and its `MeasuredWeight`s. Each weight of the model
belongs to one measured layer: to the layer that holds it, or to the layer around it if the forward
pass did not show the holder.
"""

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
from keras_initx.tools.diagnose._kernel_inputs import FirstInputs, InputProbe
from keras_initx.tools.diagnose._layer_report import GradientReport, WeightReport
from keras_initx.tools.diagnose._normalized import find_following_normalization
from keras_initx.tools.diagnose._signal import LEAST_VALUES, Signal
from keras_initx.tools.diagnose._signal_probe import LayerSignals, SignalProbe
from keras_initx.tools.diagnose.losses.heads import OutputHead
from keras_initx.tools.diagnose.losses.probes import OutputProbe, OutputReport, gradient_norms


class MeasuredLayer:
    """A layer with the measurements of a diagnosis.

    An attribute that a `LayerReport` has, too, has the same name there.

    Args:
        layer: The layer of Keras.
        diagnosis: The diagnosis.

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
        first_inputs: Inputs from outside, empty if `is_first` is false.
        makes_output: Whether it makes an output of the model.
        output: Report of that output, empty if `makes_output` is false.
        weights: A `MeasuredWeight` for each weight. Each weight of the model has one layer.
        shared_kernels: Kernels that it uses and another layer holds, such as a layer inside it, or
            the embedding by whose rows it multiplies its inputs.
        normalized_by: Path of the normalization layer that is the only consumer of its output,
            directly or after an activation without limits; otherwise `None`.
        activated_by: Name of the activation that the only consumer of its output applies to it, or
            `None`.
        slope: The largest slope, at values of the batch, of the activation that is applied to its
            output, by itself or by its only consumer, if Keras does not have it, such as sin(30 x);
            otherwise `None`.
        turns: How often this activation turns around, see `SignalProbe.turns`; otherwise 0.
    """

    def __init__(self, layer: keras.Layer, diagnosis: Diagnosis) -> None:
        signals = diagnosis.probe(SignalProbe).signals.get(layer, LayerSignals())
        self.layer: keras.Layer = layer
        self.name: str = diagnosis.watch.layers[layer]
        self.path: str = diagnosis.watch.paths[layer]
        self.kind: str = type(layer).__name__
        self.activation: str | None = diagnosis.watch.activations[layer]
        self.before: Signal | None = signals.before
        self.after: Signal | None = signals.after
        self.shape: tuple[int, ...] | None = signals.shape
        inputs = diagnosis.probe(InputProbe).records
        outputs = diagnosis.probe(OutputProbe).records
        self.is_first: bool = layer in inputs
        self.first_inputs: FirstInputs = inputs.get(layer, FirstInputs())
        self.makes_output: bool = layer in outputs
        self.output: OutputReport = outputs.get(layer, OutputReport())
        self.weights: list[MeasuredWeight] = []
        self.shared_kernels: list[MeasuredWeight] = []
        self.normalized_by: str | None = None
        self.activated_by: str | None = None
        self.slope: float | None = None
        self.turns: float = 0.0
        self._note_consumers(diagnosis)

    def _note_consumers(self, diagnosis: Diagnosis) -> None:
        """Note what normalizes and activates the output, and the slope."""
        watch, signals = diagnosis.watch, diagnosis.probe(SignalProbe)
        self.slope = signals.slopes.get(self.layer)
        self.turns = signals.turns.get(self.layer, 0.0)
        normalization = find_following_normalization(self.layer, diagnosis)
        consumer = watch.graph.only_consumer(self.layer)
        if consumer in watch.layers and consumer not in watch.with_kernel:
            self.activated_by = watch.activations[consumer]
            if self.slope is None:
                self.slope = signals.slopes.get(consumer)
                self.turns = signals.turns.get(consumer, 0.0)
            if self.activated_by is not None and not is_bounded(self.activated_by):
                normalization = find_following_normalization(consumer, diagnosis)
        if normalization in watch.layers:
            self.normalized_by = watch.paths[normalization]

    def __repr__(self) -> str:
        return f"<MeasuredLayer {self.path}>"

    @property
    def title(self) -> str:
        """Its path, with Keras' own name in parentheses if it differs: `"dense (dense_4)"`."""
        name = self.name.rpartition("/")[2]
        if name == self.path.rpartition("/")[2]:
            return self.path
        return f"{self.path} ({name})"

    # ---------------------------------------------------------------- its signals

    @property
    def signal(self) -> Signal:
        """`Signal` before the activation, otherwise of the output; empty without either."""
        return self.before or self.after or Signal()

    @property
    def has_enough_values(self) -> bool:
        """Whether its signal has enough values for a verdict."""
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
        """Whether the activation after the kernel is steeper than all of Keras."""
        return self.slope is not None and self.slope > 2

    @property
    def is_rescaled(self) -> bool:
        """Whether only a normalization gets its output, so that the scale does not matter."""
        return self.normalized_by is not None and not is_bounded(self.activation)

    # ---------------------------------------------------------------- its weights

    def named(self, name: str) -> "list[MeasuredWeight]":
        return [weight for weight in self.weights if weight.name == name]

    @property
    def kernels(self) -> "list[MeasuredWeight]":
        """The kernels that its `kernel_initializer` fills, and shared kernels."""
        kernels = []
        for weight in self.weights:
            has_other_initializer = weight.name == "recurrent_kernel" or weight.is_of_adapter
            if weight.is_kernel and not has_other_initializer:
                kernels.append(weight)
        return kernels + self.shared_kernels

    @property
    def recurrent_kernels(self) -> "list[MeasuredWeight]":
        """The recurrent kernels of all its cells."""
        return [weight for weight in self.named("recurrent_kernel") if weight.is_kernel]

    @property
    def factors(self) -> "list[MeasuredWeight]":
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
        """Whether the root mean square of a bias is above 0.5, so that kernels hardly count.

        A usual kernel gives 1 for standardized inputs.
        """
        for bias in self.named("bias"):
            if bias.report.norm > math.sqrt(math.prod(bias.report.shape)) / 2:
                return True
        return False

    @property
    def gain(self) -> float | None:
        """Factor between inputs and outputs of its first kernel. `None` without, or if quantized.

        The kernels of an adapter do not count: an adapter is added to another kernel.
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
        norm = _combine_norms(report.gradient or 0.0 for report in measured)
        weight_norm = _combine_norms(report.norm for report in measured)
        ratio = norm / weight_norm if weight_norm else None
        return GradientReport(norm, ratio)

    @property
    def learns(self) -> bool:
        """Whether its weights get a gradient other than 0."""
        return self.gradient is not None and self.gradient.norm > 0


@dataclass(frozen=True, eq=False)
class MeasuredWeight:
    """A weight of a layer with the measurements of a diagnosis.

    Attributes:
        layer: The measured layer that the weight belongs to.
        own: The weight with its place in the model.
        report: The statistics of its values and of its gradient.
    """

    layer: MeasuredLayer
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
        return self.report.axes is not None

    @property
    def is_of_adapter(self) -> bool:
        """Whether it belongs to an adapter, by LoRA or DoRA."""
        return is_adapter(self.name)

    @property
    def is_trained(self) -> bool:
        return self.report.trainable

    @functools.cached_property
    def is_frozen(self) -> bool:
        """Whether it is not trained, although its layer made it trainable."""
        return is_frozen(self.own)

    @property
    def values(self) -> Array:
        return backend.host_view(self.own.variable.value)


# ---------------------------------------------------------------- facts of a diagnosis


@fact
def measured_layers(diagnosis: Diagnosis) -> list[MeasuredLayer]:
    """The layers that have weights or an activation, in the order of their outputs."""
    weight_by_id = {id(weight.variable): weight for weight in diagnosis.inventory.weights}
    layers = []
    for keras_layer, variables in _assign_weights(diagnosis).items():
        layer = MeasuredLayer(keras_layer, diagnosis)
        for variable in variables:
            # The shape of TensorFlow is true without axes too.
            if len(variable.shape) > 0 or variable.trainable:
                weight = weight_by_id[id(variable)]
                report = _measure_weight(weight, diagnosis)
                layer.weights.append(MeasuredWeight(layer, weight, report))
        layers.append(layer)
    _add_shared_kernels(layers)
    return layers


def _add_shared_kernels(layers: Sequence[MeasuredLayer]) -> None:
    weight_by_id = _index_by_id(layers)
    for layer in layers:
        for variable in layer.layer.weights:
            weight = weight_by_id.get(id(variable))
            if weight is None or weight.layer is layer:
                continue
            if weight.is_kernel and weight.is_trained:
                layer.shared_kernels.append(weight)


@fact
def measured_weights(diagnosis: Diagnosis) -> dict[int, MeasuredWeight]:
    """The weights of the measured layers, by the ids of their variables."""
    return _index_by_id(measured_layers(diagnosis))


def _index_by_id(layers: Iterable[MeasuredLayer]) -> dict[int, MeasuredWeight]:
    return {id(weight.own.variable): weight for weight in list_weights(layers)}


def _assign_weights(diagnosis: Diagnosis) -> dict[keras.Layer, list[keras.Variable]]:
    """Return the layers to report, in the order of their outputs, each with its weights.

    Each weight has one layer, its owner.
    """
    signals = diagnosis.probe(SignalProbe).signals
    layers = diagnosis.watch.layers
    order = [layer for layer, of_layer in signals.items() if of_layer.after is not None]
    owners: dict[int, keras.Layer] = {}
    # The first of the layers that share a weight owns it.
    for layer in reversed(layers):
        for weight in list_own_weights(layer):
            owners[id(weight)] = layer
    # The weights of layers that could not be observed belong to the layer around them.
    observed = set(order)
    for layer in order:
        if not any(inner in signals for inner in list_layers(layer, include_self=False)):
            for weight in layer.weights:
                if owners.get(id(weight)) not in observed:
                    owners[id(weight)] = layer
    # An RNN owns the weights of its cells.
    for layer in layers:
        if isinstance(layer, keras.layers.RNN):
            for weight in layer.weights:
                owners.setdefault(id(weight), layer)
    # A layer that was not called itself may have been used by another layer.
    order += [layer for layer in layers if layer not in order and layer in owners.values()]
    weights_by_layer: dict[keras.Layer, list[keras.Variable]] = {layer: [] for layer in order}
    for weight in diagnosis.model.weights:
        if id(weight) in owners:
            weights_by_layer[owners[id(weight)]].append(weight)
    return weights_by_layer


def _measure_weight(weight: ModelWeight, diagnosis: Diagnosis) -> WeightReport:
    moments = Moments(backend.host_view(weight.variable.value))
    fan_in = gain = None
    if weight.fans is not None:
        fan_in, _ = weight.fans
        # std * sqrt(fan_in): by so much a kernel scales independent inputs of standard deviation 1.
        gain = moments.norm if moments.size == 1 else moments.std
        # An embedding looks up one row, without a sum.
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
        gradient=gradient_norms(diagnosis).get(id(weight.variable)),
        axes=weight.axes,
        fan_in=fan_in,
        gain=gain,
        zero=multiplies(weight.layer, weight.variable) and moments.zeros == moments.size,
    )


def _combine_norms(norms: Iterable[float]) -> float:
    return float(sum(norm**2 for norm in norms) ** 0.5)


@fact
def trained_layers(diagnosis: Diagnosis) -> list[tuple[MeasuredLayer, float]]:
    """The layers with a gradient, each with the norm of its gradient."""
    layers = []
    for layer in measured_layers(diagnosis):
        if layer.gradient is not None:
            layers.append((layer, layer.gradient.norm))
    return layers


@fact
def branch_ends(diagnosis: Diagnosis) -> list[MeasuredLayer]:
    """The layers at the ends of residual branches."""
    branches = find_branches(diagnosis.watch.graph.nodes).branches
    ends = {end for branch in branches for end in branch.ends}
    ends |= find_hidden_branch_ends(diagnosis.inventory)
    return [layer for layer in measured_layers(diagnosis) if layer.layer in ends]


# ---------------------------------------------------------------- several layers


def list_layers_until(last: MeasuredLayer, diagnosis: Diagnosis) -> list[MeasuredLayer]:
    """Return the layers up to `last`, with `last` itself."""
    layers = measured_layers(diagnosis)
    return layers[: layers.index(last) + 1]


def list_weights(layers: Iterable[MeasuredLayer]) -> list[MeasuredWeight]:
    """Return all weights of some layers."""
    weights: list[MeasuredWeight] = []
    for layer in layers:
        weights += layer.weights
    return weights


def list_kernels(layers: Iterable[MeasuredLayer]) -> list[MeasuredWeight]:
    """Return the kernels of some layers, see `MeasuredLayer.kernels`."""
    kernels: list[MeasuredWeight] = []
    for layer in layers:
        kernels += layer.kernels
    return kernels


def list_biases(layers: Iterable[MeasuredLayer]) -> list[MeasuredWeight]:
    """Return the biases of some layers."""
    biases: list[MeasuredWeight] = []
    for layer in layers:
        biases += layer.named("bias")
    return biases


def pair_with_heads(
    layers: Sequence[MeasuredLayer], heads: Iterable[OutputHead]
) -> list[tuple[MeasuredLayer, OutputHead]]:
    """Return the heads whose layer is among `layers`, each after its measured layer."""
    by_layer = {layer.layer: layer for layer in layers}
    return [(by_layer[head.layer], head) for head in heads if head.layer in by_layer]
