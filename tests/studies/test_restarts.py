"""Restarts stop the losers early, return what the seed gives again, and do not take luck for gain."""

import dataclasses
import shutil
import threading

import joblib
import keras
import numpy as np
import pytest
import scipy.stats
from modes import BACKEND, to_numpy
from networks import build_he, data

from keras_initx._seeds import derived_seed
from keras_initx.studies import (
    DamagedFileError,
    RestartStudy,
    SettingsError,
    _engine,
    _state,
    _trial,
    random_restarts,
)
from keras_initx.studies._plan import TrialPlan, plan_checks, plan_rounds, plan_stage
from keras_initx.studies._records import Folder
from keras_initx.studies._statistics import repeats_needed
from keras_initx.studies._trial import Run, run_trial, train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("restarts")


@pytest.fixture(scope="module")
def study(folder):
    return random_restarts(build_he, data(), n=4, epochs=2, checks=2, out=folder)


@pytest.mark.parametrize(
    ("n", "epochs", "plan"),
    [
        (10, 16, [(10, 2), (5, 4), (3, 8), (2, 16)]),
        (10, 2, [(10, 1), (2, 2)]),
        (4, 4, [(4, 2), (2, 4)]),
        (2, 5, [(2, 5)]),
        (1, 3, [(1, 3)]),
    ],
)
def test_halves_are_trained_twice_as_long(n, epochs, plan):
    rounds = plan_rounds({"n": n, "epochs": epochs})
    assert [(round_.size, round_.end) for round_ in rounds] == plan
    assert [round_.begin for round_ in rounds] == [0, *(end for _, end in plan[:-1])]


@pytest.mark.once
def test_losers_stop_early(study):
    assert [draw["epochs"][-1]["epoch"] for draw in study.draws] == [2, 2, 1, 1]


@pytest.mark.once
def test_the_best_comes_first(study):
    first, second, *rest = (draw["epochs"][-1]["val_accuracy"] for draw in study.draws)
    assert study.score == first >= second
    assert min(draw["epochs"][1]["val_accuracy"] for draw in study.draws[:2]) >= max(rest)


@pytest.mark.once
def test_the_seed_gives_the_model_again(study):
    keras.utils.set_random_seed(study.seed)
    model = build_he()
    train(model, data(), range(1, 3), 32, derived_seed(0, "train"), lambda metrics: None)
    for own, other in zip(model.weights, study.model.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(own), to_numpy(other))
    assert study.model.evaluate(*data()[1], return_dict=True, verbose=0)["accuracy"] == pytest.approx(study.score)


def build_averaged():
    model = build_he()
    model.compile(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5), model.loss, run_eagerly=model.run_eagerly)
    return model


@pytest.mark.once
def test_averaged_weights_are_those_after_one_fit():
    study = random_restarts(build_averaged, data(), n=3, epochs=2, checks=0)
    keras.utils.set_random_seed(study.seed)
    model, found = build_averaged(), []
    train(model, data(), range(1, 3), 32, derived_seed(0, "train"), found.append)
    assert [metrics["val_loss"] for metrics in found] == [
        pytest.approx(metrics["val_loss"]) for metrics in study.draws[0]["epochs"][1:]
    ]
    model.optimizer.finalize_variable_values(model.trainable_weights)
    for own, other in zip(model.weights, study.model.weights, strict=True):
        np.testing.assert_allclose(to_numpy(own), to_numpy(other), rtol=1e-5, atol=1e-6)


@pytest.mark.once
def test_of_draws_that_are_equally_good_the_seed_is_that_of_the_model(monkeypatch):
    def even(*arguments):
        *arguments, on_epoch = arguments
        train(*arguments, lambda found: on_epoch(found if found["epoch"] == 1 else {**found, "val_accuracy": 0.5}))

    monkeypatch.setattr(_trial, "train", even)
    study = random_restarts(build_he, data(), n=4, epochs=2, checks=0)
    first, second = study.draws[:2]
    # After the first round the other one of the two was ahead.
    assert first["epochs"][1]["val_accuracy"] < second["epochs"][1]["val_accuracy"]
    keras.utils.set_random_seed(study.seed)
    model = build_he()
    train(model, data(), range(1, 3), 32, derived_seed(0, "train"), lambda metrics: None)
    for own, other in zip(model.weights, study.model.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(own), to_numpy(other))


