"""Weights that get no gradient whatever their values are: what holds it back lies in the layers."""

from collections.abc import Iterator, Sequence

import keras

from keras_initx._checks import summarize_names
from keras_initx.tools.diagnose._attention import AttentionProbe
from keras_initx.tools.diagnose._dead_ends import dead_ends, ending_calls, zero_gradient_flow
from keras_initx.tools.diagnose._diagnosis import Diagnosis
from keras_initx.tools.diagnose._held_back import HeldBack, held_back, idle_alone_read
from keras_initx.tools.diagnose._lost_signals import VANISHING, lost_signals
from keras_initx.tools.diagnose._remedy import Remedy
from keras_initx.tools.diagnose._rules import Finding, by_level, layer_count, rule, titles_of
from keras_initx.tools.diagnose._seen import SeenLayer, seen_layers, weights_of
from keras_initx.tools.diagnose._single_values import SingleValueProbe, has_single_values
from keras_initx.tools.diagnose.losses.probes import LossProbe


@rule(
    "no gradient",
    unless=["equal inputs:error", "single class", "no probabilities", "unsuitable labels"],
)
def no_gradient(of: Diagnosis, layers: list[SeenLayer]) -> Iterator[Finding]:
    """Report layers that get no gradient, whatever their weights are.

    Finds:
        a compiled model whose weights are all frozen; a normalization or a softmax over a single
        value; or layers whose gradient is exactly 0, also with other numbers in the place of zeros
        and of their weights, and in inference mode. Left out are those that the loss compares with
        what others learn, on a way of their own, as a target network; and those before a dead end:
        an activation that is 0, or at a limit, for all examples, is *dead units* or *saturated*

    Why:
        such weights never change. A single value less its mean is 0, so that a layer normalization
        of one channel gives the same for all inputs; `argmax`, `round`, comparisons and casts to
        integers have no derivative

    Level:
        error; warning if the loss does not depend on them, as on an output without a loss, or
        `stop_gradient` cuts them off; note if these are of a model inside, of which only other
        outputs are used, or if another batch may use them, as experts, and others read the inputs

    Remedy:
        several values to normalize, a smooth operation, a loss
    """
    if has_single_values(of) or of.probe(AttentionProbe).of_one:
        yield _over_a_single_value(of, layers)
        return
    if _is_frozen(of):
        evidence = "no weight of the model is trained: all have `trainable=False`"
        text = "trainable=True for the layers that are to learn, before the model is compiled"
        yield Finding([], evidence, Remedy(text), "error")
        return
    if any(layer.signal.nonfinite for layer in layers):
        return
    held = held_back(of)
    cut_off = [layer for layer in layers if layer in held.cut_off]
    losses = of.probe(LossProbe)
    with_loss = {ends.layer for ends in (*losses.ends, *losses.others)}
    have_loss = any(layer.layer in with_loss for layer in cut_off)
    if cut_off and (have_loss or not held.is_apart):
        yield _cut_off(cut_off, held, of)
    unused = [layer for layer in layers if layer in held.unused]
    for level, group in by_level(unused, "warning", lambda layer: layer not in held.inside):
        evidence = (
            f"the loss does not depend on {summarize_names(titles_of(group))}{layer_count(group)}"
        )
        text = "use the output of these layers, or leave them out"
        if any(layer.makes_output for layer in group):
            text = "a loss for each output of the model that is to be trained"
        yield Finding(group, evidence, Remedy(text), level)
    # What gets zeros alone is no part that was left out, nor are keys of queries of zeros.
    began, pairs = lost_signals(of).began, of.probe(AttentionProbe).pairs
    idle = []
    for layer in layers:
        if layer in held.idle and began.isdisjoint(pairs.get(layer.layer, (layer.layer,))):
            idle.append(layer)
    if any(layer.shape is not None for layer in idle) and _vanishes_behind(idle, of):
        # What they give is too small to be seen in the loss, which has its own verdict.
        idle = [layer for layer in idle if layer.shape is None]
    if idle:
        evidence = (
            f"the loss of this batch does not depend on {summarize_names(titles_of(idle))}"
            f"{layer_count(idle)}: what they give is multiplied by 0, or not chosen"
        )
        text = "none, if other batches use these layers, as they use other experts"
        level = "note"
        if idle_alone_read(of):
            evidence += ", and nothing else reads the inputs"
            text = f"other numbers than zeros for what follows {idle[0].title}"
            level = "error"
        yield Finding(idle, evidence, Remedy(text), level)


