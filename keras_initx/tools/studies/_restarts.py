"""Train a model from several draws of its weights, and keep the best, by successive halving."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import keras

from keras_initx._checks import check_count
from keras_initx._signatures import shorten_signature
from keras_initx.backends._current import backend
from keras_initx.initializers._seeds import derived_seed
from keras_initx.report._figures import tidy
from keras_initx.report._table import Column
from keras_initx.report._terminal import Verbose, takes_verbose
from keras_initx.report._text import format_count, format_metric
from keras_initx.tools.studies._engine import Engine, Key, check_build, use_common_metric_names
from keras_initx.tools.studies._metric import metric_range, sign
from keras_initx.tools.studies._plots import label_steps, new_plot
from keras_initx.tools.studies._result import StudyResult, records_of, remarks_on_not_compared
from keras_initx.tools.studies._settings import Settings
from keras_initx.tools.studies._significance import (
    SIGNIFICANT,
    count_repeats_needed,
    describe_repeats,
    mean_of,
    paired_test,
)
from keras_initx.tools.studies._trial import Job, Repeat, new_model, train
from keras_initx.tools.studies._types import DataLike, Direction, Mode, Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Build: TypeAlias = Callable[[], keras.Model]


@shorten_signature
@takes_verbose
def random_restarts(
    build: Build,
    data: DataLike,
    *,
    draws: int = 10,
    epochs: int = 10,
    batch_size: int = 32,
    seed: int = 0,
    checks: int = 3,
    n_jobs: int = 1,
    out: str | Path | None = None,
    title: str | None = None,
    monitor: str | None = None,
    mode: Mode = "auto",
    verbose: Verbose = "auto",
) -> "RestartStudy":
    """Train a model from several draws of its initial weights, and return the best.

    Use it if results of your model vary strongly from seed to seed. It searches by successive
    halving. All draws train for a few epochs. The better half starts again and trains for twice as
    many epochs, and so on, until the last two have trained for `epochs`. All draws see the same
    examples in the same order. At the end, the chosen draw trains once more, and you get its model.

    The score of the best draw is biased by selection. To measure the real gain, the chosen draw
    trains again with the examples in other orders, compared with draws that were not in the search.
    This function sets the global seed of TensorFlow.

    Args:
        build: Function without arguments that returns a new compiled model, whose initializers have
            no seeds.
        data: See `compare_initializers`.
        draws: Number of draws.
        epochs: Number of epochs to train the best draws for.
        batch_size: See `compare_initializers`.
        seed: Integer, the root of all seeds.
        checks: Number of pairs of the chosen draw and another draw that measure the gain; 0 for
            none.
        n_jobs: See `compare_initializers`.
        out: See `compare_initializers`.
        title: See `compare_initializers`.
        monitor: Name of the metric that the search compares. See `compare_initializers`.
        mode: See `compare_initializers`.
        verbose: Whether to show progress: `"auto"` on a terminal, unless you called
            `keras.config.disable_interactive_logging()`; 1 always; 0 never.

    Returns:
        A `RestartStudy` with the trained `model` and the `seed` of its draw.
        `keras.utils.set_random_seed(seed)` followed by `build()` gives you the initial model again;
        without an `Input`, its weights are drawn when it first sees data.

    Raises:
        ImportError: If joblib is not installed, for `n_jobs` other than 1.
        OSError: If a trial cannot be kept, for example because the disk is full.
        RuntimeError: If no draw finished a round of training.
        SettingsError: If `out` contains a study with other settings.
        TypeError: If an argument has the wrong type, for example data that are not arrays of
            numbers.
        ValueError: If an argument is invalid, for example inputs and targets of different lengths,
            if `mode` is required, or if `build` returns one model twice or models of different
            metrics.

    Example:
        >>> def build():
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        ...     model.compile("sgd", "mse")
        ...     return model
        >>> x = keras.ops.convert_to_numpy(keras.random.normal((2, 64, 4), seed=0))
        >>> y = keras.ops.convert_to_numpy(keras.random.normal((2, 64, 3), seed=1))
        >>> data = ((x[0], y[0]), (x[1], y[1]))
        >>> best = random_restarts(build, data, draws=4, epochs=2, checks=0)
        >>> keras.utils.set_random_seed(best.seed)
        >>> initial = build()

    Reference:
        Karnin, Koren and Somekh, "Almost optimal exploration in multi-armed bandits", ICML 2013.
        Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter
        optimization", AISTATS 2016.

    See Also:
        `compare_initializers` compares initializers by paired tests. The page "Studies" shows how
        to read tables and plots.
    """
    check_build(build)
    n = int(check_count("draws", draws))
    checks = int(check_count("checks", checks, least=0))
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
    job = Job(functools.partial(_draw_model, build), given)
    engine = Engine("restarts", build, job)
    # All draws see the examples in one order. None is made by the seed of a repeat.
    repeat = Repeat(model=0, training=derived_seed(given.seed, "train"))

    searched, trials = _search(engine, n, repeat)
    metric, direction = engine.metric(trials)
    ranked = _ranked_draws(searched, metric, direction)
    pairs = []
    if checks:
        pairs = _check_chosen(engine, ranked[0], n, checks, trials)
    with backend.generators_preserved():
        model = new_model(engine.job, ranked[0]["seed"], repeat)
        train(model, engine.job, repeat, {})
    settings = {**engine.shared, "n": n, "checks": checks, "not_compared": engine.not_compared}
    return RestartStudy(engine.title, settings, ranked, pairs, metric, direction, model)


def _search(engine: Engine, n: int, repeat: Repeat) -> tuple[list[Record], dict[Key, Record]]:
    """Train the draws, then the better half from the start again for longer, and so on.

    Returns:
        A dict for each draw, see `RestartStudy`, and the records of all trials.
    """
    given = engine.job.settings
    trials: dict[Key, Record] = {}
    draws: dict[int, Record] = {}
    for draw in range(1, n + 1):
        draws[draw] = {"draw": draw, "seed": derived_seed(given.seed, "draw", draw), "epochs": []}
    left = list(draws)
    for end, size in rounds(n, given.epochs).items():
        names = {draw: f"draw {draw} for {end} epochs" for draw in left[:size]}
        arms = {name: draws[draw]["seed"] for draw, name in names.items()}
        new = engine.run(arms, {1: repeat}, f"draws, {format_count(end, 'epoch')}", end)
        trials = use_common_metric_names(
            trials | new
        )  # the first round has the names of the metrics
        metric, direction = engine.metric(trials)
        scores = {}
        for draw, name in names.items():
            trial = trials[name, 1]
            draws[draw] |= {"status": trial["status"]}
            if "epochs" in trial:
                draws[draw]["epochs"] = trial["epochs"]
            if trial["status"] == "finished":
                scores[draw] = sign(direction) * trial["epochs"][-1][metric]
        if not scores:
            raise RuntimeError(f"no draw could be trained for {end} epochs without divergence")
        left = sorted(scores, key=lambda draw: -scores[draw])
    return list(draws.values()), trials


def _check_chosen(
    engine: Engine, chosen: Record, n: int, checks: int, trials: dict[Key, Record]
) -> list[tuple[float, float]]:
    """Train the chosen draw, and draws that took no part, with the examples in other orders."""
    own, other = f"draw {chosen['draw']}, checked", f"none of {n} draws"
    seed = engine.job.settings.seed
    repeats = {}
    for number in range(1, checks + 1):
        repeats[number] = Repeat(
            model=derived_seed(seed, "draw", n + number),
            training=derived_seed(seed, "check", number),
        )
    arms = {own: chosen["seed"], other: None}
    trials = use_common_metric_names(trials | engine.run(arms, repeats, "checks"))
    metric, _ = engine.metric(trials)
    pairs = []
    for number in repeats:
        pair = [trials[name, number] for name in (own, other)]
        if all(trial["status"] == "finished" for trial in pair):
            one, another = (trial["epochs"][-1][metric] for trial in pair)
            pairs.append((one, another))
    return pairs


def _draw_model(build: Build, seed_of_draw: int | None, seed: int) -> keras.Model:
    """Make the model of a draw, or for `None` the model of another draw in each repeat."""
    if seed_of_draw is not None:
        seed = seed_of_draw
    keras.utils.set_random_seed(seed)
    return build()


def rounds(n: int, epochs: int) -> dict[int, int]:
    """Count the draws in each round of halving, by its number of epochs."""
    halvings = max(0, math.ceil(math.log2(n)) - 1)
    sizes: dict[int, int] = {}
    for i in range(halvings + 1):
        # With too few epochs to halve, there are fewer rounds.
        sizes.setdefault(math.ceil(epochs / 2 ** (halvings - i)), math.ceil(n / 2**i))
    return sizes


_CHOSEN, _REST = "#d55e00", "#8aa4b8"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RestartStudy(StudyResult):
    """The result of `random_restarts`, in the form of all results.

    `plot` shows you the curves of all draws. `to_csv` writes `rows`.

    Attributes:
        title: Its title.
        settings: Dict of its settings.
        draws: A dict for each draw, the chosen one first, with its number, its seed, its status,
            and its metrics after each epoch.
        checks: A list of pairs of values of `monitor`. The first value is from the chosen draw, the
            second from a draw that was not in the search. Both trained with the examples in the
            same new order.
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

    def __getitem__(self, key: Any) -> Record:
        """Return the record of a draw.

        Args:
            key: Its number.

        Raises:
            KeyError: If there is none.
        """
        by_number = {draw["draw"]: draw for draw in self.draws}
        return by_number[key]

    def __contains__(self, key: object) -> bool:
        """Return whether there is a draw.

        Args:
            key: Its number.
        """
        return any(draw["draw"] == key for draw in self.draws)

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
            "repeats_needed": math.nan if significant else count_repeats_needed(test["effect"]),
            "selection_bias": sign(self.mode) * (self.score - mean_of(scores_again)),
        }

    @property
    def rows(self) -> list[Record]:
        """A list of dicts with place, number, seed, status and metrics of each epoch of each draw.

        Epoch 0 is before training.
        """
        records = []
        for place, draw in enumerate(self.draws, 1):
            known = {"place": place, "draw": draw["draw"], "seed": draw["seed"]}
            records += records_of(known, draw)
        return records

    def _own_content(self) -> Record:
        return {
            "title": self.title,
            "settings": self.settings,
            "monitor": self.monitor,
            "mode": self.mode,
            "seed": self.seed,
            "score": self.score,
            "gain": self.gain(),
            "checks": self.checks,
        }

    def _headline(self) -> str:
        best = f"the best is draw {self.draws[0]['draw']}"
        score = f"{self.monitor} {format_metric(self.score)}"
        return f" of {format_count(len(self.draws), 'draw')}: {best} with {score}"

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
        """Return sentences that name the best draw, and say whether it is better than others."""
        score = f"{self.monitor} {format_metric(self.score)}"
        remark = (
            f"Draw {self.draws[0]['draw']}, seed {self.seed}, came out best: {score} after "
            f"{format_count(self.settings['epochs'], 'epoch')}."
        )
        return [remark, *_remarks_on_gain(self.gain()), *remarks_on_not_compared(self.settings)]

    def _figure(self) -> "Figure":
        figure = new_plot(self.title, "Each draw as far as it was trained", size=(8, 4.6))
        axis = figure.subplots()
        tidy([axis])
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
        return figure


def _ranked_draws(draws: Iterable[Record], monitor: str, mode: Direction) -> list[Record]:
    """Rank draws, best first: draws with the longest training, sorted by the metric."""

    def rank(draw: Record) -> tuple[bool, int, float]:
        epochs = draw["epochs"]
        value = -sign(mode) * epochs[-1][monitor] if epochs else math.inf
        return draw["status"] != "finished", -len(epochs), value

    return sorted(draws, key=rank)


def _remarks_on_gain(gain: Record) -> list[str]:
    """Write sentences on the result of `RestartStudy.gain`."""
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
        needed = describe_repeats(gain["repeats_needed"])
        remarks.append(
            f"{gain['pairs']} checks do not show that this is more than the noise of single runs. "
            f"To show it would take {needed}."
        )
    if gain["selection_bias"] > 0:
        bias = format_metric(gain["selection_bias"])
        remarks.append(
            f"In the search it looked better by {bias} than in these runs: that was luck."
        )
    return remarks
