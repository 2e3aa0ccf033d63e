"""Keras' NumPy backend, which has no gradients: the same values, and a diagnosis without gradients."""

import json
import os
import subprocess
import sys

import pytest
from modes import BACKEND, to_numpy

import keras_initx

pytestmark = [
    pytest.mark.every_backend,
    pytest.mark.skipif(BACKEND != "jax", reason="Keras' NumPy backend imports JAX"),
]

SCRIPT = """
import keras_initx
import keras
print(keras_initx.Sparse(seed=1)((8, 4)).tolist())
import numpy as np
from keras import layers

class Mean(layers.Layer):
    def call(self, inputs):
        return keras.ops.mean(inputs)  # a scalar of NumPy

inputs = keras.Input((8,))
hidden = layers.BatchNormalization()(layers.Dropout(0.5)(layers.Dense(8, "relu", name="hidden")(inputs) + inputs))
model = keras.Model(inputs, Mean()(layers.Dense(3, kernel_initializer="zeros", name="out")(hidden)))
x = np.random.default_rng(0).normal(size=(64, 8))
report = keras_initx.diagnose(model, x)
print([(verdict.problem, verdict.level, verdict.layers) for verdict in report.verdicts])
try:
    keras_initx.diagnose(model, x, np.zeros((64, 3)), loss="mse")
except NotImplementedError as error:
    print(error)
"""


def test_numpy_gives_the_same_values_and_all_of_a_diagnosis_but_gradients(tmp_path):
    environment = {**os.environ, "KERAS_BACKEND": "numpy", "KERAS_HOME": str(tmp_path)}
    result = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    values, *diagnosis = result.stdout.splitlines()
    assert json.loads(values) == to_numpy(keras_initx.Sparse(seed=1)((8, 4))).tolist()
    assert diagnosis == [
        "[('equal units', 'note', ('out',))]",
        "gradients need one of the backends ('jax', 'tensorflow', 'torch'): set KERAS_BACKEND to one of them. "
        "Received: KERAS_BACKEND=numpy",
    ]
