"""Initialize the weights of a whole model by rules."""

import dataclasses
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_initx._checks import DTYPES, check_flag
from keras_initx._seeds import derived_seed, root_seed
from keras_initx._typing import Shape, Tensor
from keras_initx.backends import backend
from keras_initx.diagnostics._report import number
from keras_initx.initializers import Initializer as OwnInitializer
from keras_initx.initializers import KeepSparse
from keras_initx.initializers._composition import check_shape_for
from keras_initx.initializers._twins import has_seed
from keras_initx.models._layer_initializers import Initializer, initial_state, own_initializers
from keras_initx.models._rules import Rules, bound, description, matched
from keras_initx.models._weights import ModelWeight, check_model, find_weights, is_quantized
from keras_initx.rendering._table import Column, Tabular
from keras_initx.rendering._terminal import progress


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
        seed: The seed of the initializer, or `None` if it is deterministic, or an object or function
            of a user that cannot be given a seed.
        std: The standard deviation of the drawn values, or `None` if none were drawn.
        seconds: The time it took to draw them, or `None` if none were drawn.
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


def _optional(value: Any) -> str:
    if value is None:
        return ""
    return number(value) if isinstance(value, float) else str(value)


def _size(count: int) -> str:
    """Format a number of bytes with a readable unit."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


_COLUMNS: Sequence[Column[WeightPlan]] = (
    Column("weight", lambda weight: weight.path, is_text=True),
    Column("shape", lambda weight: weight.shape),
    Column("initializer", lambda weight: weight.initializer or f"({weight.reason})", is_text=True, max_width=30),
    Column("fan in", lambda weight: _optional(weight.fan_in)),
    Column("fan out", lambda weight: _optional(weight.fan_out)),
    Column("std expected", lambda weight: _optional(weight.expected_std)),
    Column("std", lambda weight: _optional(weight.std)),
    Column("seed", lambda weight: _optional(weight.seed), wide_only=True),
    Column("seconds", lambda weight: _optional(weight.seconds), wide_only=True),
    Column("size", lambda weight: _size(weight.nbytes), wide_only=True),
)


@dataclass(frozen=True, eq=False, repr=False)
class InitializationPlan(Tabular[WeightPlan]):
    """The initialization of each weight of a model, shown as a table by `print` and in notebooks.

    Attributes:
        weights: A `WeightPlan` for each weight, in the order of the layers.
        seed: The seed from which all others are derived.
        dry_run: Whether the model was left unchanged.
    """

    weights: list[WeightPlan]
    seed: int
    dry_run: bool
    _columns = _COLUMNS

    @property
    def left(self) -> list[WeightPlan]:
        """The weights that are left unchanged."""
        return [weight for weight in self.weights if weight.initializer is None]

    def _summary(self) -> str:
        drawn = len(self.weights) - len(self.left)
        size = sum(weight.nbytes for weight in self.weights)
        would = "to be drawn" if self.dry_run else "drawn"
        seconds = "" if self.dry_run else f" in {number(sum(weight.seconds or 0 for weight in self.weights))} s"
        left = f", {len(self.left)} left unchanged" if self.left else ""
        return f"{drawn} of {len(self.weights)} weights {would}{seconds}{left}; {_size(size)}; seed {self.seed}."


_PIECE = 1 << 16


def initialize(
    model: keras.Model,
    rules: Rules | None = None,
    *,
    seed: int | None = None,
    reset: bool = True,
    dry_run: bool = False,
) -> InitializationPlan:
    """Initialize all weights of a built model in place, from one seed.

    The first rule that matches a weight determines its initializer. A weight that no rule matches
    is initialized by the initializer of its layer. If that is unknown, or the layer is quantized to
    integers, the weight is left unchanged, and the plan says so. Keras' own random initializers are
    replaced by their counterparts in this package, which draw from the same distribution. A user's
    initializer is called itself, with its own seed, unless its config has all of its arguments.
    Fan-in and fan-out are computed for the actual layer, including depthwise, transposed and
    grouped convolutions, `EinsumDense`, attention layers and embeddings. A kernel with `KeepSparse`
    gets the values of its `Sparse`, for every `seed`; under a rule its zeros stay zero.

    The seed of each weight is derived from `seed` and the path of the weight, see `seeds`. The
    weights therefore do not depend on the backend, on other objects in the process, or on other
    named layers. Inserting, removing or reordering layers changes other weights only if their
    layers have automatic names, because Keras then renumbers them. Each weight has its own seed,
    even if layers share an initializer.

    All values are drawn before the first one is assigned: an error, or an interruption until then,
    leaves the model unchanged. Variables keep their device and sharding, and compiled functions are not
    traced again.

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
            states of layers too. The learning rate is kept. Batch normalization statistics are weights and always
            initialized.
        dry_run: If true, only return the plan and do not change the model.

    Returns:
        An `InitializationPlan` with a row for each weight.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the model is not built, two of its weights have the same path, a rule matches
            no weight or one of a quantized layer, or an initializer cannot fill the shape of a weight
            or gives values that its dtype cannot hold; or if `reset` is true and the initial state
            of the optimizer cannot be found, because its config lacks arguments.

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
    check_flag("dry_run", dry_run)
    root = root_seed(seed)
    steps = _steps(find_weights(model), rules, root)
    if dry_run:
        return InitializationPlan([step.row for step in steps], root, dry_run)
    if reset:
        initial_state(model)  # for its errors, before anything is changed
    rows, assignments = _drawn(steps)
    for variable, value in assignments:
        variable.assign(value)
    if reset:
        for variable, value in initial_state(model):
            variable.assign(value)
        model.reset_metrics()
    return InitializationPlan(rows, root, dry_run)


