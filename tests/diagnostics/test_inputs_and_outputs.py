"""Inputs that are not scaled and outputs that are saturated are named, where they harm."""

import keras
import numpy as np
import pytest
from asked import asked
from keras import layers

import keras_initx
from keras_initx.diagnostics._first_inputs import first_inputs
from keras_initx.diagnostics.losses.probes import outputs
from keras_initx.initializers._activations import ACTIVATIONS

# Measurements are tested in test_measure.py, kinds of faults in test_cases.py.

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, (64, 8, 8, 3)).astype("float32")
SCALED = (PIXELS - PIXELS.mean()) / PIXELS.std()


def found(model, x=PIXELS, **arguments):
    report = keras_initx.diagnose(model, x, **arguments)
    return {verdict.problem: verdict for verdict in report.verdicts}


def certain_of(model, x):
    """Return the share of the examples for which each output is certain, by the layer that makes it."""
    return {name: record.certain for name, record in asked(outputs, model, x).items()}


def classifier(*first, last=("softmax",), **arguments):
    hidden = [layers.Dense(64, "relu", name=f"hidden_{number}") for number in range(2)]
    head = [layers.Dense(10, name="out", **arguments), *(layers.Activation(name) for name in last)]
    return keras.Sequential([keras.Input((8, 8, 3)), *first, layers.Flatten(), *hidden, *head])


def test_pixels_into_a_relu_network():
    verdicts = found(classifier())
    assert list(verdicts) == ["unscaled inputs", "saturated"]
    assert verdicts["unscaled inputs"].level == verdicts["saturated"].level == "warning"
    assert verdicts["unscaled inputs"].layers == ("hidden_0",)
    assert "hidden_0 gets inputs from 0 to 255, with mean 12" in verdicts["unscaled inputs"].evidence
    assert "keras.layers.Rescaling(1 / 127.5, offset=-1)" in verdicts["unscaled inputs"].remedy.text
    assert "of the examples before training, its input has standard deviation" in verdicts["saturated"].evidence
    assert verdicts["saturated"].remedy.text == "standardize the inputs"


OTHERS = {
    "series": (GENERATOR.normal(100, 1, (32, 20, 3)), layers.LSTM(8)),
    "table of bytes": (PIXELS[:, 0, :2].reshape(64, 6), layers.Dense(8, "relu")),
    "fields": (PIXELS + 0.5, layers.Conv2D(4, 3, activation="relu")),
}


@pytest.mark.parametrize("name", OTHERS)
def test_only_images_of_bytes_are_to_be_scaled_as_such(name):
    x, first = OTHERS[name]
    model = keras.Sequential([keras.Input(x.shape[1:]), first, layers.Flatten(), layers.Dense(1)])
    remedy = found(model, x.astype("float32"))["unscaled inputs"].remedy
    assert "Normalization()" in remedy.text
    assert "Rescaling" not in remedy.text


class Subclassed(keras.Model):
    """Gets its inputs as they are: a functional model casts them."""

    def __init__(self, hidden=None):
        super().__init__()
        hidden = hidden or layers.Dense(64, "relu", name="hidden")
        self.stack = [layers.Flatten(), hidden, layers.Dense(10, name="out")]

    def call(self, x):
        for layer in self.stack:
            x = layer(x)
        return x


def test_pixels_into_a_subclassed_network():
    assert "unscaled inputs" in found(Subclassed(), PIXELS.astype("uint8"))


class Table(layers.Layer):
    """Multiplies by its weights, or looks up rows of them."""

    def __init__(self, looks_up):
        super().__init__(autocast=False)
        self.looks_up = looks_up

    def build(self, shape):
        self.table = self.add_weight(shape=(256 if self.looks_up else shape[-1], 8), name="table")

    def call(self, x):
        if self.looks_up:
            return keras.ops.take(self.table, x, axis=0)
        return keras.ops.matmul(keras.ops.cast(x, "float32"), self.table)


@pytest.mark.parametrize(("looks_up", "dtype", "hit"), [(True, "int32", False), (False, "uint8", True)])
def test_integers_into_a_layer_of_ones_own_are_numbers_if_they_are_those_of_images(looks_up, dtype, hit):
    assert ("unscaled inputs" in found(Subclassed(Table(looks_up)), PIXELS.astype(dtype))) == hit


