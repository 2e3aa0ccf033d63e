"""The plots of a comparison."""

import functools
import itertools
import math
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from keras_initx.rendering import Plot, color_of, new_figure, styles_of, tidy
from keras_initx.studies._records import FloatArray, Record
from keras_initx.studies._trials import Trials, best_epochs, epochs_to_start

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Curves by initializer, with a row for each trial.
_Curves: TypeAlias = Mapping[str, FloatArray]

_SIZE = (8, 4.6)
# Suffixes for the distribution of the weights. The part before them is the family.
_DISTRIBUTIONS = ("_uniform", "_normal")
_MIN_BATCHES = 10  # minimum number of batches in an epoch for a curve


def study_plots(trials: Trials) -> Iterator[Plot]:
    """Yield the plots for which there are data, each drawn when it is its turn."""
    ranked = trials.statistics()
    finished = [row for row in ranked if row["finished"]]
    trained = [row["initializer"] for row in finished]
    # Include trials that diverge later, because the first batch may show why.
    diagnosed = {row["initializer"] for row in trials.first_batches}
    measured = [row["initializer"] for row in ranked if row["initializer"] in diagnosed]
    # A name, a caption, a function, and what it shows. Without that there is no plot.
    plots: list[tuple[str, str, Callable[..., Any], Any]] = [
        ("curves", "Learning curves", _plot_curves, trained),
        ("distributions", "Uniform and normal", _plot_distributions, families(trained)),
        ("course", "The course of training", _plot_curve_statistics, trained),
        ("final-values", "Final values of the trials", _plot_final_values, finished),
        ("gaps", "Generalization gap", _plot_gaps, trained),
        ("first-epoch", "The first epoch", _plot_first_epoch, _first_losses(trials, trained)),
        ("first-batch", "The first batch, before training", _plot_first_batch, measured),
    ]
    for name, caption, function, shown in plots:
        if shown:
            yield Plot(name, caption, function(trials, shown))


def _plot_curves(trials: Trials, shown: Sequence[str]) -> "Figure":
    """Plot the metric by epoch, with a panel for each initializer."""
    metric = trials.monitor.removeprefix("val_")
    title = f"{trials.monitor}: mean and range of the repeats"
    validation = {name: trials.curves(name, trials.monitor) for name in shown}
    training = {}
    if metric != trials.monitor:
        title += "; dashed: training"
        training = {name: trials.curves(name, metric) for name in shown}
    epochs = range(trials.settings["epochs"] + 1)
    return _plot_panels(trials, title, ("epoch", metric), epochs, validation, training)


def families(names: Sequence[str]) -> list[str]:
    """Return the families of which there are both a uniform and a normal initializer."""
    uniform, normal = _DISTRIBUTIONS
    found = []
    for name in names:
        family = name.removesuffix(uniform)
        if name.endswith(uniform) and family + normal in names:
            found.append(family)
    return found


def _plot_distributions(trials: Trials, families: Sequence[str]) -> "Figure":
    """Plot a row for the metric and a row for the loss, with a panel for each distribution."""
    metrics = list(dict.fromkeys([trials.monitor.removeprefix("val_"), "loss"]))
    title = "Mean over the repeats: validation solid and with its range, training dashed"
    width, _ = _SIZE
    figure, grid = new_plot(
        trials.title,
        title,
        rows=len(metrics),
        columns=len(_DISTRIBUTIONS),
        size=(width, 0.8 + 3.2 * len(metrics)),
        sharex=True,
        sharey="row",
    )
    for row, metric in zip(grid, metrics, strict=True):
        row[0].set_ylabel(metric)
        plotted = []
        for axis, suffix in zip(row, _DISTRIBUTIONS, strict=True):
            for family in families:
                color = color_of(family)
                validation = trials.curves(family + suffix, f"val_{metric}")
                _plot_band(axis, range(validation.shape[1]), validation, family, color)
                training = trials.curves(family + suffix, metric)[:, 1:]
                _plot_training(axis, range(1, validation.shape[1]), training, color)
                plotted += [training, validation]
        _limit(row[0], plotted)
    for column, suffix in zip(grid.T, _DISTRIBUTIONS, strict=True):
        column[0].set_title(suffix.removeprefix("_"))
        label_steps(column[-1], "epoch", 0, trials.settings["epochs"])
    _add_legend(figure, *grid.flat)
    return figure


