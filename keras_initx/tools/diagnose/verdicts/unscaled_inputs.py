"""Unscaled inputs: large, small, or hardly different ones."""

from collections.abc import Iterator

import keras
import numpy as np

from keras_initx.inspection._batch import list_tensors, to_array
from keras_initx.tools.diagnose._diagnosis import Arrays, Diagnosis
from keras_initx.tools.diagnose._kernel_inputs import (
    COMPARED,
    SMALL_INPUTS,
    UNSCALED_INPUTS,
    FirstInputs,
    input_differences,
)
from keras_initx.tools.diagnose._measured_layers import MeasuredLayer
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import (
    Finding,
    describe_normalization,
    group_by_level,
    rule,
    write_count,
)
from keras_initx.tools.diagnose._signal import LEAST_VALUES, Signal, compute_signal_rms

# Standard deviation between examples of the inputs of the first kernels, relative to their root
# mean square, below which the offset that they share hides their differences.
OFFSET_INPUTS = 0.03


@rule("unscaled inputs")
def unscaled_inputs(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report inputs that are large, small, or hardly different.

    Reported if:
        A kernel gets inputs from outside the model, and one of these is true:

        - Their root mean square is above {UNSCALED_INPUTS:g}. If inputs are vectors, a single
          column is enough.
        - Their root mean square is below {SMALL_INPUTS:g}, for example changes of prices.
        - They differ between examples by less than {OFFSET_INPUTS:g} of their root mean square.

    Level:
        warning; note if a normalization follows directly

    Why:
        - Standardized inputs have a root mean square of 1, images in [0, 1] of 0.6, and raw 8-bit
          images of 150.
        - Inputs that are ten times too large saturate most activations. Small inputs hardly move
          the outputs.
        - A number that all examples share moves all outputs and the loss in the same way.

    Typical causes:
        - raw pixels, or a column of a table in large units
        - pixels that you scale to [-1, 1] twice

    Fix:
        Add `Normalization`, and adapt it to your data, or add `Rescaling`.
    """
    unscaled = []
    for layer in layers:
        record = layer.first_inputs
        # Infinities and NaN are *not finite*.
        if record.signal.size < LEAST_VALUES or record.signal.nonfinite:
            continue
        has_offset = 0 < input_differences(diagnosis).get(layer.layer, 0.0) < OFFSET_INPUTS
        if record.are_large or _is_small(record.signal) or has_offset:
            unscaled.append(layer)
    for level, hit in group_by_level(unscaled, "warning", lambda layer: not layer.is_rescaled):
        first, record = hit[0], hit[0].first_inputs
        remedy = _propose_scaling(record, diagnosis)
        signal, (index, size) = record.signal, record.largest
        evidence = (
            f"{first.title} gets inputs from {signal.min:.3g} to {signal.max:.3g}, with mean "
            f"{signal.mean:.3g} and standard deviation {signal.std:.3g}{write_count(hit)}"
        )
        if compute_signal_rms(signal) <= UNSCALED_INPUTS < size:
            evidence += f", and at index {index} a root mean square of {size:.3g}"
        if level == "note":
            evidence += describe_normalization(first)
        else:
            evidence += ". Initializers assume inputs of standard deviation 1"
        yield Finding(hit, evidence, remedy, level)


def _propose_scaling(record: FirstInputs, diagnosis: Diagnosis) -> Remedy:
    """Propose to scale the inputs, or to scale them differently."""
    path = None if record.scaled_by is None else diagnosis.watch.paths[record.scaled_by]
    if isinstance(record.scaled_by, keras.layers.Normalization):
        return Remedy(f"standardize the inputs: adapt {path} to the data")
    if path is not None:
        return Remedy(
            f"set another scale and offset in {path}, so that it gives numbers of size 1 around 0"
        )
    remedy = Remedy("standardize the inputs: keras.layers.Normalization() adapted to the data")
    if not _are_pixels(diagnosis.x):
        return remedy
    text = "scale the pixels to [-1, 1]: keras.layers.Rescaling(1 / 127.5, offset=-1)"
    return Remedy(text).otherwise(remedy)


def _is_small(signal: Signal) -> bool:
    """Return whether all inputs are small, unlike a few ones among zeros."""
    limit = SMALL_INPUTS
    return bool(0 < compute_signal_rms(signal) < limit and signal.max < 10 * limit > -signal.min)


def _are_pixels(x: Arrays) -> bool:
    """Return whether one of the inputs has images of integers from 0 to 255."""
    for tensor in list_tensors(x):
        if len(tensor.shape) != 4:
            continue
        values = to_array(tensor[:COMPARED])
        are_in_range = values.min(initial=0) >= 0 and 1 < values.max(initial=0) <= 255
        if are_in_range and (values == np.round(values)).all():
            return True
    return False
