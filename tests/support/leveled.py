"""Small networks of named layers, and the levels of the verdicts on them."""

import numpy as np
from keras import layers

import keras_initx

GENERATOR = np.random.default_rng(0)
INPUTS = GENERATOR.normal(size=(64, 16)).astype("float32")
IMAGES = GENERATOR.normal(size=(8, 8, 8, 16)).astype("float32")
NORMALIZATIONS = [
    layers.BatchNormalization,
    layers.RMSNormalization,
    lambda: layers.GroupNormalization(4),
]


def levels_found(model, x=INPUTS):
    report = keras_initx.diagnose(model, x)
    return {(verdict.problem, verdict.level): verdict.layers for verdict in report.verdicts}


def layer_named(name, kernel="glorot_uniform", activation=None, units=16):
    return layers.Dense(units, activation, kernel_initializer=kernel, name=name)
