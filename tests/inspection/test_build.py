"""A model is built by a call that advances nothing."""

import keras
import numpy as np
import pytest
from keras import layers
from modes import to_numpy

from keras_initx.inspection._build import ensure_built, run_with_built_layers

X = np.random.default_rng(0).normal(3, 2, size=(16, 4)).astype("float32")


def network():
    return keras.Sequential([layers.BatchNormalization(), layers.Dropout(0.5, seed=3), layers.Dense(2)])


@pytest.mark.release_backends
def test_weights_are_made_and_neither_averages_nor_generators_go_on():
    model = network()
    ensure_built(model, X)
    assert all(layer.built for layer in model.layers)
    norm, dropout, _ = model.layers
    assert not to_numpy(norm.moving_mean).any()
    assert to_numpy(dropout.seed_generator.state).tolist() == [3, 0]


def test_a_built_model_is_not_called():
    calls = []

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)

        def call(self, x):
            calls.append(x)
            return self.dense(x)

    model = Model()
    ensure_built(model, X)
    count = len(calls)
    ensure_built(model, X)
    assert len(calls) == count


def test_a_layer_that_is_first_used_in_a_function_is_built_before_it():
    class Model(keras.Model):
        uses_both = False

        def __init__(self):
            super().__init__()
            self.first, self.second = layers.Dense(2), layers.Dense(2)

        def build(self, shape):
            self.first.build(shape)

        def call(self, x):
            return self.second(self.first(x)) if self.uses_both else self.first(x)

    model = Model()
    ensure_built(model, X)
    assert not model.second.built
    model.uses_both = True
    run_with_built_layers(model, X, lambda: model(X))
    assert model.second.built
