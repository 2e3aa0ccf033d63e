"""Compare values with a law: what always holds of them, and tests of what is random.

Each test has a probability under the law and the size of the deviation. Whether it is reported is
decided for all weights at once.
"""

import functools
import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from keras_initx._checks import truncated
from keras_initx._typing import Array, DType, Shape
from keras_initx.backends import Moments
from keras_initx.initializers import (
    CenterLaw,
    FixedLaw,
    FrameLaw,
    IndependentLaw,
    Law,
    SlicesLaw,
    SparseLaw,
    TiledLaw,
)

# Smaller deviations do not matter, however surely they are there; in 16 bits, where backends round
# what they draw, twice as large ones.
SMALL = 0.01
_SMALL_IN_16_BITS = 0.02
# Elements that are compared with a distribution. With so many, a standard deviation is known to
# 0.3 %. The extremes are those of all elements.
SAMPLE = 1 << 16
# Elements of which the moments are computed.
MOST = 1 << 18
# Random vectors that a matrix is multiplied by, to see whether it is orthonormal.
_PROBES = 4
# Fewer values have no shape.
_FEWEST = 32
# Fewer values of a block may be equal to those of another by chance.
_FEWEST_OF_BLOCK = 16
# Values of a slice that are compared before all are.
_BEGINNING = 16
# Pairs of equal slices that are named.
_MOST_PAIRS = 3
# With a smaller probability, that slices are equal counts as impossible.
_IMPOSSIBLE = 1e-9
# No continuous distribution has so many exact zeros. Of normal draws, one in 65,536 is 0; of those
# that Keras makes in 16 bits, many more.
_ZEROS = {"bfloat16": 2.0**-7, "float16": 2.0**-9}
_ZEROS_ELSE = 1e-4
# Distances of numbers that make no difference, relative to the standard deviation.
_FINE = 1e-4
# The smallest positive numbers of the dtypes in which weights can vanish.
_SMALLEST = {"float16": 2.0**-24}
# On PyTorch, Keras lets four values in a million pass its truncation.
_RATE = 1e-5


@dataclass(frozen=True)
class Test:
    """A test of one property of a weight.

    Attributes:
        verdict: What is wrong if it fails, e.g. `"scale"`.
        evidence: The numbers.
        p: The probability of such values under the law; 0 where they are impossible.
        deviation: How far they are off, relative to what is expected.
        cause: What explains it, if the test tells.
    """

    verdict: str
    evidence: str
    p: float
    deviation: float
    cause: str = ""


def compare(law: Law, values: Array, dtype: DType, moments: Moments | None = None) -> list[Test]:
    """Return the tests of values of `dtype`.

    Args:
        law: Their law.
        values: An array in a dtype of NumPy's own, float32 or float64.
        dtype: The dtype that they were rounded to.
        moments: Their `moments_of`, if these are known.
    """
    if not values.size:
        return []
    extremes = float(values.min()), float(values.max())
    if not np.isfinite(sum(extremes)):
        count = values.size - int(np.count_nonzero(np.isfinite(values)))
        return [impossible("not finite", f"{count} of {values.size} values are not finite")]
    if isinstance(law, IndependentLaw):
        if moments is None:
            moments = moments_of(values)
        return list(_independent_tests(law, values, dtype, moments, extremes))
    return list(_tests(law, values, dtype))


def least(tests: Iterable[Test]) -> float:
    """Return the smallest probability of a deviation that matters, 1 if there is none."""
    return min((test.p for test in tests if test.deviation > SMALL), default=1.0)


def holm(tests: Iterable[Test], alpha: float) -> list[Test]:
    """Return the tests that fail, where the probability of any by chance is `alpha` (Holm, 1979).

    How large the deviations are does not count.
    """
    ordered = sorted(tests, key=lambda test: test.p)
    for number, test in enumerate(ordered):
        if test.p > alpha / (len(ordered) - number):
            return ordered[:number]
    return ordered


def smallest_effect(dtype: DType) -> float:
    """Return the deviation below which nothing is reported of weights of `dtype`."""
    return _SMALL_IN_16_BITS if dtype.endswith("float16") else SMALL


def impossible(verdict: str, evidence: str) -> Test:
    return Test(verdict, evidence, p=0.0, deviation=math.inf)


@functools.singledispatch
def _tests(law: Law, values: Array, dtype: DType) -> Iterator[Test]:
    """Yield the tests of finite values."""
    raise NotImplementedError(type(law).__name__)


