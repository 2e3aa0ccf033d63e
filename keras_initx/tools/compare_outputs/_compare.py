"""Record the outputs of all layers of a model, and compare them with those of another."""

import contextlib
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np

from keras_initx._checks import check_number, check_type, truncate
from keras_initx._keras import generator_states, list_layers
from keras_initx._typing import Array, Shape
from keras_initx.backends._current import backend
from keras_initx.inspection._batch import Batch, Data, first_examples, make_batch
from keras_initx.inspection._environment import environment_of
from keras_initx.inspection._former_values import preserve_variables
from keras_initx.inspection._hooks import HOOKS
from keras_initx.inspection._inventory import Inventory, check_built, check_unshared
from keras_initx.inspection._watch import Watch, call_observed_module
from keras_initx.report._text import format_number
from keras_initx.tools.compare_outputs._compared_call import (
    BEFORE_ACTIVATION,
    Compared,
    compared_call,
    is_equal_before,
    order_of_inputs,
)
from keras_initx.tools.compare_outputs._compared_step import compared_step
from keras_initx.tools.compare_outputs._counterparts import (
    Counterparts,
    counterparts_of,
    names_of_weights,
    path_of_other,
)
from keras_initx.tools.compare_outputs._equal_draws import Draws, equal_draws
from keras_initx.tools.compare_outputs._first_step import FirstStep, trains_on
from keras_initx.tools.compare_outputs._flow import (
    Flow,
    tolerances_along,
    tolerances_of_outputs,
)
from keras_initx.tools.compare_outputs._known_causes import known_causes
from keras_initx.tools.compare_outputs._mapped_step import MappedWeight, mapped_step
from keras_initx.tools.compare_outputs._module_step import ModuleLoss, ModuleStep, unchanged
from keras_initx.tools.compare_outputs._outputs_file import read_outputs
from keras_initx.tools.compare_outputs._outputs_report import OutputsReport, Stretch
from keras_initx.tools.compare_outputs._pairs import paired_tensors
from keras_initx.tools.compare_outputs._reading import (
    Values,
    is_torch_module,
    module_names,
    operation_paths,
    operation_places,
    values_of,
)
from keras_initx.tools.compare_outputs._reasons import gelus_apart, masks_apart
from keras_initx.tools.compare_outputs._recorded import (
    CallKey,
    RecordedCall,
    Recorder,
    recorded_tensor,
)
from keras_initx.tools.compare_outputs._recorded_outputs import RecordedOutputs
from keras_initx.tools.compare_outputs._recorded_step import (
    RecordedStep,
    RecordedWeight,
    in_forms_of_keras,
)
from keras_initx.tools.compare_outputs._samples import without_ones
from keras_initx.tools.compare_outputs._step_report import StepReport
from keras_initx.tools.compare_outputs._torch_settings import settings_beside_torch
from keras_initx.tools.load_pretrained._array_names import NamesDict

# Where the difference of two models arises, and what is known of it without guessing.


def place_of_origin(compared: list[Compared], flow: Flow) -> int | None:
    """Return the place of the call in which the first difference arises, `None` without one.

    That is the first call above its tolerance, or the maker of its inputs if those differ by half
    of the tolerance, and so on. The row of such a maker is changed to one that differs.

    Args:
        compared: All calls, in the order in which they have ended.
        flow: How they depend on each other.
    """
    differing = [place for place, one in enumerate(compared) if one.row.answer == "differs"]
    if not differing:
        return None
    place = differing[0]
    while True:
        makers = _makers_apart(compared, flow, place)
        if not makers:
            return place
        place = min(makers)
        one = compared[place]
        if one.row.answer != "differs":
            how = "; ".join(filter(None, ["above half the tolerance", one.row.how]))
            compared[place] = one._replace(row=replace(one.row, answer="differs", how=how))


def _makers_apart(compared: Sequence[Compared], flow: Flow, place: int) -> list[int]:
    """Return the calls that have made the inputs of one, and differ by half of the tolerance.

    Those that were not compared are passed over, to what has made their inputs.
    """
    found = []
    seen = set()
    call = flow.calls[place]
    open_places = list(flow.makers(call.inputs.values(), 0, call.begin))
    while open_places:
        maker = open_places.pop()
        if maker in seen:
            continue
        seen.add(maker)
        row = compared[maker].row
        if row.outputs is None:
            made = flow.calls[maker]
            open_places += flow.makers(made.inputs.values(), 0, made.begin)
        elif row.outputs > row.tolerance / 2:
            found.append(maker)
    return found


