"""Suggestions for an unknown name, for the end of a message. Does not import Keras."""

import difflib
from collections.abc import Collection, Iterable


def did_you_mean(names: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: similar names, if there are any."""
    offered = " or ".join(names)
    if not offered:
        return ""
    return f"; did you mean {offered}?"


def missing_attribute(
    module: str, name: str, known: Collection[str], meant: Collection[str] = ()
) -> AttributeError:
    """Return the error about an attribute that a module does not have.

    Args:
        module: Name of the module.
        name: The attribute. Names with an underscore, which tools use, get no suggestion.
        known: The attributes that the module has.
        meant: The attributes that the name means, if they are known.
    """
    if not meant and not name.startswith("_"):
        meant = difflib.get_close_matches(name, known, n=2, cutoff=0.7)
    message = f"module {module!r} has no attribute {name!r}{did_you_mean(meant)}"
    # With the module as `obj` too, Python would add a suggestion of its own.
    return AttributeError(message, name=name)
