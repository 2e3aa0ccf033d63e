"""What was loaded of the models that there are at the end of a block, and values for the rest."""

import gc
import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import keras

from keras_initx.backends._current import backend
from keras_initx.inspection._former import Former
from keras_initx.inspection._inventory import Inventory, check_weights
from keras_initx.inspection._kernels import FIRST_FACTORS, SECOND_FACTORS, is_adapter
from keras_initx.inspection._mark import Count, can_be_marked, count_unwritten, unwritten_mask
from keras_initx.inspection._names import list_sublayers, make_distinct
from keras_initx.inspection._optimizers import list_optimizers
from keras_initx.inspection._weights import ModelWeight
from keras_initx.tools.initialize._assign import refresh_normalizations
from keras_initx.tools.initialize._given import matches_condition
from keras_initx.tools.initialize._initialize import Begun, begin, draw
from keras_initx.tools.initialize._plan import InitializationPlan
from keras_initx.tools.initialize._planned_weight import PlannedWeight
from keras_initx.tools.initialize._reset import list_initial_states
from keras_initx.tools.load_pretrained._load_report import LoadedWeight
from keras_initx.tools.loading._marks import Marked, Marks, key_of

NOT_KNOWN = "not known"
COMPUTED = "computed"
# Weights that loading does not make.
BY_QUANTIZATION = "made by quantization"
# Weights of which a value was never written.
MISSED = ("drawn", "left", COMPUTED)


class _State(NamedTuple):
    """A weight at the end of a block, before anything is done to it.

    Attributes:
        weight: The weight.
        marked: What is known of its mark, or `None` if it never had one.
        found: What there is in it.
        is_computed: Whether its values were computed from a weight that was not written.
        is_older: Whether its layer was made before the block.
    """

    weight: ModelWeight
    marked: Marked | None
    found: Count
    is_computed: bool
    is_older: bool

    @property
    def is_by_quantization(self) -> bool:
        """Whether `quantize` has made it beside the weights, and nothing has written it since."""
        marked = self.marked
        if marked is None or not marked.is_of_quantization:
            return False
        return self.weight.layer.quantization_mode is not None and marked.assignments <= 1

    @property
    def is_known(self) -> bool:
        return self.marked is not None and self.marked.is_known


def completed(
    models: Sequence[keras.Model],
    marks: Marks,
    rules: Any,
    seed: int,
    *,
    is_drawn: bool,
    begun_before: Mapping[keras.Model, Begun] | None = None,
    made: Collection[keras.Layer] | None = None,
) -> list[LoadedWeight]:
    """Give values to what was never written, and return a row for each weight that models have now.

    Args:
        models: Models without common layers, but for weights that they share. A weight is listed
            with the first model that has it.
        marks: The marks from the start of the block.
        rules: See `initialize`; a plan as itself.
        seed: The seed from which all others are derived.
        is_drawn: Whether it was drawn, and not given.
        begun_before: What was planned for models before the block.
        made: The layers that were made in the block, if it says so.
    """
    # All before the first gets values: two may have one tensor of torch, and plans may be refused.
    inventories = {model: Inventory(model) for model in models}
    for inventory in inventories.values():
        check_weights("model", inventory)
    states = _states(inventories, marks, made)
    given_seed = None if isinstance(rules, InitializationPlan) else seed  # a plan has its own
    planned: dict[int, PlannedWeight] = {}
    for model in models:
        is_missed = any(state.found.unwritten for state in states[model])
        if is_missed or rules is not None:
            started = (begun_before or {}).get(model)
            if started is None or not _is_of(started, inventories[model]):
                own_rules = _rules_for(model, inventories, rules)
                started = begin(inventories[model], own_rules, given_seed)
            for weight, one in started.pairs():
                planned.setdefault(id(weight.variable), one)
    drawn_seed = seed if is_drawn else None
    rows = []
    taken: set[str] = set()
    for model in models:
        prefix = f"{make_distinct(model.name, taken)}/" if len(models) > 1 else ""
        for state in states[model]:
            row = _completed(state, planned.get(id(state.weight.variable)), drawn_seed)
            rows.append(replace(row, path=f"{prefix}{state.weight.shown}"))
        for path in inventories[model].unbuilt:
            how = "not built, so that it has no weights yet"
            rows.append(LoadedWeight(f"{prefix}{path}", NOT_KNOWN, how))
        refresh_normalizations(list_sublayers(model))
        _complete_optimizers(model)
    return rows