@pytest.mark.once
def test_checks_use_draws_and_orders_that_the_search_never_used():
    settings = {"n": 5, "epochs": 4, "seed": 3, "checks": 4}
    stages = [plan_stage(settings, draw, round_) for round_ in plan_rounds(settings) for draw in range(1, 6)]
    chosen, others = (plan_checks(settings, chosen=2)[i::2] for i in (0, 1))
    assert {plan.build_seed for plan in chosen} == {stages[1].build_seed}
    assert len({plan.build_seed for plan in (*stages, *others)}) == 5 + 4
    assert [plan.order_seed for plan in chosen] == [plan.order_seed for plan in others]
    assert len({plan.order_seed for plan in (*stages, *others)}) == 1 + 4


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("other")


@pytest.fixture(scope="module")
def other_search(other_folder):
    return random_restarts(build_he, data(), n=4, epochs=2, checks=2, out=other_folder, mode="min")


@pytest.mark.once
def test_checks_are_those_of_the_chosen_draw(study, folder, other_search):
    worst = RestartStudy.read(folder, mode="min")
    assert worst.seed != study.seed
    assert worst.checks == []
    assert other_search.seed != study.seed
    assert [pair[0] for pair in other_search.checks] != [pair[0] for pair in study.checks]
    assert [pair[1] for pair in other_search.checks] == [pair[1] for pair in study.checks]


@pytest.mark.once
@pytest.mark.parametrize("changes", [{"mode": "min"}, {"monitor": "val_loss"}], ids=lambda changes: next(iter(changes)))
def test_a_search_is_not_resumed_by_another_metric(study, folder, changes):
    files = sorted(folder.glob("trials/*"))
    with pytest.raises(SettingsError, match=f"contains a run with other settings. Received: {next(iter(changes))}="):
        random_restarts(build_he, data(), n=4, epochs=2, checks=2, out=folder, **changes)
    assert sorted(folder.glob("trials/*")) == files


@pytest.mark.once
def test_a_search_is_read_by_its_own_metric(other_search, other_folder):
    assert str(RestartStudy.read(other_folder)) == str(other_search)
    assert RestartStudy.read(other_folder, monitor="val_accuracy").mode == "max"


@pytest.mark.once
def test_a_finished_study_is_not_run_again(study, folder):
    files = sorted(folder.glob("trials/*"))
    again = random_restarts(build_he, data(), n=4, epochs=2, checks=2, out=folder)
    assert sorted(folder.glob("trials/*")) == files
    assert again.draws == study.draws
    assert str(again) == str(study) == str(RestartStudy.read(folder))


@pytest.mark.once
def test_a_damaged_state_is_told(folder, study, tmp_path):
    (tmp_path / "trials").mkdir()
    (tmp_path / "study.json").write_bytes((folder / "study.json").read_bytes())
    for file in folder.glob("trials/*"):
        content = file.read_bytes()
        (tmp_path / "trials" / file.name).write_bytes(content[:-1] if file.suffix == ".state" else content)
    with pytest.raises(DamagedFileError, match=r"draw\d-2\.\w+\.state is missing or damaged"):
        random_restarts(build_he, data(), n=4, epochs=2, checks=2, out=tmp_path)


@pytest.mark.once
def test_another_run_in_the_folder_does_not_replace_a_state(folder, study, tmp_path):
    """Two runs at one time both train what neither has finished, and may differ in the last bits."""
    shutil.copytree(folder, tmp_path / "copy")
    key = f"draw{study.draws[0]['draw']}-1"
    run = Run(Folder(tmp_path / "copy"), build_he, data(), 32)
    run_trial(run, TrialPlan(key, study.seed, 5, 1, keep_state=True))
    for file in tmp_path.glob("copy/trials/draw*-2.*"):
        file.unlink()
    again = random_restarts(build_he, data(), n=4, epochs=2, checks=2, out=tmp_path / "copy")
    assert again.score == pytest.approx(study.score)


