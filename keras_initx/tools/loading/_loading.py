"""Find the weights that loading never writes, by a mark: a NaN that all weights get first.

    model given     mark its weights, run the block, fill what still has the mark
    model not given record the models that are made in the block, mark each weight when it is made

After an error the marks are removed, and all variables have their former or first values.
"""

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras

from keras_initx._checks import check_flag, quote_names
from keras_initx._received import show
from keras_initx._signatures import shorten_signature
from keras_initx.backends._current import backend
from keras_initx.initializers._seeds import root_seed
from keras_initx.inspection._former_values import FormerValues, run_uninterrupted
from keras_initx.inspection._hooks import MADE_LAYERS
from keras_initx.inspection._inventory import Inventory, checked_inventory
from keras_initx.inspection._names import list_sublayers
from keras_initx.inspection._optimizers import list_optimizer_variables, list_optimizers
from keras_initx.inspection._unwritten_mark import can_be_marked
from keras_initx.inspection._weights import ModelWeight
from keras_initx.tools.initialize._assign import assign_all, refresh_normalizations
from keras_initx.tools.initialize._initialize import prepare
from keras_initx.tools.initialize._plan import InitializationPlan
from keras_initx.tools.initialize._reset import find_new_optimizer_state, list_recurrent_states
from keras_initx.tools.initialize._rules import Instructor, RulesOrPlan, resolve_rules
from keras_initx.tools.loading._draws import Draws
from keras_initx.tools.loading._loaded import Loaded, Outcome
from keras_initx.tools.loading._marks import Marks
from keras_initx.tools.loading._unwritten import fill_outside_models, fill_unwritten


@shorten_signature
@contextlib.contextmanager
def loading(
    model: keras.Model | None = None,
    rules: RulesOrPlan | Instructor | None = None,
    *,
    seed: int | None = None,
    strict: bool = False,
) -> Iterator[Loaded]:
    """Watch how you load weights, and draw the weights that loading never writes.

    Use it around a loader that can miss weights without an error: by name, with
    `skip_mismatch=True`, by rules, or by your own converter.

    - With `model`, the block watches your model.
    - Without `model`, it watches all models that are made in the block, on this thread: by
      `from_preset` of KerasHub, `keras.applications`, `keras.saving.load_model` or your own
      function.

    In the block each floating-point weight is a special NaN. At the end, a value that is still this
    NaN was never written. It gets the value that `initialize` with your `rules` and `seed` would
    draw. If `initialize` leaves a weight unchanged, the weight is as without the block.

    The last write counts. If the block loads a weight and then draws it again, for example by
    `initialize`, the weight is missed too. It keeps the drawn values.

    Do not compute with weights in the block before you load them. After an error or an
    interruption, all variables have their former values.

    Args:
        model: A built model. By default, all models that are made in the block.
        rules: See `initialize`. They are refused if the block makes several models.
        seed: See `initialize`.
        strict: If true, you get a `ValueError` after the block if a weight was missed or is not
            known. The drawn values stay.

    Yields:
        A `Loaded`. After the block, `missed` has the paths of the weights that were not written, or
        were drawn again after loading. `not_known` has the paths that `loading` could not judge.
        `ok` is true if both are empty. `rows` has a row for each weight, `models` the models. With
        several models, paths begin with the name of the model.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: For the reasons of `initialize`: at the start if you pass a model, at the end if
            not. Also with `strict`, with `rules` for several models, and if the model no longer
            uses one of its weights, for example after torch's `load_state_dict(assign=True)`.

    Note:
        Moving statistics, states of layers and torch's saved buffers are watched too. Integers
        (except in quantized layers), random generators and optimizers are not. The page has all
        limits.

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
        <Loaded: 2 of 4 weights were never written: redrawn, seed 0>

    See Also:
        `load_pretrained` loads names and layouts that differ, `compare_outputs` compares a model
        after loading, and `initialize` explains `rules`. The page "Find the weights that loading
        did not reach" has more examples and the limits.
    """
    if isinstance(model, Mapping):
        raise TypeError(
            "`model` must be a Keras model, or `None` for the models that are made in the block. "
            f"Pass rules as `rules=`. Received: model={show(model)}"
        )
    check_flag("strict", strict)
    rules = resolve_rules(rules, seed)
    loaded = Loaded()
    if model is None:
        block = _watch_made_models(loaded, rules, seed)
    else:
        block = _watch_model(loaded, model, rules, seed)
    with block:
        yield loaded
    if strict and not loaded.ok:
        missed, not_known = quote_names(loaded.missed), quote_names(loaded.not_known)
        raise ValueError(
            "All weights must be written in a block with `strict=True`. "
            f"Received: missed [{missed}], not known [{not_known}]"
        )


