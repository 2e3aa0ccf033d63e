"""What studies take: wrong arguments are refused before anything is trained or written."""

import collections
import sys

import keras
import numpy as np
import pytest
from networks import build, build_he, data

import keras_initx
from keras_initx import compare_initializers, random_restarts


def test_what_is_missing_is_named_before_anything_is_trained(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "joblib", None)
    advice = "not found; install with `pip install joblib`, or keras_initx with its extra `studies`"
    with pytest.raises(ImportError, match=advice):
        compare_initializers(build, ["zeros"], data(), repeats=2, epochs=1, n_jobs=2, out=tmp_path / "out")
    kept = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert kept == ["study.json"]  # the settings, and no trial


def test_integers_of_numpy_are_counts(tmp_path):
    one = np.int64(1)
    counts = {"epochs": one, "batch_size": np.int32(32), "seed": np.uint8(0), "out": tmp_path}
    study = compare_initializers(build, {7: "zeros"}, data(), repeats=one, **counts)
    assert study.trials["7", 1]["status"] == "finished"


def test_a_study_takes_named_tuples():
    layer = collections.namedtuple("Layer", "activation units")("relu", 4)

    def build_any(value):
        assert value is layer
        return build("zeros")

    study = compare_initializers(build_any, {"small": layer}, data(), repeats=1, epochs=1)
    assert study.trials["small", 1]["status"] == "finished"


@pytest.mark.parametrize(
    ("initializers", "message"),
    [
        ([], r"`initializers` must not be empty. Received: initializers=\{\}"),
        ([keras_initx.HeNormal()], "`initializers` must be distinct string ids, or a dict"),
        ({"a": "zeros", "b": [keras_initx.HeNormal(seed=3)]}, r"must not have seeds, .* HeNormal\(seed=3.* seed=3"),
        (["nonsense"], "nonsense"),
        ({1: "zeros", "1": "ones"}, r"`initializers` must have names that differ .* Received: names \[1, '1'\]"),
    ],
    ids=["empty", "nameless", "seeded", "unknown", "one name"],
)
def test_wrong_initializers_are_an_error(initializers, message):
    with pytest.raises(ValueError, match=message):
        compare_initializers(build, initializers, data())


WRONG = [
    ({"repeats": 0}, ValueError, "`repeats` must be a positive integer"),
    ({"mode": "most"}, ValueError, r"`mode` must be one of .* Received: mode='most'"),
    ({"title": 3}, TypeError, r"`title` must be a string or `None`. Received: title=3"),
    ({"monitor": 3}, TypeError, r"`monitor` must be the name of a metric or `None`. Received: monitor=3"),
    ({"n_jobs": 0}, ValueError, r"`n_jobs` must be an integer other than 0. Received: n_jobs=0"),
    ({"seed": None}, TypeError, r"`seed` must be an integer, .* Received: seed=None"),
    ({"out": ""}, ValueError, r"`out` must be the path of a folder. Received: out=''"),
    ({"out": False}, TypeError, r"`out` must be the path of a folder or `None`. Received: out=False"),
]


def of_three(one, two, three):
    return keras.Sequential()


# What can be no `build`, neither with an initializer nor without.
NO_BUILDS = [None, keras.Sequential(), of_three]
OF_COMPARISONS = [
    *(
        ({"build": value}, TypeError, "`lambda initializer: network.initializer.`. Received: build=")
        for value in NO_BUILDS
    ),
    ({"build": lambda: None}, TypeError, "which takes other arguments: too many positional arguments"),
    ({"threshold": float("nan")}, ValueError, r"`threshold` must be a finite number. Received: threshold=nan"),
    ({"initializers": 3}, TypeError, r"`initializers` must be distinct string ids, .* initializers=3"),
]


def names_of(value):
    return next(iter(value)) if isinstance(value, dict) else ""


@pytest.mark.parametrize(("changes", "error", "message"), [*WRONG, *OF_COMPARISONS], ids=names_of)
def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path, changes, error, message):
    arguments = {"build": build, "initializers": ["zeros"], "data": data(), "out": tmp_path / "out", **changes}
    with pytest.raises(error, match=message):
        compare_initializers(**arguments)
    assert list(tmp_path.iterdir()) == []


def test_arguments_of_restarts_are_checked_too(tmp_path):
    for changes, error in [({"draws": 0}, ValueError), ({"draws": 2.0}, TypeError), ({"checks": -1}, ValueError)]:
        with pytest.raises(error, match=f"`{next(iter(changes))}` must be a"):
            random_restarts(**{"build": build_he, "data": data(), "out": tmp_path / "out", **changes})
    with pytest.raises(TypeError, match="which takes other arguments: missing a required argument: 'initializer'"):
        random_restarts(build, data(), out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_url_is_no_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    message = r"must be a path on this machine: mount the storage as a folder, .* Received: \w+='s3:/"
    with pytest.raises(ValueError, match=f"`out` {message}"):
        compare_initializers(build, ["zeros"], data(), out="s3://bucket/study")
    assert list(tmp_path.iterdir()) == []


def without_optimizer(initializer):
    model = build(initializer)
    model.compile(None, "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda _: None, "compiled Keras model. Received: None"),
        (without_optimizer, "compiled Keras model with an optimizer. Received: <Sequential .* without one"),
    ],
    ids=["no model", "no optimizer"],
)
def test_what_cannot_be_trained_is_told(build, message):
    with pytest.raises(
        RuntimeError, match=rf"(?s)^1 of 1 trials failed, the first .*TypeError: `build` must return a {message}"
    ):
        compare_initializers(build, ["zeros"], data(), repeats=1, epochs=1)
