"""The result of restarts: the metrics of each draw, and the gain of the chosen one."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import keras

from keras_initx.rendering import Column, Plot, counted, format_metric
from keras_initx.studies._metric import metric_range, resolve_metric, sign, unify_metric_names
from keras_initx.studies._plan import Round, check_keys, draw_seed, plan_rounds, stage_key
from keras_initx.studies._plots import label_rows, label_steps, new_plot
from keras_initx.studies._records import (
    Direction,
    Folder,
    Mode,
    Record,
    Settings,
    Status,
    Trial,
)
from keras_initx.studies._result import ResultTable, RunResult
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
class RestartStudy(RunResult):
    """The result of `random_restarts`, in the form of all results.

    `plot` shows the curves of all draws. The rows of `to_csv` are `records`.

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
        keys = _stage_keys(settings)
        trials = unify_metric_names(folder.trials(itertools.chain.from_iterable(keys.values())))
        monitor, direction = resolve_metric(trials.values(), monitor, mode)
        stages = {draw: [trials[key] for key in keys[draw]] for draw in keys}
        draws = _ranked_draws(settings, stages, monitor, direction)

        pairs = check_keys(settings, draws[0]["draw"])
        # The first round has the names of the metrics.
        trials = unify_metric_names(trials | folder.trials(itertools.chain.from_iterable(pairs)))
        checks = []
        for chosen_key, other_key in pairs:
            chosen = trials[chosen_key]
            other = trials[other_key]
            if chosen.status == other.status == "finished":
                checks.append((chosen.epochs[-1][monitor], other.epochs[-1][monitor]))

        return cls(
            settings["title"],
            settings,
            draws,
            checks,
            monitor,
            direction,
            is_finished=_have_ended(plan_rounds(settings), stages.values()),
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
    def _trained_epochs(self) -> int:
        """The number of epochs that the chosen draw was trained for."""
        epochs = self.draws[0]["epochs"]
        return int(epochs[-1]["epoch"]) if epochs else 0

    @property
    def _is_unfinished(self) -> bool:
        return self._trained_epochs < self.settings["epochs"] or not self.is_finished

    @property
    def _has_leader(self) -> bool:
        """Whether a draw was trained for an epoch and has neither failed nor diverged."""
        return self.draws[0]["status"] in _TRAINED and self._trained_epochs > 0

    @property
    def records(self) -> list[Record]:
        """A list of dicts with place, number, seed, status and metrics of each epoch of each draw.

        Epoch 0 is before training.
        """
        records = []
        for place, draw in enumerate(self.draws, 1):
            known = {name: draw[name] for name in ("draw", "seed", "status")}
            for metrics in draw["epochs"]:
                record = {"place": place, **known, **metrics}
                record.pop("batch_losses", None)
                records.append(record)
        return records

    def _records(self) -> list[Record]:
        return self.records

    def _content(self) -> Record:
        return {
            "title": self.title,
            "settings": self.settings,
            "monitor": self.monitor,
            "mode": self.mode,
            "is_finished": self.is_finished,
            "seed": self.seed,
            "score": self.score,
            "gain": self.gain(),
            "checks": self.checks,
            "records": self.records,
        }

    def _headline(self) -> str:
        found = "none trained"
        if self._has_leader:
            found = f"the best is draw {self.draws[0]['draw']}"
            found += f" with {self.monitor} {format_metric(self.score)}"
            if self._is_unfinished:
                found += " so far"
        return f" of {counted(len(self.draws), 'draw')}: {found}"

    def _tables(self) -> list[ResultTable]:
        columns: list[Column[Record]] = [
            Column("place", lambda row: row["place"]),
            Column("draw", lambda row: row["draw"]),
            Column("seed", lambda row: row["seed"]),
            Column("epochs", lambda row: row["last"].get("epoch", "-")),
            Column(
                self.monitor, lambda row: format_metric(row["last"].get(self.monitor, math.nan))
            ),
            Column("status", lambda row: row["status"], is_text=True),
        ]
        rows = []
        for place, draw in enumerate(self.draws, 1):
            last = draw["epochs"][-1] if draw["epochs"] else {}
            rows.append({**draw, "place": place, "last": last})
        return [ResultTable(columns, rows)]

    def remarks(self) -> list[str]:
        """Return sentences on which draw is best, and whether it is better than others."""
        best = self.draws[0]["draw"]
        if not self._has_leader:
            return ["No draw has finished an epoch yet."]
        if self._is_unfinished:
            done = counted(self._trained_epochs, "epoch")
            return [f"The search is not finished. Draw {best} leads after {done}."]
        score = f"{self.monitor} {format_metric(self.score)}"
        remark = (
            f"Draw {best}, seed {self.seed}, came out best: {score} after "
            f"{self._trained_epochs} epochs."
        )
        return [remark, *_remarks_on_gain(self.gain())]

    def _plots(self) -> Iterator[Plot]:
        if any(draw["epochs"] for draw in self.draws):
            yield self._plot_draws()
        if self.checks:
            yield self._plot_checks()

    def _plot_draws(self) -> Plot:
        figure, [[axis]] = new_plot(self.title, "Each draw as far as it was trained")
        for place, draw in enumerate(self.draws):
            color, width, order = _REST, 1.2, 2
            label = None
            if place == 0:
                color, width, order = _CHOSEN, 2.2, 3
                label = f"draw {draw['draw']}, the best"
            elif place == 1:
                label = "the others"
            steps = [epoch["epoch"] for epoch in draw["epochs"]]
            values = [epoch.get(self.monitor) for epoch in draw["epochs"]]
            axis.plot(steps, values, label=label, color=color, linewidth=width, zorder=order)
            axis.plot(steps[-1:], values[-1:], "o", markersize=4, color=color, zorder=order)
        label_steps(axis, "epoch", 0, self.settings["epochs"] * 1.02)
        axis.set_ylabel(self.monitor)
        axis.legend(frameon=False)
        return Plot("draws", "Draws", figure)

    def _plot_checks(self) -> Plot:
        title = "The chosen draw and others, with the examples in other orders"
        figure, [[axis]] = new_plot(self.title, title)
        places = range(len(self.checks))
        chosen, others = zip(*self.checks, strict=True)
        axis.hlines(places, chosen, others, color="0.8", zorder=1)
        axis.plot(others, places, "o", color=_REST, label="a draw that took no part")
        axis.plot(chosen, places, "o", color=_CHOSEN, label="the chosen draw")
        label = "the chosen draw in the search"
        axis.axvline(self.score, color=_CHOSEN, linestyle=":", label=label)
        label_rows(axis, [f"order {place + 1}" for place in places], self.monitor)
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
        return Plot("checks", "Checks", figure)


def _stage_keys(settings: Settings) -> dict[int, list[str]]:
    """Return for each draw the names of its trials, one for each round of the search."""
    rounds = plan_rounds(settings)
    keys = {}
    for draw in range(1, settings["n"] + 1):
        keys[draw] = [stage_key(draw, round_.number) for round_ in rounds]
    return keys


def _ranked_draws(
    settings: Settings, stages: dict[int, list[Trial]], monitor: str, mode: Direction
) -> list[Record]:
    """Return a record of each draw, best first: those that were trained longest, by the metric."""
    draws: list[Record] = []
    for draw, trials in stages.items():
        status: Status = "missing"
        epochs: list[Record] = []
        for trial in trials:
            if trial.status != "missing":
                status = trial.status
                epochs.extend(trial.epochs)
        seed = draw_seed(settings, draw)
        draws.append({"draw": draw, "seed": seed, "status": status, "epochs": epochs})

    def rank(draw: Record) -> tuple[bool, int, float]:
        epochs = draw["epochs"]
        value = math.inf
        if len(epochs) > 1:
            value = -sign(mode) * epochs[-1][monitor]
        return draw["status"] not in _TRAINED, -len(epochs), value

    return sorted(draws, key=rank)


def _have_ended(rounds: list[Round], stages: Iterable[list[Trial]]) -> bool:
    """Return whether all rounds have ended.

    Args:
        rounds: The rounds of the search.
        stages: For each draw its trials, one for each round.
    """
    trials_by_round = list(zip(*stages, strict=True))
    left = len(trials_by_round[0])
    for round_, trials in zip(rounds, trials_by_round, strict=True):
        statuses = [trial.status for trial in trials]
        running = statuses.count("interrupted") + statuses.count("missing")
        if len(statuses) - running < min(left, round_.size):
            return False
        left = statuses.count("finished")
    return True


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