def where_it_arises(
    compared: Sequence[Compared], place: int, flow: Flow, others: Sequence[RecordedCall]
) -> Stretch:
    """Return the calls in which the difference of a row may arise, beside the call itself.

    In both models these are the calls that were not compared, that it depends on, or may, and that
    no equal call depends on.

    Args:
        compared: All calls.
        place: The place of the row.
        flow: How they depend on each other.
        others: The calls of the other model.
    """
    first = compared[place]
    equal = [number for number, one in enumerate(compared) if one.row.answer == "equal"]
    here = _suspects(flow, place, equal, has_equal_inputs(first))
    found = [compared[one].row.name for one in here if compared[one].row.answer != "differs"]
    other_places = {id(call): number for number, call in enumerate(others)}
    matched = {id(one.other) for one in compared if one.row.answer in ("equal", "differs")}
    counterparts = [other_places[id(compared[one].other)] for one in equal]
    other_place = other_places[id(first.other)]
    there = []
    for one in _suspects(Flow(others), other_place, counterparts, has_equal_inputs(first)):
        if id(others[one]) not in matched:
            there.append(str(others[one].key))
    return Stretch(_last_equal(compared, place, flow, equal), tuple(found), tuple(there))


def has_equal_inputs(one: Compared) -> bool:
    """Return whether all inputs of a call were compared, and are equal."""
    pairs = one.inputs
    return bool(pairs) and not any(pair.differs or pair.difference is None for pair in pairs)


def _suspects(flow: Flow, place: int, equal: Sequence[int], is_inside: bool) -> list[int]:
    """Return the calls that one may depend on, itself too, but for those that equal ones depend on.

    Args:
        flow: How the calls of a model depend on each other.
        place: The place of the call.
        equal: The places of the equal calls.
        is_inside: Whether it can be only calls inside of it, because its inputs are equal.
    """
    suspects = flow.inside(place) if is_inside else flow.possible[place]
    for one in equal:
        suspects &= ~(flow.certain[one] | flow.inside(one))
    return flow.members(suspects)


def _last_equal(
    compared: Sequence[Compared], place: int, flow: Flow, equal: Sequence[int]
) -> tuple[str, ...]:
    """Return the names of the equal calls behind which the difference arises."""
    used = flow.certain[place] if flow.certain[place] != 1 << place else flow.possible[place]
    before = [one for one in equal if used >> one & 1]
    if not before:
        before = [one for one in equal if flow.possible[place] >> one & 1][-1:]
    last = []
    for one in before:
        behind = [other for other in before if other != one]
        if not any((flow.certain[other] | flow.inside(other)) >> one & 1 for other in behind):
            last.append(compared[one].row.name)
    return tuple(last)


def reasons_for(
    compared: Sequence[Compared], place: int, between: Stretch, *, is_same_framework: bool
) -> list[str]:
    """Return what is known of the first row that differs, as sentences without a stop."""
    found = []
    for one in compared:
        if one.row.is_model and one.row.inputs_differ and one.row.inputs is not None:
            size = format_number(one.row.inputs)
            found.append(f"the inputs of the models differ by {size} of their size")
    first = compared[place]
    found += _known(first, is_same_framework)
    if not has_equal_inputs(first):
        # It may be what is passed to a layer around it.
        for one in compared[place + 1 :]:
            if first.row.path.startswith(f"{one.row.path}/") or one.call.is_model:
                found += [f"{one.row.path}: {reason}" for reason in _known(one, is_same_framework)]
    order = order_of_inputs(first)
    if order:
        found.append(
            f"its inputs are the same, with {order} there: the rows of a kernel must be moved, as "
            'by `load_pretrained(layout="torch")` where the graph shows how'
        )
    if is_equal_before(first):
        found.append("before its activation it is equal")
    for one in compared[:place]:
        if one.row.name in between.after and BEFORE_ACTIVATION in one.row.how:
            found.append(f"{one.row.name} is equal before its activation, {_activation(one)}")
    return found


