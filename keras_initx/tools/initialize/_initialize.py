"""Initialize the weights of a whole model by rules."""

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_initx._alike import describe_paths, group_similar
from keras_initx._checks import DTYPES, check_flag, quote_names, summarize_names
from keras_initx._typing import RolesGiven, Shape, Tensor
from keras_initx.backends._backend import Computation
from keras_initx.backends._current import backend
from keras_initx.initializers._as_ours import adapt_initializer
from keras_initx.initializers._composition import Scaled
from keras_initx.initializers._convolution import ICNR, Bilinear, DeltaOrthogonal, Dirac
from keras_initx.initializers._initializer import Initializer, keeps_call
from keras_initx.initializers._recurrent import GRUUpdateBias
from keras_initx.initializers._scale import AxesInitializer
from keras_initx.initializers._seeds import derived_seed, has_seed, initializers_within, root_seed
from keras_initx.initializers._sharding import is_exact, seeded_call
from keras_initx.initializers._sparse import Masked, kept_sparse
from keras_initx.inspection._finite import find_not_finite, must_be_finite
from keras_initx.inspection._hooks import LayerInitializer
from keras_initx.inspection._inventory import Inventory, checked_inventory
from keras_initx.inspection._layer_initializers import layer_initializers
from keras_initx.inspection._pairing import canonical_weight_paths
from keras_initx.inspection._weights import ModelWeight, computed_weight_name, module_weight_name
from keras_initx.recipes._weight_rules import Left
from keras_initx.report._terminal import Verbose, show_progress, takes_verbose
from keras_initx.tools.initialize._assign import (
    made_like,
    refresh_normalizations,
    undo_after_error,
)
from keras_initx.tools.initialize._bound import Binding, Kept
from keras_initx.tools.initialize._digest import array_digest
from keras_initx.tools.initialize._given import Instructing, Instructions, RulesOrPlan, understood
from keras_initx.tools.initialize._plan import InitializationPlan
from keras_initx.tools.initialize._planned_weight import (
    PlannedWeight,
    WeightPlan,
    row_with,
    unsuitable,
)
from keras_initx.tools.initialize._reset import initial_state

# Initializers that write to places in Keras' order of axes or gates.
_IN_ORDER_OF_KERAS = (Bilinear, DeltaOrthogonal, Dirac, ICNR, GRUUpdateBias)


