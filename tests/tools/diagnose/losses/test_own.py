"""A loss of one's own is known by its values, if it is a multiple of one of Keras."""

import keras
import numpy as np
import pytest
from compared_losses import X, Y, given_outputs, losses, squares
from keras import layers

import keras_initx


class Squares(keras.losses.Loss):
    def call(self, targets, outputs):
        return squares(targets, outputs)


@pytest.mark.parametrize("loss", [squares, Squares()], ids=["function", "object"])
def test_a_loss_of_ones_own_is_known_by_its_values(loss):
    found = losses(given_outputs(), Y, 1000 + Y, loss=loss)
    assert found == losses(given_outputs(), Y, 1000 + Y, loss="mse")


class Ranks(keras.losses.Loss):
    """Puts examples in the order of their targets, by all pairs of them."""

    def call(self, y_true, y_pred):
        order = keras.ops.sign(y_true[:, None] - y_true[None])
        return keras.ops.mean(keras.ops.relu(1 - order * (y_pred - keras.ops.transpose(y_pred))))


def test_a_loss_of_pairs_of_examples_does_not_compare_with_all_by_mistake():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, "relu"), layers.Dense(1)])
    assert keras_initx.diagnose(model, X, X[:, 0], loss=Ranks()).ok


VECTORS, IMAGES = (4,), (32, 32, 3)


@pytest.mark.parametrize(
    ("function", "shape", "expected"),
    [
        (lambda error: keras.ops.mean(error**2) / 2, VECTORS, 1.0),
        (lambda error: keras.ops.sum(error**2, axis=-1), VECTORS, 1.0),
        (lambda error: keras.ops.sum(error**2, axis=-1), IMAGES, 1.0),
        (lambda error: keras.ops.sum(error**2), IMAGES, None),
        (lambda error: keras.ops.mean(keras.ops.abs(error) ** 1.5), VECTORS, None),
        (lambda error: -keras.ops.mean(error**2), VECTORS, None),
    ],
    ids=["half", "sums of vectors", "sums of pixels", "sum of all", "another power", "with the other sign"],
)
def test_a_multiple_of_a_loss_is_compared_as_that_loss(function, shape, expected):
    y = np.random.default_rng(0).normal(size=(8, *shape)).astype("float32")
    identity = layers.Dense(shape[-1], kernel_initializer="identity", name="identity")
    model = keras.Sequential([keras.Input(shape), identity])
    found = losses(model, y, 1 + y, loss=lambda targets, outputs: function(targets - outputs))
    value, _ = found["identity"]
    assert value == (None if expected is None else pytest.approx(expected))
