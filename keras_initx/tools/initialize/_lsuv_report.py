"""The report of `lsuv`: the changes to each layer, made or planned.

    layer   before  after  status
    hidden    0.31      1  scaled: 1 step
    branch       0      0  left: its kernel is zero

`before` and `after` are variances of the output before its activation.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras_initx.report._figures import BLUE, PALE_BLUE
from keras_initx.report._order import Points, plot_in_order
from keras_initx.report._results import Tabular
from keras_initx.report._table import Column, format_cell
from keras_initx.report._text import format_count

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STATUSES = ("scaled", "not reached", "left")


@dataclass(frozen=True)
class ScaledLayer:
    """The outcome of LSUV for a layer.

    Attributes:
        path: The path of the layer in the model.
        status: `"scaled"` if the variance is 1 within the tolerance, `"not reached"` if the kernel
            was scaled but the variance is not 1, `"left"` if the layer is unchanged.
        detail: The number of steps, or the reason why the layer is unchanged.
        before: The variance of its output before its activation, or `None` if that is not
            accessible.
        after: The same variance after scaling.
    """

    path: str
    status: str
    detail: str = ""
    before: float | None = None
    after: float | None = None

    @property
    def text(self) -> str:
        """The outcome, in words."""
        return f"{self.path!r}: {_format_status(self)}"


@dataclass(frozen=True, eq=False, repr=False)
class LsuvReport(Tabular[ScaledLayer]):
    """The layers of your model that `lsuv` has scaled or left, in the form of all results.

    `plot` shows you the variances of the outputs before and after.

    Attributes:
        rows: A `ScaledLayer` for each layer that has a kernel, in execution order.
        seed: The seed, given or drawn.
        dry_run: Whether your model was not changed.
    """

    rows: Sequence[ScaledLayer]
    seed: int
    dry_run: bool = False

    @property
    def left(self) -> list[ScaledLayer]:
        """The rows of the layers that are unchanged."""
        return [row for row in self.rows if row.status == "left"]

    @property
    def summary(self) -> str:
        """How many layers were scaled, in words."""
        counts = Counter(row.status for row in self.rows)
        texts = [f"{counts[status]} {status}" for status in _STATUSES if counts[status]]
        counts_text = ", ".join(texts) or "none"
        return f"{format_count(len(self.rows), 'layer')}: {counts_text}, seed {self.seed}."

    def _columns(self) -> list[Column[ScaledLayer]]:
        return [
            Column("layer", lambda row: row.path, is_text=True),
            Column("before", lambda row: format_cell(row.before, "{:.3g}".format)),
            Column("after", lambda row: format_cell(row.after, "{:.3g}".format)),
            Column("status", _format_status, is_text=True),
        ]

    def _own_content(self) -> dict[str, Any]:
        return {"seed": self.seed, "dry_run": self.dry_run}

    def _below(self) -> list[str]:
        return ["", self.summary]

    def _figure(self) -> "Figure":
        groups = {
            "before": _make_points([row.before for row in self.rows], PALE_BLUE),
            "after": _make_points([row.after for row in self.rows], BLUE),
        }
        paths = [row.path for row in self.rows]
        return plot_in_order(paths, {"variance of the output": groups}, of="layer")


def _make_points(variances: Sequence[float | None], color: str) -> Points:
    """List the points of the layers that have a variance."""
    values = {}
    for index, variance in enumerate(variances):
        if variance is not None:
            values[index] = variance
    return Points(values, color)


def _format_status(row: ScaledLayer) -> str:
    if row.detail:
        return f"{row.status}: {row.detail}"
    return row.status