def _plot_curve_statistics(trials: Trials, shown: Sequence[str]) -> "Figure":
    """Plot when and how steadily the trials learn, with a panel for each number."""

    def best_epochs_of(name: str) -> list[int]:
        return best_epochs(trials.curves(name, trials.monitor), trials.mode)

    panels: dict[str, Callable[[str], Sequence[float]]] = {
        "epoch of leaving chance": functools.partial(epochs_to_start, trials),
        "best epoch": best_epochs_of,
        "mean jump": trials.jumps,
    }
    title = f"The course of {trials.monitor}: each trial, and their median"
    figure, (axes,) = new_plot(trials.title, title, columns=len(panels))
    for axis, (label, values_of) in zip(axes, panels.items(), strict=True):
        # Many points are at the first or the last epoch.
        style = {"clip_on": False}
        for place, name in enumerate(shown):
            color = color_of(name)
            # A trial that never gets there has no point.
            values = np.array(values_of(name))
            heights = [place + 0.2] * len(values)
            axis.plot(values, heights, "o", color=color, markersize=4, alpha=0.5, **style)
            median = np.median(values)
            axis.plot(median, place, "|", color=color, markersize=14, markeredgewidth=2, **style)
        label_rows(axis, shown if axis is axes[0] else [""] * len(shown), label)
        axis.set_xlim(left=0, right=trials.settings["epochs"] if "epoch" in label else None)
        axis.xaxis.set_major_formatter("{x:g}")  # the labels of two panels must not touch
    return figure


def _plot_final_values(trials: Trials, rows: Sequence[Record]) -> "Figure":
    """Plot the metric of each trial at the end, the mean and its interval."""
    epochs = trials.settings["epochs"]
    title = f"{trials.monitor} after {epochs} epochs: trials, mean and 95 % interval"
    figure, [[axis]] = new_plot(trials.title, title)
    names = []
    for place, row in enumerate(rows):
        name = row["initializer"]
        names.append(name)
        color = color_of(name)
        values = list(trials.final_values(name).values())
        heights = [place + 0.2] * len(values)
        axis.plot(values, heights, "o", color=color, alpha=0.5, markersize=4, markeredgewidth=0)
        if len(values) > 1:
            axis.plot([row["ci_low"], row["ci_high"]], [place, place], color=color, linewidth=2)
        axis.plot(row["mean"], place, "o", color=color, markersize=7)
    label_rows(axis, names, trials.monitor)
    return figure


def _plot_gaps(trials: Trials, shown: Sequence[str]) -> "Figure":
    """Plot how much better each trial ended on the training data, and the mean."""
    metric = trials.monitor.removeprefix("val_")
    title = f"Generalization gap: how much better {metric} is on the training data, at the end"
    figure, [[axis]] = new_plot(trials.title, title)
    for place, name in enumerate(shown):
        gaps = trials.gaps(name)
        color = color_of(name)
        axis.barh(place, np.mean(gaps), 0.5, color=color, alpha=0.35)
        axis.plot(gaps, [place] * len(gaps), "o", color=color, markersize=4)
    axis.axvline(0, color="0.3", linewidth=0.8)
    label_rows(axis, shown, f"gap in {metric}")
    return figure


def _first_losses(trials: Trials, names: Sequence[str]) -> _Curves:
    """Return the loss of each batch in the first epoch, with a row for each trial.

    Initializers without losses are left out, and all if an epoch has too few batches for a curve.
    """
    curves = {}
    for name in names:
        losses = []
        for trial in trials.trials_of(name).values():
            if trial.status == "finished":
                losses.append(trial.epochs[1]["batch_losses"])
        curve = np.array(losses)
        # A model that reports another name than `loss` has none.
        if curve.shape[1] >= _MIN_BATCHES and np.isfinite(curve).any():
            curves[name] = curve
    return curves


def _plot_first_epoch(trials: Trials, losses: _Curves) -> "Figure":
    """Plot the loss of the first batches, with a panel for each initializer."""
    title = "The first epoch, loss of each batch: mean and range of the repeats"
    steps = range(1, next(iter(losses.values())).shape[1] + 1)
    return _plot_panels(trials, title, ("batch", "loss"), steps, losses, {})


def _plot_first_batch(trials: Trials, shown: Sequence[str]) -> "Figure":
    """Plot statistics of the layers before training, with a panel for each statistic."""
    title = "The first batch, before training: mean over the repeats, least to greatest"
    panels = {"std": "standard deviation of the output", "gradient_norm": "norm of the gradient"}
    figure, (axes,) = new_plot(trials.title, title, columns=len(panels))
    for axis, (statistic, label) in zip(axes, panels.items(), strict=True):
        for place, (name, (color, marker)) in enumerate(styles_of(shown).items()):
            values = _first_batch_values(trials, name, statistic)
            least, greatest = values.min(axis=0), values.max(axis=0)
            # Side by side, because equal values would hide each other.
            offset = 0.6 * ((place + 0.5) / len(shown) - 0.5)
            layers = np.arange(1, values.shape[1] + 1) + offset
            axis.vlines(layers, least, greatest, color=color, linewidth=1.2)
            means = values.mean(axis=0)
            axis.plot(layers, means, marker, color=color, markersize=4, label=_plain(name))
        axis.set(title=label, xlabel="layer, the first is nearest to the inputs")
        if axis.dataLim.ymax > 0:  # of zeros alone there is no logarithm
            axis.set_yscale("log")
        axis.xaxis.get_major_locator().set_params(integer=True)
    _add_legend(figure, axes[0])
    return figure


