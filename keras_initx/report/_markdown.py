"""Markdown as code hosts render it: escaped texts, and sections that fold."""

import html
import re
from collections.abc import Iterable

# What Markdown reads as more than itself, and an underscore at the edge of a word.
_SIGNS = re.compile(r"([\\`*$|<>~\[\]&]|\b_|_\b)")
# What begins a heading or an item at the start of a line: "# ", "- ", "1. ".
_START = re.compile(r"^(\d*)([#+\-]|(?<=\d)[.)])(?=\s|#|$)")
_CODE = re.compile(r"(`[^`\n]+`)")


def escape(text: str) -> str:
    """Escape a text, so that Markdown shows signs such as `$` and `*` literally."""
    return _SIGNS.sub(r"\\\1", text)


def format_line(text: str) -> str:
    r"""Format a line of text that Markdown shows as it is, with code in backticks: "a\*b `c*d`"."""
    spans = _CODE.split(text)  # text and code take turns
    spans[::2] = map(escape, spans[::2])
    return _START.sub(r"\1\\\2", "".join(spans))


def paragraphs(lines: Iterable[str]) -> list[str]:
    """Make a block of Markdown for each line of texts, which may have several lines or none."""
    blocks = []
    for text in lines:
        blocks += [format_line(line.strip()) for line in text.splitlines() if line.strip()]
    return blocks


def bullets(lines: Iterable[str]) -> str:
    """Make a list with an item for each line of text."""
    return "\n".join(f"- {format_line(line)}" for line in lines)


def format_small(text: str) -> str:
    """Format a line of text in small letters."""
    return f"<sub>{format_line(text)}</sub>"


def fold(heading: str, *blocks: str) -> str:
    """Make a section that a click on its heading opens."""
    # The heading is HTML, and Markdown begins after an empty line.
    content = "\n\n".join(blocks)
    return f"<details><summary>{html.escape(heading)}</summary>\n\n{content}\n\n</details>"
