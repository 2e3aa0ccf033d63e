"""Weights are known by their whole names."""

import keras
import numpy as np
import pytest
from modes import to_numpy

from keras_initx import initialize, recipes

layers, ops = keras.layers, keras.ops


def named(*names):
    """Return a model of selu whose layer has weights of these names."""

    class Own(layers.Layer):
        def build(self, shape):
            for name in names:
                self.add_weight(shape=(4, 3), initializer="ones", name=name)

        def call(self, x):
            return x

    return keras.Sequential([keras.Input((4,)), Own(name="mlp"), layers.Dense(4, "selu")])


@pytest.mark.parametrize("name", ["expert_feedforward_dt_bias", "my_embeddings", "recurrent_bias"])
def test_names_of_kerashub_count_as_a_whole(name):
    rules = recipes.selu(named(name))
    assert rules.left == (f"mlp/{name}",)


@pytest.mark.parametrize(
    "layer",
    [layers.PReLU(), layers.Normalization(mean=0.0, variance=1.0), layers.SpectralNormalization(layers.Dense(4))],
    ids=lambda layer: type(layer).__name__,
)
def test_all_weights_of_keras_layers_are_known(layer):
    model = keras.Sequential([keras.Input((4,)), layer, layers.Dense(4, "selu")])
    assert recipes.spectral(model).left == ()


@pytest.mark.rare
def test_weights_without_a_name_are_known_in_models_of_keras():
    model = keras.applications.ConvNeXtTiny(weights=None, include_top=False, input_shape=(32, 32, 3))
    rules = recipes.convnext(model)
    assert any(weight.name.startswith("variable") for weight in model.weights)
    assert {path.rpartition("/")[2] for path in rules.by_path} >= {"kernel", "bias"}
    assert rules.left == ()


def test_statistics_in_subclasses_of_keras_layers_are_known():
    class Own(layers.BatchNormalization):
        pass

    model = keras.Sequential([keras.Input((4,)), Own(), layers.Dense(4, "selu")])
    assert recipes.selu(model).left == ()


def test_statistics_of_keras_start_anew_under_a_recipe():
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(), layers.Dense(4, "selu")])
    model.layers[0].moving_mean.assign(np.ones(4))
    plan = initialize(model, "selu", seed=0)
    assert not plan.left
    assert not to_numpy(model.layers[0].moving_mean).any()
    assert plan.notes == ("The recipe 'selu' is for a network with the activation `selu`.",)