def _gelus(
    compared: Sequence[Compared], place: int, between: Stretch, others: Sequence[RecordedCall]
) -> list[str]:
    """Return that GELU is computed in two ways where the first difference may arise."""
    first = compared[place]
    ours = [first.call]
    theirs = [] if first.other is None else [first.other]
    for one in compared:
        is_near = one.row.name in between.after and BEFORE_ACTIVATION in one.row.how
        if is_near or one.row.name in between.here:
            ours.append(one.call)
            if one.other is not None:
                theirs.append(one.other)
    theirs += [call for call in others if str(call.key) in between.there]
    return gelus_apart(ours, theirs)


def _known(one: Compared, is_same_framework: bool) -> list[str]:
    """Return what differs between a call and its counterpart beside their values."""
    if one.other is None:
        return []
    masks = masks_apart(one.call, one.other, is_same_framework=is_same_framework)
    return [*one.row.settings, *masks]


def _activation(one: Compared) -> str:
    """Return the name of the activation that one of two calls has."""
    settings: list[Mapping[str, object]] = [one.call.settings]
    if one.other is not None:
        settings.append(one.other.settings)
    for found in settings:
        if "activation" in found:
            return str(found["activation"])
    return "which has no name"


# Recorded outputs or the path of their file, a Keras model, or arrays by the names of layers.
LikeOutputs: TypeAlias = RecordedOutputs | keras.Model | str | Path | Mapping[str, Any]


def record_outputs(
    model: Any,
    x: Data,
    y: Data | None = None,
    *,
    loss: ModuleLoss | None = None,
    optimizer: Any = None,
) -> RecordedOutputs:
    """Record the outputs of all layers of a model in one forward pass.

    `compare_outputs` then says which layer of another model is the first to differ: the same model
    on another backend or with another version of Keras, or one that has got the weights of this.

    Of each tensor are kept its moments and at most 4096 values in float32, at places that its size
    decides. Nothing of the model is kept, and it is afterward as it was.

    With targets, the first step of training is recorded too: the outputs in training, the loss, the
    gradient of each weight, and what a copy of the optimizer, at its start, adds to it. Random
    numbers that Keras draws are the same in each run and on each backend for that. See the page on
    the first step.

    A module of torch takes the step with `loss` and `optimizer`. Its parameters, modes, gradients
    and random state are afterward as they were, to the bit. Gradients and updates are kept under
    the names of its `state_dict()`, whole up to four million values, otherwise at most 4096 of
    each; `compare_outputs` finds their weights as `load_pretrained` does.

    Args:
        model: A built Keras model, or a module of torch, whatever the backend is. Both run in
            inference mode. The names of modules are those of `named_modules()`.
        x: The inputs. For a Keras model what `fit` takes, see `diagnose`. A module of torch is
            called with an array or a tensor, with a tuple or list of these by position, or with a
            dict of these by the names of its arguments; images have channels first there.
        y: The targets, for a compiled Keras model. A batch `(x, y)` or `(x, y, sample_weight)` or a
            dataset in `x` has its own, which count if the model is compiled. A model whose only
            loss is that of `add_loss` needs none. For a module of torch, arrays or tensors, or a
            list or dict of these, which `loss` gets as tensors.
        loss: For a module of torch with targets: a function of its outputs and of `y` that returns
            a single number, such as `torch.nn.MSELoss()`.
        optimizer: For a module of torch: an optimizer of its parameters, which is read and not
            stepped, or a function that makes one of a list of parameters, such as
            `lambda parameters: torch.optim.Adam(parameters, 1e-3)`. It is at its start in the step.
            Without it, no updates are recorded.

    Returns:
        `RecordedOutputs` with a row for each call, in the order in which calls end: a layer stands
        after those inside it. Operations of `keras.ops` in a functional model are rows, others are
        part of the layer that calls them. A layer that is called twice has two rows.

    Raises:
        TypeError: If `model` is neither, `x` is not an array, or `loss` or `optimizer` of a module
            is none.
        ValueError: If the model is not built, `x` does not fit to its inputs, on JAX other
            processes hold parts of the weights, `y` is given for a model that is not compiled,
            or is on several replicas, `loss` or `optimizer` is given for a Keras model or without
            `y`, `loss` returns no number with a gradient, or `optimizer` is not made of parameters
            of the module, or calls the loss several times in a step, as L-BFGS does.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
        >>> outputs = record_outputs(model, keras.random.normal((4, 3), seed=0))
        >>> [row.path for row in outputs.rows][0]
        'dense'
        >>> outputs.save("outputs.npz")
    """
    if is_torch_module(model):
        return _recorded_module(model, x, y, loss, optimizer)
    for name, given in (("loss", loss), ("optimizer", optimizer)):
        if given is not None:
            raise ValueError(
                f"`{name}` must be left out for a Keras model: `compile` has it. "
                f"Received: {name}={given!r}"
            )
    inventory = _checked(model)
    batch = _batch(model, x, y)
    recorded = _recorded(inventory, batch.x)
    if trains_on(model, batch, is_required=y is not None):
        step = FirstStep(inventory, batch).recorded()
        # Nobody has asked for the step of a model without targets that has no loss.
        if batch.y is not None or not step.obstacle:
            recorded.step = step
    return recorded


