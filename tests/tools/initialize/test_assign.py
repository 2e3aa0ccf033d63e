"""New values are assigned to all weights or to none, and what depends on them follows."""

import contextlib
import re

import keras
import numpy as np
import pytest
from modes import often, to_numpy

import keras_initx
from keras_initx import initialize, load_pretrained
from keras_initx.backends._current import backend

layers = keras.layers


@pytest.mark.every_backend
def test_a_normalization_computes_with_what_a_rule_gives_it():
    norm = layers.Normalization(name="normalization")
    norm.adapt(np.arange(12.0).reshape(4, 3))
    model = keras.Sequential([keras.Input((3,)), norm, layers.Dense(2)])
    initialize(model, {"*/mean": "zeros", "*/variance": "ones"}, seed=0)
    x = np.float32([[1, 2, 3]])
    np.testing.assert_array_equal(to_numpy(norm(x)), x)


def test_a_normalization_computes_as_before_after_an_error():
    class Failing(keras.metrics.Mean):
        def reset_state(self):
            raise RuntimeError("not now")

    norm = layers.Normalization(name="normalization")
    norm.adapt(np.arange(12.0).reshape(4, 3))
    model = keras.Sequential([keras.Input((3,)), norm, layers.Dense(2)])
    model.failing = Failing()
    x = np.float32([[1, 2, 3]])
    before = to_numpy(norm(x))
    with pytest.raises(RuntimeError, match="not now"):
        initialize(model, {"*/mean": "zeros", "*/variance": "ones"}, seed=0)
    np.testing.assert_array_equal(to_numpy(norm(x)), before)


X = np.linspace(-1, 1, 48, dtype="float32").reshape(8, 6)
STATE = {"hidden.kernel": np.full((6, 5), 7.0), "logits.kernel": np.full((5, 3), 8.0), "logits.bias": np.ones(3)}


def partly_loaded(model):
    with keras_initx.loading(model, seed=1):
        logits = model.get_layer("logits").kernel
        logits.assign(np.concatenate([np.ones((2, 3)), to_numpy(logits)[2:]]))


CHANGES = {
    "initialize": lambda model: keras_initx.initialize(model, seed=1),
    "lsuv": lambda model: keras_initx.lsuv(model, X, seed=1),
    "loading": partly_loaded,
    "load_pretrained": lambda model: load_pretrained(model, STATE, layout="keras"),
}


def trained():
    """Return a model whose optimizer and generators have been used."""
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(5, "tanh", name="hidden")
    model = keras.Sequential(
        [keras.Input((6,)), hidden, keras.layers.Dropout(0.5), keras.layers.Dense(3, name="logits")]
    )
    model.compile("adam", "mse")
    model.fit(X, np.ones((8, 3)), verbose=0)
    return model


def state(model):
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return [to_numpy(variable) for variable in variables]


@contextlib.contextmanager
def assignments(stops=()):
    """Yield a list that grows with each assignment to a variable; those numbered `stops` are interrupted."""
    made, assign = [], keras.Variable.assign

    def counted(variable, value):
        made.append(variable)
        if len(made) in stops:
            raise KeyboardInterrupt
        return assign(variable, value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.Variable, "assign", counted)
        yield made


def assert_equal(model, before):
    for own, other in zip(state(model), before, strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("name", often(CHANGES, [*CHANGES][::2]))
def test_nothing_is_left_half_done(name):
    change = CHANGES[name]
    model = trained()
    with assignments() as made:
        change(model)
    model = trained()
    before = [value.copy() for value in state(model)]
    for stop in range(1, len(made) + 1):
        with assignments({stop}), pytest.raises(KeyboardInterrupt):
            change(model)
        assert_equal(model, before)


def test_a_second_interruption_does_not_end_the_undoing():
    model = trained()
    before = state(model)
    with assignments({4, 5, 7}), pytest.raises(KeyboardInterrupt):
        keras_initx.initialize(model, seed=1)
    assert_equal(model, before)


def test_without_undoing_the_error_says_what_is_new():
    model = trained()
    before = state(model)
    with assignments({3}), pytest.raises(KeyboardInterrupt) as caught:
        keras_initx.initialize(model, seed=1, atomic=False)
    (note,) = caught.value.__notes__
    assert re.fullmatch(r"2 variables have new values, the last of them '.*hidden/bias'", note)
    changed = [not np.array_equal(own, other) for own, other in zip(state(model), before, strict=True)]
    assert changed == [True] * changed.count(True) + [False] * changed.count(False)
    assert changed.count(True) == 2


def test_an_error_before_the_first_new_value_has_no_note():
    model = trained()
    with assignments({1}), pytest.raises(KeyboardInterrupt) as caught:
        keras_initx.initialize(model, seed=1, atomic=False)
    assert not hasattr(caught.value, "__notes__")


def test_without_undoing_no_former_value_is_kept(monkeypatch):
    monkeypatch.setattr(type(backend), "snapshot", None)
    assert not keras_initx.initialize(trained(), seed=1, atomic=False).left
    assert load_pretrained(trained(), STATE, layout="keras", atomic=False).left  # one bias is not in the source
