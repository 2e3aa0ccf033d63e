"""The loss of a diagnosis: its forms, its value as in training, and that of a blind guess."""

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import keras
import numpy as np

from keras_initx._typing import Array, KerasLoss, Tensor
from keras_initx.backends import Moments, backend
from keras_initx.diagnostics._signal import spread
from keras_initx.structure import array_of, replaced

# A name, a loss of Keras, a function of targets and outputs, or a list or dict of them.
Loss: TypeAlias = Any
LossKind: TypeAlias = Literal["crossentropy", "distance"]
_AnyKind: TypeAlias = Literal["binary", "categorical", "sparse", "distance"]

# The known losses of Keras by kind, as classes and as functions, which `compile` takes too.
_KINDS: dict[_AnyKind, tuple[tuple[Any, Any], ...]] = {
    "binary": (
        (keras.losses.BinaryCrossentropy, keras.losses.binary_crossentropy),
        (keras.losses.BinaryFocalCrossentropy, keras.losses.binary_focal_crossentropy),
    ),
    "categorical": (
        (keras.losses.CategoricalCrossentropy, keras.losses.categorical_crossentropy),
        (keras.losses.CategoricalFocalCrossentropy, keras.losses.categorical_focal_crossentropy),
    ),
    "sparse": (
        (keras.losses.SparseCategoricalCrossentropy, keras.losses.sparse_categorical_crossentropy),
    ),
    "distance": (
        (keras.losses.MeanSquaredError, keras.losses.mean_squared_error),
        (keras.losses.MeanAbsoluteError, keras.losses.mean_absolute_error),
        (keras.losses.Huber, keras.losses.huber),
    ),
}
# Others, of which less is known.
_OTHERS: tuple[tuple[Any, Any], ...] = (
    (keras.losses.CosineSimilarity, keras.losses.cosine_similarity),
    (keras.losses.CTC, keras.losses.ctc),
    (keras.losses.KLDivergence, keras.losses.kl_divergence),
    (keras.losses.LogCosh, keras.losses.log_cosh),
    (keras.losses.MeanAbsolutePercentageError, keras.losses.mean_absolute_percentage_error),
    (keras.losses.MeanSquaredLogarithmicError, keras.losses.mean_squared_logarithmic_error),
    (keras.losses.Poisson, keras.losses.poisson),
)
# These weigh examples, so that their value is no measure of a guess.
_FOCAL = ("binary_focal_crossentropy", "categorical_focal_crossentropy")


@dataclass(frozen=True, eq=False)
class SeenLoss:
    """A loss as in `compile`, with what it gets in training.

    Attributes:
        loss: The loss.
        targets: Its targets.
        output: Its output of the model.
    """

    loss: Loss
    targets: Tensor
    output: Tensor


@dataclass(frozen=True)
class KnownLoss:
    """What is known of a loss of Keras.

    Attributes:
        kind: `"binary"`, `"categorical"` or `"sparse"` for a crossentropy, or `"distance"`.
        name: Name of its function.
        from_logits: Whether it applies a sigmoid or softmax to the outputs.
        axis: The axis of the classes.
        ignored: The class number that it leaves out, or `None`.
        is_sum: Whether it is a sum over the examples.
        smoothing: How far it moves labels of 0 and 1 towards a half, twice.
        factor: What a loss of one's own is in units of the one of Keras that it is a multiple of,
            such as half of the squared error.
        is_own: Whether it is one of one's own, with the values of this one up to that factor.
        cuts_off: Whether it limits what is no probability, where no gradient passes.
    """

    kind: _AnyKind
    name: str
    from_logits: bool = False
    axis: int = -1
    ignored: int | None = None
    is_sum: bool = False
    smoothing: float = 0.0
    factor: float = 1.0
    is_own: bool = False
    cuts_off: bool = True

    @property
    def title(self) -> str:
        """What it is in a sentence."""
        return f"the loss (like {self.name})" if self.is_own else self.name

    @property
    def class_name(self) -> str:
        """Name of its class."""
        return self.name.title().replace("_", "")


def check_loss(loss: Loss | None) -> None:
    """Raise `ValueError` if `loss` is not a loss as in `compile`, or a list or dict of them."""
    for one in keras.tree.flatten(loss):
        if one is None or _follows_from_shapes(one):
            continue
        try:
            keras.losses.get(one)
        except ValueError:
            raise ValueError(
                "`loss` must be the name of a loss, a `keras.losses.Loss`, a function of targets "
                f"and outputs, or a list or dict of them. Received: loss={loss!r}"
            ) from None


