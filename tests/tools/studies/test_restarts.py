"""Restarts stop the losers early, return what the seed gives again, and do not take luck for gain."""

import dataclasses
import json

import keras
import numpy as np
import pytest
import scipy
from modes import BACKEND, often
from networks import build_he, build_without_input, data

from keras_initx import random_restarts
from keras_initx.tools.studies._restarts import rounds
from keras_initx.tools.studies._significance import count_repeats_needed
from keras_initx.types import RestartStudy


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("restarts")


@pytest.fixture(scope="module")
def study(folder):
    return random_restarts(build_he, data(), draws=4, epochs=2, checks=2, out=folder)


@pytest.mark.parametrize(
    ("n", "epochs", "plan"),
    [
        (10, 16, {2: 10, 4: 5, 8: 3, 16: 2}),
        (10, 2, {1: 10, 2: 2}),
        (2, 5, {5: 2}),
        (1, 3, {3: 1}),
    ],
)
def test_halves_are_trained_twice_as_long(n, epochs, plan):
    assert rounds(n, epochs) == plan


def test_losers_stop_early(study):
    assert [draw["epochs"][-1]["epoch"] for draw in study.draws] == [2, 2, 1, 1]


def test_the_best_comes_first(study):
    first, second, *rest = (draw["epochs"][-1]["val_accuracy"] for draw in study.draws)
    assert study.score == first >= second
    assert min(draw["epochs"][1]["val_accuracy"] for draw in study.draws[:2]) >= max(rest)


@pytest.mark.parametrize(
    "build", often([build_he, build_without_input], [build_without_input]), ids=["built", "built by data"]
)
def test_the_model_is_that_of_the_seed_and_of_the_score(build):
    study = random_restarts(build, data(), draws=3, epochs=2, checks=0)
    found = study.model.evaluate(*data()[1], return_dict=True, verbose=0)
    assert found["accuracy"] == pytest.approx(study.score)
    keras.utils.set_random_seed(study.seed)
    model = build()
    model(data()[0][0][:1])
    before = model.evaluate(*data()[1], return_dict=True, verbose=0)["loss"]
    assert before == pytest.approx(study.draws[0]["epochs"][0]["val_loss"], rel=1e-5)


def test_the_chosen_draw_is_checked_beside_new_ones_in_new_orders(study, folder):
    number = study.draws[0]["draw"]
    trials = [json.loads(path.read_text()) for path in folder.glob("*.*.*.json")]
    names = f"draw {number}, checked", "none of 4 draws"
    own, others = ({trial["repeat"]: trial for trial in trials if trial["arm"] == name} for name in names)
    assert own.keys() == others.keys() == {1, 2}
    pairs = [[side[repeat]["epochs"][-1]["val_accuracy"] for side in (own, others)] for repeat in (1, 2)]
    assert study.checks == list(map(tuple, pairs))
    # Each draw begins with weights of its own, the chosen one with those of the search.
    starts = {trial["epochs"][0]["val_loss"] for trial in trials}
    assert len(starts) == 4 + 2
    assert own[1]["epochs"][0] == own[2]["epochs"][0] == study.draws[0]["epochs"][0]
    assert own[1]["epochs"][1]["loss"] != own[2]["epochs"][1]["loss"] != study.draws[0]["epochs"][1]["loss"]


@pytest.mark.rare
def test_more_draws_go_on_with_those_that_are_there(study, folder):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    same = random_restarts(build_he, data(), draws=4, epochs=2, checks=2, out=folder)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert (same.draws, same.checks, str(same)) == (study.draws, study.checks, str(study))
    more = random_restarts(build_he, data(), draws=6, epochs=2, checks=0, out=folder)
    assert before.items() < {path: path.read_bytes() for path in folder.iterdir()}.items()
    alone = random_restarts(build_he, data(), draws=6, epochs=2, checks=0)
    assert [draw["draw"] for draw in more.draws] == [draw["draw"] for draw in alone.draws]


