"""The command line, and the comparison on which the demo's verdict rests."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

import keras_initx
from keras_initx import _cli
from keras_initx._demo import TOLERANCE, differences


def test_version(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        _cli.main(["--version"])
    assert capsys.readouterr().out == f"keras_initx {keras_initx.__version__}\n"


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        _cli.main(["--help"])
    assert "demo" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["demo", "nonsense"]], ids=" ".join)
def test_wrong_arguments_are_an_error(capsys, arguments):
    with pytest.raises(SystemExit, match=r"^2$"):
        _cli.main(arguments)
    assert "usage: python -m keras_initx" in capsys.readouterr().err


def test_missing_extra_is_an_error_that_names_the_remedy(capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"^2$"):
        _cli.main(["demo"])
    error = capsys.readouterr().err
    assert "rich and scikit-learn not found" in error
    assert 'pip install "keras_initx[demo]"' in error


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "keras_initx", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == f"keras_initx {keras_initx.__version__}\n"


@pytest.fixture
def saved():
    generator = np.random.default_rng(0)
    return {
        "dense/kernel": generator.normal(size=(5, 3)).astype("float32"),
        "dense/bias": np.zeros(3, "float32"),
        "predictions": np.full((4, 3), 1 / 3, "float32"),
    }


def test_equal_networks_do_not_differ(saved):
    assert differences(saved, {name: array.copy() for name, array in saved.items()}) == []


def test_one_bit_of_a_weight_is_a_difference(saved):
    kernel = saved["dense/kernel"].copy()
    kernel.view("uint32")[4, 2] ^= 1
    (difference,) = differences(saved, {**saved, "dense/kernel": kernel})
    assert difference.startswith("dense/kernel differs by up to ")


def test_the_sign_of_a_zero_is_a_difference(saved):
    assert differences(saved, {**saved, "dense/bias": -saved["dense/bias"]}) == ["dense/bias differs by up to 0"]


@pytest.mark.parametrize(
    ("bias", "received"),
    [(np.zeros(2, "float32"), r"float32(2,)"), (np.zeros(3, "float64"), "float64(3,)")],
    ids=["shape", "dtype"],
)
def test_another_shape_or_dtype_is_a_difference(saved, bias, received):
    assert differences(saved, {**saved, "dense/bias": bias}) == [f"dense/bias was float32(3,), is {received}"]


def test_missing_and_new_weights_are_differences(saved):
    loaded = {**saved, "dense_1/bias": saved["dense/bias"]}
    del loaded["dense/bias"]
    assert differences(saved, loaded) == ["dense/bias is missing or new", "dense_1/bias is missing or new"]


@pytest.mark.parametrize(("change", "count"), [(TOLERANCE / 2, 0), (TOLERANCE * 2, 1), (np.nan, 1)])
def test_predictions_may_differ_within_the_tolerance(saved, change, count):
    predictions = saved["predictions"].copy()
    predictions[1, 1] += change
    assert len(differences(saved, {**saved, "predictions": predictions})) == count
