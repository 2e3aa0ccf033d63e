"""Tables, tests and pages of made-up trials, whose metrics are known."""

import csv
import json
import math
import re

import numpy as np
import pytest
import scipy.stats

from keras_initx.rendering import format_metric, ranges
from keras_initx.studies import Study, Trial
from keras_initx.studies._metric import metric_range
from keras_initx.studies._plots import families as families_of
from keras_initx.studies._statistics import holm, paired_p_value, repeats_needed, t_interval

pytestmark = pytest.mark.once

SETTINGS = {"epochs": 2, "batch_size": 8, "seed": 0, "keras": "3", "backend": "none"}


def trial(start, middle, end, train, batches=10):
    before = {"epoch": 0, "val_accuracy": start, "val_loss": 1 - start}
    epochs = [before]
    for epoch, value in enumerate((middle, end), 1):
        metrics = {"accuracy": train, "loss": 1 - train, "val_accuracy": value, "val_loss": 1 - value, "seconds": 0.5}
        epochs.append({"epoch": epoch, **metrics})
    epochs[1]["batch_losses"] = [1 / n for n in range(1, batches + 1)]
    return Trial("key", "finished", tuple(epochs))


def study(ends, title="made up", others=(), batches=10):
    trials = {
        (name, repeat): trial(0.1, 0.5, end, 0.95, batches)
        for name, values in ends.items()
        for repeat, end in enumerate(values, 1)
    }
    settings = {"initializers": dict.fromkeys(ends), "repeats": max(map(len, ends.values())), **SETTINGS}
    return Study(title, settings, trials | dict(others), "val_accuracy", "max", 0.8)


GOOD, FAIR, BAD = [0.90, 0.92, 0.91, 0.93], [0.89, 0.93, 0.90, 0.92], [0.50, 0.52, 0.53, 0.51]


@pytest.fixture
def three():
    return study({"bad": BAD, "good": GOOD, "fair": FAIR})


def test_summary(three):
    best, _, worst = three.statistics()
    assert (best["initializer"], worst["initializer"]) == ("good", "bad")
    assert best["mean"] == pytest.approx(0.915)
    assert best["std"] == pytest.approx(np.std(GOOD, ddof=1))
    assert (best["ci_low"], best["ci_high"]) == pytest.approx(
        scipy.stats.t.interval(0.95, 3, 0.915, scipy.stats.sem(GOOD)), rel=1e-9
    )
    assert best["worst"] == 0.90
    assert best["gap"] == pytest.approx(0.95 - 0.915)
    assert (best["epochs_to_threshold"], best["reached"]) == (2, 4)
    assert (worst["epochs_to_threshold"], worst["reached"]) == (math.inf, 0)
    assert best["seconds_per_epoch"] == 0.5


# Curves from before training to epoch 6, of which the second half begins at epoch 3.
RISING = [0.1, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8]
JUMPING = [0.1, 0.1, 0.1, 0.9, 0.5, 0.9, 0.5]


def study_of(curves, monitor="val_accuracy", mode="max", threshold=0.5):
    """Return a study of these curves, of which epoch `i` takes `i` seconds."""
    trials = {
        (name, repeat): Trial(
            "key",
            "finished",
            tuple({"epoch": i, monitor: value} | ({"seconds": float(i)} if i else {}) for i, value in enumerate(curve)),
        )
        for name, repeats in curves.items()
        for repeat, curve in enumerate(repeats, 1)
    }
    epochs = len(next(iter(curves.values()))[0]) - 1
    settings = {**SETTINGS, "initializers": dict.fromkeys(curves), "repeats": 1, "epochs": epochs}
    return Study("made up", settings, trials, monitor, mode, threshold)


def test_the_course_of_training():
    rows = {row["initializer"]: row for row in study_of({"rising": [RISING], "jumping": [JUMPING]}).statistics()}
    rising, jumping = rows["rising"], rows["jumping"]
    assert (rising["best"], rising["best_epoch"], rising["stop_epoch"]) == (0.8, 6, 6)
    assert (jumping["best"], jumping["best_epoch"], jumping["stop_epoch"]) == (0.9, 3, 3)
    # A tenth of the way from 0.1 to 0.8 is 0.17.
    assert (rising["epochs_to_start"], jumping["epochs_to_start"]) == (1, 3)
    # From 0.9 on: changes of 0.4 down, up and down, of which their mean takes a third.
    assert rising["jump"] == pytest.approx(0)
    assert jumping["jump"] == pytest.approx(0.4 - 0.4 / 3)
    # Three epochs of 3.5 seconds, the median.
    assert rising["seconds_to_threshold"] == jumping["seconds_to_threshold"] == 3 * 3.5


