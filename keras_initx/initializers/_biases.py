"""Initial biases: for ReLU units, the output of a classifier, steps and decay of a state space."""

import functools
import math
import sys
import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from keras_initx._checks import check_flag, check_number, is_real, to_float
from keras_initx._keras import is_loading_model, variable_and_layers
from keras_initx._received import show
from keras_initx._typing import Array, DType, Seed, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.initializers._initializer import ConstantInitializer, RandomInitializer, register
from keras_initx.initializers._laws import Law, TabulatedLaw
from keras_initx.sampling._conversion import CELLS, Quantiles, portable_exp, portable_log
from keras_initx.sampling._namespace import Namespace


@register(
    "relu_bias", formula="value", use="ReLU layers with small weights: fewer units die in training"
)
class ReLUBias(ConstantInitializer):
    """Initialize every bias to the same small positive value.

    A ReLU unit whose bias is larger than its weighted inputs is active for most of them, and so
    receives a gradient from the first step. With `SmallNormal` weights and ten inputs, pass `0.1`
    for that. The default hardly changes which units are active.

    Args:
        value: The bias, a positive number.

    Raises:
        TypeError: If `value` is not a number.
        ValueError: If `value` is not positive and finite.

    Example:
        >>> keras.ops.convert_to_numpy(ReLUBias(0.5)((3,))).tolist()
        [0.5, 0.5, 0.5]
        >>> layer = keras.layers.Dense(
        ...     64, "relu", bias_initializer="initx.relu_bias"
        ... )

    Reference:
        Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural
        networks", NIPS 2012, section 5 (with the value 1).
    """

    def __init__(self, value: float = 0.01) -> None:
        self.value: float = check_number("value", value, positive=True)

    def check_shape(self, shape: Shape) -> None:
        variable, layers = variable_and_layers()
        # Not a part of one, which `Concatenated` fills.
        is_kernel = (
            variable is not None
            and variable.name.endswith("kernel")
            and tuple(variable.shape) == shape
        )
        # One unit has no others that it could be equal to.
        if is_kernel and shape[-1:] > (1,) and not is_loading_model():
            layer = f" of {layers[0].name!r}" if layers else ""
            warnings.warn(
                f"`ReLUBias` gives all units{layer} one kernel, so that they stay equal in "
                "training. It is for biases: pass it as `bias_initializer`.",
                stacklevel=2,
            )

    def largest(self, shape: Shape) -> float:
        return float(self.value)

    def fill(self, xp: Namespace, shape: Shape, dtype: DType) -> Tensor:
        return xp.full(shape, float(self.value), dtype)


Frequencies = float | Sequence[float] | Array


