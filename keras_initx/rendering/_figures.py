"""The common style of all figures, and saving them to files."""

import io
import math
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_initx import _files
from keras_initx._extras import import_optional

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "COLORS",
    "PALE_BLUE",
    "RED",
    "as_png",
    "color_of",
    "make_logarithmic",
    "new_figure",
    "save_figure",
    "styles_of",
    "tidy",
]

BLUE = "#3069a8"
PALE_BLUE = "#9db8d6"
RED = "#c0392b"
# The colorblind-safe palette of Okabe and Ito.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999")
# The color of an initializer in all plots: distinct for the colorblind too, at least 3 to 1 in
# contrast to white.
_INITIALIZERS = {
    "he_normal": "#0b4486",
    "he_uniform": "#1a7cf0",
    "glorot_normal": "#8a2a00",
    "glorot_uniform": "#c8640a",
    "random_normal": "#7023b2",
    "random_uniform": "#d667d2",
    "fan_in_normal": "#1d6f78",
    "orthogonal": "#22a65b",
    "sparse": "#6b3a4a",
    "small_normal": "#000000",
}
_OTHERS = ("#d7263d", "#c93a9e", "#0090a5", "#6a5bff")
_MARKERS = "o^sDvP"  # used in turn for initializers of the same color


def color_of(name: str) -> str:
    """Return the color of an initializer or of a family such as `he`, the same in all plots.

    Arguments in the name do not count: `"Sparse(gain='relu')"` has the color of `"initx.sparse"`.
    Names that are not in the table get one of a few other colors by a checksum.
    """
    class_or_id = re.split(r"[(\[, ]", name.removeprefix("initx."))[0]
    key = re.sub("(?<=[a-z])(?=[A-Z])", "_", class_or_id).lower()
    for known in (key, f"{key}_normal"):
        if known in _INITIALIZERS:
            return _INITIALIZERS[known]
    checksum = zlib.crc32(key.encode())
    return _OTHERS[checksum % len(_OTHERS)]


def styles_of(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return the color and the marker of each initializer in one plot.

    Those of the same color have different markers.
    """
    styles: dict[str, tuple[str, str]] = {}
    used: list[str] = []
    for name in names:
        color = color_of(name)
        marker = _MARKERS[used.count(color) % len(_MARKERS)]
        styles[name] = (color, marker)
        used.append(color)
    return styles


def new_figure(title: str = "", *, size: tuple[float, float], extra: str = "plot") -> "Figure":
    """Return an empty figure.

    Args:
        title: Its title, shown literally.
        size: Width and height in inches.
        extra: The extra to name in the error if matplotlib is missing.

    Raises:
        ImportError: If matplotlib is not installed.
    """
    matplotlib_figure = import_optional("matplotlib.figure", extra)
    figure: Figure = matplotlib_figure.Figure(figsize=size, layout="constrained")
    if title:
        figure.suptitle(title, fontsize=10, parse_math=False)
    return figure


def tidy(axes: "Iterable[Axes]", **grid: Any) -> None:
    """Remove the top and right spines of `axes`, and draw a grid in the background."""
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="0.9", **grid)
        axis.set_axisbelow(True)


def make_logarithmic(axis: "Axes") -> None:
    """Make an axis logarithmic, over whole decades, so that nearly equal values look equal."""
    ticker = import_optional("matplotlib.ticker", "plot")
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    bottom = math.floor(math.log10(low))
    top = math.ceil(math.log10(high))
    axis.set_ylim(10.0**bottom, 10.0**top)
    axis.yaxis.set_minor_formatter(ticker.NullFormatter())


_SAVING: dict[str, Any] = {"dpi": 150, "facecolor": "white"}


def save_figure(figure: "Figure", path: str | Path | None) -> "Figure":
    """Write a figure to a file, unless that is `None`, and return it. The suffix sets the format.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If `path` is a URL, or its suffix not that of a supported format.
    """
    if path is not None:
        _files.check_local("path", path)
        image_format = Path(path).suffix[1:].lower()
        with _files.replacing(path) as partial:
            figure.savefig(partial, format=image_format, **_SAVING)
    return figure


def as_png(figure: "Figure") -> bytes:
    """Return what `save_figure` writes to a `.png` file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", **_SAVING)
    return content.getvalue()
