"""Record the weights and buffers of a model, and name those with other values.

If outputs of a layer differ, its weights are looked at before its settings. Only two models of
Keras have weights that can be compared by their paths.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from keras_initx.backends._moments import compute_rms
from keras_initx.inspection._inventory import Inventory
from keras_initx.tools.compare_outputs._reading import read_values
from keras_initx.tools.compare_outputs._recorded import record_tensor
from keras_initx.tools.compare_outputs._samples import RecordedTensor

# Backends may round the values that they make themselves by less than this share.
_ROUNDED = 1e-6
# State of random generators and counters decide no outputs in inference.
_KINDS_LEFT_OUT = ("counter", "state")


def record_weights(inventory: Inventory) -> dict[str, RecordedTensor]:
    """Record the weights and buffers of a model, by their paths."""
    recorded = {}
    for weight in inventory.weights_and_buffers:
        if weight.kind not in _KINDS_LEFT_OUT:
            values = read_values(weight.variable.value)
            if values is not None:
                recorded[weight.shown] = record_tensor(values)
    return recorded


def list_other_weights(
    path: str,
    ours: Mapping[str, RecordedTensor],
    theirs: Mapping[str, RecordedTensor],
    find_path_there: Callable[[str], str | None],
) -> list[str]:
    """List the weights of a layer, and of the layers in it, that have other values there.

    Args:
        path: The path of the layer.
        ours: The weights of the model by their paths.
        theirs: Those of the other model.
        find_path_there: Function that maps the path of a weight to the path of its counterpart.
    """
    names = []
    for weight_path, ours_of_weight in ours.items():
        other_path = find_path_there(weight_path) if weight_path.startswith(f"{path}/") else None
        other = None if other_path is None else theirs.get(other_path)
        if other is not None and not _have_equal_values(ours_of_weight, other):
            names.append(weight_path.removeprefix(f"{path}/"))
    return names


def _have_equal_values(ours: RecordedTensor, theirs: RecordedTensor) -> bool:
    if ours.shape != theirs.shape:
        return False
    here, there = (tensor.own_values.astype("float64") for tensor in (ours, theirs))
    least = _ROUNDED * max(compute_rms(here), compute_rms(there))
    if not np.allclose(here, there, rtol=0, atol=least, equal_nan=True):
        return False
    # Of a large weight, the moments see all values.
    moments = ((ours.mean, theirs.mean), (ours.deviation, theirs.deviation))
    return all(
        math.isclose(value, other, rel_tol=_ROUNDED, abs_tol=least) or value != value
        for value, other in moments
    )
