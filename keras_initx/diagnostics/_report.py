"""The report of `diagnose`, and its views: data, text, and HTML for a notebook."""

import dataclasses
import html
import io
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_initx._checks import check_choice
from keras_initx._extras import import_optional
from keras_initx.diagnostics._measure import LayerReport
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._verdicts import LEVELS, Level, Thresholds, Verdict
from keras_initx.rendering import (
    GAP,
    Column,
    Table,
    as_csv,
    as_json,
    counted,
    filled,
    finite,
    is_rich,
    short_number,
    shortened,
    text_width,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Report"]

_STATISTICS = ("size", "mean", "std", "min", "max", "zeros", "nonfinite")
# The nested dicts of a layer become separate columns.
_CSV_COLUMNS = {
    **dict.fromkeys(("first_inputs", "before", "after"), _STATISTICS),
    "gate_bias": ("gate", "min", "max"),
}


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Report:
    """The result of `diagnose`, shown as a table by `print` and in notebooks.

    Attributes:
        layers: A `LayerReport` for each layer that has weights or an activation, in the order of
            their outputs.
        inputs: `Signal` of the inputs, or `None` if they are integers.
        verdicts: A list of `Verdict`, causes before effects, with those of level `"note"` last.
        thresholds: The `Thresholds` of the rules. Plots show those in the range of the values.
    """

    layers: list[LayerReport]
    inputs: Signal | None
    verdicts: list[Verdict]
    thresholds: Thresholds = dataclasses.field(default_factory=Thresholds)

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
        content = {
            "ok": self.ok,
            "verdicts": [dataclasses.asdict(verdict) for verdict in self.verdicts],
            "inputs": _as_data(self.inputs),
            "layers": [self._layer_as_dict(layer) for layer in self.layers],
        }
        return {name: finite(value) for name, value in content.items()}

    def _layer_as_dict(self, layer: LayerReport) -> dict[str, Any]:
        levels = [verdict.level for verdict in self.verdicts if layer.name in verdict.layers]
        gate, bias = layer.gate_bias or (None, None)
        return {
            "name": layer.name,
            "level": min(levels, key=LEVELS.index, default=None),
            **{
                measured.name: _as_data(getattr(layer, measured.name))
                for measured in dataclasses.fields(layer)
            },
            "gate_bias": None
            if bias is None
            else {"gate": gate, "min": float(bias.min()), "max": float(bias.max())},
            "weights": [dataclasses.asdict(weight) for weight in layer.weights],
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return as_json(self.to_dict(), indent=1)

    def to_csv(self) -> str:
        """Return a CSV table with a row for each layer: the data of `to_dict` without histograms and weights."""
        return as_csv(map(_csv_row, self.to_dict()["layers"]))

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Plot mean and standard deviation by layer, gradient norms if measured, and a histogram of each layer.

        Requires matplotlib, which the extra `plot` installs.

        Args:
            path: Path of the output file, or `None` to write none. The suffix sets the format.

        Returns:
            The figure, which a notebook shows.

        Raises:
            ImportError: If matplotlib is not installed.
            OSError: If the file cannot be written.
            ValueError: If the suffix is not that of a supported format.
        """
        import_optional("matplotlib", "plot")
        from keras_initx.diagnostics._plot import plot_layers

        return plot_layers(self.layers, self._marked, self.thresholds, path)

    @property
    def _marked(self) -> set[str]:
        """The names of the layers with problems."""
        return {name for verdict in self.problems for name in verdict.layers}

    @property
    def _headline(self) -> str:
        """The number of problems as a sentence."""
        return (
            "No problem found." if self.ok else f"{counted(len(self.problems), 'problem')} found."
        )

    def __repr__(self) -> str:
        return f"<Report of {len(self.layers)} layers: {self._headline[:-1].lower()}>"

    def __str__(self) -> str:
        width = shutil.get_terminal_size().columns
        if is_rich(sys.stdout):
            from rich.console import Console

            output = io.StringIO()
            Console(file=output, width=width, force_terminal=True, highlight=False).print(self)
            return output.getvalue().rstrip("\n")
        lines = [self._table(width).as_text(rule=True), self._headline]
        for verdict in self.verdicts:
            lines.append("")
            for title, text in _paragraphs(verdict):
                lines += textwrap.wrap(
                    f"{title}: {text}", width, subsequent_indent="  ", break_on_hyphens=False
                )
        return "\n".join(lines)

    def __rich__(self) -> Any:
        from rich.console import Group, RenderableType
        from rich.text import Text

        table = self._table(shutil.get_terminal_size().columns)
        grid = table.as_rich(padding=(0, GAP - 1, 0, 0), show_edge=False, pad_edge=False)
        for column in grid.columns:
            column.no_wrap = True
        for row, layer in zip(grid.rows, self.layers, strict=True):
            row.style = "bold red" if layer.name in self._marked else ""
        headline = Text(self._headline, "bold green" if self.ok else "bold red")
        parts: list[RenderableType] = [grid, Text(), headline]
        for verdict in self.verdicts:
            parts.append(Text())
            parts += [
                Text().append(f"{title}: ", "bold").append(text)
                for title, text in _paragraphs(verdict)
            ]
        return Group(*parts)

    def _repr_html_(self) -> str:
        items = ""
        for verdict in self.verdicts:
            (title, evidence), (_, remedy) = _paragraphs(verdict)
            items += f"<li><b>{html.escape(title)}</b>: {html.escape(evidence)}<br>Remedy: {html.escape(remedy)}</li>"
        return f"<p><b>{self._headline}</b></p><ul>{items}</ul>{self._table().as_html()}"

    def _table(self, width: int = sys.maxsize) -> Table:
        """Return the table with a row for each layer, without empty columns.

        Where it is wider than `width` characters, columns are dropped, and names are truncated at
        the start.
        """
        columns = filled(_COLUMNS, self.layers)
        full = Table.of(columns, self.layers)
        cells = zip(full.headers, *full.rows, strict=True)
        widths = {header: GAP + max(map(text_width, (header, *texts))) for header, *texts in cells}
        needed = min(
            _LEAST_NAME, 2 + max(map(text_width, ["layer", *(layer.name for layer in self.layers)]))
        )
        for header in _DISPENSABLE:
            if width - sum(widths.values()) < needed:
                widths.pop(header, None)
        room = max(width - sum(widths.values()), _LEAST_NAME) - 2
        marked = self._marked

        def name(layer: LayerReport) -> str:
            return f"{'!' if layer.name in marked else ' '} {shortened(layer.name, room)}"

        shown = [column for column in columns if column.header in widths]
        return Table.of([Column("  layer", name, is_text=True), *shown], self.layers)


def _as_data(value: Any) -> Any:
    """Return a dict for a signal, and other values as they are."""
    if not isinstance(value, Signal):
        return value
    histogram = {"edges": value.edges.tolist(), "counts": value.counts.tolist()}
    return {**{name: getattr(value, name) for name in _STATISTICS}, "histogram": histogram}


def _csv_row(layer: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in layer.items():
        if name in _CSV_COLUMNS:
            row |= {f"{name}_{part}": (value or {}).get(part) for part in _CSV_COLUMNS[name]}
        elif name == "shape":
            row[name] = "x".join(map(str, value or ()))
        elif name != "weights":
            row[name] = value
    return row


def _paragraphs(verdict: Verdict) -> list[tuple[str, str]]:
    """Return the evidence and the remedy as sentences, each with its title."""
    return [
        (f"{verdict.problem} ({verdict.level})", f"{verdict.evidence}."),
        ("Remedy", f"{verdict.remedy}."),
    ]


def _share(value: float) -> str:
    """Format a percentage that is 0% or 100% only if that is exact."""
    return (
        f"{value:.0%}"
        if value in (0, 1) or 0.01 <= value <= 0.99
        else "<1%"
        if value < 0.5
        else ">99%"
    )


def _gate(value: tuple[str, Any]) -> str:
    name, bias = value
    low, high = short_number(bias.min()), short_number(bias.max())
    return f"{name} {low}" if low == high else f"{name} {low}...{high}"


def _column(
    header: str, value: Callable[[LayerReport], Any], write: Callable[[Any], str] = short_number
) -> Column[LayerReport]:
    """Return a column that formats `value` with `write`, and is empty for `None`."""
    return Column(header, lambda layer: "" if (found := value(layer)) is None else write(found))


_COLUMNS = (
    _column("activation", lambda layer: layer.activation, str),
    _column("before", lambda layer: layer.before.std if layer.before else None),
    _column("mean", lambda layer: layer.after.mean if layer.after else None),
    _column("std", lambda layer: layer.after.std if layer.after else None),
    _column("zeros", lambda layer: layer.after.zeros if layer.after else None, _share),
    _column("sat.", lambda layer: layer.saturated, _share),
    _column("dead", lambda layer: layer.dead, _share),
    _column("gain", lambda layer: layer.gain),
    _column("gate bias", lambda layer: layer.gate_bias, _gate),
    _column("gradient", lambda layer: layer.gradient_norm),
    _column("ratio", lambda layer: layer.gradient_ratio),
)
# Columns to drop, in this order, if a terminal is too narrow.
_DISPENSABLE = ("activation", "ratio", "gain", "before", "zeros", "gate bias", "mean")
_LEAST_NAME = 16
