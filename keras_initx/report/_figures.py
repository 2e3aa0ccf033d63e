"""The common style of all figures, and saving them to files."""

import io
import math
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from keras_initx._extras import import_optional
from keras_initx.files import _local
from keras_initx.report._text import format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
# The distance of zeros from other values on a logarithmic axis, as a share of the range of these.
_ROOM = 0.12
_MOST_TICKS = 8


def choose_color(name: str) -> str:
    """Choose the color of an initializer or of a family such as `he`, the same in all plots.

    Arguments in the name do not count: `"Sparse(gain='relu')"` has the color of `"initx.sparse"`. A
    name that is not in the table gets one of a few other colors by a checksum.
    """
    class_or_id = re.split(r"[(\[, ]", name.removeprefix("initx."))[0]
    key = re.sub("(?<=[a-z])(?=[A-Z])", "_", class_or_id).lower()
    for known in (key, f"{key}_normal"):
        if known in _INITIALIZERS:
            return _INITIALIZERS[known]
    checksum = zlib.crc32(key.encode())
    return _OTHERS[checksum % len(_OTHERS)]


def new_figure(title: str = "", *, size: tuple[float, float], extra: str = "plot") -> "Figure":
    """Make an empty figure.

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
    """Make an axis logarithmic, over whole decades, so that nearly equal values look equal.

    Zeros have a mark of their own, below all decades.
    """
    ticker = import_optional("matplotlib.ticker", "plot")
    least, most, has_zeros = _reach(axis)
    if most > 0:
        axis.set_yscale("log")
        least, most = axis.get_ylim()
    else:
        least, most = 1.0, 10.0
    bottom = 10.0 ** math.floor(math.log10(least))
    top = 10.0 ** math.ceil(math.log10(most))
    _set_limits(axis, bottom, top, has_zeros)
    axis.yaxis.set_major_formatter(_decimal)
    axis.yaxis.set_minor_formatter(ticker.NullFormatter())


def _decimal(tick: float, _place: int) -> str:
    """Format the label of a tick, without an exponent if it is short."""
    if tick == 0 or 1e-4 <= tick < 1e5:
        return f"{tick:g}"
    return format_number(tick)


def make_ratio(axis: "Axes") -> None:
    """Make an axis of ratios logarithmic. A line marks 1, and 0.5 and 2 are in view.

    Zeros have a mark of their own, below all ratios.
    """
    least, most, has_zeros = _reach(axis)
    ticks = _ratios(min(least, 0.5), max(most, 2))
    _set_limits(axis, ticks[0] / 1.1, ticks[-1] * 1.1, has_zeros)
    if has_zeros:
        ticks = [0, *ticks]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.axhline(1, color="0.6", linewidth=1, zorder=1)


def _reach(axis: "Axes") -> tuple[float, float, bool]:
    """Find the least positive and the greatest value of an axis, and whether there are zeros."""
    boxes = [shared.dataLim for shared in axis.get_shared_y_axes().get_siblings(axis)]
    least = min(box.minposy for box in boxes)
    # Of an empty axis, the lower limit is infinity and the upper one minus infinity.
    most = max(box.y1 for box in boxes)
    has_zeros = min(box.y0 for box in boxes) <= 0
    return least, most, has_zeros


def _set_limits(axis: "Axes", bottom: float, top: float, has_zeros: bool) -> None:
    """Set the limits of a logarithmic axis, with room for zeros below if there are any."""
    if not has_zeros:
        axis.set_yscale("log")
        axis.set_ylim(bottom, top)
        return
    # Between zero and `bottom` there are no values.
    room = _ROOM * math.log10(top / bottom)
    set_symlog(axis, "y", (-bottom / 3, top), linear=bottom, room=room)


def set_symlog(
    axis: "Axes",
    side: Literal["x", "y"],
    limits: tuple[float, float],
    *,
    linear: float,
    room: float,
) -> None:
    """Set the limits of an axis that is logarithmic on both sides of 0.

    Args:
        axis: The axes of the figure.
        side: The axis to set.
        limits: Its limits.
        linear: The size of values up to which it is linear.
        room: The length of this linear part, in decades.
    """
    set_scale = axis.set_xscale if side == "x" else axis.set_yscale
    set_scale("symlog", linthresh=linear, linscale=room)
    axis.set(**{f"{side}lim": limits})


def _ratios(least: float, most: float) -> list[float]:
    """Choose ticks that enclose a range of ratios, with 1 among them."""
    if (least, most) == (0.5, 2):
        return [0.5, 0.7, 1, 1.4, 2]
    base = 2.0
    while math.log(most / least, base) > _MOST_TICKS:
        base = 10.0 if base == 2 else 10 * base
    first = math.floor(math.log(least, base))
    last = math.ceil(math.log(most, base))
    return [base**exponent for exponent in range(first, last + 1)]


_SAVING: dict[str, Any] = {"dpi": 150, "facecolor": "white"}


def save_figure(figure: "Figure", path: str | Path | None) -> "Figure":
    """Write a figure to a file, unless `path` is `None`, and return it. The suffix sets the format.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If `path` is a URL, or its suffix is not a supported format.
    """
    if path is not None:
        _local.check_local("path", path)
        image_format = Path(path).suffix[1:].lower()
        with _local.replace_file(path) as partial:
            figure.savefig(partial, format=image_format, **_SAVING)
    return figure


def as_png(figure: "Figure") -> bytes:
    """Draw a figure as the contents of a `.png` file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", **_SAVING)
    return content.getvalue()