# Of each finished trial: the accuracies from before training on, that of training at the end, and seconds.
UNEVEN = {
    ("one", 1): ([0.1, 0.17, 0.5, 0.7, 0.6], 0.8, [1, 2, 3, 10]),
    ("one", 2): ([0.2, 0.6, 0.75, 0.8, 0.6], 0.9, [5, 1, 1, 1]),
    ("one", 3): ([0.3, 0.3, 0.2, 0.1, 0.3], 0.5, [2, 2, 2, 6]),
    ("two", 1): ([0.1, 0.1, 0.1, 0.1, 0.2], 0.25, [1, 1, 1, 1]),
}


def uneven(monitor, mode, threshold=None):
    """Return a study of `UNEVEN` of which half of the trials are not finished."""

    def value_of(accuracy):
        return accuracy if mode == "max" else 1 - accuracy

    trials = {(name, repeat): Trial("key") for name in ("two", "one") for repeat in range(1, 5)}
    for status, place in (("failed", ("one", 4)), ("failed", ("two", 2)), ("interrupted", ("two", 3))):
        trials[place] = Trial("key", status, end={"error": "E"})
    for place, (curve, train, seconds) in UNEVEN.items():
        epochs = [{"epoch": epoch, monitor: value_of(value)} for epoch, value in enumerate(curve)]
        for epoch, duration in zip(epochs[1:], seconds, strict=True):
            epoch |= {"seconds": duration, monitor.removeprefix("val_"): value_of(train)}
        trials[place] = Trial("key", "finished", tuple(epochs))
    settings = {**SETTINGS, "initializers": {"two": None, "one": None}, "repeats": 4, "epochs": 4}
    return Study("made up", settings, trials, monitor, mode, threshold)


@pytest.mark.parametrize(("monitor", "mode"), [("val_accuracy", "max"), ("val_loss", "min")], ids=["max", "min"])
def test_each_number_of_a_summary_is_the_mean_or_the_median_it_is_said_to_be(monitor, mode):
    study = uneven(monitor, mode)

    def of_metric(accuracy):
        return accuracy if mode == "max" else 1 - accuracy

    # From 0.15, the mean of 0.2 and 0.1, to 0.5, the better mean at the end: 95 % of the way.
    assert study.threshold == pytest.approx(of_metric(0.15 + 0.95 * 0.35))
    deviation = math.sqrt(0.03)
    margin = scipy.stats.t.ppf(0.975, 2) * deviation / math.sqrt(3)
    one = {
        "initializer": "one",
        **{"finished": 3, "diverged": 0, "failed": 1, "unfinished": 0},
        **{"mean": 0.5, "std": deviation, "ci_low": 0.5 - margin, "ci_high": 0.5 + margin, "worst": of_metric(0.3)},
        **{"epochs_to_threshold": 2, "reached": 2, "gap": 0.7 / 3, "seconds_per_epoch": 2},
        **{"best": of_metric(0.6), "best_epoch": 3, "stop_epoch": 3},
        # The first trial is beyond a tenth of the way, 0.185, from epoch 2 on, and the third from 4 on.
        **{"epochs_to_start": 2, "jump": 0.25 / 3, "seconds_to_threshold": 2 * 2.5},
    }
    two = {
        "initializer": "two",
        **{"finished": 1, "diverged": 0, "failed": 1, "unfinished": 2},
        **{"mean": of_metric(0.2), "std": math.nan, "ci_low": math.nan, "ci_high": math.nan, "worst": of_metric(0.2)},
        **{"epochs_to_threshold": math.inf, "reached": 0, "gap": 0.05, "seconds_per_epoch": 1},
        **{"best": of_metric(0.2), "best_epoch": 4, "stop_epoch": 4},
        **{"epochs_to_start": 4, "jump": 0, "seconds_to_threshold": math.inf},
    }
    found = study.statistics()
    assert found == [pytest.approx(one, nan_ok=True), pytest.approx(two, nan_ok=True)]
    assert [list(row) for row in found] == [list(one)] * 2
    (pair,) = study.comparisons()
    assert pair == pytest.approx(
        {
            **{"first": "one", "second": "two", "pairs": 1, "difference": 0.4 if mode == "max" else -0.4},
            **{"ci_low": math.nan, "ci_high": math.nan, "p": math.nan, "effect": math.nan, "p_corrected": math.nan},
            **{"significant": False, "repeats_needed": math.nan, "verdict": "not tested with 1 repeat"},
        },
        nan_ok=True,
    )