def _follows_from_shapes(loss: Loss) -> bool:
    """Return whether `loss` is a name for which `compile` chooses a crossentropy by the shapes."""
    return str(loss).lower() in ("crossentropy", "ce")


def loss_function(
    model: keras.Model, loss: Loss | None
) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return a function of targets and outputs that computes `loss` by the rules of `compile`.

    It is `None` without `loss`: then the model has its own.
    """
    if loss is None:
        return None
    compiled = _compiled(loss, _output_names(model))
    # A loss without a reduction has a value for each example.
    return lambda targets, outputs: keras.ops.mean(compiled.compute_loss(y=targets, y_pred=outputs))


def check_own_loss(model: keras.Model) -> None:
    """Raise `ValueError` unless `model`, which has just been called, has a loss of its own.

    That is a compiled one, its own `compute_loss`, or what its layers pass to `add_loss`.
    """
    if getattr(model, "loss", None) is not None or computes_own_loss(model):
        return
    regularized = {}
    for weight in model.trainable_variables:
        if weight.regularizer is not None:
            regularized[id(weight)] = weight
    # A regularizer alone is nothing that a model learns.
    if len(model.losses) <= len(regularized):
        raise ValueError(
            "`loss` is required with `y`: pass it as to `compile`, compile the model, or leave out "
            "`y`, which skips gradients. Received: loss=None"
        )


def computes_own_loss(model: keras.Model) -> bool:
    """Return whether `model`, by its class or by itself, has another `compute_loss` than Keras'."""
    return getattr(model.compute_loss, "__func__", None) is not keras.Model.compute_loss


def _output_names(model: keras.Model) -> list[str]:
    if isinstance(model, keras.Sequential):
        return [model.layers[-1].name]
    return list(getattr(model, "output_names", None) or [])


def _compiled(loss: Loss, output_names: Sequence[str] = ()) -> keras.Model:
    """Return a model that is compiled with `loss`: the one place that computes it as in training.

    A loss by name or a function alone may fail: only the loss of `compile` fits labels of shape
    `(n,)` to outputs of shape `(n, 1)`.
    """
    compiled = keras.Model(name="loss")
    compiled.output_names = list(output_names)
    compiled.compile(optimizer=None, loss=loss, jit_compile=False)
    return compiled


def losses_of_outputs(
    model: keras.Model, loss: Loss | None, targets: Tensor, outputs: Tensor
) -> list[SeenLoss]:
    """Return each loss of `model` with the targets and the output that it gets in training.

    Left out are outputs with several losses.

    Args:
        model: A model.
        loss: A loss as in `compile`, or `None` for that of `model`.
        targets: The targets.
        outputs: The outputs of `model`.
    """
    if loss is None and not computes_own_loss(model):
        loss = getattr(model, "loss", None)
    if loss is None:
        return []
    seen: list[SeenLoss] = []
    # Keras finds the targets of each output.
    watches = keras.tree.map_structure(functools.partial(_watch, seen=seen), loss)
    _compiled(watches, _output_names(model)).compute_loss(y=targets, y_pred=outputs)
    found = []
    for one in seen:
        if sum(other.output is one.output for other in seen) == 1:
            found.append(one)
    return found


def known_loss(loss: Loss, targets: Tensor, outputs: Tensor) -> KnownLoss | None:
    """Return what is known of a loss of Keras or one that computes the same, `None` for others."""
    if _follows_from_shapes(loss):
        kind: _AnyKind = "categorical"
        if outputs.shape[-1] == 1:
            kind = "binary"
        elif len(targets.shape) < len(outputs.shape) or targets.shape[-1] == 1:
            kind = "sparse"
        _, function = _KINDS[kind][0]
        return KnownLoss(kind, function.__name__)
    name = name_of_loss(loss)
    if name is None:
        return _by_values(loss, targets, outputs)
    for kind_of_loss, losses in _KINDS.items():
        if name not in [function.__name__ for _, function in losses]:
            continue
        loss = keras.losses.get(loss)
        config: dict[str, Any] = {}
        if isinstance(loss, keras.losses.Loss):
            config = loss.get_config()
        axis = -1
        # The config of this one lacks its axis.
        if kind_of_loss == "sparse":
            axis = _axis_of_classes(loss, targets, outputs)
        return KnownLoss(
            kind_of_loss,
            name,
            from_logits=config.get("from_logits", False),
            axis=config.get("axis", axis),
            ignored=config.get("ignore_class"),
            is_sum=config.get("reduction") == "sum",
            smoothing=config.get("label_smoothing", 0.0),
        )
    return None


