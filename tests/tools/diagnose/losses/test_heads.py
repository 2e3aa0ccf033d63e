"""An output and its targets, as its loss reads them."""

import keras
import numpy as np
import pytest
from compared_losses import X, Y, losses, squares, two_outputs
from keras import layers

from keras_initx.inspection._inventory import Inventory
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose.losses.probes import LossProbe

LABELS = np.arange(16) % 3


def test_an_output_without_rows_is_not_compared():
    inputs = keras.Input((3,))
    total = keras.ops.sum(layers.Dense(3, name="identity")(inputs))
    assert losses(keras.Model(inputs, total), Y, Y[:, 0], loss=squares)["identity"] == (None, None)


def test_each_output_may_have_a_vector_of_labels():
    loss, labels = {"two": "ce", "one": "bce"}, [LABELS > 0, LABELS]
    inputs = keras.Input((6,))
    one = layers.Dense(1, "sigmoid", name="one")(inputs)
    two = layers.Dense(3, "softmax", name="two")(inputs)
    model = keras.Model(inputs, [one, two])
    model.compile("sgd", loss)
    expected = model.evaluate(X, labels, verbose=0, return_dict=True)
    found = losses(model, X, labels)
    assert found["one"] == pytest.approx((expected["one_loss"], np.log(2)), rel=1e-4)
    assert found["two"] == pytest.approx((expected["two_loss"], np.log(3)), rel=1e-4)


@pytest.mark.parametrize(
    "loss",
    ["sparse_categorical_crossentropy", keras.losses.SparseCategoricalCrossentropy(ignore_class=2)],
    ids=["masked", "ignored class too"],
)
def test_what_training_leaves_out_is_not_in_a_crossentropy(loss):
    tokens = np.tile([[1, 2, 0, 0], [3, 0, 0, 0]], (8, 1))
    y = np.random.default_rng(0).integers(0, 3, (16, 4))
    embedding = layers.Embedding(5, 4, mask_zero=True)
    out = layers.Dense(3, "softmax", name="out")
    model = keras.Sequential([keras.Input((4,), dtype="int32"), embedding, out])
    model.compile("sgd", loss)
    expected = model.evaluate(tokens, y, verbose=0)
    assert losses(model, tokens, y)["out"] == pytest.approx((expected, np.log(3)), rel=1e-4)


def test_classes_may_be_along_another_axis():
    places = np.random.default_rng(0).dirichlet(np.ones(3), size=(16, 5))
    outputs, y = np.moveaxis(places, -1, 1), np.moveaxis(np.eye(3)[np.arange(80).reshape(16, 5) % 3], -1, 1)
    model = keras.Sequential([keras.Input((3, 5)), layers.Dense(5, kernel_initializer="identity", name="out")])
    expected = -(y * np.log(outputs)).sum(axis=1).mean()
    found = losses(model, outputs, y, loss=keras.losses.CategoricalCrossentropy(axis=1))["out"]
    assert found == pytest.approx((expected, np.log(3)), rel=1e-4)


@pytest.mark.parametrize(("loss", "units"), [("mse", 1), ("mae", 3)])
def test_what_a_mask_leaves_out_is_not_in_a_distance(loss, units):
    x, y = np.random.default_rng(0).normal(size=(2, 16, 5, units))
    x[:, 2:], y[:, 2:] = 0, -1000
    model = keras.Sequential([keras.Input((5, units)), layers.Masking(), layers.Identity(name="inputs")])
    model.add(layers.Dense(units, kernel_initializer="identity", name="out"))
    rows = y[:, :2].reshape(-1, units)
    errors = np.sqrt(((x - y)[:, :2] ** 2).mean())
    assert losses(model, x, y, loss=loss)["out"] == pytest.approx((errors, np.sqrt(rows.var(axis=0).mean())), rel=1e-4)


def test_an_output_that_is_masked_as_a_whole_is_not_compared():
    model = keras.Sequential([keras.Input((5, 3)), layers.Masking(), layers.Dense(3, name="out")])
    assert losses(model, np.zeros((16, 5, 3)), np.full((16, 5, 3), 1000.0), loss="mse")["out"] == (None, None)


def test_an_output_with_several_losses_is_not_compared():
    # Of one output alone, Keras 3.10 computes the first of several losses.
    far = 1000 + Y[:, :2]
    found = losses(two_outputs("list"), X, [Y, far], loss=[["mse", "mae"], "mse"])
    assert found["one"] == (None, None)
    assert found["two"] == (pytest.approx(1000, rel=0.01), pytest.approx(np.sqrt(far.var(axis=0).mean()), rel=1e-4))


def guess_of(model, x, y, loss):
    """Return the loss of a guess by the shares of the labels that is found of a model."""
    of = Diagnosis(Inventory(model), x, y, loss=loss)
    with of.measured([LossProbe]):
        (head,) = of.probe(LossProbe).heads
        return head.loss_of_shares


SHARES = np.array([0.25, 0.625, 0.125])
NUMBERS = np.repeat([0, 1, 2], [4, 10, 2])
SEVERAL = np.stack([NUMBERS == 1, NUMBERS == 2], axis=1)
GUESSES = {
    "numbers": (keras.losses.SparseCategoricalCrossentropy(), NUMBERS, SHARES),
    "rows": (keras.losses.CategoricalCrossentropy(), np.eye(3)[NUMBERS], SHARES),
    "smoothed rows": (
        keras.losses.CategoricalCrossentropy(label_smoothing=0.3),
        np.eye(3)[NUMBERS],
        0.7 * SHARES + 0.1,
    ),
    "an ignored class": (
        keras.losses.SparseCategoricalCrossentropy(ignore_class=2),
        NUMBERS,
        np.array([4, 10, 0]) / 14 + 1e-7,
    ),
    "several labels": (keras.losses.BinaryCrossentropy(), SEVERAL, SHARES[1:]),
    "smoothed": (keras.losses.BinaryCrossentropy(label_smoothing=0.2), SEVERAL, 0.8 * SHARES[1:] + 0.1),
}


@pytest.mark.parametrize("name", GUESSES)
def test_a_guess_by_the_shares_of_the_labels_has_the_loss_of_a_network_that_gives_them(name):
    loss, labels, shares = GUESSES[name]
    labels = labels.astype("float32")
    last = layers.Dense(len(shares), "sigmoid" if loss.name == "binary_crossentropy" else "softmax")
    model = keras.Sequential([keras.Input((6,)), last])
    found = guess_of(model, X, labels, loss)
    assert found == pytest.approx(float(loss(labels, np.tile(shares, (16, 1)))), rel=1e-3)


@pytest.mark.parametrize(
    ("labels", "loss"),
    [(np.zeros(16), "sparse_categorical_crossentropy"), (Y[:, :3], "mse"), (SEVERAL, "binary_focal_crossentropy")],
    ids=["of one class", "numbers", "focal"],
)
def test_some_losses_have_no_guess_by_shares(labels, loss):
    model = keras.Sequential([keras.Input((6,)), layers.Dense(2 if labels is SEVERAL else 3, "sigmoid")])
    assert guess_of(model, X, labels, loss) is None