TABLES = """
4 repeats of 4 epochs, batches of 8, seed 0, Keras 3 on none

   initializer   val_accuracy   95 % interval  to 0.482    gap
1  one          0.500 ± 0.173  0.070 to 0.930         2  0.233
2  two              0.200 ± -               -     never  0.050

one: 1 of 4 trials failed: E.
two: 1 of 4 trials failed: E.
two: 2 of 4 trials unfinished.
One pair is not enough for a test: repeat more often.

--
   initializer  start   best  at  stop   jump  s to 0.482
1  one              2  0.600   3     3  0.083           5
2  two              4  0.200   4     4  0.000       never

--
"""


def test_tables_show_the_numbers_of_a_summary():
    first, second = TABLES.split("--\n")[:2]
    text = str(uneven("val_accuracy", "max"))
    assert first in text
    assert second in text.partition(first)[2]


def test_curves_have_a_row_for_each_trial_that_is_finished():
    made_up = uneven("val_accuracy", "max")
    accuracies = [curve for (name, _), (curve, _, _) in UNEVEN.items() if name == "one"]
    np.testing.assert_array_equal(made_up.curves("one", "val_accuracy"), accuracies)
    np.testing.assert_array_equal(made_up.curves("two", "accuracy"), [[math.nan, 0.25, 0.25, 0.25, 0.25]])
    assert made_up.final_values("one") == {1: 0.6, 2: 0.6, 3: 0.3}
    assert made_up.curves("none", "val_accuracy").shape == (0, 5)


def test_a_threshold_that_is_given_is_that_of_the_study():
    assert uneven("val_accuracy", "max", 0.55).statistics()[0]["epochs_to_threshold"] == 3
    assert uneven("val_accuracy", "max", 0.0).threshold == 0


def test_jumps_are_those_of_the_second_half():
    # Of five epochs from the second on: up, down and up by 1.
    assert study_of({"one": [[5.0, 9.0, 0.0, 1.0, 0.0, 1.0]]}).jumps("one") == pytest.approx([1 - 1 / 3])


def test_the_epoch_to_stop_at_is_that_of_the_mean_curve():
    (row,) = study_of({"both": [RISING, JUMPING]}).statistics()
    assert row["best"] == pytest.approx(0.85)
    assert row["best_epoch"] == 4.5
    assert row["stop_epoch"] == 5


def test_the_course_of_a_loss():
    losses = {"rising": [[1 - value for value in RISING]], "jumping": [[1 - value for value in JUMPING]]}
    rows = {row["initializer"]: row for row in study_of(losses, "val_loss", "min").statistics()}
    assert (rows["jumping"]["best"], rows["jumping"]["best_epoch"]) == (pytest.approx(0.1), 3)
    assert (rows["rising"]["epochs_to_start"], rows["jumping"]["epochs_to_start"]) == (1, 3)


def test_what_is_beyond_chance_by_accident_has_not_left_it():
    curves = {"first": [0.3, 0.3, 0.3, 0.9], "between": [0.1, 0.4, 0.1, 0.8], "lost": [0.1, 0.1, 0.7, 0.1]}
    rows = study_of({name: [curve] for name, curve in curves.items()}).statistics()
    assert {row["initializer"]: row["epochs_to_start"] for row in rows} == {"first": 1, "between": 3, "lost": math.inf}


def test_a_tenth_of_the_way_is_beyond_chance():
    assert study_of({"one": [[0.0, 1.0, 10.0]]}, "val_score").statistics()[0]["epochs_to_start"] == 1


def test_what_never_learns_never_starts():
    (row,) = study_of({"constant": [[0.1, 0.1, 0.1]]}).statistics()
    assert row["epochs_to_start"] == row["seconds_to_threshold"] == math.inf
    (row,) = study_of({"worse": [[0.5, 0.7, 0.4], [0.5, 0.6, 0.3]]}).statistics()
    assert row["epochs_to_start"] == math.inf
    text = str(study_of({"constant": [[0.1, 0.1, 0.1]]}))
    assert re.search(r"^1  constant +never  0\.100   0     0  0\.000 +never$", text, re.MULTILINE)