@takes_verbose
def initialize(
    model: keras.Model,
    rules: RulesOrPlan | Instructing | None = None,
    *,
    seed: int | None = None,
    roles: RolesGiven | None = None,
    reset: bool = True,
    atomic: bool = True,
    dry_run: bool = False,
    verbose: Verbose = "auto",
) -> InitializationPlan:
    """Initialize all weights of a built model in place, from one seed, also those without a rule.

    The first rule that matches a weight determines its initializer. A weight that no rule matches
    is drawn anew by the initializer of its layer, also if it was loaded: to keep it, end the rules
    with `"*": None`. What is left unchanged, and why, is in the plan that is returned.

    Left are weights whose initializer is unknown, those of layers that are quantized to integers,
    and those of which a recipe does not know what they are for.

    Keras' own random initializers are replaced by their counterparts in this package, which draw
    from the same distribution, unless their arguments are some that only Keras takes, such as a
    standard deviation of 0. A user's initializer is called itself, with its own seed, where its
    config lacks an argument or its class refuses it, and the plan says so.

    Fan-in and fan-out are computed for the actual layer, including depthwise, transposed and
    grouped convolutions, `EinsumDense` and attention layers. Those of an embedding are its rows and
    columns, as for its layer. Strides of transposed convolutions count, except for an initializer
    with axes, a `scale` or a `factor` of its own, which may stand for them.

    A kernel with `KeepSparse` gets the values of its `Sparse`, for every `seed`; under a rule its
    zeros stay zero. The factors of LoRA start as by `enable_lora(rank)`: Keras does not keep other
    initializers, so give a rule for them.

    The seed of each weight is derived from `seed` and the path of the weight, see `weight_seed`.
    The weights therefore do not depend on the backend, on other objects in the process, or on other
    named layers. Inserting, removing or reordering layers changes other weights only if their
    layers have automatic names, because Keras then renumbers them. Each weight has its own seed,
    even if layers share an initializer.

    Each weight is drawn, measured and assigned before the next; a large sharded one is drawn in its
    shards. Variables keep their device and sharding, and compiled functions are not traced again.

    Args:
        model: A built model.
        rules: Dict from conditions to initializers (objects, string ids or configs, without seeds),
            tried in order. A condition is a pattern for the whole path of a weight, e.g.
            `"*/attention/*/kernel"`, where `*` stands for any text, also with `/`, `?` for one
            character and all else for itself; a layer type, for the weights of such layers with
            two or more dimensions; or a function that takes a
            `keras_initx.types.ModelWeight` and returns whether it matches. `None` instead of an
            initializer leaves the matching weights unchanged. Or a recipe, such as `recipes.gpt2`,
            whose rules for this model are used; or its name, `"gpt2"`, or its name with one of its
            sources, `"bert:transformers"`; or what it returns; or a function of the model that
            returns rules. Or a list of these, `[{"head/kernel": "zeros"}, "gpt2"]`: the first that
            matches a weight counts. Of what a recipe leaves, or has no rule for, the next is asked,
            and `None` in a dict ends it. Or a plan that `initialize` returned, or the path of one
            that `InitializationPlan.save` wrote: then each weight gets the initializer and the seed
            of its line. A path that is called like a recipe is `"./gpt2"`. Or a report of
            `diagnose`: the first of its problems that other weights cure gets its `Remedy`, and all
            other weights are left unchanged. The plan says which problem that is, and which are
            left, perhaps all. The model must have the layers that the report measured.
        seed: An integer in `[0, 2**32)`. By default it is drawn from Python's `random`, which
            `keras.utils.set_random_seed` controls, and reported in the plan. A plan has its own.
        roles: For a recipe, what it cannot know of weights: a dict from roles, as in its table, to
            a pattern or a list of patterns, `{"positions": "*/where"}`. They count before what is
            found by names and in the graph.
        reset: Whether to reset the optimizer, the metrics, and the random generators and recurrent
            states of layers too. The learning rate is kept. Batch normalization statistics are
            weights and always initialized.
        atomic: Whether the model is as before after an error or an interruption. For this the
            former values are kept until the end, which takes as much memory as the weights. Without
            it, a note of the exception says how many weights have new values. Other processes that
            share the model do not learn of the error, which has to end them too.
        dry_run: If true, only return the plan and do not change the model.
        verbose: Whether to show progress: `"auto"` on a terminal, unless
            `keras.config.disable_interactive_logging()` was called; 1 always; 0 never.

    Returns:
        An `InitializationPlan` with a row for each weight.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the model is not built, two of its weights have the same path, a rule matches
            no weight, one of a quantized layer, or one from which torch computes the weight in use
            (a parametrization), or an initializer cannot fill the shape of a
            weight, gives values that its dtype cannot hold, or is a random one of Keras with a
            number that is not finite; if a report is that of a model with other layers; if the
            paths, shapes or dtypes of a plan are not those of the
            model, or `seed` is given with it; or if `reset` is true and the initial state of the
            optimizer cannot be found, because no equal one can be made from its config.

    Example:
        >>> model = keras.Sequential([
        ...     keras.Input((64,)),
        ...     keras.layers.Dense(32, "relu", name="hidden"),
        ...     keras.layers.Dense(10, name="logits"),
        ... ])
        >>> plan = initialize(model, {"hidden/kernel": "initx.he_normal"}, seed=0)
        >>> {weight.path: weight.initializer for weight in plan if weight.fan_in}
        {'hidden/kernel': 'HeNormal()', 'logits/kernel': 'GlorotUniform()'}
    """
    inventory = checked_inventory("model", model)
    check_flag("reset", reset)
    check_flag("atomic", atomic)
    check_flag("dry_run", dry_run)
    started = begin(inventory, rules, seed, roles)
    plan = started.plan
    notes = [*plan.notes, *inventory.note_on_unbuilt(), *_notes_on_rewritten(started)]
    if dry_run:
        notes += _notes_on_constants(started.pairs())
        return replace(plan, notes=tuple(notes))
    done, of_values = _executed(started, reset=reset, atomic=atomic)
    return replace(plan, _planned=done, dry_run=False, notes=(*notes, *of_values))


class Begun(NamedTuple):
    """An initialization of which nothing is drawn yet.

    Attributes:
        inventory: What the model holds.
        plan: What each of its weights gets, in the same order.
        drawn_seed: The seed of the plan if it was drawn, and not given, see `Computation`.
    """

    inventory: Inventory
    plan: InitializationPlan
    drawn_seed: int | None

    def pairs(self) -> Iterator[tuple[ModelWeight, PlannedWeight]]:
        """Yield each weight with what it gets."""
        return zip(self.inventory.weights, self.plan._planned, strict=True)


