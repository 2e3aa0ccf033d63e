"""Small data and models for the tests of studies, where processes of their own can import them."""

import keras
import numpy as np


def data():
    """Return points around three centers with their numbers, to train on and to validate with."""
    draws = np.random.default_rng(0)
    centers = draws.normal(size=(3, 6))
    labels = draws.integers(0, 3, 160)
    points = (centers[labels] + draws.normal(0, 0.5, (160, 6))).astype("float32")
    return (points[:96], labels[:96]), (points[96:], labels[96:])


def build(initializer):
    layers = [
        keras.Input((6,)),
        keras.layers.Dense(12, "relu", kernel_initializer=initializer),
        keras.layers.Dropout(0.1),
        keras.layers.Dense(3, "softmax", kernel_initializer=initializer),
    ]
    return _compiled(keras.Sequential(layers))


def _compiled(model):
    optimizer = keras.optimizers.SGD(0.1, momentum=0.5)
    # Compiling would take longer than all of the training, but for JAX, which compiles each operation otherwise.
    eagerly = keras.backend.backend() != "jax"
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"], run_eagerly=eagerly)
    return model


def build_he():
    return build("he_normal")


def timeless(records):
    return [{key: value for key, value in record.items() if not key.startswith("seconds")} for record in records]


def build_without_input(initializer="he_normal"):
    hidden = keras.layers.Dense(12, "relu", kernel_initializer=initializer)
    last = keras.layers.Dense(3, "softmax", kernel_initializer=initializer)
    return _compiled(keras.Sequential([hidden, keras.layers.BatchNormalization(), keras.layers.Dropout(0.1), last]))
