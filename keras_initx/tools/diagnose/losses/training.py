"""A loss as in training: its forms, what it gets, its value, and that of a blind guess."""

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import keras
import numpy as np

from keras_initx._typing import Array, KerasLoss, Tensor
from keras_initx.backends._current import backend
from keras_initx.backends._moments import Moments, spread
from keras_initx.inspection._batch import to_array
from keras_initx.inspection._hooks import replace_attribute
from keras_initx.inspection._training import computes_own_loss
from keras_initx.tools.diagnose.losses.known import Loss, LossLike, follows_from_shapes

# Of which losses the value is compared with that of a blind guess.
ComparedKind: TypeAlias = Literal["crossentropy", "distance"]


@dataclass(frozen=True, eq=False)
class LossCall:
    """A loss as in `compile`, with what it gets in training.

    Attributes:
        loss: The loss.
        targets: Its targets.
        output: Its output of the model.
    """

    loss: LossLike
    targets: Tensor
    output: Tensor


@dataclass(frozen=True, eq=False)
class RepeatableLoss:
    """A loss of any kind, which can be computed of other targets and another output.

    Attributes:
        targets: Its targets.
        output: Its output of the model.
        value: Function of targets and an output that returns the loss as a mean.
    """

    targets: Tensor
    output: Tensor
    value: Callable[[Tensor, Tensor], float]

    @functools.cached_property
    def crosses_examples(self) -> bool:
        """Whether each output is compared with the targets of all examples: their shapes differ.

        Then it does not matter which target is of which example. It does for targets of the shape
        of the outputs, unless the loss compares all pairs, or distributions, on purpose.
        """
        shape, given = tuple(self.output.shape), tuple(self.targets.shape)
        if not shape or given == shape or math.prod(given) != math.prod(shape):
            return False
        aims, outputs = to_array(self.targets), to_array(self.output)
        random = np.random.default_rng(0)
        # Outputs that are all the same would tell nothing. Probabilities stay probabilities.
        noise = random.uniform(size=shape) * max(float(aims.std()), 1.0)
        moved = self._like_output(0.8 * outputs + 0.1 * noise)
        others = aims[random.permutation(shape[0])]

        def differs(form: tuple[int, ...], tolerance: float) -> bool:
            ours, theirs = (
                self.value(
                    keras.ops.convert_to_tensor(one.reshape(form), self.targets.dtype), moved
                )
                for one in (aims, others)
            )
            return not math.isclose(ours, theirs, rel_tol=tolerance)

        try:
            return not differs(given, 1e-5) and differs(shape, 1e-3)
        except Exception:  # a loss may refuse other shapes
            return False

    def value_of(self, outputs: Array) -> float:
        """Return the loss of other outputs."""
        return self.value(self.targets, self._like_output(outputs))

    def _like_output(self, values: Array) -> Tensor:
        return keras.ops.convert_to_tensor(values, self.output.dtype)


def list_repeatable_losses(
    model: keras.Model,
    seen: Sequence[LossCall],
    targets: Tensor,
    outputs: Tensor,
    objective: Callable[[Tensor, Tensor], Tensor],
) -> list[RepeatableLoss]:
    """Return the losses of the outputs of a model, also those of its own `compute_loss`.

    Args:
        model: The model.
        seen: The losses that it is compiled with, or that are given in their place.
        targets: The targets of the model, `None` without any.
        outputs: Its outputs.
        objective: Function of both that returns what training minimizes.
    """
    if seen or targets is None or not computes_own_loss(model):
        return [
            RepeatableLoss(one.targets, one.output, _make_computation(one.loss)) for one in seen
        ]
    aims, made = keras.tree.flatten(targets), keras.tree.flatten(outputs)
    if len(aims) != len(made):
        return []

    def value_at(place: int, aim: Tensor, output: Tensor) -> float:
        with_aim, with_output = list(aims), list(made)
        with_aim[place], with_output[place] = aim, output
        value = objective(
            keras.tree.pack_sequence_as(targets, with_aim),
            keras.tree.pack_sequence_as(outputs, with_output),
        )
        return float(to_array(value).mean())

    found = []
    for place, (aim, output) in enumerate(zip(aims, made, strict=True)):
        found.append(RepeatableLoss(aim, output, functools.partial(value_at, place)))
    return found


def _make_computation(loss: LossLike) -> Callable[[Tensor, Tensor], float]:
    return lambda targets, output: compute_mean_loss(LossCall(loss, targets, output))


def check_loss(loss: LossLike | None) -> None:
    """Raise `ValueError` if `loss` is not a loss as in `compile`, or a list or dict of them."""
    for one in keras.tree.flatten(loss):
        if one is None or follows_from_shapes(one):
            continue
        try:
            keras.losses.get(one)
        except ValueError:
            raise ValueError(
                "`loss` must be the name of a loss, a `keras.losses.Loss`, a function of targets "
                f"and outputs, or a list or dict of them. Received: loss={loss!r}"
            ) from None


