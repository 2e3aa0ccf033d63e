"""The plots of a comparison."""

import functools
import itertools
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_initx.rendering._figures import COLORS, new_figure, tidy
from keras_initx.studies._records import FloatArray
from keras_initx.studies._result import Plot
from keras_initx.studies._summary import Summary
from keras_initx.studies._trials import Trials, best_epochs, epochs_to_start

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = (8, 4.6)
# Suffixes for the distribution of the weights. The part before them is the family.
_DISTRIBUTIONS = ("_uniform", "_normal")
_MIN_BATCHES = 10  # minimum number of batches in an epoch for a curve
_MARKERS = "o^s"  # used in turn if there are more initializers than colors


def study_plots(trials: Trials, summary: Summary) -> list[Plot]:
    """Return the plots for which there are data."""
    trained = [row["initializer"] for row in summary.rows if row["finished"]]
    # Include trials that diverge later, because the first batch may show why.
    diagnosed = {row["initializer"] for row in trials.first_batches}
    measured = [row["initializer"] for row in summary.rows if row["initializer"] in diagnosed]
    plots: list[tuple[str, str, Callable[..., Any], Any]] = [
        ("curves", "Learning curves", _plot_curves, trained),
        ("distributions", "Uniform and normal", _plot_distributions, families(trained)),
        ("course", "The course of training", _plot_curve_statistics, trained),
        ("final-values", "Final values of the trials", functools.partial(_plot_final_values, summary), trained),
        ("gaps", "Generalization gap", _plot_gaps, trained),
        ("first-epoch", "The first epoch", _plot_first_epoch, _losses_of_first_epoch(trials, trained)),
        ("first-batch", "The first batch, before training", _plot_first_batch, measured),
    ]
    return [Plot(name, caption, function(trials, shown)) for name, caption, function, shown in plots if shown]


def _plot_curves(trials: Trials, shown: Sequence[str]) -> "Figure":
    """Plot the metric by epoch, with a panel for each initializer."""
    own = trials.monitor.removeprefix("val_")
    curves = {name: trials.curves(name, trials.monitor) for name in shown}
    training = {name: trials.curves(name, own) for name in shown if own != trials.monitor}
    title = f"{trials.monitor}: mean over the repeats, and from the least to the greatest; gray: the others"
    if training:
        title += f"\ndashed: mean of {own}, on the training data"
    figure, panels = _new_panels(trials, title, range(trials.settings["epochs"] + 1), curves)
    for name, values in training.items():
        panels[name].plot(values.mean(axis=0), "--", color=_color(trials, name), linewidth=1)
    for axis in panels.values():
        _label_epochs(axis, trials)
        axis.label_outer()
    figure.supylabel(own, fontsize=10)
    _limit(panels[shown[0]], [*curves.values(), *training.values()])
    return figure


def families(names: Sequence[str]) -> list[str]:
    """Return the families of the names that end with the name of a distribution.

    Empty unless there are both uniform and normal initializers.
    """
    groups = [[name.removesuffix(end) for name in names if name.endswith(end)] for end in _DISTRIBUTIONS]
    return list(dict.fromkeys(itertools.chain(*groups))) if all(groups) else []


def _plot_distributions(trials: Trials, families: Sequence[str]) -> "Figure":
    """Plot a row for the metric and a row for the loss, with a panel for each distribution."""
    metrics = list(dict.fromkeys([trials.monitor.removeprefix("val_"), "loss"]))
    title = "Mean over the repeats: validation solid and with its range, training dashed"
    figure = _titled(trials.title, title, (_SIZE[0], 0.8 + 3.2 * len(metrics)))
    grid = figure.subplots(len(metrics), len(_DISTRIBUTIONS), squeeze=False, sharex=True, sharey="row")
    tidy(grid.flat)
    for row, metric in zip(grid, metrics, strict=True):
        plotted = []
        for axis, suffix in zip(row, _DISTRIBUTIONS, strict=True):
            for color, family in zip(itertools.cycle(COLORS), families):
                name = family + suffix
                training, validation = trials.curves(name, metric)[:, 1:], trials.curves(name, f"val_{metric}")
                if not len(validation):  # e.g. a family with only one of the distributions
                    continue
                plotted += [training, validation]
                _plot_band(axis, range(validation.shape[1]), validation, family, color)
                axis.plot(range(1, validation.shape[1]), training.mean(axis=0), "--", color=color, linewidth=1)
        _limit(row[0], plotted)
        row[0].set_ylabel(metric)
    for axis, suffix in zip(grid[0], _DISTRIBUTIONS, strict=True):
        axis.set_title(suffix.removeprefix("_"))
    for axis in grid[-1]:
        _label_epochs(axis, trials)
    _add_legend(figure, *grid.flat)
    return figure


