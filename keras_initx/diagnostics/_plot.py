"""Pictures of a report, and of the course of several."""

import math
from pathlib import Path

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

_BEFORE, _AFTER, _BAD = "#9db8d6", "#3069a8", "#c0392b"
_WIDTH = 12  # inches, as are the heights
_PANEL, _CELL = 2.6, 1.25
_CELLS_IN_A_ROW = 8
# Up to as many layers have their names below a panel, and lines of their own in a legend; more have numbers.
_NAMED = 40
_LEGEND = 12


def plot(report, path):
    """Draw a `Report`. The arguments are those of `Report.plot`."""
    layers = [layer for layer in report.layers if layer.after]
    panels = [_draw_std, _draw_mean]
    if any(layer.gradient_norm is not None for layer in layers):
        panels.append(_draw_gradients)
    rows = max(math.ceil(len(layers) / _CELLS_IN_A_ROW), 1)
    names = 1.2 if len(layers) <= _NAMED else 0
    heights = (_PANEL * len(panels) + names, _CELL * rows + 0.4)
    figure = Figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
    top, bottom = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
    axes = top.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for draw, axis in zip(panels, axes, strict=True):
        draw(axis, layers)
        _tidy(axis)
    _name_layers(axes[-1], layers)
    _draw_histograms(bottom, layers, rows, {name for verdict in report.problems for name in verdict.layers})
    _save(figure, path)


def _draw_std(axis, layers):
    numbers = range(1, len(layers) + 1)
    before = [layer.before.std if layer.before else np.nan for layer in layers]
    if not np.isnan(before).all():
        axis.plot(numbers, _for_logarithm(before), "o", color=_BEFORE, label="before the activation", markersize=6)
    after = [layer.after.std for layer in layers]
    axis.plot(numbers, _for_logarithm(after), "o-", color=_AFTER, label="output", markersize=3, linewidth=1)
    axis.set_yscale("log")
    axis.set_ylabel("standard deviation")
    axis.legend(frameon=False, fontsize=8)
    _widen(axis)


def _draw_mean(axis, layers):
    numbers = range(1, len(layers) + 1)
    axis.axhline(0, color="0.6", linewidth=0.8)
    axis.plot(numbers, [layer.after.mean for layer in layers], "o-", color=_AFTER, markersize=3, linewidth=1)
    axis.set_ylabel("mean of the output")


def _draw_gradients(axis, layers):
    numbers = range(1, len(layers) + 1)
    for values, color, label in (
        ([layer.gradient_ratio for layer in layers], _BEFORE, "over the norm of the weights"),
        ([layer.gradient_norm for layer in layers], _AFTER, "norm of the gradient"),
    ):
        values = [np.nan if value is None else value for value in values]
        axis.plot(numbers, _for_logarithm(values), "o", color=color, label=label, markersize=4)
    axis.set_yscale("log")
    axis.set_ylabel("gradient")
    axis.legend(frameon=False, fontsize=8)
    _widen(axis)


def _for_logarithm(values):
    """Return `values` with gaps for those that a logarithmic axis does not have."""
    values = np.array(values, "float64")
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _widen(axis):
    """Let a logarithmic axis span at least two decades, so that what is nearly equal looks so."""
    low, high = axis.get_ylim()
    middle = math.sqrt(low * high)
    axis.set_ylim(min(low, middle / 10), max(high, middle * 10))


def _name_layers(axis, layers):
    if len(layers) <= _NAMED:
        labels = [_short(layer.name, 24) for layer in layers]
        axis.set_xticks(range(1, len(layers) + 1), labels, rotation=40, ha="right", fontsize=8)
    else:
        axis.set_xlabel("number of the layer, in the order of the outputs")
    axis.set_xlim(0.5, max(len(layers), 1) + 0.5)


