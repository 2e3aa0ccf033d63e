"""The rows of a report: numbers and words on a layer and its weights, no object of Keras."""

from dataclasses import dataclass

from keras_initx._signatures import shorten_signature
from keras_initx._typing import Shape
from keras_initx.inspection._kernels import KernelAxes
from keras_initx.tools.diagnose._signal import Signal


@dataclass(frozen=True)
class GradientReport:
    """The gradient of all trainable weights of a layer, without penalties of regularizers.

    Attributes:
        norm: Norm of the gradient, NaN if the loss of the model is NaN.
        ratio: Norm of the gradient divided by the norm of these weights, `None` if they are zero.

    See Also:
        `LayerReport.gradient`.
    """

    norm: float
    ratio: float | None


@dataclass(frozen=True)
class WeightReport:
    """The statistics of one weight of a layer in your model.

    Attributes:
        name: Name of the weight, `"kernel"`.
        path: Its path in your model. Rules of `initialize` match this path.
        shape: Its shape.
        mean: Mean of its entries.
        std: Their standard deviation.
        zeros: Fraction of the entries that are exactly zero.
        norm: Norm of the weight.
        trainable: Whether it is trained.
        gradient: Norm of its gradient, or `None` without targets.
        axes: For a kernel, a tuple of input axes and a tuple of output axes.
        fan_in: For a kernel, the number of inputs of a unit, otherwise `None`.
        gain: For a kernel, `std * sqrt(fan_in)`, the factor between its inputs and outputs; for an
            embedding, `std`; for a single weight its absolute value.
        zero: For a trainable kernel, or the trainable scale of a normalization, whether all entries
            are 0.

    See Also:
        `LayerReport.weights`.
    """

    name: str
    path: str
    shape: Shape
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


@shorten_signature
@dataclass(frozen=True, eq=False, repr=False)
class LayerReport:
    """The measurements of one layer of your model.

    `DiagnosisReport.to_json` has the measurements that you see in the table and the plot.

    Attributes:
        name: Names of the layer and of those around it, as Keras has them: `"encoder/dense_3"`.
        path: The same as rules and plans have them, counted within the model: `"encoder/dense"`.
        status: `"error"`, `"warning"` or `"note"`, the highest level of a verdict on the layer;
            `"ok"` without one.
        detail: The problems of these verdicts, `"vanishing, saturated"`.
        title: Its path. If Keras' own name differs, it follows in parentheses.
        kind: Name of its class.
        activation: Name of its activation, or `None` if it has none.
        shape: Shape of its output, or `None` if it is not accessible.
        before: `Signal` before the activation, or `None` if there is no activation or it is not
            accessible.
        after: `Signal` of the output, or `None` if it is not accessible.
        signal: `Signal` before the activation, otherwise of the output; empty without either.
        saturated: Fraction of the outputs near the limits of the activation, `None` if it is
            unbounded.
        dead: Fraction of the units whose output is 0 for the whole batch although their input is
            not, `None` if no activation could cause this.
        gradient: The gradient of its weights, or `None` without any.
        gain: Factor between the inputs and outputs of the first kernel, `None` without one or if
            quantized.
        weights: A `WeightReport` for each weight.

    See Also:
        `DiagnosisReport.rows`.
    """

    name: str
    path: str
    status: str
    detail: str
    title: str
    kind: str
    activation: str | None
    shape: Shape | None
    before: Signal | None
    after: Signal | None
    signal: Signal
    saturated: float | None
    dead: float | None
    gradient: GradientReport | None
    gain: float | None
    weights: list[WeightReport]

    @property
    def has_problem(self) -> bool:
        """Whether a verdict on the layer is an error or a warning."""
        return self.status in ("error", "warning")

    @property
    def text(self) -> str:
        """The outcome, in words."""
        text = f"{self.path!r}: {self.status}"
        return f"{text}: {self.detail}" if self.detail else text

    def __repr__(self) -> str:
        return f"<LayerReport of {self.name}, {self.kind}: output {self.after or 'not seen'}>"
