"""The base of muP as a file of shapes, and as a width alone."""

import re

import keras
import pytest
from keras import layers
from scripts import script

import keras_initx
from keras_initx import scaling

widths = script("widths")
pytestmark = pytest.mark.once


def stack(width, *, features=10, classes=3, between=None):
    hidden = [layers.Dense(units) for units in (width, between or 2 * width, width)]
    return keras.Sequential([keras.Input((features,)), *hidden, layers.Dense(classes, name="last")])


def convolutions(width):
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(width, 3, name="first")(inputs)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.BatchNormalization()(x)
    x = layers.SeparableConv2D(2 * width, 3, name="separable")(x)
    return keras.Model(inputs, layers.Dense(4, name="last")(layers.Flatten()(x)))


def transformer(width):
    return widths.transformer(width, 2)


def recurrent(width):
    return keras.Sequential([keras.Input((5, 10)), layers.LSTM(width), layers.Dense(3)])


NETWORKS = [stack, convolutions, transformer, recurrent]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("width", "base_width"), [(128, 32), (32, 64), (64, 64)])
def test_a_width_gives_the_table_of_the_model_that_has_it(network, width, base_width):
    of_width = scaling.mup(network(width), base_width=base_width)
    of_model = scaling.mup(network(width), network(base_width))
    assert of_width == of_model


@pytest.mark.parametrize("network", NETWORKS)
def test_saved_shapes_give_the_table_of_their_model(network, tmp_path):
    base = network(32)
    keras_initx.initialize(base, dry_run=True).save(tmp_path / "base.json")
    assert scaling.mup(network(128), tmp_path / "base.json") == scaling.mup(network(128), base)


def test_saved_shapes_of_fewer_blocks_give_the_depth(tmp_path):
    keras_initx.initialize(widths.transformer(32, 2), dry_run=True).save(tmp_path / "base.json")
    assert scaling.mup(widths.transformer(64, 6), str(tmp_path / "base.json")).depth == 3


def test_only_heads_are_grouped_not_experts():
    inputs = keras.Input((5, 16))
    x = layers.Dense(64)(inputs)
    x = layers.EinsumDense("btd,edf->betf", (6, 5, 64), name="experts")(x)
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    with pytest.raises(ValueError, match=r"'experts/kernel' of shape \(6, 64, 64\), of which 6 is neither"):
        scaling.mup(model, base_width=32)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (stack(32, between=24), "'dense_1/kernel' of shape (32, 24), of which 24 is neither a multiple of the width"),
        (stack(32, features=64), "'dense/kernel' of shape (64, 32), of which 64 is also a length of the inputs or"),
        (stack(32, classes=32), "'dense/kernel' of shape (10, 32), of which 32 is also a length"),
        (transformer(64), "of shape (64, 8, 8), of which 8 times 12 / 64 is no integer"),
    ],
)
def test_a_width_is_refused_where_it_is_not_clear_what_grows(model, reason):
    with pytest.raises(ValueError, match=f"`base_width` must leave no doubt.*{re.escape(reason)}"):
        scaling.mup(model, base_width=12)


def test_a_width_is_refused_where_inputs_and_outputs_are_not_known():
    class Subclass(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(8)

        def call(self, x):
            return self.dense(x)

    model = Subclass()
    model(keras.ops.ones((1, 4)))
    with pytest.raises(ValueError, match="`base_width` must be given for a sequential or functional model"):
        scaling.mup(model, base_width=4)


def test_one_base_must_be_given_and_a_file_must_be_one_of_shapes(tmp_path):
    model = stack(8)
    with pytest.raises(ValueError, match="`base` or `base_width` must be given, and not both"):
        scaling.mup(model)
    with pytest.raises(ValueError, match="`base` or `base_width` must be given, and not both"):
        scaling.mup(model, model, base_width=8)
    with pytest.raises(TypeError, match="`base` must be a Keras model or the file of a plan"):
        scaling.mup(model, 8)
    for text in ("no JSON", "[]", '{"kind": "other"}'):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(ValueError, match=r"`base` must be a file that `InitializationPlan\.save` wrote"):
            scaling.mup(model, tmp_path / "other.json")
