"""The outputs of a model: their layers, their certainty, and the inputs of their losses.

`OutputProbe` makes an `OutputReport` for each layer that makes an output. `LossProbe` computes the
loss in training, recognizes it, and makes an `OutputHead` of each output with its targets.
"""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np

from keras_initx._typing import Array, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.backends._moments import compute_rms, spread
from keras_initx.inspection._batch import first_float, list_tensors, to_array
from keras_initx.inspection._kernels import CONVOLUTIONS
from keras_initx.inspection._watch import Call
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe, fact
from keras_initx.tools.diagnose._signal import Signal
from keras_initx.tools.diagnose._signal_probe import (
    SATURATION_MARGIN,
    SignalProbe,
    list_floats,
    measure_floats,
)
from keras_initx.tools.diagnose.losses.heads import LastOperation, OutputHead, are_probabilities
from keras_initx.tools.diagnose.losses.known import Loss, LossKind, LossLike, find_keras_loss
from keras_initx.tools.diagnose.losses.training import (
    ComparedKind,
    LossCall,
    RepeatableLoss,
    check_own_loss,
    compare_with_guess,
    compute_mean_loss,
    compute_row_mask,
    list_loss_calls,
    list_repeatable_losses,
)

# ---------------------------------------------------------------- losses of one's own


# The losses of Keras that people write themselves, each with a function that turns numbers of any
# size into its outputs. A loss of one's own is recognized by its values: a multiple of these.
_REWRITTEN: tuple[tuple[Loss, Callable[[Tensor], Tensor]], ...] = (
    (Loss("binary", "binary_crossentropy"), keras.ops.sigmoid),
    (Loss("binary", "binary_crossentropy", from_logits=True), keras.ops.copy),
    (Loss("categorical", "categorical_crossentropy"), keras.ops.softmax),
    (Loss("categorical", "categorical_crossentropy", from_logits=True), keras.ops.copy),
    (Loss("sparse", "sparse_categorical_crossentropy"), keras.ops.softmax),
    (Loss("sparse", "sparse_categorical_crossentropy", from_logits=True), keras.ops.copy),
    (Loss("distance", "mean_squared_error"), keras.ops.copy),
    (Loss("distance", "mean_absolute_error"), keras.ops.copy),
    (Loss("distance", "huber"), keras.ops.copy),
)
# The numbers of random examples with which two losses are compared, and the standard deviations of
# the outputs. Numbers differ, because a sum over the examples is another multiple for another
# number. Deviations differ, because the means of any two losses over many values of one size have
# about one ratio. Two numbers are equal, because JAX compiles each operation for each number.
_TRIALS = (4, 2.0), (4, 0.5), (6, 4.0)


def recognize_loss(loss: LossLike, targets: Tensor, outputs: Tensor) -> Loss | None:
    """Find the loss of Keras that an argument of `compile` means or multiplies; else `None`."""
    known = find_keras_loss(loss, targets, outputs)
    if known is not None or len(outputs.shape) < 2:
        return known
    form: LossKind = "sparse"
    if len(targets.shape) == len(outputs.shape) and targets.shape[-1] > 1:
        form = "categorical"
    for other, make_outputs in _REWRITTEN:
        is_of_classes = other.kind in ("categorical", "sparse")
        if is_of_classes and (other.kind != form or outputs.shape[-1] == 1):
            continue
        # A loss may use its targets as indices into what it has been given.
        with backend.guarded():
            factor = _find_factor(loss, other, make_outputs, targets, outputs)
        if factor is not None:
            return replace(other, factor=factor, is_own=True)
    return None


def _find_factor(
    loss: LossLike,
    other: Loss,
    make_outputs: Callable[[Tensor], Tensor],
    targets: Tensor,
    outputs: Tensor,
) -> float | None:
    """Find the factor between a loss and another one, `None` if their values have no fixed ratio.

    Both get the same random numbers.

    Args:
        loss: The loss.
        other: The other one.
        make_outputs: Function that turns numbers of any size into outputs for the other one.
        targets: The targets, which give the shape of the random targets of an example.
        outputs: The outputs, which give the shape of the random outputs of an example.
    """
    reference: LossLike = getattr(keras.losses, other.name)
    if other.is_crossentropy:
        reference = functools.partial(reference, from_logits=other.from_logits)
    random = np.random.default_rng(0)
    ratios: list[float] = []
    for count, stddev in _TRIALS:
        shape = (count, *outputs.shape[1:])
        numbers = keras.ops.convert_to_tensor(random.normal(0, stddev, shape), "float32")
        aims = _draw_targets(other.kind, shape, targets, random)
        ratios.append(_compute_ratio(loss, reference, aims, make_outputs(numbers)))
        # False for NaN.
        if not (ratios[0] > 0 and math.isclose(ratios[-1], ratios[0], rel_tol=1e-3)):
            return None
    return ratios[0]


