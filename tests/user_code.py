"""What a user writes, for the type checker of `nox -s lint`. Nobody runs this.

A line with `type: ignore` is one that has to be an error: the checker refuses an ignore without a use.
"""

from typing import Any, assert_type

import keras
import numpy as np

import keras_initx
from keras_initx.types import DiagnosisReport, LoadReport, Remedy, RestartStudy, Study, Verdict

x, y = np.zeros((8, 4)), np.zeros(8)
DATA = (x, y), (x, y)


def build(initializer: Any = "initx.he_normal") -> keras.Model:
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, kernel_initializer=initializer)])


keras_initx.Sparse(15, gain="relu", seed=1)
keras_initx.Sparse(15, 0.5)  # type: ignore[call-arg]
keras_initx.Sparse(gain="sine")  # type: ignore[arg-type]
keras_initx.Orthogonal(1.0, 42, method="svd")
keras_initx.Orthogonal(method="auto")  # type: ignore[arg-type]
keras_initx.VarianceScaling(2.0, "fan_in", "uniform", 1)
keras_initx.VarianceScaling(mode="fan")  # type: ignore[arg-type]
assert_type(keras_initx.Sparse(seed=1).clone(), keras_initx.Sparse)
assert_type(keras_initx.Scaled("initx.orthogonal", 0.5).get_config(), dict[str, Any])
initializer: keras.initializers.Initializer = keras_initx.HeNormal()

report = keras_initx.diagnose(build(), x, y, loss="mse", ignore=("vanishing",))
assert_type(report, DiagnosisReport)
assert_type(report.problems, list[Verdict])
keras_initx.diagnose(build(), x, ignore=1)  # type: ignore[arg-type]
assert_type(report.remedies, list[Remedy])
keras_initx.initialize(build(), report, seed=0)

study = keras_initx.compare_initializers(build, ["he_normal", "initx.sparse"], DATA, repeats=2, mode="max")
assert_type(study, Study)
keras_initx.compare_initializers(build, ["he_normal"], DATA, 2)  # type: ignore[call-arg]
assert_type(keras_initx.random_restarts(build, DATA, draws=4), RestartStudy)

assert_type(keras_initx.load_pretrained(build(), "a.npz", {"*": None, "a": ("b", np.s_[:2])}), LoadReport)
keras_initx.load_pretrained(build(), {"a": x}, layout="jax")  # type: ignore[arg-type]
