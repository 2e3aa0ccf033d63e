"""Export results as JSON and CSV."""

import csv
import io
import itertools
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any


def finite(value: Any) -> Any:
    """Return `value` with tuples as lists, and infinities and NaN as `None`."""
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_json(value: Any, *, indent: int | None = None) -> str:
    """Return `value` as JSON, with `null` for infinities and NaN."""
    return json.dumps(finite(value), indent=indent, allow_nan=False, ensure_ascii=False)


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return `rows` as CSV, with a column for each key that occurs in any row."""
    records = list(rows)
    columns = list(dict.fromkeys(itertools.chain.from_iterable(records)))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue()