def compare_outputs(
    model: keras.Model,
    x: Data,
    like: LikeOutputs,
    *,
    y: Data | None = None,
    names: NamesDict | None = None,
    tolerance: float | None = None,
) -> OutputsReport:
    """Say which layer of a model is the first whose outputs are not those of another.

    Use it after loading, to prove that a model that was ported, grown, or loaded on another backend
    computes what the source computed, and to find where it does not.

    A row differs where a value differs by more than the tolerance for its dtype, 5e-6 in float32,
    of the root mean square of its channel, or of the median channel if that is larger. It is the
    largest tolerance of all that the row depends on: an output in float32 that 16 bits were cast to
    has that of 16 bits. Nothing is left out but what is infinite or NaN in both.

    A row that is all zero, all the same value, or the same for all examples proves nothing: its
    answer is `"not known"`, and so is that on the model if it is an output.

    Rows are compared where both have the shape, up to axes of length 1, and the dtype. Where only
    moved axes fit, as in images of torch, which have channels first, they are moved; where several
    orders fit, that with the least difference is taken, and the row says so. A layer with an
    activation is compared by what comes before it too, if the other one has none.

    Of several calls of a layer those with equal inputs are compared, all others in their order. Of
    outputs in other containers, those are that differ least, and the row says so.

    Random numbers of `keras.random` are the same on both sides. Outputs that are random by other
    means are `"not known"` to be equal.

    With targets, the first step of training is compared too, `report.step`: see the page on it. It
    takes eight steps more.

    Args:
        model: A built Keras model.
        x: Its inputs, the same as those of the other, see `record_outputs`.
        like: What it is compared with: recorded outputs or their path, another Keras model, or a
            dict from the names of layers to arrays, their outputs, float64 counting as float32; the
            name of the whole model is its own.
        y: The targets, for a compiled model, if a step was recorded in `like`, or to record one of
            another compiled model. See `record_outputs`.
        names: The names of layers in `like` by patterns, the `names` of `load_pretrained` with all
            its forms: `{"block_*": "blocks.{0}"}`. A pattern covers what is inside the layer that
            it matches, and `None` leaves it out. A pattern of weights stands for their layer if all
            its weights have arrays of one module. Layers that no pattern matches are not compared.
            Without `names`, layers are compared that have the same path, with `/` or `.`; those
            with automatic names by their places in the order in which Keras saves. The whole model
            is always compared with the whole model. There may be layers without weights too.
        tolerance: The tolerance for all floats, in place of that for their dtype.

    Returns:
        `OutputsReport` with a row for each call. In that of `first` the first difference arises.

    Raises:
        OSError: If a file cannot be read.
        TypeError: If an argument has the wrong type.
        ValueError: If `tolerance` is not a positive number, no output can be compared, the model is
            not built, `x` does not fit, a pattern matches nothing or leads to no name, a file is
            damaged or of another version, or `y` is given for a model that is not compiled, or
            without a step in `like`.

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
    """
    inventory = _checked(model)
    if tolerance is not None:
        check_number("tolerance", tolerance, positive=True)
    batch = _batch(model, x, y)
    trains = trains_on(model, batch, is_required=y is not None)
    others = _others(inventory, batch, like)
    if others.step is None and y is not None:
        raise ValueError(
            "`y` needs the first step of the other model: record it by `record_outputs(model, x, "
            f"y)`, of a compiled model. Received: y, and like of type {type(like).__name__} "
            "without a step"
        )
    lengths = set()
    for call in others.calls:
        for tensor in (*call.inputs.values(), *call.outputs.values()):
            lengths.add(without_ones(tensor.shape))
        if call.before_activation is not None:
            lengths.add(without_ones(call.before_activation.shape))
    ours = _recorded(inventory, batch.x, lengths)
    all_places = operation_places(inventory)
    places = {path: all_places[one] for one, path in operation_paths(inventory).items()}
    counterparts = counterparts_of(
        ours.calls, places, others.calls, names, tolerance, inventory.weights_and_buffers
    )
    report = _report(ours, others, counterparts, tolerance)
    obstacle = _obstacle_to_draws(ours, others)
    if obstacle or report.first is not None:
        random = _random_calls(inventory, batch.x, has_equal_draws=not obstacle)
        if random:
            how = f"random: {obstacle or 'two calls of it here differ'}"
            report = _report(ours, others, counterparts, tolerance, dict.fromkeys(random, how))
    if others.step is None:
        return report
    if not trains:
        why = "the model here is not compiled"
        if model.compiled:
            why = "`y` is missing" if batch.y is None else "the model here is on several replicas"
        return replace(report, step_left_out=why)
    step = _compared_step(
        inventory, batch, others, counterparts, names, tolerance, (ours.backend, others.backend)
    )
    return replace(report, step=step)