def test_what_a_layer_of_ones_own_computes_inside_is_no_input_of_the_model():
    class Block(layers.Layer):
        def __init__(self):
            super().__init__(name="block")
            self.first, self.second = layers.Dense(8, name="first"), layers.Dense(8, name="second")

        def build(self, shape):
            self.first.build(shape)
            self.second.build((None, 8))

        def call(self, x):
            return self.second(100 * keras.ops.relu(self.first(x)))

    model = keras.Sequential([keras.Input((6,)), Block()])
    x = GENERATOR.normal(size=(32, 6)).astype("float32")
    assert list(asked(first_inputs, model, x)) == ["block/first"]
    assert found(model, x) == {}


class WithNames(Subclassed):
    """Passes everything on by keyword."""

    def call(self, x):
        for layer in self.stack:
            x = layer(inputs=x)
        return x


def test_inputs_that_a_layer_gets_by_keyword_are_looked_at():
    assert found(WithNames())["unscaled inputs"].layers == ("hidden",)


def adapted():
    """Return a layer whose means and variances are matrices."""
    layer = layers.Normalization(axis=(2, 3))
    layer.adapt(PIXELS)
    return layer


@pytest.mark.parametrize(
    "first",
    [
        lambda: layers.Rescaling(1 / 127.5, offset=-1),
        lambda: layers.Normalization(mean=127.5, variance=75.0**2),
        lambda: adapted(),
        lambda: layers.BatchNormalization(),
    ],
    ids=["rescaling", "normalization", "normalization of two axes", "batch norm"],
)
def test_pixels_that_the_model_scales_itself_are_scaled(first):
    assert found(classifier(first())) == {}


def test_unscaled_inputs_before_a_normalization_are_a_note():
    model = classifier(layers.Conv2D(8, 3, name="stem"), layers.BatchNormalization())
    verdicts = found(model)
    assert list(verdicts) == ["unscaled inputs"]
    assert (verdicts["unscaled inputs"].level, verdicts["unscaled inputs"].layers) == ("note", ("stem",))


@pytest.mark.parametrize(("examples", "problems"), [(3, []), (4, ["unscaled inputs"])])
def test_few_inputs_say_nothing_of_their_scale(examples, problems):
    x = 100 * GENERATOR.normal(size=(examples, 4))
    assert list(found(keras.Sequential([keras.Input((4,)), layers.Dense(4)]), x)) == problems


def test_every_way_into_a_model_is_looked_at():
    one, two = keras.Input((4,), name="one"), keras.Input((5, 4), name="two")
    hidden = layers.Concatenate()([layers.Dense(4, name="dense")(one), layers.LSTM(4, name="lstm")(two)])
    model = keras.Model({"one": one, "two": two}, layers.Dense(1, name="out")(hidden))
    x = {"one": GENERATOR.normal(size=(32, 4)), "two": 1000 * GENERATOR.normal(size=(32, 5, 4))}
    assert found(model, x)["unscaled inputs"].layers == ("lstm",)


def test_the_weights_of_a_model_around_layers_need_not_multiply_its_inputs():
    class Queue(keras.Model):
        def __init__(self):
            super().__init__()
            self.queue = self.add_weight((4, 8), "glorot_uniform", name="queue")
            self.scaled = layers.Rescaling(1 / 1000)
            self.dense = layers.Dense(8)

        def call(self, x):
            return keras.ops.matmul(self.dense(self.scaled(x)), keras.ops.transpose(self.queue))

    assert found(Queue(), 1000 * GENERATOR.normal(size=(32, 4))) == {}


@pytest.mark.parametrize(
    ("place", "name"),
    # As a function, only a softmax is known by its values.
    [("argument", "softmax"), ("layer", "sigmoid"), ("function", "softmax")],
)
def test_a_saturated_output_is_found_however_it_is_made(name, place):
    kernel = keras.initializers.RandomNormal(stddev=20.0)
    if place == "argument":
        model = classifier(last=(), kernel_initializer=kernel, activation=name)
    elif place == "layer":
        model = classifier(last=(name,), kernel_initializer=kernel)
    else:
        inputs = keras.Input((8, 8, 3))
        model = keras.Model(inputs, keras.ops.softmax(classifier(last=(), kernel_initializer=kernel)(inputs)))
    verdicts = found(model, SCALED)
    assert list(verdicts) == ["saturated"]
    assert verdicts["saturated"].remedy.text == "smaller weights in the last layer: keras_initx.GlorotUniform()"


def test_inputs_that_are_passed_through_are_no_saturated_output():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, {"out": layers.Dense(3, name="out")(inputs), "inputs": inputs})
    assert found(model, np.eye(4, dtype="float32")[GENERATOR.integers(0, 4, 64)]) == {}