def test_comparisons_are_paired_and_corrected(three):
    rows = {(row["first"], row["second"]): row for row in three.comparisons()}
    p_values = [scipy.stats.ttest_rel(*pair).pvalue for pair in ((GOOD, FAIR), (GOOD, BAD), (FAIR, BAD))]
    found = [rows[pair] for pair in (("good", "fair"), ("good", "bad"), ("fair", "bad"))]
    assert [row["p"] for row in found] == pytest.approx(p_values)
    assert [row["p_corrected"] for row in found] == pytest.approx(holm(p_values))
    open_verdict = "not shown with 4 repeats, would take at least 34"
    assert [row["verdict"] for row in found] == [open_verdict, "good is better", "fair is better"]
    assert found[1]["difference"] == pytest.approx(0.4)


@pytest.mark.parametrize("show", [print, lambda study: study.to_html("report.html")], ids=["print", "report"])
def test_statistics_are_computed_once(three, monkeypatch, tmp_path, show):
    final_values, asked = Study.final_values, []

    def counted(study, name):
        asked.append(name)
        return final_values(study, name)

    monkeypatch.setattr(Study, "final_values", counted)
    monkeypatch.chdir(tmp_path)
    show(three)
    first = len(asked)
    show(three)
    second = len(asked) - first  # for the plots of a report
    assert first - second == 3 + 2 * 3  # of each initializer, and of both of each pair
    assert len(three.statistics()) == len(three.comparisons()) == 3
    assert len(asked) == first + second


def test_what_a_caller_does_to_the_statistics_is_not_shown(three):
    text = str(three)
    three.statistics()[0].clear()
    three.comparisons()[0].clear()
    assert str(three) == text


def test_those_that_are_better_than_the_same_are_named_together(three):
    assert "\ngood and fair are each better than bad.\n" in str(three)


def test_least_is_best_for_a_loss():
    losses = Study(
        **{**vars(study({"good": GOOD, "bad": BAD})), "monitor": "val_loss", "mode": "min", "threshold": 0.2}
    )
    assert losses.statistics()[0]["initializer"] == "good"
    assert losses.statistics()[0]["epochs_to_threshold"] == 2
    assert losses.statistics()[0]["worst"] == pytest.approx(0.1)
    assert losses.statistics()[0]["gap"] == pytest.approx(0.035)
    assert losses.comparisons()[0]["verdict"] == "good is better"


def words(study):
    return " ".join(str(study).split())


def test_a_difference_that_is_not_shown_is_not_denied():
    text = words(study({"good": [0.9, 0.55, 0.82], "bad": [0.35, 0.6, 0.32]}))
    assert "good 0.757 ± 0.183" in text
    assert "With 3 repeats no difference is shown between good and bad (would take at least 10)." in text
    assert "would take: repeats for a power of 80 % at the effect seen." in text


def test_of_several_differences_that_are_not_shown_the_clearest_is_named():
    text = words(study({"good": GOOD, "fair": FAIR, "other": [0.88, 0.93, 0.89, 0.93]}))
    assert "With 4 repeats no difference is shown between any two of them." in text
    assert "The clearest, between good and fair, would take at least 45." in text


def test_what_is_not_shown_is_counted_at_the_level_where_holms_method_stops():
    others = {"far": [0.2, 0.21, 0.19, 0.2], "fair": FAIR, "other": [0.88, 0.93, 0.89, 0.93]}
    rows = study({"good": GOOD, **others}).comparisons()
    assert sum(row["significant"] for row in rows) == 3
    (row,) = (row for row in rows if {row["first"], row["second"]} == {"good", "fair"})
    assert row["repeats_needed"] == repeats_needed(0.5, 0.05 / 3)


def test_one_pair_is_not_enough():
    text = str(study({"good": GOOD[:1], "bad": BAD[:1]}))
    assert "One pair is not enough for a test: repeat more often." in text


def test_what_one_pair_says_nothing_of_does_not_hide_the_rest():
    text = words(study({"good": GOOD, "bad": BAD, "short": GOOD[:1]}))
    assert "good is better than bad." in text
    assert "All differences" not in text
    assert "One pair is not enough for a test: repeat more often." in text


def test_pairs_that_are_not_tested_do_not_count_in_the_level_of_the_others():
    rows = study({"good": GOOD, "fair": FAIR, "short": GOOD[:1]}).comparisons()
    assert [row["repeats_needed"] for row in rows if row["pairs"] > 1] == [repeats_needed(0.5)]
    assert [row["pairs"] for row in rows].count(1) == 2