def _draw_histograms(figure, layers, rows, named):
    figure.suptitle("Histograms of the outputs, in red where a problem was found", fontsize=10)
    cells = figure.subplots(rows, _CELLS_IN_A_ROW, squeeze=False).ravel()
    for number, (axis, layer) in enumerate(zip(cells, layers, strict=False), 1):
        signal = layer.after
        edges, bad = signal.edges, layer.name in named
        axis.stairs(_heights(signal.counts), edges, fill=True, color=_BAD if bad else _AFTER)
        axis.set_title(f"{number}  {_short(layer.name, 18)}", fontsize=7, pad=2, color=_BAD if bad else "black")
        axis.set_xticks([edges[0], edges[-1]], [f"{edges[0]:.2g}", f"{edges[-1]:.2g}"], fontsize=6)
        left, right = axis.get_xticklabels()
        left.set_horizontalalignment("left")
        right.set_horizontalalignment("right")
        axis.set_yticks([])
        axis.spines[["top", "right", "left"]].set_visible(False)
    for axis in cells[len(layers) :]:
        axis.set_axis_off()


def _heights(counts):
    """Return what is shown of `counts`: a bin that dwarfs all others, as the zeros of relu do, is cut off."""
    second = np.partition(counts, -2)[-2]
    return np.minimum(counts, 3 * second) if second else counts


def _short(name, length):
    return name if len(name) <= length else f"…{name[1 - length :]}"


def plot_course(history, path):
    """Draw how the statistics of each layer change over the steps of a training.

    Args:
        history: Dict from a step to the `Report` of it.
        path: See `Report.plot`.
    """
    steps = list(history)
    names = [layer.name for layer in history[steps[0]].layers if layer.after] if steps else []
    by_name = [{layer.name: layer for layer in report.layers} for report in history.values()]
    panels = [
        ("standard deviation before the activation", "log", lambda layer: layer.signal.std),
        ("mean of the output", "linear", lambda layer: layer.after.mean),
        ("saturated", "share", lambda layer: layer.saturated),
        ("dead units", "share", lambda layer: layer.dead),
        ("gradient norm", "log", lambda layer: layer.gradient_norm),
        ("gradient over weights", "log", lambda layer: layer.gradient_ratio),
    ]
    courses = {}
    for title, scale, value in panels:
        lines = {name: [_value(layers.get(name), value) for layers in by_name] for name in names}
        if any(not np.isnan(line).all() for line in lines.values()):
            courses[title, scale] = lines
    figure = Figure(figsize=(_WIDTH, 3 * math.ceil(len(courses) / 2) + 0.2), layout="constrained")
    axes = figure.subplots(math.ceil(len(courses) / 2) or 1, 2, squeeze=False, sharex=True).ravel()
    colors = ScalarMappable(Normalize(1, max(len(names), 2)), "viridis")
    for axis, ((title, scale), lines) in zip(axes, courses.items(), strict=False):
        for number, (name, line) in enumerate(lines.items(), 1):
            if not np.isnan(line).all():
                shown = _for_logarithm(line) if scale == "log" else line
                axis.plot(
                    steps, shown, ".-", color=colors.to_rgba(np.array(number)), label=_short(name, 24), linewidth=1
                )
        _scale(axis, scale)
        axis.set_title(title, fontsize=10)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.xaxis.set_tick_params(labelbottom=True)
        axis.set_xlabel("steps", fontsize=8)
        _tidy(axis)
    for axis in axes[len(courses) :]:
        axis.set_axis_off()
    if len(names) <= _LEGEND:
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=8)
    else:
        figure.colorbar(colors, ax=axes, label="number of the layer, in the order of the outputs")
    _save(figure, path)


def _value(layer, value):
    found = value(layer) if layer is not None else None
    return np.nan if found is None else found


def _scale(axis, scale):
    if scale == "log":
        axis.set_yscale("log")
        _widen(axis)
    elif scale == "share":
        axis.set_ylim(-0.02, 1.02)
        axis.yaxis.set_major_formatter(PercentFormatter(1))


def _tidy(axis):
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis="y", color="0.9")
    axis.set_axisbelow(True)


def _save(figure, path):
    figure.savefig(path, format=Path(path).suffix[1:].lower(), dpi=150, facecolor="white")
