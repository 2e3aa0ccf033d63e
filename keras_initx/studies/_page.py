"""Pages that need no other file."""

import base64
import html
import io
from pathlib import Path

from keras_initx.studies._log import write_whole

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { border-bottom: 2px solid #888; } .right { text-align: right; }
.left { text-align: left; white-space: normal; }
.wide { overflow-x: auto; }
img { max-width: 100%; height: auto; } .remarks { font-size: 1.05rem; } .quiet { color: #666; font-size: 0.85rem; }
"""


def write(path, title, parts) -> None:
    """Write a page with the title as heading, and `parts` of HTML."""
    title = text(title)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>'
    head += f"<style>{_STYLE}</style>"
    body = "\n".join([f"<h1>{title}</h1>", *parts])
    content = f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
    write_whole(Path(path), content.encode())


def text(value) -> str:
    """Return `value` as text that HTML shows as it is."""
    return html.escape(str(value))


def paragraphs(lines, style="remarks") -> str:
    """Return `lines` as paragraphs."""
    return f'<div class="{style}">{"".join(f"<p>{text(line)}</p>" for line in lines)}</div>'


def table(rows, left=()) -> str:
    """Return `rows` as a table, the first as its header; columns in `left` begin at the same place."""
    head, *body = rows
    lines = [f"<tr>{_cells(head, 'th', left)}</tr>", *(f"<tr>{_cells(row, 'td', left)}</tr>" for row in body)]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def _cells(row, tag, left):
    sides = ("left" if i in left else "right" for i in range(len(row)))
    return "".join(f'<{tag} class="{side}">{text(cell)}</{tag}>' for side, cell in zip(sides, row, strict=True))


def image(figure, caption) -> str:
    """Return a plot with a heading, its pixels within the page."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=130, facecolor="white")
    pixels = base64.b64encode(content.getvalue()).decode()
    return f'<h2>{text(caption)}</h2><img alt="{text(caption)}" src="data:image/png;base64,{pixels}">'