def _compared_step(
    inventory: Inventory,
    batch: Batch,
    others: RecordedOutputs,
    counterparts: Counterparts,
    names: NamesDict | None,
    tolerance: float | None,
    backends: Sequence[str],
) -> StepReport:
    """Return the report on the first step, which the other model has, see `compare_outputs`."""
    there = others.step or RecordedStep()
    kept_at: Mapping[str, Array] = {}
    weights: Mapping[str, MappedWeight] = {}
    if others.framework == "torch":
        by_weight = names_of_weights(names, inventory.weights_and_buffers)
        mapped = mapped_step(there, inventory, by_weight)
        kept_at = mapped.kept_at
        weights = mapped.weights
        others_by_path = {path: weight.recorded for path, weight in weights.items()}
        there = replace(
            there,
            weights=[*others_by_path.values(), *mapped.unused],
            targets=in_forms_of_keras(batch.y, there.targets),
        )
    else:
        others_by_path = {weight.path: weight for weight in there.weights}

    def other_of(path: str) -> RecordedWeight | None:
        if others.framework == "torch":
            return others_by_path.get(path)
        other_path = path_of_other(path, counterparts, names)
        return None if other_path is None else others_by_path.get(other_path)

    lengths = {without_ones(tensor.shape) for tensor in there.outputs.values()}
    step = FirstStep(inventory, batch, kept_at, lengths)
    here = step.recorded(is_whole=not there.obstacle)
    calls = [] if here.obstacle else step.calls()
    allowed = tolerances_of_outputs(calls, tolerance, backends) if calls else {}
    if others.framework != "torch":
        return compared_step(here, there, other_of, tolerance, allowed, backends)
    settings = settings_beside_torch(here, there)
    report = compared_step(
        replace(here, settings=settings.here, unread=settings.unread),
        replace(there, settings=settings.there),
        other_of,
        tolerance,
        allowed,
        backends,
    )
    causes = known_causes(here, there, weights, inventory, report.rows, calls)
    return replace(
        report,
        causes=[*settings.remarks, *causes.texts],
        explained=causes.explained,
        later=[*report.later, *settings.later],
    )


def _obstacle_to_draws(ours: RecordedOutputs, others: RecordedOutputs) -> str:
    """Return why random numbers in inference are not the same in both, empty if they are."""
    if ours.draws.is_random and others.framework != "keras":
        return "it draws numbers here"
    is_same_backend = ours.backend == others.backend
    return ours.draws.obstacle(others.draws, is_same_backend=is_same_backend)


