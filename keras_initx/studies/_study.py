"""The result of a comparison: records, figures for each initializer, and tests between them."""

import collections
import csv
import dataclasses
import itertools
import json
import math

import numpy as np

from keras_initx._extras import needed
from keras_initx.studies._folder import Folder, Trial
from keras_initx.studies._monitor import bounds, resolved
from keras_initx.studies._statistics import SIGNIFICANT, holm, paired, repeats_needed, t_interval
from keras_initx.studies._text import study_text, verdict_on


@dataclasses.dataclass(frozen=True)
class Study:
    """What `compare` found. Print it for a table.

    Attributes:
        title: What the study is called.
        settings: Dict of its settings.
        trials: Dict from `(initializer, repeat)` to a `Trial`.
        monitor: Name of the figure it is judged by.
        mode: `"max"` or `"min"`: which value of it is best.
        threshold: Value of it for "epochs to reach", or `None` as long as no trial has come to its end.
    """

    title: str
    settings: dict
    trials: dict[tuple[str, int], Trial]
    monitor: str
    mode: str
    threshold: float | None

    @classmethod
    def read(cls, path, *, monitor=None, mode="auto", threshold=None):
        """Return the study that is in a folder, or as much of it as there is.

        Args:
            path: Path of the folder.
            monitor: See `compare`.
            mode: See `compare`.
            threshold: See `compare`.

        Raises:
            DamagedFileError: If a file is not as it was written.
            FileNotFoundError: If the folder holds no study.
            ValueError: If the folder holds something else, or there is no figure called `monitor`.
        """
        from keras_initx.studies._compare import keys

        folder = Folder(path)
        settings = folder.settings("compare")
        trials = {(name, repeat): folder.trial(key) for key, name, repeat in keys(settings)}
        monitor, mode = resolved(trials.values(), monitor, mode)
        study = cls(settings["title"], settings, trials, monitor, mode, threshold)
        return study if threshold is not None else dataclasses.replace(study, threshold=study._usual_threshold())

    @property
    def initializers(self):
        """The names of the initializers."""
        return list(self.settings["initializers"])

    @property
    def records(self):
        """A dict of names, status and figures for each epoch of each trial, where epoch 0 is before training.

        That of epoch 0 has the `"problems"` as well that `diagnose` has found in the first batch.
        """
        return [
            {"initializer": name, "repeat": repeat, "status": trial.status}
            | {key: value for key, value in figures.items() if key != "batch_losses"}
            | ({"problems": ", ".join(trial.problems)} if figures["epoch"] == 0 else {})
            for (name, repeat), trial in self.trials.items()
            for figures in trial.epochs
        ]

    @property
    def first_batches(self):
        """A dict of names and figures for each layer of each trial, measured in the first batch."""
        return [
            {"initializer": name, "repeat": repeat, **layer}
            for (name, repeat), trial in self.trials.items()
            for layer in trial.first_batch.get("layers", [])
        ]

    def problems(self):
        """Return a dict for each initializer and each problem that `diagnose` has found in its first batches."""
        rows: dict = {}
        for (name, _), trial in self.trials.items():
            for verdict in trial.verdicts:
                row = {"initializer": name, "trials": 0, **verdict}
                rows.setdefault((name, verdict["problem"]), row)["trials"] += 1
        return list(rows.values())

    def to_csv(self, path):
        """Write the records to a file of comma-separated values."""
        columns = list(dict.fromkeys(itertools.chain.from_iterable(self.records)))
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(self.records)

    def to_jsonl(self, path):
        """Write the records to a file of one JSON object in each line, with `null` for what is not finite."""
        with open(path, "w", encoding="utf-8") as file:
            for record in self.records:
                plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
                file.write(f"{json.dumps(plain, ensure_ascii=False)}\n")

    def to_pandas(self):
        """Return the records as a `pandas.DataFrame`.

        Raises:
            ImportError: If pandas is not installed.
        """
        return needed("pandas", None).DataFrame(self.records)

    def curves(self, name, figure):
        """Return a figure of all finished trials of an initializer as an array of shape `(trials, epochs + 1)`.

        What is not there before training, as the training loss, is NaN.
        """
        rows = [trial.epochs for (own, _), trial in self.trials.items() if own == name and trial.status == "finished"]
        values = [[epoch.get(figure, math.nan) for epoch in row] for row in rows]
        return np.array(values).reshape(len(rows), self.settings["epochs"] + 1)

    def finals(self, name):
        """Return the last value of `monitor` of each finished trial of an initializer, by repeat."""
        return {
            repeat: trial.epochs[-1][self.monitor]
            for (own, repeat), trial in self.trials.items()
            if own == name and trial.status == "finished"
        }

    def summary(self):
        """Return a dict of figures for each initializer, the best first, and last those with trials that diverged."""
        return sorted((self._summary(name) for name in self.initializers), key=self._rank)

    def _rank(self, row):
        mean = row["mean"] if self.mode == "min" else -row["mean"]
        return row["diverged"] > 0, math.isnan(mean), mean

    def _summary(self, name):
        finals = list(self.finals(name).values())
        status = collections.Counter(trial.status for (own, _), trial in self.trials.items() if own == name)
        mean, low, high = t_interval(finals, *bounds(self.monitor, finals)) if finals else (math.nan,) * 3
        reached = self.epochs_to_threshold(name)
        gaps, seconds = self.gaps(name), self.curves(name, "seconds")[:, 1:]
        return {
            "initializer": name,
            "finished": status["finished"],
            "diverged": status["diverged"],
            "failed": status["failed"],
            "unfinished": status["cut off"] + status["missing"],
            "mean": float(mean),
            "std": float(np.std(finals, ddof=1)) if len(finals) > 1 else math.nan,
            "low": float(low),
            "high": float(high),
            "worst": (min if self.mode == "max" else max)(finals, default=math.nan),
            "epochs_to_threshold": float(np.median(reached)) if reached else math.nan,
            "reached": sum(map(math.isfinite, reached)),
            "gap": float(np.mean(gaps)) if gaps else math.nan,
            "seconds_per_epoch": float(np.median(seconds)) if seconds.size else math.nan,
        }

    def gaps(self, name):
        """Return by how much each finished trial was better on what it was trained on at the end."""
        own = self.monitor.removeprefix("val_")
        sign = 1 if self.mode == "max" else -1
        validation, training = self.curves(name, self.monitor), self.curves(name, own)
        return (sign * (training - validation)[:, -1]).tolist() if validation.size else []

    def epochs_to_threshold(self, name):
        """Return the first epoch at which each finished trial was as good as `threshold`, infinite if never."""
        if self.threshold is None:
            return []
        curves = self.curves(name, self.monitor)
        good = curves >= self.threshold if self.mode == "max" else curves <= self.threshold
        return [float(row.argmax()) if row.any() else math.inf for row in good]

    def _usual_threshold(self):
        curves = [self.curves(name, self.monitor) for name in self.initializers]
        curves = [curve for curve in curves if curve.size]
        if not curves:
            return None
        begin = np.mean([curve[:, 0].mean() for curve in curves])
        best = (max if self.mode == "max" else min)(curve[:, -1].mean() for curve in curves)
        return float(begin + 0.95 * (best - begin))

    def comparisons(self):
        """Return a dict for each two initializers: the difference of their ends over the pairs, and what it means.

        The p-value is that of the paired t test, corrected by Holm's method for the number of comparisons. An
        initializer with a trial that diverged is left out: there is no end to compare. Where no difference is
        shown, `"repeats_needed"` says how many repeats would show one with a probability of 80 %, if its effect were
        that of these repeats.
        """
        ranked = [row["initializer"] for row in self.summary() if row["finished"] and not row["diverged"]]
        rows = [self._comparison(better, other) for better, other in itertools.combinations(ranked, 2)]
        for row, corrected in zip(rows, holm([row["p"] for row in rows]), strict=True):
            row["p_corrected"] = corrected
            row["significant"] = corrected < SIGNIFICANT
        # Holm's method tests all that it does not reject at one level, that of the step at which it stops.
        level = SIGNIFICANT / max(1, sum(row["p_corrected"] >= SIGNIFICANT for row in rows))
        for row in rows:
            row["repeats_needed"] = math.nan if row["significant"] else repeats_needed(row["effect"], level)
            row["verdict"] = verdict_on(row)
        return rows

    def _comparison(self, first, second):
        a, b = self.finals(first), self.finals(second)
        low, high = bounds(self.monitor, [*a.values(), *b.values()])
        pairs = sorted(a.keys() & b.keys())
        differences = [a[repeat] - b[repeat] for repeat in pairs]
        if np.mean(differences or [0]) * (1 if self.mode == "max" else -1) < 0:  # With different pairs than means.
            first, second, differences = second, first, [-difference for difference in differences]
        return {"first": first, "second": second, **paired(differences, high - low)}

    def __str__(self):
        return study_text(self)

    def plot(self, folder, suffix="png"):
        """Draw learning curves, ends, gaps and the first epoch to files in a folder, and return their paths.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        from keras_initx.studies import _plots

        return _plots.save(_plots.figures(self), folder, suffix)

    def report(self, path):
        """Write a page with all tables and plots, which needs no other file.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        from keras_initx.studies._report import write

        write(self, path)