@_tests.register
def _(law: FixedLaw, values: Array, dtype: DType) -> Iterator[Test]:
    expected = np.broadcast_to(law.make(), values.shape)
    # Logarithms and exponentials differ in their last bits.
    tolerance = 2 * epsilon(dtype) * np.abs(expected)
    differ = np.abs(values - expected) > tolerance
    count = int(np.count_nonzero(differ))
    if not count:
        yield Test("values", "", p=1.0, deviation=0.0)
        return
    place = np.unravel_index(int(np.argmax(differ)), values.shape)
    if (values == values.flat[0]).all():
        found = f"all are {values.flat[0]:.4g}"
    else:
        found = f"{count} of {values.size} differ"
    where = ", ".join(str(int(index)) for index in place)
    yield impossible(
        "values",
        f"{found}: [{where}] is {values[place]:.4g} instead of {expected[place]:.4g}",
    )


@_tests.register
def _(law: IndependentLaw, values: Array, dtype: DType) -> Iterator[Test]:
    extremes = float(values.min()), float(values.max())
    yield from _independent_tests(law, values, dtype, moments_of(values), extremes)


def _independent_tests(
    law: IndependentLaw,
    values: Array,
    dtype: DType,
    moments: Moments,
    extremes: tuple[float, float],
) -> Iterator[Test]:
    lowest, highest = extremes
    chance = _chance_of_equality(law, values, dtype)
    if lowest == highest and values.size > 1:
        p = chance ** (values.size - 1)
        evidence = f"all {values.size} values are {lowest:.4g}"
        yield Test("constant", evidence, p, deviation=math.inf)
        if p < _IMPOSSIBLE:
            return
    else:
        yield from _test_copies(values, dtype, chance)
        yield from _test_slices(values, chance)
    yield from _test_zeros(law, values, dtype)
    yield from _test_scale(law, values, moments, dtype)
    yield from _test_extremes(law, values, lowest, highest, dtype)


def _test_copies(values: Array, dtype: DType, chance: float) -> Iterator[Test]:
    """Yield tests of what holds of all independent values: they differ, and have all their bits.

    Two are equal with a probability of `chance`.
    """
    for axis, length in enumerate(values.shape):
        for count in (2, 3, 4, 8):
            size = length // count
            in_part = values.size // count
            if length % count or in_part < _FEWEST or chance**in_part > _IMPOSSIBLE:
                continue
            # Most arrays differ in the first place already.
            if not np.array_equal(values.take([0], axis), values.take([size], axis)):
                continue
            first, *others = np.split(values, count, axis)
            if all(np.array_equal(first, other) for other in others):
                yield impossible("copies", f"{count} equal parts along axis {axis}")
                return
    if dtype == "float32" and values.size >= _FEWEST:
        sample = np.ascontiguousarray(values.reshape(-1)[:SAMPLE], "float32")
        if not (sample.view("uint32") & 0xFFFF).any():
            yield impossible("precision", "float32 values that were rounded to bfloat16")
        elif (sample.astype("float16").astype("float32") == sample).all():
            yield impossible("precision", "float32 values that were rounded to float16")


def _test_slices(values: Array, chance: float) -> Iterator[Test]:
    """Yield a test if slices are equal, or equal but for their sign, and cannot be so by chance.

    They are slices along each axis, such as units, inputs or heads, and along the first or the last
    axes together, such as the units of all heads.

    Args:
        values: Independent values.
        chance: The probability that two of them are equal.
    """
    logarithm = math.log(chance)
    for first, last in _axes_of_slices(values.shape):
        lengths = values.shape[first:last]
        slices = values.reshape(math.prod(values.shape[:first]), math.prod(lengths), -1)
        count = slices.shape[1]
        repeated = _equal_slices(slices, logarithm * values.size / count)
        if not repeated:
            continue
        are_opposite = any(slices[0, one, 0] != slices[0, other, 0] for one, other in repeated)
        where = f"slices along {_axes_text(first, last)}"
        yield _are_equal(repeated, f"{count} {where}", lengths, are_opposite=are_opposite)
        return


def _are_equal(
    repeated: Sequence[tuple[int, int]], of: str, lengths: Shape, *, are_opposite: bool
) -> Test:
    """Return the failed test of slices, whose indices are along axes of these lengths."""
    but = " but for the sign" if are_opposite else ""
    evidence = f"{len(repeated)} of {of} equal to another{but}: {_pairs(repeated, lengths)}"
    return impossible("equal slices", evidence)


