"""Plot several reports over the steps of a training."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator, PercentFormatter

from keras_initx.diagnostics._measurements import LayerReport
from keras_initx.diagnostics._plot import WIDTH, for_logarithm, short, values_of, widen
from keras_initx.rendering._figures import new_figure, save_figure, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from keras_initx.diagnostics._report import Report

# Up to this many layers are in a legend; more are shown by a color bar.
_LEGEND = 12


class _Course(NamedTuple):
    """A panel: a statistic of each layer, and the scale of its axis."""

    title: str
    scale: Literal["linear", "log", "share"]
    value: Callable[[LayerReport], float | None]


_COURSES = (
    _Course(
        "standard deviation before the activation", "log", lambda layer: layer.signal.std if layer.signal else None
    ),
    _Course("mean of the output", "linear", lambda layer: layer.after.mean if layer.after else None),
    _Course("saturated", "share", lambda layer: layer.saturated),
    _Course("dead units", "share", lambda layer: layer.dead),
    _Course("gradient norm", "log", lambda layer: layer.gradient_norm),
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
    colors = ScalarMappable(Normalize(1, max(len(names), 2)), "viridis")
    for axis, (course, lines) in zip(axes, courses.items(), strict=False):
        _plot_panel(axis, course, steps, lines, colors)
    tidy(axes[: len(courses)], axis="y")
    for axis in axes[len(courses) :]:
        axis.set_axis_off()
    if len(names) <= _LEGEND:
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
    else:
        figure.colorbar(colors, ax=axes, label="number of the layer, in the order of the outputs")
    save_figure(figure, path)


def _plot_panel(
    axis: "Axes",
    course: _Course,
    steps: Sequence[int],
    lines: Mapping[str, npt.NDArray[np.float64]],
    colors: ScalarMappable,
) -> None:
    """Plot a line over the steps for each layer that has values."""
    for number, (name, line) in enumerate(lines.items(), 1):
        if not np.isnan(line).all():
            shown = for_logarithm(line) if course.scale == "log" else line
            color = colors.to_rgba(np.array(number))
            axis.plot(steps, shown, ".-", color=color, label=short(name, 24), linewidth=1)
    if course.scale == "log":
        axis.set_yscale("log")
        widen(axis)
    elif course.scale == "share":
        axis.set_ylim(-0.02, 1.02)
        axis.yaxis.set_major_formatter(PercentFormatter(1))
    axis.set_title(course.title, fontsize=10)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.xaxis.set_tick_params(labelbottom=True)
    axis.set_xlabel("steps", fontsize=8)