def begin(
    inventory: Inventory,
    rules: RulesOrPlan | Instructing | None,
    seed: int | None,
    roles: RolesGiven | None = None,
    *,
    refuses_quantized: bool = True,
) -> Begun:
    """Return what is to be drawn in a model, by the arguments of `initialize` of these names.

    Rules for quantized weights are refused, or say nothing of them: who only reads can show them.
    """
    weights = inventory.weights
    with contextlib.ExitStack() as stack:
        # Initializers that are made for rules draw seeds, in whose place they get others.
        stack.callback(backend.kept_generators())
        given = understood(rules, inventory, seed=seed, roles=roles)
    if isinstance(given, InitializationPlan):
        plan = replace(given, _planned=given._instructions(inventory), dry_run=True)
        for weight, planned in zip(weights, plan._planned, strict=True):
            _check_suitable(planned.initializer, weight)
        return Begun(inventory, plan, None)
    root = root_seed(seed)
    bound, kept = _planned(inventory, given, root, refuses_quantized=refuses_quantized)
    notes = (
        *given.notes,
        *note_guesses(zip(weights, bound, strict=True)),
        *_notes_on_kept(kept),
    )
    plan = InitializationPlan(bound, root, dry_run=True, notes=notes)
    drawn_seed = root if seed is None else None
    return Begun(inventory, plan, drawn_seed)


def _planned(
    inventory: Inventory, given: Instructions, root: int, *, refuses_quantized: bool
) -> tuple[list[PlannedWeight], dict[Kept, list[str]]]:
    """Return what each weight gets by the rules or its layer, with a seed.

    Returns:
        The weights; and the initializers that are called themselves, each with the paths of the
        weights that get it.
    """
    weights = inventory.weights
    by_layer = layer_initializers([one for one in weights if one.path not in given.by_path])
    places = canonical_weight_paths(inventory, weights)
    planned = []
    kept: dict[Kept, list[str]] = {}
    seen: dict[tuple[int, Shape], str] = {}
    for weight in weights:
        path = weight.path
        is_of_layer = path in by_layer
        if is_of_layer:
            initializer, reason = by_layer[path]
        else:
            initializer, reason = _by_rule(given.by_path[path], weight, refuses_quantized)
        bound, seed = initializer, None
        zeros = kept_sparse(weight.variable)
        if zeros is not None and is_of_layer:
            # Keep this seed: it determines the zeros, which are constants in compiled programs.
            bound, seed = zeros, zeros.get_config()["seed"]
        elif isinstance(initializer, keras.initializers.Initializer):
            bound, seed, themselves = _bound(initializer, weight, root)
            for one in themselves:
                kept.setdefault(one, []).append(weight.shown)
            if seed is not None:
                _check_seed(seed, weight, seen)
            if zeros is not None:
                bound = Masked(bound, zeros)
        fans = _fans_of_axes(initializer, bound, weight.shape) or weight.fans or (None, None)
        row = WeightPlan(path, weight.shape, weight.dtype, None, reason, *fans)
        if bound is not None:
            row = row_with(row, bound, seed)
        planned.append(
            PlannedWeight(row, bound, weight.shown, by_layer=is_of_layer, place=places[path])
        )
    return planned, kept


def _by_rule(
    said: keras.initializers.Initializer | Left, weight: ModelWeight, refuses_quantized: bool
) -> tuple[keras.initializers.Initializer | None, str]:
    """Return the initializer that a rule gives a weight, or `None`, and why it has none."""
    if isinstance(said, Left):
        return None, said.reason
    if not weight.is_quantized:
        return said, ""
    if refuses_quantized:
        raise ValueError(
            "`rules` must leave quantized layers unchanged: put a rule with `None` for them "
            f"first. Received: {said!r} for {weight.path!r}, whose layer is quantized"
        )
    return None, "quantized"


def _bound(
    given: keras.initializers.Initializer, weight: ModelWeight, root: int
) -> tuple[keras.initializers.Initializer, int | None, list[Kept]]:
    """Return a copy of an initializer for `weight`, checked.

    Returns:
        The copy; its seed, if it got one; and what is called itself.
    """
    for part in initializers_within(given):
        try:
            adapt_initializer(part).check_numbers()
        except ValueError as error:
            raise unsuitable(repr(part), weight.path, f": {error}") from None
    derived = derived_seed(root, weight.path)
    binding = Binding(weight)
    initializer = binding.bound(given, derived)
    seed = None
    if initializer is not given and has_seed(initializer.get_config()):
        seed = derived  # A user's object has its own.
    _check_suitable(initializer, weight)
    return initializer, seed, binding.kept


