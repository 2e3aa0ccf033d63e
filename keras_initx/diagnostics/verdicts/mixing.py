"""Examples that influence each other: the outputs for one change with the others in the batch."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_initx._keras import layers_of
from keras_initx._typing import Array, Tensor
from keras_initx.backends import backend
from keras_initx.diagnostics._measurements import Measurements, MixedExamples
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._verdict import Finding, rule
from keras_initx.structure import Call, Probe, Watch, array_of, first_float, tensors_in

# The number of examples that are compared. The first and the last stay the same.
_COMPANY = 4
# The difference, relative to that between examples, up to which it may be rounding.
_ROUNDING = 1e-3

# What is compared: the outputs for the first and the last example.
_Ends = list[Array]


class _EndsProbe(Probe):
    """Keeps what comes into and out of each call for the first and the last example.

    Attributes:
        calls: The operation of each call, with the ends of its inputs and of its output.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[keras.Operation, _Ends, _Ends]] = []

    def after(self, call: Call) -> None:
        outputs = [] if call.output is None else [call.output]
        self.calls.append((call.operation, _ends_of(call.inputs), _ends_of(outputs)))


def mixed_examples(model: keras.Model, x: Any, outputs: Any) -> MixedExamples | None:
    """Return where examples influence each other in inference mode, `None` if they do not.

    The model is run with a few examples, and again with others between the first and the last. It
    is also `None` where this is not possible, or is no fault: for models of a fixed batch size or
    with a state, for outputs without an axis of examples or with two, which relate examples, and
    for batch normalization.

    Args:
        model: The model.
        x: Its inputs, as tensors.
        outputs: What it gives for them.
    """
    shapes = [tuple(tensor.shape) for tensor in tensors_in(outputs)]
    count = len(next(iter(tensors_in(x)), ()))
    if count <= _COMPANY or any(getattr(layer, "stateful", False) for layer in layers_of(model)):
        return None
    try:
        first = _run(model, _chosen(x, [0, 1, 2, 3]), shapes, count)
        second = _run(model, _chosen(x, [0, 0, 3, 3]), shapes, count)
        if not _differ(first, second):
            return None
        # Random numbers that no generator of Keras draws differ too.
        if _differ(first, _run(model, _chosen(x, [0, 1, 2, 3]), shapes, count)):
            return None
    except Exception:  # some models take no other batches
        return None
    raise NotImplementedError
