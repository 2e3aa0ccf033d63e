"""The result of `lsuv`, shown as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from keras_initx.rendering._table import Column, Table

Status = Literal["scaled", "not reached", "left"]


@dataclass(frozen=True)
class LSUVRow:
    """The result of `lsuv` for one layer.

    Attributes:
        path: Path of the layer in the model, see `ModelWeight`.
        before: Variance of its output before its activation, with the original weights. `None` if
            it is not accessible.
        after: The same with the new weights.
        steps: Number of times that its kernel was rescaled.
        status: `"scaled"` if the variance is 1 within the tolerance, `"not reached"` if the kernel
            was scaled but the variance is not, `"left"` if the kernel is unchanged.
        reason: Why the kernel was left unchanged.
    """

    path: str
    before: float | None
    after: float | None
    steps: int
    status: Status
    reason: str = ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


_COLUMNS = (
    Column[LSUVRow]("layer", lambda row: row.path, is_text=True),
    Column[LSUVRow]("before", lambda row: _number(row.before)),
    Column[LSUVRow]("after", lambda row: _number(row.after)),
    Column[LSUVRow]("steps", lambda row: row.steps),
    Column[LSUVRow]("status", lambda row: f"{row.status}: {row.reason}" if row.reason else row.status, is_text=True),
)


@dataclass(frozen=True, repr=False)
class LSUVResult:
    """The result of `lsuv`, shown as a table by `print` and in notebooks.

    Attributes:
        rows: An `LSUVRow` for each layer with a kernel, in execution order.
        seed: The seed, given or drawn.
    """

    rows: Sequence[LSUVRow]
    seed: int

    def __str__(self) -> str:
        return self._table().as_text(rule=True).rstrip("\n")

    def __repr__(self) -> str:
        counts = (
            (status, sum(row.status == status for row in self.rows)) for status in ("scaled", "not reached", "left")
        )
        found = ", ".join(f"{count} {status}" for status, count in counts if count)
        return f"<LSUVResult of {len(self.rows)} layers: {found or 'none'}, seed {self.seed}>"

    def _repr_html_(self) -> str:
        return self._table().as_html()

    def _table(self) -> Table:
        return Table.of(_COLUMNS, self.rows)
