"""Equal units are named, unless they are meant."""

import keras
import numpy as np
from judged import GENERATOR, IMAGES, found
from keras import initializers, layers

import keras_initx


def test_an_activation_of_its_own_layer_is_that_of_the_layer_before():
    model = [layers.Dense(64), layers.ReLU(), layers.Dense(64), layers.Activation("selu"), layers.Dense(64)]
    model = keras.Sequential([keras.Input((64,)), *model])
    for layer, suggested in zip(model.layers[::2], ("HeNormal()", "LecunNormal()", "GlorotUniform()"), strict=True):
        weights = layer.kernel.numpy() if hasattr(layer.kernel, "numpy") else np.array(layer.kernel)
        layer.kernel.assign(0 * layer.kernel)
        assert found(model)["equal units"].remedy.text.startswith(f"random weights: keras_initx.{suggested}")
        layer.kernel.assign(weights)


def test_a_table_of_positions_may_have_equal_columns():
    angles = np.arange(20)[:, None] / 10000 ** (np.arange(32) / 8)
    table = layers.Embedding(20, 32, embeddings_initializer=initializers.Constant(np.cos(angles)))
    assert found(keras.Sequential([keras.Input((6,)), table]), GENERATOR.integers(0, 20, (32, 6))) == {}


def test_a_kernel_that_enlarges_has_identical_units_on_purpose():
    kernel = keras_initx.ICNR(keras.initializers.HeNormal(), scale=2)
    layer = layers.Conv2D(16, 3, kernel_initializer=kernel)
    assert found(keras.Sequential([keras.Input((8, 8, 64)), layer]), IMAGES) == {}