@pytest.mark.parametrize(
    ("name", "frequencies"), [("sigmoid", 0.001), ("softmax", [9991, *[1] * 9])], ids=["sigmoid", "softmax"]
)
def test_a_bias_for_rare_classes_is_no_saturation(name, frequencies):
    bias = keras_initx.PriorBias(frequencies)
    assert found(classifier(last=(), activation=name, bias_initializer=bias), SCALED) == {}
    if name == "softmax":
        logits = classifier(last=(), bias_initializer=bias)
        assert found(keras.Sequential([logits, layers.Softmax()]), SCALED) == {}
        inputs = keras.Input((8, 8, 3))
        assert found(keras.Model(inputs, keras.ops.softmax(logits(inputs))), SCALED) == {}


@pytest.mark.parametrize("end", [-30.0, 30.0], ids=["near 0", "near 1"])
def test_a_sigmoid_is_certain_near_both_limits(end):
    logits = np.array([end, end, end, 0.0] * 8, "float32")[:, None]
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, "sigmoid", kernel_initializer="ones", name="out")])
    assert certain_of(model, logits) == {"out": 0.75}
    assert list(found(model, logits, ignore=["unscaled inputs"])) == ["saturated"]


@pytest.mark.parametrize(("deviation", "certain"), [(2.5, 0), (2.8, 1)])
def test_what_is_certain_differs_by_half_of_what_certainty_takes(deviation, certain):
    logits = np.array([-30 - deviation, -30 + deviation] * 8, "float32")[:, None]
    bias = keras.initializers.Constant(1e-3)  # without one, nothing excuses the limits
    last = layers.Dense(1, "sigmoid", kernel_initializer="ones", bias_initializer=bias, name="out")
    assert certain_of(keras.Sequential([keras.Input((1,)), last]), logits) == {"out": certain}


def test_a_network_that_gives_the_same_for_all_examples_is_saturated_without_a_bias():
    logits = np.array([-30.1, -29.9] * 8, "float32")[:, None]
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, "sigmoid", kernel_initializer="ones", name="out")])
    assert certain_of(model, logits) == {"out": 1}


def test_a_softmax_is_certain_near_1_only():
    # All but one of the probabilities of the other examples are near 0.
    logits = np.array([[30.0, 0, 0, 0], [30.0, 30.0, 0, 0]] * 8, "float32")
    model = keras.Sequential([keras.Input((4,)), layers.Activation("softmax", name="out")])
    assert certain_of(model, logits) == {"out": 0.5}


def test_outputs_of_which_the_layer_is_not_known_are_those_of_the_last():
    class Two(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden, self.last = layers.Dense(4, name="hidden"), layers.Dense(4, name="last")

        def call(self, x):
            values = self.last(self.hidden(x))
            few, many = (keras.ops.softmax(factor * values) for factor in (1e-3, 1e4))
            return x, few, many, keras.ops.softmax(values), keras.ops.mean(values)

    x = GENERATOR.normal(size=(64, 4)).astype("float32")
    certain = certain_of(Two(), x)
    assert list(certain) == ["last"]
    assert certain["last"] > 0.9


@pytest.mark.parametrize(("name", "factors"), [("softmax", (1e-3, 1e4)), ("sigmoid", (1e4, 1e-3))])
def test_of_two_outputs_of_a_layer_the_more_certain_counts(factors, name):
    inputs = keras.Input((4,))
    activation = layers.Activation(name, name="out")
    model = keras.Model(inputs, [activation(factor * inputs) for factor in factors])
    x = GENERATOR.normal(size=(64, 4)).astype("float32")
    assert certain_of(model, x)["out"] > 0.9


def test_what_is_one_in_sum_for_some_examples_is_no_softmax():
    x = np.array([[1.0, 0, 0], [3.0, 2.0, 1.0]] * 8, "float32")
    model = keras.Sequential([keras.Input((3,)), layers.Dense(3, "relu", kernel_initializer="identity", name="out")])
    assert certain_of(model, x) == {"out": None}


LIMITS = {name: facts.limits for name, facts in ACTIVATIONS.items() if facts.limits is not None}


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_those_of_the_activation(name):
    x = np.array([-1e6, 1e6, 0.0, 0.0] * 8, "float32")[:, None]
    model = keras.Sequential([keras.Input((1,)), layers.Activation(name)])
    (layer,) = keras_initx.diagnose(model, x).layers
    assert (layer.after.min, layer.after.max) == pytest.approx(LIMITS[name], abs=1e-5)
    # 0 is a limit of none, but the middle.
    assert layer.saturated == 0.5
    # Where the gradient is almost 0 there is a verdict already.
    off = keras_initx.diagnose(model, np.full((32, 1), -1e6, "float32"))
    assert off.layers[0].dead is None
    assert "dead units" not in [verdict.problem for verdict in off.verdicts]
