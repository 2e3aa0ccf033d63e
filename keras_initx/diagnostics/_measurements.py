"""The measurements of a model that the rules evaluate."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from keras_initx._typing import Array
from keras_initx.diagnostics._activations import is_bounded
from keras_initx.diagnostics._statistics import Signal
from keras_initx.diagnostics._thresholds import Thresholds
from keras_initx.diagnostics._weights import WeightReport


@dataclass(frozen=True, eq=False, repr=False)
class LayerReport:
    """The measurements of one layer.

    Attributes:
        name: Name of the layer, prefixed with the names of the layers around it: `"encoder/dense"`.
        kind: Name of its class.
        activation: Name of its activation, or `None` if it has none.
        shape: Shape of its output.
        before: `Signal` before the activation, or `None` if there is no activation or it is not
            accessible.
        after: `Signal` of the output, or `None` if it is not accessible.
        weights: A `WeightReport` for each weight.
        gate_bias: For an LSTM or a GRU, a pair of `"forget"` or `"update"` and an array with the
            bias of that gate; otherwise `None`.
        forget_bias_overwritten: Whether it is an LSTM that overwrites the forget-gate bias of its
            initializer with ones.
        first_inputs: `Signal` of its inputs if it has a kernel and no layer with weights comes
            before it; otherwise `None`.
        normalized_by: Name of the normalization layer that is the only consumer of its output, or
            `None`.
        loses_signal: Whether its output is nearly zero, so that a later kernel gets the same input
            for all examples.
        is_starved: Whether its kernel gets the same input for all examples because of an earlier
            layer.
        is_output: Whether its output, possibly after layers without weights, is an output of the
            model.
        certain: Fraction of the examples for which its softmax or sigmoid is saturated, if it is a
            model output; otherwise `None`.
    """

    name: str
    kind: str
    activation: str | None = None
    shape: tuple[int, ...] | None = None
    before: Signal | None = None
    after: Signal | None = None
    weights: list[WeightReport] = field(default_factory=list)
    gate_bias: tuple[Literal["forget", "update"], Array] | None = None
    forget_bias_overwritten: bool = False
    first_inputs: Signal | None = None
    normalized_by: str | None = None
    loses_signal: bool = False
    is_starved: bool = False
    is_output: bool = False
    certain: float | None = None

    @property
    def signal(self) -> Signal | None:
        """`Signal` of the output before the activation if there is one, otherwise of the output."""
        return self.before or self.after

    @property
    def saturated(self) -> float | None:
        """Fraction of the outputs near the limits of the activation, or `None` if it is unbounded."""
        return self.after.saturated if self.after else None

    @property
    def dead(self) -> float | None:
        """Fraction of the units whose output is zero for the whole batch although their input is not.

        `None` if no activation could cause this.
        """
        if not (self.before and self.after) or is_bounded(self.activation):
            return None
        before, after = self.before.unit_is_silent, self.after.unit_is_silent
        if before is None or after is None or before.shape != after.shape or not after.size:
            return None
        return float((after & ~before).mean())

    @property
    def gain(self) -> float | None:
        """Factor by which the first kernel scales its inputs, or `None` without a kernel or for a quantized one."""
        # The kernels of an adapter come after the one that they are added to, which may be quantized.
        kernels = (weight for weight in self.weights if not weight.name.startswith("lora_"))
        return next((weight.gain for weight in kernels if weight.gain is not None), None)

    @property
    def gradient_norm(self) -> float | None:
        """Norm of the gradient of all trainable weights of the layer, or `None` without any."""
        found = [weight.gradient for weight in self.weights if weight.gradient is not None]
        return _norm_of(found) if found else None

    @property
    def gradient_ratio(self) -> float | None:
        """Ratio of that norm to the norm of the same weights, or `None` without any or if they are zero."""
        norm = _norm_of(weight.norm for weight in self.weights if weight.gradient is not None)
        return self.gradient_norm / norm if self.gradient_norm is not None and norm else None

    def __repr__(self) -> str:
        return f"<LayerReport of {self.name}, {self.kind}: output {self.after or 'not seen'}>"


def _norm_of(norms: Iterable[float]) -> float:
    """Return the norm of a vector from the norms of its parts."""
    return float(sum(norm**2 for norm in norms) ** 0.5)


@dataclass(frozen=True, eq=False)
class Measurements:
    """The measurements of a model.

    Attributes:
        layers: A `LayerReport` for each layer that has weights or an activation, in the order of their outputs.
        inputs: `Signal` of the inputs, or `None` if they are integers.
        thresholds: The thresholds of the rules.
    """

    layers: list[LayerReport]
    inputs: Signal | None
    thresholds: Thresholds
