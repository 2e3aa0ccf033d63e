"""Weights that get no gradient whatever their values are: the reason lies in the layers.

`unreached_layers` sorts them: *cut off* (the loss depends on them, and an operation passes no
gradient), *unused* (the loss does not depend on them), *idle* (it does not in this batch). A layer
is named if no weight of it gets a gradient, otherwise the kernels without one.
"""

from collections.abc import Collection, Iterator, Sequence

import keras

from keras_initx._checks import summarize_names
from keras_initx.tools.diagnose._dead_ends import dead_ends, ending_calls, zero_gradient_flow
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._lost_signals import VANISHING, lost_signals
from keras_initx.tools.diagnose._measured_layers import (
    MeasuredLayer,
    MeasuredWeight,
    list_weights,
    measured_layers,
)
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import (
    Finding,
    group_by_level,
    list_titles,
    rule,
    summarize_paths,
    write_count,
)
from keras_initx.tools.diagnose._single_values import (
    SingleValueProbe,
    has_single_values,
    list_query_key_pairs,
)
from keras_initx.tools.diagnose._unreached_layers import (
    UnreachedKernels,
    UnreachedLayers,
    only_idle_layers_read,
    unreached_layers,
)
from keras_initx.tools.diagnose.losses.probes import LossProbe


@rule("no gradient", reads_loss=True)
def no_gradient(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Iterator[Finding]:
    """Report layers that get no gradient, whatever their weights are.

    Reported if:
        - You compiled the model, and all its weights are frozen.
        - A normalization or a softmax gets a single value.
        - The gradient of a layer, or of a single kernel in it, is exactly 0. It is also 0 with
          other numbers in place of zeros and of the weights, after a small step of all weights, and
          in inference mode.

        A layer on a way of its own does not count, if the loss compares it with layers that learn,
        for example in a target network. A layer before a dead end does not count either. A dead end
        is an activation that is 0, or at a limit, for all examples: *dead units* or *saturated*.

    Level:
        error; warning if the loss does not depend on the layers or kernels, or `stop_gradient` cuts
        them off; note if the layers belong to a model inside, and you use other outputs of it, or
        if another batch may use them and other layers read the inputs

    Why:
        - Weights without a gradient never change.
        - A single value less its mean is 0. So a layer normalization of one channel has the same
          output for all inputs.
        - `argmax`, `round`, comparisons and casts to integers have no derivative.

    Typical causes:
        - `trainable=False` for a whole model
        - a normalization after a layer of one unit
        - an operation without a derivative between layers, in a layer, or in your own loss
        - an output of the model without a loss
        - experts that no example of the batch selects

    Fix:
        - Normalize several values.
        - Use a smooth operation.
        - Add a loss for each output that you want to train.
    """
    if has_single_values(diagnosis):
        yield _report_single_values(diagnosis, layers)
        return
    if _is_frozen(diagnosis):
        evidence = "all weights of the model have `trainable=False`. Training changes none of them"
        text = "set trainable=True for the layers that should learn, before you compile the model"
        yield Finding([], evidence, Remedy(text), "error")
        return
    if any(layer.signal.nonfinite for layer in layers):
        return
    unreached = unreached_layers(diagnosis)
    cut_off = [layer for layer in layers if layer in unreached.cut_off]
    losses = diagnosis.probe(LossProbe)
    with_loss = {head.layer for head in (*losses.heads, *losses.other_heads)}
    have_loss = any(layer.layer in with_loss for layer in cut_off)
    if cut_off and (have_loss or not unreached.is_apart):
        yield _report_cut_off(cut_off, unreached, diagnosis)
    unused = [layer for layer in layers if layer in unreached.unused]
    for level, group in group_by_level(
        unused, "warning", lambda layer: layer not in unreached.inside
    ):
        evidence = (
            f"the loss does not depend on {summarize_names(list_titles(group))}{write_count(group)}"
        )
        text = "use the output of these layers, or leave them out"
        if any(layer.makes_output for layer in group):
            text = "add a loss for each output of the model that should learn"
        yield Finding(group, evidence, Remedy(text), level)
    # Layers that get zeros alone were not left out, and neither were keys of queries of zeros.
    zeros = set(lost_signals(diagnosis).began)
    for pair in list_query_key_pairs(diagnosis):
        if not zeros.isdisjoint(pair):
            zeros.update(pair)
    idle = [layer for layer in layers if layer in unreached.idle and layer.layer not in zeros]
    if any(layer.shape is not None for layer in idle) and _vanishes_later(idle, diagnosis):
        # Their output is too small to change the loss: *vanishing*.
        idle = [layer for layer in idle if layer.shape is None]
    if idle:
        evidence = (
            f"the loss of this batch does not depend on {summarize_names(list_titles(idle))}"
            f"{write_count(idle)}. Later operations multiply their output by 0, or do not select it"
        )
        text = "change nothing if other batches use these layers, for example as other experts"
        level = "note"
        if only_idle_layers_read(diagnosis):
            evidence += ", and no other layer reads the inputs"
            text = f"use other numbers than zeros after {idle[0].title}"
            level = "error"
        yield Finding(idle, evidence, Remedy(text), level)
    yield from _report_kernels(unreached.kernels, layers, zeros)


def _report_kernels(
    kernels: UnreachedKernels, layers: Sequence[MeasuredLayer], zeros: Collection[keras.Layer]
) -> Iterator[Finding]:
    """Report kernels without a gradient in layers whose other weights get one.

    Args:
        kernels: The kernels.
        layers: The layers that may be reported.
        zeros: The layers that get zeros alone.
    """
    cut_off = _select_kernels(kernels.cut_off, layers)
    stopped = [kernel for kernel in cut_off if kernel in kernels.stopped]
    without_derivative = [kernel for kernel in cut_off if kernel not in kernels.stopped]
    if without_derivative:
        yield _report_cut_off_kernels(without_derivative)
    if stopped:
        yield _report_stopped_kernels(stopped)
    unused = _select_kernels(kernels.unused, layers)
    if unused:
        evidence = f"the loss does not depend on {summarize_paths(unused)}"
        text = "use these kernels, or leave them out"
        yield Finding(_list_owners(unused), evidence, Remedy(text), "warning")
    idle = []
    for kernel in _select_kernels(kernels.idle, layers):
        if kernel.layer.layer not in zeros:
            idle.append(kernel)
    if idle:
        evidence = (
            f"the loss of this batch does not depend on {summarize_paths(idle)}. Their inputs are "
            "0, or later operations multiply what they give by 0, or do not select it"
        )
        text = "change nothing if other batches use these kernels, for example as other experts"
        yield Finding(_list_owners(idle), evidence, Remedy(text), "note")


def _select_kernels(
    kernels: Sequence[MeasuredWeight], layers: Sequence[MeasuredLayer]
) -> list[MeasuredWeight]:
    return [kernel for kernel in kernels if kernel.layer in layers]


def _list_owners(kernels: Sequence[MeasuredWeight]) -> list[MeasuredLayer]:
    return list(dict.fromkeys(kernel.layer for kernel in kernels))


def _report_cut_off_kernels(kernels: Sequence[MeasuredWeight]) -> Finding:
    """Report kernels that an operation without a derivative follows in their layers."""
    where = f"in {summarize_names(list_titles(_list_owners(kernels)))}"
    evidence = (
        f"the loss depends on {summarize_paths(kernels)}, but no gradient passes an operation "
        f"without a derivative {where}, such as argmax, round, a comparison, a cast to integers, "
        "or a tensor that is detached or comes from NumPy"
    )
    text = (
        f"use smooth operations of keras.ops {where}, or make these kernels not trainable if they "
        "should not learn"
    )
    return Finding(_list_owners(kernels), evidence, Remedy(text), "error")


def _report_stopped_kernels(kernels: Sequence[MeasuredWeight]) -> Finding:
    where = f"in {summarize_names(list_titles(_list_owners(kernels)))}"
    evidence = (
        f"the loss depends on {summarize_paths(kernels)}, but no gradient passes "
        f"keras.ops.stop_gradient {where}"
    )
    text = (
        f"remove keras.ops.stop_gradient {where}, or make these kernels not trainable if they "
        "should not learn"
    )
    return Finding(_list_owners(kernels), evidence, Remedy(text), "warning")


def _vanishes_later(idle: Sequence[MeasuredLayer], diagnosis: Diagnosis) -> bool:
    """Return whether the signal vanishes in the first of these layers or in a later one."""
    layers, lost = measured_layers(diagnosis), lost_signals(diagnosis)
    for layer in layers[layers.index(idle[0]) :]:
        # Zeros, as after a gate or a factor of 0, are no numbers that are too small.
        is_small = layer.has_enough_values and 0 < layer.signal.std < VANISHING
        if (is_small and not layer.has_zeros) or layer.layer in lost.starved:
            return True
    return False


def _is_frozen(diagnosis: Diagnosis) -> bool:
    """Return whether a model is compiled to be trained, and none of its weights is trainable."""
    optimizer = getattr(diagnosis.model, "optimizer", None)
    if not isinstance(optimizer, keras.optimizers.Optimizer) or not diagnosis.model.weights:
        return False
    return diagnosis.probe(LossProbe).value is not None and not diagnosis.model.trainable_weights


def _report_single_values(diagnosis: Diagnosis, layers: list[MeasuredLayer]) -> Finding:
    """Report normalizations and softmaxes over a single value."""
    probe = diagnosis.probe(SingleValueProbe)
    paths = probe.paths
    trained = [weight for weight in list_weights(layers) if weight.report.gradient is not None]
    unreached = [weight.layer for weight in trained if weight.report.gradient == 0]
    before_softmax = [layer for layer in layers if layer.layer in probe.before_softmax]
    hit = [layer for layer in layers if layer in unreached or layer in before_softmax]
    hit += [layer for layer in layers if layer.layer in paths]
    names = summarize_names(list(paths.values()))
    remedy = Remedy(
        "normalize several values: use a layer with more units, such as keras.layers.Dense(32), "
        f"before {names}, or another axis"
    )
    if names:
        evidence = (
            f"the normalization by {names} gets a single value. It gives the same output for all "
            "inputs, or only their sign"
        )
    else:
        titles = summarize_names(list_titles(before_softmax))
        evidence = f"the softmax of {titles} gets a single value, and is always 1"
        remedy = Remedy("apply the softmax to several values, along another axis")
    if unreached:
        evidence += f"; {len(unreached)} of {len(trained)} trained weights get no gradient"
    return Finding(hit, evidence, remedy, "error")


def _report_cut_off(
    hit: Sequence[MeasuredLayer], unreached: UnreachedLayers, diagnosis: Diagnosis
) -> Finding:
    """Report layers that an operation without a derivative follows."""
    last = hit[-1]
    where = f"after {last.title}"
    if unreached.fed:
        where = f"between {last.title} and {unreached.fed[0].title}"
    flow = zero_gradient_flow(diagnosis)
    is_loss = flow is not None and flow.calls[0].output_norm == 0
    if is_loss:
        where = "in the loss"
    titles = summarize_names(list_titles(hit))
    effect = f"the loss depends on {titles}{write_count(hit)}, but no gradient"
    if unreached.stopped:
        evidence = f"{effect} passes keras.ops.stop_gradient {where}"
        text = (
            f"remove keras.ops.stop_gradient {where}, or set trainable=False if these layers "
            "should not learn"
        )
        return Finding(hit, evidence, Remedy(text), "warning")
    examples = "argmax, round, a comparison, a cast to integers or stop_gradient"
    names = [] if is_loss else _list_ending_operations(diagnosis)
    if names:
        evidence = f"{effect} passes {summarize_names(names)} {where}"
    else:
        evidence = f"{effect} passes an operation without a derivative {where}, such as {examples}"
    text = (
        f"use a smooth operation {where}, such as softmax for argmax, sigmoid for a comparison, or "
        "x + keras.ops.stop_gradient(keras.ops.round(x) - x) for round; or set trainable=False if "
        "these layers should not learn"
    )
    if is_loss:
        text += "; in a loss, put the targets first: def loss(y_true, y_pred)"
    return Finding(hit, evidence, Remedy(text), "error")


def _list_ending_operations(diagnosis: Diagnosis) -> list[str]:
    """List the calls that get a gradient and pass none on: operations by class, layers by path."""
    names = []
    for call in ending_calls(diagnosis):
        operation = call.operation
        if operation in dead_ends(diagnosis):
            continue
        name = diagnosis.watch.paths.get(operation, f"the operation {type(operation).__name__}")
        if operation is diagnosis.model:
            name = f"the `call` of {name}"
        names.append(name)
    return list(dict.fromkeys(names))
