"""Studies on a Dask cluster, which takes ten times as long to start as the workers of `joblib`."""

import sys
import threading

import joblib
import pytest
from modes import BACKEND
from networks import build, data

from keras_initx import compare_initializers


def test_a_dask_cluster_runs_a_study(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("KERAS_BACKEND", BACKEND)
    monkeypatch.setenv("DASK_TEMPORARY_DIRECTORY", str(tmp_path / "dask"))
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        joblib.parallel_config(backend="dask"),
    ):
        arguments = {"repeats": 1, "epochs": 2, "n_jobs": -1, "out": tmp_path / "study"}
        study = compare_initializers(build, ["he_normal", "zeros"], data(), **arguments)
        assert list(client.run(lambda: "keras_initx.tools.studies" in sys.modules).values()) == [True]
    # Its event loop draws from Python's `random` too.
    assert [trial["status"] for trial in study.trials.values()] == ["finished"] * 2
    assert len(list(tmp_path.glob("study/*.1.json"))) == 2  # the workers need no folder


def test_what_cannot_be_sent_to_a_dask_cluster_is_refused_before_it_waits(monkeypatch, tmp_path):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("DASK_TEMPORARY_DIRECTORY", str(tmp_path / "dask"))
    lock = threading.Lock()

    def build_alone(initializer):
        with lock:
            return build(initializer)

    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
        pytest.raises(TypeError, match="`build` and its arguments must be picklable for `n_jobs` other than 1"),
    ):
        compare_initializers(build_alone, ["zeros"], data(), repeats=1, epochs=1, n_jobs=2)
