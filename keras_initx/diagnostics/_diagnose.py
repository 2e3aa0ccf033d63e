"""The function `diagnose`: measure a model and evaluate the rules."""

from collections.abc import Callable
from typing import Unpack

import keras

from keras_initx._typing import Tensor
from keras_initx.diagnostics._batch import check_data, check_model, ensure_built, first_examples
from keras_initx.diagnostics._loss import check_loss, loss_function
from keras_initx.diagnostics._measure import measure
from keras_initx.diagnostics._report import Report
from keras_initx.diagnostics._thresholds import ThresholdOptions, Thresholds
from keras_initx.diagnostics._types import Arrays, Loss, Progress
from keras_initx.diagnostics.rules import evaluate


class DiagnoseOptions(ThresholdOptions, total=False):
    """The keyword arguments of `diagnose`, for editors and type checkers. A test checks that they match."""

    loss: Loss | None
    batch_size: int
    progress: Progress | None


def diagnose(
    model: keras.Model,
    x: Arrays,
    y: Arrays | None = None,
    *,
    loss: Loss | None = None,
    batch_size: int = 1024,
    progress: Progress | None = None,
    **thresholds: Unpack[ThresholdOptions],
) -> Report:
    """Run a batch through `model` and report problems caused by its weights, with locations and remedies.

    The model runs in training mode: dropout is active, and batch normalization uses batch
    statistics instead of its initial moving averages. The output of each layer is reduced to a few
    statistics at once and not stored. With `y`, there is a second forward pass and a backward pass,
    which keep the outputs of all layers in memory, as in training. Weights, other state and random
    generators are left unchanged.

    Args:
        model: A Keras model: sequential, functional or subclassed. It is built if necessary.
        x: Inputs of `model`: an array, or a list or dict of arrays. Preprocess them as for
            training.
        y: Targets. If given, gradients are measured too.
        loss: A loss as in `compile`: a name, a `keras.losses.Loss`, a function of targets and
            outputs, or a list or dict of them, one for each output. It is computed as in training;
            a loss without a reduction counts with its mean. By default the loss that `model` is
            compiled with, or that of its own `compute_loss`.
        batch_size: Number of examples to use, taken from the start of `x`.
        progress: Function that is called with the name of each layer after it is measured.
        **thresholds: Thresholds of the rules, see `keras_initx.diagnostics.Thresholds`.

    Returns:
        A `Report`, which `print` shows as a table. `layers` has the statistics, `verdicts` the
        problems, and `ok` is true if there are no errors or warnings.

    Raises:
        NotImplementedError: If `y` is given and the backend has no gradients.
        TypeError: If `model` is not a Keras model, `x` or `y` is not an array, has complex values
            or a mask, or a threshold has an unknown name.
        ValueError: If `x` is empty or its length differs from that of `y`, `loss` is missing or
            unknown, or an argument is out of range.

    Example:
        >>> deep = [keras.layers.Dense(100, "tanh", kernel_initializer="initx.small_normal") for _ in range(5)]
        >>> report = diagnose(keras.Sequential([keras.Input((100,)), *deep]), keras.random.normal((200, 100)))
        >>> [verdict.problem for verdict in report.verdicts]
        ['vanishing']
        >>> report.layers[-1].after.std < 1e-3
        True

    Reference:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS
        2010, for the means and deviations of activations and gradients by layer.
    """
    check_model(model)
    limits = check_arguments(x, y, loss=loss, batch_size=batch_size, progress=progress, **thresholds)
    x = first_examples(x, batch_size)
    y = first_examples(y, batch_size) if y is not None else None
    ensure_built(model, x)
    measured = measure(model, x, y, loss=_loss(model, y, loss), thresholds=limits, progress=progress)
    return Report(measured.layers, measured.inputs, evaluate(measured), limits)


def check_arguments(
    x: Arrays,
    y: Arrays | None,
    *,
    loss: Loss | None = None,
    batch_size: int = 1024,
    progress: Progress | None = None,
    **thresholds: Unpack[ThresholdOptions],
) -> Thresholds:
    """Check the arguments of `diagnose` without a model, and return the thresholds. Errors are those of `diagnose`."""
    check_data(x, y, batch_size)
    check_loss(loss)
    if progress is not None and not callable(progress):
        raise TypeError(f"`progress` must be a function. Received: progress={progress!r}")
    return Thresholds.of(**thresholds)


def _loss(model: keras.Model, y: Arrays | None, loss: Loss | None) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return a function of targets and outputs, or `None` to use that of the model."""
    if y is None:
        return None
    if loss is not None:
        return loss_function(model, loss)
    if getattr(model, "loss", None) is None and type(model).compute_loss is keras.Model.compute_loss:
        raise ValueError(
            "`loss` is required with `y` unless the model is compiled with one: a name as in `compile`, a function. "
            "Received: loss=None"
        )
    return None
