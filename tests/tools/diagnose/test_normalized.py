"""A normalization takes a scale away only where it divides by what it measures: not if it is frozen."""

import keras
import numpy as np
import pytest
from asked import seen
from keras import layers, ops

import keras_initx

DRAWS = np.random.default_rng(0)
X = (100 * DRAWS.normal(size=(64, 8))).astype("float32")
Y = DRAWS.normal(size=(64, 1)).astype("float32")


class OwnNorm(layers.Layer):
    """Divides by the deviation of each row, or by a number that it keeps."""

    def __init__(self, is_fixed):
        super().__init__(name="norm")
        self.is_fixed = is_fixed

    def call(self, x):
        return x / (2.0 if self.is_fixed else ops.std(x, axis=-1, keepdims=True) + 1e-3)


def batch_normalization(**options):
    return layers.BatchNormalization(name="norm", **options)


def frozen(layer):
    layer.trainable = False
    return layer


class Written(keras.Model):
    """Calls a normalization after one layer, or after two in different modes.

    In a functional model Keras would give each layer the mode of the model.
    """

    def __init__(self, norm, training):
        super().__init__()
        self.first, self.last = layers.Dense(16, name="first"), layers.Dense(1, name="last")
        self.norm, self.modes = norm, training

    def call(self, x):
        hidden = self.first(x)
        return self.last(sum(self.norm(hidden, training=mode) for mode in self.modes))


class OverBase(keras.Model):
    """Calls a base in the mode of inference."""

    def __init__(self):
        super().__init__()
        self.base, self.last = base(), layers.Dense(1, name="last")

    def call(self, x):
        return self.last(self.base(x, training=False))


def stacked(norm):
    return keras.Sequential([keras.Input((8,)), layers.Dense(16, name="first"), norm, layers.Dense(1, name="last")])


def base(trainable=True):
    """Return a model with a normalization inside, as in transfer learning."""
    stack = [layers.Dense(16, name="first"), batch_normalization(), layers.ReLU()]
    inside = keras.Sequential([keras.Input((8,)), *stack], name="base")
    inside.trainable = trainable
    return inside


def in_a_base(trainable=True):
    return keras.Sequential([keras.Input((8,)), base(trainable), layers.Dense(1, name="last")])


LINEAR = {
    "frozen": lambda: stacked(frozen(batch_normalization())),
    "called with training=False": lambda: Written(batch_normalization(), [False]),
    "called with training=False in one of two calls": lambda: Written(batch_normalization(), [True, False]),
    "in a frozen base": lambda: in_a_base(trainable=False),
    "in a base that is called with training=False": OverBase,
    "in a class of a user": lambda: stacked(OwnNorm(is_fixed=True)),
}
NORMALIZING = {
    "over the batch": lambda: stacked(batch_normalization()),
    "in a base": in_a_base,
    "over a row, frozen": lambda: stacked(frozen(layers.LayerNormalization(name="norm"))),
    "over groups": lambda: stacked(layers.GroupNormalization(4, name="norm")),
    "in a class of a user": lambda: stacked(OwnNorm(is_fixed=False)),
}


def report(model, x=X):
    return keras_initx.diagnose(model, x, Y, loss="mse")


def levels(model):
    """Return the levels at which the inputs are unscaled."""
    return [one.level for one in report(model).verdicts if one.problem == "unscaled inputs"]


def normalized_by(model):
    """Return what normalizes the outputs of the first layer."""
    (first,) = (layer for name, layer in seen(model, X).items() if name.endswith("first"))
    return first.normalized_by


@pytest.mark.rare
@pytest.mark.release_backends
@pytest.mark.parametrize("name", LINEAR)
def test_a_normalization_by_numbers_that_it_keeps_is_a_linear_layer(name):
    model = LINEAR[name]()
    assert levels(model) == ["warning"]
    assert normalized_by(model) is None


@pytest.mark.release_backends
@pytest.mark.parametrize("name", NORMALIZING)
def test_a_normalization_by_what_it_measures_takes_the_scale_away(name):
    model = NORMALIZING[name]()
    assert levels(model) == ["note"]
    assert normalized_by(model).endswith("norm")


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_16_bits_do_not_change_that(policy):
    keras.config.set_dtype_policy(policy)
    try:
        models = LINEAR["frozen"](), NORMALIZING["over the batch"]()
    finally:
        keras.config.set_dtype_policy("float32")
    assert list(map(levels, models)) == [["warning"], ["note"]]


def test_large_steps_do_harm_where_the_only_normalization_is_frozen():
    found = []
    for norm in (batch_normalization(), frozen(batch_normalization())):
        model = stacked(norm)
        model.compile(keras.optimizers.Adam(1.0), "mse")
        found.append("rate" in [one.problem for one in keras_initx.diagnose(model, X / 100, Y).problems])
    assert found == [False, True]


def test_averages_and_generators_are_as_before():
    model = NORMALIZING["over the batch"]()
    before = model.get_weights()
    report(model)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