@register(
    "prior_bias",
    formula=(
        "log(p / (1 - p)) before a sigmoid, log(p) for each class before a softmax, with p from "
        "frequencies"
    ),
    use="last layer of a classifier with rare classes: predictions start at the class frequencies",
)
class PriorBias(ConstantInitializer):
    """Initialize the output bias so that a classifier starts by predicting the class frequencies.

    Use it in the output layer of a classifier, above all if a class is rare. Before training, the
    best prediction is the frequency of each class. With a zero bias, your model spends its first
    training steps learning these frequencies, and frequent classes dominate the loss. Keep the
    kernel of the layer small or zero, because its output adds to the bias.

    The bias depends on the output layer:

    - **Mutually exclusive classes, softmax**: `frequencies` is a list with a count or a probability
      for each class. Unit `c` gets `log(p[c])`, where `p` is the list divided by its sum.
    - **Two classes, one sigmoid unit**: a list of two. The unit gets `log(p[1] / p[0])`.
    - **Independent sigmoid units**: a list with a probability for each unit, and
      `multi_label=True`; or one number, the probability for every unit, for a bias of any shape.
      Each unit gets `log(p / (1 - p))`.

    Args:
        frequencies: A probability between 0 and 1, or a list of positive numbers. A frequency of
            zero raises an error, because the bias would be infinite.
        multi_label: Whether an example can belong to several classes, so that each number in the
            list is an independent probability.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range; when called, if the shape does not have one
            unit for each class.

    Example:
        >>> bias = PriorBias([900, 90, 10])((3,))
        >>> shares = keras.ops.convert_to_numpy(keras.ops.softmax(bias))
        >>> [round(share, 4) for share in shares.tolist()]
        [0.9, 0.09, 0.01]
        >>> layer = keras.layers.Dense(
        ...     1, "sigmoid", bias_initializer=PriorBias([990, 10])
        ... )
        >>> rare = PriorBias(0.01)
        >>> layer = keras.layers.Conv2D(
        ...     9 * 80, 3, activation="sigmoid", bias_initializer=rare
        ... )

    Reference:
        Lin, Goyal, Girshick, He and Dollár, "Focal loss for dense object detection", ICCV 2017,
        sections 3.3 and 4.1 (a probability of 0.01). Karpathy, "A recipe for training neural
        networks", 2019.
    """

    def __init__(self, frequencies: Frequencies = 0.01, *, multi_label: bool = False) -> None:
        self.multi_label: bool = check_flag("multi_label", multi_label)
        self.frequencies: float | Sequence[float] = _check_frequencies(frequencies, multi_label)

    @classmethod
    def from_labels(cls, labels: Tensor, *, multi_label: bool = False) -> Self:
        """Return a `PriorBias` with the frequencies of the classes in the labels of a training set.

        Args:
            labels: An array, a list or a tensor. Integer class labels from 0, of shape `(n,)` or
                `(n, 1)`; or one-hot rows or probabilities that sum to 1, of shape `(n, classes)`.
                With `multi_label=True`, zeros and ones or probabilities, of shape `(n, classes)`.
            multi_label: Whether an example can belong to several classes.

        Returns:
            An initializer whose `frequencies` are counts, or probabilities with `multi_label=True`.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If `labels` have another form, or if a class never occurs.

        Example:
            >>> PriorBias.from_labels([0, 2, 1, 0, 0, 2])
            PriorBias(frequencies=[3, 1, 2])
            >>> PriorBias.from_labels([[1, 0], [1, 1], [0, 0], [1, 0]], multi_label=True)
            PriorBias(frequencies=[0.75, 0.25], multi_label=True)
        """
        array = _as_array(labels)
        if check_flag("multi_label", multi_label):
            return cls(_shares(array), multi_label=True)
        return cls(_counts(array))

    def check_shape(self, shape: Shape) -> None:
        if not isinstance(self.frequencies, list | tuple):
            return
        classes = len(self.frequencies)
        allowed: list[Shape] = [(classes,)]
        # Two classes may have one sigmoid unit.
        if classes == 2 and not self.multi_label:
            allowed.append((1,))
        if shape not in allowed:
            raise ValueError(
                f"`shape` must be {' or '.join(map(str, allowed))}, one unit for each of "
                f"`frequencies`. Received: shape={shape}"
            )

    def fill(self, xp: Namespace, shape: Shape, dtype: DType) -> Tensor:
        frequencies = np.array(self.frequencies, "float64")
        if self.multi_label or frequencies.ndim == 0:
            bias = portable_log(frequencies) - portable_log(1 - frequencies)
        elif shape == (1,):
            bias = portable_log(frequencies[1:]) - portable_log(frequencies[:1])
        else:
            largest = frequencies.max()  # relative to it, the sum cannot overflow
            relative_sum = math.fsum(frequencies / largest)
            log_of_sum = portable_log(largest) + portable_log(relative_sum)
            bias = portable_log(frequencies) - log_of_sum
        if bias.ndim == 0:
            return xp.full(shape, float(bias), dtype)
        return xp.array(bias, dtype)


def _check_frequencies(frequencies: Any, multi_label: bool) -> Any:
    """Return `frequencies`, with an array converted to a list."""
    if isinstance(frequencies, np.ndarray):
        frequencies = frequencies.tolist()
    received = f"Received: frequencies={show(frequencies)}, multi_label={show(multi_label)}"
    is_list = isinstance(frequencies, list | tuple)
    given = frequencies if is_list else [frequencies]
    if not all(map(is_real, given)):
        raise TypeError(f"`frequencies` must be a number or a list of numbers. {received}")
    fewest = 1 if multi_label else 2
    if is_list and len(given) < fewest:
        raise ValueError(
            f"`frequencies` must have a number for each of at least two classes. {received}"
        )
    if is_list and not multi_label:
        required = "positive and finite"
        limit = sys.float_info.max
    else:
        required = "between 0 and 1"
        limit = 1
    for index, number in enumerate(given):
        if 0 < to_float(number) < limit:
            continue
        if is_list:
            required += f"; the frequency of class {index} is not, so its bias would be infinite"
        raise ValueError(f"`frequencies` must be {required}. {received}")
    return frequencies


