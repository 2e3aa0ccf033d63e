"""What has been measured and judged, and how it is shown."""

import json
import shutil
from dataclasses import dataclass, field

from keras_initx._extras import needed
from keras_initx.diagnostics import _export, _text
from keras_initx.diagnostics._statistics import Signal
from keras_initx.diagnostics._verdicts import LEVELS, Verdict
from keras_initx.diagnostics._weights import WeightReport


@dataclass(frozen=True, eq=False)
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
    shape: tuple | None = None
    before: Signal | None = None
    after: Signal | None = None
    weights: list[WeightReport] = field(default_factory=list)
    gate_bias: tuple | None = None
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
        if not (self.before and self.after) or self.saturated is not None or self.activation == "softmax":
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
        return sum(norm**2 for norm in found) ** 0.5 if found else None

    @property
    def gradient_ratio(self) -> float | None:
        """Norm of that gradient over the norm of the same weights, `None` without any or if they are zero."""
        trained = [weight.norm for weight in self.weights if weight.gradient is not None]
        norm = sum(norm**2 for norm in trained) ** 0.5
        return self.gradient_norm / norm if self.gradient_norm is not None and norm else None


@dataclass(frozen=True, eq=False)
class Report:
    """What `diagnose` has found. `print` shows it as a table, and so does a notebook.

    Attributes:
        layers: A `LayerReport` for each layer that has weights or an activation, in the order of their outputs.
        inputs: `Signal` of the inputs, `None` if they are integers.
        verdicts: A list of `Verdict`, causes before effects, and those of level `"note"` last.
    """

    layers: list[LayerReport]
    inputs: Signal | None
    verdicts: list[Verdict]

    @property
    def problems(self) -> list[Verdict]:
        """The verdicts that are errors or warnings."""
        return [verdict for verdict in self.verdicts if verdict.level != "note"]

    @property
    def ok(self) -> bool:
        """Whether there is no error and no warning."""
        return not self.problems

    @property
    def exit_code(self) -> int:
        """0 if there is no error and no warning, otherwise 1."""
        return 0 if self.ok else 1

    def fails_on(self, level: str) -> bool:
        """Tell whether there is a verdict of `level` or a more serious one.

        Args:
            level: `"error"`, `"warning"` or `"note"`.

        Raises:
            ValueError: If `level` is another.
        """
        if level not in LEVELS:
            raise ValueError(f"`level` must be one of {LEVELS}. Received: level={level!r}")
        serious = LEVELS[: LEVELS.index(level) + 1]
        return any(verdict.level in serious for verdict in self.verdicts)

    def to_dict(self) -> dict:
        """Return everything as dicts, lists, strings and numbers; `None` for what is not finite."""
        return _export.as_dict(self)

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def to_csv(self) -> str:
        """Return a table in CSV with a row for each layer."""
        return _export.as_csv(self)

    def plot(self, path) -> None:
        """Draw mean and standard deviation by layer, gradient norms if there are any, and a histogram of each layer.

        Needs matplotlib, which comes with the extra `plot`.

        Args:
            path: Path of the file to write, whose suffix says in which format.

        Raises:
            ImportError: If matplotlib is not installed.
            OSError: If the file cannot be written.
            ValueError: If the suffix is not that of a format that can be written.
        """
        plotting().plot(self, path)

    def __str__(self):
        return _text.shown(self)

    def __repr__(self):
        return f"<Report of {len(self.layers)} layers: {_text.headline(self)[:-1].lower()}>"

    def __rich__(self):
        return _text.rich(self, shutil.get_terminal_size().columns)

    def _repr_html_(self):
        return _text.as_html(self)


def plotting():
    """Return the module that draws.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    needed("matplotlib", "plot")
    from keras_initx.diagnostics import _plot

    return _plot
