"""Record the outputs of all layers of a model, and compare them with another model.

`compare_outputs` goes these steps:

1. record the calls of the model, with the values that are kept (`Recorder`)
2. find the counterpart of each call (`find_counterparts`)
3. compare each call with it, up to its tolerance (`Flow`, `compare_call`)
4. find the first difference, go back to its origin, and collect what differs there
5. take the first step of training, if the other model has one (`FirstStep`, `compare_steps`)

`ours` and `here` belong to the model; `theirs`, `others` and `there` belong to the other side. The
*maker* of a tensor is the first call that has returned it.
"""

import contextlib
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._checks import check_choice, check_number, check_type, truncate
from keras_initx._received import show
from keras_initx._signatures import shorten_signature
from keras_initx._typing import Shape
from keras_initx.checkpoints._sources import LAYOUTS, LayoutName, TorchModule, is_torch_module
from keras_initx.inspection._batch import Batch, Data, first_examples, make_batch
from keras_initx.inspection._environment import read_environment
from keras_initx.inspection._inventory import Inventory, check_built, check_unshared
from keras_initx.inspection._watch import Watcher, call_observed_module
from keras_initx.report._terminal import Verbose, show_status, takes_verbose
from keras_initx.report._text import format_number, join_clauses
from keras_initx.tools.compare_outputs._compared_call import (
    BEFORE_ACTIVATION,
    CallComparison,
    compare_call,
    find_flattening_order,
    is_equal_before_activation,
)
from keras_initx.tools.compare_outputs._compared_step import (
    compare_steps,
    explain_padding,
    explain_variances,
)
from keras_initx.tools.compare_outputs._components import (
    ATTENTION,
    RECURRENT,
    watch_functions,
)
from keras_initx.tools.compare_outputs._counterparts import (
    Counterparts,
    find_counterpart_path,
    find_counterparts,
    select_weight_names,
    translate_names,
)
from keras_initx.tools.compare_outputs._draws import find_random_calls, record_twice
from keras_initx.tools.compare_outputs._first_step import FirstStep, may_take_step
from keras_initx.tools.compare_outputs._flow import (
    Flow,
    find_output_tolerances,
    propagate_tolerances,
)
from keras_initx.tools.compare_outputs._mapped_step import map_step
from keras_initx.tools.compare_outputs._module_losses import compare_losses_of_modules
from keras_initx.tools.compare_outputs._module_step import ModuleLoss, ModuleStep, preserve_modules
from keras_initx.tools.compare_outputs._outputs_file import read_outputs
from keras_initx.tools.compare_outputs._outputs_report import OutputRow, OutputsReport, Stretch
from keras_initx.tools.compare_outputs._padded_windows import compare_padded, find_window
from keras_initx.tools.compare_outputs._reading import (
    Values,
    canonicalize_operations,
    name_modules,
    name_operations,
    read_values,
)
from keras_initx.tools.compare_outputs._reasons import (
    compare_functions,
    compare_gelus,
    compare_masks,
    list_activated,
    list_activated_between,
)
from keras_initx.tools.compare_outputs._recorded import (
    CallKey,
    RecordedCall,
    Recorder,
    record_calls,
    record_tensor,
)
from keras_initx.tools.compare_outputs._recorded_outputs import RecordedOutputs
from keras_initx.tools.compare_outputs._recorded_step import (
    RecordedStep,
    RecordedWeight,
    convert_torch_targets,
)
from keras_initx.tools.compare_outputs._samples import squeeze_shape
from keras_initx.tools.compare_outputs._setting_differences import SettingDifference
from keras_initx.tools.compare_outputs._setting_stretches import (
    ComparedSettings,
    compare_all_settings,
)
from keras_initx.tools.compare_outputs._settings_table import ANY
from keras_initx.tools.compare_outputs._step_report import StepReport
from keras_initx.tools.compare_outputs._weight_values import list_other_weights, record_weights
from keras_initx.tools.load_pretrained._array_names import NamesDict


def find_first_difference(comparisons: list[CallComparison], flow: Flow) -> int | None:
    """Find the index of the call where the first difference arises, `None` without one.

    It is the first call above its tolerance. If the inputs of this call already differ by half of
    the tolerance, it is the maker of these inputs, and so on. The row of such a maker is changed to
    one that differs.

    Args:
        comparisons: All calls, ordered by their ends.
        flow: How the calls depend on each other.
    """
    statuses = [comparison.row.status for comparison in comparisons]
    if "differs" not in statuses:
        return None
    index = statuses.index("differs")
    while True:
        makers = _find_differing_makers(comparisons, flow, index)
        if not makers:
            return index
        index = min(makers)
        comparison = comparisons[index]
        if comparison.row.status != "differs":
            how = join_clauses("above half the tolerance", comparison.row.detail)
            row = replace(comparison.row, status="differs", detail=how)
            comparisons[index] = comparison._replace(row=row)