def _random_calls(inventory: Inventory, x: Any, *, has_equal_draws: bool) -> list[CallKey]:
    """Return the calls whose outputs are others when the model is called again.

    Args:
        inventory: What the model holds.
        x: Its inputs.
        has_equal_draws: Whether what `keras.random` draws is the same in both calls.
    """
    states = generator_states(list_layers(inventory.model))
    with HOOKS, backend.globals_preserved(), preserve_variables(states):
        first = _recorded(inventory, x, has_equal_draws=has_equal_draws)
        backend.advance_generators()
        for state in states:
            state.assign(keras.ops.add(state.value, 1))
        second = _recorded(inventory, x, has_equal_draws=has_equal_draws)
    found = []
    for call, again in zip(first.calls, second.calls, strict=False):
        if any(pair.differs for pair in paired_tensors(call.outputs, again.outputs, None)):
            found.append(call.key)
    return found


def _recorded_module(
    module: Any, x: Any, y: Any, loss: ModuleLoss | None, optimizer: Any
) -> RecordedOutputs:
    """Return the outputs of a module of torch for inputs, see `record_outputs`."""
    names = module_names(module)
    recorder = Recorder(module, names, names)
    args, kwargs = _arguments(module, x)
    recorded = RecordedOutputs(recorder.calls, "torch", "", environment=environment_of(module))
    if y is None:
        for name, given in (("loss", loss), ("optimizer", optimizer)):
            if given is not None:
                raise ValueError(
                    f"`{name}` must be left out without targets. Received: {name}={given!r}, y=None"
                )
        call_observed_module(module, args, kwargs, recorder)
        return recorded
    if not callable(loss):
        raise TypeError(
            "`loss` must be a function of the outputs of the module and of `y`, as "
            f"`torch.nn.MSELoss()`. Received: loss={loss!r}"
        )
    targets = _as_tensors(y, _device_of(module))
    step = ModuleStep(module, args, kwargs, targets, loss, optimizer)
    with unchanged(module):
        call_observed_module(module, args, kwargs, recorder)
    recorded.step = step.recorded()
    return recorded


def _recorded(
    inventory: Inventory,
    x: Any,
    lengths: Collection[Shape] = (),
    *,
    has_equal_draws: bool = True,
) -> RecordedOutputs:
    """Return the outputs of a model for inputs, see `record_outputs` and `Recorder`."""
    paths, places = operation_paths(inventory), operation_places(inventory)
    recorder = Recorder(inventory.model, paths, places, lengths)
    draws = Draws()
    with contextlib.ExitStack() as stack:
        stack.enter_context(backend.full_precision())
        if has_equal_draws:
            draws = stack.enter_context(equal_draws())
        Watch(inventory).observe(x, recorder, training=False)
    environment = environment_of(inventory.model)
    own_backend = keras.backend.backend()
    return RecordedOutputs(
        recorder.calls, "keras", own_backend, draws=draws, environment=environment
    )


def _checked(model: Any) -> Inventory:
    """Return what a built model holds, whose weights are all here."""
    inventory = Inventory(check_built("model", model))
    check_unshared("model", inventory)
    return inventory


def _batch(model: keras.Model, x: Data, y: Data | None) -> Batch:
    """Return the batch that a model gets, as tensors."""
    return Batch(*(first_examples(part, None) for part in make_batch(model, x, y)))


def _device_of(module: Any) -> Any:
    parameter = next(module.parameters(), None)
    return None if parameter is None else parameter.device


