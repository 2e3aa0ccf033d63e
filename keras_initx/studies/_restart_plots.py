"""The plots of restarts."""

from typing import TYPE_CHECKING, Any

from keras_initx.studies._plot_parts import new_plot
from keras_initx.studies._result import Plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from keras_initx.studies._restart_study import RestartStudy

_CHOSEN, _REST = "#d55e00", "#8aa4b8"


def restart_plots(study: "RestartStudy") -> list[Plot]:
    """Return the plots of `study` for which there are data."""
    plots = (
        ("draws", "Draws", _plot_draws, any(draw["epochs"] for draw in study.draws)),
        ("checks", "Checks", _plot_checks, study.checks),
    )
    return [Plot(name, caption, function(study)) for name, caption, function, data in plots if data]


def _plot_draws(study: "RestartStudy") -> "Figure":
    figure, (axis,) = new_plot(study, "Each draw as far as it was trained")
    for place, draw in enumerate(study.draws):
        epochs = draw["epochs"]
        style: dict[str, Any] = {"color": _REST, "linewidth": 1.2}
        if place == 0:
            style = {"color": _CHOSEN, "linewidth": 2.2, "zorder": 3}
        label = {0: f"draw {draw['draw']}, the best", 1: "the others"}.get(place)
        steps, values = [e["epoch"] for e in epochs], [e.get(study.monitor) for e in epochs]
        axis.plot(steps, values, label=label, **style)
        axis.plot(steps[-1:], values[-1:], "o", markersize=4, color=style["color"], zorder=style.get("zorder", 2))
    axis.set(xlabel="epoch", ylabel=study.monitor, xlim=(0, study.settings["epochs"] * 1.02))
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(frameon=False)
    return figure


def _plot_checks(study: "RestartStudy") -> "Figure":
    figure, (axis,) = new_plot(study, "The chosen draw and others, with the examples in other orders")
    for i, (chosen, other) in enumerate(study.checks, 1):
        axis.plot([chosen, other], [i, i], color="0.8", zorder=1)
        axis.plot(other, i, "o", color=_REST, label="a draw that took no part" if i == 1 else None)
        axis.plot(chosen, i, "o", color=_CHOSEN, label="the chosen draw" if i == 1 else None)
    axis.axvline(study.score, color=_CHOSEN, linestyle=":", label="the chosen draw in the search")
    count = len(study.checks)
    axis.set(xlabel=study.monitor, yticks=range(1, count + 1), ylim=(count + 0.6, 0.4))
    axis.set_yticklabels([f"order {i}" for i in range(1, count + 1)])
    axis.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure
