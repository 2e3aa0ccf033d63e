"""Train models of several widths with several learning rates, to see whether a rate transfers."""

import dataclasses
import functools
import itertools
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import keras
import numpy as np
import numpy.typing as npt

from keras_initx._checks import check_count, check_number, check_type
from keras_initx._extras import import_optional
from keras_initx.initializers._seeds import derived_seed
from keras_initx.report._figures import COLORS, tidy
from keras_initx.report._table import Column
from keras_initx.report._terminal import Verbose, shows_progress
from keras_initx.report._text import counted, format_metric
from keras_initx.tools.studies._engine import Engine, check_build, repeats_of
from keras_initx.tools.studies._metric import sign
from keras_initx.tools.studies._plots import new_plot
from keras_initx.tools.studies._result import (
    StudyResult,
    counted_by_status,
    first_error,
    records_of,
    remarks_on_not_compared,
)
from keras_initx.tools.studies._settings import Settings
from keras_initx.tools.studies._statistics import t_interval
from keras_initx.tools.studies._trial import Job
from keras_initx.tools.studies._types import DataLike, Direction, FloatArray, Mode, Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# In the figure: characters of a line of a panel's title, and rates that are written on its axis.
_TITLE = 32
_MOST_MARKS = 8

# Takes a width and a learning rate.
BuildOfWidth: TypeAlias = Callable[[int, float], keras.Model]
Number = TypeVar("Number", int, float)


@shows_progress
def compare_learning_rates(
    build: BuildOfWidth | Mapping[str, BuildOfWidth],
    widths: Sequence[int] | npt.NDArray[np.integer],
    learning_rates: Sequence[float] | npt.NDArray[np.floating],
    data: DataLike,
    *,
    repeats: int = 3,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    n_jobs: int = 1,
    out: str | Path | None = None,
    title: str | None = None,
    monitor: str = "val_loss",
    mode: Mode = "auto",
    verbose: Verbose = "auto",
) -> "RateStudy":
    """Train models of several widths with several learning rates, and compare the best rates.

    With muP the best learning rate of a narrow model is also the best of a wide one. This shows
    whether that holds for a model: the best rate at each width, and what is lost by using that of
    the narrowest model.

    The widths may also be depths. In a repeat, the order of the examples and all other randomness
    in training are the same for all. This function sets the global seed of TensorFlow.

    Args:
        build: Function that takes a width and a learning rate and returns a new compiled model, or
            a dict of such functions by name, for example with muP and without. Weights must not
            have a fixed seed if they shall differ between the repeats.
        widths: At least two different widths.
        learning_rates: At least two different learning rates.
        data: See `compare_initializers`.
        repeats: Number of trials per width and rate.
        epochs: Number of epochs per trial.
        batch_size: See `compare_initializers`.
        seed: Integer, the root of all seeds.
        n_jobs: See `compare_initializers`.
        out: See `compare_initializers`.
        title: Title of tables and plots.
        monitor: Name of the metric to compare by, one on the validation data. To compare by the
            training loss as papers do, pass the training data as validation data too.
        mode: See `compare_initializers`.
        verbose: Whether to show progress: `"auto"` on a terminal, unless
            `keras.config.disable_interactive_logging()` was called; 1 always; 0 never.

    Returns:
        A `RateStudy`.

    Raises:
        ImportError: If joblib is not installed, for `n_jobs` other than 1.
        OSError: If a trial cannot be kept, for example because the disk is full.
        RuntimeError: If all trials failed.
        SettingsError: If `out` contains a study with other settings.
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is invalid.

    Example:
        >>> def build(width, rate):
        ...     layers = [keras.layers.Dense(width, "relu"), keras.layers.Dense(1)]
        ...     model = keras.Sequential([keras.Input((4,)), *layers])
        ...     model.compile(keras.optimizers.SGD(rate), "mse")
        ...     return model
        >>> x = np.random.default_rng(0).normal(size=(64, 4))
        >>> data = (x, x[:, :1]), (x, x[:, :1])
        >>> compare_learning_rates(build, [4, 8], [0.001, 0.01, 0.1], data, repeats=2, epochs=1)
        <RateStudy of 1 parametrization, 2 widths, 3 rates, 12 trials: 12 finished>

    Reference:
        Yang, Hu and others, "Tensor programs V: tuning large neural networks via zero-shot
        hyperparameter transfer", arXiv:2203.03466, 2022, figure 1.
    """
    builds = _checked_builds(build)
    widths = _distinct("widths", [int(check_count("widths", width)) for width in widths])
    rates = []
    for rate in learning_rates:
        rates.append(float(check_number("learning_rates", rate, positive=True)))
    rates = _distinct("learning_rates", rates)
    repeats = int(check_count("repeats", repeats))
    given = Settings.checked(
        data,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        n_jobs=n_jobs,
        out=out,
        title=title,
        monitor=monitor,
        mode=mode,
    )
    job = Job(functools.partial(_built, builds), given)
    engine = Engine("rates", builds, job)
    arms = {}
    for name, width, rate in itertools.product(builds, widths, rates):
        arms[f"{name} {width} {rate!r}".strip()] = name, width, rate
    records = engine.run(arms, repeats_of(given.seed, repeats), "rates")
    trials = {}
    for key, arm in arms.items():
        for repeat in range(1, repeats + 1):
            trials[*arm, repeat] = records[key, repeat]
    settings = {
        **engine.shared,
        "builds": list(builds),
        "widths": widths,
        "rates": rates,
        "repeats": repeats,
        "not_compared": engine.not_compared,
    }
    return RateStudy(engine.title, settings, trials, *engine.metric(trials))


def _built(
    builds: Mapping[str, BuildOfWidth], arm: tuple[str, int, float], seed: int
) -> keras.Model:
    name, width, rate = arm
    keras.utils.set_random_seed(derived_seed(seed, "build"))
    return builds[name](width, rate)


def _checked_builds(build: BuildOfWidth | Mapping[str, BuildOfWidth]) -> dict[str, BuildOfWidth]:
    if not isinstance(build, Mapping):
        build = {"": build}
    if not build:
        raise ValueError("`build` must not be empty. Received: build={}")
    for name, function in build.items():
        check_type("build", name, str, "a dict from names to functions")
        check_build(function, "width", "rate")
    return dict(build)


def _distinct(name: str, values: list[Number]) -> list[Number]:
    if len(set(values)) < max(2, len(values)):
        raise ValueError(
            f"`{name}` must be at least two numbers, all different. Received: {name}={values}"
        )
    return sorted(values)


@dataclasses.dataclass(frozen=True, repr=False)
class RateStudy(StudyResult):
    """The result of `compare_learning_rates`, in the form of all results.

    `plot` shows the metric over the learning rate, with a line for each width. The rows are those
    of `to_csv`.

    Attributes:
        title: Its title.
        settings: Dict of its settings.
        trials: Dict from `(build, width, rate, repeat)` to a dict of what was
            recorded, as in a `Study`. The name of a single `build` is empty.
        monitor: Name of the metric that rates are compared by.
        mode: `"max"` or `"min"`: whether larger or smaller values are better.
    """

    title: str
    settings: Record
    trials: dict[tuple[str, int, float, int], Record]
    monitor: str
    mode: Direction

    @property
    def rows(self) -> list[Record]:
        """A list of dicts with names, status and metrics of each epoch of each trial."""
        records = []
        for (name, width, rate, repeat), trial in self.trials.items():
            known = {"build": name, "width": width, "rate": rate, "repeat": repeat}
            records += records_of(known, trial)
        return records

    def __getitem__(self, key: Any) -> Record:
        """Return the record of a trial.

        Args:
            key: `(build, width, rate, repeat)`.

        Raises:
            KeyError: If there is none.
        """
        return self.trials[key]

    def final_values(self, build: str, width: int) -> FloatArray:
        """Return the last value of `monitor`, in an array of shape `(repeats, rates)`.

        That of a diverged trial is the worst possible, infinite. It is NaN for a trial that failed.
        """
        rates = self.settings["rates"]
        values = np.full((self.settings["repeats"], len(rates)), math.nan)
        for repeat in range(len(values)):
            for place, rate in enumerate(rates):
                trial = self.trials[build, width, rate, repeat + 1]
                if trial["status"] == "finished":
                    values[repeat, place] = trial["epochs"][-1][self.monitor]
                elif trial["status"] == "diverged":
                    values[repeat, place] = -sign(self.mode) * math.inf
        return values

    def best_rate(self, build: str, width: int) -> float:
        """Return the learning rate whose mean over the repeats is best, or NaN."""
        place = self._best_place(build, width)
        return math.nan if place is None else float(self.settings["rates"][place])

    def _best_place(self, build: str, width: int) -> int | None:
        return _best(sign(self.mode) * self.final_values(build, width).mean(axis=0))

    def _optima(self, build: str, width: int) -> list[float]:
        """Return the logarithm to base two of the best rate in each repeat.

        Between the rates that were tried, a parabola through the best and its neighbors decides.
        """
        powers = np.log2(self.settings["rates"])
        optima = []
        for values in sign(self.mode) * self.final_values(build, width):
            place = _best(values)
            if place is None:
                optima.append(math.nan)
            else:
                optima.append(_vertex(powers, values, place))
        return optima

    def statistics(self) -> list[Record]:
        """Return a dict for each parametrization and width.

        It has the best rate and the ends of its 95 % interval, by Student's t of the logarithms in
        the repeats; the mean of `monitor` there, that at the best rate of the narrowest model, and
        how much worse the latter is. `at_edge` says whether no lower or no higher rate was tried.
        """
        rows = []
        for build in self.settings["builds"]:
            narrow_place = self._best_place(build, self.settings["widths"][0])
            for width in self.settings["widths"]:
                place = self._best_place(build, width)
                if place is None:
                    continue
                mean, low, high = t_interval(self._optima(build, width))
                means = self.final_values(build, width).mean(axis=0)
                transferred = math.nan if narrow_place is None else float(means[narrow_place])
                best = float(means[place])
                row = {
                    "build": build,
                    "width": width,
                    "best_rate": 2.0**mean,
                    "ci_low": 2.0**low,
                    "ci_high": 2.0**high,
                    "at_edge": place in (0, len(means) - 1),
                    "best": best,
                    "transferred": transferred,
                    "loss": sign(self.mode) * (best - transferred),
                }
                rows.append(row)
        return rows

    def drifts(self) -> list[Record]:
        """Return a dict for each parametrization: how the best rate moves with the width.

        `drift` is the power of two between the best rates of the narrowest and the widest model,
        with the ends of its 95 % interval over the repeats, which are paired.
        """
        rows = []
        for build in self.settings["builds"]:
            first, *_, last = self.settings["widths"]
            pairs = zip(self._optima(build, first), self._optima(build, last), strict=True)
            drift, low, high = t_interval([wide - narrow for narrow, wide in pairs])
            rows.append({"build": build, "drift": drift, "ci_low": low, "ci_high": high})
        return rows

    def _content(self) -> Record:
        return {
            "title": self.title,
            "settings": self.settings,
            "monitor": self.monitor,
            "mode": self.mode,
            "statistics": self.statistics(),
            "drifts": self.drifts(),
            "records": self.rows,
        }

    def _headline(self) -> str:
        counts = counted_by_status(self.trials.values())
        builds = counted(len(self.settings["builds"]), "parametrization")
        widths = counted(len(self.settings["widths"]), "width")
        rates = counted(len(self.settings["rates"]), "rate")
        trials = counted(len(self.trials), "trial")
        return f" of {builds}, {widths}, {rates}, {trials}: {counts}"

    def _rows(self) -> list[Record]:
        return self.statistics()

    def _columns(self) -> list[Column[Record]]:
        columns: list[Column[Record]] = [
            Column("width", lambda row: row["width"]),
            Column(
                "best rate",
                lambda row: _power(row["best_rate"]) + ("*" if row["at_edge"] else ""),
                note="by a parabola through the best and its neighbors; * at the end of the rates",
            ),
            Column(
                "95 % interval",
                lambda row: f"{_power(row['ci_low'])} to {_power(row['ci_high'])}",
                note="Student's t interval over the repeats",
            ),
            Column(self.monitor, lambda row: format_metric(row["best"]), note="at the best rate"),
            Column(
                "transferred",
                lambda row: format_metric(row["transferred"]),
                note="at the best rate of the narrowest model",
            ),
            Column("worse by", lambda row: format_metric(row["loss"])),
        ]
        if len(self.settings["builds"]) > 1:
            columns.insert(0, Column("build", lambda row: row["build"], is_text=True))
        return columns

    def remarks(self) -> list[str]:
        """Return sentences on how the best rate moves."""
        first, *_, last = self.settings["widths"]
        remarks = []
        failed = [trial for trial in self.trials.values() if trial["status"] == "failed"]
        if failed:
            count = f"{len(failed)} of {len(self.trials)} trials"
            remarks.append(f"{count} failed{first_error(failed)}.")
        for row in self.drifts():
            prefix = f"{row['build']}: " if row["build"] else ""
            if math.isnan(row["drift"]):
                remarks.append(f"{prefix}how the best rate moves is unknown: trials failed.")
                continue
            remarks.append(
                f"{prefix}from width {first} to {last} the best rate moves by {row['drift']:+.1f} "
                f"powers of two ({row['ci_low']:+.1f} to {row['ci_high']:+.1f}, 95 %)."
            )
            if abs(row["drift"]) >= 1:
                remarks.append(f"{prefix}`coordinate_check` shows which outputs follow the width.")
        return [*remarks, *remarks_on_not_compared(self.settings)]

    def _figure(self) -> "Figure":
        builds = self.settings["builds"]
        title = f"{self.monitor} over the learning rate, mean and range of the repeats"
        figure = new_plot(self.title, title, size=(1.5 + 3.4 * len(builds), 3.6))
        (axes,) = figure.subplots(1, len(builds), squeeze=False, sharex=True, sharey=True)
        tidy(axes)
        for axis, build in zip(axes, builds, strict=True):
            self._plot_build(axis, build)
        axes[0].set_ylabel(self.monitor)
        handles, labels = axes[0].get_legend_handles_labels()
        place = "outside right center"
        figure.legend(handles, labels, loc=place, frameon=False, fontsize=8, title="width")
        return figure

    def _plot_build(self, axis: "Axes", build: str) -> None:
        """Plot a line for each width, with a ring at its best rate."""
        rates = self.settings["rates"]
        for place, width in enumerate(self.settings["widths"]):
            color = COLORS[place % len(COLORS)]
            values = self.final_values(build, width)
            values[~np.isfinite(values)] = np.nan
            means = values.mean(axis=0)  # no line where a trial diverged
            axis.plot(
                rates, means, "o-", color=color, markersize=3, linewidth=1.4, label=f"{width}"
            )
            low, high = values.min(axis=0), values.max(axis=0)
            axis.fill_between(rates, low, high, color=color, alpha=0.12, linewidth=0)
            best = 2.0 ** float(np.mean(self._optima(build, width)))  # that of the table
            if math.isfinite(best):
                height = np.interp(math.log(best), np.log(rates), means)
                axis.plot(
                    best,
                    height,
                    "o",
                    markersize=9,
                    markerfacecolor="none",
                    markeredgecolor=color,
                )
        axis.set_xscale("log")
        every = math.ceil(len(rates) / _MOST_MARKS)
        marks = rates[::every]
        axis.set_xticks(marks, [f"{rate:.2g}" for rate in marks], rotation=45, ha="right")
        axis.minorticks_off()
        if axis.dataLim.ymin > 0:
            ticker = import_optional("matplotlib.ticker", "plot")
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter(ticker.NullFormatter())
        name = textwrap.fill(build.removeprefix("__main__."), _TITLE)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("learning rate")


def _best(values: FloatArray) -> int | None:
    """Return the place of the greatest value, or `None` if none is finite."""
    comparable = np.where(np.isfinite(values), values, -math.inf)
    place = int(comparable.argmax())
    return place if math.isfinite(comparable[place]) else None


def _vertex(powers: FloatArray, values: FloatArray, place: int) -> float:
    """Return where a parabola through a greatest value and its neighbors is greatest.

    Without two finite neighbors it is the place itself.
    """
    around = slice(place - 1, place + 2)
    if not 0 < place < len(values) - 1 or not np.isfinite(values[around]).all():
        return float(powers[place])
    curvature, slope, _ = np.polyfit(powers[around] - powers[place], values[around], 2)
    if curvature >= 0:  # all three are equal
        return float(powers[place])
    return float(powers[place] - slope / (2 * curvature))


def _power(rate: float) -> str:
    """Return a rate as a power of two."""
    if math.isnan(rate):
        return "-"
    return f"2^{math.log2(rate):.1f}"
