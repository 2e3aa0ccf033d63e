"""Read the names and the layout of a load, from a call or from the report of a load.

In a report, `names` are data for JSON. An index is a text there, and a function is not kept:

    {"q/kernel": ["attn.weight", "[:64, ...]"], "norm/gamma": ["norm.weight", "a function"]}

Other lists have the names of arrays that lie side by side:

    {"mlp/kernel": ["gate.weight", "up.weight"]}
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import EllipsisType
from typing import Any, NamedTuple, TypeAlias

from keras_initx._received import show
from keras_initx.checkpoints._sources import LayoutName
from keras_initx.files._local import check_local, parse_json
from keras_initx.tools.load_pretrained._array_names import FUNCTION_TEXT, NamesDict
from keras_initx.tools.load_pretrained._load_report import LoadReport

# Names, the report of a load that had them, or the path of its JSON.
NamesOrReport: TypeAlias = NamesDict | LoadReport | str | os.PathLike[str]


class NamesAndLayout(NamedTuple):
    """The arguments `names` and `layout` of `load_pretrained`."""

    names: NamesDict | None
    layout: LayoutName | None


def resolve_names(names: NamesOrReport | None, layout: LayoutName | None) -> NamesAndLayout:
    """Find the names and the layout of a load. A report has both.

    Raises:
        TypeError: If `names` has another type.
        ValueError: If a report has a function, or another layout than `layout`, or a file is not
            the JSON of a report.
    """
    if isinstance(names, LoadReport):
        kept = names.names
        loaded_layout: Any = names.layout
    elif isinstance(names, str | os.PathLike):
        kept, loaded_layout = _read_report(os.fspath(names))
    else:
        return NamesAndLayout(names, layout)
    if layout not in (None, loaded_layout):
        raise ValueError(
            f"`layout` must be {loaded_layout!r} or `None`, because `names` is the report of a "
            f"load with it. Received: layout={show(layout)}"
        )
    return NamesAndLayout(parse_names(kept), loaded_layout)


def parse_names(names: Mapping[str, Any] | None) -> NamesDict | None:
    """Parse names from data for JSON, see `serialize_names`.

    Raises:
        ValueError: If one of them is a function.
    """
    if names is None:
        return None
    return {pattern: _parse_value(pattern, value) for pattern, value in names.items()}


def _read_report(path: str) -> tuple[Any, Any]:
    check_local("names", path)
    requirement = "`names` must be a dict, the report of `load_pretrained`, or the path of its JSON"
    try:
        content = parse_json(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(
            f"{requirement}; this file {error}. Received: names={show(path)}"
        ) from None
    if not isinstance(content, dict) or not {"rows", "names", "layout"} <= content.keys():
        raise ValueError(f"{requirement}. Received: names={show(path)}, which is not such a report")
    return content["names"], content["layout"]


def _parse_value(pattern: str, value: Any) -> Any:
    if not isinstance(value, tuple | list):
        return value
    if len(value) < 2 or not all(isinstance(text, str) for text in value):
        raise TypeError(
            "`names` must have a name and an index as texts, or several names. "
            f"Received: {show(value)}"
        )
    name, index = value[:2]
    if len(value) > 2 or (index != FUNCTION_TEXT and not index.startswith("[")):
        return list(value)
    if index == FUNCTION_TEXT:
        raise ValueError(
            "`names` must be a dict, because the model was loaded with a function, which a report "
            f"does not keep: pass `names=`. Received: a report with a function for {show(pattern)}"
        )
    return name, parse_index(index)


def parse_index(text: str) -> Any:
    """Parse a text such as `"[:64, 0, ...]"`, which `format_index` writes, into an index."""
    items = tuple(map(_parse_index_item, text.strip("[]").split(", ")))
    return items if len(items) > 1 else items[0]


def _parse_index_item(text: str) -> int | slice | EllipsisType | None:
    if text == "...":
        return ...
    if text == "None":
        return None
    if ":" in text:
        return slice(*(int(number) if number else None for number in text.split(":")))
    return int(text)
