"""The plots of a report, and of the reports of a training."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from keras_initx._typing import Array
from keras_initx.report._figures import (
    BLUE,
    PALE_BLUE,
    RED,
    make_logarithmic,
    new_figure,
    save_figure,
    tidy,
)
from keras_initx.report._order import LABELS_HEIGHT, label_order
from keras_initx.report._text import format_number, shorten_names
from keras_initx.tools.diagnose._layer_report import LayerReport
from keras_initx.tools.diagnose._lost_signals import VANISHING
from keras_initx.tools.diagnose._rules import EXPLODING
from keras_initx.tools.diagnose._signal import Signal
from keras_initx.tools.diagnose.verdicts.dead_units import DEAD
from keras_initx.tools.diagnose.verdicts.exploding import EXPLODING_GRADIENT
from keras_initx.tools.diagnose.verdicts.saturated import SATURATED
from keras_initx.tools.diagnose.verdicts.vanishing_gradient import VANISHING_GRADIENT

_WIDTH = 9  # in inches, like the heights
_PANEL_HEIGHT = 2.6
_CELL_HEIGHT = 1.4
_CELLS_IN_A_ROW = 6
_MOST_CELLS = 12
# Colors of the first, the middle and the last layer in a history: dark to light, from plasma.
_COLORS = ("#0d0887", "#bd3786", "#e16462")
# Thresholds from which on a measurement is a problem.
_THRESHOLDS = {
    "vanishing": VANISHING,
    "exploding": EXPLODING,
    "saturated": SATURATED,
    "dead units": DEAD,
    "vanishing gradient": VANISHING_GRADIENT,
    "exploding gradient": EXPLODING_GRADIENT,
}


def plot_layers(layers: Sequence[LayerReport], marked: Collection[str]) -> Figure:
    """Plot the deviation and the gradient of each layer, and histograms of those with problems.

    Args:
        layers: The layers.
        marked: Names of the layers that have a problem.
    """
    layers = [layer for layer in layers if layer.after is not None]
    panels = [_plot_std]
    if any(layer.gradient is not None for layer in layers):
        panels.append(_plot_gradients)
    selected = _select_for_histograms(layers, marked)
    rows = math.ceil(len(selected) / _CELLS_IN_A_ROW)
    heights = [_PANEL_HEIGHT * len(panels) + LABELS_HEIGHT]
    if selected:
        heights.append(_CELL_HEIGHT * rows + 0.4)
    figure = new_figure(size=(_WIDTH, sum(heights)))
    subfigures = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    axes = subfigures[0].subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for plot_panel, axis in zip(panels, axes, strict=True):
        plot_panel(axis, layers)
    tidy(axes, axis="y")
    label_order(axes[-1], [layer.path for layer in layers], "layer")
    if selected:
        _plot_histograms(subfigures[1], layers, selected, rows)
    return figure


def _select_for_histograms(layers: Sequence[LayerReport], marked: Collection[str]) -> list[int]:
    """Return the indices of the layers with problems, at equal distances if they are many."""
    indices = [index for index, layer in enumerate(layers) if layer.name in marked]
    if len(indices) > _MOST_CELLS:
        chosen = np.linspace(0, len(indices) - 1, _MOST_CELLS, dtype=int)
        indices = [indices[position] for position in chosen]
    return indices


def _plot_std(axis: Axes, layers: Sequence[LayerReport]) -> None:
    numbers = range(1, len(layers) + 1)
    before = _read_measures(layers, "before.std")
    if not np.isnan(before).all():
        label = "before the activation"
        axis.plot(numbers, before, "o", color=PALE_BLUE, label=label, markersize=6)
    after = _read_measures(layers, "after.std")
    # No line: a layer need not get the outputs of the one before it.
    axis.plot(numbers, after, "o", color=BLUE, label="output", markersize=4)
    axis.set_ylabel("standard deviation")
    axis.legend(frameon=False, fontsize=8)
    make_logarithmic(axis)
    _draw_thresholds(axis, ("vanishing", "exploding"))


def _plot_gradients(axis: Axes, layers: Sequence[LayerReport]) -> None:
    numbers = range(1, len(layers) + 1)
    ratios = _read_measures(layers, "gradient.ratio")
    norms = _read_measures(layers, "gradient.norm")
    label = "over the norm of the weights"
    # Rings, so that an equal norm is visible inside.
    axis.plot(numbers, ratios, "o", color=PALE_BLUE, label=label, markersize=7, fillstyle="none")
    label = "norm of the gradient"
    axis.plot(numbers, norms, "o", color=BLUE, label=label, markersize=4)
    axis.set_ylabel("gradient")
    axis.legend(frameon=False, fontsize=8)
    make_logarithmic(axis)
    _draw_thresholds(axis, ("exploding gradient",))
    largest = norms[np.isfinite(norms)].max(initial=0)
    _draw_thresholds(axis, ("vanishing gradient",), "{:g} of the largest norm".format, unit=largest)


def _plot_histograms(
    figure: SubFigure, layers: Sequence[LayerReport], indices: Sequence[int], rows: int
) -> None:
    figure.suptitle(
        "Outputs of layers with a problem, each on its own axis. Pale bar: share of zeros",
        fontsize=10,
    )
    paths = shorten_names([layer.path for layer in layers], 18)
    columns = max(3, math.ceil(len(indices) / rows))  # rows of equal length, and no wide cells
    cells = figure.subplots(rows, columns, squeeze=False).ravel()
    for index, axis in zip(indices, cells, strict=False):
        layer = layers[index]
        signal = layer.after or Signal()
        heights = signal.heights()
        heights /= heights.max() or 1
        axis.stairs(heights, signal.edges, fill=True, color=BLUE, edgecolor=BLUE)
        axis.bar(0, signal.zeros, -np.ptp(axis.get_xlim()) / 25, align="edge", color=PALE_BLUE)
        title = f"{index + 1} {paths[index]}\n{_summarize(layer, signal)}"
        axis.set_title(title, fontsize=7, pad=2, parse_math=False)
        axis.set(ylim=(0, 1.05), yticks=[])
        axis.xaxis.set(major_locator=MaxNLocator(3), major_formatter="{x:.2g}")
        axis.tick_params(labelsize=6)
        axis.spines[["top", "right", "left"]].set_visible(False)
    for axis in cells[len(indices) :]:
        axis.set_axis_off()


def _summarize(layer: LayerReport, signal: Signal) -> str:
    """Return the second line of the title of a histogram."""
    if signal.nonfinite == 1:
        return "not finite"
    parts = [f"std {format_number(signal.std)}"]
    for name, share in (("saturated", layer.saturated), ("dead", layer.dead)):
        if share is not None and share >= 0.01:
            parts.append(f"{share:.0%} {name}")
    return ", ".join(parts)


class _Panel(NamedTuple):
    """A panel: a measure of each layer, the scale of its axis, and the problems with thresholds."""

    title: str
    scale: Literal["linear", "log", "share"]
    measure: str
    problems: tuple[str, ...] = ()


_HISTORY_PANELS = (
    _Panel(
        "standard deviation before the activation",
        "log",
        "signal.std",
        ("vanishing", "exploding"),
    ),
    _Panel("mean of the output", "linear", "after.mean"),
    _Panel("saturated", "share", "saturated", ("saturated",)),
    _Panel("dead units", "share", "dead", ("dead units",)),
    _Panel("gradient norm", "log", "gradient.norm", ("exploding gradient",)),
    _Panel("gradient over weights", "log", "gradient.ratio"),
)


def plot_history(history: Mapping[int, Sequence[LayerReport]], path: str | Path | None) -> Figure:
    """Plot how the measurements of each layer change over the steps of a training.

    Args:
        history: Dict from a step to the layers.
        path: See `DiagnosisReport.plot`.
    """
    steps = list(history)
    layers: list[LayerReport] = []
    if steps:
        layers = [layer for layer in history[steps[0]] if layer.after is not None]
    paths = [layer.path for layer in layers]
    panels = _read_panels(history, paths)
    shown = _select_three(layers)
    rows = math.ceil(len(panels) / 2)
    figure = new_figure(size=(_WIDTH, 3 * rows + 0.2))
    axes = figure.subplots(rows or 1, 2, squeeze=False, sharex=True).ravel()
    for axis, (panel, values) in zip(axes, panels.items(), strict=False):
        labels = shorten_names(shown, 24)
        for shown_path, label, color, marker in zip(shown, labels, _COLORS, "os^", strict=False):
            line = values[paths.index(shown_path)]
            axis.plot(
                steps, line, color=color, marker=marker, label=label, linewidth=1, markersize=4
            )
        least = np.fmin.reduce(values)
        greatest = np.fmax.reduce(values)
        # The edge shows the range if it is a single value.
        colors = {"facecolor": "0.92", "edgecolor": "0.75"}
        axis.fill_between(steps, least, greatest, **colors, label="range of all layers")
        _finish_panel(axis, panel)
    if len(steps) > 1:
        # Show steps after which nothing is finite, too.
        margin = (steps[-1] - steps[0]) / 25
        axes[0].set_xlim(steps[0] - margin, steps[-1] + margin)
    tidy(axes[: len(panels)], axis="y")
    free = axes[len(panels) :]
    for axis in free:
        axis.set_axis_off()
    if paths:
        handles, labels = axes[0].get_legend_handles_labels()
        style = {"title": "first, middle and last layer", "frameon": False}
        # In a free cell of the grid, otherwise next to the panels.
        if len(free):
            free[0].legend(handles, labels, loc="center", **style)
        else:
            figure.legend(handles, labels, loc="outside right upper", fontsize=8, **style)
    return save_figure(figure, path)


def _read_panels(
    history: Mapping[int, Sequence[LayerReport]], paths: Sequence[str]
) -> dict[_Panel, Array]:
    """Return the values of each panel that has some: an array with a row for each of `paths`."""
    layers_by_step = [{layer.path: layer for layer in layers} for layers in history.values()]
    panels = {}
    for panel in _HISTORY_PANELS:
        rows = []
        for path in paths:
            over_steps = [layers.get(path) for layers in layers_by_step]
            rows.append(_read_measures(over_steps, panel.measure))
        values = np.array(rows)
        if np.isnan(values).all():
            continue
        panels[panel] = values
    return panels


def _select_three(layers: Sequence[LayerReport]) -> list[str]:
    """Return the paths of the layers to show: lines of all would hide each other."""
    # Layers without weights have no gradient.
    shown = [layer for layer in layers if layer.weights] or layers
    paths = [layer.path for layer in shown]
    middle = (len(paths) - 1) // 2
    return list(dict.fromkeys(paths[:1] + paths[middle : middle + 1] + paths[-1:]))


def _finish_panel(axis: Axes, panel: _Panel) -> None:
    """Set the scale of a panel whose lines are drawn, label it, and draw its thresholds."""
    if panel.scale == "share":
        # The threshold is in the panel, so that a share that looks large is large.
        thresholds = [_THRESHOLDS[problem] for problem in panel.problems]
        axis.set_ylim(-0.02, 1.1 * max([axis.dataLim.ymax, *thresholds]))
        axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _draw_thresholds(axis, panel.problems, "{:.0%}".format)
    else:
        if panel.scale == "log":
            make_logarithmic(axis)
        _draw_thresholds(axis, panel.problems)
    axis.set_title(panel.title, fontsize=10)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.xaxis.set_tick_params(labelbottom=True)
    axis.set_xlabel("steps", fontsize=8)


def _read_measures(layers: Sequence[LayerReport | None], measure: str) -> Array:
    """Return a measure of each layer, such as `"after.std"`, or NaN if it is not known."""
    values = np.array([_read_measure(layer, measure) for layer in layers], "float64")
    return np.where(np.isfinite(values), values, np.nan)


def _read_measure(layer: LayerReport | None, measure: str) -> float:
    attribute, _, name = measure.rpartition(".")
    source: Any = layer
    if attribute:
        source = getattr(layer, attribute, None)
    signal = source if isinstance(source, Signal) else getattr(layer, "after", None)
    # Without finite outputs, all statistics are 0.
    is_known = source is not None and signal is not None and signal.size and signal.nonfinite < 1
    value = getattr(source, name) if is_known else None
    return math.nan if value is None else value


def _draw_thresholds(
    axis: Axes,
    problems: Sequence[str],
    write: Callable[[float], str] = "{:g}".format,
    *,
    unit: float = 1,
) -> None:
    """Draw a line where each problem begins, in multiples of `unit`, if it is in the range.

    The range stays as it is: a threshold far from the values would flatten them.

    Args:
        axis: The panel.
        problems: The names of the problems.
        write: Function that formats a threshold as the axis formats its values.
        unit: The number whose multiples the thresholds are.
    """
    low, high = axis.get_ylim()
    if axis.get_yscale() == "symlog":
        low = axis.yaxis.get_transform().linthresh  # below are zeros only
    for problem in problems:
        threshold = _THRESHOLDS[problem]
        y = threshold * unit
        if not low < y < high:
            continue
        axis.axhline(y, color=RED, linestyle="--", linewidth=1)
        # On two sides, because two thresholds may be close to each other.
        x, shift, side = 1, -4, "right"
        if problem.startswith("exploding"):
            x, shift, side = 0, 4, "left"
        axis.annotate(
            f"{problem}: {write(threshold)}",
            (x, y),
            xytext=(shift, 3),
            textcoords="offset points",
            xycoords=("axes fraction", "data"),
            ha=side,
            fontsize=8,
            color=RED,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1},
            zorder=1,  # covers no point
        )
