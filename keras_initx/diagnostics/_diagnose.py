"""The one function that measures a model and evaluates the rules."""

from collections.abc import Callable
from typing import Unpack

import keras

from keras_initx._typing import Tensor
from keras_initx.diagnostics._batch import check_batch, ensure_built, first_examples
from keras_initx.diagnostics._measure import measure
from keras_initx.diagnostics._report import Report
from keras_initx.diagnostics._thresholds import ThresholdOptions, Thresholds
from keras_initx.diagnostics._types import Arrays, Loss, Progress
from keras_initx.diagnostics.rules import evaluate


class DiagnoseOptions(ThresholdOptions, total=False):
    """The keyword arguments of `diagnose`, for editors and type checkers; a test compares them."""

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
    """Report the problems that the weights of `model` cause: what is wrong, where, and what to use instead.

    The batch goes through the model as in a training step: dropout drops, and batch normalization normalizes by
    the batch, not by moving averages that nothing has moved yet. Each output is reduced to a few numbers when it
    is given, and not kept. With `y` there is a second forward pass, and a backward pass; then the outputs of all
    layers are in memory, as in training. Weights, other state and the streams of random numbers stay as they were.

    Args:
        model: A Keras model, sequential, functional or a class of your own. One that has no weights yet gets them.
        x: Inputs as `model` takes them: an array, or a list or dict of arrays. Standardised, as for training.
        y: Targets: the gradients are measured too.
        loss: A loss as in `compile`, if `model` is not compiled with one or it is not to be used.
        batch_size: Number of examples that are used, the first ones.
        progress: Function that is called with the name of each layer that has been measured.
        **thresholds: Where a problem begins, see `keras_initx.diagnostics.Thresholds`.

    Returns:
        A `Report`, which `print` shows as a table. It has the statistics in `layers`, what was found in `verdicts`,
        and is `ok` if there is no error and no warning.

    Raises:
        NotImplementedError: If there is a `y`, and the backend has no gradients.
        TypeError: If `model` is not a Keras model, `x` or `y` are no arrays, or there is no threshold of a name.
        ValueError: If `x` has no examples or not as many as `y`, a loss is missing, or an argument is out of its
            range.

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
    check_batch(model, x, y, batch_size)
    limits = Thresholds.of(**thresholds)
    x = first_examples(x, batch_size)
    y = first_examples(y, batch_size) if y is not None else None
    ensure_built(model, x)
    measured = measure(model, x, y, loss=_loss(model, y, loss), thresholds=limits, progress=progress)
    return Report(measured.layers, measured.inputs, evaluate(measured), limits)


def _loss(model: keras.Model, y: Arrays | None, loss: Loss | None) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return a function of targets and outputs, or `None` if the model has been compiled with one."""
    if y is None or (loss is None and getattr(model, "loss", None) is not None):
        return None
    if loss is None:
        raise ValueError(
            "`loss` is needed with `y`, unless the model is compiled with one: a name as in `compile`, or a function. "
            "Received: loss=None"
        )
    function = keras.losses.get(loss)
    # A name gives a function of each example, an object the mean.
    return lambda targets, outputs: keras.ops.mean(function(targets, outputs))
