"""The result of a comparison: numbers of each initializer, and tests of each pair."""

import collections
import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_initx.report._table import Column
from keras_initx.report._text import (
    choose_verb,
    format_count,
    format_metric,
    format_ranges,
    join_names,
)
from keras_initx.tools.audit._probabilities import holm
from keras_initx.tools.studies._metric import metric_range, sign
from keras_initx.tools.studies._plots import study_figure
from keras_initx.tools.studies._result import (
    StudyResult,
    records_of,
    remarks_on_not_compared,
)
from keras_initx.tools.studies._significance import (
    POWER,
    SIGNIFICANT,
    count_repeats_needed,
    describe_repeats,
    mean_of,
    median_of,
    paired_test,
    t_interval,
)
from keras_initx.tools.studies._types import Direction, FloatArray, Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Of the way from the mean before training to the best mean at the end: the default threshold.
_NEARLY_ALL = 0.95


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Study(StudyResult):
    """The result of `compare_initializers`, in the form of all results.

    `plot` shows you the learning curves and the final values. `to_csv` writes `rows`.

    Attributes:
        title: The title of the study.
        settings: Dict of its settings.
        trials: Dict from `(initializer, repeat)` to the record of the trial. A record has the
            `"status"`: `"finished"`, `"diverged"` (a metric was not finite) or `"failed"` (an
            exception was raised). It also has the `"epochs"`, a dict of metrics for each, and the
            `"error"` and the `"traceback"` of a failed trial.
        monitor: Name of the metric that initializers are compared by.
        mode: `"max"` or `"min"`: whether larger or smaller values are better.
        threshold: Value of the metric for "epochs to reach", or `None` if no trial finished.
    """

    title: str
    settings: Record
    trials: dict[tuple[str, int], Record]
    monitor: str
    mode: Direction
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.threshold is None:
            object.__setattr__(self, "threshold", self._default_threshold())

    def __getitem__(self, key: Any) -> Record:
        """Return the record of a trial.

        Args:
            key: `(initializer, repeat)`.

        Raises:
            KeyError: If there is none.
        """
        return self.trials[key]

    def __contains__(self, key: object) -> bool:
        """Return whether there is a trial.

        Args:
            key: `(initializer, repeat)`.
        """
        return key in self.trials

    @property
    def initializers(self) -> list[str]:
        """The names of the initializers."""
        return list(self.settings["initializers"])

    @property
    def rows(self) -> list[Record]:
        """A list of dicts with names, status and metrics of each epoch of each trial.

        Epoch 0 is before training.
        """
        records = []
        for (name, repeat), trial in self.trials.items():
            records += records_of({"arm": name, "repeat": repeat}, trial)
        return records

    def trials_of(self, name: str) -> dict[int, Record]:
        """Return the trials of an initializer, by repeat."""
        found = {}
        for (initializer, repeat), trial in self.trials.items():
            if initializer == name:
                found[repeat] = trial
        return found

    def _finished(self, name: str) -> dict[int, Record]:
        trials = self.trials_of(name)
        return {repeat: trial for repeat, trial in trials.items() if trial["status"] == "finished"}

    def curves(self, name: str, metric: str) -> FloatArray:
        """Return a metric of all finished trials of an initializer, one row for each trial.

        The array has the shape `(trials, epochs + 1)`. Values that do not exist before training,
        such as the training loss, are NaN.
        """
        trials = self._finished(name).values()
        values = []
        for trial in trials:
            values.append([metrics.get(metric, math.nan) for metrics in trial["epochs"]])
        return np.array(values, "float64").reshape(len(trials), self.settings["epochs"] + 1)

    def final_values(self, name: str) -> dict[int, float]:
        """Return the last value of `monitor` of an initializer's finished trials, by repeat."""
        finished = self._finished(name)
        return {repeat: trial["epochs"][-1][self.monitor] for repeat, trial in finished.items()}

    def gaps(self, name: str) -> list[float]:
        """Return the generalization gap of each finished trial.

        The gap is how much better the trial ended on the training data.
        """
        validation = self.curves(name, self.monitor)[:, -1]
        training = self.curves(name, self.monitor.removeprefix("val_"))[:, -1]
        gaps: list[float] = (sign(self.mode) * (training - validation)).tolist()
        return gaps

    def epochs_to_threshold(self, name: str) -> list[float]:
        """Return the first epoch when each finished trial was as good as `threshold`.

        A trial that never was has infinity.
        """
        if self.threshold is None:
            return []
        advantages = sign(self.mode) * (self.curves(name, self.monitor) - self.threshold)
        epochs = []
        for is_reached in advantages >= 0:
            epoch = float(is_reached.argmax()) if is_reached.any() else math.inf
            epochs.append(epoch)
        return epochs

    def _default_threshold(self) -> float | None:
        """Compute the value that is nearly as good as the best mean at the end.

        The way there begins at chance level, the mean over all finished trials before training,
        when they are all untrained.
        """
        means_before = []
        means_after = []
        for name in self.initializers:
            curves = self.curves(name, self.monitor)
            if curves.size:
                means_before.append(curves[:, 0].mean())
                means_after.append(curves[:, -1].mean())
        if not means_before:
            return None
        chance = np.mean(means_before)
        best = max(means_after) if self.mode == "max" else min(means_after)
        return float(chance + _NEARLY_ALL * (best - chance))

    def statistics(self) -> list[Record]:
        """Return a dict of statistics for each initializer, best first.

        Initializers with diverged trials are last.
        """
        return [row.copy() for row in self._ranked]

    @functools.cached_property
    def _ranked(self) -> list[Record]:
        """The rows of `statistics`, computed once."""
        rows = [self._summary(name) for name in self.initializers]

        def rank(row: Record) -> tuple[bool, bool, float]:
            return row["diverged"] > 0, math.isnan(row["mean"]), -sign(self.mode) * row["mean"]

        return sorted(rows, key=rank)

    def _summary(self, name: str) -> Record:
        """Compute the statistics of an initializer."""
        status = collections.Counter(trial["status"] for trial in self.trials_of(name).values())
        final_values = list(self.final_values(name).values())
        mean, ci_low, ci_high = t_interval(final_values, metric_range(self.monitor, final_values))
        std = math.nan
        if len(final_values) > 1:
            std = float(np.std(final_values, ddof=1))
        worst = min if self.mode == "max" else max
        reached = self.epochs_to_threshold(name)
        # The first epoch includes compilation.
        seconds = self.curves(name, "seconds")[:, 1:]
        return {
            "arm": name,
            "finished": status["finished"],
            "diverged": status["diverged"],
            "failed": status["failed"],
            "mean": mean,
            "std": std,
            "ci_low": ci_low,
            "ci_high": ci_high,
            "worst": worst(final_values, default=math.nan),
            "epochs_to_threshold": median_of(reached),
            "reached": sum(map(math.isfinite, reached)),
            "gap": mean_of(self.gaps(name)),
            "seconds_per_epoch": median_of(seconds.ravel()),
        }

    def comparisons(self) -> list[Record]:
        """Return a dict for each pair of initializers: the test of their paired differences.

        Each difference compares two final values of the same repeat. The p-value is from the paired
        t test, corrected by Holm's method for the number of comparisons. Initializers with a
        diverged trial are not compared, because that trial has no final value. If a difference is
        not significant, `"repeats_needed"` tells you how many repeats would show it with a power of
        80 %, assuming the observed effect.
        """
        return [row.copy() for row in self._pairs]

    @functools.cached_property
    def _pairs(self) -> list[Record]:
        """The rows of `comparisons`, computed once."""
        names = []
        for row in self._ranked:
            if row["finished"] and not row["diverged"]:
                names.append(row["arm"])
        pairs = [self._test(first, second) for first, second in itertools.combinations(names, 2)]
        _correct(pairs)
        return pairs

    def _test(self, first: str, second: str) -> Record:
        """Test the paired differences of two initializers, the better one first."""
        values = self.final_values(first)
        other_values = self.final_values(second)
        repeats = sorted(values.keys() & other_values.keys())
        differences = [values[repeat] - other_values[repeat] for repeat in repeats]
        # The pairs may be other trials than those of the means, which have ranked the two.
        if differences and np.mean(differences) * sign(self.mode) < 0:
            first, second = second, first
            differences = [-difference for difference in differences]
        least, greatest = metric_range(self.monitor, [*values.values(), *other_values.values()])
        test = paired_test(differences, greatest - least)
        return {"first": first, "second": second, **test}

    def remarks(self) -> list[str]:
        """Return the findings as sentences.

        They are about trials that diverged or failed, missing seeds, the tests, and settings that
        were not compared with the folder.
        """
        return [
            *_remarks_on_lost_trials(self),
            *_remarks_on_missing_seeds(self),
            *_remarks_on_tests(self),
            *remarks_on_not_compared(self.settings),
        ]

    def _own_content(self) -> Record:
        return {
            "title": self.title,
            "settings": self.settings,
            "monitor": self.monitor,
            "mode": self.mode,
            "threshold": self.threshold,
            "statistics": self.statistics(),
            "comparisons": self.comparisons(),
        }

    def _headline(self) -> str:
        counts = _counted_by_status(self.trials.values())
        initializers = format_count(len(self.initializers), "initializer")
        return f" of {initializers}, {format_count(len(self.trials), 'trial')}: {counts}"

    def _rows(self) -> list[Record]:
        return [{**row, "place": place} for place, row in enumerate(self.statistics(), 1)]

    def _columns(self) -> list[Column[Record]]:
        goal = "-" if self.threshold is None else format_metric(self.threshold)
        return [
            Column("", lambda row: row["place"]),
            # Of a length that leaves room for the other columns in 80 characters.
            Column("arm", lambda row: row["arm"], is_text=True),
            Column(
                self.monitor,
                _mean_and_deviation,
                note="after the last epoch, mean ± standard deviation over the repeats",
            ),
            Column(
                "95 % interval",
                _interval_of_mean,
                note="Student's t interval of the mean",
            ),
            Column(
                f"to {goal}",
                lambda row: _or_never(row["epochs_to_threshold"]),
                note="median number of epochs to reach this value",
            ),
            Column(
                "gap",
                lambda row: format_metric(row["gap"]),
                note="how much better on the training data",
            ),
        ]

    def _legend(self) -> list[str]:
        (columns,) = super()._legend()
        tests = (
            f"better: in a paired t test, p < {SIGNIFICANT} after Holm's correction. "
            f"would take: repeats for a power of {100 * POWER:g} % at the effect seen."
        )
        return [f"{columns} {tests}"]

    def _figure(self) -> "Figure":
        finished = [row for row in self._ranked if row["finished"]]
        names = [row["arm"] for row in finished]
        curves = {name: self.curves(name, self.monitor) for name in names}
        metric = self.monitor.removeprefix("val_")
        training = {name: self.curves(name, metric) for name in names}
        return study_figure(self.title, self.monitor, curves, training, finished)


