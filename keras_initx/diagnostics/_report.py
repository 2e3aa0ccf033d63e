"""What has been measured and judged, and how it is shown."""

from dataclasses import dataclass, field

from keras_initx.diagnostics._statistics import Signal
from keras_initx.diagnostics._weights import WeightReport


@dataclass(frozen=True)
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
    """

    name: str
    kind: str
    activation: str | None = None
    shape: tuple | None = None
    before: Signal | None = None
    after: Signal | None = None
    weights: list[WeightReport] = field(default_factory=list)
    gate_bias: tuple | None = None

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
        """Share of the units that give zero for all of the batch, though what comes before is not zero."""
        if not (self.before and self.after) or self.before.unit_is_silent is None:
            return None
        silent = self.after.unit_is_silent
        if silent is None or silent.shape != self.before.unit_is_silent.shape:
            return None
        return float((silent & ~self.before.unit_is_silent).mean()) if silent.size else None

    @property
    def gradient_norm(self) -> float | None:
        """Norm of the gradient of all trainable weights of the layer, `None` without any."""
        found = [weight.gradient for weight in self.weights if weight.gradient is not None]
        return sum(norm**2 for norm in found) ** 0.5 if found else None

    @property
    def gradient_ratio(self) -> float | None:
        """Norm of that gradient over the norm of the same weights, `None` without any or if they are zero."""
        trained = [weight.norm for weight in self.weights if weight.gradient is not None]
        norm = sum(norm**2 for norm in trained) ** 0.5
        return self.gradient_norm / norm if self.gradient_norm is not None and norm else None


@dataclass(frozen=True)
class Report:
    """What `diagnose` has found.

    Attributes:
        layers: A `LayerReport` for each layer that has weights or an activation, in the order of their outputs.
        inputs: `Signal` of the inputs, `None` if they are integers.
        verdicts: A list of `Verdict`, empty if no problem was found.
    """

    layers: list[LayerReport]
    inputs: Signal | None
    verdicts: list

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.verdicts

    @property
    def exit_code(self) -> int:
        """0 if no problem was found, otherwise 1."""
        return 0 if self.ok else 1