def _plot_curve_statistics(trials: Trials, shown: Sequence[str]) -> "Figure":
    panels: dict[str, Callable[[str], Sequence[float]]] = {
        "epoch of leaving chance": functools.partial(epochs_to_start, trials),
        "best epoch": lambda name: best_epochs(trials.curves(name, trials.monitor), trials.mode),
        "mean jump": trials.jumps,
    }
    title = f"The course of {trials.monitor}: each trial, and their median"
    figure, axes = new_plot(trials.title, title, len(panels))
    for axis, (label, values_of) in zip(axes, panels.items(), strict=True):
        for place, name in enumerate(shown):
            values, color = np.array(values_of(name)), _color(trials, name)
            # A trial that never gets there has no point. Many points are at the first or the last epoch.
            axis.plot(values, [place + 0.2] * len(values), "o", color=color, markersize=4, alpha=0.5, clip_on=False)
            axis.plot(np.median(values), place, "|", color=color, markersize=14, markeredgewidth=2, clip_on=False)
        _label_rows(axis, shown if axis is axes[0] else [""] * len(shown))
        axis.set(xlabel=label)
        axis.set_xlim(left=0, right=trials.settings["epochs"] if "epoch" in label else None)
        axis.xaxis.set_major_formatter("{x:g}")  # the labels of two panels must not touch
    return figure


def _plot_final_values(summary: Summary, trials: Trials, shown: Sequence[str]) -> "Figure":
    title = f"{trials.monitor} after {trials.settings['epochs']} epochs: trials, mean and 95 % interval"
    figure, (axis,) = new_plot(trials.title, title)
    rows = {row["initializer"]: row for row in summary.rows}
    for place, name in enumerate(shown):
        row, color = rows[name], _color(trials, name)
        values = list(trials.final_values(name).values())
        axis.plot(values, [place + 0.2] * len(values), "o", color=color, alpha=0.5, markersize=4, markeredgewidth=0)
        if len(values) > 1:
            axis.plot([row["ci_low"], row["ci_high"]], [place, place], color=color, linewidth=2)
        axis.plot(row["mean"], place, "o", color=color, markersize=7)
    _label_rows(axis, shown)
    axis.set(xlabel=trials.monitor)
    return figure


def _plot_gaps(trials: Trials, shown: Sequence[str]) -> "Figure":
    own = trials.monitor.removeprefix("val_")
    title = f"Generalization gap: how much better {own} is on the training data, at the end"
    figure, (axis,) = new_plot(trials.title, title)
    for place, name in enumerate(shown):
        gaps, color = trials.gaps(name), _color(trials, name)
        axis.barh(place, np.mean(gaps), 0.5, color=color, alpha=0.35)
        axis.plot(gaps, [place] * len(gaps), "o", color=color, markersize=4)
    axis.axvline(0, color="0.3", linewidth=0.8)
    _label_rows(axis, shown)
    axis.set(xlabel=f"gap in {own}")
    return figure


def _losses_of_first_epoch(trials: Trials, names: Sequence[str]) -> dict[str, FloatArray]:
    """Return the loss of each batch, with a row per trial; empty if an epoch has too few batches for a curve."""
    losses = {}
    for name in names:
        finished = [trial for trial in trials.trials_of(name).values() if trial.status == "finished"]
        losses[name] = np.array([trial.epochs[1]["batch_losses"] for trial in finished])
    return {name: values for name, values in losses.items() if values.shape[1] >= _MIN_BATCHES}


def _plot_first_epoch(trials: Trials, losses: Mapping[str, FloatArray]) -> "Figure":
    """Plot the loss of the first batches, with a panel for each initializer."""
    title = "The first epoch, loss of each batch: mean over the repeats, least to greatest; gray: the others"
    count = next(iter(losses.values())).shape[1]
    figure, panels = _new_panels(trials, title, range(1, count + 1), losses)
    for axis in panels.values():
        axis.set(xlabel="batch", xlim=(1, count))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.label_outer()
    figure.supylabel("loss", fontsize=10)
    _limit(next(iter(panels.values())), losses.values())
    return figure


