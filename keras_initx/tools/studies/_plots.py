"""The figures of studies."""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_initx.report._figures import choose_color, new_figure, tidy
from keras_initx.tools.studies._types import FloatArray, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 8


def new_plot(study: str, title: str, *, size: tuple[float, float]) -> "Figure":
    """Make a figure whose title ends with the title of the study."""
    return new_figure(f"{title}\n{textwrap.fill(study, 100)}", size=size, extra="studies")


def study_figure(
    title: str,
    monitor: str,
    curves: Mapping[str, FloatArray],
    training: Mapping[str, FloatArray],
    rows: Sequence[Record],
) -> "Figure":
    """Plot the learning curves and, below them, the final values.

    Args:
        title: The title of the study.
        monitor: The name of the metric.
        curves: The metric of each initializer, with a row for each trial.
        training: The same on the training data.
        rows: The statistics of these initializers.
    """
    if not curves:
        return new_plot(title, "no trial finished", size=(_WIDTH, 1))
    panel_rows = math.ceil(len(curves) / 4)
    heights = 1.9 * panel_rows, 0.8 + 0.3 * len(curves)
    shown = (
        f"{monitor}: mean and range of the repeats; dashed: training\n"
        "Below: each trial at the end, mean and 95 % interval"
    )
    figure = new_plot(title, shown, size=(_WIDTH, 1 + sum(heights)))
    above, below = figure.subfigures(2, 1, height_ratios=heights)
    columns = math.ceil(len(curves) / panel_rows)
    grid = above.subplots(panel_rows, columns, squeeze=False, sharex=True, sharey=True)
    _plot_curves(grid, curves, training)
    above.supylabel(monitor.removeprefix("val_"), fontsize=10)
    axis = below.subplots()
    tidy([axis])
    _plot_final_values(axis, curves, rows)
    _label_rows(axis, list(curves), monitor)
    return figure


def _plot_curves(
    grid: Any, curves: Mapping[str, FloatArray], training: Mapping[str, FloatArray]
) -> None:
    """Plot a panel for each initializer. In one panel their bands would overlap."""
    tidy(grid.flat)
    panels = grid.flat[: len(curves)]
    for axis in grid.flat[len(curves) :]:
        axis.remove()
    steps = range(next(iter(curves.values())).shape[1])
    for axis in panels[-grid.shape[1] :]:  # the last panel of each column
        axis.tick_params(labelbottom=True)
        label_steps(axis, steps[-1])
    for axis, name in zip(panels, curves, strict=True):
        axis.set_title(name, fontsize=8, parse_math=False)
        color = choose_color(name)
        axis.plot(steps, curves[name].mean(axis=0), linewidth=1.6, color=color)
        least, greatest = curves[name].min(axis=0), curves[name].max(axis=0)
        axis.fill_between(steps, least, greatest, color=color, alpha=0.12, linewidth=0)
        axis.plot(steps, training[name].mean(axis=0), "--", color=color, linewidth=1)
    _limit(grid[0, 0], [*curves.values(), *training.values()])


def _plot_final_values(
    axis: "Axes", curves: Mapping[str, FloatArray], rows: Sequence[Record]
) -> None:
    """Plot a line for each initializer: each trial at the end, the mean and its interval."""
    for place, row in enumerate(rows):
        values = curves[row["arm"]][:, -1]
        color = choose_color(row["arm"])
        heights = [place + 0.2] * len(values)
        axis.plot(values, heights, "o", color=color, alpha=0.5, markersize=4, markeredgewidth=0)
        if len(values) > 1:
            axis.plot([row["ci_low"], row["ci_high"]], [place, place], color=color, linewidth=2)
        axis.plot(row["mean"], place, "o", color=color, markersize=7)


def label_steps(axis: "Axes", end: float) -> None:
    """Label an axis of epochs."""
    axis.set(xlabel="epoch", xlim=(0, end))
    axis.xaxis.get_major_locator().set_params(integer=True)


def _label_rows(axis: "Axes", names: Sequence[str], values: str) -> None:
    """Label the rows from the top, and the axis of their values."""
    axis.set(
        yticks=range(len(names)),
        # matplotlib takes dollars for formulas.
        yticklabels=[name.replace("$", r"\$") for name in names],
        ylim=(len(names) - 0.4, -0.6),
        xlabel=values,
    )
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")


def _limit(axis: "Axes", curves: Iterable[FloatArray]) -> None:
    """Limit the axis, so that an exploding loss does not flatten all other curves."""
    values = np.concatenate([curve.ravel() for curve in curves])
    values = values[~np.isnan(values)]
    least = values.min()
    typical = np.quantile(values, 0.98)
    height = typical - least
    if values.max() - least > 3 * height:
        axis.set_ylim(least - 0.05 * height, typical + 0.1 * height)
