"""The compiled kernel: loaded if it fits its source, with a warning for large draws without it.

Imports nothing of the package, because the build runs this file too.
"""

import ctypes
import functools
import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "sampling"
LIBRARY = _FOLDER / "_kernel.so"  # on every system
# Beside the library in a checkout, which may be updated after the library was compiled. A wheel has
# only the library.
SOURCE = _FOLDER / "_kernel.c"
# NumPy draws fewer values in about 10 ms.
_MANY = 1_000_000


@functools.cache
def load_library() -> Any:
    """Return the compiled `sampling/_kernel.c` with its functions, or `None` if NumPy draws.

    NumPy draws if the kernel was not compiled, if it was compiled from another source, or if
    `KERAS_INITX_KERNEL` is 0. Calls free the interpreter for other threads.
    """
    if _is_switched_off():
        return None
    try:
        loaded = ctypes.CDLL(str(LIBRARY))
    except OSError:
        return None
    if SOURCE.exists() and not _is_made_from(loaded, SOURCE):
        _tell(f"{LIBRARY} was compiled from another {SOURCE.name}")
        return None
    _declare(loaded)
    return loaded


def _declare(loaded: ctypes.CDLL) -> None:
    """Set the types of the arguments of its functions."""
    pointer = ctypes.c_void_p
    number = ctypes.c_int
    word = ctypes.c_uint32
    count = ctypes.c_uint64
    key_and_draw = [word, word, word]
    begin_and_end = [count, count]
    tables = [pointer, pointer]
    loaded.initx_fill.argtypes = [pointer, number, number, *key_and_draw, *begin_and_end, *tables]
    loaded.initx_floyd.argtypes = [pointer, pointer, word, count, word]
    loaded.initx_keep_smallest.argtypes = [pointer, number, pointer, count, count, count, pointer]
    loaded.initx_frame.argtypes = [pointer, pointer, count, count, count, number]


def _is_switched_off() -> bool:
    return os.environ.get("KERAS_INITX_KERNEL") == "0"


def digest(source: Path) -> int:
    """Return a 64-bit number that depends on a source, but not on its line ends."""
    text = source.read_bytes().replace(b"\r\n", b"\n")
    return int.from_bytes(hashlib.sha256(text).digest()[:8])


def fits(path: Path, source: Path) -> bool:
    """Return whether the library at `path` can be loaded here and was compiled from `source`."""
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError:
        return False
    return _is_made_from(loaded, source)


def _is_made_from(loaded: ctypes.CDLL, source: Path) -> bool:
    function = getattr(loaded, "initx_source", None)
    if function is None:  # a library of a version that had no such function
        return False
    function.restype = ctypes.c_uint64
    return bool(function() == digest(source))


def warn_if_missing(count: int) -> None:
    """Warn about drawing `count` values without the kernel, if they are many and it is not off."""
    if count <= _MANY or load_library() is not None or _is_switched_off():
        return
    fault = "cannot be loaded" if LIBRARY.exists() else "is missing"
    _tell(f"{LIBRARY} {fault}")


_TOLD: list[str] = []


def _tell(reason: str) -> None:
    """Warn once in this process."""
    if _TOLD:
        return
    _TOLD.append(reason)
    warnings.warn(
        "NumPy draws instead of the compiled kernel, the same values but several times as slowly: "
        f"{reason}. With a C compiler, install keras_initx again, in a checkout by "
        "`pip install -e .`. If this is intended, set KERAS_INITX_KERNEL=0.",
        stacklevel=2,
    )