def _counted_by_status(trials: Iterable[Record]) -> str:
    """Count the trials with each status, as part of a sentence."""
    statuses = collections.Counter(trial["status"] for trial in trials)
    return ", ".join(f"{count} {status}" for status, count in statuses.items())


def _first_error(trials: Sequence[Record]) -> str:
    """Quote the first line of the first error, as the end of a sentence on trials that failed."""
    for trial in trials:
        if trial["status"] == "failed":
            line = trial["error"].splitlines()[0]
            return f": {line.rstrip('.')}"
    return ""


def _correct(pairs: list[Record]) -> None:
    """Add to the tests of pairs the p-values that are corrected for their number, and verdicts."""
    corrected = holm([pair["p"] for pair in pairs])
    not_significant = 0
    for pair, p_value in zip(pairs, corrected, strict=True):
        pair["p_corrected"] = p_value
        pair["significant"] = p_value < SIGNIFICANT
        not_significant += p_value >= SIGNIFICANT
    # Holm's method tests all remaining hypotheses at the level of the step at which it stops.
    level = SIGNIFICANT / max(1, not_significant)
    for pair in pairs:
        pair["repeats_needed"] = math.nan
        if not pair["significant"]:
            pair["repeats_needed"] = count_repeats_needed(pair["effect"], level)
        pair["verdict"] = _verdict(pair)


