"""Kernels that a model uses but does not have: they are neither trained nor saved."""

import contextlib
from collections.abc import Iterator

import keras

from keras_initx.diagnostics._measurements import Measurements
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._verdict import Finding, listed, rule
from keras_initx.structure import is_kernel, replaced


@contextlib.contextmanager
def read_kernels(model: keras.Model, scope: keras.StatelessScope) -> Iterator[list[str]]:
    """Yield a list that gets the paths of trainable kernels that are read but not of `model`.

    Args:
        model: The model.
        scope: The scope in which it is called, which is asked for the value of each variable.
    """
    known = {id(variable) for variable in model.variables}
    paths: list[str] = []
    original = scope.get_current_value

    def get_current_value(variable: keras.Variable) -> object:
        if id(variable) not in known and variable.trainable and is_kernel(variable):
            paths.append(variable.path)
        known.add(id(variable))
        return original(variable)

    with replaced(scope, "get_current_value", get_current_value):
        yield paths


@rule(
    "untracked weights",
    levels={"error": ""},
    finds="trainable kernels that the model uses but does not have, such as those of layers that "
    "are made in `call`, are in containers that Keras does not search, or in a function",
    reason="they are neither trained nor saved, and those of layers made in `call` are drawn anew "
    "in each step",
    remedy="layers made in `__init__` and kept as attributes, in lists or dicts",
)
def untracked_weights(measured: Measurements) -> Iterator[Finding]:
    if not measured.untracked:
        return
    evidence = f"the model uses kernels that it does not have: {listed(measured.untracked)}"
    remedy = Remedy(
        "make each layer once, in `__init__`, and keep it as an attribute of the layer or model "
        "that calls it, or in a list or dict that is one; trainable=False for layers that are not "
        "to be trained"
    )
    yield Finding([], evidence, remedy, "error")
