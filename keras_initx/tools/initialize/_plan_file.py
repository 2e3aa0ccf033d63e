"""The file of a plan: a head, and a line for each weight with its initializer and its config.

Initializers are not written as Keras serializes objects: it would import the modules that a file
names.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_initx._checks import check_number, check_root, check_shape, check_type
from keras_initx._version import __version__
from keras_initx.files._formats import check_file
from keras_initx.files._local import LinedFormat
from keras_initx.initializers._as_ours import adapt_initializer
from keras_initx.initializers._initializer import (
    Initializer,
    RandomInitializer,
    constructor_parameters,
    is_array,
)
from keras_initx.initializers._scale import AxesInitializer
from keras_initx.initializers._seeds import initializers_within
from keras_initx.initializers._sharding import is_exact
from keras_initx.initializers._sparse import Masked
from keras_initx.tools.initialize._digest import array_digest
from keras_initx.tools.initialize._planned_weight import PlannedWeight, WeightPlan, row_with

FORMAT = LinedFormat(
    "keras_initx plan",
    1,
    "InitializationPlan.save",
    ("keras_initx", "keras", "seed", "weights"),
)
# The keys of a line.
_IN_LINE = ("path", "place", "shape", "dtype", "fans", "initializer", "reason", "digest")
# How the names of this package are registered with Keras, and how they are written everywhere else.
_REGISTERED = "initx>"
_WRITTEN = "initx."


def is_plan(content: Any) -> bool:
    """Return whether what a JSON file holds is a plan."""
    return FORMAT.is_in(content)


def plan_text(seed: int, weights: Sequence[PlannedWeight], *, has_values: bool) -> str:
    """Return the text of a plan.

    Args:
        seed: The seed from which all others are derived.
        weights: The weights.
        has_values: Whether they were drawn: then their digests are those of the values.
    """
    lines = [_line(weight, has_values) for weight in weights]
    return FORMAT.text((__version__, keras.__version__, seed), lines)


def _line(weight: PlannedWeight, has_values: bool) -> dict[str, Any]:
    """Return a weight as a line of the file."""
    row = weight.row
    line: dict[str, Any] = {"path": row.path}
    if weight.place != row.path:
        line["place"] = weight.place
    line |= {"shape": list(row.shape), "dtype": row.dtype}
    if row.fan_in is not None:
        line["fans"] = [row.fan_in, row.fan_out]
    if weight.initializer is None:
        return {**line, "initializer": None, "reason": row.reason}
    data, problem = _written_or_why_not(weight.initializer)
    if data is None:
        return {**line, "initializer": None, "reason": problem}
    digest = weight.digest
    if has_values:  # a line that was edited may have the digest of others
        digest = array_digest(weight.values()) if is_exact(weight.initializer) else None
    return {**line, "initializer": data, "digest": digest}


def _written_or_why_not(initializer: Any) -> tuple[dict[str, Any] | None, str]:
    """Return an initializer as a dict that JSON can hold, or `None`, and why it has none."""
    if not isinstance(initializer, keras.initializers.Initializer):
        return None, "a function, which has no config"
    for part in initializers_within(initializer):
        if adapt_initializer(part).arguments() is None:
            return None, f"the config of {type(part).__name__} lacks arguments"
    try:
        data = _written(initializer)
        json.dumps(data, allow_nan=False)
        if _written(_restored(data)) != data:
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
    arguments = adapt_initializer(initializer).arguments() or {}
    data["config"] = {name: _written_argument(value) for name, value in arguments.items()}
    # What `initialize` gave to it, and its constructor does not take.
    if isinstance(initializer, RandomInitializer) and "seed" not in constructor_parameters(cls):
        data["seed"] = initializer.seed
    if isinstance(initializer, AxesInitializer) and initializer.groups != (1, 1):
        data["groups"] = list(initializer.groups)
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


def planned_in_file(name: str, path: str) -> tuple[int, list[PlannedWeight]]:
    """Return the seed and the weights of the plan in a file.

    Args:
        name: Name of the argument in error messages.
        path: See `InitializationPlan.load`.
    """
    check_file(name, path)
    fields, weights = FORMAT.read(name, path, _parsed)
    with FORMAT.refusing(name, path, "the seed"):
        seed = check_root("seed", fields["seed"])
    return seed, list(weights.values())


def _parsed(line: Mapping[str, Any]) -> PlannedWeight:
    """Return the weight of a line."""
    unknown = line.keys() - set(_IN_LINE)
    if unknown:
        raise ValueError(f"unknown key {min(unknown)!r}")
    shape = check_shape(line["shape"])
    dtype = check_type("dtype", line["dtype"], str, "a text")
    np.dtype(dtype)  # raises the error of an unknown one
    fan_in, fan_out = line.get("fans", (None, None))
    for fan in (fan_in, fan_out):
        if fan is not None:
            check_number("fans", fan, positive=True)
    path = line["path"]
    place = check_type("place", line.get("place", path), str, "a text")
    row = WeightPlan(path, shape, dtype, None, line.get("reason", ""), fan_in, fan_out)
    if line["initializer"] is None:
        return PlannedWeight(row, None, path, place=place)
    initializer = _restored(line["initializer"])
    row = row_with(row, initializer, _seed_of(initializer))
    digest = _checked_digest(line.get("digest"))
    return PlannedWeight(row, initializer, path, digest, place=place)


def _restored(data: Any) -> keras.initializers.Initializer:
    """Return the initializer that `_written` has written.

    Raises:
        ValueError: If it did not write this, or the class is not known here.
    """
    if not isinstance(data, dict) or not data.keys() >= {"class", "config"}:
        raise ValueError(f"{data!r} has no class and config")
    if not isinstance(data["config"], dict):
        raise ValueError(f"the config must be an object. Received: {data['config']!r}")
    cls = _class_of(data["class"])
    if cls is None:
        raise ValueError(
            f"unknown class {data['class']!r}; register one of your own by "
            "`keras.saving.register_keras_serializable`"
        )
    unknown = data.keys() - _keys_of(cls)
    if unknown:
        raise ValueError(f"unknown key {min(unknown)!r} of {data['class']}")
    if not issubclass(cls, Initializer):
        of_keras: keras.initializers.Initializer = cls.from_config(data["config"])
        adapt_initializer(of_keras).check_numbers()
        _check_seed(data, cls)
        return of_keras
    config = {name: _restored_argument(value) for name, value in data["config"].items()}
    result: keras.initializers.Initializer = cls.from_config(config)
    _check_seed(data, cls)
    if isinstance(result, RandomInitializer) and not data.keys().isdisjoint(("seed", "groups")):
        groups = tuple(data["groups"]) if "groups" in data else None
        return result.for_weight(data.get("seed", result.seed), groups)
    return result


def _keys_of(cls: type) -> set[str]:
    """Return the keys that `_written` may write of a class."""
    keys = {"class", "config"}
    if issubclass(cls, RandomInitializer) and "seed" not in constructor_parameters(cls):
        keys.add("seed")
    if issubclass(cls, AxesInitializer):
        keys.add("groups")
    return keys


def _check_seed(data: Mapping[str, Any], cls: type) -> None:
    """Raise `ValueError` if an initializer would draw a seed of its own."""
    seeds = data
    if "seed" in constructor_parameters(cls):
        seeds = data["config"]
    elif not issubclass(cls, RandomInitializer):
        return
    if seeds.get("seed") is None:
        raise ValueError(f"{data['class']} must have a seed, an integer. Received: none, or null")


def _checked_digest(digest: Any) -> str | None:
    """Return the digest in a line, or raise `ValueError` if it is none."""
    if digest is None or (isinstance(digest, str) and re.fullmatch("[0-9a-f]{32}", digest)):
        return digest
    raise ValueError(f"a digest must be null or 32 hexadecimal digits. Received: {digest!r}")


def _restored_argument(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored_argument(item) for item in value]
    if isinstance(value, dict) and "class" in value:
        return _restored(value)
    return value


def _class_of(name: Any) -> Any:
    """Return the class of initializers with this name, Keras' or a registered one, or `None`."""
    found = None
    if isinstance(name, str):
        found = getattr(keras.initializers, name, None)
        if found is None:
            found = keras.saving.get_registered_object(name.replace(_WRITTEN, _REGISTERED))
    if isinstance(found, type) and issubclass(found, keras.initializers.Initializer):
        return found
    return None


def _seed_of(initializer: Any) -> int | None:
    """Return the first seed in an initializer, not that of the zeros which a weight keeps."""
    if isinstance(initializer, Masked):
        initializer = initializer.initializer
    for part in initializers_within(initializer):
        seed = getattr(part, "seed", None)
        if isinstance(seed, int):
            return seed
    return None
