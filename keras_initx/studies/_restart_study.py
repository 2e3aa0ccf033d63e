"""The result of restarts: the metrics of each draw, and the gain of the chosen one."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_initx.rendering._table import Column
from keras_initx.studies import _restart_plots
from keras_initx.studies._folder import Folder, Trial
from keras_initx.studies._metric import agreed, metric_range, resolve_metric, sign
from keras_initx.studies._plan import check_keys, draw_seed, plan_rounds, stage_key
from keras_initx.studies._result import Plot, Result
from keras_initx.studies._statistics import SIGNIFICANT, paired_test, repeats_needed
from keras_initx.studies._text import counted, needed_repeats, number
from keras_initx.studies._types import Direction, Mode, Model, Record, Settings


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
    """

    title: str
    settings: Settings
    draws: list[Record]
    checks: list[tuple[float, float]]
    monitor: str
    mode: Direction
    model: Model | None = None

    @classmethod
    def read(cls, path: str | Path, *, monitor: str | None = None, mode: Mode = "auto") -> "RestartStudy":
        """Read a study from a folder. The study may be unfinished.

        Args:
            path: Path of the folder.
            monitor: See `random_restarts`.
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
        stages = [
            stage_key(draw, round_.number) for draw in range(1, settings["n"] + 1) for round_ in plan_rounds(settings)
        ]
        pairs = check_keys(settings)
        trials = agreed({key: folder.trial(key) for key in (*stages, *itertools.chain(*pairs))})
        draws = [_read_draw(trials, settings, draw) for draw in range(1, settings["n"] + 1)]
        monitor, direction = resolve_metric(trials.values(), monitor, mode)

        def rank(draw: Record) -> tuple[bool, int, float]:
            epochs = draw["epochs"]
            value = -sign(direction) * epochs[-1][monitor] if epochs else math.inf
            return draw["status"] != "finished", -len(epochs), value

        checks = []
        for keys in pairs:
            chosen, other = (trials[key] for key in keys)
            if chosen.status == other.status == "finished":
                checks.append((chosen.epochs[-1][monitor], other.epochs[-1][monitor]))
        return cls(settings["title"], settings, sorted(draws, key=rank), checks, monitor, direction)

    @property
    def seed(self) -> int:
        """The seed of the chosen draw."""
        seed: int = self.draws[0]["seed"]
        return seed

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
        min_value, max_value = metric_range(self.monitor, [value for pair in self.checks for value in pair])
        differences = [sign(self.mode) * (chosen - other) for chosen, other in self.checks]
        test = paired_test(differences, max_value - min_value)
        significant = test["p"] < SIGNIFICANT
        again = float(np.mean([chosen for chosen, _ in self.checks])) if self.checks else math.nan
        return {
            **test,
            "significant": significant,
            "repeats_needed": math.nan if significant else repeats_needed(test["effect"]),
            "selection_bias": sign(self.mode) * (self.score - again),
        }

    def remarks(self) -> list[str]:
        """Return sentences on which draw is best, and whether it is better than others."""
        best = self.draws[0]
        if best["status"] != "finished":
            return ["No draw has finished a round yet."]
        lines = [
            f"Draw {best['draw']}, seed {self.seed}, came out best: {self.monitor} {number(self.score)} "
            f"after {best['epochs'][-1]['epoch']} epochs."
        ]
        gain = self.gain()
        if gain["pairs"] < 2:
            return [*lines, "With fewer than two checks it is unknown how much of that is luck."]
        word, factor = ("better", 1) if gain["difference"] >= 0 else ("worse", -1)
        ci_low, ci_high = sorted((factor * gain["ci_low"], factor * gain["ci_high"]))
        lines.append(
            f"Trained again with the examples in {gain['pairs']} other orders, it is {word} by "
            f"{number(abs(gain['difference']))} ({number(ci_low)} to {number(ci_high)}, 95 %) than draws that took no "
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
            bias = number(gain["selection_bias"])
            lines.append(f"In the search it looked better by {bias} than in these runs: that was luck.")
        return lines

    def _columns(self) -> list[Column[Record]]:
        return [
            Column("place", lambda row: row["place"]),
            Column("draw", lambda row: row["draw"]),
            Column("seed", lambda row: row["seed"]),
            Column("epochs", lambda row: row["last"].get("epoch", "-")),
            Column(self.monitor, lambda row: number(row["last"].get(self.monitor, math.nan))),
            Column("status", lambda row: row["status"], is_text=True),
        ]

    def _rows(self) -> list[Record]:
        return [
            {**draw, "place": place, "last": draw["epochs"][-1] if draw["epochs"] else {}}
            for place, draw in enumerate(self.draws, 1)
        ]

    def _plots(self) -> list[Plot]:
        return _restart_plots.restart_plots(self)

    def __repr__(self) -> str:
        best = self.draws[0]
        found = "none finished"
        if best["status"] == "finished":
            found = f"the best is draw {best['draw']} with {self.monitor} {number(self.score)}"
        return f"<RestartStudy of {counted(len(self.draws), 'draw')}: {found}>"


def _read_draw(recorded: Mapping[str, Trial], settings: Settings, draw: int) -> Record:
    stages = [recorded[stage_key(draw, round_.number)] for round_ in plan_rounds(settings)]
    trials = [trial for trial in stages if trial.status != "missing"]
    return {
        "draw": draw,
        "seed": draw_seed(settings, draw),
        "status": trials[-1].status if trials else "missing",
        "epochs": [metrics for trial in trials for metrics in trial.epochs],
    }
