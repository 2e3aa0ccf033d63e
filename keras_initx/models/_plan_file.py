"""The text of a plan: a head, and a line for each weight with its initializer and its config."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_initx._array_files import check_file
from keras_initx._checks import is_integer, is_real
from keras_initx._files import LinedFormat
from keras_initx._seeds import initializers_within
from keras_initx._version import __version__
from keras_initx.initializers import (
    AxesInitializer,
    Initializer,
    RandomInitializer,
    arguments_of,
    check_numbers,
    is_array,
    parameters_of,
    with_seed,
)

_FORMAT = LinedFormat(
    "keras_initx plan",
    1,
    "InitializationPlan.save",
    ("keras_initx", "keras", "seed", "weights"),
)
_REQUIRED = ("path", "shape", "dtype", "initializer")
_OPTIONAL = ("fans", "zeros", "reason", "digest")
_IN_INITIALIZER = ("class", "config", "seed", "groups")
# How the names of this package are registered with Keras, and how they are written everywhere else.
_REGISTERED = "initx>"
_WRITTEN = "initx."


def is_plan(content: Any) -> bool:
    """Return whether what a JSON file holds is a plan."""
    return _FORMAT.is_in(content)


def plan_text(seed: int, lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of a plan.

    Args:
        seed: The seed from which all others are derived.
        lines: A dict for each weight.
    """
    return _FORMAT.text((__version__, keras.__version__, seed), lines)


def read_lines(name: str, path: str) -> tuple[int, list[dict[str, Any]]]:
    """Return the seed of the plan in a file, and its lines, checked but for the initializers.

    Args:
        name: Name of the argument in error messages.
        path: The file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If there is no file, or no complete plan of this version in it.
    """
    check_file(name, path)
    content = _FORMAT.read(name, path)
    seed = content["seed"]
    if not is_integer(seed) or not 0 <= seed < 1 << 32:
        problem = f"has the seed {seed!r}, which must be an integer in [0, 2**32)"
        raise refused(name, path, problem)
    lines: list[dict[str, Any]] = content["weights"]
    paths = set()
    for number, line in enumerate(lines, 1):
        problem = _problem_of_line(line)
        if not problem and line["path"] in paths:
            problem = "has the path of a line before"
        if problem:
            raise refused(name, path, f"{_place(number, line)} {problem}")
        paths.add(line["path"])
    return seed, lines


def refused(name: str, path: str, problem: str) -> ValueError:
    """Return the error about a file that is no plan."""
    return _FORMAT.refused(name, path, problem)


def _place(number: int, line: Any) -> str:
    path = line.get("path") if isinstance(line, dict) else None
    if path is None:
        return f"in weight {number}"
    return f"in weight {number}, {path!r},"


def _problem_of_line(line: Any) -> str:
    """Return what is wrong with a line, in the words after "weight 3"; nothing if it is right."""
    if not isinstance(line, dict) or not line.keys() >= set(_REQUIRED):
        return f"has not all of the keys {_REQUIRED}"
    unknown = line.keys() - {*_REQUIRED, *_OPTIONAL}
    if unknown:
        return f"has the unknown key {min(unknown)!r}"
    if not isinstance(line["path"], str) or not line["path"]:
        return "has a path that is not a text"
    shape = line["shape"]
    if not isinstance(shape, list) or not all(is_integer(n) and n >= 0 for n in shape):
        return f"has the shape {shape!r}, which must be a list of lengths"
    try:
        known = isinstance(line["dtype"], str) and bool(np.dtype(line["dtype"]))
    except TypeError:
        known = False
    if not known:
        return f"has the unknown dtype {line['dtype']!r}"
    fans = line.get("fans", [1, 1])
    is_pair = isinstance(fans, list) and len(fans) == 2
    if not is_pair or not all(is_real(fan) and 0 < fan < math.inf for fan in fans):
        return f"has the fans {fans!r}, which must be the numbers of inputs and of outputs"
    if not isinstance(line.get("reason", ""), str):
        return "has a reason that is not a text"
    digest = line.get("digest")
    is_digest = isinstance(digest, str) and re.fullmatch("[0-9a-f]{32}", digest)
    if digest is not None and not is_digest:
        return f"has the digest {digest!r}, which must be 32 hexadecimal digits"
    return ""