def build_by_turns(factors):
    """Return a function that builds a model whose loss is multiplied with the next of these each time."""
    factors = iter(factors)

    def build():
        factor = next(factors)
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
        eagerly = BACKEND != "jax"
        model.compile("sgd", lambda y, x: factor * keras.losses.mean_squared_error(y, x), run_eagerly=eagerly)
        return model

    return build


@pytest.mark.rare
def test_a_draw_that_diverges_drops_out():
    # Four draws, the two of the last round, and the model of the chosen one.
    study = random_restarts(build_by_turns([1, np.nan, np.nan, 1, 1, 1, 1]), data(), draws=4, epochs=2, checks=0)
    assert sorted((draw["draw"], draw["status"]) for draw in study.draws[:2]) == [(1, "finished"), (4, "finished")]
    assert sorted((draw["draw"], draw["status"]) for draw in study.draws[2:]) == [(2, "diverged"), (3, "diverged")]
    assert [len(draw["epochs"]) for draw in study.draws] == [3, 3, 2, 2]
    assert np.isfinite(study.score)


def test_a_search_of_which_every_draw_diverges_is_an_error():
    with pytest.raises(RuntimeError, match="no draw could be trained for 1 epochs without divergence"):
        random_restarts(build_by_turns([np.nan] * 4), data(), draws=4, epochs=2, checks=0)


def study_with(checks, score=0.9):
    draws = [{"draw": 1, "seed": 7, "status": "finished", "epochs": [{"epoch": 4, "val_accuracy": score}]}]
    settings = {"n": 1, "epochs": 4, "batch_size": 8, "seed": 0, "keras": "3", "backend": "none"}
    return RestartStudy("made up", settings, draws, checks, "val_accuracy", "max", model=None)


def test_a_real_gain_is_told():
    study = study_with([(0.9, 0.5), (0.91, 0.52), (0.89, 0.5)])
    assert study.gain()["significant"]
    text = " ".join(str(study).split())
    assert "it is better by 0.393 (0.379 to 0.408, 95 %) than draws that took no part." in text
    assert "That is more than the noise of single runs." in text


def test_a_loss_is_not_called_a_gain():
    text = " ".join(str(study_with([(0.80, 0.81), (0.82, 0.824), (0.81, 0.82)])).split())
    assert "it is worse by 0.008 (-0.00061 to 0.017, 95 %) than draws that took no part." in text
    assert "of single runs. To show it would take at least 4." in text


def test_luck_is_no_gain():
    study = study_with([(0.8, 0.81), (0.82, 0.8), (0.81, 0.82)])
    text = " ".join(str(study).split())
    assert not study.gain()["significant"]
    assert study.gain()["selection_bias"] == pytest.approx(0.09)
    assert "it is better by 0.000 " in text
    assert "In the search it looked better by 0.090 than in these runs" in text


def test_bad_luck_in_the_search_is_not_called_luck():
    study = study_with([(0.9, 0.5), (0.95, 0.5), (0.93, 0.5)], score=0.8)
    assert study.gain()["selection_bias"] < 0
    assert len(study.remarks()) == 3
    assert "luck" not in " ".join(study.remarks())


@pytest.mark.parametrize(("mode", "sign"), [("max", 1), ("min", -1)])
def test_a_gain_is_that_of_the_checks(mode, sign):
    study = dataclasses.replace(study_with([(0.8, 0.5), (0.7, 0.6), (0.9, 0.7)], score=0.95), mode=mode)
    margin = scipy.stats.t.ppf(0.975, 2) * 0.1 / 3**0.5
    assert study.gain() == pytest.approx(
        {
            **{"pairs": 3, "difference": 0.2 * sign, "ci_low": 0.2 * sign - margin, "ci_high": 0.2 * sign + margin},
            **{"p": scipy.stats.ttest_1samp([0.3, 0.1, 0.2], 0).pvalue, "effect": 2, "significant": False},
            **{"repeats_needed": count_repeats_needed(2.0), "selection_bias": 0.15 * sign},
        }
    )


@pytest.mark.parametrize("checks", [[], [(0.9, 0.5)]], ids=len)
def test_without_two_checks_nothing_is_claimed(checks):
    assert "With fewer than two checks it is unknown how much of that is luck." in str(study_with(checks))