# The losses of Keras that people write anew, each with what makes numbers of any size its outputs.
_WRITTEN_ANEW: tuple[tuple[_AnyKind, bool, Callable[[Tensor], Tensor]], ...] = (
    ("binary", False, keras.ops.sigmoid),
    ("binary", True, keras.ops.copy),
    ("categorical", False, keras.ops.softmax),
    ("categorical", True, keras.ops.copy),
    ("sparse", False, keras.ops.softmax),
    ("sparse", True, keras.ops.copy),
    ("distance", False, keras.ops.copy),
)


def _by_values(loss: Loss, targets: Tensor, outputs: Tensor) -> KnownLoss | None:
    """Return of which loss of Keras a loss of one's own is a multiple, `None` if of none of them.

    Both get the same random targets and outputs of these shapes, which must have rows.
    """
    if len(outputs.shape) < 2:
        return None
    random = np.random.default_rng(0)
    shape = tuple(outputs.shape[1:])
    form = "sparse"
    if len(targets.shape) == len(outputs.shape) and targets.shape[-1] > 1:
        form = "categorical"
    for kind, from_logits, as_outputs in _WRITTEN_ANEW:
        if kind in ("categorical", "sparse") and (kind != form or shape[-1] == 1):
            continue
        for _, function in _KINDS[kind]:
            if function.__name__ in _FOCAL:
                continue
            reference = function
            if kind != "distance":
                reference = functools.partial(function, from_logits=from_logits)
            factors = []
            # A loss may take its targets for places in what it has been given.
            with backend.guarded():
                for count, size in _COMPARED:
                    full = (count, *shape)
                    made = keras.ops.convert_to_tensor(random.normal(0, size, full), "float32")
                    pair = _made_targets(kind, full, targets, random), as_outputs(made)
                    factors.append(_factor(loss, reference, *pair))
                    if not _agree(factors):
                        break
            if _agree(factors):
                with backend.guarded():
                    # Of the last targets and numbers.
                    cuts_off = _factor(loss, functools.partial(_of_limited, loss), pair[0], made)
                return KnownLoss(
                    kind,
                    function.__name__,
                    from_logits,
                    factor=factors[0],
                    is_own=True,
                    cuts_off=math.isclose(cuts_off, 1, rel_tol=1e-3),
                )
    return None


def _of_limited(loss: Loss, targets: Tensor, outputs: Tensor) -> Tensor:
    """Return a loss of outputs that are limited to probabilities, as Keras' crossentropies do."""
    least = keras.config.epsilon()
    return loss(targets, keras.ops.clip(outputs, least, 1 - least))


# The numbers of random examples by which losses are compared, and their standard deviations. A sum
# over the examples is another multiple for another number of them, and over many values the means
# of any two losses have about one ratio, as long as these are of one size. Two have one number: JAX
# compiles each operation anew for another one.
_COMPARED = (4, 2.0), (4, 0.5), (6, 4.0)


def _made_targets(
    kind: _AnyKind, shape: tuple[int, ...], targets: Tensor, random: np.random.Generator
) -> Tensor:
    """Return random targets for a loss of this kind and outputs of this shape."""
    made: Array
    if kind == "distance":
        made = random.normal(0, 2, shape)
    elif kind == "binary":
        made = random.integers(0, 2, shape)
    else:
        made = random.integers(0, shape[-1], shape[:-1])
        if kind == "categorical":
            made = np.eye(shape[-1])[made]
        elif len(targets.shape) == len(shape):
            made = made[..., None]
    return keras.ops.convert_to_tensor(made, "float32")


def _factor(loss: Loss, other: Loss, targets: Tensor, outputs: Tensor) -> float:
    """Return the ratio of the means of two losses, NaN where `loss` cannot be computed."""
    try:
        own = float(array_of(keras.ops.mean(loss(targets, outputs))))
        known = float(array_of(keras.ops.mean(other(targets, outputs))))
    except Exception:  # it is made for other numbers, or other shapes
        return math.nan
    return own / known if known and math.isfinite(own) else math.nan


def _agree(factors: Sequence[float]) -> bool:
    """Return whether all these are about the same positive number; NaN is none."""
    return factors[0] > 0 and np.allclose(factors, factors[0], rtol=1e-3)