def _plot_first_batch(trials: Trials, shown: Sequence[str]) -> "Figure":
    title = "The first batch, before training: mean over the repeats, least to greatest"
    panels = {"std": "standard deviation of the output", "gradient_norm": "norm of the gradient"}
    figure, axes = new_plot(trials.title, title, len(panels))
    for axis, (statistic, label) in zip(axes, panels.items(), strict=True):
        for place, name in enumerate(shown):
            rows = [
                [layer[statistic] for layer in trial.first_batch["layers"]]
                for trial in trials.trials_of(name).values()
                if trial.first_batch.get("layers")
            ]
            values = np.array(list(itertools.zip_longest(*rows)), "float64").T
            known = np.where(np.isfinite(values), values, np.nan)
            # Side by side, because equal values would hide each other.
            layers = np.arange(1, values.shape[1] + 1) + 0.6 * ((place + 0.5) / len(shown) - 0.5)
            color = _color(trials, name)
            axis.vlines(layers, known.min(axis=0), known.max(axis=0), color=color, linewidth=1.2)
            marker = _MARKERS[trials.initializers.index(name) // len(COLORS) % len(_MARKERS)]
            axis.plot(layers, known.mean(axis=0), marker, color=color, markersize=4, label=name)
        axis.set(title=label, xlabel="layer, the first is nearest to the inputs", yscale="log")
        axis.xaxis.get_major_locator().set_params(integer=True)
    _add_legend(figure, axes[0])
    return figure


def new_plot(study: str, title: str, columns: int = 1) -> "tuple[Figure, Sequence[Axes]]":
    """Return a figure whose title ends with that of the study, and its axes."""
    figure = _titled(study, title, _SIZE)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    tidy(axes)
    return figure, axes


def _titled(study: str, title: str, size: tuple[float, float]) -> "Figure":
    return new_figure(f"{title}\n{textwrap.fill(study, 100)}", size=size, extra="studies")


def _new_panels(
    trials: Trials, title: str, steps: Sequence[int], curves: Mapping[str, FloatArray]
) -> "tuple[Figure, dict[str, Axes]]":
    """Return a figure with a panel for the curves of each initializer, because in one panel their bands would overlap.

    Each panel also has the means of all others in gray.
    """
    rows = math.ceil(len(curves) / 4)
    columns = math.ceil(len(curves) / rows)
    figure = _titled(trials.title, title, (_SIZE[0], 1 + 1.9 * rows))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    tidy(grid.flat)
    for axis in grid.flat[len(curves) :]:
        axis.remove()
    for axis in grid.flat[len(curves) - columns : len(curves)]:  # the last panel of each column
        axis.tick_params(labelbottom=True)
    panels = dict(zip(curves, grid.flat, strict=False))
    for name, axis in panels.items():
        axis.set_title(name, fontsize=8, parse_math=False)
        for other in curves.values():
            axis.plot(steps, other.mean(axis=0), color="0.82", linewidth=0.8)
        _plot_band(axis, steps, curves[name], name, _color(trials, name))
    return figure, panels


def _plot_band(axis: "Axes", steps: Sequence[int], curves: FloatArray, label: str, color: str) -> None:
    """Plot the mean over the repeats, and the range from minimum to maximum."""
    axis.plot(steps, curves.mean(axis=0), linewidth=1.6, color=color, label=label)
    axis.fill_between(steps, curves.min(axis=0), curves.max(axis=0), color=color, alpha=0.12, linewidth=0)


def _color(trials: Trials, name: str) -> str:
    """Return the color of an initializer. Colors repeat if there are more initializers than colors."""
    return COLORS[trials.initializers.index(name) % len(COLORS)]


def _add_legend(figure: "Figure", *axes: "Axes") -> None:
    """Add a legend of all lines of `axes`, with each label once."""
    lines = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(lines.values(), lines.keys(), loc="outside right center", frameon=False, fontsize=8)


def _label_epochs(axis: "Axes", trials: Trials) -> None:
    axis.set(xlabel="epoch", xlim=(0, trials.settings["epochs"]))
    axis.xaxis.get_major_locator().set_params(integer=True)


def _label_rows(axis: "Axes", shown: Sequence[str]) -> None:
    axis.set(yticks=range(len(shown)), yticklabels=shown, ylim=(len(shown) - 0.4, -0.6))
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")


def _limit(axis: "Axes", curves: Iterable[FloatArray]) -> None:
    """Limit the axis, so that an exploding loss does not flatten all other curves."""
    values = np.concatenate([curve.ravel() for curve in curves])
    values = values[~np.isnan(values)]
    least, typical = values.min(), np.quantile(values, 0.98)
    if values.max() - least > 3 * (typical - least):
        axis.set_ylim(least - 0.05 * (typical - least), typical + 0.1 * (typical - least))