def _find_differing_makers(
    comparisons: Sequence[CallComparison], flow: Flow, index: int
) -> list[int]:
    """Find the calls that have made the inputs of a call, and differ by half of the tolerance.

    In place of a maker that was not compared, the makers of its inputs count.
    """
    differing = []
    visited = set()
    call = flow.calls[index]
    open_indices = list(flow.iterate_makers(call.inputs.values(), 0, call.begin))
    while open_indices:
        maker = open_indices.pop()
        if maker in visited:
            continue
        visited.add(maker)
        row = comparisons[maker].row
        if row.outputs is None:
            passed_call = flow.calls[maker]
            open_indices += flow.iterate_makers(passed_call.inputs.values(), 0, passed_call.begin)
        elif row.outputs > row.tolerance / 2:
            differing.append(maker)
    return differing


def narrow_down_origin(
    comparisons: Sequence[CallComparison], index: int, flow: Flow, others: Sequence[RecordedCall]
) -> Stretch:
    """Find the calls where the difference of a row may arise, in addition to its own call.

    In both models these are calls that were not compared. The call depends on them, or may depend
    on them, and no equal call does.

    Args:
        comparisons: All calls.
        index: The index of the row.
        flow: How the calls depend on each other.
        others: The calls of the other model.
    """
    first = comparisons[index]
    is_inside = has_equal_inputs(first)
    equal_indices = []
    matched = set()
    for number, comparison in enumerate(comparisons):
        if comparison.row.status == "equal":
            equal_indices.append(number)
        if comparison.row.status in ("equal", "differs"):
            matched.add(id(comparison.other))
    here = []
    for suspect in _find_suspects(flow, index, equal_indices, is_inside):
        row = comparisons[suspect].row
        if row.status != "differs":
            here.append(row.name)
    other_indices = {id(call): number for number, call in enumerate(others)}
    other_index = other_indices[id(first.other)]
    other_equal = [other_indices[id(comparisons[number].other)] for number in equal_indices]
    there = []
    for suspect in _find_suspects(Flow(others), other_index, other_equal, is_inside):
        if id(others[suspect]) not in matched:
            there.append(str(others[suspect].key))
    return Stretch(
        _name_last_equal(comparisons, index, flow, equal_indices),
        tuple(here),
        tuple(there),
    )


def has_equal_inputs(comparison: CallComparison) -> bool:
    """Say whether all inputs of a call were compared, and are equal."""
    pairs = comparison.inputs
    return bool(pairs) and not any(pair.differs or pair.difference is None for pair in pairs)


def _find_suspects(
    flow: Flow, index: int, equal_indices: Sequence[int], is_inside: bool
) -> list[int]:
    """Find the calls that may have caused a difference in a call, with the call itself.

    A call cannot be the cause if an equal call depends on it.

    Args:
        flow: How the calls of a model depend on each other.
        index: The index of the call.
        equal_indices: The indices of the equal calls.
        is_inside: Whether only calls inside of it can be at fault, because its inputs are equal.
    """
    suspects = flow.inner_calls(index) if is_inside else flow.possible[index]
    for other in equal_indices:
        suspects &= ~(flow.certain[other] | flow.inner_calls(other))
    return flow.list_members(suspects)


def _name_last_equal(
    comparisons: Sequence[CallComparison], index: int, flow: Flow, equal_indices: Sequence[int]
) -> tuple[str, ...]:
    """Name the last equal calls before the difference."""
    used = flow.certain[index] if flow.certain[index] != 1 << index else flow.possible[index]
    before = [number for number in equal_indices if used >> number & 1]
    if not before:
        before = [number for number in equal_indices if flow.possible[index] >> number & 1][-1:]
    last = []
    for number in before:
        # A call that another one has used is not the last.
        others = [
            flow.certain[other] | flow.inner_calls(other) for other in before if other != number
        ]
        if not any(used_calls >> number & 1 for used_calls in others):
            last.append(comparisons[number].row.name)
    return tuple(last)


