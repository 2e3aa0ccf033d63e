"""Initializers that combine other initializers."""

import difflib
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_initx._checks import DTYPES, as_float, check_number, check_type, is_integer, is_real
from keras_initx._initializer_names import classes_like
from keras_initx._suggestions import did_you_mean
from keras_initx._typing import Array, DType, InitializerLike, Shape, Tensor
from keras_initx.backends._current import backend
from keras_initx.initializers._initializer import (
    Initializer,
    catalog,
    is_array,
    keeps_call,
    parameters_of,
    register,
)
from keras_initx.initializers._laws import FixedLaw, Law, SlicesLaw
from keras_initx.initializers._scale import check_product, check_shape_has_axes
from keras_initx.initializers._seeds import initializers_within
from keras_initx.sampling._conversion import truncated_quantiles
from keras_initx.sampling._namespace import HOST, Namespace, choose_namespace, namespace_of
from keras_initx.sampling._stream import computing_dtype

Sizes = list[int] | tuple[int, ...] | None

# Ids of Keras that have no namesake here.
_OF_KERAS = ("constant", "identity", "ones", "zeros")


class Composite(Initializer):
    """Base class of initializers that combine the values of others.

    A subclass implements `_parts` and `_combined`.
    """

    def _parts(self, shape: Shape) -> Iterator[tuple[keras.initializers.Initializer, Shape]]:
        """Yield each of the others, with the shape that it fills."""
        raise NotImplementedError

    def check_shape(self, shape: Shape) -> None:
        for initializer, part in self._parts(shape):
            check_shape_for(initializer, part)

    def _check_dtype(self, shape: Shape, dtype: DType) -> None:
        super()._check_dtype(shape, dtype)
        self._check_dtype_of_parts(shape, dtype)

    def _check_dtype_of_parts(self, shape: Shape, dtype: DType) -> None:
        """Raise `ValueError` if values of the others could be infinite where they are computed."""
        for initializer, part in self._parts(shape):
            try:
                check_dtype_for(initializer, part, computing_dtype(dtype))
            except ValueError as error:
                name = type(self).__name__
                raise ValueError(f"{error}, in which {name} computes") from None

    def largest(self, shape: Shape) -> float:
        return max(largest_of(initializer, part) for initializer, part in self._parts(shape))

    def compute(self, shape: Shape, dtype: DType) -> Tensor:
        values = []
        for initializer, part in self._parts(shape):
            values.append(values_of(initializer, part, computing_dtype(dtype)))
        # Not where this initializer would compute: others may depend on what is not known here.
        return self._combined(namespace_of(*values), values, shape)

    def _combined(self, xp: Namespace, values: list[Tensor], shape: Shape) -> Tensor:
        """Return the values of `shape` from those of the others, in the namespace `xp`."""
        raise NotImplementedError


@register(
    "scaled",
    formula="factor · values of initializer",
    use="residual branches: start small, so that signals do not grow with depth",
)
class Scaled(Composite):
    """Multiply the values of another initializer by `factor`.

    Use it to start the last layer of a residual branch small, so that the sum of many branches
    keeps its scale. GPT-2 uses `1 / sqrt(2 * blocks)`. Fixup uses `branches ** (-1 / (2 * depth -
    2))` for the layers of a branch of `depth` layers, and 0 for the last. `keras_initx.recipes` has
    such rules for whole models.

    Computed in float32 (float64 if requested) and cast last, like all initializers.

    Args:
        initializer: An initializer, as an object, a string id or a config.
        factor: A number.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range; when called, if `initializer` cannot fill
            the shape, or if the dtype of the computation does not hold `factor` or the values that
            it multiplies.

    Example:
        >>> keras.ops.convert_to_numpy(Scaled("identity", 0.5)((2, 2))).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
        >>> small = Scaled("initx.glorot_uniform", 24**-0.5)
        >>> layer = keras.layers.Dense(64, kernel_initializer=small)

    Reference:
        Radford, Wu, Child, Luan, Amodei and Sutskever, "Language models are unsupervised multitask
        learners", OpenAI 2019, section 2.3. Zhang, Dauphin and Ma, "Fixup initialization: residual
        learning without normalization", ICLR 2019.
    """

    def __init__(self, initializer: InitializerLike, factor: float) -> None:
        self.initializer: keras.initializers.Initializer = check_initializer(
            "initializer", initializer
        )
        self.factor: float = check_number("factor", factor)

    def _parts(self, shape: Shape) -> Iterator[tuple[keras.initializers.Initializer, Shape]]:
        yield self.initializer, shape

    def _check_dtype(self, shape: Shape, dtype: DType) -> None:
        self._check_dtype_of_parts(shape, dtype)
        check_product(self, abs(float(self.factor)), super().largest(shape), dtype)

    def law(self, shape: Shape) -> Law | None:
        if self.factor == 0:
            return FixedLaw(lambda: np.zeros(shape))
        law = law_of(self.initializer, shape)
        if law is None:
            return None
        return law.scaled(float(self.factor))

    def largest(self, shape: Shape) -> float:
        return abs(float(self.factor)) * super().largest(shape)

    def _combined(self, xp: Namespace, values: list[Tensor], shape: Shape) -> Tensor:
        return xp.times(values[0], float(self.factor))

    def _compute_at(self, shape: Shape, dtype: DType, places: Array) -> Array | None:
        if type(self) is not Scaled:
            return None
        values = values_at(self.initializer, shape, computing_dtype(dtype), places)
        if values is None:
            return None
        return HOST.times(values, float(self.factor)).astype(dtype, copy=False)


