"""Checks of arguments, with uniform error messages."""

import difflib
import inspect
import math
import operator
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

import keras
import numpy as np

from keras_initx._received import show
from keras_initx._suggestions import did_you_mean
from keras_initx._typing import DType, Seed, Shape, ShapeLike

Value = TypeVar("Value")

# The dtypes of numbers, with the distance of 1 from the next number.
EPSILONS = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
DTYPES = tuple(EPSILONS)


def check_shape(shape: ShapeLike) -> Shape:
    """Return `shape` as a tuple of non-negative Python integers."""
    try:
        lengths = tuple(operator.index(length) for length in shape)
    except TypeError:
        raise TypeError(
            f"`shape` must be a sequence of integers. Received: shape={show(shape)}"
        ) from None
    if any(length < 0 for length in lengths):
        raise ValueError(f"`shape` must not have negative lengths. Received: shape={show(shape)}")
    return lengths


def check_parts(shape: Shape, name: str, value: int) -> None:
    """Raise `ValueError` if the last length of `shape` is not a multiple of `value`."""
    if shape[-1] % value:
        raise ValueError(
            f"`shape` must have a last length that is a multiple of `{name}`. "
            f"Received: shape={shape}, {name}={value}"
        )


def check_dtype(dtype: DType | None) -> DType:
    """Return the name of a floating-point `dtype`, by default of `keras.config.floatx()`."""
    try:
        name: DType | None = keras.backend.standardize_dtype(dtype)
    except (TypeError, ValueError):
        name = None
    if name not in DTYPES:
        raise ValueError(f"`dtype` must be one of {DTYPES}. Received: dtype={show(dtype)}")
    return name


def check_number(name: str, value: Any, *, positive: bool = False) -> Any:
    """Return `value`, which must be a finite real number, greater than 0 if `positive`."""
    kind = "positive" if positive else "finite"
    required = f"`{name}` must be a {kind} number. Received: {name}={show(value)}"
    if not is_real(value):
        raise TypeError(required)
    number = to_float(value)
    if not math.isfinite(number) or (positive and number <= 0):
        raise ValueError(required)
    return value


def check_count(name: str, value: Any, *, least: int = 1) -> Any:
    """Return `value`, which must be an integer of at least `least`, 0 or 1."""
    kind = "positive" if least else "non-negative"
    required = f"`{name}` must be a {kind} integer. Received: {name}={show(value)}"
    if not is_integer(value):
        raise TypeError(required)
    if value < least:
        raise ValueError(required)
    return value


def check_flag(name: str, value: Value) -> Value:
    """Return `value`, which must be a bool."""
    return check_type(name, value, bool | np.bool_, "True or False")


def check_verbose(verbose: Any) -> Any:
    """Return `verbose`, which must be `"auto"`, 0 or 1."""
    if verbose == "auto" or (isinstance(verbose, int) and verbose in (0, 1)):
        return verbose
    raise ValueError(f"`verbose` must be 'auto', 0 or 1. Received: verbose={show(verbose)}")


def check_type(name: str, value: Value, types: Any, required: str) -> Value:
    """Return `value`, which must be an instance of one of `types`, `required` in words."""
    if not isinstance(value, types):
        raise TypeError(f"`{name}` must be {required}. Received: {name}={show(value)}")
    return value


def check_choice(name: str, value: Value, choices: Collection[str]) -> Value:
    """Return `value`, which must be one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        similar = difflib.get_close_matches(str(value).lower(), choices, n=1)
        raise ValueError(
            f"`{name}` must be one of {tuple(choices)}. Received: {name}={show(value)}"
            f"{did_you_mean(map(repr, similar))}"
        )
    return value


def check_seed(seed: Seed) -> Seed:
    """Return `seed`, which must be `None`, an integer, or a generator (possibly serialized)."""
    if isinstance(seed, dict):
        seed = keras.saving.deserialize_keras_object(seed)
    if seed is None or isinstance(seed, keras.random.SeedGenerator):
        return seed
    return check_root(
        "seed", seed, "`None`, an integer in [0, 2**32) or a `keras.random.SeedGenerator`"
    )


def check_root(name: str, value: Any, required: str = "an integer in [0, 2**32)") -> int:
    """Return `value`, which must be an integer in `[0, 2**32)`."""
    message = f"`{name}` must be {required}. Received: {name}={show(value)}"
    if not is_integer(value):
        raise TypeError(message)
    root = int(value)
    if not 0 <= root < 1 << 32:
        raise ValueError(message)
    return root


def accepts_arguments(function: Callable[..., Any], *arguments: Any) -> bool:
    """Return whether a function can be called with these arguments, as far as Python can tell."""
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # of functions that are not written in Python
        return True
    return True


def is_integer(value: Any) -> bool:
    """Return whether `value` is an integer, of Python or NumPy, and not a bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_real(value: Any) -> bool:
    """Return whether `value` is a real number, of Python or NumPy, and not a bool.

    Other numbers, such as a `Fraction`, could not be saved as JSON.
    """
    return is_integer(value) or isinstance(value, float | np.floating)


def to_float(value: Any) -> float:
    """Return a real number as a float. It is infinite if it is too large for a float."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def suggest_matches(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """Return the end of a message about an unknown name: similar names, if there are any."""
    close = difflib.get_close_matches(name, known, cutoff=cutoff)
    if not close:
        return ""
    return f"; close matches are {', '.join(map(repr, close))}"


def suggest_paths(pattern: str, paths: Sequence[str]) -> str:
    """Return the end of a message about a pattern that matches no path.

    It lists similar paths. If there are none, it lists the first path of each kind. For the path of
    a layer it lists the weights of the layer, the kernels first.
    """
    of_layer = [path for path in paths if path.startswith(f"{pattern}/")]
    if of_layer:
        of_layer.sort(key=lambda path: not path.endswith("kernel"))
        return f", since it is a layer with {', '.join(map(repr, of_layer[:3]))}"
    like_it = suggest_matches(pattern, paths)
    if like_it:
        return like_it
    kinds: dict[str, str] = {}
    for path in paths:
        kinds.setdefault(path.rpartition("/")[2], path)
    return f"; existing paths are {', '.join(map(repr, kinds.values()))}"


# Maximum number of names and problems that a message lists.
LISTED = 20


def truncate(texts: Sequence[str], mark: str = ", ") -> str:
    """Join `texts` in one line, and leave out the end of a long list."""
    return summarize_names(texts, mark, shown=LISTED)


def summarize_names(names: Sequence[str], between: str = ", ", shown: int = 4) -> str:
    """Return the first of some names, and the number of the other names."""
    text = between.join(names[:shown])
    if len(names) > shown:
        text += f" and {len(names) - shown} more"
    return text


def quote_names(names: Sequence[str]) -> str:
    """Return the first of some names in quotes, and the number of the other names."""
    return summarize_names([repr(name) for name in names], shown=3)
