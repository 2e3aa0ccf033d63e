"""Examples, or positions, that have become alike before the last layer."""

import math
from collections.abc import Iterator

import keras

from keras_initx.inspection._batch import list_tensors, to_array
from keras_initx.tools.diagnose._attention import AttentionProbe
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._first_inputs import (
    COMPARED,
    differences,
    differences_along,
    last_differences,
    spread_along,
)
from keras_initx.tools.diagnose._held_back import held_back, idle_alone_read
from keras_initx.tools.diagnose._lost_signals import lost_signals
from keras_initx.tools.diagnose._recurrence import unread_share
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, layer_count, rule
from keras_initx.tools.diagnose._seen import SeenLayer, ends_of, layers_until, weights_of
from keras_initx.tools.diagnose._single_values import has_single_values
from keras_initx.tools.diagnose.losses.ends import Ends
from keras_initx.tools.diagnose.losses.probes import LossProbe
from keras_initx.tools.diagnose.remedies.in_depth import remedy_in_depth

# Standard deviation between examples, or along the axis of the positions, of the inputs of the last
# layer, relative to their root mean square, below which they have become alike.
INPUTS_DIFFER = 0.01
# How many times as much those of the first layers are to differ: what differs little from the start
# is not made so by the network.
AT_THE_START = 10
# Deviation of outputs relative to their size, below which it is rounding.
_ROUNDING = 1e-5


@rule("alike", unless=["equal inputs"])
def alike(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Report examples, or positions, that have become alike before the last layer.

    Finds:
        a last layer whose inputs differ between examples by at most {INPUTS_DIFFER:g} of their
        size, if those of the first do by {AT_THE_START:g} times as much; or along the positions, of
        which each has a target of its own

    Why:
        the model cannot tell examples apart: it can learn the mean of the targets, no more. ReLU
        makes examples alike with depth (Cho and Saul, 2009), and so do sigmoids, or biases beside
        small kernels. Means over neighbors, and attention with equal weights, do it to positions
        (Oono and Suzuki, 2020)

    Level:
        warning

    Remedy:
        `Orthogonal` with biases of zeros; residual branches around what mixes positions
    """
    # What is held back or forgotten, and weights that are no random numbers, have verdicts.
    are_unread = any(unread_share(of, layer) is not None for layer in layers)
    if _holds_back(of) or are_unread or _has_no_random_kernel(of, layers):
        return
    found = list(_of_examples(of, layers))
    yield from found or _of_positions(of, layers)


def _of_examples(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Yield the finding on a last layer that gets almost the same of all examples."""
    at_the_start, at_the_end = differences(of), last_differences(of)
    differing = [layer for layer in layers if layer.layer in at_the_start]
    hit = []
    for layer in layers:
        # Not NaN.
        are_alike = at_the_end.get(layer.layer, math.inf) <= INPUTS_DIFFER
        if layer.makes_output and are_alike:
            hit.append(layer)
    # Of indices it is not known how much they differ.
    if not hit or not differing:
        return
    first, last = differing[0], hit[0]
    start, end = at_the_start[first.layer], at_the_end[last.layer]
    if not start > AT_THE_START * INPUTS_DIFFER:
        return
    # A module of torch may have hidden layers too.
    is_module = end != at_the_start.get(last.layer)
    title = f"the last kernel in {last.title}" if is_module else last.title
    evidence = (
        f"the inputs of {title} differ between examples by {end:.1g} of their root mean "
        f"square, those of {first.title} by {start:.1g}{layer_count(hit)}: the last layer gets "
        "the same for all"
    )
    hidden = layers_until(last, of)
    if not is_module:
        hidden.pop()
    yield Finding(hit, evidence, remedy_in_depth(hidden, of))


def _of_positions(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Yield the findings on outputs whose positions are alike, though their targets are not."""
    along = differences_along(of)
    losses = of.probe(LossProbe)
    for layer, ends in ends_of(layers, (*losses.ends, *losses.others)):
        before = layers_until(layer, of)
        for axis in range(1, ends.outputs.ndim - 1):
            place = axis, ends.outputs.shape[axis]
            of_layers = [(one, along[one.layer].get(place)) for one in before if one.layer in along]
            known = [(one, differ) for one, differ in of_layers if differ is not None]
            differing = [pair for pair in known if pair[1] > AT_THE_START * INPUTS_DIFFER]
            start = _differ_in_batch(of, place)
            if differing:
                first, deviation = differing[0]
                start = (
                    f"the inputs of {first.title} differ along axis {axis} by {deviation:.1g} of "
                    "their root mean square"
                )
            if start is None or not _have_targets_along(ends, axis):
                continue
            gets = along.get(layer.layer, {}).get(place, math.inf)
            if not gets <= INPUTS_DIFFER and not _are_alike_along(ends, axis):
                continue
            mixed = [one for one, differ in known if differ <= INPUTS_DIFFER]
            where = (mixed or [layer])[0].title
            evidence = (
                f"{start}, but the outputs of {layer.title} are the same for all {place[1]} "
                "positions, whose targets are not"
            )
            text = f"residual branches, x + f(x), around what mixes positions before {where}"
            yield Finding([layer], evidence, Remedy(text))
            break


def _differ_in_batch(of: Diagnosis, place: tuple[int, int]) -> str | None:
    """Return that the inputs of the model differ along an axis of this size, else `None`."""
    axis, size = place
    for tensor in list_tensors(of.x):
        shape = tuple(tensor.shape)
        if len(shape) <= axis or shape[axis] != size:
            continue
        if keras.backend.standardize_dtype(tensor.dtype) != "string":
            values = to_array(tensor[:COMPARED])
            if (values != values.take([0], axis)).any():
                return f"the inputs differ along axis {axis}"
    return None


def _have_targets_along(ends: Ends, axis: int) -> bool:
    """Return whether targets differ along an axis of the outputs."""
    targets = ends.targets
    if targets.ndim <= axis or targets.shape[axis] != ends.outputs.shape[axis]:
        return False
    return bool((targets != targets.take([0], axis)).any())


def _are_alike_along(ends: Ends, axis: int) -> bool:
    """Return whether outputs differ between examples, but along an axis by next to nothing."""
    outputs = ends.outputs.astype("float64")
    deviation = float((outputs - outputs.mean(axis=0)).std())
    size = float(abs(outputs).max(initial=0))
    if not deviation > _ROUNDING * size:
        return False
    return spread_along(outputs, axis) <= INPUTS_DIFFER * deviation


def _holds_back(of: Diagnosis) -> bool:
    """Return whether a layer makes the outputs of what is behind it, or gradients, the same."""
    if has_single_values(of) or of.probe(AttentionProbe).of_one:
        return True
    return bool(held_back(of).cut_off) or idle_alone_read(of)


def _has_no_random_kernel(of: Diagnosis, layers: list[SeenLayer]) -> bool:
    """Return whether a layer loses the signal, or a kernel has a single value."""
    lost = lost_signals(of).causes
    if any(layer.layer in lost for layer in layers):
        return True
    for weight in weights_of(layers):
        if weight.report.zero or (weight.is_kernel and not weight.report.std):
            return True
    return False