@register(
    "concatenated",
    formula="slices along one axis, each filled by its own initializer",
    use="fused kernels: gates, heads, or query, key and value in one weight",
)
class Concatenated(Composite):
    """Split an axis into slices and fill each slice with its own initializer.

    Each initializer is called with the shape of its slice, as if the slice were a separate layer.
    Fan-in, fan-out and orthogonality refer to the slice.

    A string id creates a new object with its own seed for each slice. Initializers with the same
    seed raise an error, because their slices would be identical or correlated.

    Args:
        initializers: List of initializers, as objects, string ids or configs, one for each slice.
        sizes: List of the lengths of the slices, which must add up to the length of the axis. By
            default all slices have the same length.
        axis: The axis to split.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of range, or if two of the initializers have the same
            seed; when called, if the axis cannot be split this way, or if an initializer cannot
            fill the shape of its slice.

    Example:
        >>> fused = Concatenated(["initx.orthogonal", "initx.orthogonal", "zeros"])
        >>> bool(keras.ops.any(fused((4, 12))[:, 8:]))
        False
        >>> grouped = Concatenated(["initx.glorot_uniform"] * 3, sizes=[512, 128, 128])
        >>> layer = keras.layers.Dense(768, kernel_initializer=grouped)

    Reference:
        Ainslie, Lee-Thorp, de Jong, Zemlyanskiy, Lebron and Sanghai, "GQA: training generalized
        multi-query transformer models from multi-head checkpoints", EMNLP 2023 (for keys and values
        with fewer heads than queries).
    """

    def __init__(
        self, initializers: Sequence[InitializerLike], *, sizes: Sizes = None, axis: int = -1
    ) -> None:
        self.initializers: list[keras.initializers.Initializer] = _check_initializers(initializers)
        self.sizes: Sizes = _check_sizes(sizes, len(self.initializers))
        if not is_integer(axis):
            raise TypeError(f"`axis` must be an integer. Received: {axis=!r}")
        self.axis: int = axis

    def check_shape(self, shape: Shape) -> None:
        check_shape_has_axes(shape, "axis", [self.axis])
        length = shape[self.axis]
        if self.sizes is None:
            rule = "a multiple of the number of initializers"
            fits = length % len(self.initializers) == 0
        else:
            rule = "the sum of `sizes`"
            fits = length == sum(self.sizes)
        if not fits:
            raise ValueError(
                f"`shape` must have a length along `axis` that is {rule}. Received: shape={shape}, "
                f"axis={self.axis}, sizes={self.sizes}, {len(self.initializers)} initializers"
            )
        super().check_shape(shape)

    def law(self, shape: Shape) -> Law:
        slices = list(self._parts(shape))
        laws = [law_of(initializer, part) for initializer, part in slices]
        return SlicesLaw(self.axis, [part for _, part in slices], laws)

    def _combined(self, xp: Namespace, values: list[Tensor], shape: Shape) -> Tensor:
        return xp.concatenate(values, axis=self.axis)

    def _parts(self, shape: Shape) -> Iterator[tuple[keras.initializers.Initializer, Shape]]:
        axis = self.axis % len(shape)
        count = len(self.initializers)
        lengths = self.sizes or [shape[axis] // count] * count
        for initializer, length in zip(self.initializers, lengths, strict=True):
            yield initializer, (*shape[:axis], int(length), *shape[axis + 1 :])


def _check_initializers(initializers: Any) -> list[keras.initializers.Initializer]:
    received = f"Received: initializers={initializers!r}"
    check_type("initializers", initializers, list | tuple, "a list of initializers")
    if not initializers:
        raise ValueError(f"`initializers` must have at least one initializer. {received}")
    checked = [check_initializer("initializers", initializer) for initializer in initializers]
    # The seeds of the initializers before, each by its number: an integer, or the generator that
    # began with it.
    seeds_before: dict[int, Any] = {}
    for given, initializer in zip(initializers, checked, strict=True):
        own_seeds: dict[int, Any] = {}
        for part in initializers_within(initializer):
            seed: Any = getattr(part, "seed", None)
            is_generator = isinstance(seed, keras.random.SeedGenerator)
            if is_generator:
                number = seed.get_config()["seed"]
            elif isinstance(seed, int):
                number = seed
            else:
                continue
            before = seeds_before.get(number, seed)
            if is_generator:
                # Of a shared generator, a config has a copy in each part.
                if isinstance(given, dict) and isinstance(before, keras.random.SeedGenerator):
                    part.seed = part._init_seed = seed = before
                # A shared generator is fine: it gives each slice different values.
                is_repeated = seed is not before
            else:
                is_repeated = number in seeds_before
            if is_repeated:
                raise ValueError(
                    "`initializers` must not have the same seed twice: slices would be correlated. "
                    "Give string ids, which draw a seed each, or objects with different seeds. "
                    f"{received}"
                )
            own_seeds[number] = seed
        seeds_before |= own_seeds
    return checked


def _check_sizes(sizes: Sizes, count: int) -> Sizes:
    required = f"`sizes` must be `None` or a list of {count} lengths. Received: sizes={sizes!r}"
    if sizes is None:
        return sizes
    if not isinstance(sizes, list | tuple) or not all(map(is_integer, sizes)):
        raise TypeError(required)
    if len(sizes) != count or any(size < 0 for size in sizes):
        raise ValueError(required)
    return sizes


def check_initializer(name: str, value: InitializerLike) -> keras.initializers.Initializer:
    """Return the initializer given as an object, a string id or a config."""
    required = (
        f"`{name}` must be an initializer, its string id or its config. Received: {name}={value!r}"
    )
    if not isinstance(value, str | dict | keras.initializers.Initializer):
        raise TypeError(required)
    if isinstance(value, str):
        required += did_you_mean(map(repr, ids_like(value)))
    try:
        initializer = keras.initializers.get(value)
    except (TypeError, ValueError) as error:
        raise ValueError(required) from error
    if not isinstance(initializer, keras.initializers.Initializer):
        raise ValueError(required)
    return initializer


def ids_like(name: str) -> list[str]:
    """Return the ids that `name` may mean, here or in Keras."""
    ids = {entry.cls.__name__: entry.ids[0] for entry in catalog().values()}
    like = [ids[name] for name in classes_like(name)]
    like += difflib.get_close_matches(name.lower(), _OF_KERAS, cutoff=0.8)
    return [one for one in like if one != name]


def check_shape_for(initializer: keras.initializers.Initializer, shape: Shape) -> None:
    """Raise `ValueError`, before anything is drawn, if `initializer` cannot fill `shape`.

    Of some initializers it is not known.
    """
    if isinstance(initializer, Initializer):
        initializer.check_shape(shape)
    elif isinstance(initializer, keras.initializers.Identity) and len(shape) != 2:
        raise ValueError(f"`shape` must have 2 dimensions. Received: shape={shape}")
    elif isinstance(initializer, keras.initializers.Constant):
        given = np.shape(initializer.value)
        try:
            is_filled = np.broadcast_shapes(given, shape) == shape
        except ValueError:
            is_filled = False
        if not is_filled:
            raise ValueError(
                f"`shape` must be one that a value of shape {given} fills. Received: shape={shape}"
            )


def check_dtype_for(
    initializer: keras.initializers.Initializer, shape: Shape, dtype: DType
) -> None:
    """Raise `ValueError`, before anything is drawn, if values would be infinite in `dtype`.

    Of some initializers it is not known.
    """
    if isinstance(initializer, Initializer) and dtype in DTYPES:
        initializer._check_dtype(shape, dtype)


def check_numbers(initializer: keras.initializers.Initializer) -> None:
    """Raise `ValueError` if one of Keras' random initializers has a number that is not finite.

    Those of this package refuse it themselves. A constant may be NaN by intention.
    """
    if counterpart(initializer) is None:
        return
    config = initializer.get_config()
    for name, parameter in parameters_of(type(initializer)).items():
        value = config.get(name, parameter.default)
        # Some backends of Keras take arrays too.
        if isinstance(parameter.default, float) and not is_array(value):
            is_finite = is_real(value) and math.isfinite(as_float(value))
            if not is_finite:
                raise ValueError(f"`{name}` must be a finite number. Received: {name}={value!r}")


def largest_of(initializer: keras.initializers.Initializer, shape: Shape) -> float:
    """Return a size that no value of `initializer` exceeds, or 0, see `Initializer`."""
    if isinstance(initializer, keras.initializers.Constant):
        values = np.abs(backend.host_view(initializer.value))
        return float(np.max(values, initial=0, where=np.isfinite(values)))
    ours = initializer if isinstance(initializer, Initializer) else _like(initializer)
    return 0.0 if ours is None else ours.largest(shape)


def counterpart(initializer: keras.initializers.Initializer) -> type[Initializer] | None:
    """Return the class of this package that has the distribution of one of Keras, or `None`."""
    return _namesakes().get(type(initializer))


@functools.cache
def _namesakes() -> dict[type, type[Initializer]]:
    """Return the class in this package for each class of Keras that has one with the same name."""
    found = {}
    for entry in catalog().values():
        namesake = getattr(keras.initializers, entry.cls.__name__, None)
        if namesake is not None:
            found[namesake] = entry.cls
    return found


def arguments_of(initializer: keras.initializers.Initializer) -> dict[str, Any] | None:
    """Return the arguments of `initializer`, or `None` if they are not all known.

    Those of Keras' initializers are arguments of their `counterpart`.
    """
    if isinstance(initializer, Initializer):
        # Not the config: a nested initializer of a user may lack one, or not be registered.
        return initializer._arguments()
    arguments = dict(initializer.get_config())
    if not arguments.keys() >= parameters_of(type(initializer)).keys():
        return None
    if type(initializer) is keras.initializers.TruncatedNormal:
        # Keras takes the value before truncation.
        arguments["stddev"] *= truncated_quantiles(-2.0, 2.0).stddev
    return arguments


def _like(initializer: keras.initializers.Initializer) -> Initializer | None:
    """Return one of this package with the distribution of one of Keras, or `None`."""
    cls = counterpart(initializer)
    if cls is None:
        return None
    arguments = arguments_of(initializer)
    if arguments is None:
        return None
    if "seed" in arguments:
        arguments["seed"] = 0  # not a copy of a generator, nor one that is drawn
    try:
        return cls.from_config(arguments)
    except (TypeError, ValueError):  # such as a standard deviation of 0
        return None


def law_of(initializer: Any, shape: Shape) -> Law | None:
    """Return what is known of the values of any initializer, or `None`."""
    if isinstance(initializer, Initializer):
        if not _draws_by_its_law(initializer):
            return None
        return initializer.law(shape)
    known = keras.initializers
    if isinstance(initializer, known.Constant | known.Identity | known.Ones | known.Zeros):
        return FixedLaw(lambda: backend.host_view(initializer(shape)))
    ours = _like(initializer)
    if ours is None:
        return None
    return ours.law(shape)


def _draws_by_its_law(initializer: Initializer) -> bool:
    """Return whether no subclass draws in another way than the class that states the law."""
    for cls in type(initializer).__mro__:
        if "law" in vars(cls):
            return True
        if vars(cls).keys() & {"__call__", "draw", "_draw_matrix"}:
            return False
    return True


def values_of(initializer: keras.initializers.Initializer, shape: Shape, dtype: DType) -> Tensor:
    """Return the values of `initializer`: a new array on the host, a tensor elsewhere.

    Raises:
        ValueError: If they are complex or masked.
    """
    if keeps_call(initializer):
        # Not through `__call__`, which would move the values to the device and back.
        return initializer.compute(shape, dtype)
    values = initializer(shape, dtype=dtype)
    if isinstance(values, np.ma.MaskedArray) or "complex" in str(getattr(values, "dtype", "")):
        # A cast would drop the mask or the imaginary parts.
        raise ValueError(
            "An initializer within another must give real numbers, without a mask. "
            f"Received: {initializer!r}, which gives {type(values).__name__} of dtype "
            f"{values.dtype}"
        )
    tensors = [values] if keras.ops.is_tensor(values) else []
    return choose_namespace(math.prod(shape), tensors).adopt(values)


def values_at(initializer: Any, shape: Shape, dtype: DType, places: Array) -> Array | None:
    """Return some values of an initializer, or `None` if they are only made together.

    Args:
        initializer: An initializer.
        shape: The shape of all values.
        dtype: Their dtype.
        places: Vector of the indices of those to make, counted in row-major order.

    Raises:
        ValueError: If the initializer cannot fill the shape.
    """
    dtype = backend.available_dtype(dtype)  # as in a call
    if isinstance(initializer, keras.initializers.Initializer):
        check_shape_for(initializer, shape)
        check_dtype_for(initializer, shape, dtype)
    if _is_one_number(initializer):
        return np.array(backend.host_view(initializer((places.size,), dtype=dtype)))
    if not keeps_call(initializer):
        return None
    with np.errstate(under="ignore"):  # as where all are made
        return initializer._compute_at(shape, dtype, places)


def _is_one_number(initializer: Any) -> bool:
    """Return whether all values are the same number, by an initializer of Keras."""
    known = keras.initializers
    if type(initializer) is known.Constant:
        return np.ndim(initializer.value) == 0
    return type(initializer) in (known.Zeros, known.Ones)
