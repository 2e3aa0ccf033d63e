"""Initialize the weights of a whole model by rules."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import numpy as np

from keras_initx._casts import can_be_cast, cast
from keras_initx._checks import DTYPES, check_flag
from keras_initx._seeds import derived_seed, has_seed, root_seed
from keras_initx._typing import Shape, Tensor
from keras_initx.backends import Computation, backend
from keras_initx.initializers import (
    Initializer,
    KeepSparse,
    check_dtype_for,
    check_shape_for,
    is_exact,
    seeded_call,
)
from keras_initx.models._assign import made_like, refresh_normalizations, undone_after_error
from keras_initx.models._initial_state import initial_state
from keras_initx.models._layer_initializers import layer_initializers
from keras_initx.models._rules import Rules, description, initializers_by_rule, with_seed_and_axes
from keras_initx.rendering import (
    Column,
    Points,
    WeightTable,
    filled,
    plot_in_order,
    progress,
    short_number,
    styles_of,
)
from keras_initx.structure import (
    LayerInitializer,
    ModelWeight,
    check_model,
    find_weights,
    is_quantized,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["InitializationPlan", "WeightPlan", "initialize"]


@dataclass(frozen=True)
class WeightPlan:
    """The initialization of one weight.

    Attributes:
        path: Its path in the model, see `ModelWeight`.
        shape: Its shape.
        dtype: The name of its dtype.
        nbytes: Its size in bytes.
        initializer: The initializer as text, or `None` if the weight is left unchanged.
        reason: Why it is left unchanged, otherwise empty.
        fan_in: The number of inputs of a unit if this is a kernel, otherwise `None`.
        fan_out: The number of units connected to an input if this is a kernel, otherwise `None`.
        expected_std: The standard deviation expected from the initializer, or `None` if it is
            unknown.
        seed: The seed of the initializer, or `None` if it is deterministic, or an object or
            function of a user that cannot be given a seed.
        std: The standard deviation of the drawn values, or `None` if none were drawn.
        seconds: The time it took to draw and measure them, or `None` if none were drawn.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    initializer: str | None
    reason: str = ""
    fan_in: int | None = None
    fan_out: int | None = None
    expected_std: float | None = None
    seed: int | None = None
    std: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class InitializationPlan(WeightTable[WeightPlan]):
    """The initialization of each weight of a model, in the form of all results.

    `plot` shows the standard deviations of the weights, or those expected for a dry run, in the
    colors of their initializers.

    Attributes:
        weights: A `WeightPlan` for each weight, in the order of the layers.
        seed: The seed from which all others are derived.
        dry_run: Whether the model was left unchanged.
    """

    weights: list[WeightPlan]
    seed: int
    dry_run: bool

    @property
    def left(self) -> list[WeightPlan]:
        """The weights that are left unchanged."""
        return [weight for weight in self.weights if weight.initializer is None]

    def _columns(self) -> list[Column[WeightPlan]]:
        columns: list[Column[WeightPlan]] = [
            Column("weight", lambda row: row.path, is_text=True),
            Column("shape", lambda row: row.shape),
            Column(
                "initializer",
                lambda row: row.initializer or f"({row.reason})",
                is_text=True,
                max_width=30,
            ),
            Column("fan in", lambda row: _optional(row.fan_in)),
            Column("fan out", lambda row: _optional(row.fan_out)),
            Column("std expected", lambda row: _optional(row.expected_std)),
            Column("std", lambda row: _optional(row.std)),
            Column("seed", lambda row: _optional(row.seed), wide_only=True),
            Column("seconds", lambda row: _optional(row.seconds), wide_only=True),
            Column("size", lambda row: _size(row.nbytes), wide_only=True),
        ]
        return filled(columns, self.weights)

    def _summary(self) -> str:
        total = len(self.weights)
        left = len(self.left)
        if self.dry_run:
            text = f"{total - left} of {total} weights to be drawn"
        else:
            seconds = sum(weight.seconds or 0 for weight in self.weights)
            text = f"{total - left} of {total} weights drawn in {short_number(seconds)} s"
        if left:
            text += f", {left} left unchanged"
        size = sum(weight.nbytes for weight in self.weights)
        return f"{text}; {_size(size)}; seed {self.seed}."

    def _figure(self) -> "Figure":
        deviations: dict[str, dict[int, float]] = {}  # by place, of each class of initializers
        for place, weight in enumerate(self.weights):
            deviation = weight.expected_std if weight.std is None else weight.std
            if weight.initializer is not None and deviation is not None:
                name, _, _ = weight.initializer.partition("(")
                deviations.setdefault(name, {})[place] = deviation
        groups = {}
        for name, (color, marker) in styles_of(deviations).items():
            groups[name] = Points(deviations[name], color, marker)
        label = "standard deviation"
        if self.dry_run:
            label = "expected standard deviation"
        paths = [weight.path for weight in self.weights]
        return plot_in_order(paths, {label: groups}, of="weight")


