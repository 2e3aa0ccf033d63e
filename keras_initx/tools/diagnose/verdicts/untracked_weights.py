"""Kernels that a model uses but does not list among its weights: neither trained nor saved.

A probe sees kernels that `call` reads. The kernels of a layer that was called on an array, while a
functional model was made, are not read any more: they show as a constant in its graph.
"""

import gc
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np

from keras_initx._checks import summarize_names
from keras_initx._keras import list_constants, list_layers
from keras_initx._typing import Array, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.inspection._batch import first_float, to_array
from keras_initx.inspection._kernels import is_kernel
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe, fact
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule
from keras_initx.tools.diagnose._signal import LEAST_VALUES


class UntrackedProbe(Probe):
    """Finds trainable kernels that the model reads and does not have.

    Attributes:
        paths: The paths of these kernels, as Keras has them.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self.paths: list[str] = []
        self._known = {id(variable) for variable in diagnosis.model.variables}

    def read(self, variable: keras.Variable) -> None:
        if id(variable) not in self._known and variable.trainable and is_kernel(variable):
            self.paths.append(variable.path)
        self._known.add(id(variable))


class Constant(NamedTuple):
    """A constant in the graph of a functional model that was, or may have been, made of weights.

    A layer that is called on an array while the model is made is called once, and never again.

    Attributes:
        shape: Its shape.
        weights: The paths of the weights that it was made of, as Keras has them; none if these are
            not known, or no longer there.
        is_certain: Whether it was made of weights.
    """

    shape: Shape
    weights: tuple[str, ...]
    is_certain: bool


@fact
def untracked_constants(diagnosis: Diagnosis) -> list[Constant]:
    """The constants of the model that were made of weights, or may have been."""
    tensors = []
    for layer in list_layers(diagnosis.model):
        if isinstance(layer, keras.Function):
            for tensor in list_constants(layer):
                if first_float(tensor) is not None:
                    tensors.append(tensor)
    if not tensors:
        return []
    constants = []
    variables = _list_variables_in_memory()
    for tensor in tensors:
        sources = backend.values_behind(tensor)
        if sources:
            paths = []
            for variable in variables:
                if any(variable.value is source for source in sources):
                    paths.append(variable.path)
            constants.append(Constant(tuple(tensor.shape), tuple(paths), is_certain=True))
        elif sources is None and _may_hold_weights(tensor):
            values = to_array(tensor)
            paths = [variable.path for variable in variables if _contains_rows(variable, values)]
            constants.append(Constant(values.shape, tuple(paths), is_certain=bool(paths)))
    return constants


def _list_variables_in_memory() -> list[keras.Variable]:
    # A model lists its own variables alone.
    variables = []
    for candidate in gc.get_objects():
        # `isinstance` would call code of proxies, which ask the object behind them.
        if issubclass(type(candidate), keras.Variable) and candidate.trainable:
            variables.append(candidate)
    return variables


def _may_hold_weights(tensor: Tensor) -> bool:
    """Return whether a constant has rows of many different numbers, unlike a mask."""
    values = to_array(tensor)
    if values.ndim < 2 or values.size < LEAST_VALUES:
        return False
    return len(np.unique(values)) > values.size / 2


def _contains_rows(variable: keras.Variable, values: Array) -> bool:
    """Return whether a variable has each of the rows, or is the whole, perhaps transposed."""
    if len(variable.shape) != 2 or "float" not in variable.dtype:
        return False
    table = to_array(variable)
    if table.T.shape == values.shape and (values == table.T).all():
        return True
    if table.shape[1] != values.shape[-1]:
        return False
    table_rows = {row.tobytes() for row in table.astype("float32")}
    rows = values.reshape(-1, values.shape[-1]).astype("float32")
    return all(row.tobytes() in table_rows for row in rows)


@rule("untracked weights", probes=[UntrackedProbe])
def untracked_weights(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report kernels that a model uses but does not list among its weights.

    Reported if:
        - The model uses trainable kernels that are not among its weights.
        - A layer was called on an array while you made a functional model. Its outputs are a
          constant in that model.

    Level:
        error; note if a functional model has a constant of many different numbers, and the backend
        keeps no record of its origin

    Why:
        Such weights are neither trained nor saved. If a layer is made in `call`, its weights are
        redrawn in each step.

    Typical causes:
        - a layer that you make in `call`, or in a function
        - layers in a container that Keras does not search
        - positions that you embed once, while you make the model

    Fix:
        Make layers in `__init__`, and keep them as attributes, or in lists or dicts that are
        attributes.
    """
    paths = diagnosis.probe(UntrackedProbe).paths
    if paths:
        evidence = (
            f"the model uses kernels that are not among its weights: {summarize_names(paths)}. "
            "Training does not change them, and `save` leaves them out"
        )
        remedy = Remedy(
            "make each layer once, in `__init__`, and keep it as an attribute of the layer or "
            "model that calls it, or in a list or dict that is one; set trainable=False for layers "
            "that should not learn"
        )
        yield Finding([], evidence, remedy, "error")
    yield from _report_constants(untracked_constants(diagnosis))


def _report_constants(constants: Sequence[Constant]) -> Iterator[Finding]:
    """Report constants that were made of weights, and constants that may have been."""
    advice = (
        "call the layer in the graph, on a tensor that is computed from an input, for example "
        "keras.ops.cumsum(keras.ops.ones_like(x), axis=1) - 1 for positions, or in the `call` of "
        "your own layer"
    )
    certain = [constant for constant in constants if constant.is_certain]
    if certain:
        paths = dict.fromkeys(path for constant in certain for path in constant.weights)
        sources = summarize_names(list(paths)) or "weights that are no longer there"
        evidence = (
            f"the graph of the model has a constant of shape {certain[0].shape} that was computed "
            f"from {sources} when you made the model. Training does not change it"
        )
        yield Finding([], evidence, Remedy(advice), "error")
    unclear = [constant for constant in constants if not constant.is_certain]
    if unclear:
        evidence = (
            f"the graph of the model has a constant of shape {unclear[0].shape} with many "
            "different numbers. It is unknown whether a layer made them"
        )
        remedy = Remedy(
            f"change nothing if you computed them, for example positions by sines; if not, {advice}"
        )
        yield Finding([], evidence, remedy, "note")
