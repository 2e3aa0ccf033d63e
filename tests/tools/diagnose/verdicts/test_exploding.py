"""What explodes is named with its cause, and its remedy helps."""

import keras
import numpy as np
import pytest
from asked import seen
from judged import OF_KERNELS, OF_RELU, X, cured, found, mlp
from keras import layers, ops
from last_layers import SIDE, problems
from leveled import IMAGES, INPUTS, NORMALIZATIONS, layer_named, levels_found

import keras_initx


@pytest.mark.parametrize(("factor", "is_cause"), [(90, False), (110, True)])
def test_large_inputs_are_a_cause_of_what_explodes(factor, is_cause):
    model = mlp("relu")
    for layer in model.layers:
        layer.kernel.assign(10 * layer.kernel)
    remedy = found(model, factor * X)["exploding"].remedy.text
    assert remedy.startswith("standardize the inputs") == is_cause


EXPLODING = {
    "relu": ("relu", X, 3, OF_KERNELS.format(OF_RELU)),
    "tanh": ("tanh", X, 1e4, OF_KERNELS.format("keras_initx.Orthogonal() or keras_initx.GlorotUniform()")),
}


@pytest.mark.rare
@pytest.mark.parametrize("name", EXPLODING)
def test_the_remedy_of_what_explodes_helps(name):
    activation, x, factor, remedy = EXPLODING[name]
    # So deep that only the right initializer keeps the signal.
    model = mlp(activation, depth=25)
    for layer in model.layers:
        layer.kernel.assign(factor * layer.kernel)
    applied = found(model, x)["exploding"].remedy
    assert applied.text == remedy
    assert found(cured(model, applied), x) == {}


@pytest.mark.rare
@pytest.mark.parametrize(
    ("x", "size"),
    [
        (1e8 * X, "their standard deviation is 9.96e+07"),
        (1e6 + X, "their mean is 1e+06, their standard deviation is 0.997"),
    ],
    ids=["deviation", "mean"],
)
def test_the_remedy_of_inputs_that_explode_is_no_rule(x, size):
    remedy = found(mlp("relu", depth=25), x)["exploding"].remedy
    assert remedy.text == f"standardize the inputs ({size}), then use {OF_RELU}"
    assert not remedy.weights
    kernels = {"*kernel": keras_initx.Orthogonal("relu"), "*": None}
    model = mlp("relu", depth=25)
    keras_initx.initialize(model, kernels, seed=0)
    assert found(model, (x - x.mean(axis=0)) / x.std(axis=0)) == {}


def test_few_values_are_evaluated_only_if_they_are_not_finite():
    model = mlp("relu", depth=0)
    out = model.get_layer("out")
    out.kernel.assign(1e6 * out.kernel)
    assert "exploding" in found(model, X[:4])
    assert found(model, X[:3]) == {}
    out.kernel.assign(1e32 * out.kernel)
    assert "exploding" in found(model, 1e6 * X[:3])


def test_targets_far_from_zero_are_the_cause_of_large_gradients():
    model, y = mlp("relu", depth=1), 2e5 + 8e4 * X[:, :5]
    report = keras_initx.diagnose(model, X, y, loss="mse")
    assert [verdict.problem for verdict in report.verdicts] == ["unscaled targets", "exploding"]
    assert report.verdicts[1].remedy.text == "standardize the targets, or set the bias of the last layer to their mean"
    assert keras_initx.diagnose(model, X, (y - y.mean()) / y.std(), loss="mse").verdicts == []


MATCHING = "use a loss that matches the outputs (`from_logits=True` if there is no softmax)"
HIDDEN = "hidden_1/kernel, hidden_2/kernel and 1 more"
CLIPPED = "clip gradients: global_clipnorm=1.0 in the optimizer"


def cubes(y, outputs):
    """A loss that is like none of Keras."""
    return 1e7 * keras.ops.mean(abs(y - outputs) ** 3)


def squares(y, outputs):
    return 1e7 * keras.losses.mean_squared_error(y, outputs)