def _axes_of_slices(shape: Shape) -> list[tuple[int, int]]:
    """Return the first and last axes whose indices count slices, the fewest slices first."""
    ndim = len(shape)
    found = [(axis, axis + 1) for axis in range(ndim)]
    for cut in range(1, ndim):
        for first, last in ((0, cut), (cut, ndim)):
            others = math.prod(shape) // math.prod(shape[first:last])
            if last - first > 1 and others >= _FEWEST_OF_BLOCK:
                found.append((first, last))
    return sorted(found, key=lambda axes: math.prod(shape[slice(*axes)]))


def _chance_of_equality(law: IndependentLaw, values: Array, dtype: DType) -> float:
    """Return the probability that two values, rounded to `dtype`, are equal."""
    sample = sample_of(values, 4096)
    below, above = _rounded_to(sample.astype("float64"), dtype)
    cells = law.distribution_function(above) - law.distribution_function(below)
    # JAX draws no more random bits than the mantissa has.
    return min(1.0, max(float(np.abs(cells).mean()), epsilon(dtype)))


def _equal_slices(slices: Array, logarithm: float) -> list[tuple[int, int]]:
    """Return the slices that are equal to an earlier one, each with that one.

    Slices that are opposite count as equal. There are none if they may be equal by chance.

    Args:
        slices: The slices, along the middle axis.
        logarithm: That of the probability that two are equal.
    """
    count = slices.shape[1]
    pairs = count * (count - 1)  # equal or opposite
    expected = pairs * math.exp(logarithm)
    if expected >= 1:
        return []
    repeated = _repeated(slices)
    if poisson_tail(len(repeated), expected) < _IMPOSSIBLE:
        return repeated
    return []


def _repeated(slices: Array) -> list[tuple[int, int]]:
    """Return the slices that are equal or opposite to an earlier one, each with that one."""
    before, _, after = slices.shape
    places = np.linspace(0, before * after - 1, min(before * after, _BEGINNING)).astype(int)
    rows, columns = np.divmod(places, after)
    beginnings = _without_sign(slices[rows, :, columns])
    bits = np.ascontiguousarray(beginnings, "float32").view("uint32").astype("uint64")
    codes = _multipliers()[: len(places)] @ bits
    ordered = np.sort(codes)
    repeated_codes = ordered[1:][ordered[1:] == ordered[:-1]]
    if not repeated_codes.size:
        return []
    candidates = np.flatnonzero(np.isin(codes, repeated_codes))
    whole = slices[:, candidates].transpose(0, 2, 1).reshape(-1, len(candidates))
    whole = np.ascontiguousarray(_without_sign(whole).T)
    first: dict[bytes, int] = {}
    found = []
    for candidate, values in zip(candidates.tolist(), whole, strict=True):
        earliest = first.setdefault(values.tobytes(), candidate)
        if earliest != candidate:
            found.append((candidate, earliest))
    return found


@functools.cache
def _multipliers() -> Array:
    return np.random.default_rng(3).integers(1 << 64, size=_BEGINNING, dtype="uint64") | 1


def _without_sign(columns: Array) -> Array:
    """Return columns, of which each begins with a positive number, or with 0."""
    return np.where(columns[0] < 0, -columns, columns) + 0.0  # no zero with a sign


def _axes_text(first: int, last: int) -> str:
    if last == first + 1:
        return f"axis {first}"
    return f"axes {first} to {last - 1}"


def _pairs(repeated: Sequence[tuple[int, int]], lengths: Shape) -> str:
    """Return the places of the first slices that are equal, along axes of these lengths."""
    texts = []
    for pair in repeated[:_MOST_PAIRS]:
        places = [", ".join(map(str, np.unravel_index(index, lengths))) for index in pair]
        texts.append(f"[{places[0]}] to [{places[1]}]")
    if len(repeated) > _MOST_PAIRS:
        texts.append(f"and {len(repeated) - _MOST_PAIRS} more")
    return ", ".join(texts)


