"""Studies with metrics and losses in every form that Keras takes: they rank the right way or ask, and print."""

import itertools

import keras
import numpy as np
import pytest
from studies.test_metrics import ErrorRate, OwnAccuracy, closeness

from keras_initx.studies import compare_initializers, random_restarts

# Keras casts counts of an IoU to int64, of which JAX warns.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype")

metrics, losses = keras.metrics, keras.losses


class OwnMean(metrics.Mean):
    def update_state(self, y, outputs, sample_weight=None):
        super().update_state(closeness(y, outputs))


# What to compile with, and the direction, `None` if it must be asked for.
METRICS = {
    "accuracy object": (lambda: metrics.BinaryAccuracy(), "max"),
    "accuracy of a name": (lambda: metrics.BinaryAccuracy(name="quality"), "max"),
    "accuracy of a number": (lambda: metrics.BinaryAccuracy(name="binary_accuracy_5"), "max"),
    "accuracy of the name of a layer": (lambda: metrics.BinaryAccuracy(name="dense"), "max"),
    "accuracy string": (lambda: "accuracy", "max"),
    "accuracy function": (lambda: metrics.binary_accuracy, None),
    "subclass": (OwnAccuracy, "max"),
    "area, numbered": (lambda: metrics.AUC(), "max"),
    "area string": (lambda: "AUC", "max"),
    "recall, numbered": (lambda: metrics.Recall(), "max"),
    "recall at a precision": (lambda: metrics.RecallAtPrecision(0.5), "max"),
    "intersection, numbered": (lambda: metrics.BinaryIoU(), "max"),
    "F1": (lambda: metrics.F1Score(average="micro", threshold=0.5), "max"),
    "R2": (lambda: metrics.R2Score(), "max"),
    "false positives": (lambda: metrics.FalsePositives(), None),
    "error object": (lambda: metrics.MeanSquaredError(), "min"),
    "error of a name": (lambda: metrics.MeanSquaredError(name="accuracy_of_sorts"), "min"),
    "error string": (lambda: "mae", "min"),
    "root of an error": (lambda: metrics.RootMeanSquaredError(), "min"),
    "divergence": (lambda: metrics.KLDivergence(), "min"),
    "loss object": (lambda: losses.MeanAbsoluteError(), "min"),
    "loss function": (lambda: losses.mean_squared_error, "min"),
    "negative similarity": (lambda: losses.cosine_similarity, "min"),
    "loss of no metric": (lambda: losses.Dice(), "min"),
    "own function": (lambda: closeness, None),
    "own mean": (OwnMean, None),
    "own result": (ErrorRate, None),
    "wrapped function": (lambda: metrics.MeanMetricWrapper(closeness, name="close"), None),
}
LOSSES = {
    "string": lambda: "binary_crossentropy",
    "object": lambda: losses.BinaryCrossentropy(),
    "function": lambda: losses.binary_crossentropy,
    "own function": lambda: lambda y, outputs: losses.binary_crossentropy(y, outputs),
}
SLOTS = {
    "metrics": lambda metric: {"metrics": [metric]},
    "weighted": lambda metric: {"weighted_metrics": [metric]},
    "dict": lambda metric: {"metrics": {"last": metric}},
    "one of two outputs": lambda metric: {"metrics": [[metric], []]},
    "dict of two outputs": lambda metric: {"metrics": {"other": [metric]}},
}


def data(outputs):
    x = np.random.default_rng(0).normal(size=(96, 4)).astype("float32")
    y = (x[:, :1] > 0).astype("float32")
    y = y if outputs == 1 else {"last": y, "other": y}
    cut = [keras.tree.map_structure(lambda a, part=part: a[part], (x, y)) for part in (slice(64), slice(64, None))]
    return tuple(cut)


def builder(metric, slot, loss):
    outputs = 2 if "two" in slot else 1

    def build(initializer="he_normal"):
        inputs = keras.Input((4,))
        hidden = keras.layers.Dense(8, "relu", kernel_initializer=initializer)(inputs)
        found = {name: keras.layers.Dense(1, "sigmoid", name=name)(hidden) for name in ("last", "other")[:outputs]}
        model = keras.Model(inputs, found if outputs == 2 else found["last"])
        used = LOSSES[loss]()
        used = dict.fromkeys(found, used) if outputs == 2 else used
        options = SLOTS[slot](METRICS[metric][0]())
        # Compiling would take longer than all of the training.
        model.compile(keras.optimizers.SGD(0.5), used, run_eagerly=True, **options)
        return model

    return build, data(outputs)


# Each metric, in slots and with losses that take turns.
CASES = [*zip(METRICS, itertools.cycle(SLOTS), itertools.cycle(LOSSES), strict=False)]


def ranked(values, mode):
    return values == sorted(values, reverse=mode == "max")


@pytest.mark.every_backend
@pytest.mark.parametrize(("metric", "slot", "loss"), CASES)
def test_a_comparison_ranks_or_asks(metric, slot, loss, tmp_path):
    build, parts = builder(metric, slot, loss)
    options = {"repeats": 1, "epochs": 1, "diagnosis": False}
    mode = METRICS[metric][1]
    if mode is None:
        with pytest.raises(ValueError, match="`mode` must be 'max' or 'min'"):
            compare_initializers(build, ["zeros", "he_normal"], parts, **options, out=tmp_path / "asked")
        assert [path.name for path in tmp_path.glob("asked/*")] == ["study.json"]
        options["mode"] = "max"
    study = compare_initializers(build, ["zeros", "he_normal"], parts, **options, out=tmp_path / "out")
    assert {trial["status"] for trial in study.trials.values()} == {"finished"}
    assert not study.monitor.endswith("_loss")
    assert study.mode == (mode or "max")
    assert ranked([row["mean"] for row in study.statistics()], study.mode)
    again = compare_initializers(build, ["zeros", "he_normal"], parts, **options, out=tmp_path / "out")
    assert str(again) == str(study)


@pytest.mark.every_backend
@pytest.mark.parametrize(("metric", "slot", "loss"), CASES[::3])
def test_restarts_rank_or_ask(metric, slot, loss, tmp_path):
    build, parts = builder(metric, slot, loss)
    mode = METRICS[metric][1]
    options = {"n": 3, "epochs": 2, "checks": 1}
    if mode is None:
        with pytest.raises(ValueError, match="`mode` must be 'max' or 'min'"):
            random_restarts(build, parts, **options)
        options["mode"] = "max"
    study = random_restarts(build, parts, **options, out=tmp_path)
    assert study.mode == (mode or "max")
    last = [draw["epochs"][-1] for draw in study.draws]
    assert ranked([epoch[study.monitor] for epoch in last if epoch["epoch"] == 2], study.mode)
    assert len(study.checks) == 1
    found = study.model.evaluate(*parts[1], return_dict=True, verbose=0)
    assert min(abs(value - study.score) for value in found.values()) < 1e-4
    assert str(random_restarts(build, parts, **options, out=tmp_path)) == str(study)
