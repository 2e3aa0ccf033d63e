"""Figures of the weights or layers of a model, in their order."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from keras_initx.rendering._figures import make_logarithmic, new_figure, tidy
from keras_initx.rendering._text import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["NAMED", "Points", "label_order", "plot_in_order"]

_WIDTH = 9  # in inches, like the heights
_PANEL_HEIGHT = 2.6
# Up to this many layers or weights are labeled with their names; more are numbered.
NAMED = 40
_NAME_HEIGHT = 1.3


class Points(NamedTuple):
    """Points of one color in a figure.

    Attributes:
        values: Their values by place, 0 for the first weight or layer of the model. Those that are
            not finite are not shown.
        color: Their color.
        marker: Their marker.
    """

    values: Mapping[int, float]
    color: str
    marker: str = "o"


def plot_in_order(
    names: Sequence[str],
    panels: Mapping[str, Mapping[str, Points]],
    *,
    of: str,
    is_logarithmic: bool = True,
) -> "Figure":
    """Plot values of the weights or layers of a model in their order.

    Zeros, which a logarithmic axis cannot show, are open markers below all other values.

    Args:
        names: The names of all weights or layers.
        panels: The points of each panel by their labels, which are the same in all panels, by the
            label of its axis.
        of: What a name is of: `"weight"` or `"layer"`.
        is_logarithmic: Whether the axes of values are logarithmic.
    """
    height = 0.5 + _PANEL_HEIGHT * len(panels)
    if len(names) <= NAMED:
        height += _NAME_HEIGHT
    figure = new_figure(size=(_WIDTH, height))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    size = 4 if len(names) <= NAMED else 3
    for axis, (label, groups) in zip(axes, panels.items(), strict=True):
        axis.set_ylabel(label)
        for name, points in groups.items():
            _draw(axis, name, points, size, is_logarithmic=is_logarithmic)
        if is_logarithmic:
            make_logarithmic(axis)
            _draw_zeros(axis, groups, size)
    tidy(axes, axis="y")
    label_order(axes[-1], names, of)
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
    return figure


def _draw(axis: "Axes", label: str, points: Points, size: int, *, is_logarithmic: bool) -> None:
    shown = {}
    for place, value in points.values.items():
        if math.isfinite(value) and (value > 0 or not is_logarithmic):
            shown[place + 1] = value
    if shown:
        axis.plot(
            list(shown),
            list(shown.values()),
            points.marker,
            color=points.color,
            markersize=size,
            label=label,
        )


def _draw_zeros(axis: "Axes", groups: Mapping[str, Points], size: int) -> None:
    """Draw the zeros of each group as a row of open markers, in a decade of their own."""
    row = 0
    for label, points in groups.items():
        zeros = [place + 1 for place, value in points.values.items() if value == 0]
        if not zeros:
            continue
        if row == 0:
            low, high = axis.get_ylim()
            axis.set_ylim(low / 10, high)
        # The height is a share of that of the panel.
        axis.plot(
            zeros,
            [0.02 + 0.04 * row] * len(zeros),
            points.marker,
            color=points.color,
            markersize=size,
            markerfacecolor="none",
            label=f"{label}: 0",
            transform=axis.get_xaxis_transform(),
        )
        row += 1


def label_order(axis: "Axes", names: Sequence[str], of: str) -> None:
    """Label the axis of the layers or weights of a model, numbered from 1, with their names.

    Args:
        axis: The panel at the bottom.
        names: The names. If there are many, the axis has their numbers.
        of: What a name is of: `"weight"` or `"layer"`.
    """
    if len(names) <= NAMED:
        labels = shortened(names, 24)
        axis.set_xticks(range(1, len(names) + 1), labels, rotation=40, ha="right", fontsize=8)
    else:
        axis.set_xlabel(f"number of the {of}, in the order of the table")
    last = max(len(names), 1)
    margin = max(0.5, last / 100)
    axis.set_xlim(1 - margin, last + margin)
