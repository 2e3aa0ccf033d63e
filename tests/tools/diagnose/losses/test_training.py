"""A loss may have every form that `compile` takes, and is computed as in training."""

import types

import keras
import numpy as np
import pytest
from compared_losses import X, Y, losses, squares, two_outputs
from keras import layers
from modes import to_numpy

import keras_initx


class Squares(keras.losses.Loss):
    def call(self, targets, outputs):
        return squares(targets, outputs)


MEAN_OF_SQUARES = {
    "name": "mse",
    "object": keras.losses.MeanSquaredError(),
    "own": Squares(),
    "without reduction": Squares(reduction=None),
    "for each example": squares,
    "mean": lambda targets, outputs: keras.ops.mean((targets - outputs) ** 2),
    "list": [squares],
    "dict": {"out": squares},
}


def network():
    return keras.Sequential([keras.Input((6,)), layers.Identity(), layers.Dense(3, use_bias=False, name="out")])


def gradients(model, x, y, **options):
    """Return the norm of the gradient of each layer, by its name."""
    layers_found = keras_initx.diagnose(model, x, y, **options).rows
    return {layer.name: layer.gradient.norm for layer in layers_found if layer.gradient}


def of_mean_of_squares(model):
    """Return the norm of the gradient of `network` with a mean of squares, from its formula."""
    return np.linalg.norm(2 * X.T @ (X @ to_numpy(model.layers[-1].kernel) - Y) / Y.size)


@pytest.mark.parametrize("loss", MEAN_OF_SQUARES.values(), ids=MEAN_OF_SQUARES)
def test_a_mean_has_one_gradient_in_all_forms(loss):
    model = network()
    assert gradients(model, X, Y, loss=loss)["out"] == pytest.approx(of_mean_of_squares(model), rel=1e-4)


@pytest.mark.parametrize("loss", [squares, ["mse"]], ids=["function", "list"])
def test_a_compiled_loss_may_have_these_forms_too(loss):
    model = network()
    model.compile("sgd", loss)
    assert gradients(model, X, Y)["out"] == pytest.approx(of_mean_of_squares(model), rel=1e-4)


def test_a_loss_that_is_infinite_has_the_gradient_of_what_is_finite():
    model = network()
    found = gradients(model, X, Y, loss=lambda targets, outputs: np.inf + squares(targets, outputs))
    assert found["out"] == pytest.approx(of_mean_of_squares(model), rel=1e-4)


def test_a_sum_is_not_averaged():
    model = network()
    found = gradients(model, X, Y, loss=Squares(reduction="sum"))["out"]
    assert found == pytest.approx(len(X) * of_mean_of_squares(model), rel=1e-4)


CLASSES = np.arange(16) % 3


@pytest.mark.parametrize(
    ("name", "labels", "units"),
    # Means over the outputs of an example, over all examples, of classes and of numbers of classes.
    [
        ("binary_crossentropy", CLASSES > 1, 1),
        ("dice", np.eye(3)[CLASSES], 3),
        ("categorical_crossentropy", np.eye(3)[CLASSES], 3),
        ("sparse_categorical_crossentropy", CLASSES, 3),
    ],
)
def test_a_loss_of_keras_has_the_gradient_of_a_step_of_training(name, labels, units):
    out = layers.Dense(units, "sigmoid" if units == 1 else "softmax", use_bias=False, name="out")
    model = keras.Sequential([keras.Input((6,)), out])
    model.compile(keras.optimizers.SGD(1.0), name)
    before = to_numpy(out.kernel)
    found = gradients(model, X, labels)["out"]
    model.fit(X, labels, batch_size=16, epochs=1, verbose=0)
    assert found == pytest.approx(np.linalg.norm(before - to_numpy(out.kernel)), rel=1e-3, abs=1e-6)


@pytest.mark.parametrize(
    ("outputs", "y", "loss"),
    [
        ("list", {"two": Y[:, :2], "one": Y}, squares),
        ("list", {"two": Y[:, :2], "one": Y}, {"two": Squares(), "one": "mse"}),
        ("dict", {"two": Y[:, :2], "one": Y}, ["mse", squares]),
    ],
    ids=["function", "dict", "list"],
)
def test_each_output_has_its_loss(outputs, y, loss):
    model = two_outputs(outputs)
    model.compile("sgd", loss)
    given = gradients(model, X, y, loss=loss)
    assert given == gradients(model, X, y)
    out = to_numpy(model.get_layer("one").kernel)
    assert given["one"] == pytest.approx(np.linalg.norm(2 * X.T @ (X @ out - Y) / Y.size), rel=1e-4)


def test_masked_steps_have_no_loss():
    tokens = np.tile([[1, 2, 0, 0], [3, 0, 0, 0]], (8, 1))
    embedding = layers.Embedding(5, 4, mask_zero=True, name="tokens")
    model = keras.Sequential([keras.Input((4,), dtype="int32"), embedding, layers.Dense(3, name="out")])
    y = np.random.default_rng(1).normal(size=(16, 4, 3))
    other = np.where((tokens == 0)[..., None], 100.0, y)
    assert gradients(model, tokens, y, loss=squares) == gradients(model, tokens, other, loss=squares)