def _arguments(module: Any, x: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return what a module of torch is called with by position and by keyword, as tensors."""
    tensors = _as_tensors(x, _device_of(module))
    if isinstance(tensors, dict):
        return (), tensors
    return (tensors if isinstance(tensors, list) else [tensors]), {}


def _as_tensors(nested: Any, device: Any) -> Any:
    """Return arrays as tensors of torch, in a list or dict of the outermost ones."""
    torch = sys.modules["torch"]

    def as_tensor(value: Any) -> Any:
        if keras.ops.is_tensor(value) and not isinstance(value, torch.Tensor):
            value = keras.ops.convert_to_numpy(value)
        if isinstance(value, np.ndarray | torch.Tensor):
            return torch.as_tensor(value, device=device)
        return value

    if isinstance(nested, Mapping):
        return {name: as_tensor(value) for name, value in nested.items()}
    if isinstance(nested, list | tuple):
        return list(map(as_tensor, nested))
    return as_tensor(nested)


def _others(inventory: Inventory, batch: Batch, like: LikeOutputs) -> RecordedOutputs:
    """Return the outputs that are compared with, see `compare_outputs`."""
    if isinstance(like, RecordedOutputs):
        return like
    if isinstance(like, keras.Model):
        return record_outputs(like, batch)
    if isinstance(like, str | Path):
        return RecordedOutputs(*read_outputs("like", like))
    if isinstance(like, Mapping):
        calls = [_given(name, value, inventory) for name, value in like.items()]
        return RecordedOutputs(calls, "arrays", "")
    hint = ""
    if is_torch_module(like):
        hint = "; record a module of torch by `record_outputs(module, inputs)`"
    raise TypeError(
        "`like` must be recorded outputs or their path, a Keras model, or a dict from names to "
        f"arrays{hint}. Received: like of type {type(like).__name__}"
    )


def _given(name: Any, value: Any, inventory: Inventory) -> RecordedCall:
    """Return a call of which an array is known, its output."""
    model = inventory.model
    check_type("like", name, str, "a dict with names as keys")
    values = values_of(value)
    if values is None:
        with contextlib.suppress(ValueError):  # that of lists of different lengths
            values = values_of(np.asarray(value))
    if values is None:
        raise TypeError(
            "`like` must be a dict from names to arrays of numbers. "
            f"Received: {type(value).__name__} for {name!r}"
        )
    if values.dtype == "float64" and model.compute_dtype != "float64":  # that of NumPy
        values = Values(values.array.astype("float32"), "float32")
    outputs = {"": recorded_tensor(values)}
    is_model = name == inventory.paths[model]
    key = CallKey(name, 1)
    return RecordedCall(key, "array", {}, {}, outputs, is_model=is_model, place=name)


def _report(
    ours: RecordedOutputs,
    others: RecordedOutputs,
    counterparts: Counterparts,
    tolerance: float | None,
    random: Mapping[CallKey, str] | None = None,
) -> OutputsReport:
    """Return the report on the calls of a model, of which some are random, for a reason."""
    calls = ours.calls
    flow = Flow(calls)
    allowed = tolerances_along(flow, tolerance, (ours.backend, others.backend))
    inputs = [tensor for call in calls if call.is_model for tensor in call.inputs.values()]
    has_varied = any(tensor.units is not None and tensor.units.spread > 0 for tensor in inputs)
    is_same_framework = others.framework == "keras"
    compared = []
    for call, tolerance_of_call in zip(calls, allowed, strict=True):
        one = compared_call(
            call,
            counterparts.calls.get(call.key),
            tolerance_of_call,
            remark=counterparts.remarks.get(call.key.name, ""),
            is_same_framework=is_same_framework,
            has_varied=has_varied,
        )
        if random and call.key in random and one.row.outputs is not None:
            row = replace(one.row, answer="not known", how=random[call.key], is_whole=False)
            one = one._replace(row=row)
        compared.append(one)
    if all(one.row.answer == "not compared" for one in compared):
        rows = [one.row for one in compared]
        obstacles = list(dict.fromkeys(row.how for row in rows))
        there = [str(call.key) for call in others.calls]
        raise ValueError(
            "`like` must have outputs of layers that the model has, in their shapes and dtypes: "
            f"see `names`. Received: outputs of {truncate(there)} "
            f"for {truncate([row.name for row in rows])}: {truncate(obstacles)}"
        )
    matched = {id(one.other) for one in compared}
    unmatched = [str(call.key) for call in others.calls if id(call) not in matched]
    place = place_of_origin(compared, flow)
    rows = [one.row for one in compared]
    if place is None:
        return OutputsReport(rows, None, None, [], unmatched)
    between = where_it_arises(compared, place, flow, others.calls)
    reasons = reasons_for(compared, place, between, is_same_framework=is_same_framework)
    reasons += _gelus(compared, place, between, others.calls)
    return OutputsReport(rows, rows[place], between, reasons, unmatched)
