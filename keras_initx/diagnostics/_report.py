"""The report of `diagnose`."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_initx._checks import check_choice
from keras_initx._extras import needed
from keras_initx.diagnostics import _export, _text
from keras_initx.diagnostics._measurements import LayerReport
from keras_initx.diagnostics._statistics import Signal
from keras_initx.diagnostics._thresholds import Thresholds
from keras_initx.diagnostics._types import Level
from keras_initx.diagnostics._verdicts import LEVELS, Verdict
from keras_initx.rendering._export import as_json

if TYPE_CHECKING:
    from rich.console import Group


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """The result of `diagnose`, shown as a table by `print` and in notebooks.

    Attributes:
        layers: A `LayerReport` for each layer that has weights or an activation, in the order of their outputs.
        inputs: `Signal` of the inputs, or `None` if they are integers.
        verdicts: A list of `Verdict`, causes before effects, with those of level `"note"` last.
        thresholds: The `Thresholds` of the rules. Plots show those in the range of the values.
    """

    layers: list[LayerReport]
    inputs: Signal | None
    verdicts: list[Verdict]
    thresholds: Thresholds = field(default_factory=Thresholds)

    @property
    def problems(self) -> list[Verdict]:
        """The verdicts that are errors or warnings."""
        return [verdict for verdict in self.verdicts if verdict.level != "note"]

    @property
    def ok(self) -> bool:
        """Whether there are no errors and no warnings."""
        return not self.problems

    @property
    def exit_code(self) -> int:
        """0 if there are no errors and no warnings, otherwise 1."""
        return 0 if self.ok else 1

    def fails_on(self, level: Level) -> bool:
        """Return whether there is a verdict of `level` or higher.

        Args:
            level: `"error"`, `"warning"` or `"note"`.

        Raises:
            ValueError: If `level` is none of these.
        """
        serious = LEVELS[: LEVELS.index(check_choice("level", level, LEVELS)) + 1]
        return any(verdict.level in serious for verdict in self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as dicts, lists, strings and numbers, with `None` for values that are not finite."""
        return _export.as_dict(self)

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return as_json(self.to_dict(), indent=1)

    def to_csv(self) -> str:
        """Return a CSV table with a row for each layer: the data of `to_dict` without histograms and weights."""
        return _export.csv_of_layers(self)

    def plot(self, path: str | Path) -> None:
        """Plot mean and standard deviation by layer, gradient norms if measured, and a histogram of each layer.

        Requires matplotlib, which the extra `plot` installs.

        Args:
            path: Path of the output file. The suffix sets the format.

        Raises:
            ImportError: If matplotlib is not installed.
            OSError: If the file cannot be written.
            ValueError: If the suffix is not that of a supported format.
        """
        needed("matplotlib", "plot")
        from keras_initx.diagnostics._plot import plot_report

        plot_report(self, path)

    def __str__(self) -> str:
        return _text.shown(self)

    def __repr__(self) -> str:
        return f"<Report of {len(self.layers)} layers: {_text.headline(self)[:-1].lower()}>"

    def __rich__(self) -> "Group":
        return _text.rich(self, shutil.get_terminal_size().columns)

    def _repr_html_(self) -> str:
        return _text.as_html(self)
