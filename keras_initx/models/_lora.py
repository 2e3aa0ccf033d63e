"""Start the factors of low-rank adaptation (LoRA) in a model."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, get_args

import keras
import numpy as np

from keras_initx._checks import check_choice, check_flag, check_type
from keras_initx._seeds import derived_seed, root_seed
from keras_initx._typing import Array, DType, Shape, Tensor
from keras_initx.backends import Region, backend
from keras_initx.initializers import RandomNormal
from keras_initx.models._assign import undone_after_error
from keras_initx.models._changes import Change, Changes
from keras_initx.models._initialize import draw
from keras_initx.models._plan import WeightPlan
from keras_initx.models._rules import description
from keras_initx.rendering import counted, progress
from keras_initx.sampling import HOST, computing_dtype
from keras_initx.structure import (
    LayerInitializer,
    ModelWeight,
    check_model,
    find_weights,
    is_quantized,
)

__all__ = ["initialize_lora"]

Method = Literal["gaussian", "pissa"]

# The shorter side of kernels up to which all singular values are computed.
_EXACT_UP_TO = 1024
# Rounds of the decomposition of larger ones. Each takes two products with the kernel.
_ROUNDS = 8
# Values of a kernel that are in float64 at a time.
_BLOCK = 1 << 20
# Singular values below this share of the largest are what rounding to float32 leaves of zeros.
_LEAST_SINGULAR = 1e-6


def initialize_lora(
    model: keras.Layer,
    method: Method = "gaussian",
    *,
    seed: int | None = None,
    atomic: bool = True,
    dry_run: bool = False,
) -> Changes:
    """Initialize the factors of all layers with LoRA, in place, without a change of the outputs.

    Keras' `enable_lora(rank)` freezes the kernel `W` of a dense layer, einsum layer, convolution or
    embedding, and adds `s A B` to it, with factors `A` and `B` of rank `r` that are trained, and `s
    = lora_alpha / r`. A kernel with more than two axes is treated as a matrix of shape
    `(prod(shape[:-1]), shape[-1])`, as in Keras.

    With `"gaussian"`, `A` is drawn from `N(0, 1 / r²)`, and `B` is 0. The seed of each `A` is
    derived from `seed` and its path, see `seeds`, so it has the same bits on every backend, and `W`
    is unchanged.

    With `"pissa"`, the factors start as the principal part of `W`: with its `r` largest singular
    values and their vectors, `A = U sqrt(S / s)` and `B = sqrt(S / s) V`. `W` becomes the rest, so
    the outputs are the same to rounding in the dtype of `W`. The result has no seed. The
    decomposition is computed in float64 on the host, and the entry of largest size in each column
    of `A` is positive: for the same `W`, backends agree within 1e-5, as far as singular values
    differ. Of a kernel with more than 1024 inputs and outputs, and more than eight times the rank,
    only the principal part is computed, by randomized subspace iteration. Its error shows where
    singular values hardly differ: of 1100 x 1500 random numbers, a part of rank 16 has 98.1% of the
    best one's squared norm. If they fall like `1 / sqrt(i)`, it lacks less than one millionth.

    Factors that have been trained are first merged into `W`, in either case. A model that Keras has
    loaded from a file needs this call before training goes on, because Keras merges the factors
    when it saves them, and both are 0 afterwards. The optimizer keeps its state: compile the model
    again if it has been trained.

    Args:
        model: A built model or layer.
        method: How to start the factors.
        seed: `None` or an integer in `[0, 2**32)`. With `None`, a seed is drawn from Python's
            `random`, which `keras.utils.set_random_seed` controls.
        atomic: See `initialize`. With `"pissa"` it keeps the former values of all kernels.
        dry_run: If true, only say what would be changed and do not change the model.

    Returns:
        `Changes` with a row for each weight that was set; `after` is its standard deviation.

    Raises:
        TypeError: If `model` is not a Keras layer, `seed` is not an integer, or `atomic` is not a
            bool.
        ValueError: If a model is not built; if no layer has LoRA enabled, or one that has is
            quantized; if weights to be merged or decomposed are not finite, or the dtype of a
            weight cannot hold its new values; or if for `"pissa"` a kernel has a lower rank than
            its factors, or `lora_alpha` is 0.

    Example:
        >>> hidden = keras.layers.Dense(32, name="hidden")
        >>> model = keras.Sequential([keras.Input((64,)), hidden])
        >>> hidden.enable_lora(4)
        >>> for row in initialize_lora(model, "gaussian", seed=0).rows:
        ...     print(row.path, row.how)
        hidden/lora_kernel_a RandomNormal(stddev=0.25)
        hidden/lora_kernel_b Zeros()
        >>> for row in initialize_lora(model, "pissa").rows:
        ...     print(row.path, row.how)
        hidden/lora_kernel_a principal part of the kernel
        hidden/lora_kernel_b principal part of the kernel
        hidden/kernel without its principal part

    Reference:
        Hu and others, "LoRA: low-rank adaptation of large language models", ICLR 2022. Meng, Wang
        and Zhang, "PiSSA: principal singular values and singular vectors adaptation of large
        language models", NeurIPS 2024. Both as in Hugging Face's PEFT, `init_lora_weights`. Halko,
        Martinsson and Tropp, "Finding structure with randomness: probabilistic algorithms for
        constructing approximate matrix decompositions", SIAM Review 53 (2011), algorithm 4.4.
    """
    check_type("model", model, keras.Layer, "a Keras model or layer")
    if isinstance(model, keras.Model):
        check_model("model", model)
    check_choice("method", method, get_args(Method))
    check_flag("atomic", atomic)
    check_flag("dry_run", dry_run)
    root = root_seed(seed)
    drawn_root = root if seed is None else None
    adapted = _adapted(model)
    rows = []
    with progress("LoRA", 2 * len(adapted), "steps") as advance:
        # The error of any layer comes before the first weight is changed.
        factors = []
        for kernel, a, b in adapted:
            factors.append(_checked_factors(kernel, a, b, method))
            advance(1)
        with undone_after_error(atomic) as assign:
            for (kernel, a, b), pair in zip(adapted, factors, strict=True):
                for weight, how, start in _starts(kernel, a, b, pair, root):
                    std = None
                    if not dry_run:
                        if isinstance(start, _Sum):
                            value, std = start.drawn()
                        else:
                            value, plan = draw(weight, start, _plan(weight, how), drawn_root)
                            std = plan.std
                        assign(weight.variable, value)
                        del value, start  # which the next ones would come beside
                    size = math.prod(weight.shape)
                    row = Change(weight.path, "set", how, weight.shape, weight.dtype, size, size)
                    rows.append(replace(row, after=std))
                advance(1)
    would = "to be set" if dry_run else "set"
    summary = f"{len(rows)} weights of {counted(len(adapted), 'layer')} {would}, seed {root}."
    return Changes(rows, summary, "standard deviation", root, dry_run)


class Adapter(NamedTuple):
    """A kernel and its two factors."""

    kernel: ModelWeight
    a: ModelWeight
    b: ModelWeight


def adapters(weights: Iterable[ModelWeight]) -> list[Adapter]:
    """Return each kernel that has factors, with these."""
    by_path = {weight.path: weight for weight in weights}
    found = []
    for path, a in by_path.items():
        if a.name not in ("lora_kernel_a", "lora_embeddings_a"):
            continue
        if not getattr(a.layer, "lora_enabled", False):
            continue
        prefix = path.removesuffix(a.name)
        name = a.name.removeprefix("lora_").removesuffix("_a")
        found.append(Adapter(by_path[f"{prefix}{name}"], a, by_path[f"{prefix}lora_{name}_b"]))
    return found


def _adapted(model: keras.Layer) -> list[Adapter]:
    """Return the adapters of `model`, of which there must be one, and none quantized."""
    found = adapters(find_weights(model))
    quantized = [adapter.a.path for adapter in found if is_quantized(adapter.a.layer)]
    if quantized or not found:
        raise ValueError(
            "`model` must have layers with LoRA, none of them quantized: call their "
            "`enable_lora(rank)` before, and `quantize` after. "
            f"Received: model={model.name!r} with {quantized or 'none'}"
        )
    return found


def _checked_factors(
    kernel: ModelWeight, a: ModelWeight, b: ModelWeight, method: Method
) -> tuple[Array, Array] | None:
    """Return the factors that `"pissa"` gives a kernel, or `None` for `"gaussian"`.

    Raises:
        ValueError: If the values of the weights do not allow it, or could not hold the result.
    """
    if method == "gaussian":
        if is_trained(b):
            _check_finite(kernel, a, b)
            _merged(kernel, a, b).check_holds()
        return None
    scale = lora_scale(a)
    rank = a.shape[-1]
    if scale == 0 or not math.isfinite(scale):
        raise ValueError(
            "`model` must have a finite `lora_alpha` other than 0 in each layer for "
            f"method='pissa'. Received: lora_alpha={a.layer.lora_alpha!r} in the layer of "
            f"{kernel.path!r}"
        )
    _check_finite(kernel, a, b)
    merged = _merged(kernel, a, b)
    left, singular, right = _principal_part(merged.whole(), rank)
    known = int((singular > _LEAST_SINGULAR * singular[0]).sum())
    if known < rank:
        raise ValueError(
            "`method` must be 'gaussian' for a kernel of a rank below that of its factors, "
            f"{rank}. Received: method='pissa' for {kernel.path!r} of rank {known}"
        )
    left = left[:, :rank]
    right = right[:rank]
    # The entry of largest size in each column of the first factor is positive.
    signs = np.sign(left[np.abs(left).argmax(axis=0), range(rank)])
    with np.errstate(over="ignore"):
        sizes = np.sqrt(singular[:rank] / abs(scale))
    left = left * signs * sizes
    right = right * (signs * sizes * np.sign(scale))[:, None]
    _check_holds(a, left)
    _check_holds(b, right)
    # Processes that share the kernel may round differently: all use what the first has found.
    left = backend.from_processes(left, kernel.variable.value)[0]
    right = backend.from_processes(right, kernel.variable.value)[0]
    merged.plus(-scale * left, right).check_holds()
    return left, right


def _principal_part(matrix: "Matrix", rank: int) -> tuple[Array, Array, Array]:
    """Return the largest singular values of a matrix, `rank` or more, between their vectors."""
    length = min(matrix.shape)
    if length <= _EXACT_UP_TO or length <= 8 * rank:
        return np.linalg.svd(matrix.array(), full_matrices=False)
    # More columns than needed make their errors smaller.
    drawn = RandomNormal(stddev=1.0, seed=0)((matrix.shape[1], 2 * rank + 10), dtype="float32")
    right = backend.host_view(drawn).astype("float64")
    for _ in range(_ROUNDS):
        left, _ = np.linalg.qr(matrix.times(right))
        product = matrix.transposed_times(left)
        right, _ = np.linalg.qr(product)
    inner, singular, vectors = np.linalg.svd(product.T, full_matrices=False)
    return left @ inner, singular, vectors


def _starts(
    kernel: ModelWeight,
    a: ModelWeight,
    b: ModelWeight,
    factors: tuple[Array, Array] | None,
    root: int,
) -> "Iterator[tuple[ModelWeight, str, LayerInitializer | _Sum]]":
    """Yield the weights to set, with what that is in words, and what makes their values.

    Args:
        kernel: A kernel.
        a: Its first factor.
        b: Its second factor.
        factors: The result of `_checked_factors`.
        root: The seed from which that of the first factor is derived.
    """
    if factors is not None:
        left, right = factors
        rest = _merged(kernel, a, b).plus(-lora_scale(a) * left, right)
        yield a, "principal part of the kernel", _given(left)
        yield b, "principal part of the kernel", _given(right)
        yield kernel, "without its principal part", rest
        return
    if is_trained(b):
        yield kernel, "merged with its trained factors", _merged(kernel, a, b)
    normal = RandomNormal(stddev=1 / a.shape[-1], seed=derived_seed(root, a.path))
    yield a, description(normal), normal
    yield b, "Zeros()", keras.initializers.Zeros()


def _plan(weight: ModelWeight, how: str) -> WeightPlan:
    return WeightPlan(weight.path, weight.shape, weight.dtype, weight.nbytes, how)


def lora_scale(a: ModelWeight) -> float:
    """Return the factor by which a layer multiplies the product of its factors."""
    return float(a.layer.lora_alpha / a.layer.lora_rank)


def is_trained(b: ModelWeight) -> bool:
    """Return whether the second factor is not zero any more, as it starts."""
    return backend.has_nonzero(b.variable.value)


class _Sum:
    """A kernel plus products of thin matrices.

    Args:
        kernel: The kernel. More than two axes are those of a matrix with the last axis of theirs.
        products: The two factors of each product, in float64.
    """

    def __init__(self, kernel: ModelWeight, products: Sequence[tuple[Array, Array]]) -> None:
        self._kernel = kernel
        self._products = products

    def plus(self, left: Array, right: Array) -> "_Sum":
        """Return the sum of this and a product."""
        return _Sum(self._kernel, [*self._products, (left, right)])

    def whole(self) -> "Matrix":
        """Return all of it. The kernel is brought together."""
        return self._part(None, backend.host_view(self._kernel.variable.value))

    def check_holds(self) -> None:
        """Raise `ValueError` if the kernel cannot hold these values, of those that are here."""
        for region, values in backend.parts(self._kernel.variable.value):
            for _, block in self._part(region, values).blocks():
                _check_holds(self._kernel, block)

    def drawn(self) -> tuple[Tensor, float]:
        """Return the values, distributed like those of the kernel, and their deviation."""

        def changed(region: Region | None, values: Array) -> Array:
            found = HOST.empty(values.shape, values.dtype)
            rows_of_it = found.reshape(-1, found.shape[-1])
            for rows, block in self._part(region, values).blocks():
                rows_of_it[rows] = block
            return found

        value = backend.changed_in_parts(self._kernel.variable.value, changed)
        return value, backend.std(value)

    def _part(self, region: Region | None, values: Array) -> "Matrix":
        """Return a part, of which the kernel has these values."""
        products = []
        for left, right in self._products:
            if region is not None:
                rank = left.shape[-1]
                left = left.reshape(*self._kernel.shape[:-1], rank)[region[:-1]].reshape(-1, rank)
                right = right[:, region[-1]]
            products.append((left, right))
        return Matrix(values.reshape(-1, values.shape[-1]), products)


class Matrix:
    """A matrix plus products of thin ones, computed in float64, in blocks.

    Args:
        values: The matrix.
        products: The two factors of each product.

    Attributes:
        shape: Its shape.
    """

    def __init__(self, values: Array, products: Sequence[tuple[Array, Array]]) -> None:
        self.shape = values.shape
        self._values = values
        self._products = products

    def array(self) -> Array:
        """Return all values."""
        ((_, block),) = self.blocks(size=self._values.size)
        return block

    def times(self, right: Array) -> Array:
        """Return the product with a thin matrix."""
        return np.concatenate([block @ right for _, block in self.blocks()])

    def transposed_times(self, left: Array) -> Array:
        """Return the product of the transposed matrix with a thin one."""
        total = np.zeros((self.shape[1], left.shape[1]))
        for rows, block in self.blocks():
            total += block.T @ left[rows]
        return total

    def blocks(self, size: int = _BLOCK) -> Iterator[tuple[slice, Array]]:
        """Yield some rows after others, with their places.

        Args:
            size: The number of values of a block.
        """
        count = max(1, size // max(self.shape[1], 1))
        for begin in range(0, len(self._values), count):
            rows = slice(begin, begin + count)
            block = self._values[rows].astype("float64")
            for left, right in self._products:
                block += left[rows] @ right
            yield rows, block


def _merged(kernel: ModelWeight, a: ModelWeight, b: ModelWeight) -> _Sum:
    """Return the matrix by which a layer with these weights multiplies its inputs."""
    return _Sum(kernel, [(lora_scale(a) * _matrix(a), _matrix(b))])


def _check_finite(*weights: ModelWeight) -> None:
    """Raise `ValueError` unless all `weights` are finite."""
    for weight in weights:
        if backend.is_finite(weight.variable.value):
            continue
        count = int((~np.isfinite(backend.host_view(weight.variable.value))).sum())
        raise ValueError(
            "`model` must have finite weights in each layer whose factors are merged or whose "
            f"kernel is decomposed. Received: {weight.path!r} with {count} values that are "
            "infinite or NaN"
        )


def _check_holds(weight: ModelWeight, matrix: Array) -> None:
    """Raise `ValueError` if `weight` cannot hold the values of `matrix`."""
    with np.errstate(over="ignore"):
        is_held = np.isfinite(matrix.astype(weight.dtype)).all()
    if not is_held:
        raise ValueError(
            "`model` must have weights that can hold their new values. Received: "
            f"{weight.path!r} of dtype {weight.dtype}, whose range they exceed, with "
            f"lora_alpha={weight.layer.lora_alpha!r}"
        )


def _matrix(weight: ModelWeight) -> Array:
    """Return the values of a factor as a matrix, in float64."""
    values = backend.host_view(weight.variable.value).astype("float64")
    return values.reshape(-1, weight.shape[-1])


def _given(matrix: Array) -> LayerInitializer:
    """Return a function of shape and dtype that makes the values of `matrix`."""

    def from_kernel(shape: Shape, dtype: DType) -> Tensor:
        values = matrix.reshape(shape).astype(computing_dtype(dtype))
        return keras.ops.cast(values, dtype)

    return from_kernel