def test_all_differences_are_significant_only_if_each_is():
    some = study({"good": GOOD, "fair": FAIR, "bad": BAD})
    assert [row["significant"] for row in some.comparisons()].count(True) == 2
    assert "All differences" not in words(some)
    assert "All differences are significant." in words(study({"good": GOOD, "bad": BAD}))


def test_pairs_are_those_that_both_have():
    partial = study({"good": GOOD, "bad": BAD}, others={("good", 2): Trial("key", "interrupted")})
    assert partial.comparisons()[0]["pairs"] == 3
    assert "good: 1 of 4 trials unfinished." in str(partial)


def test_what_diverged_is_last_and_not_tested():
    diverged = Trial("key", "diverged", ({"epoch": 0, "val_accuracy": 0.1, "val_loss": math.nan},))
    partial = study({"good": GOOD, "bad": BAD}, others={("good", 2): diverged})
    assert [row["initializer"] for row in partial.statistics()] == ["bad", "good"]
    assert partial.comparisons() == []
    assert "There are no two initializers to compare." in str(partial)


def test_what_has_no_value_comes_behind_what_has_one_and_is_not_tested():
    failed = Trial("key", "failed", end={"error": "OSError: no room.\nOr so"})
    others = {("none", repeat): failed for repeat in range(1, 5)}
    others["lost", 1] = Trial("key", "diverged", ({"epoch": 0, "val_accuracy": 0.1, "val_loss": math.nan},))
    partial = study({"none": [], "lost": GOOD, "bad": BAD, "good": GOOD}, others=others)
    assert [row["initializer"] for row in partial.statistics()] == ["good", "bad", "none", "lost"]
    assert [(row["first"], row["second"]) for row in partial.comparisons()] == [("good", "bad")]
    told = partial.remarks()
    assert told[:2] == [
        "none: 4 of 4 trials failed: OSError: no room.",
        "lost: 1 of 4 trials diverged, so it is last and not tested.",
    ]


def test_pairs_that_rank_otherwise_than_the_means_have_the_better_first():
    # Of the first three repeats, those that both have, "other" is better by 0.1, 0.2 and 0.3.
    both = study({"best": [0.3, 0.4, 0.5, 1.0, 1.0, 1.0], "other": [0.4, 0.6, 0.8]})
    assert both.statistics()[0]["initializer"] == "best"
    (row,) = both.comparisons()
    assert (row["first"], row["second"], row["pairs"]) == ("other", "best", 3)
    margin = scipy.stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert (row["difference"], row["ci_low"], row["ci_high"]) == pytest.approx((0.2, 0.2 - margin, 0.2 + margin))
    assert row["p"] == pytest.approx(scipy.stats.ttest_1samp([0.1, 0.2, 0.3], 0).pvalue)
    assert row["effect"] == pytest.approx(2)
    assert row["repeats_needed"] == repeats_needed(2.0)
    assert row["verdict"] == f"not shown with 3 repeats, would take at least {repeats_needed(2.0)}"
    assert "is better than" not in str(both)


def test_a_table_fits_a_terminal():
    long = study({"an initializer with quite a long name": GOOD, "another": FAIR, "bad": BAD})
    assert max(map(len, str(long).splitlines())) <= 80
    assert "\n     long name\n" in str(long)


def test_the_legend_of_a_terminal_is_that_of_its_columns(three):
    assert "to 0.800: median number of epochs to reach this value." in words(three)
    assert "stop: epoch at which the mean over the repeats is best." in words(three)


def test_repr_is_a_line(three):
    assert repr(three) == "<Study of 3 initializers, 12 trials: 12 finished>"
    others = {("good", 2): Trial("key", "interrupted"), ("good", 3): Trial("key")}
    partial = study({"good": GOOD}, others=others)
    assert repr(partial) == "<Study of 1 initializer, 4 trials: 2 finished, 1 interrupted, 1 missing>"


def test_a_notebook_shows_the_table_and_the_remarks():
    shown = study({"<b>good</b>": GOOD, "bad": BAD})._repr_html_()
    assert shown.count("<tr>") == 3
    assert ">gap</th>" in shown
    assert "&lt;b&gt;good&lt;/b&gt; is better than bad." in shown
    assert "<b>" not in shown


