"""A loss in training: its forms, its inputs, its value, and the value of a blind guess.

Only `compile` knows which targets each loss of a list or dict gets, fits labels of shape `(n,)` to
outputs of shape `(n, 1)`, and applies masks. So a model without layers is compiled with the loss,
and its `compute_loss` is called. The loss itself gives the value. A `_WatchedLoss` in its place
makes a `LossCall` for each output.
"""

import contextlib
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import keras
import numpy as np

from keras_initx._received import show
from keras_initx._typing import Array, KerasLoss, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.backends._moments import Moments, spread
from keras_initx.inspection._batch import to_array
from keras_initx.inspection._hooks import replace_attribute
from keras_initx.inspection._training import computes_own_loss
from keras_initx.tools.diagnose.losses.known import (
    Loss,
    LossLike,
    find_keras_loss,
    follows_from_shapes,
)

# The kinds of losses whose value is compared with the value of a blind guess.
ComparedKind: TypeAlias = Literal["crossentropy", "distance"]


@dataclass(frozen=True, eq=False)
class LossCall:
    """A call of a loss that `compile` accepts, with its inputs in training.

    Attributes:
        loss: The loss.
        targets: Its targets.
        output: The output of the model that it gets.
    """

    loss: LossLike
    targets: Tensor
    output: Tensor


@dataclass(frozen=True, eq=False)
class RepeatableLoss:
    """A loss of any kind, which can be computed for other targets and another output.

    Attributes:
        targets: Its targets.
        output: The output of the model that it gets.
        compute: Function of targets and an output that returns the loss as a mean.
    """

    targets: Tensor
    output: Tensor
    compute: Callable[[Tensor, Tensor], float]

    @functools.cached_property
    def crosses_examples(self) -> bool:
        """Whether each output is compared with the targets of all examples by mistake.

        Then the order of the targets does not matter, but it does in another shape: with targets of
        the shape of the outputs, or with one number for each example on both sides, as a loss needs
        it that flattens its targets. In other losses without an order, which compare all pairs or
        distributions on purpose, it does not matter in any shape.
        """
        output_shape, target_shape = tuple(self.output.shape), tuple(self.targets.shape)
        if not output_shape or math.prod(target_shape) != math.prod(output_shape):
            return False
        other_shapes = []
        if target_shape != output_shape:
            other_shapes.append((output_shape, output_shape))
        count = output_shape[0]
        if math.prod(output_shape) == count > 1:
            other_shapes.append(((count,), (count,)))
        if not other_shapes or (target_shape, output_shape) in other_shapes:
            return False
        if self._depends_on_order(target_shape, output_shape, 1e-5) is not False:
            return False
        return any(self._depends_on_order(*shapes, 1e-3) for shapes in other_shapes)

    def _depends_on_order(
        self, target_shape: Shape, output_shape: Shape, tolerance: float
    ) -> bool | None:
        """Return whether the order of the targets matters, `None` if the loss refuses the shapes.

        Args:
            target_shape: The shape in which the loss gets its targets.
            output_shape: The shape in which it gets the outputs.
            tolerance: The relative difference of losses that may be rounding.
        """
        targets, outputs = to_array(self.targets), to_array(self.output)
        random = np.random.default_rng(0)
        # Outputs that are all the same would tell nothing. Probabilities stay probabilities.
        noise = random.uniform(size=outputs.shape) * max(float(targets.std()), 1.0)
        moved = (0.8 * outputs + 0.1 * noise).reshape(output_shape)
        permuted = targets[random.permutation(len(outputs))]
        losses = []
        try:
            for values in (targets, permuted):
                losses.append(
                    self.compute(
                        keras.ops.convert_to_tensor(
                            values.reshape(target_shape), self.targets.dtype
                        ),
                        keras.ops.convert_to_tensor(moved, self.output.dtype),
                    )
                )
        except Exception:  # a loss may refuse other shapes
            return None
        return not math.isclose(*losses, rel_tol=tolerance)


def list_repeatable_losses(
    model: keras.Model,
    calls: Sequence[LossCall],
    targets: Tensor,
    outputs: Tensor,
    objective: Callable[[Tensor, Tensor], Tensor],
) -> list[RepeatableLoss]:
    """List a user's own losses of the outputs of a model, also those of its `compute_loss`.

    Args:
        model: The model.
        calls: The losses that it is compiled with, or that are given in their place.
        targets: The targets of the model, `None` without any.
        outputs: Its outputs.
        objective: Function of both that returns what training minimizes.
    """
    if calls or targets is None or not computes_own_loss(model):
        # Keras' own losses make shapes equal.
        return [
            RepeatableLoss(call.targets, call.output, _make_computation(call.loss))
            for call in calls
            if find_keras_loss(call.loss, call.targets, call.output) is None
        ]
    all_targets, all_outputs = keras.tree.flatten(targets), keras.tree.flatten(outputs)
    if len(all_targets) != len(all_outputs):
        return []

    def compute_at(index: int, target: Tensor, output: Tensor) -> float:
        with_target, with_output = list(all_targets), list(all_outputs)
        with_target[index], with_output[index] = target, output
        value = objective(
            keras.tree.pack_sequence_as(targets, with_target),
            keras.tree.pack_sequence_as(outputs, with_output),
        )
        return float(to_array(value).mean())

    losses = []
    for index, (target, output) in enumerate(zip(all_targets, all_outputs, strict=True)):
        losses.append(RepeatableLoss(target, output, functools.partial(compute_at, index)))
    return losses


