"""A gradient that vanishes is named where it harms, and its remedy helps."""

import keras
import numpy as np
import pytest
from judged import CROSSENTROPY, LABELS, OF_KERNELS, X, cured, found, mlp
from keras import layers

import keras_initx


def test_what_vanishes_in_gradients_only_is_cured_by_its_remedy():
    remedy = found(mlp("hard_sigmoid", depth=20), y=LABELS)["vanishing gradient"].remedy
    assert remedy.text.startswith('use activation="tanh" with keras_initx.GlorotUniform()')
    assert found(mlp("tanh", depth=20), y=LABELS) == {}


def test_before_an_activation_without_limits_normalization_is_the_remedy_of_a_vanishing_gradient():
    remedy = found(mlp("softplus", depth=20), y=LABELS)["vanishing gradient"].remedy
    assert remedy.text.startswith("add keras.layers.BatchNormalization() before each softplus")


@pytest.mark.rare
def test_a_network_that_widens_is_not_given_orthogonal_kernels():
    # With more units than inputs they shrink a signal.
    model = keras.Sequential([keras.Input((16,))])
    for _ in range(15):
        model.add(layers.Dense(64, "relu"))
        model.add(layers.Dense(16, "relu"))
    model.add(layers.Dense(5))
    verdicts = found(model, X[:, :16], LABELS)
    assert verdicts["vanishing"].remedy.text == OF_KERNELS.format("keras_initx.HeNormal()")
    assert found(cured(model, verdicts["vanishing"].remedy), X[:, :16], LABELS) == {}


def test_a_final_activation_of_its_own_layer_hides_no_vanishing_gradient():
    model = mlp("sigmoid", depth=8)
    end = [layers.Dense(1, name="end"), layers.Activation("sigmoid")]
    report = keras_initx.diagnose(keras.Sequential([*model.layers[:-1], *end]), X, LABELS > 2, loss="bce")
    assert "vanishing gradient" in [verdict.problem for verdict in report.verdicts]


def test_a_network_without_a_gradient_on_purpose_has_not_lost_it():
    inputs = keras.Input((64,))
    target = layers.Dense(8, name="target")(layers.Dense(64, "relu")(inputs))
    online = layers.Dense(8, name="online")(layers.Dense(64, "relu")(inputs))
    held = layers.Lambda(keras.ops.stop_gradient, output_shape=(8,))(target)
    assert keras_initx.diagnose(keras.Model(inputs, online - held), X, np.zeros((256, 8)), loss="mse").verdicts == []


@pytest.mark.parametrize("place", ["inside", "at the inputs"])
def test_a_small_side_branch_is_no_vanishing_gradient_inside_a_model(place):
    inputs = keras.Input((64,))
    hidden = layers.Dense(64, "tanh", name="hidden")(inputs)
    side = layers.Dense(64, name="side")(hidden if place == "inside" else inputs)
    model = keras.Model(inputs, layers.Dense(5)(hidden + 1e-8 * side))
    report = keras_initx.diagnose(model, X, LABELS, loss=CROSSENTROPY)
    norms = {layer.name: layer.gradient.norm for layer in report.rows}
    assert norms["side"] < 1e-6 * norms["hidden"]
    assert [verdict.layers for verdict in report.verdicts] == ([] if place == "inside" else [("side",)])


def test_small_gradients_beside_inputs_that_are_too_large_are_no_vanishing_ones():
    """The kernel of the large inputs gets a gradient that is as much larger as they are."""
    small, large = keras.Input((64,)), keras.Input((64,))
    hidden = layers.Dense(8, name="of_small")(small) + layers.Dense(8, name="of_large")(large)
    model = keras.Model([small, large], layers.Dense(5)(hidden))
    report = keras_initx.diagnose(model, [X, 1e9 * X], np.zeros((256, 5)), loss="mse")
    problems = [verdict.problem for verdict in report.verdicts]
    assert "unscaled inputs" in problems
    assert "vanishing gradient" not in problems
