"""Which calls of one model are compared with which of another."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from keras_initx._checks import close_matches
from keras_initx.outputs._recorded import CallKey, RecordedCall
from keras_initx.structure._patterns import captured_texts, filled_in, first_matches

# Maps patterns for the paths of layers to the names of layers or modules.
Names: TypeAlias = Mapping[str, str | None]


def counterparts_of(
    paths: Iterable[str],
    model_path: str,
    others: Sequence[RecordedCall],
    names: Names | None,
) -> dict[CallKey, RecordedCall]:
    """Return the calls that those of a model are compared with, by the latter.

    A call has the same number as its counterpart.

    Args:
        paths: The paths of the layers and operations of the model.
        model_path: That of the model itself, whose counterpart is the other model.
        others: The calls of the other model.
        names: The names of layers in the other model by patterns, or `None` if they are the same.

    Raises:
        TypeError: If `names` is no dict from texts to texts or `None`.
        ValueError: If a pattern matches no path, or leads to no name.
    """
    by_name: dict[str, list[RecordedCall]] = {}
    for call in others:
        by_name.setdefault(_with_slashes(call.key.name), []).append(call)
    inner = [path for path in paths if path != model_path]
    found = {path: path for path in inner} if names is None else _by_rules(inner, by_name, names)
    counterparts = {}
    for path, name in found.items():
        for call in by_name.get(_with_slashes(name), ()):
            if not call.is_model:
                counterparts[CallKey(path, call.key.number)] = call
    for call in others:
        if call.is_model:
            counterparts[CallKey(model_path, call.key.number)] = call
    return counterparts


def _with_slashes(name: str) -> str:
    return name.replace(".", "/")


class _Match(NamedTuple):
    """A path that a pattern covers.

    Attributes:
        texts: What each `*` stands for.
        rest: The path within the layer that the pattern matches, empty for this layer itself.
    """

    texts: tuple[str, ...]
    rest: str


def _match(pattern: str, path: str) -> _Match | None:
    """Return how a pattern covers a path: by the outermost layer that it matches."""
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        texts = captured_texts(pattern, "/".join(parts[:count]))
        if texts is not None:
            return _Match(texts, "/".join(parts[count:]))
    return None


def _by_rules(paths: Iterable[str], by_name: Mapping[str, object], names: Names) -> dict[str, str]:
    """Return the names in the other model that the rules give, by path."""
    _check_names(names)
    matches = first_matches("names", names, {path: path for path in paths}, _match, kind="a layer")
    found: dict[str, str] = {}
    missing: dict[str, str] = {}
    leading = set()
    for path, (pattern, match) in matches.items():
        template = names[pattern]
        if template is None:
            leading.add(pattern)
            continue
        name = filled_in(template, match.texts, path, "have names")
        full = "/".join(filter(None, (_with_slashes(name), match.rest)))
        if full in by_name:
            leading.add(pattern)
            found[path] = full
        else:
            missing.setdefault(pattern, name)
    for pattern, name in missing.items():
        if pattern not in leading:
            raise ValueError(
                "`names` must lead to names that were recorded. "
                f"Received: {pattern!r} leads to {name!r}{close_matches(name, list(by_name))}"
            )
    return found


def _check_names(names: Names) -> None:
    required = "`names` must be a dict from patterns to names or `None`"
    if not isinstance(names, Mapping):
        raise TypeError(f"{required}. Received: names={names!r}")
    for pattern, name in names.items():
        if not isinstance(pattern, str) or not (name is None or isinstance(name, str)):
            raise TypeError(f"{required}. Received: {name!r} for {pattern!r}")
