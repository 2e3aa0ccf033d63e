"""Small networks with an optimizer, of which a diagnosis takes steps of training, and their data."""

import keras
import numpy as np
from keras import layers

X = np.random.default_rng(0).normal(size=(32, 6)).astype("float32")
LABELS = np.random.default_rng(1).integers(0, 3, 32)
CLASSES = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def compiled(optimizer="adam", dtype=None, loss=CLASSES, **options):
    stack = [layers.Dense(16, "relu"), layers.BatchNormalization(), layers.Dropout(0.1, seed=1), layers.Dense(3)]
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), *stack])
    if dtype is not None:
        model = keras.models.clone_model(model, clone_function=lambda layer: of_dtype(layer, dtype))
    model.compile(optimizer, loss, metrics=["accuracy"], **options)
    return model


def of_dtype(layer, dtype):
    return type(layer).from_config({**layer.get_config(), "dtype": dtype})


def halved(rate):
    return keras.optimizers.schedules.ExponentialDecay(rate, 1, 0.5)


def small(make):
    """Return a network that is compiled with the optimizer that `make` gives for it."""
    keras.utils.set_random_seed(0)
    stack = [layers.Dense(8, "tanh"), keras.Sequential([layers.Dense(3)])]
    model = keras.Sequential([keras.Input((6,)), *stack])
    model.compile(make(model), CLASSES)
    return model
