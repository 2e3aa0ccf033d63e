"""Examples that have become nearly the same before the last layer.

A *constant* call gets inputs that differ between examples, and gives the same for all examples, to
the bit. An example is a step function with a surrogate gradient, which is 0 for all examples.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from keras_initx._typing import Array
from keras_initx.backends._moments import spread
from keras_initx.inspection._batch import first_float, list_tensors, to_array
from keras_initx.inspection._watch import Call, Watch, Watcher
from keras_initx.tools.diagnose._diagnosis import Diagnosis, Probe, fact
from keras_initx.tools.diagnose._kernel_inputs import input_differences, last_kernel_differences
from keras_initx.tools.diagnose._lost_signals import VANISHING, lost_signals
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    list_layers_until,
    list_weights,
    measured_layers,
    trained_layers,
)
from keras_initx.tools.diagnose._recurrence import compute_unread_share
from keras_initx.tools.diagnose._remedies import propose_for_depth
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, rule, write_count
from keras_initx.tools.diagnose._signal import LEAST_VALUES
from keras_initx.tools.diagnose._single_values import has_single_values
from keras_initx.tools.diagnose._unreached_layers import (
    OFFSETS,
    only_idle_layers_read,
    unreached_layers,
)

# Standard deviation of the inputs of the last layer between examples, relative to their root mean
# square, below which they are nearly the same.
INPUTS_DIFFER = 0.01
# How many times as much the inputs of the first layers have to differ. If they differ little, too,
# the network is not the reason.
AT_THE_START = 10


class EqualOutputsProbe(Probe):
    """Compares the outputs of the model between examples.

    Attributes:
        are_equal: Whether all outputs are the same for all examples, if there are enough of these.
    """

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis)
        self.are_equal: bool = False

    def finish(self, outputs: Any) -> None:
        arrays = [to_array(tensor) for tensor in list_tensors(outputs)]
        self.are_equal = bool(arrays) and all(map(_is_equal_for_all, arrays))


def _is_equal_for_all(values: Array) -> bool:
    # To the bit. One example, or a few of rare spikes, tell nothing.
    if values.ndim < 1 or len(values) < LEAST_VALUES:
        return False
    # The first two examples suffice for most arrays. False for NaN.
    return bool((values[1] == values[0]).all() and (values == values[:1]).all())


@rule("alike", unless=["equal inputs"], probes=[EqualOutputsProbe])
def alike(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report examples that have become nearly equal before the last layer.

    Reported if:
        - The inputs of the last layer differ between examples by at most {INPUTS_DIFFER:g} of their
          size. The inputs of the first layer differ by more than {AT_THE_START:g} times this limit.
        - A layer gives exactly the same for all examples, although its inputs differ. So all
          outputs of the model are the same, although gradients pass and the weights of the layer
          are not one number, such as 0.

    Level:
        warning

    Why:
        The model cannot distinguish examples. It can learn only the mean of the targets.

    Typical causes:
        - many layers with ReLU, which make examples similar (Cho and Saul, 2009)
        - many layers with sigmoids
        - biases that are large next to small kernels
        - a threshold that no example reaches, with a surrogate gradient

    Fix:
        - Use `Orthogonal` with biases of zeros.
        - Use a lower threshold, or larger numbers before it.
    """
    constant = _find_constant(diagnosis)
    if constant is not None:
        yield _report_constant(constant, diagnosis)
        return
    # Signals that are held back are *no gradient*, forgotten ones *memory*, and weights that are no
    # random numbers *equal units*.
    are_unread = any(compute_unread_share(diagnosis, layer) is not None for layer in layers)
    if _is_held_back(diagnosis) or are_unread or _has_no_random_kernel(diagnosis, layers):
        return
    first_differences = input_differences(diagnosis)
    last_differences = last_kernel_differences(diagnosis)
    measured = [layer for layer in layers if layer.layer in first_differences]
    hit = []
    for layer in layers:
        # False for NaN.
        are_alike = last_differences.get(layer.layer, math.inf) <= INPUTS_DIFFER
        if layer.makes_output and are_alike:
            hit.append(layer)
    # It is unknown how much indices differ.
    if not hit or not measured:
        return
    first, last = measured[0], hit[0]
    start, end = first_differences[first.layer], last_differences[last.layer]
    if not start > AT_THE_START * INPUTS_DIFFER:
        return
    # A module of torch is one layer here, and may have hidden layers inside.
    is_module = end != first_differences.get(last.layer)
    title = f"the last kernel in {last.title}" if is_module else last.title
    evidence = (
        f"the inputs of {title} differ between examples by {end:.1g} of their root mean "
        f"square{write_count(hit)}; the inputs of {first.title} differ by {start:.1g}. The last "
        "layer gets nearly the same for all examples"
    )
    hidden = list_layers_until(last, diagnosis)
    if not is_module:
        hidden.pop()
    yield Finding(hit, evidence, propose_for_depth(hidden, diagnosis))


