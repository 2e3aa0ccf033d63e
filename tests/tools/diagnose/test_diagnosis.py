"""A diagnosis is asked: its probes see one pass, and each fact is computed once."""

import gc
import pickle
import weakref

import keras
import numpy as np
import pytest
from asked import asked
from keras import layers

import keras_initx
from keras_initx.tools.diagnose._diagnosis import Probe, fact

X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")


def network(**options):
    return keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu", **options), layers.Dense(3)])


@fact
def one(of):
    return object()


@fact
def other(of):
    return object()


def test_a_fact_is_computed_once():
    first, second = asked(lambda of: (one(of), one(of)), network(), X)
    assert first is second


def test_while_weights_are_changed_nothing_new_is_measured():
    def look(of):
        before = one(of)
        with of.changed():
            assert one(of) is before
            with pytest.raises(RuntimeError, match="other is asked for while weights are changed"):
                other(of)
        return other(of)

    assert asked(look, network(), X)


def test_no_fact_is_computed_after_the_diagnosis():
    of = asked(lambda of: of, network(), X)
    with pytest.raises(RuntimeError, match="one is asked for while the diagnosis is over"):
        one(of)


def test_a_probe_is_not_made_after_the_pass():
    with pytest.raises(RuntimeError, match="Probe has not seen the pass"):
        asked(lambda of: of.probe(Probe), network(), X)


def test_a_probe_is_told_after_the_one_that_it_reads():
    told = []

    class Reading(Probe):
        def __init__(self, of):
            super().__init__(of)
            of.probe(Read)

        def after(self, call):
            told.append("reading")

        def finish(self, outputs):
            told.append("reading, at the end")

    class Read(Probe):
        def after(self, call):
            told.append("read")

        def finish(self, outputs):
            told.append("read, at the end")

    asked(lambda of: None, network(), X, probes=[Reading])
    *calls, last, end = told
    assert calls == ["read", "reading"] * (len(calls) // 2)
    assert (last, end) == ("read, at the end", "reading, at the end")


def test_a_report_can_be_pickled_and_holds_no_model():
    model = network(kernel_initializer="zeros")
    report = keras_initx.diagnose(model, X, X[:, :3], loss="mse")
    reference = weakref.ref(model)
    del model
    gc.collect()
    assert reference() is None
    assert not report.ok
    copied = pickle.loads(pickle.dumps(report))
    assert copied.to_json() == report.to_json()
    assert str(copied) == str(report)
