"""The result of restarts: what each draw came to, and how much the choice was worth."""

import dataclasses
import math
import textwrap

import keras
import numpy as np

from keras_initx.studies._folder import Folder
from keras_initx.studies._monitor import bounds, resolved
from keras_initx.studies._statistics import SIGNIFICANT, paired, repeats_needed
from keras_initx.studies._text import aligned, conditions, needed_repeats, number


@dataclasses.dataclass
class Race:
    """What `restarts` found. Print it for a table.

    Attributes:
        title: What it is called.
        settings: Dict of its settings.
        draws: A dict for each draw, the chosen one first: its number, its seed, for how many epochs it was
            trained, its figures after each epoch, its status.
        checks: A list of pairs of figures: of the chosen draw, and of one that took no part, with the examples
            in the same new order.
        monitor: Name of the figure it is judged by.
        mode: `"max"` or `"min"`: which value of it is best.
        model: The best model, trained; `None` if the race was read from a folder.
    """

    title: str
    settings: dict
    draws: list[dict]
    checks: list[tuple[float, float]]
    monitor: str
    mode: str
    model: keras.Model | None = None

    @classmethod
    def read(cls, path, *, monitor=None, mode="auto"):
        """Return the race that is in a folder, or as much of it as there is.

        Args:
            path: Path of the folder.
            monitor: See `restarts`.
            mode: See `restarts`.

        Raises:
            DamagedFileError: If a file is not as it was written.
            FileNotFoundError: If the folder holds none.
            ValueError: If the folder holds something else, or there is no figure called `monitor`.
        """
        from keras_initx.studies._restarts import draw_seed, rounds

        folder = Folder(path)
        settings = folder.settings("restarts")
        stages = range(1, len(rounds(settings["n"], settings["epochs"])) + 1)
        draws = []
        for i in range(1, settings["n"] + 1):
            trials = [trial for k in stages if (trial := folder.trial(f"draw{i}-{k}")).status != "missing"]
            epochs = [figures for trial in trials for figures in trial.epochs]
            status = trials[-1].status if trials else "missing"
            draws.append({"draw": i, "seed": draw_seed(settings, i), "status": status, "epochs": epochs})
        first = [folder.trial(f"draw{i}-1") for i in range(1, settings["n"] + 1)]
        monitor, mode = resolved(first, monitor, mode)
        sign = -1 if mode == "max" else 1

        def rank(draw):
            epochs = draw["epochs"]
            return draw["status"] != "finished", -len(epochs), sign * epochs[-1][monitor] if epochs else math.inf

        checks = []
        for i in range(1, settings["checks"] + 1):
            pair = folder.trial(f"check{i}-chosen"), folder.trial(f"check{i}-other")
            if all(trial.status == "finished" for trial in pair):
                checks.append((pair[0].epochs[-1][monitor], pair[1].epochs[-1][monitor]))
        return cls(settings["title"], settings, sorted(draws, key=rank), checks, monitor, mode)

    @property
    def seed(self):
        """Seed of the chosen draw."""
        return self.draws[0]["seed"]

    @property
    def score(self):
        """The figure of the chosen draw at the end of the search."""
        return self.draws[0]["epochs"][-1][self.monitor] if self.draws[0]["epochs"] else math.nan

    def gain(self):
        """Return how much better the chosen draw is than one that took no part, over the pairs.

        Returns:
            A dict of the mean difference, positive if the chosen draw is better, its interval, the p-value of
            the paired t test, whether it is significant, if not, how many pairs would show a difference of this
            effect with a probability of 80 %, and what of the score in the search was luck.
        """
        sign = 1 if self.mode == "max" else -1
        low, high = bounds(self.monitor, [value for pair in self.checks for value in pair])
        found = paired([sign * (chosen - other) for chosen, other in self.checks], high - low)
        significant = found["p"] < SIGNIFICANT
        luck = sign * (self.score - np.mean([chosen for chosen, _ in self.checks])) if self.checks else math.nan
        return {
            **found,
            "significant": significant,
            "repeats_needed": math.nan if significant else repeats_needed(found["effect"]),
            "luck": float(luck),
        }

    def verdict(self) -> list[str]:
        """Return what came of it, as sentences."""
        if self.draws[0]["status"] != "finished":
            return ["No draw has come to the end of a round yet."]
        chosen = self.draws[0]
        lines = [
            f"Draw {chosen['draw']}, seed {self.seed}, came out best: {self.monitor} {number(self.score)} "
            f"after {chosen['epochs'][-1]['epoch']} epochs."
        ]
        gain = self.gain()
        if gain["pairs"] < 2:
            return [*lines, "Without checks nobody knows how much of that is luck."]
        word, sign = ("better", 1) if gain["difference"] >= 0 else ("worse", -1)
        low, high = sorted((sign * gain["low"], sign * gain["high"]))
        lines.append(
            f"Trained again with the examples in {gain['pairs']} other orders, it is {word} by "
            f"{number(abs(gain['difference']))} ({number(low)} to {number(high)}, 95 %) than draws that took no part."
        )
        if gain["significant"]:
            lines.append("That is more than the noise of single runs.")
        else:
            lines.append(
                f"That this is more than the noise of single runs is not shown with {gain['pairs']} checks, and would "
                f"take {needed_repeats(gain['repeats_needed'])}."
            )
        if gain["luck"] > 0:
            lines.append(f"In the search it looked better by {number(gain['luck'])} than in these runs: that was luck.")
        return lines

    def table(self):
        """Return a row for each draw, the header first, as strings."""
        rows = [("place", "draw", "seed", "epochs", self.monitor, "status")]
        for place, draw in enumerate(self.draws, 1):
            last = draw["epochs"][-1] if draw["epochs"] else {}
            cells = place, draw["draw"], draw["seed"], last.get("epoch", "-")
            rows.append((*map(str, cells), number(last.get(self.monitor, math.nan)), draw["status"]))
        return rows

    def __str__(self):
        verdict = [textwrap.fill(line, 79, subsequent_indent="  ") for line in self.verdict()]
        return "\n".join([self.title, conditions(self), "", aligned(self.table(), left=(5,)), *verdict])

    def plot(self, folder, suffix="png"):
        """Draw the race and the checks to files in a folder, and return their paths.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        from keras_initx.studies import _plots, _race_plots

        return _plots.save(_race_plots.figures(self), folder, suffix)

    def report(self, path):
        """Write a page with the table and the plots, which needs no other file.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        from keras_initx.studies import _page, _race_plots

        parts = [
            _page.paragraphs([conditions(self)], "quiet"),
            _page.paragraphs(self.verdict()),
            _page.table(self.table(), left=(5,)),
        ]
        parts += [_page.image(figure, name.capitalize()) for name, figure in _race_plots.figures(self).items()]
        parts.append(f"<h2>Settings</h2>{_page.table([('setting', 'value'), *self.settings.items()], left=(0, 1))}")
        _page.write(path, self.title, parts)