def _as_array(labels: Tensor) -> Array:
    """Return `labels` in float64."""
    required = "`labels` must be an array of finite numbers, not empty."
    try:
        array = backend.host_view(labels)
    except (TypeError, ValueError):
        raise TypeError(f"{required} Received: labels of type {type(labels).__name__}") from None
    if array.dtype.kind not in "biuf" and array.dtype.name != "bfloat16":
        raise TypeError(f"{required} Received: labels of type {array.dtype.name}")
    array = array.astype("float64")
    if not (array.size and np.isfinite(array).all()):
        raise ValueError(f"{required} Received: labels of shape {array.shape}")
    return array


def _shares(labels: Array) -> list[float]:
    """Return the frequency of each class in multi-label `labels`."""
    if labels.ndim != 2 or labels.min() < 0 or labels.max() > 1:
        raise ValueError(
            "`labels` must have the shape (n, classes) and be between 0 and 1 with "
            f"`multi_label=True`. Received: labels of shape {labels.shape} between "
            f"{labels.min():g} and {labels.max():g}"
        )
    return [float(share) for share in labels.mean(axis=0)]


def _counts(labels: Array) -> list[float]:
    """Return the count of each class, with one class per row."""
    if _are_probabilities(labels):
        sums = labels.sum(axis=0).tolist()
        return [int(count) if count.is_integer() else count for count in sums]
    classes, counts = np.unique(labels, return_counts=True)
    lowest = classes[0]
    extent = f"labels of shape {labels.shape} between {lowest:g} and {classes[-1]:g}"
    is_column = labels.ndim in (1, 2) and labels.size == len(labels)
    if not is_column or lowest < 0 or (classes % 1).any():
        raise ValueError(
            "`labels` must be integers of shape (n,) or (n, 1), or have shape (n, classes) with "
            "rows that sum to 1; for multi-label data use `multi_label=True`. "
            f"Received: {extent}"
        )
    absent = np.flatnonzero(classes != np.arange(len(classes)))
    if absent.size:
        raise ValueError(
            f"`labels` must contain each class from 0 on; class {absent[0]} never occurs, so its "
            f"bias would be infinite. Received: {extent}"
        )
    return [int(count) for count in counts]


def _are_probabilities(labels: Array) -> bool:
    """Return whether each row of `labels` has the probabilities of the classes."""
    if labels.ndim != 2 or labels.shape[1] == 1 or labels.min() < 0:
        return False
    return bool(np.allclose(labels.sum(axis=1), 1, atol=1e-3))


# The quantiles between these are distinct in fixed point.
_SHORTEST = 1e-6
_LONGEST = 100


@register(
    "time_step_bias",
    formula="log(exp(dt) - 1), with dt = max(exp U(log min_step, log max_step), floor)",
    use=(
        "state-space layers whose time step is a softplus, as in Mamba: memory lengths are spread "
        "over scales"
    ),
)
class TimeStepBias(RandomInitializer):
    """Initialize a bias so that its softplus, the time step of a state-space layer, is log-uniform.

    A state `h` of such a layer decays by `exp(a * dt)` at each step, with `a < 0`, so it remembers
    about `-1 / (a * dt)` steps. With a bias of zeros all steps are `log(2) = 0.69`, and for `a =
    -1` the state forgets everything after a few steps. With this bias they are spread evenly on a
    logarithmic scale, by default from 10 to 1,000 steps of memory for `a = -1`.

    If your layer keeps the logarithm of the time step instead, use `RandomUniform(log(min_step),
    log(max_step))`.

    Args:
        min_step: Shortest time step, at least 1e-6.
        max_step: Longest time step, at most 100.
        floor: Shorter time steps become this one. It has no effect if it is at most `min_step`.
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> bias = TimeStepBias(seed=0)((4,))
        >>> steps = keras.ops.convert_to_numpy(keras.ops.softplus(bias))
        >>> [round(step, 3) for step in steps.tolist()]
        [0.007, 0.016, 0.004, 0.032]
        >>> layer = keras.layers.Dense(
        ...     64, "softplus", bias_initializer="initx.time_step_bias"
        ... )

    Reference:
        Gu and Dao, "Mamba: linear-time sequence modeling with selective state spaces", 2023,
        section 3.6, and the authors' code, `mamba_ssm`, with `dt_min`, `dt_max` and
        `dt_init_floor`.
    """

    def __init__(
        self,
        min_step: float = 0.001,
        max_step: float = 0.1,
        *,
        floor: float = 1e-4,
        seed: Seed = None,
    ) -> None:
        super().__init__(seed=seed)
        self.min_step: float = check_number("min_step", min_step, positive=True)
        self.max_step: float = check_number("max_step", max_step, positive=True)
        self.floor: float = check_number("floor", floor, positive=True)
        if not _SHORTEST <= min_step < max_step <= _LONGEST:
            raise ValueError(
                f"`min_step` must be at least {_SHORTEST:g} and below `max_step`, which must be at "
                f"most {_LONGEST}. Received: min_step={show(min_step)}, max_step={show(max_step)}"
            )
        if floor >= max_step:
            raise ValueError(
                "`floor` must be below `max_step`. "
                f"Received: floor={show(floor)}, max_step={show(max_step)}"
            )

    def law(self, shape: Shape) -> Law:
        return _step_law(float(self.min_step), float(self.max_step), float(self.floor))


