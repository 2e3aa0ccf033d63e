"""The named members of the variance family: `VarianceScaling` with fixed arguments."""

import inspect
from typing import Any, Self

from keras_initx._typing import AxesLike, Seed
from keras_initx.initializers._initializer import constructor_parameters, register
from keras_initx.initializers._variance import VarianceScaling


class _Named(VarianceScaling):
    """An initializer of the family with a fixed scale, mode and distribution."""

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        """Refuse other arguments, as Python does, and say what to write instead."""
        # To bind the arguments takes ten times as long as all else.
        if len(arguments) <= 1 and options.keys() <= constructor_parameters(cls).keys():
            return super().__new__(cls)
        try:
            inspect.signature(cls).bind_partial(*arguments, **options)
        except TypeError as error:
            if options.keys() - constructor_parameters(VarianceScaling).keys() - {"gain"}:
                # A misspelled name, which that class would not take either, and the constructor
                # refuses with the right one.
                return super().__new__(cls)
            named = cls(seed=0)
            fixed = []
            for name in constructor_parameters(VarianceScaling):
                if name not in constructor_parameters(cls):
                    fixed.append(f"{name}={options.get(name, getattr(named, name))!r}")
            raise TypeError(
                f"{cls.__name__}: {error}; use `VarianceScaling({', '.join(fixed)})` instead, "
                "where `scale` is the square of a gain"
            ) from None
        return super().__new__(cls)


@register(
    "fan_in_normal", formula="N(0, 1 / fan_in)", use="the rule of thumb 1 / sqrt(n), not truncated"
)
class FanInNormal(_Named):
    """Draw weights from `N(0, 1 / fan_in)`, not truncated.

    The rule of thumb `1 / sqrt(n)`: the weighted sum of `n` inputs of variance 1 has variance 1.
    `LecunNormal` has the same variance but is truncated at 2.27 standard deviations.

    Args:
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.
        input_axes: List of the axes that count for fan-in; see `VarianceScaling`.
        output_axes: List of the axes that count for fan-out; see `VarianceScaling`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `seed` is out of range; when called, if the shape does not have the given
            axes.

    Example:
        >>> round(float(keras.ops.std(FanInNormal(seed=0)((400, 50)))), 2)
        0.05
        >>> layer = keras.layers.Dense(64, kernel_initializer="initx.fan_in_normal")

    Reference:
        LeCun, Bottou, Orr and Mueller, "Efficient BackProp", in Neural Networks: Tricks of the
        Trade, Springer 1998.
    """

    def __init__(
        self, seed: Seed = None, input_axes: AxesLike = None, output_axes: AxesLike = None
    ) -> None:
        super().__init__(1.0, "fan_in", "untruncated_normal", seed, input_axes, output_axes)


@register(
    "glorot_normal",
    formula="truncated normal, variance 2 / (fan_in + fan_out)",
    use="layers before tanh, and as a general default",
)
class GlorotNormal(_Named):
    """Draw weights from a truncated normal distribution with variance `2 / (fan_in + fan_out)`.

    Use it before tanh and other activations that are linear around zero. It is a compromise between
    preserving the variance of signals and the variance of gradients.

    Args:
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.
        input_axes: List of the axes that count for fan-in; see `VarianceScaling`.
        output_axes: List of the axes that count for fan-out; see `VarianceScaling`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `seed` is out of range; when called, if the shape does not have the given
            axes.

    Example:
        >>> round(float(keras.ops.std(GlorotNormal(seed=0)((300, 500)))), 2)
        0.05
        >>> layer = keras.layers.Dense(64, kernel_initializer="initx.glorot_normal")

    Reference:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
        networks", AISTATS 2010.
    """

    def __init__(
        self, seed: Seed = None, input_axes: AxesLike = None, output_axes: AxesLike = None
    ) -> None:
        super().__init__(1.0, "fan_avg", "truncated_normal", seed, input_axes, output_axes)


@register(
    "glorot_uniform",
    formula="uniform, variance 2 / (fan_in + fan_out)",
    use="layers before tanh; the default of Keras layers",
)
class GlorotUniform(_Named):
    """Draw weights from `U(-l, l)`, with `l = sqrt(6 / (fan_in + fan_out))`.

    It has the variance of `GlorotNormal`. This is the default of Keras layers.

    Args:
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.
        input_axes: List of the axes that count for fan-in; see `VarianceScaling`.
        output_axes: List of the axes that count for fan-out; see `VarianceScaling`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `seed` is out of range; when called, if the shape does not have the given
            axes.

    Example:
        >>> round(float(keras.ops.std(GlorotUniform(seed=0)((300, 500)))), 2)
        0.05
        >>> layer = keras.layers.Dense(
        ...     64, kernel_initializer="initx.glorot_uniform"
        ... )

    Reference:
        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
        networks", AISTATS 2010.
    """

    def __init__(
        self, seed: Seed = None, input_axes: AxesLike = None, output_axes: AxesLike = None
    ) -> None:
        super().__init__(1.0, "fan_avg", "uniform", seed, input_axes, output_axes)


