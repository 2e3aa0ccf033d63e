"""Initial weights from a fixed distribution, independent of the shape."""

import numpy as np

from keras_initx._checks import check_number
from keras_initx._received import show
from keras_initx._typing import Seed, Shape
from keras_initx.initializers._initializer import RandomInitializer, register
from keras_initx.initializers._laws import Law, NormalLaw, TriangularLaw, TruncatedLaw, UniformLaw

# A narrower interval, or one farther out, would contain too few float32 values.
_LEAST_WIDTH = 0.001
_LARGEST_DISTANCE = 5


@register(
    "random_uniform", formula="U(minval, maxval)", use="a uniform distribution with given bounds"
)
class RandomUniform(RandomInitializer):
    """Draw weights from the uniform distribution between `minval` and `maxval`.

    All values lie in `[minval, maxval]`, including in 16-bit dtypes. Values are drawn in float32
    with a resolution of `2**-23` of the range, so 16-bit weights have the same mean.

    Args:
        minval: Lower bound.
        maxval: Upper bound, greater than `minval`, by at most 3.4e38.
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> values = RandomUniform(1, 3, seed=0)((100, 100))
        >>> round(float(keras.ops.mean(values)), 1)
        2.0
        >>> layer = keras.layers.Embedding(
        ...     50, 8, embeddings_initializer="initx.random_uniform"
        ... )
    """

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Seed = None) -> None:
        super().__init__(seed=seed)
        self.minval: float = check_number("minval", minval)
        self.maxval: float = check_number("maxval", maxval)
        if not minval < maxval:
            raise ValueError(
                "`maxval` must be greater than `minval`. "
                f"Received: minval={show(minval)}, maxval={show(maxval)}"
            )
        # In which draws are computed, as multiples of the width.
        if float(maxval) - float(minval) > float(np.finfo("float32").max):
            raise ValueError(
                "`maxval` must be at most 3.4e38, the largest number of float32, above `minval`. "
                f"Received: minval={show(minval)}, maxval={show(maxval)}"
            )

    def law(self, shape: Shape) -> Law:
        return UniformLaw(float(self.minval), float(self.maxval), is_strict=True)


@register(
    "random_normal",
    formula="N(mean, stddev²)",
    use="a normal distribution with a given standard deviation",
)
class RandomNormal(RandomInitializer):
    """Draw weights from the normal distribution `N(mean, stddev^2)`, not truncated.

    Args:
        mean: Mean of the weights.
        stddev: Standard deviation of the weights, a positive number.
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> values = RandomNormal(stddev=0.2, seed=0)((100, 100))
        >>> round(float(keras.ops.std(values)), 2)
        0.2
        >>> layer = keras.layers.Embedding(
        ...     50, 8, embeddings_initializer="initx.random_normal"
        ... )
    """

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Seed = None) -> None:
        super().__init__(seed=seed)
        self.mean: float = check_number("mean", mean)
        self.stddev: float = check_number("stddev", stddev, positive=True)

    def law(self, shape: Shape) -> Law:
        return NormalLaw(float(self.mean), float(self.stddev))


@register("small_normal", formula="N(0, 0.01²)", use="small random weights, as in textbooks")
class SmallNormal(RandomNormal):
    """Draw weights from the normal distribution `N(0, 0.01^2)`.

    The small random weights of textbooks: they break the symmetry between units and keep units out
    of saturation. In deep networks the signals vanish. There you should use `HeNormal` or
    `GlorotNormal`, which scale with the size of the layer.

    Args:
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.

    Raises:
        TypeError: If `seed` has the wrong type.
        ValueError: If `seed` is out of range.

    Example:
        >>> round(float(keras.ops.std(SmallNormal(seed=0)((100, 100)))), 3)
        0.01
        >>> layer = keras.layers.Dense(64, kernel_initializer="initx.small_normal")

    Reference:
        Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural
        networks", NIPS 2012, section 5.
    """

    def __init__(self, seed: Seed = None) -> None:
        super().__init__(stddev=0.01, seed=seed)