def _test_zeros(law: IndependentLaw, values: Array, dtype: DType) -> Iterator[Test]:
    if law.std < 1e3 * _SMALLEST.get(dtype, 0.0):
        return  # rounding makes zeros
    zeros = int(np.count_nonzero(values == 0))  # NumPy counts booleans in a fifth of the time
    yield Test(
        "zeros",
        f"{zeros} of {values.size} values are 0",
        p=poisson_tail(zeros, values.size * _ZEROS.get(dtype, _ZEROS_ELSE)),
        deviation=math.inf,
    )


def _test_scale(
    law: IndependentLaw, values: Array, moments: Moments, dtype: DType
) -> Iterator[Test]:
    """Yield tests of the location, the scale and the shape of a distribution."""
    # In order, they are looked up in a table in a third of the time.
    ordered = np.sort(sample_of(values)).astype("float64")
    u = _probabilities(law, ordered, dtype)
    n = u.size
    # Uniform between 0 and 1 under the law. Their mean is normal for few values already.
    location = (float(u.mean()) - 0.5) * math.sqrt(12 * n)
    shift = (moments.mean - law.mean) / law.std
    yield Test(
        "mean",
        f"mean {moments.mean:.3g}, expected {law.mean:.3g} with a standard deviation of "
        f"{law.std:.3g}",
        p=math.erfc(abs(location) / math.sqrt(2)),
        deviation=abs(shift),
    )
    # The distance from the median, in probability, is uniform too, and minus twice its logarithm
    # has a chi-squared distribution.
    tails = np.maximum(1 - np.abs(2 * u - 1), 1e-16)
    statistic = float(-2 * np.log(tails).sum())
    ratio = _root_mean_square(moments, law.mean) / law.std
    yield Test(
        "scale",
        scale_evidence(ratio),
        p=_chi_squared_two_sided(statistic, 2 * n),
        # What is left without the error of the measured scale.
        deviation=_distance(ratio) - 2 * math.sqrt(0.5 / moments.size),
    )
    if n >= _FEWEST:
        distance = kolmogorov_distance(u)
        yield Test(
            "shape",
            f"not {law.name}: distribution functions differ by {distance:.2g}",
            p=kolmogorov(distance, n),
            deviation=distance,
        )


def _probabilities(law: IndependentLaw, ordered: Array, dtype: DType) -> Array:
    """Return probabilities of values at most as large, uniform between 0 and 1 under the law.

    A number of `dtype` stands for all that are rounded to it, so one of these is drawn.

    Args:
        law: Their law.
        ordered: Values in increasing order, in float64.
        dtype: The dtype that they were rounded to.
    """
    step = _step(ordered[[0, -1]], dtype).max()
    if step < _FINE * law.std and not law.atom:
        return law.distribution_function(ordered)
    below, above = _rounded_to(ordered, dtype)
    # What is nearest to a bound stands for all up to it, if values were limited to the bounds.
    lower, upper = law.bounds
    below[(ordered == ordered[0]) & (2 * below - ordered < lower)] = -math.inf
    above[(ordered == ordered[-1]) & (2 * above - ordered > upper)] = math.inf
    low = law.distribution_function(below)
    high = law.distribution_function(above)
    drawn: Array = low + np.random.default_rng(1).random(ordered.size) * (high - low)
    return drawn


def scale_evidence(ratio: float) -> str:
    """Return a ratio of found over expected scale as text."""
    return f"{ratio:.3g} times the expected standard deviation"


def _distance(ratio: float) -> float:
    """Return how far a ratio is from 1, up or down."""
    if ratio <= 0:
        return math.inf
    return abs(math.log(ratio))


def _root_mean_square(moments: Moments, mean: float) -> float:
    """Return the root mean square of the deviations from the expected mean."""
    return math.hypot(moments.std, moments.mean - mean)


def _test_extremes(
    law: IndependentLaw, values: Array, lowest: float, highest: float, dtype: DType
) -> Iterator[Test]:
    """Yield tests of the lowest and the highest of all values."""
    size = values.size
    lower, upper = law.bounds
    # A value near a bound may have been rounded inward by a whole step.
    slack = 2 * float(_step(np.array(max(abs(lowest), abs(highest))), dtype))
    if lowest < lower - slack or highest > upper + slack:
        beyond = int(np.count_nonzero(values < lower - slack))
        beyond += int(np.count_nonzero(values > upper + slack))
        yield Test(
            "bounds",
            f"{beyond} of {size} values beyond the bounds, from {lowest:.4g} to {highest:.4g}, "
            f"expected {law.name} from {lower:.4g} to {upper:.4g}",
            p=poisson_tail(beyond, size * _RATE),
            deviation=math.inf,
        )
        return
    for extreme, outward in ((highest, 1), (lowest, -1)):
        # Rounding may have moved it by `slack` in either direction.
        least = _tail(law, extreme + slack * outward, outward)
        # JAX draws no more levels than the mantissa has, and the tails beyond the last are missing.
        least = max(least - epsilon(dtype), 0.0)
        most = _tail(law, extreme - slack * outward, outward)
        # That all values are as far in as this, and that any is so far out.
        inside = math.exp(size * math.log1p(-least))
        outside = -math.expm1(size * math.log1p(-most))
        yield Test(
            "bounds",
            f"the extreme of {size} values is {extreme:.4g}, with a standard deviation of "
            f"{law.std:.3g}",
            p=min(1.0, 2 * min(inside, outside)),
            deviation=math.inf,
        )


