"""What you passed, in the text of an error: whole if it is short, and else its kind and size."""

from collections.abc import Mapping
from typing import Any

_LONGEST = 120  # characters
_LONGEST_PART = 50


def show(value: Any) -> str:
    """Return the `repr` of a value, or its kind, its size and its first part if that is long."""
    text = repr(value)
    if len(text) <= _LONGEST:
        return text
    kind = type(value).__name__
    if hasattr(value, "named_parameters"):  # a module of torch
        count = sum(parameter.numel() for parameter in value.parameters())
        return f"<{kind} with {count:,} parameters>"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"<{kind} of shape {tuple(value.shape)}, {value.dtype}>"
    if isinstance(value, Mapping):
        key, first = next(iter(value.items()))
        return f"a {kind} of {len(value)}, the first {_begin(key)}: {_begin(first)}"
    if isinstance(value, list | tuple | set | frozenset):
        return f"a {kind} of {len(value)}, the first {_begin(next(iter(value)))}"
    if isinstance(value, str):
        # Both ends: a path begins with its disk, and ends with its file.
        return repr(f"{value[:_LONGEST_PART]}...{value[-_LONGEST_PART:]}")
    return f"{text[:_LONGEST]}..."


def _begin(value: Any) -> str:
    """Return what `show` returns, or its beginning."""
    text = show(value)
    if len(text) <= _LONGEST_PART:
        return text
    return f"{text[:_LONGEST_PART]}..."
