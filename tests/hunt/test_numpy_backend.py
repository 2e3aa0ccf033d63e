"""Keras' NumPy backend, which has no gradients: the same values, and a diagnosis without gradients."""

import json
import os
import pathlib
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


DIGESTS = """
import sys
sys.path.append(sys.argv[1])
import golden
from cases import FIRST_CASES
import keras_initx
import keras
from modes import to_numpy

known = golden.load()
for case in FIRST_CASES.values():
    row = _, shape, dtype = next(golden.rows([case]))
    if case.exact:
        assert golden.record(case, to_numpy(case.make()(shape, dtype))) == known[golden.label(*row)], row
model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)])
for rules in ({"*kernel": "initx.he_normal"}, "torch"):
    keras_initx.initialize(model, rules, seed=1)
    print(keras_initx.weights_digest(model))
"""


def run_on(backend, script, home, *arguments):
    """Return the lines that a script prints in a process with another backend."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "KERAS_HOME": str(home)}
    result = subprocess.run([sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


def test_numpy_gives_the_golden_values_and_the_same_digests(tmp_path):
    support = str(pathlib.Path(__file__).parents[1] / "support")
    digests = [run_on(backend, DIGESTS, tmp_path, support) for backend in ("numpy", BACKEND)]
    assert digests[0] == digests[1]
    assert len({*digests[0]}) == 2


def test_numpy_gives_the_same_values_and_all_of_a_diagnosis_but_gradients(tmp_path):
    values, *diagnosis = run_on("numpy", SCRIPT, tmp_path)
    assert json.loads(values) == to_numpy(keras_initx.Sparse(seed=1)((8, 4))).tolist()
    assert diagnosis == [
        "[('equal units', 'note', ('out',))]",
        "gradients need one of the backends ('jax', 'tensorflow', 'torch'): set KERAS_BACKEND to one of them. "
        "Received: KERAS_BACKEND=numpy",
    ]
