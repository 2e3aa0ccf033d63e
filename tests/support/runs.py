"""Runs of studies that a process of its own makes: `python tests/support/runs.py NAME FOLDER JOBS`."""

import sys

import keras
import numpy as np

from keras_initx import compare_initializers, random_restarts


def data():
    draws = np.random.default_rng(0)
    x = draws.normal(size=(160, 6)).astype("float32")
    y = (x[:, 0] > 0).astype("int32")
    return (x[:96], y[:96]), (x[96:], y[96:])


def build(initializer="he_normal"):
    hidden = keras.layers.Dense(12, "relu", kernel_initializer=initializer)
    model = keras.Sequential([keras.Input((6,)), hidden, keras.layers.Dense(2, "softmax")])
    optimizer = keras.optimizers.SGD(0.1, momentum=0.5)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def run_compare(folder, n_jobs=1):
    return compare_initializers(
        build, ["he_normal", "zeros"], data(), repeats=4, epochs=3, n_jobs=int(n_jobs), out=folder
    )


def run_restarts(folder, n_jobs=1):
    return random_restarts(build, data(), draws=4, epochs=4, checks=1, n_jobs=int(n_jobs), out=folder)


RUNS = {"compare": run_compare, "restarts": run_restarts}


if __name__ == "__main__":
    from runs import RUNS  # where `build` has the name that it has in pytest

    RUNS[sys.argv[1]](*sys.argv[2:])
