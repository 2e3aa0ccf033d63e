"""A softmax over a single value is seen wherever it is computed inside a model."""

import threading

import keras
import numpy as np
import pytest
from asked import asked
from judged import SEQUENCES as OTHERS
from judged import found
from keras import layers, ops

from keras_initx.tools.diagnose._single_values import SingleValueProbe

SEQUENCES = np.random.default_rng(0).normal(size=(4, 10, 16)).astype("float32")
pytestmark = pytest.mark.filterwarnings("ignore:.*softmax over axis:UserWarning")


def before_softmax(model, x, *arguments, **options):
    """Return the names of the layers whose outputs get a softmax over a single value."""

    def names(of):
        return {layer.name for layer in of.probe(SingleValueProbe).before_softmax}

    return asked(names, model, x, *arguments, **options)


@pytest.mark.parametrize("place", ["inside", "output", "loss"])
def test_a_softmax_of_one_is_seen_inside_the_model_only(place):
    inputs = keras.Input((16,))
    shares = layers.Dense(1, name="shares")(inputs)
    if place == "inside":
        shares = ops.softmax(shares)
        shares = layers.Dense(3)(shares * layers.Dense(8)(inputs))
    elif place == "output":
        shares = ops.softmax(shares)

    def loss(y, outputs):
        return ops.mean(ops.softmax(outputs), axis=-1)

    model = keras.Model(inputs, shares)
    found = before_softmax(model, SEQUENCES[:, 0], np.zeros(4), loss=loss)
    assert found == ({"shares"} if place == "inside" else set())


@pytest.mark.parametrize("how", ["ops", "activations", "layer", "activation"])
def test_a_softmax_of_one_is_seen_in_code_of_ones_own(how):
    class Weighed(layers.Layer):
        def __init__(self):
            super().__init__()
            self.shares = layers.Dense(1, "softmax" if how == "activation" else None, name="shares")
            self.softmax = layers.Softmax()

        def call(self, inputs):
            functions = {"ops": ops.softmax, "activations": keras.activations.softmax, "layer": self.softmax}
            shares = self.shares(inputs)
            return inputs * (shares if how == "activation" else functions[how](shares))

    model = keras.Sequential([keras.Input((16,)), Weighed(), layers.Dense(2)])
    assert before_softmax(model, SEQUENCES[:, 0]) == {"shares"}


def test_a_softmax_of_another_thread_is_not_watched():
    def in_a_thread(inputs):
        thread = threading.Thread(target=ops.softmax, args=(inputs,))
        thread.start()
        thread.join()
        return inputs

    hidden = layers.Lambda(in_a_thread, output_shape=(10, 1))
    model = keras.Sequential([keras.Input((10, 16)), layers.Dense(1), hidden, layers.Dense(2)])
    softmax = ops.softmax
    assert before_softmax(model, SEQUENCES) == set()
    assert ops.softmax is softmax


@pytest.mark.parametrize("positions", [1, 10])
@pytest.mark.parametrize("cls", [layers.Attention, layers.AdditiveAttention])
def test_attention_without_kernels_to_a_single_position_is_seen(cls, positions):
    inputs, source = keras.Input((10, 16)), keras.Input((positions, 16))
    attended = cls()([layers.Dense(16, name="asking")(inputs), source])
    model = keras.Model([inputs, source], layers.Dense(5)(attended))
    expected = {"asking"} if positions == 1 else set()
    assert before_softmax(model, [SEQUENCES, SEQUENCES[:, :positions]]) == expected


def test_attention_with_kernels_may_have_a_single_key():
    inputs, source = keras.Input((10, 16)), keras.Input((1, 16))
    model = keras.Model([inputs, source], layers.MultiHeadAttention(2, 8)(inputs, source))
    assert found(model, [OTHERS, OTHERS[:, :1]]) == {}