def _is_held_back(diagnosis: Diagnosis) -> bool:
    """Return whether a layer passes on no differences between examples, or no gradients."""
    if has_single_values(diagnosis):
        return True
    return bool(unreached_layers(diagnosis).cut_off) or only_idle_layers_read(diagnosis)


def _has_no_random_kernel(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> bool:
    """Return whether a layer loses the signal, or a kernel has a single value."""
    lost = lost_signals(diagnosis).causes
    if any(layer.layer in lost for layer in layers):
        return True
    for weight in list_weights(layers):
        if weight.report.zero or (weight.is_kernel and not weight.report.std):
            return True
    return False


# ---------------------------------------------------------------- the same for all examples


@dataclass(frozen=True)
class _Numbers:
    """The numbers of a tensor.

    Attributes:
        low: The smallest.
        high: The largest.
        are_equal: Whether they are the same for all examples.
        are_small: Whether they differ so little between examples that the signal has vanished.
    """

    low: float
    high: float
    are_equal: bool
    are_small: bool


def _summarize(values: Array) -> _Numbers:
    return _Numbers(
        low=float(values.min()),
        high=float(values.max()),
        are_equal=_is_equal_for_all(values),
        are_small=not spread(values) >= VANISHING,  # also if it is NaN
    )


@dataclass(eq=False)
class _RecordedCall:
    """A call of a pass.

    Attributes:
        operation: The layer or operation.
        inputs: Its first inputs of floats, `None` without any.
        outputs: Its first outputs, `None` if they are no floats.
    """

    operation: keras.Operation
    inputs: _Numbers | None = None
    outputs: _Numbers | None = None

    @property
    def is_constant(self) -> bool:
        if self.inputs is None or self.outputs is None:
            return False
        return self.outputs.are_equal and not self.inputs.are_equal


class _CallRecorder(Watcher):
    """Records the calls of a pass.

    Attributes:
        calls: The calls, in the order in which they begin. So a call within another one comes after
            it.
        ended: The operations, in the order in which their calls end.
    """

    def __init__(self) -> None:
        self.calls: list[_RecordedCall] = []
        self.ended: list[keras.Operation] = []
        self._open: list[_RecordedCall] = []

    def before(self, call: Call) -> None:
        record = _RecordedCall(call.operation)
        self.calls.append(record)
        self._open.append(record)

    def after(self, call: Call) -> None:
        record = self._open.pop()
        self.ended.append(record.operation)
        inputs = first_float(call.arguments)
        if inputs is not None and math.prod(inputs.shape):
            record.inputs = _summarize(to_array(inputs))
        if call.output is not None and call.values.size:
            record.outputs = _summarize(call.values)


@dataclass(frozen=True)
class _Constant:
    """What makes the outputs the same for all examples.

    Attributes:
        title: The operation, in words.
        inputs: The numbers that it gets.
        outputs: The numbers that it gives.
        operation: The operation, `None` if only the code between two layers can be the reason.
    """

    title: str
    inputs: _Numbers
    outputs: _Numbers
    operation: keras.Operation | None = None


@fact
def _find_constant(diagnosis: Diagnosis) -> _Constant | None:
    """What makes the outputs the same for all examples, although gradients pass.

    It is `None` if no gradient passes, or weights of one number are the reason: *no gradient*,
    *dead units*, *saturated*, *vanishing* and *equal units* report these.
    """
    if not diagnosis.probe(EqualOutputsProbe).are_equal or has_single_values(diagnosis):
        return None
    recorder = _CallRecorder()
    Watch(diagnosis.inventory).observe(diagnosis.x, recorder, training=True)
    calls = recorder.calls
    constant = _find_last_constant(calls, diagnosis) or _find_code(calls, diagnosis)
    # Numbers that differ too little are the same for all examples by rounding.
    if constant is None or constant.inputs.are_small or _is_rounded(constant, diagnosis):
        return None
    before = set(recorder.ended)
    if constant.operation is not None:
        if _has_one_number(constant.operation):
            return None
        # With the operation itself: an activation is a part of its layer.
        before = set(recorder.ended[: recorder.ended.index(constant.operation) + 1])
    norms = [norm for layer, norm in trained_layers(diagnosis) if layer.layer in before]
    return constant if norms and all(norms) else None


def _find_last_constant(calls: Sequence[_RecordedCall], diagnosis: Diagnosis) -> _Constant | None:
    """Find the last operation of which each call gives the same for all examples."""
    differing = set()
    for call in calls:
        if call.outputs is not None and not call.outputs.are_equal:
            differing.add(call.operation)
    for call in reversed(calls):
        operation = call.operation
        if operation is diagnosis.model or call.inputs is None or call.outputs is None:
            continue
        if call.is_constant and operation not in differing:
            title = f"the operation {type(operation).__name__}"
            title = diagnosis.watch.paths.get(operation, title)
            return _Constant(title, call.inputs, call.outputs, operation)
    return None


def _find_code(calls: Sequence[_RecordedCall], diagnosis: Diagnosis) -> _Constant | None:
    """Find the two layers between which the code of a `call` gives the same for all examples."""
    paths = diagnosis.watch.paths
    for first, last in itertools.pairwise(calls[::-1]):
        # They are in reverse order: `last` is called before `first`.
        if first.inputs is None or last.outputs is None or last.outputs.are_equal:
            continue
        if first.inputs.are_equal and {first.operation, last.operation} <= paths.keys():
            title = f"the code between {paths[last.operation]} and {paths[first.operation]}"
            return _Constant(title, last.outputs, first.inputs)
    return None


def _is_rounded(constant: _Constant, diagnosis: Diagnosis) -> bool:
    """Return whether a layer gives the same by its kernel, not by an activation."""
    for layer in measured_layers(diagnosis):
        if layer.layer is constant.operation and layer.has_kernel:
            return layer.before is None or not layer.before.std >= VANISHING
    return False


def _has_one_number(operation: keras.Operation) -> bool:
    """Return whether all values of a trainable weight other than an offset are equal, such as 0."""
    weights = operation.trainable_weights if isinstance(operation, keras.Layer) else []
    for weight in weights:
        if weight.name in OFFSETS:
            continue
        values = to_array(weight.value)
        is_equal = values.size > 1 and values.min() == values.max()
        if is_equal or not values.any():
            return True
    return False


def _report_constant(constant: _Constant, diagnosis: Diagnosis) -> Finding:
    inputs, outputs = constant.inputs, constant.outputs
    value = f"{outputs.low:.3g}" if outputs.low == outputs.high else "the same"
    evidence = (
        f"{constant.title} gives {value} for all examples, although its inputs go from "
        f"{inputs.low:.3g} to {inputs.high:.3g}. So the outputs of the model are the same for all "
        "examples, while gradients pass"
    )
    text = f"use a lower threshold in {constant.title}, or larger numbers before it"
    hit = [layer for layer in measured_layers(diagnosis) if layer.layer is constant.operation]
    return Finding(hit, evidence, Remedy(text))
