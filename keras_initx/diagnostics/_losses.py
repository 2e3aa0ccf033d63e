"""The loss of a diagnosis: its forms, its value as in training, and that of a blind guess."""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import keras

from keras_initx._typing import KerasLoss, Tensor
from keras_initx.backends import Moments
from keras_initx.diagnostics._signal import array_of, spread

# A name, a loss of Keras, a function of targets and outputs, or a list or dict of them.
Loss: TypeAlias = Any
# An output, its loss, and that of a blind guess.
Guessed: TypeAlias = tuple[Tensor, float, float]

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
                "`loss` must be the name of a loss, a `keras.losses.Loss`, a function of targets and outputs, or a "
                f"list or dict of them. Received: loss={loss!r}"
            ) from None


def _follows_from_shapes(loss: Loss) -> bool:
    """Return whether `loss` is a name for which `compile` chooses a crossentropy by the shapes."""
    return str(loss).lower() in ("crossentropy", "ce")


def loss_function(model: keras.Model, loss: Loss | None) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return a function of targets and outputs that computes `loss` by the rules of `compile`.

    It is `None` without `loss`, if the model has its own.
    """
    if loss is None:
        if getattr(model, "loss", None) is None and not _computes_own_loss(model):
            raise ValueError(
                "`loss` is required with `y` unless the model is compiled with one: a name as in `compile`, a "
                "function. Received: loss=None"
            )
        return None
    compiled = _compiled(model, loss)
    # A loss without a reduction has a value for each example.
    return lambda targets, outputs: keras.ops.mean(compiled.compute_loss(y=targets, y_pred=outputs))


def _computes_own_loss(model: keras.Model) -> bool:
    return type(model).compute_loss is not keras.Model.compute_loss


def _compiled(model: keras.Model, loss: Loss) -> keras.Model:
    """Return a model with the output names of `model`, which may be compiled with another loss, and with `loss`."""
    compiled = keras.Model(name="loss")
    is_sequential = isinstance(model, keras.Sequential)
    compiled.output_names = [model.layers[-1].name] if is_sequential else getattr(model, "output_names", [])
    compiled.compile(optimizer=None, loss=loss, jit_compile=False)
    return compiled


def guessed_losses(model: keras.Model, loss: Loss | None, targets: Tensor, outputs: Tensor) -> list[Guessed]:
    """Return each output of `model` with its loss and that of a blind guess, if its loss is a known one of Keras.

    Args:
        model: A model.
        loss: A loss as in `compile`, or `None` for that of `model`.
        targets: The targets.
        outputs: The outputs of `model`.
    """
    if loss is None:
        loss = None if _computes_own_loss(model) else getattr(model, "loss", None)
    found: list[Guessed] = []
    if loss is not None:
        # Keras finds the targets of each output.
        watches = keras.tree.map_structure(lambda one: one and _Watch(one, found), loss)
        _compiled(model, watches).compute_loss(y=targets, y_pred=outputs)
    return found


class _Watch(KerasLoss):
    """Stands for `loss` in `compile`, and adds to `found` what `guessed_losses` returns."""

    def __init__(self, loss: Loss, found: list[Guessed]) -> None:
        super().__init__(name="watch")
        self._loss, self._found = loss, found

    def __call__(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        pair = _value_and_guess(self._loss, y_true, y_pred)
        if pair:
            self._found.append((y_pred, *pair))
        return keras.ops.zeros(())


def _value_and_guess(loss: Loss, targets: Tensor, outputs: Tensor) -> tuple[float, float] | None:
    """Return the value of a loss and that of a blind guess, or `None` for a loss that is not known.

    A crossentropy is compared with equal probabilities. Of a distance, both are root mean squares: that of the errors,
    and that of the deviations of the targets from their mean, the best constant guess.
    """
    if _follows_from_shapes(loss):
        kinds = _BINARY if outputs.shape[-1] == 1 else _DENSE if targets.shape == outputs.shape else _SPARSE
        loss = kinds[0]()
    loss = keras.losses.get(loss)
    kind = type(loss) if isinstance(loss, keras.losses.Loss) else loss
    if kind in _DISTANCES and math.prod(targets.shape) == math.prod(outputs.shape):
        aims = array_of(targets)
        errors = Moments(array_of(outputs).reshape(aims.shape) - aims)
        return errors.norm / math.sqrt(errors.size), spread(aims)
    if kind in (*_BINARY, *_DENSE, *_SPARSE):
        axis = loss.get_config().get("axis", -1) if kind is type(loss) else -1
        classes = 2 if kind in _BINARY else outputs.shape[axis]
        # In float32, as when they are called. Masked steps count, as in all statistics.
        arrays = keras.ops.cast(targets, "float32"), keras.ops.cast(outputs, "float32")
        values = loss.call(*arrays) if kind is type(loss) else loss(*arrays)
        return Moments(array_of(values)).mean, math.log(classes)
    return None