def _vanishes_behind(idle: Sequence[SeenLayer], of: Diagnosis) -> bool:
    """Return whether the signal vanishes in the first of these layers or in a later one."""
    layers, lost = seen_layers(of), lost_signals(of)
    for layer in layers[layers.index(idle[0]) :]:
        # Zeros, as behind a gate or a factor of 0, are no numbers that are too small.
        is_small = layer.has_enough_values and 0 < layer.signal.std < VANISHING
        if (is_small and not layer.has_zeros) or layer.layer in lost.starved:
            return True
    return False


def _is_frozen(of: Diagnosis) -> bool:
    """Return whether a model that is compiled to be trained has no weight that is."""
    optimizer = getattr(of.model, "optimizer", None)
    if not isinstance(optimizer, keras.optimizers.Optimizer) or not of.model.weights:
        return False
    return of.probe(LossProbe).value is not None and not of.model.trainable_weights


def _over_a_single_value(of: Diagnosis, layers: list[SeenLayer]) -> Finding:
    """Return the finding on normalizations and softmaxes over a single value."""
    paths = of.probe(SingleValueProbe).paths
    trained = [one for one in weights_of(layers) if one.report.gradient is not None]
    held = [weight.layer for weight in trained if weight.report.gradient == 0]
    of_one = of.probe(AttentionProbe).of_one
    single = [layer for layer in layers if layer.layer in of_one]
    hit = [layer for layer in layers if layer in held or layer in single]
    hit += [layer for layer in layers if layer.layer in paths]
    names = summarize_names(list(paths.values()))
    remedy = Remedy(
        "several values to normalize: a layer with more units, such as keras.layers.Dense(32), "
        f"before {names}, or another axis"
    )
    if names:
        evidence = (
            "a normalization over a single value gives the same for all inputs, or only their "
            f"sign: {names}"
        )
    else:
        evidence = (
            f"the softmax of {summarize_names(titles_of(single))} is over a single value: it is 1"
        )
        remedy = Remedy("a softmax over several values, those of another axis")
    if held:
        evidence += f"; {len(held)} of {len(trained)} trained weights get no gradient"
    return Finding(hit, evidence, remedy, "error")


def _cut_off(hit: Sequence[SeenLayer], held: HeldBack, of: Diagnosis) -> Finding:
    """Return the finding on layers behind which an operation without a derivative follows."""
    last = hit[-1]
    place = f"behind {last.title}"
    if held.fed:
        place = f"between {last.title} and {held.fed[0].title}"
    flow = zero_gradient_flow(of)
    is_loss = flow is not None and flow.calls[0].behind == 0
    if is_loss:
        place = "in the loss"
    titles = summarize_names(titles_of(hit))
    given = f"the loss depends on {titles}{layer_count(hit)}, but the gradient is"
    if held.stopped:
        evidence = f"{given} 0: none passes keras.ops.stop_gradient {place}"
        text = (
            f"no keras.ops.stop_gradient {place}; trainable=False if these layers are not to learn"
        )
        return Finding(hit, evidence, Remedy(text), "warning")
    such = "such as argmax, round, a comparison, a cast to integers or stop_gradient"
    names = [] if is_loss else _ending_operations(of)
    if names:
        evidence = f"{given} 0: none passes {summarize_names(names)} {place}"
    else:
        evidence = f"{given} 0: an operation without a derivative is {place}, {such}"
    text = (
        f"a smooth operation {place}, such as softmax for argmax or sigmoid for a comparison, or "
        "x + keras.ops.stop_gradient(keras.ops.round(x) - x) for round; trainable=False if these "
        "layers are not to learn"
    )
    if is_loss:
        text += "; in a loss the targets come first: def loss(y_true, y_pred)"
    return Finding(hit, evidence, Remedy(text), "error")


def _ending_operations(of: Diagnosis) -> list[str]:
    """Return what gets a gradient and passes none on: operations by class, layers by path."""
    names = []
    for call in ending_calls(of):
        operation = call.operation
        if operation in dead_ends(of):
            continue
        name = of.watch.paths.get(operation, f"the operation {type(operation).__name__}")
        if operation is of.model:
            name = f"the `call` of {name}"
        names.append(name)
    return list(dict.fromkeys(names))
