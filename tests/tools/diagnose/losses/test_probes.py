"""Gradients are those of the loss, with its penalties, and of what is trained."""

import keras
import numpy as np
import pytest
from keras import layers
from modes import to_numpy
from stacks import by_name

import keras_initx

X = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
Y = np.random.default_rng(1).normal(size=(64, 3)).astype("float32")


@pytest.fixture
def dense():
    return layers.Dense(6, "tanh", bias_initializer="random_normal", name="hidden"), layers.Dense(3, name="out")


def sequential(hidden, out):
    return keras.Sequential([keras.Input((8,)), hidden, out])


@pytest.mark.every_backend
def test_gradients_are_those_of_the_loss(dense):
    model = sequential(*dense)
    dense[1].bias.assign([1.0, -2.0, 3.0])
    out = by_name(keras_initx.diagnose(model, X, Y, loss="mse"))["out"]
    error = 2 * (to_numpy(model(X)) - Y) / Y.size
    kernel = np.linalg.norm(to_numpy(dense[0](X)).T @ error)
    bias = np.linalg.norm(error.sum(axis=0))
    assert [weight.gradient for weight in out.weights] == pytest.approx([kernel, bias], rel=1e-4)
    assert out.gradient.norm == pytest.approx(np.hypot(kernel, bias), rel=1e-4)
    norm = np.hypot(np.linalg.norm(to_numpy(dense[1].kernel)), np.sqrt(14))
    assert out.gradient.ratio == pytest.approx(np.hypot(kernel, bias) / norm, rel=1e-4)


def gradients_with(penalty, strength, loss):
    """Return the norms of the gradients of two kernels with a penalty."""
    keras.utils.set_random_seed(0)
    regularizer = {penalty: keras.regularizers.L2(strength)}
    model = keras.Sequential([keras.Input((8,)), layers.Dense(5, **regularizer), layers.Dense(1, **regularizer)])
    model.compile(loss="mse")
    found = keras_initx.diagnose(model, X, Y[:, :1], loss=loss).rows
    return [layer.weights[0].gradient for layer in found]


@pytest.mark.parametrize("loss", [None, "mse"])
def test_penalties_of_activations_are_part_of_the_loss(loss):
    without = gradients_with("activity_regularizer", 0.0, loss)
    for norm, penalized in zip(without, gradients_with("activity_regularizer", 1e3, loss), strict=True):
        assert penalized > 10 * norm


@pytest.mark.parametrize("loss", [None, "mse"])
def test_gradients_leave_out_penalties_of_weights(loss):
    assert gradients_with("kernel_regularizer", 1e3, loss) == gradients_with("kernel_regularizer", 0.0, loss)


def test_regularizers_are_put_back_after_an_error():
    model = keras.Sequential([keras.Input((8,)), layers.Dense(1, kernel_regularizer="l2")])
    regularizer = model.layers[0].kernel.regularizer

    seen = []

    def fails_later(y_true, y_pred):
        seen.append(model.layers[0].kernel.regularizer)
        if seen[-1] is None:
            raise ArithmeticError("there is no penalty")
        return keras.ops.mean((y_true - y_pred) ** 2)

    with pytest.raises(ArithmeticError, match="there is no penalty"):
        keras_initx.diagnose(model, X, Y[:, :1], loss=fails_later)
    assert seen[-1] is None
    assert model.layers[0].kernel.regularizer is regularizer


def test_no_gradient_is_known_where_the_loss_is_nan():
    names = [f"hidden_{number}" for number in range(4)]
    stack = [layers.Dense(8, "relu", kernel_regularizer="l2", name=name) for name in names]
    model = keras.Sequential([keras.Input((8,)), *stack, layers.Dense(3, name="out")])
    for layer in stack[1:3]:
        layer.kernel.assign(1e30 * layer.kernel)
    report = keras_initx.diagnose(model, X, Y, loss="mse")
    assert all(np.isnan(weight.gradient) for layer in report.rows for weight in layer.weights)
    assert {verdict.problem: verdict.layers for verdict in report.verdicts} == {
        "exploding": ("hidden_1", "hidden_2", "hidden_3", "out")
    }


@pytest.mark.release_backends
def test_weights_without_a_gradient_have_one_of_zero():
    class Unused(layers.Layer):
        def build(self, shape):
            self.used = self.add_weight(shape=(shape[-1], 3), name="used")
            self.unused = self.add_weight(shape=(5, 3), name="unused")

        def call(self, inputs):
            return keras.ops.matmul(inputs, self.used)

    (layer,) = keras_initx.diagnose(keras.Sequential([keras.Input((8,)), Unused()]), X, Y, loss="mse").rows
    used, unused = (weight.gradient for weight in layer.weights)
    assert used > 0
    assert unused == 0


def test_a_training_step_is_measured():
    model = keras.Sequential([keras.Input((8,)), layers.Dropout(0.5, seed=0), layers.BatchNormalization(name="bn")])
    (bn,) = keras_initx.diagnose(model, 100 + X).rows
    assert bn.after.std == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    # Scaled as in training, the gradients of all weights overflow, or those of some.
    "factor",
    [pytest.param(1e-5, marks=pytest.mark.release_backends), 1e3, 30],
    ids=["small", "large", "large in part"],
)
def test_gradients_in_float16_are_those_in_float32(factor):
    def norms(dtype):
        keras.utils.set_random_seed(0)
        stack = [layers.Dense(6, "tanh", dtype=dtype), layers.Dense(3, dtype=dtype)]
        report = keras_initx.diagnose(
            keras.Sequential([keras.Input((8,)), *stack]),
            X,
            Y,
            loss=lambda y, outputs: factor * keras.ops.mean((y - outputs) ** 2),
        )
        return [layer.gradient and layer.gradient.norm for layer in report.rows]

    np.testing.assert_allclose(norms("mixed_float16"), norms("float32"), rtol=0.02)