def collect_reasons(
    comparisons: Sequence[CallComparison],
    index: int,
    between: Stretch,
    others: Sequence[RecordedCall],
    settings: ComparedSettings,
    *,
    is_same_framework: bool,
) -> list[str]:
    """Collect the differences in the first row that differs, as clauses. They are facts.

    Args:
        comparisons: All calls.
        index: The index of the row.
        between: The stretch of calls where the difference arises.
        others: The calls of the other model.
        settings: The settings of both models.
        is_same_framework: Whether both models are of Keras.
    """
    reasons = []
    for comparison in comparisons:
        row = comparison.row
        if row.is_model and row.inputs_differ and row.inputs is not None:
            size = format_number(row.inputs)
            reasons.append(f"the inputs of the models differ by {size} of their size")
    first = comparisons[index]
    reasons += _compare_settings_and_masks(first, is_same_framework)
    if not has_equal_inputs(first):
        # A layer that contains the call may have passed something else to it.
        for comparison in comparisons[index + 1 :]:
            path = comparison.row.path
            if first.row.path.startswith(f"{path}/") or comparison.call.is_model:
                for reason in _compare_settings_and_masks(comparison, is_same_framework):
                    reasons.append(f"{path}: {reason}")
    reasons += settings.reasons.get(first.call.key, ())
    if is_equal_before_activation(first):
        reasons.append("its activation, before which the outputs are equal")
    for comparison in comparisons[:index]:
        name = comparison.row.name
        if name in between.after and BEFORE_ACTIVATION in comparison.row.detail:
            activation = _name_activation(comparison)
            reasons.append(f"the activation of {name}, {activation}: before it, {name} is equal")
    reasons += _compare_nearby_gelus(comparisons, index, between, others)
    reasons += _compare_nearby_functions(comparisons, index, between)
    reasons += _compare_nearby_padding(comparisons, index, between, others)
    if not reasons:
        reasons += _list_masks_before(comparisons, index, between, settings)
    reasons = list(dict.fromkeys(reasons))
    order = find_flattening_order(first)
    if order:  # the last reason, because its remedy ends the sentence
        reasons.append(
            f"the order of its inputs, which are the same with {order} there. Remedy: move the "
            'rows of the kernel; `load_pretrained(layout="torch")` does so if the graph shows how'
        )
    return reasons


def _compare_nearby_gelus(
    comparisons: Sequence[CallComparison],
    index: int,
    between: Stretch,
    others: Sequence[RecordedCall],
) -> list[str]:
    """Say whether GELU is computed in two ways near the first difference."""
    first = comparisons[index]
    ours = list_activated(first.call)
    theirs = [] if first.other is None else list_activated(first.other)
    for near in comparisons:
        is_last_equal = near.row.name in between.after
        if is_last_equal:
            ours += list_activated_between(near.call, first.call)
            if near.other is not None and first.other is not None:
                theirs += list_activated_between(near.other, first.other)
        if (
            is_last_equal and BEFORE_ACTIVATION in near.row.detail
        ) or near.row.name in between.here:
            ours += list_activated(near.call)
            theirs += [] if near.other is None else list_activated(near.other)
    for call in others:
        if str(call.key) in between.there:
            theirs += list_activated(call)
    return compare_gelus(ours, theirs)


def _compare_nearby_functions(
    comparisons: Sequence[CallComparison], index: int, between: Stretch
) -> list[str]:
    """Say whether another function lies between the last equal call and the first difference."""
    first = comparisons[index]
    reasons = []
    for near in comparisons:
        if near.row.name in between.after and near.other is not None and first.other is not None:
            reasons += compare_functions(
                list_activated_between(near.call, first.call),
                list_activated_between(near.other, first.other),
            )
    return reasons


def _compare_nearby_padding(
    comparisons: Sequence[CallComparison],
    index: int,
    between: Stretch,
    others: Sequence[RecordedCall],
) -> list[str]:
    """Say how padding differs near the first difference, if there is one window of a kind."""
    first = comparisons[index]
    calls = [comparison.call for comparison in comparisons]
    names = {first.row.name, *between.here}
    here = _group_windows([call for call in calls if str(call.key) in names])
    there = _group_windows(
        [call for call in others if call is first.other or str(call.key) in between.there]
    )
    reasons = []
    for kind in here.keys() & there.keys():
        if len(here[kind]) == len(there[kind]) == 1:
            ours, theirs = here[kind][0], there[kind][0]
            for text in compare_padded(ours, theirs, calls, others):
                reasons.append(str(SettingDifference(text, ANY, str(ours.key), str(theirs.key))))
    return sorted(reasons)


def _group_windows(calls: Sequence[RecordedCall]) -> dict[str, list[RecordedCall]]:
    groups: dict[str, list[RecordedCall]] = {}
    for call in calls:
        component = find_window(call)
        if component is not None:
            groups.setdefault(component.kind, []).append(call)
    return groups


def _list_masks_before(
    comparisons: Sequence[CallComparison], index: int, between: Stretch, settings: ComparedSettings
) -> list[str]:
    """List the layers of Keras that mask, if a layer that looks at masks lies at the difference."""
    names = {comparisons[index].row.name, *between.here}
    kinds: set[str] = set()
    before: set[str] = set()
    for number, comparison in enumerate(comparisons):
        if comparison.row.name in names:
            kinds.update(component.kind for component in comparison.call.components)
        if number < index:
            before.add(comparison.row.name)
    if kinds.isdisjoint((*RECURRENT, ATTENTION)):
        return []
    masks = [row for row in settings.differences if row.is_mask and row.path in before]
    return [str(row) for row in masks]


def _compare_settings_and_masks(comparison: CallComparison, is_same_framework: bool) -> list[str]:
    if comparison.other is None:
        return []
    masks = compare_masks(comparison.call, comparison.other, is_same_framework=is_same_framework)
    return [*comparison.row.settings, *masks]


def _name_activation(comparison: CallComparison) -> str:
    settings: list[Mapping[str, object]] = [comparison.call.settings]
    if comparison.other is not None:
        settings.append(comparison.other.settings)
    for call_settings in settings:
        if "activation" in call_settings:
            return str(call_settings["activation"])
    return "which has no name"