def _tail(law: IndependentLaw, x: float, outward: int) -> float:
    """Return the probability of a value beyond `x`, upward if `outward` is 1, else downward."""
    below = float(law.distribution_function(np.array(x)))
    tail = 1 - below if outward == 1 else below
    return min(max(tail, 0.0), 1 - 1e-16)


@_tests.register
def _(law: SparseLaw, values: Array, dtype: DType) -> Iterator[Test]:
    matrix = _as_matrix(values, law)
    inputs, units = matrix.shape
    places = np.flatnonzero(matrix)
    rows, columns = np.divmod(places, units)
    counts = np.bincount(columns, minlength=units)
    fewest = int(counts.min())
    most = int(counts.max())
    k = law.connections
    if (fewest, most) != (k, k):
        found = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        yield impossible("connections", f"{found} connections of a unit, expected {k}")
        if most == 0:
            return
    elif k < inputs and units >= _FEWEST:
        # The mean position of the connections of a unit has a known mean and variance.
        variance = (inputs - k) * (inputs + 1) / (12 * k)
        mean = float(rows.mean())
        deviation = (mean - (inputs - 1) / 2) / math.sqrt(variance / units)
        yield Test(
            "connections",
            f"connections at input {mean:.4g} on average, expected {(inputs - 1) / 2:.4g}",
            p=math.erfc(abs(deviation) / math.sqrt(2)),
            deviation=math.inf,
        )
    connections = matrix.reshape(-1)[places]
    if fewest == most:
        # Both the places and the values of all connections of a unit.
        order = np.argsort(columns, kind="stable")
        of_units = connections[order].reshape(units, fewest)
        signs = np.sign(of_units[:, :1])
        places_and_values = np.stack([rows[order].reshape(units, fewest), signs * of_units])
        logarithm = fewest * math.log(_chance_of_equality(law.value, connections, dtype))
        logarithm -= math.log(math.comb(inputs, fewest))
        repeated = _equal_slices(places_and_values, logarithm)
        if repeated:
            are_opposite = any(signs[one] != signs[other] for one, other in repeated)
            yield _are_equal(repeated, f"{units} units", (units,), are_opposite=are_opposite)
    yield from _tests(law.value, connections, dtype)


@_tests.register
def _(law: FrameLaw, values: Array, dtype: DType) -> Iterator[Test]:
    matrix = _as_matrix(values, law)
    blocks = np.split(matrix, law.blocks, axis=1)
    yield from _test_blocks((f"block {number}", block) for number, block in enumerate(blocks, 1))
    for block in blocks:
        yield from _test_frame(block, law.singular_values, dtype)


def _test_blocks(blocks: Iterable[tuple[str, Array]]) -> Iterator[Test]:
    """Yield a test if blocks, with their names, were drawn independently and are equal.

    Blocks that are opposite count as equal.
    """
    first: dict[bytes, tuple[str, Array]] = {}
    repeated = []
    for name, block in blocks:
        if np.count_nonzero(block) < _FEWEST_OF_BLOCK:
            continue
        # No zero has a sign.
        either = max((block + 0.0).tobytes(), (0.0 - block).tobytes())
        digest = hashlib.blake2b(either).digest()
        earliest, other = first.setdefault(digest, (name, block))
        if earliest != name:
            but = "" if np.array_equal(block, other) else " but for the sign"
            repeated.append(f"{name} equal to {earliest}{but}")
    if repeated:
        yield impossible("copies", truncated(repeated))


