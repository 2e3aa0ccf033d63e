"""What a function has changed in a model, or would change."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from keras_initx._typing import Shape
from keras_initx.rendering._figures import BLUE, PALE_BLUE
from keras_initx.rendering._order import Points, plot_in_order
from keras_initx.rendering._results import Tabular
from keras_initx.rendering._table import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Change:
    """What was done to a weight, or to the weights of a layer.

    Attributes:
        path: Path of the weight or the layer in the model, see `ModelWeight`. That of a parameter
            of a torch module ends with its name in the module: `encoder/0.weight`.
        status: What was done, e.g. `"loaded"` or `"scaled"`; `"left"` if it is
            unchanged, `"error"` if it cannot be changed as asked.
        how: How it was changed, or why not.
        shape: The shape of the weight, `None` for a layer.
        dtype: The name of the dtype of the weight, empty for a layer.
        size: The number of its values, `None` for a layer.
        changed: How many of these were changed.
        sources: The names of the arrays that the values were loaded from.
        source_shape: The shape of these arrays.
        before: The measure of `Changes` before the change, `None` if it was not measured.
        after: The same after the change.
    """

    path: str
    status: str
    how: str = ""
    shape: Shape | None = None
    dtype: str = ""
    size: int | None = None
    changed: int | None = None
    sources: tuple[str, ...] = ()
    source_shape: Shape | None = None
    before: float | None = None
    after: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Changes(Tabular[Change]):
    """What a function has changed in a model, in the form of all results.

    `plot` shows the measure before and after, or, where nothing was measured, how many values were
    changed, and of how many.

    Attributes:
        rows: A `Change` for each weight or layer, in the order of the model.
        summary: The result in one sentence.
        measure: What `before` and `after` are, e.g. `"variance of the output"`, or empty.
        seed: The seed, given or drawn, or `None` if nothing was drawn.
        dry_run: Whether the model was left unchanged.
        unused: Dict from the names of arrays that were not loaded to their shapes.
    """

    rows: Sequence[Change]
    summary: str
    measure: str = ""
    seed: int | None = None
    dry_run: bool = False
    unused: Mapping[str, Shape] = field(default_factory=dict)

    @property
    def left(self) -> list[Change]:
        """The rows of what is unchanged."""
        return [row for row in self.rows if row.status == "left"]

    @property
    def problems(self) -> list[str]:
        """The messages about weights that cannot be changed as asked, which a dry run has."""
        errors = [row for row in self.rows if row.status == "error"]
        return [f"{row.path!r} {row.shape}: {row.how}" for row in errors]

    @property
    def _of(self) -> str:
        return "weight" if any(row.shape is not None for row in self.rows) else "layer"

    def _rows(self) -> Sequence[Change]:
        return self.rows

    def _columns(self) -> list[Column[Change]]:
        return [
            Column(self._of, lambda row: row.path, is_text=True),
            Column("shape", lambda row: row.shape),
            Column("before", lambda row: _number(row.before)),
            Column("after", lambda row: _number(row.after)),
            Column("array", lambda row: " + ".join(row.sources), is_text=True),
            Column("array shape", lambda row: row.source_shape, is_optional=True),
            Column("status", _status, is_text=True),
        ]

    def _content(self) -> dict[str, Any]:
        return asdict(self)

    def _headline(self) -> str:
        return f": {self.summary.removesuffix('.')}"

    def _below(self) -> list[str]:
        return ["", self.summary]

    def _figure(self) -> "Figure":
        if self.measure:
            label = self.measure
            groups = {
                "before": self._points("before", PALE_BLUE),
                "after": self._points("after", BLUE),
            }
        else:
            label = "number of values"
            groups = {
                "all": self._points("size", PALE_BLUE),
                "changed": self._points("changed", BLUE),
            }
        return plot_in_order([row.path for row in self.rows], {label: groups}, of=self._of)

    def _points(self, attribute: str, color: str) -> Points:
        """Return the points of an attribute of the rows, of those that have one."""
        values = {}
        for place, row in enumerate(self.rows):
            value = getattr(row, attribute)
            if value is not None:
                values[place] = value
        return Points(values, color)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _status(row: Change) -> str:
    if row.how:
        return f"{row.status}: {row.how}"
    return row.status
