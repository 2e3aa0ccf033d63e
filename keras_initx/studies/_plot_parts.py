"""Shared parts of the plots of studies: titles, colors, curves with ranges, axes."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_initx.rendering._figures import COLORS, new_figure, tidy
from keras_initx.studies._result import Result
from keras_initx.studies._types import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_initx.studies._study import Study

SIZE = (8, 4.6)


def new_plot(result: Result, title: str, columns: int = 1) -> "tuple[Figure, Sequence[Axes]]":
    """Return a figure whose title ends with that of `result`, and its axes."""
    figure = titled(result, title, SIZE)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    tidy(axes)
    return figure, axes


def titled(result: Result, title: str, size: tuple[float, float]) -> "Figure":
    """Return an empty figure whose title ends with that of `result`."""
    return new_figure(f"{title}\n{textwrap.fill(result.title, 100)}", size=size, extra="studies")


def color_of(study: "Study", name: str) -> str:
    """Return the color of an initializer. Colors repeat if there are more initializers than colors."""
    return COLORS[study.initializers.index(name) % len(COLORS)]


def plot_band(axis: "Axes", steps: Sequence[int], curves: FloatArray, label: str, color: str) -> None:
    """Plot the mean over the repeats, and the range from minimum to maximum."""
    axis.plot(steps, curves.mean(axis=0), linewidth=1.6, color=color, label=label)
    axis.fill_between(steps, curves.min(axis=0), curves.max(axis=0), color=color, alpha=0.12, linewidth=0)


def add_legend(figure: "Figure", *axes: "Axes") -> None:
    """Add a legend of all lines of `axes`, with each label once."""
    lines = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(lines.values(), lines.keys(), loc="outside right center", frameon=False, fontsize=8)


def label_epochs(axis: "Axes", study: "Study") -> None:
    """Label the epoch axis."""
    axis.set(xlabel="epoch", xlim=(0, study.settings["epochs"]))
    axis.xaxis.get_major_locator().set_params(integer=True)


def limit(axis: "Axes", curves: Iterable[FloatArray]) -> None:
    """Limit the axis, so that an exploding loss does not flatten all other curves."""
    values = np.concatenate([curve.ravel() for curve in curves])
    values = values[~np.isnan(values)]
    least, typical = values.min(), np.quantile(values, 0.98)
    if values.max() - least > 3 * (typical - least):
        axis.set_ylim(least - 0.05 * (typical - least), typical + 0.1 * (typical - least))
