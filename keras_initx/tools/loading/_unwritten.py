"""At the end of a block, find the values that nobody wrote, and fill them.

    values with the mark  other NaN  status
    none                  none       loaded
    some or all           any        drawn by the plan, or left if the plan draws nothing
    none                  some       not known: a file may have NaN, or a cast changed the mark

A weight that was drawn again after loading (`_draws.py`) is `overwritten` instead of loaded. It
keeps its values.

A weight that had no mark at the start is not known either. Neither is one that `quantize` made in
the block, because it may be computed from values that nobody wrote.
"""

import gc
import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import keras

from keras_initx.backends._current import backend
from keras_initx.inspection._former_values import FormerValues
from keras_initx.inspection._inventory import Inventory, check_weights
from keras_initx.inspection._kernels import FIRST_FACTORS, SECOND_FACTORS
from keras_initx.inspection._names import list_sublayers, make_distinct
from keras_initx.inspection._optimizers import list_optimizers
from keras_initx.inspection._unwritten_mark import (
    Count,
    can_be_marked,
    count_unwritten,
    unwritten_mask,
)
from keras_initx.inspection._weights import ModelWeight
from keras_initx.tools.initialize._assign import refresh_normalizations
from keras_initx.tools.initialize._initialize import Preparation, draw, prepare
from keras_initx.tools.initialize._plan import InitializationPlan
from keras_initx.tools.initialize._planned_weight import PlannedWeight
from keras_initx.tools.initialize._reset import find_new_optimizer_state
from keras_initx.tools.load_pretrained._load_report import LoadedWeight
from keras_initx.tools.loading._draws import Draws
from keras_initx.tools.loading._marks import MarkedWeight, Marks, variable_key

NOT_KNOWN = "not known"
OVERWRITTEN = "overwritten"
# Weights of which a value was never written.
UNWRITTEN = ("drawn", "left")


class _WeightState(NamedTuple):
    """A weight at the end of a block, before its values are filled.

    Attributes:
        weight: The weight.
        marked: Its mark, or `None` if it never had one.
        counts: How many of its values have the mark, or are another NaN.
        is_older: Whether its layer was made before the block.
        drawn_again_by: The name of what drew it after it was loaded, or `None`.
    """

    weight: ModelWeight
    marked: MarkedWeight | None
    counts: Count
    is_older: bool
    drawn_again_by: str | None

    @property
    def is_by_quantize(self) -> bool:
        """Whether `quantize` has made it in the block."""
        is_quantized = self.weight.layer.quantization_mode is not None
        return is_quantized and self.marked is not None and self.marked.is_added_later

    @property
    def is_known(self) -> bool:
        return self.marked is not None and self.marked.is_known


def fill_unwritten(
    models: Sequence[keras.Model],
    marks: Marks,
    draws: Draws,
    rules: Any,
    seed: int,
    *,
    is_drawn: bool,
    preparations: Mapping[keras.Model, Preparation] | None = None,
    new_layers: Collection[keras.Layer] | None = None,
) -> list[LoadedWeight]:
    """Fill the values that were never written, and return a row for each weight of the models.

    Args:
        models: Models without common layers. They may share weights. A shared weight is listed with
            its first model.
        marks: The marks from the start of the block.
        draws: The draws in the block.
        rules: See `initialize`; a plan as itself. `None` for several models.
        seed: The root of all seeds.
        is_drawn: Whether the seed was drawn, and not given.
        preparations: The plans that were made for models before the block.
        new_layers: The layers that were made in the block, if it records them.
    """
    # All before the first gets values: two may have one tensor of torch, and plans may be refused.
    inventories = {model: Inventory(model) for model in models}
    for inventory in inventories.values():
        check_weights("model", inventory)
    states = _list_states(inventories, marks, draws, new_layers)
    seed_of_rules = None if isinstance(rules, InitializationPlan) else seed  # a plan has its own
    planned_by_variable: dict[int, PlannedWeight] = {}
    for model in models:
        is_missed = any(state.counts.unwritten for state in states[model])
        if is_missed or rules is not None:
            preparation = (preparations or {}).get(model)
            if preparation is None or not _is_planned_for(preparation, inventories[model]):
                preparation = prepare(inventories[model], rules, seed_of_rules)
            for weight, planned in preparation.pairs():
                planned_by_variable.setdefault(id(weight.variable), planned)
    drawn_seed = seed if is_drawn else None
    rows = []
    model_names: set[str] = set()
    for model in models:
        prefix = f"{make_distinct(model.name, model_names)}/" if len(models) > 1 else ""
        for state in states[model]:
            planned_weight = planned_by_variable.get(id(state.weight.variable))
            row = _fill_weight(state, planned_weight, drawn_seed)
            rows.append(replace(row, path=f"{prefix}{state.weight.shown}"))
        for path in inventories[model].unbuilt:
            how = "not built, so that it has no weights yet"
            rows.append(LoadedWeight(f"{prefix}{path}", NOT_KNOWN, how))
        refresh_normalizations(list_sublayers(model))
        _reset_optimizers(model)
    return rows


