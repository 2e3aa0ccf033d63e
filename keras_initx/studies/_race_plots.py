"""The plots of restarts."""

from keras_initx.studies import _plots

_CHOSEN, _REST = "#d55e00", "#8aa4b8"


def figures(race):
    """Return a dict from the name of each plot that there are data for to its `matplotlib.figure.Figure`."""
    drawn = {}
    if any(draw["epochs"] for draw in race.draws):
        drawn["race"] = _race(race)
    if race.checks:
        drawn["checks"] = _checks(race)
    return drawn


def _race(race):
    figure, (axis,) = _plots.new(race, "Each draw as far as it was trained")
    for place, draw in enumerate(race.draws):
        epochs = draw["epochs"]
        style = {"color": _CHOSEN, "linewidth": 2.2, "zorder": 3} if place == 0 else {"color": _REST, "linewidth": 1.2}
        label = {0: f"draw {draw['draw']}, the best", 1: "the others"}.get(place)
        steps, values = [e["epoch"] for e in epochs], [e.get(race.monitor) for e in epochs]
        axis.plot(steps, values, label=label, **style)
        axis.plot(steps[-1:], values[-1:], "o", markersize=4, color=style["color"], zorder=style.get("zorder", 2))
    axis.set(xlabel="epoch", ylabel=race.monitor, xlim=(0, race.settings["epochs"] * 1.02))
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend(frameon=False)
    return figure


def _checks(race):
    figure, (axis,) = _plots.new(race, "The chosen draw and others, with the examples in other orders")
    for i, (chosen, other) in enumerate(race.checks, 1):
        axis.plot([chosen, other], [i, i], color="0.8", zorder=1)
        axis.plot(other, i, "o", color=_REST, label="a draw that took no part" if i == 1 else None)
        axis.plot(chosen, i, "o", color=_CHOSEN, label="the chosen draw" if i == 1 else None)
    axis.axvline(race.score, color=_CHOSEN, linestyle=":", label="the chosen draw in the search")
    count = len(race.checks)
    axis.set(xlabel=race.monitor, yticks=range(1, count + 1), ylim=(count + 0.6, 0.4))
    axis.set_yticklabels([f"order {i}" for i in range(1, count + 1)])
    axis.grid(visible=False, axis="y")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return figure