def _fans_of_axes(given: Any, bound: Any, shape: Shape) -> tuple[float, int] | None:
    """Return the fans by the axes that the user has given to an initializer, if there are any.

    Args:
        given: The initializer.
        bound: Its copy for a weight.
        shape: The shape of the weight.
    """
    while isinstance(given, Scaled) and isinstance(bound, Scaled):
        given, bound = given.initializer, bound.initializer
    has_axes = getattr(given, "input_axes", None) or getattr(given, "output_axes", None)
    if not has_axes or not isinstance(bound, AxesInitializer):
        return None
    return bound.fans(shape)


def note_guesses(pairs: Iterable[tuple[ModelWeight, PlannedWeight]]) -> list[str]:
    """Return a note for each layer of the user whose fans are guessed by the shapes of weights.

    Layers whose paths differ in numbers only have one.

    Args:
        pairs: The weights, each with what it gets.
    """
    layers: dict[str, list[str]] = {}
    for weight, one in pairs:
        if needs_axes(one.initializer) and weight.has_guessed_axes:
            layer, _, name = one.shown.rpartition("/")
            fans = f"{name} has {one.row.fan_in} inputs and {one.row.fan_out} units"
            layers.setdefault(layer, []).append(fans)
    notes = []
    for group in group_similar(layers, path=str):
        fans = ", ".join(layers[group[0]])
        where = describe_paths(group) or "the model"
        notes.append(
            f"A guess by the shape, in {where}: {fans}; `input_axes` and `output_axes` of an "
            "initializer say it."
        )
    return notes


def needs_axes(initializer: Any) -> bool:
    """Return whether an initializer scales by the axes of a kernel, and was given none."""
    if not isinstance(initializer, keras.initializers.Initializer):
        return False
    for part in initializers_within(initializer):
        if isinstance(part, AxesInitializer) and part.input_axes is part.output_axes is None:
            return True
    return False


def _notes_on_kept(kept: Mapping[Kept, Sequence[str]]) -> list[str]:
    """Return a note for each initializer of the user that is called itself."""
    notes = []
    for (name, reason), paths in kept.items():
        notes.append(
            f"{name} gets no seed and is called itself for {summarize_names(paths)}: {reason}."
        )
    return notes


def _check_suitable(initializer: LayerInitializer | None, weight: ModelWeight) -> None:
    """Raise `ValueError`, before anything is drawn, if an initializer cannot fill a weight."""
    if not isinstance(initializer, keras.initializers.Initializer):
        return
    try:
        adapted = adapt_initializer(initializer)
        adapted.check_shape(weight.shape)
        adapted.check_dtype(weight.shape, weight.dtype)
    except ValueError as error:
        raise unsuitable(repr(initializer), weight.path, f": {error}") from None
    if isinstance(initializer, Initializer) and weight.dtype not in DTYPES:
        raise unsuitable(repr(initializer), weight.path, f" of dtype {weight.dtype}")
    if isinstance(weight.layer, keras.layers.TorchModuleWrapper):
        used = computed_weight_name(weight)
        if used is not None:
            problem = (
                f", the parameter {module_weight_name(weight)!r} from which torch computes "
                f"{used!r}: the weight in use would have other values. Draw it before it is "
                "parametrized"
            )
            raise unsuitable(repr(initializer), weight.path, problem)
        for part in initializers_within(initializer):
            if isinstance(part, _IN_ORDER_OF_KERAS) or getattr(part, "cell", None) == "gru":
                problem = ", whose axes or gates are in the order of torch"
                raise unsuitable(repr(initializer), weight.path, problem)


def _check_seed(seed: int, weight: ModelWeight, seen: dict[tuple[int, Shape], str]) -> None:
    """Raise `ValueError` if a weight has the derived seed of another of the same shape.

    For 1,000 weights the odds are 1 in 4,000.

    Args:
        seed: Its seed.
        weight: The weight.
        seen: The paths of those before, by seed and shape, to which it is added.
    """
    other = seen.setdefault((seed, weight.shape), weight.path)
    if other != weight.path:
        raise ValueError(
            f"`seed` must give {other!r} and {weight.path!r} different seeds: use another `seed`. "
            f"Received: the seed {seed} for both"
        )