# Recorded outputs or the path of their file, a Keras model, or arrays by the names of layers.
LikeOutputs: TypeAlias = (
    RecordedOutputs | keras.Model | TorchModule | str | Path | Mapping[str, Any]
)


@takes_verbose
def record_outputs(
    model: Any,
    x: Data,
    y: Data | None = None,
    *,
    loss: ModuleLoss | None = None,
    verbose: Verbose = "auto",
) -> RecordedOutputs:
    """Record the outputs of all layers of a model in one forward pass.

    Use it to compare models by `compare_outputs`, which names the first layer that differs: your
    model on another backend or with another version of Keras, or a model that got its weights.

    The record keeps the moments of each tensor, and at most 4096 of its values in float32. Your
    model does not change.

    If you pass targets, the record has the first step of training too: the outputs in training, the
    loss, the gradient of each weight, and its update by a copy of the optimizer in its first state.
    The step is taken with dropout off.

    For a module of torch, pass `loss`. The module stays as it was, to the bit. The step ends with
    the gradients, which are kept whole up to four million values.

    Args:
        model: A built Keras model, or a module of torch on any backend. Both run in inference mode.
            Modules have the names of `named_modules()`.
        x: The inputs. For a Keras model: the same as for `fit`, see `diagnose`. For a module of
            torch:

            - an array or a tensor,
            - a tuple or list of these, passed by position,
            - a dict of these, passed by name.

            Arrays of NumPy in float64 become float32 for a module without float64.
        y: The targets. For a compiled Keras model: the same as for `fit`, unless `x` has them. A
            model whose only loss comes from `add_loss` needs none. For a module of torch: arrays or
            tensors, also in a list or dict.
        loss: For a module of torch with targets: a function of its outputs and of `y` that returns
            a single number, such as `torch.nn.MSELoss()`.
        verbose: Whether to show progress: `"auto"` on a terminal, unless you called
            `keras.config.disable_interactive_logging()`; 1 always; 0 never.

    Returns:
        `RecordedOutputs` with a row for each call, ordered by the ends of calls. So a layer comes
        after the layers inside it. Operations of `keras.ops` in a functional model have rows, other
        operations are part of the layer that calls them. A layer with two calls has two rows.

    Raises:
        TypeError: If `model` is neither, `x` is not an array, or `loss` of a module is no function.
        ValueError: If the model is not built, `x` does not fit to its inputs, on JAX other
            processes hold parts of the weights, `y` is given for a model that is not compiled,
            or is on several replicas, `loss` is given for a Keras model or without `y`, or `loss`
            returns no number with a gradient.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        >>> outputs = record_outputs(model, keras.random.normal((4, 3), seed=0))
        >>> [row.path for row in outputs.rows][0]
        'dense'
        >>> outputs.save("outputs.npz")

    See Also:
        `compare_outputs` compares a model with the record. The page "Same outputs, another loss
        curve" compares the first step of training.
    """
    if is_torch_module(model):
        with show_status() as progress:
            progress(f"Recording {type(model).__name__}")
            return _record_module(model, x, y, loss)
    if loss is not None:
        raise ValueError(
            "`loss` must be left out for a Keras model: `compile` has it. "
            f"Received: loss={show(loss)}"
        )
    inventory = _check_model(model)
    batch = _prepare_batch(model, x, y)
    with show_status() as progress:
        progress(f"Recording {model.name}")
        recorded = _record_model(inventory, batch.x)
        if may_take_step(model, batch, is_required=y is not None):
            progress(f"First step of {model.name}")
            step = FirstStep(inventory, batch).record()
            # Nobody has asked for the step of a model without targets that has no loss.
            if batch.y is not None or not step.obstacle:
                recorded.step = step
    return recorded