def test_a_state_is_all_that_training_goes_on_from():
    def trained(stop):
        keras.utils.set_random_seed(1)
        model = build_he()
        for epochs in (range(1, stop), range(stop, 4)):
            train(model, data(), epochs, 32, 5, lambda metrics: None)
            content = _state.state_of(model)
            model = build_he()
            _state.restore_state(model, content)
        return [to_numpy(variable) for variable in _state._variables(model)]

    for own, other in zip(trained(4), trained(3), strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.once
def test_a_state_in_16_bits_comes_back():
    def weights():
        return [to_numpy(keras.ops.cast(variable, "float32")) for variable in _state._variables(model)]

    keras.config.set_dtype_policy("bfloat16")
    try:
        model = build_he()
        before, state = weights(), _state.state_of(model)
        model = build_he()
    finally:
        keras.config.set_dtype_policy("float32")
    assert not np.array_equal(weights()[0], before[0])
    _state.restore_state(model, state)
    assert model.layers[0].kernel.dtype == "bfloat16"
    for own, other in zip(weights(), before, strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.once
def test_each_round_and_the_checks_are_run_by_workers():
    threads = []

    def build():
        threads.append(threading.current_thread() is threading.main_thread())
        return build_he()

    with joblib.parallel_config("threading"):
        random_restarts(build, data(), n=2, epochs=1, checks=1, n_jobs=2)
    # Two draws and two checks, and at last the model that is returned.
    assert threads == [False] * 4 + [True]


@pytest.mark.once
def test_the_leader_of_an_interrupted_search_is_told(tmp_path, monkeypatch):
    fit = keras.Model.fit

    def interrupted(*arguments, initial_epoch, **options):
        if initial_epoch > 0:
            raise KeyboardInterrupt
        return fit(*arguments, initial_epoch=initial_epoch, **options)

    monkeypatch.setattr(keras.Model, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        random_restarts(build_he, data(), n=4, epochs=2, checks=0, out=tmp_path)
    study = RestartStudy.read(tmp_path)
    assert [draw["status"] for draw in study.draws] == ["interrupted", "finished", "finished", "finished"]
    assert study.score == max(draw["epochs"][-1]["val_accuracy"] for draw in study.draws)
    assert f"The search is not finished. Draw {study.draws[0]['draw']} leads after 1 epoch." in str(study)
    assert repr(study).endswith(" so far>")


@pytest.mark.once
def test_a_search_is_finished_when_all_draws_of_the_last_round_are(monkeypatch, tmp_path):
    """The first of the two draws of the last round is trained to its end, the other is not begun."""
    rounds, run_trials = [], _engine.run_trials

    def interrupted(run, plans, n_jobs, label):
        rounds.append(label)
        if label == "round 2":
            run_trials(run, plans[:1], n_jobs, label)
            raise KeyboardInterrupt
        return run_trials(run, plans, n_jobs, label)

    monkeypatch.setattr(_engine, "run_trials", interrupted)
    with pytest.raises(KeyboardInterrupt):
        random_restarts(build_he, data(), n=4, epochs=2, checks=0, out=tmp_path)
    study = RestartStudy.read(tmp_path)
    assert {draw["status"] for draw in study.draws} == {"finished"}
    assert study.draws[0]["epochs"][-1]["epoch"] == 2
    assert f"The search is not finished. Draw {study.draws[0]['draw']} leads after 2 epochs." in str(study)
    assert "came out best" not in str(study)
    assert repr(study).endswith(" so far>")


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


@pytest.mark.once
def test_a_draw_that_diverges_drops_out():
    # Four draws, the two of the last round, the chosen one.
    study = random_restarts(build_by_turns([1, np.nan, np.nan, 1, 1, 1, 1]), data(), n=4, epochs=2, checks=0)
    assert sorted((draw["draw"], draw["status"]) for draw in study.draws[:2]) == [(1, "finished"), (4, "finished")]
    assert sorted((draw["draw"], draw["status"]) for draw in study.draws[2:]) == [(2, "diverged"), (3, "diverged")]
    assert [len(draw["epochs"]) for draw in study.draws] == [3, 3, 2, 2]
    assert np.isfinite(study.score)
    assert study.is_finished


@pytest.mark.once
def test_a_search_is_finished_when_the_only_draw_left_is():
    # Four draws, of which one gets to the last round, the chosen one.
    factors = [1, np.nan, np.nan, np.nan, 1, 1]
    study = random_restarts(build_by_turns(factors), data(), n=4, epochs=2, checks=0)
    assert [len(draw["epochs"]) for draw in study.draws] == [3, 2, 2, 2]
    assert study.is_finished
    assert "Draw 1, seed" in str(study)
    assert "came out best" in str(study)


@pytest.mark.once
def test_a_draw_that_diverges_last_is_not_chosen():
    study = random_restarts(build_by_turns([1, 1, 1, 1, np.nan, 1, 1]), data(), n=4, epochs=2, checks=0)
    assert [draw["status"] for draw in study.draws] == ["finished", "finished", "finished", "diverged"]
    assert len(study.draws[0]["epochs"]) == len(study.draws[3]["epochs"]) == 3
    assert "came out best" in str(study)
    assert study.model.evaluate(*data()[1], verbose=0) == pytest.approx(study.score, rel=1e-4)


@pytest.mark.once
def test_a_search_of_which_every_draw_diverges_is_an_error():
    with pytest.raises(RuntimeError, match=r"no draw could be trained to the end of round 1 .*: diverged"):
        random_restarts(build_by_turns([np.nan] * 4), data(), n=4, epochs=2, checks=0)


@pytest.mark.skipif(BACKEND != "torch", reason="modules of torch need torch")
def test_what_modules_of_torch_keep_is_part_of_the_state():
    import torch

    def build():
        parts = keras.layers.TorchModuleWrapper(torch.nn.BatchNorm1d(6)), keras.layers.Dense(3, "softmax")
        model = keras.Sequential([keras.Input((6,)), *parts])
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    (x, y), (x_val, y_val) = data()
    shifted = (3 + 5 * x, y), (3 + 5 * x_val, y_val)
    study = random_restarts(build, shifted, n=4, epochs=2, checks=0)
    assert study.monitor == "val_accuracy"
    assert study.model.layers[0].module.num_batches_tracked == 2 * 3
    assert study.model.evaluate(*shifted[1], return_dict=True, verbose=0)["accuracy"] == pytest.approx(study.score)


takes_one_argument = pytest.mark.skipif(BACKEND == "jax", reason="its `train_step` takes the state too")


class TwoOptimizers(keras.Sequential):
    """Steps of the second optimizer are taken beside those of Keras, on a weight that is not in the loss."""

    def compile(self, *arguments, second, **options):
        super().compile(*arguments, **options)
        self.second = second

    def train_step(self, data):
        weight = self.layers[0].bias
        self.second.apply([keras.ops.ones_like(weight)], [weight])
        return super().train_step(data)


def with_two_optimizers(is_built):
    model, second = TwoOptimizers([keras.Input((6,)), keras.layers.Dense(3, "softmax")]), keras.optimizers.SGD(0.01)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"], second=second, run_eagerly=True)
    if is_built:
        second.build([model.layers[0].bias])
    return model


@takes_one_argument
@pytest.mark.once
def test_every_optimizer_goes_on():
    model = random_restarts(lambda: with_two_optimizers(True), data(), n=4, epochs=2, checks=0).model
    assert int(model.optimizer.iterations) == int(model.second.iterations) == 2 * 3


@takes_one_argument
@pytest.mark.once
def test_an_optimizer_that_is_built_too_late_is_refused():
    with pytest.raises(RuntimeError, match="`build` must return a model that has all variables of training"):
        random_restarts(lambda: with_two_optimizers(False), data(), n=4, epochs=2, checks=0)


def study_with(checks, score=0.9):
    draws = [{"draw": 1, "seed": 7, "status": "finished", "epochs": [{"epoch": 4, "val_accuracy": score}]}]
    settings = {"n": 1, "epochs": 4, "batch_size": 8, "seed": 0, "keras": "3", "backend": "none"}
    return RestartStudy("made up", settings, draws, checks, "val_accuracy", "max")


def test_a_real_gain_is_told():
    study = study_with([(0.9, 0.5), (0.91, 0.52), (0.89, 0.5)])
    assert study.gain()["significant"]
    text = " ".join(str(study).split())
    assert "it is better by 0.393 (0.379 to 0.408, 95 %) than draws that took no part." in text
    assert "That is more than the noise of single runs." in text


def test_a_loss_is_not_called_a_gain():
    text = " ".join(str(study_with([(0.80, 0.81), (0.82, 0.824), (0.81, 0.82)])).split())
    assert "it is worse by 0.008 (-0.00061 to 0.017, 95 %) than draws that took no part." in text
    assert "not shown with 3 checks, and would take at least 4." in text


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


def test_luck_in_a_loss_is_no_gain():
    study = dataclasses.replace(study_with([(0.3, 0.28), (0.28, 0.3)], score=0.1), mode="min")
    assert study.gain()["selection_bias"] == pytest.approx(0.19)


@pytest.mark.parametrize(("mode", "sign"), [("max", 1), ("min", -1)])
def test_a_gain_is_that_of_the_checks(mode, sign):
    study = dataclasses.replace(study_with([(0.8, 0.5), (0.7, 0.6), (0.9, 0.7)], score=0.95), mode=mode)
    margin = scipy.stats.t.ppf(0.975, 2) * 0.1 / 3**0.5
    assert study.gain() == pytest.approx(
        {
            **{"pairs": 3, "difference": 0.2 * sign, "ci_low": 0.2 * sign - margin, "ci_high": 0.2 * sign + margin},
            **{"p": scipy.stats.ttest_1samp([0.3, 0.1, 0.2], 0).pvalue, "effect": 2, "significant": False},
            **{"repeats_needed": repeats_needed(2.0), "selection_bias": 0.15 * sign},
        }
    )


# The values of `val_accuracy` of each trial, of which those of a draw go on in the next round.
MADE_UP = {
    "draw1-1": ("finished", [0.1, 0.5, 0.6]),
    "draw1-2": ("finished", [0.7, 0.8]),
    "draw2-1": ("failed", [0.1, 0.9]),
    "draw3-1": ("finished", [0.1, 0.5, 0.7]),
    "draw3-2": (None, [0.95]),
    "draw4-1": ("finished", [0.1, 0.4, 0.3]),
    "check1-draw1": ("finished", [0.1, 0.75]),
    "check1-other": ("finished", [0.2, 0.65]),
    "check2-draw1": ("finished", [0.1, 0.75]),
    "check2-other": (None, [0.2, 0.65]),
    "check1-draw3": ("finished", [0.1, 0.55]),
}


def made_up(path, **settings):
    folder = Folder(path)
    about = {"title": "made up", "batch_size": 8, "keras": "3", "backend": "none"}
    folder.open("restarts", {**about, "n": 4, "epochs": 4, "checks": 2, "seed": 7, **settings})
    for key, (status, values) in MADE_UP.items():
        log = folder.begin(key)
        first = 3 if key in ("draw1-2", "draw3-2") else 0
        for epoch, value in enumerate(values, first):
            # By the loss, the third draw is the best of those that were trained as long.
            log(event="epoch", metrics={"epoch": epoch, "val_accuracy": value, "val_loss": 2 - value})
        if status:
            log(event="end", status=status)


@pytest.mark.once
def test_draws_are_ranked_by_how_long_they_were_trained_and_by_the_metric(tmp_path):
    made_up(tmp_path)
    study = RestartStudy.read(tmp_path)
    expected = [
        (1, "finished", [0.1, 0.5, 0.6, 0.7, 0.8]),
        (3, "interrupted", [0.1, 0.5, 0.7, 0.95]),
        (4, "finished", [0.1, 0.4, 0.3]),
        (2, "failed", [0.1, 0.9]),
    ]
    for draw, (number, status, values) in zip(study.draws, expected, strict=True):
        epochs = [{"epoch": i, "val_accuracy": value, "val_loss": 2 - value} for i, value in enumerate(values)]
        assert draw == {"draw": number, "seed": derived_seed(7, "draw", number), "status": status, "epochs": epochs}
    assert (study.title, study.monitor, study.mode, study.model) == ("made up", "val_accuracy", "max", None)
    assert (study.score, study.seed) == (0.8, derived_seed(7, "draw", 1))
    assert study.checks == [(0.75, 0.65)]
    assert not study.is_finished
    assert study.remarks() == ["The search is not finished. Draw 1 leads after 4 epochs."]
    assert repr(study) == "<RestartStudy of 4 draws: the best is draw 1 with val_accuracy 0.800 so far>"
    rows = [line.split() for line in str(study).splitlines()]
    table = rows[rows.index(["place", "draw", "seed", "epochs", "val_accuracy", "status"]) :]
    seeds = [str(draw["seed"]) for draw in study.draws]
    assert [row for row in table if row[:1] in (["1"], ["2"], ["3"], ["4"])] == [
        ["1", "1", seeds[0], "4", "0.800", "finished"],
        ["2", "3", seeds[1], "3", "0.950", "interrupted"],
        ["3", "4", seeds[2], "2", "0.300", "finished"],
        ["4", "2", seeds[3], "1", "0.900", "failed"],
    ]


@pytest.mark.once
def test_a_search_is_read_by_the_metric_and_the_direction_that_are_given(tmp_path):
    made_up(tmp_path, monitor="val_loss", mode="max")
    found = {
        (monitor, mode): RestartStudy.read(tmp_path, monitor=monitor, mode=mode)
        for monitor in (None, "val_loss", "val_accuracy")
        for mode in ("auto", "min")
    }
    assert {arguments: (study.monitor, study.mode) for arguments, study in found.items()} == {
        (None, "auto"): ("val_loss", "max"),
        (None, "min"): ("val_loss", "min"),
        ("val_loss", "auto"): ("val_loss", "min"),
        ("val_loss", "min"): ("val_loss", "min"),
        ("val_accuracy", "auto"): ("val_accuracy", "max"),
        ("val_accuracy", "min"): ("val_accuracy", "min"),
    }
    assert found[None, "auto"].score == pytest.approx(1.2)
    assert found[None, "min"].checks == [(1.25, 1.35)]


@pytest.mark.once
@pytest.mark.parametrize(
    ("statuses", "is_finished"),
    [
        ([["finished", "finished"], ["finished", "failed"], ["finished", None]], False),
        ([["finished", "finished"], ["finished", "failed"], ["finished", "diverged"], ["finished"]], True),
        ([["finished", "finished"], ["failed"], ["diverged"], ["failed"]], True),
        ([["finished"], ["finished", "finished"], ["finished", "finished"], [None]], False),
        ([["finished"], ["finished"], ["finished"], ["finished"]], False),
        ([["failed"], ["failed"], ["failed"], ["failed"]], True),
    ],
    ids=["one left", "more than two", "one alone", "first round", "second round", "none"],
)
def test_a_search_is_finished_when_each_round_is(tmp_path, statuses, is_finished):
    folder = Folder(tmp_path)
    folder.open("restarts", {"title": "made up", "n": 4, "epochs": 4, "checks": 0, "seed": 7})
    for draw, rounds in enumerate(statuses, 1):
        for number, status in enumerate(rounds, 1):
            log = folder.begin(f"draw{draw}-{number}")
            log(event="epoch", metrics={"epoch": number, "val_loss": 1.0})
            if status:
                log(event="end", status=status)
    assert RestartStudy.read(tmp_path).is_finished == is_finished


def test_repr_is_a_line():
    assert repr(study_with([])) == "<RestartStudy of 1 draw: the best is draw 1 with val_accuracy 0.900>"


def test_a_notebook_shows_the_table_and_the_remarks():
    shown = study_with([])._repr_html_()
    assert shown.count("<tr>") == 2
    assert "Draw 1, seed 7, came out best: val_accuracy 0.900 after 4 epochs." in shown


@pytest.mark.parametrize("checks", [[], [(0.9, 0.5)]], ids=len)
def test_without_two_checks_nothing_is_claimed(checks):
    assert "With fewer than two checks it is unknown how much of that is luck." in str(study_with(checks))


def test_a_study_that_nobody_finishes_is_an_error():
    errors = iter(["no room left", "nor here"])

    def build():
        raise OSError(next(errors))

    with pytest.raises(RuntimeError, match=r"no draw could be trained to the end of round 1 .*: OSError: no room left"):
        random_restarts(build, data(), n=2, epochs=1)


def test_a_study_that_has_not_begun_can_be_read(tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        random_restarts(interrupted, data(), out=tmp_path)
    study = RestartStudy.read(tmp_path)
    assert "No draw has finished an epoch yet." in str(study)
    assert repr(study) == "<RestartStudy of 10 draws: none trained>"
    study.to_html(tmp_path / "report.html")


@pytest.mark.once
def test_report_and_plots(study, tmp_path):
    assert list(study.plots()) == ["draws", "checks"]
    study.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text().count('src="data:image/png;base64,') == 2


@pytest.mark.once
def test_the_plot_of_the_checks_tells_the_chosen_draw_from_the_others():
    figure = study_with([(0.8, 0.5), (0.7, 0.4)], score=0.9).plots()["checks"]
    points = {line.get_label(): list(line.get_xdata()) for line in figure.axes[0].lines}
    assert points == {
        "a draw that took no part": [0.5, 0.4],
        "the chosen draw": [0.8, 0.7],
        "the chosen draw in the search": [0.9, 0.9],
    }


def test_counts_are_positive():
    with pytest.raises(ValueError, match=r"`n` must be a positive integer. Received: n=0"):
        random_restarts(build_he, data(), n=0)