@dataclass(frozen=True)
class _Step:
    """A weight, its initializer if it has one, and its row in the plan."""

    weight: ModelWeight
    initializer: Initializer | None
    row: WeightPlan


def _steps(weights: Sequence[ModelWeight], rules: Rules | None, root: int) -> list[_Step]:
    by_rule = matched(rules, weights)
    own = own_initializers([weight for weight in weights if weight.path not in by_rule])
    steps = []
    for weight in weights:
        seed: int | None = (derived := derived_seed(root, weight.path))
        initializer, reason = by_rule.get(weight.path), "by rule"
        if weight.path not in by_rule:
            initializer, reason = _own(weight, own)
        elif initializer is not None and is_quantized(weight.layer):
            raise ValueError(
                f"`rules` must leave quantized layers unchanged: put a rule with `None` for them first. "
                f"Received: {initializer!r} for {weight.path!r}, whose layer is quantized"
            )
        constraint = weight.variable.constraint
        if isinstance(constraint, KeepSparse) and weight.path not in by_rule:
            # Keep this seed: it determines the zeros, which are constants in compiled programs.
            initializer, seed = constraint.initializer, constraint.initializer.get_config()["seed"]
        elif isinstance(initializer, keras.initializers.Initializer):
            given, initializer = initializer, bound(initializer, derived, weight)
            seed = None if initializer is given else seed  # A user's object has its own.
            _check_shape(initializer, weight)
        steps.append(_Step(weight, initializer, _row(weight, initializer, reason, seed)))
    _check_seeds(steps)
    return steps


def _own(weight: ModelWeight, own: dict[str, Initializer]) -> tuple[Initializer | None, str]:
    """Return the initializer of the layer, or `None` and the reason why the weight is left unchanged."""
    if is_quantized(weight.layer):
        return None, "quantized"
    if weight.dtype not in DTYPES:
        return None, weight.dtype
    if hasattr(weight.layer, "adapt"):
        return None, "adapted to data"
    return own.get(weight.path), "initializer unknown"


def _check_shape(initializer: keras.initializers.Initializer, weight: ModelWeight) -> None:
    try:
        check_shape_for(initializer, weight.shape)
    except ValueError as error:
        raise ValueError(
            f"`rules` must suit the weights. Received: {initializer!r} for {weight.path!r}: {error}"
        ) from None