def _executed(
    started: Begun, *, reset: bool, atomic: bool
) -> tuple[list[PlannedWeight], list[str]]:
    """Draw and assign the weights of a plan, and reset what `initialize` resets.

    Returns:
        The weights, with the statistics of their values, and notes on these.
    """
    model = started.inventory.model
    if reset and not atomic:
        initial_state(model)  # for its errors, which nobody would undo
    done, notes = [], []
    with undo_after_error(atomic) as assign:
        with show_progress("initialize", len(started.plan._planned), "weights") as advance:
            for weight, planned in started.pairs():
                if planned.initializer is not None:
                    value, planned = draw(weight, planned, started.drawn_seed)
                    notes += _notes_on_digest(weight, planned, value)
                    assign(weight.variable, value)
                    del value  # which the next one would come beside
                    if not math.isfinite(planned.row.std or 0.0):
                        notes += _notes_on_lost(weight, planned)
                done.append(planned)
                advance(1)
        if reset:
            for variable, start in initial_state(model):
                assign(variable, start)
            for variable in model.metrics_variables:
                assign(variable, variable.value)  # to remember it
            model.reset_metrics()
        # Last: an error before it leaves no layer with tensors of values that are undone.
        refresh_normalizations(
            weight.layer for weight, planned in started.pairs() if planned.initializer is not None
        )
    return done, notes


def draw(
    weight: ModelWeight, planned: PlannedWeight, drawn_seed: int | None
) -> tuple[Tensor, PlannedWeight]:
    """Return new values of a weight, checked, and what it gets, with their statistics.

    Args:
        weight: A weight.
        planned: What it gets.
        drawn_seed: See `Computation`.
    """
    row, initializer = planned.row, planned.initializer
    deviations: list[float] = []

    def measured() -> Tensor:
        tensor = planned.make()
        if not deviations and backend.is_concrete(tensor):
            deviations.append(backend.std(tensor))
        return tensor

    seeded = None
    if keeps_call(initializer):
        seeded = seeded_call(initializer, row.shape, row.dtype)
    computation = Computation(measured, is_exact(initializer), drawn_seed, seeded)
    value = made_like(weight.variable, computation)
    backend.wait(value)  # what it was placed from would come beside what is made next
    if not deviations:  # it was made inside of a trace
        deviations.append(backend.std(value))
    (std,) = deviations
    if row.dtype == "float16" and not math.isfinite(std):
        # Values that are infinite in float32 too are so by intention.
        wide = replace(planned, row=replace(row, dtype="float32")).make()
        if math.isfinite(backend.std(wide)):
            raise planned.unsuitable(f", which gives numbers beyond the range of {row.dtype}")
    return value, replace(planned, row=replace(row, std=std))


def _notes_on_digest(weight: ModelWeight, planned: PlannedWeight, value: Tensor) -> list[str]:
    """Return a note if values are not those of the digest in a plan.

    Those that are distributed over devices are not compared.
    """
    if planned.digest is None or backend.layout_of(value) is not None:
        return []
    array = backend.host_view(value)
    if array.dtype.name != weight.dtype:
        return [
            f"{weight.path} has the dtype {weight.dtype} in the plan, which this backend has not "
            f"switched on: its values are {array.dtype.name}, and others."
        ]
    if array_digest(array) != planned.digest:
        return [
            f"{weight.path} gets other values than those of its digest in the plan, as where a "
            "line was edited after it had been written."
        ]
    return []


def _notes_on_lost(weight: ModelWeight, planned: PlannedWeight) -> list[str]:
    """Return a note if a weight has got values that are not finite and cannot be meant."""
    lost = find_not_finite(weight)
    if lost is None or lost.may_be_meant:
        return []
    return [f"{weight.path} is not finite: {lost}, by {planned.row.initializer}."]


def _notes_on_rewritten(started: Begun) -> list[str]:
    """Return a note on weights of which a `SpectralNormalization` takes the scale away."""
    rewritten = set()
    for one in started.inventory.layers:
        if isinstance(one.layer, keras.layers.SpectralNormalization):
            rewritten.add(id(one.layer.kernel))
    paths = []
    for weight, planned in started.pairs():
        if planned.initializer is not None and id(weight.variable) in rewritten:
            paths.append(weight.path)
    if not paths:
        return []
    return [f"Divided by its spectral norm at each call in training: {quote_names(paths)}."]


def _notes_on_constants(pairs: Iterable[tuple[ModelWeight, PlannedWeight]]) -> list[str]:
    """Return a note for each weight that is to get a constant that is not finite.

    Of other initializers that is known once they are called.
    """
    notes = []
    for weight, planned in pairs:
        if not isinstance(planned.initializer, keras.initializers.Constant):
            continue
        value = backend.host_view(planned.initializer.value)
        is_lost = np.isnan(value) | (np.isinf(value) & must_be_finite(weight))
        if is_lost.any():
            notes.append(f"{weight.path} will not be finite, by {planned.row.initializer}.")
    return notes
