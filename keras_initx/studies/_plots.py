"""The plots of a study."""

import itertools
import textwrap
from pathlib import Path

import numpy as np

from keras_initx._extras import needed

# Okabe and Ito's colours, which the colour-blind can tell apart; then the same again, dashed.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
_SIZE = (8, 4.6)


def save(drawn, folder, suffix) -> list[Path]:
    """Write plots, a dict from name to figure, to files in `folder`, and return their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in drawn.items():
        paths.append(folder / f"{name}.{suffix}")
        figure.savefig(paths[-1], dpi=150, facecolor="white")
    return paths


def figures(study):
    """Return a dict from the name of each plot that there are data for to its `matplotlib.figure.Figure`."""
    summary = study.summary()
    trained = [row["initializer"] for row in summary if row["finished"]]
    # Also those that diverge later, for here it may be seen why.
    diagnosed = {row["initializer"] for row in study.first_batches}
    measured = [row["initializer"] for row in summary if row["initializer"] in diagnosed]
    draw = {
        "curves": (_curves, trained),
        "ends": (_ends, trained),
        "gaps": (_gaps, trained),
        "first-epoch": (_first_epoch, trained),
        "first-batch": (_first_batch, measured),
    }
    return {name: function(study, shown) for name, (function, shown) in draw.items() if shown}


def new(study, title, columns=1, *, same_scale=False):
    """Return a figure whose title ends with that of `study`, and its axes."""
    figure = needed("matplotlib.figure", "studies").Figure(figsize=_SIZE, layout="constrained")
    own = textwrap.fill(study.title, 100)
    figure.suptitle(f"{title}\n{own}", fontsize=10, parse_math=False)
    axes = figure.subplots(1, columns, squeeze=False, sharey=same_scale)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="0.9")
        axis.set_axisbelow(True)
    return figure, axes


def _style(study, name):
    place = study.initializers.index(name)
    return {"color": _COLORS[place % len(_COLORS)], "linestyle": ("-", "--", ":")[place // len(_COLORS) % 3]}


def _band(axis, study, name, steps, curves):
    """Draw the mean over the repeats, and the range from the least to the greatest."""
    style = _style(study, name)
    axis.plot(steps, curves.mean(axis=0), linewidth=1.6, label=name, **style)
    axis.fill_between(steps, curves.min(axis=0), curves.max(axis=0), color=style["color"], alpha=0.12, linewidth=0)


def _legend(figure, axis):
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=8)


def _curves(study, shown):
    own = study.monitor.removeprefix("val_")
    names = list(dict.fromkeys([study.monitor, own]))
    figure, axes = new(study, "Mean over the repeats, and from the least to the greatest", len(names), same_scale=True)
    for axis, figure_name in zip(axes, names, strict=True):
        for name in shown:
            curves = study.curves(name, figure_name)
            known = ~np.isnan(curves).any(axis=0)
            _band(axis, study, name, np.flatnonzero(known), curves[:, known])
        axis.set(xlabel="epoch", title=figure_name, xlim=(0, study.settings["epochs"]))
        axis.xaxis.get_major_locator().set_params(integer=True)
    _limit(axes[0], [study.curves(name, figure_name) for figure_name in names for name in shown])
    _legend(figure, axes[0])
    return figure


def _limit(axis, curves):
    """Keep a loss that explodes from making lines of all others."""
    values = np.concatenate([curve.ravel() for curve in curves])
    values = values[~np.isnan(values)]
    low, typical = values.min(), np.quantile(values, 0.98)
    if values.max() - low > 3 * (typical - low):
        axis.set_ylim(low - 0.05 * (typical - low), typical + 0.1 * (typical - low))


def _rows(axis, study, shown):
    axis.set(yticks=range(len(shown)), yticklabels=shown, ylim=(len(shown) - 0.4, -0.6))
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")


def _ends(study, shown):
    epochs = study.settings["epochs"]
    figure, (axis,) = new(study, f"{study.monitor} after {epochs} epochs: trials, mean and 95 % interval")
    summary = {row["initializer"]: row for row in study.summary()}
    for place, name in enumerate(shown):
        row, color = summary[name], _style(study, name)["color"]
        finals = list(study.finals(name).values())
        axis.plot(finals, [place + 0.2] * len(finals), "o", color=color, alpha=0.5, markersize=4, markeredgewidth=0)
        if len(finals) > 1:
            axis.plot([row["low"], row["high"]], [place, place], color=color, linewidth=2)
        axis.plot(row["mean"], place, "o", color=color, markersize=7)
    _rows(axis, study, shown)
    axis.set(xlabel=study.monitor)
    return figure


def _gaps(study, shown):
    own = study.monitor.removeprefix("val_")
    figure, (axis,) = new(study, f"Generalization gap: how much better {own} is on the training data, at the end")
    for place, name in enumerate(shown):
        gaps, color = study.gaps(name), _style(study, name)["color"]
        axis.barh(place, np.mean(gaps), 0.5, color=color, alpha=0.35)
        axis.plot(gaps, [place] * len(gaps), "o", color=color, markersize=4)
    axis.axvline(0, color="0.3", linewidth=0.8)
    _rows(axis, study, shown)
    axis.set(xlabel=f"gap in {own}")
    return figure


def _first_epoch(study, shown):
    figure, (axis,) = new(study, "The first epoch: loss of each batch, mean over the repeats, least to greatest")
    losses = {}
    for name in shown:
        trials = [trial for (own, _), trial in study.trials.items() if own == name and trial.status == "finished"]
        losses[name] = np.array([trial.epochs[1]["batch_losses"] for trial in trials])
        batches = np.arange(1, losses[name].shape[1] + 1)
        _band(axis, study, name, batches, losses[name])
    axis.set(xlabel="batch", ylabel="loss")
    _limit(axis, losses.values())
    axis.set_xlim(1, max(2, losses[shown[0]].shape[1]))
    axis.xaxis.get_major_locator().set_params(integer=True)
    _legend(figure, axis)
    return figure


def _first_batch(study, shown):
    figure, axes = new(study, "The first batch, before training: mean over the repeats, least to greatest", 2)
    for axis, figure_name in zip(axes, ("std", "gradient_norm"), strict=True):
        for name in shown:
            rows = [
                [layer[figure_name] for layer in trial.first_batch["layers"]]
                for (own, _), trial in study.trials.items()
                if own == name and trial.first_batch.get("layers")
            ]
            values = np.array(list(itertools.zip_longest(*rows)), "float64").T
            _band(axis, study, name, range(1, values.shape[1] + 1), np.where(np.isfinite(values), values, np.nan))
        axis.set(xlabel="layer, the first is nearest to the inputs", yscale="log")
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_title("standard deviation of the output")
    axes[1].set_title("norm of the gradient")
    _legend(figure, axes[0])
    return figure
