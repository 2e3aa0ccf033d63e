"""The output of `show`: the documentation of one initializer, and statistics of a sample."""

import difflib
import inspect
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_initx.initializers import CatalogEntry, ConstantInitializer, Initializer, catalog
from keras_initx.rendering._table import named_values

# The sample has the first of these shapes that the initializer supports: a kernel, a square kernel, a bias (also of an
# LSTM or a GRU), a GRU bias with two rows, a convolution kernel.
SHAPES = ((256, 128), (128, 128), (384,), (2, 384), (3, 3, 64, 64))
# The values are copied several times, in float64 for the singular values. With memory overcommit, a process that takes
# too much is killed without a message.
MAX_ELEMENTS = 2**26


def find(name: str) -> CatalogEntry:
    """Return the catalog entry for `name`: an id, with or without `initx.`, or a class name.

    Raises:
        LookupError: If there is none. The message suggests similar names.
    """
    names = {}
    for entry in catalog():
        for full in entry.ids:
            names[full] = names[full.removeprefix("initx.")] = entry
        names[entry.cls.__name__] = entry
    if name in names:
        return names[name]
    close = {names[match].ids[0] for match in difflib.get_close_matches(name, names)}
    hint = f"did you mean {' or '.join(sorted(close))}?" if close else "`list` shows all ids."
    raise LookupError(f"no initializer is named {name!r}; {hint}")


def required(cls: type) -> list[str]:
    """Return the names of the arguments of `cls` that have no default."""
    parameters = inspect.signature(cls).parameters.values()
    return [parameter.name for parameter in parameters if parameter.default is parameter.empty]


def sample(
    cls: type[Initializer], config: dict[str, Any], shape: tuple[int, ...] | None, seed: int
) -> tuple[Initializer, np.ndarray]:
    """Create an initializer and draw a sample.

    Args:
        cls: Class of the initializer.
        config: Dict of its arguments.
        shape: Shape of the sample, or `None` for the first suitable one.
        seed: The seed to use if `cls` takes one and `config` has none.

    Returns:
        The initializer, and its values as a float32 array.

    Raises:
        OSError: If the initializer cannot read its file.
        TypeError: If an argument is missing or has the wrong type.
        ValueError: If an argument or the shape is invalid for the initializer, or the shape is too
            large.
    """
    if shape and math.prod(shape) > MAX_ELEMENTS:
        raise ValueError(
            f"`shape` must have at most {MAX_ELEMENTS} elements, {_size(MAX_ELEMENTS)} of float32. "
            f"Received: shape={shape}, {_size(math.prod(shape))}"
        )
    if "seed" in inspect.signature(cls).parameters:
        config = {"seed": seed, **config}
    initializer = cls.from_config(config)
    shapes = [shape] if shape else _default_shapes(initializer)
    return initializer, np.asarray(keras.ops.convert_to_numpy(_first(initializer, shapes)))


def _default_shapes(initializer: Initializer) -> Sequence[tuple[int, ...]]:
    # Random values are mostly for kernels. Constants are mostly for biases, but would also fill a kernel.
    return sorted(SHAPES, key=len) if isinstance(initializer, ConstantInitializer) else SHAPES


def _first(initializer: Initializer, shapes: Sequence[tuple[int, ...]]) -> Any:
    """Return values of the first of `shapes` that `initializer` supports."""
    errors = []
    for shape in shapes:
        try:
            return initializer(shape, "float32")
        except ValueError as error:
            errors.append(error)
    raise errors[0]


def _size(elements: int) -> str:
    """Format the size of this many float32 elements."""
    return f"{4 * elements / 2**30:.4g} GiB"


def _call(cls: type) -> inspect.Signature:
    """Return the signature of `cls` without types, which the docstring describes in words."""
    parameters = inspect.signature(cls).parameters.values()
    return inspect.Signature([parameter.replace(annotation=parameter.empty) for parameter in parameters])


def about(entry: CatalogEntry) -> str:
    """Return the catalog entry and the docstring of an initializer as text."""
    rows = {
        "ids": ", ".join(entry.ids),
        "class": f"keras_initx.{entry.cls.__name__}{_call(entry.cls)}",
        "values": entry.formula,
        "use": entry.use,
    }
    return f"{named_values(rows)}\n{inspect.getdoc(entry.cls)}\n"


def statistics(initializer: Initializer, values: np.ndarray) -> str:
    """Return a table of statistics of the `values` of `initializer`."""
    rows = {
        "sample of": repr(initializer),
        "shape": str(values.shape),
        "mean": f"{values.mean(dtype='float64'):.4g}",
        "std": f"{values.std(dtype='float64'):.4g}",
        "min": f"{values.min():.4g}",
        "max": f"{values.max():.4g}",
        "zeros": f"{np.mean(values == 0):.2%}",
    }
    if is_kernel(initializer, values):
        matrix = as_matrix(values)
        singular = singular_values(matrix)
        rows["as a matrix"] = str(matrix.shape)
        rows["largest singular value"] = f"{singular[0]:.4g}"
        rows["smallest singular value"] = f"{singular[-1]:.4g}"
        rows["condition number"] = condition_number(matrix, singular)
    return named_values(rows)


def is_kernel(initializer: Initializer, values: np.ndarray) -> bool:
    """Return whether `values` have singular values to show. The bias of a GRU has two rows but is not a kernel."""
    return values.ndim > 1 and not type(initializer).__name__.endswith("Bias") and bool(np.isfinite(values).all())


def as_matrix(kernel: np.ndarray) -> np.ndarray:
    """Return a kernel as a matrix of shape `(inputs, units)`."""
    return kernel.reshape(-1, kernel.shape[-1]).astype("float64")


def singular_values(matrix: np.ndarray) -> np.ndarray:
    """Return the singular values in descending order."""
    return np.linalg.svd(matrix, compute_uv=False)


def condition_number(matrix: np.ndarray, singular: np.ndarray) -> str:
    """Return the ratio of the largest to the smallest singular value as text, or "singular"."""
    # The rounding error of a singular value, as in NumPy's `matrix_rank`.
    if singular[-1] <= singular[0] * max(matrix.shape) * np.finfo("float64").eps:
        return "singular"
    return f"{singular[0] / singular[-1]:.4g}"