def _verdict(pair: Record) -> str:
    """Describe the comparison of two initializers in words."""
    if pair["significant"]:
        return f"{pair['first']} is better"
    if pair["pairs"] < 2:
        return f"not tested with {format_count(pair['pairs'], 'repeat')}"
    needed = describe_repeats(pair["repeats_needed"])
    return f"not shown with {pair['pairs']} repeats, would take {needed}"


def _mean_and_deviation(row: Record) -> str:
    if not row["finished"]:
        return "-"
    return f"{format_metric(row['mean'])} ± {format_metric(row['std'])}"


def _interval_of_mean(row: Record) -> str:
    if row["finished"] < 2:
        return "-"
    return f"{format_metric(row['ci_low'])} to {format_metric(row['ci_high'])}"


def _or_never(median: float) -> str:
    if math.isnan(median):
        return "-"
    if math.isinf(median):
        return "never"
    return format(median, "g")


def _remarks_on_lost_trials(study: Study) -> list[str]:
    remarks = []
    for row in study.statistics():
        name = row["arm"]
        reasons = {
            "diverged": ", so it is last and not tested",
            "failed": _first_error(list(study.trials_of(name).values())),
        }
        for status, reason in reasons.items():
            if row[status]:
                count = f"{row[status]} of {study.settings['repeats']} trials"
                remarks.append(f"{name}: {count} {status}{reason}.")
    return remarks