def in_no_model(marks: Marks, models: Iterable[keras.Model]) -> list[LoadedWeight]:
    """Give their first values to the weights of layers in no model, and return a row for each.

    What a layer has no more, such as its kernel before `quantize`, has none.
    """
    if not any(_unwritten(marked) for marked in marks.all()):
        return []
    gc.collect()  # of layers that nobody has any more
    known: set[Any] = set()
    for model in models:
        known.update(key_of(weight.variable) for weight in Inventory(model).held)
    rows = []
    for marked in marks.held():
        count = _unwritten(marked)
        if count and key_of(marked.variable) not in known:
            variable = marked.variable
            shape = tuple(variable.shape)
            dtype = keras.backend.standardize_dtype(variable.dtype)
            size = math.prod(shape)
            how = "in no model, as its layer has made it"
            rows.append(LoadedWeight(variable.path, "left", how, shape, dtype, size, size - count))
    marks.take_away()
    return rows


def _unwritten(marked: Marked) -> int:
    return count_unwritten(marked.variable.value).unwritten


def _states(
    inventories: Mapping[keras.Model, Inventory],
    marks: Marks,
    made: Collection[keras.Layer] | None,
) -> dict[keras.Model, list[_State]]:
    """Return the weights of each model, those that several have with the first."""
    found = {}
    seen = set()
    for model, inventory in inventories.items():
        weights = list(filter(can_be_marked, inventory.held))
        counts = {weight.path: count_unwritten(weight.variable.value) for weight in weights}
        _count_reset_adapters(weights, counts)
        computed = _layers_with_computed(weights, marks)
        states = []
        for weight in weights:
            key = key_of(weight.variable)
            if key in seen:
                continue
            seen.add(key)
            marked = marks.of(weight)
            count = counts[weight.path]
            is_computed = marked is not None and _is_computed(marked)
            if weight.layer in computed and marked is not None and marked.former is None:
                # The scale of integers that were computed from NaN is NaN.
                is_computed |= any(count) and not is_adapter(weight.name)
            is_older = made is not None and weight.layer not in made
            states.append(_State(weight, marked, count, is_computed, is_older))
        found[model] = states
    return found


def _count_reset_adapters(weights: Iterable[ModelWeight], counts: dict[str, Count]) -> None:
    """Count the factors of LoRA as never written where all are 0.

    Keras sets them to 0 where it loads a file without them, and then they get no gradient.
    """
    factors: dict[keras.Layer, list[ModelWeight]] = {}
    for weight in weights:
        if weight.name in (*FIRST_FACTORS, *SECOND_FACTORS):
            factors.setdefault(weight.layer, []).append(weight)
    for own in factors.values():
        if not any(backend.has_nonzero(factor.variable.value) for factor in own):
            for factor in own:
                counts[factor.path] = Count(math.prod(factor.shape), 0)


def _layers_with_computed(weights: Iterable[ModelWeight], marks: Marks) -> set[keras.Layer]:
    found = set()
    for weight in weights:
        marked = marks.of(weight)
        if marked is not None and _is_computed(marked):
            found.add(weight.layer)
    return found


def _is_computed(marked: Marked) -> bool:
    """Return whether all that a weight was assigned is what was computed when it was made."""
    return marked.is_computed and marked.assignments <= 1