@shorten_signature
@takes_verbose
def compare_outputs(
    model: keras.Model,
    x: Data,
    like: LikeOutputs,
    y: Data | None = None,
    *,
    names: NamesDict | None = None,
    layout: LayoutName | None = None,
    tolerance: float | None = None,
    verbose: Verbose = "auto",
) -> OutputsReport:
    """Name the first layer of a model whose outputs differ from the outputs of another model.

    Use it after loading. It proves that your model computes the same as its source, or finds the
    layer that does not.

    A row differs if its values differ by more than the tolerance for their dtype (5e-6 in float32),
    as a share of the root mean square of their channel. A row has the largest tolerance among the
    rows that it depends on.

    A row that is all zero, all the same value, or the same for all examples proves nothing. Its
    status is `"not known"`. Rows whose outputs differ because they are random have it too.

    If outputs only fit with moved axes, such as images of torch, the axes are moved, and the row
    tells you so.

    If you pass targets, `report.step` compares the first step of training. For this,
    `compare_outputs` takes four more steps.

    Args:
        model: A built Keras model.
        x: Its inputs, the same as for the other model, see `record_outputs`.
        like: The model or the outputs to compare with, `LikeOutputs`. One of:

            - the result of `record_outputs`, or the path of its file,
            - another Keras model, or a module of torch that takes the same inputs,
            - a dict from the names of layers, or of the model, to their outputs (float64 counts as
              float32).
        y: The targets, for a compiled model, if `like` has a step or is another compiled model. See
            `record_outputs`.
        names: The names of layers in `like` by patterns: `{"block_*": "blocks.{0}"}`, with all
            forms of `names` of `load_pretrained`. A pattern also covers all layers inside of the
            layer. `None` skips them. The name `""` is the other model itself, if it records no
            layers. Without `names`, equal paths are compared.
        layout: For the first step of a module of torch: the order of axes in its arrays, `"torch"`
            by default, see `load_pretrained`. Pass `"keras"` for `Conv1D` of transformers' GPT-2.
        tolerance: The tolerance for all floats, in place of the tolerance for their dtype.
        verbose: Whether to show progress: `"auto"` on a terminal, unless you called
            `keras.config.disable_interactive_logging()`; 1 always; 0 never.

    Returns:
        `OutputsReport` with a row for each call. The first difference arises in the row `first`.

    Raises:
        OSError: If a file cannot be read.
        TypeError: If an argument has the wrong type.
        ValueError: If `tolerance` is not a positive number, no output can be compared, the model is
            not built, `x` does not fit, a pattern matches nothing or leads to no name, a file is
            damaged or of another version, `layout` is given without a module of torch, or `y` is
            given for a model that is not compiled, or without a step in `like`.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        >>> other = keras.models.clone_model(model)
        >>> other.set_weights(model.get_weights())
        >>> x = np.random.default_rng(0).normal(size=(4, 3))
        >>> compare_outputs(model, x, other).ok
        True
        >>> _ = other.layers[0].bias.assign([0.0, 0.1])
        >>> compare_outputs(model, x, other).first.path
        'dense'

    See Also:
        `load_pretrained` loads weights, `keras_initx.testing.assert_same_outputs` compares outputs
        in your tests. The page "Compare outputs, layer by layer" tells you how calls, shapes and
        automatic names are matched.
    """
    return compare_watched(model, x, like, y=y, names=names, layout=layout, tolerance=tolerance)


def compare_watched(
    model: keras.Model,
    x: Data,
    like: LikeOutputs,
    *watchers: Watcher,
    y: Data | None = None,
    names: NamesDict | None = None,
    layout: LayoutName | None = None,
    tolerance: float | None = None,
) -> OutputsReport:
    """Do the same as `compare_outputs`, while watchers look at the calls of the model too."""
    inventory = _check_model(model)
    if layout is not None:
        check_choice("layout", layout, LAYOUTS)
    if tolerance is not None:
        check_number("tolerance", tolerance, positive=True)
    names = translate_names(names, inventory)
    batch = _prepare_batch(model, x, y)
    trains = may_take_step(model, batch, is_required=y is not None)
    others = _open_like(inventory, batch, like)
    if layout is not None and others.framework != "torch":
        raise ValueError(
            "`layout` must be left out unless `like` is recorded from a module of torch. "
            f"Received: layout={show(layout)}, and like of type {type(like).__name__}"
        )
    if others.step is None and y is not None:
        raise ValueError(
            "`y` needs the first step of the other model: record it by `record_outputs(model, x, "
            f"y)`, of a compiled model. Received: y, and like of type {type(like).__name__} "
            "without a step"
        )
    with show_status() as progress:
        progress(f"Comparing the calls of {model.name}")
        sides = _Sides(
            inventory, batch, _record_model(inventory, batch.x, others.calls, watchers), others
        )
        counterparts = _find_counterparts(sides, names, tolerance)
        report = _compare_calls(sides, counterparts, names, tolerance)
        if others.step is None:
            return report
        if not trains:
            why = "the model here is not compiled"
            if model.compiled:
                missing = "`y` is missing"
                why = missing if batch.y is None else "the model here is on several replicas"
            return replace(report, step_left_out=why)
        progress(f"Comparing the first step of {model.name}")
        if others.framework == "torch":
            step = _compare_step_of_module(sides, names, layout or "torch", tolerance)
        else:
            step = _compare_step_of_model(sides, counterparts, names, tolerance)
    if not step.obstacle:
        step = replace(step, later=[*step.later, *report._describe_settings("training")])
    return replace(report, step=step)


class _Sides(NamedTuple):
    """The model, and the record that it is compared with.

    Attributes:
        inventory: The weights and layers of the model.
        batch: Its batch.
        ours: The record of its outputs.
        others: The record of the other model.
    """

    inventory: Inventory
    batch: Batch
    ours: RecordedOutputs
    others: RecordedOutputs

    @property
    def backends(self) -> tuple[str, str]:
        """The backends of both."""
        return self.ours.backend, self.others.backend


