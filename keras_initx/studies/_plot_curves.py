"""Plots of curves in a comparison: over the epochs, and over the batches of the first epoch."""

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from keras_initx.rendering._figures import COLORS, tidy
from keras_initx.studies._plot_parts import SIZE, add_legend, color_of, label_epochs, limit, plot_band, titled
from keras_initx.studies._types import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from keras_initx.studies._study import Study

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