def loss_function(
    model: keras.Model, loss: LossLike | None
) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return a function of targets and outputs that computes `loss` by the rules of `compile`.

    It is `None` without `loss`: then the model has its own.
    """
    if loss is None:
        return None
    compiled = _compile_with(loss, _list_output_names(model))
    # A loss without a reduction has a value for each example.
    return lambda targets, outputs: keras.ops.mean(compiled.compute_loss(y=targets, y_pred=outputs))


def check_own_loss(model: keras.Model, has_targets: bool) -> None:
    """Raise `ValueError` unless `model`, which has just been called, has a loss of its own.

    That is a compiled one, if there are targets, its own `compute_loss`, or what its layers pass to
    `add_loss`.
    """
    is_compiled_with = getattr(model, "loss", None) is not None
    if computes_own_loss(model) or (is_compiled_with and has_targets):
        return
    regularized = {}
    for weight in model.trainable_variables:
        if weight.regularizer is not None:
            regularized[id(weight)] = weight
    # A regularizer alone is nothing that a model learns.
    if is_compiled_with or len(model.losses) <= len(regularized):
        received = "loss=None"
        if model.compiled:
            received += ", and a model that is compiled without a loss"
        if not has_targets:
            raise ValueError(
                "`steps` needs `y`, the targets, unless `model` learns without targets: by its own "
                "`compute_loss`, or by an `add_loss` of its layers. Received: y=None"
            )
        raise ValueError(
            "`loss` is required with `y`: pass a loss as to `compile`, compile the model with one, "
            f"or leave out `y`, which skips gradients. Received: {received}"
        )


def _list_output_names(model: keras.Model) -> list[str]:
    if isinstance(model, keras.Sequential):
        return [model.layers[-1].name]
    return list(getattr(model, "output_names", None) or [])


def _compile_with(loss: LossLike, output_names: Sequence[str] = ()) -> keras.Model:
    """Return a model that is compiled with `loss`: the one place that computes it as in training.

    A loss by name or a function alone may fail: only the loss of `compile` fits labels of shape
    `(n,)` to outputs of shape `(n, 1)`.
    """
    compiled = keras.Model(name="loss")
    compiled.output_names = list(output_names)
    compiled.compile(optimizer=None, loss=loss, jit_compile=False)
    return compiled


def list_loss_calls(
    model: keras.Model, loss: LossLike | None, targets: Tensor, outputs: Tensor
) -> list[LossCall]:
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
    seen: list[LossCall] = []
    # Keras finds the targets of each output.
    watches = keras.tree.map_structure(functools.partial(_watch, seen=seen), loss)
    _compile_with(watches, _list_output_names(model)).compute_loss(y=targets, y_pred=outputs)
    found = []
    for one in seen:
        if sum(other.output is one.output for other in seen) == 1:
            found.append(one)
    return found


def compute_row_mask(targets: Tensor, outputs: Tensor) -> Array:
    """Return an array that is false for each row of outputs that a mask leaves out."""
    rows: LossLike = _CountedRows()
    return np.asarray(to_array(rows(targets, outputs)) != 0)


def _watch(loss: LossLike | None, seen: list[LossCall]) -> "_WatchedLoss | None":
    # An output may have no loss.
    if loss is None:
        return None
    return _WatchedLoss(loss, seen)


class _WatchedLoss(KerasLoss):
    """Stands for `loss` in `compile`, and adds it to `seen` with its targets and its output."""

    def __init__(self, loss: LossLike, seen: list[LossCall]) -> None:
        super().__init__(name="watch")
        self._loss = loss
        self._seen = seen

    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        self._seen.append(LossCall(self._loss, y_true, y_pred))
        return keras.ops.zeros(())


class _CountedRows(KerasLoss):
    """Gives 1 for each row of outputs that counts in training, and 0 for what a mask leaves out."""

    def __init__(self) -> None:
        super().__init__(name="counts", reduction=None)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return keras.ops.ones_like(y_pred[..., 0])


def compare_with_guess(known: Loss, seen: LossCall) -> tuple[ComparedKind, float, float] | None:
    """Return how a loss compares, its value and that of a blind guess, `None` if it does not.

    A crossentropy is compared with equal probabilities. Of a distance, both are root mean squares:
    that of the errors, and that of the deviations of the targets from their mean, the best constant
    guess.
    """
    targets, output = seen.targets, seen.output
    if known.is_crossentropy and not known.is_focal:
        classes = 2 if known.kind == "binary" else output.shape[known.axis]
        return "crossentropy", compute_mean_loss(seen) / known.factor, math.log(classes)
    if known.kind != "distance" or math.prod(targets.shape) != math.prod(output.shape):
        return None
    pair = _compare_distance_with_guess(targets, output)
    return None if pair is None else ("distance", *pair)


def _compare_distance_with_guess(targets: Tensor, outputs: Tensor) -> tuple[float, float] | None:
    """Return root mean squares: of the errors, and of those of the mean of the targets.

    It is `None` where a mask leaves nothing.
    """
    aims = to_array(targets)
    errors = to_array(outputs).reshape(aims.shape) - aims
    counts = compute_row_mask(targets, outputs).reshape(-1)
    if not counts.all():
        # What a mask leaves out may have any targets. A blind guess is the same for all rows
        # that are left.
        aims = aims.reshape(len(counts), -1)[counts]
        errors = errors.reshape(len(counts), -1)[counts]
    if not aims.size:
        return None
    moments = Moments(errors)
    return moments.norm / math.sqrt(moments.size), spread(aims)


def compute_mean_loss(seen: LossCall) -> float:
    """Return a loss as a mean over the examples, also of one that is a sum over them."""
    with contextlib.ExitStack() as stack:
        if isinstance(seen.loss, keras.losses.Loss):
            # A sum is no measure of a guess. A copy by the config may lack arguments.
            stack.enter_context(replace_attribute(seen.loss, "reduction", "sum_over_batch_size"))
        mean = _compile_with(seen.loss).compute_loss(y=seen.targets, y_pred=seen.output)
    return float(to_array(mean)) * backend.replicas()