def _find_counterparts(
    sides: _Sides, names: NamesDict | None, tolerance: float | None
) -> Counterparts:
    """Find the counterparts of the calls of a model. See `find_counterparts`."""
    inventory = sides.inventory
    texts = canonicalize_operations(inventory)
    canonical_paths = {path: texts[layer] for layer, path in name_operations(inventory).items()}
    return find_counterparts(
        sides.ours.calls,
        canonical_paths,
        sides.others.calls,
        names,
        tolerance,
        inventory.weights_and_buffers,
    )


def _compare_calls(
    sides: _Sides,
    counterparts: Counterparts,
    names: NamesDict | None,
    tolerance: float | None,
) -> OutputsReport:
    """Compare the calls of the model with their counterparts, and find those that are random."""
    ours, others, inventory = sides.ours, sides.others, sides.inventory
    settings = compare_all_settings(
        ours.calls,
        others.calls,
        counterparts.calls,
        is_same_framework=others.framework == "keras",
        has_fixed_sizes=_has_fixed_sizes(inventory.model),
    )
    report = _build_report(ours, others, counterparts, settings, tolerance, names)
    if report.first is None:
        return report
    random = find_random_calls(*record_twice(inventory, sides.batch.x, training=False))
    if not random:
        return report
    return _build_report(ours, others, counterparts, settings, tolerance, names, random)


class _TakenStep(NamedTuple):
    """The first step of the model.

    Attributes:
        recorded: Its record.
        calls: The calls in training, none if the step could not be taken.
        tolerances: The tolerances of the outputs, by their labels.
    """

    recorded: RecordedStep
    calls: Sequence[RecordedCall]
    tolerances: Mapping[str, float]


def _take_step(
    step: FirstStep, there: RecordedStep, tolerance: float | None, backends: Sequence[str]
) -> _TakenStep:
    recorded = step.record(is_whole=not there.obstacle)
    if recorded.obstacle:
        return _TakenStep(recorded, [], {})
    calls = step.record_calls()
    return _TakenStep(recorded, calls, find_output_tolerances(calls, tolerance, backends))


def _list_output_shapes(step: RecordedStep) -> set[Shape]:
    return {squeeze_shape(tensor.shape) for tensor in step.outputs.values()}


def _compare_step_of_model(
    sides: _Sides,
    counterparts: Counterparts,
    names: NamesDict | None,
    tolerance: float | None,
) -> StepReport:
    """Take the first step of the model and compare it with that of another Keras model."""
    there = sides.others.step or RecordedStep()
    others_by_path = {weight.path: weight for weight in there.weights}

    def find_counterpart(path: str) -> RecordedWeight | None:
        other_path = find_counterpart_path(path, counterparts, names)
        return None if other_path is None else others_by_path.get(other_path)

    step = FirstStep(
        sides.inventory, sides.batch, other_shapes=_list_output_shapes(there), has_updates=True
    )
    taken = _take_step(step, there, tolerance, sides.backends)
    return compare_steps(
        taken.recorded, there, find_counterpart, tolerance, taken.tolerances, sides.backends
    )


def _compare_step_of_module(
    sides: _Sides,
    names: NamesDict | None,
    layout: LayoutName,
    tolerance: float | None,
) -> StepReport:
    """Take the first step of the model and compare it with that of a module of torch.

    The step of the module is mapped to the weights of the model before.
    """
    recorded = sides.others.step or RecordedStep()
    by_weight = select_weight_names(names, sides.inventory.weights_and_buffers)
    mapped = map_step(recorded, sides.inventory, by_weight, layout)
    others_by_path = {path: weight.recorded for path, weight in mapped.weights.items()}
    step = FirstStep(
        sides.inventory,
        sides.batch,
        mapped.indices_by_path,
        _list_output_shapes(recorded),
        has_updates=False,
    )
    taken = _take_step(step, recorded, tolerance, sides.backends)
    losses = compare_losses_of_modules(taken.recorded.settings, recorded.settings)
    # Other settings say how the optimizer trains, which is not compared with torch.
    here = replace(taken.recorded, settings={}, unread=())
    there = replace(
        recorded,
        settings={},
        weights=[*others_by_path.values(), *mapped.unused],
        targets=convert_torch_targets(sides.batch.y, recorded.targets),
    )
    report = compare_steps(
        here, there, others_by_path.get, tolerance, taken.tolerances, sides.backends
    )
    rows = explain_variances(
        report.rows, here, mapped.weights, sides.inventory, taken.calls, sides.backends
    )
    rows = explain_padding(rows, here, mapped.weights, sides.others.calls, sides.backends)
    loss = report.loss
    if loss.status == "differs":
        loss = replace(loss, cause=join_clauses(*losses.all))
    later = losses.later if loss.status == "equal" else ()
    return replace(report, rows=rows, loss=loss, later=later, has_optimizers=False)


def _has_fixed_sizes(model: keras.Model) -> bool:
    """Say whether a model gets inputs of one size, apart from the batch."""
    shapes = [tensor.shape for tensor in keras.tree.flatten(getattr(model, "inputs", None) or [])]
    return bool(shapes) and not any(None in shape[1:] for shape in shapes)


