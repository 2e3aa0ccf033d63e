"""The result of restarts: the metrics of each draw, and the gain of the chosen one."""

import dataclasses
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import keras

from keras_initx.rendering import Column, counted, format_metric, tidy
from keras_initx.studies._metric import metric_range, sign
from keras_initx.studies._plots import label_rows, label_steps, new_plot
from keras_initx.studies._result import StudyResult, records_of
from keras_initx.studies._statistics import (
    SIGNIFICANT,
    mean_of,
    needed_repeats,
    paired_test,
    repeats_needed,
)
from keras_initx.studies._types import Direction, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["RestartStudy"]

_CHOSEN, _REST = "#d55e00", "#8aa4b8"


@dataclasses.dataclass(frozen=True, repr=False)
class RestartStudy(StudyResult):
    """The result of `random_restarts`, in the form of all results.

    `plot` shows the curves of all draws, and the checks. The rows of `to_csv` are `records`.

    Attributes:
        title: Its title.
        settings: Dict of its settings.
        draws: A dict for each draw, the chosen one first, with its number, its seed, its status,
            and its metrics after each epoch.
        checks: A list of pairs of values of `monitor`: of the chosen draw, and of a draw that was
            not in the search, trained with the examples in the same new order.
        monitor: Name of the metric that draws are compared by.
        mode: `"max"` or `"min"`: whether larger or smaller values are better.
        model: The model of the chosen draw, trained.
    """

    title: str
    settings: Record
    draws: list[Record]
    checks: list[tuple[float, float]]
    monitor: str
    mode: Direction
    model: keras.Model

    @property
    def seed(self) -> int:
        """The seed of the chosen draw."""
        return int(self.draws[0]["seed"])

    @property
    def score(self) -> float:
        """The value of `monitor` of the chosen draw at the end of the search."""
        epochs = self.draws[0]["epochs"]
        return float(epochs[-1][self.monitor])

    def gain(self) -> Record:
        """Return how much better the chosen draw is than draws that were not in the search.

        Returns:
            A dict with the mean difference over the pairs (positive if the chosen draw is better),
            its interval, the p-value of the paired t test, whether it is significant, the number of
            pairs that would show this effect with a power of 80 % if it is not, and the bias of the
            search score due to selection.
        """
        scores_again = []
        differences = []
        values = []
        for chosen, other in self.checks:
            scores_again.append(chosen)
            differences.append(sign(self.mode) * (chosen - other))
            values += [chosen, other]
        least, greatest = metric_range(self.monitor, values)
        test = paired_test(differences, greatest - least)
        significant = test["p"] < SIGNIFICANT
        return {
            **test,
            "significant": significant,
            "repeats_needed": math.nan if significant else repeats_needed(test["effect"]),
            "selection_bias": sign(self.mode) * (self.score - mean_of(scores_again)),
        }

    @property
    def records(self) -> list[Record]:
        """A list of dicts with place, number, seed, status and metrics of each epoch of each draw.

        Epoch 0 is before training.
        """
        records = []
        for place, draw in enumerate(self.draws, 1):
            known = {"place": place, "draw": draw["draw"], "seed": draw["seed"]}
            records += records_of(known, draw)
        return records

    def _records(self) -> list[Record]:
        return self.records

    def _content(self) -> Record:
        return {
            "title": self.title,
            "settings": self.settings,
            "monitor": self.monitor,
            "mode": self.mode,
            "seed": self.seed,
            "score": self.score,
            "gain": self.gain(),
            "checks": self.checks,
            "records": self.records,
        }

    def _headline(self) -> str:
        best = f"the best is draw {self.draws[0]['draw']}"
        score = f"{self.monitor} {format_metric(self.score)}"
        return f" of {counted(len(self.draws), 'draw')}: {best} with {score}"

    def _rows(self) -> list[Record]:
        rows = []
        for place, draw in enumerate(self.draws, 1):
            last = draw["epochs"][-1] if draw["epochs"] else {}
            rows.append({**draw, "place": place, "last": last})
        return rows

    def _columns(self) -> list[Column[Record]]:
        return [
            Column("place", lambda row: row["place"]),
            Column("draw", lambda row: row["draw"]),
            Column("seed", lambda row: row["seed"]),
            Column("epochs", lambda row: row["last"].get("epoch", "-")),
            Column(
                self.monitor, lambda row: format_metric(row["last"].get(self.monitor, math.nan))
            ),
            Column("status", lambda row: row["status"], is_text=True),
        ]

    def remarks(self) -> list[str]:
        """Return sentences on which draw is best, and whether it is better than others."""
        score = f"{self.monitor} {format_metric(self.score)}"
        remark = (
            f"Draw {self.draws[0]['draw']}, seed {self.seed}, came out best: {score} after "
            f"{counted(self.settings['epochs'], 'epoch')}."
        )
        return [remark, *_remarks_on_gain(self.gain())]

    def _figure(self) -> "Figure":
        title = "Each draw as far as it was trained"
        count = len(self.checks)
        if not count:
            figure = new_plot(self.title, title, size=(8, 4))
            axis = figure.subplots()
            tidy([axis])
            self._plot_draws(axis)
            return figure
        title += ". Below: the chosen one and others, with the examples in other orders"
        heights = 4, 1.2 + 0.3 * count
        figure = new_plot(self.title, title, size=(8, sum(heights)))
        above, below = figure.subplots(2, 1, height_ratios=heights)
        tidy([above, below])
        self._plot_draws(above)
        self._plot_checks(below)
        return figure

    def _plot_draws(self, axis: "Axes") -> None:
        for place, draw in enumerate(self.draws):
            color, width, order = _REST, 1.2, 2
            label = None
            if place == 0:
                color, width, order = _CHOSEN, 2.2, 3
                label = f"draw {draw['draw']}, the best"
            elif place == 1:
                label = "the others"
            steps = [epoch["epoch"] for epoch in draw["epochs"]]
            values = [epoch[self.monitor] for epoch in draw["epochs"]]
            axis.plot(steps, values, label=label, color=color, linewidth=width, zorder=order)
            axis.plot(steps[-1:], values[-1:], "o", markersize=4, color=color, zorder=order)
        label_steps(axis, self.settings["epochs"] * 1.02)
        axis.set_ylabel(self.monitor)
        axis.legend(frameon=False)

    def _plot_checks(self, axis: "Axes") -> None:
        places = range(len(self.checks))
        chosen, others = zip(*self.checks, strict=True)
        axis.hlines(places, chosen, others, color="0.8", zorder=1)
        axis.plot(others, places, "o", color=_REST, label="a draw that took no part")
        axis.plot(chosen, places, "o", color=_CHOSEN, label="the chosen draw")
        label = "the chosen draw in the search"
        axis.axvline(self.score, color=_CHOSEN, linestyle=":", label=label)
        label_rows(axis, [f"order {place + 1}" for place in places], self.monitor)
        axis.legend(frameon=False, fontsize=9)


