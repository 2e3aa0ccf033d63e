"""What `diagnose` has found, and how it is shown."""

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
    """What `diagnose` has found. `print` shows it as a table, and so does a notebook.

    Attributes:
        layers: A `LayerReport` for each layer that has weights or an activation, in the order of their outputs.
        inputs: `Signal` of the inputs, `None` if they are integers.
        verdicts: A list of `Verdict`, causes before effects, and those of level `"note"` last.
        thresholds: The `Thresholds` of the rules. Plots show those that are in the range of the values.
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
        """Whether there is no error and no warning."""
        return not self.problems

    @property
    def exit_code(self) -> int:
        """0 if there is no error and no warning, otherwise 1."""
        return 0 if self.ok else 1

    def fails_on(self, level: Level) -> bool:
        """Tell whether there is a verdict of `level` or a more serious one.

        Args:
            level: `"error"`, `"warning"` or `"note"`.

        Raises:
            ValueError: If `level` is another.
        """
        serious = LEVELS[: LEVELS.index(check_choice("level", level, LEVELS)) + 1]
        return any(verdict.level in serious for verdict in self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as dicts, lists, strings and numbers; `None` for what is not finite."""
        return _export.as_dict(self)

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return as_json(self.to_dict(), indent=1)

    def to_csv(self) -> str:
        """Return a table in CSV with a row for each layer: what `to_dict` has, without histograms and weights."""
        return _export.csv_of_layers(self)

    def plot(self, path: str | Path) -> None:
        """Plot mean and standard deviation by layer, gradient norms if there are any, and a histogram of each layer.

        Needs matplotlib, which comes with the extra `plot`.

        Args:
            path: Path of the file to write, whose suffix says in which format.

        Raises:
            ImportError: If matplotlib is not installed.
            OSError: If the file cannot be written.
            ValueError: If the suffix is not that of a format that can be written.
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