def initializers_of(
    name: str, path: str, number: int, line: Mapping[str, Any]
) -> tuple[keras.initializers.Initializer | None, keras.initializers.Initializer | None]:
    """Return the initializer of a line, and the one whose zeros its weight keeps, if it has them.

    Raises:
        ValueError: If one of them cannot be made.
    """
    found: list[keras.initializers.Initializer | None] = []
    for key in ("initializer", "zeros"):
        data = line.get(key)
        if data is None:
            found.append(None)
            continue
        try:
            found.append(restored(data))
        except Exception as error:  # A user's class may raise anything.
            problem = f"{_place(number, line)} has an initializer that cannot be made: {error}"
            raise refused(name, path, problem) from error
    initializer, zeros = found
    return initializer, zeros


def written(initializer: Any) -> tuple[dict[str, Any] | None, str]:
    """Return an initializer as a dict that JSON can hold, or `None`, and why it has none."""
    if not isinstance(initializer, keras.initializers.Initializer):
        return None, "a function, which has no config"
    for part in initializers_within(initializer):
        is_identity = type(part) is keras.initializers.Identity
        if arguments_of(part) is None and not is_identity:
            return None, f"the config of {type(part).__name__} lacks arguments"
    try:
        data = _written(initializer)
        json.dumps(data, allow_nan=False)
        if _written(restored(data)) != data:
            return None, f"{type(initializer).__name__} changes with its config"
    except Exception as error:  # A user's class may raise anything.
        return None, str(error)
    return data, ""


def _written(initializer: keras.initializers.Initializer) -> dict[str, Any]:
    cls = type(initializer)
    name = keras.saving.get_registered_name(cls).replace(_REGISTERED, _WRITTEN)
    if _class_of(name) is not cls:
        raise ValueError(f"{cls.__name__} is not registered with Keras")
    data: dict[str, Any] = {"class": name}
    if not isinstance(initializer, Initializer):
        data["config"] = keras.saving.serialize_keras_object(initializer)["config"]
        if cls is keras.initializers.Identity:
            data["config"]["gain"] = initializer.gain  # which Keras leaves out
        return data
    arguments = arguments_of(initializer) or {}
    data["config"] = {name: _written_argument(value) for name, value in arguments.items()}
    # What `initialize` gave to it, and its constructor does not take.
    if isinstance(initializer, RandomInitializer) and "seed" not in parameters_of(cls):
        data["seed"] = initializer.seed
    if isinstance(initializer, AxesInitializer) and initializer._groups != (1, 1):
        data["groups"] = list(initializer._groups)
    return data


def _written_argument(value: Any) -> Any:
    if isinstance(value, keras.initializers.Initializer):
        return _written(value)
    if isinstance(value, list | tuple):
        return [_written_argument(item) for item in value]
    if is_array(value) or isinstance(value, keras.random.SeedGenerator):
        return keras.saving.serialize_keras_object(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.item()
    return value


def restored(data: Any) -> keras.initializers.Initializer:
    """Return the initializer that `written` has written.

    Raises:
        ValueError: If it did not write this, or the class is not known here.
    """
    if not isinstance(data, dict) or not data.keys() >= {"class", "config"}:
        raise ValueError(f"{data!r} has no class and config")
    unknown = data.keys() - set(_IN_INITIALIZER)
    if unknown:
        raise ValueError(f"unknown key {min(unknown)!r}")
    cls = _class_of(data["class"])
    if cls is None:
        raise ValueError(
            f"unknown class {data['class']!r}; register one of your own by "
            "`keras.saving.register_keras_serializable`"
        )
    if not issubclass(cls, Initializer):
        of_keras: keras.initializers.Initializer = cls.from_config(data["config"])
        check_numbers(of_keras)
        return of_keras
    config = {name: _restored_argument(value) for name, value in data["config"].items()}
    result: keras.initializers.Initializer = cls.from_config(config)
    if "seed" in data and isinstance(result, RandomInitializer):
        result = with_seed(result, data["seed"])
    if "groups" in data and isinstance(result, AxesInitializer):
        inputs, units = data["groups"]
        result._groups = inputs, units
    return result


def _restored_argument(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored_argument(item) for item in value]
    if isinstance(value, dict) and "class" in value:
        return restored(value)
    return value


def _class_of(name: Any) -> Any:
    """Return the class of initializers with this name, Keras' or a registered one, or `None`."""
    found = None
    if isinstance(name, str):
        found = getattr(keras.initializers, name, None)
        if found is None:
            found = keras.saving.get_registered_object(name)
    if isinstance(found, type) and issubclass(found, keras.initializers.Initializer):
        return found
    return None
