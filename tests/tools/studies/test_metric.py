"""Studies rank by metrics in all forms that Keras takes, and refuse those that they could not rank by."""

import math

import keras
import numpy as np
import pytest
from modes import often

from keras_initx import compare_initializers, random_restarts
from keras_initx.tools.studies._metric import metric_range, renamed, resolve_metric

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
    options = {"repeats": 2, "epochs": 2, **options}
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
    "subclass": ({"metrics": [OwnAccuracy()]}, "val_binary_accuracy", "max"),
    "string": ({"metrics": ["AUC"]}, "val_AUC", "max"),
    "function of a loss": ({"metrics": [keras.losses.mean_squared_error]}, "val_mean_squared_error", "min"),
    "loss": ({"metrics": [keras.losses.MeanSquaredError()]}, "val_mean_squared_error", "min"),
    "negative of a metric": ({"metrics": [keras.losses.CosineSimilarity()]}, "val_cosine_similarity", "min"),
    "array of one number": ({"metrics": [metrics.F1Score()]}, "val_f1_score", "max"),
    "weighted": ({"weighted_metrics": [metrics.Recall(name="found")]}, "val_found", "max"),
    "twice": ({"metrics": ["mse"], "weighted_metrics": ["mse"]}, "val_mse", "min"),
}


@pytest.mark.parametrize("form", often(FORMS, [*FORMS][::3]))
def test_a_metric_keeps_its_name_and_has_its_direction(form):
    options, name, direction = FORMS[form]
    study = compared(builder(lambda: options), repeats=1, epochs=1)
    assert (study.monitor, study.mode) == (name, direction)


UNKNOWN = {
    "function": [closeness],
    "function of Keras": [metrics.binary_accuracy],
    "class": [Own(name="own")],
    "result": [ErrorRate()],
}


class OwnSteps(keras.Sequential):
    """Reports a loss under a name of its own."""

    def train_step(self, *args):
        logs = super().train_step(*args)
        return (own(logs[0]), logs[1]) if isinstance(logs, tuple) else own(logs)

    def test_step(self, *args):
        logs = super().test_step(*args)
        return (own(logs[0]), logs[1]) if isinstance(logs, tuple) else own(logs)


def own(logs):
    return {"own": logs["loss"]}


