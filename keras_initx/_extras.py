"""What may be missing: optional dependencies, with an error that says how to install them, and the compiled kernel."""

import ctypes
import functools
import importlib
import os
from types import ModuleType
from typing import Any


def import_optional(module: str, extra: str | None) -> ModuleType:
    """Import and return a module.

    Args:
        module: Name of the module.
        extra: Name of the extra that installs it, or `None`.

    Raises:
        ImportError: If it is not installed. The message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(advice([module.split(".")[0]], extra)) from error


def advice(missing: list[str], extra: str | None) -> str:
    """Return how to install the packages that are missing, of this extra."""
    # Name the packages first: pip finds the extra only if it knows where this package came from.
    text = f"{', '.join(missing)} not found; install with `pip install {' '.join(missing)}`"
    return f"{text}, or keras_initx with its extra `{extra}`" if extra else text


@functools.cache
def kernel() -> Any:
    """Return the functions of `sampling/_kernel.c`, or `None` if it was not compiled or `KERAS_INITX_KERNEL` is 0.

    Calls free the interpreter for other threads.
    """
    if os.environ.get("KERAS_INITX_KERNEL") == "0":
        return None
    try:
        library = ctypes.CDLL(os.path.join(os.path.dirname(__file__), "sampling", "_kernel.so"))
    except OSError:
        return None
    pointer, number, word, count = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_uint64
    library.initx_fill.argtypes = [pointer, number, number, word, word, word, count, count, pointer, pointer]
    library.initx_floyd.argtypes = [pointer, pointer, word, count, word]
    library.initx_keep_smallest.argtypes = [pointer, number, pointer, count, count, count, pointer]
    library.initx_frame.argtypes = [pointer, pointer, count, count, count, number]
    return library