def _check_seeds(steps: Sequence[_Step]) -> None:
    """Raise `ValueError` if two weights of the same shape share a seed. For 1,000 weights the odds are 1 in 4,000."""
    seen: dict[tuple[int, Shape], str] = {}
    for step in steps:
        if step.row.seed is None:
            continue
        other = seen.setdefault((step.row.seed, step.row.shape), step.row.path)
        if other != step.row.path:
            raise ValueError(
                f"`seed` must give {other!r} and {step.row.path!r} different seeds: use another `seed`. "
                f"Received: the seed {step.row.seed} for both"
            )


def _row(weight: ModelWeight, initializer: Initializer | None, reason: str, seed: int | None) -> WeightPlan:
    fans = weight.fans or (None, None)
    row = WeightPlan(weight.path, weight.shape, weight.dtype, weight.nbytes, None, reason, *fans)
    if initializer is None:
        return row
    if not isinstance(initializer, keras.initializers.Initializer):
        name = getattr(initializer, "__name__", type(initializer).__name__)
        return dataclasses.replace(row, initializer=name, reason="")
    return dataclasses.replace(
        row,
        initializer=description(initializer),
        reason="",
        expected_std=initializer.expected_std(weight.shape) if isinstance(initializer, OwnInitializer) else None,
        seed=seed if has_seed(initializer.get_config()) else None,
    )


def _std(value: Tensor, row: WeightPlan) -> float:
    """Return the standard deviation of the drawn values, after checking their shape and kind."""
    array = backend.host_view(keras.ops.convert_to_tensor(value))
    if array.shape != row.shape:
        raise ValueError(
            f"`rules` must suit the weights. Received: {row.initializer} for {row.path!r} of shape {row.shape}, which "
            f"gives {array.shape}"
        )
    masked = isinstance(value, np.ma.MaskedArray)
    if masked or (array.dtype.kind == "c" and "complex" not in row.dtype):
        kind = "a masked array" if masked else "complex numbers"
        raise ValueError(
            f"`rules` must suit the weights. Received: {row.initializer} for {row.path!r}, which gives {kind}"
        )
    if not array.size:
        return 0.0
    flat = array.reshape(-1)
    total = square = 0.0
    # In chunks that stay in the cache: touching fresh memory costs more than the sums.
    for begin in range(0, flat.size, _PIECE):
        piece = flat[begin : begin + _PIECE].astype("float64")
        total, square = total + float(piece.sum()), square + float(piece @ piece)
    return math.sqrt(max(square / flat.size - (total / flat.size) ** 2, 0.0))


def _check_range(initializer: Initializer, row: WeightPlan) -> None:
    """Raise `ValueError` if the values have overflowed, other than those that are infinite by intention."""
    if row.dtype != "float16" or row.std is None or math.isfinite(row.std):
        return
    if math.isfinite(_std(initializer(row.shape, dtype="float32"), row)):
        raise ValueError(
            f"`rules` must suit the weights. Received: {row.initializer} for {row.path!r}, which gives numbers beyond "
            f"the range of {row.dtype}"
        )


def _drawn(steps: Sequence[_Step]) -> tuple[list[WeightPlan], list[tuple[keras.Variable, Tensor]]]:
    """Return the rows with statistics of the drawn values, and each variable with its new value."""
    rows, assignments = [], []
    with progress("initialize", len(steps), "weights") as advance:
        for step in steps:
            row = step.row
            if step.initializer is not None:
                begin = time.perf_counter()
                value = step.initializer(row.shape, dtype=row.dtype)
                if isinstance(step.weight.variable.constraint, KeepSparse):
                    value = step.weight.variable.constraint(value)
                seconds = time.perf_counter() - begin
                row = dataclasses.replace(row, std=_std(value, row), seconds=seconds)
                _check_range(step.initializer, row)
                assignments.append((step.weight.variable, value))
            rows.append(row)
            advance(1)
    return rows, assignments
