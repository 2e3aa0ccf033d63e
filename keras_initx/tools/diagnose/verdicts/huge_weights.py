"""Weights with values that no initializer and no training gives, as in memory never filled."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from keras_initx._checks import DTYPES, summarize_names
from keras_initx._typing import Array
from keras_initx.backends._current import backend
from keras_initx.inspection._batch import list_tensors, to_array
from keras_initx.inspection._weights import ModelWeight
from keras_initx.tools.diagnose._diagnosis import Diagnosis, fact
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer, measured_weights
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import HUGE, Finding, rule

# How many times the median of all other values a single value is, so that no law explains both.
SPAN = 1e6
# A layer may sum squares of its data over this many examples.
_EXAMPLES = 1e6


class _HugeWeight(NamedTuple):
    """A weight with values that no initializer and no training gives.

    Attributes:
        weight: The weight.
        largest: The value that is farthest from 0.
        median: The median distance of all others from 0.
    """

    weight: ModelWeight
    largest: float
    median: float


@rule("huge weights", hides_all=True)
def huge_weights(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report weights with values that no initializer and no training gives.

    Reported if:
        The largest value of a weight of floats is above {HUGE:g}, and above {SPAN:g} times the
        median of its other values, trained or not.

        After such an error, `diagnose` reports no other problem. These weights do not count:

        - statistics of a normalization
        - a mask of one large number below 0, such as -1e30
        - weights of a quantized layer
        - values that the numbers of the batch explain, because a layer may keep sums of their
          squares

        A kernel that is huge as a whole is *exploding*.

    Level:
        error

    Why:
        One huge value hides all others in a sum, and its square overflows. Next to a huge bias, no
        other number decides what a layer selects.

    Typical causes:
        - memory that nobody has filled, as after `numpy.empty` or `to_empty` of torch
        - a file that was read with another dtype or byte order

    Fix:
        Use an initializer, or load these weights again.
    """
    huge = _find_huge_weights(diagnosis)
    if huge:
        hit = _list_layers(huge, layers)
        names = summarize_names([one.weight.path for one in huge])
        text = f"give {names} other values, from an initializer, a file or an assignment"
        yield Finding(hit, _describe_weights(huge), Remedy(text), "error")


def _find_huge_weights(diagnosis: Diagnosis) -> list[_HugeWeight]:
    huge = []
    for weight in diagnosis.inventory.weights_and_buffers:
        measured = measured_weights(diagnosis).get(id(weight.variable))
        # No value is above the norm.
        is_small = measured is not None and measured.report.norm <= HUGE
        if is_small or weight.dtype not in DTYPES or weight.is_quantized or _is_statistic(weight):
            continue
        values = backend.host_view(weight.variable.value).reshape(-1).astype("float64")
        values = values[np.isfinite(values)]
        # The largest of one value has no others beside it.
        if values.size < 2 or not np.abs(values).max() > HUGE:
            continue
        sizes = np.abs(values)
        place = int(sizes.argmax())
        median = float(np.median(np.delete(sizes, place)))
        is_explained = sizes[place] <= max(SPAN * median, _largest_statistic(diagnosis))
        if not is_explained and not _is_mask(values):
            huge.append(_HugeWeight(weight, float(values[place]), median))
    return huge


def _is_statistic(weight: ModelWeight) -> bool:
    """Return whether a normalization of Keras or of torch takes this weight from data."""
    # A path of a buffer has the names of the modules around it: `wrapper/0.running_mean`.
    name = weight.path.replace(".", "/").rpartition("/")[2]
    is_of_torch = weight.kind == "buffer" and name.startswith("running_")
    return weight.kind == "statistic" or is_of_torch


@fact
def _largest_statistic(diagnosis: Diagnosis) -> float:
    """The largest sum of squares that a layer may keep of data such as the batch."""
    largest = 0.0
    for tensor in list_tensors((diagnosis.x, diagnosis.y)):
        values = np.abs(to_array(tensor).astype("float64"))
        largest = max(largest, float(values[np.isfinite(values)].max(initial=0.0)))
    return _EXAMPLES * largest**2


def _is_mask(values: Array) -> bool:
    """Return whether all huge values are the same number below 0, which is added to scores."""
    huge = values[np.abs(values) > HUGE]
    return bool(huge.max() < 0 and huge.max() == huge.min())


def _list_layers(
    huge: Sequence[_HugeWeight], layers: Sequence[MeasuredLayer]
) -> list[MeasuredLayer]:
    hit = []
    for layer in layers:
        identities = {id(weight.own.variable) for weight in layer.weights}
        for one in huge:
            # A buffer is no weight of its layer.
            if one.weight.layer is layer.layer or id(one.weight.variable) in identities:
                hit.append(layer)
                break
    return hit


def _describe_weights(huge: Sequence[_HugeWeight]) -> str:
    first, *others = huge
    text = (
        f"the largest value of {first.weight.path} is {first.largest:.3g}, but the median of the "
        f"others is {first.median:.3g}. No initializer and no training gives both"
    )
    if others:
        text += f"; also {summarize_names([other.weight.path for other in others])}"
    return text
