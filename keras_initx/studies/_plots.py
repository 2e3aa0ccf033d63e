"""The plots of a comparison."""

import itertools
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_initx.rendering._figures import COLORS, new_figure, tidy
from keras_initx.studies._metric import sign
from keras_initx.studies._records import FloatArray
from keras_initx.studies._result import Plot, Result
from keras_initx.studies._summary import best_epochs, epochs_to_start

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


# Suffixes for the distribution of the weights. The part before them is the family.
_DISTRIBUTIONS = ("_uniform", "_normal")
_MIN_BATCHES = 10  # minimum number of batches in an epoch for a curve


def _new_panels(study: "Study", title: str, shown: Sequence[str]) -> "tuple[Figure, dict[str, Axes]]":
    """Return a figure with a panel for each initializer, because in one panel their bands would overlap."""
    rows = math.ceil(len(shown) / 4)
    columns = math.ceil(len(shown) / rows)
    figure = titled(study, title, (SIZE[0], 1 + 1.9 * rows))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    tidy(grid.flat)
    for axis in grid.flat[len(shown) :]:
        axis.remove()
    for axis in grid.flat[len(shown) - columns : len(shown)]:  # the last panel of each column
        axis.tick_params(labelbottom=True)
    panels = dict(zip(shown, grid.flat, strict=False))
    for name, axis in panels.items():
        axis.set_title(name, fontsize=8, parse_math=False)
    return figure, panels


def _plot_panels(
    study: "Study", panels: "dict[str, Axes]", steps: Sequence[int], curves: dict[str, FloatArray]
) -> None:
    """Plot the curves of each initializer in its panel, with the means of all others in gray."""
    for name, axis in panels.items():
        for other in curves.values():
            axis.plot(steps, other.mean(axis=0), color="0.82", linewidth=0.8)
        plot_band(axis, steps, curves[name], name, color_of(study, name))


def plot_curves(study: "Study", shown: Sequence[str]) -> "Figure":
    """Plot the metric by epoch, with a panel for each initializer."""
    own = study.monitor.removeprefix("val_")
    curves = {name: study.curves(name, study.monitor) for name in shown}
    training = {name: study.curves(name, own) for name in shown if own != study.monitor}
    title = f"{study.monitor}: mean over the repeats, and from the least to the greatest; gray: the others"
    if training:
        title += f"\ndashed: mean of {own}, on the training data"
    figure, panels = _new_panels(study, title, shown)
    _plot_panels(study, panels, range(study.settings["epochs"] + 1), curves)
    for name, values in training.items():
        panels[name].plot(values.mean(axis=0), "--", color=color_of(study, name), linewidth=1)
    for axis in panels.values():
        label_epochs(axis, study)
        axis.label_outer()
    figure.supylabel(own, fontsize=10)
    limit(panels[shown[0]], [*curves.values(), *training.values()])
    return figure


def families(names: Sequence[str]) -> list[str]:
    """Return the families of the names that end with the name of a distribution.

    Empty unless there are both uniform and normal initializers.
    """
    groups = [[name.removesuffix(end) for name in names if name.endswith(end)] for end in _DISTRIBUTIONS]
    return list(dict.fromkeys(itertools.chain(*groups))) if all(groups) else []


def plot_distributions(study: "Study", families: Sequence[str]) -> "Figure":
    """Plot a row for the metric and a row for the loss, with a panel for each distribution."""
    metrics = list(dict.fromkeys([study.monitor.removeprefix("val_"), "loss"]))
    title = "Mean over the repeats: validation solid and with its range, training dashed"
    figure = titled(study, title, (SIZE[0], 0.8 + 3.2 * len(metrics)))
    grid = figure.subplots(len(metrics), len(_DISTRIBUTIONS), squeeze=False, sharex=True, sharey="row")
    tidy(grid.flat)
    for row, metric in zip(grid, metrics, strict=True):
        plotted = []
        for axis, suffix in zip(row, _DISTRIBUTIONS, strict=True):
            for color, family in zip(itertools.cycle(COLORS), families):
                name = family + suffix
                training, validation = study.curves(name, metric)[:, 1:], study.curves(name, f"val_{metric}")
                if not len(validation):  # e.g. a family with only one of the distributions
                    continue
                plotted += [training, validation]
                plot_band(axis, range(validation.shape[1]), validation, family, color)
                axis.plot(range(1, validation.shape[1]), training.mean(axis=0), "--", color=color, linewidth=1)
        limit(row[0], plotted)
        row[0].set_ylabel(metric)
    for axis, suffix in zip(grid[0], _DISTRIBUTIONS, strict=True):
        axis.set_title(suffix.removeprefix("_"))
    for axis in grid[-1]:
        label_epochs(axis, study)
    add_legend(figure, *grid.flat)
    return figure


def losses_of_first_epoch(study: "Study", names: Sequence[str]) -> dict[str, FloatArray]:
    """Return the loss of each batch, with a row per trial; empty if an epoch has too few batches for a curve."""
    losses = {}
    for name in names:
        trials = [trial for trial in study.trials_of(name).values() if trial.status == "finished"]
        losses[name] = np.array([trial.epochs[1]["batch_losses"] for trial in trials])
    return {name: values for name, values in losses.items() if values.shape[1] >= _MIN_BATCHES}


def plot_first_epoch(study: "Study", shown: Sequence[str]) -> "Figure":
    """Plot the loss of the first batches, with a panel for each initializer."""
    losses = losses_of_first_epoch(study, shown)
    title = "The first epoch, loss of each batch: mean over the repeats, least to greatest; gray: the others"
    figure, panels = _new_panels(study, title, shown)
    count = losses[shown[0]].shape[1]
    _plot_panels(study, panels, range(1, count + 1), losses)
    for axis in panels.values():
        axis.set(xlabel="batch", xlim=(1, count))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.label_outer()
    figure.supylabel("loss", fontsize=10)
    limit(panels[shown[0]], losses.values())
    return figure