@pytest.mark.every_backend
@pytest.mark.parametrize("compiled", [False, True])
def test_a_model_may_compute_its_loss_itself(compiled):
    class Own(keras.Sequential):
        def compute_loss(self, x, y, y_pred, sample_weight, training=True):
            # As in training, where both are tensors.
            assert keras.ops.is_tensor(x)
            assert keras.backend.standardize_dtype(x.dtype) == "float32"
            return keras.ops.mean((y - y_pred) ** 2)

    model = Own([keras.Input((6,)), layers.Dense(3, use_bias=False, name="out")])
    model.compile("sgd", "mae" if compiled else None)
    assert gradients(model, X, Y)["out"] == pytest.approx(of_mean_of_squares(model), rel=1e-4)


def of_other_names(self, inputs, targets, predictions, weights):
    return keras.ops.mean((targets - predictions) ** 2)


def with_training(self, x, y, y_pred, sample_weight, training):
    # As in training, where it is true.
    return keras.ops.mean((y - y_pred) ** 2) / training


def test_an_own_computation_gets_the_arguments_of_training():
    own = type("Own", (keras.Sequential,), {"compute_loss": with_training})
    model = own(network().layers)
    model.compile("sgd")
    assert gradients(model, X, Y)["out"] == pytest.approx(of_mean_of_squares(model), rel=1e-4)


def as_function(function, model):
    def compute_loss(x, y, y_pred, sample_weight):
        return function(model, x, y, y_pred, sample_weight)

    return compute_loss


@pytest.mark.parametrize("bound", [types.MethodType, as_function])
def test_a_computation_may_be_set_on_the_model(bound):
    model = network()
    model.compile("sgd", "mae")
    model.compute_loss = bound(of_other_names, model)
    assert gradients(model, X, Y)["out"] == pytest.approx(of_mean_of_squares(model), rel=1e-4)
    assert losses(model, X, Y)["out"] == (None, None)


@pytest.mark.parametrize("loss", [None, "mse"], ids=["compiled", "given"])
def test_a_penalty_may_have_a_value_for_each_example(loss):
    class Penalty(layers.Layer):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def call(self, inputs):
            self.add_loss(self.factor * keras.ops.mean(inputs**2, axis=-1))
            return inputs

    keras.utils.set_random_seed(0)
    layer = layers.Dense(3, use_bias=False, name="out")
    model = keras.Sequential([keras.Input((6,)), layer, Penalty(1.0)])
    model.compile("sgd", "mse")
    outputs = X @ to_numpy(layer.kernel)
    expected = 2 * X.T @ ((outputs - Y) / Y.size + outputs / 3)
    assert gradients(model, X, Y, loss=loss)["out"] == pytest.approx(np.linalg.norm(expected), rel=1e-4)


@pytest.mark.parametrize("loss", [{"one": Squares(), "two": "mse"}, None], ids=["given", "compiled"])
def test_the_loss_of_the_model_stays(loss):
    model = two_outputs("list")
    model.compile("sgd", ["mse", "mae"], metrics=[["mae"], ["mae"]])
    named = [metric.name for metric in model.metrics]
    keras_initx.diagnose(model, X, [Y, Y[:, :2]], loss=loss)
    assert model.loss == ["mse", "mae"]
    assert [metric.name for metric in model.metrics] == named


@pytest.mark.parametrize("loss", ["msee", 3, {"out": "msee"}], ids=str)
def test_an_unknown_loss_is_refused_before_anything_runs(loss):
    ran = []
    model = keras.Sequential([keras.Input((6,)), layers.Lambda(lambda x: ran.append(0) or x), layers.Dense(3)])
    ran.clear()
    with pytest.raises(
        ValueError, match=r"`loss` must be the name of a loss, .* list or dict of them. Received: loss="
    ):
        keras_initx.diagnose(model, X, Y, loss=loss)
    assert not ran


def test_names_in_a_loss_are_those_of_outputs():
    with pytest.raises(ValueError, match=r"Expected keys \['out'\] in loss dict, but found loss.keys\(\)=\['other'\]"):
        keras_initx.diagnose(network(), X, Y, loss={"other": "mse"})


def test_a_model_may_have_the_loss_of_its_layers_alone():
    class Adding(layers.Layer):
        def call(self, inputs):
            self.add_loss(keras.ops.mean(inputs**2))
            return inputs

    model = keras.Sequential([*network().layers, Adding()])
    model.compile("sgd")
    model.build((None, 6))
    kernel = to_numpy(model.weights[0])
    norm = np.linalg.norm(2 * X.T @ (X @ kernel) / Y.size)
    assert gradients(model, X, Y)["out"] == pytest.approx(norm, rel=1e-4)


def test_a_regularizer_alone_is_no_loss():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(3, kernel_regularizer="l2")])
    with pytest.raises(
        ValueError, match=r"`loss` is required with `y`: .*, compile the model with one, or leave out `y`"
    ):
        keras_initx.diagnose(model, X, Y)


def test_a_layer_of_one_mode_alone_beside_dropout():
    class Modes(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.noise, self.last = layers.Dense(8, "relu"), layers.Dropout(0.5), layers.Dense(1)
            self.more = layers.Dense(8)

        def call(self, x, training=False):
            hidden = self.noise(self.first(x), training=training)
            return self.last(hidden if training else hidden + self.more(hidden))

    model = Modes()
    model(X)
    assert keras_initx.diagnose(model, X, X[:, :1], loss="mse").ok


def test_a_loss_may_leave_out_targets_that_are_not_finite():
    y = Y.copy()
    y[3] = np.nan

    def of_finite(y_true, y_pred):
        is_given = keras.ops.isfinite(y_true)
        return keras.ops.where(is_given, keras.ops.where(is_given, y_true, 0) - y_pred, 0) ** 2

    assert keras_initx.diagnose(network(), X, y, loss=of_finite).ok
