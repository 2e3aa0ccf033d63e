"""Measure the difference of whole outputs, in the numbers that reviewers of ports ask for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_initx.inspection._watch import Watcher
from keras_initx.tools.compare_outputs._pairs import pair_tensors
from keras_initx.tools.compare_outputs._reading import Values, label_members, read_values
from keras_initx.tools.compare_outputs._recorded import record_tensor
from keras_initx.tools.compare_outputs._samples import squeeze_shape


@dataclass(frozen=True)
class OutputAgreement:
    """The difference between an output of two models, in absolute numbers.

    Attributes:
        path: Its path in nested outputs, such as `"last_hidden_state"`, empty for a single output.
        largest_difference: The largest absolute difference of two values.
        largest_value: The largest absolute value in the output of the other model.
    """

    path: str
    largest_difference: float
    largest_value: float


class OutputKeeper(Watcher):
    """Keeps whole outputs of the first pass in inference.

    Attributes:
        outputs: Dict from the paths of outputs to their values.
    """

    def __init__(self) -> None:
        self.outputs: dict[str, Values] = {}

    def finish(self, outputs: Any) -> None:
        for path, value in label_members(outputs):
            values = read_values(value)
            if values is not None:
                self.outputs.setdefault(path, Values(np.array(values.array), values.dtype))

    def after_forward(self, module: Any, args: Any, outputs: Any) -> None:
        """Look at the outputs of a torch module, as its hook."""
        if not module.training and not self.outputs:
            self.finish(outputs)


def compare_whole_outputs(
    ours: Mapping[str, Values], theirs: Mapping[str, Values]
) -> list[OutputAgreement]:
    """Measure the differences between outputs and their counterparts in `compare_outputs`."""
    others = {path: record_tensor(values) for path, values in theirs.items()}
    shapes = {squeeze_shape(tensor.shape) for tensor in others.values()}
    tensors = {}
    for path, values in ours.items():
        tensors[path] = record_tensor(values)
        tensors[path].keep(values.array, shapes)
    agreements = []
    for pair in pair_tensors(tensors, others, None):
        if pair.difference is None or pair.other_label is None:
            continue
        order = pair.difference.order
        here = ours[pair.label].array.astype("float64")
        there = theirs[pair.other_label].array.astype("float64")
        # In the order of the model, whose last axis has the channels.
        moved = [order.view[axis] for axis in order.axes]
        there = there.reshape(moved).transpose(np.argsort(order.axes)).reshape(here.shape)
        agreements.append(_compare_whole(pair.label, here, there))
    return agreements


def _compare_whole(path: str, here: np.ndarray, there: np.ndarray) -> OutputAgreement:
    with np.errstate(invalid="ignore"):  # of infinities
        differences = np.where(here == there, 0.0, np.abs(here - there))
    differences[np.isnan(here) & np.isnan(there)] = 0.0
    largest = float(differences.max(initial=0.0))
    return OutputAgreement(
        path,
        math.inf if math.isnan(largest) else largest,
        float(np.abs(there).max(initial=0.0)),
    )
