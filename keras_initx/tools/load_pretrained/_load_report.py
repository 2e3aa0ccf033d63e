"""The result of `load_pretrained`, with a row for each weight, and its table.

weight          shape    array              status
------------------------------------------------------------
block_0/kernel  (16, 8)  blocks.0.fc.weight  loaded: transposed
head/kernel     (8, 3)                       left: not in names
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from keras_initx._checks import truncate
from keras_initx._signatures import shorten_signature
from keras_initx._typing import Shape
from keras_initx.report._results import Judgement, Tabular
from keras_initx.report._table import Column


@dataclass(frozen=True)
class LoadedWeight:
    """A weight, and the arrays that were loaded into it.

    Attributes:
        path: Path of the weight in your model, see `ModelWeight`. The path of a torch parameter
            ends with its name in the module: `encoder/0.weight`.
        status: The outcome, e.g. `"loaded"`; `"left"` if the weight is unchanged, `"error"` if it
            cannot be loaded as you asked.
        detail: The conversions of its array, or the reason why it was not loaded.
        shape: Its shape, `None` for a layer that is not built.
        dtype: The name of its dtype.
        size: The number of its values.
        changed: The number of its values that were loaded.
        sources: The names of the arrays that the values were loaded from.
        source_shape: The shape of these arrays.
    """

    path: str
    status: str
    detail: str = ""
    shape: Shape | None = None
    dtype: str = ""
    size: int | None = None
    changed: int | None = None
    sources: tuple[str, ...] = ()
    source_shape: Shape | None = None

    @property
    def text(self) -> str:
        """The outcome or the problem, in words."""
        return describe_row(self)


class MovedWeight(Protocol):
    """The row of a weight that is loaded or saved."""

    @property
    def path(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def shape(self) -> Shape | None: ...


def describe_row(row: MovedWeight) -> str:
    """Say what was done with a weight, or its problem: `'dense/bias' (8,): left: by rule`."""
    text = row.detail if row.status == "error" else describe_status(row)
    return f"{row.path!r} {row.shape}: {text}"


def describe_status(row: MovedWeight) -> str:
    """Say what was done with a weight: `left: by rule`."""
    return f"{row.status}: {row.detail}" if row.detail else row.status


def load_columns() -> list[Column[LoadedWeight]]:
    return [
        Column("weight", lambda row: row.path, is_text=True),
        Column("shape", lambda row: row.shape),
        Column("array", lambda row: " + ".join(row.sources), is_text=True),
        Column("array shape", lambda row: row.source_shape, is_optional=True),
        Column("status", describe_status, is_text=True),
    ]


@shorten_signature
@dataclass(frozen=True, eq=False, repr=False)
class LoadReport(Tabular[LoadedWeight], Judgement):
    """The arrays that `load_pretrained` has loaded into your model, in the form of all results.

    Attributes:
        rows: A `LoadedWeight` for each weight, in the order of the model.
        dry_run: Whether your model was not changed.
        unused: Dict from the names of arrays that were not loaded to their shapes.
        notes: Lines of text: the arrays that several weights have got, and the layers of your model
            that are not built.
        names: The `names` of the call as data. An index becomes a text, `"[:64]"`, and a function
            becomes `"a function"`. You can pass the report, or its JSON, to `save_pretrained` as
            `names`.
        layout: The layout of the source.
    """

    rows: Sequence[LoadedWeight]
    dry_run: bool = False
    unused: Mapping[str, Shape] = field(default_factory=dict)
    notes: Sequence[str] = ()
    names: Mapping[str, Any] | None = None
    layout: str | None = None

    @property
    def left(self) -> list[LoadedWeight]:
        """The rows of the weights that are unchanged."""
        return [row for row in self.rows if row.status == "left"]

    @property
    def problems(self) -> list[LoadedWeight]:
        """The rows of the weights that cannot be loaded as you asked.

        Only a dry run has such rows, because a load raises an error for them.
        """
        return [row for row in self.rows if row.status == "error"]

    @property
    def summary(self) -> str:
        """The number of loaded weights and unused arrays, in words."""
        counts = Counter(row.status for row in self.rows)
        done = "to be loaded" if self.dry_run else "loaded"
        text = f"{counts['loaded']} of {len(self.rows)} weights {done}"
        if counts["left"]:
            text += f", {counts['left']} left unchanged"
        if counts["error"]:
            text += f", {counts['error']} with errors"
        if self.unused:
            arrays = [f"{name} {shape}" for name, shape in self.unused.items()]
            text += f"; unused arrays: {truncate(arrays)}"
        return " ".join([f"{text}.", *self.notes])

    def _columns(self) -> list[Column[LoadedWeight]]:
        return load_columns()

    def _own_content(self) -> dict[str, Any]:
        return {
            "dry_run": self.dry_run,
            "unused": dict(self.unused),
            "notes": list(self.notes),
            "names": None if self.names is None else dict(self.names),
            "layout": self.layout,
        }

    def _below(self) -> list[str]:
        return ["", self.summary]