def ranked_draws(draws: Iterable[Record], monitor: str, mode: Direction) -> list[Record]:
    """Return draws, best first: those that were trained longest, by the metric."""

    def rank(draw: Record) -> tuple[bool, int, float]:
        epochs = draw["epochs"]
        value = -sign(mode) * epochs[-1][monitor] if epochs else math.inf
        return draw["status"] != "finished", -len(epochs), value

    return sorted(draws, key=rank)


def _remarks_on_gain(gain: Record) -> list[str]:
    """Return sentences on the result of `RestartStudy.gain`."""
    if gain["pairs"] < 2:
        return ["With fewer than two checks it is unknown how much of that is luck."]
    difference = gain["difference"]
    word = "better"
    interval = [gain["ci_low"], gain["ci_high"]]
    if difference < 0:
        word = "worse"
        interval = [-gain["ci_high"], -gain["ci_low"]]
    low, high = map(format_metric, interval)
    remarks = [
        f"Trained again with the examples in {gain['pairs']} other orders, it is {word} by "
        f"{format_metric(abs(difference))} ({low} to {high}, 95 %) than draws that took no part."
    ]
    if gain["significant"]:
        remarks.append("That is more than the noise of single runs.")
    else:
        needed = needed_repeats(gain["repeats_needed"])
        remarks.append(
            f"That this is more than the noise of single runs is not shown with {gain['pairs']} "
            f"checks, and would take {needed}."
        )
    if gain["selection_bias"] > 0:
        bias = format_metric(gain["selection_bias"])
        remarks.append(
            f"In the search it looked better by {bias} than in these runs: that was luck."
        )
    return remarks
