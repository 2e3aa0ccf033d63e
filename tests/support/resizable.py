"""Models whose weights have other sizes than those of a checkpoint: residual networks, and tables of positions."""

import keras
import numpy as np

layers = keras.layers


def drawn(model, seed=0):
    """Return a model whose weights are all random, also biases and statistics."""
    draws = np.random.default_rng(seed)
    for weight in model.weights:
        values = draws.normal(0, 0.5, weight.shape)
        if "variance" in weight.name:
            values = values**2
        weight.assign(values.astype(weight.dtype))
    return model


def resnet(channels, stem=layers.Conv2D, **options):
    """Return a small residual network for images."""
    inputs = keras.Input((8, 8, channels))
    x = layers.Normalization(name="scaled")(inputs)
    x = stem(4, 3, strides=2, padding="same", use_bias=False, name="stem", **options)(x)
    x = layers.Activation("relu")(layers.BatchNormalization(name="norm")(x))
    branch = layers.Conv2D(4, 3, padding="same", name="branch")(x)
    x = layers.GlobalAveragePooling2D()(x + branch)
    return keras.Model(inputs, layers.Dense(3, name="head")(x))


class Positions(layers.Layer):
    """Adds learned positions."""

    def __init__(self, length, axes=2, **options):
        super().__init__(**options)
        self.length, self.axes = length, axes

    def build(self, shape):
        lengths = (1,) * (self.axes - 2) + (self.length, shape[-1])
        self.table = self.add_weight(lengths, initializer="normal", name="table")

    def call(self, x):
        table = keras.ops.reshape(self.table, (self.length, -1))
        return x + table[: keras.ops.shape(x)[1]]

    def compute_output_spec(self, x):
        return keras.KerasTensor(x.shape, x.dtype)


@keras.saving.register_keras_serializable("tests")
class Table(keras.layers.Layer):
    """Adds a table of positions, of a shape of one's own."""

    def __init__(self, shape, **kwargs):
        super().__init__(**kwargs)
        self.table_shape = shape

    def build(self, shape):
        self.table = self.add_weight(self.table_shape, name="table")

    def call(self, x):
        return x


def table(*shape):
    return keras.Sequential([keras.Input((3,)), Table(shape, name="pos")])
