"""Find the weights that loading never writes, by their bits."""

import contextlib
import gc
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_initx._checks import check_flag, quote_names
from keras_initx.backends._current import backend
from keras_initx.initializers._seeds import root_seed
from keras_initx.inspection._former import Former, run_uninterrupted
from keras_initx.inspection._hooks import MADE_LAYERS
from keras_initx.inspection._inventory import Inventory, checked_inventory
from keras_initx.inspection._mark import can_be_marked
from keras_initx.inspection._names import list_sublayers
from keras_initx.inspection._optimizers import list_optimizer_variables, list_optimizers
from keras_initx.inspection._weights import ModelWeight
from keras_initx.tools.initialize._assign import assign, refresh_normalizations
from keras_initx.tools.initialize._given import Instructing, RulesOrPlan, resolve_rules
from keras_initx.tools.initialize._initialize import begin
from keras_initx.tools.initialize._plan import InitializationPlan
from keras_initx.tools.initialize._reset import list_initial_states, list_recurrent_states
from keras_initx.tools.loading._completed import completed, in_no_model
from keras_initx.tools.loading._loaded import Known, Loaded
from keras_initx.tools.loading._marks import Marks


@contextlib.contextmanager
def loading(
    model: keras.Model | None = None,
    rules: RulesOrPlan | Instructing | None = None,
    *,
    seed: int | None = None,
    strict: bool = False,
) -> Iterator[Loaded]:
    """Watch the loading of weights, and draw those that it never writes.

    Loading by name, with `skip_mismatch=True`, with rules or by a converter may miss weights
    without a word. In the block of this context each floating-point weight holds a certain NaN
    instead of its values, and so do moving statistics, states of layers, and the buffers that torch
    saves of a module. What still holds it at the end was never written, to the bit: not by
    `load_weights`, not by `load_pretrained`, not by code of your own that assigns weights. It gets
    the values that `initialize` with the same `rules` and `seed` gives. A weight that was written
    in part, such as the first rows of a table, keeps that part. Where `initialize` leaves a weight
    unchanged, it is as it would be without the block: the statistics of a `Normalization`,
    quantized layers, layers without a known initializer, buffers.

    Without `model`, the block watches the models that are made in it, on this thread: for loaders
    that build and load in one call, such as `from_preset` of KerasHub, `keras.applications`,
    `keras.saving.load_model` or a function of your own. What `add_weight` makes begins with the
    NaN. At the end, models that are part of another, or that nobody has any more, are passed over.

    The result speaks of the weights that the models have at the end. A weight that the block has
    made in place of another, such as by `quantize` or for a new head, is one of them; the integers
    of quantized layers are watched as wholes. What `quantize` has computed from a weight that was
    not written stays as it is, and is `"computed"`. In the factors of LoRA, Keras writes zeros
    where a file has none; where all are 0, they count as never written.

    Not known is what cannot be watched: layers that are not built; weights that the block makes
    without `add_weight`, and those of torch modules that it wraps. So is a NaN that is not the one
    from the start. Casts to 16 bits change NaN, so a 16-bit weight that was read and assigned again
    may have it, and so may what is computed from weights that are not loaded yet.

    Weights and buffers of other dtypes, such as integers and the counter of batches of a
    normalization of torch, the states of random generators and the optimizer are not watched, and
    are as the block leaves them. Neither are buffers that torch does not save.

    The block must not compute with weights that are not loaded yet. Initializers are called at its
    end, and their errors come then. Messages of Keras that show
    values of a variable show NaN for them.

    After an error or an interruption all variables of the model, its optimizer and its metrics have
    their former values, which takes as much memory until then. Variables that the block has made
    have their first values, as if it had made them without `loading`. So have all of the models
    that were made in the block. What a block within another one draws is written for the outer one.

    Args:
        model: A built model. By default, all models that are made in the block.
        rules: See `initialize`. Where several models are made, a rule must match a weight of one.
        seed: See `initialize`.
        strict: If true, `ValueError` is raised after the block if anything was missed or is not
            known. It is a finding, not a refusal: what was drawn stays.

    Yields:
        A `Loaded`. After the block it has `missed`, the paths of the weights of which a value was
        never written, `not_known`, `ok` if both are empty, `models`, and a row for each weight.
        With several models, paths begin with the name of the model.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: As `initialize`, for a model before anything is changed, otherwise at the end;
            if the model does not use one of its weights at the end, such as after
            `load_state_dict(assign=True)` of torch; or by `strict`.

    Example:
        >>> import keras_initx
        >>> def network(classes):
        ...     hidden = keras.layers.Dense(8, "relu", name="hidden")
        ...     head = keras.layers.Dense(classes, name="head")
        ...     return keras.Sequential([keras.Input((4,)), hidden, head])
        >>> trained = network(10)
        >>> def pretrained(classes):
        ...     model = network(classes)
        ...     model.layers[0].set_weights(trained.layers[0].get_weights())
        ...     return model
        >>> with keras_initx.loading(seed=0) as loaded:
        ...     model = pretrained(classes=3)
        >>> loaded.missed
        ['head/kernel', 'head/bias']
        >>> loaded
        <Loaded: 2 of 4 weights were never written: drawn anew, seed 0>
    """
    if isinstance(model, Mapping):
        raise TypeError(
            "`model` must be a Keras model, or `None` for those that are made in the block: pass "
            f"rules as `rules=`. Received: model={model!r}"
        )
    check_flag("strict", strict)
    rules = resolve_rules(rules, seed)
    loaded = Loaded()
    if model is None:
        block = _of_made_models(loaded, rules, seed)
    else:
        block = _of_model(loaded, model, rules, seed)
    with block:
        yield loaded
    if strict and not loaded.ok:
        missed, not_known = quote_names(loaded.missed), quote_names(loaded.not_known)
        raise ValueError(
            "All weights must be written in a block with `strict=True`. "
            f"Received: missed [{missed}], not known [{not_known}]"
        )


