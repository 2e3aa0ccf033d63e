"""The plots of a comparison."""

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_initx.rendering._figures import COLORS
from keras_initx.studies._course import best_epochs, epochs_to_start
from keras_initx.studies._metric import sign
from keras_initx.studies._plot_curves import (
    families,
    losses_of_first_epoch,
    plot_curves,
    plot_distributions,
    plot_first_epoch,
)
from keras_initx.studies._plot_parts import add_legend, color_of, new_plot
from keras_initx.studies._result import Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_initx.studies._study import Study

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