def _record_module(module: Any, x: Any, y: Any, loss: ModuleLoss | None) -> RecordedOutputs:
    """Record the outputs of a module of torch, and its first step if there are targets."""
    names = name_modules(module)
    recorder = Recorder(module, names, names)
    args, kwargs = _prepare_arguments(module, x)
    recorded = RecordedOutputs(recorder.calls, "torch", "", environment=read_environment(module))
    if y is None:
        if loss is not None:
            raise ValueError(
                f"`loss` must be left out without targets. Received: loss={show(loss)}, y=None"
            )
        with watch_functions(recorder.add_function):
            call_observed_module(module, args, kwargs, recorder)
        return recorded
    if not callable(loss):
        raise TypeError(
            "`loss` must be a function of the outputs of the module and of `y`, as "
            f"`torch.nn.MSELoss()`. Received: loss={show(loss)}"
        )
    targets = _convert_to_tensors(y, module)
    step = ModuleStep(module, args, kwargs, targets, loss)
    with preserve_modules(module), watch_functions(recorder.add_function):
        call_observed_module(module, args, kwargs, recorder)
    recorded.step = step.record()
    return recorded


def _record_model(
    inventory: Inventory,
    x: Any,
    others: Sequence[RecordedCall] = (),
    watchers: Sequence[Watcher] = (),
) -> RecordedOutputs:
    """Record the outputs of a model, also in the orders that the tensors of `others` may have."""
    other_shapes = set()
    for call in others:
        for tensor in (*call.inputs.values(), *call.outputs.values()):
            other_shapes.add(squeeze_shape(tensor.shape))
        if call.before_activation is not None:
            other_shapes.add(squeeze_shape(call.before_activation.shape))
    calls = record_calls(inventory, x, *watchers, training=False, other_shapes=other_shapes)
    return RecordedOutputs(
        calls,
        "keras",
        keras.backend.backend(),
        environment=read_environment(inventory.model),
        weights=record_weights(inventory),
    )


def _check_model(model: Any) -> Inventory:
    inventory = Inventory(check_built("model", model))
    check_unshared("model", inventory)
    return inventory


def _prepare_batch(model: keras.Model, x: Data, y: Data | None) -> Batch:
    return Batch(*(first_examples(values, None) for values in make_batch(model, x, y)))