@register(
    "he_normal",
    formula="truncated normal, variance 2 / fan_in",
    use="layers before relu, leaky_relu and elu",
)
class HeNormal(_Named):
    """Draw weights from a truncated normal distribution with variance `2 / fan_in`.

    Use it before relu, leaky_relu and elu. Relu halves the second moment of a signal, and the
    factor 2 compensates for it. With gelu and silu, signals shrink: if your network is deep, use
    `lsuv`.

    Args:
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.
        input_axes: List of the axes that count for fan-in; see `VarianceScaling`.
        output_axes: List of the axes that count for fan-out; see `VarianceScaling`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `seed` is out of range; when called, if the shape does not have the given
            axes.

    Example:
        >>> round(float(keras.ops.std(HeNormal(seed=0)((800, 50)))), 2)
        0.05
        >>> layer = keras.layers.Dense(64, kernel_initializer="initx.he_normal")

    Reference:
        He, Zhang, Ren and Sun, "Delving deep into rectifiers: surpassing human-level performance
        on ImageNet classification", ICCV 2015.
    """

    def __init__(
        self, seed: Seed = None, input_axes: AxesLike = None, output_axes: AxesLike = None
    ) -> None:
        super().__init__(2.0, "fan_in", "truncated_normal", seed, input_axes, output_axes)


@register(
    "he_uniform",
    formula="uniform, variance 2 / fan_in",
    use="layers before relu, with no weight beyond 1.73 standard deviations",
)
class HeUniform(_Named):
    """Draw weights from `U(-l, l)`, with `l = sqrt(6 / fan_in)`.

    It has the variance of `HeNormal`, for the same activations.

    Args:
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.
        input_axes: List of the axes that count for fan-in; see `VarianceScaling`.
        output_axes: List of the axes that count for fan-out; see `VarianceScaling`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `seed` is out of range; when called, if the shape does not have the given
            axes.

    Example:
        >>> round(float(keras.ops.std(HeUniform(seed=0)((800, 50)))), 2)
        0.05
        >>> layer = keras.layers.Dense(64, kernel_initializer="initx.he_uniform")

    Reference:
        He, Zhang, Ren and Sun, "Delving deep into rectifiers: surpassing human-level performance
        on ImageNet classification", ICCV 2015.
    """

    def __init__(
        self, seed: Seed = None, input_axes: AxesLike = None, output_axes: AxesLike = None
    ) -> None:
        super().__init__(2.0, "fan_in", "uniform", seed, input_axes, output_axes)


@register(
    "lecun_normal",
    formula="truncated normal, variance 1 / fan_in",
    use="layers before selu or without an activation",
)
class LecunNormal(_Named):
    """Draw weights from a truncated normal distribution with variance `1 / fan_in`.

    Use it before selu and in layers without an activation. It preserves the variance of a signal
    through a linear layer.

    Args:
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.
        input_axes: List of the axes that count for fan-in; see `VarianceScaling`.
        output_axes: List of the axes that count for fan-out; see `VarianceScaling`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `seed` is out of range; when called, if the shape does not have the given
            axes.

    Example:
        >>> round(float(keras.ops.std(LecunNormal(seed=0)((400, 50)))), 2)
        0.05
        >>> layer = keras.layers.Dense(64, kernel_initializer="initx.lecun_normal")

    Reference:
        LeCun, Bottou, Orr and Mueller, "Efficient BackProp", in Neural Networks: Tricks of the
        Trade, Springer 1998.
    """

    def __init__(
        self, seed: Seed = None, input_axes: AxesLike = None, output_axes: AxesLike = None
    ) -> None:
        super().__init__(1.0, "fan_in", "truncated_normal", seed, input_axes, output_axes)


@register(
    "lecun_uniform",
    formula="uniform, variance 1 / fan_in",
    use="layers before selu, with no weight beyond 1.73 standard deviations",
)
class LecunUniform(_Named):
    """Draw weights from `U(-l, l)`, with `l = sqrt(3 / fan_in)`.

    It has the variance of `LecunNormal`, for the same activations.

    Args:
        seed: An integer, a `keras.random.SeedGenerator` or `None`; see `RandomInitializer`.
        input_axes: List of the axes that count for fan-in; see `VarianceScaling`.
        output_axes: List of the axes that count for fan-out; see `VarianceScaling`.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If `seed` is out of range; when called, if the shape does not have the given
            axes.

    Example:
        >>> round(float(keras.ops.std(LecunUniform(seed=0)((400, 50)))), 2)
        0.05
        >>> layer = keras.layers.Dense(64, kernel_initializer="initx.lecun_uniform")

    Reference:
        LeCun, Bottou, Orr and Mueller, "Efficient BackProp", in Neural Networks: Tricks of the
        Trade, Springer 1998.
    """

    def __init__(
        self, seed: Seed = None, input_axes: AxesLike = None, output_axes: AxesLike = None
    ) -> None:
        super().__init__(1.0, "fan_in", "uniform", seed, input_axes, output_axes)
