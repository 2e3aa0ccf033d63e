"""The plots of a comparison."""

import itertools
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_initx.rendering._figures import COLORS, new_figure, tidy
from keras_initx.studies._result import Plot, Result
from keras_initx.studies._types import Array, FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_initx.studies._study import Study

_SIZE = (8, 4.6)


def study_plots(study: "Study") -> list[Plot]:
    """Return the plots of `study` that there are data for."""
    summary = study.summary()
    trained = [row["initializer"] for row in summary if row["finished"]]
    # Also those that diverge later, for here it may be seen why.
    diagnosed = {row["initializer"] for row in study.first_batches}
    measured = [row["initializer"] for row in summary if row["initializer"] in diagnosed]
    plots = (
        ("curves", "Learning curves", _plot_curves, trained),
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
    figure = new_figure(f"{title}\n{textwrap.fill(result.title, 100)}", size=_SIZE, extra="studies")
    axes = figure.subplots(1, columns, squeeze=False, sharey=same_scale)[0]
    tidy(axes)
    return figure, axes


def _style(study: "Study", name: str) -> dict[str, str]:
    """Return colour and line of an initializer; where there are more than colours, they come again, dashed."""
    place = study.initializers.index(name)
    return {"color": COLORS[place % len(COLORS)], "linestyle": ("-", "--", ":")[place // len(COLORS) % 3]}


def _plot_band(axis: "Axes", study: "Study", name: str, steps: Sequence[int] | Array, curves: FloatArray) -> None:
    """Plot the mean over the repeats, and the range from the least to the greatest."""
    style: dict[str, Any] = _style(study, name)
    axis.plot(steps, curves.mean(axis=0), linewidth=1.6, label=name, **style)
    axis.fill_between(steps, curves.min(axis=0), curves.max(axis=0), color=style["color"], alpha=0.12, linewidth=0)


def _add_legend(figure: "Figure", axis: "Axes") -> None:
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)


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
            _plot_band(axis, study, name, np.flatnonzero(known), curves[:, known])
        axis.set(xlabel="epoch", title=metric, xlim=(0, study.settings["epochs"]))
        axis.xaxis.get_major_locator().set_params(integer=True)
    _limit(axes[0], [study.curves(name, metric) for metric in metrics for name in shown])
    _add_legend(figure, axes[0])
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


def _plot_first_epoch(study: "Study", shown: Sequence[str]) -> "Figure":
    figure, (axis,) = new_plot(study, "The first epoch: loss of each batch, mean over the repeats, least to greatest")
    losses = {}
    for name in shown:
        trials = [trial for trial in study.trials_of(name).values() if trial.status == "finished"]
        losses[name] = np.array([trial.epochs[1]["batch_losses"] for trial in trials])
        batches = np.arange(1, losses[name].shape[1] + 1)
        _plot_band(axis, study, name, batches, losses[name])
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
            _plot_band(axis, study, name, range(1, values.shape[1] + 1), np.where(np.isfinite(values), values, np.nan))
        axis.set(xlabel="layer, the first is nearest to the inputs", yscale="log")
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_title("standard deviation of the output")
    axes[1].set_title("norm of the gradient")
    _add_legend(figure, axes[0])
    return figure
