"""The compiled kernel is used if it is there, and who draws much without it is told."""

import os
import subprocess
import sys
import warnings

import pytest

import keras_initx
from keras_initx import _compiled_kernel
from keras_initx._compiled_kernel import load_library


def test_the_variable_switches_the_kernel_off():
    command, environment = [sys.executable, "-m", "keras_initx", "--version"], os.environ | {"KERAS_INITX_KERNEL": "0"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.stdout.endswith("draws on the host by NumPy\n")


@pytest.fixture
def missing(monkeypatch, tmp_path):
    """Make a process that has told nothing yet, and whose package has no library."""
    monkeypatch.setattr(_compiled_kernel, "LIBRARY", tmp_path / "_kernel.so")
    monkeypatch.setattr(_compiled_kernel, "_TOLD", [])
    monkeypatch.delenv("KERAS_INITX_KERNEL", raising=False)
    load_library.cache_clear()
    yield _compiled_kernel.LIBRARY
    load_library.cache_clear()


MANY = (1001, 1000)
many_draws = pytest.mark.parametrize(
    "initializer",
    [keras_initx.RandomNormal(seed=1), keras_initx.Sparse(sparsity=0.5, seed=1)],
    ids=["normal", "sparse"],
)


@many_draws
def test_who_draws_many_values_without_the_kernel_is_told_once(missing, initializer):
    cure = "With a C compiler, install keras_initx again"
    with pytest.warns(UserWarning, match=f"_kernel.so is missing. {cure}"):
        initializer(MANY)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        initializer(MANY)


def test_who_draws_many_values_is_told_of_a_library_that_cannot_be_loaded(missing):
    missing.write_text("of another system")
    with pytest.warns(UserWarning, match=r"_kernel.so cannot be loaded"):
        keras_initx.RandomNormal(seed=1)(MANY)


@pytest.mark.parametrize("switch", [True, False], ids=["switched off", "few values"])
@many_draws
def test_nobody_is_told_of_few_values_or_of_a_kernel_that_is_switched_off(missing, monkeypatch, initializer, switch):
    monkeypatch.setenv("KERAS_INITX_KERNEL", "0" if switch else "1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        initializer(MANY if switch else (1000, 1000))