@pytest.mark.parametrize(
    ("loss", "kernel", "remedy"),
    [
        (squares, "glorot_uniform", f"use the loss without its factor of 1e+07, or {CLIPPED}"),
        (squares, keras_initx.Scaled("initx.he_normal", 2.0), f"draw smaller weights: {OF_RELU} in {HIDDEN}"),
        (
            cubes,
            "glorot_uniform",
            f"{MATCHING}, or use a smaller loss, for example this one times a factor, or {CLIPPED}",
        ),
        (
            cubes,
            keras_initx.Scaled("initx.he_normal", 2.0),
            f"{MATCHING}, or draw smaller weights: {OF_RELU} in {HIDDEN}",
        ),
    ],
)
def test_large_gradients_of_usual_signals_are_a_warning(loss, kernel, remedy):
    model = mlp("relu", kernel, depth=3)
    verdict = keras_initx.diagnose(model, X, X[:, :5], loss=loss).verdicts[0]
    assert (verdict.problem, verdict.level, verdict.remedy.text) == ("exploding", "warning", remedy)


@pytest.mark.parametrize("x", [486 * X, 486 + X], ids=["deviation", "mean"])
def test_inputs_are_the_cause_of_large_gradients(x):
    model = mlp("relu", "he_normal", depth=3)
    unscaled, gradient = keras_initx.diagnose(model, x, X[:, :5], loss="mse").verdicts
    assert unscaled.problem == "unscaled inputs"
    assert (gradient.problem, gradient.level) == ("exploding", "warning")
    assert gradient.remedy.text == "standardize the inputs"
    standardized = (x - x.mean(axis=0)) / x.std(axis=0)
    assert keras_initx.diagnose(model, standardized, X[:, :5], loss="mse").verdicts == []


def test_outputs_of_nan_are_reported_where_the_loss_raises():
    stack = [layers.Dense(8, "exponential", kernel_initializer=keras.initializers.Constant(9.0)) for _ in range(3)]
    signs = layers.Dense(1, "sigmoid", kernel_initializer=keras.initializers.RandomNormal(seed=0))
    model = keras.Sequential([keras.Input((8,)), *stack, signs])
    assert "exploding" in problems(model, SIDE, "binary_crossentropy")


@pytest.mark.parametrize("dtypes", [("bfloat16", "float32"), ("float32", "bfloat16")], ids=str)
def test_what_follows_is_seen_where_each_layer_casts_its_inputs(dtypes):
    one, other = dtypes
    stack = [
        layers.Dense(8, dtype=one),
        layers.LayerNormalization(dtype=other, name="norm"),
        layers.Dense(8, dtype=one),
    ]
    model = keras.Sequential([keras.Input((16,)), *stack, layers.ReLU(dtype=other)])
    found = seen(model, INPUTS).values()
    assert [layer.normalized_by for layer in found] == ["norm", None, None, None]
    assert [layer.activated_by for layer in found] == [None, None, "relu", None]
    assert [layer.is_first for layer in found] == [True, False, False, False]
    assert [layer.makes_output for layer in found] == [False, False, True, True]


def test_what_follows_is_seen_in_code_of_ones_own_and_through_models():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__(name="block")
            large = layer_named("large", keras.initializers.RandomNormal(stddev=1e4))
            self.inner = keras.Sequential([keras.Input((8, 8, 16)), large])
            self.outer = keras.Sequential([keras.Input((8, 8, 16)), layers.BatchNormalization()])

        def call(self, inputs):
            return self.outer(self.inner(inputs))

    model = keras.Sequential([keras.Input((8, 8, 16)), Block()])
    ((problem, names),) = levels_found(model, IMAGES).items()
    assert problem == ("exploding", "note")
    assert names[0].endswith("/large")


@pytest.mark.parametrize(
    ("normalization", "activation"),
    [*((one, None) for one in NORMALIZATIONS), (NORMALIZATIONS[0], "relu"), (NORMALIZATIONS[0], "layer")],
    ids=["batch", "rms", "group", "relu", "layer of relu"],
)
def test_a_large_signal_is_a_note_before_each_normalization(normalization, activation):
    large = keras.initializers.RandomNormal(stddev=1e4)
    stack = [layer_named("large", large, activation="relu" if activation == "relu" else None)]
    stack += [layers.ReLU()] if activation == "layer" else []
    model = keras.Sequential([keras.Input((16,)), *stack, normalization(), layer_named("out")])
    ((problem, names),) = levels_found(model).items()
    assert problem == ("exploding", "note")
    assert "large" in names