@functools.lru_cache(maxsize=8)
def _step_law(shortest: float, longest: float, floor: float) -> TabulatedLaw:
    """Return the law of biases whose steps are log-uniform from `shortest` to `longest`."""
    low, high = portable_log(np.array([shortest, longest]))
    steps = portable_exp(low + (high - low) * (np.arange(CELLS + 1) / CELLS))
    quantiles = Quantiles.of(_inverse_softplus(steps))
    least = _inverse_softplus(np.array(max(floor, shortest)))
    return TabulatedLaw("log-uniform steps", quantiles, float(least))


def _inverse_softplus(x: Array) -> Array:
    """Return `log(exp(x) - 1)`, with the same bits on every machine."""
    return x + portable_log(1 - portable_exp(-x))


# Beyond these, the logarithms of neighboring rates are hardly distinct in fixed point.
_SLOWEST = 1e-6
_FASTEST = 1e6


@register(
    "decay_rate",
    formula="log U(min_rate, max_rate)",
    use=(
        "`A_log` of state-space and gated delta layers, whose states decay by exp(-exp(A_log) * dt)"
    ),
)
class DecayRate(RandomInitializer):
    """Initialize the logarithms of decay rates that are uniform, as `A_log` in Mamba 2.

    A state `h` of such a layer decays by `exp(-exp(A_log) * dt)` at each step. `TimeStepBias`
    initializes the time step `dt`. The layer keeps the logarithms of the rates, so the rates stay
    positive. This initializer draws in float32, so that the logarithms are finite in 16 bits too.
    Code that draws rates in 16 bits sometimes gets a rate of 0, whose logarithm is not finite.

    Args:
        min_rate: Lowest rate, 0 or at least 1e-6.
        max_rate: Highest rate, at most 1e6.
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> rates = keras.ops.exp(DecayRate(seed=0)((4,)))
        >>> [round(rate, 1) for rate in keras.ops.convert_to_numpy(rates).tolist()]
        [7.3, 10.0, 5.7, 12.3]

    Reference:
        Dao and Gu, "Transformers are SSMs: generalized models and efficient algorithms through
        structured state space duality", ICML 2024, and the authors' code, `mamba_ssm`, with
        `A_init_range=(1, 16)`. `(0, 16)` is the range of Yang, Kautz and Hatamizadeh, "Gated delta
        networks: improving Mamba2 with delta rule", ICLR 2025.
    """

    def __init__(self, min_rate: float = 1.0, max_rate: float = 16.0, *, seed: Seed = None) -> None:
        super().__init__(seed=seed)
        self.min_rate: float = check_number("min_rate", min_rate)
        self.max_rate: float = check_number("max_rate", max_rate, positive=True)
        is_low = min_rate == 0 or min_rate >= _SLOWEST
        if not is_low or not min_rate < max_rate <= _FASTEST:
            raise ValueError(
                f"`min_rate` must be 0 or at least {_SLOWEST:g}, and below `max_rate`, which must "
                f"be at most {_FASTEST:g}. "
                f"Received: min_rate={show(min_rate)}, max_rate={show(max_rate)}"
            )

    def law(self, shape: Shape) -> Law:
        return _rate_law(float(self.min_rate), float(self.max_rate))


@functools.lru_cache(maxsize=8)
def _rate_law(lowest: float, highest: float) -> TabulatedLaw:
    """Return the law of logarithms whose exponentials are uniform from `lowest` to `highest`."""
    places = np.arange(CELLS + 1) / CELLS
    if lowest == 0:
        # The logarithm of 0 is not finite: the first cell ends where half of it is below.
        places[0] = places[1] / 2
    logarithms = portable_log(lowest + (highest - lowest) * places)
    return TabulatedLaw("uniform rates", Quantiles.of(logarithms), float(logarithms[0]))
