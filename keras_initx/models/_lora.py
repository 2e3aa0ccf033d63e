"""Start the factors of low-rank adaptation (LoRA) in a model."""

import math
from typing import Literal, get_args

import keras
import numpy as np

from keras_initx._checks import check_choice, check_type
from keras_initx._seeds import derived_seed, root_seed
from keras_initx._typing import Array, DType, Shape, Tensor
from keras_initx.backends import backend
from keras_initx.initializers import RandomNormal
from keras_initx.models._assign import agreed, undone_after_error, vote
from keras_initx.models._initialize import draw
from keras_initx.models._plan import InitializationPlan, WeightPlan
from keras_initx.models._rules import description
from keras_initx.rendering import progress
from keras_initx.sampling import computing_dtype
from keras_initx.structure import LayerInitializer, ModelWeight, find_weights, is_quantized

__all__ = ["initialize_lora"]

Method = Literal["gaussian", "pissa"]

# Singular values below this share of the largest are what rounding to float32 leaves of zeros.
_LEAST_SINGULAR = 1e-6


def initialize_lora(
    model: keras.Layer, method: Method = "gaussian", *, seed: int | None = None
) -> InitializationPlan:
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
    the outputs are the same to rounding in the dtype of `W`. Nothing is drawn. The decomposition is
    computed in float64 on the host, and the entry of largest size in each column of `A` is
    positive: for the same `W`, backends agree within 1e-5, as far as singular values differ.

    Factors that have been trained are first merged into `W`, in either case. A model that Keras has
    loaded from a file needs this call before training goes on, because Keras merges the factors
    when it saves them, and both are 0 afterwards. The optimizer keeps its state: compile the model
    again if it has been trained. After an error or an interruption nothing is changed.

    Args:
        model: A built model or layer.
        method: How to start the factors.
        seed: `None` or an integer in `[0, 2**32)`. With `None`, a seed is drawn from Python's
            `random`, which `keras.utils.set_random_seed` controls.

    Returns:
        An `InitializationPlan` with a row for each weight that was set.

    Raises:
        TypeError: If `model` is not a Keras layer, or `seed` is not an integer.
        ValueError: If no layer has LoRA enabled, or one that has is quantized; if weights to be
            merged or decomposed are not finite, or the dtype of a weight cannot hold its new
            values; or if for `"pissa"` a kernel has a lower rank than its factors, or `lora_alpha`
            is 0.

    Example:
        >>> hidden = keras.layers.Dense(32, name="hidden")
        >>> model = keras.Sequential([keras.Input((64,)), hidden])
        >>> hidden.enable_lora(4)
        >>> plan = initialize_lora(model, "gaussian", seed=0)
        >>> for weight in plan.weights:
        ...     print(weight.path, weight.initializer)
        hidden/lora_kernel_a RandomNormal(stddev=0.25)
        hidden/lora_kernel_b Zeros()
        >>> plan = initialize_lora(model, "pissa")
        >>> [weight.path for weight in plan.weights]
        ['hidden/lora_kernel_a', 'hidden/lora_kernel_b', 'hidden/kernel']

    Reference:
        Hu and others, "LoRA: low-rank adaptation of large language models", ICLR 2022. Meng, Wang
        and Zhang, "PiSSA: principal singular values and singular vectors adaptation of large
        language models", NeurIPS 2024. Both as in Hugging Face's PEFT, `init_lora_weights`.
    """
    check_type("model", model, keras.Layer, "a Keras model or layer")
    check_choice("method", method, get_args(Method))
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
        with agreed(model), undone_after_error() as assign:
            for (kernel, a, b), pair in zip(adapted, factors, strict=True):
                vote()
                for weight, initializer in _starts(kernel, a, b, pair, root):
                    value, row = draw(weight, initializer, _row(weight, initializer), drawn_root)
                    assign(weight.variable, value)
                    rows.append(row)
                advance(1)
    return InitializationPlan(rows, root, dry_run=False)


def _adapted(model: keras.Layer) -> list[tuple[ModelWeight, ModelWeight, ModelWeight]]:
    """Return each kernel that has factors, with these."""
    weights = {weight.path: weight for weight in find_weights(model)}
    found = []
    quantized = []
    for path, a in weights.items():
        if a.name not in ("lora_kernel_a", "lora_embeddings_a"):
            continue
        if not getattr(a.layer, "lora_enabled", False):
            continue
        if is_quantized(a.layer):
            quantized.append(path)
            continue
        prefix = path.removesuffix(a.name)
        name = a.name.removeprefix("lora_").removesuffix("_a")
        found.append((weights[f"{prefix}{name}"], a, weights[f"{prefix}lora_{name}_b"]))
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
        if _is_trained(b):
            _check_finite(kernel, a, b)
            _check_holds(kernel, _merged(kernel, a, b))
        return None
    scale = _scale(a)
    rank = a.shape[-1]
    if scale == 0 or not math.isfinite(scale):
        raise ValueError(
            "`model` must have a finite `lora_alpha` other than 0 in each layer for "
            f"method='pissa'. Received: lora_alpha={a.layer.lora_alpha!r} in the layer of "
            f"{kernel.path!r}"
        )
    _check_finite(kernel, a, b)
    whole = _merged(kernel, a, b)
    left, singular, right = np.linalg.svd(whole, full_matrices=False)
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
    _check_holds(kernel, whole - scale * left @ right)
    return left, right


def _starts(
    kernel: ModelWeight,
    a: ModelWeight,
    b: ModelWeight,
    factors: tuple[Array, Array] | None,
    root: int,
) -> list[tuple[ModelWeight, LayerInitializer]]:
    """Return the weights to set, with functions that make their values.

    Args:
        kernel: A kernel.
        a: Its first factor.
        b: Its second factor.
        factors: The result of `_checked_factors`.
        root: The seed from which that of the first factor is derived.
    """
    if factors is not None:
        left, right = factors
        rest = _merged(kernel, a, b) - _scale(a) * left @ right
        return [(a, _given(left)), (b, _given(right)), (kernel, _given(rest))]
    drawn = RandomNormal(stddev=1 / a.shape[-1], seed=derived_seed(root, a.path))
    gaussian = [(a, drawn), (b, keras.initializers.Zeros())]
    if not _is_trained(b):
        return gaussian
    return [(kernel, _given(_merged(kernel, a, b))), *gaussian]


def _row(weight: ModelWeight, initializer: LayerInitializer) -> WeightPlan:
    """Return the row of a weight, before it is drawn."""
    return WeightPlan(
        weight.path,
        weight.shape,
        weight.dtype,
        weight.nbytes,
        description(initializer),
        seed=getattr(initializer, "seed", None),
    )


def _scale(a: ModelWeight) -> float:
    """Return the factor by which a layer multiplies the product of its factors."""
    return float(a.layer.lora_alpha / a.layer.lora_rank)


def _is_trained(b: ModelWeight) -> bool:
    """Return whether the second factor is not zero any more, as it starts."""
    return bool(_matrix(b).any())


def _merged(kernel: ModelWeight, a: ModelWeight, b: ModelWeight) -> Array:
    """Return the matrix by which a layer with these weights multiplies its inputs."""
    return _matrix(kernel) + _scale(a) * _matrix(a) @ _matrix(b)


def _check_finite(*weights: ModelWeight) -> None:
    """Raise `ValueError` unless all `weights` are finite."""
    for weight in weights:
        count = int((~np.isfinite(_matrix(weight))).sum())
        if count:
            raise ValueError(
                "`model` must have finite weights in each layer whose factors are merged or whose "
                f"kernel is decomposed. Received: {weight.path!r} with {count} values that are "
                "infinite or NaN"
            )


def _check_holds(weight: ModelWeight, matrix: Array) -> None:
    """Raise `ValueError` if values of `matrix` are beyond the range of the dtype of `weight`."""
    with np.errstate(over="ignore"):
        is_held = np.isfinite(matrix.astype(weight.dtype)).all()
    if not is_held:
        layer = weight.layer
        raise ValueError(
            "`model` must have weights that can hold their new values. Received: "
            f"{weight.path!r} of dtype {weight.dtype}, whose range they exceed, with "
            f"lora_alpha={layer.lora_alpha!r}"
        )


def _matrix(weight: ModelWeight) -> Array:
    """Return the values of a kernel or factor as a matrix, in float64."""
    values = backend.host_view(weight.variable.value).astype("float64")
    return values.reshape(-1, weight.shape[-1])


def _given(matrix: Array) -> LayerInitializer:
    """Return a function of shape and dtype that makes the values of `matrix`."""

    def from_kernel(shape: Shape, dtype: DType) -> Tensor:
        values = matrix.reshape(shape).astype(computing_dtype(dtype))
        return keras.ops.cast(values, dtype)

    return from_kernel