def _first_batch_values(trials: Trials, name: str, statistic: str) -> FloatArray:
    """Return a statistic of the first batch, with a row for each trial and a column for each layer.

    It is NaN where it is unknown or infinite.
    """
    rows = []
    for trial in trials.trials_of(name).values():
        layers = trial.first_batch.get("layers")
        if layers:
            rows.append([layer[statistic] for layer in layers])
    # Models of other trials may have more layers.
    columns = list(itertools.zip_longest(*rows))
    values = np.array(columns, "float64").T
    return np.where(np.isfinite(values), values, np.nan)


def new_plot(
    study: str,
    title: str,
    rows: int = 1,
    columns: int = 1,
    size: tuple[float, float] = _SIZE,
    **sharing: Any,
) -> "tuple[Figure, Any]":
    """Return a figure whose title ends with that of the study, and the grid of its axes."""
    figure = new_figure(f"{title}\n{textwrap.fill(study, 100)}", size=size, extra="studies")
    grid = figure.subplots(rows, columns, squeeze=False, **sharing)
    tidy(grid.flat)
    return figure, grid


def _plot_panels(
    trials: Trials,
    title: str,
    labels: tuple[str, str],
    steps: range,
    curves: _Curves,
    training: _Curves,
) -> "Figure":
    """Plot a panel for the curves of each initializer.

    In one panel their bands would overlap. Each panel also has the mean of the curves on the
    training data, dashed.
    """
    rows = math.ceil(len(curves) / 4)
    columns = math.ceil(len(curves) / rows)
    width, _ = _SIZE
    size = (width, 1 + 1.9 * rows)
    figure, grid = new_plot(trials.title, title, rows, columns, size, sharex=True, sharey=True)
    panels = grid.flat[: len(curves)]
    for axis in grid.flat[len(curves) :]:
        axis.remove()
    for axis in panels[-columns:]:  # the last panel of each column
        axis.tick_params(labelbottom=True)
        label_steps(axis, labels[0], steps[0], steps[-1])
    for axis, name in zip(panels, curves, strict=True):
        axis.set_title(name, fontsize=8, parse_math=False)
        color = color_of(name)
        _plot_band(axis, steps, curves[name], name, color)
        if name in training:
            _plot_training(axis, steps, training[name], color)
    figure.supylabel(labels[1], fontsize=10)
    _limit(grid[0, 0], [*curves.values(), *training.values()])
    return figure


def _plot_band(
    axis: "Axes", steps: Sequence[int], curves: FloatArray, label: str, color: str
) -> None:
    """Plot the mean over the repeats, and the range from minimum to maximum."""
    axis.plot(steps, curves.mean(axis=0), linewidth=1.6, color=color, label=_plain(label))
    least, greatest = curves.min(axis=0), curves.max(axis=0)
    axis.fill_between(steps, least, greatest, color=color, alpha=0.12, linewidth=0)


def _plot_training(axis: "Axes", steps: Sequence[int], curves: FloatArray, color: str) -> None:
    """Plot the mean over the repeats of a metric on the training data, dashed."""
    axis.plot(steps, curves.mean(axis=0), "--", color=color, linewidth=1)


def _add_legend(figure: "Figure", *axes: "Axes") -> None:
    """Add a legend of all lines of `axes`, with each label once."""
    lines = {}
    for axis in axes:
        for line, label in zip(*axis.get_legend_handles_labels(), strict=True):
            lines[label] = line
    place = "outside right center"
    figure.legend(lines.values(), lines.keys(), loc=place, frameon=False, fontsize=8)


def _plain(name: str) -> str:
    """Return a label that is shown as `name`.

    matplotlib takes dollars for formulas, and hides what begins with `_`.
    """
    hidden = "\u200b" if name.startswith("_") else ""
    return hidden + name.replace("$", r"\$")


def label_steps(axis: "Axes", label: str, begin: float, end: float) -> None:
    """Label an axis of epochs or batches."""
    axis.set(xlabel=label, xlim=(begin, end))
    axis.xaxis.get_major_locator().set_params(integer=True)


def label_rows(axis: "Axes", names: Sequence[str], values: str) -> None:
    """Label the rows from the top, and the axis of their values."""
    axis.set(
        yticks=range(len(names)),
        yticklabels=[_plain(name) for name in names],
        ylim=(len(names) - 0.4, -0.6),
        xlabel=values,
    )
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")


def _limit(axis: "Axes", curves: Iterable[FloatArray]) -> None:
    """Limit the axis, so that an exploding loss does not flatten all other curves."""
    values = np.concatenate([curve.ravel() for curve in curves])
    values = values[~np.isnan(values)]
    if not values.size:  # a model may report another name than `loss`
        return
    least = values.min()
    typical = np.quantile(values, 0.98)
    height = typical - least
    if values.max() - least > 3 * height:
        axis.set_ylim(least - 0.05 * height, typical + 0.1 * height)
