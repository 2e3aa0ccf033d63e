"""Initializers in words, as plans, audits and reports show them."""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_initx.initializers._as_ours import adapt_initializer
from keras_initx.initializers._initializer import are_equal, constructor_parameters, is_array

# Arguments that depend on the weight.
AXES = ("input_axes", "output_axes")


def description(initializer: Callable[..., Any]) -> str:
    """Return an initializer in words: a constructor call, or the name of a function.

    The text leaves out seed, axes and default arguments.
    """
    class_name = type(initializer).__name__
    if not isinstance(initializer, keras.initializers.Initializer):
        return str(getattr(initializer, "__name__", class_name))
    arguments = adapt_initializer(initializer).arguments()
    if arguments is None:
        return f"{class_name}(...)"
    parameters = constructor_parameters(type(initializer))
    shown = []
    for name, value in arguments.items():
        if name in ("seed", *AXES):
            continue
        if name in parameters and are_equal(value, parameters[name].default):
            continue
        shown.append(f"{name}={_argument_text(value)}")
    return f"{class_name}({', '.join(shown)})"


def _argument_text(value: Any) -> str:
    # In the config of Keras' or a user's initializer, an array is such a dict.
    if isinstance(value, Mapping) and "class_name" in value:
        with contextlib.suppress(Exception):  # of a class that is not registered
            value = keras.saving.deserialize_keras_object(value)
    if isinstance(value, list | tuple):
        items = [_argument_text(item) for item in value]
        return f"[{', '.join(items)}]"
    if isinstance(value, keras.initializers.Initializer):
        return description(value)
    if is_array(value):
        return f"<array of shape {tuple(value.shape)}>"
    if isinstance(value, np.generic | np.ndarray):
        value = value.item()
    if isinstance(value, float):
        return f"{value:.4g}"
    return repr(value)
