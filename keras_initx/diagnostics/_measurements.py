"""What is measured of a model: of its layers, their weights, and how it is to be trained."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import keras

from keras_initx._typing import Array
from keras_initx.diagnostics._losses import LossKind
from keras_initx.diagnostics._outputs import LossInputs, OutputFacts
from keras_initx.diagnostics._signal import Signal
from keras_initx.structure import KernelAxes, is_bounded

__all__ = ["GradientReport", "LayerReport", "WeightReport"]

OptimizerKind: TypeAlias = Literal["adadelta", "adagrad", "adam", "sgd"]


@dataclass(eq=False)
class InputReport:
    """What the kernel of a layer multiplies.

    Attributes:
        first: `Signal` of its inputs from outside the model: no layer with weights comes before.
            `None` if it has none.
        largest: Where these are vectors, the index of the number with the largest root mean square
            and this size; otherwise `None`.
        difference: Standard deviation between examples relative to the root mean square, `None`
            for zeros and for a single example. Of a model with dropout it is that in inference
            mode.
        only_index: Of an embedding of many rows the one row that all examples take, otherwise
            `None`.
        image: Of a two-dimensional convolution that takes a side of square images from outside the
            model for their channels, their shape; otherwise `None`.
    """

    first: Signal | None = None
    largest: tuple[int, float] | None = None
    difference: float | None = None
    only_index: int | None = None
    image: tuple[int, int, int] | None = None


@dataclass(eq=False)
class FlowReport:
    """Where a layer is in the flow of signals, and what becomes of them there.

    Attributes:
        normalized_by: Name of the normalization layer that is the only consumer of its output, or
            of that of an activation without limits that is; otherwise `None`.
        activated_by: Name of the activation that the only consumer of its output applies to it, or
            `None`.
        slope: The largest slope, at values of the batch, of the activation that is applied to its
            output, by itself or by its only consumer, if Keras does not have it, such as sin(30 x);
            otherwise `None`.
        ends_branch: Whether it is the last layer of a residual branch: its output is only added to
            a signal that passes by.
        loses_signal: Whether its output is nearly zero, so that a later kernel gets the same input
            for all examples.
        is_starved: Whether its kernel gets the same input for all examples because of an earlier
            layer.
    """

    normalized_by: str | None = None
    activated_by: str | None = None
    slope: float | None = None
    ends_branch: bool = False
    loses_signal: bool = False
    is_starved: bool = False


@dataclass(eq=False)
class OutputReport:
    """A layer whose output, possibly after layers without weights, is an output of the model.

    Attributes:
        certain: Fraction of the examples for which its softmax or sigmoid is saturated, `None` if
            it has neither.
        input_size: Root mean square of its inputs, `None` if they are not known.
        loss_kind: `"crossentropy"` or `"distance"` where `loss` is known, otherwise `None`.
        loss: The loss of this output as in training, before regularizers and weights; for a
            distance such as the mean squared error, the root mean square of the errors; for a
            multiple of a crossentropy, without its factor. `None`
            without targets, for several losses of one output, and for a loss of another kind than
            Keras' crossentropies and distances.
        blind_loss: The same of a blind guess: equal probabilities, or the mean of the targets.
        size: Root mean square of the output of the model that has this loss: operations may follow
            the layer.
        dropped_by: Name of a dropout after the last kernel, `None` without one.
        limited_by: Name of a normalization without a learned scale between the last kernel and a
            softmax or sigmoid, `None` without one.
    """

    certain: float | None = None
    input_size: float | None = None
    loss_kind: LossKind | None = None
    loss: float | None = None
    blind_loss: float | None = None
    size: float | None = None
    dropped_by: str | None = None
    limited_by: str | None = None


@dataclass(eq=False)
class AttentionReport:
    """A softmax inside the model, of which a layer makes the input.

    Attributes:
        focus: If it makes the queries of attention, the largest weight that a query gives to a key,
            as a mean over some queries with at least four keys; otherwise `None`. Where the weights
            themselves are not accessible they are computed from queries and keys, without masks and
            rotations.
        of_one: Whether the softmax is over a single value, so that all of its outputs are 1.
    """

    focus: float | None = None
    of_one: bool = False


@dataclass(eq=False)
class RecurrenceReport:
    """A recurrent layer.

    Attributes:
        steps: Number of steps of its inputs, `None` if it was not seen.
        gate: `"forget"` for an LSTM, `"update"` for a GRU, otherwise `None`.
        gate_bias: The bias of each unit of that gate, of the cell that keeps the least if it has
            several; otherwise `None`.
        gate_paths: The paths of the biases of its cells that have such gates.
        bias_overwritten: Whether it is an LSTM that overwrites the forget-gate bias of its
            initializer with ones.
        gains: Without gates and with at most 1024 units, the geometric mean and the largest of the
            singular values of its recurrent kernel, otherwise `None`.
        kept: Share of a random state, as root mean squares, that such a kernel leaves after half of
            the steps, if the layer gives its last state alone; otherwise `None`.
        padding: The number of equal steps at the end of half of the examples that it reads without
            a mask, if it gives its last state alone; otherwise `None`.
        padded_by: Name of the embedding in whose inputs they are 0, or `None`.
    """

    steps: int | None = None
    gate: Literal["forget", "update"] | None = None
    gate_bias: Array | None = None
    gate_paths: tuple[str, ...] = ()
    bias_overwritten: bool = False
    gains: tuple[float, float] | None = None
    kept: float | None = None
    padding: int | None = None
    padded_by: str | None = None


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
        expected_std: For a depthwise or transposed kernel, the standard deviation that its
            initializer would give with the correct fans, otherwise `None`.
        constant: For a trainable kernel, whether all entries are the same.
        zero: For a trainable kernel, or the trainable scale of a normalization, whether all entries
            are 0.
        identical_units: For a trainable kernel, the number of units with the same weights as
            another unit.
        digest: For a trainable kernel of random numbers, a digest that two kernels share only if
            they are equal.
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
    expected_std: float | None = None
    constant: bool = False
    zero: bool = False
    identical_units: int = 0
    digest: str | None = None


@dataclass(eq=False, repr=False)
class LayerReport:
    """The measurements of one layer. `Report.to_dict` has those that are printed or plotted.

    Attributes:
        name: Name of the layer, prefixed with the names of the layers around it: `"encoder/dense"`.
        kind: Name of its class.
        activation: Name of its activation, or `None` if it has none.
        shape: Shape of its output, or `None` if it is not accessible.
        before: `Signal` before the activation, or `None` if there is no activation or it is not
            accessible.
        after: `Signal` of the output, or `None` if it is not accessible.
        flow: Where it is in the flow of signals.
        inputs: What its kernel multiplies, or `None` without a kernel.
        output: What is known of it as an output of the model, `None` if it makes none.
        attention: What is known of a softmax of what it makes, or `None`.
        recurrence: What is known of it as a recurrent layer, or `None`.
        gradient: The gradient of its weights, or `None` without any.
        weights: A `WeightReport` for each weight.
        shared_kernels: The paths of the kernels that it uses and another layer has in its reports,
            such as a layer inside it, or the embedding whose rows it multiplies its inputs with.
        path: Its path in the model, with which those of its weights begin, also in plans and rules;
            of the model its name.
    """

    name: str
    kind: str
    activation: str | None = None
    shape: tuple[int, ...] | None = None
    before: Signal | None = None
    after: Signal | None = None
    flow: FlowReport = field(default_factory=FlowReport)
    inputs: InputReport | None = None
    output: OutputReport | None = None
    attention: AttentionReport | None = None
    recurrence: RecurrenceReport | None = None
    gradient: GradientReport | None = None
    weights: list[WeightReport] = field(default_factory=list)
    shared_kernels: list[str] = field(default_factory=list)
    path: str = ""

    @property
    def title(self) -> str:
        """Its path, with its name in Keras in parentheses where the path ends otherwise."""
        own_name = self.name.rpartition("/")[2]
        if self.path.rpartition("/")[2] == own_name:
            return self.path
        return f"{self.path} ({own_name})"

    @property
    def signal(self) -> Signal:
        """`Signal` before the activation, otherwise of the output; empty if neither is known."""
        return self.before or self.after or Signal()

    @property
    def first_inputs(self) -> Signal | None:
        """`Signal` of the inputs of its kernel from outside the model, or `None`."""
        if self.inputs is None:
            return None
        return self.inputs.first

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
            if weight.gain is not None and not weight.name.startswith("lora_"):
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
        return self.flow.normalized_by is not None and not is_bounded(self.activation)

    def __repr__(self) -> str:
        return f"<LayerReport of {self.name}, {self.kind}: output {self.after or 'not seen'}>"


@dataclass(frozen=True)
class OptimizerFacts:
    """What is known of the optimizer of a model.

    Attributes:
        rate: Learning rate of the next step.
        kind: `"adadelta"`, `"adagrad"`, `"sgd"`, `"adam"` for Adam and its like, and `None` for
            others.
        travel: The sum of the rates of the next thousand steps.
        has_schedule: Whether the rate changes by itself.
        is_sensitive: Whether large steps do harm: the network has no normalizations, and SGD does
            not clip gradients.
        momentum: The momentum of SGD, 0 for others.
        epsilon: What Adam adds to the size of a gradient, 0 for others.
        start: What Adagrad starts its sum of squared gradients with, 0 for others.
        clipnorm: The norm to which the gradient of each weight is clipped, infinite for none.
        clipvalue: The size to which each number of a gradient is clipped, infinite for none.
        global_clipnorm: The norm to which all gradients together are clipped, infinite for none.
    """

    rate: float
    kind: OptimizerKind | None = None
    travel: float = 0.0
    has_schedule: bool = False
    is_sensitive: bool = True
    momentum: float = 0.0
    epsilon: float = 0.0
    start: float = 0.0
    clipnorm: float = math.inf
    clipvalue: float = math.inf
    global_clipnorm: float = math.inf


@dataclass(frozen=True)
class TrainedSteps:
    """What some steps on the batch do, with the optimizer from its start.

    Attributes:
        losses: The training objective before each step, and after the last; it ends where it is not
            finite.
        optimizer: Name of the class of the optimizer.
        rate: Its learning rate in the first step, `None` if it has none.
        blind: The loss of a blind guess, where the objective is one crossentropy, otherwise `None`.
        lost: Paths of the weights that are not finite afterward.
        unmoved: Paths of the weights that stay as they are, bit for bit.
        better_rate: Another rate, with which as many steps lower the loss where its own does not;
            `None` if none was tried, or none does.
    """

    losses: Sequence[float]
    optimizer: str
    rate: float | None
    blind: float | None = None
    lost: Sequence[str] = ()
    unmoved: Sequence[str] = ()
    better_rate: float | None = None


@dataclass(frozen=True, eq=False)
class Objective:
    """What is minimized, and where it is not finite.

    Attributes:
        outputs: `Signal` of the outputs of the model.
        value: The training objective, `None` if it was not computed.
        terms: The sum of what regularizers and `add_loss` add to it.
        slope: Norm of the gradient with respect to the outputs, measured only where the gradient
            of a weight is not finite, otherwise `None`.
    """

    outputs: Signal
    value: float | None = None
    terms: float = 0.0
    slope: float | None = None


@dataclass(frozen=True)
class HeldBack:
    """Kernels that get no gradient, whatever their values are.

    Attributes:
        paths: Their paths in the model.
        inside: Those of them that belong to a model inside the model.
        changes_loss: Whether the loss depends on them.
    """

    paths: frozenset[str]
    inside: frozenset[str]
    changes_loss: bool


@dataclass(frozen=True)
class OwnLoss:
    """What the values of a loss of one's own show.

    Attributes:
        defined_by: `"softmax"` or `"sigmoid"` where the loss is not finite for these outputs, but
            is once they have gone through this activation, otherwise `None`.
        spread: The largest standard deviation of a column of targets in which it rises or falls
            like a distance, otherwise 0.
        undefined_rows: Share of the examples for which it is not finite whatever the outputs are,
            if these are the ones whose targets are all the same, otherwise 0.
    """

    spread: float = 0.0
    defined_by: str | None = None
    undefined_rows: float = 0.0


@dataclass(frozen=True, eq=False)
class Measurements:
    """The measurements of a model.

    Attributes:
        layers: A `LayerReport` for each layer that has weights or an activation, in the order of
            their outputs.
        inputs: `Signal` of the inputs, or `None` if they are integers.
        targets: `Signal` of the targets, or `None` if they are integers or not given.
        outputs: Pairs of a layer and the facts of the output of the model that it makes, for each
            known loss.
        loss: The training objective if all of its terms are known means, otherwise `None`.
        optimizer: What is known of the optimizer, `None` if `model` is not compiled with one.
        loss_inputs: Pairs of a layer and what a loss of Keras gets of the output that it makes.
        own_losses: Pairs of a layer and what is known of a loss that is none of Keras'.
        objective: What is minimized, `None` without outputs of floating-point numbers.
        steps: What some steps on the batch do, `None` if none were asked for or possible.
        has_pixels: Whether the inputs are images of whole numbers from 0 to 255.
        has_repeated_inputs: Whether all examples have the same inputs.
        single_values: Names of the normalizations over a single value.
        held_back: The kernels that get no gradient whatever their values are, or `None`.
        untracked: Paths of the kernels that the model uses but does not have.
        initializers: The initializers that layers keep for their weights, by the paths of these.
        hidden_branch_ends: Function that returns the names of the layers at the ends of residual
            branches that are added in the `call` of layers of users. It takes a call of the model.
    """

    layers: list[LayerReport]
    inputs: Signal | None
    targets: Signal | None = None
    outputs: Sequence[tuple[LayerReport, OutputFacts]] = ()
    loss: float | None = None
    optimizer: OptimizerFacts | None = None
    loss_inputs: Sequence[tuple[LayerReport, LossInputs]] = ()
    own_losses: Sequence[tuple[LayerReport, OwnLoss]] = ()
    objective: Objective | None = None
    steps: TrainedSteps | None = None
    has_pixels: bool = False
    has_repeated_inputs: bool = False
    single_values: Sequence[str] = ()
    held_back: HeldBack | None = None
    untracked: Sequence[str] = ()
    initializers: Mapping[str, keras.initializers.Initializer] = field(default_factory=dict)
    hidden_branch_ends: Callable[[], set[str]] = set

    @functools.cached_property
    def branch_ends(self) -> list[LayerReport]:
        """The layers at the ends of residual branches."""
        hidden = self.hidden_branch_ends()
        return [layer for layer in self.layers if layer.flow.ends_branch or layer.name in hidden]

    @property
    def gradient_norms(self) -> list[tuple[LayerReport, float]]:
        """The layers with a gradient, each with its norm."""
        norms = []
        for layer in self.layers:
            if layer.gradient is not None:
                norms.append((layer, layer.gradient.norm))
        return norms


def root_mean_square(signal: Signal) -> float:
    """Return the root mean square of the finite values of `signal`."""
    return math.hypot(signal.mean, signal.std)
