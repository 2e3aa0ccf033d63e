"""Tables, tests and figures of made-up trials, whose metrics are known."""

import math

import numpy as np
import pytest
import scipy

from keras_initx.tools.audit._probabilities import holm
from keras_initx.tools.studies._significance import count_repeats_needed, paired_p_value, t_interval
from keras_initx.types import Study


def recorded(status, epochs=(), **others):
    return {"status": status, "epochs": list(epochs), **others}


SETTINGS = {"epochs": 2, "batch_size": 8, "seed": 0, "keras": "3", "backend": "none"}


def trial(start, middle, end, train):
    epochs = [{"epoch": 0, "val_accuracy": start, "val_loss": 1 - start}]
    for epoch, value in enumerate((middle, end), 1):
        metrics = {"accuracy": train, "loss": 1 - train, "val_accuracy": value, "val_loss": 1 - value, "seconds": 0.5}
        epochs.append({"epoch": epoch, **metrics})
    return recorded("finished", epochs)


def study(ends, title="made up", others=()):
    trials = {
        (name, repeat): trial(0.1, 0.5, end, 0.95)
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
    assert (best["arm"], worst["arm"]) == ("good", "bad")
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


# Of each finished trial: the accuracies from before training on, that of training at the end, and seconds.
UNEVEN = {
    ("one", 1): ([0.1, 0.17, 0.5, 0.7, 0.6], 0.8, [1, 2, 3, 10]),
    ("one", 2): ([0.2, 0.6, 0.75, 0.8, 0.6], 0.9, [5, 1, 1, 1]),
    ("one", 3): ([0.3, 0.3, 0.2, 0.1, 0.3], 0.5, [2, 2, 2, 6]),
    ("two", 1): ([0.1, 0.1, 0.1, 0.1, 0.2], 0.25, [1, 1, 1, 1]),
}


def uneven(monitor, mode, threshold=None):
    """Return a study of `UNEVEN` of which half of the trials failed."""

    def value_of(accuracy):
        return accuracy if mode == "max" else 1 - accuracy

    trials = {(name, repeat): recorded("failed", error="E") for name in ("two", "one") for repeat in range(1, 5)}
    for place, (curve, train, seconds) in UNEVEN.items():
        epochs = [{"epoch": epoch, monitor: value_of(value)} for epoch, value in enumerate(curve)]
        for epoch, duration in zip(epochs[1:], seconds, strict=True):
            epoch |= {"seconds": duration, monitor.removeprefix("val_"): value_of(train)}
        trials[place] = recorded("finished", tuple(epochs))
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
        "arm": "one",
        **{"finished": 3, "diverged": 0, "failed": 1},
        **{"mean": 0.5, "std": deviation, "ci_low": 0.5 - margin, "ci_high": 0.5 + margin, "worst": of_metric(0.3)},
        **{"epochs_to_threshold": 2, "reached": 2, "gap": 0.7 / 3, "seconds_per_epoch": 2},
    }
    two = {
        "arm": "two",
        **{"finished": 1, "diverged": 0, "failed": 3},
        **{"mean": of_metric(0.2), "std": math.nan, "ci_low": math.nan, "ci_high": math.nan, "worst": of_metric(0.2)},
        **{"epochs_to_threshold": math.inf, "reached": 0, "gap": 0.05, "seconds_per_epoch": 1},
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


TABLE = """
4 repeats of 4 epochs, batches of 8, seed 0, Keras 3 on none

   arm   val_accuracy   95 % interval  to 0.482    gap
1  one  0.500 ± 0.173  0.070 to 0.930         2  0.233
2  two      0.200 ± -               -     never  0.050

one: 1 of 4 trials failed: E.
two: 3 of 4 trials failed: E.
One pair is not enough for a test: repeat more often.
"""


def test_the_table_shows_the_numbers_of_a_summary():
    assert TABLE in str(uneven("val_accuracy", "max"))


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


def test_comparisons_are_paired_and_corrected(three):
    rows = {(row["first"], row["second"]): row for row in three.comparisons()}
    p_values = [scipy.stats.ttest_rel(*pair).pvalue for pair in ((GOOD, FAIR), (GOOD, BAD), (FAIR, BAD))]
    found = [rows[pair] for pair in (("good", "fair"), ("good", "bad"), ("fair", "bad"))]
    assert [row["p"] for row in found] == pytest.approx(p_values)
    assert [row["p_corrected"] for row in found] == pytest.approx(holm(p_values))
    open_verdict = "not shown with 4 repeats, would take at least 34"
    assert [row["verdict"] for row in found] == [open_verdict, "good is better", "fair is better"]
    assert found[1]["difference"] == pytest.approx(0.4)


def test_what_a_caller_does_to_the_statistics_is_not_shown(three):
    text = str(three)
    three.statistics()[0].clear()
    three.comparisons()[0].clear()
    assert str(three) == text


def test_those_that_are_better_than_the_same_are_named_together(three):
    assert "\ngood and fair are each better than bad.\n" in str(three)


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
    assert row["repeats_needed"] == count_repeats_needed(0.5, 0.05 / 3)


def test_what_one_pair_says_nothing_of_does_not_hide_the_rest():
    text = words(study({"good": GOOD, "bad": BAD, "short": GOOD[:1]}))
    assert "good is better than bad." in text
    assert "All differences" not in text
    assert "One pair is not enough for a test: repeat more often." in text


def test_all_differences_are_significant_only_if_each_is():
    some = study({"good": GOOD, "fair": FAIR, "bad": BAD})
    assert [row["significant"] for row in some.comparisons()].count(True) == 2
    assert "All differences" not in words(some)
    assert "All differences are significant." in words(study({"good": GOOD, "bad": BAD}))


def test_pairs_are_those_that_both_have():
    partial = study({"good": GOOD, "bad": BAD}, others={("good", 2): recorded("failed", error="E")})
    assert partial.comparisons()[0]["pairs"] == 3
    assert "good: 1 of 4 trials failed: E." in str(partial)


def test_what_diverged_is_last_and_not_tested():
    diverged = recorded("diverged", ({"epoch": 0, "val_accuracy": 0.1, "val_loss": math.nan},))
    partial = study({"good": GOOD, "bad": BAD}, others={("good", 2): diverged})
    assert [row["arm"] for row in partial.statistics()] == ["bad", "good"]
    assert partial.comparisons() == []
    assert "There are no two initializers to compare." in str(partial)


def test_what_has_no_value_comes_behind_what_has_one_and_is_not_tested():
    failed = recorded("failed", error="OSError: no room.\nOr so")
    others = {("none", repeat): failed for repeat in range(1, 5)}
    others["lost", 1] = recorded("diverged", ({"epoch": 0, "val_accuracy": 0.1, "val_loss": math.nan},))
    partial = study({"none": [], "lost": GOOD, "bad": BAD, "good": GOOD}, others=others)
    assert [row["arm"] for row in partial.statistics()] == ["good", "bad", "none", "lost"]
    assert [(row["first"], row["second"]) for row in partial.comparisons()] == [("good", "bad")]
    told = partial.remarks()
    assert told[:2] == [
        "none: 4 of 4 trials failed: OSError: no room.",
        "lost: 1 of 4 trials diverged, so it is last and not tested.",
    ]


def test_pairs_that_rank_otherwise_than_the_means_have_the_better_first():
    # Of the first three repeats, those that both have, "other" is better by 0.1, 0.2 and 0.3.
    both = study({"best": [0.3, 0.4, 0.5, 1.0, 1.0, 1.0], "other": [0.4, 0.6, 0.8]})
    assert both.statistics()[0]["arm"] == "best"
    (row,) = both.comparisons()
    assert (row["first"], row["second"], row["pairs"]) == ("other", "best", 3)
    margin = scipy.stats.t.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert (row["difference"], row["ci_low"], row["ci_high"]) == pytest.approx((0.2, 0.2 - margin, 0.2 + margin))
    assert row["p"] == pytest.approx(scipy.stats.ttest_1samp([0.1, 0.2, 0.3], 0).pvalue)
    assert row["effect"] == pytest.approx(2)
    assert row["repeats_needed"] == count_repeats_needed(2.0)
    assert row["verdict"] == f"not shown with 3 repeats, would take at least {count_repeats_needed(2.0)}"
    assert "is better than" not in str(both)


def test_a_table_fits_a_terminal():
    long = study({"an initializer with quite a long name": GOOD, "another": FAIR, "bad": BAD})
    assert max(map(len, str(long).splitlines())) <= 80
    assert "\n     long name\n" in str(long)


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


@pytest.mark.parametrize(("differences", "p"), [([0.0] * 5, 1.0), ([0.1] * 5, 2.0**-4), ([1.0], math.nan)])
def test_p_value_without_spread(differences, p):
    assert paired_p_value(differences) == pytest.approx(p, nan_ok=True)


@pytest.mark.parametrize(
    ("effect", "level", "repeats"),
    [
        (0.2, 0.05, 199),
        (0.8, 0.05, 15),
        (math.inf, 0.05, 6),
        (math.inf, 0.01, 8),
        (250.0, 0.05 / 28, 3),
    ],
)
def test_repeats_that_a_difference_takes(effect, level, repeats):
    """The first two are those of the usual tables for the paired t test with a power of 80 %."""
    assert count_repeats_needed(effect, level) == repeats


def test_no_number_of_repeats_shows_nothing():
    assert count_repeats_needed(0.0) == count_repeats_needed(0.01) == math.inf
    assert math.isnan(count_repeats_needed(math.nan))


def test_the_repeats_that_are_said_to_be_needed_find_four_of_five():
    """Of 2000 studies about 80 % should find the difference; 4 deviations are 3.6 %."""
    effect = 1.3
    draws = np.random.default_rng(0).normal(effect, size=(2000, count_repeats_needed(effect)))
    found = np.mean([paired_p_value(differences) < 0.05 for differences in draws])
    assert 0.8 - 0.036 < found < 0.9


@pytest.mark.rare
def test_tests_find_nothing_where_there_is_nothing():
    """Of 1000 studies of 4 equal initializers at most 5 % should find a difference; 8 % is 4 deviations above."""
    draws = np.random.default_rng(0).normal(size=(1000, 4, 5))
    found = 0
    for values in draws:
        p_values = [paired_p_value(values[i] - values[j]) for i in range(4) for j in range(i)]
        found += min(holm(p_values)) < 0.05
    assert found < 80


def test_records_as_a_data_frame(three):
    frame = three.to_pandas()
    assert frame[frame.epoch == 2].groupby("arm").val_accuracy.mean()["good"] == pytest.approx(0.915)


def test_the_figure_has_a_panel_for_each_initializer_and_a_row_of_final_values():
    shown = study({"$x$": GOOD, "_hidden": FAIR, "bad": BAD})
    figure = shown.plot()
    figure.canvas.draw()  # no formula
    *panels, finals = figure.axes
    assert [axis.get_title() for axis in panels] == ["$x$", "_hidden", "bad"]
    np.testing.assert_allclose(panels[2].lines[0].get_ydata(), [0.1, 0.5, np.mean(BAD)])
    means = [line.get_xdata()[0] for line in finals.lines if line.get_markersize() == 7]
    assert means == [row["mean"] for row in shown.statistics()]


def test_a_study_without_finished_trials_has_a_figure_that_says_so():
    diverged = recorded("diverged", [{"epoch": 0, "val_accuracy": 0.1}])
    settings = {**SETTINGS, "initializers": ["zeros"], "repeats": 1}
    lost = Study("made up", settings, {("zeros", 1): diverged}, "val_accuracy", "max")
    assert "no trial finished" in lost.plot().get_suptitle()
    assert "zeros: 1 of 1 trials diverged" in str(lost)
