"""The loss of a diagnosis: its forms, its value as in training, and that of a blind guess."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import keras

from keras_initx._typing import KerasLoss, Tensor
from keras_initx.backends import Moments, backend
from keras_initx.diagnostics._signal import spread
from keras_initx.structure import array_of

# A name, a loss of Keras, a function of targets and outputs, or a list or dict of them.
Loss: TypeAlias = Any
LossKind: TypeAlias = Literal["crossentropy", "distance"]
# An output, the kind of its loss, its value, and that of a blind guess.
Guessed: TypeAlias = tuple[Tensor, LossKind, float, float]
# A loss, its targets and its output.
_Seen: TypeAlias = tuple[Loss, Tensor, Tensor]

# As classes and as functions, which `compile` takes too.
_BINARY = (keras.losses.BinaryCrossentropy, keras.losses.binary_crossentropy)
_DENSE = (keras.losses.CategoricalCrossentropy, keras.losses.categorical_crossentropy)
_SPARSE = (keras.losses.SparseCategoricalCrossentropy, keras.losses.sparse_categorical_crossentropy)
_DISTANCES = (
    *(keras.losses.MeanSquaredError, keras.losses.MeanAbsoluteError, keras.losses.Huber),
    *(keras.losses.mean_squared_error, keras.losses.mean_absolute_error, keras.losses.huber),
)


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
    if getattr(model, "loss", None) is not None or _computes_own_loss(model):
        return
    regularized = {}
    for weight in model.trainable_variables:
        if weight.regularizer is not None:
            regularized[id(weight)] = weight
    # A regularizer alone is nothing that a model learns.
    if len(model.losses) <= len(regularized):
        raise ValueError(
            "`loss` is required with `y` unless the model is compiled with one or calls "
            "`add_loss`: a name as in `compile`, a function. Received: loss=None"
        )


def _computes_own_loss(model: keras.Model) -> bool:
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


def guessed_losses(
    model: keras.Model, loss: Loss | None, targets: Tensor, outputs: Tensor
) -> list[Guessed]:
    """Return each output of `model` with its loss and that of a blind guess.

    Left out are outputs with several losses, and those whose loss is not a known one of Keras.

    Args:
        model: A model.
        loss: A loss as in `compile`, or `None` for that of `model`.
        targets: The targets.
        outputs: The outputs of `model`.
    """
    if loss is None and not _computes_own_loss(model):
        loss = getattr(model, "loss", None)
    if loss is None:
        return []
    seen: list[_Seen] = []
    # Keras finds the targets of each output.
    watches = keras.tree.map_structure(functools.partial(_watch, seen=seen), loss)
    _compiled(watches, _output_names(model)).compute_loss(y=targets, y_pred=outputs)
    found: list[Guessed] = []
    for one, aims, output in seen:
        losses_of_output = sum(other is output for _, _, other in seen)
        compared = _value_and_guess(one, aims, output)
        if compared is not None and losses_of_output == 1:
            found.append((output, *compared))
    return found


def _watch(loss: Loss | None, seen: list[_Seen]) -> "_Watch | None":
    # An output may have no loss.
    if loss is None:
        return None
    return _Watch(loss, seen)


class _Watch(KerasLoss):
    """Stands for `loss` in `compile`, and adds it to `seen` with its targets and its output."""

    def __init__(self, loss: Loss, seen: list[_Seen]) -> None:
        super().__init__(name="watch")
        self._loss = loss
        self._seen = seen

    def __call__(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        self._seen.append((self._loss, y_true, y_pred))
        return keras.ops.zeros(())


class _Counts(KerasLoss):
    """Gives 1 for each row of outputs that counts in training, and 0 for what a mask leaves out."""

    def __init__(self) -> None:
        super().__init__(name="counts", reduction=None)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return keras.ops.ones_like(y_pred[..., 0])


def _value_and_guess(
    loss: Loss, targets: Tensor, outputs: Tensor
) -> tuple[LossKind, float, float] | None:
    """Return the kind of a loss, its value and that of a blind guess, `None` if it is not known.

    A crossentropy is compared with equal probabilities. Of a distance, both are root mean squares:
    that of the errors, and that of the deviations of the targets from their mean, the best constant
    guess.
    """
    if _follows_from_shapes(loss):
        # Which of the others it is makes no difference to a blind guess.
        kind = _DENSE[0]
        if outputs.shape[-1] == 1:
            kind = _BINARY[0]
    else:
        loss = keras.losses.get(loss)
        kind = loss
        if isinstance(loss, keras.losses.Loss):
            kind = type(loss)
    if kind in _DISTANCES and math.prod(targets.shape) == math.prod(outputs.shape):
        pair = _distance_and_guess(targets, outputs)
        return None if pair is None else ("distance", *pair)
    if kind in (*_BINARY, *_DENSE, *_SPARSE):
        return "crossentropy", *_crossentropy_and_guess(loss, kind, targets, outputs)
    return None


def _distance_and_guess(targets: Tensor, outputs: Tensor) -> tuple[float, float] | None:
    """Return root mean squares: of the errors, and of those of the mean of the targets.

    It is `None` where a mask leaves nothing.
    """
    aims = array_of(targets)
    errors = array_of(outputs).reshape(aims.shape) - aims
    rows: Loss = _Counts()
    counts = array_of(rows(targets, outputs)).reshape(-1) != 0
    if not counts.all():
        # What a mask leaves out may have any targets. A blind guess is the same for all rows
        # that are left.
        aims = aims.reshape(len(counts), -1)[counts]
        errors = errors.reshape(len(counts), -1)[counts]
    if not aims.size:
        return None
    moments = Moments(errors)
    return moments.norm / math.sqrt(moments.size), spread(aims)


def _crossentropy_and_guess(
    loss: Loss, kind: Any, targets: Tensor, outputs: Tensor
) -> tuple[float, float]:
    """Return the mean crossentropy, and that of equal probabilities.

    Args:
        loss: The loss, or a name that says only that it is a crossentropy.
        kind: Its class, or the function that it is.
        targets: The targets.
        outputs: The outputs.
    """
    axis = -1
    if isinstance(loss, keras.losses.Loss):
        config = loss.get_config()
        axis = config.get("axis", -1)
        # A sum is no measure of a guess.
        loss = kind.from_config({**config, "reduction": "sum_over_batch_size"})
    classes = 2
    if kind not in _BINARY:
        classes = outputs.shape[axis]
    mean = _compiled(loss).compute_loss(y=targets, y_pred=outputs)
    return float(array_of(mean)) * backend.replicas(), math.log(classes)
