"""Networks of several kernels without an activation between them, which are one linear map."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_initx._keras import layers_of
from keras_initx._typing import Array
from keras_initx.backends import backend
from keras_initx.diagnostics._measurements import LayerReport, Measurements
from keras_initx.diagnostics._remedy import Remedy
from keras_initx.diagnostics._signal import spread
from keras_initx.diagnostics._verdict import Finding, listed, names_of, rule
from keras_initx.structure import array_of, tensors_in

# The number of examples whose means are compared.
_FEW = 32
# The numbers of examples to which functions are fitted.
_LEAST, _FITTED = 64, 512
# Up to how many different numbers are labels.
_CLASSES = 20
# By how much more of the variance another function is better.
_BETTER = 0.1
# The difference, relative to the standard deviation, up to which it may be rounding.
_ROUNDING = 1e-3


def is_linear(model: keras.Model, x: Any, layers: Sequence[LayerReport]) -> bool:
    """Return whether the outputs for the mean of two examples are the mean of theirs.

    That is before a last softmax or sigmoid. It is `False` where this cannot be told: for inputs
    that are no floats, several outputs, weights of 16 bits, and where a layer inside has an
    activation.

    Args:
        model: The model.
        x: Its inputs, as tensors.
        layers: The reports of its layers.
    """
    inside = [layer for layer in layers if layer.output is None]
    if not inside or any(layer.activation not in (None, "linear") for layer in inside):
        return False
    arrays = tensors_in(x)
    if not arrays or any(
        keras.backend.standardize_dtype(array.dtype) != "float32" for array in arrays
    ):
        return False
    count = min(len(array) for array in arrays) // 2
    if count < 2 or model.compute_dtype != "float32":
        return False
    count = min(count, _FEW)

    def first(array: Any) -> Any:
        return array[:count]

    def second(array: Any) -> Any:
        return array[count : 2 * count]

    def middle(array: Any) -> Any:
        return (first(array) + second(array)) / 2

    try:
        one, other, between = (_logits(model, x, part) for part in (first, second, middle))
    except Exception:  # a model may take no other batches
        return False
    if one is None or other is None or between is None:
        return False
    size = spread(one)
    if not 0 < size < np.inf:
        return False
    return bool(abs((one + other) / 2 - between).max() < _ROUNDING * size)


def _logits(model: keras.Model, x: Any, taken: Any) -> Array | None:
    """Return what a last softmax or sigmoid gets, less its mean in a row, `None` if not known."""
    with backend.preserve_state(layers_of(model)):
        outputs = tensors_in(model(keras.tree.map_structure(taken, x), training=False))
    if len(outputs) != 1:
        return None
    values: Array = array_of(outputs[0]).astype("float64")
    if values.min() < 0 or values.max() > 1 or values.ndim < 2:
        return values
    least = np.finfo("float32").tiny
    logs: Array = np.log(np.maximum(values, least))
    if values.shape[-1] > 1 and (abs(values.sum(axis=-1) - 1) < 1e-4).all():
        means: Array = logs.mean(axis=-1, keepdims=True)
        return np.subtract(logs, means)
    others: Array = np.log(np.maximum(1 - values, least))
    return np.subtract(logs, others)


def linear_fit(x: Any, targets: Array) -> tuple[float, float] | None:
    """Return how well a linear map, and a smooth one, predict targets of one half from the other.

    Both are fitted by ridge regression, the second with a Gaussian kernel (Saunders and others,
    1998). The numbers are shares: of labels, of those that are right, otherwise of the variance.
    They are `None` for few examples, or inputs of many dimensions, of which a fit says little.

    Args:
        x: The inputs of a model, as tensors.
        targets: A row of numbers for each example, or class numbers.
    """
    parts = [array_of(array)[:_FITTED].astype("float64") for array in tensors_in(x)]
    inputs = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
    aims = targets[:_FITTED].reshape(min(len(targets), _FITTED), -1)
    count, width = inputs.shape
    if len(aims) != count or count < _LEAST or width > count / 2:
        return None
    classes = np.unique(aims)
    are_labels = len(classes) <= _CLASSES
    if are_labels and aims.shape[1] == 1:
        aims = np.equal(aims, classes)
    inputs = _standardized(inputs)
    aims = aims.astype("float64")
    products = inputs @ inputs.T
    squares = np.diag(products)
    distances = squares[:, None] + squares - 2 * products
    of_kernel = functools.partial(_predicted, aims=aims, are_labels=are_labels)
    return of_kernel(products), of_kernel(np.exp(-distances / (2 * width)))


def _standardized(columns: Array) -> Array:
    deviations = columns.std(axis=0)
    shifted: Array = columns - columns.mean(axis=0)
    return np.divide(shifted, np.where(deviations > 0, deviations, 1))


def _predicted(kernel: Array, aims: Array, are_labels: bool) -> float:
    """Return the share of every other row that a fit to the rest predicts."""
    fitted, others = kernel[::2, ::2], kernel[1::2, ::2]
    ridge = 0.1 * np.trace(fitted) / len(fitted) * np.eye(len(fitted))
    mean = aims[::2].mean(axis=0)
    predicted = mean + others @ np.linalg.solve(fitted + ridge, aims[::2] - mean)
    true = aims[1::2]
    if are_labels and true.shape[1] > 1:
        return float(np.mean(predicted.argmax(axis=1) == true.argmax(axis=1)))
    return float(1 - ((predicted - true) ** 2).mean() / max(true.var(axis=0).mean(), 1e-30))


@rule(
    "no activation",
    levels={"warning": ""},
    finds="two kernels or more without an activation between them or anywhere before the last, so "
    "that the outputs for the mean of two examples are the mean of theirs, if one half of the "
    "batch predicts 0.1 more of the labels, or of the variance of the targets, of the other by a "
    "Gaussian kernel than by a linear map",
    reason="layers one after the other are then a single linear map, which cannot learn what a "
    "linear or logistic regression cannot",
    remedy="an activation such as ReLU after each kernel but the last",
)
def no_activation(measured: Measurements) -> Iterator[Finding]:
    if measured.linear_fit is None:
        return
    linear, smooth = measured.linear_fit
    hidden = [layer for layer in measured.layers if layer.has_kernel and layer.output is None]
    if not hidden or not smooth > linear + _BETTER:
        return
    names = names_of(hidden)
    evidence = (
        f"no activation follows {listed(names)}: with the last layer they are one linear map. From "
        f"one half of the batch such a map predicts {max(linear, 0):.0%} of the targets of the "
        f"other, a smooth function {smooth:.0%}"
    )
    remedy = Remedy(
        f'activation="relu" in {listed(names)}',
        layers={name: {"activation": "relu"} for name in names},
    )
    yield Finding(hidden, evidence, remedy)
