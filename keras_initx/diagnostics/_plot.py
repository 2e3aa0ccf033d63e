"""The plot of a report."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from keras_initx.diagnostics._measure import LayerReport
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._verdicts import Thresholds, named_in
from keras_initx.rendering._figures import BLUE, PALE_BLUE, RED, new_figure, save_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

    from keras_initx.diagnostics._report import Report

WIDTH = 9  # in inches, like the heights
_PANEL, _CELL = 2.6, 1.25
_CELLS_IN_A_ROW = 6
# Up to this many layers are labeled with their names; more are numbered.
_NAMED = 40


def plot_report(report: "Report", path: str | Path) -> None:
    """Plot a `Report`. Arguments as in `Report.plot`."""
    layers = [layer for layer in report.layers if layer.after]
    panels = [_plot_std, _plot_mean]
    if any(layer.gradient_norm is not None for layer in layers):
        panels.append(_plot_gradients)
    rows = max(math.ceil(len(layers) / _CELLS_IN_A_ROW), 1)
    columns = math.ceil(len(layers) / rows) if rows > 1 else _CELLS_IN_A_ROW  # rows of equal length
    names = 1.2 if len(layers) <= _NAMED else 0
    heights = (_PANEL * len(panels) + names, _CELL * rows + 0.4)
    figure = new_figure(size=(WIDTH, sum(heights)))
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    axes = top.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for plot_panel, axis in zip(panels, axes, strict=True):
        plot_panel(axis, layers, report.thresholds)
    tidy(axes, axis="y")
    _name_layers(axes[-1], layers)
    _plot_histograms(bottom, layers, (rows, columns), named_in(report.problems))
    save_figure(figure, path)


def _plot_std(axis: "Axes", layers: Sequence[LayerReport], thresholds: Thresholds) -> None:
    numbers = range(1, len(layers) + 1)
    before = values_of(layers, lambda layer: layer.before.std if layer.before else None)
    if not np.isnan(before).all():
        axis.plot(numbers, for_logarithm(before), "o", color=PALE_BLUE, label="before the activation", markersize=6)
    after = values_of(layers, lambda layer: layer.after.std if layer.after else None)
    axis.plot(numbers, for_logarithm(after), "o-", color=BLUE, label="output", markersize=3, linewidth=1)
    axis.set_yscale("log")
    axis.set_ylabel("standard deviation")
    axis.legend(frameon=False, fontsize=8)
    widen(axis)
    mark(axis, thresholds, ("vanishing", "exploding"))


def _plot_mean(axis: "Axes", layers: Sequence[LayerReport], _thresholds: Thresholds) -> None:
    numbers = range(1, len(layers) + 1)
    axis.axhline(0, color="0.6", linewidth=0.8)
    means = values_of(layers, lambda layer: layer.after.mean if layer.after else None)
    axis.plot(numbers, means, "o-", color=BLUE, markersize=3, linewidth=1)
    axis.set_ylabel("mean of the output")
    # A mean that is small beside the deviation looks small.
    spread = values_of(layers, lambda layer: layer.after.std if layer.after else None)
    sizes = np.abs([*means, *spread / 2])
    most = sizes[np.isfinite(sizes)].max(initial=0)
    if most:
        axis.set_ylim(-1.1 * most, 1.1 * most)


def _plot_gradients(axis: "Axes", layers: Sequence[LayerReport], thresholds: Thresholds) -> None:
    numbers = range(1, len(layers) + 1)
    ratios = values_of(layers, lambda layer: layer.gradient_ratio)
    norms = values_of(layers, lambda layer: layer.gradient_norm)
    for values, color, label in (
        (ratios, PALE_BLUE, "over the norm of the weights"),
        (norms, BLUE, "norm of the gradient"),
    ):
        axis.plot(numbers, for_logarithm(values), "o", color=color, label=label, markersize=4)
    axis.set_yscale("log")
    axis.set_ylabel("gradient")
    axis.legend(frameon=False, fontsize=8)
    widen(axis)
    mark(axis, thresholds, ("exploding_gradient",))
    mark(axis, thresholds, ("vanishing_gradient",), norms[np.isfinite(norms)].max(initial=0), " of the largest norm")


def values_of(
    layers: Sequence[LayerReport | None], value: Callable[[LayerReport], float | None]
) -> npt.NDArray[np.float64]:
    """Return the value of each layer, NaN for layers without one."""
    found = [None if layer is None else value(layer) for layer in layers]
    return np.array([np.nan if one is None else one for one in found], "float64")


def for_logarithm(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return `values` with NaN for those that a logarithmic axis cannot show."""
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def widen(axis: "Axes", decades: int = 2) -> None:
    """Make a logarithmic axis span at least `decades` decades, so that nearly equal values look equal."""
    low, high = axis.get_ylim()
    middle, factor = math.sqrt(low * high), 10 ** (decades / 2)
    axis.set_ylim(min(low, middle / factor), max(high, middle * factor))


def mark(axis: "Axes", thresholds: Thresholds, names: Sequence[str], unit: float = 1, of: str = "") -> None:
    """Draw a line at each threshold, in multiples of `unit`, that is in the range of `axis`.

    The range stays as it is: a threshold far from the values would flatten them.
    """
    low, high = axis.get_ylim()
    for name in names:
        threshold = getattr(thresholds, name)
        if low < threshold * unit < high:
            axis.axhline(threshold * unit, color=RED, linestyle="--", linewidth=1)
            axis.annotate(
                f"{name}={threshold:g}{of}",
                (1, threshold * unit),
                (-4, 3),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                horizontalalignment="right",
                fontsize=8,
                color=RED,
            )


def _name_layers(axis: "Axes", layers: Sequence[LayerReport]) -> None:
    if len(layers) <= _NAMED:
        labels = [short(layer.name, 24) for layer in layers]
        axis.set_xticks(range(1, len(layers) + 1), labels, rotation=40, ha="right", fontsize=8)
    else:
        axis.set_xlabel("number of the layer, in the order of the outputs")
    axis.set_xlim(0.5, max(len(layers), 1) + 0.5)


def _plot_histograms(
    figure: "SubFigure", layers: Sequence[LayerReport], grid: tuple[int, int], named: set[str]
) -> None:
    figure.suptitle("Histograms of the outputs, in red where a problem was found", fontsize=10)
    cells = figure.subplots(*grid, squeeze=False).ravel()
    for number, (axis, layer) in enumerate(zip(cells, layers, strict=False), 1):
        signal = layer.after or Signal()
        edges, bad = signal.edges, layer.name in named
        axis.stairs(_heights(signal.counts), edges, fill=True, color=RED if bad else BLUE)
        axis.set_title(f"{number}  {short(layer.name, 18)}", fontsize=7, pad=2, color=RED if bad else "black")
        axis.set_xticks([edges[0], edges[-1]], [f"{edges[0]:.2g}", f"{edges[-1]:.2g}"], fontsize=6)
        left, right = axis.get_xticklabels()
        left.set_horizontalalignment("left")
        right.set_horizontalalignment("right")
        axis.set_yticks([])
        axis.spines[["top", "right", "left"]].set_visible(False)
    for axis in cells[len(layers) :]:
        axis.set_axis_off()


def _heights(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the heights to show for `counts`, truncating a dominant bin such as the zeros of relu."""
    second = np.partition(counts, -2)[-2]
    return np.minimum(counts, 3 * second) if second else counts


def short(name: str, length: int) -> str:
    return name if len(name) <= length else f"…{name[1 - length :]}"
