"""The first loss: outputs that are far worse than a blind guess."""

from collections.abc import Iterator

from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, measured_layers
from keras_initx.tools.diagnose._remedies import (
    describe_smaller_factor,
    misses_targets,
    propose_smaller_inputs,
    propose_smaller_last_layer,
    propose_standardized_targets,
)
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import FIRST_LOSS, Finding, rule, write_count
from keras_initx.tools.diagnose._signal import Signal, compute_signal_rms


@rule(
    "large first loss",
    beside=["undefined loss", "saturated", "exploding:error"],
    reads_loss=True,
)
def large_first_loss(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report outputs that are far worse than a blind guess.

    Reported if:
        An output has a loss above {FIRST_LOSS:g}, and above {FIRST_LOSS:g} times the loss of a
        blind guess. It is not reported if *unscaled inputs* are the cause, or if the model itself
        scales its outputs to the size of the targets.

    Level:
        warning

    Why:
        With usual weights, the first loss is 1 to 4 times the loss of a blind guess. The first
        steps only undo a larger loss (Karpathy, A recipe for training neural networks, 2019).

    Typical causes:
        - targets or weights of the last layer that are too large
        - an output that uses the rows of an embedding again
        - residual branches that add up

    Fix:
        - Standardize your targets.
        - Draw smaller weights in the last layer, or in the embedding.
        - Start residual branches at 0.
    """
    hit: dict[MeasuredLayer, float] = {}
    has_unscaled_inputs = _has_unscaled_inputs(diagnosis)
    for layer in layers:
        output = layer.output
        if not output.loss or not output.blind_loss:
            continue
        if has_unscaled_inputs and not misses_targets(layer):
            continue  # an effect of *unscaled inputs*
        # Outputs start at about 1, however small the targets are.
        start = max(1.0, _find_unit(layer))
        ratio = output.loss / max(output.blind_loss, start)
        if ratio > FIRST_LOSS and layer.has_enough_values:
            hit[layer] = ratio
    if not hit:
        return
    worst = max(hit, key=lambda layer: hit[layer])
    loss, blind_loss = worst.output.loss, worst.output.blind_loss
    evidence = (
        f"{worst.title} starts with a loss of {loss:.3g}{write_count(list(hit))}; guessing would "
        f"cost {blind_loss:.3g}. Its outputs have standard deviation {worst.signal.std:.3g}"
    )
    details, remedy = _explain(worst, diagnosis)
    evidence += f"{details}. The first steps only undo this"
    yield Finding(list(hit), evidence, remedy)


def _has_unscaled_inputs(diagnosis: Diagnosis) -> bool:
    layers = measured_layers(diagnosis)
    return any(layer.first_inputs.are_large and not layer.is_rescaled for layer in layers)


def _compute_later_factor(layer: MeasuredLayer) -> float:
    """Compute how many times as large operations after a layer make its output, 1 if not known."""
    size, later_size = compute_signal_rms(layer.after or Signal()), layer.output.size
    return later_size / size if later_size is not None and size > 0 else 1.0


def _find_unit(layer: MeasuredLayer) -> float:
    # Operations after the last layer may scale its outputs to targets in pixels or in money.
    if layer.output.loss_kind != "distance":
        return 1.0
    return min(_compute_later_factor(layer), layer.output.largest_target)


def _explain(layer: MeasuredLayer, diagnosis: Diagnosis) -> tuple[str, Remedy]:
    """Find the cause: return its evidence and its remedy."""
    details, output = "", layer.output
    smaller_inputs = propose_smaller_inputs(layer, diagnosis)
    if smaller_inputs is not None:
        details = f", and its inputs have a root mean square of {output.input_size:.3g}"
        remedy = smaller_inputs
    elif layer.weights and not layer.has_kernel:
        remedy = Remedy(describe_smaller_factor("in", layer))
    else:
        remedy = propose_smaller_last_layer([layer], diagnosis)
    factor = _compute_later_factor(layer)
    if factor > 2:
        details += f"; later operations make them {factor:.3g} times as large"
        remedy = Remedy(describe_smaller_factor("after", layer))
    if misses_targets(layer):
        remedy = propose_standardized_targets()
    return details, remedy
