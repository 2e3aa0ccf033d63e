"""The result of restarts: the metrics of each draw, and the gain of the chosen one."""

import dataclasses
import math
from pathlib import Path

import keras

from keras_initx.rendering import Column, Plot, counted, format_metric
from keras_initx.studies._metric import metric_range, resolve_metric, sign, unify_metric_names
from keras_initx.studies._plan import Round, check_keys, draw_seed, plan_rounds, stage_key
from keras_initx.studies._plots import label_rows, label_steps, new_plot
from keras_initx.studies._records import Direction, Folder, Mode, Record, Settings, Status
from keras_initx.studies._result import Result
from keras_initx.studies._statistics import (
    SIGNIFICANT,
    mean_of,
    needed_repeats,
    paired_test,
    repeats_needed,
)

__all__ = ["RestartStudy"]

# What an interruption ends may be the best so far.
_TRAINED = ("finished", "interrupted")
_CHOSEN, _REST = "#d55e00", "#8aa4b8"


@dataclasses.dataclass(frozen=True, repr=False)
class RestartStudy(Result):
    """The result of `random_restarts`, shown as a table by `print` and in notebooks.

    Attributes:
        title: Its title.
        settings: Dict of its settings.
        draws: A dict for each draw, the chosen one first, with its number, its seed, its status,
            and its metrics after each epoch.
        checks: A list of pairs of values of `monitor`: of the chosen draw, and of a draw that was
            not in the search, trained with the examples in the same new order.
        monitor: Name of the metric that draws are compared by.
        mode: `"max"` or `"min"`: whether larger or smaller values are better.
        model: The best model, trained, or `None` if the study was read from a folder.
        is_finished: Whether all rounds of the search have ended.
    """

    title: str
    settings: Settings
    draws: list[Record]
    checks: list[tuple[float, float]]
    monitor: str
    mode: Direction
    model: keras.Model | None = None
    is_finished: bool = True

    @classmethod
    def read(
        cls, path: str | Path, *, monitor: str | None = None, mode: Mode = "auto"
    ) -> "RestartStudy":
        """Read a study from a folder. The study may be unfinished.

        Args:
            path: Path of the folder.
            monitor: See `random_restarts`. By default the metric that the search went by.
            mode: See `random_restarts`.

        Raises:
            DamagedFileError: If a file is damaged.
            FileNotFoundError: If the folder contains none.
            TypeError: If an argument has the wrong type.
            ValueError: If the folder contains another kind of run, there is no metric named
                `monitor`, or its direction is unknown and not given by `mode`.
        """
        folder = Folder(path)
        settings = folder.settings("restarts")
        if monitor is None:
            monitor = settings.get("monitor")
            if mode == "auto":
                mode = settings.get("mode", "auto")
        rounds, numbers = plan_rounds(settings), range(1, settings["n"] + 1)
        stages = {draw: [stage_key(draw, round_.number) for round_ in rounds] for draw in numbers}
        trials = unify_metric_names(folder.trials(key for keys in stages.values() for key in keys))
        monitor, direction = resolve_metric(trials.values(), monitor, mode)
        draws: list[Record] = []
        for draw, own in stages.items():
            begun = [trials[key] for key in own if trials[key].status != "missing"]
            status = begun[-1].status if begun else "missing"
            epochs = [metrics for trial in begun for metrics in trial.epochs]
            draws.append(
                {
                    "draw": draw,
                    "seed": draw_seed(settings, draw),
                    "status": status,
                    "epochs": epochs,
                }
            )

        def rank(draw: Record) -> tuple[bool, int, float]:
            epochs = draw["epochs"]
            value = -sign(direction) * epochs[-1][monitor] if len(epochs) > 1 else math.inf
            return draw["status"] not in _TRAINED, -len(epochs), value

        draws.sort(key=rank)
        pairs = check_keys(settings, draws[0]["draw"])
        trials = unify_metric_names(trials | folder.trials(key for pair in pairs for key in pair))
        checks = []
        for pair in pairs:
            chosen, other = (trials[key] for key in pair)
            if chosen.status == other.status == "finished":
                checks.append((chosen.epochs[-1][monitor], other.epochs[-1][monitor]))
        is_finished = _have_ended(
            rounds, [[trials[key].status for key in own] for own in stages.values()]
        )
        return cls(
            settings["title"], settings, draws, checks, monitor, direction, is_finished=is_finished
        )

    @property
    def seed(self) -> int:
        """The seed of the chosen draw."""
        return int(self.draws[0]["seed"])

    @property
    def score(self) -> float:
        """The value of `monitor` of the chosen draw at the end of the search."""
        epochs = self.draws[0]["epochs"]
        return float(epochs[-1][self.monitor]) if epochs else math.nan

    def gain(self) -> Record:
        """Return how much better the chosen draw is than draws that were not in the search, over the pairs.

        Returns:
            A dict with the mean difference (positive if the chosen draw is better), its interval,
            the p-value of the paired t test, whether it is significant, the number of pairs that
            would show this effect with a power of 80 % if it is not, and the bias of the search
            score due to selection.
        """
        min_value, max_value = metric_range(
            self.monitor, [value for pair in self.checks for value in pair]
        )
        differences = [sign(self.mode) * (chosen - other) for chosen, other in self.checks]
        test = paired_test(differences, max_value - min_value)
        significant = test["p"] < SIGNIFICANT
        again = mean_of([chosen for chosen, _ in self.checks])
        return {
            **test,
            "significant": significant,
            "repeats_needed": math.nan if significant else repeats_needed(test["effect"]),
            "selection_bias": sign(self.mode) * (self.score - again),
        }

    def remarks(self) -> list[str]:
        """Return sentences on which draw is best, and whether it is better than others."""
        best = self.draws[0]
        if best["status"] not in _TRAINED or not self._trained:
            return ["No draw has finished an epoch yet."]
        if self._is_unfinished:
            done = counted(self._trained, "epoch")
            return [f"The search is not finished. Draw {best['draw']} leads after {done}."]
        lines = [
            f"Draw {best['draw']}, seed {self.seed}, came out best: {self.monitor} {format_metric(self.score)} "
            f"after {self._trained} epochs."
        ]
        gain = self.gain()
        if gain["pairs"] < 2:
            return [*lines, "With fewer than two checks it is unknown how much of that is luck."]
        word, factor = ("better", 1) if gain["difference"] >= 0 else ("worse", -1)
        ci_low, ci_high = sorted((factor * gain["ci_low"], factor * gain["ci_high"]))
        lines.append(
            f"Trained again with the examples in {gain['pairs']} other orders, it is {word} by "
            f"{format_metric(abs(gain['difference']))} ({format_metric(ci_low)} to {format_metric(ci_high)}, 95 %) than draws that took no "
            "part."
        )
        if gain["significant"]:
            lines.append("That is more than the noise of single runs.")
        else:
            lines.append(
                f"That this is more than the noise of single runs is not shown with {gain['pairs']} checks, and would "
                f"take {needed_repeats(gain['repeats_needed'])}."
            )
        if gain["selection_bias"] > 0:
            bias = format_metric(gain["selection_bias"])
            lines.append(
                f"In the search it looked better by {bias} than in these runs: that was luck."
            )
        return lines

    @property
    def _trained(self) -> int:
        """The number of epochs that the chosen draw was trained for."""
        epochs = self.draws[0]["epochs"]
        return int(epochs[-1]["epoch"]) if epochs else 0

    @property
    def _is_unfinished(self) -> bool:
        return self._trained < self.settings["epochs"] or not self.is_finished

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

    def _rows(self) -> list[Record]:
        return [
            {**draw, "place": place, "last": draw["epochs"][-1] if draw["epochs"] else {}}
            for place, draw in enumerate(self.draws, 1)
        ]

    def _plots(self) -> list[Plot]:
        draws = [self._plot_draws()] if any(draw["epochs"] for draw in self.draws) else []
        return [*draws, self._plot_checks()] if self.checks else draws

    def _plot_draws(self) -> Plot:
        figure, [[axis]] = new_plot(self.title, "Each draw as far as it was trained")
        for place, draw in enumerate(self.draws):
            color, width, order = (_REST, 1.2, 2) if place else (_CHOSEN, 2.2, 3)
            label = {0: f"draw {draw['draw']}, the best", 1: "the others"}.get(place)
            steps = [epoch["epoch"] for epoch in draw["epochs"]]
            values = [epoch.get(self.monitor) for epoch in draw["epochs"]]
            axis.plot(steps, values, label=label, color=color, linewidth=width, zorder=order)
            axis.plot(steps[-1:], values[-1:], "o", markersize=4, color=color, zorder=order)
        label_steps(axis, "epoch", 0, self.settings["epochs"] * 1.02)
        axis.set_ylabel(self.monitor)
        axis.legend(frameon=False)
        return Plot("draws", "Draws", figure)

    def _plot_checks(self) -> Plot:
        figure, [[axis]] = new_plot(
            self.title, "The chosen draw and others, with the examples in other orders"
        )
        places = range(len(self.checks))
        chosen, others = zip(*self.checks, strict=True)
        axis.hlines(places, chosen, others, color="0.8", zorder=1)
        axis.plot(others, places, "o", color=_REST, label="a draw that took no part")
        axis.plot(chosen, places, "o", color=_CHOSEN, label="the chosen draw")
        axis.axvline(
            self.score, color=_CHOSEN, linestyle=":", label="the chosen draw in the search"
        )
        label_rows(axis, [f"order {place + 1}" for place in places], self.monitor)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
        return Plot("checks", "Checks", figure)

    def _headline(self) -> str:
        best = self.draws[0]
        found = "none trained"
        if best["status"] in _TRAINED and self._trained:
            found = (
                f"the best is draw {best['draw']} with {self.monitor} {format_metric(self.score)}"
            )
            found += " so far" if self._is_unfinished else ""
        return f" of {counted(len(self.draws), 'draw')}: {found}"


def _have_ended(rounds: list[Round], statuses: list[list[Status]]) -> bool:
    """Return whether all rounds have ended.

    Args:
        rounds: The rounds of the search.
        statuses: For each draw the status of its training in each round.
    """
    left = len(statuses)
    for place, round_ in enumerate(rounds):
        found = [own[place] for own in statuses]
        ended = [status for status in found if status not in ("interrupted", "missing")]
        if len(ended) < min(left, round_.size):
            return False
        left = ended.count("finished")
    return True
