"""What else explains values that are not as their law says, by more than their scale.

Another distribution, other axes, parts or axes in another order, one shard instead of all.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from keras_initx._typing import Array, DType, Shape
from keras_initx.audits._compare import compare, least
from keras_initx.initializers import (
    ChronoBias,
    FixedLaw,
    FrameLaw,
    GRUUpdateBias,
    IndependentLaw,
    Law,
    LSTMForgetBias,
    Normal,
    SlicesLaw,
    SparseLaw,
    Truncated,
    Uniform,
    law_of,
)
from keras_initx.sampling import truncated_quantiles
from keras_initx.structure import LayerInitializer

# With a smaller probability, an explanation is none.
IMPLAUSIBLE = 1e-5
# The numbers of gates of recurrent layers, and of queries, keys and values in one kernel.
_PARTS = (4, 3)
_SHARDS = (2, 4, 8, 16)
# Elements that are compared before all are.
_BEGINNING = 64


def explanation(initializer: LayerInitializer, law: Law, values: Array, dtype: DType) -> str:
    """Return what explains the values of a weight, or nothing if two things do.

    Args:
        initializer: The initializer that the weight should come from.
        law: Its law, which the values do not have.
        values: The values.
        dtype: The dtype that they were rounded to.
    """
    found: list[str] = []
    for cause, other, changed in _candidates(initializer, law, values):
        if cause in found:
            continue
        if least(compare(other, changed, dtype)) > IMPLAUSIBLE:
            found.append(cause)
    if len(found) == 1:
        return found[0]
    return ""


def _candidates(
    initializer: LayerInitializer, law: Law, values: Array
) -> Iterator[tuple[str, Law, Array]]:
    """Yield what may have happened, each with the law of the values, or of changed ones."""
    if isinstance(law, IndependentLaw):
        for cause, other in _other_distributions(law):
            yield cause, other, values
        yield from _one_shard(initializer, values)
    if isinstance(law, FrameLaw | SparseLaw):
        for cause, other in _other_axes(law, values.shape):
            yield cause, other, values
    if isinstance(law, FixedLaw | SlicesLaw):
        cause = "parts in another order"
        if isinstance(initializer, ChronoBias | GRUUpdateBias | LSTMForgetBias):
            cause = "gates in another order"
        for _, changed in _orders_of_parts(values):
            yield cause, law, changed
    if isinstance(law, FixedLaw):
        for order in _orders_of_axes(values.shape):
            yield "transposed", law, values.transpose(order)


def _other_distributions(law: IndependentLaw) -> Iterator[tuple[str, Law]]:
    """Yield that another distribution has been drawn from, with the same standard deviation."""
    normal = Normal(law.mean, law.std)
    truncated = Truncated(-2.0, 2.0, law.mean, law.std)
    if isinstance(law, Truncated) and math.isclose(-law.lower, law.upper, rel_tol=1e-3):
        cause = f"bounds of {law.upper:.3g} standard deviations missing"
        yield cause, normal
        yield cause, replace(normal, std=law.untruncated_std)
    if isinstance(law, Normal):
        cause = "truncated at 2 standard deviations"
        kept = truncated_quantiles(-2.0, 2.0).stddev
        yield cause, truncated
        yield cause, replace(truncated, std=kept * law.std)
    if isinstance(law, Normal | Truncated):
        limit = math.sqrt(3) * law.std
        yield f"uniform instead of {law.name}", Uniform(law.mean - limit, law.mean + limit)
    if isinstance(law, Uniform):
        yield "normal instead of uniform", normal
        yield "truncated normal instead of uniform", truncated


def _one_shard(initializer: LayerInitializer, values: Array) -> Iterator[tuple[str, Law, Array]]:
    """Yield that all shards are copies of one, drawn with the fans of the whole or its own."""
    for axis, length in enumerate(values.shape):
        for count in _SHARDS:
            if length % count or length == count:
                continue
            size = length // count
            if not np.array_equal(values.take([0], axis), values.take([size], axis)):
                continue
            first, *others = np.split(values, count, axis)
            if not all(np.array_equal(first, other) for other in others):
                continue
            of_whole = law_of(initializer, values.shape)
            of_shard = law_of(initializer, first.shape)
            if of_whole is not None:
                yield f"each of {count} shards drawn with one seed", of_whole, first
            if of_shard is not None and of_whole is not None and of_shard.std != of_whole.std:
                cause = f"each of {count} shards drawn with one seed, and with the fan of a shard"
                yield cause, of_shard, first


def _other_axes(law: FrameLaw | SparseLaw, shape: Shape) -> Iterator[tuple[str, Law]]:
    """Yield that other axes have been taken as inputs and units."""
    ndim = len(shape)
    own = set(law.input_axes)
    for size in range(1, ndim):
        for chosen in itertools.combinations(range(ndim), size):
            # A frame is one in both directions.
            is_frame = isinstance(law, FrameLaw) and law.blocks == 1
            if set(chosen) == own or (is_frame and law.input_axes[0] not in chosen):
                continue
            rest = tuple(axis for axis in range(ndim) if axis not in chosen)
            units = math.prod(shape[axis] for axis in rest)
            if isinstance(law, FrameLaw) and units % law.blocks:
                continue
            if set(rest) == own:
                cause = "inputs and units exchanged"
            else:
                cause = f"axes {chosen} as inputs instead of {tuple(law.input_axes)}"
            yield cause, replace(law, input_axes=chosen, output_axes=rest)


def _orders_of_parts(values: Array) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Yield values with parts of the last axis in another order, and the order."""
    for count in _PARTS:
        if values.ndim == 0 or values.shape[-1] % count:
            continue
        parts = np.split(values, count, axis=-1)
        orders = itertools.permutations(range(count))
        for order in itertools.islice(orders, 1, None):
            yield order, np.concatenate([parts[number] for number in order], axis=-1)


def _orders_of_axes(shape: Shape) -> Iterator[tuple[int, ...]]:
    """Yield the orders of axes in which an array has the same shape."""
    for order in itertools.permutations(range(len(shape))):
        is_same = order == tuple(range(len(shape)))
        if not is_same and tuple(shape[axis] for axis in order) == tuple(shape):
            yield order


def reordered(drawn: Array, values: Array) -> str:
    """Return in which other order values are those that were drawn, or nothing.

    Args:
        drawn: The values that were drawn for a weight.
        values: The values that it has.
    """
    flat = values.reshape(-1)
    orders: Sequence[tuple[int, ...]] = list(itertools.permutations(range(drawn.ndim)))
    for order in orders[1:]:
        if _are_equal(drawn.transpose(order), flat):
            return f"transposed: axes in the order {order}"
    if drawn.shape != values.shape:
        return ""
    for order, changed in _orders_of_parts(drawn):
        if _are_equal(changed, flat):
            numbers = ", ".join(str(number + 1) for number in order)
            return f"parts in another order: {numbers}"
    return ""


def _are_equal(array: Array, flat: Array) -> bool:
    """Return whether an array has these values in row-major order."""
    if not np.array_equal(array.flat[:_BEGINNING], flat[:_BEGINNING]):
        return False
    return np.array_equal(array.reshape(-1), flat)