_MARKERS = "o^s"  # used in turn if there are more initializers than colors


def study_plots(study: "Study") -> list[Plot]:
    """Return the plots of `study` for which there are data."""
    summary = study.summary()
    trained = [row["initializer"] for row in summary if row["finished"]]
    # Include trials that diverge later, because the first batch may show why.
    diagnosed = {row["initializer"] for row in study.first_batches}
    measured = [row["initializer"] for row in summary if row["initializer"] in diagnosed]
    plots = (
        ("curves", "Learning curves", plot_curves, trained),
        ("distributions", "Uniform and normal", plot_distributions, families(trained)),
        ("course", "The course of training", _plot_course, trained),
        ("final-values", "Final values of the trials", _plot_final_values, trained),
        ("gaps", "Generalization gap", _plot_gaps, trained),
        ("first-epoch", "The first epoch", plot_first_epoch, list(losses_of_first_epoch(study, trained))),
        ("first-batch", "The first batch, before training", _plot_first_batch, measured),
    )
    return [Plot(name, caption, function(study, shown)) for name, caption, function, shown in plots if shown]


def _label_rows(axis: "Axes", shown: Sequence[str]) -> None:
    axis.set(yticks=range(len(shown)), yticklabels=shown, ylim=(len(shown) - 0.4, -0.6))
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")


def _plot_final_values(study: "Study", shown: Sequence[str]) -> "Figure":
    epochs = study.settings["epochs"]
    figure, (axis,) = new_plot(study, f"{study.monitor} after {epochs} epochs: trials, mean and 95 % interval")
    summary = {row["initializer"]: row for row in study.summary()}
    for place, name in enumerate(shown):
        row, color = summary[name], color_of(study, name)
        values = list(study.final_values(name).values())
        axis.plot(values, [place + 0.2] * len(values), "o", color=color, alpha=0.5, markersize=4, markeredgewidth=0)
        if len(values) > 1:
            axis.plot([row["ci_low"], row["ci_high"]], [place, place], color=color, linewidth=2)
        axis.plot(row["mean"], place, "o", color=color, markersize=7)
    _label_rows(axis, shown)
    axis.set(xlabel=study.monitor)
    return figure


def _plot_gaps(study: "Study", shown: Sequence[str]) -> "Figure":
    own = study.monitor.removeprefix("val_")
    figure, (axis,) = new_plot(study, f"Generalization gap: how much better {own} is on the training data, at the end")
    for place, name in enumerate(shown):
        gaps, color = study.gaps(name), color_of(study, name)
        axis.barh(place, np.mean(gaps), 0.5, color=color, alpha=0.35)
        axis.plot(gaps, [place] * len(gaps), "o", color=color, markersize=4)
    axis.axvline(0, color="0.3", linewidth=0.8)
    _label_rows(axis, shown)
    axis.set(xlabel=f"gap in {own}")
    return figure


def _plot_course(study: "Study", shown: Sequence[str]) -> "Figure":
    panels: dict[str, Callable[[str], Sequence[float]]] = {
        "epoch of leaving chance": lambda name: epochs_to_start(study, name),
        "best epoch": lambda name: best_epochs(study.curves(name, study.monitor), sign(study.mode)),
        "mean jump": study.jumps,
    }
    figure, axes = new_plot(study, f"The course of {study.monitor}: each trial, and their median", len(panels))
    for axis, (label, values_of) in zip(axes, panels.items(), strict=True):
        for place, name in enumerate(shown):
            values, color = np.array(values_of(name)), color_of(study, name)
            # A trial that never gets there has no point. Many points are at the first or the last epoch.
            axis.plot(values, [place + 0.2] * len(values), "o", color=color, markersize=4, alpha=0.5, clip_on=False)
            axis.plot(np.median(values), place, "|", color=color, markersize=14, markeredgewidth=2, clip_on=False)
        _label_rows(axis, shown if axis is axes[0] else [""] * len(shown))
        axis.set(xlabel=label)
        axis.set_xlim(left=0, right=study.settings["epochs"] if "epoch" in label else None)
        axis.xaxis.set_major_formatter("{x:g}")  # the labels of two panels must not touch
    return figure


def _plot_first_batch(study: "Study", shown: Sequence[str]) -> "Figure":
    figure, axes = new_plot(study, "The first batch, before training: mean over the repeats, least to greatest", 2)
    for axis, statistic in zip(axes, ("std", "gradient_norm"), strict=True):
        for place, name in enumerate(shown):
            rows = [
                [layer[statistic] for layer in trial.first_batch["layers"]]
                for trial in study.trials_of(name).values()
                if trial.first_batch.get("layers")
            ]
            values = np.array(list(itertools.zip_longest(*rows)), "float64").T
            known = np.where(np.isfinite(values), values, np.nan)
            # Side by side, because equal values would hide each other.
            layers = np.arange(1, values.shape[1] + 1) + 0.6 * ((place + 0.5) / len(shown) - 0.5)
            color = color_of(study, name)
            axis.vlines(layers, known.min(axis=0), known.max(axis=0), color=color, linewidth=1.2)
            marker = _MARKERS[study.initializers.index(name) // len(COLORS) % len(_MARKERS)]
            axis.plot(layers, known.mean(axis=0), marker, color=color, markersize=4, label=name)
        axis.set(xlabel="layer, the first is nearest to the inputs", yscale="log")
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_title("standard deviation of the output")
    axes[1].set_title("norm of the gradient")
    add_legend(figure, axes[0])
    return figure
