"""A network is compiled once in all trials of a process, and trained as if it were compiled in each."""

import contextlib
import gc
import weakref

import keras
import numpy as np
import pytest
from modes import BACKEND
from networks import data, timeless

from keras_initx import compare_initializers
from keras_initx.backends._current import backend
from keras_initx.tools.studies import _trial

pytestmark = [pytest.mark.every_backend, pytest.mark.rare]
if BACKEND != "jax":
    pytest.skip("only JAX can keep compiled programs", allow_module_level=True)


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
    assert {trial["status"] for trial in study.trials.values()} == {"finished"}
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


def test_kept_programs_give_the_same_records_bit_for_bit(monkeypatch):
    variants = {"he": he, "sparse": sparse, "tenfold": tenfold}
    kept = compared(variants)
    monkeypatch.setattr(_trial, "_compiled_once", contextlib.nullcontext)
    anew = compared({"sparse": sparse})
    assert [record for record in timeless(kept.rows) if record["arm"] == "sparse"] == timeless(anew.rows)
    losses = [kept.trials[name, 1]["epochs"][0]["val_loss"] for name in ("he", "tenfold")]
    assert losses[1] == pytest.approx(10 * losses[0])


def test_later_trials_compile_nothing(compilations):
    compared({"he": he})
    assert compilations
    compilations.clear()
    compared({"sparse": sparse})
    assert not compilations


def test_metrics_keep_their_own_names(compilations):
    for name in ("one", "other"):
        model = he()
        metric = keras.metrics.SparseCategoricalAccuracy(name)
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=[metric])
        compilations.clear()
        with _trial._compiled_once(model):
            found = model.evaluate(*data()[1], return_dict=True, verbose=0)
        assert found.keys() == {"loss", name}
    assert not compilations


def test_a_model_is_as_before_after_an_error():
    model = he()
    before = vars(model).copy()
    with contextlib.suppress(OSError), _trial._compiled_once(model):
        assert vars(model) != before
        raise OSError("no room left")
    assert vars(model) == before


def test_programs_keep_no_model():
    references = []

    def build_noted():
        model = he()
        references.append(weakref.ref(model))
        return model

    compared({"one": build_noted})
    gc.collect()
    assert [reference() for reference in references] == [None]


def test_a_step_may_be_compiled_within_another_program():
    import jax

    step = backend.compiled_once(lambda state, data: {"sum": state + data})
    ones = np.ones(3, "float32")
    for form in (step, jax.jit(step)):
        np.testing.assert_array_equal(form(ones, ones)["sum"], [2, 2, 2])


def test_a_model_that_is_not_to_be_compiled_is_not():
    model = he()
    model.run_eagerly = True
    before = vars(model).copy()
    with _trial._compiled_once(model):
        assert vars(model) == before
