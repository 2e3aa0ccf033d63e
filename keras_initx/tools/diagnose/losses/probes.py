"""The outputs of a model: which layers make them, how sure they are, and what their losses get."""

import functools
import math
from collections.abc import Callable
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
    floats_in,
    signal_of_floats,
)
from keras_initx.tools.diagnose.losses.ends import Ends, Steps, are_of_softmax
from keras_initx.tools.diagnose.losses.known import Loss, LossKind, LossLike, known_loss
from keras_initx.tools.diagnose.losses.training import (
    Compared,
    ComputedLoss,
    SeenLoss,
    check_own_loss,
    computed_losses,
    counted_rows,
    losses_of_outputs,
    mean_of_loss,
    value_and_guess,
)

# Losses of one's own that compute a multiple of one of Keras, which their values show.


# What people write anew, each with what makes numbers of any size its outputs.
_WRITTEN_ANEW: tuple[tuple[Loss, Callable[[Tensor], Tensor]], ...] = (
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
# The numbers of random examples by which losses are compared, and their standard deviations. A sum
# over the examples is another multiple for another number of them, and over many values the means
# of any two losses have about one ratio, as long as these are of one size. Two have one number: JAX
# compiles each operation anew for another one.
_COMPARED = (4, 2.0), (4, 0.5), (6, 4.0)


def recognized_loss(loss: LossLike, targets: Tensor, outputs: Tensor) -> Loss | None:
    """Return which loss of Keras a loss as in `compile` is, or is a multiple of, `None` if none."""
    known = known_loss(loss, targets, outputs)
    if known is not None or len(outputs.shape) < 2:
        return known
    form: LossKind = "sparse"
    if len(targets.shape) == len(outputs.shape) and targets.shape[-1] > 1:
        form = "categorical"
    for other, as_outputs in _WRITTEN_ANEW:
        is_of_classes = other.kind in ("categorical", "sparse")
        if is_of_classes and (other.kind != form or outputs.shape[-1] == 1):
            continue
        # A loss may take its targets for places in what it has been given.
        with backend.guarded():
            factor = _factor(loss, other, as_outputs, targets, outputs)
        if factor is not None:
            return replace(other, factor=factor, is_own=True)
    return None


def _factor(
    loss: LossLike,
    other: Loss,
    as_outputs: Callable[[Tensor], Tensor],
    targets: Tensor,
    outputs: Tensor,
) -> float | None:
    """Return which multiple of another a loss is, `None` if it is none.

    Both get the same random numbers.

    Args:
        loss: The loss.
        other: The other one.
        as_outputs: Function that makes numbers of any size its outputs.
        targets: Targets of the shape of those that are made, but for the number of examples.
        outputs: Outputs of such a shape.
    """
    reference: LossLike = getattr(keras.losses, other.name)
    if other.is_crossentropy:
        reference = functools.partial(reference, from_logits=other.from_logits)
    random = np.random.default_rng(0)
    found: list[float] = []
    for count, size in _COMPARED:
        shape = (count, *outputs.shape[1:])
        made = keras.ops.convert_to_tensor(random.normal(0, size, shape), "float32")
        aims = _made_targets(other.kind, shape, targets, random)
        found.append(_ratio(loss, reference, aims, as_outputs(made)))
        # NaN is none.
        if not (found[0] > 0 and math.isclose(found[-1], found[0], rel_tol=1e-3)):
            return None
    return found[0]


def _made_targets(
    kind: LossKind, shape: tuple[int, ...], targets: Tensor, random: np.random.Generator
) -> Tensor:
    """Return random targets for a loss of this kind and outputs of this shape."""
    made: Array
    if kind == "distance":
        made = random.normal(0, 2, shape)
    elif kind == "binary":
        made = random.integers(0, 2, shape)
    else:
        made = random.integers(0, shape[-1], shape[:-1])
        if kind == "categorical":
            made = np.eye(shape[-1])[made]
        elif len(targets.shape) == len(shape):
            made = made[..., None]
    return keras.ops.convert_to_tensor(made, "float32")


def _ratio(loss: LossLike, other: LossLike, targets: Tensor, outputs: Tensor) -> float:
    """Return the ratio of the means of two losses, NaN where `loss` cannot be computed."""
    try:
        own = float(to_array(keras.ops.mean(loss(targets, outputs))))
        known = float(to_array(keras.ops.mean(other(targets, outputs))))
    except Exception:  # it is made for other numbers, or other shapes
        return math.nan
    return own / known if known and math.isfinite(own) else math.nan


# Without an activation these are known to be linear.
_WITHOUT_ACTIVATION = (keras.layers.Dense, keras.layers.EinsumDense, *CONVOLUTIONS)
# Activations that are layers or operations of their own, by the name of the class in lower case.
_OPERATIONS = ("relu", "sigmoid", "softmax", "tanh")

# These set some of their inputs to 0, or to another constant.
_DROPOUTS = keras.layers.Dropout, keras.layers.AlphaDropout
# The number of examples of which the size of inputs is taken.
_COMPARED_VALUES = 64


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
            multiple of a crossentropy, without its factor. `None` without targets, for several
            losses of one output, and for a loss of another kind than Keras' crossentropies and
            distances.
        blind_loss: The same of a blind guess: equal probabilities, or the mean of the targets.
        size: Root mean square of the output of the model that has this loss: operations may follow
            the layer.
        dropped_by: Path of a dropout after the last kernel, `None` without one.
        shape: Shape of that output.
    """

    certain: float | None = None
    input_size: float | None = None
    loss_kind: Compared | None = None
    loss: float | None = None
    blind_loss: float | None = None
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

    def __init__(self, of: Diagnosis) -> None:
        super().__init__(of)
        self.records: dict[keras.Layer, OutputReport] = {}
        self.signal: Signal | None = None
        self.has_nan: bool = False
        self._seen = of.probe(SignalProbe).seen
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
        is_probability = self.of.watch.activations[layer] in ("sigmoid", "softmax")
        if is_probability and len(values.shape) > 0:
            others = self._logits_spread.get(layer, 0.0)
            self._logits_spread[layer] = float(np.maximum(others, spread(to_array(values))))

    def after(self, call: Call) -> None:
        inputs = first_float(call.arguments)
        if call.is_seen and inputs is not None:
            self._input_size[call.operation] = compute_rms(to_array(inputs[:_COMPARED_VALUES]))

    def finish(self, outputs: Tensor) -> None:
        self.signal = signal_of_floats(outputs)
        self.has_nan = any(np.isnan(to_array(tensor)).any() for tensor in floats_in(outputs))
        for tensor in list_tensors(outputs):
            layer = self.maker(tensor)
            if layer is None:
                continue
            self._mark(layer)
            self._mark_before_activation(layer)
            record = self.records[layer]
            record.shape = tuple(tensor.shape)
            for operation, _ in self.steps_before(tensor):
                if isinstance(operation, _DROPOUTS) and operation.rate:
                    record.dropped_by = self.of.watch.paths.get(operation, operation.name)
            certainty = self._certainty(layer, to_array(tensor))
            if certainty is None:
                continue
            # The makers of several outputs may not be told apart.
            if record.certain is None or certainty > record.certain:
                record.certain = certainty

    def _mark_before_activation(self, layer: keras.Layer) -> None:
        """Record that what makes the inputs of an activation layer makes an output of the model."""
        if layer.weights:
            return
        for other in self._seen:
            if other not in self.records and self.of.watch.graph.only_consumer(other) is layer:
                self._mark(other)
                self._mark_before_activation(other)

    def _mark(self, layer: keras.Layer) -> None:
        """Record that `layer` makes an output of the model."""
        record = self.records.setdefault(layer, OutputReport())
        record.input_size = self._input_size.get(layer)

    def maker(self, output: Tensor) -> keras.Layer | None:
        """Return the layer that has made an output of the model, `None` if it was not seen."""
        graph = self.of.watch.graph
        if graph.is_input(output):  # passed through
            return None
        candidates = [layer for layer, seen in self._seen.items() if seen.after is not None]
        origin = graph.origin(output)
        if origin in candidates:
            return origin
        # Custom code has transformed it, often without changing its shape.
        shape = tuple(output.shape)
        alike = [layer for layer in candidates if self._seen[layer].shape == shape]
        candidates = alike or candidates
        return candidates[-1] if candidates else None

    def steps_before(self, output: Tensor) -> Steps:
        """Return what follows the last kernel, that layer first, with the names of activations."""
        steps = []
        for operation in self.of.watch.graph.producers(output):
            activation = _last_activation(operation, self.of.watch.activations.get(operation))
            steps.append((operation, activation))
            if getattr(operation, "weights", None):
                break
        return steps[::-1]

    def _certainty(self, layer: keras.Layer, values: Array) -> float | None:
        """Return the fraction of probabilities near 0 or 1, or `None` for other outputs.

        For a softmax, it is that of the examples with one probability near 1.
        """
        if not values.size:
            return None
        is_softmax = are_of_softmax(values)
        if not is_softmax and self.of.watch.activations[layer] != "sigmoid":
            return None
        # A bias set to the frequencies of rare classes also saturates outputs, but in the same way
        # for all examples. So do signals that have grown in many layers, without a bias.
        if self._has_bias():
            differs = self._logits_spread.get(layer, np.inf)
            if is_softmax and layer not in self._logits_spread:
                # It was applied by a layer or operation of its own.
                differs = spread(np.log(np.maximum(values, 1e-30)))
            if differs < np.log(1 / SATURATION_MARGIN - 1) / 2:
                return 0.0
        is_high = values >= 1 - SATURATION_MARGIN
        if is_softmax:
            is_certain = is_high.any(axis=-1)
        else:
            is_certain = is_high | (values <= SATURATION_MARGIN)
        return float(np.mean(is_certain))

    def _has_bias(self) -> bool:
        """Return whether what makes the outputs of the model has a bias other than 0."""
        for layer in self.records:
            for weight in layer.weights:
                if weight.name == "bias" and backend.has_nonzero(weight.value):
                    return True
        return False


def _last_activation(producer: keras.Operation | None, activation: str | None) -> str | None:
    """Return the name of the activation of what an output came out of.

    It is `"linear"` for a layer of Keras that has none, and `None` where it is not known, as in
    code of one's own.

    Args:
        producer: The layer or operation.
        activation: The name of the activation that it applies if it is a layer, or `None`.
    """
    if activation is not None:
        return activation
    # A subclass may apply anything in its own `call`.
    if type(producer) in _WITHOUT_ACTIVATION:
        return "linear"
    name = type(producer).__name__.lower()
    return name if name in _OPERATIONS else None


def _has_value(ends: Ends, seen: SeenLoss) -> bool:
    """Return whether a loss has a value: one of one's own may have none for finite outputs."""
    if not ends.loss.is_own or ends.fails or not np.isfinite(ends.outputs).all():
        return True
    return math.isfinite(mean_of_loss(seen))


class LossProbe(Probe):
    """Measures the training objective, and what each loss gets.

    Attributes:
        value: The objective: `None` where it is not known, because there are no targets, or
            backends raise an error for them, or outputs are NaN.
        has_loss: Whether gradients are those of a loss, also one that is not finite.
        is_sum: Whether it grows with the examples of a batch: a loss is a sum over them.
        terms: The sum of what regularizers and `add_loss` add to it.
        mean: The objective if all of its terms are known means, otherwise `None`.
        ends: The `Ends` of each loss of Keras of which it is known how it reads what it gets.
        others: Those of each other loss of Keras that is no crossentropy, of distances whose
            targets have another shape, and of losses of one's own without a value.
        computed: The losses of the outputs, of any kind.
        crossed: Dict from a layer to that loss of its output, one of one's own, which compares it
            with the targets of all examples, because their shapes differ.
    """

    def __init__(self, of: Diagnosis) -> None:
        super().__init__(of)
        self.value: float | None = None
        self.has_loss: bool = False
        self.is_sum: bool = False
        self.terms: float = 0.0
        self.mean: float | None = None
        self.ends: list[Ends] = []
        self.others: list[Ends] = []
        self.computed: list[ComputedLoss] = []
        self.crossed: dict[keras.Layer, ComputedLoss] = {}
        self._outputs = of.probe(OutputProbe)

    def finish(self, outputs: Tensor) -> None:
        of = self.of
        if not of.is_trained_on:
            return
        if of.loss is None:
            check_own_loss(of.model, has_targets=of.y is not None)
        # The compiled loss builds itself at its first call, which is not possible while gradients
        # are traced.
        seen = losses_of_outputs(of.model, of.loss, of.y, outputs)
        self.computed = computed_losses(
            of.model, seen, of.y, outputs, lambda y, made: of.objective(of.x, y, made)
        )
        for loss_of in self.computed:
            layer = self._outputs.maker(loss_of.output)
            if layer is not None and loss_of.crosses_examples:
                self.crossed[layer] = loss_of
        self.is_sum = any(getattr(one.loss, "reduction", None) == "sum" for one in seen)
        crossed = {id(one.output) for one in self.crossed.values()}
        seen = [one for one in seen if id(one.output) not in crossed]
        known = [recognized_loss(one.loss, one.targets, one.output) for one in seen]
        for one, loss in zip(seen, known, strict=True):
            layer = self._outputs.maker(one.output)
            if loss is not None and layer is not None and one.output.shape:
                self._read(layer, loss, one, outputs)
        if any(ends.fails for ends in self.ends):
            return
        self.has_loss = True
        # Of NaN some losses raise an error.
        if self._outputs.has_nan:
            return
        self.value = float(to_array(of.objective(of.x, of.y, outputs)).mean())
        self.terms = float(to_array(of.terms()))
        is_known = len(self.ends) == len(seen) > 0 and not self.crossed
        if is_known and not self.is_sum:
            self.mean = None if math.isnan(self.value) else self.value
        for one, loss in zip(seen, known, strict=True):
            if loss is not None:
                self._compare_with_guess(loss, one)

    def _read(self, layer: keras.Layer, loss: Loss, seen: SeenLoss, outputs: Tensor) -> None:
        """Record what a loss gets."""
        places = [id(tensor) for tensor in list_tensors(outputs)]
        ends = Ends(
            layer=layer,
            steps=self._outputs.steps_before(seen.output),
            place=places.index(id(seen.output)) if id(seen.output) in places else None,
            loss=loss,
            outputs=to_array(seen.output),
            targets=to_array(seen.targets),
            counts=counted_rows(seen.targets, seen.output),
        )
        if ends.is_read and _has_value(ends, seen):
            self.ends.append(ends)
        elif ends.outputs.size and (loss.is_own or not loss.is_crossentropy):
            self.others.append(ends)

    def _compare_with_guess(self, loss: Loss, seen: SeenLoss) -> None:
        """Record the loss of an output of the model, and that of a blind guess."""
        layer = self._outputs.maker(seen.output)
        compared = value_and_guess(loss, seen)
        if compared is None or layer is None:
            return
        record = self._outputs.records.setdefault(layer, OutputReport())
        record.loss_kind, record.loss, record.blind_loss = compared
        record.size = compute_rms(to_array(seen.output))


@fact
def gradients(of: Diagnosis) -> dict[int, float]:
    """The norm of the gradient of each trained weight, by its id; empty without a loss."""
    losses = of.probe(LossProbe)
    if not losses.has_loss or not of.trained:
        return {}
    # Below a NaN, the gradient of a ReLU is 0 on JAX and NaN elsewhere.
    norms = [math.nan] * len(of.trained)
    if losses.value is not None and not math.isnan(losses.value):
        norms = of.norms()
    return dict(zip(map(id, of.trained), norms, strict=True))