@contextlib.contextmanager
def _watch_model(
    loaded: Loaded,
    model: keras.Model,
    rules: RulesOrPlan | Instructor | None,
    seed: int | None,
) -> Iterator[None]:
    """Watch loading into a model, and give `loaded` the outcome."""
    inventory = checked_inventory("model", model)
    preparation = prepare(inventory, rules, seed)
    weights = list(filter(can_be_marked, inventory.weights_and_buffers))
    former = _remember_values(model, weights)
    marks = Marks()
    draws = Draws(marks)
    with _restore_after_error(model, former, marks):
        with marks.watching():
            marks.put(weights, former)
            with draws.watching():
                yield
        rows = fill_unwritten(
            [model],
            marks,
            draws,
            rules,
            preparation.plan.seed,
            is_drawn=preparation.drawn_seed is not None,
            preparations={model: preparation},
        )
        marks.remove()  # of layers that the model has no more
    loaded._outcome = Outcome(rows, [model], preparation.plan.seed, are_new=False)


@contextlib.contextmanager
def _watch_made_models(
    loaded: Loaded, rules: RulesOrPlan | Instructor | None, seed: int | None
) -> Iterator[None]:
    """Watch loading into the models of the block, and give `loaded` the outcome."""
    if seed is not None:
        root_seed(seed)  # for its errors
    marks = Marks()
    draws = Draws(marks)
    with _remove_marks_after_error(marks):
        with _record_layers() as recorded, marks.watching(), draws.watching():
            yield
        models = _select_outermost(recorded.models)
        if rules is not None and len(models) > 1:
            raise ValueError(
                "`rules` must be `None` if several models are made in the block: load each in a "
                "block of its own. "
                f"Received: rules, and the models {quote_names([model.name for model in models])}"
            )
        root, is_drawn = root_seed(seed), seed is None
        if isinstance(rules, InitializationPlan):
            root, is_drawn = rules.seed, False
        rows = fill_unwritten(
            models, marks, draws, rules, root, is_drawn=is_drawn, new_layers=recorded.layers
        )
        rows += fill_outside_models(marks, models)
    loaded._outcome = Outcome(rows, models, root, are_new=True)


@contextlib.contextmanager
def _remove_marks_after_error(marks: Marks) -> Iterator[None]:
    try:
        yield
    except BaseException:
        run_uninterrupted(marks.remove)
        raise


class _Recorded(NamedTuple):
    """The models and layers that a thread has made in a block.

    The models are in the order in which their construction began.
    """

    models: list[weakref.ref[keras.Model]]
    layers: weakref.WeakSet[keras.Layer]


@contextlib.contextmanager
def _record_layers() -> Iterator[_Recorded]:
    """Record the models and layers that this thread makes, for the duration of the block."""
    recorded = _Recorded([], weakref.WeakSet())

    def record(call: Callable[..., Any], cls: type, *args: Any, **options: Any) -> Any:
        layer = call(cls, *args, **options)
        recorded.layers.add(layer)
        if isinstance(layer, keras.Model):
            recorded.models.append(weakref.ref(layer))
        return layer

    with MADE_LAYERS.wrap(record):
        yield recorded


