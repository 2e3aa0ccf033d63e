"""Initializers that combine other initializers."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keras_initx._checks import check_number, check_type, is_integer
from keras_initx._keras import give_seed
from keras_initx._received import show
from keras_initx._typing import Array, DType, InitializerLike, Shape, Tensor
from keras_initx.initializers._as_ours import adapt_initializer, check_initializer
from keras_initx.initializers._initializer import Initializer, register
from keras_initx.initializers._laws import FixedLaw, Law, MixedLaw
from keras_initx.initializers._scale import check_product, check_shape_has_axes
from keras_initx.initializers._seeds import initializers_within
from keras_initx.sampling._namespace import HOST, Namespace, namespace_of
from keras_initx.sampling._stream import computing_dtype

Sizes = list[int] | tuple[int, ...] | None


class Composite(Initializer):
    """Base class of initializers that combine the values of other initializers.

    A subclass implements `_parts` and `_combined`.
    """

    def _parts(self, shape: Shape) -> Iterator[tuple[keras.initializers.Initializer, Shape]]:
        """Yield each of the other initializers, the parts, with the shape that it fills."""
        raise NotImplementedError

    def check_shape(self, shape: Shape) -> None:
        for initializer, part in self._parts(shape):
            adapt_initializer(initializer).check_shape(part)

    def _check_dtype(self, shape: Shape, dtype: DType) -> None:
        super()._check_dtype(shape, dtype)
        self._check_dtype_of_parts(shape, dtype)

    def _check_dtype_of_parts(self, shape: Shape, dtype: DType) -> None:
        """Raise `ValueError` if values of the parts could be infinite in the computation."""
        for initializer, part in self._parts(shape):
            try:
                adapt_initializer(initializer).check_dtype(part, computing_dtype(dtype))
            except ValueError as error:
                name = type(self).__name__
                raise ValueError(f"{error}, in which {name} computes") from None

    def largest(self, shape: Shape) -> float:
        return max(
            adapt_initializer(initializer).largest(part) for initializer, part in self._parts(shape)
        )

    def compute(self, shape: Shape, dtype: DType) -> Tensor:
        values = []
        for initializer, part in self._parts(shape):
            values.append(adapt_initializer(initializer).values(part, computing_dtype(dtype)))
        # Not where this initializer would compute: others may depend on what is not known here.
        return self._combined(namespace_of(*values), values, shape)

    def _combined(self, xp: Namespace, values: list[Tensor], shape: Shape) -> Tensor:
        """Return the values of `shape`, combined from the parts in the namespace `xp`."""
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
    2))` for the layers of a branch of `depth` layers, and 0 for the last. For a whole model, use
    `keras_initx.recipes`, which has such rules.

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
        law = adapt_initializer(self.initializer).law(shape)
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
        values = adapt_initializer(self.initializer).values_at(
            shape, computing_dtype(dtype), places
        )
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

    Use it for a weight that holds several, such as a kernel of queries, keys and values. Each
    initializer is called with the shape of its slice, as if the slice were a separate layer.
    Fan-in, fan-out and orthogonality refer to the slice.

    A string id creates a new object with its own seed for each slice. If you give two of them the
    same seed, this raises an error, because their slices would be identical or correlated.

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
        >>> grouped = Concatenated(
        ...     ["initx.glorot_uniform"] * 3, sizes=[512, 128, 128]
        ... )
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
            raise TypeError(f"`axis` must be an integer. Received: axis={show(axis)}")
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

    def law(self, shape: Shape) -> Law | None:
        for initializer, part in self._parts(shape):
            if adapt_initializer(initializer).law(part) is None:
                return None
        return MixedLaw()

    def _combined(self, xp: Namespace, values: list[Tensor], shape: Shape) -> Tensor:
        return xp.concatenate(values, axis=self.axis)

    def _parts(self, shape: Shape) -> Iterator[tuple[keras.initializers.Initializer, Shape]]:
        axis = self.axis % len(shape)
        count = len(self.initializers)
        lengths = self.sizes or [shape[axis] // count] * count
        for initializer, length in zip(self.initializers, lengths, strict=True):
            yield initializer, (*shape[:axis], int(length), *shape[axis + 1 :])


def _check_initializers(initializers: Any) -> list[keras.initializers.Initializer]:
    received = f"Received: initializers={show(initializers)}"
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
                    give_seed(part, before)
                    seed = before
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
    required = f"`sizes` must be `None` or a list of {count} lengths. Received: sizes={show(sizes)}"
    if sizes is None:
        return sizes
    if not isinstance(sizes, list | tuple) or not all(map(is_integer, sizes)):
        raise TypeError(required)
    if len(sizes) != count or any(size < 0 for size in sizes):
        raise ValueError(required)
    return sizes