def _test_frame(block: Array, singular_values: float | Array, dtype: DType) -> Iterator[Test]:
    """Yield tests of a matrix with these singular values."""
    if min(block.shape) == 0:
        return
    if block.shape[0] < block.shape[1]:
        block = block.T
    tolerance = max(1e-3, 8 * epsilon(dtype))
    squares = float(np.einsum("ij,ij->", block, block, dtype="float64"))
    mean_square = float(np.mean(np.square(singular_values)))
    ratio = math.sqrt(squares / block.shape[1] / mean_square) if mean_square else 0.0
    off = _distance(ratio)
    if off > tolerance:
        yield Test("scale", scale_evidence(ratio), p=0.0, deviation=off)
        if not ratio:
            return
    else:
        yield Test("scale", "", p=1.0, deviation=0.0)
    if isinstance(singular_values, float | int):
        # Only a multiple of an orthonormal matrix keeps the directions of random vectors.
        probes = np.random.default_rng(0).standard_normal((block.shape[1], _PROBES))
        probes = probes.astype(block.dtype)
        kept = block.T @ (block @ probes) * (block.shape[1] / squares)
        error = float(np.linalg.norm(kept - probes) / np.linalg.norm(probes))
        if error > tolerance:
            side = "columns" if block.shape[0] >= block.shape[1] else "rows"
            yield impossible("orthonormality", f"{side} are not orthonormal: off by {error:.2g}")
        return
    found = np.linalg.svd(block.astype("float64"), compute_uv=False)
    error = float(np.abs(found / ratio - singular_values).max() / np.max(singular_values))
    if error > tolerance:
        yield impossible("singular values", f"singular values are off by {error:.2g}")


