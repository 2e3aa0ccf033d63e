"""Signatures that you can read in `help`, in a notebook and from `inspect.signature`."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Public = TypeVar("Public", bound=Callable[..., Any])


def shorten_signature(public: Public) -> Public:
    """Show a function or a class without the types of its arguments, which may fill a screen.

    Type checkers read the source, and `typing.get_type_hints` reads `__annotations__`: both keep
    the types. The names of the types stand in the docstring.
    """
    # A class would hand its own signature on to your subclasses, which may take other arguments.
    shown: Any = vars(public)["__init__"] if isinstance(public, type) else public
    signature = inspect.signature(shown)
    plain = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    shown.__signature__ = signature.replace(parameters=plain)
    return public
