"""Models whose losses are compared with those of a blind guess."""

import keras
import numpy as np
from asked import seen
from keras import layers

X = np.random.default_rng(0).normal(size=(16, 6))
Y = np.random.default_rng(1).normal(size=(16, 3))


def squares(targets, outputs):
    return keras.ops.mean((targets - outputs) ** 2, axis=-1)


def two_outputs(outputs):
    inputs = keras.Input((6,))
    one, two = layers.Dense(3, use_bias=False, name="one")(inputs), layers.Dense(2, name="two")(inputs)
    return keras.Model(inputs, {"one": one, "two": two} if outputs == "dict" else [one, two])


def losses(model, x, y, **options):
    """Return the loss of each output and that of a blind guess, by the name of the layer that makes it."""
    makers = [layer for layer in seen(model, x, y, **options).values() if layer.makes_output]
    return {layer.name: (layer.output.loss, layer.output.blind_loss) for layer in makers}


def given_outputs(units=3):
    """Return a model that puts out what it is given."""
    inputs = keras.Input((units,))
    identity = layers.Dense(units, kernel_initializer="identity", name="identity")
    return keras.Model(inputs, identity(inputs))
