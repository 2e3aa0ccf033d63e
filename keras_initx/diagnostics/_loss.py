"""The loss of a diagnosis: checked early, and computed as in training."""

from collections.abc import Callable

import keras

from keras_initx._typing import Tensor
from keras_initx.diagnostics._types import Loss

# Names that `compile` accepts besides those of losses.
_CHOSEN_BY_SHAPES = ("crossentropy", "ce")


def check_loss(loss: Loss | None) -> None:
    """Raise `ValueError` if `loss` is not a loss as in `compile`, or a list or dict of them."""
    for one in keras.tree.flatten(loss):
        if one is None or str(one).lower() in _CHOSEN_BY_SHAPES:
            continue
        try:
            keras.losses.get(one)
        except ValueError:
            raise ValueError(
                "`loss` must be the name of a loss, a `keras.losses.Loss`, a function of targets and outputs, or a "
                f"list or dict of them. Received: loss={loss!r}"
            ) from None


def loss_function(model: keras.Model, loss: Loss) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function of targets and outputs of `model` that computes `loss` by the rules of `compile`."""
    # The model itself may be compiled with another loss.
    compiled = keras.Model(name="loss")
    sequential = isinstance(model, keras.Sequential)
    compiled.output_names = [model.layers[-1].name] if sequential else getattr(model, "output_names", [])
    compiled.compile(optimizer=None, loss=loss, jit_compile=False)
    # A loss without a reduction has a value for each example.
    return lambda targets, outputs: keras.ops.mean(compiled.compute_loss(y=targets, y_pred=outputs))
