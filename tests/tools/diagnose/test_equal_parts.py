"""Equal values are one part only as long as their gradients are equal too."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.initializers import Constant
from modes import often, to_numpy

import keras_initx

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 8, 10)).astype("float32")
Y = RNG.integers(0, 3, 64)
TWINS = RNG.normal(size=(10, 32)).astype("float32") / 3


class Own(layers.Layer):
    """Applies a function of its inputs and a weight."""

    def __init__(self, shape, initializer, function):
        super().__init__(name="own")
        self.shape, self.initializer, self.function = shape, initializer, function

    def build(self, _):
        self.w = self.add_weight(shape=self.shape, initializer=self.initializer, name="w")

    def call(self, x):
        return self.function(x, self.w)


def attended(x, scale):
    heads = ops.reshape(x, (-1, 8, 5, 2))
    weights = ops.softmax(ops.einsum("bihd,bjhd->bhij", heads, heads) * ops.exp(scale), axis=-1)
    return ops.reshape(ops.einsum("bhij,bjhd->bihd", weights, heads), (-1, 8, 10))


def latents(x, table):
    z = ops.broadcast_to(table[None], (ops.shape(x)[0], 6, 10))
    return z + ops.softmax(z @ ops.transpose(x, (0, 2, 1)), axis=-1) @ x


def repeated(shape, dtype=None):
    return np.repeat(TWINS[None], shape[0], axis=0)


# A layer, and whether positions are averaged behind it.
PARTING = {
    "mix": (Own((3, 1, 1), Constant(1 / 3), lambda x, w: w[0] * x + w[1] * ops.tanh(x) + w[2] * x**2), False),
    "scales of heads": (Own((5, 1, 1), Constant(2.3), attended), False),
    "slopes": (Own((8, 10), Constant(0.25), lambda x, w: ops.maximum(x, 0) + w * ops.minimum(x, 0)), False),
    "adjacency": (Own((8, 8), Constant(1 / 8), lambda x, w: x + ops.relu(w @ x)), False),
    "queries of zeros": (Own((6, 10), "zeros", latents), False),
    "positions of zeros": (Own((8, 10), "zeros", lambda x, w: x + w), True),
}
STAYING = {
    "experts": (Own((4, 10, 32), repeated, lambda x, w: ops.mean(ops.relu(x[:, None] @ w), axis=1)), False),
    "heads": (Own((4, 10, 32), repeated, lambda x, w: ops.mean(ops.tanh(x[:, None] @ w), axis=1)), True),
    "adjacency that is all": (Own((8, 8), Constant(1 / 8), lambda x, w: ops.relu(w @ x)), True),
    "latents that are averaged": (Own((6, 10), "zeros", latents), True),
}


def network(layer, is_averaged):
    """Return a network with a copy of a layer."""
    layer = Own(layer.shape, layer.initializer, layer.function)
    keras.utils.set_random_seed(0)
    end = layers.GlobalAveragePooling1D() if is_averaged else layers.Flatten()
    model = keras.Sequential([keras.Input((8, 10)), layer, end, layers.Dense(3, "softmax")])
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return model, layer


def parts_after_a_step(model, layer):
    model.fit(X, Y, batch_size=64, verbose=0)
    return float(np.ptp(to_numpy(layer.w), axis=0).max())


@pytest.mark.release_backends
@pytest.mark.parametrize("name", PARTING)
def test_parts_with_other_gradients_are_no_problem(name):
    model, layer = network(*PARTING[name])
    assert keras_initx.diagnose(model, X, Y).ok
    if name != "positions of zeros":  # whose mean alone counts
        assert parts_after_a_step(model, layer) > 1e-4


@pytest.mark.release_backends
@pytest.mark.parametrize("name", STAYING)
def test_parts_with_equal_gradients_stay_equal(name):
    model, layer = network(*STAYING[name])
    (verdict,) = keras_initx.diagnose(model, X, Y).problems
    assert (verdict.problem, verdict.level, verdict.layers) == ("equal units", "error", ("own",))
    assert "get the same gradient" in verdict.evidence
    assert parts_after_a_step(model, layer) < 1e-6


def levels(*stack, x=X[:, 0], y=Y):
    model = keras.Sequential([keras.Input(x.shape[1:], dtype=x.dtype), *stack])
    report = keras_initx.diagnose(model, x, y, loss="sparse_categorical_crossentropy")
    return [one.level for one in report.verdicts if one.problem == "equal units"]


def constant(units, activation="relu"):
    return layers.Dense(units, activation, kernel_initializer=Constant(0.1))


@pytest.mark.parametrize(
    ("stack", "expected"),
    [
        ([constant(16), layers.Dense(3, "softmax")], ["warning"]),
        ([constant(16), constant(16, "tanh"), layers.Dense(3, "softmax")], ["error", "warning"]),
        ([layers.Dense(16, "relu"), constant(3, "softmax")], ["note"]),
        ([layers.Dense(16, "relu"), constant(1), layers.Dense(3, "softmax")], []),
    ],
    ids=["before random ones", "before constant ones", "last", "single unit"],
)
def test_units_of_one_number_are_judged_by_what_is_behind_them(stack, expected):
    assert levels(*stack) == expected


def test_a_depthwise_kernel_of_means_has_no_equal_units():
    blur = layers.DepthwiseConv1D(3, depthwise_initializer=Constant(1 / 3))
    assert levels(blur, layers.Flatten(), layers.Dense(3, "softmax"), x=X) == []


def test_gradients_are_those_of_the_loss_and_none_where_it_is_not_computed_of_a_weight():
    from asked import asked

    inputs = keras.Input((10,))
    used, other = layers.Dense(1, use_bias=False, name="used"), layers.Dense(1, use_bias=False, name="other")
    model = keras.Model(inputs, [used(inputs), other(inputs)])
    x = X[:, 0]
    model.compile(loss=["mse", None])
    weights = [used.kernel, other.kernel]
    found, nothing = asked(lambda of: of.gradient_values(weights), model, x, [x[:, :1], x[:, :1]])
    error = x @ to_numpy(used.kernel) - x[:, :1]
    np.testing.assert_allclose(found, 2 * x.T @ error / len(x), rtol=1e-4, atol=1e-6)
    assert nothing is None


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("units", often([1, 2, 5], [1, 5]))
def test_rows_of_zeros_whose_gradients_are_near_each_other_by_chance_do_not_stay_equal(units, policy):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 20)).astype("float32"), rng.normal(size=(64, units)).astype("float32")
    keras.utils.set_random_seed(0)
    hidden = layers.Dense(2000, "relu", dtype=policy)
    last = layers.Dense(units, kernel_initializer="zeros", dtype=policy, name="last")
    report = keras_initx.diagnose(keras.Sequential([keras.Input((20,)), hidden, last]), x, y, loss="mse")
    assert [(one.problem, one.level) for one in report.verdicts] == [("equal units", "note")]