def _make_computation(loss: LossLike) -> Callable[[Tensor, Tensor], float]:
    return lambda targets, output: compute_mean_loss(LossCall(loss, targets, output))


def check_loss(loss: LossLike | None) -> None:
    """Raise `ValueError` unless `compile` accepts `loss`, or all losses in a list or dict."""
    for leaf in keras.tree.flatten(loss):
        if leaf is None or follows_from_shapes(leaf):
            continue
        try:
            keras.losses.get(leaf)
        except ValueError:
            raise ValueError(
                "`loss` must be the name of a loss, a `keras.losses.Loss`, a function of targets "
                f"and outputs, or a list or dict of them. Received: loss={show(loss)}"
            ) from None


def loss_function(
    model: keras.Model, loss: LossLike | None
) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return a function of targets and outputs that computes `loss` by the rules of `compile`.

    It is `None` without `loss`: then the model has its own.
    """
    if loss is None:
        return None
    compiled = _make_compiled(loss, _list_output_names(model))
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


def _make_compiled(loss: LossLike, output_names: Sequence[str] = ()) -> keras.Model:
    compiled = keras.Model(name="loss")
    compiled.output_names = list(output_names)
    compiled.compile(optimizer=None, loss=loss, jit_compile=False)
    return compiled


def list_loss_calls(
    model: keras.Model, loss: LossLike | None, targets: Tensor, outputs: Tensor
) -> list[LossCall]:
    """List each loss of `model` with the targets and the output that it gets in training.

    Outputs with several losses are not listed.

    Args:
        model: A model.
        loss: A loss that `compile` accepts, or `None` for the loss of `model`.
        targets: The targets.
        outputs: The outputs of `model`.
    """
    if loss is None and not computes_own_loss(model):
        loss = getattr(model, "loss", None)
    if loss is None:
        return []
    calls: list[LossCall] = []
    # Keras finds the targets of each output.
    watched = keras.tree.map_structure(functools.partial(_watch, calls=calls), loss)
    _make_compiled(watched, _list_output_names(model)).compute_loss(y=targets, y_pred=outputs)
    single = []
    for call in calls:
        if sum(other.output is call.output for other in calls) == 1:
            single.append(call)
    return single


def compute_row_mask(targets: Tensor, outputs: Tensor) -> Array:
    """Return an array that is false for each masked row of outputs."""
    ones: LossLike = _CountedRows()
    return np.asarray(to_array(ones(targets, outputs)) != 0)


def _watch(loss: LossLike | None, calls: list[LossCall]) -> "_WatchedLoss | None":
    # An output may have no loss.
    if loss is None:
        return None
    return _WatchedLoss(loss, calls)


class _WatchedLoss(KerasLoss):
    """Replaces `loss` in `compile`, and adds each call to `calls`."""

    def __init__(self, loss: LossLike, calls: list[LossCall]) -> None:
        super().__init__(name="watch")
        self._loss = loss
        self._calls = calls

    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        self._calls.append(LossCall(self._loss, y_true, y_pred))
        return keras.ops.zeros(())


class _CountedRows(KerasLoss):
    """Gives 1 for each row of outputs that counts in training, and 0 for each masked row."""

    def __init__(self) -> None:
        super().__init__(name="counts", reduction=None)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return keras.ops.ones_like(y_pred[..., 0])


class GuessComparison(NamedTuple):
    """A loss next to the loss of a blind guess.

    A crossentropy is compared with equal probabilities. For a distance, both numbers are root mean
    squares: of the errors, and of the deviations of the targets from their mean, which is the best
    constant guess.

    Attributes:
        kind: How it compares.
        loss: The loss.
        blind_loss: The loss of the guess.
    """

    kind: ComparedKind
    loss: float
    blind_loss: float


def compare_with_guess(known: Loss, call: LossCall) -> GuessComparison | None:
    """Compare a loss with a blind guess, `None` if its kind has none or all rows are masked."""
    targets, output = call.targets, call.output
    if known.is_crossentropy and not known.is_focal:
        classes = 2 if known.kind == "binary" else output.shape[known.axis]
        loss = compute_mean_loss(call) / known.factor
        return GuessComparison("crossentropy", loss, math.log(classes))
    if known.kind != "distance" or math.prod(targets.shape) != math.prod(output.shape):
        return None
    return _compare_distance_with_guess(targets, output)


def _compare_distance_with_guess(targets: Tensor, outputs: Tensor) -> GuessComparison | None:
    aims = to_array(targets)
    errors = to_array(outputs).reshape(aims.shape) - aims
    mask = compute_row_mask(targets, outputs).reshape(-1)
    if not mask.all():
        # What a mask leaves out may have any targets. A blind guess is the same for all rows
        # that are left.
        aims = aims.reshape(len(mask), -1)[mask]
        errors = errors.reshape(len(mask), -1)[mask]
    if not aims.size:
        return None
    moments = Moments(errors)
    return GuessComparison("distance", moments.norm / math.sqrt(moments.size), spread(aims))


def compute_mean_loss(call: LossCall) -> float:
    """Compute a loss as a mean over the examples, even if it is a sum over them."""
    with contextlib.ExitStack() as stack:
        if isinstance(call.loss, keras.losses.Loss):
            # A sum is no measure of a guess. A copy by the config may lack arguments.
            stack.enter_context(replace_attribute(call.loss, "reduction", "sum_over_batch_size"))
        mean = _make_compiled(call.loss).compute_loss(y=call.targets, y_pred=call.output)
    return float(to_array(mean)) * backend.replicas()
