"""What has been measured of a model, which the rules evaluate."""

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
    """What a layer is and what it has given.

    Attributes:
        name: Name of the layer, with those of the layers that it is inside of: `"encoder/dense"`.
        kind: Its class.
        activation: Name of its activation, `None` if it has none.
        shape: Shape of its output.
        before: `Signal` before the activation, `None` if there is no activation or it cannot be seen.
        after: `Signal` of the output, `None` if it cannot be seen.
        weights: A `WeightReport` for each weight.
        gate_bias: For an LSTM or a GRU, `"forget"` or `"update"` and the bias of that gate, an array; otherwise `None`.
        forget_bias_overwritten: Whether it is an LSTM that writes ones over what its bias initializer gives.
        first_inputs: `Signal` of what it gets from outside, if it has a kernel and no weights come before; otherwise
            `None`.
        normalized_by: Name of the normalization that takes its output, `None` if nothing or anything else takes it.
        loses_signal: Whether it gives next to nothing, so that behind it a kernel gets the same for all examples.
        is_starved: Whether its kernel gets the same for all examples because of a layer before it.
        is_output: Whether its output, or what layers without weights make of it, is an output of the model.
        certain: Share of the examples of which its softmax or sigmoid is certain, if it gives an output of the model;
            otherwise `None`.
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
        """What the layer computes, before its activation if there is one."""
        return self.before or self.after

    @property
    def saturated(self) -> float | None:
        """Share of the outputs near the limits of the activation, `None` if it has none."""
        return self.after.saturated if self.after else None

    @property
    def dead(self) -> float | None:
        """Share of the units that give zero for all of the batch, though what comes before is not zero.

        `None` if there is no activation that could do so.
        """
        if not (self.before and self.after) or is_bounded(self.activation):
            return None
        before, after = self.before.unit_is_silent, self.after.unit_is_silent
        if before is None or after is None or before.shape != after.shape or not after.size:
            return None
        return float((after & ~before).mean())

    @property
    def gain(self) -> float | None:
        """By how much the first kernel changes the size of its inputs, `None` without a kernel."""
        return next((weight.gain for weight in self.weights if weight.gain is not None), None)

    @property
    def gradient_norm(self) -> float | None:
        """Norm of the gradient of all trainable weights of the layer, `None` without any."""
        found = [weight.gradient for weight in self.weights if weight.gradient is not None]
        return _norm_of(found) if found else None

    @property
    def gradient_ratio(self) -> float | None:
        """Norm of that gradient over the norm of the same weights, `None` without any or if they are zero."""
        norm = _norm_of(weight.norm for weight in self.weights if weight.gradient is not None)
        return self.gradient_norm / norm if self.gradient_norm is not None and norm else None

    def __repr__(self) -> str:
        return f"<LayerReport of {self.name}, {self.kind}: output {self.after or 'not seen'}>"


def _norm_of(norms: Iterable[float]) -> float:
    """Return the norm of what has parts of these norms."""
    return float(sum(norm**2 for norm in norms) ** 0.5)


@dataclass(frozen=True, eq=False)
class Measurements:
    """What has been measured of a model.

    Attributes:
        layers: A `LayerReport` for each layer that has weights or an activation, in the order of their outputs.
        inputs: `Signal` of the inputs, `None` if they are integers.
        thresholds: Where a problem begins.
    """

    layers: list[LayerReport]
    inputs: Signal | None
    thresholds: Thresholds