def _select_outermost(references: Sequence[weakref.ref[keras.Model]]) -> list[keras.Model]:
    """Select the models outside of other models, with weights that no model before them has."""
    models = _drop_inner(_list_finished(references))
    if len(models) > 1:
        del models
        gc.collect()  # of models that nobody has any more; it takes as long as 10 million weights
        models = _drop_inner(_list_finished(references))
    return models


def _drop_inner(models: Sequence[keras.Model]) -> list[keras.Model]:
    inside: set[int] = set()
    for model in models:
        inside.update(map(id, list_sublayers(model)))
    outer = [model for model in models if id(model) not in inside]
    variables = [set(map(id, model.variables)) for model in outer]
    selected = []
    for i, (model, own) in enumerate(zip(outer, variables, strict=True)):
        # A view of another, with some of its layers, such as the functional model in a
        # `Sequential`.
        is_view = any(own < other for other in variables) or own in variables[:i]
        if (own and not is_view) or Inventory(model).unbuilt:
            selected.append(model)
    return selected


def _list_finished(references: Iterable[weakref.ref[keras.Model]]) -> list[keras.Model]:
    """List the models that still exist and have run their `__init__` to its end."""
    models = []
    for reference in references:
        model = reference()
        if model is not None and getattr(model, "built", None) is not None:
            models.append(model)
    return models


def _remember_values(model: keras.Model, weights: Iterable[ModelWeight]) -> FormerValues:
    """Remember all values that loading may change.

    Args:
        model: A model.
        weights: The weights that get the mark next.
    """
    former = FormerValues(weight.variable for weight in weights)
    # On JAX, `predict` would overwrite a snapshot of these: the variable still has this array.
    for variable in model.variables:
        former.add(variable, lasting=True)
    for metric in _list_metrics(model):
        for variable in metric.variables:
            former.add(variable, lasting=True)
    for optimizer in list_optimizers(model):
        for variable in list_optimizer_variables(optimizer, model.variables):
            former.add(variable, lasting=True)
    for layer in list_sublayers(model):
        for variable in list_recurrent_states(layer):
            former.add(variable, lasting=True)
    for buffer in backend.buffers([model, *list_sublayers(model)]):
        former.add(buffer, lasting=True)
    return former


def _list_metrics(model: keras.Model) -> list[keras.metrics.Metric]:
    """List the metrics of `model` and of the models in it, which Keras does not list."""
    metrics: dict[int, keras.metrics.Metric] = {}
    for layer in (model, *list_sublayers(model)):
        for metric in layer.metrics:
            metrics[id(metric)] = metric
    return list(metrics.values())


@contextlib.contextmanager
def _restore_after_error(model: keras.Model, former: FormerValues, marks: Marks) -> Iterator[None]:
    """Restore former values after an error or an interruption.

    Variables that optimizers, metrics and layers have added since then get their first values.
    """
    try:
        yield
    except BaseException as error:
        _restore(model, former, marks, error)
        raise


def _restore(model: keras.Model, former: FormerValues, marks: Marks, error: BaseException) -> None:
    def reset_new_metrics() -> None:
        for metric in _list_metrics(model):
            if any(variable not in former for variable in metric.variables):
                metric.reset_state()

    def reset_new_state() -> None:
        try:
            start = find_new_optimizer_state(model, former)
        except ValueError:
            error.add_note(
                "An optimizer was first used in the block, and its initial state is unknown, "
                "because its config makes no equal one: compile the model again"
            )
        else:
            assign_all(start)

    # The last is called first. Each is called, whatever another raises.
    with contextlib.ExitStack() as undo:
        undo.callback(refresh_normalizations, list_sublayers(model))
        # Some optimizers start with a copy of the weights.
        undo.callback(run_uninterrupted, reset_new_state)
        undo.callback(run_uninterrupted, marks.remove)
        undo.callback(former.put_back)
        # Also variables that a metric had before, which then get their former values.
        undo.callback(run_uninterrupted, reset_new_metrics)
