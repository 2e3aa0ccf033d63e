"""Inputs that are not scaled are named, where they harm."""

import keras
import pytest
from asked import seen
from keras import layers
from pixels import GENERATOR, PIXELS, classifier, verdicts_on


def test_pixels_into_a_relu_network():
    verdicts = verdicts_on(classifier())
    assert list(verdicts) == ["unscaled inputs", "saturated"]
    assert verdicts["unscaled inputs"].level == verdicts["saturated"].level == "warning"
    assert verdicts["unscaled inputs"].layers == ("hidden_0",)
    assert "hidden_0 gets inputs from 0 to 255, with mean 12" in verdicts["unscaled inputs"].evidence
    assert "keras.layers.Rescaling(1 / 127.5, offset=-1)" in verdicts["unscaled inputs"].remedy.text
    assert (
        "of the examples before training; the values before its activation have standard deviation"
        in verdicts["saturated"].evidence
    )
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
    remedy = verdicts_on(model, x.astype("float32"))["unscaled inputs"].remedy
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
    assert "unscaled inputs" in verdicts_on(Subclassed(), PIXELS.astype("uint8"))


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
    assert ("unscaled inputs" in verdicts_on(Subclassed(Table(looks_up)), PIXELS.astype(dtype))) == hit


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
    found = seen(model, x)
    assert [name for name in found if found[name].is_first] == ["block/first"]
    assert verdicts_on(model, x) == {}


class WithNames(Subclassed):
    """Passes everything on by keyword."""

    def call(self, x):
        for layer in self.stack:
            x = layer(inputs=x)
        return x


def test_inputs_that_a_layer_gets_by_keyword_are_looked_at():
    assert verdicts_on(WithNames())["unscaled inputs"].layers == ("hidden",)


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
    assert verdicts_on(classifier(first())) == {}


def test_unscaled_inputs_before_a_normalization_are_a_note():
    model = classifier(layers.Conv2D(8, 3, name="stem"), layers.BatchNormalization())
    verdicts = verdicts_on(model)
    assert list(verdicts) == ["unscaled inputs"]
    assert (verdicts["unscaled inputs"].level, verdicts["unscaled inputs"].layers) == ("note", ("stem",))


@pytest.mark.parametrize(("examples", "problems"), [(3, []), (4, ["unscaled inputs"])])
def test_few_inputs_say_nothing_of_their_scale(examples, problems):
    x = 100 * GENERATOR.normal(size=(examples, 4))
    assert list(verdicts_on(keras.Sequential([keras.Input((4,)), layers.Dense(4)]), x)) == problems


def test_every_way_into_a_model_is_looked_at():
    one, two = keras.Input((4,), name="one"), keras.Input((5, 4), name="two")
    hidden = layers.Concatenate()([layers.Dense(4, name="dense")(one), layers.LSTM(4, name="lstm")(two)])
    model = keras.Model({"one": one, "two": two}, layers.Dense(1, name="out")(hidden))
    x = {"one": GENERATOR.normal(size=(32, 4)), "two": 1000 * GENERATOR.normal(size=(32, 5, 4))}
    assert verdicts_on(model, x)["unscaled inputs"].layers == ("lstm",)


def test_the_weights_of_a_model_around_layers_need_not_multiply_its_inputs():
    class Queue(keras.Model):
        def __init__(self):
            super().__init__()
            self.queue = self.add_weight((4, 8), "glorot_uniform", name="queue")
            self.scaled = layers.Rescaling(1 / 1000)
            self.dense = layers.Dense(8)

        def call(self, x):
            return keras.ops.matmul(self.dense(self.scaled(x)), keras.ops.transpose(self.queue))

    assert verdicts_on(Queue(), 1000 * GENERATOR.normal(size=(32, 4))) == {}
