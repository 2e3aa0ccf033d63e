"""A loss of one's own is known by its values, if it is a multiple of one of Keras."""

import keras
import numpy as np
import pytest
from compared_losses import X, Y, given_outputs, losses, squares
from keras import layers, ops

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


X_OF_SHAPES = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")


class Squared(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return ops.square(y_true - y_pred)


class Ranking(keras.losses.Loss):
    """A loss that compares all pairs of examples on purpose."""

    def call(self, y_true, y_pred):
        aims = ops.reshape(y_true, (-1, 1))
        return ops.square((aims - ops.transpose(aims)) - (y_pred - ops.transpose(y_pred)))


class Moments(keras.losses.Loss):
    """A loss to which the order of examples does not matter."""

    def call(self, y_true, y_pred):
        return ops.square(ops.mean(y_true) - ops.mean(y_pred))


class WithComputeLoss(keras.Model):
    def __init__(self):
        super().__init__()
        self.out = layers.Dense(1, name="out")

    def call(self, x):
        return self.out(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return ops.mean(ops.square(y - y_pred))


def of_shapes(loss, y):
    model = WithComputeLoss()
    if loss is not None:
        model = keras.Sequential([keras.Input((4,)), layers.Dense(1, name="out")])
    model(X_OF_SHAPES)
    model.compile("adam", loss)
    return keras_initx.diagnose(model, X_OF_SHAPES, y)


@pytest.mark.parametrize(
    "loss",
    [pytest.param(Squared(), marks=pytest.mark.release_backends), pytest.param(None, marks=pytest.mark.every_backend)],
    ids=["of one's own", "compute_loss"],
)
def test_a_loss_that_broadcasts_its_targets_is_an_error_with_both_shapes(loss):
    (verdict,) = of_shapes(loss, X_OF_SHAPES[:, 0]).verdicts
    assert (verdict.problem, verdict.level, verdict.layers) == ("unsuitable labels", "error", ("out",))
    assert "targets of the shape (64,)" in verdict.evidence
    assert "of the shape (64, 1)" in verdict.evidence
    assert "y = y[..., None]" in str(verdict.remedy)
    assert not of_shapes(loss, X_OF_SHAPES[:, :1]).verdicts


@pytest.mark.parametrize("loss", [Ranking(), Moments(), lambda y, p: ops.square(y - p), "mse"])
def test_a_loss_that_knows_its_shapes_or_has_no_order_is_none(loss):
    assert not of_shapes(loss, X_OF_SHAPES[:, 0]).verdicts


def flat_targets(y_true, y_pred):
    return ops.mean(ops.square(ops.reshape(y_true, (-1,)) - y_pred))


def flat_outputs(y_true, y_pred):
    return ops.mean(ops.abs(y_true - ops.squeeze(y_pred, -1)))


@pytest.mark.release_backends
@pytest.mark.parametrize("loss", [flat_targets, flat_outputs])
def test_a_loss_that_flattens_one_side_compares_each_output_with_all_targets(loss):
    (verdict,) = of_shapes(loss, X_OF_SHAPES[:, :1]).verdicts
    assert (verdict.problem, verdict.level, verdict.layers) == ("unsuitable labels", "error", ("out",))
    assert "y_true = keras.ops.reshape(y_true, keras.ops.shape(y_pred))" in str(verdict.remedy)


def kernel(first, second):
    return ops.mean(ops.exp(-ops.square(first - ops.transpose(second))))


WITHOUT_ORDER = {
    "both flat": lambda y, p: ops.mean(ops.square(ops.reshape(y, (-1,)) - ops.reshape(p, (-1,)))),
    "distributions": lambda y, p: kernel(y, y) + kernel(p, p) - 2 * kernel(y, p),
    "nearest": lambda y, p: ops.mean(ops.min(ops.square(ops.reshape(y, (1, -1)) - ops.reshape(p, (-1, 1))), axis=1)),
    "no targets": lambda y, p: ops.mean(ops.square(ops.reshape(p, (-1,)) - 1)),
    "ranking": lambda y, p: Ranking()(y, p),
    "moments": lambda y, p: Moments()(y, p),
}


@pytest.mark.parametrize("name", WITHOUT_ORDER)
def test_a_loss_that_compares_all_on_purpose_or_nothing_is_none(name):
    problems = [one.problem for one in of_shapes(WITHOUT_ORDER[name], X_OF_SHAPES[:, :1]).problems]
    assert problems == []
