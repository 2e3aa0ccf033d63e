"""A network is compiled once in all trials of a process, and trained as if it were compiled in each."""

import contextlib
from pathlib import Path

import keras
import pytest
from modes import BACKEND
from networks import data, timeless

from keras_initx import compare_initializers

if BACKEND != "jax":
    pytest.skip("only JAX can keep compiled programs", allow_module_level=True)

import jax

from keras_initx.backends import _jax, backend


class OwnLayer(keras.layers.Dense):
    """What is compiled for layers of users is kept too."""


def build(initializer):
    """Return a model with weights that are not trained, which no compiled program may keep."""
    layers = [
        keras.Input((6,)),
        OwnLayer(8, "relu", kernel_initializer=initializer, trainable=False),
        keras.layers.Dropout(0.2),
        keras.layers.Dense(3, "softmax", kernel_initializer=initializer),
    ]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def compared(variants, **options):
    """Return the study of functions that build a model."""
    study = compare_initializers(lambda make: make(), variants, data(), repeats=1, epochs=1, **options)
    assert {trial.status for trial in study.trials.values()} == {"finished"}
    return study


def he():
    return build("he_normal")


def sparse():
    return build("initx.sparse")


def tenfold():
    """Return a model with a method of the user, which no config has."""
    model = he()
    compute = model.compute_loss
    model.compute_loss = lambda *arguments, **options: 10 * compute(*arguments, **options)
    return model


def test_kept_programs_give_the_same_records_bit_for_bit():
    variants = {"he": he, "sparse": sparse, "tenfold": tenfold}
    kept = compared(variants, diagnosis=False)
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        anew = compared(variants, diagnosis=False)
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert timeless(kept.records) == timeless(anew.records)
    losses = [kept.trials[name, 1].epochs[0]["val_loss"] for name in ("he", "tenfold")]
    assert losses[1] == pytest.approx(10 * losses[0])


def test_later_trials_compile_nothing():
    folder = Path(_jax._folder_of_programs().name)
    compared({"he": he})
    programs = set(folder.iterdir())
    assert any("train_step" in path.name for path in programs)
    compared({"sparse": sparse})
    assert set(folder.iterdir()) == programs


def test_programs_are_kept_in_the_folder_of_the_user(tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    try:
        with backend.programs_kept():
            assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    finally:
        jax.config.update("jax_compilation_cache_dir", None)


def test_the_settings_of_jax_are_as_before_after_an_error():
    settings = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
    before = [getattr(jax.config, name) for name in settings]
    with contextlib.suppress(OSError), backend.programs_kept():
        assert [getattr(jax.config, name) for name in settings] != before
        raise OSError("no room left")
    assert [getattr(jax.config, name) for name in settings] == before
