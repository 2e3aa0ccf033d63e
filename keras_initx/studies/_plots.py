"""The plots of a comparison."""

import itertools
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_initx._typing import Array
from keras_initx.rendering._figures import COLORS, new_figure, tidy
from keras_initx.studies._course import best_epochs, epochs_to_start
from keras_initx.studies._metric import sign
from keras_initx.studies._result import Plot, Result
from keras_initx.studies._types import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_initx.studies._study import Study

_SIZE = (8, 4.6)
# How a name ends says how its weights are distributed; what stands before is the same for both.
_DISTRIBUTIONS = ("_uniform", "_normal")


def study_plots(study: "Study") -> list[Plot]:
    """Return the plots of `study` that there are data for."""
    summary = study.summary()
    trained = [row["initializer"] for row in summary if row["finished"]]
    # Also those that diverge later, for here it may be seen why.
    diagnosed = {row["initializer"] for row in study.first_batches}
    measured = [row["initializer"] for row in summary if row["initializer"] in diagnosed]
    plots = (
        ("curves", "Learning curves", _plot_curves, trained),
        ("distributions", "Uniform beside normal", _plot_distributions, _families(trained)),
        ("course", "The course of training", _plot_course, trained),
        ("final-values", "Final values of the trials", _plot_final_values, trained),
        ("gaps", "Generalization gap", _plot_gaps, trained),
        ("first-epoch", "The first epoch", _plot_first_epoch, trained),
        ("first-batch", "The first batch, before training", _plot_first_batch, measured),
    )
    return [Plot(name, caption, function(study, shown)) for name, caption, function, shown in plots if shown]


def new_plot(
    result: Result, title: str, columns: int = 1, *, same_scale: bool = False
) -> "tuple[Figure, Sequence[Axes]]":
    """Return a figure whose title ends with that of `result`, and its axes."""
    figure = _titled(result, title, _SIZE)
    axes = figure.subplots(1, columns, squeeze=False, sharey=same_scale)[0]
    tidy(axes)
    return figure, axes


def _titled(result: Result, title: str, size: tuple[float, float]) -> "Figure":
    return new_figure(f"{title}\n{textwrap.fill(result.title, 100)}", size=size, extra="studies")