@contextlib.contextmanager
def _of_model(
    loaded: Loaded,
    model: keras.Model,
    rules: RulesOrPlan | Instructing | None,
    seed: int | None,
) -> Iterator[None]:
    """Watch what is loaded into a model, and say so in `loaded`."""
    inventory = checked_inventory("model", model)
    started = begin(inventory, rules, seed)
    weights = list(filter(can_be_marked, inventory.held))
    former = _former_values(model, weights)
    marks = Marks()
    with _undone_after_error(model, former, marks):
        with marks.watching():
            marks.put(weights, former)
            yield
        rows = completed(
            [model],
            marks,
            rules,
            started.plan.seed,
            is_drawn=started.drawn_seed is not None,
            begun_before={model: started},
        )
        marks.take_away()  # of layers that the model has no more
    loaded._known = Known(rows, [model], started.plan.seed, are_new=False)


@contextlib.contextmanager
def _of_made_models(
    loaded: Loaded, rules: RulesOrPlan | Instructing | None, seed: int | None
) -> Iterator[None]:
    """Watch what is loaded into the models that are made in the block, and say so in `loaded`."""
    if seed is not None:
        root_seed(seed)  # for its errors
    marks = Marks()
    with _marks_taken_away_after_error(marks):
        with _recorded_layers() as (made, layers), marks.watching():
            yield
        models = _outermost(made)
        root, is_drawn = root_seed(seed), seed is None
        if isinstance(rules, InitializationPlan):
            root, is_drawn = rules.seed, False
        rows = completed(models, marks, rules, root, is_drawn=is_drawn, made=layers)
        rows += in_no_model(marks, models)
    loaded._known = Known(rows, models, root, are_new=True)


@contextlib.contextmanager
def _marks_taken_away_after_error(marks: Marks) -> Iterator[None]:
    """Let weights start as their layers say after an error, or an interruption."""
    try:
        yield
    except BaseException:
        run_uninterrupted(marks.take_away)
        raise


@contextlib.contextmanager
def _recorded_layers() -> Iterator[tuple[list[weakref.ref[keras.Model]], Collection[keras.Layer]]]:
    """Yield the models and layers that this thread makes, for the duration of the block."""
    made: list[weakref.ref[keras.Model]] = []
    layers: weakref.WeakSet[keras.Layer] = weakref.WeakSet()

    def new(call: Callable[..., Any], cls: type, *args: Any, **options: Any) -> Any:
        layer = call(cls, *args, **options)
        layers.add(layer)
        if isinstance(layer, keras.Model):
            made.append(weakref.ref(layer))
        return layer

    with MADE_LAYERS.around(new):
        yield made, layers


