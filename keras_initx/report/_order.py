"""Figures of the weights or layers of a model, in their order."""

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from keras_initx.report._figures import make_logarithmic, make_ratio, new_figure, tidy
from keras_initx.report._text import shorten_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 9  # in inches, like the heights
_PANEL_HEIGHT = 2.6
LABELS_HEIGHT = 1.3
# Up to this many layers or weights are labeled each; more are labeled in groups.
_LABELED = 24
# Names in one group, as a share of all.
_LARGEST_GROUP = 1 / 3


class Points(NamedTuple):
    """Points of one color in a figure.

    Attributes:
        values: Their values by index, 0 for the first weight or layer of the model. Values that are
            not finite are not drawn.
        color: Their color.
    """

    values: Mapping[int, float]
    color: str


def plot_in_order(
    names: Sequence[str],
    panels: Mapping[str, Mapping[str, Points]],
    *,
    of: str,
    title: str = "",
    are_ratios: bool = False,
) -> "Figure":
    """Plot values of the weights or layers of a model in their order, on logarithmic axes.

    Args:
        names: The names of all weights or layers.
        panels: The points of each panel, by the label of its axis. They are dicts from labels to
            points, with the same labels in all panels.
        of: The kind of thing that has the name: `"weight"` or `"layer"`.
        title: The title of the figure.
        are_ratios: Whether the values are ratios, to be compared with 1.
    """
    height = 0.5 + _PANEL_HEIGHT * len(panels) + LABELS_HEIGHT
    figure = new_figure(title, size=(_WIDTH, height))
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    size = 4 if len(names) <= 2 * _LABELED else 3
    for axis, (label, groups) in zip(axes, panels.items(), strict=True):
        axis.set_ylabel(label)
        for name, points in groups.items():
            _draw(axis, name, points, size)
        if are_ratios:
            make_ratio(axis)
        else:
            make_logarithmic(axis)
    tidy(axes, axis="y")
    label_order(axes[-1], names, of)
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
    return figure


def _draw(axis: "Axes", label: str, points: Points, size: int) -> None:
    # Weights and layers are numbered from 1 in a figure.
    finite = {index + 1: value for index, value in points.values.items() if math.isfinite(value)}
    if finite:
        axis.plot(
            list(finite),
            list(finite.values()),
            "o",
            color=points.color,
            markersize=size,
            label=label,
        )


def label_order(axis: "Axes", names: Sequence[str], of: str) -> None:
    """Label the axis of the layers or weights of a model, numbered from 1, with their names.

    Args:
        axis: The panel at the bottom.
        names: The names. If there are many, the first of each group has a label: its number, and
            the common beginning of the names of the group.
        of: The kind of thing that has the name: `"weight"` or `"layer"`.
    """
    starts: Sequence[int] = range(len(names))
    labels = names
    if len(names) > _LABELED:
        starts, labels = _drop_repeated_labels(*_group_names(names))
        axis.set_xlabel(f"number of the {of}; each label is at the first of a group", fontsize=8)
    labels = shorten_names(labels, 24)
    if len(names) > _LABELED:
        labels = [f"{start + 1} {label}" for start, label in zip(starts, labels, strict=True)]
    ticks = [start + 1 for start in starts]
    style: dict[str, Any] = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axis.set_xticks(ticks, labels, **style, fontsize=8, parse_math=False)
    last = max(len(names), 1)
    margin = max(0.5, last / 100)
    axis.set_xlim(1 - margin, last + margin)


def _group_names(names: Sequence[str]) -> tuple[list[int], list[str]]:
    """Group names. Return the index at which each group begins, and the beginning of its names.

    Neighbors are a group if they begin with the same words. As few words are compared as leave no
    group with most names. If labels of groups would overlap, the largest groups are returned.
    """
    # A word ends at `/`, `_` or a space.
    words_by_name = [re.findall("[^/_ ]+[/_ ]*|[/_ ]+", name) for name in names]
    groups: list[list[list[str]]] = []
    for count in range(1, max(map(len, words_by_name)) + 1):
        groups = []
        for words in words_by_name:
            if groups and groups[-1][0][:count] == words[:count]:
                groups[-1].append(words)
            else:
                groups.append([words])
        if max(map(len, groups)) <= len(names) * _LARGEST_GROUP:
            break
    starts = [0, *itertools.accumulate(map(len, groups))]
    distance = len(names) / _LABELED
    labeled: list[int] = []
    for index in sorted(range(len(groups)), key=lambda index: -len(groups[index])):
        if all(abs(starts[index] - starts[other]) >= distance for other in labeled):
            labeled.append(index)
    labeled.sort()
    labels = [_find_shared_start(groups[index]) for index in labeled]
    return [starts[index] for index in labeled], labels


def _drop_repeated_labels(
    starts: Sequence[int], labels: Sequence[str]
) -> tuple[list[int], list[str]]:
    """Drop groups whose label an earlier group has."""
    firsts: dict[str, int] = {}
    for start, label in zip(starts, labels, strict=True):
        firsts.setdefault(label, start)
    return list(firsts.values()), list(firsts)


def _find_shared_start(group: Sequence[Sequence[str]]) -> str:
    """Find the words that all names of a group begin with."""
    columns = zip(*group, strict=False)
    shared = itertools.takewhile(lambda alike: len(set(alike)) == 1, columns)
    return "".join(word for word, *_ in shared).rstrip("/_ ")
