"""The plot of a report."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from keras_initx._typing import Array
from keras_initx.report._figures import (
    BLUE,
    PALE_BLUE,
    RED,
    make_logarithmic,
    new_figure,
    tidy,
)
from keras_initx.report._order import LABELS_HEIGHT, label_order
from keras_initx.report._text import format_number, shorten_names
from keras_initx.tools.diagnose._layer_report import LayerReport
from keras_initx.tools.diagnose._lost_signals import VANISHING
from keras_initx.tools.diagnose._rules import EXPLODING
from keras_initx.tools.diagnose._signal import Signal
from keras_initx.tools.diagnose.verdicts.exploding import EXPLODING_GRADIENT
from keras_initx.tools.diagnose.verdicts.vanishing_gradient import VANISHING_GRADIENT

_WIDTH = 9  # in inches, like the heights
_PANEL_HEIGHT = 2.6
_CELL_HEIGHT = 1.4
_CELLS_IN_A_ROW = 6
_MOST_CELLS = 12
# Thresholds from which on a measurement is a problem.
_THRESHOLDS = {
    "vanishing": VANISHING,
    "exploding": EXPLODING,
    "vanishing gradient": VANISHING_GRADIENT,
    "exploding gradient": EXPLODING_GRADIENT,
}


def plot_layers(layers: Sequence[LayerReport]) -> Figure:
    """Plot the deviation and the gradient of each layer, and histograms of those with problems."""
    layers = [layer for layer in layers if layer.after is not None]
    panels = [_plot_std]
    if any(layer.gradient is not None for layer in layers):
        panels.append(_plot_gradients)
    selected = _select_for_histograms(layers)
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


def _select_for_histograms(layers: Sequence[LayerReport]) -> list[int]:
    """Return the indices of the layers with problems, at equal distances if they are many."""
    indices = [index for index, layer in enumerate(layers) if layer.has_problem]
    if len(indices) > _MOST_CELLS:
        chosen = np.linspace(0, len(indices) - 1, _MOST_CELLS, dtype=int)
        indices = [indices[position] for position in chosen]
    return indices


def _plot_std(axis: Axes, layers: Sequence[LayerReport]) -> None:
    numbers = range(1, len(layers) + 1)
    before = _read_stds([layer.before for layer in layers])
    if not np.isnan(before).all():
        label = "before the activation"
        axis.plot(numbers, before, "o", color=PALE_BLUE, label=label, markersize=6)
    after = _read_stds([layer.after for layer in layers])
    # No line: a layer need not get the outputs of the one before it.
    axis.plot(numbers, after, "o", color=BLUE, label="output", markersize=4)
    axis.set_ylabel("standard deviation")
    axis.legend(frameon=False, fontsize=8)
    make_logarithmic(axis)
    _draw_thresholds(axis, ("vanishing", "exploding"))


def _plot_gradients(axis: Axes, layers: Sequence[LayerReport]) -> None:
    numbers = range(1, len(layers) + 1)
    gradients = [layer.gradient for layer in layers]
    ratios = _hide_infinities([gradient.ratio if gradient else None for gradient in gradients])
    norms = _hide_infinities([gradient.norm if gradient else None for gradient in gradients])
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


def _read_stds(signals: Sequence[Signal | None]) -> Array:
    """Return the standard deviation of each signal, or NaN if it is not known."""
    stds = []
    for signal in signals:
        # Without finite values, all statistics are 0.
        if signal is None or not signal.size or signal.nonfinite == 1:
            stds.append(math.nan)
        else:
            stds.append(signal.std)
    return _hide_infinities(stds)


def _hide_infinities(values: Sequence[float | None]) -> Array:
    """Return values as an array, with NaN for those that are missing or infinite."""
    numbers = np.array(values, "float64")
    return np.where(np.isfinite(numbers), numbers, np.nan)


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
