"""Initialize the weights of a whole model: plan all, then draw and assign one by one.

    rules, seed -> `prepare` -> `Preparation`: a plan with a `PlannedWeight` for each weight
                -> `_execute` -> drawn values in the model, their statistics in the plan

A weight that a rule matches gets the initializer of the rule. Any other weight gets the initializer
of its layer. Both are bound to the weight (`_binding.py`), with a seed that follows from its path.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import keras

from keras_initx._checks import check_flag, summarize_names
from keras_initx._received import show
from keras_initx._signatures import shorten_signature
from keras_initx._similar_paths import describe_paths, group_similar
from keras_initx._typing import Shape, Tensor
from keras_initx.backends._backend import Computation
from keras_initx.backends._current import backend
from keras_initx.initializers._composition import Scaled
from keras_initx.initializers._initializer import keeps_call
from keras_initx.initializers._scale import AxesInitializer
from keras_initx.initializers._seeds import initializers_within, root_seed
from keras_initx.initializers._sharding import is_exact, seeded_call
from keras_initx.initializers._sparse import kept_sparse
from keras_initx.inspection._drawn_values import remember_drawn
from keras_initx.inspection._finite import find_not_finite
from keras_initx.inspection._hooks import LayerInitializer
from keras_initx.inspection._inventory import Inventory, checked_inventory
from keras_initx.inspection._layer_initializers import find_layer_initializers
from keras_initx.inspection._pairing import canonical_weight_paths
from keras_initx.inspection._weights import ModelWeight
from keras_initx.recipes._weight_rules import Left
from keras_initx.report._terminal import Verbose, show_progress, takes_verbose
from keras_initx.tools.initialize._assign import (
    compute_like,
    refresh_normalizations,
    undo_after_error,
)
from keras_initx.tools.initialize._binding import Bound, Uncopied, bind, check_suitable
from keras_initx.tools.initialize._digest import array_digest
from keras_initx.tools.initialize._module_state import (
    ModuleState,
    list_left_by_rule,
    read_module_state,
)
from keras_initx.tools.initialize._plan import InitializationPlan
from keras_initx.tools.initialize._planned_weight import (
    PlannedWeight,
    WeightPlan,
    describe_initializer,
)
from keras_initx.tools.initialize._reset import find_initial_state
from keras_initx.tools.initialize._rules import Instructions, Instructor, RulesOrPlan, read_rules


@shorten_signature
@takes_verbose
def initialize(
    model: keras.Model,
    rules: RulesOrPlan | Instructor | None = None,
    *,
    seed: int | None = None,
    reset: bool = True,
    atomic: bool = True,
    dry_run: bool = False,
    verbose: Verbose = "auto",
) -> InitializationPlan:
    """Initialize all weights of a built model in place, by your rules and from one seed.

    Use it for a model whose layers you do not write yourself, or to redraw a model.

    - The first rule that matches a weight decides. A rule has a condition: a pattern for the whole
      path, such as `"*/attention/*/kernel"`, a layer or a layer type, for its kernels, or a
      function of a `keras_initx.types.ModelWeight`.
    - Without a rule, the initializer of its layer redraws a weight, even a loaded one. End your
      rules with `"*": None` to keep such weights.
    - Quantized weights, weights with an unknown initializer, and weights that a recipe does not
      know keep their values. The plan gives you the reason.
    - The seed of each weight follows from `seed` and its path, see `weight_seed`. So you get the
      same weights on every backend, and other named layers do not change them.

    Args:
        model: A built model.
        rules: What to draw, a `RulesOrPlan` or an `Instructor`. One of:

            - a dict from conditions to initializers;
            - a recipe, or its name, `"gpt2"`;
            - a function of the model that returns rules;
            - a list of these: the first match counts;
            - a plan, or its path;
            - a report of `diagnose`.
        seed: An integer in `[0, 2**32)`. By default Python's `random` draws it, which
            `keras.utils.set_random_seed` controls, and the plan reports it. A plan has its own
            seed.
        reset: Whether to reset the optimizer, the metrics, and the random generators and recurrent
            states of layers too. The learning rate is kept. Batch normalization statistics are
            weights and always initialized. Those of torch modules are reset by
            `reset_running_stats`; other buffers of torch keep their values, and the notes say so.
        atomic: Whether your model is as before after an error or an interruption. The former values
            then take as much memory as the weights. If false, a note of the exception says how many
            weights have new values.
        dry_run: If true, only return the plan and do not change the model.
        verbose: Whether to show progress: `"auto"` on a terminal, unless you called
            `keras.config.disable_interactive_logging()`; 1 always; 0 never.

    Returns:
        An `InitializationPlan` with a row for each weight.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the model is not built, or two of its weights have the same path;
            if a rule matches no weight, a weight of a quantized layer, or a weight from which torch
            computes another (a parametrization);
            if an initializer cannot fill the shape of a weight, gives values that its dtype cannot
            hold, or is a random one of Keras with a number that is not finite;
            if a report is about a model with other layers, a plan has other paths, shapes or dtypes
            than the model, or you pass `seed` with a plan;
            or if `reset` is true and the initial state of the optimizer is unknown, because its
            config does not make an equal optimizer.

    Note:
        Your own initializer ignores `seed` if its config lacks an argument. The plan notes this.
        The page has the details of fans, LoRA and memory.

    Example:
        >>> model = keras.Sequential([
        ...     keras.Input((64,)),
        ...     keras.layers.Dense(32, "relu", name="hidden"),
        ...     keras.layers.Dense(10, name="logits"),
        ... ])
        >>> plan = initialize(model, {"hidden/kernel": "initx.he_normal"}, seed=0)
        >>> {weight.path: weight.initializer for weight in plan if weight.fan_in}
        {'hidden/kernel': 'HeNormal()', 'logits/kernel': 'GlorotUniform()'}

    See Also:
        `audit` compares a model with rules or a plan, `lsuv` scales weights to a batch, and
        `loading` draws the weights that a checkpoint lacks. The page "Whole models: initialize by
        rules and one seed" shows each form of `rules`.
    """
    inventory = checked_inventory("model", model)
    check_flag("reset", reset)
    check_flag("atomic", atomic)
    check_flag("dry_run", dry_run)
    preparation = prepare(inventory, rules, seed)
    plan = preparation.plan
    module_state = read_module_state(inventory, list_left_by_rule(preparation.pairs()))
    notes = [*plan.notes, *inventory.note_unbuilt(), *module_state.note(dry_run=dry_run)]
    if dry_run:
        return replace(plan, notes=tuple(notes))
    drawn, notes_on_values = _execute(preparation, module_state, reset=reset, atomic=atomic)
    return replace(plan, _planned=drawn, dry_run=False, notes=(*notes, *notes_on_values))


class Preparation(NamedTuple):
    """An initialization that is planned, and draws nothing yet.

    Attributes:
        inventory: The weights and layers of the model.
        plan: The initializer of each of its weights, in the same order.
        drawn_seed: The seed of the plan if it was drawn, and not given, see `Computation`.
    """

    inventory: Inventory
    plan: InitializationPlan
    drawn_seed: int | None

    def pairs(self) -> Iterator[tuple[ModelWeight, PlannedWeight]]:
        return zip(self.inventory.weights, self.plan._planned, strict=True)


def prepare(
    inventory: Inventory,
    rules: RulesOrPlan | Instructor | None,
    seed: int | None,
    *,
    refuses_quantized: bool = True,
) -> Preparation:
    """Plan the new values of a model, by the arguments of `initialize` with the same names.

    A rule for a quantized weight is an error. With `refuses_quantized=False` the weight keeps its
    values, because an audit changes nothing and can show it.
    """
    weights = inventory.weights
    with contextlib.ExitStack() as stack:
        # Initializers that are made for rules draw seeds, in whose place they get others.
        stack.callback(backend.kept_generators())
        instructions = read_rules(rules, inventory, seed=seed)
    if isinstance(instructions, InitializationPlan):
        plan = replace(instructions, _planned=instructions._fit_to(inventory), dry_run=True)
        for weight, planned in zip(weights, plan._planned, strict=True):
            check_suitable(planned.initializer, weight)
        return Preparation(inventory, plan, None)
    root = root_seed(seed)
    planner = _Planner(inventory, instructions, root, refuses_quantized=refuses_quantized)
    planned_weights = [planner.plan(weight) for weight in weights]
    notes = (
        *instructions.notes,
        *note_guessed_fans(zip(weights, planned_weights, strict=True)),
        *_note_uncopied(planner.paths_by_uncopied),
    )
    plan = InitializationPlan(planned_weights, root, dry_run=True, notes=notes)
    drawn_seed = root if seed is None else None
    return Preparation(inventory, plan, drawn_seed)


class _Planner:
    """Plans an initializer for each weight by the rules or its layer, with a seed.

    Attributes:
        paths_by_uncopied: The initializers that are called themselves, each with the paths of its
            weights.
    """

    def __init__(
        self,
        inventory: Inventory,
        instructions: Instructions,
        root: int,
        *,
        refuses_quantized: bool,
    ) -> None:
        weights = inventory.weights
        self.paths_by_uncopied: dict[Uncopied, list[str]] = {}
        self._by_rule = instructions.by_path
        self._reasons = instructions.reasons
        without_rule = [weight for weight in weights if weight.path not in self._by_rule]
        self._by_layer = find_layer_initializers(without_rule)
        self._canonical_paths = canonical_weight_paths(inventory, weights)
        self._root = root
        self._refuses_quantized = refuses_quantized
        self._paths_by_seed: dict[tuple[int, Shape], str] = {}

    def plan(self, weight: ModelWeight) -> PlannedWeight:
        path = weight.path
        is_by_layer = path in self._by_layer
        if is_by_layer:
            initializer, reason = self._by_layer[path]
        else:
            initializer, reason = self._read_rule(weight)
        bound = self._bind(initializer, weight, is_by_layer)
        fans = _fans_by_user_axes(initializer, bound.initializer, weight.shape)
        fan_in, fan_out = fans or weight.fans or (None, None)
        if is_by_layer and bound.initializer is not None:
            reason = (
                ""  # also of a sparse weight that is drawn anew, whose layer has no initializer
            )
        row = WeightPlan(path, weight.shape, weight.dtype, None, reason, fan_in, fan_out)
        if bound.initializer is not None:
            row = describe_initializer(row, bound.initializer, bound.seed)
        return PlannedWeight(
            row,
            bound.initializer,
            weight.shown,
            is_by_layer=is_by_layer,
            canonical_path=self._canonical_paths[path],
        )

    def _read_rule(self, weight: ModelWeight) -> tuple[keras.initializers.Initializer | None, str]:
        """Find the initializer that a rule gives a weight, or `None`, and why it has this one."""
        value = self._by_rule[weight.path]
        if isinstance(value, Left):
            return None, value.reason
        if not weight.is_quantized:
            return value, self._reasons.get(weight.path, "")
        if self._refuses_quantized:
            raise ValueError(
                "`rules` must leave quantized layers unchanged: put a rule with `None` for them "
                f"first. Received: {show(value)} for {show(weight.path)}, whose layer is quantized"
            )
        return None, "quantized"

    def _bind(
        self, initializer: LayerInitializer | None, weight: ModelWeight, is_by_layer: bool
    ) -> Bound:
        zeros = kept_sparse(weight.variable)
        if zeros is not None and is_by_layer:
            # Keep this seed: it determines the zeros, which are constants in compiled programs.
            return Bound(zeros, zeros.get_config()["seed"])
        if not isinstance(initializer, keras.initializers.Initializer):
            return Bound(initializer)
        bound = bind(initializer, weight, self._root)
        for uncopied in bound.uncopied:
            self.paths_by_uncopied.setdefault(uncopied, []).append(weight.shown)
        if bound.seed is not None:
            self._check_seed_is_new(bound.seed, weight)
        return bound

    def _check_seed_is_new(self, seed: int, weight: ModelWeight) -> None:
        # Two weights of one shape would get the same values. For 1,000 weights the odds are 1 in
        # 4,000.
        other = self._paths_by_seed.setdefault((seed, weight.shape), weight.path)
        if other != weight.path:
            raise ValueError(
                f"`seed` must give {other!r} and {weight.path!r} different seeds: use another "
                f"`seed`. Received: the seed {seed} for both"
            )


def _fans_by_user_axes(initializer: Any, bound: Any, shape: Shape) -> tuple[float, int] | None:
    """Compute the fans from the axes that the user has given to an initializer, if there are any.

    Args:
        initializer: The initializer.
        bound: Its copy for a weight.
        shape: The shape of the weight.
    """
    while isinstance(initializer, Scaled) and isinstance(bound, Scaled):
        initializer, bound = initializer.initializer, bound.initializer
    has_axes = getattr(initializer, "input_axes", None) or getattr(initializer, "output_axes", None)
    if not has_axes or not isinstance(bound, AxesInitializer):
        return None
    return bound.fans(shape)


def note_guessed_fans(pairs: Iterable[tuple[ModelWeight, PlannedWeight]]) -> list[str]:
    """Note for each of the user's layers that its fans are guessed from the shapes of weights.

    Layers whose paths differ only in numbers get one note.

    Args:
        pairs: The weights, each with its plan.
    """
    layers: dict[str, list[str]] = {}
    for weight, planned in pairs:
        if needs_axes(planned.initializer) and weight.has_guessed_axes:
            layer, _, name = planned.shown.rpartition("/")
            fans = f"{name} has {planned.row.fan_in} inputs and {planned.row.fan_out} units"
            layers.setdefault(layer, []).append(fans)
    notes = []
    for group in group_similar(layers, path=str):
        fans = ", ".join(layers[group[0]])
        notes.append(
            f"The fans in {describe_paths(group) or 'the model'} are guessed from the shape: "
            f"{fans}. Remedy: pass `input_axes` and `output_axes` to the initializer."
        )
    return notes


def needs_axes(initializer: Any) -> bool:
    """Return whether an initializer scales by the axes of a kernel, and was given none."""
    if not isinstance(initializer, keras.initializers.Initializer):
        return False
    for nested in initializers_within(initializer):
        if isinstance(nested, AxesInitializer) and nested.input_axes is nested.output_axes is None:
            return True
    return False


def _note_uncopied(paths_by_uncopied: Mapping[Uncopied, Sequence[str]]) -> list[str]:
    notes = []
    for (name, reason), paths in paths_by_uncopied.items():
        notes.append(
            f"{name} gets no seed for {summarize_names(paths)}: {reason}. Remedy: let `get_config` "
            "return all arguments, and `from_config` take them."
        )
    return notes


def _execute(
    preparation: Preparation, module_state: ModuleState, *, reset: bool, atomic: bool
) -> tuple[list[PlannedWeight], list[str]]:
    """Draw and assign the weights of a plan, and reset the same state as `initialize`.

    Returns:
        The weights, with the statistics of their values, and notes on these.
    """
    model = preparation.inventory.model
    if reset and not atomic:
        find_initial_state(model)  # for its errors, which nobody would undo
    drawn, notes = [], []
    with undo_after_error(atomic) as assign:
        with show_progress("initialize", len(preparation.plan._planned), "weights") as advance:
            for weight, planned in preparation.pairs():
                if planned.initializer is not None:
                    value, planned = draw(weight, planned, preparation.drawn_seed)
                    notes += _note_other_values(weight, planned, value)
                    assign(weight.variable, value)
                    del value  # or it takes memory while the next one is made
                    if not math.isfinite(planned.row.std or 0.0):
                        notes += _note_not_finite(weight, planned)
                drawn.append(planned)
                advance(1)
        module_state.reset_with(assign)
        if reset:
            for variable, start in find_initial_state(model):
                assign(variable, start)
            for variable in model.metrics_variables:
                assign(variable, variable.value)  # to remember it
            model.reset_metrics()
        # Last: an error before it leaves no layer with tensors of values that are undone.
        refresh_normalizations(
            weight.layer
            for weight, planned in preparation.pairs()
            if planned.initializer is not None
        )
    return drawn, notes


def draw(
    weight: ModelWeight, planned: PlannedWeight, drawn_seed: int | None
) -> tuple[Tensor, PlannedWeight]:
    """Draw new values of a weight, and return them with the planned weight and its statistics.

    Args:
        weight: A weight.
        planned: Its plan.
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
    value = compute_like(weight.variable, computation)
    backend.wait(value)  # or what it was placed from takes memory while the next one is made
    if not deviations:  # it was made inside of a trace
        deviations.append(backend.std(value))
    (std,) = deviations
    if row.dtype == "float16" and not math.isfinite(std):
        # Values that are infinite in float32 too are so by intention.
        wide = replace(planned, row=replace(row, dtype="float32")).make()
        if math.isfinite(backend.std(wide)):
            raise planned.unsuitable_error(f", which gives numbers beyond the range of {row.dtype}")
    remember_drawn(value, initializer, "initialize")
    return value, replace(planned, row=replace(row, std=std))


def _note_other_values(weight: ModelWeight, planned: PlannedWeight, value: Tensor) -> list[str]:
    """Note if the digest of the values differs from the digest in a plan."""
    # Values that are distributed over devices are not compared.
    if planned.digest is None or backend.layout_of(value) is not None:
        return []
    array = backend.host_view(value)
    if array.dtype.name != weight.dtype:
        return [
            f"{weight.path} has the dtype {weight.dtype} in the plan, which this backend has not "
            f"switched on: its values are {array.dtype.name}, and differ from those of the plan."
        ]
    if array_digest(array) != planned.digest:
        return [
            f"The values of {weight.path} differ from its digest in the plan, for example because "
            "the line was edited after it had been written."
        ]
    return []


def _note_not_finite(weight: ModelWeight, planned: PlannedWeight) -> list[str]:
    lost = find_not_finite(weight)
    if lost is None or lost.may_be_meant:
        return []
    return [f"{weight.path} is not finite: {lost}, by {planned.row.initializer}."]