def _draw_targets(
    kind: LossKind, shape: tuple[int, ...], targets: Tensor, random: np.random.Generator
) -> Tensor:
    """Draw random targets for a loss of this kind and outputs of this shape."""
    drawn: Array
    if kind == "distance":
        drawn = random.normal(0, 2, shape)
    elif kind == "binary":
        drawn = random.integers(0, 2, shape)
    else:
        drawn = random.integers(0, shape[-1], shape[:-1])
        if kind == "categorical":
            drawn = np.eye(shape[-1])[drawn]
        elif len(targets.shape) == len(shape):
            drawn = drawn[..., None]
    return keras.ops.convert_to_tensor(drawn, "float32")


def _compute_ratio(loss: LossLike, other: LossLike, targets: Tensor, outputs: Tensor) -> float:
    """Compute the ratio of the means of two losses, NaN if `loss` fails."""
    try:
        mean = float(to_array(keras.ops.mean(loss(targets, outputs))))
        other_mean = float(to_array(keras.ops.mean(other(targets, outputs))))
    except Exception:  # it is made for other numbers, or other shapes
        return math.nan
    return mean / other_mean if other_mean and math.isfinite(mean) else math.nan


# ---------------------------------------------------------------- outputs


# Without an activation these are known to be linear.
_WITHOUT_ACTIVATION = (keras.layers.Dense, keras.layers.EinsumDense, *CONVOLUTIONS)
# Activations that are layers or operations of their own, by the name of the class in lower case.
_OPERATIONS = ("relu", "sigmoid", "softmax", "tanh")

# These set some of their inputs to 0, or to another constant.
_DROPOUTS = keras.layers.Dropout, keras.layers.AlphaDropout
# The number of examples from which the size of inputs is computed.
_SIZED_EXAMPLES = 64


@dataclass(eq=False)
class OutputReport:
    """A layer whose output, possibly after layers without weights, is an output of the model.

    Attributes:
        certain: Fraction of the examples for which its softmax or sigmoid is saturated, `None` if
            it has neither.
        input_size: Root mean square of its inputs, `None` without known inputs.
        loss_kind: `"crossentropy"` or `"distance"` if there is a `loss`, otherwise `None`. loss:
            The loss of this output in training, before regularizers and weights; for a distance
            such as the mean squared error, the root mean square of the errors; for a multiple of a
            crossentropy, without its factor. `None` without targets, for several losses of one
            output, and for a loss of another kind than Keras' crossentropies and distances.
        blind_loss: The same of a blind guess: equal probabilities, or the mean of the targets.
        largest_target: The largest size of a target, if there is a `blind_loss`.
        size: Root mean square of the output of the model that has this loss: operations may follow
            the layer.
        dropped_by: Path of a dropout after the last kernel, `None` without one.
        shape: Shape of that output.
    """

    certain: float | None = None
    input_size: float | None = None
    loss_kind: ComparedKind | None = None
    loss: float | None = None
    blind_loss: float | None = None
    largest_target: float = 0.0
    size: float | None = None
    dropped_by: str | None = None
    shape: Shape | None = None