def _prepare_arguments(module: Any, x: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    # By position and by keyword.
    tensors = _convert_to_tensors(x, module)
    if isinstance(tensors, dict):
        return (), tensors
    return (tensors if isinstance(tensors, list) else [tensors]), {}


def _convert_to_tensors(nested: Any, module: Any) -> Any:
    """Convert arrays to tensors for a module of torch, also in a list or a dict of them.

    As Keras does, arrays in float64, NumPy's default, become float32 for a module without float64.
    Tensors of torch stay as they are.
    """
    torch = sys.modules["torch"]
    own = [*module.parameters(), *module.buffers()]
    device = own[0].device if own else None
    has_float64 = any(tensor.dtype == torch.float64 for tensor in own)

    def as_tensor(value: Any) -> Any:
        if keras.ops.is_tensor(value) and not isinstance(value, torch.Tensor):
            value = keras.ops.convert_to_numpy(value)
        if isinstance(value, np.ndarray) and value.dtype == "float64" and not has_float64:
            value = value.astype("float32")
        if isinstance(value, np.ndarray | torch.Tensor):
            return torch.as_tensor(value, device=device)
        return value

    if isinstance(nested, Mapping):
        return {name: as_tensor(value) for name, value in nested.items()}
    if isinstance(nested, list | tuple):
        return list(map(as_tensor, nested))
    return as_tensor(nested)


def _open_like(inventory: Inventory, batch: Batch, like: LikeOutputs) -> RecordedOutputs:
    if isinstance(like, RecordedOutputs):
        return like
    if isinstance(like, keras.Model):
        return record_outputs(like, batch)
    if isinstance(like, str | Path):
        return RecordedOutputs(*read_outputs("like", like))
    if isinstance(like, Mapping):
        calls = [_record_array(name, value, inventory) for name, value in like.items()]
        return RecordedOutputs(calls, "arrays", "")
    if is_torch_module(like):
        return _record_like(like, batch.x)
    raise TypeError(
        "`like` must be recorded outputs or their path, a Keras model, a module of torch, or a "
        f"dict from names to arrays. Received: like of type {type(like).__name__}"
    )


def _record_like(module: Any, x: Data) -> RecordedOutputs:
    """Record the outputs of a module of torch for the inputs of the model."""
    try:
        return record_outputs(module, x)
    except Exception as error:
        error.add_note(
            "The module got the inputs of the model. If it takes others, such as images with "
            "channels first, pass `like=record_outputs(module, inputs)`."
        )
        raise


def _record_array(name: Any, value: Any, inventory: Inventory) -> RecordedCall:
    """Record the call of a layer when only its output is known, an array."""
    model = inventory.model
    check_type("like", name, str, "a dict with names as keys")
    values = read_values(value)
    if values is None:
        with contextlib.suppress(ValueError):  # lists of different lengths raise it
            values = read_values(np.asarray(value))
    if values is None:
        raise TypeError(
            "`like` must be a dict from names to arrays of numbers. "
            f"Received: {type(value).__name__} for {show(name)}"
        )
    if values.dtype == "float64" and model.compute_dtype != "float64":  # NumPy's default
        values = Values(values.array.astype("float32"), "float32")
    outputs = {"": record_tensor(values)}
    is_model = name == inventory.paths[model]
    key = CallKey(name, 1)
    return RecordedCall(key, "array", {}, {}, outputs, is_model=is_model, canonical_path=name)


def _build_report(
    ours: RecordedOutputs,
    others: RecordedOutputs,
    counterparts: Counterparts,
    settings: ComparedSettings,
    tolerance: float | None,
    names: NamesDict | None,
    random: Collection[CallKey] = (),
) -> OutputsReport:
    """Compare the calls of a model with their counterparts.

    Args:
        ours: The calls of the model.
        others: The calls of the other model.
        counterparts: The pairs of calls.
        settings: The settings of both models.
        tolerance: See `compare_outputs`.
        names: See `compare_outputs`.
        random: The calls whose outputs are random.
    """
    calls = ours.calls
    flow = Flow(calls)
    tolerances = propagate_tolerances(flow, tolerance, (ours.backend, others.backend))
    inputs = [tensor for call in calls if call.is_model for tensor in call.inputs.values()]
    has_varied = any(tensor.units is not None and tensor.units.spread > 0 for tensor in inputs)
    comparisons = []
    for call, call_tolerance in zip(calls, tolerances, strict=True):
        comparison = compare_call(
            call,
            counterparts.calls.get(call.key),
            call_tolerance,
            remark=counterparts.remarks.get(call.key.name, ""),
            settings=settings.list_texts(call.key),
            has_varied=has_varied,
        )
        if call.key in random and comparison.row.outputs is not None:
            detail = "random: two calls of it here differ"
            row = replace(comparison.row, status="not known", detail=detail, is_whole=False)
            comparison = comparison._replace(row=row)
        comparisons.append(comparison)
    if all(comparison.row.status == "not compared" for comparison in comparisons):
        rows = [comparison.row for comparison in comparisons]
        obstacles = list(dict.fromkeys(row.detail for row in rows))
        there = [str(call.key) for call in others.calls]
        raise ValueError(
            "`like` must have outputs of layers that the model has, in their shapes and dtypes: "
            f"see `names`. Received: outputs of {truncate(there)} "
            f"for {truncate([row.name for row in rows])}: {truncate(obstacles)}"
        )
    matched = {id(comparison.other) for comparison in comparisons}
    unmatched = [str(call.key) for call in others.calls if id(call) not in matched]
    index = find_first_difference(comparisons, flow)
    origin = _Origin()
    if index is not None:
        origin = _find_origin(ours, others, comparisons, index, counterparts, settings, names)
    return OutputsReport(
        [comparison.row for comparison in comparisons],
        origin.first,
        origin.between,
        origin.reasons,
        unmatched,
        settings.differences,
        settings.not_compared,
        is_inside=origin.is_inside,
        environment=ours.environment,
        environment_there=others.environment,
    )


class _Origin(NamedTuple):
    """Where the first difference arises, and why. See `OutputsReport`."""

    first: OutputRow | None = None
    between: Stretch | None = None
    is_inside: bool = False
    reasons: list[str] = []


def _find_origin(
    ours: RecordedOutputs,
    others: RecordedOutputs,
    comparisons: Sequence[CallComparison],
    index: int,
    counterparts: Counterparts,
    settings: ComparedSettings,
    names: NamesDict | None,
) -> _Origin:
    """Find where the first difference arises, and what differs there: weights, then settings.

    Args:
        ours: The calls of the model.
        others: The calls of the other model.
        comparisons: The comparisons of all calls.
        index: The index of the first call that differs.
        counterparts: The pairs of calls.
        settings: The settings of both models.
        names: See `compare_outputs`.
    """
    first = comparisons[index].row
    between = narrow_down_origin(comparisons, index, Flow(ours.calls), others.calls)
    reasons = []
    for path in dict.fromkeys([first.path, *between.here]):
        other_weights = list_other_weights(
            path,
            ours.weights,
            others.weights,
            lambda weight_path: find_counterpart_path(weight_path, counterparts, names),
        )
        if other_weights:
            owner = "its weights" if path == first.path else f"weights of {path}"
            reasons.append(f"{owner} have other values: {truncate(other_weights)}")
    reasons += collect_reasons(
        comparisons,
        index,
        between,
        others.calls,
        settings,
        is_same_framework=others.framework == "keras",
    )
    return _Origin(first, between, has_equal_inputs(comparisons[index]), reasons)
