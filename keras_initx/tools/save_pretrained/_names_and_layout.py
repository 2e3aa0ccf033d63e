"""The names of arrays as a call gives them, or as the report of a load keeps them."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import EllipsisType
from typing import Any, NamedTuple, TypeAlias

from keras_initx.checkpoints._sources import LayoutName
from keras_initx.files._local import check_local, parse_json
from keras_initx.tools.load_pretrained._array_names import FUNCTION_TEXT, NamesDict
from keras_initx.tools.load_pretrained._load_report import LoadReport

# Names, the report of a load that had them, or the path of its JSON.
NamesOrReport: TypeAlias = NamesDict | LoadReport | str | os.PathLike[str]


class NamesAndLayout(NamedTuple):
    """What a call says of names and layout.

    Attributes:
        names: The names, as `load_pretrained` takes them.
        layout: The layout.
    """

    names: NamesDict | None
    layout: LayoutName | None


def resolve_names(names: NamesOrReport | None, layout: LayoutName | None) -> NamesAndLayout:
    """Return names and layout, which a report has both.

    Raises:
        TypeError: If `names` has another type.
        ValueError: If a report has a function, or another layout than `layout`, or a file is not
            the JSON of a report.
    """
    if isinstance(names, LoadReport):
        kept = names.names
        loaded: Any = names.layout
    elif isinstance(names, str | os.PathLike):
        kept, loaded = _read_report(os.fspath(names))
    else:
        return NamesAndLayout(names, layout)
    if layout not in (None, loaded):
        raise ValueError(
            f"`layout` must be {loaded!r}, with which the model was loaded as `names` says, or "
            f"`None`. Received: layout={layout!r}"
        )
    return NamesAndLayout(parse_names(kept), loaded)


def parse_names(names: Mapping[str, Any] | None) -> NamesDict | None:
    """Return names from data as JSON has them, see `serialize_names`.

    Raises:
        ValueError: If a function stands in them.
    """
    if names is None:
        return None
    return {pattern: _parse_value(pattern, value) for pattern, value in names.items()}


def _read_report(path: str) -> tuple[Any, Any]:
    check_local("names", path)
    required = "`names` must be a dict, the report of `load_pretrained`, or the path of its JSON"
    try:
        content = parse_json(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{required}; this file {error}. Received: names={path!r}") from None
    if not isinstance(content, dict) or not {"rows", "names", "layout"} <= content.keys():
        raise ValueError(f"{required}. Received: names={path!r}, a file of something else")
    return content["names"], content["layout"]


def _parse_value(pattern: str, value: Any) -> Any:
    """Return a value of `names` from data in which an index is a text."""
    if not isinstance(value, tuple | list):
        return value
    if len(value) != 2 or not all(isinstance(one, str) for one in value):
        raise TypeError(f"`names` must have a name and an index as texts. Received: {value!r}")
    name, part = value
    if part == FUNCTION_TEXT:
        raise ValueError(
            "`names` must be a dict, because the model was loaded with a function, which a report "
            f"does not keep: pass `names=`. Received: a report with a function for {pattern!r}"
        )
    return name, parse_index(part)


def parse_index(text: str) -> Any:
    """Return the index of a text such as `"[:64, 0, ...]"`, which `format_index` writes."""
    parts = tuple(map(_parse_index_part, text.strip("[]").split(", ")))
    return parts if len(parts) > 1 else parts[0]


def _parse_index_part(text: str) -> int | slice | EllipsisType | None:
    if text == "...":
        return ...
    if text == "None":
        return None
    if ":" in text:
        return slice(*(int(number) if number else None for number in text.split(":")))
    return int(text)
