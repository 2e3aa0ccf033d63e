"""Unscaled inputs: large, small, or hardly different ones."""

from collections.abc import Iterator

import keras
import numpy as np

from keras_initx.inspection._batch import list_tensors, to_array
from keras_initx.tools.diagnose._diagnosis import Arrays, Diagnosis
from keras_initx.tools.diagnose._first_inputs import (
    COMPARED,
    SMALL_INPUTS,
    UNSCALED_INPUTS,
    FirstInputs,
    differences,
)
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, by_level, layer_count, normalization_of, rule
from keras_initx.tools.diagnose._seen import SeenLayer
from keras_initx.tools.diagnose._signal import LEAST_VALUES, Signal, root_mean_square

# Standard deviation between examples of the inputs of the first kernels, relative to their root
# mean square, below which what they share hides what tells them apart.
OFFSET_INPUTS = 0.03


@rule("unscaled inputs")
def unscaled_inputs(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Report inputs that are large, small, or hardly different.

    Finds:
        a kernel whose inputs come from outside the model and have a root mean square above
        {UNSCALED_INPUTS:g}, or a single one of which has in vectors; or whose inputs have one below
        {SMALL_INPUTS:g}, as changes of prices have; or whose inputs differ between examples by less
        than {OFFSET_INPUTS:g} of it, as pixels that are scaled to [-1, 1] twice

    Why:
        standardized inputs have 1, images in [0, 1] have 0.6, and raw 8-bit images 150; inputs ten
        times too large saturate most activations, and small ones hardly move the outputs. What all
        examples share moves all outputs alike, and the loss with them

    Level:
        warning; note if a normalization follows directly

    Remedy:
        `Normalization`, `Rescaling`
    """
    unscaled = []
    for layer in layers:
        record = layer.first_inputs
        # What makes them infinite, or NaN, comes before their size.
        if record.signal.size < LEAST_VALUES or record.signal.nonfinite:
            continue
        has_offset = 0 < differences(of).get(layer.layer, 0.0) < OFFSET_INPUTS
        if record.are_large or _is_small(record.signal) or has_offset:
            unscaled.append(layer)
    for level, hit in by_level(unscaled, "warning", lambda layer: not layer.is_rescaled):
        first, record = hit[0], hit[0].first_inputs
        remedy = _scaled_inputs(record, of)
        signal, (index, size) = record.signal, record.largest
        evidence = (
            f"{first.title} gets inputs from {signal.min:.3g} to {signal.max:.3g}, with mean "
            f"{signal.mean:.3g} and standard deviation {signal.std:.3g}{layer_count(hit)}"
        )
        if root_mean_square(signal) <= UNSCALED_INPUTS < size:
            evidence += f", and at index {index} a root mean square of {size:.3g}"
        if level == "note":
            evidence += normalization_of(first)
        else:
            evidence += ": initializers assume inputs of standard deviation 1"
        yield Finding(hit, evidence, remedy, level)


def _scaled_inputs(record: FirstInputs, of: Diagnosis) -> Remedy:
    """Return the remedy where what a layer gets is not scaled, or not as it should be."""
    path = None if record.scaled_by is None else of.watch.paths[record.scaled_by]
    if isinstance(record.scaled_by, keras.layers.Normalization):
        return Remedy(f"standardize the inputs: {path} adapted to the data")
    if path is not None:
        return Remedy(f"another scale and offset in {path}, which give numbers of size 1 about 0")
    remedy = Remedy("standardize the inputs: keras.layers.Normalization() adapted to the data")
    if not _are_pixels(of.x):
        return remedy
    text = "scale the pixels to [-1, 1]: keras.layers.Rescaling(1 / 127.5, offset=-1)"
    return Remedy(text).otherwise(remedy)


def _is_small(signal: Signal) -> bool:
    """Return whether all inputs are small, unlike zeros and few ones."""
    limit = SMALL_INPUTS
    return bool(0 < root_mean_square(signal) < limit and signal.max < 10 * limit > -signal.min)


def _are_pixels(x: Arrays) -> bool:
    """Return whether there are images of whole numbers from 0 to 255 among inputs."""
    for tensor in list_tensors(x):
        if len(tensor.shape) != 4:
            continue
        values = to_array(tensor[:COMPARED])
        in_range = values.min(initial=0) >= 0 and 1 < values.max(initial=0) <= 255
        if in_range and (values == np.round(values)).all():
            return True
    return False
