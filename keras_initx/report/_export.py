"""Export results as JSON and CSV, and as self-contained HTML pages."""

import base64
import csv
import html
import io
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any


def finite(value: Any) -> Any:
    """Replace tuples in `value` by lists, and infinities and NaN by `None`."""
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def as_json(value: Any, *, indent: int | None = None) -> str:
    """Write `value` as JSON, with `null` for infinities and NaN."""
    return json.dumps(finite(value), indent=indent, allow_nan=False, ensure_ascii=False)


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Write `rows` as CSV, with a column for each key that occurs in any row."""
    records = list(rows)
    columns: dict[str, None] = {}  # as a set in the order of first occurrence
    for record in records:
        columns.update(dict.fromkeys(record))
    file = io.StringIO()
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return file.getvalue()


_STYLE = """
:root { color-scheme: light dark; }
:root { --text: #222; --quiet: #666; --line: #ddd; --rule: #888; --back: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --text: #ddd; --quiet: #999; --line: #444; --rule: #777; --back: #1b1b1b; }
  /* Figures are drawn on white: light and dark change places, and hues stay. */
  img { filter: invert(0.9) hue-rotate(180deg); }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); }
body { max-width: 64rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
table { overflow-wrap: normal; }
th, td { padding: 0.25rem 0.6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
td[style*="left"] { white-space: normal; min-width: 6rem; }
td:first-child[style*="left"] { min-width: 9rem; }
th { border-bottom: 2px solid var(--rule); }
img { max-width: 100%; height: auto; background: #fff; }
.figure { overflow-x: auto; }
details { margin: 0.8rem 0; border-top: 1px solid var(--line); padding-top: 0.5rem; }
summary { cursor: pointer; font-weight: 600; } details p { margin: 0.4rem 0; }
.remarks { font-size: 1.05rem; } .quiet { color: var(--quiet); font-size: 0.85rem; }
@media (max-width: 40rem) {
  body { margin: 1rem auto; } h1 { font-size: 1.25rem; } ul { padding-left: 1.2rem; }
  .figure img { max-width: none; width: 40rem; }
  /* A table scrolls in its own box, with a shadow where there is more. The names stay. */
  .table {
    background:
      linear-gradient(to left, var(--back) 40%, transparent) right / 3rem 100% no-repeat local,
      linear-gradient(to left, rgb(128 128 128 / 60%), transparent) right / 1rem 100% no-repeat;
  }
  th, td { padding: 0.25rem 0.5rem; }
  tr > [style*="left"]:first-child, tr > [style*="right"]:first-child + [style*="left"] {
    position: sticky; left: 0; background: var(--back); overflow-wrap: anywhere;
    min-width: 9rem; max-width: 11rem;
  }
  td[style*="left"]:last-child { min-width: 15rem; }
}
"""


def page(title: str, parts: Iterable[str]) -> str:
    """Make a page with a title and `parts` of HTML."""
    title = html.escape(title)
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += f"<title>{title}</title><style>{_STYLE}</style>"
    body = "\n".join([f"<h1>{title}</h1>", *parts])
    html_element = f'<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>'
    return f"<!doctype html>\n{html_element}\n"


def section(heading: str, *parts: str) -> str:
    """Make a heading followed by `parts` of HTML."""
    return f"<h2>{html.escape(heading)}</h2>{''.join(parts)}"


def folding(heading: str, content: str, *, is_open: bool = True) -> str:
    """Make a section of HTML that a click on its heading opens and closes."""
    opened = " open" if is_open else ""
    return f"<details{opened}><summary>{html.escape(heading)}</summary>{content}</details>"


def paragraphs(lines: Iterable[str], style: str = "remarks") -> str:
    """Make paragraphs of `lines`, in the style `"remarks"` or `"quiet"`."""
    content = "".join(f"<p>{html.escape(line)}</p>" for line in lines)
    return f'<div class="{style}">{content}</div>'


def image(png: bytes, caption: str) -> str:
    """Embed a picture in a section that folds."""
    pixels = base64.b64encode(png).decode()
    element = f'<img alt="{html.escape(caption)}" src="data:image/png;base64,{pixels}">'
    # On a phone it scrolls in its own box, as tables do, since its labels would be too small.
    return folding(caption, f'<div class="figure">{element}</div>')