class OutputProbe(Probe):
    """Finds the layers that make the outputs of the model, and how sure these are.

    Attributes:
        records: Dict from a layer to the `OutputReport` of the output that it makes.
        signal: `Signal` of all outputs, `None` if they are no floats.
        has_nan: Whether one of them is NaN.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self.records: dict[keras.Layer, OutputReport] = {}
        self.signal: Signal | None = None
        self.has_nan: bool = False
        self._signals = diagnosis.probe(SignalProbe).signals
        # How much the values before a sigmoid or softmax differ between examples, in the call in
        # which they do most.
        self._logits_spread: dict[keras.Layer, float] = {}
        # The root mean square of the last inputs.
        self._input_size: dict[keras.Layer, float] = {}

    def activated(
        self,
        layer: keras.Layer,
        activation: Callable[..., Tensor],
        values: Tensor,
        outputs: Tensor,
    ) -> None:
        is_probability = self.diagnosis.watch.activations[layer] in ("sigmoid", "softmax")
        if is_probability and len(values.shape) > 0:
            others = self._logits_spread.get(layer, 0.0)
            self._logits_spread[layer] = float(np.maximum(others, spread(to_array(values))))

    def after(self, call: Call) -> None:
        inputs = first_float(call.arguments)
        if call.is_seen and inputs is not None:
            self._input_size[call.operation] = compute_rms(to_array(inputs[:_SIZED_EXAMPLES]))

    def finish(self, outputs: Tensor) -> None:
        self.signal = measure_floats(outputs)
        self.has_nan = any(np.isnan(to_array(tensor)).any() for tensor in list_floats(outputs))
        for tensor in list_tensors(outputs):
            layer = self.find_maker(tensor)
            if layer is None:
                continue
            self._record_maker(layer)
            self._record_before_activation(layer)
            record = self.records[layer]
            record.shape = tuple(tensor.shape)
            for last in self.list_last_operations(tensor):
                operation = last.operation
                if isinstance(operation, _DROPOUTS) and operation.rate:
                    record.dropped_by = self.diagnosis.watch.paths.get(operation, operation.name)
            certainty = self._measure_certainty(layer, to_array(tensor))
            if certainty is None:
                continue
            # The makers of several outputs may not be told apart.
            if record.certain is None or certainty > record.certain:
                record.certain = certainty

    def _record_before_activation(self, layer: keras.Layer) -> None:
        # What makes the inputs of an activation layer makes the output of the model, too.
        if layer.weights:
            return
        graph = self.diagnosis.watch.graph
        for other in self._signals:
            if other not in self.records and graph.only_consumer(other) is layer:
                self._record_maker(other)
                self._record_before_activation(other)

    def _record_maker(self, layer: keras.Layer) -> None:
        record = self.records.setdefault(layer, OutputReport())
        record.input_size = self._input_size.get(layer)

    def find_maker(self, output: Tensor) -> keras.Layer | None:
        """Find the layer that made an output of the model, `None` if it was not watched."""
        graph = self.diagnosis.watch.graph
        if graph.is_input(output):  # passed through
            return None
        candidates = []
        for layer, signals in self._signals.items():
            if signals.after is not None:
                candidates.append(layer)
        origin = graph.origin(output)
        if origin in candidates:
            return origin
        # Custom code has transformed it, often without changing its shape.
        shape = tuple(output.shape)
        of_shape = [layer for layer in candidates if self._signals[layer].shape == shape]
        candidates = of_shape or candidates
        return candidates[-1] if candidates else None

    def list_last_operations(self, output: Tensor) -> Sequence[LastOperation]:
        """List the operations after the last kernel, its layer first."""
        watch = self.diagnosis.watch
        operations = []
        for operation in watch.graph.producers(output):
            activation = _find_activation(operation, watch.activations.get(operation))
            operations.append(LastOperation(operation, activation))
            if getattr(operation, "weights", None):
                break
        return operations[::-1]

    def _measure_certainty(self, layer: keras.Layer, values: Array) -> float | None:
        """Measure the fraction of probabilities near 0 or 1, `None` for other outputs.

        For a softmax, it is the fraction of the examples with one probability near 1.
        """
        if not values.size:
            return None
        is_softmax = are_probabilities(values)
        if not is_softmax and self.diagnosis.watch.activations[layer] != "sigmoid":
            return None
        # A bias set to the frequencies of rare classes also saturates outputs, but in the same way
        # for all examples. So do signals that have grown in many layers, without a bias.
        if self._has_bias():
            logits_spread = self._logits_spread.get(layer, np.inf)
            if is_softmax and layer not in self._logits_spread:
                # The softmax was applied by a layer or operation of its own.
                logits_spread = spread(np.log(np.maximum(values, 1e-30)))
            # A logit of this size makes a probability of 1 - SATURATION_MARGIN.
            saturating = np.log(1 / SATURATION_MARGIN - 1)
            if logits_spread < saturating / 2:
                return 0.0
        is_high = values >= 1 - SATURATION_MARGIN
        if is_softmax:
            is_certain = is_high.any(axis=-1)
        else:
            is_certain = is_high | (values <= SATURATION_MARGIN)
        return float(np.mean(is_certain))

    def _has_bias(self) -> bool:
        """Return whether the maker of the outputs of the model has a bias other than 0."""
        for layer in self.records:
            for weight in layer.weights:
                if weight.name == "bias" and backend.has_nonzero(weight.value):
                    return True
        return False


def _find_activation(producer: keras.Operation | None, activation: str | None) -> str | None:
    """Find the name of the activation that a layer or an operation applies.

    It is `"linear"` for a layer of Keras without one, and `None` if it is unknown, for example in a
    user's code.

    Args:
        producer: The layer or operation.
        activation: The name of the activation that it has as a layer, or `None`.
    """
    if activation is not None:
        return activation
    # A subclass may apply anything in its own `call`.
    if type(producer) in _WITHOUT_ACTIVATION:
        return "linear"
    name = type(producer).__name__.lower()
    return name if name in _OPERATIONS else None


# ---------------------------------------------------------------- losses


def _has_value(head: OutputHead, call: LossCall) -> bool:
    # A loss of one's own may have no value for finite outputs.
    if not head.loss.is_own or head.may_raise or not np.isfinite(head.outputs).all():
        return True
    return math.isfinite(compute_mean_loss(call))


class LossProbe(Probe):
    """Measures the training objective, and the inputs of each loss.

    Attributes:
        value: The objective. It is `None` without targets, if backends raise an error for them, or
            if outputs are NaN.
        has_loss: Whether gradients come from a loss, even from one that is not finite.
        is_sum: Whether it grows with the examples of a batch: a loss is a sum over them.
        terms: The sum of all terms from regularizers and `add_loss`.
        mean: The objective if all of its terms are means, otherwise `None`.
        heads: An `OutputHead` for each loss of Keras whose inputs the code understands.
        other_heads: An `OutputHead` for each other loss of Keras that is no crossentropy, for
            distances whose targets have another shape, and for users' losses without a value.
        crossed: Dict from a layer to the loss of its output, if this is a user's loss that compares
            each output with the targets of all examples, see `RepeatableLoss.crosses_examples`.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self.value: float | None = None
        self.has_loss: bool = False
        self.is_sum: bool = False
        self.terms: float = 0.0
        self.mean: float | None = None
        self.heads: list[OutputHead] = []
        self.other_heads: list[OutputHead] = []
        self.crossed: dict[keras.Layer, RepeatableLoss] = {}
        self._outputs = diagnosis.probe(OutputProbe)

    def finish(self, outputs: Tensor) -> None:
        diagnosis = self.diagnosis
        if not diagnosis.is_trained_on:
            return
        model, x, y = diagnosis.model, diagnosis.x, diagnosis.y
        if diagnosis.loss is None:
            check_own_loss(model, has_targets=y is not None)
        # The compiled loss builds itself at its first call, which is not possible while gradients
        # are traced.
        calls = list_loss_calls(model, diagnosis.loss, y, outputs)
        for repeatable in list_repeatable_losses(
            model, calls, y, outputs, functools.partial(diagnosis.objective, x)
        ):
            layer = self._outputs.find_maker(repeatable.output)
            if layer is not None and repeatable.crosses_examples:
                self.crossed[layer] = repeatable
        self.is_sum = any(getattr(call.loss, "reduction", None) == "sum" for call in calls)
        crossed = {id(repeatable.output) for repeatable in self.crossed.values()}
        calls = [call for call in calls if id(call.output) not in crossed]
        known = [recognize_loss(call.loss, call.targets, call.output) for call in calls]
        for call, loss in zip(calls, known, strict=True):
            layer = self._outputs.find_maker(call.output)
            if loss is not None and layer is not None and call.output.shape:
                self._record_head(layer, loss, call, outputs)
        if any(head.may_raise for head in self.heads):
            return
        self.has_loss = True
        # Some losses raise an error for NaN.
        if self._outputs.has_nan:
            return
        self.value = float(to_array(diagnosis.objective(x, y, outputs)).mean())
        self.terms = float(to_array(diagnosis.terms()))
        is_known = len(self.heads) == len(calls) > 0 and not self.crossed
        if is_known and not self.is_sum:
            self.mean = None if math.isnan(self.value) else self.value
        for call, loss in zip(calls, known, strict=True):
            if loss is not None:
                self._record_guess(loss, call)

    def _record_head(self, layer: keras.Layer, loss: Loss, call: LossCall, outputs: Tensor) -> None:
        identities = [id(tensor) for tensor in list_tensors(outputs)]
        index = identities.index(id(call.output)) if id(call.output) in identities else None
        head = OutputHead(
            layer=layer,
            last_operations=self._outputs.list_last_operations(call.output),
            index=index,
            loss=loss,
            outputs=to_array(call.output),
            targets=to_array(call.targets),
            row_mask=compute_row_mask(call.targets, call.output),
        )
        if head.is_understood and _has_value(head, call):
            self.heads.append(head)
        elif head.outputs.size and (loss.is_own or not loss.is_crossentropy):
            self.other_heads.append(head)

    def _record_guess(self, loss: Loss, call: LossCall) -> None:
        layer = self._outputs.find_maker(call.output)
        comparison = compare_with_guess(loss, call)
        if comparison is None or layer is None:
            return
        record = self._outputs.records.setdefault(layer, OutputReport())
        record.loss_kind, record.loss, record.blind_loss = comparison
        record.largest_target = float(np.max(np.abs(to_array(call.targets)), initial=0))
        record.size = compute_rms(to_array(call.output))


@fact
def gradient_norms(diagnosis: Diagnosis) -> dict[int, float]:
    """The norm of the gradient of each trained weight, by its id; empty without a loss."""
    losses = diagnosis.probe(LossProbe)
    if not losses.has_loss or not diagnosis.trained:
        return {}
    # Below a NaN, the gradient of a ReLU is 0 on JAX and NaN elsewhere.
    norms = [math.nan] * len(diagnosis.trained)
    if losses.value is not None and not math.isnan(losses.value):
        norms = diagnosis.norms()
    return dict(zip(map(id, diagnosis.trained), norms, strict=True))