def fill_outside_models(marks: Marks, models: Iterable[keras.Model]) -> list[LoadedWeight]:
    """Give the weights of layers in no model their first values, and return a row for each.

    A weight that its layer has given up, such as its kernel before `quantize`, has no row.
    """
    if not any(_count_marked(marked) for marked in marks.list_all()):
        return []
    gc.collect()  # of layers that nobody has any more
    in_models: set[Any] = set()
    for model in models:
        in_models.update(
            variable_key(weight.variable) for weight in Inventory(model).weights_and_buffers
        )
    rows = []
    for marked in marks.list_current():
        unwritten = _count_marked(marked)
        if unwritten and variable_key(marked.variable) not in in_models:
            variable = marked.variable
            shape = tuple(variable.shape)
            dtype = keras.backend.standardize_dtype(variable.dtype)
            size = math.prod(shape)
            how = "in no model, as its layer has made it"
            written = size - unwritten
            rows.append(LoadedWeight(variable.path, "left", how, shape, dtype, size, written))
    marks.remove()
    return rows


def _count_marked(marked: MarkedWeight) -> int:
    return count_unwritten(marked.variable.value).unwritten


def _list_states(
    inventories: Mapping[keras.Model, Inventory],
    marks: Marks,
    draws: Draws,
    new_layers: Collection[keras.Layer] | None,
) -> dict[keras.Model, list[_WeightState]]:
    """List the weights of each model. A weight of several models is listed with the first."""
    states_by_model = {}
    listed = set()
    for model, inventory in inventories.items():
        weights = list(filter(can_be_marked, inventory.weights_and_buffers))
        counts = {weight.path: count_unwritten(weight.variable.value) for weight in weights}
        _count_reset_adapters(weights, counts)
        states = []
        for weight in weights:
            key = variable_key(weight.variable)
            if key in listed:
                continue
            listed.add(key)
            is_older = new_layers is not None and weight.layer not in new_layers
            marked = marks.find(weight)
            drawn_again_by = draws.find_last(marked) if marked is not None else None
            states.append(
                _WeightState(weight, marked, counts[weight.path], is_older, drawn_again_by)
            )
        states_by_model[model] = states
    return states_by_model


def _count_reset_adapters(weights: Iterable[ModelWeight], counts: dict[str, Count]) -> None:
    """Count the factors of LoRA as never written if all are 0.

    Keras sets them to 0 if it loads a file without them, and then they get no gradient.
    """
    factors_by_layer: dict[keras.Layer, list[ModelWeight]] = {}
    for weight in weights:
        if weight.name in (*FIRST_FACTORS, *SECOND_FACTORS):
            factors_by_layer.setdefault(weight.layer, []).append(weight)
    for factors in factors_by_layer.values():
        if not any(backend.has_nonzero(factor.variable.value) for factor in factors):
            for factor in factors:
                counts[factor.path] = Count(math.prod(factor.shape), 0)


def _is_planned_for(preparation: Preparation, inventory: Inventory) -> bool:
    # The block may have changed which weights the model has.
    planned = {id(weight.variable) for weight in preparation.inventory.weights}
    return planned == {id(weight.variable) for weight in inventory.weights}


def _fill_weight(
    state: _WeightState, planned: PlannedWeight | None, drawn_seed: int | None
) -> LoadedWeight:
    """Fill the values of a weight that were never written, and return its outcome.

    Args:
        state: The weight.
        planned: The plan of the weight. `None` for a buffer, because plans have no buffers, and if
            all values were written.
        drawn_seed: See `Computation`.
    """
    weight = state.weight
    variable = weight.variable
    size = math.prod(weight.shape)
    row = LoadedWeight(weight.shown, "loaded", "", weight.shape, weight.dtype, size)
    if state.is_by_quantize:
        assert state.marked is not None
        if state.counts.unwritten:
            variable.assign(state.marked.start())
        how = "made by `quantize` in the block: quantize after it"
        return replace(row, status=NOT_KNOWN, detail=how)
    if not state.is_known:
        return replace(row, status=NOT_KNOWN, detail=_explain_not_known(state))
    missed, nan = state.counts
    if not missed and nan:
        how = f"{nan} of {size} values are NaN, perhaps never written"
        return replace(row, status=NOT_KNOWN, detail=how, changed=size - nan)
    if not missed and state.drawn_again_by:
        how = f"drawn by {state.drawn_again_by} after loading"
        return replace(row, status=OVERWRITTEN, detail=how, changed=size)
    if not missed:
        return replace(row, changed=size)
    assert state.marked is not None
    if planned is None or planned.initializer is None:
        status = "left"
        how = "a buffer of torch" if planned is None else planned.row.detail
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
    return replace(row, status=status, detail=how, changed=size - missed - nan)


def _explain_not_known(state: _WeightState) -> str:
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


def _reset_optimizers(model: keras.Model) -> None:
    # Some optimizers start with a copy of the weights, made before these were written.
    variables = [optimizer.variables for optimizer in list_optimizers(model)]
    if not any(map(_is_any_unwritten, itertools.chain.from_iterable(variables))):
        return
    for variable, start in find_new_optimizer_state(model, FormerValues()):
        if _is_any_unwritten(variable):
            variable.assign(start)


def _is_any_unwritten(variable: keras.Variable) -> bool:
    value = variable.value
    dtype = keras.backend.standardize_dtype(value.dtype)
    return "float" in dtype and bool(count_unwritten(value).unwritten)