def name_of_loss(loss: Loss) -> str | None:
    """Return the name of the function of a loss of Keras, also of another than a known one."""
    if _follows_from_shapes(loss):
        return None
    loss = keras.losses.get(loss)
    given = type(loss) if isinstance(loss, keras.losses.Loss) else loss
    for losses in (*_KINDS.values(), _OTHERS):
        for one in losses:
            if given in one:
                return str(one[1].__name__)
    return None


def _axis_of_classes(loss: Loss, targets: Tensor, outputs: Tensor) -> int:
    """Return the axis of `outputs` that class numbers lack, the last where that is not clear."""
    shape = list(outputs.shape)
    if not shape:
        return -1
    fitting: list[int] = []
    for axis in (-1, *range(len(shape) - 1)):
        if _without(axis, shape) == list(targets.shape):
            fitting.append(axis)
    if len(fitting) < 2:
        return fitting[0] if fitting else -1
    # Where several have one size, that of a loss of sizes that all differ.
    sizes = list(range(2, 2 + len(shape)))
    numbers = keras.ops.full(sizes, 0.5)
    for axis in fitting:
        with contextlib.suppress(Exception):  # each backend has its own
            loss(keras.ops.zeros(_without(axis, sizes), "int32"), numbers)
            return int(axis)
    return -1


def _without(axis: int, sizes: Sequence[int]) -> list[int]:
    others = list(sizes)
    del others[axis]
    return others


def counted_rows(targets: Tensor, outputs: Tensor) -> Array:
    """Return an array that is false for each row of outputs that a mask leaves out."""
    rows: Loss = _Counts()
    return np.asarray(array_of(rows(targets, outputs)) != 0)


def _watch(loss: Loss | None, seen: list[SeenLoss]) -> "_Watch | None":
    # An output may have no loss.
    if loss is None:
        return None
    return _Watch(loss, seen)


class _Watch(KerasLoss):
    """Stands for `loss` in `compile`, and adds it to `seen` with its targets and its output."""

    def __init__(self, loss: Loss, seen: list[SeenLoss]) -> None:
        super().__init__(name="watch")
        self._loss = loss
        self._seen = seen

    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        self._seen.append(SeenLoss(self._loss, y_true, y_pred))
        return keras.ops.zeros(())


class _Counts(KerasLoss):
    """Gives 1 for each row of outputs that counts in training, and 0 for what a mask leaves out."""

    def __init__(self) -> None:
        super().__init__(name="counts", reduction=None)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return keras.ops.ones_like(y_pred[..., 0])


def value_and_guess(
    loss: Loss, targets: Tensor, outputs: Tensor
) -> tuple[LossKind, float, float] | None:
    """Return the kind of a loss, its value and that of a blind guess, `None` if it is not known.

    A crossentropy is compared with equal probabilities. Of a distance, both are root mean squares:
    that of the errors, and that of the deviations of the targets from their mean, the best constant
    guess.
    """
    known = known_loss(loss, targets, outputs)
    if known is None or known.name in _FOCAL:
        return None
    if known.kind != "distance":
        classes = 2 if known.kind == "binary" else outputs.shape[known.axis]
        value = mean_of_loss(loss, targets, outputs) / known.factor
        return "crossentropy", value, math.log(classes)
    if math.prod(targets.shape) != math.prod(outputs.shape):
        return None
    pair = _distance_and_guess(targets, outputs)
    return None if pair is None else ("distance", *pair)


def _distance_and_guess(targets: Tensor, outputs: Tensor) -> tuple[float, float] | None:
    """Return root mean squares: of the errors, and of those of the mean of the targets.

    It is `None` where a mask leaves nothing.
    """
    aims = array_of(targets)
    errors = array_of(outputs).reshape(aims.shape) - aims
    counts = counted_rows(targets, outputs).reshape(-1)
    if not counts.all():
        # What a mask leaves out may have any targets. A blind guess is the same for all rows
        # that are left.
        aims = aims.reshape(len(counts), -1)[counts]
        errors = errors.reshape(len(counts), -1)[counts]
    if not aims.size:
        return None
    moments = Moments(errors)
    return moments.norm / math.sqrt(moments.size), spread(aims)


def mean_of_loss(loss: Loss, targets: Tensor, outputs: Tensor) -> float:
    """Return a loss as a mean over the examples, also of one that is a sum over them."""
    with contextlib.ExitStack() as stack:
        if isinstance(loss, keras.losses.Loss):
            # A sum is no measure of a guess. A copy by the config may lack arguments.
            stack.enter_context(replaced(loss, "reduction", "sum_over_batch_size"))
        mean = _compiled(loss).compute_loss(y=targets, y_pred=outputs)
    return float(array_of(mean)) * backend.replicas()
