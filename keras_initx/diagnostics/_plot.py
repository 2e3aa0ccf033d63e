"""The plots of a report, and of the reports of a training."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from keras_initx._typing import Array
from keras_initx.diagnostics._measurements import LayerReport
from keras_initx.diagnostics._signal import Signal
from keras_initx.diagnostics._verdict import EXPLODING
from keras_initx.diagnostics.verdicts.gradients import EXPLODING_GRADIENT, VANISHING_GRADIENT
from keras_initx.diagnostics.verdicts.signals import DEAD, SATURATED, VANISHING
from keras_initx.rendering import (
    BLUE,
    NAMED,
    PALE_BLUE,
    RED,
    label_order,
    make_logarithmic,
    new_figure,
    save_figure,
    short_number,
    shortened,
    tidy,
)

_WIDTH = 9  # in inches, like the heights
_PANEL_HEIGHT = 2.6
_CELL_HEIGHT = 1.4
_CELLS_IN_A_ROW = 6
_MOST_CELLS = 12
# Of the first, the middle and the last layer in a history: dark to light, from the map plasma.
_ORDER = ("#0d0887", "#bd3786", "#e16462")
# From where on a measurement is a problem.
_BOUNDS = {
    "vanishing": VANISHING,
    "exploding": EXPLODING,
    "saturated": SATURATED,
    "dead units": DEAD,
    "vanishing gradient": VANISHING_GRADIENT,
    "exploding gradient": EXPLODING_GRADIENT,
}


def plot_layers(
    layers: Sequence[LayerReport],
    marked: Collection[str],
    losses: Sequence[float],
) -> Figure:
    """Plot the measurements of each layer.

    Args:
        layers: The layers.
        marked: Names of the layers whose histograms are red.
        losses: The loss before each step and after the last, empty without steps.
    """
    layers = [layer for layer in layers if layer.after is not None]
    panels = [_plot_std, _plot_mean]
    if any(layer.gradient is not None for layer in layers):
        panels.append(_plot_gradients)
    shown = _worth_a_histogram(layers, marked)
    rows = 1
    columns = _CELLS_IN_A_ROW
    if len(shown) > _CELLS_IN_A_ROW:
        rows = math.ceil(len(shown) / _CELLS_IN_A_ROW)
        columns = math.ceil(len(shown) / rows)  # rows of equal length
    top_height = _PANEL_HEIGHT * len(panels)
    if len(layers) <= NAMED:
        top_height += 1.2
    heights = [top_height, _CELL_HEIGHT * rows + 0.4]
    if losses:
        heights.append(_PANEL_HEIGHT)
    figure = new_figure(size=(_WIDTH, sum(heights)))
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    top, bottom = parts[:2]
    axes = top.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for plot_panel, axis in zip(panels, axes, strict=True):
        plot_panel(axis, layers)
    tidy(axes, axis="y")
    label_order(axes[-1], [layer.path for layer in layers], "layer")
    limits = _shared_range(layers)
    _plot_histograms(bottom, layers, shown, (rows, columns), marked, limits)
    if losses:
        _plot_losses(parts[2].subplots(), losses)
    return figure


def _plot_losses(axis: Axes, losses: Sequence[float]) -> None:
    axis.plot(range(len(losses)), losses, ".-", color=BLUE, linewidth=1, markersize=2)
    if not math.isfinite(losses[-1]):
        label = f"the loss is {losses[-1]}"
        axis.axvline(len(losses) - 1, color=RED, linestyle="--", linewidth=0.8, label=label)
        axis.legend(frameon=False, fontsize=8)
    axis.set_xlabel("step")
    axis.set_ylabel("loss")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if min(losses) > 0:
        make_logarithmic(axis)
    tidy([axis])


def _worth_a_histogram(layers: Sequence[LayerReport], marked: Collection[str]) -> list[int]:
    """Return the places of the layers whose histograms are shown.

    Of many layers they are those with problems or, without problems, some at equal distances.
    """
    places = list(range(len(layers)))
    if len(places) > _MOST_CELLS:
        places = [place for place in places if layers[place].name in marked] or places
    if len(places) > _MOST_CELLS:
        places = [
            places[index] for index in np.linspace(0, len(places) - 1, _MOST_CELLS, dtype=int)
        ]
    return places


def _plot_std(axis: Axes, layers: Sequence[LayerReport]) -> None:
    numbers = range(1, len(layers) + 1)
    before = _values_of(layers, _std_before)
    if not np.isnan(before).all():
        label = "before the activation"
        axis.plot(numbers, _for_logarithm(before), "o", color=PALE_BLUE, label=label, markersize=6)
    after = _for_logarithm(_values_of(layers, _output_std))
    axis.plot(numbers, after, "o-", color=BLUE, label="output", markersize=3, linewidth=1)
    axis.set_ylabel("standard deviation")
    axis.legend(frameon=False, fontsize=8)
    make_logarithmic(axis)
    _mark(axis, ("vanishing", "exploding"))


def _plot_mean(axis: Axes, layers: Sequence[LayerReport]) -> None:
    numbers = range(1, len(layers) + 1)
    axis.axhline(0, color="0.6", linewidth=0.8)
    means = _values_of(layers, _output_mean)
    axis.plot(numbers, means, "o-", color=BLUE, markersize=3, linewidth=1)
    axis.set_ylabel("mean of the output")
    # A mean that is small beside the deviation looks small.
    deviations = _values_of(layers, _output_std)
    sizes = np.abs([*means, *deviations / 2])
    most = sizes[np.isfinite(sizes)].max(initial=0)
    if most:
        axis.set_ylim(-1.1 * most, 1.1 * most)


def _plot_gradients(axis: Axes, layers: Sequence[LayerReport]) -> None:
    numbers = range(1, len(layers) + 1)
    ratios = _values_of(layers, _gradient_ratio)
    norms = _values_of(layers, _gradient_norm)
    label = "over the norm of the weights"
    axis.plot(numbers, _for_logarithm(ratios), "o", color=PALE_BLUE, label=label, markersize=4)
    label = "norm of the gradient"
    axis.plot(numbers, _for_logarithm(norms), "o", color=BLUE, label=label, markersize=4)
    axis.set_ylabel("gradient")
    axis.legend(frameon=False, fontsize=8)
    make_logarithmic(axis)
    _mark(axis, ("exploding gradient",))
    largest = norms[np.isfinite(norms)].max(initial=0)
    _mark(axis, ("vanishing gradient",), unit=largest, of=" of the largest norm")


def _plot_histograms(
    figure: SubFigure,
    layers: Sequence[LayerReport],
    shown: Sequence[int],
    grid: tuple[int, int],
    marked: Collection[str],
    limits: Array,
) -> None:
    of = "" if len(shown) == len(layers) else f" of {len(shown)} of {len(layers)} layers"
    figure.suptitle(
        f"Outputs{of} on one axis, in red where a problem was found. Pale bar: share of zeros",
        fontsize=10,
    )
    paths = shortened([layer.path for layer in layers], 18)
    cells = figure.subplots(*grid, squeeze=False).ravel()
    for place, axis in zip(shown, cells, strict=False):
        layer = layers[place]
        signal = layer.after or Signal()
        color = BLUE
        title_color = "black"
        if layer.name in marked:
            color = RED
            title_color = RED
        heights = signal.heights()
        heights /= heights.max() or 1
        # The outline keeps a histogram visible that is thinner than a pixel.
        axis.stairs(heights, signal.edges, fill=True, color=color, edgecolor=color, linewidth=1)
        axis.bar(0, signal.zeros, -np.ptp(limits) / 25, align="edge", color=PALE_BLUE)
        title = f"{place + 1} {paths[place]}\n{_summary(layer, signal)}"
        axis.set_title(title, fontsize=7, pad=2, color=title_color)
        axis.set(xlim=limits, ylim=(0, 1.05), yticks=[])
        axis.xaxis.set(major_locator=MaxNLocator(3), major_formatter="{x:g}")
        axis.tick_params(labelsize=6)
        axis.spines[["top", "right", "left"]].set_visible(False)
    for axis in cells[len(shown) :]:
        axis.set_axis_off()


def _summary(layer: LayerReport, signal: Signal) -> str:
    """Return the second line of the title of a histogram."""
    parts = [f"std {short_number(signal.std)}"]
    for name, share in (("saturated", layer.saturated), ("dead", layer.dead)):
        if share is not None and share >= 0.01:
            parts.append(f"{share:.0%} {name}")
    return ", ".join(parts)


def _shared_range(layers: Sequence[LayerReport]) -> Array:
    """Return the limits for the histograms of all layers.

    Layers that exploded are left out, where others have not, and so are rare values far from the
    rest.
    """
    signals = [layer.after for layer in layers if layer.after is not None]
    least = min((signal.std for signal in signals), default=0.0)
    low = 0.0
    high = 0.0
    for signal in signals:
        if not signal.std <= max(EXPLODING, least):
            continue
        reach = 4 * math.hypot(signal.mean, signal.std)
        low = min(low, max(signal.min, -reach))
        high = max(high, min(signal.max, reach))
    margin = (high - low) / 20 or 1
    return np.array([low - margin, high + margin])


def _std_before(layer: LayerReport) -> float | None:
    if layer.before is None:
        return None
    return layer.before.std


def _output_mean(layer: LayerReport) -> float | None:
    if layer.after is None:
        return None
    return layer.after.mean


def _output_std(layer: LayerReport) -> float | None:
    if layer.after is None:
        return None
    return layer.after.std


def _gradient_norm(layer: LayerReport) -> float | None:
    if layer.gradient is None:
        return None
    return layer.gradient.norm


def _gradient_ratio(layer: LayerReport) -> float | None:
    if layer.gradient is None:
        return None
    return layer.gradient.ratio


class _Panel(NamedTuple):
    """A panel: a statistic of each layer, the scale of its axis, and the problems that it shows."""

    title: str
    scale: Literal["linear", "log", "share"]
    value: Callable[[LayerReport], float | None]
    problems: tuple[str, ...] = ()


_HISTORY_PANELS = (
    _Panel(
        "standard deviation before the activation",
        "log",
        lambda layer: layer.signal.std if layer.signal.size else None,
        ("vanishing", "exploding"),
    ),
    _Panel("mean of the output", "linear", _output_mean),
    _Panel("saturated", "share", lambda layer: layer.saturated, ("saturated",)),
    _Panel("dead units", "share", lambda layer: layer.dead, ("dead units",)),
    _Panel("gradient norm", "log", _gradient_norm, ("exploding gradient",)),
    _Panel("gradient over weights", "log", _gradient_ratio),
)


def plot_history(history: Mapping[int, Sequence[LayerReport]], path: str | Path | None) -> Figure:
    """Plot how the measurements of each layer change over the steps of a training.

    Args:
        history: Dict from a step to the layers.
        path: See `Report.plot`.
    """
    steps = list(history)
    layers: list[LayerReport] = []
    if steps:
        layers = [layer for layer in history[steps[0]] if layer.after is not None]
    paths = [layer.path for layer in layers]
    panels = _panel_values(history, paths)
    shown = _first_middle_and_last(layers)
    rows = math.ceil(len(panels) / 2)
    figure = new_figure(size=(_WIDTH, 3 * rows + 0.2))
    axes = figure.subplots(rows or 1, 2, squeeze=False, sharex=True).ravel()
    for axis, (panel, values) in zip(axes, panels.items(), strict=False):
        labels = shortened(shown, 24)
        for path_of_one, label, color, marker in zip(shown, labels, _ORDER, "os^", strict=False):
            line = values[paths.index(path_of_one)]
            axis.plot(
                steps, line, color=color, marker=marker, label=label, linewidth=1, markersize=4
            )
        least = np.fmin.reduce(values)
        greatest = np.fmax.reduce(values)
        axis.fill_between(steps, least, greatest, color="0.92", label="range of all layers")
        _finish_panel(axis, panel)
    tidy(axes[: len(panels)], axis="y")
    free = axes[len(panels) :]
    for axis in free:
        axis.set_axis_off()
    if paths:
        handles, labels = axes[0].get_legend_handles_labels()
        style = {"title": "first, middle and last layer", "frameon": False}
        # Where a cell of the grid is free, otherwise beside the panels.
        if len(free):
            free[0].legend(handles, labels, loc="center", **style)
        else:
            figure.legend(handles, labels, loc="outside right upper", fontsize=8, **style)
    return save_figure(figure, path)


def _panel_values(
    history: Mapping[int, Sequence[LayerReport]], paths: Sequence[str]
) -> dict[_Panel, Array]:
    """Return the values of each panel that has any, as an array with a row for each of `paths`."""
    layers_by_step = [{layer.path: layer for layer in layers} for layers in history.values()]
    panels = {}
    for panel in _HISTORY_PANELS:
        rows = []
        for path in paths:
            over_steps = [layers.get(path) for layers in layers_by_step]
            rows.append(_values_of(over_steps, panel.value))
        values = np.array(rows)
        if np.isnan(values).all():
            continue
        if panel.scale == "log":
            values = _for_logarithm(values)
        panels[panel] = values
    return panels


def _first_middle_and_last(layers: Sequence[LayerReport]) -> list[str]:
    """Return the paths of the layers to show: lines of all would hide each other."""
    paths = [layer.path for layer in layers if layer.weights]
    # Layers without weights have no gradient.
    if not paths:
        paths = [layer.path for layer in layers]
    if not paths:
        return []
    middle = paths[(len(paths) - 1) // 2]
    return list(dict.fromkeys([paths[0], middle, paths[-1]]))


def _finish_panel(axis: Axes, panel: _Panel) -> None:
    """Set the scale of a panel whose lines are drawn, label it, and show its bounds."""
    if panel.scale == "log":
        make_logarithmic(axis)
    elif panel.scale == "share":
        # The bound is in the panel, so that a share is large where it looks so.
        limits = [_BOUNDS[problem] for problem in panel.problems]
        axis.set_ylim(-0.02, 1.1 * max([axis.dataLim.ymax, *limits]))
        axis.yaxis.set_major_formatter(PercentFormatter(1))
    _mark(axis, panel.problems)
    axis.set_title(panel.title, fontsize=10)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.xaxis.set_tick_params(labelbottom=True)
    axis.set_xlabel("steps", fontsize=8)


def _values_of(
    layers: Sequence[LayerReport | None], value: Callable[[LayerReport], float | None]
) -> Array:
    """Return the value of each layer, NaN for layers without one."""
    values = []
    for layer in layers:
        values.append(None if layer is None else value(layer))
    # NumPy makes NaN of `None`.
    return np.array(values, "float64")


def _for_logarithm(values: Array) -> Array:
    """Return `values` with NaN for those that a logarithmic axis cannot show."""
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _mark(axis: Axes, problems: Sequence[str], unit: float = 1, of: str = "") -> None:
    """Draw a line where each problem begins, in multiples of `unit`, if it is in the range.

    The range stays as it is: a bound far from the values would flatten them.
    """
    low, high = axis.get_ylim()
    for problem in problems:
        bound = _BOUNDS[problem]
        y = bound * unit
        if not low < y < high:
            continue
        axis.axhline(y, color=RED, linestyle="--", linewidth=1)
        # On two sides, because two bounds may be close to each other.
        x, shift, side = 1, -4, "right"
        if problem.startswith("exploding"):
            x, shift, side = 0, 4, "left"
        axis.annotate(
            f"{problem}: {bound:g}{of}",
            (x, y),
            xytext=(shift, 3),
            textcoords="offset points",
            xycoords=("axes fraction", "data"),
            ha=side,
            fontsize=8,
            color=RED,
        )