def _optional(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return short_number(value)
    return str(value)


def _size(count: int) -> str:
    """Format a number of bytes with a readable unit."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def initialize(
    model: keras.Model,
    rules: Rules | None = None,
    *,
    seed: int | None = None,
    reset: bool = True,
    atomic: bool = True,
    dry_run: bool = False,
) -> InitializationPlan:
    """Initialize all weights of a built model in place, from one seed.

    The first rule that matches a weight determines its initializer. A weight that no rule matches
    is initialized by the initializer of its layer. If that is unknown, or the layer is quantized to
    integers, the weight is left unchanged, and the plan says so. Keras' own random initializers are
    replaced by their counterparts in this package, which draw from the same distribution. A user's
    initializer is called itself, with its own seed, unless its config has all of its arguments.
    Fan-in and fan-out are computed for the actual layer, including depthwise, transposed and
    grouped convolutions, `EinsumDense` and attention layers. Those of an embedding are its rows and
    columns, as for its layer. A kernel with `KeepSparse` gets the values of its `Sparse`, for every
    `seed`; under a rule its zeros stay zero. The factors of LoRA start as by `enable_lora(rank)`:
    Keras does not keep other initializers, so give a rule for them.

    The seed of each weight is derived from `seed` and the path of the weight, see `seeds`. The
    weights therefore do not depend on the backend, on other objects in the process, or on other
    named layers. Inserting, removing or reordering layers changes other weights only if their
    layers have automatic names, because Keras then renumbers them. Each weight has its own seed,
    even if layers share an initializer.

    Each weight is drawn, measured and assigned before the next; a large sharded one is drawn in its
    shards. Variables keep their device and sharding, and compiled functions are not traced again.

    Args:
        model: A built model.
        rules: Dict from conditions to initializers (objects, string ids or configs, without seeds),
            tried in order. A condition is a pattern for the path of a weight, e.g.
            `"*/attention/*/kernel"`, where `*` matches anything; a layer type, for the weights of
            such layers with two or more dimensions; or a function that takes a
            `keras_initx.models.ModelWeight` and returns whether it matches. `None` instead of an
            initializer leaves the matching weights unchanged.
        seed: An integer in `[0, 2**32)`. By default it is drawn from Python's `random`, which
            `keras.utils.set_random_seed` controls, and reported in the plan.
        reset: Whether to reset the optimizer, the metrics, and the random generators and recurrent
            states of layers too. The learning rate is kept. Batch normalization statistics are
            weights and always initialized.
        atomic: Whether the model is as before after an error or an interruption. For this the
            former values are kept until the end, which takes as much memory as the weights. Without
            it, a note of the exception says how many weights have new values.
        dry_run: If true, only return the plan and do not change the model.

    Returns:
        An `InitializationPlan` with a row for each weight.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the model is not built, two of its weights have the same path, a rule matches
            no weight or one of a quantized layer, or an initializer cannot fill the shape of a
            weight or gives values that its dtype cannot hold; or if `reset` is true and the initial
            state of the optimizer cannot be found, because its config lacks arguments.

    Example:
        >>> model = keras.Sequential([
        ...     keras.Input((64,)),
        ...     keras.layers.Dense(32, "relu", name="hidden"),
        ...     keras.layers.Dense(10, name="logits"),
        ... ])
        >>> plan = initialize(model, {"hidden/kernel": "initx.he_normal"}, seed=0)
        >>> {weight.path: weight.initializer for weight in plan.weights if weight.fan_in}
        {'hidden/kernel': 'HeNormal()', 'logits/kernel': 'GlorotUniform()'}
    """
    check_model("model", model)
    check_flag("reset", reset)
    check_flag("atomic", atomic)
    check_flag("dry_run", dry_run)
    root = root_seed(seed)
    steps = planned(model, rules, root)
    if dry_run:
        return InitializationPlan([step.row for step in steps], root, dry_run)
    return carried_out(model, steps, root, drawn=seed is None, reset=reset, atomic=atomic)


class Step(NamedTuple):
    """A weight, its initializer if it has one, and its row in the plan."""

    weight: ModelWeight
    initializer: LayerInitializer | None
    row: WeightPlan


def planned(model: keras.Model, rules: Rules | None, root: int) -> list[Step]:
    """Return a step for each weight: its initializer by the rules or its layer, with a seed."""
    weights = find_weights(model)
    by_rule = initializers_by_rule(rules, weights)
    by_layer = layer_initializers([weight for weight in weights if weight.path not in by_rule])
    steps = []
    for weight in weights:
        has_rule = weight.path in by_rule
        initializer: LayerInitializer | None
        if has_rule:
            initializer = by_rule[weight.path]
            reason = "by rule"
        else:
            initializer, reason = by_layer[weight.path]
        if has_rule and initializer is not None and is_quantized(weight.layer):
            raise ValueError(
                "`rules` must leave quantized layers unchanged: put a rule with `None` for them "
                f"first. Received: {initializer!r} for {weight.path!r}, whose layer is quantized"
            )
        seed = None
        constraint = weight.variable.constraint
        if isinstance(constraint, KeepSparse) and not has_rule:
            # Keep this seed: it determines the zeros, which are constants in compiled programs.
            initializer = constraint.initializer
            seed = initializer.get_config()["seed"]
        elif isinstance(initializer, keras.initializers.Initializer):
            initializer, seed = _bound(initializer, weight, root)
        steps.append(Step(weight, initializer, _row(weight, initializer, reason, seed)))
    _check_seeds(steps)
    return steps


def _bound(
    given: keras.initializers.Initializer, weight: ModelWeight, root: int
) -> tuple[keras.initializers.Initializer, int | None]:
    """Return a copy of an initializer for `weight`, checked, and its seed if it got one."""
    derived = derived_seed(root, weight.path)
    initializer = with_seed_and_axes(given, derived, weight)
    seed = None
    if initializer is not given and has_seed(initializer.get_config()):
        seed = derived  # A user's object has its own.
    try:
        check_shape_for(initializer, weight.shape)
        check_dtype_for(initializer, weight.shape, weight.dtype)
    except ValueError as error:
        raise _unsuitable(repr(initializer), weight.path, f": {error}") from None
    if isinstance(initializer, Initializer) and weight.dtype not in DTYPES:
        raise _unsuitable(repr(initializer), weight.path, f" of dtype {weight.dtype}")
    return initializer, seed


def _row(
    weight: ModelWeight, initializer: LayerInitializer | None, reason: str, seed: int | None
) -> WeightPlan:
    """Return the row of a weight in the plan, without what is known once it is drawn."""
    fan_in, fan_out = weight.fans or (None, None)
    row = WeightPlan(
        weight.path, weight.shape, weight.dtype, weight.nbytes, None, reason, fan_in, fan_out
    )
    if initializer is None:
        return row
    expected_std = None
    if isinstance(initializer, Initializer):
        expected_std = initializer.expected_std(weight.shape)
    return replace(
        row,
        initializer=description(initializer),
        reason="",
        expected_std=expected_std,
        seed=seed,
    )


def _unsuitable(initializer: str | None, path: str, problem: str) -> ValueError:
    return ValueError(
        f"`rules` must suit the weights. Received: {initializer} for {path!r}{problem}"
    )


def _check_seeds(steps: Sequence[Step]) -> None:
    """Raise `ValueError` if two weights of the same shape share a seed.

    For 1,000 weights the odds are 1 in 4,000.
    """
    seen: dict[tuple[int | None, Shape], str] = {}
    for weight, initializer, row in steps:
        if initializer is getattr(weight.variable.constraint, "initializer", None):
            # The seed of `KeepSparse` is the user's, and a layer may copy it for its parts.
            continue
        other = seen.setdefault((row.seed, row.shape), row.path)
        if row.seed is not None and other != row.path:
            raise ValueError(
                f"`seed` must give {other!r} and {row.path!r} different seeds: use another "
                f"`seed`. Received: the seed {row.seed} for both"
            )


def carried_out(
    model: keras.Model,
    steps: Sequence[Step],
    root: int,
    *,
    drawn: bool,
    reset: bool,
    atomic: bool,
    change: Callable[[ModelWeight, Tensor], Tensor] = lambda weight, value: value,
) -> InitializationPlan:
    """Draw and assign the weights of `steps`, and reset what `initialize` resets.

    Args:
        model: A built model.
        steps: What to draw.
        root: The seed from which theirs are derived.
        drawn: Whether it was drawn, and not given.
        reset: See `initialize`.
        atomic: See `initialize`.
        change: Function of a weight and its drawn values that returns those to assign.
    """
    if reset:
        initial_state(model)  # for its errors, before anything is changed
    drawn_root = root if drawn else None
    rows = []
    with undone_after_error(atomic) as assign:
        with progress("initialize", len(steps), "weights") as advance:
            for weight, initializer, row in steps:
                if initializer is not None:
                    value, row = draw(weight, initializer, row, drawn_root)
                    assign(weight.variable, change(weight, value))
                rows.append(row)
                advance(1)
        if reset:
            for variable, start in initial_state(model):
                assign(variable, start)
            for variable in model.metrics_variables:
                assign(variable, variable.value)  # to remember it
            model.reset_metrics()
        # Last: an error before it leaves no layer with tensors of values that are undone.
        refresh_normalizations(step.weight.layer for step in steps if step.initializer is not None)
    return InitializationPlan(rows, root, dry_run=False)


def draw(
    weight: ModelWeight, initializer: LayerInitializer, row: WeightPlan, drawn_seed: int | None
) -> tuple[Tensor, WeightPlan]:
    """Return new values of a weight, checked, and its row with their statistics.

    Args:
        weight: A weight.
        initializer: Its initializer.
        row: Its row in the plan.
        drawn_seed: See `Computation`.
    """
    begin = time.perf_counter()
    values = _Values(weight, initializer, row)
    seeded = None
    if not values.keeps_sparse:
        seeded = seeded_call(initializer, row.shape, row.dtype)
    computation = Computation(values.make, is_exact(initializer), drawn_seed, seeded)
    value = made_like(weight.variable, computation)
    std = values.std
    if std is None:
        std = backend.std(value)
    seconds = time.perf_counter() - begin
    if row.dtype == "float16" and not math.isfinite(std):
        # Values that are infinite in float32 too are so by intention.
        wide = keras.ops.convert_to_tensor(initializer(row.shape, dtype="float32"))
        if math.isfinite(backend.std(wide)):
            problem = f", which gives numbers beyond the range of {row.dtype}"
            raise _unsuitable(row.initializer, row.path, problem)
    return value, replace(row, std=std, seconds=seconds)


class _Values:
    """Makes the values of a weight by its initializer, and measures them.

    Args:
        weight: A weight.
        initializer: Its initializer.
        row: Its row in the plan.

    Attributes:
        keeps_sparse: Whether the constraint of the weight sets some of them to zero.
        std: Their standard deviation; `None` if they were not made, or only inside a trace.
    """

    def __init__(self, weight: ModelWeight, initializer: LayerInitializer, row: WeightPlan) -> None:
        self.keeps_sparse = isinstance(weight.variable.constraint, KeepSparse)
        self.std: float | None = None
        self._constraint = weight.variable.constraint
        self._initializer = initializer
        self._row = row

    def make(self) -> Tensor:
        """Return the values, before they are distributed over devices."""
        value = self._initializer(self._row.shape, dtype=self._row.dtype)
        if self.keeps_sparse:
            value = self._constraint(value)
        tensor = _checked_tensor(value, self._row)
        if self.std is None and backend.is_concrete(tensor):
            self.std = backend.std(tensor)
        return tensor


def _checked_tensor(value: Any, row: WeightPlan) -> Tensor:
    """Return what an initializer gives for a weight as a tensor, if the weight can have it."""
    if isinstance(value, np.ma.MaskedArray):
        raise _unsuitable(row.initializer, row.path, ", which gives a masked array")
    if isinstance(value, np.ndarray) and can_be_cast(value.dtype.name, row.dtype):
        try:
            value = cast(value, row.dtype)
        except OverflowError as error:
            raise _unsuitable(row.initializer, row.path, f", which gives {error}") from None
    tensor = keras.ops.convert_to_tensor(value)
    shape = tuple(tensor.shape)
    if shape != row.shape:
        problem = f" of shape {row.shape}, which gives {shape}"
        raise _unsuitable(row.initializer, row.path, problem)
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if "complex" in dtype and "complex" not in row.dtype:
        raise _unsuitable(row.initializer, row.path, ", which gives complex numbers")
    return tensor
