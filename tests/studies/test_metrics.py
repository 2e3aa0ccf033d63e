"""Studies rank by metrics in all forms that Keras takes, and refuse those that they could not rank by."""

import keras
import numpy as np
import pytest

from keras_initx.studies import RestartStudy, Study, Trial, compare_initializers, random_restarts
from keras_initx.studies._metric import directions, resolve_metric, unify_metric_names
from keras_initx.studies._records import Folder

pytestmark = pytest.mark.once

metrics = keras.metrics


def halves():
    """Return points with the number of the side on which they lie."""
    x = np.random.default_rng(0).normal(size=(160, 6)).astype("float32")
    y = (x[:, :1] > 0).astype("float32")
    return (x[:96], y[:96]), (x[96:], y[96:])


def builder(compiled):
    """Return a function that builds a model with the options for `compile` that `compiled` returns."""

    def build(initializer="he_normal"):
        hidden = keras.layers.Dense(12, "relu", kernel_initializer=initializer)
        model = keras.Sequential([keras.Input((6,)), hidden, keras.layers.Dense(1, "sigmoid")])
        model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy", run_eagerly=True, **compiled())
        return model

    return build


def compared(build, **options):
    options = {"repeats": 2, "epochs": 2, "diagnosis": False, **options}
    return compare_initializers(build, ["zeros", "he_normal"], halves(), **options)


def closeness(y, outputs):
    return keras.ops.mean(1 - keras.ops.abs(y - outputs), axis=-1)


class OwnAccuracy(metrics.BinaryAccuracy):
    pass


class ErrorRate(metrics.BinaryAccuracy):
    def result(self):
        return 1 - super().result()


class Own(metrics.Metric):
    def update_state(self, y, outputs, sample_weight=None):
        pass

    def result(self):
        return 0.5


