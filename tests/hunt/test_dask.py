"""Studies on a Dask cluster, which takes ten times as long to start as the workers of `joblib`."""

import sys

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
        assert list(client.run(lambda: "keras_initx.studies" in sys.modules).values()) == [True]
    # Its event loop draws from Python's `random` too.
    assert [trial["status"] for trial in study.trials.values()] == ["finished"] * 2
    assert len(list(tmp_path.glob("study/*.1.json"))) == 2  # the workers need no folder