@register(
    "truncated_normal",
    formula="truncated normal with this mean and standard deviation; Keras' class has 0.88 of it",
    use="embeddings and transformers: a given standard deviation without outliers",
)
class TruncatedNormal(RandomInitializer):
    """Draw weights from a truncated normal distribution.

    `stddev` is the standard deviation of the weights, after truncation; the underlying normal
    distribution is wider. Let `s` be the standard deviation of `N(0, 1)` truncated at `lower` and
    `upper`, which is 0.88 by default. All weights lie between `mean + stddev * lower / s` and `mean
    + stddev * upper / s`: by default, within 2.27 standard deviations.

    With symmetric bounds no weight lies beyond 5.2 standard deviations, however far the bounds: use
    `RandomNormal` for longer tails.

    Args:
        mean: Mean before truncation, and of the weights if the bounds are symmetric.
        stddev: Standard deviation of the weights, a positive number.
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.
        lower: Lower bound, relative to the mean, in standard deviations before truncation.
        upper: Upper bound, at least 0.001 above `lower`. The bounds must not both be above 5 or
            both below -5.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> values = TruncatedNormal(stddev=0.5, seed=0)((200, 200))
        >>> round(float(keras.ops.std(values)), 2)
        0.5
        >>> round(float(keras.ops.max(values)), 2)
        1.14
        >>> layer = keras.layers.Dense(
        ...     64, kernel_initializer="initx.truncated_normal"
        ... )
    """

    def __init__(
        self,
        mean: float = 0.0,
        stddev: float = 0.05,
        seed: Seed = None,
        *,
        lower: float = -2.0,
        upper: float = 2.0,
    ) -> None:
        super().__init__(seed=seed)
        self.mean: float = check_number("mean", mean)
        self.stddev: float = check_number("stddev", stddev, positive=True)
        self.lower: float = check_number("lower", lower)
        self.upper: float = check_number("upper", upper)
        if float(upper) - float(lower) < _LEAST_WIDTH:
            raise ValueError(
                f"`upper` must be at least {_LEAST_WIDTH} above `lower`. "
                f"Received: lower={show(lower)}, upper={show(upper)}"
            )
        if max(lower, -upper) > _LARGEST_DISTANCE:
            raise ValueError(
                f"`lower` and `upper` must not both be above {_LARGEST_DISTANCE} or both below "
                f"-{_LARGEST_DISTANCE}. Received: lower={show(lower)}, upper={show(upper)}"
            )

    def law(self, shape: Shape) -> Law:
        bounds = float(self.lower), float(self.upper)
        return TruncatedLaw(*bounds, float(self.mean), float(self.stddev), is_strict=True)


@register(
    "triangular",
    formula="U(-limit / 2, limit / 2) + U(-limit / 2, limit / 2)",
    use="the one bias of Keras' LSTM that is the sum of the two of torch's",
)
class Triangular(RandomInitializer):
    """Draw weights from the symmetric triangular distribution between `-limit` and `limit`.

    The sum of two independent values of `U(-limit / 2, limit / 2)` has this distribution. Its
    density is largest at 0 and falls to 0 at the bounds. The standard deviation is `limit /
    sqrt(6)`. All values lie in `[-limit, limit]`, including in 16-bit dtypes.

    torch adds two biases in `nn.LSTM` and `nn.RNN`, each of `U(-1 / sqrt(u), 1 / sqrt(u))` for `u`
    units. A layer of Keras has their sum: pass `limit=2 / sqrt(u)`.

    Args:
        limit: The largest size of a weight, a positive number.
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range.

    Example:
        >>> values = Triangular(3, seed=0)((200, 200))
        >>> round(float(keras.ops.std(values)), 2)
        1.22
        >>> round(float(keras.ops.max(values)), 1)
        3.0
        >>> bias = Triangular(2 * 64**-0.5)
        >>> layer = keras.layers.LSTM(
        ...     64, bias_initializer=bias, unit_forget_bias=False
        ... )
    """

    def __init__(self, limit: float = 0.05, *, seed: Seed = None) -> None:
        super().__init__(seed=seed)
        self.limit: float = check_number("limit", limit, positive=True)

    def law(self, shape: Shape) -> Law:
        return TriangularLaw(float(self.limit))