def _outermost(made: Sequence[weakref.ref[keras.Model]]) -> list[keras.Model]:
    """Return the models that are no part of another, and have weights that none before them has."""
    found = _outermost_of(_finished(made))
    if len(found) > 1:
        del found
        gc.collect()  # of models that nobody has any more; it takes as long as 10 million weights
        found = _outermost_of(_finished(made))
    return found


def _outermost_of(models: Sequence[keras.Model]) -> list[keras.Model]:
    inside: set[int] = set()
    for model in models:
        inside.update(map(id, list_sublayers(model)))
    found = [model for model in models if id(model) not in inside]
    variables = [set(map(id, model.variables)) for model in found]
    result = []
    for place, own in enumerate(variables):
        # A view of another, with some of its layers, such as the functional model in a
        # `Sequential`.
        is_view = any(own < other for other in variables) or own in variables[:place]
        if (own and not is_view) or Inventory(found[place]).unbuilt:
            result.append(found[place])
    return result


def _finished(made: Iterable[weakref.ref[keras.Model]]) -> list[keras.Model]:
    """Return the models that still exist, and whose `__init__` has come to its end."""
    models = []
    for reference in made:
        model = reference()
        if model is not None and getattr(model, "built", None) is not None:
            models.append(model)
    return models


def _former_values(model: keras.Model, weights: Iterable[ModelWeight]) -> Former:
    """Return all that loading may change, with the values that it has.

    Args:
        model: A model.
        weights: Those of its weights that get other values next.
    """
    former = Former(weight.variable for weight in weights)
    # On JAX, `predict` would overwrite a snapshot of these: the variable still has this array.
    for variable in model.variables:
        former.add(variable, lasting=True)
    for metric in _metrics_of(model):
        for variable in metric.variables:
            former.add(variable, lasting=True)
    for optimizer in list_optimizers(model):
        for variable in list_optimizer_variables(optimizer, model.variables):
            former.add(variable, lasting=True)
    for part in list_sublayers(model):
        for variable in list_recurrent_states(part):
            former.add(variable, lasting=True)
    for buffer in backend.buffers([model, *list_sublayers(model)]):
        former.add(buffer, lasting=True)
    return former


def _metrics_of(model: keras.Model) -> list[keras.metrics.Metric]:
    """Return the metrics of `model`, and those of models in it, which Keras does not list."""
    found: dict[int, keras.metrics.Metric] = {}
    for part in (model, *list_sublayers(model)):
        for metric in part.metrics:
            found[id(metric)] = metric
    return list(found.values())


@contextlib.contextmanager
def _undone_after_error(model: keras.Model, former: Former, marks: Marks) -> Iterator[None]:
    """Put back former values after an error, or an interruption.

    What optimizers, metrics and layers have got since then gets its first values.
    """
    try:
        yield
    except BaseException as error:
        _undo(model, former, marks, error)
        raise


def _undo(model: keras.Model, former: Former, marks: Marks, error: BaseException) -> None:
    def reset_new_metrics() -> None:
        for metric in _metrics_of(model):
            if any(variable not in former for variable in metric.variables):
                metric.reset_state()

    def reset_new_state() -> None:
        try:
            start = list_initial_states(model, former)
        except ValueError:
            error.add_note(
                "An optimizer was first used in the block, and its initial state is unknown, "
                "because its config makes no equal one: compile the model again"
            )
        else:
            assign(start)

    # The last is called first. Each is called, whatever another raises.
    with contextlib.ExitStack() as undo:
        undo.callback(refresh_normalizations, list_sublayers(model))
        # Some optimizers start with a copy of the weights.
        undo.callback(run_uninterrupted, reset_new_state)
        undo.callback(run_uninterrupted, marks.take_away)
        undo.callback(former.put_back)
        # Also variables that a metric had before, which then get their former values.
        undo.callback(run_uninterrupted, reset_new_metrics)