@_tests.register
def _(law: CenterLaw, values: Array, dtype: DType) -> Iterator[Test]:
    center = tuple((length - 1) // 2 for length in values.shape[:-2])
    kernel = values[center]
    outside = np.count_nonzero(values) - np.count_nonzero(kernel)
    if outside:
        yield impossible("zeros", f"{outside} values beside the center of the window are not 0")
    yield from _tests(law.center, kernel, dtype)


@_tests.register
def _(law: TiledLaw, values: Array, dtype: DType) -> Iterator[Test]:
    first, *others = np.split(values, law.count, axis=-1)
    if not all(np.array_equal(first, other) for other in others):
        yield impossible("copies", f"the {law.count} parts of the units differ")
    yield from _tests(law.part, first, dtype)


@_tests.register
def _(law: SlicesLaw, values: Array, dtype: DType) -> Iterator[Test]:
    slices = list(_slices(law, values))
    for name, part, block in slices:
        for test in _tests(part, block, dtype):
            evidence = f"{name}: {test.evidence}" if test.evidence else ""
            yield replace(test, evidence=evidence)
    if not law.are_independent:
        return
    yield from _test_blocks(_random_blocks(law, values, dtype))
    chances = []
    for _, part, block in slices:
        if isinstance(part, IndependentLaw):
            chances.append(_chance_of_equality(part, block, dtype))
    if len(chances) == len(law.laws):
        yield from _test_slices(values, max(chances))


def _slices(law: SlicesLaw, values: Array) -> Iterator[tuple[str, Law, Array]]:
    """Yield the name, the law and the values of each slice whose law is known."""
    begin = 0
    for number, (shape, part) in enumerate(zip(law.shapes, law.laws, strict=True), start=1):
        end = begin + shape[law.axis]
        place = [slice(None)] * values.ndim
        place[law.axis] = slice(begin, end)
        begin = end
        if part is not None and 0 not in shape:
            yield f"slice {number}", part, values[tuple(place)]


def _random_blocks(
    law: Law, values: Array, dtype: DType, name: str = ""
) -> Iterator[tuple[str, Array]]:
    """Yield all that was drawn by itself and is equal to nothing else by chance, with its name."""
    if isinstance(law, SlicesLaw) and law.are_independent:
        for part_name, part, block in _slices(law, values):
            full_name = f"{name}, {part_name}" if name else part_name
            yield from _random_blocks(part, block, dtype, full_name)
    elif isinstance(law, TiledLaw):
        first = np.split(values, law.count, axis=-1)[0]
        yield from _random_blocks(law.part, first, dtype, name)
    elif isinstance(law, IndependentLaw):
        if _chance_of_equality(law, values, dtype) ** values.size < _IMPOSSIBLE:
            yield name, values
    elif not isinstance(law, FixedLaw):
        yield name, values


def _as_matrix(values: Array, law: SparseLaw | FrameLaw) -> Array:
    """Return a kernel as a matrix of inputs and units."""
    inputs = [values.shape[axis] for axis in law.input_axes]
    units = [values.shape[axis] for axis in law.output_axes]
    ordered = values.transpose([*law.input_axes, *law.output_axes])
    return ordered.reshape(math.prod(inputs), math.prod(units))


def moments_of(values: Array) -> Moments:
    """Return the moments of all values, or of 262,144 of them."""
    return Moments(sampled(values))


def sampled(values: Array) -> Array:
    """Return all values, or 262,144 of them, as a vector."""
    return sample_of(values, MOST, run=4096)


def sample_of(values: Array, size: int = SAMPLE, run: int = 64) -> Array:
    """Return at most `size` of the values, in runs from all parts."""
    flat = values.reshape(-1)
    if flat.size <= size:
        return flat
    runs = size // run
    stratum = flat.size / runs
    room = np.random.default_rng(0).random(runs) * (stratum - run)
    starts = (np.arange(runs) * stratum + room).astype(int)
    return flat[starts[:, None] + np.arange(run)].reshape(-1)


def _rounded_to(x: Array, dtype: DType) -> tuple[Array, Array]:
    """Return from where to where numbers are rounded to those of `dtype`, given in float64."""
    twice = epsilon("float32") * np.abs(x)  # where a product was rounded before
    # Below a power of two they are nearer to each other.
    below = x - _step(np.nextafter(x, -math.inf), dtype) / 2 - twice
    above = x + _step(np.nextafter(x, math.inf), dtype) / 2 + twice
    return below, above


def _step(x: Array, dtype: DType) -> Array:
    """Return the distance of the numbers of `dtype` around each of `x`."""
    _, exponents = np.frexp(x)
    step: Array = np.maximum(np.ldexp(epsilon(dtype) / 2, exponents), _SMALLEST.get(dtype, 0.0))
    return step


def epsilon(dtype: DType) -> float:
    """Return the distance of 1 to the next larger number of `dtype`."""
    return {"float16": 2.0**-10, "bfloat16": 2.0**-7}.get(dtype, 2.0**-23)


def _chi_squared_two_sided(statistic: float, degrees: int) -> float:
    """Return the probability of a value as far out, for an even number of degrees of freedom."""
    if degrees > 2000:
        # The cube root is nearly normal (Wilson and Hilferty, 1931).
        spread = 2 / (9 * degrees)
        z = ((statistic / degrees) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
        return math.erfc(abs(z) / math.sqrt(2))
    below = poisson_tail(degrees // 2, statistic / 2)
    return min(1.0, 2 * min(below, 1 - below))


def poisson_tail(count: int, mean: float) -> float:
    """Return the probability that a Poisson variable is at least `count`."""
    if mean <= 0:
        return 0.0 if count else 1.0
    if mean < count:
        # Few terms of the tail itself, which one minus the others would round to 0. The others
        # may be millions, as where all values of a weight are beyond its bounds.
        first = count * math.log(mean) - mean - math.lgamma(count + 1)
        ratios = mean / (count + 1 + np.arange(200))
        return min(1.0, math.exp(first) * (1 + float(np.cumprod(ratios).sum())))
    counts = np.arange(count)
    logs = counts * math.log(mean) - mean - _log_factorials(count)
    return max(0.0, 1 - float(np.exp(logs).sum()))


@functools.lru_cache(maxsize=64)
def _log_factorials(count: int) -> Array:
    return np.array([math.lgamma(n + 1) for n in range(count)])


def kolmogorov_distance(u: Array) -> float:
    """Return the largest distance of a distribution function from that of uniform values."""
    # They are nearly in order, which this kind of sorting is fast for.
    ordered = np.sort(u, kind="stable")
    n = ordered.size
    above = np.arange(1, n + 1) / n - ordered
    below = ordered - np.arange(n) / n
    return float(max(above.max(), below.max()))


def kolmogorov(distance: float, n: int) -> float:
    """Return the probability of a larger distance (Stephens, 1970)."""
    x = (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * distance
    if x < 0.3:
        return 1.0
    k = np.arange(1, 20)
    signs = np.where(k % 2, 1, -1)
    terms = 2 * signs * np.exp(-2 * (k * x) ** 2)
    return float(np.clip(terms.sum(), 0, 1))