FORMS = {
    "object": ({"metrics": [metrics.BinaryAccuracy()]}, "val_binary_accuracy", "max"),
    "named": ({"metrics": [metrics.BinaryAccuracy(name="quality")]}, "val_quality", "max"),
    "numbered": ({"metrics": [metrics.AUC(name="auc_7")]}, "val_auc_7", "max"),
    "subclass": ({"metrics": [OwnAccuracy()]}, "val_binary_accuracy", "max"),
    "string": ({"metrics": ["AUC"]}, "val_AUC", "max"),
    "function": ({"metrics": [metrics.binary_accuracy]}, "val_binary_accuracy", "max"),
    "function of a loss": ({"metrics": [keras.losses.mean_squared_error]}, "val_mean_squared_error", "min"),
    "loss": ({"metrics": [keras.losses.MeanSquaredError()]}, "val_mean_squared_error", "min"),
    "array of one number": ({"metrics": [metrics.F1Score()]}, "val_f1_score", "max"),
    "weighted": ({"weighted_metrics": [metrics.Recall(name="found")]}, "val_found", "max"),
    "twice": ({"metrics": ["mse"], "weighted_metrics": ["mse"]}, "val_mse", "min"),
    "none": ({}, "val_loss", "min"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_metric_keeps_its_name_and_has_its_direction(form):
    options, name, direction = FORMS[form]
    study = compared(builder(lambda: options), repeats=1, epochs=1)
    assert (study.monitor, study.mode) == (name, direction)


@pytest.mark.parametrize("form", ["object", "loss"])
def test_the_best_is_first(form):
    study = compared(builder(lambda: FORMS[form][0]))
    assert [row["initializer"] for row in study.statistics()] == ["he_normal", "zeros"]
    values = [row["mean"] for row in study.statistics()]
    assert values == sorted(values, reverse=study.mode == "max")


def test_restarts_keep_the_best_by_a_metric_object():
    study = random_restarts(builder(lambda: {"metrics": [metrics.BinaryAccuracy()]}), halves(), n=4, epochs=2, checks=0)
    scores = [draw["epochs"][-1]["val_binary_accuracy"] for draw in study.draws]
    assert study.score == scores[0] > scores[1]
    assert scores[2] < max(scores[:2])


UNKNOWN = {
    "function": [closeness],
    "class": [Own(name="own")],
    "result": [ErrorRate()],
    "negative": [keras.losses.CosineSimilarity()],
    "loss": [keras.losses.Dice()],
}


class OwnSteps(keras.Sequential):
    """Reports a loss under a name of its own."""

    def train_step(self, *args):
        logs = super().train_step(*args)
        return (renamed(logs[0]), logs[1]) if isinstance(logs, tuple) else renamed(logs)

    def test_step(self, *args):
        logs = super().test_step(*args)
        return (renamed(logs[0]), logs[1]) if isinstance(logs, tuple) else renamed(logs)


def renamed(logs):
    return {"own": logs["loss"]}


def build_with_own_steps(initializer="he_normal"):
    hidden = keras.layers.Dense(12, "relu", kernel_initializer=initializer)
    model = OwnSteps([keras.Input((6,)), hidden, keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy", run_eagerly=True)
    return model


def test_a_model_may_report_another_name_than_loss():
    study = compared(build_with_own_steps, mode="min", batch_size=8)
    assert study.plots()
    assert study.monitor == "val_own"
    assert {trial.status for trial in study.trials.values()} == {"finished"}
    assert str(study)
    with pytest.raises(ValueError, match=r"`monitor` must be one of \('val_own',\). Received: monitor='val_loss'"):
        compared(build_with_own_steps, monitor="val_loss")


@pytest.mark.parametrize("form", UNKNOWN)
def test_an_unknown_direction_is_asked_for_before_anything_is_trained(form, tmp_path):
    build = builder(lambda: {"metrics": UNKNOWN[form]})
    message = r"`mode` must be 'max' or 'min' .* Received: mode='auto', monitor='val_\w+' of metrics \('val_"
    with pytest.raises(ValueError, match=message):
        compared(build, out=tmp_path / "compare")
    with pytest.raises(ValueError, match=message):
        random_restarts(build, halves(), out=tmp_path / "restarts")
    assert [file.read_bytes() for file in tmp_path.glob("*/trials/*")] == [b"", b""]


def test_a_direction_that_is_given_counts():
    build = builder(lambda: {"metrics": [closeness]})
    assert [row["initializer"] for row in compared(build, mode="max").statistics()] == ["he_normal", "zeros"]
    assert compared(build, mode="min", repeats=1).statistics()[0]["initializer"] == "zeros"
    assert compared(build, monitor="val_loss", repeats=1).mode == "min"
    best, *others = random_restarts(build, halves(), n=2, epochs=1, checks=0, mode="min").draws
    assert best["epochs"][-1]["val_closeness"] < others[0]["epochs"][-1]["val_closeness"]


def with_two_outputs(compiled, *names):
    def build(initializer="he_normal"):
        inputs = keras.Input((6,))
        hidden = keras.layers.Dense(12, "relu", kernel_initializer=initializer)(inputs)
        outputs = [keras.layers.Dense(1, "sigmoid", name=name)(hidden) for name in names]
        model = keras.Model(inputs, outputs)
        losses = ["binary_crossentropy", "mse"]
        model.compile(keras.optimizers.SGD(0.5), losses, run_eagerly=True, **compiled())
        return model

    return build


def twice():
    return tuple((x, [y, y]) for x, y in halves())


@pytest.mark.parametrize(
    ("compiled", "monitor", "direction"),
    [
        ({"metrics": [[metrics.BinaryAccuracy()], [metrics.MeanSquaredError()]]}, "val_a_binary_accuracy", "max"),
        ({"metrics": {"b": ["mse", metrics.AUC(name="auc")]}}, "val_b_auc", "max"),
        ({"metrics": [["mse"], []]}, "val_a_mse", "min"),
        ({}, "val_loss", "min"),
    ],
    ids=["lists", "dict", "one", "none"],
)
def test_metrics_of_several_outputs(compiled, monitor, direction):
    build = with_two_outputs(lambda: compiled, "a", "b")
    study = compare_initializers(build, ["he_normal"], twice(), repeats=1, epochs=1, diagnosis=False)
    assert (study.monitor, study.mode) == (monitor, direction)


def test_automatic_names_of_outputs_and_metrics_agree_in_all_trials():
    build = with_two_outputs(lambda: {"metrics": [[metrics.AUC()], [metrics.AUC(), "mse"]]}, None, None)
    study = compare_initializers(build, ["zeros", "he_normal"], twice(), repeats=2, epochs=1, diagnosis=False)
    assert {trial.status for trial in study.trials.values()} == {"finished"}
    assert len({tuple(record) for record in study.records if record["epoch"] == 1}) == 1
    assert str(study)
    assert not np.isnan(study.curves("he_normal", study.monitor)).any()


def test_automatic_names_of_metrics_agree_in_all_trials(tmp_path):
    build = builder(lambda: {"metrics": [metrics.AUC(), metrics.AUC(curve="PR")]})
    study = compared(build, out=tmp_path)
    assert {trial.status for trial in study.trials.values()} == {"finished"}
    assert not np.isnan(study.curves("he_normal", study.monitor)).any()
    by_name = Study.read(tmp_path, monitor=study.monitor)
    assert str(by_name) == str(study)
    best = random_restarts(build, halves(), n=4, epochs=2, checks=1)
    assert all(best.monitor in epoch for draw in best.draws for epoch in draw["epochs"])
    assert len(best.checks) == 1
    assert str(best)


def test_automatic_numbers_keep_the_order_of_the_metrics():
    def trial(*names):
        epochs = ({"epoch": 0, **{f"val_{name}": i for i, name in enumerate(names)}},)
        return Trial("key", "finished", epochs, directions={f"val_{name}": "max" for name in names})

    first, second = unify_metric_names({1: trial("auc_8", "auc_9"), 2: trial("auc_9", "auc_10")}).values()
    assert second == first
    (explicit,) = unify_metric_names({1: trial("auc_2", "auc_1")}).values()
    assert explicit.epochs == ({"epoch": 0, "val_auc_2": 0, "val_auc_1": 1},)


def test_the_first_metric_is_that_of_the_least_number():
    """Which numbers there are depends on what the process has made before."""
    epochs = ({"epoch": 0, "val_auc_10": 0.5, "val_auc_9": 0.5, "val_loss": 1.0},)
    trial = Trial("key", "finished", epochs, directions={"val_auc_10": "max", "val_auc_9": "max"})
    assert resolve_metric([trial], None, "auto") == ("val_auc_9", "max")


def test_a_monitor_needs_no_automatic_number():
    metrics.AUC()
    study = compared(builder(lambda: {"metrics": [metrics.AUC()]}), monitor="val_auc", repeats=1, epochs=1)
    assert study.monitor.startswith("val_auc_")
    assert study.mode == "max"


def test_two_metrics_of_one_kind_need_the_number():
    trial = Trial("key", "finished", ({"val_auc_3": 0.5, "val_auc_4": 0.6},))
    with pytest.raises(ValueError, match=r"`monitor` must be one of \('val_auc_3', 'val_auc_4'\)"):
        resolve_metric([trial], "val_auc", "auto")


def test_other_metrics_in_a_later_trial_are_refused_before_it_trains(tmp_path):
    names = iter(["one", "other"])

    def build(initializer="he_normal"):
        return builder(lambda: {"metrics": [metrics.BinaryAccuracy(name=next(names))]})(initializer)

    message = (
        r"`build` must return models with the same metrics in each trial. Received: metrics \('val_loss', 'val_other'"
    )
    with pytest.raises(ValueError, match=message):
        compared(build, out=tmp_path)
    study = Study.read(tmp_path)
    assert [trial.status for trial in study.trials.values()] == ["finished", "interrupted", "missing", "missing"]
    assert str(study)


def test_trials_of_other_metrics_that_were_trained_at_the_same_time_count_as_failed(tmp_path, monkeypatch):
    names = iter(["one", "other"])

    def build(initializer="he_normal"):
        return builder(lambda: {"metrics": [metrics.BinaryAccuracy(name=next(names))]})(initializer)

    monkeypatch.setattr("keras_initx.studies._trial.check_metrics", lambda *_: None)
    study = compared(build, repeats=1, epochs=1, out=tmp_path)
    assert [trial.status for trial in study.trials.values()] == ["finished", "failed"]
    assert "he_normal: 1 of 1 trials failed: BuildError: `build` must return models with the same metrics" in " ".join(
        str(study).split()
    )


class Pair(Own):
    def result(self):
        return keras.ops.zeros(2)


def test_a_metric_of_several_numbers_is_refused_before_anything_is_trained(tmp_path):
    build = builder(lambda: {"metrics": [Pair(name="pair")]})
    with pytest.raises(ValueError, match=r"metrics are single numbers, .* Received: val_pair of shape \(2,\)"):
        compared(build, out=tmp_path)
    assert [file.read_bytes() for file in tmp_path.glob("trials/*")] == [b""]


def test_records_without_directions_go_by_the_name():
    trials = [Trial("key", "finished", ({"val_accuracy": 0.5, "val_top_k_error": 1.0},))]
    assert resolve_metric(trials, None, "auto") == ("val_accuracy", "max")
    with pytest.raises(ValueError, match=r"`mode` must be 'max' or 'min'"):
        resolve_metric(trials, "val_top_k_error", "auto")


def test_the_record_has_the_directions(tmp_path):
    compared(builder(lambda: {"metrics": [closeness, "mse"]}), monitor="val_mse", repeats=1, epochs=1, out=tmp_path)
    expected = {"val_closeness": None, "val_loss": "min", "val_mse": "min"}
    assert Folder(tmp_path).trial("0-1").directions == expected


def test_every_metric_of_keras_has_a_direction():
    """A new one of Keras, such as those that have no direction here, must be looked at."""
    without = {"Mean", "MeanMetricWrapper", "Metric", "Sum"}
    required = {
        "IoU": {"num_classes": 2, "target_class_ids": [0]},
        "MeanIoU": {"num_classes": 2},
        "OneHotIoU": {"num_classes": 2, "target_class_ids": [0]},
        "OneHotMeanIoU": {"num_classes": 2},
        "PrecisionAtRecall": {"recall": 0.5},
        "RecallAtPrecision": {"precision": 0.5},
        "SensitivityAtSpecificity": {"specificity": 0.5},
        "SpecificityAtSensitivity": {"sensitivity": 0.5},
    }
    names = {name for name, value in vars(metrics).items() if isinstance(value, type)} - without
    found = {}
    for name in names:
        metric = getattr(metrics, name)(name="x", **required.get(name, {}))
        stand_in = type("Model", (), {"metrics": [metric]})()
        found[name] = directions(stand_in, ["val_x"])["val_x"]
    assert {name for name, direction in found.items() if direction is None} == set()


def test_a_study_of_restarts_that_has_not_begun_has_the_monitor_that_is_asked_for(tmp_path):
    settings = {"title": "made up", "n": 1, "epochs": 1, "checks": 0, "seed": 0}
    Folder(tmp_path).open("restarts", settings)
    assert RestartStudy.read(tmp_path, monitor="val_own").monitor == "val_own"