def test_no_interval_of_an_accuracy_ends_above_one():
    values = [0.99, 1.0, 0.98]
    (row,) = study({"good": values}).statistics()
    assert (row["ci_low"], row["ci_high"]) == (t_interval(values)[1], 1.0)
    assert t_interval(values)[2] > 1.004


def test_no_interval_of_an_accuracy_begins_below_zero():
    values = [0.01, 0.0, 0.02]
    (row,) = study({"bad": values}).statistics()
    assert (row["ci_low"], row["ci_high"]) == (0.0, t_interval(values)[2])
    assert t_interval(values)[1] < -0.01


def test_no_difference_of_accuracies_is_above_one():
    (row,) = study({"good": [0.9, 1.0, 0.95], "bad": [0.3, 0.0, 0.1]}).comparisons()
    assert row["ci_high"] == 1.0


@pytest.mark.parametrize(
    ("monitor", "values", "expected"),
    [
        ("val_accuracy", [0.5, 1.0], (0, 1)),
        ("val_auc", [0.5], (0, 1)),
        ("val_cosine_similarity", [-0.5], (-1, 1)),
        ("val_r2_score", [-3.0], (-math.inf, 1)),
        ("val_accuracy", [97.0, 98.0], (-math.inf, math.inf)),
        ("val_binary_accuracy_5", [0.5], (0, 1)),
        ("val_mean_io_u", [0.5], (0, 1)),
        ("val_loss", [0.5], (-math.inf, math.inf)),
        ("val_tower2_loss", [0.5], (-math.inf, math.inf)),
        ("val_accuracy_loss", [0.5], (-math.inf, math.inf)),
        ("val_previous_mae", [0.5], (-math.inf, math.inf)),
    ],
)
def test_bounds_of_metrics(monitor, values, expected):
    assert metric_range(monitor, values) == expected


def test_interval_of_one_value_is_unknown():
    assert [math.isnan(value) for value in t_interval([3.0])] == [False, True, True]


@pytest.mark.parametrize(("differences", "p"), [([0.0] * 5, 1.0), ([0.1] * 5, 2.0**-4), ([1.0], math.nan)])
def test_p_value_without_spread(differences, p):
    assert paired_p_value(differences) == pytest.approx(p, nan_ok=True)


def test_p_value_is_that_of_the_paired_t_test():
    differences = np.random.default_rng(0).normal(0.3, 1, 9)
    assert paired_p_value(differences) == pytest.approx(scipy.stats.ttest_1samp(differences, 0).pvalue)


@pytest.mark.parametrize(
    ("effect", "level", "repeats"),
    [
        (0.2, 0.05, 199),
        (0.5, 0.05, 34),
        (0.8, 0.05, 15),
        (math.inf, 0.05, 6),
        (math.inf, 0.01, 8),
        (250.0, 0.05 / 28, 3),
    ],
)
def test_repeats_that_a_difference_takes(effect, level, repeats):
    """The first three are those of the usual tables for the paired t test with a power of 80 %."""
    assert repeats_needed(effect, level) == repeats


def test_no_number_of_repeats_shows_nothing():
    assert repeats_needed(0.0) == repeats_needed(0.01) == math.inf
    assert math.isnan(repeats_needed(math.nan))


def test_the_repeats_that_are_said_to_be_needed_find_four_of_five():
    """Of 2000 studies about 80 % should find the difference; 4 deviations are 3.6 %."""
    effect = 1.3
    draws = np.random.default_rng(0).normal(effect, size=(2000, repeats_needed(effect)))
    found = np.mean([paired_p_value(differences) < 0.05 for differences in draws])
    assert 0.8 - 0.036 < found < 0.9


def test_tests_find_nothing_where_there_is_nothing():
    """Of 1000 studies of 4 equal initializers at most 5 % should find a difference; 8 % is 4 deviations above."""
    draws = np.random.default_rng(0).normal(size=(1000, 4, 5))
    found = 0
    for values in draws:
        p_values = [paired_p_value(values[i] - values[j]) for i in range(4) for j in range(i)]
        found += min(holm(p_values)) < 0.05
    assert found < 80


def test_holm():
    # Each is multiplied by the number of those that are not smaller, and is no smaller than the one before.
    assert holm([0.04, 0.01, math.nan, 0.03]) == pytest.approx([0.06, 0.03, math.nan, 0.06], nan_ok=True)
    assert holm([]) == []