def _style(study: "Study", name: str) -> dict[str, Any]:
    """Return colour and line of an initializer; where there are more than colours, they come again, dashed."""
    place = study.initializers.index(name)
    return {"color": COLORS[place % len(COLORS)], "linestyle": ("-", "--", ":")[place // len(COLORS) % 3]}


def _plot_band(
    axis: "Axes", steps: Sequence[int] | Array, curves: FloatArray, label: str, style: dict[str, Any]
) -> None:
    """Plot the mean over the repeats, and the range from the least to the greatest."""
    axis.plot(steps, curves.mean(axis=0), linewidth=1.6, label=label, **style)
    axis.fill_between(steps, curves.min(axis=0), curves.max(axis=0), color=style["color"], alpha=0.12, linewidth=0)


def _add_legend(figure: "Figure", *axes: "Axes") -> None:
    """Add a legend of all lines of `axes`, in which a name that several have stands once."""
    lines = {label: line for axis in axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(lines.values(), lines.keys(), loc="outside right center", frameon=False, fontsize=8)


def _label_epochs(axis: "Axes", study: "Study") -> None:
    axis.set(xlabel="epoch", xlim=(0, study.settings["epochs"]))
    axis.xaxis.get_major_locator().set_params(integer=True)


def _plot_curves(study: "Study", shown: Sequence[str]) -> "Figure":
    own = study.monitor.removeprefix("val_")
    metrics = list(dict.fromkeys([study.monitor, own]))
    figure, axes = new_plot(
        study, "Mean over the repeats, and from the least to the greatest", len(metrics), same_scale=True
    )
    for axis, metric in zip(axes, metrics, strict=True):
        for name in shown:
            curves = study.curves(name, metric)
            known = ~np.isnan(curves).any(axis=0)
            _plot_band(axis, np.flatnonzero(known), curves[:, known], name, _style(study, name))
        axis.set(title=metric)
        _label_epochs(axis, study)
    _limit(axes[0], [study.curves(name, metric) for metric in metrics for name in shown])
    _add_legend(figure, axes[0])
    return figure


def _families(names: Sequence[str]) -> list[str]:
    """Return what stands before the suffix in the names that say how weights are distributed.

    Where no initializer is uniform, or none is normal, there is nothing to set side by side.
    """
    groups = [[name.removesuffix(end) for name in names if name.endswith(end)] for end in _DISTRIBUTIONS]
    return list(dict.fromkeys(itertools.chain(*groups))) if all(groups) else []


def _plot_distributions(study: "Study", families: Sequence[str]) -> "Figure":
    """Plot a row for the metric and one for the loss, each with a panel for each distribution."""
    metrics = list(dict.fromkeys([study.monitor.removeprefix("val_"), "loss"]))
    title = "Mean over the repeats: validation solid and with its range, training dashed"
    figure = _titled(study, title, (_SIZE[0], 0.8 + 3.2 * len(metrics)))
    grid = figure.subplots(len(metrics), len(_DISTRIBUTIONS), squeeze=False, sharex=True, sharey="row")
    tidy(grid.flat)
    for row, metric in zip(grid, metrics, strict=True):
        plotted = []
        for axis, suffix in zip(row, _DISTRIBUTIONS, strict=True):
            for color, family in zip(itertools.cycle(COLORS), families):
                name = family + suffix
                training, validation = study.curves(name, metric)[:, 1:], study.curves(name, f"val_{metric}")
                if not len(validation):  # as where a family has one of the distributions only
                    continue
                plotted += [training, validation]
                style: dict[str, Any] = {"color": color}
                _plot_band(axis, range(validation.shape[1]), validation, family, style)
                axis.plot(range(1, validation.shape[1]), training.mean(axis=0), "--", linewidth=1, **style)
        _limit(row[0], plotted)
        row[0].set_ylabel(metric)
    for axis, suffix in zip(grid[0], _DISTRIBUTIONS, strict=True):
        axis.set_title(suffix.removeprefix("_"))
    for axis in grid[-1]:
        _label_epochs(axis, study)
    _add_legend(figure, *grid.flat)
    return figure


def _limit(axis: "Axes", curves: Iterable[FloatArray]) -> None:
    """Limit the axis, so that a loss that explodes does not flatten all other curves."""
    values = np.concatenate([curve.ravel() for curve in curves])
    values = values[~np.isnan(values)]
    least, typical = values.min(), np.quantile(values, 0.98)
    if values.max() - least > 3 * (typical - least):
        axis.set_ylim(least - 0.05 * (typical - least), typical + 0.1 * (typical - least))


def _label_rows(axis: "Axes", shown: Sequence[str]) -> None:
    axis.set(yticks=range(len(shown)), yticklabels=shown, ylim=(len(shown) - 0.4, -0.6))
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")


def _plot_final_values(study: "Study", shown: Sequence[str]) -> "Figure":
    epochs = study.settings["epochs"]
    figure, (axis,) = new_plot(study, f"{study.monitor} after {epochs} epochs: trials, mean and 95 % interval")
    summary = {row["initializer"]: row for row in study.summary()}
    for place, name in enumerate(shown):
        row, color = summary[name], _style(study, name)["color"]
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
        gaps, color = study.gaps(name), _style(study, name)["color"]
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
            values, color = np.array(values_of(name)), _style(study, name)["color"]
            # A trial that never gets there has no point. Many are at the first or at the last epoch.
            axis.plot(values, [place + 0.2] * len(values), "o", color=color, markersize=4, alpha=0.5, clip_on=False)
            axis.plot(np.median(values), place, "|", color=color, markersize=14, markeredgewidth=2, clip_on=False)
        _label_rows(axis, shown if axis is axes[0] else [""] * len(shown))
        axis.set(xlabel=label)
        axis.set_xlim(left=0, right=study.settings["epochs"] if "epoch" in label else None)
    return figure


def _plot_first_epoch(study: "Study", shown: Sequence[str]) -> "Figure":
    figure, (axis,) = new_plot(study, "The first epoch: loss of each batch, mean over the repeats, least to greatest")
    losses = {}
    for name in shown:
        trials = [trial for trial in study.trials_of(name).values() if trial.status == "finished"]
        losses[name] = np.array([trial.epochs[1]["batch_losses"] for trial in trials])
        batches = np.arange(1, losses[name].shape[1] + 1)
        _plot_band(axis, batches, losses[name], name, _style(study, name))
    axis.set(xlabel="batch", ylabel="loss")
    _limit(axis, losses.values())
    axis.set_xlim(1, max(2, losses[shown[0]].shape[1]))
    axis.xaxis.get_major_locator().set_params(integer=True)
    _add_legend(figure, axis)
    return figure


def _plot_first_batch(study: "Study", shown: Sequence[str]) -> "Figure":
    figure, axes = new_plot(study, "The first batch, before training: mean over the repeats, least to greatest", 2)
    for axis, statistic in zip(axes, ("std", "gradient_norm"), strict=True):
        for name in shown:
            rows = [
                [layer[statistic] for layer in trial.first_batch["layers"]]
                for trial in study.trials_of(name).values()
                if trial.first_batch.get("layers")
            ]
            values = np.array(list(itertools.zip_longest(*rows)), "float64").T
            known = np.where(np.isfinite(values), values, np.nan)
            _plot_band(axis, range(1, values.shape[1] + 1), known, name, _style(study, name))
        axis.set(xlabel="layer, the first is nearest to the inputs", yscale="log")
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_title("standard deviation of the output")
    axes[1].set_title("norm of the gradient")
    _add_legend(figure, axes[0])
    return figure