@pytest.mark.parametrize("addition", ["layer", "operation"])
def test_a_large_signal_is_an_error_where_something_else_takes_the_output_too(addition):
    inputs = keras.Input((16,))
    hidden = layer_named("large", keras.initializers.RandomNormal(stddev=1e4))(inputs)
    normalized = layers.BatchNormalization()(hidden)
    outputs = layers.Add()([hidden, normalized]) if addition == "layer" else hidden + normalized
    assert "large" in levels_found(keras.Model(inputs, outputs))["exploding", "error"]


def test_a_large_signal_before_a_normalization_is_a_note():
    large = keras.initializers.RandomNormal(stddev=1e4)
    model = keras.Sequential(
        [keras.Input((16,)), layer_named("large", large), layers.LayerNormalization(), layer_named("out")]
    )
    assert levels_found(model) == {("exploding", "note"): ("large",)}
    assert "directly after large normalizes this scale" in keras_initx.diagnose(model, INPUTS).verdicts[0].evidence
    model = keras.Sequential([keras.Input((16,)), layer_named("large", large), layer_named("out")])
    assert levels_found(model) == {("exploding", "error"): ("large", "out")}


class Product(keras.layers.Layer):
    """Multiply by two kernels, whose product overflows."""

    def build(self, shape):
        self.first = self.add_weight((shape[-1], 8), keras.initializers.RandomNormal(stddev=1e25, seed=0), name="first")
        self.second = self.add_weight((8, 4), keras.initializers.RandomNormal(stddev=1e25, seed=0), name="second")

    def call(self, x):
        return x @ self.first @ self.second


def test_a_kernel_that_is_huge_as_a_whole_is_named_and_not_the_formula():
    model = mlp("relu", depth=1)
    assert found(model, X) == {}
    model.get_layer("hidden_1").kernel.assign(1e30 * model.get_layer("hidden_1").kernel)
    assert "; the cause is hidden_1/kernel with a standard deviation of " in found(model, X)["exploding"].evidence
    product = keras.Sequential([keras.Input((64,)), Product(name="product"), keras.layers.Dense(5)])
    verdicts = found(product, X)
    assert list(verdicts) == ["exploding"]
    assert "; the cause is product/first with a standard deviation of " in verdicts["exploding"].evidence
    assert "(and 1 more weight" in verdicts["exploding"].evidence


class Apply(layers.Layer):
    def __init__(self, function):
        super().__init__(name="apply")
        self.function = function

    def call(self, x):
        return self.function(x)


def applied(function, as_layer=True, **options):
    hidden = layers.Dense(8, None if as_layer else function, name="hidden", **options)
    own = [Apply(function)] if as_layer else []
    model = keras.Sequential([keras.Input((8,)), hidden, *own, layers.Dense(1)])
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    return keras_initx.diagnose(model, x, x[:, :1], loss="mse").problems


@pytest.mark.release_backends
@pytest.mark.parametrize("as_layer", [True, False])
def test_arguments_of_sines_near_1000_are_too_large(as_layer):
    (verdict,) = applied(lambda z: ops.sin(1000 * z), as_layer)
    assert (verdict.problem, verdict.level, verdict.layers) == ("exploding", "warning", ("hidden",))
    assert "the function after hidden turns around about" in verdict.evidence
    assert verdict.remedy.text.startswith("use arguments of size 1 to 30 in the sine")


@pytest.mark.parametrize(
    "function",
    [
        lambda z: ops.sin(30 * z),
        lambda z: (z / 3) ** 80,
        lambda z: ops.exp(20 * (z - 3)),
        lambda z: ops.sigmoid(500 * z),
        lambda z: z + ops.convert_to_tensor(np.random.default_rng().normal(size=(8,)).astype("float32")),
    ],
    ids=["sine of 30", "power", "exponential", "steep sigmoid", "noise"],
)
def test_what_is_steep_but_does_not_repeat_has_no_arguments_that_are_too_large(function):
    assert "exploding" not in [one.problem for one in applied(function)]


def test_frozen_kernels_may_draw_fourier_features():
    assert applied(lambda z: ops.sin(1000 * z), trainable=False) == []