def test_records_go_to_files_and_come_back(three, tmp_path):
    three.to_csv(tmp_path / "records.csv")
    three.to_jsonl(tmp_path / "records.jsonl")
    with open(tmp_path / "records.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    assert lines == three.records
    assert len(rows) == len(lines) == 3 * 4 * 3
    assert rows[-1]["val_accuracy"] == str(FAIR[-1])
    assert "batch_losses" not in rows[0]


def test_records_as_a_data_frame(three):
    frame = three.to_pandas()
    assert frame[frame.epoch == 2].groupby("initializer").val_accuracy.mean()["good"] == pytest.approx(0.915)


def test_plots(three, tmp_path):
    names = list(three.plots(tmp_path, "svg"))
    assert names == ["curves", "course", "final-values", "gaps", "first-epoch"]
    assert all("</svg>" in (tmp_path / f"{name}.svg").read_text() for name in names)
    assert list(three.plots()) == names


def test_names_are_no_formulas_in_plots():
    names = ["$x$", r"$\frac$", "_hidden"]
    layers = [{"layer": "dense", "std": 1.0, "gradient_norm": 1.0}]
    trials = {(name, 2): Trial("key", "missing", first_batch={"layers": layers, "verdicts": []}) for name in names}
    figures = study(dict.fromkeys(names, GOOD), others=trials).plots()
    for figure in figures.values():
        figure.canvas.draw()
    assert len(figures["first-batch"].legends[0].get_texts()) == len(names)


def colors_of(*names):
    """Return the colors of these initializers in the plot of final values."""
    axis = study(dict.fromkeys(names, GOOD)).plots()["final-values"].axes[0]
    rows = [label.get_text() for label in axis.get_yticklabels()]
    means = [line.get_color() for line in axis.lines if line.get_markersize() == 7]
    found = dict(zip(rows, means, strict=True))
    return [found[name] for name in names]


def test_an_initializer_has_the_same_color_whatever_it_is_compared_with():
    he, mine = colors_of("he_normal", "mine")
    assert he != mine
    assert colors_of("glorot_uniform", "mine", "orthogonal", "he_normal")[1::2] == [mine, he]
    assert colors_of("initx.he_normal", "HeNormal", "he_normal(seed=1)") == [he] * 3


def test_the_well_known_initializers_differ_in_color():
    names = [f"{family}_{kind}" for family in ("he", "glorot", "random") for kind in ("normal", "uniform")]
    assert len(set(colors_of(*names, "orthogonal", "sparse", "small_normal", "fan_in_normal"))) == 10


def test_initializers_of_the_same_color_differ_in_the_plot_of_the_first_batch():
    names = ["orthogonal", "orthogonal(gain=relu)"]
    layers = [{"layer": "dense", "std": 1.0, "gradient_norm": 1.0}]
    trials = {(name, 1): Trial("key", "missing", first_batch={"layers": layers, "verdicts": []}) for name in names}
    shown = study({"good": GOOD}, others=trials)
    shown.settings["initializers"] |= dict.fromkeys(names)
    lines = {line.get_label(): line for line in shown.plots()["first-batch"].axes[0].lines}
    assert len({lines[name].get_color() for name in names}) == 1
    assert len({lines[name].get_marker() for name in names}) == 2


def test_a_first_epoch_of_few_batches_is_not_plotted():
    assert "first-epoch" not in study({"good": GOOD, "bad": BAD}, batches=9).plots()


@pytest.mark.parametrize(
    ("names", "families"),
    [
        (["he_uniform", "he_normal", "glorot_normal", "sparse"], ["he"]),
        (["he_uniform", "glorot_normal"], []),
        (["sparse"], []),
    ],
    ids=str,
)
def test_uniform_is_beside_normal_for_families_with_both(names, families):
    assert ("distributions" in study(dict.fromkeys(names, GOOD)).plots()) == bool(families)
    assert families_of(names) == families


def test_the_first_batch_is_shown(tmp_path):
    layers = [{"layer": f"dense_{i}", "std": std, "gradient_norm": 1.0} for i, std in enumerate((1e-2, 1e-4, math.inf))]
    verdict = {
        "problem": "vanishing",
        "layers": ["dense_1"],
        "evidence": "falls to 0.0001",
        "remedy": "he_normal",
        "level": "error",
    }
    lost = Trial("key", "diverged", first_batch={"layers": layers, "verdicts": [verdict]})
    shown = study({"good": GOOD}, others={("lost", 1): lost, ("lost", 2): Trial("key", "missing")})
    shown.settings["initializers"]["lost"] = None
    assert "lost, before training: vanishing in 1 of 1 trials." in str(shown)
    assert [row["std"] for row in shown.first_batches] == [1e-2, 1e-4, math.inf]
    assert "first-batch" in shown.plots()
    shown.to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Problems in the first batch" in page
    assert "falls to 0.0001" in page


def test_what_the_first_batches_show_is_told_of_the_trial_that_it_is_of():
    def lost(repeat, *problems):
        layers = [{"layer": name, "std": 10.0 * repeat} for name in ("dense", "out")]
        verdicts = [
            {"problem": problem, "layers": ["out"], "evidence": f"seen in {repeat}", "remedy": "none", "level": level}
            for problem, level in problems
        ]
        epochs = {"epoch": 0, "val_loss": 1.0}, {"epoch": 1, "val_loss": 2.0, "batch_losses": [1.0], "seconds": 0.5}
        return Trial("key", "diverged", epochs, first_batch={"layers": layers, "verdicts": verdicts})

    dead, vanishing, fan = ("dead units", "warning"), ("vanishing", "error"), ("wrong fan", "note")
    trials = {
        ("one", 1): lost(1, dead),
        ("two", 1): lost(1),
        ("one", 2): lost(2, fan, vanishing, dead),
        ("two", 2): lost(2, vanishing),
    }
    settings = {**SETTINGS, "initializers": {"one": None, "two": None}, "repeats": 2}
    shown = Study("made up", settings, trials, "val_loss", "min", 0.5)
    problems = {("one", 1): "dead units", ("two", 1): "", ("one", 2): "vanishing, dead units", ("two", 2): "vanishing"}
    expected = []
    for (name, repeat), found in problems.items():
        trial = {"initializer": name, "repeat": repeat, "status": "diverged"}
        expected += [
            {**trial, "epoch": 0, "val_loss": 1.0, "problems": found},
            {**trial, "epoch": 1, "val_loss": 2.0, "seconds": 0.5},
        ]
    assert shown.records == expected
    assert "batch_losses" in shown.trials["one", 1].epochs[1]  # of which a record is a copy
    assert shown.first_batches == [
        {"initializer": name, "repeat": repeat, "layer": layer, "std": 10.0 * repeat}
        for name, repeat in problems
        for layer in ("dense", "out")
    ]
    expected = [
        ("one", 2, "dead units", "seen in 1", "warning"),
        ("one", 1, "vanishing", "seen in 2", "error"),
        ("two", 1, "vanishing", "seen in 2", "error"),
    ]
    columns = "initializer", "trials", "problem", "evidence", "level"
    rest = {"layers": ["out"], "remedy": "none"}
    assert shown.problems == [dict(zip(columns, row, strict=True)) | rest for row in expected]
    told = " ".join(shown.remarks())
    assert "one, before training: dead units in 2 and vanishing in 1 of 2 trials." in told
    assert "two, before training: vanishing in 1 of 2 trials." in told


def test_notes_on_the_first_batch_are_no_problems():
    verdicts = [{"problem": "wrong fan", "level": "note"}, {"problem": "dead units", "level": "warning"}]
    trials = {("good", 1): Trial("key", "finished", first_batch={"verdicts": verdicts})}
    assert trials["good", 1].problems == ["dead units"]
    assert [row["problem"] for row in study({"good": [0.9]}, others=trials).problems] == ["dead units"]


def test_a_page_needs_no_other_file(tmp_path):
    study({"<b>good</b>": GOOD, "bad": BAD}, title="a & b").to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<img") == page.count('src="data:image/png;base64,') == 5
    assert not re.search(r'(?:src|href)="(?!data:)|https?://|@import|<script|<link', page)
    assert "&lt;b&gt;good&lt;/b&gt; is better than bad." in page
    assert "<b>" not in page
    assert "<h1>a &amp; b</h1>" in page
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.000"),
        (-0.0, "0.000"),
        (0.12345, "0.123"),
        (1234.5, "1.2e+03"),
        (0.000123, "0.00012"),
        (math.nan, "-"),
        (-12.345, "-12.345"),
        (99.9, "99.900"),
        (100.0, "1e+02"),
        (-0.00012, "-0.00012"),
        (0.001, "0.001"),
        (-1234.5, "-1.2e+03"),
        (-math.inf, "-inf"),
    ],
)
def test_numbers(value, text):
    assert format_metric(value) == text


def test_ranges():
    assert ranges([7, 2, 5, 6]) == "2, 5-7"