def _remarks_on_missing_seeds(study: Study) -> list[str]:
    names = study.settings.get("unseeded")
    if not names:
        return []
    return [
        f"Without a seed: {join_names(names)}. Random numbers there form no pairs "
        "with the others, and the same study again may give other values. An initializer takes a "
        "seed if it has an argument `seed`, which its `get_config` returns."
    ]


def _remarks_on_tests(study: Study) -> list[str]:
    pairs = study.comparisons()
    if not pairs:
        return ["There are no two initializers to compare."]
    tested = [pair for pair in pairs if pair["pairs"] > 1]
    significant = [pair for pair in tested if pair["significant"]]
    remarks = []
    if len(tested) > 1 and not significant:
        remarks.append(_remark_on_clearest(tested))
    elif tested:
        remarks += _remarks_on_what_is_better(significant)
        remarks += _remarks_on_the_best(study, tested)
        if len(significant) == len(pairs):
            remarks.append("All differences are significant.")
    if len(tested) < len(pairs):
        remarks.append("One pair is not enough for a test: repeat more often.")
    return remarks


def _remark_on_clearest(tested: list[Record]) -> str:
    """Write the remark on pairs without a significant difference."""
    clearest = min(tested, key=lambda pair: pair["repeats_needed"])
    needed = describe_repeats(clearest["repeats_needed"])
    return (
        f"With {_repeats(tested)} no difference is shown between any two of them. The clearest, "
        f"between {clearest['first']} and {clearest['second']}, would take {needed}."
    )


def _remarks_on_what_is_better(significant: list[Record]) -> list[str]:
    """Write one sentence for all initializers that are better than the same other initializers."""
    worse: dict[str, list[str]] = {}
    for pair in significant:
        worse.setdefault(pair["first"], []).append(pair["second"])
    better: dict[str, list[str]] = {}
    for name, others in worse.items():
        better.setdefault(join_names(others), []).append(name)
    remarks = []
    for others_listed, names in better.items():
        verb = choose_verb(len(names), "is", "are each")
        remarks.append(f"{join_names(names)} {verb} better than {others_listed}.")
    return remarks


def _remarks_on_the_best(study: Study, tested: list[Record]) -> list[str]:
    """Write the remark on the first initializer in the table, and on equally good ones."""
    best, *others = [row["arm"] for row in study.statistics()]
    tests_of_best = []
    not_shown = []
    for name in others:
        for pair in tested:
            if {pair["first"], pair["second"]} != {best, name}:
                continue
            tests_of_best.append(pair)
            if not pair["significant"]:
                needed = describe_repeats(pair["repeats_needed"])
                not_shown.append(f"{name} (would take {needed})")
    if not not_shown:
        return []
    return [
        f"With {_repeats(tests_of_best)} no difference is shown between {best} and "
        f"{join_names(not_shown)}."
    ]


def _repeats(pairs: Iterable[Record]) -> str:
    return f"{format_ranges({pair['pairs'] for pair in pairs})} repeats"