def build_with_own_steps(initializer="he_normal"):
    hidden = keras.layers.Dense(12, "relu", kernel_initializer=initializer)
    model = OwnSteps([keras.Input((6,)), hidden, keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy", run_eagerly=True)
    return model


@pytest.mark.rare
def test_a_model_may_report_another_name_than_loss():
    study = compared(build_with_own_steps, mode="min", batch_size=8)
    assert study.plot()
    assert study.monitor == "val_own"
    assert {trial["status"] for trial in study.trials.values()} == {"finished"}
    assert "val_own" in str(study)
    with pytest.raises(ValueError, match=r"`monitor` must be one of \['val_own'\]. Received: monitor='val_loss'"):
        compared(build_with_own_steps, monitor="val_loss")


@pytest.mark.rare
def test_a_direction_that_is_given_counts():
    build = builder(lambda: {"metrics": [closeness]})
    assert [row["arm"] for row in compared(build, mode="max").statistics()] == ["he_normal", "zeros"]
    assert compared(build, mode="min", repeats=1).statistics()[0]["arm"] == "zeros"
    assert compared(build, monitor="val_loss", repeats=1).mode == "min"
    best, *others = random_restarts(build, halves(), draws=2, epochs=1, checks=0, mode="min").draws
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


@pytest.mark.rare
@pytest.mark.parametrize(
    ("compiled", "monitor", "direction"),
    [
        ({"metrics": [[metrics.BinaryAccuracy()], [metrics.MeanSquaredError()]]}, "val_a_binary_accuracy", "max"),
        ({"metrics": {"b": ["mse", metrics.AUC(name="auc")]}}, "val_b_auc", "max"),
        ({}, "val_loss", "min"),
    ],
    ids=["lists", "dict", "none"],
)
def test_metrics_of_several_outputs(compiled, monitor, direction):
    build = with_two_outputs(lambda: compiled, "a", "b")
    study = compare_initializers(build, ["he_normal"], twice(), repeats=1, epochs=1)
    assert (study.monitor, study.mode) == (monitor, direction)


@pytest.mark.rare
def test_automatic_names_of_outputs_and_metrics_agree_in_all_trials():
    build = with_two_outputs(lambda: {"metrics": [[metrics.AUC()], [metrics.AUC(), "mse"]]}, None, None)
    study = compare_initializers(build, ["zeros", "he_normal"], twice(), repeats=2, epochs=1)
    assert {trial["status"] for trial in study.trials.values()} == {"finished"}
    assert len({tuple(record) for record in study.rows if record["epoch"] == 1}) == 1
    assert study.monitor in str(study)
    assert not np.isnan(study.curves("he_normal", study.monitor)).any()


@pytest.mark.rare
def test_automatic_names_of_metrics_agree_in_all_trials(tmp_path):
    build = builder(lambda: {"metrics": [metrics.AUC(), metrics.AUC(curve="PR")]})
    study = compared(build, out=tmp_path)
    assert {trial["status"] for trial in study.trials.values()} == {"finished"}
    assert not np.isnan(study.curves("he_normal", study.monitor)).any()
    # In this process they have other numbers by now.
    assert str(compared(build, out=tmp_path, monitor=study.monitor)) == str(study)
    best = random_restarts(build, halves(), draws=2, epochs=1, checks=1)
    assert all(best.monitor in epoch for draw in best.draws for epoch in draw["epochs"])
    assert len(best.checks) == 1
    assert best.monitor in str(best)


def test_a_monitor_needs_no_automatic_number():
    metrics.AUC()
    study = compared(builder(lambda: {"metrics": [metrics.AUC()]}), monitor="val_auc", repeats=1, epochs=1)
    assert study.monitor.startswith("val_auc_")
    assert study.mode == "max"


class Pair(Own):
    def result(self):
        return keras.ops.zeros(2)


@pytest.mark.parametrize("form", UNKNOWN)
def test_an_unknown_direction_is_asked_for_before_anything_is_trained(form, monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", None)
    build = builder(lambda: {"metrics": UNKNOWN[form]})
    message = r"`mode` must be 'max' or 'min' .* Received: mode='auto', monitor='val_\w+' of metrics \['val_"
    with pytest.raises(ValueError, match=message):
        compared(build)
    with pytest.raises(ValueError, match=message):
        random_restarts(build, halves())


def test_a_metric_of_several_numbers_is_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", None)
    build = builder(lambda: {"metrics": [Pair(name="pair")]})
    with pytest.raises(ValueError, match=r"metrics are single numbers, .* Received: val_pair of shape \(2,\)"):
        compared(build)


def evaluated(*names):
    """Return a trial with these metrics, of which the first has the value 0."""
    metrics = {f"val_{name}": value for value, name in enumerate(names)}
    return {"epochs": [{"epoch": 0, **metrics}], "directions": dict.fromkeys(metrics, "max")}


def test_automatic_numbers_keep_the_order_of_the_metrics():
    assert renamed(evaluated("auc_9", "auc_10"), evaluated("auc_8", "auc_9")) == evaluated("auc_8", "auc_9")


def test_the_first_metric_is_that_of_the_least_number():
    """Which numbers there are depends on what the process has made before."""
    assert resolve_metric(evaluated("auc_10", "auc_9"), None, "auto") == ("val_auc_9", "max")


def test_two_metrics_of_one_kind_need_the_number():
    with pytest.raises(ValueError, match=r"`monitor` must be one of \['val_auc_3', 'val_auc_4'\]"):
        resolve_metric(evaluated("auc_3", "auc_4"), "val_auc", "auto")


def test_other_metrics_in_a_later_trial_end_the_study():
    names = iter(["one", "other"])

    def build(initializer="he_normal"):
        return builder(lambda: {"metrics": [metrics.BinaryAccuracy(name=next(names))]})(initializer)

    message = "`build` must return models with the same metrics in each trial. Received: metrics .*val_other"
    with pytest.raises(ValueError, match=message):
        compared(build)


@pytest.mark.parametrize(
    ("monitor", "values", "expected"),
    [
        ("val_accuracy", [0.5, 1.0], (0, 1)),
        ("val_auc", [0.5], (0, 1)),
        ("val_cosine_similarity", [-0.5], (-1, 1)),
        ("val_r2_score", [-3.0], (-math.inf, 1)),
        ("val_accuracy", [97.0, 98.0], (-math.inf, math.inf)),
        ("val_binary_accuracy_5", [0.5], (0, 1)),
        ("val_loss", [0.5], (-math.inf, math.inf)),
        ("val_accuracy_loss", [0.5], (-math.inf, math.inf)),
        ("val_previous_mae", [0.5], (-math.inf, math.inf)),
    ],
)
def test_bounds_of_metrics(monitor, values, expected):
    assert metric_range(monitor, values) == expected
