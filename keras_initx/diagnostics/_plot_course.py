"""Plot several reports over the steps of a training."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.ticker import MaxNLocator, PercentFormatter

from keras_initx.diagnostics._measurements import LayerReport
from keras_initx.diagnostics._plot import WIDTH, for_logarithm, mark, short, values_of, widen
from keras_initx.diagnostics._thresholds import Thresholds
from keras_initx.rendering._figures import new_figure, save_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_initx.diagnostics._report import Report

# Up to this many layers are in a legend; more are shown by a color bar.
_LEGEND = 12
_MARKERS = "os^D"  # so that layers beside each other, whose colors are alike, differ


class _Course(NamedTuple):
    """A panel: a statistic of each layer, the scale of its axis, and the thresholds for it."""

    title: str
    scale: Literal["linear", "log", "share"]
    value: Callable[[LayerReport], float | None]
    thresholds: tuple[str, ...] = ()


_COURSES = (
    _Course(
        "standard deviation before the activation",
        "log",
        lambda layer: layer.signal.std if layer.signal else None,
        ("vanishing", "exploding"),
    ),
    _Course("mean of the output", "linear", lambda layer: layer.after.mean if layer.after else None),
    _Course("saturated", "share", lambda layer: layer.saturated, ("saturated",)),
    _Course("dead units", "share", lambda layer: layer.dead, ("dead",)),
    _Course("gradient norm", "log", lambda layer: layer.gradient_norm, ("exploding_gradient",)),
    _Course("gradient over weights", "log", lambda layer: layer.gradient_ratio),
)


def plot_course(history: Mapping[int, "Report"], path: str | Path) -> None:
    """Plot how the statistics of each layer change over the steps of a training.

    Args:
        history: Dict from a step to its `Report`.
        path: See `Report.plot`.
    """
    steps = list(history)
    names = [layer.name for layer in history[steps[0]].layers if layer.after] if steps else []
    by_name = [{layer.name: layer for layer in report.layers} for report in history.values()]
    courses = {}
    for course in _COURSES:
        lines = {name: values_of([layers.get(name) for layers in by_name], course.value) for name in names}
        if any(not np.isnan(line).all() for line in lines.values()):
            courses[course] = lines
    rows = math.ceil(len(courses) / 2)
    figure = new_figure(size=(WIDTH, 3 * rows + 0.2))
    axes = figure.subplots(rows or 1, 2, squeeze=False, sharex=True).ravel()
    # The last colors of the map are too pale for lines.
    palette = ListedColormap(colormaps["plasma"](np.linspace(0, 0.9, max(len(names), 2))))
    colors = ScalarMappable(Normalize(0.5, max(len(names), 2) + 0.5), palette)
    for axis, (course, lines) in zip(axes, courses.items(), strict=False):
        _plot_panel(axis, course, steps, lines, colors, history[steps[0]].thresholds)
    tidy(axes[: len(courses)], axis="y")
    for axis in axes[len(courses) :]:
        axis.set_axis_off()
    if names:
        _add_key(figure, axes, axes[len(courses) :], colors if len(names) > _LEGEND else None)
    save_figure(figure, path)


def _add_key(
    figure: "Figure", axes: "npt.NDArray[np.object_]", free: "npt.NDArray[np.object_]", colors: ScalarMappable | None
) -> None:
    """Say which line is which layer, where a cell of the grid is free, otherwise beside the panels."""
    if colors:
        cell = free[0].inset_axes((0, 0.45, 1, 0.1)) if len(free) else None
        place = {"cax": cell, "orientation": "horizontal"} if cell else {"ax": axes}
        bar = figure.colorbar(colors, label="layer, in the order of outputs", **place)
        bar.locator = MaxNLocator(integer=True)
        return
    handles, labels = axes[0].get_legend_handles_labels()
    if len(free):
        free[0].legend(handles, labels, loc="center", ncols=2, frameon=False)
    else:
        figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)


def _plot_panel(
    axis: "Axes",
    course: _Course,
    steps: Sequence[int],
    lines: Mapping[str, npt.NDArray[np.float64]],
    colors: ScalarMappable,
    thresholds: Thresholds,
) -> None:
    """Plot a line over the steps for each layer that has values, and the thresholds."""
    for number, (name, line) in enumerate(lines.items(), 1):
        if not np.isnan(line).all():
            shown = for_logarithm(line) if course.scale == "log" else line
            style = {"color": colors.to_rgba(np.array(number)), "marker": _MARKERS[number % len(_MARKERS)]}
            axis.plot(steps, shown, **style, label=short(name, 24), linewidth=1, markersize=4)
    if course.scale == "log":
        axis.set_yscale("log")
        widen(axis, decades=1)
    elif course.scale == "share":
        largest = max(np.nanmax(line, initial=0) for line in lines.values())
        # The threshold is in the panel, so that a share is large where it looks so.
        axis.set_ylim(-0.02, 1.1 * max(largest, *(getattr(thresholds, name) for name in course.thresholds)))
        axis.yaxis.set_major_formatter(PercentFormatter(1))
    mark(axis, thresholds, course.thresholds)
    axis.set_title(course.title, fontsize=10)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.xaxis.set_tick_params(labelbottom=True)
    axis.set_xlabel("steps", fontsize=8)
