"""Write and read the file of a plan: a head, and a line for each weight.

    {"path": "dense_1/kernel", "place": "dense 2 of 3/kernel", "shape": [8, 4], "dtype": "float32",
     "fans": [8, 4], "initializer": {"class": "initx.HeNormal", "config": {"seed": 7, ...}},
     "digest": "c2820d5a7e9a77b549ea68c994891045"}
    {"path": "out/bias", "shape": [4], "dtype": "float32", "initializer": null, "reason": "by rule"}

`place` is the canonical path, if it differs from the path. `"initx.HeNormal"` is the registered
name of a class. Initializers have a form of their own, because Keras would import the modules that
a file names.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_initx._checks import check_number, check_root, check_shape, check_type
from keras_initx._received import show
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
from keras_initx.tools.initialize._planned_weight import (
    PlannedWeight,
    WeightPlan,
    describe_initializer,
)

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
    """Return whether the content of a JSON file is a plan."""
    return FORMAT.is_in(content)


def format_plan(seed: int, weights: Sequence[PlannedWeight], *, has_values: bool) -> str:
    """Format a plan as the text of its file.

    Args:
        seed: The root of all seeds.
        weights: The weights.
        has_values: Whether they were drawn. Then the digests are digests of the values.
    """
    lines = [_format_line(weight, has_values) for weight in weights]
    return FORMAT.text((__version__, keras.__version__, seed), lines)


def _format_line(weight: PlannedWeight, has_values: bool) -> dict[str, Any]:
    row = weight.row
    line: dict[str, Any] = {"path": row.path}
    if weight.canonical_path != row.path:
        line["place"] = weight.canonical_path
    line |= {"shape": list(row.shape), "dtype": row.dtype}
    if row.fan_in is not None:
        line["fans"] = [row.fan_in, row.fan_out]
    if weight.initializer is None:
        return {**line, "initializer": None, "reason": row.detail}
    data, reason = _serialize_or_say_why_not(weight.initializer)
    if data is None:
        return {**line, "initializer": None, "reason": reason}
    digest = weight.digest
    if has_values:  # a line that was edited may have the digest of others
        digest = array_digest(weight.values()) if is_exact(weight.initializer) else None
    return {**line, "initializer": data, "digest": digest}


def _serialize_or_say_why_not(initializer: Any) -> tuple[dict[str, Any] | None, str]:
    """Serialize an initializer to a dict that JSON can hold, or return `None` and the reason."""
    if not isinstance(initializer, keras.initializers.Initializer):
        return None, "a function, which has no config"
    for nested in initializers_within(initializer):
        if adapt_initializer(nested).arguments() is None:
            return None, f"the config of {type(nested).__name__} lacks arguments"
    try:
        data = _serialize(initializer)
        json.dumps(data, allow_nan=False)
        if _serialize(_deserialize(data)) != data:
            return None, f"{type(initializer).__name__} changes with its config"
    except Exception as error:  # A user's class may raise anything.
        return None, str(error)
    return data, ""


def _serialize(initializer: keras.initializers.Initializer) -> dict[str, Any]:
    cls = type(initializer)
    name = keras.saving.get_registered_name(cls).replace(_REGISTERED, _WRITTEN)
    if _find_class(name) is not cls:
        raise ValueError(f"{cls.__name__} is not registered with Keras")
    data: dict[str, Any] = {"class": name}
    if not isinstance(initializer, Initializer):
        data["config"] = keras.saving.serialize_keras_object(initializer)["config"]
        if cls is keras.initializers.Identity:
            data["config"]["gain"] = initializer.gain  # which Keras leaves out
        return data
    arguments = adapt_initializer(initializer).arguments() or {}
    data["config"] = {name: _serialize_argument(value) for name, value in arguments.items()}
    # What `initialize` gave to it, and its constructor does not take.
    if isinstance(initializer, RandomInitializer) and "seed" not in constructor_parameters(cls):
        data["seed"] = initializer.seed
    if isinstance(initializer, AxesInitializer) and initializer.groups != (1, 1):
        data["groups"] = list(initializer.groups)
    return data


def _serialize_argument(value: Any) -> Any:
    if isinstance(value, keras.initializers.Initializer):
        return _serialize(value)
    if isinstance(value, list | tuple):
        return [_serialize_argument(item) for item in value]
    if is_array(value) or isinstance(value, keras.random.SeedGenerator):
        return keras.saving.serialize_keras_object(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.item()
    return value


def read_planned_weights(name: str, path: str) -> tuple[int, list[PlannedWeight]]:
    """Read the seed and the weights of the plan in a file.

    Args:
        name: Name of the argument in error messages.
        path: See `InitializationPlan.load`.
    """
    check_file(name, path)
    fields, weights = FORMAT.read(name, path, _parse_line)
    with FORMAT.refusing(name, path, "the seed"):
        seed = check_root("seed", fields["seed"])
    return seed, list(weights.values())


def _parse_line(line: Mapping[str, Any]) -> PlannedWeight:
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
    canonical_path = check_type("place", line.get("place", path), str, "a text")
    row = WeightPlan(path, shape, dtype, None, line.get("reason", ""), fan_in, fan_out)
    if line["initializer"] is None:
        return PlannedWeight(row, None, path, canonical_path=canonical_path)
    initializer = _deserialize(line["initializer"])
    row = describe_initializer(row, initializer, _find_seed(initializer))
    digest = _check_digest(line.get("digest"))
    return PlannedWeight(row, initializer, path, digest, canonical_path=canonical_path)


def _deserialize(data: Any) -> keras.initializers.Initializer:
    """Make the initializer from the dict that `_serialize` has written.

    Raises:
        ValueError: If the dict has another form, or the class is not known here.
    """
    if not isinstance(data, dict) or not data.keys() >= {"class", "config"}:
        raise ValueError(f"{data!r} has no class and config")
    if not isinstance(data["config"], dict):
        raise ValueError(f"the config must be an object. Received: {show(data['config'])}")
    cls = _find_class(data["class"])
    if cls is None:
        raise ValueError(
            f"unknown class {data['class']!r}; register one of your own by "
            "`keras.saving.register_keras_serializable`"
        )
    unknown = data.keys() - _list_keys(cls)
    if unknown:
        raise ValueError(f"unknown key {min(unknown)!r} of {data['class']}")
    if not issubclass(cls, Initializer):
        other: keras.initializers.Initializer = cls.from_config(data["config"])
        adapt_initializer(other).check_numbers()
        _check_seed(data, cls)
        return other
    config = {name: _deserialize_argument(value) for name, value in data["config"].items()}
    ours: keras.initializers.Initializer = cls.from_config(config)
    _check_seed(data, cls)
    if isinstance(ours, RandomInitializer) and not data.keys().isdisjoint(("seed", "groups")):
        groups = tuple(data["groups"]) if "groups" in data else None
        return ours.for_weight(data.get("seed", ours.seed), groups)
    return ours


def _list_keys(cls: type) -> set[str]:
    """List the keys that `_serialize` may write for a class."""
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


def _check_digest(digest: Any) -> str | None:
    if digest is None or (isinstance(digest, str) and re.fullmatch("[0-9a-f]{32}", digest)):
        return digest
    raise ValueError(f"a digest must be null or 32 hexadecimal digits. Received: {show(digest)}")


def _deserialize_argument(value: Any) -> Any:
    if isinstance(value, list):
        return [_deserialize_argument(item) for item in value]
    if isinstance(value, dict) and "class" in value:
        return _deserialize(value)
    return value


def _find_class(name: Any) -> Any:
    """Find the class of initializers with this name, Keras' or a registered one, or `None`."""
    cls = None
    if isinstance(name, str):
        cls = getattr(keras.initializers, name, None)
        if cls is None:
            cls = keras.saving.get_registered_object(name.replace(_WRITTEN, _REGISTERED))
    if isinstance(cls, type) and issubclass(cls, keras.initializers.Initializer):
        return cls
    return None


def _find_seed(initializer: Any) -> int | None:
    if isinstance(initializer, Masked):  # not the seed of the zeros that a weight keeps
        initializer = initializer.initializer
    for nested in initializers_within(initializer):
        seed = getattr(nested, "seed", None)
        if isinstance(seed, int):
            return seed
    return None
