"""The first loss: outputs of the model that are saturated, or far worse than a blind guess."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_initx._typing import Array, Tensor
from keras_initx.backends import backend
from keras_initx.diagnostics._losses import (
    Guessed,
    SeenLoss,
    counted_rows,
    known_loss,
    name_of_loss,
)
from keras_initx.diagnostics._measurements import (
    LayerReport,
    Measurements,
    OutputReport,
    OwnLoss,
    root_mean_square,
)
from keras_initx.diagnostics._outputs import (
    Applied,
    LossInputs,
    OutputFacts,
    are_of_softmax,
    last_activation,
    loss_inputs,
    output_facts,
    reach_of,
)
from keras_initx.diagnostics._own_losses import compared_with_all, own_loss
from keras_initx.diagnostics._remedy import (
    Remedy,
    choice,
    drawn,
    kernels_of,
)
from keras_initx.diagnostics._signal import Signal, spread
from keras_initx.diagnostics._verdict import (
    EXPLODING,
    Finding,
    exceeds,
    has_enough_values,
    layer_count,
    rule,
)
from keras_initx.diagnostics.verdicts.inputs import (
    COMPARED,
    are_unscaled,
    scaled_first,
    size_of,
)
from keras_initx.diagnostics.verdicts.outputs import gives_one_class, is_misread
from keras_initx.diagnostics.verdicts.signals import (
    SATURATION_MARGIN,
    input_size,
    smaller_branches,
)
from keras_initx.diagnostics.verdicts.targets import reach_by_trial
from keras_initx.initializers import GlorotUniform
from keras_initx.structure import (
    NORMALIZATIONS,
    Call,
    Probe,
    Watch,
    array_of,
    first_float,
    tensors_in,
)

# Fraction of the examples above which the final softmax or sigmoid is saturated. An example counts
# if its output is within `SATURATION_MARGIN` of 1, or of 0 for a sigmoid. Saturation caused by a
# bias does not count: then the values before the activation vary between examples by less than half
# of what saturation takes.
SATURATED_OUTPUT = 0.6
# Factor between the loss of an output and that of a blind guess, or 1 if that is more, above which
# training first has to undo the initial weights.
FIRST_LOSS = 8
# These set some of their inputs to 0, or to another constant.
_DROPOUTS = keras.layers.Dropout, keras.layers.AlphaDropout
# A network that keeps the size of standardized inputs gives 1 to 2.
_LARGE_INPUTS = 5


class OutputProbe(Probe):
    """Measures the outputs of the model: which layers make them, how sure they are, their losses.

    Args:
        watch: The watch of the pass.
        reports: Dict from a layer to its `LayerReport`, which grows in the pass, in the order in
            which outputs are seen.

    Attributes:
        records: Dict from a layer to the `OutputReport` of the output that it makes.
        facts: Pairs of a layer and the facts of an output that has a known loss.
        loss_inputs: Pairs of a layer and what a loss of Keras gets of the output that it makes.
        own_losses: Pairs of a layer and what is known of another loss of its output.
    """

    def __init__(self, watch: Watch, reports: dict[keras.Layer, LayerReport]) -> None:
        self.records: dict[keras.Layer, OutputReport] = {}
        self.facts: list[tuple[keras.Layer, OutputFacts]] = []
        self.loss_inputs: list[tuple[keras.Layer, LossInputs]] = []
        self.own_losses: list[tuple[keras.Layer, OwnLoss]] = []
        self._watch = watch
        self._reports = reports
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
        if self._watch.activations[layer] in ("sigmoid", "softmax") and len(values.shape) > 0:
            others = self._logits_spread.get(layer, 0.0)
            self._logits_spread[layer] = float(np.maximum(others, spread(array_of(values))))

    def after(self, call: Call) -> None:
        inputs = first_float(call.given)
        if call.is_seen and inputs is not None:
            self._input_size[call.operation] = size_of(array_of(inputs[:COMPARED]))

    def add_outputs(self, outputs: Tensor) -> None:
        """Record which layers make the outputs of the model, and how saturated these are."""
        for tensor in tensors_in(outputs):
            layer = self._maker(tensor)
            if layer is None:
                continue
            self._mark(layer)
            self._mark_before_activation(layer)
            record = self.records[layer]
            limit = None
            for operation, activation in self._steps_before(tensor):
                name = self._watch.layers.get(operation, operation.name)
                if isinstance(operation, _DROPOUTS) and operation.rate:
                    record.dropped_by = name
                # Others have a weight of this name, or none.
                has_no_scale = getattr(operation, "scale", True) is False
                if isinstance(operation, NORMALIZATIONS) and has_no_scale:
                    limit = name
                elif activation in ("sigmoid", "softmax"):
                    record.limited_by = limit
            certainty = self._certainty(layer, array_of(tensor))
            if certainty is None:
                continue
            # The makers of several outputs may not be told apart.
            if record.certain is None or certainty > record.certain:
                record.certain = certainty

    def _mark_before_activation(self, layer: keras.Layer) -> None:
        """Record that what makes the inputs of an activation layer makes an output of the model."""
        if layer.weights:
            return
        for other in self._reports:
            if other not in self.records and self._watch.graph.only_consumer(other) is layer:
                self._mark(other)
                self._mark_before_activation(other)

    def _mark(self, layer: keras.Layer) -> None:
        """Record that `layer` makes an output of the model."""
        record = self.records.setdefault(layer, OutputReport())
        record.input_size = self._input_size.get(layer)

    def add_facts(
        self, seen: Iterable[SeenLoss], model: keras.Model, x: Any, outputs: Tensor
    ) -> None:
        """Record what is between the last layers and the losses.

        Args:
            seen: The losses with their targets and outputs.
            model: The model.
            x: Its inputs.
            outputs: All its outputs.
        """
        places = [id(tensor) for tensor in tensors_in(outputs)]
        for one in seen:
            layer = self._maker(one.output)
            if layer is None or not one.output.shape:
                continue
            steps = self._steps_before(one.output)
            activation = steps[-1][1] if steps else None
            targets, made = array_of(one.targets), array_of(one.output)
            name = name_of_loss(one.loss)
            if name is not None:
                given = loss_inputs(name, targets, made)
                if given is not None:
                    self.loss_inputs.append((layer, given))
            mismatch = None if name else compared_with_all(one.loss, one.targets, one.output)
            if mismatch is not None:
                given = LossInputs("", Signal(), mismatch=mismatch)
                self.loss_inputs.append((layer, given))
                continue
            loss = known_loss(one.loss, one.targets, one.output)
            if loss is None:
                own = None if name else own_loss(one.loss, one.targets, one.output)
                if own is not None:
                    self.own_losses.append((layer, own))
                continue
            applied = self._applied(steps)
            reach = reach_of(steps, one.output.shape[loss.axis])
            if activation is None and reach == (-math.inf, math.inf) and id(one.output) in places:
                size = max(float(abs(targets).max(initial=0)), 1.0)
                with self._watch.paused():
                    reach = reach_by_trial(model, x, layer, places.index(id(one.output)), size)
                applied = self._applied([(layer, self._watch.activations[layer])])
            facts = output_facts(
                loss,
                activation,
                applied,
                reach,
                targets,
                made,
                counted_rows(one.targets, one.output),
            )
            if facts is not None:
                self.facts.append((layer, facts))

    def _steps_before(self, output: Tensor) -> list[tuple[keras.Operation, str | None]]:
        """Return what follows the last kernel, that layer first, with the names of activations."""
        steps = []
        for operation in self._watch.graph.producers(output):
            activation = last_activation(operation, self._watch.activations.get(operation))
            steps.append((operation, activation))
            if getattr(operation, "weights", None):
                break
        return steps[::-1]

    def _applied(self, steps: Iterable[tuple[keras.Operation, str | None]]) -> tuple[Applied, ...]:
        """Return the activations among what follows the last kernel."""
        applied = []
        for operation, activation in steps:
            if activation not in (None, "linear"):
                name = self._watch.layers.get(operation, operation.name)
                applied.append(Applied(name, activation, hasattr(operation, "activation")))
        return tuple(applied)

    def add_losses(self, guessed: Iterable[Guessed]) -> None:
        """Record the losses of the outputs of the model, and those of blind guesses."""
        for tensor, kind, loss, blind_loss in guessed:
            layer = self._maker(tensor)
            if layer is not None:
                record = self.records.setdefault(layer, OutputReport())
                record.loss_kind = kind
                record.loss = loss
                record.blind_loss = blind_loss
                record.size = size_of(array_of(tensor))

    def _maker(self, output: Tensor) -> keras.Layer | None:
        """Return the layer that has made an output of the model, `None` if it was not seen."""
        if self._watch.graph.is_input(output):  # passed through
            return None
        seen = [layer for layer, report in self._reports.items() if report.after is not None]
        origin = self._watch.graph.origin(output)
        if origin in seen:
            return origin
        # Custom code has transformed it, often without changing its shape.
        alike = [layer for layer in seen if self._reports[layer].shape == tuple(output.shape)]
        candidates = alike or seen
        return candidates[-1] if candidates else None

    def _certainty(self, layer: keras.Layer, values: Array) -> float | None:
        """Return the fraction of probabilities near 0 or 1, or `None` for other outputs.

        For a softmax, it is that of the examples with one probability near 1.
        """
        if not values.size:
            return None
        is_softmax = are_of_softmax(values)
        if not is_softmax and self._watch.activations[layer] != "sigmoid":
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


@rule(
    "saturated output",
    levels={"warning": ""},
    finds="a final softmax or sigmoid that is saturated for a fraction of the examples above "
    f"{SATURATED_OUTPUT:g}",
    reason="the loss starts far above that of guessing, and the first steps only undo this",
    remedy="scaled inputs, smaller weights in the last layer",
)
def saturated_output(measured: Measurements) -> Iterator[Finding]:
    hit = []
    for layer in measured.layers:
        if layer.output is not None and _is_certain(layer, measured):
            hit.append((layer, layer.output.certain or 0.0))
    if not hit:
        return
    layers = [layer for layer, _ in hit]
    worst, certain = max(hit, key=lambda pair: pair[1])
    evidence = (
        f"{worst.name} is saturated for {certain:.0%} of the examples before training"
        f"{input_size(worst)}{layer_count(layers)}: the loss starts far above that of guessing, "
        "and the first steps only undo this"
    )
    remedy = _smaller_inputs(worst, measured) or _smaller_last_layer(layers, measured)
    yield Finding(layers, evidence, scaled_first(measured, remedy))


@rule(
    "large first loss",
    levels={"warning": ""},
    finds=f"an output whose loss is above {FIRST_LOSS:g}, and as many times that of a blind guess",
    reason="usual weights give 1 to 4 times a blind guess; the first steps only undo what is above "
    "(Karpathy, A recipe for training neural networks, 2019)",
    remedy="scaled inputs, smaller weights in the last layer, residual branches that start at 0, "
    "standardized targets",
)
def large_first_loss(measured: Measurements) -> Iterator[Finding]:
    hit = []
    for layer in measured.layers:
        output = layer.output
        if output is None or not output.loss or not output.blind_loss:
            continue
        # What is misread, explodes or is saturated has its own verdict.
        if is_misread(layer, measured) or _is_certain(layer, measured):
            continue
        if not layer.signal.std <= EXPLODING:
            continue
        # Outputs start at about 1, however small the targets are.
        ratio = output.loss / max(output.blind_loss, 1)
        if ratio > FIRST_LOSS and has_enough_values(layer):
            hit.append((layer, output, ratio))
    if not hit:
        return
    layers = [layer for layer, *_ in hit]
    worst, output, _ = max(hit, key=lambda found: found[-1])
    evidence = (
        f"the loss of {worst.name} starts at {output.loss:.3g}, that of a blind guess is "
        f"{output.blind_loss:.3g}; its outputs have standard deviation {worst.signal.std:.3g}"
        f"{layer_count(layers)}"
    )
    smaller_factor = (
        f"a smaller factor after {worst.name}: a higher temperature, a division by the square "
        "root of the number of units"
    )
    remedy = _smaller_last_layer([worst], measured)
    smaller_inputs = _smaller_inputs(worst, measured)
    if smaller_inputs is not None:
        evidence += f", and its inputs a root mean square of {output.input_size:.3g}"
        remedy = smaller_inputs
    elif worst.weights and not worst.has_kernel:
        remedy = Remedy(smaller_factor.replace("after", "in", 1))
    remedy = scaled_first(measured, remedy)
    # Operations follow the layer.
    size = root_mean_square(worst.after or Signal())
    if output.size is not None and output.size > 2 * size > 0:
        evidence += f"; what follows makes them {output.size / size:.3g} times as large"
        remedy = Remedy(smaller_factor)
    if misses_targets(worst):
        remedy = standardized_targets()
    yield Finding(layers, evidence, remedy)


def _is_certain(layer: LayerReport, measured: Measurements) -> bool:
    if layer.output is None or gives_one_class(layer, measured):
        return False
    return exceeds(layer.output.certain, SATURATED_OUTPUT)


def _smaller_inputs(layer: LayerReport, measured: Measurements) -> Remedy | None:
    """Return the remedy where what the last layer gets has grown in the model, else `None`."""
    size = None if layer.output is None else layer.output.input_size
    if not layer.has_kernel or not exceeds(size, _LARGE_INPUTS) or are_unscaled(measured):
        return None
    remedy = Remedy(f"keras.layers.LayerNormalization() before {layer.name}")
    smaller = smaller_branches(measured)
    return remedy if smaller is None else smaller.otherwise(remedy, "; or ")


def _smaller_last_layer(layers: Sequence[LayerReport], measured: Measurements) -> Remedy:
    """Return a remedy that draws the kernels of the last of `layers` anew."""
    with_kernel = [layer for layer in layers if kernels_of([layer])]
    if not with_kernel:
        # They are activations of what comes before.
        before = measured.layers[: measured.layers.index(layers[0])]
        with_kernel = [layer for layer in before if kernels_of([layer])][-1:]
    return drawn(
        [choice(GlorotUniform())], kernels_of(with_kernel), "smaller weights in the last layer: "
    )


def misses_targets(layer: LayerReport) -> bool:
    """Return whether errors are beyond the outputs, so that they are due to the targets."""
    if layer.output is None or layer.output.loss_kind == "crossentropy":
        return False
    size = layer.output.size
    if size is None:
        size = root_mean_square(layer.signal)
    return exceeds(layer.output.loss, 2 * size)


def standardized_targets() -> Remedy:
    """Return the remedy where errors are due to the targets."""
    return Remedy("standardized targets, or a bias of the last layer at their mean")