def _is_of(started: Begun, inventory: Inventory) -> bool:
    """Return whether what was planned is for the weights that a model has now."""
    planned = {id(weight.variable) for weight in started.inventory.weights}
    return planned == {id(weight.variable) for weight in inventory.weights}


def _rules_for(model: keras.Model, inventories: Mapping[keras.Model, Inventory], rules: Any) -> Any:
    """Return the rules that match a weight of a model; of several, the first has all others."""
    if len(inventories) == 1:
        return rules
    if isinstance(rules, list | tuple):
        members = [_rules_for(model, inventories, member) for member in rules]
        return [member for member in members if member != {}] or None
    if not isinstance(rules, Mapping):
        return rules
    own = {}
    for condition, value in rules.items():
        matching = []
        for one, inventory in inventories.items():
            if matches_condition(condition, inventory.weights):
                matching.append(one)
        first = next(iter(inventories))
        if model in matching or (not matching and model is first):
            own[condition] = value
    return own


def _completed(
    state: _State, planned: PlannedWeight | None, drawn_seed: int | None
) -> LoadedWeight:
    """Give a weight values where it was never written, and return what was done.

    Args:
        state: The weight.
        planned: What it gets; `None` for a buffer, of which a plan knows nothing, and
            where all was written.
        drawn_seed: See `Computation`.
    """
    weight = state.weight
    variable = weight.variable
    size = math.prod(weight.shape)
    row = LoadedWeight(weight.shown, "loaded", "", weight.shape, weight.dtype, size)
    if state.is_computed:
        return replace(row, status=COMPUTED, how="from what was not written", changed=0)
    if state.is_by_quantization:
        assert state.marked is not None
        if state.found.unwritten:
            variable.assign(state.marked.start())
        return replace(row, status=BY_QUANTIZATION, changed=0)
    if not state.is_known:
        return replace(row, status=NOT_KNOWN, how=_why_not_known(state))
    missed, nan = state.found
    if not missed and nan:
        how = f"{nan} of {size} values are NaN, perhaps never written"
        return replace(row, status=NOT_KNOWN, how=how, changed=size - nan)
    if not missed:
        return replace(row, changed=size)
    assert state.marked is not None
    if planned is None or planned.initializer is None:
        status = "left"
        how = "a buffer of torch" if planned is None else planned.row.reason
        value = state.marked.start()
    else:
        status = "drawn"
        how = planned.row.initializer or ""
        value, _ = draw(weight, planned, drawn_seed)
    if missed < size:
        how = f"{missed} of {size} values, {how}"
        value = keras.ops.where(unwritten_mask(variable.value), value, variable.value)
    if nan:
        how = f"{how}; {nan} others are NaN, perhaps never written"
    variable.assign(value)
    return replace(row, status=status, how=how, changed=size - missed - nan)


def _why_not_known(state: _State) -> str:
    weight = state.weight
    marked = state.marked
    if marked is not None and marked.initializer is not None and marked.initializer.is_traced:
        return "made by the program that `fit` or `predict` compiled"
    if state.is_older:
        return "made before the block: pass its model"
    if isinstance(weight.layer, keras.layers.TorchModuleWrapper):
        return "of a torch module that was wrapped in the block"
    if not isinstance(weight.variable, keras.Variable):
        return "a buffer of torch that was made in the block"
    return "made in the block, not by `add_weight`"


def _complete_optimizers(model: keras.Model) -> None:
    """Let what optimizers have copied from weights before these were written begin anew."""
    of_each = [optimizer.variables for optimizer in list_optimizers(model)]
    if not any(map(_has_mark, itertools.chain.from_iterable(of_each))):
        return
    for variable, start in list_initial_states(model, Former()):
        if _has_mark(variable):
            variable.assign(start)


def _has_mark(variable: keras.Variable) -> bool:
    value = variable.value
    dtype = keras.backend.standardize_dtype(value.dtype)
    return "float" in dtype and bool(count_unwritten(value).unwritten)
